/* Attention-BN around attention: queries and keys normalised with the keys' statistics, and the way back. Owns shapes,
 * gradient rule and launches; must not know what attention does with the results. */
#include "graph/launch.h"
#include "ops/building.h"
#include "ops/ops.h"
#include "ops/scales.h"
#include "ops/views.h"

enum { INPUT_Q, INPUT_K, INPUT_KEY_LENGTHS, INPUT_QUERY_LENGTHS, INPUT_BETA, INPUTS };
enum { OUTPUT_Q, OUTPUT_K, OUTPUT_MU, OUTPUT_S2, OUTPUTS };
enum {
    BACK_D_Q_OUT,
    BACK_D_K_OUT,
    BACK_Q,
    BACK_K,
    BACK_MU,
    BACK_S2,
    BACK_KEY_LENGTHS,
    BACK_QUERY_LENGTHS,
    BACK_BETA,
    BACK_INPUTS
};
enum { BACK_DQ, BACK_DK, BACK_D_BETA, BACK_OUTPUTS };

extern const xp_operation xp_operation_attention_normalise, xp_operation_attention_normalise_backward;

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool is_list(const xp_tensor *tensor) {
    return tensor->type == XP_I32 && xp_view_is_plain(tensor);
}

static xp_status check_lengths(const xp_tensor *q, const xp_tensor *k, const xp_tensor *key_lengths,
                               const xp_tensor *query_lengths, bool packed) {
    char text[128];
    const int64_t batch = q->shape[0], key_heads = k->shape[2];
    if (packed) {
        if (batch != 1)
            return xp_fail(XP_INVALID_ARGUMENT, "attention_normalise: packed q %s must be [1,T,H,D]",
                           xp_tensor_shape_text(q, text, sizeof text));
        if (!key_lengths || !query_lengths || !is_list(key_lengths) || !is_list(query_lengths) ||
            key_lengths->rank != 1 || query_lengths->rank != 1 || key_lengths->shape[0] < 2 ||
            query_lengths->shape[0] != key_lengths->shape[0])
            return xp_fail(XP_INVALID_ARGUMENT,
                           "attention_normalise: packed samples need starts of keys and queries, dense whole numbers "
                           "[samples + 1] both");
        return XP_OK;
    }
    if (key_lengths && (!is_list(key_lengths) || key_lengths->shape[0] != batch ||
                        !(key_lengths->rank == 1 || (key_lengths->rank == 2 && key_lengths->shape[1] == key_heads))))
        return xp_fail(XP_INVALID_ARGUMENT,
                       "attention_normalise: key_lengths %s must be dense whole numbers [%lld] or [%lld,%lld]",
                       xp_tensor_shape_text(key_lengths, text, sizeof text), (long long)batch, (long long)batch,
                       (long long)key_heads);
    if (query_lengths && (!is_list(query_lengths) || query_lengths->rank != 1 || query_lengths->shape[0] != batch))
        return xp_fail(XP_INVALID_ARGUMENT, "attention_normalise: query_lengths %s must be dense whole numbers [%lld]",
                       xp_tensor_shape_text(query_lengths, text, sizeof text), (long long)batch);
    return XP_OK;
}

static xp_status check_attributes(const xp_attention_normalise_attributes *attributes, int64_t key_heads) {
    if (attributes->constant && (!attributes->prefix || attributes->both))
        return xp_fail(XP_INVALID_ARGUMENT, "attention_normalise: a column for the row constant belongs to prefix "
                                            "statistics of softmax: set prefix and not both, or omit constant");
    if (attributes->key_scale_count < 0 || attributes->key_scale_count > XP_MAX_SCALES ||
        (attributes->key_scale_count > 0 && key_heads % attributes->key_scale_count != 0))
        return xp_fail(XP_INVALID_ARGUMENT, "attention_normalise: %d key scales do not divide %lld key heads",
                       attributes->key_scale_count, (long long)key_heads);
    for (int i = 0; i < attributes->key_scale_count; i++)
        if (attributes->key_scales[i] < 1)
            return xp_fail(XP_INVALID_ARGUMENT, "attention_normalise: key scale %d is not positive",
                           attributes->key_scales[i]);
    if (attributes->key_scale_count > 0 && attributes->packed)
        return xp_fail(XP_UNSUPPORTED, "attention_normalise: packed samples have no pooled keys: pad them instead");
    if (attributes->key_scale_count > 0 && attributes->prefix && attributes->align_last)
        return xp_fail(XP_UNSUPPORTED, "attention_normalise: queries cannot be aligned with the last pooled key, whose "
                                       "rows are not known: omit align_last");
    return XP_OK;
}

static xp_status check_shapes(const xp_tensor *q, const xp_tensor *k, const xp_tensor *beta) {
    char text[128];
    if (q->rank != 4 || !xp_view_has_unit_columns(q))
        return xp_fail(XP_INVALID_ARGUMENT, "attention_normalise: q %s must be [B,N,H,D] with dense columns",
                       xp_tensor_shape_text(q, text, sizeof text));
    const int64_t batch = q->shape[0], heads = q->shape[2], width = q->shape[3];
    if (k->rank != 4 || k->shape[0] != batch || k->shape[2] < 1 || heads % k->shape[2] != 0 || k->shape[3] != width ||
        !xp_view_has_unit_columns(k))
        return xp_fail(XP_INVALID_ARGUMENT,
                       "attention_normalise: k %s must be [%lld,M,G,%lld] with dense columns, where G divides %lld",
                       xp_tensor_shape_text(k, text, sizeof text), (long long)batch, (long long)width,
                       (long long)heads);
    if (beta && (beta->rank != 1 || beta->shape[0] != k->shape[2] || !xp_view_is_plain(beta)))
        return xp_fail(XP_INVALID_ARGUMENT,
                       "attention_normalise: beta %s must have one value for each of %lld key heads",
                       xp_tensor_shape_text(beta, text, sizeof text), (long long)k->shape[2]);
    return XP_OK;
}

xp_status xp_attention_normalise(xp_graph *graph, xp_tensor *q, xp_tensor *k, xp_tensor *key_lengths,
                                 xp_tensor *query_lengths_or_starts, xp_tensor *beta_or_null,
                                 const xp_attention_normalise_attributes *attributes, xp_tensor **q_out,
                                 xp_tensor **k_out) {
    *q_out = *k_out = NULL;
    if (!q || !k) return XP_INVALID_ARGUMENT; /* the message is recorded already */
    XP_TRY(check_shapes(q, k, beta_or_null));
    XP_TRY(check_lengths(q, k, key_lengths, query_lengths_or_starts, attributes->packed));
    XP_TRY(check_attributes(attributes, k->shape[2]));
    const int64_t width = q->shape[3], out_width = width + (attributes->constant != 0);
    const int64_t samples = attributes->packed ? key_lengths->shape[0] - 1 : q->shape[0];
    const int64_t q_shape[] = {q->shape[0], q->shape[1], q->shape[2], out_width};
    const int64_t k_shape[] = {k->shape[0], k->shape[1], k->shape[2], out_width};
    const int64_t whole[] = {samples, k->shape[2], width};
    const int rank = attributes->prefix ? 4 : 3;
    const int64_t *statistics = attributes->prefix ? k->shape : whole;
    xp_tensor *outputs[OUTPUTS] = {[OUTPUT_Q] = xp_graph_tensor(graph, "normalised_q", XP_F32, 4, q_shape),
                                   [OUTPUT_K] = xp_graph_tensor(graph, "normalised_k", XP_F32, 4, k_shape),
                                   [OUTPUT_MU] = xp_graph_tensor(graph, "key_mean", XP_F32, rank, statistics),
                                   [OUTPUT_S2] = xp_graph_tensor(graph, "key_variance", XP_F32, rank, statistics)};
    for (int i = 0; i < OUTPUTS; i++)
        if (!outputs[i]) return XP_OUT_OF_MEMORY;
    xp_tensor *inputs[INPUTS] = {q, k, key_lengths, query_lengths_or_starts, beta_or_null};
    if (!xp_graph_node(graph, &xp_operation_attention_normalise, INPUTS, inputs, OUTPUTS, outputs, attributes,
                       sizeof *attributes))
        return XP_OUT_OF_MEMORY;
    *q_out = outputs[OUTPUT_Q];
    *k_out = outputs[OUTPUT_K];
    return XP_OK;
}

static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    xp_tensor *q = node->inputs[INPUT_Q], *k = node->inputs[INPUT_K], *beta = node->inputs[INPUT_BETA];
    if (!d_outputs[OUTPUT_Q] || !d_outputs[OUTPUT_K] || d_outputs[OUTPUT_MU] || d_outputs[OUTPUT_S2])
        return xp_fail(XP_UNSUPPORTED,
                       "%s: both the normalised queries and the normalised keys must have gradients, and nothing else",
                       node->label);
    xp_tensor *inputs[BACK_INPUTS] = {[BACK_D_Q_OUT] = xp_graph_dense(graph, d_outputs[OUTPUT_Q]),
                                      [BACK_D_K_OUT] = xp_graph_dense(graph, d_outputs[OUTPUT_K]),
                                      [BACK_Q] = q,
                                      [BACK_K] = k,
                                      [BACK_MU] = node->outputs[OUTPUT_MU],
                                      [BACK_S2] = node->outputs[OUTPUT_S2],
                                      [BACK_KEY_LENGTHS] = node->inputs[INPUT_KEY_LENGTHS],
                                      [BACK_QUERY_LENGTHS] = node->inputs[INPUT_QUERY_LENGTHS],
                                      [BACK_BETA] = beta};
    if (!inputs[BACK_D_Q_OUT] || !inputs[BACK_D_K_OUT]) return XP_OUT_OF_MEMORY;
    xp_tensor *outputs[BACK_OUTPUTS] = {0};
    if (q->needs_gradient && !(outputs[BACK_DQ] = xp_graph_tensor(graph, "d_q", XP_F32, 4, q->shape)))
        return XP_OUT_OF_MEMORY;
    if (k->needs_gradient && !(outputs[BACK_DK] = xp_graph_tensor(graph, "d_k", XP_F32, 4, k->shape)))
        return XP_OUT_OF_MEMORY;
    if (beta && beta->needs_gradient &&
        !(outputs[BACK_D_BETA] = xp_graph_tensor(graph, "d_beta", XP_F32, 1, beta->shape)))
        return XP_OUT_OF_MEMORY;
    if (!xp_graph_node(graph, &xp_operation_attention_normalise_backward, BACK_INPUTS, inputs, BACK_OUTPUTS, outputs,
                       node->attributes, sizeof(xp_attention_normalise_attributes)))
        return XP_OUT_OF_MEMORY;
    d_inputs[INPUT_Q] = outputs[BACK_DQ];
    d_inputs[INPUT_K] = outputs[BACK_DK];
    d_inputs[INPUT_BETA] = outputs[BACK_D_BETA];
    return XP_OK;
}

/* ---- launching --------------------------------------------------------------------------------------------------- */

static const char *const PLAIN_FILE = "attention_normalise", *const PREFIX_FILE = "attention_normalise_prefix";

/* What both passes have, and launches have in common. */
typedef struct call {
    const xp_attention_normalise_attributes *attributes;
    xp_tensor *q, *k, *key_lengths, *query_lengths, *beta;
    int64_t batch, samples, queries, keys, heads, key_heads, width;
    double query_elements, key_elements;
    bool tiled;
} call;

static call call_of(const xp_node *node, xp_family family, xp_tensor *q, xp_tensor *k, xp_tensor *key_lengths,
                    xp_tensor *query_lengths, xp_tensor *beta) {
    const xp_attention_normalise_attributes *attributes = XP_ATTRIBUTES(xp_attention_normalise_attributes, node);
    return (call){.attributes = attributes,
                  .q = q,
                  .k = k,
                  .key_lengths = key_lengths,
                  .query_lengths = query_lengths,
                  .beta = beta,
                  .batch = q->shape[0],
                  .samples = attributes->packed ? key_lengths->shape[0] - 1 : q->shape[0],
                  .queries = q->shape[1],
                  .keys = k->shape[1],
                  .heads = q->shape[2],
                  .key_heads = k->shape[2],
                  .width = q->shape[3],
                  .query_elements = (double)xp_tensor_elements(q),
                  .key_elements = (double)xp_tensor_elements(k),
                  .tiled = family == XP_FAMILY_TILED};
}

static xp_launch_request start(const call *c, const char *file, const char *kernel) {
    const xp_attention_normalise_attributes *attributes = c->attributes;
    xp_launch_request request = {.file = file, .kernel = kernel};
    xp_variant *variant = &request.variant;
    xp_variant_set(variant, "XP_TILED", c->tiled);
    xp_variant_set(variant, "XP_SCALE", attributes->scale != 0);
    xp_variant_set(variant, "XP_BOTH", attributes->both != 0);
    xp_variant_set(variant, "XP_PREFIX", attributes->prefix != 0);
    xp_variant_set(variant, "XP_CONSTANT", attributes->constant != 0);
    xp_variant_set(variant, "XP_LEARNED", c->beta != NULL);
    xp_variant_set(variant, "XP_PACKED", attributes->packed != 0);
    if (!attributes->packed) {
        xp_variant_set(variant, "XP_COUNTS", c->key_lengths ? c->key_lengths->rank : 0);
        xp_variant_set(variant, "XP_QUERY_LENGTHS", c->query_lengths != NULL);
    }
    if (!attributes->prefix) return request;
    xp_variant_set(variant, "XP_ALIGN_LAST", attributes->align_last != 0);
    if (attributes->key_scale_count > 0) xp_scales_pass(variant, attributes->key_scale_count, attributes->key_scales);
    return request;
}

/* Sums down the rows: a block of columns of one sample and key head each. */
static void shape_column_blocks(xp_launch_request *request, const call *c, int64_t wide_columns) {
    const size_t columns = c->tiled ? 32 : (size_t)wide_columns, blocks = ((size_t)c->width + columns - 1) / columns;
    request->dimensions = 3;
    request->global[0] = c->tiled ? blocks * columns : blocks;
    request->global[1] = c->tiled ? 8 * (size_t)c->key_heads : (size_t)c->key_heads;
    request->global[2] = (size_t)c->samples;
    request->local[0] = c->tiled ? columns : 1;
    request->local[1] = c->tiled ? 8 : 1;
    request->local[2] = 1;
}

/* Every row of queries and keys: in one work-item, or an element each. */
static void shape_rows(xp_launch_request *request, const call *c) {
    const size_t rows = (size_t)(c->queries > c->keys ? c->queries : c->keys);
    if (c->tiled) {
        request->dimensions = 3;
        request->global[0] = (size_t)xp_launch_blocks(c->heads * c->width, 64) * 64;
        request->global[1] = rows;
        request->global[2] = (size_t)c->batch;
        request->local[0] = 64;
        request->local[1] = request->local[2] = 1;
    } else {
        request->dimensions = 2;
        request->global[0] = rows;
        request->global[1] = (size_t)c->batch;
        request->local[0] = request->local[1] = 1;
    }
}

static void pass_lengths(xp_launch_request *request, const call *c) {
    xp_launch_read(request, c->key_lengths);
    xp_launch_read(request, c->query_lengths);
}

static void pass_sizes(xp_launch_request *request, const call *c, bool with_samples) {
    if (with_samples) xp_launch_int(request, c->samples);
    xp_launch_int(request, c->queries);
    xp_launch_int(request, c->keys);
    xp_launch_int(request, c->heads);
    xp_launch_int(request, c->key_heads);
    xp_launch_int(request, c->width);
    xp_launch_float(request, c->attributes->beta);
}

static xp_status emit_statistics(xp_plan *plan, const xp_node *node, const call *c) {
    enum { LINE = 16, LANES = 8 };
    const bool prefix = c->attributes->prefix;
    xp_launch_request request = prefix ? start(c, PREFIX_FILE, "attention_normalise_prefix_statistics")
                                       : start(c, PLAIN_FILE, "attention_normalise_statistics");
    shape_column_blocks(&request, c, prefix ? LANES : LINE);
    xp_view_pass(&request, c->k, false);
    xp_launch_read(&request, c->key_lengths);
    xp_launch_write(&request, node->outputs[OUTPUT_MU]);
    xp_launch_write(&request, node->outputs[OUTPUT_S2]);
    if (prefix) xp_launch_int(&request, c->samples);
    xp_launch_int(&request, c->keys);
    xp_launch_int(&request, c->key_heads);
    xp_launch_int(&request, c->width);
    xp_launch_float(&request, c->attributes->epsilon);
    request.flops = (prefix ? 7 : 5) * c->key_elements;
    request.bytes = (prefix ? 12 : 8) * c->key_elements;
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_constant(xp_plan *plan, const xp_node *node, const call *c) {
    xp_launch_request request = start(c, PREFIX_FILE, "attention_normalise_constant");
    request.dimensions = 3;
    request.local[0] = c->tiled ? 64 : 1;
    request.local[1] = request.local[2] = 1;
    request.global[0] = (size_t)c->queries * request.local[0];
    request.global[1] = (size_t)c->heads;
    request.global[2] = (size_t)c->batch;
    xp_view_pass(&request, c->k, false);
    pass_lengths(&request, c);
    xp_launch_read(&request, c->beta);
    xp_launch_read(&request, node->outputs[OUTPUT_MU]);
    xp_launch_write(&request, node->outputs[OUTPUT_Q]);
    pass_sizes(&request, c, true);
    request.flops = 4 * c->query_elements;
    request.bytes = 12 * c->query_elements;
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_tensor *const *in = node->inputs;
    const call c =
        call_of(node, family, in[INPUT_Q], in[INPUT_K], in[INPUT_KEY_LENGTHS], in[INPUT_QUERY_LENGTHS], in[INPUT_BETA]);
    XP_TRY(emit_statistics(plan, node, &c));
    xp_launch_request apply = start(&c, PLAIN_FILE, "attention_normalise_apply");
    shape_rows(&apply, &c);
    xp_view_pass(&apply, c.q, false);
    xp_view_pass(&apply, c.k, false);
    pass_lengths(&apply, &c);
    xp_launch_read(&apply, c.beta);
    xp_launch_read(&apply, node->outputs[OUTPUT_MU]);
    xp_launch_read(&apply, node->outputs[OUTPUT_S2]);
    xp_launch_write(&apply, node->outputs[OUTPUT_Q]);
    xp_launch_write(&apply, node->outputs[OUTPUT_K]);
    pass_sizes(&apply, &c, true);
    apply.flops = 3 * c.query_elements + 2 * c.key_elements;
    apply.bytes = 8 * (c.query_elements + c.key_elements);
    XP_TRY(xp_plan_launch(plan, node, &apply));
    return c.attributes->constant ? emit_constant(plan, node, &c) : XP_OK;
}

/* dk and the terms of d_beta, through the statistics of prefixes. */
static xp_status emit_prefix_backward(xp_plan *plan, const xp_node *node, const call *c, xp_tensor *d_centre) {
    enum { LANES = 8 };
    xp_tensor *const *in = node->inputs, *dk = node->outputs[BACK_DK];
    xp_launch_request request = start(c, PREFIX_FILE, "attention_normalise_prefix_backward");
    xp_variant_set(&request.variant, "XP_D_KEY", dk != NULL);
    xp_variant_set(&request.variant, "XP_D_BETA", d_centre != NULL);
    shape_column_blocks(&request, c, LANES);
    xp_launch_read(&request, in[BACK_D_Q_OUT]);
    xp_launch_read(&request, in[BACK_D_K_OUT]);
    xp_view_pass(&request, c->q, false);
    xp_view_pass(&request, c->k, false);
    pass_lengths(&request, c);
    xp_launch_read(&request, c->beta);
    xp_launch_read(&request, in[BACK_MU]);
    xp_launch_read(&request, in[BACK_S2]);
    xp_view_pass(&request, dk, true);
    xp_launch_write(&request, d_centre);
    pass_sizes(&request, c, true);
    request.flops = 8 * c->query_elements + 12 * c->key_elements;
    request.bytes = 8 * c->query_elements + 20 * c->key_elements;
    return xp_plan_launch(plan, node, &request);
}

/* What the statistics of whole samples ask of dk, and the terms of d_beta. */
static xp_status emit_sums(xp_plan *plan, const xp_node *node, const call *c, xp_tensor *d_mean, xp_tensor *d_variance,
                           xp_tensor *d_centre) {
    enum { LANES = 8 };
    xp_tensor *const *in = node->inputs;
    xp_launch_request request = start(c, PLAIN_FILE, "attention_normalise_sums");
    xp_variant_set(&request.variant, "XP_D_BETA", d_centre != NULL);
    shape_column_blocks(&request, c, LANES);
    xp_launch_read(&request, in[BACK_D_Q_OUT]);
    xp_launch_read(&request, in[BACK_D_K_OUT]);
    xp_view_pass(&request, c->q, false);
    xp_view_pass(&request, c->k, false);
    pass_lengths(&request, c);
    xp_launch_read(&request, c->beta);
    xp_launch_read(&request, in[BACK_MU]);
    xp_launch_read(&request, in[BACK_S2]);
    xp_launch_write(&request, d_mean);
    xp_launch_write(&request, d_variance);
    xp_launch_write(&request, d_centre);
    pass_sizes(&request, c, false);
    request.flops = 4 * c->query_elements + c->key_elements;
    request.bytes = 8 * c->query_elements + 4 * c->key_elements;
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_apply_backward(xp_plan *plan, const xp_node *node, const call *c, xp_tensor *d_mean,
                                     xp_tensor *d_variance, xp_tensor *dk) {
    xp_tensor *const *in = node->inputs, *dq = node->outputs[BACK_DQ];
    xp_launch_request request = start(c, PLAIN_FILE, "attention_normalise_apply_backward");
    xp_variant_set(&request.variant, "XP_D_QUERY", dq != NULL);
    xp_variant_set(&request.variant, "XP_D_KEY", dk != NULL);
    shape_rows(&request, c);
    xp_launch_read(&request, in[BACK_D_Q_OUT]);
    xp_launch_read(&request, in[BACK_D_K_OUT]);
    xp_view_pass(&request, c->k, false);
    pass_lengths(&request, c);
    xp_launch_read(&request, c->beta);
    xp_launch_read(&request, in[BACK_MU]);
    xp_launch_read(&request, in[BACK_S2]);
    xp_launch_read(&request, d_mean);
    xp_launch_read(&request, d_variance);
    xp_view_pass(&request, dq, true);
    xp_view_pass(&request, dk, true);
    pass_sizes(&request, c, true);
    request.flops = c->query_elements + 4 * c->key_elements;
    request.bytes = 8 * c->query_elements + 12 * c->key_elements;
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_beta(xp_plan *plan, const xp_node *node, const call *c, xp_tensor *d_centre) {
    xp_launch_request request = {.file = PLAIN_FILE, .kernel = "attention_normalise_beta_backward"};
    xp_variant_set(&request.variant, "XP_TILED", c->tiled);
    request.dimensions = 1;
    request.global[0] = 64 * (size_t)c->key_heads;
    request.local[0] = 64;
    xp_launch_read(&request, d_centre);
    xp_launch_write(&request, node->outputs[BACK_D_BETA]);
    xp_launch_int(&request, c->samples);
    xp_launch_int(&request, c->key_heads);
    xp_launch_int(&request, c->width);
    request.flops = (double)(c->samples * c->key_heads * c->width);
    request.bytes = 4 * request.flops;
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_backward(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_tensor *const *in = node->inputs;
    const call c =
        call_of(node, family, in[BACK_Q], in[BACK_K], in[BACK_KEY_LENGTHS], in[BACK_QUERY_LENGTHS], in[BACK_BETA]);
    xp_tensor *dq = node->outputs[BACK_DQ], *dk = node->outputs[BACK_DK], *d_beta = node->outputs[BACK_D_BETA];
    xp_tensor *d_mean = NULL, *d_variance = NULL, *d_centre = NULL;
    const int64_t elements = c.samples * c.key_heads * c.width;
    if (d_beta && !(d_centre = xp_plan_scratch(plan, node, elements))) return XP_OUT_OF_MEMORY;
    if (c.attributes->prefix) {
        if (dk || d_beta) XP_TRY(emit_prefix_backward(plan, node, &c, d_centre));
        if (dq) XP_TRY(emit_apply_backward(plan, node, &c, NULL, NULL, NULL));
    } else {
        if (dk || d_beta) {
            d_mean = xp_plan_scratch(plan, node, elements);
            d_variance = xp_plan_scratch(plan, node, elements);
            if (!d_mean || !d_variance) return XP_OUT_OF_MEMORY;
            XP_TRY(emit_sums(plan, node, &c, d_mean, d_variance, d_centre));
        }
        if (dq || dk) XP_TRY(emit_apply_backward(plan, node, &c, d_mean, d_variance, dk));
    }
    return d_beta ? emit_beta(plan, node, &c, d_centre) : XP_OK;
}

const xp_operation xp_operation_attention_normalise = {
    .name = "attention_normalise",
    .gradient = gradient,
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, emit}, {XP_FAMILY_TILED, NULL, emit})};
const xp_operation xp_operation_attention_normalise_backward = {
    .name = "attention_normalise_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, emit_backward}, {XP_FAMILY_TILED, NULL, emit_backward}),
    .strided_outputs = 1u << BACK_DQ | 1u << BACK_DK};
