/* Cast: converts a tensor to another element type. Owns its rule and launch; must not know what it is used for. */
#include "graph/store.h"
#include "graph/stored.h"
#include "ops/ops.h"

enum { BLOCK = 256 }; /* elements of a work-group */

/* Casts take every pair of types, which a node's storage in one type does not describe. */
static bool supports(const xp_device *device, const xp_node *node) {
    (void)device;
    return xp_type_is_real(node->inputs[0]->type) && xp_type_is_real(node->outputs[0]->type);
}

static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    d_inputs[0] = xp_cast(graph, d_outputs[0], node->inputs[0]->type);
    return d_inputs[0] ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *x = node->inputs[0], *y = node->outputs[0];
    if (y->role == XP_ROLE_COPY) return XP_OK; /* the store has it */
    const int64_t count = xp_tensor_elements(y);
    xp_launch_request request = {.file = "cast",
                                 .kernel = "cast",
                                 .dimensions = 1,
                                 .global = {(size_t)xp_launch_blocks(count, BLOCK) * BLOCK},
                                 .local = {BLOCK},
                                 .bytes = (double)(xp_tensor_bytes(x) + xp_tensor_bytes(y))};
    xp_variant_set(&request.variant, "FROM", xp_storage_number(x->type));
    xp_variant_set(&request.variant, "TO", xp_storage_number(y->type));
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, count);
    return xp_plan_launch(plan, node, &request);
}

static xp_combine casts(const xp_node *node) {
    (void)node;
    return XP_COMBINE_CAST;
}

const xp_operation xp_operation_cast = {.name = "cast",
                                        .gradient = gradient,
                                        .emitters = XP_EMITTERS({XP_FAMILY_ANY, supports, emit}),
                                        .combination = casts};

xp_tensor *xp_cast(xp_graph *graph, xp_tensor *x, xp_type type) {
    if (!x || x->type == type) return x;
    if (!xp_type_is_real(x->type) || !xp_type_is_real(type)) {
        xp_fail(XP_INVALID_ARGUMENT, "cast: tensor %s in %s cannot be cast to %s", x->name, xp_type_name(x->type),
                xp_type_name(type));
        return NULL;
    }
    x = xp_graph_dense(graph, x);
    if (!x) return NULL;
    xp_tensor *y = xp_graph_tensor(graph, x->name, type, x->rank, x->shape);
    return y && xp_graph_node(graph, &xp_operation_cast, 1, &x, 1, &y, NULL, 0) ? y : NULL;
}

xp_tensor *xp_cast_weight(xp_graph *graph, xp_tensor *weight, xp_type type) {
    xp_tensor *y = xp_cast(graph, weight, type);
    const bool kept = y && y != weight && weight->role == XP_ROLE_PARAMETER &&
                      graph->store->parameters[weight->store_index].kind != XP_PARAMETER_STATE &&
                      xp_store_keep_copies(graph->store, type);
    if (kept) {
        y->role = XP_ROLE_COPY;
        y->store_index = weight->store_index;
    }
    return y;
}
