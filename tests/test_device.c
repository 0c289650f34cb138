/* The device room: the table, selection, families, buffers, the program cache and its damage, edited programs. */
#include "core/files.h"
#include "device/cache.h"
#include "device/device.h"
#include "device/probe_job.h"
#include "device/ptx.h"
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
    for (int layout = XP_MATRIX_NVIDIA; layout < XP_MATRICES; layout++) {
        device->layout = (xp_matrix)layout;
        const int all =
            2 * (512 + 512 + 16) + (layout == XP_MATRIX_NVIDIA ? 512 : 0); /* products, rounded ones, rows */
        assert_int_equal(xp_matrix_count_right(device, XP_MATRIX_EMULATED, &of), all);
        assert_int_equal(of, all);
    }
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
    /* A CPU whose driver reports wide vectors is measured when it is opened. */
    char command[1024];
    const char *root = getenv("EXPANSE_ROOT");
    snprintf(command, sizeof command, "cp %s/cl/peak.cl %s/cl/lanes.clh %s", root, root, scratch_folder);
    if (system(command) != 0) return -1;
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

/* On PoCL, where cl/functions.clh replaces a header of the compiler. */
static void a_kernel_may_call_what_is_not_declared(void **state) {
    xp_device *device;
    assert_int_equal(open_by(NULL, NULL, &device), XP_OK);
    const bool short_header = device->short_header;
    write_text("functions.clh", "size_t __attribute__((overloadable, const)) get_global_id(uint);\n");
    write_text("answer.cl", "__kernel void answer(__global float *out) { out[get_global_id(0)] = ANSWER; }\n");
    assert_true(run_answer(device, 3) == 3);
    assert_true(device->short_header == short_header);
    write_text("answer.cl",
               "__kernel void answer(__global float *out) { out[get_global_id(0)] = fabs(ANSWER - 9.0f); }\n");
    assert_true(run_answer(device, 3) == 6);
    assert_false(device->short_header);
    xp_device_close(&device);
}

/* 0 where the command succeeds with each entry of the cache. */
static int entries(const char *command) {
    char text[256];
    snprintf(text, sizeof text, "for f in %s/*.bin; do %s $f || exit 1; done", scratch_folder, command);
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

static void emulated_asynchronous_units_multiply_every_layout_exactly(void **state) {
    xp_device *device;
    int of = 0;
    assert_int_equal(open_by("cpu", "matrix", &device), XP_OK);
    assert_int_equal(xp_wgmma_find(device), 0); /* they are not real */
    assert_int_equal(xp_wgmma_count_right(device, 64 << 10, &of), 128 * (3 * 256 + 2 * 128 + 2 * 64));
    assert_int_equal(of, 128 * (3 * 256 + 2 * 128 + 2 * 64));
    xp_device_close(&device);
}

/* ---- edited PTX -------------------------------------------------------------------------------------------------- */

static const char two_kernels[] = "//\n// Generated\n//\n\n"
                                  ".version 7.8\n"
                                  ".target sm_90, texmode_independent\n"
                                  ".address_size 64\n"
                                  ".entry first(.param .u64 y) {\n"
                                  "\t// begin inline asm\n"
                                  "\tmov.f32 %f1, 0f7FFFFFFF;\n"
                                  "\t//@sm_90a mov.f32 %f1, 0f00000000;\n"
                                  "\t// end inline asm\n"
                                  "//@sm_90a wgmma.fence.sync.aligned;\n"
                                  "\tret;\n}\n"
                                  ".entry second(.param .u64 y) {\n"
                                  "\t//@sm_90a wgmma.fence.sync.aligned;  \r\n"
                                  "\t//@sm_100a tcgen05.fence;\n"
                                  "\tret; // not //@sm_90a a mark\n}\n";
static const char two_edited[] = "//\n// Generated\n//\n\n"
                                 ".version 8.0\n"
                                 ".target sm_90a, texmode_independent\n"
                                 ".address_size 64\n"
                                 ".entry first(.param .u64 y) {\n"
                                 "\t// begin inline asm\n"
                                 "\tmov.f32 %f1, 0f7FFFFFFF;\n"
                                 "mov.f32 %f1, 0f00000000;\n"
                                 "\t// end inline asm\n"
                                 "wgmma.fence.sync.aligned;\n"
                                 "\tret;\n}\n"
                                 ".entry second(.param .u64 y) {\n"
                                 "wgmma.fence.sync.aligned;\r\n"
                                 "\t//@sm_100a tcgen05.fence;\n"
                                 "\tret; // not //@sm_90a a mark\n}\n";

/* The edited text, which the caller frees; NULL: it was refused. */
static char *edited(const char *text, size_t length) {
    char *out = NULL;
    size_t out_length = 0;
    const xp_status status = xp_ptx_edit(text, length, "sm_90a", &out, &out_length);
    if (status != XP_OK) {
        assert_int_equal(status, XP_UNSUPPORTED);
        assert_null(out);
        return NULL;
    }
    assert_int_equal(strlen(out), out_length);
    return out;
}

static void marks_of_all_kernels_become_instructions_and_the_rest_stays(void **state) {
    char *once = edited(two_kernels, sizeof two_kernels); /* with its NUL */
    assert_string_equal(once, two_edited);
    assert_null(edited(once, strlen(once))); /* no mark is left */
    assert_non_null(strstr(xp_last_error(), "no instruction for sm_90a"));
    free(once);
}

static void a_newer_version_of_ptx_stays(void **state) {
    const char text[] = ".version 9.0\n.target sm_90\n//@sm_90a ret;";
    char *out = edited(text, strlen(text));
    assert_string_equal(out, ".version 9.0\n.target sm_90a\nret;");
    free(out);
}

static void what_is_not_whole_ptx_is_refused_with_the_reason(void **state) {
    const struct {
        const char *text, *reason;
        size_t length; /* 0: to the NUL */
    } damaged[] = {
        {"", "not PTX", 0},
        {"\177ELF\0\0.version 8.0\n", "not PTX", 20},
        {"\0\0\0", "not PTX", 3},
        {".version 8.0\n.target sm_90\nret;\n", "no instruction for sm_90a", 0},
        {".version 8.0\n.target sm_90\n//@sm_90a ret\n", "line 3 of the PTX is a mark without a whole instruction", 0},
        {".version 8.0\n.target sm_90\n//@sm_90a\n", "line 3 of the PTX is a mark without a whole instruction", 0},
        {".version 8.0\n//@sm_90a ret;\n", "line 2 of the PTX has an instruction before the target", 0},
        {".version 8.0\n.target sm_90\n\t.local .align 16 .b8 depot[512];\n\t//@sm_90a ret;\n",
         "line 3 of the PTX has an array in memory", 0},
        {".target sm_90\n", "0 versions and 1 targets", 0},
        {".version 8.0\n", "1 versions and 0 targets", 0},
        {".version 8.0\n.target sm_90\n.target sm_80\n//@sm_90a ret;\n", "1 versions and 2 targets", 0},
        {".version eight\n", "line 1 of the PTX names no version", 0},
        {".version 8.0\n.target\n", "line 2 of the PTX names no target", 0},
        {".version 8.0\n.target gfx90a\n", "line 2 of the PTX names no target", 0},
    };
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        const size_t length = damaged[i].length ? damaged[i].length : strlen(damaged[i].text);
        assert_null(edited(damaged[i].text, length));
        if (!strstr(xp_last_error(), damaged[i].reason)) fail_msg("case %zu: %s", i, xp_last_error());
    }
}

/* Cut after any byte, it is refused or whole lines are edited: a mark that is left behind is none of ours. */
static void a_text_cut_anywhere_keeps_no_mark(void **state) {
    for (size_t length = 0; length < sizeof two_kernels; length++) {
        char *out = edited(two_kernels, length);
        if (out) assert_null(strstr(out, "\n//@sm_90a "));
        if (out) assert_null(strstr(out, "\t//@sm_90a "));
        free(out);
    }
}

static void a_program_that_cannot_be_edited_is_refused_in_one_sentence(void **state) {
    write_text("answer.cl", "__kernel void answer(__global float *out) { out[0] = 1; }\n");
    xp_device *device;
    cl_kernel kernel;
    assert_int_equal(open_by(NULL, NULL, &device), XP_OK);
    for (int turn = 0; turn < 2; turn++) { /* no cache makes it pass */
        const xp_variant variant = {.edit_for = "sm_90a"};
        assert_int_equal(xp_device_kernel(device, "answer", "answer", &variant, &kernel), XP_UNSUPPORTED);
        assert_string_equal(xp_last_error(), "cl/answer.cl: the program's binary is not PTX, which is text");
    }
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
        cmocka_unit_test_setup_teardown(a_kernel_may_call_what_is_not_declared, make_folder, remove_folder),
        cmocka_unit_test(emulated_asynchronous_units_multiply_every_layout_exactly),
        cmocka_unit_test(marks_of_all_kernels_become_instructions_and_the_rest_stays),
        cmocka_unit_test(a_newer_version_of_ptx_stays),
        cmocka_unit_test(what_is_not_whole_ptx_is_refused_with_the_reason),
        cmocka_unit_test(a_text_cut_anywhere_keeps_no_mark),
        cmocka_unit_test_setup_teardown(a_program_that_cannot_be_edited_is_refused_in_one_sentence, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_cache_folder_that_others_may_write_into_is_not_used, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_cache_folder_whose_name_is_too_long_is_not_cut, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_compile_error_names_file_options_and_line, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
