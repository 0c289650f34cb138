/* The device room: the table, selection, families, buffers, the program cache and its damage. */
#include "core/files.h"
#include "device/cache.h"
#include "device/device.h"
#include "device/probe_job.h"
#include "support.h"

#include <sys/stat.h>

static void the_table_has_exactly_one_default(void **state) {
    xp_device_info *table;
    size_t count;
    const char *note;
    assert_int_equal(xp_devices_list(&table, &count, &note), XP_OK);
    assert_true(count > 0);
    int defaults = 0;
    for (size_t i = 0; i < count; i++) {
        defaults += table[i].is_default;
        assert_true(strlen(table[i].name) > 0);
        assert_non_null(strchr(table[i].selector, ':'));
    }
    assert_int_equal(defaults, 1);
    free(table);
}

static xp_status open_by(const char *select, const char *family, xp_device **device) {
    xp_device_options options;
    xp_device_options_default(&options);
    options.select = select;
    options.family = family;
    return xp_device_open(device, &options);
}

static void a_selector_and_a_name_open_the_same_device(void **state) {
    xp_device *first, *second;
    assert_int_equal(open_by(NULL, NULL, &first), XP_OK);
    assert_int_equal(open_by(first->selector, NULL, &second), XP_OK);
    assert_string_equal(first->name, second->name);
    xp_device_close(&second);
    assert_int_equal(open_by(first->name, NULL, &second), XP_OK);
    xp_device_close(&second);
    xp_device_close(&first);
    assert_null(first);
}

static void an_unknown_device_is_rejected_with_the_list(void **state) {
    xp_device *device;
    assert_int_equal(open_by("no such device", NULL, &device), XP_NO_DEVICE);
    assert_null(device);
    assert_non_null(strstr(xp_last_error(), "no such device"));
    assert_non_null(strstr(xp_last_error(), "available:"));
}

static void an_unknown_family_is_rejected_by_name(void **state) {
    xp_device *device;
    assert_int_equal(open_by(NULL, "narrow", &device), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "narrow"));
}

static void an_unknown_arithmetic_is_rejected_by_name(void **state) {
    xp_device *device;
    xp_device_options options;
    xp_device_options_default(&options);
    options.arithmetic = "fp31";
    assert_int_equal(xp_device_open(&device, &options), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "fp31"));
    options.arithmetic = "tf32";
    assert_int_equal(xp_device_open(&device, &options), XP_OK);
    assert_int_equal(device->arithmetic, XP_ARITHMETIC_TF32);
    xp_device_close(&device);
}

static void matrix_units_are_emulated_only_where_they_are_asked_for(void **state) {
    xp_device *device;
    assert_int_equal(open_by("cpu", NULL, &device), XP_OK);
    assert_int_equal(device->matrix, XP_MATRIX_NONE);
    for (int f = 0; f < XP_FAMILIES - 1; f++) assert_int_not_equal(device->families[f], XP_FAMILY_MATRIX);
    xp_device_close(&device);
    assert_int_equal(open_by("cpu", "matrix", &device), XP_OK);
    assert_int_equal(device->matrix, XP_MATRIX_EMULATED);
    assert_int_equal(device->families[0], XP_FAMILY_MATRIX);
    assert_int_equal(device->families[1], XP_FAMILY_WIDE);
    xp_device_close(&device);
}

static void the_probe_of_matrix_units_knows_right_from_wrong(void **state) {
    xp_device *device;
    int of;
    assert_int_equal(open_by("cpu", NULL, &device), XP_OK);
    assert_int_equal(xp_matrix_count_right(device, XP_MATRIX_EMULATED, &of), 1024);
    assert_int_equal(of, 1024);
    assert_true(xp_matrix_count_right(device, XP_MATRIX_NONE, &of) < of); /* does not build */
    xp_device_close(&device);
}

static void a_buffer_keeps_what_is_written(void **state) {
    xp_device *device;
    assert_int_equal(open_by(NULL, NULL, &device), XP_OK);
    for (size_t bytes = 4; bytes <= (8u << 20); bytes *= 128) { /* small ones, and large ones in huge pages */
        cl_mem buffer;
        assert_int_equal(xp_device_buffer(device, bytes, &buffer), XP_OK);
        assert_int_equal(xp_device_fill_zero(device, buffer, bytes), XP_OK);
        uint32_t value = 0x12345678, back[1] = {1};
        assert_int_equal(xp_device_read(device, buffer, bytes - 4, 4, back), XP_OK);
        assert_int_equal(back[0], 0);
        assert_int_equal(xp_device_write(device, buffer, bytes - 4, 4, &value), XP_OK);
        assert_int_equal(xp_device_read(device, buffer, bytes - 4, 4, back), XP_OK);
        assert_int_equal(back[0], value);
        clReleaseMemObject(buffer);
    }
    xp_device_close(&device);
}

static void a_buffer_beyond_the_device_is_rejected(void **state) {
    xp_device *device;
    assert_int_equal(open_by(NULL, NULL, &device), XP_OK);
    cl_mem buffer;
    assert_int_equal(xp_device_buffer(device, device->limits.allocation_bytes + 4, &buffer), XP_OUT_OF_MEMORY);
    assert_int_equal(xp_device_buffer(device, 0, &buffer), XP_INVALID_ARGUMENT);
    xp_device_close(&device);
}

static void a_variant_prints_its_options_in_order(void **state) {
    xp_variant variant = {0};
    char text[64];
    xp_variant_set(&variant, "WIDTH", 64);
    xp_variant_set(&variant, "CAUSAL", 0);
    assert_int_equal(xp_variant_print(&variant, text, sizeof text), strlen("-DWIDTH=64 -DCAUSAL=0"));
    assert_string_equal(text, "-DWIDTH=64 -DCAUSAL=0");
}

/* ---- programs ---------------------------------------------------------------------------------------------------- */

static void write_text(const char *name, const char *text) {
    scratch_write(name, text, strlen(text));
}

static int make_folder(void **state) {
    if (scratch_make(state) != 0) return -1;
    setenv("XP_CL_DIR", scratch_folder, 1);
    setenv("EXPANSE_CACHE_DIR", scratch_folder, 1);
    return 0;
}

static int remove_folder(void **state) {
    unsetenv("XP_CL_DIR");
    unsetenv("EXPANSE_CACHE_DIR");
    return scratch_remove(state);
}

static float run_answer(xp_device *device, long answer) {
    xp_variant variant = {0};
    xp_variant_set(&variant, "ANSWER", answer);
    cl_kernel kernel;
    assert_int_equal(xp_device_kernel(device, "answer", "answer", &variant, &kernel), XP_OK);
    cl_mem buffer;
    assert_int_equal(xp_device_buffer(device, 4, &buffer), XP_OK);
    clSetKernelArg(kernel, 0, sizeof buffer, &buffer);
    assert_int_equal(
        clEnqueueNDRangeKernel(device->queue, kernel, 1, NULL, (size_t[]){1}, (size_t[]){1}, 0, NULL, NULL), 0);
    float value = 0;
    assert_int_equal(xp_device_read(device, buffer, 0, 4, &value), XP_OK);
    clReleaseMemObject(buffer);
    clReleaseKernel(kernel);
    return value;
}

static void a_damaged_cache_entry_is_rebuilt(void **state) {
    write_text("shared.clh", "#define SHIFT 1\n");
    write_text("answer.cl", "#include \"shared.clh\"\n#include \"shared.clh\"\n"
                            "__kernel void answer(__global float *out) { out[0] = ANSWER + SHIFT; }\n");
    char command[256];
    for (int damage = 0; damage < 3; damage++) {
        xp_device *device;
        assert_int_equal(open_by(NULL, NULL, &device), XP_OK);
        assert_true(run_answer(device, 41) == 42); /* built, then from the disk, then from a damaged entry */
        assert_true(run_answer(device, 6) == 7);
        xp_device_close(&device);
        snprintf(command, sizeof command, "for f in %s/*.bin; do %s $f; done", scratch_folder,
                 damage == 0 ? "test -s" : "truncate -s -9");
        assert_int_equal(system(command), 0);
    }
}

static int entries(const char *command) {
    char text[256];
    snprintf(text, sizeof text, "%s %s/*.bin >/dev/null 2>&1", command, scratch_folder);
    return system(text);
}

/* A program from there would run with this user's rights. */
static void a_cache_folder_that_others_may_write_into_is_not_used(void **state) {
    char path[128];
    xp_device *device;
    write_text("answer.cl", "__kernel void answer(__global float *out) { out[0] = ANSWER; }\n");
    assert_int_equal(chmod(scratch_folder, 0770), 0);
    assert_int_equal(xp_cache_check(), XP_IO_ERROR);
    assert_non_null(strstr(xp_last_error(), scratch_folder));
    assert_int_equal(xp_cache_path("tuning.json", true, path, sizeof path), XP_IO_ERROR);
    assert_int_equal(open_by(NULL, NULL, &device), XP_OK);
    assert_true(run_answer(device, 5) == 5);
    xp_device_close(&device);
    assert_int_not_equal(entries("test -e"), 0);
    assert_int_equal(chmod(scratch_folder, 0700), 0);
    assert_int_equal(xp_cache_check(), XP_OK);
    assert_int_equal(open_by(NULL, NULL, &device), XP_OK);
    assert_true(run_answer(device, 5) == 5);
    xp_device_close(&device);
    assert_int_equal(entries("test -s"), 0);
}

static void a_cache_folder_whose_name_is_too_long_is_not_cut(void **state) {
    char name[5000], path[6000];
    memset(name, 'x', sizeof name);
    memcpy(name, scratch_folder, strlen(scratch_folder));
    name[strlen(scratch_folder)] = '/';
    name[sizeof name - 1] = 0;
    setenv("EXPANSE_CACHE_DIR", name, 1);
    assert_int_equal(xp_cache_check(), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "EXPANSE_CACHE_DIR"));
    assert_int_equal(xp_cache_path("tuning.json", true, path, sizeof path), XP_INVALID_ARGUMENT);
    assert_int_equal(xp_cache_write("x", "x", 1), XP_INVALID_ARGUMENT);
    setenv("EXPANSE_CACHE_DIR", "", 1);
    assert_int_equal(xp_cache_check(), XP_OK); /* none is wanted */
    assert_int_not_equal(xp_cache_write("x", "x", 1), XP_OK);
    setenv("XP_CL_DIR", name, 1);
    xp_device *device;
    cl_kernel kernel;
    xp_variant variant = {0};
    assert_int_equal(open_by(NULL, "tiled", &device), XP_OK);
    assert_int_equal(xp_device_kernel(device, "answer", "answer", &variant, &kernel), XP_INVALID_ARGUMENT);
    assert_non_null(strstr(xp_last_error(), "XP_CL_DIR"));
    xp_device_close(&device);
}

static void a_compile_error_names_file_options_and_line(void **state) {
    write_text("answer.cl", "\n__kernel void answer(__global float *out) { out[0] = ANSWER + missing_name; }\n");
    xp_device *device;
    assert_int_equal(open_by(NULL, NULL, &device), XP_OK);
    xp_variant variant = {0};
    xp_variant_set(&variant, "ANSWER", 3);
    cl_kernel kernel;
    assert_int_equal(xp_device_kernel(device, "answer", "answer", &variant, &kernel), XP_BUILD_ERROR);
    assert_non_null(strstr(xp_last_error(), "answer.cl"));
    assert_non_null(strstr(xp_last_error(), "-DANSWER=3"));
    assert_non_null(strstr(xp_last_error(), "missing_name"));
    xp_device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_has_exactly_one_default),
        cmocka_unit_test(a_selector_and_a_name_open_the_same_device),
        cmocka_unit_test(an_unknown_device_is_rejected_with_the_list),
        cmocka_unit_test(an_unknown_family_is_rejected_by_name),
        cmocka_unit_test(an_unknown_arithmetic_is_rejected_by_name),
        cmocka_unit_test(matrix_units_are_emulated_only_where_they_are_asked_for),
        cmocka_unit_test(the_probe_of_matrix_units_knows_right_from_wrong),
        cmocka_unit_test(a_buffer_keeps_what_is_written),
        cmocka_unit_test(a_buffer_beyond_the_device_is_rejected),
        cmocka_unit_test(a_variant_prints_its_options_in_order),
        cmocka_unit_test_setup_teardown(a_damaged_cache_entry_is_rebuilt, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_cache_folder_that_others_may_write_into_is_not_used, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_cache_folder_whose_name_is_too_long_is_not_cut, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_compile_error_names_file_options_and_line, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
