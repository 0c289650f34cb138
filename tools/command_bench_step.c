/* `expanse bench step` and `bench kernels`: whole training steps of an encoder on one synthetic batch, and the kernels
 * of such a step one by one. With --on-request the number of steps comes from lines on stdin, so that a peer can be
 * timed in turn. */
#include "bench.h"
#include "command.h"

#include "core/random.h"
#include "train/config.h"
#include "train/safetensors.h"
#include "train/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 16, CLASSES = 10 };

typedef struct timing {
    long image, patch; /* side of grey images and of their patches; 0: series */
    long width, heads, layers, feed_forward, batch_size, length, repetitions;
    const char *attention, *device, *family, *save, *format;
    bool on_request, profile;
    xp_session session;
    xp_dataset batch;
    int32_t *order;
    int64_t step;
} timing;

/* ---- the batch --------------------------------------------------------------------------------------------------- */

static xp_status make_batch(const timing *t, xp_dataset *out) {
    static char *names[CLASSES] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    *out = (xp_dataset){.kind = t->image ? XP_DATASET_IMAGES : XP_DATASET_SERIES,
                        .count = t->batch_size,
                        .features = FEATURES,
                        .length = (int)t->length,
                        .channels = 1,
                        .height = (int)t->image,
                        .breadth = (int)t->image,
                        .sample_elements = t->image ? t->image * t->image : t->length * FEATURES,
                        .classes = CLASSES,
                        .class_names = names};
    out->values = malloc((size_t)(out->count * out->sample_elements) * sizeof *out->values);
    out->lengths = malloc((size_t)out->count * sizeof *out->lengths);
    out->labels = malloc((size_t)out->count * sizeof *out->labels);
    if (!out->values || !out->lengths || !out->labels)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %ld", t->batch_size);
    xp_random random;
    xp_random_start(&random, 1, 0);
    for (int64_t i = 0; i < out->count * out->sample_elements; i++) out->values[i] = (float)xp_random_normal(&random);
    for (int64_t b = 0; b < out->count; b++) {
        out->lengths[b] = out->length;
        out->labels[b] = (int32_t)xp_random_below(&random, CLASSES);
    }
    return XP_OK;
}

static void release_batch(xp_dataset *batch) {
    free(batch->values);
    free(batch->lengths);
    free(batch->labels);
}

/* Initial parameters and the batch, for a peer to start from the same point. */
static xp_status save_start(xp_session *session, const xp_dataset *batch, const char *path) {
    xp_safetensors set = {0};
    const xp_store *store = session->store;
    float **values = calloc((size_t)store->count, sizeof *values);
    int64_t *labels = malloc((size_t)batch->count * sizeof *labels);
    xp_status status = values && labels ? XP_OK : XP_OUT_OF_MEMORY;
    for (int i = 0; i < store->count && status == XP_OK; i++) {
        const xp_parameter *parameter = &store->parameters[i];
        values[i] = malloc((size_t)parameter->elements * sizeof **values);
        status = values[i] ? xp_store_read(session->store, XP_STORE_VALUES, i, values[i]) : XP_OUT_OF_MEMORY;
        if (status == XP_OK)
            status = xp_safetensors_add(&set, parameter->name, XP_SAFETENSORS_F32, parameter->rank, parameter->shape,
                                        values[i]);
    }
    for (int64_t b = 0; b < batch->count && status == XP_OK; b++) labels[b] = batch->labels[b];
    if (status == XP_OK)
        status = batch->kind == XP_DATASET_IMAGES
                     ? xp_safetensors_add(&set, "batch.images", XP_SAFETENSORS_F32, 4,
                                          (int64_t[]){batch->count, batch->channels, batch->height, batch->breadth},
                                          batch->values)
                     : xp_safetensors_add(&set, "batch.series", XP_SAFETENSORS_F32, 3,
                                          (int64_t[]){batch->count, batch->length, batch->features}, batch->values);
    if (status == XP_OK)
        status = xp_safetensors_add(&set, "batch.labels", XP_SAFETENSORS_I64, 1, &batch->count, labels);
    if (status == XP_OK) status = xp_safetensors_write(&set, path);
    xp_safetensors_release(&set);
    for (int i = 0; values && i < store->count; i++) free(values[i]);
    free(values);
    free(labels);
    return status;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* Runs `count` optimiser steps; *seconds is wall time, *loss that of the last step's forward pass. */
static xp_status run_steps(timing *t, int count, double *seconds, double *loss) {
    double begin = xp_session_clock();
    for (int i = 0; i < count; i++) {
        t->step++;
        XP_TRY(xp_train_step(t->session.training_plan, 1, t->step, t->session.config->training.learning_rate));
        XP_TRY(xp_session_step(&t->session, true, &t->batch, t->order, 0));
    }
    *seconds = xp_session_clock() - begin;
    double sum = 0;
    int64_t correct = 0;
    xp_session_tally(&t->session, &sum, &correct);
    *loss = sum / (double)t->batch.count;
    return XP_OK;
}

static void describe(const timing *t, char *out, size_t size) {
    int used = snprintf(out, size, "d=%ld H=%ld L=%ld FFN=%ld B=%ld ", t->width, t->heads, t->layers, t->feed_forward,
                        t->batch_size);
    if (t->image)
        snprintf(out + used, size - (size_t)used, "image=%ld patch=%ld", t->image, t->patch);
    else
        snprintf(out + used, size - (size_t)used, "N=%ld", t->length);
}

static xp_status print_steps(timing *t, xp_bench_table *table) {
    double times[XP_BENCH_REPETITIONS], loss = 0, warm;
    XP_TRY(run_steps(t, 2, &warm, &loss));
    for (long i = 0; i < t->repetitions; i++) XP_TRY(run_steps(t, 1, &times[i], &loss));
    xp_plan_summary summary;
    xp_plan_summarise(t->session.training_plan, &summary);
    xp_bench_row row = {.name = t->attention,
                        .seconds = times,
                        .repetitions = (int)t->repetitions,
                        .flops = summary.flops,
                        .bytes = summary.bytes,
                        .arena_bytes = (double)summary.arena_bytes};
    describe(t, row.shape, sizeof row.shape);
    xp_bench_table_row(table, &row);
    return XP_OK;
}

/* One row for each variant of each kernel, the sum of its launches in one step, by the device's clock. */
static xp_status print_kernels(timing *t, xp_bench_table *table) {
    enum { MOST = 256 };
    xp_plan *plan = t->session.training_plan;
    xp_profile_row *rows = calloc(MOST, sizeof *rows);
    double *times = calloc((size_t)(MOST * t->repetitions), sizeof *times), loss, wall;
    xp_status status = rows && times ? run_steps(t, 2, &wall, &loss) : XP_OUT_OF_MEMORY;
    int count = 0;
    for (long i = 0; i < t->repetitions && status == XP_OK; i++) {
        xp_plan_forget_profile(plan);
        status = run_steps(t, 1, &wall, &loss);
        count = xp_plan_profile(plan, true, rows, MOST);
        for (int r = 0; r < count; r++) times[r * t->repetitions + i] = rows[r].seconds;
    }
    for (int r = 0; r < count && status == XP_OK; r++) {
        xp_bench_row row = {.name = rows[r].name,
                            .variant = rows[r].variant,
                            .seconds = times + r * t->repetitions,
                            .repetitions = (int)t->repetitions,
                            .flops = rows[r].flops,
                            .bytes = rows[r].bytes};
        snprintf(row.shape, sizeof row.shape, "%d launches in a step", rows[r].launches);
        xp_bench_table_row(table, &row);
    }
    free(rows);
    free(times);
    return status;
}

static xp_status answer_requests(timing *t) {
    char line[64];
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        double seconds, loss;
        int count = atoi(line);
        if (count < 1) return xp_fail(XP_INVALID_ARGUMENT, "\"%.20s\" is no number of steps", line);
        XP_TRY(run_steps(t, count, &seconds, &loss));
        printf("%.6f %.9g\n", seconds, loss);
        fflush(stdout);
    }
    return XP_OK;
}

static void configure(const timing *t, xp_config *config) {
    xp_config_default(config);
    config->model.kind = t->image ? XP_MODEL_VISION : XP_MODEL_ENCODER;
    config->model.patch = (int)t->patch;
    config->model.width = (int)t->width;
    config->model.heads = (int)t->heads;
    config->model.layers = (int)t->layers;
    config->model.feed_forward = (int)t->feed_forward;
    config->model.dropout = config->model.attention_dropout = 0;
    config->model.pre_norm = t->image > 0;
    config->model.norm = XP_NORM_LAYER;
    config->model.norm_epsilon = 1e-5;
    config->model.final_norm = 1;
    config->model.activation = XP_ACTIVATION_GELU;
    config->model.positions = XP_POSITIONS_LEARNED;
    config->model.scale_input = t->image == 0;
    config->model.head = XP_HEAD_MEAN;
    config->model.head_activation = XP_ACTIVATION_NONE;
    config->model.mask_padding = 0;
    snprintf(config->model.attention, sizeof config->model.attention, "%s", t->attention);
    config->training.batch = (int)t->batch_size;
    config->training.optimiser = XP_ADAMW;
    config->training.learning_rate =
        1e-5; /* small: equal sides must not drift apart by chance within the timed steps */
    config->training.weight_decay = 0.01;
    config->training.beta1 = 0.9;
    config->training.beta2 = 0.999;
    config->training.epsilon = 1e-8;
    config->training.gradient_clip = 0;
    config->training.label_smoothing = 0;
}

static xp_status open_steps(timing *t, xp_config *config, const xp_device_options *options) {
    const xp_model_shape shape = {.batch = (int)t->batch_size,
                                  .classes = CLASSES,
                                  .length = (int)t->length,
                                  .features = FEATURES,
                                  .channels = 1,
                                  .height = (int)t->image,
                                  .breadth = (int)t->image};
    configure(t, config);
    XP_TRY(make_batch(t, &t->batch));
    t->order = calloc((size_t)t->batch_size, sizeof *t->order);
    if (!t->order) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %ld", t->batch_size);
    for (int i = 0; i < t->batch_size; i++) t->order[i] = i;
    XP_TRY(xp_session_open(&t->session, config, &shape, options, true));
    XP_TRY(xp_session_realise(&t->session));
    XP_TRY(xp_store_initialise(t->session.store, 1));
    return t->save ? save_start(&t->session, &t->batch, t->save) : XP_OK;
}

static xp_status time_steps(timing *t, bool kernels) {
    xp_config config;
    xp_bench_table table;
    xp_bench_format format;
    const xp_device_options options = {.select = t->device, .family = t->family, .profiling = t->profile || kernels};
    XP_TRY(xp_bench_format_read(t->format, &format));
    XP_TRY(open_steps(t, &config, &options));
    if (t->on_request) return answer_requests(t);
    XP_TRY(xp_bench_table_open(&table, format, t->session.device));
    const xp_status status = kernels ? print_kernels(t, &table) : print_steps(t, &table);
    xp_bench_table_close(&table);
    if (status == XP_OK && t->profile) return xp_plan_print_profile(t->session.training_plan, stdout);
    return status;
}

static int command(bool kernels, int count, char **words) {
    timing t = {.patch = 4,
                .width = 512,
                .heads = 8,
                .layers = 2,
                .feed_forward = 2048,
                .batch_size = 16,
                .length = 128,
                .repetitions = 10,
                .attention = "softmax"};
    const xp_flag flags[] = {
        {"--width", "N", "model width (512)", .number = &t.width},
        {"--heads", "N", "attention heads (8)", .number = &t.heads},
        {"--layers", "N", "encoder layers (2)", .number = &t.layers},
        {"--ffn", "N", "feed-forward width (2048)", .number = &t.feed_forward},
        {"--batch", "N", "sequences in the batch (16)", .number = &t.batch_size},
        {"--length", "N", "steps of a sequence (128)", .number = &t.length},
        {"--image", "SIDE", "a vision transformer on grey images of this side in place of series", .number = &t.image},
        {"--patch", "SIDE", "of its patches (4)", .number = &t.patch},
        {"--attention", "SPEC", "attention specification (softmax)", .text = &t.attention},
        {"--repetitions", "N", "timed steps (10)", .number = &t.repetitions},
        {"--device", "D", "device id, name, gpu or cpu", .text = &t.device},
        {"--family", "F", "kernel family: wide, tiled or auto", .text = &t.family},
        XP_BENCH_FORMAT_FLAG(&t.format),
        {"--save-start", "FILE", "write initial parameters and the batch as safetensors", .text = &t.save},
        {"--on-request", NULL, "read numbers of steps from stdin, answer \"seconds loss\" to each",
         .on = &t.on_request},
        {"--profile", NULL, "print the table of kernel times", .on = &t.profile},
    };
    const int step_alone = 3;
    const xp_usage usage = {
        .name = kernels ? "bench kernels" : "bench step",
        .synopsis = "[flags]",
        .description = kernels
                           ? "Times each kernel of a training step of an encoder, by variant, by the device's clock.\n"
                           : "Times whole training steps (forward, backward, AdamW) of an encoder on one synthetic "
                             "batch.\n",
        .flags = flags,
        .flag_count = (int)(sizeof flags / sizeof flags[0]) - (kernels ? step_alone : 0),
        .example = kernels ? "expanse bench kernels --length 512 -o csv"
                           : "expanse bench step --width 64 --heads 2 --ffn 128 --batch 32 --length 1024"};
    xp_arguments arguments;
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (t.repetitions < 1 || t.repetitions > XP_BENCH_REPETITIONS)
        return xp_command_misuse("%s: --repetitions is between 1 and %d", usage.name, XP_BENCH_REPETITIONS);
    const xp_status status = time_steps(&t, kernels);
    xp_session_close(&t.session);
    release_batch(&t.batch);
    free(t.order);
    return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
}

int xp_command_bench_step(int count, char **words) {
    return command(false, count, words);
}

int xp_command_bench_kernels(int count, char **words) {
    return command(true, count, words);
}
