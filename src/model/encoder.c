/* The time-series encoder, a row of the table of models: linear embedding, positions, encoder, head. */
#include "model/layers.h"

#include "ops/ops.h"

#include <math.h>

/* ---- what it needs ----------------------------------------------------------------------------------------------- */

static void check(const xp_model_config *config, xp_writer *faults) {
    if (config->head == XP_HEAD_CLASS)
        xp_write(faults, "model.head: a class token belongs to vision models; use 'flatten' or 'mean'\n");
    else if (config->head != XP_HEAD_FLATTEN && config->head != XP_HEAD_MEAN)
        xp_write(faults, "model.head: 'tied' and 'untied' belong to language models; use 'flatten' or 'mean'\n");
    if (config->patch_steps > 1 && config->mask_padding)
        xp_write(faults, "model.patch_steps: a row of %d steps may be partly padding; turn model.mask_padding off\n",
                 config->patch_steps);
}

static void check_data(const xp_model_config *config, const xp_model_shape *shape, xp_writer *faults) {
    if (shape->length < 1 || shape->features < 1)
        xp_write(faults, "data: the model needs time series, but these data have no steps\n");
    else if (shape->length % config->patch_steps != 0)
        xp_write(
            faults,
            "model.patch_steps: %d does not divide the %d steps of a series; choose a divisor, or a multiple of it as "
            "--context (forecasting) or --max-length (other series)\n",
            config->patch_steps, shape->length);
}

static bool takes_any_length(const xp_model_config *config) {
    return config->positions == XP_POSITIONS_SINUSOIDAL && config->head == XP_HEAD_MEAN && config->mask_padding &&
           config->patch_steps == 1;
}

static void describe_rows(const xp_model_config *config, const xp_model_shape *shape, xp_model_rows *out) {
    *out = (xp_model_rows){.count = shape->length / config->patch_steps, .masked = config->mask_padding};
}

/* ---- the graph --------------------------------------------------------------------------------------------------- */

static xp_status add_input(xp_model *model, const xp_model_config *config, const xp_model_shape *shape) {
    const int64_t batch = shape->batch, sizes[] = {batch, shape->length, shape->features};
    model->input = xp_graph_input(model->graph, "series", XP_F32, 3, sizes);
    model->lengths = xp_graph_input(model->graph, "lengths", XP_I32, 1, &batch);
    return model->input && model->lengths ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_tensor *positions(xp_builder *builder, int64_t rows) {
    int64_t shape[] = {rows, builder->config->width};
    if (builder->config->positions == XP_POSITIONS_SINUSOIDAL)
        return xp_layers_parameter(builder, "", "positions", XP_PARAMETER_STATE, XP_INITIAL_SINUSOID, 0, 2, shape);
    return xp_layers_parameter(builder, "", "positions", XP_PARAMETER_UNDECAYED, XP_INITIAL_UNIFORM, 0.02f, 2, shape);
}

static xp_tensor *build(xp_builder *builder, const xp_model_shape *shape, xp_tensor *input) {
    const xp_model_config *config = builder->config;
    xp_graph *graph = builder->graph;
    const int64_t rows = shape->length / config->patch_steps;
    /* Of the series, whatever attention may see; patches may hold padding, and are all seen. */
    xp_tensor *lengths = config->patch_steps > 1 ? NULL : builder->lengths;
    if (!config->mask_padding) builder->lengths = NULL;

    xp_graph_scope(graph, "embedding");
    if (config->patch_steps > 1)
        input = xp_graph_reshape(graph, input, 3,
                                 (int64_t[]){shape->batch, rows, (int64_t)config->patch_steps * shape->features});
    xp_tensor *x = xp_layers_linear(builder, "embedding", input, config->width, XP_ACTIVATION_NONE);
    float scale = config->scale_input ? (float)sqrt((double)config->width) : 1;
    x = xp_embed_as(graph, x, positions(builder, rows), NULL, scale, (float)config->dropout, (xp_type)config->storage);
    x = xp_layers_encoder(builder, x);

    xp_graph_scope(graph, "head");
    const bool flattens = config->head == XP_HEAD_FLATTEN; /* else the pool makes fp32 of it, as the logits are */
    x = xp_activate_rows(graph, x, flattens ? lengths : NULL, (xp_activation)config->head_activation,
                         flattens ? XP_F32 : (xp_type)config->storage);
    x = xp_dropout(graph, x, (float)config->dropout);
    if (flattens) {
        x = xp_graph_reshape(graph, x, 2, (int64_t[]){shape->batch, rows * config->width});
    } else {
        x = xp_sequence_pool(graph, x, lengths, XP_POOL_MEAN);
    }
    return xp_layers_linear(builder, "head", x, shape->outputs, XP_ACTIVATION_NONE);
}

const xp_model_row xp_model_encoder = {.samples = "series",
                                       .check = check,
                                       .check_data = check_data,
                                       .takes_any_length = takes_any_length,
                                       .describe_rows = describe_rows,
                                       .add_input = add_input,
                                       .build = build};
