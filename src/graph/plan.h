/* A graph made ready for a device: storage placed by lifetime, kernels built, arguments set, a flat list of launches.
 * Owns the arena and the kernel objects; borrows device, graph and store. Nothing is allocated, compiled or looked up
 * when it runs. */
#ifndef XP_GRAPH_PLAN_H
#define XP_GRAPH_PLAN_H

#include "graph/launch.h"

#include <expanse/graph.h>
#include <expanse/opencl.h>
#include <stdio.h>

xp_graph *xp_plan_graph(const xp_plan *plan);
/* Before xp_plan_realise: allocates a separate buffer for each tensor instead of the arena, for harnesses: no memory is
 * shared, and tools that check memory accesses see the bounds of each tensor. */
xp_status xp_plan_separate(xp_plan *plan);
/* The storage of a tensor, for harnesses: buffer and offset in bytes. */
xp_status xp_plan_storage(xp_plan *plan, const xp_tensor *tensor, cl_mem *buffer, size_t *offset);

/* What the user should know of how the plan was realised, in one sentence; "": nothing. Owned by the plan. */
const char *xp_plan_note(const xp_plan *plan);

/* Before xp_plan_realise: `prepared` is called when a kernel has been built, and again when it has run for the first
 * time in xp_plan_warm, for each kernel of the summary's count (more often for a plan with a note): a long preparation
 * can be shown, and be stopped by a status other than XP_OK, which the call then returns. */
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
 * variant of one. Launches beyond the room are omitted. */
int xp_plan_profile(const xp_plan *plan, bool by_variant, xp_profile_row *rows, int room);
/* The tuning requests of all nodes; those of one kernel and shape are merged. Owned by the plan. */
typedef struct xp_plan_tuned {
    xp_tuning tuning;      /* with the values that the plan has */
    const char *operation; /* of the nodes that made it */
    double seconds;        /* of the launches of these nodes, all runs, when profiling */
} xp_plan_tuned;
int xp_plan_tunings(xp_plan *plan, const xp_plan_tuned **out);
/* From the first launch's start to the last one's end, all runs. */
double xp_plan_profiled_seconds(const xp_plan *plan);
void xp_plan_forget_profile(xp_plan *plan);
xp_status xp_plan_print_profile(xp_plan *plan,
                                FILE *out); /* a table sorted by share, with the share of the device's peak */

#endif
