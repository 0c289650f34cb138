/* expanse check: every kernel of a device against the reference. Owns what is printed; src/check owns what is checked.
 */
#include "command.h"

#include "check/check.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_FAILURES = 5 /* of one operation and family; the rest are counted */ };

typedef struct printing {
    json_t *verdicts, *failures; /* failures: of the operation at hand; both NULL: lines for people */
    const char *operation;
    int shown;
} printing;

static void print_failure(void *context, const xp_check_failure *failure) {
    printing *p = context;
    if (p->failures) {
        json_array_append_new(p->failures, json_pack("{s:i, s:s, s:s}", "case", failure->index, "what", failure->what,
                                                     "again", failure->again));
        return;
    }
    if (p->operation != failure->operation) p->shown = 0;
    p->operation = failure->operation;
    if (p->shown++ < SHOWN_FAILURES) printf("  %s\n    again: %s\n", failure->what, failure->again);
}

static void append_verdict(printing *p, const xp_check_verdict *verdict) {
    json_t *one =
        json_pack("{s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:i, s:f, s:f}", "operation", verdict->operation, "family",
                  verdict->family, "good", xp_check_verdict_is_good(verdict), "variants", verdict->variants, "cases",
                  verdict->cases, "failed", verdict->failed, "hostile", verdict->hostile, "vacuous", verdict->vacuous,
                  "worst", verdict->worst > 1e9 ? 1e9 : verdict->worst, "seconds", verdict->seconds);
    if (verdict->largest.elements > 0)
        json_object_set_new(one, "largest",
                            json_pack("{s:s, s:f, s:f, s:f}", "shape", verdict->largest.shape, "seconds",
                                      verdict->largest.seconds, "flops", verdict->largest.flops, "bytes",
                                      verdict->largest.bytes));
    json_object_set(one, "failures", p->failures);
    json_decref(p->failures);
    p->failures = json_array();
    json_array_append_new(p->verdicts, one);
}

static void print_verdict(void *context, const xp_check_verdict *verdict) {
    printing *p = context;
    p->operation = NULL;
    if (p->verdicts) {
        append_verdict(p, verdict);
        return;
    }
    printf(
        "%-28s %-6s %-4s %2d variants, %4d cases, %3d hostile, %3d vacuous, %3d failed, error at most %3.0f %% of its "
        "bound, %.1f s\n",
        verdict->operation, verdict->family, xp_check_verdict_is_good(verdict) ? "ok" : "BAD", verdict->variants,
        verdict->cases, verdict->hostile, verdict->vacuous, verdict->failed,
        verdict->worst < 99 ? 100 * verdict->worst : 9900, verdict->seconds);
    if (verdict->largest.elements > 0)
        printf("    largest case %.3f ms, %.2f GFLOP/s, %.2f GB/s: %s\n", verdict->largest.seconds * 1e3,
               verdict->largest.flops / verdict->largest.seconds * 1e-9,
               verdict->largest.bytes / verdict->largest.seconds * 1e-9, verdict->largest.shape);
    fflush(stdout);
}

static xp_status check_family(const xp_device_options *device_options, const xp_check_options *options, printing *p,
                              xp_check_summary *total) {
    xp_device *device = NULL;
    XP_TRY(xp_device_open(&device, device_options));
    xp_check_summary summary;
    xp_check_report report = {.context = p, .failure = print_failure, .verdict = print_verdict};
    if (!p->verdicts) printf("%s (%s)\n", device->name, device->selector);
    xp_status status = xp_check_run(device, options, &report, &summary);
    xp_device_close(&device);
    total->verdicts += summary.verdicts;
    total->bad += summary.bad;
    return status;
}

static int print_json(const printing *p, int bad) {
    json_t *all = json_pack("{s:b, s:O}", "good", bad == 0, "verdicts", p->verdicts);
    bool written = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0;
    json_decref(all);
    printf("\n");
    return written ? XP_EXIT_OK : (xp_fail(XP_IO_ERROR, "the verdicts cannot be written"), xp_command_fail());
}

int xp_command_check(int count, char **words) {
    const char *device = NULL, *family = NULL, *filter = NULL;
    long seed = 1, cases = 200, only = -1;
    bool small = false, json = false, timed = false, until_failure = false;
    const xp_flag flags[] = {
        {"--device", "ID", "id, part of a name, 'gpu' or 'cpu'; default: the first GPU, else the first CPU",
         .text = &device},
        {"--family", "NAME", "'wide' (CPU kernels) or 'tiled' (GPU kernels); default: both", .text = &family},
        {"--filter", "REGEX", "operations whose name fits, else cases whose line fits", .text = &filter},
        {"--seed", "N", "of the random cases (1)", .number = &seed},
        {"--cases", "N", "of each operation and family (200)", .number = &cases},
        {"--case", "K", "this case alone", .number = &only},
        {"--small", NULL, "small shapes only, for emulators", .on = &small},
        {"--until-failure", NULL, "stop at the first case that fails", .on = &until_failure},
        {"--time", NULL, "time the largest case of each operation by the device's clock", .on = &timed},
        {"--json", NULL, "verdicts and failures as JSON", .on = &json},
    };
    const xp_usage usage = {
        .name = "check",
        .synopsis = "[flags]",
        .description =
            "Runs every operation on random and hostile cases and compares with a double-precision reference.\n"
            "Exits with 0 when all results are within their bounds and nothing was written out of place.\n"
            "\n"
            "--filter is an extended regular expression. Where it fits an operation's name, all cases of that\n"
            "operation run; elsewhere those run whose line 'OPERATION FAMILY SHAPE' it fits, for example\n"
            "'attention_backward tiled .*dropout=0.25', out of the first --cases. Failures show such lines.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof flags[0],
        .example = "  expanse check --device gpu\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (cases < 1 || cases > 1000000) return xp_command_misuse("--cases: %ld is not between 1 and 1000000", cases);
    if (only >= 1000000) return xp_command_misuse("--case: %ld is not below 1000000", only);
    xp_check_options options;
    xp_check_options_default(&options);
    options.filter = filter;
    options.seed = (uint64_t)seed;
    options.cases = (int)cases;
    options.only = (int)only;
    options.small = small;
    options.until_failure = until_failure;

    static const char *const families[] = {"wide", "tiled"};
    printing p = {.verdicts = json ? json_array() : NULL, .failures = json ? json_array() : NULL};
    xp_check_summary total = {0};
    xp_status status = XP_OK;
    for (int i = 0; i < 2 && status == XP_OK; i++) {
        xp_device_options device_options;
        xp_device_options_default(&device_options);
        device_options.select = device;
        device_options.family = family ? family : families[i];
        device_options.profiling = timed;
        status = check_family(&device_options, &options, &p, &total);
        if (family || (until_failure && total.bad > 0)) break;
    }
    if (status == XP_OK && total.verdicts == 0)
        status = xp_fail(XP_INVALID_ARGUMENT, "the filter '%s' fits no operation and no case", filter ? filter : "");
    if (status != XP_OK)
        code = xp_command_fail();
    else if (json)
        code = print_json(&p, total.bad);
    else if (total.bad > 0)
        printf("Bad verdicts: %d.\n", total.bad);
    else
        printf("All verdicts are good.\n");
    json_decref(p.verdicts);
    json_decref(p.failures);
    return code == XP_EXIT_OK && total.bad > 0 ? XP_EXIT_FAILURE : code;
}
