/* Transformer layers. */
#include "model/layers.h"

#include "model/attention.h"
#include "ops/ops.h"

#include <math.h>
#include <stdio.h>

static const double BATCH_NORM_MOMENTUM = 0.1; /* PyTorch's default, which the published time-series code uses */

xp_tensor *xp_layers_parameter(xp_builder *builder, const char *scope, const char *name, xp_parameter_kind kind,
                               xp_initial initial, float value, int rank, const int64_t *shape) {
    char full[XP_NAME_BYTES];
    snprintf(full, sizeof full, "%s%s%s", scope, *scope ? "." : "", name);
    if (xp_store_add(builder->store, full, kind, initial, value, rank, shape) != XP_OK) return NULL;
    return xp_graph_parameter(builder->graph, full);
}

xp_tensor *xp_layers_linear(xp_builder *builder, const char *scope, xp_tensor *x, int64_t outputs, int activation) {
    if (!x) return NULL;
    int64_t fan_in = x->shape[x->rank - 1];
    bool small = builder->small_normal_init;
    float bound = small ? 0.02f : (float)(1 / sqrt((double)fan_in));
    xp_tensor *weight =
        xp_layers_parameter(builder, scope, "weight", XP_PARAMETER_DECAYED,
                            small ? XP_INITIAL_NORMAL : XP_INITIAL_UNIFORM, bound, 2, (int64_t[]){outputs, fan_in});
    xp_tensor *bias =
        xp_layers_parameter(builder, scope, "bias", XP_PARAMETER_UNDECAYED,
                            small ? XP_INITIAL_CONSTANT : XP_INITIAL_UNIFORM, small ? 0 : bound, 1, &outputs);
    if (!bias) return NULL;                                   /* without this a failed bias would read as "no bias" */
    weight = xp_cast_weight(builder->graph, weight, x->type); /* products have factors of one type */
    return xp_linear(builder->graph, x, weight, bias, (xp_activation)activation);
}

xp_tensor *xp_layers_norm(xp_builder *builder, const char *scope, xp_tensor *x, xp_tensor *branch, xp_tensor **sum) {
    if (!x) return NULL;
    const xp_model_config *config = builder->config;
    int64_t width = x->shape[x->rank - 1];
    xp_tensor *gamma =
        xp_layers_parameter(builder, scope, "weight", XP_PARAMETER_UNDECAYED, XP_INITIAL_CONSTANT, 1, 1, &width);
    xp_tensor *beta =
        xp_layers_parameter(builder, scope, "bias", XP_PARAMETER_UNDECAYED, XP_INITIAL_CONSTANT, 0, 1, &width);
    if (config->norm == XP_NORM_LAYER) {
        xp_tensor *out = xp_layer_norm(builder->graph, x, branch, gamma, beta, (float)config->norm_epsilon,
                                       branch ? (float)config->dropout : 0, branch ? sum : NULL);
        if (sum && !branch) *sum = x;
        return out;
    }
    if (branch) x = xp_add(builder->graph, x, xp_dropout(builder->graph, branch, (float)config->dropout));
    if (!x) return NULL;
    if (sum) *sum = x;
    xp_tensor *mean =
        xp_layers_parameter(builder, scope, "running_mean", XP_PARAMETER_STATE, XP_INITIAL_CONSTANT, 0, 1, &width);
    xp_tensor *variance =
        xp_layers_parameter(builder, scope, "running_variance", XP_PARAMETER_STATE, XP_INITIAL_CONSTANT, 1, 1, &width);
    return xp_batch_norm(builder->graph, x, gamma, beta, mean, variance, builder->weights, (float)config->norm_epsilon,
                         (float)BATCH_NORM_MOMENTUM);
}

/* Queries, keys and values of x [B,N,width] as views of one projection. */
static xp_status project(xp_builder *builder, const char *layer, xp_tensor *x, xp_tensor *part[3]) {
    const int64_t batch = x->shape[0], length = x->shape[1], width = x->shape[2], heads = builder->config->heads;
    const int64_t key_heads = builder->config->key_heads ? builder->config->key_heads : heads;
    const int64_t head_width = width / heads, sizes[] = {heads, key_heads, key_heads};
    char scope[XP_NAME_BYTES];
    snprintf(scope, sizeof scope, "%.40s.qkv", layer);
    xp_tensor *qkv = xp_layers_linear(builder, scope, x, width + 2 * key_heads * head_width, XP_ACTIVATION_NONE);
    qkv = xp_graph_reshape(builder->graph, qkv, 4, (int64_t[]){batch, length, heads + 2 * key_heads, head_width});
    return xp_graph_slice(builder->graph, qkv, 2, 3, sizes, part);
}

/* Adds rows [B,N,G,D] to those that the graph remembers of earlier runs, and returns all. */
static xp_tensor *remember(xp_builder *builder, const char *layer, const char *name, xp_tensor *rows) {
    char full[XP_NAME_BYTES];
    snprintf(full, sizeof full, "%.40s.%s", layer, name);
    const int64_t shape[] = {rows->shape[0], builder->capacity, rows->shape[2], rows->shape[3]};
    return xp_append(builder->graph, xp_graph_input(builder->graph, full, rows->type, 4, shape), rows, builder->starts);
}

/* Multi-head attention of x [B,N,width] on itself and on what is remembered, by the specification. */
static xp_tensor *self_attention(xp_builder *builder, const char *layer, xp_tensor *x) {
    xp_tensor *part[3];
    if (!x || project(builder, layer, x, part) != XP_OK) return NULL;
    const xp_specification *spec = &builder->attention;
    xp_tensor *step = NULL;
    if (builder->starts) {
        if (!(step = xp_graph_reshape(builder->graph, builder->starts, 2, (int64_t[]){1, 1}))) return NULL;
        if (spec->conv1d) part[0] = remember(builder, layer, "queries", part[0]);
        part[1] = remember(builder, layer, "keys", part[1]);
        part[2] = remember(builder, layer, "values", part[2]);
    }
    const xp_attention_layer_inputs inputs = {
        .q = part[0],
        .k = part[1],
        .v = part[2],
        .key_lengths = builder->lengths,
        /* If other rows do not read them, the rows after the end of a series may hold anything: the head drops them.
         */
        .query_lengths = !builder->starts && (spec->causal_last || spec->conv1d) ? builder->lengths : NULL,
        .step = step,
        .grid_height = builder->grid_height,
        .grid_width = builder->grid_width,
        .class_token = builder->class_token,
        .dropout = (float)builder->config->attention_dropout,
    };
    xp_tensor *o = xp_attention_layer(builder->graph, spec, layer, &inputs, NULL);
    o = xp_graph_reshape(builder->graph, o, 3, x->shape);
    char scope[XP_NAME_BYTES];
    snprintf(scope, sizeof scope, "%.40s.output", layer);
    return xp_layers_linear(builder, scope, o, x->shape[2], XP_ACTIVATION_NONE);
}

static xp_tensor *feed_forward(xp_builder *builder, const char *layer, xp_tensor *x) {
    const xp_model_config *config = builder->config;
    char scope[XP_NAME_BYTES];
    snprintf(scope, sizeof scope, "%.40s.linear1", layer);
    xp_tensor *hidden = xp_layers_linear(builder, scope, x, config->feed_forward, config->activation);
    hidden = xp_dropout(builder->graph, hidden, (float)config->dropout);
    snprintf(scope, sizeof scope, "%.40s.linear2", layer);
    return xp_layers_linear(builder, scope, hidden, config->width, XP_ACTIVATION_NONE);
}

/* The later a layer, the more of its branches are dropped. */
static xp_tensor *drop_branch(xp_builder *builder, int layer, xp_tensor *branch) {
    const xp_model_config *config = builder->config;
    const double depth = config->layers > 1 ? (double)layer / (config->layers - 1) : 1;
    return xp_drop_path(builder->graph, branch, (float)(config->drop_path * depth));
}

/* Names and labels one part of a layer. */
static const char *enter(xp_builder *builder, char scope[XP_NAME_BYTES], int layer, const char *part) {
    snprintf(scope, XP_NAME_BYTES, "encoder.%d.%s", layer, part);
    xp_graph_scope(builder->graph, scope);
    return scope;
}

xp_tensor *xp_layers_encoder(xp_builder *builder, xp_tensor *x) {
    const xp_model_config *config = builder->config;
    char scope[XP_NAME_BYTES];
    x = xp_cast(builder->graph, x, (xp_type)config->storage);
    xp_tensor *branch = NULL; /* pre-norm: what the last part adds to x, not yet added */
    for (int layer = 0; layer < config->layers; layer++) {
        if (config->pre_norm) {
            xp_tensor *normal = xp_layers_norm(builder, enter(builder, scope, layer, "norm1"), x, branch, &x);
            branch =
                drop_branch(builder, layer, self_attention(builder, enter(builder, scope, layer, "attention"), normal));
            if (!branch) return NULL;
            normal = xp_layers_norm(builder, enter(builder, scope, layer, "norm2"), x, branch, &x);
            branch = drop_branch(builder, layer,
                                 feed_forward(builder, enter(builder, scope, layer, "feed_forward"), normal));
        } else {
            branch = drop_branch(builder, layer, self_attention(builder, enter(builder, scope, layer, "attention"), x));
            if (!branch) return NULL;
            x = xp_layers_norm(builder, enter(builder, scope, layer, "norm1"), x, branch, NULL);
            branch =
                drop_branch(builder, layer, feed_forward(builder, enter(builder, scope, layer, "feed_forward"), x));
            if (!branch) return NULL;
            x = xp_layers_norm(builder, enter(builder, scope, layer, "norm2"), x, branch, NULL);
            branch = NULL;
        }
        if (!x || (config->pre_norm && !branch)) return NULL;
    }
    if (config->final_norm) {
        xp_graph_scope(builder->graph, "final_norm");
        return xp_layers_norm(builder, "final_norm", x, branch, NULL);
    }
    return branch ? xp_add(builder->graph, x, xp_dropout(builder->graph, branch, (float)config->dropout)) : x;
}
