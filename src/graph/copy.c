/* Copies between views, and sums: the operations that graphs add on their own, to bring gradients together and to make
 * views dense. Owns their rules and launches. */
#include "graph/stored.h"

enum { SUM_BLOCK = 256, COPY_BLOCK = 64 }; /* elements of a work-group */

/* ---- add --------------------------------------------------------------------------------------------------------- */

static xp_status add_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    d_inputs[0] = d_inputs[1] = d_outputs[0];
    return XP_OK;
}

static xp_status add_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_launch_request request = {.file = "copy", .kernel = "add", .dimensions = 1, .local = {SUM_BLOCK}};
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, node->outputs[0]);
    const int64_t count = xp_tensor_elements(node->outputs[0]);
    request.global[0] = (size_t)xp_launch_blocks(count, SUM_BLOCK) * SUM_BLOCK;
    request.flops = (double)count;
    request.bytes = 3 * xp_storage_bytes(node) * (double)count;
    xp_storage_set(&request.variant, node);
    xp_launch_int(&request, count);
    return xp_plan_launch(plan, node, &request);
}

static xp_combine sum(const xp_node *node) {
    (void)node;
    return XP_COMBINE_ADD;
}

const xp_operation xp_operation_add = {.name = "add",
                                       .gradient = add_gradient,
                                       .emitters = XP_EMITTERS({XP_FAMILY_ANY, xp_supports_storage, add_emit}),
                                       .stored_inputs = 3,
                                       .stored_outputs = 1,
                                       .combination = sum};

xp_tensor *xp_add(xp_graph *graph, xp_tensor *a, xp_tensor *b) {
    if (!a || !b) return NULL;
    if (!xp_tensor_same_shape(a, b)) {
        char a_shape[128], b_shape[128];
        xp_fail(XP_INVALID_ARGUMENT, "add: %s %s and %s %s differ in shape", a->name,
                xp_tensor_shape_text(a, a_shape, sizeof a_shape), b->name,
                xp_tensor_shape_text(b, b_shape, sizeof b_shape));
        return NULL;
    }
    xp_tensor *inputs[] = {xp_graph_dense(graph, a), xp_graph_dense(graph, b)};
    if (!inputs[0] || !inputs[1]) return NULL;
    xp_tensor *y = xp_graph_tensor(graph, "sum", a->type, a->rank, a->shape);
    if (!y || !xp_graph_node(graph, &xp_operation_add, 2, inputs, 1, &y, NULL, 0)) return NULL;
    return y;
}

/* ---- copy -------------------------------------------------------------------------------------------------------- */

static xp_status copy_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                               xp_tensor **d_inputs) {
    d_inputs[0] = d_outputs[0];
    return XP_OK;
}

/* The axes of a copy, last one first, with neighbours merged where both sides step through them evenly. */
typedef struct copy_axes {
    int count;
    int64_t shape[XP_MAX_RANK], from[XP_MAX_RANK], to[XP_MAX_RANK];
} copy_axes;

static copy_axes merge_axes(const xp_tensor *from, const xp_tensor *to) {
    copy_axes axes = {.count = 0, .shape = {1, 1, 1, 1, 1}};
    for (int i = from->rank - 1; i >= 0; i--) {
        if (from->shape[i] == 1) continue;
        int last = axes.count - 1;
        if (last >= 0 && from->stride[i] == axes.shape[last] * axes.from[last] &&
            to->stride[i] == axes.shape[last] * axes.to[last]) {
            axes.shape[last] *= from->shape[i];
            continue;
        }
        axes.shape[axes.count] = from->shape[i];
        axes.from[axes.count] = from->stride[i];
        axes.to[axes.count] = to->stride[i];
        axes.count++;
    }
    return axes;
}

static xp_status copy_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *from = node->inputs[0], *to = node->outputs[0];
    copy_axes axes = merge_axes(from, to);
    int64_t rows = axes.shape[1] * axes.shape[2] * axes.shape[3] * axes.shape[4];
    xp_launch_request request = {.file = "copy", .kernel = "copy", .dimensions = 1, .local = {COPY_BLOCK}};
    request.global[0] = (size_t)(rows * xp_launch_blocks(axes.shape[0], COPY_BLOCK)) * COPY_BLOCK;
    request.bytes = 2.0 * (double)xp_tensor_bytes(to);
    xp_storage_set(&request.variant, node);
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, from->offset);
    xp_launch_int(&request, to->offset);
    xp_launch_int(&request, axes.shape[0]);
    for (int i = 3; i >= 1; i--) xp_launch_int(&request, axes.shape[i]);
    for (int i = 4; i >= 0; i--) xp_launch_int(&request, axes.from[i]);
    for (int i = 4; i >= 0; i--) xp_launch_int(&request, axes.to[i]);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_copy = {.name = "copy",
                                        .gradient = copy_gradient,
                                        .emitters = XP_EMITTERS({XP_FAMILY_ANY, xp_supports_storage, copy_emit}),
                                        .stored_inputs = 1,
                                        .stored_outputs = 1,
                                        .strided_outputs = 1};

xp_tensor *xp_copy(xp_graph *graph, xp_tensor *from, xp_tensor *to_or_null) {
    if (!from) return NULL;
    xp_tensor *to = to_or_null ? to_or_null : xp_graph_tensor(graph, from->name, from->type, from->rank, from->shape);
    if (!to) return NULL;
    if (!xp_tensor_same_shape(from, to)) {
        char from_shape[128], to_shape[128];
        xp_fail(XP_INVALID_ARGUMENT, "copy: %s %s does not fit into %s %s", from->name,
                xp_tensor_shape_text(from, from_shape, sizeof from_shape), to->name,
                xp_tensor_shape_text(to, to_shape, sizeof to_shape));
        return NULL;
    }
    return xp_graph_node(graph, &xp_operation_copy, 1, &from, 1, &to, NULL, 0) ? to : NULL;
}

xp_tensor *xp_graph_dense(xp_graph *graph, xp_tensor *tensor) {
    if (!tensor || (tensor->offset == 0 && xp_tensor_is_dense(tensor))) return tensor;
    return xp_copy(graph, tensor, NULL);
}
