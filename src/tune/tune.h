/* The tuner: the search for the fastest parameters of all kernels of a training step at once. Owns what is tried, what
 * is believed and what is written into the tuning table. Prints nothing and starts no process: what a driver may crash or
 * hang at is done by the caller's functions, and so is the report of what was found. */
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
    const char *candidates; /* another one; NULL: the defaults alone are run */
    bool in_turn;           /* a step of one, then a step of the other; else all of the defaults first */
    int steps;
} xp_tune_order;

/* Trains `steps` steps with the tuning table `defaults` and, unless it is NULL, as many with `candidates`, and writes
 *   {"step": seconds, "ratios": of the whole step, "questions": [{"kernel", "operation", "shape", "entry", "parameters":
 *    [{"name", "default", "values", "settles"}], "seconds", "ratios", "lasting", "reached": {"kernel", "values"}}]}
 * Seconds are medians of the defaults' steps, ratios those of candidates over defaults. In turn, a step of one side and
 * one of the other are a pair with a ratio of its own, and the sides take turns in going first. For lasting questions
 * the candidates run after the defaults, and the one ratio is that of the medians. Ends after the first pair when no
 * question gains. Sets EXPANSE_TUNING in the process. XP_BAD_DATA: the candidates' loss is not the defaults'. */
xp_status xp_tune_trial(const xp_config *config, const xp_model_shape *shape, const xp_device_options *options,
                        const xp_tune_order *order, xp_writer *answer);

/* ---- the search -------------------------------------------------------------------------------------------------- */

enum { XP_TUNE_ROUNDS = 1000000, XP_TUNE_REASON = 512 }; /* rounds: more than any search has time for */

typedef struct xp_tune_reply {
    char *answer; /* of xp_tune_trial, from malloc; freed by the search. NULL: there is none */
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

/* What the caller does for a search. The first two start processes, and return something else than XP_OK only where that
 * is not possible, or with XP_INTERRUPTED. The others only report; each of those may be NULL. */
typedef struct xp_tune_callbacks {
    void *user;
    /* Has a process of its own run xp_tune_trial for at most `seconds`. */
    xp_status (*trial)(void *user, const xp_tune_order *order, double seconds, xp_tune_reply *reply);
    /* Has a process of its own compare so many cases of the operation with the reference, with this tuning table. */
    xp_status (*check)(void *user, const char *operation, const char *table, int cases, double seconds, bool *right);
    void (*rejected)(void *user, const char *kernel, const char *values, const char *reason);
    void (*progress)(void *user, const xp_tune_progress *progress); /* after each round */
    void (*finding)(void *user, const xp_tune_finding *finding);    /* at the end of a pass, for each of its kernels */
    void (*conclude)(void *user, const xp_tune_conclusion *conclusion);
    const volatile sig_atomic_t *stop; /* nonzero: end with XP_INTERRUPTED; NULL: never */
} xp_tune_callbacks;

typedef struct xp_tune_options {
    const char *output; /* the table to write into */
    const char *trials; /* JSON of what was tried before, and is tried now; NULL: none is kept */
    const char *filter; /* an expression for the kernels to search; NULL: all that matter */
    long rounds;        /* of candidates, at most, in each pass */
    double seconds;     /* to search */
    double limit;       /* seconds for a trial beside its steps: one that takes longer counts as hanging */
    double at_most; /* seconds for all that follows the first trial: what is not confirmed by then is not believed; 0:
                       no limit */
    bool brief;     /* one pass, and fewer pairs to confirm it */
} xp_tune_options;

/* Searches, verifies, confirms, writes the winners; *kept is their number. XP_INTERRUPTED: it was asked to stop. Where
 * already the first trial fails, that is the failure. */
xp_status xp_tune_search(const xp_tune_options *options, const xp_tune_callbacks *callbacks, int *kept);

/* ---- the search before a first training --------------------------------------------------------------------------- */

/* Whether a run of so many operations is long enough on a device for which no search was ever begun, and for which the
 * table has no entries. */
bool xp_tune_is_due(const xp_device *device, double flops, const char *trials, const char *table);

/* A search that is short beside such a run. */
void xp_tune_options_brief(xp_tune_options *options, const char *trials, const char *table);

#endif
