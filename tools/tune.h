/* How the command runs the tuner: trials and checks are this command again, as child processes. */
#ifndef XP_TOOLS_TUNE_H
#define XP_TOOLS_TUNE_H

#include "train/config.h"
#include "tune/tune.h"

/* expanse tune --trial DEFAULTS CANDIDATES ORDER STEPS [the flags of expanse tune] */
#define XP_TRIAL_WORD    "--trial"
#define XP_TRIAL_IN_TURN "in-turn"
#define XP_TRIAL_AFTER   "after"

/* ---- tune_child.c ---- */

/* What the children are told beside their task. */
typedef struct xp_tune_children {
    const char *const *words;    /* the flags of expanse tune, for the trials; ends in NULL */
    const char *device, *family; /* for the checks; NULL: the default */
} xp_tune_children;

/* The functions of xp_tune_callbacks that start processes; `user` begins with an xp_tune_children. */
xp_status xp_tune_child_trial(void *user, const xp_tune_order *order, double seconds, xp_tune_reply *reply);
xp_status xp_tune_child_check(void *user, const char *operation, const char *table, int cases, double seconds,
                              bool *right);

/* ---- tune_first.c ---- */

/* A short search for a new run, if the device is not known yet and the run will be long; says so on stdout. `flops`: of
 * the whole run. Returns whether the table has changed. */
bool xp_tune_first(const xp_config *config, const xp_model_shape *shape, const xp_device *device, double flops);

#endif
