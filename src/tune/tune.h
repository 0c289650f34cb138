/* The tuner: the search for the fastest parameters of all kernels of a training step at once. Decides what is tried,
 * which gains are significant, and what is written to the tuning table. Prints nothing and starts no process: functions
 * of the caller run what may crash or hang a driver, and report what was found. */
#ifndef XP_TUNE_TUNE_H
#define XP_TUNE_TUNE_H

#include "core/statistics.h"
#include "core/writer.h"
#include "device/device.h"
#include "train/config.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- a trial ----------------------------------------------------------------------------------------------------- */

typedef struct xp_tune_order {
    const char *defaults;   /* a file with a tuning table */
    const char *candidates; /* another one; NULL: run only the defaults */
    bool in_turn;           /* steps alternate; else all steps with the defaults come first */
    int steps;
} xp_tune_order;

/* Trains `steps` steps with the tuning table `defaults` and, unless it is NULL, as many with `candidates`, and writes
 *   {"step": seconds, "ratios": of the whole step, "requests": [{"kernel", "operation", "shape", "entry", "parameters":
 *    [{"name", "default", "values", "exclusive"}], "seconds", "ratios", "persistent",
 *    "requires": {"kernel", "values"}}], "note": of the defaults' plans (xp_session_note)}
 * Seconds are medians of the defaults' steps, ratios those of candidates over defaults. In turn, a step of one side and
 * one of the other are a pair with a ratio of its own, and the sides take turns in going first. For persistent requests
 * the candidates run after the defaults, and the one ratio is that of the medians. Ends after the first pair if no
 * request becomes faster. Sets EXPANSE_TUNING in the process. XP_BAD_DATA: the candidates' loss is not the
 * defaults'. */
xp_status xp_tune_trial(const xp_config *config, const xp_model_shape *shape, const xp_device_options *options,
                        const xp_tune_order *order, xp_writer *answer);

/* ---- the search -------------------------------------------------------------------------------------------------- */

enum { XP_TUNE_ROUNDS = 1000000, XP_TUNE_REASON = 512 }; /* rounds: more than any search has time for */

typedef struct xp_tune_reply {
    char *answer; /* of xp_tune_trial, from malloc; freed by the search. NULL: none */
    size_t length;
    xp_status status;            /* without an answer: how the trial failed; XP_OK: it crashed, hung or said nothing */
    char reason[XP_TUNE_REASON]; /* without an answer: why, in one line */
} xp_tune_reply;

typedef struct xp_tune_progress {
    int rounds, rejected;
    double seconds_left, expected_ratio; /* of the step's time with what was found so far to that of the defaults */
} xp_tune_progress;

/* What was found for a kernel at a shape; texts are valid during the call. */
typedef struct xp_tune_finding {
    const char *kernel, *shape;
    double share;                  /* of the step's time */
    bool searched;                 /* false: it matters too little, or --filter left it out */
    const char *fallback, *chosen; /* "LANES=8 …"; chosen NULL: nothing faster was found */
    xp_interval gain;              /* the default's time over that of the chosen values */
    bool kept;
} xp_tune_finding;

/* The end of a pass. */
typedef struct xp_tune_conclusion {
    int candidates, written; /* kernels and shapes that something faster was found for, and those that were kept */
    double ratio;            /* of the step's time with all candidates to that without */
    bool late;               /* the time was up before the candidates could be confirmed */
} xp_tune_conclusion;

/* What the caller does for a search. The first two start processes, and return something else than XP_OK only where
 * that is not possible, or with XP_INTERRUPTED. The others only report; each of those may be NULL. */
typedef struct xp_tune_callbacks {
    void *user;
    /* Runs xp_tune_trial in a separate process for at most `seconds`. */
    xp_status (*trial)(void *user, const xp_tune_order *order, double seconds, xp_tune_reply *reply);
    /* Compares this number of cases of the operation with the reference in a separate process, with this tuning
     * table. */
    xp_status (*check)(void *user, const char *operation, const char *table, int cases, double seconds, bool *right);
    void (*note)(void *user, const char *text); /* at the beginning, if a user should know something of the kernels */
    void (*rejected)(void *user, const char *kernel, const char *values, const char *reason);
    void (*progress)(void *user, const xp_tune_progress *progress); /* after each round */
    void (*finding)(void *user, const xp_tune_finding *finding);    /* at the end of a pass, for each of its kernels */
    void (*conclude)(void *user, const xp_tune_conclusion *conclusion);
    const volatile sig_atomic_t *stop; /* nonzero: end with XP_INTERRUPTED; NULL: never */
} xp_tune_callbacks;

typedef struct xp_tune_options {
    const char *output; /* the table to write to */
    const char *trials; /* JSON of all trials, earlier ones included; NULL: none is kept */
    const char *filter; /* an expression for the kernels to search; NULL: all that matter */
    long rounds;        /* of candidates, at most, in each pass */
    double seconds;     /* to search */
    double limit;       /* seconds for a trial beside its steps: one that takes longer counts as hanging */
    double at_most; /* seconds after the first trial; gains that are not confirmed by then are discarded; 0: no limit */
    bool brief;     /* one pass, and fewer pairs to confirm it */
} xp_tune_options;

/* Searches, verifies, confirms, writes the winners; *kept is their number. XP_INTERRUPTED: it was stopped. If the first
 * trial fails, its failure is returned. */
xp_status xp_tune_search(const xp_tune_options *options, const xp_tune_callbacks *callbacks, int *kept);

/* ---- the search before a first training
 * --------------------------------------------------------------------------- */

/* Whether a run with this number of operations is long enough for a search, and no search was ever begun for the device
 * and the table has no entries for it. */
bool xp_tune_is_due(const xp_device *device, double flops, const char *trials, const char *table);

/* A search that is short beside such a run. */
void xp_tune_options_brief(xp_tune_options *options, const char *trials, const char *table);

#endif
