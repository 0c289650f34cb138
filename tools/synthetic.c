#include "synthetic.h"

#include "core/clock.h"
#include "core/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static xp_status make_batch(const xp_synthetic_shape *t, const xp_config *config, xp_dataset *out) {
    *out = (xp_dataset){
        .kind = config->model.kind == XP_MODEL_VISION ? XP_DATASET_IMAGES : XP_DATASET_SERIES,
        .count = config->training.batch,
        .features = (int)t->features,
        .length = (int)t->length,
        .channels = (int)t->channels,
        .height = (int)t->image,
        .breadth = (int)t->image,
        .sample_elements =
            config->model.kind == XP_MODEL_VISION ? t->channels * t->image * t->image : t->length * t->features,
        .classes = (int)t->classes,
    };
    out->values = malloc((size_t)(out->count * out->sample_elements) * sizeof *out->values);
    out->lengths = malloc((size_t)out->count * sizeof *out->lengths);
    out->labels = malloc((size_t)out->count * sizeof *out->labels);
    if (!out->values || !out->lengths || !out->labels)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %d", config->training.batch);
    xp_random random;
    xp_random_start(&random, 1, 0);
    for (int64_t i = 0; i < out->count * out->sample_elements; i++) out->values[i] = (float)xp_random_normal(&random);
    for (int64_t b = 0; b < out->count; b++) {
        out->lengths[b] = out->length;
        out->labels[b] = (int32_t)xp_random_below(&random, (uint32_t)t->classes);
    }
    return XP_OK;
}

static void release_batch(xp_dataset *batch) {
    free(batch->values);
    free(batch->lengths);
    free(batch->labels);
}

static void configure(const xp_synthetic_shape *t, xp_config *config) {
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
    config->training.batch = (int)t->batch;
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

static xp_status read_config(const xp_synthetic_shape *shape, xp_config *config) {
    if (shape->preset && shape->config)
        return xp_fail(XP_INVALID_ARGUMENT, "--preset and --config both name a model: one of them is too much");
    if (!shape->preset && !shape->config) {
        configure(shape, config);
        return XP_OK;
    }
    xp_config_default(config);
    return shape->preset ? xp_config_preset(config, shape->preset) : xp_config_file(config, shape->config);
}

xp_status xp_synthetic_open(xp_synthetic *out, const xp_synthetic_shape *shape, const xp_device_options *options) {
    *out = (xp_synthetic){.step = 0};
    XP_TRY(read_config(shape, &out->config));
    if (shape->recompute) out->config.training.recompute = 1;
    if (shape->accumulate) {
        char setting[64];
        snprintf(setting, sizeof setting, "training.accumulate=%ld", shape->accumulate);
        XP_TRY(xp_config_set(&out->config, setting));
    }
    const int batch = out->config.training.batch, parts = out->config.training.accumulate;
    const xp_model_shape model = {.batch = batch / parts,
                                  .classes = (int)shape->classes,
                                  .length = (int)shape->length,
                                  .features = (int)shape->features,
                                  .channels = (int)shape->channels,
                                  .height = (int)shape->image,
                                  .breadth = (int)shape->image};
    if (batch < 1 || shape->classes < 1)
        return xp_fail(XP_INVALID_ARGUMENT, "a batch of %d samples and %ld classes: both are at least 1", batch,
                       shape->classes);
    XP_TRY(xp_config_check(&out->config));
    XP_TRY(make_batch(shape, &out->config, &out->batch));
    out->order = calloc((size_t)batch, sizeof *out->order);
    if (!out->order) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %d", batch);
    for (int i = 0; i < batch; i++) out->order[i] = i;
    XP_TRY(xp_session_open(&out->session, &out->config, &model, options, NULL, true));
    XP_TRY(xp_session_realise(&out->session, NULL));
    return xp_store_initialise(out->session.store, 1);
}

void xp_synthetic_close(xp_synthetic *synthetic) {
    xp_session_close(&synthetic->session);
    release_batch(&synthetic->batch);
    free(synthetic->order);
    *synthetic = (xp_synthetic){.step = 0};
}

xp_status xp_synthetic_run(xp_synthetic *t, int count, double *seconds, double *loss) {
    double begin = xp_clock();
    xp_tally tally = {0};
    for (int i = 0; i < count; i++) {
        tally = (xp_tally){0};
        t->step++;
        XP_TRY(
            xp_session_train(&t->session, &t->batch, t->order, 0, t->step, t->config.training.learning_rate, &tally));
    }
    *seconds = xp_clock() - begin;
    *loss = tally.loss_sum / (double)t->batch.count;
    return XP_OK;
}

void xp_synthetic_describe(const xp_synthetic_shape *t, char *out, size_t size) {
    const char *own = t->preset ? t->preset : t->config;
    if (own) {
        snprintf(out, size, "%s", own);
        return;
    }
    int used = snprintf(out, size, "d=%ld H=%ld L=%ld FFN=%ld B=%ld ", t->width, t->heads, t->layers, t->feed_forward,
                        t->batch);
    if (t->image)
        used += snprintf(out + used, size - (size_t)used, "image=%ld patch=%ld", t->image, t->patch);
    else
        used += snprintf(out + used, size - (size_t)used, "N=%ld", t->length);
    if (t->accumulate > 1) used += snprintf(out + used, size - (size_t)used, " accumulate=%ld", t->accumulate);
    if (t->recompute) snprintf(out + used, size - (size_t)used, " recompute");
}
