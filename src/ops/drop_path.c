/* Stochastic depth (Huang et al., 2016): a branch of a residual network is dropped for whole samples. Owns its rules
 * and launch; must not know what the branch computes. */
#include "graph/stored.h"
#include "ops/building.h"

extern const xp_operation xp_operation_drop_path; /* its gradient rule adds itself */

static xp_tensor *drop(xp_graph *graph, xp_tensor *x, xp_tensor *random_state,
                       const xp_dropout_attributes *attributes) {
    xp_tensor *inputs[] = {xp_graph_dense(graph, x), random_state};
    if (!inputs[0] || !inputs[1]) return NULL;
    xp_tensor *y = xp_graph_tensor(graph, "branch", x->type, x->rank, x->shape);
    if (!y || !xp_graph_node(graph, &xp_operation_drop_path, 2, inputs, 1, &y, attributes, sizeof *attributes))
        return NULL;
    return y;
}

static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    d_inputs[0] = drop(graph, d_outputs[0], node->inputs[1], XP_ATTRIBUTES(xp_dropout_attributes, node));
    return d_inputs[0] ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status emit(xp_plan *plan, const xp_node *node, xp_family family) {
    enum { GROUP = 64 };
    const xp_dropout_attributes *attributes = XP_ATTRIBUTES(xp_dropout_attributes, node);
    const int64_t count = xp_tensor_elements(node->outputs[0]);
    xp_launch_request request = {.file = "drop_path",
                                 .kernel = "drop_path",
                                 .dimensions = 1,
                                 .global = {(size_t)xp_launch_blocks(count, GROUP) * GROUP},
                                 .local = {GROUP},
                                 .flops = (double)count,
                                 .bytes = 2 * xp_storage_bytes(node) * (double)count};
    xp_storage_set(&request.variant, node);
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_uint(&request, attributes->threshold);
    xp_launch_uint(&request, attributes->stream);
    xp_launch_float(&request, xp_building_keep_scale(attributes));
    xp_launch_int(&request, count / node->outputs[0]->shape[0]);
    xp_launch_int(&request, count);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_drop_path = {.name = "drop_path",
                                             .gradient = gradient,
                                             .emitters = XP_EMITTERS({XP_FAMILY_ANY, xp_supports_storage, emit}),
                                             .stored_inputs = 1,
                                             .stored_outputs = 1};

xp_tensor *xp_drop_path(xp_graph *graph, xp_tensor *x, float probability) {
    xp_dropout_attributes attributes;
    if (!x || xp_building_dropout(graph, x->name, probability, &attributes) != XP_OK) return NULL;
    if (attributes.probability == 0.0f) return x;
    return drop(graph, x, xp_graph_random_state(graph), &attributes);
}
