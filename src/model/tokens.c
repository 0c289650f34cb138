/* The classifier of token sequences, a row of the table of models: token embedding, positions, encoder, mean over
 * the sequence, head. Both sequences of a pair go through the same encoder, as samples of a batch that is twice as
 * large; the head sees both, their product and their difference. */
#include "model/layers.h"

#include "ops/ops.h"

#include <math.h>

/* ---- what it needs ----------------------------------------------------------------------------------------------- */

static void check(const xp_model_config *config, xp_writer *faults) {
    if (config->head != XP_HEAD_MEAN)
        xp_write(faults, "model.head: a model of tokens takes the mean over the sequence; use 'mean'\n");
    if (config->norm != XP_NORM_LAYER) xp_write(faults, "model.norm: 'batch' is for time series; use 'layer'\n");
}

static void check_data(const xp_model_config *config, const xp_model_shape *shape, xp_writer *faults) {
    (void)config;
    if (shape->length < 1 || shape->features < 1 || shape->channels < 1)
        xp_write(faults, "data: the model needs sequences of tokens (.tsv) or images, but these data are neither\n");
    else if (shape->channels > 2)
        xp_write(faults, "data: a sample has %d sequences, but the model takes one or a pair\n", shape->channels);
}

static bool takes_any_length(const xp_model_config *config) {
    return config->positions == XP_POSITIONS_SINUSOIDAL && config->mask_padding;
}

static void describe_rows(const xp_model_config *config, const xp_model_shape *shape, xp_model_rows *out) {
    *out = (xp_model_rows){.count = shape->length, .masked = config->mask_padding};
}

/* ---- the graph --------------------------------------------------------------------------------------------------- */

/* Of each sequence its length, and then its tokens. */
static xp_status add_input(xp_model *model, const xp_model_config *config, const xp_model_shape *shape) {
    (void)config;
    const int64_t sizes[] = {(int64_t)shape->batch * shape->channels, (int64_t)shape->length + 1};
    model->input = xp_graph_input(model->graph, "tokens", XP_F32, 2, sizes);
    return model->input ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_tensor *embed(xp_builder *builder, const xp_model_shape *shape, xp_tensor *input) {
    const xp_model_config *config = builder->config;
    const int64_t table_shape[] = {shape->features, config->width}, places[] = {shape->length, config->width};
    const bool learned = config->positions == XP_POSITIONS_LEARNED;
    xp_tensor *table = xp_layers_parameter(builder, "embedding", "weight", XP_PARAMETER_DECAYED, XP_INITIAL_NORMAL,
                                           0.02f, 2, table_shape);
    xp_tensor *positions =
        xp_layers_parameter(builder, "", "positions", learned ? XP_PARAMETER_UNDECAYED : XP_PARAMETER_STATE,
                            learned ? XP_INITIAL_NORMAL : XP_INITIAL_SINUSOID, 0.02f, 2, places);
    const float scale = config->scale_input ? (float)sqrt((double)config->width) : 1;
    xp_tensor *x = xp_lookup(builder->graph, table, xp_tokens(builder->graph, input, NULL, 1, shape->length));
    return xp_embed_as(builder->graph, x, positions, NULL, scale, (float)config->dropout, (xp_type)config->storage);
}

/* From the vectors of the sequences [B·sequences,width] to the outputs. */
static xp_tensor *answer(xp_builder *builder, const xp_model_shape *shape, xp_tensor *x) {
    const xp_model_config *config = builder->config;
    const int64_t batch = shape->batch, width = config->width, sequences = shape->channels;
    if (sequences == 2) {
        x = xp_pair(builder->graph, xp_graph_reshape(builder->graph, x, 3, (int64_t[]){batch, sequences, width}));
        x = xp_graph_reshape(builder->graph, x, 2, (int64_t[]){batch, 4 * width});
    }
    if (config->head_width)
        x = xp_layers_linear(builder, "head_hidden", x, config->head_width, config->head_activation);
    return xp_layers_linear(builder, "head", x, shape->outputs, XP_ACTIVATION_NONE);
}

static xp_tensor *build(xp_builder *builder, const xp_model_shape *shape, xp_tensor *input) {
    xp_graph *graph = builder->graph;
    xp_graph_scope(graph, "embedding");
    const int64_t sequences = input->shape[0];
    xp_tensor *lengths = xp_graph_reshape(graph, xp_tokens(graph, input, NULL, 0, 1), 1, &sequences);
    if (!lengths) return NULL;
    builder->lengths = builder->config->mask_padding ? lengths : NULL;
    xp_tensor *x = xp_layers_encoder(builder, embed(builder, shape, input));
    xp_graph_scope(graph, "head");
    return answer(builder, shape, xp_sequence_pool(graph, x, lengths, XP_POOL_MEAN));
}

const xp_model_row xp_model_tokens = {.samples = "tokens",
                                      .check = check,
                                      .check_data = check_data,
                                      .takes_any_length = takes_any_length,
                                      .describe_rows = describe_rows,
                                      .add_input = add_input,
                                      .build = build};
