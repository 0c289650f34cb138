#include "synthetic.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/text.h"
#include "device/fill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- from flags to a setup --------------------------------------------------------------------------------------- */

/* The benchmarks' own model, an encoder for series or, with --image, for images. */
static void start_plain(bool images, xp_config *config) {
    config->model.kind = images ? XP_MODEL_VISION : XP_MODEL_ENCODER;
    config->model.width = 512;
    config->model.heads = 8;
    config->model.layers = 2;
    config->model.feed_forward = 2048;
    config->model.dropout = config->model.attention_dropout = 0;
    config->model.pre_norm = images;
    config->model.scale_input = !images;
    config->model.mask_padding = 0;
    config->training.batch = 16;
    config->training.optimiser = XP_ADAMW;
    config->training.learning_rate =
        1e-5; /* small: equal sides must not drift apart by chance within the timed steps */
    config->training.weight_decay = 0.01;
}

/* One size of the data: what was given, else what is assumed. `value` NULL: the model has no such size. */
typedef struct data_size {
    const char *flag, *unit; /* "--features", "%d features" */
    long given;
    int usual, *value;
} data_size;

static xp_status take_sizes(const data_size *sizes, int count, const char *data, xp_synthetic_setup *out) {
    char flags[80] = "";
    for (int i = 0; i < count; i++) {
        const data_size *s = &sizes[i];
        const bool given = s->given != XP_SYNTHETIC_NONE;
        if (given && !s->value)
            return xp_fail(XP_INVALID_ARGUMENT, "%s: the model uses %s, which do not have this size", s->flag, data);
        if (s->value) *s->value = given ? (int)s->given : s->usual;
        if (given || !s->value) continue;
        xp_text_add(out->assumed, sizeof out->assumed, "%s", *flags ? ", " : "assumed: ");
        xp_text_add(out->assumed, sizeof out->assumed, s->unit, s->usual);
        xp_text_add(flags, sizeof flags, "%s%s", *flags ? ", " : "", s->flag);
    }
    if (*flags) xp_text_add(out->assumed, sizeof out->assumed, " (%s)", flags);
    return XP_OK;
}

xp_status xp_synthetic_configure(const xp_synthetic_flags *flags, const xp_arguments *arguments,
                                 xp_synthetic_setup *out) {
    *out = (xp_synthetic_setup){.assumed = ""};
    const bool plain = !flags->preset && !flags->file;
    xp_config_default(&out->config);
    if (plain) start_plain(flags->image != XP_SYNTHETIC_NONE, &out->config);
    XP_TRY(xp_command_configure(&out->config, flags->preset, flags->file, arguments));
    if (flags->recompute) out->config.training.recompute = 1;

    const bool images = out->config.model.kind == XP_MODEL_VISION;
    const int patch = out->config.model.patch;
    xp_model_shape *shape = &out->shape;
    shape->batch = out->config.training.batch;
    /* Presets with small patches are for small pictures, those with large ones for photographs. */
    const bool photographs = !plain && patch >= 14;
    const int side = photographs ? 224 : 28, usual_side = patch > side ? patch : side - side % patch;
    const data_size sizes[] = {
        {"--length", "length %d", flags->length, 128, images ? NULL : &shape->length},
        {"--features", "%d features", flags->features, 16, images ? NULL : &shape->features},
        {"--image", "images of side %d", flags->image, usual_side, images ? &shape->height : NULL},
        {"--channels", "channels %d", flags->channels, photographs ? 3 : 1, images ? &shape->channels : NULL},
        {"--classes", "%d classes", flags->classes, 10, &shape->classes},
    };
    XP_TRY(take_sizes(sizes, sizeof sizes / sizeof sizes[0], images ? "images" : "series", out));
    shape->breadth = shape->height;
    if (plain) out->assumed[0] = 0; /* as --help says */
    return XP_OK;
}

void xp_synthetic_describe(const xp_synthetic_setup *setup, char *out, size_t size) {
    const xp_config *config = &setup->config;
    snprintf(out, size, "%s%sd=%d H=%d L=%d FFN=%d B=%d ", config->preset, *config->preset ? " " : "",
             config->model.width, config->model.heads, config->model.layers, config->model.feed_forward,
             config->training.batch);
    if (config->model.kind == XP_MODEL_VISION)
        xp_text_add(out, size, "image=%d patch=%d", setup->shape.height, config->model.patch);
    else
        xp_text_add(out, size, "N=%d", setup->shape.length);
    if (config->training.accumulate > 1) xp_text_add(out, size, " accumulate=%d", config->training.accumulate);
    if (config->training.recompute) xp_text_add(out, size, " recompute");
}

/* ---- a session --------------------------------------------------------------------------------------------------- */

/* Normal values, which the device draws. */
static xp_status draw_values(xp_device *device, size_t elements, float *values) {
    enum { SEED = 1, PURPOSE_VALUES = 0 };
    cl_mem buffer;
    XP_TRY(xp_device_buffer(device, elements * sizeof *values, &buffer));
    xp_status status = xp_device_fill_normal(device, buffer, 0, elements, SEED, PURPOSE_VALUES);
    if (status == XP_OK) status = xp_device_read(device, buffer, 0, elements * sizeof *values, values);
    clReleaseMemObject(buffer);
    return status;
}

/* Of those values, and of labels that are drawn, too. */
static xp_status make_batch(const xp_synthetic_setup *setup, xp_device *device, xp_dataset **out) {
    enum { SEED = 1, PURPOSE_LABELS = 1 };
    const xp_model_shape *shape = &setup->shape;
    const bool images = setup->config.model.kind == XP_MODEL_VISION;
    xp_dataset header = {
        .kind = images ? &xp_images_kind : &xp_series_kind,
        .name = "the synthetic batch",
        .count = shape->batch,
        .features = shape->features,
        .length = shape->length,
        .channels = shape->channels,
        .height = shape->height,
        .breadth = shape->breadth,
        .sample_elements = images ? (int64_t)shape->channels * shape->height * shape->breadth
                                  : (int64_t)shape->length * shape->features,
        .classes = shape->classes,
    };
    const size_t elements = (size_t)(header.count * header.sample_elements);
    float *values = malloc(elements * sizeof *values);
    header.lengths = malloc((size_t)header.count * sizeof *header.lengths);
    header.labels = malloc((size_t)header.count * sizeof *header.labels);
    xp_status status = values && header.lengths && header.labels
                           ? draw_values(device, elements, values)
                           : xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %d", shape->batch);
    xp_random random;
    xp_random_start(&random, SEED, PURPOSE_LABELS);
    for (int64_t b = 0; b < header.count && status == XP_OK; b++) {
        header.lengths[b] = header.length;
        header.labels[b] = (int32_t)xp_random_below(&random, (uint32_t)shape->classes);
    }
    if (status == XP_OK) status = xp_dataset_of_values(out, &header, values);
    if (status == XP_OK) return XP_OK;
    free(values);
    free(header.lengths);
    free(header.labels);
    return status;
}

xp_status xp_synthetic_open(xp_synthetic *out, const xp_synthetic_setup *setup, const xp_device_options *options) {
    *out = (xp_synthetic){.config = setup->config};
    const int batch = setup->shape.batch;
    xp_model_shape part = setup->shape;
    part.batch = batch / out->config.training.accumulate;
    out->order = calloc((size_t)batch, sizeof *out->order);
    if (!out->order) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %d", batch);
    for (int i = 0; i < batch; i++) out->order[i] = i;
    XP_TRY(xp_session_open(&out->session, &out->config, &part, options, NULL, true));
    XP_TRY(make_batch(setup, out->session.device, &out->batch));
    XP_TRY(xp_session_realise(&out->session, NULL));
    return xp_store_initialise(out->session.store, 1);
}

void xp_synthetic_close(xp_synthetic *synthetic) {
    xp_session_close(&synthetic->session);
    xp_dataset_close(&synthetic->batch);
    free(synthetic->order);
    *synthetic = (xp_synthetic){.step = 0};
}

xp_status xp_synthetic_run(xp_synthetic *t, int count, double *seconds, double *loss) {
    double begin = xp_clock();
    xp_tally tally = {0};
    for (int i = 0; i < count; i++) {
        tally = (xp_tally){0};
        t->step++;
        XP_TRY(xp_session_train(&t->session, t->batch, t->order, 0, t->step, t->config.training.learning_rate, &tally));
    }
    *seconds = xp_clock() - begin;
    *loss = tally.loss_sum / (double)t->batch->count;
    return XP_OK;
}
