/* The order of the search: in each round every request (a kernel at a shape) gets a candidate, and one trial times all
 * candidates and the defaults, which take turns, launch by launch. Persistent requests, whose values a process cannot
 * undo, follow in a second pass with the winners of the first one, and are timed after the defaults. Knows no
 * kernel. */
#include "tune/search.h"

#include "core/clock.h"
#include "core/json.h"
#include "core/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double PERSISTENT_PART = 0.3; /* of the time, at least, if there are persistent requests */

bool xp_tune_too_late(const xp_search *s) {
    return s->deadline > 0 && xp_clock() >= s->deadline;
}

xp_status xp_tune_check_stop(const xp_search *s) {
    const bool asked = s->callbacks->stop && *s->callbacks->stop;
    return asked ? xp_fail(XP_INTERRUPTED, "stopped while tuning") : XP_OK;
}

void xp_tune_report_rejected(const xp_search *s, const char *kernel, const char *values, const char *reason) {
    if (s->callbacks->rejected) s->callbacks->rejected(s->callbacks->user, kernel, values, reason);
}

/* ---- trials ------------------------------------------------------------------------------------------------------ */

xp_status xp_tune_merge(const char *path, const json_t *entries) {
    return entries ? xp_tuning_merge(path, entries)
                   : xp_fail(XP_OUT_OF_MEMORY, "no memory for the tuning table %s", path);
}

/* A table of the chosen combinations; `chosen` NULL: of what they are compared with. */
static xp_status write_table(const xp_search *s, const char *path, const int *chosen) {
    json_t *entries = json_array();
    for (int i = 0; i < s->count; i++)
        entries = xp_json_append(entries, xp_tune_entry(&s->requests[i], chosen ? chosen[i] : s->requests[i].base));
    remove(path);
    const xp_status status = xp_tune_merge(path, entries);
    json_decref(entries);
    return status;
}

xp_status xp_tune_run_trial(xp_search *s, const int *chosen, int steps, json_t **answer, xp_tune_reply *reply) {
    xp_tune_order order = {s->defaults, chosen ? s->candidates : NULL, .in_turn = true, .steps = steps};
    *answer = NULL;
    *reply = (xp_tune_reply){.answer = NULL};
    for (int i = 0; i < s->count && chosen; i++)
        order.in_turn = order.in_turn && !(s->requests[i].persistent && chosen[i] != s->requests[i].base);
    if (chosen) XP_TRY(write_table(s, s->candidates, chosen));
    /* The limit is for a start and a compilation; the first, of which nothing is known, has ten minutes at least. */
    double limit =
        s->step_seconds > 0 ? s->options->limit + 4 * s->step_seconds * (steps + 1) : fmax(600, s->options->limit);
    if (s->deadline > 0 && limit > s->deadline - xp_clock()) limit = s->deadline - xp_clock();
    XP_TRY(xp_tune_check_stop(s));
    XP_TRY(s->callbacks->trial(s->callbacks->user, &order, limit, reply));
    json_error_t fault;
    xp_status status = xp_tune_check_stop(s);
    if (status == XP_OK && reply->answer)
        status = xp_json_read("a trial's answer", reply->answer, reply->length, answer, &fault);
    if (status == XP_OK && reply->answer && !*answer)
        snprintf(reply->reason, sizeof reply->reason, "its answer is damaged: %s", fault.text);
    free(reply->answer);
    reply->answer = NULL;
    return status;
}

int xp_tune_read_ratios(const json_t *told, double ratios[XP_TUNE_RATIOS]) {
    const json_t *list = json_object_get(told, "ratios");
    int count = 0;
    for (; count < (int)json_array_size(list) && count < XP_TUNE_RATIOS; count++)
        ratios[count] = json_number_value(json_array_get(list, (size_t)count));
    return count;
}

double xp_tune_median_ratio(const json_t *told) {
    double ratios[XP_TUNE_RATIOS];
    const int count = xp_tune_read_ratios(told, ratios);
    return count ? xp_median_interval(ratios, count).median : 1;
}

static void take_ratios(xp_search *s, const json_t *answer, const int *chosen) {
    for (int i = 0; i < s->count; i++) {
        xp_tune_request *q = &s->requests[i];
        if (chosen[i] == q->base) continue;
        const json_t *told = json_array_get(json_object_get(answer, "requests"), (size_t)i);
        q->ratio[chosen[i]] = xp_tune_median_ratio(told);
        if (q->ratio[chosen[i]] < q->ratio[q->best]) q->best = chosen[i];
        xp_tune_remember(s, q, chosen[i]);
    }
}

static void reject(xp_search *s, int kernel, const char *reason) {
    const xp_tune_request *told = NULL;
    char values[XP_TUNE_VALUES_TEXT];
    for (int i = 0; i < s->count; i++) {
        xp_tune_request *q = &s->requests[i];
        if (q->group != kernel || q->pick == q->base) continue;
        q->ratio[q->pick] = XP_TUNE_REJECTED;
        xp_tune_remember(s, q, q->pick);
        told = q;
    }
    s->failures++;
    xp_tune_print_values(told, told->pick, values);
    xp_tune_report_rejected(s, told->kernel, values, reason);
}

/* Tries kernels [first, last) with their picks, the others as they were; where that fails, each half of them
 * alone, down to the one whose candidate is to blame. */
static xp_status try_range(xp_search *s, int first, int last) {
    int chosen[XP_TUNE_REQUESTS], tried = 0;
    for (int i = 0; i < s->count; i++) {
        const xp_tune_request *q = &s->requests[i];
        chosen[i] = q->group >= first && q->group < last ? q->pick : q->base;
        tried += chosen[i] != q->base;
    }
    if (tried == 0) return XP_OK;
    json_t *answer = NULL;
    xp_tune_reply reply;
    XP_TRY(xp_tune_run_trial(s, chosen, XP_TUNE_STEPS, &answer, &reply));
    if (answer) {
        take_ratios(s, answer, chosen);
        json_decref(answer);
        return XP_OK;
    }
    if (xp_tune_too_late(s)) return XP_OK;
    if (last - first == 1) {
        reject(s, first, reply.reason);
        return XP_OK;
    }
    XP_TRY(try_range(s, first, (first + last) / 2));
    return try_range(s, (first + last) / 2, last);
}

/* The persistent ones come last. */
static void number_kernels(xp_search *s) {
    for (int persistent = 0; persistent < 2; persistent++) {
        for (int i = 0; i < s->count; i++) {
            xp_tune_request *q = &s->requests[i];
            int first = 0;
            while (strcmp(s->requests[first].kernel, q->kernel) != 0) first++;
            if (q->persistent == (persistent == 1)) q->group = first < i ? s->requests[first].group : s->kernels++;
        }
        if (!persistent) s->joint_kernels = s->kernels;
    }
}

static xp_status check_filter(const xp_search *s) {
    char names[512] = "";
    if (!s->options->filter) return XP_OK;
    for (int i = 0; i < s->count; i++) {
        const char *kernel = s->requests[i].kernel;
        if (regexec(&s->filter, kernel, 0, NULL, 0) == 0) return XP_OK;
        if (strstr(names, kernel)) continue;
        xp_text_add(names, sizeof names, "%s%s", *names ? ", " : "", kernel);
    }
    return xp_fail(XP_INVALID_ARGUMENT, "--filter: '%s' matches no kernel of the step: there are %s",
                   s->options->filter, names);
}

static xp_status ask(xp_search *s) {
    json_t *answer = NULL;
    xp_tune_reply reply;
    XP_TRY(write_table(s, s->defaults, NULL)); /* empty: no request is known yet, and the built-in table applies */
    XP_TRY(xp_tune_run_trial(s, NULL, XP_TUNE_STEPS, &answer, &reply));
    if (!answer && reply.status != XP_OK) return xp_fail(reply.status, "%s", reply.reason);
    if (!answer)
        return xp_fail(
            XP_DEVICE_ERROR,
            "a training step with the default kernels does not run (%s): expanse bench step with the same flags "
            "shows why",
            reply.reason);
    const char *note = json_string_value(json_object_get(answer, "note"));
    if (note && *note && s->callbacks->note) s->callbacks->note(s->callbacks->user, note);
    const json_t *list = json_object_get(answer, "requests");
    const size_t count = json_array_size(list);
    s->step_seconds = json_number_value(json_object_get(answer, "step"));
    s->requests = calloc(count + 1, sizeof *s->requests);
    xp_status status =
        s->requests && count <= XP_TUNE_REQUESTS
            ? XP_OK
            : xp_fail(XP_UNSUPPORTED, "a step with %zu kernels to tune: at most %d", count, XP_TUNE_REQUESTS);
    for (size_t i = 0; i < count && status == XP_OK; i++, s->count++)
        if (!xp_tune_read_request(s, &s->requests[i], json_array_get(list, i)))
            status = xp_fail(XP_UNSUPPORTED, "the default of %s is not one of its values, or there are too many",
                             s->requests[i].kernel);
    json_decref(answer);
    number_kernels(s);
    if (status == XP_OK) status = check_filter(s);
    if (status != XP_OK) return status;
    for (int i = 0; i < s->count; i++) xp_tune_recall(s, &s->requests[i]);
    return write_table(s, s->defaults, NULL);
}

/* Of the whole step, from the ratios of the requests of this pass. */
static double expected_ratio(const xp_search *s) {
    double ratio = 1;
    for (int i = 0; i < s->count; i++) {
        const xp_tune_request *q = &s->requests[i];
        if (xp_tune_in_pass(s, q)) ratio -= q->share * (1 - q->ratio[q->best]);
    }
    return ratio;
}

static void report_progress(const xp_search *s) {
    const double left = s->end - xp_clock();
    const xp_tune_progress progress = {s->rounds, s->failures, left > 0 ? left : 0, expected_ratio(s)};
    if (s->callbacks->progress) s->callbacks->progress(s->callbacks->user, &progress);
}

static xp_status search_kernels(xp_search *s, int first, int last, double end, int *kept) {
    s->first = first;
    s->last = last;
    s->end = end;
    for (long rounds = 0; rounds < s->options->rounds && xp_clock() < s->end; rounds++) {
        bool left = false;
        for (int kernel = first; kernel < last; kernel++) left = xp_tune_pick(s, kernel) || left;
        if (!left) break;
        XP_TRY(try_range(s, first, last));
        s->rounds++;
        xp_tune_save_tried(s);
        report_progress(s);
    }
    return xp_tune_conclude(s, kept);
}

/* Only what the first pass has kept shows how much of the step they are. */
static xp_status search_persistent_kernels(xp_search *s, double end, int *kept) {
    json_t *answer = NULL;
    xp_tune_reply reply;
    bool any = false;
    XP_TRY(write_table(s, s->defaults, NULL));
    XP_TRY(xp_tune_run_trial(s, NULL, XP_TUNE_STEPS, &answer, &reply));
    if (!answer) return xp_fail(XP_DEVICE_ERROR, "the winners do not run: %s", reply.reason);
    s->step_seconds = json_number_value(json_object_get(answer, "step"));
    for (int i = 0; i < s->count; i++) {
        xp_tune_request *q = &s->requests[i];
        const json_t *told = json_array_get(json_object_get(answer, "requests"), (size_t)i);
        xp_tune_weigh(s, q, json_number_value(json_object_get(told, "seconds")));
        any = any || (q->persistent && q->searched);
    }
    json_decref(answer);
    return any ? search_kernels(s, s->joint_kernels, s->kernels, end, kept) : XP_OK;
}

/* That a search was begun is known even if it had no time to try anything. */
static void remember_defaults(xp_search *s) {
    for (int i = 0; i < s->count; i++) xp_tune_remember(s, &s->requests[i], s->requests[i].fallback);
    xp_tune_save_tried(s);
}

xp_status xp_tune_search(const xp_tune_options *options, const xp_tune_callbacks *callbacks, int *kept) {
    *kept = 0;
    xp_search s = {.options = options, .callbacks = callbacks, .folder = "/tmp/expanse-tune-XXXXXX"};
    if (options->filter && regcomp(&s.filter, options->filter, REG_EXTENDED | REG_NOSUB) != 0)
        return xp_fail(XP_INVALID_ARGUMENT, "--filter: '%s' is not a regular expression", options->filter);
    if (!mkdtemp(s.folder)) return xp_fail(XP_IO_ERROR, "cannot create a folder for the tables of the tuner in /tmp");
    snprintf(s.defaults, sizeof s.defaults, "%s/defaults.json", s.folder);
    snprintf(s.candidates, sizeof s.candidates, "%s/candidates.json", s.folder);
    s.verified = json_object();
    xp_status status = xp_tune_load_tried(&s);
    xp_random_start(&s.random, (uint64_t)(json_object_size(s.trials) + 1), 0);
    if (status == XP_OK) status = ask(&s);
    if (status == XP_OK) remember_defaults(&s);
    const double start = xp_clock(), end = start + options->seconds;
    const bool both = s.kernels > s.joint_kernels && !options->brief;
    if (options->at_most > 0) s.deadline = start + options->at_most;
    if (status == XP_OK)
        status = search_kernels(&s, 0, s.joint_kernels, both ? end - PERSISTENT_PART * options->seconds : end, kept);
    if (status == XP_OK && both)
        status = search_persistent_kernels(&s, fmax(end, xp_clock() + PERSISTENT_PART * options->seconds), kept);
    for (int i = 0; i < s.count; i++) json_decref(s.requests[i].about);
    free(s.requests);
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
