/* From a sequence to one row, and zeros after the length of a sequence. Owns the rules and launches of both; must not
 * know what the rows hold. */
#include "graph/stored.h"
#include "ops/building.h"

extern const xp_operation xp_operation_sequence_pool_backward; /* added by the gradient rule */

enum { STRIP = 16 /* as in cl/strips.clh */, BLOCK_ROWS = 64 /* as in cl/pooling.cl */ };

static bool fits(const char *operation, const xp_tensor *x, const xp_tensor *lengths) {
    char shape[128];
    if (x->rank != 3) {
        xp_fail(XP_INVALID_ARGUMENT, "%s: %s %s is not [batch, length, width]", operation, x->name,
                xp_tensor_shape_text(x, shape, sizeof shape));
        return false;
    }
    if (lengths && (lengths->type != XP_I32 || lengths->rank != 1 || lengths->shape[0] != x->shape[0])) {
        xp_fail(XP_INVALID_ARGUMENT, "%s: the lengths %s %s are not one integer for each of %lld samples", operation,
                lengths->name, xp_tensor_shape_text(lengths, shape, sizeof shape), (long long)x->shape[0]);
        return false;
    }
    return true;
}

/* Launches a kernel whose arguments are (input 0, input 1, output 0, rows, columns); `sequence` has the three sizes and
 * each work-group of `work_group` work-items owns `block` columns of one of `lines` lines. */
static xp_status launch_lines(xp_plan *plan, const xp_node *node, const char *kernel, const xp_tensor *sequence,
                              int64_t lines, int64_t block, int64_t work_group, bool mean) {
    const int64_t columns = sequence->shape[2];
    const bool in_strips = block == STRIP && work_group > 1;
    xp_launch_request request = {.file = "pooling", .kernel = kernel, .dimensions = 1};
    request.local[0] = (size_t)work_group;
    request.global[0] = (size_t)(lines * xp_launch_blocks(columns, block) * work_group);
    request.flops = (double)xp_tensor_elements(sequence);
    request.bytes = (double)(xp_tensor_bytes(node->inputs[0]) + xp_tensor_bytes(node->outputs[0]));
    xp_variant_set(&request.variant, "MEAN", mean);
    xp_variant_set(&request.variant, "LENGTHS", node->inputs[1] != NULL);
    if (in_strips) xp_variant_set(&request.variant, "QUADS", columns % 4 == 0);
    xp_storage_set(&request.variant, node);
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, sequence->shape[1]);
    xp_launch_int(&request, columns);
    return xp_plan_launch(plan, node, &request);
}

/* ---- sequence_pool ----------------------------------------------------------------------------------------------- */

static bool takes_mean(const xp_node *node) {
    return XP_ATTRIBUTES(xp_sequence_pool_attributes, node)->pool == XP_POOL_MEAN;
}

static xp_status sequence_pool_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                        xp_tensor **d_inputs) {
    xp_tensor *inputs[] = {xp_graph_dense(graph, d_outputs[0]), node->inputs[1]};
    d_inputs[0] = xp_graph_tensor(graph, "d_sequence", node->inputs[0]->type, 3, node->inputs[0]->shape);
    if (!inputs[0] || !d_inputs[0]) return XP_OUT_OF_MEMORY;
    return xp_graph_node(graph, &xp_operation_sequence_pool_backward, 2, inputs, 1, d_inputs, node->attributes,
                         sizeof(xp_sequence_pool_attributes))
               ? XP_OK
               : XP_OUT_OF_MEMORY;
}

static xp_status sequence_pool_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *x = node->inputs[0];
    if (family == XP_FAMILY_WIDE)
        return launch_lines(plan, node, "sequence_pool_wide", x, x->shape[0], 16, 1, takes_mean(node));
    return launch_lines(plan, node, "sequence_pool_tiled", x, x->shape[0], STRIP, 64, takes_mean(node));
}

const xp_operation xp_operation_sequence_pool = {
    .name = "sequence_pool",
    .gradient = sequence_pool_gradient,
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, sequence_pool_emit},
                            {XP_FAMILY_TILED, xp_supports_storage, sequence_pool_emit}),
    .stored_inputs = 1};

xp_tensor *xp_sequence_pool(xp_graph *graph, xp_tensor *x, xp_tensor *lengths, xp_pool pool) {
    if (!x || !fits("sequence pool", x, lengths)) return NULL;
    bool measured = lengths && pool == XP_POOL_MEAN;
    xp_tensor *inputs[] = {xp_graph_dense(graph, x), measured ? xp_graph_dense(graph, lengths) : NULL};
    xp_tensor *y = xp_graph_tensor(graph, "pooled", XP_F32, 2, (int64_t[]){x->shape[0], x->shape[2]});
    xp_sequence_pool_attributes attributes = {.pool = pool};
    if (!inputs[0] || (measured && !inputs[1]) || !y ||
        !xp_graph_node(graph, &xp_operation_sequence_pool, 2, inputs, 1, &y, &attributes, sizeof attributes))
        return NULL;
    return y;
}

static xp_status sequence_pool_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *dx = node->outputs[0];
    const bool mean = takes_mean(node);
    if (family == XP_FAMILY_WIDE)
        return launch_lines(plan, node, "sequence_pool_backward_wide", dx, dx->shape[0], 128, 1, mean);
    const int64_t blocks = dx->shape[0] * xp_launch_blocks(dx->shape[1], BLOCK_ROWS);
    return launch_lines(plan, node, "sequence_pool_backward_tiled", dx, blocks, STRIP, 64, mean);
}

const xp_operation xp_operation_sequence_pool_backward = {
    .name = "sequence_pool_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, sequence_pool_backward_emit},
                            {XP_FAMILY_TILED, xp_supports_storage, sequence_pool_backward_emit}),
    .stored_outputs = 1};

/* ---- mask_rows --------------------------------------------------------------------------------------------------- */

static xp_status mask_rows_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                    xp_tensor **d_inputs) {
    d_inputs[0] = xp_mask_rows(graph, d_outputs[0], node->inputs[1]);
    return d_inputs[0] ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status mask_rows_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *x = node->inputs[0];
    return launch_lines(plan, node, "mask_rows", x, x->shape[0] * x->shape[1], 64, 64, true);
}

const xp_operation xp_operation_mask_rows = {.name = "mask_rows",
                                             .gradient = mask_rows_gradient,
                                             .emitters =
                                                 XP_EMITTERS({XP_FAMILY_ANY, xp_supports_storage, mask_rows_emit}),
                                             .stored_inputs = 1,
                                             .stored_outputs = 1,
                                             .ends_rows = true};

xp_tensor *xp_mask_rows(xp_graph *graph, xp_tensor *x, xp_tensor *lengths) {
    if (!x || !lengths) return x;
    if (!fits("mask rows", x, lengths)) return NULL;
    xp_tensor *inputs[] = {xp_graph_dense(graph, x), xp_graph_dense(graph, lengths)};
    xp_tensor *y = xp_graph_tensor(graph, "masked", x->type, 3, x->shape);
    if (!inputs[0] || !inputs[1] || !y || !xp_graph_node(graph, &xp_operation_mask_rows, 2, inputs, 1, &y, NULL, 0))
        return NULL;
    return y;
}
