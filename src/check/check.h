/* The harness that verifies a device: random and hostile cases of every operation, run on the device and compared with
 * the reference. Shipped as `expanse check`. Owns the cases' random streams and verdicts; knows operations only through
 * their table, their reference and the case generators below. */
#ifndef XP_CHECK_CHECK_H
#define XP_CHECK_CHECK_H

#include "core/random.h"
#include "device/device.h"
#include "graph/graph.h"

#include <stdio.h>

/* How a case's input tensor is filled. */
typedef enum xp_fill {
    XP_FILL_NORMAL,   /* standard normal */
    XP_FILL_UNIT,     /* uniform in [0, 1) */
    XP_FILL_POSITIVE, /* uniform in [0.5, 2): variances and the like */
    XP_FILL_INDEX,    /* int32 uniform in [0, limit) */
    XP_FILL_LENGTH,   /* int32 uniform in [1, limit], often limit, sometimes 0; elements of tensors behind it stay
                         NaN-free   unless the operation promises to stop at the length: see xp_case.poison */
    XP_FILL_WEIGHT    /* sample weights: 1, sometimes 0 */
} xp_fill;

/* One case: a graph that ends in the node under test. Inputs of that node that earlier nodes of the graph produce are
 * computed by the reference in double precision and uploaded (so lse fits q and k); the device runs the one node. */
enum { XP_CASE_FILLS = 24 };
typedef struct xp_case {
    xp_graph *graph;
    xp_node *node; /* under test */
    int fill_count;
    struct {
        const xp_tensor *tensor; /* an input of the graph; inputs that are not listed are XP_FILL_NORMAL */
        xp_fill fill;
        int64_t limit;
    } fills[XP_CASE_FILLS];
    char shape[160]; /* for the repro line: "B=2 H=3 N=97 M=257 D=24" */
} xp_case;

void xp_case_fill(xp_case *out, const xp_tensor *tensor, xp_fill fill, int64_t limit);

/* Draws variants and shapes for one operation. Called often with the same `variant_seed` and a new `shape` stream, so
 * that few variants are compiled and many shapes are tried for each. */
typedef struct xp_case_entry {
    const char *operation;
    xp_status (*generate)(xp_case *out, xp_random *variant, xp_random *shape);
    double factor; /* the permitted multiple of the single-precision reference's own error: 2 forward, 3 backward */
} xp_case_entry;
extern const xp_case_entry xp_case_entries[];
extern const int xp_case_entry_count;

/* A size with the edges that break kernels: 1, 2, block-1, block, block+1, 97, 257 or uniform up to `limit`. */
int64_t xp_case_size(xp_random *random, int64_t block, int64_t limit);

#endif
