/* Shared by the files of the search: its requests and its state. */
#ifndef XP_TUNE_SEARCH_H
#define XP_TUNE_SEARCH_H

#include "core/random.h"
#include "device/tuning.h"
#include "tune/tune.h"

#include <regex.h>

enum { XP_TUNE_STEPS = 3 /* of a trial */, XP_TUNE_REQUESTS = 128, XP_TUNE_COMBINATIONS = 512, XP_TUNE_RATIOS = 64 };
enum { XP_TUNE_VALUES_TEXT = 160 };
#define XP_TUNE_UNTRIED  0.0
#define XP_TUNE_REJECTED (-1.0)

/* A kernel at a shape, and the combinations of values that it may have. */
typedef struct xp_tune_request {
    json_t *about; /* as the trial reported it */
    const char *kernel, *shape, *operation;
    double share;
    int parameters, sizes[XP_TUNING_PARAMETERS], combinations, fallback, base /* what it is compared with */, pick,
        best;
    long values[XP_TUNING_PARAMETERS][XP_TUNING_VALUES], exclusive[XP_TUNING_PARAMETERS];
    double ratio[XP_TUNE_COMBINATIONS]; /* candidate over default; XP_TUNE_UNTRIED, XP_TUNE_REJECTED */
    bool searched, persistent;
    int group; /* the number of its kernel */
} xp_tune_request;

typedef struct xp_search {
    const xp_tune_options *options;
    const xp_tune_callbacks *callbacks;
    xp_tune_request *requests;
    int count, kernels, joint_kernels /* before the persistent ones */, rounds, failures;
    int first, last;                    /* kernels [first, last) are searched in this pass */
    double step_seconds, end, deadline; /* by the clock; deadline 0: none */
    char folder[64], defaults[96], candidates[96];
    json_t *trials, *verified; /* by kernel and values: whether they are right */
    regex_t filter;            /* of kernels to search, where options->filter is given */
    xp_random random;
} xp_search;

/* ---- request.c: a combination is a number with one digit for each parameter, the first the lowest
 * ----------------- */

/* `about` is retained. false: its default is not one of its values, or there are too many. */
bool xp_tune_read_request(const xp_search *s, xp_tune_request *q, json_t *about);
/* Computes the share of the step of a request, and whether it is worth a search. */
void xp_tune_weigh(const xp_search *s, xp_tune_request *q, double seconds);
int xp_tune_digit(const xp_tune_request *q, int combination, int parameter);
json_t *xp_tune_entry(const xp_tune_request *q, int combination); /* of a table. NULL: memory ran out */
void xp_tune_print_values(const xp_tune_request *q, int combination, char text[XP_TUNE_VALUES_TEXT]); /* "LANES=8 …" */

/* ---- candidates.c: what to try next
 * ------------------------------------------------------------------------------- */

/* One combination for a kernel: every third time a random one, else a neighbour of the best of the leading request.
 * Requests that have tried it are unchanged. Returns whether anything is left to try. */
bool xp_tune_pick(xp_search *s, int kernel);

/* ---- tried.c: what was tried before
 * ------------------------------------------------------------------------------- */

xp_status xp_tune_load_tried(xp_search *s);
void xp_tune_remember(xp_search *s, const xp_tune_request *q, int combination);
void xp_tune_recall(xp_search *s, xp_tune_request *q);
void xp_tune_save_tried(const xp_search *s);

/* ---- search.c: trials and passes
 * ---------------------------------------------------------------------------------- */

bool xp_tune_too_late(const xp_search *s);
xp_status xp_tune_check_stop(const xp_search *s);
void xp_tune_report_rejected(const xp_search *s, const char *kernel, const char *values, const char *reason);
xp_status xp_tune_merge(const char *path, const json_t *entries); /* entries NULL: memory ran out */
/* Steps of the chosen combinations (NULL: of the defaults alone). *answer is NULL if there is none: *reply has the
 * reason. The caller releases it. */
xp_status xp_tune_run_trial(xp_search *s, const int *chosen, int steps, json_t **answer, xp_tune_reply *reply);
/* The ratios of one request, or of the whole step; returns their number. */
int xp_tune_read_ratios(const json_t *told, double ratios[XP_TUNE_RATIOS]);
double xp_tune_median_ratio(const json_t *told);

/* ---- winners.c
 * ---------------------------------------------------------------------------------------------------- */

/* Whether it is one of this pass. */
bool xp_tune_in_pass(const xp_search *s, const xp_tune_request *q);
/* Verifies and confirms the winners of this pass and writes those whose gain is certain. They are what later passes are
 * compared with. */
xp_status xp_tune_conclude(xp_search *s, int *kept);

#endif
