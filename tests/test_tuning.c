/* The tuning table: which entry serves a request, which gain is significant, and what CLBlast's parameters do to a
 * process. And the search, with trials whose answers are made up here. */
#include "core/random.h"
#include "core/statistics.h"
#include "device/tuning.h"
#include "devices.h"
#include "graph/plan.h"
#include "ops/gemm_clblast.h"
#include "tune/tune.h"

static xp_device *device;

static const xp_tuning request = {.kernel = "asked",
                                  .file = "gemm_tiled",
                                  .shape = "nt 8x8x8",
                                  .count = 2,
                                  .parameters = {{"ROWS", 1, {1, 2, 3, 4, 5, 6}}, {"COLUMNS", 1, {1, 2}}}};

/* An entry of the request's kernel, of this device, with ROWS = `rows`; `changed` (NULL: none) gets another text. */
static json_t *entry(const char *shape, int rows, const char *changed, const char *text) {
    json_t *made = xp_tuning_entry(device, &request, shape);
    json_object_set_new(json_object_get(made, "values"), "ROWS", json_integer(rows));
    if (changed) json_object_set_new(made, changed, json_string(text));
    return made;
}

static long answer(json_t *entries) {
    xp_tuning tuning = request;
    xp_tuning_prefer(device, entries);
    json_decref(entries);
    xp_tuning_look_up(device, &tuning);
    xp_tuning_prefer(device, NULL);
    assert_int_equal(tuning.parameters[0].fallback, 1);
    assert_int_equal(tuning.parameters[1].value, 1);
    return tuning.parameters[0].value;
}

static void the_nearest_entry_serves(void **state) {
    json_t *other_vendor = entry("*", 6, "vendor", "another"), *vendor = entry("*", 5, "device", "another");
    json_object_set_new(other_vendor, "device", json_string("another"));
    json_t *driver = entry("*", 4, "driver", "another"), *all = entry("*", 3, NULL, NULL);
    json_t *shape = entry("nt 8x8x8", 2, NULL, NULL), *entries = json_pack("[o]", other_vendor);
    assert_int_equal(answer(json_copy(entries)), 1);
    json_array_append_new(entries, vendor);
    assert_int_equal(answer(json_copy(entries)), 5);
    json_array_append_new(entries, driver);
    assert_int_equal(answer(json_copy(entries)), 4);
    json_array_insert_new(entries, 0, all);
    assert_int_equal(answer(json_copy(entries)), 3);
    json_array_append_new(entries, shape);
    assert_int_equal(answer(entries), 2);
}

static void entries_that_do_not_fit_are_passed_over(void **state) {
    assert_int_equal(answer(json_pack("[o]", entry("nt 8x8x9", 2, NULL, NULL))), 1);
    assert_int_equal(answer(json_pack("[o]", entry("*", 2, "kernel", "not asked"))), 1);
    assert_int_equal(answer(json_pack("[o]", entry("*", 2, "version", "0123456789abcdef"))), 1);
    assert_int_equal(answer(json_pack("[o]", entry("*", 7, NULL, NULL))), 1);
}

static bool has_few_places(const xp_tuning *tuning, const xp_device *used, const void *sizes) {
    return tuning->parameters[0].value * tuning->parameters[1].value <= *(const long *)sizes;
}

static void values_that_do_not_fit_the_device_are_lessened_in_the_order_given(void **state) {
    static const int rows_first[] = {0, 1}, columns_first[] = {1, 0};
    long most = 6;
    xp_tuning tuning = request;
    tuning.parameters[0].value = 6;
    assert_true(xp_tuning_fit(&tuning, rows_first, 2, device, &most, has_few_places));
    assert_int_equal(tuning.parameters[0].value, 6);
    tuning.parameters[1].value = 2;
    assert_true(xp_tuning_fit(&tuning, rows_first, 2, device, &most, has_few_places));
    assert_int_equal(tuning.parameters[0].value, 3);
    assert_int_equal(tuning.parameters[1].value, 2);
    most = 2;
    assert_true(xp_tuning_fit(&tuning, columns_first, 2, device, &most, has_few_places));
    assert_int_equal(tuning.parameters[0].value, 2);
    assert_int_equal(tuning.parameters[1].value, 1);
    most = 0;
    assert_false(xp_tuning_fit(&tuning, columns_first, 2, device, &most, has_few_places));
}

/* Whether ratios (candidate over default, pair by pair) are believed as a gain. */
static bool believed(const double *ratios, int count) {
    xp_interval gain;
    const bool is = xp_tuning_gains(ratios, count, &gain);
    assert_true(gain.low <= gain.median && gain.median <= gain.high);
    return is;
}

static void a_gain_is_believed_only_when_its_whole_interval_lies_above_1(void **state) {
    xp_interval gain;
    const double clear[] = {0.5, 0.52, 0.49, 0.51, 0.5, 0.48, 0.5, 0.53, 0.5};
    const double one_outlier[] = {0.5, 0.52, 0.49, 3, 0.5, 0.48, 0.5, 0.53, 0.5};
    const double two_outliers[] = {0.5, 0.52, 0.49, 3, 0.5, 0.48, 1.01, 0.53, 0.5};
    const double noise[] = {0.9, 1.1, 0.8, 0.95, 1.2, 0.9, 1.05, 0.85, 0.9};
    const double small[] = {0.99, 0.98, 0.99, 0.985, 0.99, 0.995, 0.99, 0.99, 0.98};
    const double equal[] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, worse[] = {2, 2, 2, 2, 2, 2, 2, 2, 2};
    assert_true(believed(clear, 9));
    assert_true(believed(one_outlier, 9));
    assert_false(believed(two_outliers, 9));
    assert_false(believed(noise, 9)); /* though its median is a gain */
    assert_true(believed(small, 9));  /* however small, if it is certain */
    assert_false(believed(equal, 9));
    assert_false(believed(worse, 9));
    assert_true(believed(clear, 6));
    assert_false(believed(one_outlier, 6));
    assert_false(believed(clear, 5)); /* too few to know */
    assert_false(believed(clear, 1));
    assert_false(xp_tuning_gains(NULL, 0, &gain));
    assert_true(xp_tuning_gains(clear, 9, &gain));
    assert_float_equal(gain.median, 2, 1e-12);
    assert_float_equal(gain.low, 1 / 0.52, 1e-12);
    assert_float_equal(gain.high, 1 / 0.49, 1e-12);
}

/* The interval holds the true median in 95 of 100 cases at least, for a distribution with heavy and uneven tails, and
 * is no wider than the number of values demands. */
static void the_interval_of_a_median_holds_it_as_often_as_it_says(void **state) {
    enum { DRAWS = 20000 };
    static const struct {
        int count;
        double coverage; /* of the order statistics, by the binomial distribution */
    } cases[] = {{6, 0.9688}, {9, 0.9609}, {12, 0.9614}, {25, 0.9567}};
    xp_random random;
    xp_random_start(&random, 16, 1);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        int held = 0;
        for (int draw = 0; draw < DRAWS; draw++) {
            double values[25];
            for (int i = 0; i < cases[c].count; i++) {
                const double z = xp_random_normal(&random);
                values[i] = z < 0 ? 1 + 0.01 * z : 1 + z * z * z; /* median 1 */
            }
            const xp_interval interval = xp_median_interval(values, cases[c].count);
            held += interval.low <= 1 && 1 <= interval.high;
        }
        /* Five standard deviations of a share. */
        assert_true(fabs((double)held / DRAWS - cases[c].coverage) < 0.008);
    }
}

/* Two groups of one value each: a drawing has both, or one of them twice. */
static void a_bootstrap_draws_groups_before_their_values(void **state) {
    const double values[] = {3, 5, 5, 5, 5, 5, 5, 5};
    double low, high, again;
    xp_bootstrap_mean(values, (const int[]){1, 7}, 2, 1, &low, &high);
    assert_true(low == 3 && high == 5);
    xp_bootstrap_mean(values, (const int[]){8}, 1, 1, &low, &high);
    assert_true(low > 3.9 && low < 5 &&
                high == 5); /* of eight values, 3 is drawn four times or more in 2.5 % or less */
    xp_bootstrap_mean(values, (const int[]){8}, 1, 1, &again, &high);
    assert_true(again == low);
}

/* One product of 64 x 64 x 64 by CLBlast with SIDE = `side`, realised, which calls the library once. */
static xp_status multiply(int side) {
    enum { EDGE = 64 };
    const xp_tuning requests[] = {
        {.kernel = "gemm_tiled", .file = "gemm_tiled", .count = 1, .parameters = {{.name = "LIBRARY", .value = 2}}},
        {.kernel = "clblast", .file = "gemm_tiled", .count = 1, .parameters = {{.name = "SIDE", .value = side}}}};
    json_t *entries = json_array();
    xp_graph *graph;
    xp_plan *plan = NULL;
    for (int i = 0; i < 2; i++) json_array_append_new(entries, xp_tuning_entry(device, &requests[i], "*"));
    xp_tuning_prefer(device, entries);
    json_decref(entries);
    assert_int_equal(xp_graph_create(&graph, NULL, false), XP_OK);
    xp_tensor *a = xp_graph_input(graph, "a", XP_F32, 2, (int64_t[]){EDGE, EDGE}), *b = xp_tensor_keep(a);
    xp_tensor *y = xp_tensor_keep(xp_gemm(graph, a, 0, b, 1));
    assert_non_null(y);
    xp_status status = xp_plan_create(&plan, device, graph);
    if (status == XP_OK) status = xp_plan_realise(plan, NULL);
    if (status == XP_OK) {
        float in[EDGE * EDGE], out[EDGE * EDGE];
        for (int i = 0; i < EDGE * EDGE; i++) in[i] = (float)(i % EDGE);
        assert_int_equal(xp_plan_write(plan, a, in), XP_OK);
        assert_int_equal(xp_plan_run(plan), XP_OK);
        assert_int_equal(xp_plan_read(plan, y, out), XP_OK);
        for (int i = 0; i < EDGE * EDGE; i++) assert_float_equal(out[i], (EDGE - 1) * EDGE * (2 * EDGE - 1) / 6, 0);
    }
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    return status;
}

static void parameters_of_clblast_stay_for_the_process(void **state) {
    if (!xp_clblast_is_there()) skip();
    assert_int_equal(multiply(1), XP_OK);
    assert_int_equal(multiply(8), XP_OK);
    assert_int_equal(multiply(16), XP_OK);
    assert_int_equal(multiply(8), XP_OK);
    assert_int_equal(multiply(1), XP_UNSUPPORTED);
    assert_non_null(strstr(xp_last_error(), "in a new process"));
}

/* The kernel of a product of bf16 matrices of this edge, with INSTRUCTION = `value` in a table (0: without one). */
static const char *kernel_of_product(xp_device *emulated, int64_t edge, int transpose_a, long value) {
    static const char *const kernels[] = {"gemm_matrix", "gemm_wgmma", "?"};
    const xp_tuning own = {.kernel = "gemm_matrix",
                           .file = "gemm_matrix",
                           .other = "gemm_wgmma",
                           .count = 1,
                           .parameters = {{.name = "INSTRUCTION", .value = value}}};
    json_t *entries = json_array();
    xp_graph *graph;
    xp_plan *plan = NULL;
    char *text = NULL;
    size_t length, found = 0;
    if (value) json_array_append_new(entries, xp_tuning_entry(emulated, &own, "*"));
    xp_tuning_prefer(emulated, entries);
    json_decref(entries);
    MUST(xp_graph_create(&graph, NULL, false));
    xp_tensor *a = xp_graph_input(graph, "a", XP_BF16, 2, (int64_t[]){edge, edge});
    HAVE(xp_tensor_keep(xp_gemm(graph, a, transpose_a, a, 1)));
    MUST(xp_plan_create(&plan, emulated, graph));
    FILE *out = open_memstream(&text, &length);
    xp_plan_print_launches(plan, out);
    fclose(out);
    while (found < 2 && !strstr(text, kernels[found])) found++;
    free(text);
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    return kernels[found];
}

static void a_table_an_estimate_or_else_the_device_chooses_what_multiplies(void **state) {
    xp_device *emulated = open_device("matrix");
    assert_string_equal(kernel_of_product(emulated, 128, 0, 1), "gemm_matrix");
    assert_string_equal(kernel_of_product(emulated, 128, 1, 2), "gemm_wgmma");
    /* A large GPU that has the units: they take what fills them. */
    emulated->matrix = XP_MATRIX_NVIDIA;
    emulated->limits.compute_units = 132;
    assert_string_equal(kernel_of_product(emulated, 4096, 0, 0), "gemm_wgmma");
    assert_string_equal(kernel_of_product(emulated, 4096, 0, 1), "gemm_matrix");
    assert_string_equal(kernel_of_product(emulated, 128, 0, 0), "gemm_matrix");
    /* One that has none, whatever the table says. */
    emulated->wgmma_bytes = 0;
    assert_string_equal(kernel_of_product(emulated, 4096, 0, 2), "gemm_matrix");
    xp_device_close(&emulated);
}

/* ---- the search -------------------------------------------------------------------------------------------------- */

/* A step with one request, which takes half its time with ROWS = `fast`, and gives wrong results with ROWS =
 * `wrong`. */
typedef struct made_up {
    int fast, wrong, trials, checks, rejected, kept, concluded, noted;
    const char *note;  /* of the plans, or NULL */
    xp_status failure; /* of the trials; XP_OK: they answer */
    char reason[96];
} made_up;

static long rows_in(const char *table) {
    json_t *entries = NULL;
    assert_int_equal(xp_tuning_read(table, false, &entries), XP_OK);
    const json_t *values = json_object_get(json_array_get(entries, 0), "values");
    const long rows = (long)json_integer_value(json_object_get(values, "ROWS"));
    json_decref(entries);
    return rows;
}

static xp_status made_up_trial(void *user, const xp_tune_order *order, double seconds, xp_tune_reply *reply) {
    made_up *m = user;
    m->trials++;
    reply->status = m->failure;
    snprintf(reply->reason, sizeof reply->reason, "%s", m->reason);
    if (m->failure != XP_OK) return XP_OK;
    json_t *ratios = json_array(), *asked = entry("nt 8x8x8", 1, NULL, NULL);
    for (int i = 0; i < order->steps && order->candidates; i++)
        json_array_append_new(ratios, json_real(rows_in(order->candidates) == m->fast ? 0.5 : 1.2));
    json_t *told = json_pack("{s:f,s:O,s:[{s:s,s:s,s:s,s:o,s:[{s:s,s:i,s:[iii],s:i}],s:f,s:o,s:b}]}", "step", 1.0,
                             "ratios", ratios, "requests", "kernel", "asked", "operation", "gemm", "shape", "nt 8x8x8",
                             "entry", asked, "parameters", "name", "ROWS", "default", 1, "values", 1, 2, 3, "exclusive",
                             0, "seconds", 0.5, "ratios", ratios, "persistent", 0);
    assert_non_null(told);
    if (m->note) json_object_set_new(told, "note", json_string(m->note));
    reply->answer = json_dumps(told, 0);
    reply->length = strlen(reply->answer);
    json_decref(told);
    return XP_OK;
}

static xp_status made_up_check(void *user, const char *operation, const char *table, int cases, double seconds,
                               bool *right) {
    made_up *m = user;
    m->checks++;
    assert_string_equal(operation, "gemm");
    *right = rows_in(table) != m->wrong;
    return XP_OK;
}

static void count_note(void *user, const char *text) {
    made_up *m = user;
    assert_string_equal(text, m->note);
    m->noted++;
}

static void count_rejected(void *user, const char *kernel, const char *values, const char *reason) {
    ((made_up *)user)->rejected++;
}

static void take_finding(void *user, const xp_tune_finding *finding) {
    made_up *m = user;
    m->kept += finding->kept;
    assert_string_equal(finding->fallback, "ROWS=1");
}

static void count_conclusion(void *user, const xp_tune_conclusion *conclusion) {
    ((made_up *)user)->concluded++;
}

static xp_status search(made_up *m, int *kept) {
    const xp_tune_callbacks callbacks = {.user = m,
                                         .trial = made_up_trial,
                                         .check = made_up_check,
                                         .note = count_note,
                                         .rejected = count_rejected,
                                         .finding = take_finding,
                                         .conclude = count_conclusion};
    const xp_tune_options options = {.output = scratch_path("tuning.json"),
                                     .trials = scratch_path("trials.json"),
                                     .rounds = 20,
                                     .seconds = 3600,
                                     .limit = 60};
    remove(options.output);
    remove(options.trials);
    return xp_tune_search(&options, &callbacks, kept);
}

static void a_search_writes_what_is_faster_and_right(void **state) {
    made_up m = {.fast = 3, .wrong = 2};
    int kept;
    assert_int_equal(search(&m, &kept), XP_OK);
    assert_int_equal(kept, 1);
    assert_int_equal(m.kept, 1);
    assert_int_equal(m.rejected, 0);
    assert_int_equal(m.concluded, 1);
    assert_int_equal(rows_in(scratch_path("tuning.json")), 3);
}

static void a_search_hands_on_once_what_plans_say(void **state) {
    made_up silent = {.fast = 1, .note = ""},
            m = {.fast = 1, .note = "warning: slower kernels take the place of others"};
    int kept;
    assert_int_equal(search(&silent, &kept), XP_OK);
    assert_int_equal(silent.noted, 0);
    assert_int_equal(search(&m, &kept), XP_OK);
    assert_int_equal(m.noted, 1);
}

static void a_search_writes_nothing_that_is_wrong(void **state) {
    made_up m = {.fast = 3, .wrong = 3};
    int kept;
    assert_int_equal(search(&m, &kept), XP_OK);
    assert_int_equal(kept, 0);
    assert_int_equal(m.rejected, 1);
    assert_int_not_equal(access(scratch_path("tuning.json"), F_OK), 0);
}

static void a_search_does_not_repeat_what_was_tried(void **state) {
    made_up m = {.fast = 1};
    int kept;
    assert_int_equal(search(&m, &kept), XP_OK);
    assert_int_equal(m.trials, 3); /* the defaults, and two candidates */
    const xp_tune_options options = {.output = scratch_path("tuning.json"),
                                     .trials = scratch_path("trials.json"),
                                     .rounds = 20,
                                     .seconds = 3600,
                                     .limit = 60};
    const xp_tune_callbacks callbacks = {.user = &m, .trial = made_up_trial, .check = made_up_check};
    assert_int_equal(xp_tune_search(&options, &callbacks, &kept), XP_OK);
    assert_int_equal(m.trials, 4); /* the defaults */
}

static void the_failure_of_a_first_trial_is_that_of_the_search(void **state) {
    made_up m = {.failure = XP_NO_DEVICE, .reason = "no device fits \"9:9\""};
    int kept;
    assert_int_equal(search(&m, &kept), XP_NO_DEVICE);
    assert_string_equal(xp_last_error(), m.reason);
}

static void a_damaged_record_of_trials_begins_anew(void **state) {
    made_up m = {.fast = 3};
    int kept;
    const char *trials = scratch_write("damaged.json", "[1, 2", 5);
    const xp_tune_options options = {
        .output = scratch_path("tuning.json"), .trials = trials, .rounds = 20, .seconds = 3600};
    const xp_tune_callbacks callbacks = {.user = &m, .trial = made_up_trial, .check = made_up_check};
    assert_int_equal(xp_tune_search(&options, &callbacks, &kept), XP_OK);
    assert_int_equal(kept, 1);
}

static int open_tiled(void **state) {
    if (scratch_make(state) != 0) return -1;
    device = open_device("tiled");
    return 0;
}

static int close_device(void **state) {
    xp_device_close(&device);
    return scratch_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_entry_serves),
        cmocka_unit_test(entries_that_do_not_fit_are_passed_over),
        cmocka_unit_test(values_that_do_not_fit_the_device_are_lessened_in_the_order_given),
        cmocka_unit_test(a_gain_is_believed_only_when_its_whole_interval_lies_above_1),
        cmocka_unit_test(the_interval_of_a_median_holds_it_as_often_as_it_says),
        cmocka_unit_test(a_bootstrap_draws_groups_before_their_values),
        cmocka_unit_test(a_table_an_estimate_or_else_the_device_chooses_what_multiplies),
        cmocka_unit_test(parameters_of_clblast_stay_for_the_process),
        cmocka_unit_test(a_search_writes_what_is_faster_and_right),
        cmocka_unit_test(a_search_hands_on_once_what_plans_say),
        cmocka_unit_test(a_search_writes_nothing_that_is_wrong),
        cmocka_unit_test(a_search_does_not_repeat_what_was_tried),
        cmocka_unit_test(the_failure_of_a_first_trial_is_that_of_the_search),
        cmocka_unit_test(a_damaged_record_of_trials_begins_anew),
    };
    return cmocka_run_group_tests(tests, open_tiled, close_device);
}
