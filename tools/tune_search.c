/* The search for the fastest parameters of all kernels of a training step at once: each round every question (a kernel
 * at a shape) gets a candidate, and one child process times them all beside the defaults, in turn, launch by launch.
 * Lasting questions, whose values a process cannot take back, come in a second pass, on top of what the first one kept,
 * and are timed after the defaults.
 * Owns the order of the search, what is believed, and the progress that is printed; knows no kernel. */
#include "tune.h"

#include "child.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/random.h"
#include "core/text.h"
#include "core/writer.h"
#include "device/tuning.h"
#include "signals.h"

#include <math.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fewer than six pairs do not bound a median; of nine, one may be an outlier. */
enum { TRIAL_STEPS = 3, FINAL_PAIRS = 9, FEWEST_PAIRS = 6, MOST_QUESTIONS = 128, MOST_COMBINATIONS = 512 };
enum { CHECK_CASES = 60, MOST_RATIOS = 64 };
static const double LEAST_SHARE = 0.005; /* of the step: questions below it are left alone */
static const double LEAST_GAIN = 1.03;   /* in the search; less is not worth a confirmation */
static const double LASTING_PART = 0.3;  /* of the time, at least, where there are lasting questions */
static const double UNTRIED = 0, REJECTED = -1;

typedef struct question {
    json_t *about; /* as the trial told it */
    const char *kernel, *shape, *operation;
    double share;
    int parameters, sizes[XP_TUNING_PARAMETERS], combinations, fallback, base /* what it is compared with */, pick,
        best;
    long values[XP_TUNING_PARAMETERS][XP_TUNING_VALUES], settles[XP_TUNING_PARAMETERS];
    double ratio[MOST_COMBINATIONS]; /* candidate over default; UNTRIED, REJECTED */
    bool searched, lasting;
    int group; /* the number of its kernel */
} question;

typedef struct search {
    const xp_tune_options *options;
    question *questions;
    int count, kernels, joint_kernels /* before the lasting ones */, rounds, failures;
    int first, last;                    /* kernels [first, last) are searched in this pass */
    double step_seconds, end, deadline; /* by the clock; deadline 0: none */
    char folder[64], defaults[96], candidates[96];
    json_t *trials, *verified; /* by kernel and values: whether they are right */
    regex_t filter;            /* of kernels to search, where options->filter is given */
    xp_random random;
} search;

/* What is printed as it happens, where the results are text. */
static void tell(const search *s, const char *format, ...) {
    va_list words;
    if (!s->options->table || s->options->table->format != XP_TABLE_TEXT) return;
    va_start(words, format);
    vprintf(format, words);
    va_end(words);
}

static bool too_late(const search *s) {
    return s->deadline > 0 && xp_clock() >= s->deadline;
}

static xp_status check_stop(void) {
    return xp_signal_asked ? xp_fail(XP_INTERRUPTED, "stopped while tuning") : XP_OK;
}

static const char *clear_line = ""; /* on a terminal, what takes the line of progress away */

/* ---- candidates -------------------------------------------------------------------------------------------------- */

/* A combination is a number with one digit for each parameter, the first the lowest. */
static int digit(const question *q, int combination, int parameter) {
    for (int p = 0; p < parameter; p++) combination /= q->sizes[p];
    return combination % q->sizes[parameter];
}

/* NULL: memory ended. */
static json_t *entry_of(const question *q, int combination) {
    json_t *about = json_object_get(q->about, "entry"), *entry = json_copy(about), *values = json_object();
    const bool whole = entry && json_equal(entry, about); /* json_copy does not tell what it leaves out */
    for (int p = 0; p < q->parameters; p++) {
        const json_t *parameter = json_array_get(json_object_get(q->about, "parameters"), (size_t)p);
        values = xp_json_set(values, json_string_value(json_object_get(parameter, "name")),
                             json_integer(q->values[p][digit(q, combination, p)]));
    }
    entry = xp_json_set(entry, "values", values);
    if (whole) return entry;
    json_decref(entry);
    return NULL;
}

/* The same for every shape; `changed` (NULL: nothing) is laid over it. NULL: memory ended. */
static json_t *entry_for_all(const question *q, int combination, json_t *changed) {
    json_t *entry = xp_json_set(entry_of(q, combination), "shape", json_string("*"));
    if (!entry || !changed || json_object_update(entry, changed) == 0) return entry;
    json_decref(entry);
    return NULL;
}

static void print_values(const question *q, int combination, char *out, size_t size) {
    out[0] = '\0';
    for (int p = 0; p < q->parameters; p++) {
        const json_t *parameter = json_array_get(json_object_get(q->about, "parameters"), (size_t)p);
        xp_text_add(out, size, "%s%s=%ld", p ? " " : "", json_string_value(json_object_get(parameter, "name")),
                    q->values[p][digit(q, combination, p)]);
    }
}

/* The combination that stands for all that are the same: those of a settling value, whatever the other parameters. */
static int representative(const question *q, int combination) {
    for (int p = 0, unit = 1; p < q->parameters; unit *= q->sizes[p++]) {
        const int own = digit(q, combination, p);
        if (q->settles[p] && q->values[p][own] == q->settles[p])
            return q->fallback + (own - digit(q, q->fallback, p)) * unit;
    }
    return combination;
}

/* Untried, and of no value that has failed three times and never worked. */
static bool worth_trying(const question *q, int combination) {
    if (q->ratio[combination] != UNTRIED || representative(q, combination) != combination) return false;
    for (int p = 0; p < q->parameters; p++) {
        int failed = 0, worked = 0;
        for (int c = 0; c < q->combinations; c++)
            if (digit(q, c, p) == digit(q, combination, p))
                failed += q->ratio[c] == REJECTED, worked += q->ratio[c] > 0;
        if (failed >= 3 && worked == 0) return false;
    }
    return true;
}

static int random_untried(search *s, const question *q) {
    int untried = 0, chosen = q->fallback;
    for (int c = 0; c < q->combinations; c++)
        if (worth_trying(q, c) && xp_random_below(&s->random, (uint32_t)++untried) == 0) chosen = c;
    return chosen;
}

/* An untried combination one step away from the best in one parameter; the default where there is none. */
static int untried_neighbour(search *s, const question *q) {
    int found = 0, chosen = q->fallback;
    for (int p = 0, unit = 1; p < q->parameters; unit *= q->sizes[p++])
        for (int step = -1; step <= 1; step += 2) {
            const int at = digit(q, q->best, p) + step;
            if (at < 0 || at >= q->sizes[p]) continue;
            const int c = representative(q, q->best + step * unit);
            if (!worth_trying(q, c)) continue;
            if (xp_random_below(&s->random, (uint32_t)++found) == 0) chosen = c;
        }
    return chosen;
}

/* A question of the kernel that has something left to try, more often one with a large share; NULL: there is none. */
static question *leader_of(search *s, int kernel) {
    question *leader = NULL;
    double sum = 0;
    for (int i = 0; i < s->count; i++) {
        question *q = &s->questions[i];
        if (q->group != kernel || !q->searched || random_untried(s, q) == q->fallback) continue;
        sum += q->share;
        if (xp_random_unit(&s->random) * sum <= q->share) leader = q;
    }
    return leader;
}

/* One combination for a kernel: every third time any, else a neighbour of the leading question's best. Questions that
 * know it already stay as they are. Returns whether anything is left to try. */
static bool pick(search *s, int kernel) {
    const question *leader = leader_of(s, kernel);
    int combination = 0;
    if (leader) {
        combination = s->rounds % 3 == 0 ? leader->fallback : untried_neighbour(s, leader);
        if (combination == leader->fallback) combination = random_untried(s, leader);
    }
    for (int i = 0; i < s->count; i++) {
        question *q = &s->questions[i];
        if (q->group != kernel) continue;
        q->pick = leader && q->searched && q->ratio[combination] == UNTRIED ? combination : q->base;
    }
    return leader != NULL;
}

/* ---- what was tried before --------------------------------------------------------------------------------------- */

static void trial_key(const question *q, int combination, char *out, size_t size) {
    static const char *const parts[] = {"device", "driver", "kernel", "version", "shape"};
    const json_t *entry = json_object_get(q->about, "entry");
    char values[160];
    out[0] = '\0';
    for (int i = 0; i < 5; i++) xp_text_add(out, size, "%s | ", json_string_value(json_object_get(entry, parts[i])));
    print_values(q, combination, values, sizeof values);
    xp_text_add(out, size, "%s", values);
}

static void remember(search *s, const question *q, int combination) {
    char key[600];
    trial_key(q, combination, key, sizeof key);
    json_object_set_new(s->trials, key, json_real(q->ratio[combination]));
}

static void recall(search *s, question *q) {
    char key[600];
    for (int c = 0; c < q->combinations; c++) {
        trial_key(q, c, key, sizeof key);
        const json_t *ratio = json_object_get(s->trials, key);
        if (!ratio || c == q->fallback) continue;
        q->ratio[c] = json_number_value(ratio);
        if (q->ratio[c] > 0 && q->ratio[c] < q->ratio[q->best]) q->best = c;
    }
}

static void save_trials(const search *s) {
    xp_writer text = {0};
    if (!s->options->trials) return;
    xp_json_write(&text, s->trials, JSON_INDENT(1) | JSON_REAL_PRECISION(5));
    (void)xp_writer_save(&text, s->options->trials); /* without it, trials are made again */
    xp_writer_release(&text);
}

/* ---- trials ------------------------------------------------------------------------------------------------------ */

/* entries NULL: memory ended. */
static xp_status merge(const char *path, const json_t *entries) {
    return entries ? xp_tuning_merge(path, entries)
                   : xp_fail(XP_OUT_OF_MEMORY, "no memory for the tuning table %s", path);
}

/* A table of the chosen combinations; `chosen` NULL: of what they are compared with. */
static xp_status write_table(const search *s, const char *path, const int *chosen) {
    json_t *entries = json_array();
    for (int i = 0; i < s->count; i++)
        entries = xp_json_append(entries, entry_of(&s->questions[i], chosen ? chosen[i] : s->questions[i].base));
    remove(path);
    const xp_status status = merge(path, entries);
    json_decref(entries);
    return status;
}

/* *answer is NULL when the child gave none: reason tells why. The caller releases it. */
static xp_status run_trial(search *s, const int *chosen, int steps, json_t **answer, char reason[96]) {
    char count[16];
    bool in_turn = true;
    for (int i = 0; i < s->count && chosen; i++)
        in_turn = in_turn && !(s->questions[i].lasting && chosen[i] != s->questions[i].base);
    const char *words[80] = {
        "tune", XP_TRIAL_WORD, s->defaults, chosen ? s->candidates : "-", in_turn ? XP_TRIAL_IN_TURN : XP_TRIAL_AFTER,
        count};
    for (int i = 0; s->options->words[i] && i < 70; i++) words[6 + i] = s->options->words[i];
    snprintf(count, sizeof count, "%d", steps);
    if (chosen) XP_TRY(write_table(s, s->candidates, chosen));
    /* The limit is for a start and a compilation; the first, of which nothing is known, has ten minutes at least. */
    double limit =
        s->step_seconds > 0 ? s->options->limit + 4 * s->step_seconds * (steps + 1) : fmax(600, s->options->limit);
    if (s->deadline > 0 && limit > s->deadline - xp_clock()) limit = s->deadline - xp_clock();
    xp_child child;
    XP_TRY(check_stop());
    XP_TRY(xp_child_run(words, NULL, limit, &child));
    XP_TRY(check_stop());
    *answer = child.answered ? json_loads(child.answer, 0, NULL) : NULL;
    snprintf(reason, 96, "%s", child.reason);
    free(child.answer);
    return XP_OK;
}

/* The ratios of one question, or of the whole step; returns how many there are. */
static int read_ratios(const json_t *told, double ratios[MOST_RATIOS]) {
    const json_t *list = json_object_get(told, "ratios");
    int count = 0;
    for (; count < (int)json_array_size(list) && count < MOST_RATIOS; count++)
        ratios[count] = json_number_value(json_array_get(list, (size_t)count));
    return count;
}

static double median_ratio(const json_t *told) {
    double ratios[MOST_RATIOS];
    const int count = read_ratios(told, ratios);
    return count ? xp_median_interval(ratios, count).median : 1;
}

static void take_ratios(search *s, const json_t *answer, const int *chosen) {
    for (int i = 0; i < s->count; i++) {
        question *q = &s->questions[i];
        if (chosen[i] == q->base) continue;
        const json_t *told = json_array_get(json_object_get(answer, "questions"), (size_t)i);
        q->ratio[chosen[i]] = median_ratio(told);
        if (q->ratio[chosen[i]] < q->ratio[q->best]) q->best = chosen[i];
        remember(s, q, chosen[i]);
    }
}

static void reject(search *s, int kernel, const char *reason) {
    const question *told = NULL;
    char values[160];
    for (int i = 0; i < s->count; i++) {
        question *q = &s->questions[i];
        if (q->group != kernel || q->pick == q->base) continue;
        q->ratio[q->pick] = REJECTED;
        remember(s, q, q->pick);
        told = q;
    }
    s->failures++;
    print_values(told, told->pick, values, sizeof values);
    tell(s, "%srejected: %s %s: %s\n", clear_line, told->kernel, values, reason);
}

/* Tries kernels [first, last) with their picks, the others as they were; where that fails, each half of them
 * alone, down to the one whose candidate is to blame. */
static xp_status try_range(search *s, int first, int last) {
    int chosen[MOST_QUESTIONS], tried = 0;
    for (int i = 0; i < s->count; i++) {
        const question *q = &s->questions[i];
        chosen[i] = q->group >= first && q->group < last ? q->pick : q->base;
        tried += chosen[i] != q->base;
    }
    if (tried == 0) return XP_OK;
    json_t *answer = NULL;
    char reason[96];
    XP_TRY(run_trial(s, chosen, TRIAL_STEPS, &answer, reason));
    if (answer) {
        take_ratios(s, answer, chosen);
        json_decref(answer);
        return XP_OK;
    }
    if (too_late(s)) return XP_OK;
    if (last - first == 1) {
        reject(s, first, reason);
        return XP_OK;
    }
    XP_TRY(try_range(s, first, (first + last) / 2));
    return try_range(s, (first + last) / 2, last);
}

/* ---- the questions ----------------------------------------------------------------------------------------------- */

static void weigh(const search *s, question *q, double seconds) {
    q->share = seconds / s->step_seconds;
    const bool wanted = s->options->filter ? regexec(&s->filter, q->kernel, 0, NULL, 0) == 0 : q->share >= LEAST_SHARE;
    q->searched = wanted && q->share > 0 && q->combinations > 1;
}

static bool read_question(const search *s, question *q, json_t *about) {
    *q = (question){.about = json_incref(about),
                    .kernel = json_string_value(json_object_get(about, "kernel")),
                    .shape = json_string_value(json_object_get(about, "shape")),
                    .operation = json_string_value(json_object_get(about, "operation")),
                    .lasting = json_is_true(json_object_get(about, "lasting")),
                    .combinations = 1};
    const json_t *parameters = json_object_get(about, "parameters");
    q->parameters = (int)json_array_size(parameters);
    for (int p = 0; p < q->parameters; p++) {
        const json_t *parameter = json_array_get(parameters, (size_t)p), *values = json_object_get(parameter, "values");
        const long fallback = (long)json_integer_value(json_object_get(parameter, "default"));
        int at = -1;
        q->settles[p] = (long)json_integer_value(json_object_get(parameter, "settles"));
        q->sizes[p] = (int)json_array_size(values);
        for (int v = 0; v < q->sizes[p]; v++) {
            q->values[p][v] = (long)json_integer_value(json_array_get(values, (size_t)v));
            if (q->values[p][v] == fallback) at = v;
        }
        if (at < 0) return false;
        q->fallback += at * q->combinations;
        q->combinations *= q->sizes[p];
        if (q->combinations > MOST_COMBINATIONS) return false;
    }
    q->best = q->base = q->fallback;
    q->ratio[q->fallback] = 1;
    weigh(s, q, json_number_value(json_object_get(about, "seconds")));
    return true;
}

/* The lasting ones come last. */
static void number_kernels(search *s) {
    for (int lasting = 0; lasting < 2; lasting++) {
        for (int i = 0; i < s->count; i++) {
            question *q = &s->questions[i];
            int first = 0;
            while (strcmp(s->questions[first].kernel, q->kernel) != 0) first++;
            if (q->lasting == (lasting == 1)) q->group = first < i ? s->questions[first].group : s->kernels++;
        }
        if (!lasting) s->joint_kernels = s->kernels;
    }
}

static xp_status check_filter(const search *s) {
    char names[512] = "";
    if (!s->options->filter) return XP_OK;
    for (int i = 0; i < s->count; i++) {
        const char *kernel = s->questions[i].kernel;
        if (regexec(&s->filter, kernel, 0, NULL, 0) == 0) return XP_OK;
        if (strstr(names, kernel)) continue;
        xp_text_add(names, sizeof names, "%s%s", *names ? ", " : "", kernel);
    }
    return xp_fail(XP_INVALID_ARGUMENT, "--filter: '%s' fits no kernel of the step: there are %s", s->options->filter,
                   names);
}

static xp_status ask(search *s) {
    json_t *answer = NULL;
    char reason[96];
    XP_TRY(write_table(s, s->defaults, NULL)); /* empty: no question is known yet, and the built-in table holds */
    XP_TRY(run_trial(s, NULL, TRIAL_STEPS, &answer, reason));
    if (!answer)
        return xp_fail(
            XP_DEVICE_ERROR,
            "a training step with the default kernels does not run (%s): expanse bench step with the same flags "
            "shows why",
            reason);
    const json_t *list = json_object_get(answer, "questions");
    const size_t count = json_array_size(list);
    s->step_seconds = json_number_value(json_object_get(answer, "step"));
    s->questions = calloc(count + 1, sizeof *s->questions);
    xp_status status =
        s->questions && count <= MOST_QUESTIONS
            ? XP_OK
            : xp_fail(XP_UNSUPPORTED, "a step with %zu kernels to tune: at most %d", count, MOST_QUESTIONS);
    for (size_t i = 0; i < count && status == XP_OK; i++, s->count++)
        if (!read_question(s, &s->questions[i], json_array_get(list, i)))
            status = xp_fail(XP_UNSUPPORTED, "the default of %s is not among its values, or these are too many",
                             s->questions[i].kernel);
    json_decref(answer);
    number_kernels(s);
    if (status == XP_OK) status = check_filter(s);
    if (status != XP_OK) return status;
    for (int i = 0; i < s->count; i++) recall(s, &s->questions[i]);
    return write_table(s, s->defaults, NULL);
}

static bool in_pass(const search *s, const question *q) {
    return q->group >= s->first && q->group < s->last;
}

/* Of the whole step, from the ratios of this pass's questions. */
static double expected_ratio(const search *s) {
    double ratio = 1;
    for (int i = 0; i < s->count; i++) {
        const question *q = &s->questions[i];
        if (in_pass(s, q)) ratio -= q->share * (1 - q->ratio[q->best]);
    }
    return ratio;
}

static void print_progress(const search *s) {
    const double left = s->end - xp_clock();
    if (s->options->quiet) return;
    tell(s, "%sround %d, %d rejected, %.0f s left: the step may fall to %.1f %%%s", clear_line, s->rounds, s->failures,
         left > 0 ? left : 0, 100 * expected_ratio(s), *clear_line ? "" : "\n");
    fflush(stdout);
}

/* ---- winners ----------------------------------------------------------------------------------------------------- */

/* Ragged random shapes of the operation with the candidate's values, and what else leads to its kernel, for every one
 * of them. */
static xp_status verify(search *s, const question *q, int combination, bool *right) {
    char path[96], filter[96], cases[16], key[240];
    const size_t length = (size_t)snprintf(key, sizeof key, "%s ", q->kernel);
    print_values(q, combination, key + length, sizeof key - length);
    const json_t *known = json_object_get(s->verified, key);
    *right = json_is_true(known);
    if (known) return XP_OK;
    snprintf(path, sizeof path, "%s/check.json", s->folder);
    snprintf(filter, sizeof filter, "^%s$", q->operation);
    snprintf(cases, sizeof cases, "%d", CHECK_CASES);
    json_t *reached = json_object_get(q->about, "reached");
    json_t *entries = xp_json_append(json_array(), entry_for_all(q, combination, NULL));
    if (reached) entries = xp_json_append(entries, entry_for_all(q, combination, reached));
    remove(path);
    const xp_status written = merge(path, entries);
    json_decref(entries);
    if (written != XP_OK) return written;
    const char *words[12] = {"check", "--filter", filter, "--cases", cases, "--until-failure"},
               *environment[] = {"EXPANSE_TUNING", path, NULL};
    int used = 6;
    const char *const choices[][2] = {{"--device", s->options->device}, {"--family", s->options->family}};
    for (int i = 0; i < 2; i++)
        if (choices[i][1]) words[used++] = choices[i][0], words[used++] = choices[i][1];
    xp_child child;
    const double limit = s->deadline > 0 ? s->deadline - xp_clock() : fmax(300, s->options->limit);
    XP_TRY(check_stop());
    XP_TRY(xp_child_run(words, environment, limit, &child));
    XP_TRY(check_stop());
    *right = child.code == 0;
    if (too_late(s)) return XP_OK;
    if (!*right)
        tell(s, "%srejected: %s: expanse check finds wrong results (--filter '%s')\n", clear_line, key, filter);
    json_object_set_new(s->verified, key, json_boolean(*right));
    return XP_OK;
}

/* The next best combination that is right, down to the default. */
static xp_status settle(search *s, question *q) {
    while (q->best != q->fallback) {
        bool right;
        XP_TRY(verify(s, q, q->best, &right));
        if (right || too_late(s)) return XP_OK;
        q->ratio[q->best] = REJECTED;
        remember(s, q, q->best);
        q->best = q->fallback;
        for (int c = 0; c < q->combinations; c++)
            if (q->ratio[c] > 0 && q->ratio[c] < q->ratio[q->best]) q->best = c;
    }
    return XP_OK;
}

/* Runs the candidates beside the defaults until there are enough pairs of every question, in *answer. A trial of lasting
 * questions gives one pair. *answer is NULL when a trial failed: reason tells why. */
static xp_status confirm(search *s, const int *chosen, json_t **answer, char reason[96]) {
    bool lasting = false;
    for (int i = 0; i < s->count; i++)
        lasting = lasting || (s->questions[i].lasting && chosen[i] != s->questions[i].base);
    const int pairs = s->options->brief || lasting ? FEWEST_PAIRS : FINAL_PAIRS;
    XP_TRY(run_trial(s, chosen, lasting ? TRIAL_STEPS : pairs, answer, reason));
    for (int trial = 1; lasting && *answer && trial < pairs; trial++) {
        json_t *more = NULL;
        XP_TRY(run_trial(s, chosen, TRIAL_STEPS, &more, reason));
        if (!more) {
            json_decref(*answer);
            *answer = NULL;
            return XP_OK;
        }
        json_array_extend(json_object_get(*answer, "ratios"), json_object_get(more, "ratios"));
        for (int i = 0; i < s->count; i++) {
            json_t *own = json_array_get(json_object_get(*answer, "questions"), (size_t)i);
            const json_t *other = json_array_get(json_object_get(more, "questions"), (size_t)i);
            json_array_extend(json_object_get(own, "ratios"), json_object_get(other, "ratios"));
        }
        json_decref(more);
    }
    return XP_OK;
}

const xp_column xp_tune_columns[XP_TUNE_COLUMNS] = {
    {"kernel", "kernel", XP_CELL_TEXT},
    {"shape", "shape", XP_CELL_TEXT},
    {"share", "% of step", XP_CELL_REAL, .digits = 1, .scale = 100},
    {"searched", "searched", XP_CELL_TRUTH},
    {"default", "default", XP_CELL_TEXT},
    {"found", "faster", XP_CELL_TEXT},
    {"gain", "times as fast", XP_CELL_REAL, .digits = 2},
    {"gain_low", "from", XP_CELL_REAL, .digits = 2}, /* 95 % interval of the median */
    {"gain_high", "to", XP_CELL_REAL, .digits = 2},
    {"kept", "kept", XP_CELL_TRUTH},
};

static void add_row(const search *s, const question *q, int chosen, const xp_interval *gain, bool kept) {
    char before[160], after[160];
    const bool found = chosen != q->fallback;
    if (!s->options->table) return;
    print_values(q, q->fallback, before, sizeof before);
    print_values(q, chosen, after, sizeof after);
    const xp_cell cells[XP_TUNE_COLUMNS] = {{.text = q->kernel},
                                            {.text = q->shape},
                                            {.real = q->share},
                                            {.truth = q->searched},
                                            {.text = before},
                                            {.text = found ? after : NULL},
                                            {.real = found ? gain->median : NAN},
                                            {.real = found && isfinite(gain->low) ? gain->low : NAN},
                                            {.real = found && isfinite(gain->high) ? gain->high : NAN},
                                            {.truth = kept}};
    xp_table_row(s->options->table, cells);
}

/* The one sentence at the end of a pass. */
static void tell_end(const search *s, int candidates, int written, const json_t *answer) {
    const bool brief = s->options->brief;
    const char *why =
        candidates ? "no gain is certain, since every interval reaches down to 1" : "nothing faster was found";
    if (written && brief)
        printf("tuning       a step takes %.0f %% of its time now: %s\n", 100 * median_ratio(answer),
               s->options->output);
    else if (written)
        tell(s, "%s%d entries written to %s: a step with all candidates took %.1f %% of its time without them\n",
             clear_line, written, s->options->output, 100 * median_ratio(answer));
    else if (brief)
        printf("tuning       the defaults stay: %s\n", why);
    else
        tell(s, "%snothing was written: %s\n", clear_line, why);
}

/* Whether the table that is written to has an entry of the question's kernel on this device. */
static bool has_entry(const search *s, const question *q) {
    json_t *entries = NULL, *own = entry_of(q, q->base);
    bool found = false;
    size_t index;
    json_t *each;
    if (xp_tuning_read(s->options->output, true, &entries) != XP_OK) entries = NULL;
    json_array_foreach(entries, index, each) {
        static const char *const keys[] = {"device", "driver", "kernel", "shape"};
        bool same = true;
        for (int k = 0; k < 4; k++)
            same = same && json_equal(json_object_get(each, keys[k]), json_object_get(own, keys[k]));
        found = found || same;
    }
    json_decref(entries);
    json_decref(own);
    return found;
}

/* Verifies and confirms the winners of this pass and writes those whose gain is certain. They are what later passes are
 * compared with. */
static xp_status conclude(search *s, int *kept) {
    int chosen[MOST_QUESTIONS], candidates = 0, written = 0;
    json_t *answer = NULL;
    char reason[96] = "";
    for (int i = 0; i < s->count; i++) {
        question *q = &s->questions[i];
        chosen[i] = q->base;
        if (!in_pass(s, q)) continue;
        if (q->ratio[q->best] > 1 / LEAST_GAIN) q->best = q->fallback;
        XP_TRY(settle(s, q));
        chosen[i] = q->best;
        candidates += chosen[i] != q->fallback;
    }
    save_trials(s);
    if (candidates) XP_TRY(confirm(s, chosen, &answer, reason));
    if (candidates && !answer && too_late(s)) {
        printf("tuning       the defaults stay: nothing could be confirmed within %.0f s; expanse tune goes on from "
               "here\n",
               s->options->at_most);
        return XP_OK;
    }
    if (candidates && !answer) return xp_fail(XP_DEVICE_ERROR, "the winners do not run together: %s", reason);
    json_t *entries = json_array();
    for (int i = 0; i < s->count; i++) {
        question *q = &s->questions[i];
        if (!in_pass(s, q)) continue;
        double ratios[MOST_RATIOS];
        xp_interval gain;
        const int pairs = read_ratios(json_array_get(json_object_get(answer, "questions"), (size_t)i), ratios);
        const bool keep = xp_tuning_gains(ratios, pairs, &gain) && chosen[i] != q->fallback;
        add_row(s, q, chosen[i], &gain, keep);
        if (keep) q->base = chosen[i];
        /* products were timed beside the library's own parameters: an entry of another model's must not stay */
        if (!keep && !(q->lasting && q->searched && has_entry(s, q))) continue;
        json_t *entry = xp_json_set(entry_of(q, q->base), "gain", json_real(keep ? gain.median : 1));
        entries = xp_json_append(entries, entry);
        written += keep;
    }
    const bool none = entries && json_array_size(entries) == 0;
    const xp_status status = none ? XP_OK : merge(s->options->output, entries);
    json_decref(entries);
    if (status == XP_OK) tell_end(s, candidates, written, answer);
    json_decref(answer);
    *kept += written;
    return status;
}

/* ---- passes ------------------------------------------------------------------------------------------------------ */

static xp_status search_kernels(search *s, int first, int last, double end, int *kept) {
    s->first = first;
    s->last = last;
    s->end = end;
    for (long rounds = 0; rounds < s->options->rounds && xp_clock() < s->end; rounds++) {
        bool left = false;
        for (int kernel = first; kernel < last; kernel++) left = pick(s, kernel) || left;
        if (!left) break;
        XP_TRY(try_range(s, first, last));
        s->rounds++;
        save_trials(s);
        print_progress(s);
    }
    return conclude(s, kept);
}

/* Only what the first pass has kept shows how much of the step they are. */
static xp_status search_lasting_kernels(search *s, double end, int *kept) {
    json_t *answer = NULL;
    char reason[96];
    bool any = false;
    XP_TRY(write_table(s, s->defaults, NULL));
    XP_TRY(run_trial(s, NULL, TRIAL_STEPS, &answer, reason));
    if (!answer) return xp_fail(XP_DEVICE_ERROR, "the winners do not run: %s", reason);
    s->step_seconds = json_number_value(json_object_get(answer, "step"));
    for (int i = 0; i < s->count; i++) {
        question *q = &s->questions[i];
        const json_t *told = json_array_get(json_object_get(answer, "questions"), (size_t)i);
        weigh(s, q, json_number_value(json_object_get(told, "seconds")));
        any = any || (q->lasting && q->searched);
    }
    json_decref(answer);
    return any ? search_kernels(s, s->joint_kernels, s->kernels, end, kept) : XP_OK;
}

static void describe_device(const json_t *entry, char *out, size_t size) {
    snprintf(out, size, "%s | %s | ", json_string_value(json_object_get(entry, "device")),
             json_string_value(json_object_get(entry, "driver")));
}

/* That a search was begun is known even if it had no time to try anything. */
static void remember_defaults(search *s) {
    for (int i = 0; i < s->count; i++) remember(s, &s->questions[i], s->questions[i].fallback);
    save_trials(s);
}

bool xp_tune_knows(const char *trials, const char *table, const xp_device *device) {
    char key[400], own[400];
    json_t *tried = json_load_file(trials, 0, NULL), *entries = NULL;
    const int length = snprintf(key, sizeof key, "%s | %s | ", device->name, device->driver);
    const char *name;
    json_t *value;
    bool known = false;
    json_object_foreach(tried, name, value) known = known || strncmp(name, key, (size_t)length) == 0;
    json_decref(tried);
    if (known || xp_tuning_read(table, true, &entries) != XP_OK) return known;
    for (size_t i = 0; i < json_array_size(entries) && !known; i++) {
        describe_device(json_array_get(entries, i), own, sizeof own);
        known = strcmp(own, key) == 0;
    }
    json_decref(entries);
    return known;
}

xp_status xp_tune_search(const xp_tune_options *options, int *kept) {
    *kept = 0;
    search s = {.options = options, .folder = "/tmp/expanse-tune-XXXXXX"};
    if (options->filter && regcomp(&s.filter, options->filter, REG_EXTENDED | REG_NOSUB) != 0)
        return xp_fail(XP_INVALID_ARGUMENT, "--filter: '%s' is no regular expression", options->filter);
    if (!mkdtemp(s.folder)) return xp_fail(XP_IO_ERROR, "no folder for the tuner's tables in /tmp");
    snprintf(s.defaults, sizeof s.defaults, "%s/defaults.json", s.folder);
    snprintf(s.candidates, sizeof s.candidates, "%s/candidates.json", s.folder);
    s.trials = options->trials ? json_load_file(options->trials, 0, NULL) : NULL;
    if (!json_is_object(s.trials)) s.trials = json_object();
    if (isatty(STDOUT_FILENO)) clear_line = "\r\033[K";
    s.verified = json_object();
    xp_random_start(&s.random, (uint64_t)(json_object_size(s.trials) + 1), 0);
    xp_status status = ask(&s);
    if (status == XP_OK) remember_defaults(&s);
    const double start = xp_clock(), end = start + options->seconds;
    const bool both = s.kernels > s.joint_kernels && !options->brief;
    if (options->at_most > 0) s.deadline = start + options->at_most;
    if (status == XP_OK)
        status = search_kernels(&s, 0, s.joint_kernels, both ? end - LASTING_PART * options->seconds : end, kept);
    if (status == XP_OK && both)
        status = search_lasting_kernels(&s, fmax(end, xp_clock() + LASTING_PART * options->seconds), kept);
    for (int i = 0; i < s.count; i++) json_decref(s.questions[i].about);
    free(s.questions);
    if (options->filter) regfree(&s.filter);
    json_decref(s.trials);
    json_decref(s.verified);
    const char *const files[] = {"defaults.json", "candidates.json", "check.json"};
    for (int i = 0; i < 3; i++) {
        char path[96];
        snprintf(path, sizeof path, "%s/%s", s.folder, files[i]);
        remove(path);
    }
    rmdir(s.folder);
    return status;
}
