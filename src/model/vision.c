/* The vision transformer: patches, optional class token, positions, encoder, pooled head. */
#include "model/layers.h"

#include "ops/ops.h"

xp_tensor *xp_model_vision(xp_builder *builder, const xp_model_shape *shape, xp_tensor *input) {
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
    x = xp_embed(graph, x, positions, token, 1, (float)config->dropout);
    x = xp_layers_encoder(builder, x);

    xp_graph_scope(graph, "head");
    x = xp_sequence_pool(graph, x, NULL, config->head == XP_HEAD_CLASS ? XP_POOL_CLASS : XP_POOL_MEAN);
    return xp_layers_linear(builder, "head", x, shape->outputs, XP_ACTIVATION_NONE);
}
