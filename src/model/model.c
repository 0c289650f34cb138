/* From a configuration to a graph with loss and gradients. */
#include "model/model.h"

#include "model/layers.h"
#include "ops/ops.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- checking ---------------------------------------------------------------------------------------------------- */

typedef struct faults {
    char text[4096];
    int count;
} faults;

static void fault(faults *all, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fault(faults *all, const char *format, ...) {
    size_t used = strlen(all->text);
    if (used + 2 >= sizeof all->text) return;
    if (all->count++) all->text[used++] = '\n';
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(all->text + used, sizeof all->text - used, format, arguments);
    va_end(arguments);
}

xp_status xp_model_check(const xp_model_config *config, const xp_model_shape *shape) {
    faults all = {.count = 0};
    int longest = shape->length;
    if (config->width < 1 || config->heads < 1 || config->layers < 1 || config->feed_forward < 1)
        fault(&all, "model: width, heads, layers and feed_forward must be at least 1");
    else if (config->width % config->heads != 0)
        fault(&all, "model: %d heads do not divide width %d", config->heads, config->width);
    else if (config->width / config->heads > 256)
        fault(&all, "model: heads of width %d are wider than 256: use more heads", config->width / config->heads);
    if (config->heads > 0 && config->key_heads > 0 && config->heads % config->key_heads != 0)
        fault(&all, "model: %d key heads do not divide %d heads", config->key_heads, config->heads);
    if (shape->batch < 1) fault(&all, "training: a batch of %d samples is empty", shape->batch);
    if (shape->classes < 2) fault(&all, "data: %d class(es): a classifier needs two or more", shape->classes);
    if (config->kind == XP_MODEL_ENCODER) {
        if (shape->length < 1 || shape->features < 1)
            fault(&all, "data: the model wants time series, and these have no steps");
        if (config->head == XP_HEAD_CLASS)
            fault(&all,
                  "model: head class needs a class token, which the time-series model has not: use flatten or mean");
    } else {
        if (shape->height < 1 || shape->breadth < 1)
            fault(&all, "data: the model wants images, and these are none");
        else if (config->patch < 1 || shape->height % config->patch || shape->breadth % config->patch)
            fault(&all, "model: patches of %d do not divide images of %d by %d", config->patch, shape->height,
                  shape->breadth);
        else
            longest = (shape->height > shape->breadth ? shape->height : shape->breadth) / config->patch;
        if (config->head == XP_HEAD_FLATTEN) fault(&all, "model: head flatten is for time series: use class or mean");
    }
    xp_specification specification;
    const xp_specification_use use = {.heads = config->heads,
                                      .key_heads = config->key_heads,
                                      .longest = longest,
                                      .grid = config->kind == XP_MODEL_VISION};
    if (xp_specification_parse(config->attention, &specification) != XP_OK)
        fault(&all, "%s", xp_last_error());
    else if (config->heads > 0 && xp_specification_check(&specification, &use) != XP_OK)
        fault(&all, "%s", xp_last_error());
    return all.count ? xp_fail(XP_INVALID_ARGUMENT, "%s", all.text) : XP_OK;
}

bool xp_model_takes_any_length(const xp_model_config *config) {
    xp_specification spec;
    if (config->kind != XP_MODEL_ENCODER || config->positions != XP_POSITIONS_SINUSOIDAL ||
        config->head != XP_HEAD_MEAN || !config->mask_padding ||
        xp_specification_parse(config->attention, &spec) != XP_OK)
        return false;
    for (int i = 0; i < spec.name_count; i++)
        if (*spec.names[i].file) return false;
    return !spec.bias && !*spec.block_file && !*spec.mask_file;
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static xp_status add_inputs(xp_model *model, const xp_model_config *config, const xp_model_shape *shape,
                            bool training) {
    xp_graph *graph = model->graph;
    int64_t batch = shape->batch;
    xp_graph_scope(graph, "input");
    if (config->kind == XP_MODEL_ENCODER) {
        model->input = xp_graph_input(graph, "series", XP_F32, 3, (int64_t[]){batch, shape->length, shape->features});
        model->lengths = xp_graph_input(graph, "lengths", XP_I32, 1, &batch);
        if (!model->lengths) return XP_OUT_OF_MEMORY;
    } else {
        model->input = xp_graph_input(graph, "images", XP_F32, 4,
                                      (int64_t[]){batch, shape->channels, shape->height, shape->breadth});
    }
    model->labels = xp_graph_input(graph, "labels", XP_I32, 1, &batch);
    model->weights = xp_graph_input(graph, "weights", XP_F32, 1, &batch);
    if (training) {
        model->loss_gradient = xp_graph_input(graph, "loss_gradient", XP_F32, 1, (int64_t[]){1});
        if (!model->loss_gradient) return XP_OUT_OF_MEMORY;
    }
    return model->input && model->labels && model->weights ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status build(xp_model *model, const xp_model_config *config, const xp_model_shape *shape,
                       double label_smoothing, xp_store *store, bool training) {
    xp_builder builder = {.graph = model->graph, .store = store, .config = config};
    XP_TRY(xp_specification_parse(config->attention, &builder.attention));
    XP_TRY(add_inputs(model, config, shape, training));
    builder.lengths = model->lengths;
    builder.weights = model->weights;
    xp_tensor *logits = config->kind == XP_MODEL_ENCODER ? xp_model_encoder(&builder, shape, model->input)
                                                         : xp_model_vision(&builder, shape, model->input);
    xp_graph_scope(model->graph, "loss");
    model->loss = xp_cross_entropy(model->graph, logits, model->labels, model->weights,
                                   training ? (float)label_smoothing : 0, &model->probabilities, &model->losses);
    if (!model->loss) return XP_INVALID_ARGUMENT;
    model->loss->keep = model->losses->keep = model->probabilities->keep = true;
    if (!training) return XP_OK;
    return xp_graph_differentiate(model->graph, 1, &model->loss, &model->loss_gradient, 0, NULL, NULL);
}

xp_status xp_model_build(xp_model *out, const xp_model_config *config, const xp_model_shape *shape,
                         double label_smoothing, xp_store *store, bool training) {
    *out = (xp_model){0};
    XP_TRY(xp_model_check(config, shape));
    XP_TRY(xp_graph_create(&out->graph, store, training));
    xp_status status = build(out, config, shape, label_smoothing, store, training);
    if (status != XP_OK) xp_model_release(out);
    return status;
}

xp_status xp_model_recompute(const xp_model *model, const xp_model_config *config) {
    for (int layer = 0; layer < config->layers; layer++) {
        char scope[XP_NAME_BYTES];
        snprintf(scope, sizeof scope, "encoder.%d", layer);
        XP_TRY(xp_graph_recompute(model->graph, scope));
    }
    return XP_OK;
}

void xp_model_release(xp_model *model) {
    xp_graph_close(&model->graph);
    *model = (xp_model){0};
}
