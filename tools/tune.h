/* The tuner: a trial, which a child process runs, the search, which starts trials, and the short search before a
 * device's first longer training. */
#ifndef XP_TOOLS_TUNE_H
#define XP_TOOLS_TUNE_H

#include "synthetic.h"
#include "table.h"

#include <jansson.h>

/* expanse tune --trial DEFAULTS CANDIDATES ORDER STEPS [the flags of expanse tune] */
#define XP_TRIAL_WORD    "--trial"
#define XP_TRIAL_IN_TURN "in-turn"
#define XP_TRIAL_AFTER   "after"

/* ---- tune_trial.c: one plan beside another ---- */

/* Trains `steps` steps with the tuning table `defaults` and, unless it is NULL, as many with `candidates`, and answers
 * the parent process with
 *   {"step": seconds, "ratios": of the whole step, "questions": [{"kernel", "operation", "shape", "entry", "parameters":
 *    [{"name", "default", "values", "settles"}], "seconds", "ratios", "lasting", "reached": {"kernel", "values"}}]}
 * Seconds are medians of the defaults' steps, ratios those of candidates over defaults. In turn, a step of one side and
 * one of the other are a pair with a ratio of its own, and the sides take turns in going first. For lasting questions
 * the candidates run after the defaults, and the one ratio is that of the medians. Ends after the first pair when no
 * question gains. XP_BAD_DATA: the candidates' loss is not the defaults'. */
xp_status xp_tune_trial(const xp_synthetic_setup *setup, const xp_device_options *options, const char *defaults,
                        const char *candidates, bool in_turn, int steps);

/* ---- tune_search.c ---- */

enum { XP_TUNE_ROUNDS = 1000000 }; /* more than any search has time for */
typedef struct xp_tune_options {
    const char *const *words; /* the flags of this call, for the trials; ends in NULL */
    const char *device, *family;
    const char *output; /* the table to write into */
    const char *trials; /* JSON of what was tried before, and is tried now; NULL: none is kept */
    const char *filter; /* an expression for the kernels to search; NULL: all that matter */
    long rounds;        /* of candidates, at most, in each pass */
    double seconds;     /* to search */
    double limit;       /* seconds for a trial beside its steps: one that takes longer counts as hanging */
    double at_most; /* seconds for all that follows the first trial: what is not confirmed by then is not believed; 0:
                       no limit */
    bool quiet;     /* no progress */
    bool brief;     /* nothing but the last sentence, which begins with "tuning" */
    xp_table
        *table; /* of xp_tune_columns, gets a row for each kernel, and progress goes with one of text; NULL: none */
} xp_tune_options;

enum { XP_TUNE_COLUMNS = 10 };
extern const xp_column xp_tune_columns[XP_TUNE_COLUMNS];

/* Searches, verifies, confirms, writes the winners; *kept is their number. Prints its progress. XP_INTERRUPTED: a signal
 * came while signals were held. */
xp_status xp_tune_search(const xp_tune_options *options, int *kept);

/* Whether a search was ever begun for the device and its driver, or a table has entries of theirs. */
bool xp_tune_knows(const char *trials, const char *table, const xp_device *device);

/* ---- tune_first.c ---- */

/* A short search for a new run, if the device is not known yet and the run will be long; says so on stdout. `flops`: of
 * the whole run. Returns whether the table has changed. */
bool xp_tune_first(const xp_config *config, const xp_model_shape *shape, const xp_device *device, double flops);

#endif
