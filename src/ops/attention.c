/* Attention, its gradient and the map of its weights: shapes, gradient rule. Owns the contract between a node and its
 * tensors; must not know what makes queries, keys and lengths (convolution, pooling and normalisation are operations of
 * their own) nor how a family launches. */
#include "ops/attention_launch.h"
#include "ops/score.h"

#include <limits.h>
#include <math.h>
#include <string.h>

extern const xp_operation xp_operation_attention, xp_operation_attention_backward, xp_operation_attention_map;

enum { WIDEST_HEAD = 256 };

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool is_sequence(const xp_tensor *tensor, const char *role) {
    if (tensor->rank == 4 && xp_type_is_real(tensor->type) && (tensor->stride[3] == 1 || tensor->shape[3] == 1))
        return true;
    char text[96];
    xp_fail(XP_INVALID_ARGUMENT, "attention: %s %s %s must be [samples,length,heads,width] of reals with unit stride",
            role, tensor->name, xp_tensor_shape_text(tensor, text, sizeof text));
    return false;
}

static bool mismatch(const char *role, const xp_tensor *tensor, const char *other_role, const xp_tensor *other) {
    char text[96], other_text[96];
    xp_fail(XP_INVALID_ARGUMENT, "attention: %s %s %s and %s %s %s are incompatible", role, tensor->name,
            xp_tensor_shape_text(tensor, text, sizeof text), other_role, other->name,
            xp_tensor_shape_text(other, other_text, sizeof other_text));
    return false;
}

static bool sequences_fit(const xp_tensor *q, const xp_tensor *k, const xp_tensor *v, bool packed) {
    if (!is_sequence(q, "queries") || !is_sequence(k, "keys") || !is_sequence(v, "values")) return false;
    if (k->type != q->type || v->type != q->type) {
        xp_fail(XP_INVALID_ARGUMENT, "attention: queries are in %s, keys in %s and values in %s: cast them to one type",
                xp_type_name(q->type), xp_type_name(k->type), xp_type_name(v->type));
        return false;
    }
    if (k->shape[0] != q->shape[0] || q->shape[2] % k->shape[2] != 0 || k->shape[3] != q->shape[3])
        return mismatch("keys", k, "queries", q);
    if (v->shape[0] != k->shape[0] || v->shape[1] != k->shape[1] || v->shape[2] != k->shape[2])
        return mismatch("values", v, "keys", k);
    if (packed && q->shape[0] != 1) {
        xp_fail(XP_INVALID_ARGUMENT, "attention: packed samples form one sequence, but queries %s are %lld", q->name,
                (long long)q->shape[0]);
        return false;
    }
    if (q->shape[3] > WIDEST_HEAD || v->shape[3] > WIDEST_HEAD) {
        xp_fail(XP_UNSUPPORTED,
                "attention: heads of %lld and %lld columns are too wide: use more heads (at most %d columns each)",
                (long long)q->shape[3], (long long)v->shape[3], WIDEST_HEAD);
        return false;
    }
    return true;
}

static bool is_table(const xp_tensor *tensor, xp_type type) {
    return tensor->type == type && xp_tensor_is_dense(tensor) && tensor->offset == 0;
}

static bool lengths_fit(const xp_attention_inputs *in, const xp_attention_attributes *a) {
    const xp_tensor *q = in->q, *keys = in->key_lengths, *queries = in->query_lengths;
    if (a->packed) {
        if (!keys || !queries || a->longest_queries < 1 || a->longest_keys < 1) {
            xp_fail(XP_INVALID_ARGUMENT, "attention: packed samples need the starts of queries and of keys, and the "
                                         "longest of each");
            return false;
        }
        if (!is_table(keys, XP_I32) || keys->rank != 1 || keys->shape[0] < 2)
            return mismatch("starts", keys, "keys", in->k);
        if (!is_table(queries, XP_I32) || queries->rank != 1 || queries->shape[0] != keys->shape[0])
            return mismatch("starts", queries, "starts", keys);
        return true;
    }
    if (keys && (!is_table(keys, XP_I32) || keys->rank < 1 || keys->rank > 2 || keys->shape[0] != q->shape[0] ||
                 (keys->rank == 2 && keys->shape[1] != q->shape[2])))
        return mismatch("key lengths", keys, "queries", q);
    if (queries && (!is_table(queries, XP_I32) || queries->rank != 1 || queries->shape[0] != q->shape[0]))
        return mismatch("query lengths", queries, "queries", q);
    return true;
}

/* bias and mask: [B|1,H|1,rows,columns]. */
static bool table_fits(const xp_tensor *table, const char *role, xp_type type, const xp_attention_inputs *in,
                       int64_t samples, int64_t rows, int64_t columns) {
    if (!table) return true;
    const int64_t heads = in->q->shape[2];
    if (is_table(table, type) && table->rank == 4 && (table->shape[0] == 1 || table->shape[0] == samples) &&
        (table->shape[1] == 1 || table->shape[1] == heads) && table->shape[2] == rows && table->shape[3] == columns)
        return true;
    char text[96];
    xp_fail(XP_INVALID_ARGUMENT, "attention: %s %s %s must be dense [1 or %lld,1 or %lld,%lld,%lld]%s", role,
            table->name, xp_tensor_shape_text(table, text, sizeof text), (long long)samples, (long long)heads,
            (long long)rows, (long long)columns,
            type == XP_I32 ? " of whole numbers, 32 columns a word" : " of floats");
    return false;
}

static bool tables_fit(const xp_attention_inputs *in, const xp_attention_attributes *a) {
    const int64_t block = a->mask_block > 1 ? a->mask_block : 1;
    const int64_t samples = a->packed ? in->key_lengths->shape[0] - 1 : in->q->shape[0];
    const int64_t queries = a->packed ? a->longest_queries : in->q->shape[1];
    const int64_t keys = a->packed ? a->longest_keys : in->k->shape[1];
    if (!table_fits(in->bias, "bias", XP_F32, in, samples, queries, keys)) return false;
    return table_fits(in->mask, "mask", XP_I32, in, samples, xp_launch_blocks(queries, block),
                      xp_launch_blocks(xp_launch_blocks(keys, block), 32));
}

static xp_status check_attributes(const xp_attention_inputs *in, const xp_attention_attributes *a) {
    if (!isfinite(a->scale)) return xp_fail(XP_INVALID_ARGUMENT, "attention: the scale is not finite");
    if (!isfinite(a->soft_cap) || a->soft_cap < 0)
        return xp_fail(XP_INVALID_ARGUMENT, "attention: the soft cap %g is not a positive number", (double)a->soft_cap);
    if (a->left < -1 || a->right < -1 || a->stride < 0 || a->mask_block < 0)
        return xp_fail(XP_INVALID_ARGUMENT, "attention: a window, stride or block is negative");
    if (a->kernel == XP_KERNEL_LINEAR && (a->soft_cap > 0 || a->alibi || in->bias || a->score))
        return xp_fail(XP_UNSUPPORTED,
                       "attention: soft cap, ALiBi, bias and score work only with softmax, not with linear weights");
    if (a->kernel == XP_KERNEL_SOFTMAX && a->normaliser != XP_NORMALISER_SUM)
        return xp_fail(XP_UNSUPPORTED, "attention: softmax is always divided by its sum");
    if (a->scale_count < 0 || a->scale_count > XP_MAX_SCALES ||
        (a->scale_count > 0 && in->q->shape[2] % a->scale_count != 0))
        return xp_fail(XP_INVALID_ARGUMENT, "attention: %d scales do not divide %lld heads", a->scale_count,
                       (long long)in->q->shape[2]);
    for (int i = 0; i < a->scale_count; i++)
        if (a->scales[i] < 1) return xp_fail(XP_INVALID_ARGUMENT, "attention: scale %d is not positive", a->scales[i]);
    if (a->scale_count > 0 && a->align_last)
        return xp_fail(XP_UNSUPPORTED, "attention: pooled keys have no last row to align with: align the first rows");
    int users = 0;
    while (users < XP_SCORE_NAMES && in->user[users]) users++;
    if (users != (a->score ? a->score->tensor_count : 0))
        return xp_fail(XP_INVALID_ARGUMENT, "attention: the score names %d tensors, but %d are given",
                       a->score ? a->score->tensor_count : 0, users);
    for (int i = 0; i < users; i++)
        if (!is_table(in->user[i], XP_F32))
            return xp_fail(XP_INVALID_ARGUMENT, "attention: tensor %s of the score must be dense floats",
                           in->user[i]->name);
    return XP_OK;
}

xp_attention_attributes xp_attention_plain(float scale) {
    return (xp_attention_attributes){.scale = scale, .left = -1, .right = -1};
}

xp_tensor *xp_attention(xp_graph *graph, const xp_attention_inputs *in, const xp_attention_attributes *wanted,
                        float dropout, xp_tensor **lse_or_null) {
    xp_tensor *q = in->q, *k = in->k, *v = in->v;
    if (!q || !k || !v || !sequences_fit(q, k, v, wanted->packed) || !lengths_fit(in, wanted) ||
        check_attributes(in, wanted) != XP_OK || !tables_fit(in, wanted))
        return NULL;
    xp_attention_attributes attributes = *wanted;
    if (attributes.score && !(attributes.prelude = xp_score_prelude(graph, attributes.score, in->user))) return NULL;
    if (xp_building_dropout(graph, q->name, dropout, &attributes.dropout) != XP_OK) return NULL;
    xp_tensor *random_state = NULL;
    if (attributes.dropout.threshold && !(random_state = xp_graph_random_state(graph))) return NULL;
    xp_tensor *o =
        xp_graph_tensor(graph, "o", q->type, 4, (int64_t[]){q->shape[0], q->shape[1], q->shape[2], v->shape[3]});
    xp_tensor *lse = xp_graph_tensor(graph, "lse", XP_F32, 3, (int64_t[]){q->shape[0], q->shape[2], q->shape[1]});
    if (!o || !lse) return NULL;
    xp_tensor *inputs[XP_ATTENTION_INPUTS] = {q,        k,       v, in->key_lengths, random_state, in->query_lengths,
                                              in->bias, in->mask};
    memcpy(inputs + XP_ATTENTION_INPUTS - XP_SCORE_NAMES, in->user, sizeof in->user);
    xp_tensor *outputs[] = {o, lse};
    if (!xp_graph_node(graph, &xp_operation_attention, XP_ATTENTION_INPUTS, inputs, 2, outputs, &attributes,
                       sizeof attributes))
        return NULL;
    if (lse_or_null) *lse_or_null = lse;
    return o;
}

xp_tensor *xp_attention_map(xp_graph *graph, const xp_tensor *o) {
    const xp_node *node = o ? o->producer : NULL;
    if (!node || node->operation != &xp_operation_attention) {
        xp_fail(XP_INVALID_ARGUMENT, "attention_map: %s is not the output of an attention", o ? o->name : "nothing");
        return NULL;
    }
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    if (t.attributes->packed) {
        xp_fail(XP_UNSUPPORTED, "attention_map: packed samples have no common map: pad them");
        return NULL;
    }
    xp_tensor *map = xp_graph_tensor(graph, "attention_map", XP_F32, 4,
                                     (int64_t[]){t.q->shape[0], t.q->shape[2], t.q->shape[1], t.k->shape[1]});
    if (!map) return NULL;
    xp_tensor *inputs[XP_ATTENTION_MAP_INPUTS];
    memcpy(inputs, node->inputs, XP_ATTENTION_INPUTS * sizeof *inputs);
    inputs[XP_ATTENTION_MAP_LSE] = t.lse;
    return xp_graph_node(graph, &xp_operation_attention_map, XP_ATTENTION_MAP_INPUTS, inputs, 1, &map, node->attributes,
                         sizeof(xp_attention_attributes))
               ? map
               : NULL;
}

static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    xp_tensor *d_o = d_outputs[0], *d_lse = d_outputs[1], *outputs[4] = {0};
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    if (!d_o && !d_lse) return XP_OK;
    if (!d_o) return xp_fail(XP_UNSUPPORTED, "%s: lse has a gradient, but o has none", node->label);
    if (d_lse && t.attributes->kernel == XP_KERNEL_LINEAR)
        return xp_fail(XP_UNSUPPORTED, "%s: the divisor of linear weights is not differentiated", node->label);
    if (!is_sequence(d_o, "the gradient")) return XP_INVALID_ARGUMENT;
    if (d_lse && !(d_lse = xp_graph_dense(graph, d_lse))) return XP_OUT_OF_MEMORY;
    static const char *const names[] = {"dq", "dk", "dv", "d_bias"};
    static const int places[] = {XP_ATTENTION_Q, XP_ATTENTION_K, XP_ATTENTION_V, XP_ATTENTION_OPTIONS + 3};
    for (int i = 0; i < 4; i++) {
        const xp_tensor *input = node->inputs[places[i]];
        if (!input || !input->needs_gradient) continue;
        outputs[i] = d_inputs[places[i]] = xp_graph_tensor(graph, names[i], input->type, 4, input->shape);
        if (!outputs[i]) return XP_OUT_OF_MEMORY;
    }
    xp_tensor *inputs[XP_ATTENTION_BACK_INPUTS] = {t.q, t.k, t.v, t.o, t.lse, d_o, d_lse};
    memcpy(inputs + XP_ATTENTION_BACK_OPTIONS, node->inputs + XP_ATTENTION_OPTIONS,
           XP_ATTENTION_OPTION_COUNT * sizeof *inputs);
    bool added = xp_graph_node(graph, &xp_operation_attention_backward, XP_ATTENTION_BACK_INPUTS, inputs, 4, outputs,
                               node->attributes, sizeof(xp_attention_attributes)) != NULL;
    return added ? XP_OK : XP_OUT_OF_MEMORY;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

const xp_operation xp_operation_attention = {
    .name = "attention",
    .gradient = gradient,
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, xp_attention_emit_wide},
                            {XP_FAMILY_TILED, xp_supports_storage, xp_attention_emit_tiled},
                            {XP_FAMILY_MATRIX, xp_attention_supports_matrix, xp_attention_emit_matrix}),
    .stored_inputs = XP_ATTENTION_STORED,
    .stored_outputs = 1,
    .multiplies_singles = true,
    .costly = true};
const xp_operation xp_operation_attention_backward = {
    .name = "attention_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, xp_attention_emit_backward_wide},
                            {XP_FAMILY_TILED, xp_supports_storage, xp_attention_emit_backward_tiled},
                            {XP_FAMILY_MATRIX, xp_attention_supports_matrix, xp_attention_emit_backward_matrix}),
    .stored_inputs = XP_ATTENTION_STORED | 1 << XP_ATTENTION_BACK_O | 1 << XP_ATTENTION_BACK_D_O,
    .stored_outputs = 7,
    .multiplies_singles = true,
    .strided_outputs = 7};
const xp_operation xp_operation_attention_map = {
    .name = "attention_map",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, xp_attention_emit_map_wide},
                            {XP_FAMILY_TILED, xp_supports_storage, xp_attention_emit_map_tiled}),
    .stored_inputs = XP_ATTENTION_STORED};
