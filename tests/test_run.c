/* What a run leaves behind: safetensors, checkpoints, run folders, metrics, pictures. */
#include "core/files.h"
#include "core/writer.h"
#include "support.h"
#include "task/classification.h"
#include "train/checkpoint.h"
#include "train/curves.h"
#include "train/run_folder.h"
#include "train/safetensors.h"

#include <expanse/train.h>
#include <jansson.h>

static void assert_message(const char *words) {
    if (!strstr(xp_last_error(), words)) fail_msg("'%s' is not in: %s", words, xp_last_error());
    if (strchr(xp_last_error(), '\n')) fail_msg("more than one line: %s", xp_last_error());
}

/* --- safetensors -------------------------------------------------------------------------------------------------- */

static void safetensors_read_back_what_was_written(void **state) {
    const float weights[6] = {1, -2, 0x1p-149f, 3e38f, 0, 0.1f};
    const int64_t steps[1] = {INT64_MIN};
    xp_safetensors set = {0}, back;
    assert_int_equal(xp_safetensors_add(&set, "a.weight", XP_SAFETENSORS_F32, 2, (int64_t[]){2, 3}, weights), XP_OK);
    assert_int_equal(xp_safetensors_add(&set, "steps", XP_SAFETENSORS_I64, 1, (int64_t[]){1}, steps), XP_OK);
    const uint16_t halves[] = {0x3f80, 0xbf80, 0x7f80};
    const int32_t words[] = {-5, 7};
    assert_int_equal(xp_safetensors_add(&set, "bf16", XP_SAFETENSORS_BF16, 1, (int64_t[]){2}, halves), XP_OK);
    assert_int_equal(xp_safetensors_add(&set, "fp16", XP_SAFETENSORS_F16, 1, (int64_t[]){2}, halves + 1), XP_OK);
    assert_int_equal(xp_safetensors_add(&set, "int32", XP_SAFETENSORS_I32, 1, (int64_t[]){2}, words), XP_OK);
    assert_int_equal(xp_safetensors_add(&set, "none", XP_SAFETENSORS_F32, 1, (int64_t[]){0}, NULL), XP_OK);
    assert_int_equal(xp_safetensors_add(&set, "scalar", XP_SAFETENSORS_F32, 0, NULL, weights + 1), XP_OK);
    assert_int_equal(xp_safetensors_metadata(&set, "attention", "softmax+\"bn\""), XP_OK);
    assert_int_equal(xp_safetensors_write(&set, scratch_path("set")), XP_OK);
    MUST(xp_safetensors_read(&back, scratch_path("set")));
    assert_int_equal(back.count, 7);
    const xp_safetensors_entry *entry = xp_safetensors_find(&back, "a.weight");
    assert_non_null(entry);
    assert_int_equal(entry->rank, 2);
    assert_int_equal(entry->shape[1], 3);
    assert_memory_equal(entry->data, weights, sizeof weights);
    assert_memory_equal(xp_safetensors_find(&back, "steps")->data, steps, sizeof steps);
    assert_int_equal(xp_safetensors_find(&back, "bf16")->type, XP_SAFETENSORS_BF16);
    assert_memory_equal(xp_safetensors_find(&back, "bf16")->data, halves, 2 * sizeof *halves);
    assert_int_equal(xp_safetensors_find(&back, "fp16")->type, XP_SAFETENSORS_F16);
    assert_memory_equal(xp_safetensors_find(&back, "fp16")->data, halves + 1, 2 * sizeof *halves);
    assert_int_equal(xp_safetensors_find(&back, "int32")->type, XP_SAFETENSORS_I32);
    assert_memory_equal(xp_safetensors_find(&back, "int32")->data, words, sizeof words);
    assert_int_equal(xp_safetensors_find(&back, "none")->elements, 0);
    assert_int_equal(xp_safetensors_find(&back, "scalar")->elements, 1);
    assert_null(xp_safetensors_find(&back, "b"));
    assert_string_equal(back.metadata, "{\"attention\":\"softmax+\\\"bn\\\"\"}");
    xp_safetensors_release(&back);
    xp_safetensors_release(&set);
}

/* Writes a file of this header and `data_bytes` zeros; announced < 0: the header's real length. */
static void write_raw(const char *path, const char *header, long long announced, size_t data_bytes) {
    size_t length = strlen(header);
    unsigned long long says = announced < 0 ? length : (unsigned long long)announced;
    char *bytes = calloc(1, 8 + length + data_bytes);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (char)(says >> (8 * i) & 0xff);
    memcpy(bytes + 8, header, length);
    assert_int_equal(xp_file_write_atomic(path, bytes, 8 + length + data_bytes), XP_OK);
    free(bytes);
}

#define ENTRY(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void damaged_safetensors_are_rejected_in_one_sentence(void **state) {
    static const struct {
        const char *header;
        long long announced;
        size_t data_bytes;
        const char *words;
    } files[] = {
        {"{}", 1LL << 62, 0, "announces a header"},
        {"{}", 3, 0, "announces a header"},
        {"{\"a\":", -1, 0, "not the JSON"},
        {"[1,2]  ", -1, 0, "not an object"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"a\":" ENTRY("F32", "[1]", "[0,4]") "}", -1, 4, "duplicate"},
        {"{\"a\":3}", -1, 0, "has no valid dtype"},
        {"{\"a\":" ENTRY("F8_E5M2", "[4]", "[0,4]") "}", -1, 4, "type F8_E5M2"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,8]") "}", -1, 4, "there are 4"},
        {"{\"a\":" ENTRY("F32", "[1]", "[4,0]") "}", -1, 4, "lies at bytes"},
        {"{\"a\":" ENTRY("F32", "[1]", "[-4,0]") "}", -1, 4, "lies at bytes"},
        {"{\"a\":" ENTRY("F32", "[2]", "[0,4]") "}", -1, 4, "do not fit its shape"},
        {"{\"a\":" ENTRY("F32", "[-1]", "[0,4]") "}", -1, 4, "impossible shape"},
        {"{\"a\":" ENTRY("F32", "[4294967296,4294967296]", "[0,4]") "}", -1, 4, "impossible shape"},
        {"{\"a\":" ENTRY("F32", "[4611686018427387905]", "[0,4]") "}", -1, 4, "do not fit its shape"},
        {"{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", -1, 4, "dimensions"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"b\":" ENTRY("F32", "[1]", "[0,4]") "}", -1, 4, "does not begin"},
        {"{\"a\":" ENTRY("F32", "[1]", "[4,8]") "}", -1, 8, "does not begin"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") "}", -1, 8, "belong to no tensor"},
        {"{\"__metadata__\":7}", -1, 0, "__metadata__"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        xp_safetensors set = {0};
        write_raw(scratch_path("damaged"), files[i].header, files[i].announced, files[i].data_bytes);
        assert_int_equal(xp_safetensors_read(&set, scratch_path("damaged")), XP_BAD_DATA);
        assert_message(files[i].words);
        assert_message("damaged: ");
        assert_null(set.entries);
    }
    xp_safetensors set = {0};
    assert_int_equal(xp_file_write_atomic(scratch_path("damaged"), "abc", 3), XP_OK);
    assert_int_equal(xp_safetensors_read(&set, scratch_path("damaged")), XP_BAD_DATA);
    assert_message("too short");
    assert_int_equal(xp_safetensors_read(&set, scratch_path("no-such-file")), XP_IO_ERROR);
}

/* --- checkpoints -------------------------------------------------------------------------------------------------- */

static void fill_store(xp_store **store, xp_device *device, int64_t width, bool extra) {
    assert_int_equal(xp_store_create(store), XP_OK);
    assert_int_equal(
        xp_store_add(*store, "layer.weight", XP_PARAMETER_DECAYED, XP_INITIAL_NORMAL, 1, 2, (int64_t[]){3, width}),
        XP_OK);
    assert_int_equal(
        xp_store_add(*store, "layer.bias", XP_PARAMETER_UNDECAYED, XP_INITIAL_UNIFORM, 1, 1, (int64_t[]){width}),
        XP_OK);
    assert_int_equal(
        xp_store_add(*store, "norm.running_mean", XP_PARAMETER_STATE, XP_INITIAL_UNIFORM, 1, 1, (int64_t[]){5}), XP_OK);
    if (extra) {
        assert_int_equal(xp_store_add(*store, "extra", XP_PARAMETER_DECAYED, XP_INITIAL_CONSTANT, 1, 1, (int64_t[]){1}),
                         XP_OK);
    }
    for (int buffer = XP_STORE_GRADIENTS; buffer <= XP_STORE_MOMENT_2; buffer++)
        assert_int_equal(xp_store_use(*store, buffer), XP_OK);
    assert_int_equal(xp_store_allocate(*store, device), XP_OK);
    assert_int_equal(xp_store_initialise(*store, 7), XP_OK);
}

static void make_checkpoint(xp_checkpoint *checkpoint, char **names, double *mean, double *deviation) {
    *checkpoint = (xp_checkpoint){.kind = &xp_series_kind,
                                  .task = &xp_classification,
                                  .shape = {.batch = 4, .outputs = 2, .length = 9, .features = 2},
                                  .output_names = names,
                                  .standardisation = {.features = 2, .mean = mean, .deviation = deviation},
                                  .state = {.step = 30000000017,
                                            .epoch = 3,
                                            .position = 17,
                                            .sums = {0.1 + 0.2, 5},
                                            .samples = 68,
                                            .best = 1.0 / 3,
                                            .epoch_best = 2,
                                            .seconds = 1.25,
                                            .samples_total = 120000000068,
                                            .training_seconds = 1e-300},
                                  .fingerprint = "0123456789abcdef",
                                  .device = "a device",
                                  .driver = "1.0",
                                  .family = "wide"};
    xp_config_default(&checkpoint->config);
    checkpoint->config.training.seed = UINT64_MAX;
    checkpoint->config.training.batch = 4;
}

/* The scale of a step depends on the outcomes up to that before the last one, however many are counted. */
static void the_loss_scale_is_the_same_whether_the_last_step_is_counted_or_not(void **state) {
    xp_loss_scale one = xp_loss_scale_begin(), other = one;
    for (int64_t step = 1; step <= 5000; step++) {
        const bool skipped = step % 700 == 3 && step < 1500;
        assert_int_equal(xp_loss_scale_choose(&one, step, step > 1 ? step - 2 : 0), XP_OK); /* a step is under way */
        assert_int_equal(xp_loss_scale_choose(&other, step, step - 1), XP_OK);
        assert_true(one.scale == other.scale);
        if (step == 5) assert_true(one.scale == 32768);
        if (step == 4) assert_true(one.scale == 65536);
        if (step > 1) xp_loss_scale_count(&one, (step - 1) % 700 == 3 && step - 1 < 1500);
        xp_loss_scale_count(&other, skipped);
    }
    assert_int_equal(xp_loss_scale_skipped(&other), 3);
    assert_true(other.scale == 65536.0 / 8 * 2);
    xp_status status = XP_OK;
    for (int64_t step = 5001; status == XP_OK && step < 5100; step++) {
        status = xp_loss_scale_choose(&other, step, step - 1);
        xp_loss_scale_count(&other, true);
    }
    assert_int_equal(status, XP_BAD_DATA);
}

static void checkpoints_keep_every_bit(void **state) {
    xp_device *device = NULL;
    xp_device_options options;
    xp_device_options_default(&options);
    options.select = "cpu";
    MUST(xp_device_open(&device, &options));
    xp_store *store, *other, *wider, *longer;
    fill_store(&store, device, 4, false);
    float moment[12], back[12];
    for (int i = 0; i < 12; i++) moment[i] = 1.0f / (float)(i + 3);
    assert_int_equal(xp_store_write(store, XP_STORE_MOMENT_2, 0, moment), XP_OK);
    char *names[] = {"walk", "Grüße, \"run\""};
    double mean[] = {0.1, -3}, deviation[] = {1.0 / 3, 2};
    xp_checkpoint checkpoint, read;
    bool left;
    make_checkpoint(&checkpoint, names, mean, deviation);
    const char *folder = scratch_path("last");
    for (int i = 0; i < 3; i++) { /* over nothing, then twice over itself */
        MUST(xp_checkpoint_write(folder, &checkpoint, store, &left));
        assert_false(left);
    }
    assert_false(xp_path_exists(scratch_path("last.partial")));
    assert_false(xp_path_exists(scratch_path("last.previous")));

    MUST(xp_checkpoint_read(folder, &read));
    assert_memory_equal(&read.state, &checkpoint.state, sizeof read.state);
    assert_memory_equal(&read.config, &checkpoint.config, sizeof read.config);
    assert_memory_equal(&read.shape, &checkpoint.shape, sizeof read.shape);
    assert_string_equal(read.output_names[1], names[1]);
    assert_memory_equal(read.standardisation.deviation, deviation, sizeof deviation);
    assert_string_equal(read.driver, "1.0");
    xp_checkpoint_release(&read);

    char model[300];
    xp_safetensors weights = {0};
    snprintf(model, sizeof model, "%s/model.safetensors", folder);
    assert_int_equal(xp_safetensors_read(&weights, model), XP_OK);
    static const char *const described[] = {"\"class_names\":\"[\\\"walk\\\",\\\"Grüße, \\\\\\\"run\\\\\\\"\\\"]\"",
                                            "\"deviation\":\"[0.33333333333333331,2.0]\"",
                                            "\\\"norm\\\":\\\"layer\\\",",
                                            "\\\"pre_norm\\\":true,",
                                            "\\\"length\\\":9,",
                                            "\"data\":\"series\""};
    for (size_t i = 0; i < sizeof described / sizeof *described; i++)
        if (!strstr(weights.metadata, described[i])) fail_msg("%s is not in %s", described[i], weights.metadata);
    xp_safetensors_release(&weights);

    fill_store(&other, device, 4, false);
    assert_int_equal(xp_checkpoint_load(folder, other, true), XP_OK);
    /* A file that says nothing of its model is read, too. */
    assert_int_equal(xp_weights_save(store, model), XP_OK);
    assert_int_equal(xp_checkpoint_load(folder, other, true), XP_OK);
    assert_int_equal(xp_store_read(other, XP_STORE_MOMENT_2, 0, back), XP_OK);
    assert_memory_equal(back, moment, sizeof moment);
    assert_int_equal(xp_store_read(store, XP_STORE_VALUES, 0, moment), XP_OK);
    assert_int_equal(xp_store_read(other, XP_STORE_VALUES, 0, back), XP_OK);
    assert_memory_equal(back, moment, sizeof moment);

    memcpy(moment, back, sizeof moment);
    moment[7] = NAN;
    assert_int_equal(xp_store_write(store, XP_STORE_VALUES, 0, moment), XP_OK);
    assert_int_equal(xp_checkpoint_write(folder, &checkpoint, store, &left), XP_BAD_DATA);
    assert_message("'layer.weight' is not finite after step 30000000017");
    assert_false(xp_path_exists(scratch_path("last.partial")));
    assert_int_equal(xp_store_write(store, XP_STORE_VALUES, 0, back), XP_OK);
    assert_int_equal(xp_checkpoint_load(folder, other, true), XP_OK);
    assert_int_equal(xp_store_read(other, XP_STORE_VALUES, 0, moment), XP_OK);
    assert_memory_equal(moment, back, sizeof moment); /* the last good one is still there */

    fill_store(&wider, device, 5, false);
    assert_int_equal(xp_checkpoint_load(folder, wider, true), XP_BAD_DATA);
    assert_message("its tensor 'layer.weight' is [3,4], but this model's is [3,5]");
    fill_store(&longer, device, 4, true);
    assert_int_equal(xp_checkpoint_load(folder, longer, false), XP_BAD_DATA);
    assert_message("it has no tensor 'extra' [1]");
    assert_int_equal(xp_checkpoint_write(scratch_path("longer"), &checkpoint, longer, &left), XP_OK);
    assert_int_equal(xp_checkpoint_load(scratch_path("longer"), store, false), XP_BAD_DATA);
    assert_message("no parameter for its tensor 'extra'");

    xp_store_close(&store);
    xp_store_close(&other);
    xp_store_close(&wider);
    xp_store_close(&longer);
    xp_device_close(&device);
}

/* As on a network file system, where a file that somebody holds open stays under another name. */
static void a_folder_that_cannot_be_removed_does_not_end_the_run(void **state) {
    xp_device *device = NULL;
    xp_device_options options;
    xp_device_options_default(&options);
    options.select = "cpu";
    MUST(xp_device_open(&device, &options));
    xp_store *store;
    fill_store(&store, device, 4, false);
    char *names[] = {"a", "b"};
    double mean[] = {0, 0}, deviation[] = {1, 1};
    xp_checkpoint checkpoint, read;
    make_checkpoint(&checkpoint, names, mean, deviation);
    const char *folder = scratch_path("held");
    for (int i = 0; i < 4; i++) {
        bool left = false;
        checkpoint.state.seconds = i;
        MUST(xp_checkpoint_write(folder, &checkpoint, store, &left));
        assert_int_equal(left, i > 0);
        if (left) assert_message("cannot be removed");
        MUST(xp_checkpoint_read(folder, &read));
        assert_true(read.state.seconds == i);
        xp_checkpoint_release(&read);
        assert_int_equal(xp_folder_make(scratch_path("held/in-use")),
                         XP_OK); /* rmdir of a folder with one in it fails */
    }
    xp_store_close(&store);
    xp_device_close(&device);
}

/* What a value of a state can be is told by the configuration, by the other values, and by its kind. */
static void a_state_whose_values_do_not_belong_together_is_rejected_by_its_key(void **state) {
    static const char *const values[] = {
        "0",    "1",     "-1",  "7",  "65536", "2147483647", "2147483648", "9223372036854775807",
        "null", "\"x\"", "1.5", "[]", "1e308", "{}",         "true",       "1e999"};
    /* Any number of this range may be a sum or a share, and any text the name of a device. */
    static const char *const free_keys[] = {
        "loss_sum", "accuracy_best", "accuracy_at_best", "seconds", "training_seconds",
        "device",   "driver",        "family",           "seed",    "attention"};
    /* The weights tell the length of the series; xp_checkpoint_check compares. */
    static const char *const legal[][2] = {{"correct", "0"},    {"correct", "1"},        {"correct", "7"},
                                           {"counted", "0"},    {"counted", "1"},        {"counted", "7"},
                                           {"epoch_best", "1"}, {"length", "1"},         {"length", "7"},
                                           {"length", "65536"}, {"length", "2147483647"}};
    char *text = NULL;
    size_t length = 0;
    int rejected = 0;
    MUST(xp_file_read(scratch_path("last/state.json"), &text, &length));
    json_t *whole = json_loads(text, 0, NULL);
    assert_non_null(whole);
    const char *key;
    json_t *kept;
    json_object_foreach(whole, key, kept) {
        bool free_key = strcmp(key, "tunings") == 0;
        for (size_t i = 0; i < sizeof free_keys / sizeof *free_keys; i++) free_key |= strcmp(key, free_keys[i]) == 0;
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            json_t *changed = json_deep_copy(whole), *value = json_loads(values[i], JSON_DECODE_ANY, NULL);
            const bool number = json_is_integer(value);
            bool same = json_equal(value, kept);
            for (size_t l = 0; l < sizeof legal / sizeof *legal; l++)
                same |= strcmp(key, legal[l][0]) == 0 && strcmp(values[i], legal[l][1]) == 0;
            assert_int_equal(json_object_set_new(changed, key, value ? value : json_null()), 0);
            char *written = json_dumps(changed, 0), quoted[64];
            assert_int_equal(xp_file_write_atomic(scratch_path("last/state.json"), written, strlen(written)), XP_OK);
            free(written);
            json_decref(changed);
            xp_checkpoint read;
            const xp_status status = xp_checkpoint_read(scratch_path("last"), &read);
            if (status == XP_OK) xp_checkpoint_release(&read);
            if (free_key || same) continue;
            if (status != XP_BAD_DATA) fail_msg("'%s' passed with %s", key, values[i]);
            assert_message("state.json: ");
            snprintf(quoted, sizeof quoted, "'%s'", key);
            /* One of two values that do not agree is named, which need not be the changed one. */
            if (!number) assert_message(quoted);
            rejected++;
        }
    }
    assert_true(rejected > 200);
    json_decref(whole);
    assert_int_equal(xp_file_write_atomic(scratch_path("last/state.json"), text, length), XP_OK);
    free(text);
}

static void damaged_states_are_rejected_in_one_sentence(void **state) {
    static const char *const pairs[][2] = {{"\"epoch\": 3", "\"epoch\": -3"},
                                           {"\"epoch\": 3", "\"epoch\": \"3\""},
                                           {"\"format\": 1", "\"format\": 2"},
                                           {"\"classes\": 2", "\"classes\": 2000000000"},
                                           {"\"step\": 30000000017", "\"step\": 1e3"},
                                           {"\"series\"", "\"songs\""},
                                           {"\"features\": 2", "\"features\": 3"},
                                           {"{", "["},
                                           {"\"family\": \"wide\"", "\"family\": \"much longer than there is room\""}};
    char *text = NULL;
    size_t length = 0;
    MUST(xp_file_read(scratch_path("last/state.json"), &text, &length));
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *at = strstr(text, pairs[i][0]);
        if (!at) fail_msg("'%s' is not in %s", pairs[i][0], text);
        xp_writer changed = {0};
        xp_write(&changed, "%.*s%s%s", (int)(at - text), text, pairs[i][1], at + strlen(pairs[i][0]));
        assert_int_equal(xp_writer_save(&changed, scratch_path("last/state.json")), XP_OK);
        xp_writer_release(&changed);
        xp_checkpoint read;
        if (xp_checkpoint_read(scratch_path("last"), &read) != XP_BAD_DATA) fail_msg("'%s' passed", pairs[i][1]);
        assert_message("state.json");
    }
    assert_int_equal(xp_file_write_atomic(scratch_path("last/state.json"), text, length), XP_OK);
    free(text);
}

/* --- run folders -------------------------------------------------------------------------------------------------- */

static xp_epoch_row row_of(int epoch) {
    return (xp_epoch_row){.epoch = epoch,
                          .metrics = {{2.0 / epoch + 0.1 / 3, 1 - 0.6 / epoch, NAN, NAN},
                                      {NAN, NAN, NAN, NAN},
                                      {2.1 / epoch + 0.1 + 0.02 * epoch, 0.95 - 0.6 / epoch, NAN, NAN}},
                          .learning_rate = 1e-3 * (1 + cos(3.14159 * epoch / 13)),
                          .seconds = 1.5 * epoch,
                          .samples_per_second = 1234.5};
}

static void a_run_folder_is_never_overwritten(void **state) {
    xp_config config;
    xp_run_folder folder, second;
    xp_config_default(&config);
    const char *path = scratch_path("new/run");
    MUST(xp_run_folder_create(&folder, path, &xp_classification, &config));
    assert_int_equal(xp_run_folder_create(&second, path, &xp_classification, &config), XP_INVALID_ARGUMENT);
    assert_message("is not overwritten; continue with --resume");
    assert_int_equal(xp_run_folder_open(&second, path), XP_INVALID_ARGUMENT);
    assert_message("another run is writing here");
    xp_run_folder_close(&folder);
    assert_int_equal(xp_file_write_atomic(scratch_path("plain"), "x", 1), XP_OK);
    assert_int_equal(xp_run_folder_create(&second, scratch_path("plain"), &xp_classification, &config), XP_IO_ERROR);
    assert_message("not a folder");
}

static void a_resumed_folder_goes_on_at_the_checkpoint(void **state) {
    xp_config config;
    xp_run_folder folder;
    char *whole = NULL, *cut = NULL;
    size_t whole_length = 0, cut_length = 0;
    xp_config_default(&config);
    assert_int_equal(xp_run_folder_create(&folder, scratch_path("cut"), &xp_classification, &config), XP_OK);
    for (int epoch = 1; epoch <= 12; epoch++) {
        xp_epoch_row row = row_of(epoch);
        assert_int_equal(xp_run_folder_append(&folder, &config, &row, 1), XP_OK);
    }
    xp_run_folder_close(&folder);
    assert_int_equal(xp_file_read(scratch_path("cut/metrics.csv"), &whole, &whole_length), XP_OK);
    assert_int_equal(xp_file_write_atomic(scratch_path("cut/metrics.csv.77.partial"), "epo", 3), XP_OK);
    MUST(xp_run_folder_open(&folder, scratch_path("cut")));
    MUST(xp_run_folder_resume(&folder, &xp_classification, &config, 5));
    assert_false(xp_path_exists(scratch_path("cut/metrics.csv.77.partial")));
    assert_int_equal(folder.count, 5);
    for (int epoch = 6; epoch <= 12; epoch++) {
        xp_epoch_row row = row_of(epoch);
        assert_int_equal(xp_run_folder_append(&folder, &config, &row, 1), XP_OK);
    }
    xp_run_folder_close(&folder);
    assert_int_equal(xp_file_read(scratch_path("cut/metrics.csv"), &cut, &cut_length), XP_OK);
    assert_string_equal(whole, cut);
    free(whole);
    free(cut);
    assert_int_equal(xp_run_folder_open(&folder, scratch_path("cut")), XP_OK);
    assert_int_equal(xp_run_folder_resume(&folder, &xp_classification, &config, 13), XP_BAD_DATA);
    assert_message("has 12 epochs, but the checkpoint is at 13");
    assert_int_equal(xp_file_write_atomic(scratch_path("cut/metrics.csv"), "a,b\n1,2\n", 8), XP_OK);
    assert_int_equal(xp_run_folder_resume(&folder, &xp_classification, &config, 1), XP_BAD_DATA);
    assert_message("metrics.csv:1: unexpected columns");
    xp_run_folder_close(&folder);
}

static void what_a_killed_process_left_is_put_right(void **state) {
    static const char *const kept[] = {"best", "last", "epoch-0003", "epoch-12345", "epoch-3.partial", "mine.previous"};
    static const char *const removed[] = {"last.partial", "last.previous.2", "epoch-0003.partial",
                                          "epoch-0004.partial.1"};
    xp_config config;
    xp_run_folder folder;
    char name[128];
    xp_config_default(&config);
    assert_int_equal(xp_run_folder_create(&folder, scratch_path("left"), &xp_classification, &config), XP_OK);
    xp_run_folder_close(&folder);
    for (size_t i = 1; i < sizeof kept / sizeof *kept; i++) { /* of best/ there is the one before alone */
        snprintf(name, sizeof name, "left/%s", kept[i]);
        assert_int_equal(xp_folder_make(scratch_path(name)), XP_OK);
    }
    assert_int_equal(xp_folder_make(scratch_path("left/best.previous")), XP_OK);
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++) {
        snprintf(name, sizeof name, "left/%s", removed[i]);
        assert_int_equal(xp_folder_make(scratch_path(name)), XP_OK);
        strcat(name, "/state.json");
        assert_int_equal(xp_file_write_atomic(scratch_path(name), "{}", 2), XP_OK);
    }
    assert_int_equal(xp_run_folder_open(&folder, scratch_path("left")), XP_OK);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        snprintf(name, sizeof name, "left/%s", kept[i]);
        if (!xp_path_exists(scratch_path(name))) fail_msg("%s is gone", kept[i]);
    }
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++) {
        snprintf(name, sizeof name, "left/%s", removed[i]);
        if (xp_path_exists(scratch_path(name))) fail_msg("%s is left", removed[i]);
    }
    assert_int_equal(xp_run_folder_keep(&folder, 4, 12345), XP_OK);
    assert_false(xp_path_exists(scratch_path("left/epoch-0003")));
    assert_true(xp_path_exists(scratch_path("left/epoch-12345")));
    xp_run_folder_close(&folder);
}

/* A process may be killed before its folder has a configuration: the next one may have it. */
static void a_folder_of_nothing_but_a_leftover_is_free(void **state) {
    xp_config config;
    xp_run_folder folder;
    xp_config_default(&config);
    assert_int_equal(xp_run_folder_check_free(scratch_path("free")), XP_OK);
    assert_int_equal(xp_folder_make(scratch_path("free")), XP_OK);
    assert_int_equal(xp_file_write_atomic(scratch_path("free/config.yaml.7.partial"), "mod", 3), XP_OK);
    assert_int_equal(xp_run_folder_create(&folder, scratch_path("free"), &xp_classification, &config), XP_OK);
    assert_false(xp_run_folder_has(&folder, "config.yaml.7.partial"));
    xp_run_folder_close(&folder);
    assert_int_equal(xp_folder_make(scratch_path("mine")), XP_OK);
    assert_int_equal(xp_file_write_atomic(scratch_path("mine/film.partial"), "x", 1), XP_OK);
    assert_int_equal(xp_run_folder_check_free(scratch_path("mine")), XP_INVALID_ARGUMENT);
}

static void a_missing_checkpoint_is_told(void **state) {
    char path[1200];
    assert_int_equal(xp_run_folder_checkpoint(scratch_path("nowhere"), true, path, sizeof path), XP_IO_ERROR);
    assert_message("there is no such folder");
    assert_int_equal(xp_run_folder_checkpoint(scratch_path("cut"), true, path, sizeof path), XP_BAD_DATA);
    assert_message("contains no checkpoint");
    assert_int_equal(xp_run_folder_checkpoint(scratch_folder, true, path, sizeof path), XP_OK);
    assert_string_equal(path, scratch_path("last")); /* there is no best/ */
}

/* --- metrics and pictures ----------------------------------------------------------------------------------------- */

static void metrics_count_what_they_say(void **state) {
    char *names[] = {"a<b>", "b & c", "Grüße"};
    int32_t labels[] = {0, 0, 0, 1, 1};
    const float probabilities[] = {0.8f, 0.1f, 0.1f, 0.2f, 0.7f, 0.1f, NAN, 0.4f, 0.5f, 0, 1, 0, 0, 0, 1};
    xp_dataset dataset = {.count = 5, .classes = 3, .class_names = names, .labels = labels};
    xp_evaluation evaluation;
    xp_class_metrics metrics;
    assert_int_equal(xp_evaluation_create(&evaluation, &xp_classification, &dataset), XP_OK);
    memcpy(evaluation.answers, probabilities, sizeof probabilities);
    xp_evaluation_finish(&evaluation);
    assert_true(evaluation.metrics[1] == 0.4);
    assert_int_equal(xp_evaluation_classes(&evaluation)->predictions[2], 2);
    assert_true(
        isnan(evaluation.metrics[0])); /* the NaN is that of a true class: it must not pass as a very small one */
    assert_int_equal(xp_evaluation_classes(&evaluation)->confusion[0 * 3 + 1], 1);
    xp_evaluation_class(&evaluation, 0, &metrics);
    assert_true(metrics.support == 3 && metrics.precision == 1 && fabs(metrics.recall - 1.0 / 3) < 1e-15);
    xp_evaluation_class(&evaluation, 2, &metrics);
    assert_true(metrics.support == 0 && metrics.precision == 0 && metrics.recall == 0 && metrics.score == 0);
    assert_int_equal(xp_confusion_write(scratch_path("confusion.svg"), "softmax <&>", "test set", &evaluation), XP_OK);
    xp_evaluation_release(&evaluation);
    dataset.labels = NULL;
    assert_int_equal(xp_evaluation_create(&evaluation, &xp_classification, &dataset), XP_OK);
    xp_evaluation_finish(&evaluation);
    assert_true(isnan(evaluation.metrics[1]));
    xp_evaluation_release(&evaluation);
}

static void pictures_hold_finite_numbers_whatever_the_rows(void **state) {
    xp_epoch_row rows[4] = {row_of(1), row_of(2), row_of(3), row_of(4)};
    rows[1].metrics[XP_SET_TEST][0] = rows[2].metrics[XP_SET_TRAINING][0] = INFINITY;
    rows[3].metrics[XP_SET_TEST][1] = NAN;
    for (int count = 0; count <= 4; count++) {
        char *text = NULL;
        size_t length = 0;
        for (int i = 0; i < count; i++) rows[i].learning_rate = 0.001; /* a flat line has no range */
        assert_int_equal(
            xp_curves_write(scratch_path("curves.svg"), "title", "note", &xp_classification, rows, count, 1), XP_OK);
        assert_int_equal(xp_file_read(scratch_path("curves.svg"), &text, &length), XP_OK);
        if (strstr(text, "nan") || strstr(text, "inf")) fail_msg("with %d rows: %s", count, text);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_read_back_what_was_written),
        cmocka_unit_test(damaged_safetensors_are_rejected_in_one_sentence),
        cmocka_unit_test(the_loss_scale_is_the_same_whether_the_last_step_is_counted_or_not),
        cmocka_unit_test(checkpoints_keep_every_bit),
        cmocka_unit_test(a_folder_that_cannot_be_removed_does_not_end_the_run),
        cmocka_unit_test(damaged_states_are_rejected_in_one_sentence),
        cmocka_unit_test(a_state_whose_values_do_not_belong_together_is_rejected_by_its_key),
        cmocka_unit_test(a_run_folder_is_never_overwritten),
        cmocka_unit_test(a_resumed_folder_goes_on_at_the_checkpoint),
        cmocka_unit_test(what_a_killed_process_left_is_put_right),
        cmocka_unit_test(a_folder_of_nothing_but_a_leftover_is_free),
        cmocka_unit_test(a_missing_checkpoint_is_told),
        cmocka_unit_test(metrics_count_what_they_say),
        cmocka_unit_test(pictures_hold_finite_numbers_whatever_the_rows),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
