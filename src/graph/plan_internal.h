/* What the files of a plan share: plan.c, request.c, storage.c, run.c and profile.c. */
#ifndef XP_GRAPH_PLAN_INTERNAL_H
#define XP_GRAPH_PLAN_INTERNAL_H

#include "graph/placement.h"
#include "graph/plan.h"

typedef struct xp_launch {
    const xp_node *node;
    bool host;  /* a library call; else a kernel */
    bool first; /* of the plan's launches with its kernel and options */
    union {
        xp_launch_request kernel;
        xp_host_request call;
    } request;
    /* Made by xp_plan_realise: */
    cl_kernel kernel;
    cl_mem buffers[8];
    size_t offsets[8];
    void *context; /* owned copy of the call's context */
    /* Gathered when profiling: */
    double seconds;
    int64_t calls;
} xp_launch;

/* The buffer of a tensor without a base. */
typedef struct xp_place {
    cl_mem buffer; /* sub-buffer, made on demand */
    cl_mem bound;  /* the caller's, in its place; retained */
} xp_place;

struct xp_plan {
    xp_device *device;
    xp_graph *graph;
    xp_launch *launches;
    int count;
    size_t room;
    int forward_end;  /* the launches of the forward pass come before it */
    xp_place *places; /* by tensor id, and so are … */
    xp_block *blocks; /* … their places in the arena, which is one address space cut into slabs */
    int place_count;
    size_t arena_bytes, input_bytes, unshared_bytes, slab_bytes;
    cl_mem *slabs; /* owned unless borrowed */
    int slab_count;
    size_t slab_start;  /* of the arena in a slab that is the caller's: bytes */
    cl_mem arena_given; /* the caller's buffer that the only slab is of; NULL: our own */
    bool borrowed;
    bool realised;
    char note[320];                 /* of xp_plan_note */
    xp_status (*watch)(void *user); /* NULL: no callback */
    void *watch_user;
    xp_plan_tuned *tuned;
    int tuned_count;
    size_t tuned_room;
    double profiled_seconds; /* device time between the first start and the last end, summed over runs */
    int64_t profiled_runs;
};

/* Plans once more, for a device that turned out to do less: launches, storage and tuning requests are new ones, the
 * caller's buffers stay. */
xp_status xp_plan_make_again(xp_plan *plan);
bool xp_plan_in_arena(const xp_tensor *root);
/* Whether a tensor has its storage: what the caller brings may come later. */
bool xp_plan_has_storage(const xp_plan *plan, const xp_tensor *tensor);
xp_status xp_plan_check_member(const xp_plan *plan, const xp_tensor *root);
/* The buffer whose element 0 is the tensor's root's first element. */
xp_status xp_plan_buffer(xp_plan *plan, const xp_tensor *tensor, cl_mem *out);
xp_status xp_plan_report_prepared(const xp_plan *plan);

const char *xp_launch_name(const xp_launch *launch);
/* Whether two launches have the same kernel and options. */
bool xp_launch_same_kernel(const xp_launch *a, const xp_launch *b);
xp_status xp_plan_run_profiled(xp_plan *plan);
/* Enqueues one launch; `event` may be NULL. `ordered`: the queue runs its commands in order. */
xp_status xp_launch_enqueue(const xp_plan *plan, const xp_launch *launch, cl_command_queue queue, bool ordered,
                            cl_uint wait_count, const cl_event *wait, cl_event *event);

#endif
