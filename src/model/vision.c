/* The vision transformer, a row of the table of models: patches, optional class token, positions, encoder, pooled
 * head. */
#include "model/layers.h"

#include "ops/ops.h"

/* ---- what it needs ----------------------------------------------------------------------------------------------- */

static void check(const xp_model_config *config, xp_writer *faults) {
    if (config->head == XP_HEAD_FLATTEN)
        xp_write(faults, "model.head: 'flatten' belongs to time series; use 'class' or 'mean'\n");
    else if (config->head != XP_HEAD_CLASS && config->head != XP_HEAD_MEAN)
        xp_write(faults, "model.head: 'tied' and 'untied' belong to language models; use 'class' or 'mean'\n");
}

static void check_data(const xp_model_config *config, const xp_model_shape *shape, xp_writer *faults) {
    if (shape->height < 1 || shape->breadth < 1)
        xp_write(faults, "data: the model needs images, but these data are not images\n");
    else if (config->patch < 1 || shape->height % config->patch || shape->breadth % config->patch)
        xp_write(faults, "model.patch: patches of %d do not divide images of %d by %d\n", config->patch, shape->height,
                 shape->breadth);
}

static void describe_rows(const xp_model_config *config, const xp_model_shape *shape, xp_model_rows *out) {
    if (config->patch < 1) {
        *out = (xp_model_rows){.count = 0};
        return;
    }
    *out = (xp_model_rows){.grid_height = shape->height / config->patch,
                           .grid_width = shape->breadth / config->patch,
                           .class_token = config->head == XP_HEAD_CLASS};
    out->count = out->grid_height * out->grid_width + out->class_token;
}

/* ---- the graph --------------------------------------------------------------------------------------------------- */

static xp_status add_input(xp_model *model, const xp_model_config *config, const xp_model_shape *shape) {
    const int64_t sizes[] = {shape->batch, shape->channels, shape->height, shape->breadth};
    model->input = xp_graph_input(model->graph, "images", XP_F32, 4, sizes);
    return model->input ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_tensor *build(xp_builder *builder, const xp_model_shape *shape, xp_tensor *input) {
    const xp_model_config *config = builder->config;
    xp_graph *graph = builder->graph;
    builder->small_normal_init = true;
    builder->grid_height = shape->height / config->patch;
    builder->grid_width = shape->breadth / config->patch;
    builder->class_token = config->head == XP_HEAD_CLASS;
    int64_t width = config->width, tokens = (int64_t)builder->grid_height * builder->grid_width + builder->class_token;

    xp_graph_scope(graph, "embedding");
    xp_tensor *x = xp_patches(graph, input, config->patch);
    x = xp_layers_linear(builder, "embedding", x, width, XP_ACTIVATION_NONE);
    xp_tensor *token = NULL;
    if (builder->class_token) {
        token = xp_layers_parameter(builder, "", "class_token", XP_PARAMETER_UNDECAYED, XP_INITIAL_NORMAL, 0.02f, 1,
                                    &width);
        if (!token) return NULL;
    }
    bool learned = config->positions == XP_POSITIONS_LEARNED;
    xp_tensor *positions =
        xp_layers_parameter(builder, "", "positions", learned ? XP_PARAMETER_UNDECAYED : XP_PARAMETER_STATE,
                            learned ? XP_INITIAL_NORMAL : XP_INITIAL_SINUSOID, 0.02f, 2, (int64_t[]){tokens, width});
    x = xp_embed_as(graph, x, positions, token, 1, (float)config->dropout, (xp_type)config->storage);
    x = xp_layers_encoder(builder, x);

    xp_graph_scope(graph, "head");
    x = xp_sequence_pool(graph, x, NULL, config->head == XP_HEAD_CLASS ? XP_POOL_CLASS : XP_POOL_MEAN);
    return xp_layers_linear(builder, "head", x, shape->outputs, XP_ACTIVATION_NONE);
}

const xp_model_row xp_model_vision = {.samples = "images",
                                      .grid = true,
                                      .check = check,
                                      .check_data = check_data,
                                      .describe_rows = describe_rows,
                                      .add_input = add_input,
                                      .build = build};
