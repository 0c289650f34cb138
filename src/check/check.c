/* The harness's round: operation by operation, case by case. */
#include "check/check.h"

#include "core/clock.h"

#include "check/draw.h"
#include "check/trial.h"
#include "ops/operations.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

void xp_check_options_default(xp_check_options *options) {
    *options = (xp_check_options){.seed = 1, .cases = 200, .variants = XP_CHECK_VARIANTS, .only = -1};
}

bool xp_check_verdict_is_good(const xp_check_verdict *verdict) {
    return verdict->failed == 0 && verdict->cases > 0 && verdict->vacuous * 2 <= verdict->cases;
}

static const char *family_name(const xp_device *device) {
    return xp_family_name(device->families[0]);
}

static bool has_matrix_emitter(const xp_device *device, const xp_node *node) {
    for (const xp_emitter *emitter = node->operation->emitters; emitter && emitter->emit; emitter++)
        if (emitter->family == XP_FAMILY_MATRIX &&
            (emitter->supports ? emitter->supports : xp_supports_single)(device, node))
            return true;
    return false;
}

/* Emulated units take turns with those layouts that have kernels for the node, with others for the next round of the
 * same variants. */
static void choose_layout(xp_device *device, const xp_node *node, int index) {
    enum { ROUND = 20 };
    xp_matrix able[XP_MATRICES] = {XP_MATRIX_NVIDIA};
    int count = 0;
    if (device->matrix != XP_MATRIX_EMULATED || device->arithmetic != XP_ARITHMETIC_FP32) return;
    for (int layout = XP_MATRIX_NVIDIA; layout < XP_MATRICES; layout++) {
        device->layout = (xp_matrix)layout;
        if (has_matrix_emitter(device, node)) able[count++] = device->layout;
    }
    device->layout = able[count ? (index + index / ROUND) % count : 0];
}

/* Tiles are chosen by the size of the problem beside that of the device: every other round of a large one is planned
 * with a single compute unit, for which the small problems of the cases are large. */
static void choose_units(xp_device *device, unsigned units, int index) {
    enum { ROUND = 10, MANY = 8 };
    device->limits.compute_units = units > MANY && index / ROUND % 2 ? 1 : units;
}

static void name_layout(char *text, size_t size, const xp_device *device) {
    const bool emulated = device->matrix == XP_MATRIX_EMULATED;
    snprintf(text, size, "%s%s%s", emulated ? " (" : "", emulated ? xp_matrix_name(device->layout) : "",
             emulated ? ")" : "");
}

static void report_failure(const xp_device *device, const xp_check_options *options, const xp_check_report *report,
                           const char *operation, int index, const char *shape, const char *problem) {
    char what[1536], again[256], layout[32];
    if (!report->failure) return;
    name_layout(layout, sizeof layout, device);
    snprintf(what, sizeof what, "%s %s%s %s seed %llu case %d: %s", operation, family_name(device), layout, shape,
             (unsigned long long)options->seed, index, problem);
    snprintf(again, sizeof again, "expanse check --device %s --family %s --filter '^%s$' --seed %llu --case %d%s%s%s",
             device->selector, family_name(device), operation, (unsigned long long)options->seed, index,
             options->small ? " --small" : "", device->arithmetic == XP_ARITHMETIC_FP32 ? "" : " --arithmetic ",
             device->arithmetic == XP_ARITHMETIC_FP32 ? "" : xp_arithmetic_name(device->arithmetic));
    xp_check_failure failure = {.operation = operation, .index = index, .what = what, .again = again};
    report->failure(report->context, &failure);
}

/* What one verdict is gathered from. */
typedef struct round {
    xp_device *device;
    const xp_check_options *options;
    const xp_check_report *report;
    const regex_t *filter; /* on the lines of cases; NULL: all cases run */
    unsigned units;        /* of the device */
    const xp_case_entry *entry;
    xp_check_verdict verdict;
    uint64_t *variants; /* those seen so far */
} round;

static bool wanted(const round *r, const xp_draw *draw) {
    char line[256], layout[32];
    if (!r->filter) return true;
    name_layout(layout, sizeof layout, r->device);
    snprintf(line, sizeof line, "%s %s%s %s", r->entry->operation, r->verdict.family, layout, draw->content.shape);
    return regexec(r->filter, line, 0, NULL, 0) == 0;
}

static void count_variant(round *r, uint64_t variant) {
    int i = 0;
    while (i < r->verdict.variants && r->variants[i] != variant) i++;
    if (variant && i == r->verdict.variants) r->variants[r->verdict.variants++] = variant;
}

/* Takes the result of a case into the verdict. */
static void count_case(round *r, int index, const xp_draw *draw, xp_trial *trial, int64_t elements) {
    xp_check_verdict *verdict = &r->verdict;
    verdict->cases++;
    count_variant(r, trial->variant);
    if (draw->inputs != XP_INPUTS_NORMAL) {
        verdict->hostile++;
    } else if (trial->vacuous && (draw->content.zeros_expected || draw->masked)) {
        verdict->vacuous++;
    } else if (trial->vacuous && !trial->failed) {
        trial->failed = true;
        snprintf(
            trial->what, sizeof trial->what,
            "nearly all expected outputs are zero, so the case proves nothing, and its generator does not say why");
    }
    if (trial->worst > verdict->worst) verdict->worst = trial->worst;
    if (trial->seconds > 0) {
        memcpy(verdict->largest.shape, draw->content.shape, sizeof verdict->largest.shape);
        verdict->largest.elements = elements;
        verdict->largest.seconds = trial->seconds;
        verdict->largest.flops = trial->flops;
        verdict->largest.bytes = trial->bytes;
    }
    if (trial->failed) {
        verdict->failed++;
        report_failure(r->device, r->options, r->report, verdict->operation, index, draw->content.shape, trial->what);
    }
}

static xp_status check_case(round *r, int index) {
    xp_draw draw;
    xp_trial trial = {0};
    xp_status status = xp_draw_open(&draw, r->entry, r->options, index);
    int64_t elements = status == XP_OK ? xp_draw_elements(&draw) : 0;
    if (status == XP_OK) choose_layout(r->device, draw.content.node, index);
    choose_units(r->device, r->units, index);
    if (status == XP_OK && !wanted(r, &draw)) {
        xp_draw_close(&draw);
        return XP_OK;
    }
    if (status == XP_OK) {
        status = xp_trial_run(&trial, &draw, r->device, r->entry->factor,
                              r->device->profiling && elements > r->verdict.largest.elements);
    } else if (status != XP_OUT_OF_MEMORY) {
        trial.failed = true;
        snprintf(trial.what, sizeof trial.what, "%.1000s", xp_last_error());
        status = XP_OK;
    }
    if (status == XP_OK) count_case(r, index, &draw, &trial, elements);
    xp_draw_close(&draw);
    return status;
}

static xp_status check_operation(round *r, xp_check_summary *out) {
    const xp_check_options *options = r->options;
    double start = xp_clock();
    int first = options->only >= 0 ? options->only : 0, end = options->only >= 0 ? first + 1 : options->cases;
    r->variants = malloc((size_t)(end - first) * sizeof *r->variants);
    if (!r->variants) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the verdict on %s", r->entry->operation);
    xp_status status = XP_OK;
    for (int i = first; i < end && status == XP_OK; i++) {
        if (options->until_failure && r->verdict.failed > 0) break;
        if (i % XP_CHECK_VARIANTS < options->variants || options->only >= 0) status = check_case(r, i);
    }
    free(r->variants);
    r->device->limits.compute_units = r->units;
    if (status != XP_OK) return status;
    r->verdict.seconds = xp_clock() - start;
    if (r->verdict.cases == 0 && r->filter) return XP_OK;
    out->verdicts++;
    if (!xp_check_verdict_is_good(&r->verdict)) out->bad++;
    if (r->report->verdict) r->report->verdict(r->report->context, &r->verdict);
    return XP_OK;
}

/* Whether the operation has kernels for matrix units in the device's arithmetic: in 16 bits, or of fp32 tensors, in
 * several products or of rounded factors. */
static bool has_matrix_kernels(const xp_device *device, const char *name) {
    for (int i = 0; i < xp_operation_count; i++) {
        const xp_operation *operation = xp_operations[i];
        if (strcmp(operation->name, name) != 0) continue;
        if (device->arithmetic == XP_ARITHMETIC_FP32_MATRIX) return operation->multiplies_singles;
        if (device->arithmetic == XP_ARITHMETIC_TF32) return operation->rounded_inputs != 0;
        for (const xp_emitter *emitter = operation->emitters; emitter && emitter->emit; emitter++)
            if (emitter->family == XP_FAMILY_MATRIX) return true;
    }
    return false;
}

xp_status xp_check_run(xp_device *device, const xp_check_options *given, const xp_check_report *report,
                       xp_check_summary *out) {
    const bool matrix = device->families[0] == XP_FAMILY_MATRIX;
    xp_check_options own = *given;
    const xp_check_options *options = &own;
    regex_t filter;
    const char *expression = options->filter ? options->filter : "";
    if (matrix) own.storage = device->arithmetic == XP_ARITHMETIC_FP32 ? XP_CHECK_HALVES : XP_CHECK_SINGLES;
    *out = (xp_check_summary){0};
    if (regcomp(&filter, expression, REG_EXTENDED | REG_NOSUB) != 0)
        return xp_fail(XP_INVALID_ARGUMENT, "the filter '%s' is not a regular expression", expression);
    xp_status status = XP_OK;
    for (int i = 0; i < xp_case_entry_count && status == XP_OK; i++) {
        const xp_case_entry *entry = &xp_case_entries[i];
        round r = {.device = device,
                   .options = options,
                   .report = report,
                   .entry = entry,
                   .units = device->limits.compute_units};
        r.verdict = (xp_check_verdict){.operation = entry->operation, .family = family_name(device)};
        if (matrix && !has_matrix_kernels(device, entry->operation)) continue;
        if (regexec(&filter, entry->operation, 0, NULL, 0) != 0) r.filter = &filter;
        status = check_operation(&r, out);
        if (options->until_failure && r.verdict.failed > 0) break;
    }
    regfree(&filter);
    return status;
}
