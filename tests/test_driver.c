/* What a plan leaves in the driver, and what it makes of a driver that returns less than it promises. Runs with an
 * OpenCL without a device preloaded and a stub in place of CLBlast. */
#define _GNU_SOURCE
#include "check/check.h"
#include "device/device.h"
#include "device/matrix.h"
#include "device/probe_job.h"
#include "device/tuning.h"
#include "devices.h"
#include "faults/null_opencl.h"
#include "graph/plan_internal.h"
#include "ops/gemm_clblast.h"
#include "ops/gemm_launch.h"
#include "ops/ops.h"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EDGE = 64 };

static null_opencl *driver;
static xp_device *device;
static xp_graph *graph;
static xp_plan *plan;
static xp_tensor *product, *sum;

static int find_driver(void **state) {
    driver = dlsym(RTLD_DEFAULT, NULL_OPENCL);
    if (!driver) fprintf(stderr, "the OpenCL without a device is not preloaded\n");
    return driver ? 0 : -1;
}

/* y = a·a, made by the library, and the sums of its columns, by a kernel of our own. */
static xp_status make_plan(void) {
    const xp_tuning library = {.kernel = "gemm_tiled",
                               .file = "gemm_tiled",
                               .count = 1,
                               .parameters = {{.name = "LIBRARY", .value = XP_LIBRARY_CLBLAST}}};
    json_t *entries = json_array();
    json_array_append_new(entries, xp_tuning_entry(device, &library, "*"));
    xp_tuning_prefer(device, entries);
    json_decref(entries);
    XP_TRY(xp_graph_create(&graph, NULL, false));
    xp_tensor *a = xp_tensor_keep(xp_graph_input(graph, "a", XP_F32, 2, (int64_t[]){EDGE, EDGE}));
    product = xp_tensor_keep(xp_gemm(graph, a, 0, a, 0));
    sum = xp_tensor_keep(xp_column_sum(graph, product));
    XP_TRY(xp_plan_create(&plan, device, graph));
    return xp_plan_realise(plan, NULL);
}

static void open_plan(void) {
    xp_device_options options;
    xp_device_options_default(&options);
    options.family = "tiled";
    options.profiling = true;
    driver->misuses = 0;
    assert_int_equal(xp_device_open(&device, &options), XP_OK);
    assert_true(xp_clblast_is_there());
    assert_int_equal(make_plan(), XP_OK);
}

/* Whatever happened before, nothing is left and nothing was released twice. */
static int close_plan(void **state) {
    driver->fault = NULL_FAULT_NONE;
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    xp_device_close(&device);
    if (driver->live || driver->misuses)
        fprintf(stderr, "%d objects are left, %d calls were wrong\n", driver->live, driver->misuses);
    return driver->live || driver->misuses ? -1 : 0;
}

static char *profile_of_three_runs(void) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    for (int i = 0; i < 3; i++) assert_int_equal(xp_plan_run(plan), XP_OK);
    assert_int_equal(xp_plan_print_profile(plan, out), XP_OK);
    fclose(out);
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    return text;
}

static void a_profile_with_a_library_leaves_nothing_behind(void **state) {
    open_plan();
    char *text = profile_of_three_runs();
    assert_non_null(strstr(text, "CLBlastSgemm"));
    assert_non_null(strstr(text, "3 steps"));
    free(text);
}

static void a_library_whose_device_closes_lets_go_of_its_programs(void **state) {
    for (int turn = 0; turn < 2; turn++) {
        open_plan();
        assert_int_equal(xp_plan_run(plan), XP_OK);
        assert_int_equal(close_plan(NULL), 0);
    }
}

static void commands_without_times_leave_out_the_profile(void **state) {
    const null_fault faults[] = {NULL_FAULT_NO_TIMES, NULL_FAULT_TIMES_REVERSED, NULL_FAULT_TIMES_ZERO,
                                 NULL_FAULT_NO_EVENTS};
    open_plan();
    for (int i = 0; i < 4; i++) {
        driver->fault = faults[i];
        xp_plan_forget_profile(plan);
        char *text = profile_of_three_runs();
        assert_non_null(strstr(text, "reports no times for its commands"));
        free(text);
    }
}

static void times_that_cannot_be_are_left_out(void **state) {
    open_plan();
    driver->fault = NULL_FAULT_TIMES_GARBAGE;
    free(profile_of_three_runs());
    assert_true(xp_plan_profiled_seconds(plan) < 1e-3); /* nine events at most, one in a microsecond */
}

static void an_event_that_is_not_released_well_changes_nothing(void **state) {
    open_plan();
    driver->fault = NULL_FAULT_EVENTS_STAY;
    char *text = profile_of_three_runs();
    assert_non_null(strstr(text, "3 steps"));
    free(text);
}

/* Its event is none, whatever the driver has left there. */
static void a_launch_that_fails_leaves_no_event_to_release(void **state) {
    open_plan();
    driver->fault = NULL_FAULT_LAUNCHES_BREAK;
    assert_int_equal(xp_plan_run(plan), XP_DEVICE_ERROR);
    assert_non_null(strstr(xp_last_error(), "clEnqueueNDRangeKernel failed: CL_OUT_OF_RESOURCES"));
    cl_event done;
    assert_int_equal(xp_plan_enqueue(plan, device->queue, 0, NULL, &done), XP_DEVICE_ERROR);
    assert_null(done);
}

static void a_profile_of_many_launches_is_complete(void **state) {
    enum { LAUNCHES = 5000 };
    char *text, all[64];
    driver->misuses = 0;
    xp_device_options options;
    xp_device_options_default(&options);
    options.profiling = true;
    MUST(xp_device_open(&device, &options));
    MUST(xp_graph_create(&graph, NULL, false));
    xp_tensor *x = xp_graph_input(graph, "x", XP_F32, 2, (int64_t[]){1, EDGE});
    for (int i = 0; i < LAUNCHES; i++) x = xp_activate(graph, x, XP_ACTIVATION_GELU);
    xp_tensor_keep(x);
    MUST(xp_plan_create(&plan, device, graph));
    MUST(xp_plan_realise(plan, NULL));
    text = profile_of_three_runs();
    snprintf(all, sizeof all, "idle between launches                    %d", LAUNCHES);
    if (!strstr(text, all)) fail_msg("%s", text);
    free(text);
}

/* A program that ends without closing what it has opened: libraries that keep objects let go of them before the driver
 * ends. */
static void a_process_may_end_with_an_open_device(void **state) {
    int status;
    const pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO); /* what is left is listed there, on purpose here */
        open_plan();
        exit(xp_plan_run(plan) != XP_OK);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void an_event_that_does_not_come_is_an_error_where_it_is_needed(void **state) {
    cl_event done;
    open_plan();
    driver->fault = NULL_FAULT_NO_EVENTS;
    assert_int_equal(xp_plan_enqueue(plan, device->queue, 0, NULL, &done), XP_DEVICE_ERROR);
    assert_non_null(strstr(xp_last_error(), "returned no object"));
    assert_null(done);
    assert_int_equal(xp_plan_enqueue(plan, device->queue, 0, NULL, NULL), XP_OK);
}

static void an_object_that_does_not_come_is_an_error(void **state) {
    driver->misuses = 0;
    device = open_device("tiled");
    driver->fault = NULL_FAULT_NO_OBJECTS;
    assert_int_equal(make_plan(), XP_DEVICE_ERROR);
    assert_non_null(strstr(xp_last_error(), "clCreateKernel returned no object"));
}

/* ---- findings of probes ------------------------------------------------------------------------------------------ */

static const char record[] = "findings.json";

static int open_nothing_with_cache(void **state) {
    if (scratch_make(state) != 0) return -1;
    setenv("EXPANSE_CACHE_DIR", scratch_folder, 1);
    driver->extensions = "cl_nv_device_attribute_query"; /* so that matrix units and local memory are tried */
    driver->misuses = 0;
    return 0;
}

static int close_nothing_with_cache(void **state) {
    driver->fault = NULL_FAULT_NONE;
    driver->extensions = NULL;
    xp_device_close(&device);
    setenv("EXPANSE_CACHE_DIR", "", 1);
    return scratch_remove(state) != 0 || driver->live != 0 || driver->misuses != 0;
}

/* How many programs are built when the device opens. */
static int builds_of_opening(xp_status (*open)(xp_device **, const xp_device_options *)) {
    xp_device_options options;
    xp_device_options_default(&options);
    xp_device_close(&device);
    driver->builds = 0;
    MUST(open(&device, &options));
    return driver->builds;
}

static void probes_run_at_the_first_opening_and_when_they_are_to_run_anew(void **state) {
    const int all = builds_of_opening(xp_device_open);
    assert_true(all >= 6);
    assert_int_equal(builds_of_opening(xp_device_open), 0);
    assert_int_equal(device->matrix, XP_MATRIX_NONE);
    assert_int_equal(device->limits.static_local_bytes, device->limits.local_bytes);
    assert_int_equal(builds_of_opening(xp_device_open_anew), all);
    setenv("EXPANSE_CACHE_DIR", "", 1);
    assert_int_equal(builds_of_opening(xp_device_open), all);
}

static void doctor_says_why_units_that_a_device_may_have_are_not_used(void **state) {
    const xp_probe *probe = xp_probe_find("matrix");
    xp_probe_result result = {0};
    assert_non_null(probe);
    MUST(xp_device_open(&device, NULL));
    driver->fault = NULL_FAULT_NO_OBJECTS;
    assert_int_equal(probe->run(device, &result), XP_OK);
    assert_string_equal(result.figure, "none");
    assert_non_null(strstr(result.meaning, "clCreateKernel returned no object"));
}

/* Writes the record with one text in place of another. */
static void change_record(const char *from, const char *to) {
    char text[1024] = "", path[256];
    size_t length = 0;
    snprintf(path, sizeof path, "%s/%s", scratch_folder, record);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    char *at = strstr(text, from);
    if (!at) fail_msg("%s is not in %s", from, text);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(file);
    assert_true(length > 0);
}

static void a_record_is_believed_only_where_it_is_whole_and_of_this_device(void **state) {
    static const struct {
        const char *from, *to;
        bool believed;
    } changes[] = {{"\"matrix\": \"none\"", "\"matrix\": \"NVIDIA mma.sync\"", true},
                   {"\"matrix\": \"none\"", "\"matrix\": \"emulated\"", false},
                   {"\"matrix\": \"none\"", "\"matrix\": 2", false},
                   {"\"version\": \"", "\"version\": \"0", false},
                   {"\"wgmma_bytes\": 0", "\"wgmma_bytes\": -1024", false},
                   {"\"wgmma_bytes\": 0", "\"wgmma_bytes\": 1000000000", false},
                   {"\"static_local_bytes\": ", "\"static_local_bytes\": 1, \"other\": ", false},
                   {"\"lanes\": 8", "\"lanes\": 7", false},
                   {"\"bf16_instruction\": false", "\"bf16_instruction\": 0", false},
                   {"| 1.0 |", "| 1.1 |", false},
                   {"}", "", false}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const int all = builds_of_opening(xp_device_open_anew);
        change_record(changes[i].from, changes[i].to);
        const int builds = builds_of_opening(xp_device_open);
        if (builds != (changes[i].believed ? 0 : all)) fail_msg("%s: %d programs", changes[i].to, builds);
        assert_int_equal(device->matrix, changes[i].believed ? XP_MATRIX_NVIDIA : XP_MATRIX_NONE);
    }
}

static void recorded_instructions_are_believed_where_this_processor_has_them(void **state) {
    const int all = builds_of_opening(xp_device_open_anew);
    const bool exists = xp_bf16_instruction_exists();
    change_record("\"bf16_instruction\": false", "\"bf16_instruction\": true");
    assert_int_equal(builds_of_opening(xp_device_open), exists ? 0 : all);
    assert_true(device->limits.bf16_instruction == exists);
}

static void what_a_probe_breaks_is_not_the_device_s_and_not_kept(void **state) {
    driver->fault = NULL_FAULT_LAUNCHES_BREAK;
    const int all = builds_of_opening(xp_device_open);
    driver->fault = NULL_FAULT_NONE;
    cl_mem buffer;
    MUST(xp_device_buffer(device, 4, &buffer));
    MUST(xp_device_write(device, buffer, 0, 4, "abc"));
    clReleaseMemObject(buffer);
    assert_int_equal(builds_of_opening(xp_device_open), all);
}

/* ---- edited programs --------------------------------------------------------------------------------------------- */

static const char ptx[] = ".version 9.0\n.target sm_90\n//@sm_90a ret;\n",
                  edited[] = ".version 9.0\n.target sm_90a\nret;\n";

static int open_with_cache(void **state) {
    if (scratch_make(state) != 0) return -1;
    setenv("EXPANSE_CACHE_DIR", scratch_folder, 1);
    device = open_device("tiled");
    driver->misuses = 0;
    return 0;
}

static int close_with_cache(void **state) {
    xp_device_close(&device);
    driver->ptx = NULL;
    setenv("EXPANSE_CACHE_DIR", "", 1);
    return scratch_remove(state) != 0 || driver->live != 0 || driver->misuses != 0;
}

static xp_status make_edited(void) {
    cl_kernel kernel;
    const xp_variant variant = {.edit_for = "sm_90a"};
    driver->loaded[0] = 0;
    XP_TRY(xp_device_kernel(device, "copy", "copy", &variant, &kernel));
    return clReleaseKernel(kernel) == CL_SUCCESS ? XP_OK : XP_DEVICE_ERROR;
}

static void a_program_is_loaded_as_it_was_edited_from_the_cache_too(void **state) {
    driver->ptx = ptx;
    MUST(make_edited());
    assert_string_equal(driver->loaded, edited);
    xp_device_close(&device);
    driver->ptx = ".version 9.0\n"; /* what is built now could not be edited */
    device = open_device("tiled");
    MUST(make_edited());
    assert_string_equal(driver->loaded, edited);
}

static void a_program_without_marks_is_never_run(void **state) {
    driver->ptx = edited;
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(make_edited(), XP_UNSUPPORTED);
        assert_string_equal(xp_last_error(),
                            "cl/copy.cl: the PTX has no instruction for sm_90a: its compiler drops comments");
        assert_string_equal(driver->loaded, "");
    }
}

static void a_program_that_was_not_edited_does_not_stand_in_for_an_edited_one(void **state) {
    cl_kernel kernel;
    driver->ptx = ptx;
    MUST(xp_device_kernel(device, "copy", "copy", &(xp_variant){.count = 0}, &kernel));
    assert_string_equal(driver->loaded, "");
    clReleaseKernel(kernel);
    MUST(make_edited());
    assert_string_equal(driver->loaded, edited);
}

/* What a large GPU with such units would choose for a product of this edge. */
static void plan_product_for_large_device(void) {
    device->matrix = XP_MATRIX_NVIDIA;
    device->wgmma_bytes = 192 << 10;
    device->limits.compute_units = 132;
    MUST(xp_graph_create(&graph, NULL, false));
    xp_tensor *a = xp_graph_input(graph, "a", XP_BF16, 2, (int64_t[]){4096, 4096});
    product = xp_tensor_keep(xp_gemm(graph, a, 0, a, 0));
    assert_non_null(product);
    MUST(xp_plan_create(&plan, device, graph));
}

static void assert_multiplies_with(const char *kernel) {
    xp_profile_row rows[2];
    assert_int_equal(xp_plan_profile(plan, false, rows, 2), 1);
    assert_string_equal(rows[0].name, kernel);
}

static int open_matrix_device(void **state) {
    setenv("EXPANSE_CACHE_DIR", "", 1);
    driver->misuses = 0;
    device = open_device("matrix");
    return 0;
}

static int close_matrix_plan(void **state) {
    driver->ptx = driver->refused = NULL;
    return close_plan(state);
}

static void a_plan_whose_edited_program_is_refused_goes_on_without_it_and_says_so(void **state) {
    plan_product_for_large_device();
    assert_multiplies_with("gemm_wgmma");
    driver->ptx = ptx;
    driver->refused = "sm_90a";
    MUST(xp_plan_realise(plan, NULL));
    assert_multiplies_with("gemm_matrix");
    assert_non_null(strstr(xp_plan_note(plan), "slower kernels take the place of gemm_wgmma on Null GPU, because its "
                                               "driver refused this one: cl/gemm_wgmma.cl: "));
    assert_null(strchr(xp_plan_note(plan), '\n'));
    MUST(xp_plan_run(plan));
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    plan_product_for_large_device(); /* the device remembers it */
    assert_multiplies_with("gemm_matrix");
    MUST(xp_plan_realise(plan, NULL));
    assert_string_equal(xp_plan_note(plan), "");
}

/* It builds, and has another kernel. */
static void a_plan_whose_edited_program_lacks_the_kernel_goes_on_without_it(void **state) {
    plan_product_for_large_device();
    driver->ptx = ptx;
    MUST(xp_plan_realise(plan, NULL));
    assert_multiplies_with("gemm_matrix");
    assert_non_null(strstr(xp_plan_note(plan), "slower kernels take the place of gemm_wgmma on Null GPU"));
    MUST(xp_plan_run(plan));
}

static void prefer(const xp_tuning *choice) {
    json_t *entries = json_array();
    json_array_append_new(entries, xp_tuning_entry(device, choice, "*"));
    xp_tuning_prefer(device, entries);
    json_decref(entries);
}

/* The program of this pass over queries, of an attention whose bias has a gradient, and whose q has one, too. */
static const char *target_of_queries(bool q_too) {
    const char *target = "no such launch";
    const int64_t rows[] = {1, 256, 2, 64};
    MUST(xp_graph_create(&graph, NULL, true));
    xp_attention_inputs in = {.bias = xp_graph_input(graph, "bias", XP_F32, 4, (int64_t[]){1, 2, 256, 256})};
    xp_tensor **const factors[] = {&in.q, &in.k, &in.v}, *gradients[2];
    for (int i = 0; i < 3; i++) *factors[i] = xp_graph_input(graph, "factor", XP_BF16, 4, rows);
    in.bias->needs_gradient = true;
    in.q->needs_gradient = q_too;
    const xp_attention_attributes attributes = xp_attention_plain(0.125f);
    xp_tensor *o = xp_attention(graph, &in, &attributes, 0, NULL), *wanted[] = {in.bias, in.q};
    xp_tensor *d_o = xp_graph_input(graph, "d_o", XP_BF16, 4, rows);
    assert_non_null(o);
    assert_non_null(d_o);
    MUST(xp_graph_differentiate(graph, 1, &o, &d_o, 1 + q_too, wanted, gradients));
    for (int i = 0; i <= q_too; i++) xp_tensor_keep(gradients[i]);
    MUST(xp_plan_create(&plan, device, graph));
    for (int i = 0; i < plan->count; i++)
        if (strcmp(xp_launch_name(&plan->launches[i]), "attention_backward_queries") == 0)
            target = plan->launches[i].request.kernel.variant.edit_for;
    xp_plan_close(&plan);
    xp_graph_close(&graph);
    return target;
}

static void a_pass_that_multiplies_nothing_is_not_edited(void **state) {
    const xp_tuning wgmma = {.kernel = "attention_matrix backward",
                             .file = "attention_matrix_backward",
                             .count = 3,
                             .parameters = {{.name = "SUB_GROUPS", .value = 8},
                                            {.name = "KEYS", .value = 64},
                                            {.name = "INSTRUCTION", .value = XP_INSTRUCTION_WGMMA}}};
    prefer(&wgmma);
    device->matrix = XP_MATRIX_NVIDIA;
    device->wgmma_bytes = 192 << 10;
    device->limits.compute_units = 132;
    device->limits.static_local_bytes = 99 << 10;
    assert_string_equal(target_of_queries(true), XP_WGMMA_TARGET);
    assert_null(target_of_queries(false));
}

static void expect_note(void *context, const xp_check_failure *failure) {
    assert_non_null(strstr(failure->what, "slower kernels take the place of gemm_wgmma on Null GPU"));
    ++*(int *)context;
}

/* They would stand in for those that the check is asked for. */
static void a_check_whose_edited_program_is_refused_fails_and_names_the_kernel(void **state) {
    const xp_tuning wgmma = {.kernel = "gemm_matrix",
                             .file = "gemm_matrix",
                             .other = "gemm_wgmma",
                             .count = 1,
                             .parameters = {{.name = "INSTRUCTION", .value = XP_INSTRUCTION_WGMMA}}};
    prefer(&wgmma);
    device->matrix = XP_MATRIX_NVIDIA;
    device->wgmma_bytes = 192 << 10;
    driver->ptx = ptx;
    driver->refused = "sm_90a";
    int noted = 0;
    const xp_check_report report = {.context = &noted, .failure = expect_note};
    xp_check_options options;
    xp_check_summary summary;
    xp_check_options_default(&options);
    options.filter = "^gemm$";
    options.storage = XP_CHECK_HALVES;
    options.cases = 5;
    MUST(xp_check_run(device, &options, &report, &summary));
    assert_int_equal(noted, options.cases);
    assert_false(device->edits_refused); /* the next case asks again */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_profile_with_a_library_leaves_nothing_behind, close_plan),
        cmocka_unit_test_teardown(a_library_whose_device_closes_lets_go_of_its_programs, close_plan),
        cmocka_unit_test_teardown(commands_without_times_leave_out_the_profile, close_plan),
        cmocka_unit_test_teardown(times_that_cannot_be_are_left_out, close_plan),
        cmocka_unit_test_teardown(an_event_that_is_not_released_well_changes_nothing, close_plan),
        cmocka_unit_test_teardown(a_launch_that_fails_leaves_no_event_to_release, close_plan),
        cmocka_unit_test_teardown(a_profile_of_many_launches_is_complete, close_plan),
        cmocka_unit_test(a_process_may_end_with_an_open_device),
        cmocka_unit_test_teardown(an_event_that_does_not_come_is_an_error_where_it_is_needed, close_plan),
        cmocka_unit_test_teardown(an_object_that_does_not_come_is_an_error, close_plan),
        cmocka_unit_test_setup_teardown(doctor_says_why_units_that_a_device_may_have_are_not_used,
                                        open_nothing_with_cache, close_nothing_with_cache),
        cmocka_unit_test_setup_teardown(probes_run_at_the_first_opening_and_when_they_are_to_run_anew,
                                        open_nothing_with_cache, close_nothing_with_cache),
        cmocka_unit_test_setup_teardown(a_record_is_believed_only_where_it_is_whole_and_of_this_device,
                                        open_nothing_with_cache, close_nothing_with_cache),
        cmocka_unit_test_setup_teardown(recorded_instructions_are_believed_where_this_processor_has_them,
                                        open_nothing_with_cache, close_nothing_with_cache),
        cmocka_unit_test_setup_teardown(what_a_probe_breaks_is_not_the_device_s_and_not_kept, open_nothing_with_cache,
                                        close_nothing_with_cache),
        cmocka_unit_test_setup_teardown(a_program_is_loaded_as_it_was_edited_from_the_cache_too, open_with_cache,
                                        close_with_cache),
        cmocka_unit_test_setup_teardown(a_program_without_marks_is_never_run, open_with_cache, close_with_cache),
        cmocka_unit_test_setup_teardown(a_program_that_was_not_edited_does_not_stand_in_for_an_edited_one,
                                        open_with_cache, close_with_cache),
        cmocka_unit_test_setup_teardown(a_plan_whose_edited_program_is_refused_goes_on_without_it_and_says_so,
                                        open_matrix_device, close_matrix_plan),
        cmocka_unit_test_setup_teardown(a_plan_whose_edited_program_lacks_the_kernel_goes_on_without_it,
                                        open_matrix_device, close_matrix_plan),
        cmocka_unit_test_setup_teardown(a_pass_that_multiplies_nothing_is_not_edited, open_matrix_device,
                                        close_matrix_plan),
        cmocka_unit_test_setup_teardown(a_check_whose_edited_program_is_refused_fails_and_names_the_kernel,
                                        open_matrix_device, close_matrix_plan),
    };
    return cmocka_run_group_tests(tests, find_driver, NULL);
}
