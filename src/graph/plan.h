/* A graph made ready for a device: storage placed by lifetime, kernels built, arguments set, a flat list of launches.
 * Owns the arena and the kernel objects; borrows device, graph and store. Nothing is allocated, compiled or looked up
 * when it runs. */
#ifndef XP_GRAPH_PLAN_H
#define XP_GRAPH_PLAN_H

#include "device/device.h"
#include "device/tuning.h"
#include "graph/graph.h"

#include <expanse/graph.h>
#include <expanse/opencl.h>
#include <stdio.h>

/* ---- for operations: emit() turns a node into launches with these ---- */

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
    double flops, bytes;
    int tensor_count;
    xp_tensor *tensors[8];
    bool written[8];
} xp_host_request;
xp_status xp_plan_host_call(xp_plan *plan, const xp_node *node, const xp_host_request *request);

/* Storage that only this node's launches use. F32 elements; NULL when memory ends. */
xp_tensor *xp_plan_scratch(xp_plan *plan, const xp_node *node, int64_t elements);

/* Chooses the parameters of the node's kernels by the device's tuning table, and keeps the question for the tuner. The
 * launches that follow are the question's; a lasting question has the host calls that follow, beside the other. */
xp_status xp_plan_tune(xp_plan *plan, const xp_node *node, xp_tuning *tuning);

xp_family xp_plan_family(const xp_plan *plan);
xp_device *xp_plan_device(const xp_plan *plan);

/* ---- for models and training; expanse/graph.h has what users may do as well ---- */

xp_graph *xp_plan_graph(const xp_plan *plan);
/* Before xp_plan_realise: a buffer of its own for each tensor, in place of the arena, for harnesses: nothing shares its
 * place, and tools that watch memory accesses see each tensor's bounds. */
xp_status xp_plan_separate(xp_plan *plan);
/* The storage of a tensor, for harnesses: buffer and offset in bytes. */
xp_status xp_plan_storage(xp_plan *plan, const xp_tensor *tensor, cl_mem *buffer, size_t *offset);

/* Before xp_plan_realise: `prepared` is called when a kernel has been built, and again when it has run for the first time
 * in xp_plan_warm, for each kernel of the summary's count: a long preparation can be shown, and be stopped by a status
 * other than XP_OK, which the call then returns. */
void xp_plan_watch(xp_plan *plan, xp_status (*prepared)(void *user), void *user);
/* xp_plan_realise for a plan whose arena comes later: xp_plan_bind_arena. The arena must fit one buffer. */
xp_status xp_plan_realise_without_arena(xp_plan *plan);
/* Puts the arena into the caller's buffer (kept until another takes its place) or, for NULL, into one of our own. */
xp_status xp_plan_bind_arena(xp_plan *plan, cl_mem buffer);
/* xp_plan_enqueue of the launches before the first backward node, from it on, or of all. */
typedef enum xp_phase { XP_PHASE_WHOLE, XP_PHASE_FORWARD, XP_PHASE_BACKWARD } xp_phase;
xp_status xp_plan_enqueue_phase(xp_plan *plan, xp_phase phase, cl_command_queue queue, cl_uint wait_count,
                                const cl_event *wait, cl_event *done);

/* A table of at most 100 columns: each launch's row, and below it its global and local size and its options. */
void xp_plan_print_launches(const xp_plan *plan, FILE *out);
/* A number that two plans share when their launches have the same kernels and options; sizes and places do not count.
 */
uint64_t xp_plan_variant(const xp_plan *plan);
/* Runs the list `runs` times on a device opened with profiling and takes the median of the launches' time. Forgets the
 * times that were gathered before. */
xp_status xp_plan_time(xp_plan *plan, int runs, double *seconds);

/* Times gathered since the plan was made, or since they were forgotten, when the device was opened with profiling. */
typedef struct xp_profile_row {
    const char *name;             /* of the kernel, or of the library's function */
    char variant[512];            /* its -D text: that of the first launch where rows are not by variant */
    int launches;                 /* in one run */
    double seconds, flops, bytes; /* of all runs */
} xp_profile_row;
/* Fills rows[room] in the order of the first launches and returns their number: one for each kernel, or for each
 * variant of one. Launches beyond the room are left out. */
int xp_plan_profile(const xp_plan *plan, bool by_variant, xp_profile_row *rows, int room);
/* The questions of all nodes, those of one kernel and shape put together. Owned by the plan. */
typedef struct xp_plan_tuned {
    xp_tuning tuning;      /* with the values that the plan has */
    const char *operation; /* of the nodes that asked it */
    double seconds;        /* of the launches of these nodes, all runs, when profiling */
} xp_plan_tuned;
int xp_plan_tunings(xp_plan *plan, const xp_plan_tuned **out);
/* From the first launch's start to the last one's end, all runs. */
double xp_plan_profiled_seconds(const xp_plan *plan);
void xp_plan_forget_profile(xp_plan *plan);
xp_status xp_plan_print_profile(xp_plan *plan, FILE *out); /* a table sorted by share, beside the device's roof */

#endif
