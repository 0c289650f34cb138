/* The language model, a row of the table of models: a row for each token of a text, causal encoder, and for each row
 * the token that follows. */
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

/* Rows of tokens [B,N] at positions [N or more, width]; *table is what they were looked up in. */
static xp_tensor *embed(xp_builder *builder, const xp_model_shape *shape, xp_tensor *tokens, xp_tensor *places,
                        xp_tensor **table) {
    const xp_model_config *config = builder->config;
    builder->small_normal_init = true;
    *table = xp_layers_parameter(builder, "embedding", "weight", XP_PARAMETER_DECAYED, XP_INITIAL_NORMAL, 0.02f, 2,
                                 (int64_t[]){shape->outputs, config->width});
    const float scale = config->scale_input ? (float)sqrt((double)config->width) : 1;
    return xp_embed_as(builder->graph, xp_lookup(builder->graph, *table, tokens), places, NULL, scale,
                       (float)config->dropout, (xp_type)config->storage);
}

/* From x [B,N,width] to [B·N,outputs]. */
static xp_tensor *answer(xp_builder *builder, const xp_model_shape *shape, xp_tensor *x, xp_tensor *table) {
    const int64_t width = builder->config->width;
    xp_graph_scope(builder->graph, "head");
    x = xp_cast(builder->graph, x, XP_F32); /* so are the logits */
    if (!x) return NULL;
    x = xp_graph_reshape(builder->graph, x, 2, (int64_t[]){x->shape[0] * x->shape[1], width});
    if (builder->config->head == XP_HEAD_TIED) return xp_linear(builder->graph, x, table, NULL, XP_ACTIVATION_NONE);
    return xp_layers_linear(builder, "head", x, shape->outputs, XP_ACTIVATION_NONE);
}

static xp_tensor *build(xp_builder *builder, const xp_model_shape *shape, xp_tensor *input) {
    xp_tensor *table;
    xp_graph_scope(builder->graph, "embedding");
    xp_tensor *tokens = xp_tokens(builder->graph, input, NULL, 0, shape->length);
    xp_tensor *x = embed(builder, shape, tokens, positions(builder, shape->length), &table);
    return answer(builder, shape, xp_layers_encoder(builder, x), table);
}

static xp_tensor *build_step(xp_builder *builder, const xp_model_shape *shape, const xp_model_step *step) {
    xp_tensor *table;
    xp_graph_scope(builder->graph, "embedding");
    xp_tensor *place = xp_lookup(builder->graph, positions(builder, shape->length), step->position);
    place = xp_graph_reshape(builder->graph, place, 2, (int64_t[]){1, builder->config->width});
    xp_tensor *x = embed(builder, shape, step->token, place, &table);
    return answer(builder, shape, xp_layers_encoder(builder, x), table);
}

const xp_model_row xp_model_language = {.samples = "text",
                                        .check = check,
                                        .check_data = check_data,
                                        .describe_rows = describe_rows,
                                        .add_input = add_input,
                                        .build = build,
                                        .build_step = build_step};
