/* From a configuration to a graph. */
#include "model/model.h"

#include "core/writer.h"
#include "model/layers.h"
#include "ops/ops.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- checking ---------------------------------------------------------------------------------------------------- */

static void check_width(const xp_model_config *config, xp_writer *faults) {
    if (config->width % config->heads != 0)
        xp_write(faults, "model.heads: %d heads do not divide the width %d; choose a divisor, such as %d\n",
                 config->heads, config->width, config->width % 8 == 0 && config->heads != 8 ? 8 : 1);
    else if (config->width / config->heads > 256)
        xp_write(faults, "model.heads: a head would be %d wide; at most 256 are possible, so take more heads\n",
                 config->width / config->heads);
    if (config->key_heads > 0 && config->heads % config->key_heads != 0)
        xp_write(faults, "model.key_heads: %d key heads do not divide %d heads; choose a divisor, or 0 for as many\n",
                 config->key_heads, config->heads);
}

static void check_head(const xp_model_config *config, xp_writer *faults) {
    if (config->kind != XP_MODEL_VISION && config->head == XP_HEAD_CLASS)
        xp_write(faults, "model.head: a class token belongs to vision models; take 'flatten' or 'mean' here\n");
    if (config->kind == XP_MODEL_VISION && config->head == XP_HEAD_FLATTEN)
        xp_write(faults, "model.head: 'flatten' belongs to time series; take 'class' or 'mean' here\n");
}

static void check_data(const xp_model_config *config, const xp_model_shape *shape, xp_writer *faults) {
    if (shape->batch < 1) xp_write(faults, "training: a batch of %d samples is empty\n", shape->batch);
    if (shape->outputs < 1) xp_write(faults, "data: there is nothing to be learned of a sample\n");
    if (config->kind == XP_MODEL_ENCODER) {
        if (shape->length < 1 || shape->features < 1)
            xp_write(faults, "data: the model wants time series, and these have no steps\n");
    } else if (shape->height < 1 || shape->breadth < 1) {
        xp_write(faults, "data: the model wants images, and these are none\n");
    } else if (config->patch < 1 || shape->height % config->patch || shape->breadth % config->patch) {
        xp_write(faults, "model.patch: patches of %d do not divide images of %d by %d\n", config->patch, shape->height,
                 shape->breadth);
    }
}

/* The longest series, or the longer side of the patch grid; as long as can be where the data are not known. */
static int longest(const xp_model_config *config, const xp_model_shape *shape) {
    if (!shape) return INT_MAX;
    if (config->kind == XP_MODEL_ENCODER || config->patch < 1) return shape->length;
    return (shape->height > shape->breadth ? shape->height : shape->breadth) / config->patch;
}

static xp_status check_attention(const xp_model_config *config, const xp_model_shape *shape) {
    const xp_specification_use use = {.heads = config->heads,
                                      .key_heads = config->key_heads,
                                      .longest = longest(config, shape),
                                      .grid = config->kind == XP_MODEL_VISION};
    xp_specification specification;
    XP_TRY(xp_specification_parse(config->attention, &specification));
    return xp_specification_check(&specification, &use);
}

xp_status xp_model_check(const xp_model_config *config, const xp_model_shape *shape) {
    if (config->width < 1 || config->heads < 1 || config->layers < 1 || config->feed_forward < 1)
        return xp_fail(XP_INVALID_ARGUMENT, "model: width, heads, layers and feed_forward must be at least 1");
    xp_writer faults = {0};
    check_width(config, &faults);
    const xp_status attention = check_attention(config, shape);
    if (attention != XP_OK) xp_write(&faults, "model.attention: %s\n", xp_last_error());
    check_head(config, &faults);
    if (shape) check_data(config, shape, &faults);
    xp_status status = attention == XP_OUT_OF_MEMORY ? attention : xp_writer_status(&faults, "model");
    if (status == XP_OK && faults.length > 0)
        status = xp_fail(XP_INVALID_ARGUMENT, "%.*s", (int)faults.length - 1, faults.text);
    xp_writer_release(&faults);
    return status;
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

static xp_status add_inputs(xp_model *model, const xp_model_config *config, const xp_model_shape *shape) {
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
    model->weights = xp_graph_input(graph, "weights", XP_F32, 1, &batch);
    return model->input && model->weights ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status build(xp_model *model, const xp_model_config *config, const xp_model_shape *shape, xp_store *store) {
    xp_builder builder = {.graph = model->graph, .store = store, .config = config};
    XP_TRY(xp_specification_parse(config->attention, &builder.attention));
    XP_TRY(add_inputs(model, config, shape));
    builder.lengths = model->lengths;
    builder.weights = model->weights;
    model->output = config->kind == XP_MODEL_ENCODER ? xp_model_encoder(&builder, shape, model->input)
                                                     : xp_model_vision(&builder, shape, model->input);
    return model->output ? XP_OK : XP_INVALID_ARGUMENT;
}

xp_status xp_model_build(xp_model *out, const xp_model_config *config, const xp_model_shape *shape, xp_store *store,
                         bool training) {
    *out = (xp_model){0};
    XP_TRY(xp_model_check(config, shape));
    XP_TRY(xp_graph_create(&out->graph, store, training));
    xp_status status = build(out, config, shape, store);
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
