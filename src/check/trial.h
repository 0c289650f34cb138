/* One case tried: the node under test by the reference in both precisions and on the device, and the comparison. Knows
 * nothing of how cases are drawn or reported. */
#ifndef XP_CHECK_TRIAL_H
#define XP_CHECK_TRIAL_H

#include "check/draw.h"

typedef struct xp_trial {
    bool failed;
    bool vacuous;    /* the expected outputs are nearly all zero */
    double worst;    /* the largest error as a share of its bound */
    char what[1024]; /* of a failure: "max |error| 3.1e-3 at o[1,2,96,7], bound 2.2e-6" */
} xp_trial;

/* A failure of the device (a build error, too) is a failure of the trial; the call itself fails only without memory.
 * `factor` is the permitted multiple of the single-precision reference's error. */
xp_status xp_trial_run(xp_trial *out, xp_draw *draw, xp_device *device, double factor);

#endif
