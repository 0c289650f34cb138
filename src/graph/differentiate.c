/* Reverse-mode differentiation: adds the backward nodes of a graph to the same graph. Gradients that meet at a tensor
 * are added in the reverse order of the nodes, always the same, so the order of summation is fixed. */
#include "graph/operation.h"
#include "graph/store.h"

#include <stdlib.h>
#include <string.h>

/* Where gradients are gathered: by tensor id, for the tensors that existed before the backward pass. */
typedef struct gradients {
    xp_tensor **of;
    int count;
} gradients;

static xp_status gather(xp_graph *graph, gradients *all, const xp_tensor *tensor, xp_tensor *gradient) {
    xp_tensor **slot = &all->of[tensor->id];
    /* The later one first: what makes it can add the earlier one (graph/fuse.c). */
    *slot = *slot ? xp_add(graph, gradient, *slot) : gradient;
    return *slot ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status differentiate_node(xp_graph *graph, gradients *all, const xp_node *node) {
    xp_tensor *d_outputs[XP_MAX_OUTPUTS] = {0}, *d_inputs[XP_MAX_INPUTS] = {0};
    bool reached = false, wanted = false;
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] && (d_outputs[i] = all->of[node->outputs[i]->id])) reached = true;
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] && node->inputs[i]->needs_gradient) wanted = true;
    if (!reached || !wanted) return XP_OK;
    if (!node->operation->gradient)
        return xp_fail(XP_UNSUPPORTED, "%s: operation %s cannot be differentiated", node->label, node->operation->name);
    memcpy(graph->scope, node->label, sizeof graph->scope);
    XP_TRY(node->operation->gradient(graph, node, d_outputs, d_inputs));
    for (int i = 0; i < node->input_count; i++)
        if (d_inputs[i] && node->inputs[i] && node->inputs[i]->needs_gradient)
            XP_TRY(gather(graph, all, node->inputs[i], d_inputs[i]));
    return XP_OK;
}

/* The gradients of parameters and leaves are what it is for: they stay as they are. */
static xp_status fuse(xp_graph *graph, const gradients *all, int leaf_count, xp_tensor *const *leaves) {
    bool *held = calloc((size_t)graph->tensor_count, sizeof *held);
    if (!held) return xp_fail(XP_OUT_OF_MEMORY, "no memory to fuse the operations of %d tensors", graph->tensor_count);
    for (int i = 0; i < all->count; i++)
        if (all->of[i] && graph->tensors[i]->role == XP_ROLE_PARAMETER) held[xp_tensor_root(all->of[i])->id] = true;
    for (int i = 0; i < leaf_count; i++)
        if (all->of[leaves[i]->id]) held[xp_tensor_root(all->of[leaves[i]->id])->id] = true;
    xp_graph_fuse(graph, held);
    free(held);
    return XP_OK;
}

/* Gives a parameter's gradient its place in the store. */
static xp_status bind_parameter(xp_graph *graph, const xp_tensor *parameter, xp_tensor *gradient) {
    xp_tensor *root = xp_tensor_root(gradient);
    bool own = root->role == XP_ROLE_ACTIVATION && root->producer && xp_tensor_is_dense(gradient) &&
               xp_tensor_elements(root) == xp_tensor_elements(gradient);
    if (!own) {
        root = xp_copy(graph, gradient, NULL);
        if (!root) return XP_OUT_OF_MEMORY;
    }
    root->role = XP_ROLE_GRADIENT;
    root->store_index = parameter->store_index;
    return xp_store_use(graph->store, XP_STORE_GRADIENTS);
}

static xp_status check(int output_count, xp_tensor *const *outputs, xp_tensor *const *seeds, int leaf_count,
                       xp_tensor *const *leaves) {
    for (int i = 0; i < output_count; i++) {
        const xp_tensor *output = outputs[i], *seed = seeds[i];
        if (!output) return xp_last_status(); /* the reason is that of its builder */
        if (!seed) return xp_fail(XP_INVALID_ARGUMENT, "the gradient of tensor %s is NULL", output->name);
        bool same = seed->rank == output->rank && seed->type == output->type;
        for (int axis = 0; same && axis < seed->rank; axis++) same = seed->shape[axis] == output->shape[axis];
        char text[128], other[128];
        if (!same)
            return xp_fail(XP_INVALID_ARGUMENT, "tensor %s %s cannot be the gradient of tensor %s %s", seed->name,
                           xp_tensor_shape_text(seed, text, sizeof text), output->name,
                           xp_tensor_shape_text(output, other, sizeof other));
    }
    for (int i = 0; i < leaf_count; i++) {
        if (!leaves[i]) return xp_fail(XP_INVALID_ARGUMENT, "leaf %d is NULL", i);
        if (!leaves[i]->needs_gradient)
            return xp_fail(XP_INVALID_ARGUMENT,
                           "tensor %s has no gradient: call xp_tensor_want_gradient before building on it",
                           leaves[i]->name);
    }
    return XP_OK;
}

xp_status xp_graph_differentiate(xp_graph *graph, int output_count, xp_tensor *const *outputs, xp_tensor *const *seeds,
                                 int leaf_count, xp_tensor *const *leaves, xp_tensor **leaf_gradients) {
    XP_TRY(check(output_count, outputs, seeds, leaf_count, leaves));
    int node_count = graph->node_count;
    gradients all = {.count = graph->tensor_count};
    all.of = calloc((size_t)all.count, sizeof *all.of);
    if (!all.of) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the gradients of %d tensors", all.count);
    char scope[XP_NAME_BYTES];
    memcpy(scope, graph->scope, sizeof scope);
    graph->backward = true;

    xp_status status = XP_OK;
    for (int i = 0; i < output_count && status == XP_OK; i++) status = gather(graph, &all, outputs[i], seeds[i]);
    for (int i = node_count - 1; i >= 0 && status == XP_OK; i--)
        status = differentiate_node(graph, &all, graph->nodes[i]);
    if (status == XP_OK) status = fuse(graph, &all, leaf_count, leaves);
    for (int i = 0; i < all.count && status == XP_OK; i++) {
        const xp_tensor *tensor = graph->tensors[i];
        if (tensor->role == XP_ROLE_PARAMETER && tensor->needs_gradient && all.of[i])
            status = bind_parameter(graph, tensor, all.of[i]);
    }
    for (int i = 0; i < leaf_count && status == XP_OK; i++) leaf_gradients[i] = all.of[leaves[i]->id];

    graph->backward = false;
    memcpy(graph->scope, scope, sizeof scope);
    free(all.of);
    return status;
}
