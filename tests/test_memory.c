/* What becomes of single functions when memory ends: each is called again and again, and every time another one of the
 * allocations that it makes fails, alone or with all that follow. It says so, or its result is the one that it has
 * otherwise. Runs with failing allocations and an OpenCL without a device preloaded. */
#define _GNU_SOURCE
#include "../tools/table.h"
#include "core/files.h"
#include "core/json.h"
#include "device/device.h"
#include "device/tuning.h"
#include "faults/failing_allocations.h"
#include "support.h"
#include "task/classification.h"
#include "train/checkpoint.h"
#include "train/config.h"
#include "train/run_folder.h"
#include "train/safetensors.h"

#include <dirent.h>
#include <dlfcn.h>

static failing_allocations *memory;

/* One call of what is tested. `run` may fail; `result`, undisturbed, writes what a run that succeeded has made. */
typedef struct act {
    xp_status (*run)(void);
    void (*result)(xp_writer *out);
} act;

static void append_file(xp_writer *out, const char *path) {
    char *bytes = NULL;
    size_t length = 0;
    MUST(xp_file_read(path, &bytes, &length));
    for (size_t i = 0; i < length; i++) xp_write(out, "%02x", (unsigned char)bytes[i]);
    free(bytes);
}

static xp_status run_with(const act *tested, long first, bool on) {
    *memory = (failing_allocations){.first = first, .on = on};
    const xp_status status = tested->run();
    memory->first = 0;
    return status;
}

static void compare(const act *tested, const char *expected, long number, bool on) {
    xp_writer result = {0};
    tested->result(&result);
    if (strcmp(result.text, expected) != 0)
        fail_msg("allocation %ld%s fails without a word, and the result is\n%s\ninstead of\n%s", number, on ? "+" : "",
                 result.text, expected);
    xp_writer_release(&result);
}

static void holds(const act *tested) {
    xp_writer expected = {0};
    MUST(run_with(tested, 0, false));
    MUST(run_with(tested, 0, false)); /* over what the first has left */
    tested->result(&expected);
    for (int on = 0; on < 2; on++) {
        long number = 0;
        do {
            number++;
            if (run_with(tested, number, on) == XP_OK)
                compare(tested, expected.text, number, on);
            else if (!strstr(xp_last_error(), "memory"))
                fail_msg("allocation %ld%s: %s", number, on ? "+" : "", xp_last_error());
        } while (memory->count >= number);
        assert_true(number > 1);
    }
    xp_writer_release(&expected);
}

/* ---- configurations ---------------------------------------------------------------------------------------------- */

static xp_config config;

static void print_config(xp_writer *out) {
    char *text = NULL;
    assert_int_equal(xp_config_text(&config, &text), XP_OK);
    xp_write(out, "%s", text);
    free(text);
}

static xp_status read_preset(void) {
    xp_config_default(&config);
    return xp_config_preset(&config, "uea-flowformer");
}

static void a_preset_is_read_whole_or_not_at_all(void **state) {
    holds(&(act){read_preset, print_config});
}

static xp_status read_file(void) {
    xp_config_default(&config);
    return xp_config_file(&config, scratch_path("config.yaml"));
}

static void a_configuration_is_read_whole_or_not_at_all(void **state) {
    static const char text[] = "preset: uea-mvts\nmodel:\n  width: 32\n  attention: \"softmax+bn\"\n"
                               "training: {epochs: 7, learning_rate: 0.25}\n";
    scratch_write("config.yaml", text, sizeof text - 1);
    holds(&(act){read_file, print_config});
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static xp_status write_tensors(void) {
    static const float numbers[24] = {1, 2, 3};
    static const char long_name[] = "a name that is longer than the buffer in which a text is gathered";
    xp_safetensors set = {0};
    xp_status status = xp_safetensors_metadata(&set, "format", "pt");
    if (status == XP_OK) status = xp_safetensors_metadata(&set, long_name, long_name);
    if (status == XP_OK)
        status = xp_safetensors_add(&set, "weight", XP_SAFETENSORS_F32, 3, (int64_t[]){2, 3, 4}, numbers);
    if (status == XP_OK) status = xp_safetensors_add(&set, long_name, XP_SAFETENSORS_F32, 1, (int64_t[]){5}, numbers);
    if (status == XP_OK) status = xp_safetensors_write(&set, scratch_path("tensors"));
    xp_safetensors_release(&set);
    return status;
}

static void print_tensors(xp_writer *out) {
    append_file(out, scratch_path("tensors"));
}

static void tensors_are_written_whole_or_not_at_all(void **state) {
    holds(&(act){write_tensors, print_tensors});
}

static xp_safetensors tensors;

static xp_status read_tensors(void) {
    xp_safetensors_release(&tensors);
    return xp_safetensors_read(&tensors, scratch_path("tensors"));
}

static void list_tensors(xp_writer *out) {
    xp_write(out, "%s", tensors.metadata);
    for (int i = 0; i < tensors.count; i++)
        xp_write(out, " %s %d %lld", tensors.entries[i].name, tensors.entries[i].rank,
                 (long long)tensors.entries[i].shape[0]);
}

static void tensors_are_read_whole_or_not_at_all(void **state) {
    assert_int_equal(write_tensors(), XP_OK);
    holds(&(act){read_tensors, list_tensors});
    xp_safetensors_release(&tensors);
}

/* ---- checkpoints and runs ---------------------------------------------------------------------------------------- */

static xp_device *device;
static xp_store *store;
static xp_checkpoint checkpoint;

static void open_store(void) {
    MUST(xp_device_open(&device, NULL));
    assert_int_equal(xp_store_create(&store), XP_OK);
    assert_int_equal(
        xp_store_add(store, "layer.weight", XP_PARAMETER_DECAYED, XP_INITIAL_NORMAL, 1, 2, (int64_t[]){3, 4}), XP_OK);
    for (int buffer = XP_STORE_GRADIENTS; buffer <= XP_STORE_MOMENT_2; buffer++)
        assert_int_equal(xp_store_use(store, buffer), XP_OK);
    assert_int_equal(xp_store_allocate(store, device), XP_OK);
    assert_int_equal(xp_store_initialise(store, 7), XP_OK);
}

static int close_device(void **state) {
    xp_store_close(&store);
    xp_device_close(&device);
    return 0;
}

static xp_status write_checkpoint(void) {
    static char *names[] = {"a class whose name is longer than the buffer in which a text is gathered", "walk"};
    static double mean[] = {0.1, -3}, deviation[] = {1.0 / 3, 2};
    bool left;
    checkpoint = (xp_checkpoint){.kind = &xp_series_kind,
                                 .task = &xp_classification,
                                 .shape = {.batch = 4, .outputs = 2, .length = 9, .features = 2},
                                 .output_names = names,
                                 .standardisation = {.features = 2, .mean = mean, .deviation = deviation},
                                 .state = {.step = 12, .epoch = 3, .sums = {0.5}, .epoch_best = 2, .samples_total = 48},
                                 .fingerprint = "0123456789abcdef+0123456789abcdef",
                                 .device = "a device",
                                 .driver = "1.0",
                                 .family = "wide"};
    xp_config_default(&checkpoint.config);
    checkpoint.config.training.batch = 4;
    return xp_checkpoint_write(scratch_path("last"), &checkpoint, store, &left);
}

static void print_checkpoint(xp_writer *out) {
    static const char *const files[] = {"config.yaml", "state.json", "model.safetensors", "training.safetensors"};
    for (int i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, "last/%s", files[i]);
        append_file(out, scratch_path(name));
    }
}

static void a_checkpoint_is_written_whole_or_not_at_all(void **state) {
    open_store();
    holds(&(act){write_checkpoint, print_checkpoint});
}

static xp_status read_checkpoint(void) {
    xp_checkpoint_release(&checkpoint);
    return xp_checkpoint_read(scratch_path("last"), &checkpoint);
}

static void list_checkpoint(xp_writer *out) {
    config = checkpoint.config;
    print_config(out);
    xp_write(out, " %s %s %s %d %g %g", checkpoint.output_names[0], checkpoint.fingerprint, checkpoint.family,
             checkpoint.state.epoch, checkpoint.state.sums[0], checkpoint.standardisation.deviation[1]);
}

static void a_checkpoint_is_read_whole_or_not_at_all(void **state) {
    open_store();
    assert_int_equal(write_checkpoint(), XP_OK);
    checkpoint = (xp_checkpoint){0};
    holds(&(act){read_checkpoint, list_checkpoint});
    xp_checkpoint_release(&checkpoint);
}

static xp_status summarise(void) {
    const xp_epoch_row row = {.epoch = 1, .metrics = {{0.5, 0.25}, {1, 0.75}, {2, 0.5}}, .learning_rate = 1e-3};
    const xp_run_summary summary = {
        .task = &xp_classification, .best = row, .last = row, .epochs = 1, .seconds = 3, .samples_per_second = 4};
    xp_run_folder folder = {.lock = -1, .task = &xp_classification};
    snprintf(folder.path, sizeof folder.path, "%s", scratch_folder);
    xp_config_default(&config);
    return xp_run_folder_summarise(&folder, &config, &summary);
}

static void print_summary(xp_writer *out) {
    append_file(out, scratch_path("summary.json"));
}

static void a_summary_has_all_its_numbers_or_is_not_written(void **state) {
    holds(&(act){summarise, print_summary});
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static xp_table_format format;

static xp_status fill_table(FILE *out, const void *user) {
    static const xp_column columns[] = {
        {"name", "name", XP_CELL_TEXT}, {"share", "share %", XP_CELL_REAL}, {"nothing", "nothing", XP_CELL_TEXT}};
    xp_table table;
    xp_table_open(&table, out, format, columns, 3, "rows");
    xp_table_fact_text(&table, "a fact whose name is longer than most", "and a text");
    xp_table_note(&table, "above");
    for (int i = 0; i < 3; i++) xp_table_row(&table, (xp_cell[]){{.text = "a | b"}, {.real = i / 7.0}, {.text = NULL}});
    xp_table_note(&table, "below");
    return xp_table_close(&table, XP_OK);
}

static xp_status write_results(void) {
    return xp_table_save(scratch_path("results"), fill_table, NULL);
}

static void print_results(xp_writer *out) {
    append_file(out, scratch_path("results"));
}

static void a_table_is_written_whole_or_not_at_all(void **state) {
    for (format = XP_TABLE_TEXT; format <= XP_TABLE_JSON; format++) holds(&(act){write_results, print_results});
}

/* ---- devices, kernels, tuning ------------------------------------------------------------------------------------ */

static xp_tuning tuning;

static xp_tuning question(void) {
    return (xp_tuning){.kernel = "asked by this test",
                       .file = "gemm_tiled",
                       .shape = "nt 8x8x8",
                       .count = 2,
                       .parameters = {{"ROWS", 1, {1, 2, 3}}, {"COLUMNS", 1, {1, 2}}}};
}

/* More entries than a list has room for at first. */
static xp_status write_table(void) {
    xp_tuning chosen = question();
    chosen.parameters[0].value = 3;
    chosen.parameters[1].value = 2;
    remove(scratch_path("tuning.json"));
    json_t *entries = xp_json_append(json_array(), xp_tuning_entry(device, &chosen, chosen.shape));
    for (int i = 0; i < 12; i++) {
        char shape[32];
        snprintf(shape, sizeof shape, "nt 8x8x%d", 16 + i);
        entries = xp_json_append(entries, xp_tuning_entry(device, &chosen, shape));
    }
    const xp_status status = entries ? xp_tuning_merge(scratch_path("tuning.json"), entries)
                                     : xp_fail(XP_OUT_OF_MEMORY, "no memory for the entry");
    json_decref(entries);
    return status;
}

static void print_table(xp_writer *out) {
    append_file(out, scratch_path("tuning.json"));
}

static void a_tuning_table_is_written_whole_or_not_at_all(void **state) {
    open_store();
    holds(&(act){write_table, print_table});
}

static xp_status look_up(void) {
    xp_device_close(&device);
    XP_TRY(xp_device_open(&device, NULL));
    tuning = question();
    return xp_tuning_look_up(device, &tuning);
}

static void print_tuning(xp_writer *out) {
    xp_write(out, "%ld %ld", tuning.parameters[0].value, tuning.parameters[1].value);
}

/* The table in the cache folder: of one that is damaged, a run takes no notice. */
static void a_tuning_table_that_is_there_is_used(void **state) {
    open_store();
    assert_int_equal(write_table(), XP_OK);
    xp_store_close(&store);
    setenv("EXPANSE_CACHE_DIR", scratch_folder, 1);
    holds(&(act){look_up, print_tuning});
    assert_int_equal(tuning.parameters[0].value, 3);
    unsetenv("EXPANSE_CACHE_DIR");
}

static xp_status make_kernel(void) {
    const xp_variant variant = {.optimised = true};
    cl_kernel kernel = NULL;
    xp_device_close(&device);
    XP_TRY(xp_device_open(&device, NULL));
    XP_TRY(xp_device_kernel(device, "normal", "normal_fill", &variant, &kernel));
    clReleaseKernel(kernel);
    return XP_OK;
}

/* How many programs are kept: one that is kept under another key is another program's. */
static void count_programs(xp_writer *out) {
    int count = 0;
    DIR *folder = opendir(scratch_path("programs"));
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder));) count += strstr(entry->d_name, ".bin") != NULL;
    closedir(folder);
    xp_write(out, "%d", count);
}

static void a_kernel_is_made_and_kept_by_its_whole_key_or_rejected(void **state) {
    setenv("EXPANSE_CACHE_DIR", scratch_path("programs"), 1);
    holds(&(act){make_kernel, count_programs});
    unsetenv("EXPANSE_CACHE_DIR");
}

static int begin(void **state) {
    memory = dlsym(RTLD_DEFAULT, FAILING_ALLOCATIONS);
    if (!memory) fprintf(stderr, "the failing allocations are not preloaded\n");
    if (!memory || scratch_make(state) != 0) return -1;
    setenv("NULL_OPENCL_SIGNATURES", scratch_folder, 1);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_preset_is_read_whole_or_not_at_all),
        cmocka_unit_test(a_configuration_is_read_whole_or_not_at_all),
        cmocka_unit_test(tensors_are_written_whole_or_not_at_all),
        cmocka_unit_test(tensors_are_read_whole_or_not_at_all),
        cmocka_unit_test_teardown(a_checkpoint_is_written_whole_or_not_at_all, close_device),
        cmocka_unit_test_teardown(a_checkpoint_is_read_whole_or_not_at_all, close_device),
        cmocka_unit_test(a_summary_has_all_its_numbers_or_is_not_written),
        cmocka_unit_test(a_table_is_written_whole_or_not_at_all),
        cmocka_unit_test_teardown(a_tuning_table_is_written_whole_or_not_at_all, close_device),
        cmocka_unit_test_teardown(a_tuning_table_that_is_there_is_used, close_device),
        cmocka_unit_test_teardown(a_kernel_is_made_and_kept_by_its_whole_key_or_rejected, close_device),
    };
    return cmocka_run_group_tests(tests, begin, scratch_remove);
}
