/* Every operation on the default device, in one family, against the reference: what `expanse check` does. */
#include "check/check.h"
#include "devices.h"
#include "ops/operations.h"
#include "reference/reference.h"

static void every_operation_has_a_reference_and_cases(void **state) {
    assert_int_equal(xp_operation_count, xp_case_entry_count);
    for (int i = 0; i < xp_operation_count; i++) {
        const char *name = xp_operations[i]->name;
        const xp_reference_entry *reference = xp_reference_find(name);
        if (!reference || !reference->exact || !reference->single) fail_msg("operation %s has no reference", name);
        bool found = false;
        for (int j = 0; j < xp_case_entry_count; j++)
            if (strcmp(xp_case_entries[j].operation, name) == 0) found = xp_case_entries[j].generate != NULL;
        if (!found) fail_msg("operation %s has no cases", name);
        if (!xp_operations[i]->emitters) fail_msg("operation %s launches nothing", name);
    }
}

static void say_failure(void *context, const xp_check_failure *failure) {
    print_error("%s\n  again: %s\n", failure->what, failure->again);
}

static void say_verdict(void *context, const xp_check_verdict *verdict) {
    print_message("%-28s %-6s %s: %d cases, %d hostile, %d vacuous, %d failed, %.0f %% of the bound, %.1f s\n",
                  verdict->operation, verdict->family, xp_check_verdict_is_good(verdict) ? "good" : "BAD",
                  verdict->cases, verdict->hostile, verdict->vacuous, verdict->failed, 100 * verdict->worst,
                  verdict->seconds);
}

static const char *family = "wide", *arithmetic;
static int cases; /* of each operation; 0: as many as expanse check */
/* Compiling is most of the cost. Where cases are counted, they are of half the variants, with two shapes each; the map
 * has a third of them, since its scores are attention's own. */
enum { VARIANTS = XP_CHECK_VARIANTS / 2, MAP_CASES = 14 };

static void the_family_agrees_with_the_reference(void **state) {
    xp_check_options options;
    xp_device *device;
    xp_device_options device_options;
    xp_device_options_default(&device_options);
    device_options.family = family;
    device_options.arithmetic = arithmetic;
    MUST(xp_device_open(&device, &device_options));
    const bool first_header = device->short_header;
    xp_check_summary summary;
    const xp_check_report report = {.failure = say_failure, .verdict = say_verdict};
    xp_status status = XP_OK;
    int verdicts = 0, bad = 0;
    for (int i = 0; i < xp_case_entry_count && status == XP_OK; i++) {
        const char *operation = xp_case_entries[i].operation;
        char filter[96];
        snprintf(filter, sizeof filter, "^%s$", operation);
        xp_check_options_default(&options);
        options.filter = filter;
        if (cases > 0) options.cases = cases, options.variants = VARIANTS;
        if (cases > MAP_CASES && strcmp(operation, "attention_map") == 0) options.cases = MAP_CASES;
        status = xp_check_run(device, &options, &report, &summary);
        verdicts += summary.verdicts;
        bad += summary.bad;
    }
    const bool header_is_back = first_header && !device->short_header;
    xp_device_close(&device);
    if (status != XP_OK) fail_msg("%s", xp_last_error());
    if (header_is_back) fail_msg("a kernel calls a function that cl/functions.clh does not declare");
    if (strcmp(family, "matrix") == 0)
        assert_true(verdicts > 0); /* of the operations that have such kernels */
    else
        assert_int_equal(verdicts, xp_case_entry_count);
    assert_int_equal(bad, 0);
}

/* test_operations FAMILY [CASES [ARITHMETIC]] */
int main(int count, char **words) {
    if (count > 1) family = words[1];
    if (count > 2) cases = atoi(words[2]);
    if (count > 3) arithmetic = words[3];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_has_a_reference_and_cases),
        cmocka_unit_test(the_family_agrees_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
