/* The tuner's two halves: a trial, which a child process runs, and the search, which starts trials. */
#ifndef XP_TOOLS_TUNE_H
#define XP_TOOLS_TUNE_H

#include "synthetic.h"

#include <jansson.h>

#define XP_TRIAL_WORD "--trial" /* expanse tune --trial DEFAULTS CANDIDATES STEPS [the flags of expanse tune] */

/* ---- tune_trial.c: one plan beside another, step by step in turn ---- */

/* Trains `steps` steps with the tuning table `defaults` and, unless it is NULL, as many with `candidates`, in turn, and
 * answers the parent process with
 *   {"step": seconds, "ratio": of the whole step, "questions": [{"kernel", "operation", "shape", "entry", "parameters":
 *    [{"name", "default", "values"}], "seconds", "ratio"}]}
 * Seconds are medians of the defaults' steps, ratios medians of candidates over defaults. Ends after the first pair
 * when no question gains. XP_BAD_DATA: the candidates' loss is not the defaults'. */
xp_status xp_tune_trial(const xp_synthetic_shape *shape, const xp_device_options *options, const char *defaults,
                        const char *candidates, int steps);

/* ---- tune_search.c ---- */

typedef struct xp_tune_options {
    const char *const *words; /* the flags of this call, for the trials; ends in NULL */
    const char *device, *family;
    const char *output; /* the table to write into */
    const char *trials; /* JSON of what was tried before, and is tried now; NULL: none is kept */
    double seconds;     /* to search */
    double limit;       /* seconds for a trial beside its steps: one that takes longer counts as hanging */
    bool quiet;
} xp_tune_options;

/* Searches, verifies, confirms, writes the winners. Prints its progress. */
xp_status xp_tune_search(const xp_tune_options *options);

#endif
