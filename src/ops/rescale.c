/* From standardised numbers of a sample to its own scale. Owns the shape rule, the gradient rule and the launch of
 * cl/rescale.cl; must not know what the numbers are. */
#include "graph/launch.h"
#include "ops/ops.h"

extern const xp_operation xp_operation_rescale; /* its gradient rule adds itself */

static xp_tensor *rescale(xp_graph *graph, xp_tensor *x, xp_tensor *levels, bool shifts) {
    xp_tensor *inputs[] = {xp_graph_dense(graph, x), xp_graph_dense(graph, levels)};
    xp_tensor *y = xp_graph_tensor(graph, "rescaled", XP_F32, 2, x->shape);
    const xp_rescale_attributes attributes = {.shifts = shifts};
    if (!inputs[0] || !inputs[1] || !y) return NULL;
    return xp_graph_node(graph, &xp_operation_rescale, 2, inputs, 1, &y, &attributes, sizeof attributes) ? y : NULL;
}

static xp_status rescale_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                  xp_tensor **d_inputs) {
    d_inputs[0] = rescale(graph, d_outputs[0], node->inputs[1], false);
    return d_inputs[0] ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status rescale_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_tensor *x = node->inputs[0], *levels = node->inputs[1];
    const int64_t count = xp_tensor_elements(x);
    xp_launch_request request = {.file = "rescale", .kernel = "rescale", .dimensions = 1, .local = {64}};
    request.global[0] = (size_t)xp_launch_blocks(count, 64) * 64;
    request.flops = 2.0 * (double)count;
    request.bytes = 2.0 * (double)xp_tensor_bytes(x) + (double)xp_tensor_bytes(levels);
    xp_variant_set(&request.variant, "SHIFTS", XP_ATTRIBUTES(xp_rescale_attributes, node)->shifts);
    xp_launch_read(&request, x);
    xp_launch_read(&request, levels);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, count);
    xp_launch_int(&request, x->shape[1]);
    xp_launch_int(&request, levels->shape[2]);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_rescale = {
    .name = "rescale", .gradient = rescale_gradient, .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, rescale_emit})};

xp_tensor *xp_rescale(xp_graph *graph, xp_tensor *x, xp_tensor *levels) {
    char shape[128];
    if (!x || !levels) return NULL;
    if (x->rank != 2 || levels->rank != 3 || levels->shape[0] != x->shape[0] || levels->shape[1] != 2 ||
        x->shape[1] % levels->shape[2] != 0) {
        xp_fail(XP_INVALID_ARGUMENT, "rescale: the levels %s do not fit %lld numbers of each of %lld samples",
                xp_tensor_shape_text(levels, shape, sizeof shape), (long long)x->shape[1], (long long)x->shape[0]);
        return NULL;
    }
    return rescale(graph, x, levels, true);
}
