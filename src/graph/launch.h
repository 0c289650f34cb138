/* How an operation's emitters turn a node into launches: requests that a plan copies into its list. Must not know what
 * is done with the list (graph/plan.h). */
#ifndef XP_GRAPH_LAUNCH_H
#define XP_GRAPH_LAUNCH_H

#include "device/device.h"
#include "device/tuning.h"
#include "graph/operation.h"

enum { XP_MAX_ARGUMENTS = 96 };

typedef enum xp_argument_kind {
    XP_ARGUMENT_TENSOR,
    XP_ARGUMENT_INT,
    XP_ARGUMENT_UINT,
    XP_ARGUMENT_FLOAT,
    XP_ARGUMENT_LOCAL
} xp_argument_kind;

typedef struct xp_argument {
    xp_argument_kind kind;
    bool written;      /* the kernel writes this tensor (partly or wholly) */
    xp_tensor *tensor; /* NULL passes a null pointer; a view passes its base's whole storage: sub-buffers have coarse
                          alignment, so a kernel that takes views gets tensor->offset as one more int argument */
    int i;
    unsigned u;
    float f;
    size_t bytes; /* of local memory */
} xp_argument;

/* One kernel launch, symbolic: what emit() hands over. */
typedef struct xp_launch_request {
    const char *file; /* cl/<file>.cl */
    const char *kernel;
    xp_variant variant;
    int dimensions;
    size_t global[3], local[3]; /* global is a multiple of local; local is always given */
    double flops, bytes;        /* arithmetic done and fewest bytes moved, for the profile */
    int argument_count;
    xp_argument arguments[XP_MAX_ARGUMENTS];
} xp_launch_request;

/* Argument by argument in the kernel's order. A tensor that the kernel reads / one that it writes (or updates). */
void xp_launch_read(xp_launch_request *request, xp_tensor *tensor);
void xp_launch_write(xp_launch_request *request, xp_tensor *tensor);
void xp_launch_int(xp_launch_request *request, int64_t value); /* an int argument; XP fails at planning beyond 2^31-1 */
void xp_launch_uint(xp_launch_request *request, uint32_t value);
void xp_launch_float(xp_launch_request *request, float value);
void xp_launch_local(xp_launch_request *request, size_t bytes);

/* Copies the request into the plan's list. */
xp_status xp_plan_launch(xp_plan *plan, const xp_node *node, const xp_launch_request *request);

/* A library call in place of a kernel (CLBlast). `call` enqueues on the given queue; buffers[i] is tensor i's storage
 * with its first element at offset[i] (elements). `context` (context_bytes) is copied. *done, unless done is NULL,
 * becomes the event of its last command, for the caller to release, or stays NULL where the library gives none. It is
 * called once while the plan is realised, so that a library that compiles at its first call has done so. */
typedef xp_status (*xp_host_call)(cl_command_queue queue, const void *context, const cl_mem *buffers,
                                  const size_t *offsets, cl_event *done);
typedef struct xp_host_request {
    const char *name;
    xp_host_call call;
    const void *context;
    size_t context_bytes;
    xp_variant variant; /* parameters of the library, to be shown */
    int chosen_by;      /* handle of the tuning request that chose the library; 0: none */
    double flops, bytes;
    int tensor_count;
    xp_tensor *tensors[8];
    bool written[8];
} xp_host_request;
xp_status xp_plan_host_call(xp_plan *plan, const xp_node *node, const xp_host_request *request);

/* Storage that only this node's launches use. F32 elements; NULL if memory runs out. */
xp_tensor *xp_plan_scratch(xp_plan *plan, const xp_node *node, int64_t elements);

/* Chooses the parameters of the node's kernels from the tuning table of the device, records the request for the tuner,
 * and gives it a handle, which launches that use the values set in their variant. */
xp_status xp_plan_tune(xp_plan *plan, const xp_node *node, xp_tuning *tuning);

xp_device *xp_plan_device(const xp_plan *plan);
/* Whether anything reads what a node makes: another node, or the caller. */
bool xp_plan_reads(const xp_plan *plan, const xp_tensor *tensor);

/* Blocks of `block` that hold `count`: the last may be partial. */
static inline int64_t xp_launch_blocks(int64_t count, int64_t block) {
    return (count + block - 1) / block;
}

#endif
