/* The harness's round: operation by operation, case by case. */
#include "check/check.h"

#include "check/draw.h"
#include "check/trial.h"

#include <regex.h>
#include <string.h>
#include <time.h>

void xp_check_options_default(xp_check_options *options) {
    *options = (xp_check_options){.seed = 1, .cases = 200, .only = -1};
}

bool xp_check_verdict_is_good(const xp_check_verdict *verdict) {
    return verdict->failed == 0 && verdict->cases > 0 && verdict->vacuous * 2 <= verdict->cases;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static const char *family_name(const xp_device *device) {
    return device->limits.family == XP_FAMILY_WIDE ? "wide" : "tiled";
}

static void report_failure(const xp_device *device, const xp_check_options *options, const xp_check_report *report,
                           const char *operation, int index, const char *shape, const char *problem) {
    char what[1536], again[256];
    if (!report->failure) return;
    snprintf(what, sizeof what, "%s %s %s seed %llu case %d: %s", operation, family_name(device), shape,
             (unsigned long long)options->seed, index, problem);
    snprintf(again, sizeof again, "expanse check --device %s --family %s --filter '^%s$' --seed %llu --case %d%s",
             device->selector, family_name(device), operation, (unsigned long long)options->seed, index,
             options->small ? " --small" : "");
    xp_check_failure failure = {.operation = operation, .index = index, .what = what, .again = again};
    report->failure(report->context, &failure);
}

static xp_status check_case(xp_device *device, const xp_case_entry *entry, const xp_check_options *options,
                            const xp_check_report *report, int index, xp_check_verdict *verdict) {
    xp_draw draw;
    xp_trial trial = {0};
    xp_status status = xp_draw_open(&draw, entry, options, index);
    if (status == XP_OK) {
        status = xp_trial_run(&trial, &draw, device, entry->factor);
    } else if (status != XP_OUT_OF_MEMORY) {
        trial.failed = true;
        snprintf(trial.what, sizeof trial.what, "%.1000s", xp_last_error());
        status = XP_OK;
    }
    if (status == XP_OK) {
        verdict->cases++;
        if (draw.mood != XP_MOOD_NORMAL)
            verdict->hostile++;
        else if (trial.vacuous)
            verdict->vacuous++;
        if (trial.worst > verdict->worst) verdict->worst = trial.worst;
        if (trial.failed) {
            verdict->failed++;
            report_failure(device, options, report, entry->operation, index, draw.content.shape, trial.what);
        }
    }
    xp_draw_close(&draw);
    return status;
}

static xp_status check_operation(xp_device *device, const xp_case_entry *entry, const xp_check_options *options,
                                 const xp_check_report *report, int *bad) {
    xp_check_verdict verdict = {.operation = entry->operation, .family = family_name(device)};
    double start = now();
    int first = options->only >= 0 ? options->only : 0, end = options->only >= 0 ? first + 1 : options->cases;
    for (int i = first; i < end && entry->generate; i++)
        XP_TRY(check_case(device, entry, options, report, i, &verdict));
    verdict.seconds = now() - start;
    if (!xp_check_verdict_is_good(&verdict)) (*bad)++;
    if (report->verdict) report->verdict(report->context, &verdict);
    return XP_OK;
}

xp_status xp_check_run(xp_device *device, const xp_check_options *options, const xp_check_report *report, int *bad) {
    regex_t filter;
    const char *expression = options->filter ? options->filter : "";
    *bad = 0;
    if (regcomp(&filter, expression, REG_EXTENDED | REG_NOSUB) != 0)
        return xp_fail(XP_INVALID_ARGUMENT, "the filter '%s' is not a regular expression", expression);
    int matched = 0;
    xp_status status = XP_OK;
    for (int i = 0; i < xp_case_entry_count && status == XP_OK; i++) {
        if (regexec(&filter, xp_case_entries[i].operation, 0, NULL, 0) != 0) continue;
        matched++;
        status = check_operation(device, &xp_case_entries[i], options, report, bad);
    }
    regfree(&filter);
    if (status == XP_OK && matched == 0)
        return xp_fail(XP_INVALID_ARGUMENT, "the filter '%s' fits no operation", expression);
    return status;
}
