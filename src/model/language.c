/* The language model, a row of the table of models: a row for each token of a text, causal encoder, and for each row the
 * token that follows. */
#include "model/layers.h"

#include "ops/ops.h"

#include <math.h>

/* ---- what it needs ----------------------------------------------------------------------------------------------- */

static void check(const xp_model_config *config, xp_writer *faults) {
    xp_specification spec;
    if (config->head != XP_HEAD_TIED && config->head != XP_HEAD_UNTIED)
        xp_write(faults, "model.head: a language model answers for every token; use 'tied' or 'untied'\n");
    if (config->norm != XP_NORM_LAYER)
        xp_write(faults, "model.norm: 'batch' would let a token see later ones; use 'layer'\n");
    if (xp_specification_parse(config->attention, &spec) == XP_OK && !xp_specification_is_one_sided(&spec))
        xp_write(faults, "model.attention: a language model must not see later tokens: use '%s+causal'\n",
                 config->attention);
}

static void check_data(const xp_model_config *config, const xp_model_shape *shape, xp_writer *faults) {
    (void)config;
    if (shape->length < 1) xp_write(faults, "data: the model needs text, but these data are none\n");
}

static void describe_rows(const xp_model_config *config, const xp_model_shape *shape, xp_model_rows *out) {
    (void)config;
    *out = (xp_model_rows){.count = shape->length};
}

/* ---- the graph --------------------------------------------------------------------------------------------------- */

/* The token after the last one of a sample is there to be predicted. */
static xp_status add_input(xp_model *model, const xp_model_config *config, const xp_model_shape *shape) {
    (void)config;
    const int64_t sizes[] = {shape->batch, (int64_t)shape->length + 1};
    model->input = xp_graph_input(model->graph, "text", XP_F32, 2, sizes);
    return model->input ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_tensor *positions(xp_builder *builder, int64_t rows) {
    const int64_t shape[] = {rows, builder->config->width};
    const bool learned = builder->config->positions == XP_POSITIONS_LEARNED;
    return xp_layers_parameter(builder, "", "positions", learned ? XP_PARAMETER_UNDECAYED : XP_PARAMETER_STATE,
                               learned ? XP_INITIAL_NORMAL : XP_INITIAL_SINUSOID, 0.02f, 2, shape);
}

static xp_tensor *build(xp_builder *builder, const xp_model_shape *shape, xp_tensor *input) {
    const xp_model_config *config = builder->config;
    xp_graph *graph = builder->graph;
    builder->small_normal_init = true;

    xp_graph_scope(graph, "embedding");
    xp_tensor *tokens = xp_tokens(graph, input, NULL, 0, shape->length);
    xp_tensor *table = xp_layers_parameter(builder, "embedding", "weight", XP_PARAMETER_DECAYED, XP_INITIAL_NORMAL,
                                           0.02f, 2, (int64_t[]){shape->outputs, config->width});
    const float scale = config->scale_input ? (float)sqrt((double)config->width) : 1;
    xp_tensor *x = xp_embed_as(graph, xp_lookup(graph, table, tokens), positions(builder, shape->length), NULL, scale,
                               (float)config->dropout, (xp_type)config->storage);
    x = xp_layers_encoder(builder, x);

    xp_graph_scope(graph, "head");
    x = xp_cast(graph, x, XP_F32); /* so are the logits */
    x = xp_graph_reshape(graph, x, 2, (int64_t[]){(int64_t)shape->batch * shape->length, config->width});
    if (config->head == XP_HEAD_TIED) return xp_linear(graph, x, table, NULL, XP_ACTIVATION_NONE);
    return xp_layers_linear(builder, "head", x, shape->outputs, XP_ACTIVATION_NONE);
}

const xp_model_row xp_model_language = {.samples = "text",
                                        .check = check,
                                        .check_data = check_data,
                                        .describe_rows = describe_rows,
                                        .add_input = add_input,
                                        .build = build};
