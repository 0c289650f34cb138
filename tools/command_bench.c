/* `expanse bench`: times what users wait for. `bench step` runs whole training steps of an encoder on one synthetic
 * batch; with --on-request it takes the number of steps from lines on stdin, so that a peer can be timed in turn with
 * it. */
#include "command.h"

#include "core/random.h"
#include "train/config.h"
#include "train/safetensors.h"
#include "train/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 16, CLASSES = 10, MAX_REPETITIONS = 1000 };

/* ---- the batch
 * ------------------------------------------------------------------------------------------------------- */

static xp_status make_batch(xp_dataset *out, int batch, int length) {
    static char *names[CLASSES] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    *out = (xp_dataset){.kind = XP_DATASET_SERIES,
                        .count = batch,
                        .features = FEATURES,
                        .length = length,
                        .sample_elements = (int64_t)length * FEATURES,
                        .classes = CLASSES,
                        .class_names = names};
    out->values = malloc((size_t)batch * (size_t)out->sample_elements * sizeof *out->values);
    out->lengths = malloc((size_t)batch * sizeof *out->lengths);
    out->labels = malloc((size_t)batch * sizeof *out->labels);
    if (!out->values || !out->lengths || !out->labels) return XP_OUT_OF_MEMORY;
    xp_random random;
    xp_random_start(&random, 1, 0);
    for (int64_t i = 0; i < batch * out->sample_elements; i++) out->values[i] = (float)xp_random_normal(&random);
    for (int b = 0; b < batch; b++) {
        out->lengths[b] = length;
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
        status = xp_safetensors_add(&set, "batch.series", XP_SAFETENSORS_F32, 3,
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

/* ---- steps
 * ------------------------------------------------------------------------------------------------------------- */

typedef struct timing {
    xp_session session;
    xp_dataset batch;
    int32_t *order;
    int64_t step;
} timing;

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

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static xp_status print_timing(timing *t, long repetitions) {
    double times[MAX_REPETITIONS], loss = 0, warm;
    XP_TRY(run_steps(t, 2, &warm, &loss));
    for (long i = 0; i < repetitions; i++) XP_TRY(run_steps(t, 1, &times[i], &loss));
    qsort(times, (size_t)repetitions, sizeof *times, by_value);
    xp_plan_summary summary;
    xp_plan_summarise(t->session.training_plan, &summary);
    double median = times[repetitions / 2];
    printf("median %.2f ms of %ld steps (%.2f to %.2f), %.1f GFLOP/s, %d launches, arena %.1f MiB, loss %.6f\n",
           median * 1e3, repetitions, times[0] * 1e3, times[repetitions - 1] * 1e3, summary.flops / median * 1e-9,
           summary.launches, (double)summary.arena_bytes / (1 << 20), loss);
    return XP_OK;
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

int xp_command_bench(int count, char **words) {
    if (count > 0 && strcmp(words[0], "attention") == 0) return xp_command_bench_attention(count - 1, words + 1);
    const char *attention = "softmax", *device = NULL, *family = NULL, *save = NULL;
    long width = 512, heads = 8, layers = 2, feed_forward = 2048, batch = 16, length = 128, repetitions = 10;
    bool on_request = false, profile = false;
    const xp_flag flags[] = {
        {"--width", "N", "model width (512)", .number = &width},
        {"--heads", "N", "attention heads (8)", .number = &heads},
        {"--layers", "N", "encoder layers (2)", .number = &layers},
        {"--ffn", "N", "feed-forward width (2048)", .number = &feed_forward},
        {"--batch", "N", "sequences in the batch (16)", .number = &batch},
        {"--length", "N", "steps of a sequence (128)", .number = &length},
        {"--attention", "SPEC", "attention specification (softmax)", .text = &attention},
        {"--repetitions", "N", "timed steps (10)", .number = &repetitions},
        {"--device", "D", "device id, name, gpu or cpu", .text = &device},
        {"--family", "F", "kernel family: wide, tiled or auto", .text = &family},
        {"--save-start", "FILE", "write initial parameters and the batch as safetensors", .text = &save},
        {"--on-request", NULL, "read numbers of steps from stdin, answer \"seconds loss\" to each", .on = &on_request},
        {"--profile", NULL, "print the table of kernel times", .on = &profile},
    };
    const xp_usage usage = {.name = "bench",
                            .synopsis = "step [flags]",
                            .description =
                                "Times whole training steps (forward, backward, AdamW) of an encoder on one synthetic "
                                "batch; bench attention times attention layers alone.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof flags[0],
                            .words = "step",
                            .example = "expanse bench step --width 64 --heads 2 --ffn 128 --batch 32 --length 1024"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (arguments.word_count != 1 || strcmp(arguments.words[0], "step") != 0)
        return xp_command_misuse("bench: say what to time: expanse bench step, or expanse bench attention");
    if (repetitions < 1 || repetitions > MAX_REPETITIONS)
        return xp_command_misuse("bench: --repetitions is between 1 and %d", MAX_REPETITIONS);

    xp_config config;
    xp_config_default(&config);
    config.model.kind = XP_MODEL_ENCODER;
    config.model.width = (int)width;
    config.model.heads = (int)heads;
    config.model.layers = (int)layers;
    config.model.feed_forward = (int)feed_forward;
    config.model.dropout = config.model.attention_dropout = 0;
    config.model.pre_norm = 0;
    config.model.norm = XP_NORM_LAYER;
    config.model.norm_epsilon = 1e-5;
    config.model.final_norm = 1;
    config.model.activation = XP_ACTIVATION_GELU;
    config.model.positions = XP_POSITIONS_LEARNED;
    config.model.scale_input = 1;
    config.model.head = XP_HEAD_MEAN;
    config.model.head_activation = XP_ACTIVATION_NONE;
    config.model.mask_padding = 0;
    snprintf(config.model.attention, sizeof config.model.attention, "%s", attention);
    config.training.batch = (int)batch;
    config.training.optimiser = XP_ADAMW;
    config.training.learning_rate = 1e-5; /* small: equal sides must not drift apart by chance within the timed steps */
    config.training.weight_decay = 0.01;
    config.training.beta1 = 0.9;
    config.training.beta2 = 0.999;
    config.training.epsilon = 1e-8;
    config.training.gradient_clip = 0;
    config.training.label_smoothing = 0;
    xp_model_shape shape = {.batch = (int)batch, .classes = CLASSES, .length = (int)length, .features = FEATURES};
    xp_device_options options = {.select = device, .family = family, .profiling = profile};

    timing t = {.step = 0};
    xp_status status = make_batch(&t.batch, (int)batch, (int)length);
    t.order = calloc((size_t)batch, sizeof *t.order);
    for (int i = 0; i < batch && t.order; i++) t.order[i] = i;
    if (!t.order) status = xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %ld", batch);
    if (status == XP_OK) status = xp_session_open(&t.session, &config, &shape, &options, true);
    if (status == XP_OK) status = xp_session_realise(&t.session);
    if (status == XP_OK) status = xp_store_initialise(t.session.store, 1);
    if (status == XP_OK && save) status = save_start(&t.session, &t.batch, save);
    if (status == XP_OK) status = on_request ? answer_requests(&t) : print_timing(&t, repetitions);
    if (status == XP_OK && profile) status = xp_plan_print_profile(t.session.training_plan, stdout);
    xp_session_close(&t.session);
    release_batch(&t.batch);
    free(t.order);
    return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
}
