/* The harness that verifies a device: random and extreme cases of every operation, run on the device and compared with
 * the reference. Available as `expanse check`. Owns the random streams of the cases and the verdicts; knows operations
 * only through their table, their reference and the case generators below. */
#ifndef XP_CHECK_CHECK_H
#define XP_CHECK_CHECK_H

#include "core/random.h"
#include "device/device.h"
#include "graph/graph.h"

#include <stdio.h>

/* How a case's input tensor is filled. */
typedef enum xp_fill {
    XP_FILL_NORMAL,   /* standard normal; in extreme cases large, constant, denormal or zero */
    XP_FILL_UNIT,     /* uniform in [0, 1) */
    XP_FILL_POSITIVE, /* uniform in [0.5, 2): for variances */
    XP_FILL_PARTIAL,  /* as NORMAL, but some are NaN */
    XP_FILL_INDEX,    /* int32 uniform in [0, limit) */
    XP_FILL_LENGTH,   /* int32 uniform in [1, limit], often limit, sometimes 0 */
    XP_FILL_SHARES,   /* rows of `limit` numbers from 0 on that add up to 1 */
    XP_FILL_WEIGHT,   /* sample weights: 1, sometimes 0 or a fraction */
    XP_FILL_BITS,     /* int32 words of a mask: all bits, none, or random ones */
    XP_FILL_STARTS,   /* int32 rising from 0 to limit: starts of packed samples */
    XP_FILL_VALUES    /* the first `limit` of the entry's values, repeated */
} xp_fill;

/* One case: a graph that ends in the node under test. Inputs of that node that earlier nodes of the graph produce are
 * computed by the reference in double precision and uploaded (so lse fits q and k); the device runs the one node. The
 * random state is filled with random words. */
enum { XP_CASE_FILLS = 24, XP_CASE_VALUES = 8 };
typedef struct xp_case {
    xp_graph *graph;
    struct xp_store *store; /* of the graph; owned by the case; NULL for most operations */
    xp_node *node;          /* under test */
    int fill_count;
    struct {
        const xp_tensor *tensor; /* an input of the graph; F32 inputs that are not listed are XP_FILL_NORMAL */
        xp_fill fill;
        int64_t limit;
        float values[XP_CASE_VALUES];
    } fills[XP_CASE_FILLS];
    int poison_count;
    struct {
        const xp_tensor *tensor, *lengths;
    } poisons[XP_CASE_FILLS];
    int number;          /* of the case: generators with a list of variants take them in turn */
    xp_type storage;     /* of the tensors that may be stored in 16 bits; XP_F32: as it is drawn */
    bool zeros_expected; /* outputs may be nearly all zero because of the shape; otherwise such a case fails, since it
                            proves nothing */
    char shape[192];     /* for the repro line: "B=2 H=3 N=97 M=257 D=24" */
} xp_case;

void xp_case_fill(xp_case *out, const xp_tensor *tensor, xp_fill fill, int64_t limit);
/* XP_FILL_VALUES with `count` values, at most XP_CASE_VALUES. */
void xp_case_values(xp_case *out, const xp_tensor *tensor, int count, const float *values);

/* Declares that the node never reads rows of its input `tensor` [B,N,...] from lengths on: I32 [B], or [B,H] for
 * a tensor [B,N,H,...]. The device gets NaN there; the reference does not. */
void xp_case_poison(xp_case *out, const xp_tensor *tensor, const xp_tensor *lengths);

/* Has the node take in a dropout with a drawn probability and stream. */
xp_status xp_case_drop(xp_case *out, xp_node *node, xp_random *shape);

/* Draws variants and shapes for one operation. Called often with the same `variant_seed` and a new `shape` stream, so
 * that few variants are compiled and many shapes are tried for each. */
typedef struct xp_case_entry {
    const char *operation;
    xp_status (*generate)(xp_case *out, xp_random *variant, xp_random *shape);
    double factor; /* the permitted multiple of the error of the single-precision reference: 2 forward, 3 backward */
} xp_case_entry;
extern const xp_case_entry xp_case_entries[];
extern const int xp_case_entry_count;

/* A size, often an edge case: 1, 2, block-1, block, block+1, 97, 257 or uniform up to `limit`. */
int64_t xp_case_size(xp_random *random, int64_t block, int64_t limit);

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* What tensors that may be stored in 16 bits are stored in. */
typedef enum xp_check_storage { XP_CHECK_ALL, XP_CHECK_SINGLES, XP_CHECK_HALVES } xp_check_storage;

enum { XP_CHECK_VARIANTS = 20 }; /* drawn for each operation; a case has the one of its number modulo this */

typedef struct xp_check_options {
    /* Extended regular expression; NULL: all. If it matches the name of an operation, all its cases run; of the
     * others, those run whose line "OPERATION FAMILY SHAPE" it matches, as printed with failures. */
    const char *filter;
    uint64_t seed;
    int cases;    /* of each operation */
    int variants; /* of each operation, at most: cases of others are left out; XP_CHECK_VARIANTS: none is */
    int only;     /* this case alone; -1: all */
    bool small;   /* sizes that suit an emulator */
    xp_check_storage storage;
    bool until_failure; /* stop after the first failed case */
} xp_check_options;

typedef struct xp_check_failure {
    const char *operation;
    int index;
    const char *what; /* "attention wide B=2 H=3 … seed 41 case 17: max |error| 3.1e-3 at o[1,2,96,7], bound 2.2e-6" */
    const char *again; /* the command that repeats it */
} xp_check_failure;

typedef struct xp_check_verdict {
    const char *operation, *family;
    int variants; /* distinct sets of kernels and options among the cases */
    int cases, failed;
    int hostile;  /* cases with large, constant, denormal or zero inputs */
    int vacuous;  /* cases with normal inputs whose outputs are nearly all zero for a known reason */
    double worst; /* the largest error as a share of its bound */
    double seconds;
    struct { /* the largest case; empty unless the device was opened with profiling */
        char shape[160];
        int64_t elements;    /* of its tensors */
        double seconds;      /* of all its launches: median of a few runs after the first, by the device's clock */
        double flops, bytes; /* arithmetic and fewest bytes moved */
    } largest;
} xp_check_verdict;

/* Either function may be NULL. */
typedef struct xp_check_report {
    void *context;
    void (*failure)(void *context, const xp_check_failure *failure);
    void (*verdict)(void *context, const xp_check_verdict *verdict);
} xp_check_report;

void xp_check_options_default(xp_check_options *options);

/* A verdict is good if no case failed and at least half of the cases have outputs other than zero. */
bool xp_check_verdict_is_good(const xp_check_verdict *verdict);

typedef struct xp_check_summary {
    int verdicts; /* operations of which at least one case ran; 0: the filter matches nothing in this family */
    int bad;      /* those that are not good; this is not a failure of the call */
} xp_check_summary;

/* Checks the operations in the family of the device; in the matrix family only those that have such kernels, stored as
 * these need it: in 16 bits, or in fp32 where the device was opened for an arithmetic of it. XP_INVALID_ARGUMENT: the
 * filter is not a regular expression. */
xp_status xp_check_run(xp_device *device, const xp_check_options *options, const xp_check_report *report,
                       xp_check_summary *out);

#endif
