/* The time-series encoder: linear embedding, positions, encoder, head. */
#include "model/layers.h"

#include "ops/ops.h"

#include <math.h>

static xp_tensor *positions(xp_builder *builder, int64_t rows) {
    int64_t shape[] = {rows, builder->config->width};
    if (builder->config->positions == XP_POSITIONS_SINUSOIDAL)
        return xp_layers_parameter(builder, "", "positions", XP_PARAMETER_STATE, XP_INITIAL_SINUSOID, 0, 2, shape);
    return xp_layers_parameter(builder, "", "positions", XP_PARAMETER_UNDECAYED, XP_INITIAL_UNIFORM, 0.02f, 2, shape);
}

xp_tensor *xp_model_encoder(xp_builder *builder, const xp_model_shape *shape, xp_tensor *input) {
    const xp_model_config *config = builder->config;
    xp_graph *graph = builder->graph;
    xp_tensor *lengths = builder->lengths; /* of the series, whatever attention may see */
    if (!config->mask_padding) builder->lengths = NULL;

    xp_graph_scope(graph, "embedding");
    xp_tensor *x = xp_layers_linear(builder, "embedding", input, config->width, XP_ACTIVATION_NONE);
    float scale = config->scale_input ? (float)sqrt((double)config->width) : 1;
    x = xp_embed(graph, x, positions(builder, shape->length), NULL, scale, (float)config->dropout);
    x = xp_layers_encoder(builder, x);

    xp_graph_scope(graph, "head");
    x = xp_activate(graph, x, (xp_activation)config->head_activation);
    x = xp_dropout(graph, x, (float)config->dropout);
    if (config->head == XP_HEAD_FLATTEN) {
        x = xp_mask_rows(graph, x, lengths);
        x = xp_graph_reshape(graph, x, 2, (int64_t[]){shape->batch, (int64_t)shape->length * config->width});
    } else {
        x = xp_sequence_pool(graph, x, lengths, XP_POOL_MEAN);
    }
    return xp_layers_linear(builder, "head", x, shape->outputs, XP_ACTIVATION_NONE);
}
