#include "synthetic.h"

#include "core/text.h"
#include "train/precision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

    const xp_sample_kind *kind = xp_sample_kind_find(xp_model_samples(&out->config.model));
    const int patch = out->config.model.patch;
    xp_model_shape *shape = &out->shape;
    shape->batch = out->config.training.batch;
    if (kind->continues) shape->outputs = kind->symbols;
    /* Presets with small patches are for small pictures, those with large ones for photographs. */
    const bool photographs = !plain && patch >= 14;
    const int side = photographs ? 224 : 28, usual_side = patch > side ? patch : side - side % patch;
    const data_size sizes[] = {
        {"--length", "length %d", flags->length, kind->continues ? out->config.data.context : 128,
         kind->has.length ? &shape->length : NULL},
        {"--features", "%d features", flags->features, kind->symbols ? kind->symbols : 16,
         kind->has.features ? &shape->features : NULL},
        {"--image", "images of side %d", flags->image, usual_side, kind->has.height ? &shape->height : NULL},
        {"--channels", "channels %d", flags->channels, photographs ? 3 : 1,
         kind->has.channels ? &shape->channels : NULL},
        {"--classes", "%d classes", flags->classes, 10, kind->continues ? NULL : &shape->outputs},
    };
    XP_TRY(take_sizes(sizes, sizeof sizes / sizeof sizes[0], kind->name, out));
    shape->breadth = shape->height;
    if (plain) out->assumed[0] = 0; /* as --help says */
    return XP_OK;
}

void xp_synthetic_describe(const xp_synthetic_setup *setup, char *out, size_t size) {
    const xp_config *config = &setup->config;
    snprintf(out, size, "%s%sd=%d H=%d L=%d FFN=%d B=%d ", config->preset, *config->preset ? " " : "",
             config->model.width, config->model.heads, config->model.layers, config->model.feed_forward,
             config->training.batch);
    if (xp_sample_kind_find(xp_model_samples(&config->model))->has.height)
        xp_text_add(out, size, "image=%d patch=%d", setup->shape.height, config->model.patch);
    else
        xp_text_add(out, size, "N=%d", setup->shape.length);
    if (config->training.accumulate > 1) xp_text_add(out, size, " accumulate=%d", config->training.accumulate);
    if (config->training.recompute) xp_text_add(out, size, " recompute");
    if (config->training.precision != XP_PRECISION_FP32)
        xp_text_add(out, size, " %s", xp_precision_name(config->training.precision));
}
