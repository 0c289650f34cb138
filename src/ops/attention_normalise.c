/* Attention-BN around plain attention: queries and keys normalised with the keys' statistics, and the way back. Owns
 * shapes, gradient rule and launches; must not know what attention does with the results. */
#include "ops/building.h"
#include "ops/operation.h"
#include "ops/ops.h"
#include "ops/views.h"

enum { INPUT_Q, INPUT_K, INPUT_COUNTS, INPUT_BETA, INPUTS };
enum { OUTPUT_Q, OUTPUT_K, OUTPUT_MU, OUTPUT_S2, OUTPUTS };
enum { BACK_D_Q_OUT, BACK_D_K_OUT, BACK_Q, BACK_K, BACK_MU, BACK_S2, BACK_COUNTS, BACK_BETA, BACK_INPUTS };
enum { BACK_DQ, BACK_DK, BACK_D_BETA, BACK_OUTPUTS };

extern const xp_operation xp_operation_attention_normalise, xp_operation_attention_normalise_backward;

/* ---- building ---------------------------------------------------------------------------------------------------- */

static xp_status check_shapes(const xp_tensor *q, const xp_tensor *k, const xp_tensor *counts, const xp_tensor *beta) {
    char text[128];
    if (q->rank != 4 || !xp_view_has_unit_columns(q))
        return xp_fail(XP_INVALID_ARGUMENT, "attention_normalise: q %s must be [B,N,H,D] with dense columns",
                       xp_tensor_shape_text(q, text, sizeof text));
    const int64_t batch = q->shape[0], heads = q->shape[2], width = q->shape[3];
    if (k->rank != 4 || k->shape[0] != batch || k->shape[2] != heads || k->shape[3] != width ||
        !xp_view_has_unit_columns(k))
        return xp_fail(
            XP_INVALID_ARGUMENT, "attention_normalise: k %s must be [%lld,M,%lld,%lld] with dense columns, as q has it",
            xp_tensor_shape_text(k, text, sizeof text), (long long)batch, (long long)heads, (long long)width);
    if (counts && (counts->type != XP_I32 || !xp_view_is_plain(counts) || counts->shape[0] != batch ||
                   !(counts->rank == 1 || (counts->rank == 2 && counts->shape[1] == heads))))
        return xp_fail(
            XP_INVALID_ARGUMENT, "attention_normalise: counts %s must be dense whole numbers [%lld] or [%lld,%lld]",
            xp_tensor_shape_text(counts, text, sizeof text), (long long)batch, (long long)batch, (long long)heads);
    if (beta && (beta->rank != 1 || beta->shape[0] != heads || !xp_view_is_plain(beta)))
        return xp_fail(XP_INVALID_ARGUMENT, "attention_normalise: beta %s must have one value for each of %lld heads",
                       xp_tensor_shape_text(beta, text, sizeof text), (long long)heads);
    return XP_OK;
}

xp_status xp_attention_normalise(xp_graph *graph, xp_tensor *q, xp_tensor *k, xp_tensor *counts,
                                 xp_tensor *beta_or_null, const xp_attention_normalise_attributes *attributes,
                                 xp_tensor **q_out, xp_tensor **k_out) {
    *q_out = *k_out = NULL;
    if (!q || !k) return XP_INVALID_ARGUMENT; /* whoever made it NULL has said why */
    XP_TRY(check_shapes(q, k, counts, beta_or_null));
    const int64_t statistics[] = {q->shape[0], q->shape[2], q->shape[3]};
    xp_tensor *outputs[OUTPUTS] = {[OUTPUT_Q] = xp_graph_tensor(graph, "normalised_q", XP_F32, 4, q->shape),
                                   [OUTPUT_K] = xp_graph_tensor(graph, "normalised_k", XP_F32, 4, k->shape),
                                   [OUTPUT_MU] = xp_graph_tensor(graph, "key_mean", XP_F32, 3, statistics),
                                   [OUTPUT_S2] = xp_graph_tensor(graph, "key_variance", XP_F32, 3, statistics)};
    for (int i = 0; i < OUTPUTS; i++)
        if (!outputs[i]) return XP_OUT_OF_MEMORY;
    xp_tensor *inputs[INPUTS] = {q, k, counts, beta_or_null};
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
                       "%s: gradients must arrive at both the normalised queries and the normalised "
                       "keys, and at nothing else",
                       node->label);
    xp_tensor *inputs[BACK_INPUTS] = {[BACK_D_Q_OUT] = xp_building_dense(graph, d_outputs[OUTPUT_Q]),
                                      [BACK_D_K_OUT] = xp_building_dense(graph, d_outputs[OUTPUT_K]),
                                      [BACK_Q] = q,
                                      [BACK_K] = k,
                                      [BACK_MU] = node->outputs[OUTPUT_MU],
                                      [BACK_S2] = node->outputs[OUTPUT_S2],
                                      [BACK_COUNTS] = node->inputs[INPUT_COUNTS],
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

typedef struct sizes {
    int64_t batch, queries, keys, heads, width;
} sizes;

static sizes sizes_of(const xp_tensor *q, const xp_tensor *k) {
    return (sizes){q->shape[0], q->shape[1], k->shape[1], q->shape[2], q->shape[3]};
}

static xp_launch_request start(const char *kernel, bool tiled, const xp_attention_normalise_attributes *attributes,
                               const xp_tensor *counts, const xp_tensor *beta) {
    xp_launch_request request = {.file = "attention_normalise", .kernel = kernel};
    xp_variant_set(&request.variant, "XP_TILED", tiled);
    xp_variant_set(&request.variant, "XP_SCALE", attributes->scale != 0);
    xp_variant_set(&request.variant, "XP_LEARNED", beta != NULL);
    xp_variant_set(&request.variant, "XP_COUNTS", counts ? counts->rank : 0);
    return request;
}

/* Sums down the rows: a block of columns of one sequence and head each. */
static void shape_column_blocks(xp_launch_request *request, bool tiled, sizes size) {
    const size_t columns = tiled ? 32 : 16, blocks = ((size_t)size.width + columns - 1) / columns;
    request->dimensions = 3;
    request->global[0] = tiled ? blocks * columns : blocks;
    request->global[1] = tiled ? 8 * (size_t)size.heads : (size_t)size.heads;
    request->global[2] = (size_t)size.batch;
    request->local[0] = tiled ? columns : 1;
    request->local[1] = tiled ? 8 : 1;
    request->local[2] = 1;
}

/* Every row of queries and keys: in one work-item, or an element each. */
static void shape_rows(xp_launch_request *request, bool tiled, sizes size) {
    const size_t rows = (size_t)(size.queries > size.keys ? size.queries : size.keys);
    if (tiled) {
        request->dimensions = 3;
        request->global[0] = ((size_t)(size.heads * size.width) + 63) / 64 * 64;
        request->global[1] = rows;
        request->global[2] = (size_t)size.batch;
        request->local[0] = 64;
        request->local[1] = request->local[2] = 1;
    } else {
        request->dimensions = 2;
        request->global[0] = rows;
        request->global[1] = (size_t)size.batch;
        request->local[0] = request->local[1] = 1;
    }
}

static xp_status emit(xp_plan *plan, const xp_node *node) {
    const xp_attention_normalise_attributes *attributes = XP_ATTRIBUTES(xp_attention_normalise_attributes, node);
    const bool tiled = xp_plan_family(plan) == XP_FAMILY_TILED;
    xp_tensor *q = node->inputs[INPUT_Q], *k = node->inputs[INPUT_K], *counts = node->inputs[INPUT_COUNTS];
    xp_tensor *beta = node->inputs[INPUT_BETA];
    const sizes size = sizes_of(q, k);
    const double key_elements = (double)xp_tensor_elements(k), query_elements = (double)xp_tensor_elements(q);

    xp_launch_request statistics = start("attention_normalise_statistics", tiled, attributes, counts, beta);
    shape_column_blocks(&statistics, tiled, size);
    xp_view_pass(&statistics, k, false);
    xp_launch_read(&statistics, counts);
    xp_launch_write(&statistics, node->outputs[OUTPUT_MU]);
    xp_launch_write(&statistics, node->outputs[OUTPUT_S2]);
    xp_launch_int(&statistics, size.keys);
    xp_launch_int(&statistics, size.heads);
    xp_launch_int(&statistics, size.width);
    xp_launch_float(&statistics, attributes->epsilon);
    statistics.flops = 5 * key_elements;
    statistics.bytes = 8 * key_elements;
    XP_TRY(xp_plan_launch(plan, node, &statistics));

    xp_launch_request apply = start("attention_normalise_apply", tiled, attributes, counts, beta);
    shape_rows(&apply, tiled, size);
    xp_view_pass(&apply, q, false);
    xp_view_pass(&apply, k, false);
    xp_launch_read(&apply, counts);
    xp_launch_read(&apply, beta);
    xp_launch_read(&apply, node->outputs[OUTPUT_MU]);
    xp_launch_read(&apply, node->outputs[OUTPUT_S2]);
    xp_launch_write(&apply, node->outputs[OUTPUT_Q]);
    xp_launch_write(&apply, node->outputs[OUTPUT_K]);
    xp_launch_int(&apply, size.queries);
    xp_launch_int(&apply, size.keys);
    xp_launch_int(&apply, size.heads);
    xp_launch_int(&apply, size.width);
    xp_launch_float(&apply, attributes->beta);
    apply.flops = 3 * query_elements + 2 * key_elements;
    apply.bytes = 8 * (query_elements + key_elements);
    return xp_plan_launch(plan, node, &apply);
}

static xp_status emit_backward(xp_plan *plan, const xp_node *node) {
    const xp_attention_normalise_attributes *attributes = XP_ATTRIBUTES(xp_attention_normalise_attributes, node);
    const bool tiled = xp_plan_family(plan) == XP_FAMILY_TILED;
    xp_tensor *const *in = node->inputs;
    xp_tensor *dq = node->outputs[BACK_DQ], *dk = node->outputs[BACK_DK], *d_beta = node->outputs[BACK_D_BETA];
    const sizes size = sizes_of(in[BACK_Q], in[BACK_K]);
    const double key_elements = (double)xp_tensor_elements(in[BACK_K]);
    const double query_elements = (double)xp_tensor_elements(in[BACK_Q]);
    xp_tensor *d_mean = NULL, *d_variance = NULL, *d_centre = NULL;

    if (dk || d_beta) {
        const int64_t elements = size.batch * size.heads * size.width;
        d_mean = xp_plan_scratch(plan, node, elements);
        d_variance = xp_plan_scratch(plan, node, elements);
        d_centre = d_beta ? xp_plan_scratch(plan, node, elements) : NULL;
        if (!d_mean || !d_variance || (d_beta && !d_centre)) return XP_OUT_OF_MEMORY;
        xp_launch_request sums = start("attention_normalise_sums", tiled, attributes, in[BACK_COUNTS], in[BACK_BETA]);
        xp_variant_set(&sums.variant, "XP_D_BETA", d_beta != NULL);
        shape_column_blocks(&sums, tiled, size);
        xp_launch_read(&sums, in[BACK_D_Q_OUT]);
        xp_launch_read(&sums, in[BACK_D_K_OUT]);
        xp_view_pass(&sums, in[BACK_Q], false);
        xp_launch_read(&sums, in[BACK_COUNTS]);
        xp_launch_read(&sums, in[BACK_BETA]);
        xp_launch_read(&sums, in[BACK_MU]);
        xp_launch_read(&sums, in[BACK_S2]);
        xp_launch_write(&sums, d_mean);
        xp_launch_write(&sums, d_variance);
        xp_launch_write(&sums, d_centre);
        xp_launch_int(&sums, size.queries);
        xp_launch_int(&sums, size.keys);
        xp_launch_int(&sums, size.heads);
        xp_launch_int(&sums, size.width);
        xp_launch_float(&sums, attributes->beta);
        sums.flops = 4 * query_elements + key_elements;
        sums.bytes = 8 * query_elements + 4 * key_elements;
        XP_TRY(xp_plan_launch(plan, node, &sums));
    }
    if (dq || dk) {
        xp_launch_request apply =
            start("attention_normalise_apply_backward", tiled, attributes, in[BACK_COUNTS], in[BACK_BETA]);
        xp_variant_set(&apply.variant, "XP_D_QUERY", dq != NULL);
        xp_variant_set(&apply.variant, "XP_D_KEY", dk != NULL);
        shape_rows(&apply, tiled, size);
        xp_launch_read(&apply, in[BACK_D_Q_OUT]);
        xp_launch_read(&apply, in[BACK_D_K_OUT]);
        xp_view_pass(&apply, in[BACK_K], false);
        xp_launch_read(&apply, in[BACK_COUNTS]);
        xp_launch_read(&apply, in[BACK_MU]);
        xp_launch_read(&apply, in[BACK_S2]);
        xp_launch_read(&apply, d_mean);
        xp_launch_read(&apply, d_variance);
        xp_view_pass(&apply, dq, true);
        xp_view_pass(&apply, dk, true);
        xp_launch_int(&apply, size.queries);
        xp_launch_int(&apply, size.keys);
        xp_launch_int(&apply, size.heads);
        xp_launch_int(&apply, size.width);
        apply.flops = query_elements + 4 * key_elements;
        apply.bytes = 8 * query_elements + 12 * key_elements;
        XP_TRY(xp_plan_launch(plan, node, &apply));
    }
    if (d_beta) {
        xp_launch_request reduce = {.file = "attention_normalise", .kernel = "attention_normalise_beta_backward"};
        xp_variant_set(&reduce.variant, "XP_TILED", tiled);
        reduce.dimensions = 1;
        reduce.global[0] = 64 * (size_t)size.heads;
        reduce.local[0] = 64;
        xp_launch_read(&reduce, d_centre);
        xp_launch_write(&reduce, d_beta);
        xp_launch_int(&reduce, size.batch);
        xp_launch_int(&reduce, size.heads);
        xp_launch_int(&reduce, size.width);
        reduce.flops = (double)(size.batch * size.heads * size.width);
        reduce.bytes = 4 * reduce.flops;
        XP_TRY(xp_plan_launch(plan, node, &reduce));
    }
    return XP_OK;
}

const xp_operation xp_operation_attention_normalise = {"attention_normalise", gradient, emit, 0};
const xp_operation xp_operation_attention_normalise_backward = {"attention_normalise_backward", NULL, emit_backward,
                                                                1u << BACK_DQ | 1u << BACK_DK};
