/* Runs one case: the node under test by the reference in both precisions and on the device, and compares the results.
 * Does not know how cases are drawn or reported. */
#ifndef XP_CHECK_TRIAL_H
#define XP_CHECK_TRIAL_H

#include "check/draw.h"

typedef struct xp_trial {
    bool failed;
    bool vacuous;                 /* the expected outputs are nearly all zero */
    double worst;                 /* the largest error as a share of its bound */
    uint64_t variant;             /* the same for cases with the same kernels and options; 0: nothing was planned */
    double seconds, flops, bytes; /* when it was timed: the median over some runs, and what one run does */
    char what[1024];              /* of a failure: "max |error| 3.1e-3 at o[1,2,96,7], bound 2.2e-6" */
} xp_trial;

/* A failure of the device (a build error, too) is a failure of the trial; the call itself fails only if memory runs
 * out. `factor` is the permitted multiple of the single-precision reference's error. `timed`: the launches run a few
 * times more by the clock of the device, which was opened with profiling. */
xp_status xp_trial_run(xp_trial *out, xp_draw *draw, xp_device *device, double factor, bool timed);

#endif
