/* expanse check: every kernel of a device against the reference. Owns what is printed; src/check owns what is checked.
 */
#include "command.h"
#include "table.h"

#include "check/check.h"
#include "core/json.h"

#include <math.h>
#include <string.h>

enum { SHOWN_FAILURES = 5 /* of one operation and family; the rest are counted */ };
static const double MOST_WORST = 1e9; /* limit of an error relative to its bound; replaces infinity */

/* No line is longer than 100 characters: all widths are fixed, so each verdict is printed at once. */
static const xp_column columns[] = {
    {"operation", "operation", XP_CELL_TEXT, .width = 28},
    {"family", "family", XP_CELL_TEXT, .width = 6},
    {"good", "good", XP_CELL_TRUTH, .width = 4},
    {"variants", "variants", XP_CELL_WHOLE, .width = 8},
    {"cases", "cases", XP_CELL_WHOLE, .width = 5},
    {"failed", "failed", XP_CELL_WHOLE, .width = 6},
    {"hostile", "hostile", XP_CELL_WHOLE, .width = 7},
    {"vacuous", "vacuous", XP_CELL_WHOLE, .width = 7},
    {"worst", "% of bound", XP_CELL_REAL, .scale = 100, .width = 5},
    {"seconds", "s", XP_CELL_REAL, .digits = 1, .width = 6},
    {"largest_shape", NULL, XP_CELL_TEXT},
    {"largest_seconds", NULL, XP_CELL_REAL},
    {"largest_flops", NULL, XP_CELL_REAL},
    {"largest_bytes", NULL, XP_CELL_REAL},
    {"failures", NULL, XP_CELL_TREE},
};

typedef struct printing {
    xp_table table;
    json_t *failures; /* of the operation at hand */
} printing;

static void keep_failure(void *context, const xp_check_failure *failure) {
    printing *p = context;
    p->failures = xp_json_append(p->failures, json_pack("{s:i, s:s, s:s}", "case", failure->index, "what",
                                                        failure->what, "again", failure->again));
    p->table.failed = p->table.failed || !p->failures;
}

static void print_failures(printing *p) {
    size_t index;
    json_t *failure;
    json_array_foreach(p->failures, index, failure) {
        if (index == SHOWN_FAILURES) return;
        xp_table_note(&p->table, "  %s", json_string_value(json_object_get(failure, "what")));
        xp_table_note(&p->table, "    again: %s", json_string_value(json_object_get(failure, "again")));
    }
}

static void print_verdict(void *context, const xp_check_verdict *verdict) {
    printing *p = context;
    const bool timed = verdict->largest.elements > 0;
    const xp_cell cells[] = {{.text = verdict->operation},
                             {.text = verdict->family},
                             {.truth = xp_check_verdict_is_good(verdict)},
                             {.whole = verdict->variants},
                             {.whole = verdict->cases},
                             {.whole = verdict->failed},
                             {.whole = verdict->hostile},
                             {.whole = verdict->vacuous},
                             {.real = verdict->worst < MOST_WORST ? verdict->worst : MOST_WORST},
                             {.real = verdict->seconds},
                             {.text = timed ? verdict->largest.shape : NULL},
                             {.real = timed ? verdict->largest.seconds : NAN},
                             {.real = timed ? verdict->largest.flops : NAN},
                             {.real = timed ? verdict->largest.bytes : NAN},
                             {.tree = json_incref(p->failures)}};
    xp_table_row(&p->table, cells);
    if (timed)
        xp_table_note(&p->table, "    largest case %.3f ms, %.2f GFLOP/s, %.2f GB/s: %s",
                      verdict->largest.seconds * 1e3, verdict->largest.flops / verdict->largest.seconds * 1e-9,
                      verdict->largest.bytes / verdict->largest.seconds * 1e-9, verdict->largest.shape);
    print_failures(p);
    json_decref(p->failures);
    p->failures = json_array();
}

/* Nothing happens if the family needs units that would be emulated, and `emulated` is not set. */
static xp_status check_family(const xp_device_options *device_options, const xp_check_options *options, bool emulated,
                              printing *p, xp_check_summary *total) {
    xp_device *device = NULL;
    XP_TRY(xp_device_open(&device, device_options));
    if (device->matrix == XP_MATRIX_EMULATED && !emulated) {
        xp_device_close(&device);
        return XP_OK;
    }
    xp_check_summary summary;
    xp_check_report report = {.context = p, .failure = keep_failure, .verdict = print_verdict};
    if (p->table.row_count == 0) xp_table_note(&p->table, "%s (%s)", device->name, device->selector);
    xp_status status = xp_check_run(device, options, &report, &summary);
    xp_device_close(&device);
    total->verdicts += summary.verdicts;
    total->bad += summary.bad;
    return status;
}

int xp_command_check(int count, char **words) {
    static const char *const arithmetics[] = {"fp32", "fp32-matrix", "tf32", NULL};
    const char *device = NULL, *family = NULL, *filter = NULL, *arithmetic = NULL;
    long seed = 1, cases = 200, only = -1;
    int format = XP_TABLE_TEXT;
    bool small = false, timed = false, until_failure = false;
    const xp_flag flags[] = {
        XP_DEVICE_FLAG(&device),
        {"--family", "NAME",
         "wide: kernels for CPUs; tiled: for GPUs; matrix: for matrix units, emulated where there are none; auto: "
         "those "
         "that suit the device (wide, then tiled, then matrix if the device has matrix units)",
         .choices = xp_families, .text = &family},
        {"--arithmetic", "NAME", "of fp32 on matrix units: fp32 (none: they are checked in 16 bits), fp32-matrix, tf32",
         .choices = arithmetics, .text = &arithmetic},
        {"--filter", "REGEX", "operations whose name matches, otherwise cases whose line matches (all)",
         .text = &filter},
        {"--seed", "N", "seed of the random cases", .number = &seed, .highest = XP_SEED_HIGHEST},
        {"--cases", "N", "cases of each operation and family", .number = &cases, .lowest = 1, .highest = 1000000},
        {"--case", "K", "only this case, counted from 0 (all)", .number = &only, .highest = 999999},
        {"--small", NULL, "only small shapes, for emulators", .on = &small},
        {"--until-failure", NULL, "stop at the first case that fails", .on = &until_failure},
        {"--time", NULL, "time the largest case of each operation by the clock of the device", .on = &timed},
        XP_TABLE_FORMAT_FLAG(&format),
    };
    const xp_usage usage = {
        .name = "check",
        .synopsis = "[flags]",
        .description = "Runs every operation on random and extreme inputs and compares the results with a "
                       "double-precision reference. Exits with 0 if all results are within their bounds and no\n"
                       "kernel wrote out of bounds.\n\n"
                       "--filter is an extended regular expression. If it matches the name of an operation, all\n"
                       "cases of that operation run. For the other operations, those of the first --cases run whose\n"
                       "line 'OPERATION FAMILY SHAPE' matches, for example 'attention_backward tiled\n"
                       ".*dropout=0.25'. Failures print such lines.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof flags[0],
        .example = "  expanse check --device gpu\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (arithmetic && (!family || strcmp(family, "matrix") != 0))
        return xp_command_misuse("--arithmetic is for matrix units: add --family matrix");
    xp_check_options options;
    xp_check_options_default(&options);
    options.filter = filter;
    options.seed = (uint64_t)seed;
    options.cases = (int)cases;
    options.only = (int)only;
    options.small = small;
    options.until_failure = until_failure;

    static const char *const families[] = {"wide", "tiled", "matrix"};
    enum { FAMILIES = sizeof families / sizeof *families };
    printing p = {.failures = json_array()};
    xp_check_summary total = {0};
    xp_status status = XP_OK;
    xp_table_open(&p.table, stdout, (xp_table_format)format, columns, sizeof columns / sizeof *columns, "verdicts");
    for (int i = 0; i < FAMILIES && status == XP_OK; i++) {
        xp_device_options device_options;
        xp_device_options_default(&device_options);
        device_options.select = device;
        device_options.family = family ? family : families[i];
        device_options.arithmetic = arithmetic;
        device_options.profiling = timed;
        status = check_family(&device_options, &options, family != NULL, &p, &total);
        if (family || (until_failure && total.bad > 0)) break;
    }
    if (status == XP_OK && total.verdicts == 0)
        status = xp_fail(XP_INVALID_ARGUMENT, "the filter '%s' matches no operation and no case", filter ? filter : "");
    xp_table_fact(&p.table, "good", json_boolean(total.bad == 0));
    if (total.bad > 0)
        xp_table_note(&p.table, "Failed checks: %d.", total.bad);
    else if (status == XP_OK)
        xp_table_note(&p.table, "All checks passed.");
    status = xp_table_close(&p.table, status);
    json_decref(p.failures);
    if (status != XP_OK) return xp_command_end(status);
    return total.bad > 0 ? XP_EXIT_FAILURE : XP_EXIT_OK;
}
