/* The conclusion of a search: winners are compared with the reference, confirmed in pairs of steps, and written if
 * their gain is significant. */
#include "tune/search.h"

#include "core/clock.h"
#include "core/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Fewer than six pairs do not bound a median; of nine, one may be an outlier. */
enum { FINAL_PAIRS = 9, FEWEST_PAIRS = 6, CHECK_CASES = 60 };
static const double LEAST_GAIN = 1.03; /* in the search; less is not worth a confirmation */

bool xp_tune_in_pass(const xp_search *s, const xp_tune_request *q) {
    return q->group >= s->first && q->group < s->last;
}

/* The same for every shape; `changed` (NULL: nothing) overrides it. NULL: memory ran out. */
static json_t *entry_for_all(const xp_tune_request *q, int combination, json_t *changed) {
    json_t *entry = xp_json_set(xp_tune_entry(q, combination), "shape", json_string("*"));
    if (!entry || !changed || json_object_update(entry, changed) == 0) return entry;
    json_decref(entry);
    return NULL;
}

/* Ragged random shapes of the operation with the candidate's values, and what else leads to its kernel, for every one
 * of them. */
static xp_status verify(xp_search *s, const xp_tune_request *q, int combination, bool *right) {
    char path[96], reason[160], values[XP_TUNE_VALUES_TEXT], key[240];
    xp_tune_print_values(q, combination, values);
    snprintf(key, sizeof key, "%s %s", q->kernel, values);
    const json_t *known = json_object_get(s->verified, key);
    *right = json_is_true(known);
    if (known) return XP_OK;
    snprintf(path, sizeof path, "%s/check.json", s->folder);
    json_t *requires = json_object_get(q->about, "requires");
    json_t *entries = xp_json_append(json_array(), entry_for_all(q, combination, NULL));
    if (requires) entries = xp_json_append(entries, entry_for_all(q, combination, requires));
    remove(path);
    const xp_status written = xp_tune_merge(path, entries);
    json_decref(entries);
    if (written != XP_OK) return written;
    const double limit = s->deadline > 0 ? s->deadline - xp_clock() : fmax(300, s->options->limit);
    XP_TRY(xp_tune_check_stop(s));
    XP_TRY(s->callbacks->check(s->callbacks->user, q->operation, path, CHECK_CASES, limit, right));
    XP_TRY(xp_tune_check_stop(s));
    if (xp_tune_too_late(s)) return XP_OK;
    if (!*right) {
        snprintf(reason, sizeof reason, "expanse check finds wrong results (--filter '^%s$')", q->operation);
        xp_tune_report_rejected(s, q->kernel, values, reason);
    }
    json_object_set_new(s->verified, key, json_boolean(*right));
    return XP_OK;
}

/* The next best combination that is right, down to the default. */
static xp_status settle(xp_search *s, xp_tune_request *q) {
    while (q->best != q->fallback) {
        bool right;
        XP_TRY(verify(s, q, q->best, &right));
        if (right || xp_tune_too_late(s)) return XP_OK;
        q->ratio[q->best] = XP_TUNE_REJECTED;
        xp_tune_remember(s, q, q->best);
        q->best = q->fallback;
        for (int c = 0; c < q->combinations; c++)
            if (q->ratio[c] > 0 && q->ratio[c] < q->ratio[q->best]) q->best = c;
    }
    return XP_OK;
}

/* Runs the candidates and the defaults until there are enough pairs of every request, in *answer. A trial of persistent
 * requests gives one pair. *answer is NULL if a trial failed: *reply has the reason. */
static xp_status confirm(xp_search *s, const int *chosen, json_t **answer, xp_tune_reply *reply) {
    bool persistent = false;
    for (int i = 0; i < s->count; i++)
        persistent = persistent || (s->requests[i].persistent && chosen[i] != s->requests[i].base);
    const int pairs = s->options->brief || persistent ? FEWEST_PAIRS : FINAL_PAIRS;
    XP_TRY(xp_tune_run_trial(s, chosen, persistent ? XP_TUNE_STEPS : pairs, answer, reply));
    for (int trial = 1; persistent && *answer && trial < pairs; trial++) {
        json_t *more = NULL;
        XP_TRY(xp_tune_run_trial(s, chosen, XP_TUNE_STEPS, &more, reply));
        if (!more) {
            json_decref(*answer);
            *answer = NULL;
            return XP_OK;
        }
        json_array_extend(json_object_get(*answer, "ratios"), json_object_get(more, "ratios"));
        for (int i = 0; i < s->count; i++) {
            json_t *own = json_array_get(json_object_get(*answer, "requests"), (size_t)i);
            const json_t *other = json_array_get(json_object_get(more, "requests"), (size_t)i);
            json_array_extend(json_object_get(own, "ratios"), json_object_get(other, "ratios"));
        }
        json_decref(more);
    }
    return XP_OK;
}

/* Whether the output table has an entry for the kernel of the request on this device. */
static bool has_entry(const xp_search *s, const xp_tune_request *q) {
    json_t *entries = NULL, *own = xp_tune_entry(q, q->base);
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

static void report_finding(const xp_search *s, const xp_tune_request *q, int chosen, const xp_interval *gain,
                           bool kept) {
    char before[XP_TUNE_VALUES_TEXT], after[XP_TUNE_VALUES_TEXT];
    if (!s->callbacks->finding) return;
    xp_tune_print_values(q, q->fallback, before);
    xp_tune_print_values(q, chosen, after);
    const xp_tune_finding finding = {.kernel = q->kernel,
                                     .shape = q->shape,
                                     .share = q->share,
                                     .searched = q->searched,
                                     .fallback = before,
                                     .chosen = chosen != q->fallback ? after : NULL,
                                     .gain = *gain,
                                     .kept = kept};
    s->callbacks->finding(s->callbacks->user, &finding);
}

static void report_conclusion(const xp_search *s, const xp_tune_conclusion *conclusion) {
    if (s->callbacks->conclude) s->callbacks->conclude(s->callbacks->user, conclusion);
}

xp_status xp_tune_conclude(xp_search *s, int *kept) {
    int chosen[XP_TUNE_REQUESTS], candidates = 0, written = 0;
    json_t *answer = NULL;
    xp_tune_reply reply;
    for (int i = 0; i < s->count; i++) {
        xp_tune_request *q = &s->requests[i];
        chosen[i] = q->base;
        if (!xp_tune_in_pass(s, q)) continue;
        if (q->ratio[q->best] > 1 / LEAST_GAIN) q->best = q->fallback;
        XP_TRY(settle(s, q));
        chosen[i] = q->best;
        candidates += chosen[i] != q->fallback;
    }
    xp_tune_save_tried(s);
    if (candidates) XP_TRY(confirm(s, chosen, &answer, &reply));
    if (candidates && !answer && xp_tune_too_late(s)) {
        report_conclusion(s, &(xp_tune_conclusion){.candidates = candidates, .late = true});
        return XP_OK;
    }
    if (candidates && !answer) return xp_fail(XP_DEVICE_ERROR, "the winners do not run together: %s", reply.reason);
    json_t *entries = json_array();
    for (int i = 0; i < s->count; i++) {
        xp_tune_request *q = &s->requests[i];
        if (!xp_tune_in_pass(s, q)) continue;
        double ratios[XP_TUNE_RATIOS];
        xp_interval gain;
        const int pairs = xp_tune_read_ratios(json_array_get(json_object_get(answer, "requests"), (size_t)i), ratios);
        const bool keep = xp_tuning_gains(ratios, pairs, &gain) && chosen[i] != q->fallback;
        report_finding(s, q, chosen[i], &gain, keep);
        if (keep) q->base = chosen[i];
        /* products were timed beside the library's own parameters: an entry of another model's must not stay */
        if (!keep && !(q->persistent && q->searched && has_entry(s, q))) continue;
        json_t *entry = xp_json_set(xp_tune_entry(q, q->base), "gain", json_real(keep ? gain.median : 1));
        entries = xp_json_append(entries, entry);
        written += keep;
    }
    const bool none = entries && json_array_size(entries) == 0;
    const xp_status status = none ? XP_OK : xp_tune_merge(s->options->output, entries);
    json_decref(entries);
    const xp_tune_conclusion conclusion = {candidates, written, .ratio = xp_tune_median_ratio(answer)};
    if (status == XP_OK) report_conclusion(s, &conclusion);
    json_decref(answer);
    *kept += written;
    return status;
}
