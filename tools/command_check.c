/* expanse check: every kernel of a device against the reference. Owns what is printed; src/check owns what is checked.
 */
#include "command.h"

#include "check/check.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_FAILURES = 5 /* of one operation and family; the rest are counted */ };

typedef struct printing {
    json_t *verdicts, *failures; /* NULL: lines for people */
    const char *operation;
    int shown;
} printing;

static void print_failure(void *context, const xp_check_failure *failure) {
    printing *p = context;
    if (p->failures) {
        json_array_append_new(p->failures, json_pack("{s:s, s:i, s:s, s:s}", "operation", failure->operation, "case",
                                                     failure->index, "what", failure->what, "again", failure->again));
        return;
    }
    if (p->operation != failure->operation) p->shown = 0;
    p->operation = failure->operation;
    if (p->shown++ < SHOWN_FAILURES) printf("  %s\n    again: %s\n", failure->what, failure->again);
}

static void print_verdict(void *context, const xp_check_verdict *verdict) {
    printing *p = context;
    bool good = xp_check_verdict_is_good(verdict);
    p->operation = NULL;
    if (p->verdicts) {
        json_array_append_new(
            p->verdicts, json_pack("{s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:f, s:f}", "operation", verdict->operation,
                                   "family", verdict->family, "good", good, "cases", verdict->cases, "failed",
                                   verdict->failed, "hostile", verdict->hostile, "vacuous", verdict->vacuous, "worst",
                                   verdict->worst > 1e9 ? 1e9 : verdict->worst, "seconds", verdict->seconds));
        return;
    }
    printf("%-28s %-6s %-4s %4d cases, %3d hostile, %3d vacuous, %3d failed, error at most %3.0f %% of its bound, %.1f "
           "s\n",
           verdict->operation, verdict->family, good ? "ok" : "BAD", verdict->cases, verdict->hostile, verdict->vacuous,
           verdict->failed, verdict->worst < 99 ? 100 * verdict->worst : 9900, verdict->seconds);
    fflush(stdout);
}

static xp_status check_family(const xp_device_options *device_options, const xp_check_options *options, printing *p,
                              int *bad) {
    xp_device *device = NULL;
    XP_TRY(xp_device_open(&device, device_options));
    xp_check_report report = {.context = p, .failure = print_failure, .verdict = print_verdict};
    if (!p->verdicts) printf("%s (%s)\n", device->name, device->selector);
    xp_status status = xp_check_run(device, options, &report, bad);
    xp_device_close(&device);
    return status;
}

static int print_json(const printing *p, int bad) {
    json_t *all = json_pack("{s:b, s:O, s:O}", "good", bad == 0, "operations", p->verdicts, "failures", p->failures);
    bool written = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0;
    json_decref(all);
    printf("\n");
    return written ? XP_EXIT_OK : (xp_fail(XP_IO_ERROR, "the verdicts cannot be written"), xp_command_fail());
}

int xp_command_check(int count, char **words) {
    const char *device = NULL, *family = NULL, *filter = NULL;
    long seed = 1, cases = 200, only = -1;
    bool small = false, json = false;
    const xp_flag flags[] = {
        {"--device", "ID", "id, part of a name, 'gpu' or 'cpu'; default: the first GPU, else the first CPU",
         .text = &device},
        {"--family", "NAME", "'wide' (CPU kernels) or 'tiled' (GPU kernels); default: both", .text = &family},
        {"--filter", "REGEX", "operations whose name fits", .text = &filter},
        {"--seed", "N", "of the random cases (1)", .number = &seed},
        {"--cases", "N", "of each operation and family (200)", .number = &cases},
        {"--case", "K", "this case alone", .number = &only},
        {"--small", NULL, "small shapes only, for emulators", .on = &small},
        {"--json", NULL, "verdicts and failures as JSON", .on = &json},
    };
    const xp_usage usage = {
        .name = "check",
        .synopsis = "[flags]",
        .description =
            "Runs every operation on random and hostile cases and compares with a double-precision reference.\n"
            "Exits with 0 when all results are within their bounds and nothing was written out of place.\n",
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

    static const char *const families[] = {"wide", "tiled"};
    printing p = {.verdicts = json ? json_array() : NULL, .failures = json ? json_array() : NULL};
    int bad = 0;
    xp_status status = XP_OK;
    for (int i = 0; i < 2 && status == XP_OK; i++) {
        xp_device_options device_options;
        xp_device_options_default(&device_options);
        device_options.select = device;
        device_options.family = family ? family : families[i];
        int family_bad = 0;
        status = check_family(&device_options, &options, &p, &family_bad);
        bad += family_bad;
        if (family) break;
    }
    if (status != XP_OK)
        code = xp_command_fail();
    else if (json)
        code = print_json(&p, bad);
    else if (bad > 0)
        printf("Bad verdicts: %d.\n", bad);
    else
        printf("All verdicts are good.\n");
    json_decref(p.verdicts);
    json_decref(p.failures);
    return code == XP_EXIT_OK && bad > 0 ? XP_EXIT_FAILURE : code;
}
