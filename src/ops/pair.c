/* What a classifier of pairs sees of two vectors. Owns the shape rule, the gradient rule and the launches of
 * cl/pair.cl; must not know what the vectors stand for. */
#include "graph/launch.h"
#include "ops/ops.h"

extern const xp_operation xp_operation_pair_backward; /* added by the gradient rule */

static xp_status launch(xp_plan *plan, const xp_node *node, const char *kernel, const xp_tensor *pairs) {
    const int64_t columns = pairs->shape[2], count = pairs->shape[0] * columns;
    xp_launch_request request = {.file = "pair", .kernel = kernel, .dimensions = 1, .local = {64}};
    request.global[0] = (size_t)xp_launch_blocks(count, 64) * 64;
    request.flops = 2.0 * (double)count;
    for (int i = 0; i < node->input_count; i++) {
        xp_launch_read(&request, node->inputs[i]);
        request.bytes += (double)xp_tensor_bytes(node->inputs[i]);
    }
    xp_launch_write(&request, node->outputs[0]);
    request.bytes += (double)xp_tensor_bytes(node->outputs[0]);
    xp_launch_int(&request, count);
    xp_launch_int(&request, columns);
    return xp_plan_launch(plan, node, &request);
}

static xp_status pair_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    (void)family;
    return launch(plan, node, "pair", node->inputs[0]);
}

static xp_status pair_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                               xp_tensor **d_inputs) {
    xp_tensor *inputs[] = {xp_graph_dense(graph, d_outputs[0]), node->inputs[0]};
    d_inputs[0] = xp_graph_tensor(graph, "d_pairs", XP_F32, 3, node->inputs[0]->shape);
    if (!inputs[0] || !d_inputs[0]) return XP_OUT_OF_MEMORY;
    return xp_graph_node(graph, &xp_operation_pair_backward, 2, inputs, 1, d_inputs, NULL, 0) ? XP_OK
                                                                                              : XP_OUT_OF_MEMORY;
}

const xp_operation xp_operation_pair = {
    .name = "pair", .gradient = pair_gradient, .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, pair_emit})};

xp_tensor *xp_pair(xp_graph *graph, xp_tensor *pairs) {
    char shape[128];
    pairs = xp_graph_dense(graph, pairs);
    if (!pairs) return NULL;
    if (pairs->rank != 3 || pairs->type != XP_F32 || pairs->shape[1] != 2) {
        xp_fail(XP_INVALID_ARGUMENT, "pair: %s %s is not [batch, 2, width]", pairs->name,
                xp_tensor_shape_text(pairs, shape, sizeof shape));
        return NULL;
    }
    xp_tensor *y = xp_graph_tensor(graph, "features", XP_F32, 3, (int64_t[]){pairs->shape[0], 4, pairs->shape[2]});
    return y && xp_graph_node(graph, &xp_operation_pair, 1, &pairs, 1, &y, NULL, 0) ? y : NULL;
}

static xp_status pair_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    (void)family;
    return launch(plan, node, "pair_backward", node->inputs[1]);
}

const xp_operation xp_operation_pair_backward = {.name = "pair_backward",
                                                 .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, pair_backward_emit})};
