/* Activation and dropout: operations that treat each element by itself. Owns their rules and launches; must not know
 * what the elements mean. */
#include "graph/stored.h"
#include "ops/building.h"

static void pass_dropout(xp_launch_request *request, xp_tensor *random_state, const xp_dropout_attributes *attributes) {
    xp_launch_read(request, random_state);
    xp_launch_uint(request, attributes->threshold);
    xp_launch_uint(request, attributes->stream);
    xp_launch_float(request, xp_building_keep_scale(attributes));
}

enum { DROPOUT_BLOCK = 4096 }; /* elements of a work-item of dropout_wide */

/* y = x · keep / (1-p); y may be x. */
static xp_status launch_dropout(xp_plan *plan, const xp_node *node, const xp_dropout_attributes *attributes,
                                xp_tensor *x, xp_tensor *random_state, xp_tensor *y, xp_family family) {
    const int64_t count = xp_tensor_elements(y);
    const bool wide = family == XP_FAMILY_WIDE;
    xp_launch_request request = {
        .file = "elementwise", .kernel = wide ? "dropout_wide" : "dropout_tiled", .dimensions = 1};
    request.local[0] = wide ? 1 : 64;
    request.global[0] = (size_t)(wide ? xp_launch_blocks(count, DROPOUT_BLOCK) : xp_launch_blocks(count, 4 * 64) * 64);
    if (wide) xp_variant_set(&request.variant, "DROPOUT_BLOCK", DROPOUT_BLOCK);
    request.flops = (double)count;
    request.bytes = 2 * xp_storage_bytes(node) * (double)count;
    xp_storage_set(&request.variant, node);
    xp_launch_read(&request, x);
    xp_launch_write(&request, y);
    pass_dropout(&request, random_state, attributes);
    xp_launch_int(&request, count);
    return xp_plan_launch(plan, node, &request);
}

/* ---- activation -------------------------------------------------------------------------------------------------- */

static xp_status emit_per_element(xp_plan *plan, const xp_node *node, xp_launch_request *request, double flops) {
    int64_t count = xp_tensor_elements(node->outputs[0]);
    request->file = "elementwise";
    request->dimensions = 1;
    request->local[0] = 256;
    request->global[0] = (size_t)xp_launch_blocks(count, 256) * 256;
    request->flops = flops * (double)count;
    xp_storage_set(&request->variant, node);
    xp_result_set(&request->variant, node);
    xp_launch_int(request, count);
    return xp_plan_launch(plan, node, request);
}

static xp_status activation_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                     xp_tensor **d_inputs) {
    const xp_activation_attributes *attributes = XP_ATTRIBUTES(xp_activation_attributes, node);
    xp_tensor *dy = d_outputs[0];
    if (node->inputs[1]) dy = xp_dropout_again(graph, dy, node->inputs[1], &attributes->dropout);
    dy = xp_cast(graph, dy, node->inputs[0]->type);
    xp_tensor *dx = xp_activation_backward(graph, dy, node->inputs[0], (xp_activation)attributes->activation);
    d_inputs[0] = dx ? xp_mask_rows(graph, dx, node->inputs[2]) : NULL;
    return d_inputs[0] ? XP_OK : XP_INVALID_ARGUMENT;
}

static xp_status activation_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_activation_attributes *attributes = XP_ATTRIBUTES(xp_activation_attributes, node);
    xp_tensor *x = node->inputs[0], *random_state = node->inputs[1], *lengths = node->inputs[2], *y = node->outputs[0];
    /* On a CPU Philox pays only many blocks at a time. */
    const bool single = xp_node_storage(node) == XP_F32 && xp_node_result(node) == XP_F32;
    const bool apart = family == XP_FAMILY_WIDE && single, fused = random_state && !apart;
    xp_launch_request request = {.kernel = fused ? "activation_dropout" : "activation",
                                 .bytes = (double)(xp_tensor_bytes(x) + xp_tensor_bytes(y))};
    xp_variant_set(&request.variant, "ACTIVATION", attributes->activation);
    if (lengths) xp_variant_set(&request.variant, "LENGTHS", 1);
    xp_launch_read(&request, x);
    xp_launch_write(&request, y);
    xp_launch_read(&request, lengths);
    xp_launch_int(&request, lengths ? x->shape[1] : 1);
    xp_launch_int(&request, x->shape[x->rank - 1]);
    if (fused) pass_dropout(&request, random_state, &attributes->dropout);
    XP_TRY(emit_per_element(plan, node, &request, 20));
    if (!random_state || fused) return XP_OK;
    return launch_dropout(plan, node, &attributes->dropout, y, random_state, y, family);
}

static bool activation_take_in(xp_node *node, xp_combine combine, xp_tensor *partner, const xp_node *reader) {
    xp_activation_attributes *attributes = (xp_activation_attributes *)(void *)node->attributes;
    if (combine != XP_COMBINE_DROPOUT || node->inputs[1]) return false;
    attributes->dropout = *XP_ATTRIBUTES(xp_dropout_attributes, reader);
    node->inputs[1] = partner;
    return true;
}

const xp_operation xp_operation_activation = {.name = "activation",
                                              .gradient = activation_gradient,
                                              .emitters =
                                                  XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, activation_emit},
                                                              {XP_FAMILY_TILED, xp_supports_storage, activation_emit}),
                                              .stored_inputs = 1,
                                              .stored_outputs = 1,
                                              .result_outputs = 1,
                                              .take_in = activation_take_in};

xp_tensor *xp_activate_rows(xp_graph *graph, xp_tensor *x, xp_tensor *lengths, xp_activation activation, xp_type type) {
    if (activation == XP_ACTIVATION_NONE) return xp_cast(graph, xp_mask_rows(graph, x, lengths), type);
    xp_tensor *inputs[] = {xp_graph_dense(graph, x), NULL, xp_graph_dense(graph, lengths)};
    if (!inputs[0] || (lengths && !inputs[2])) return NULL;
    xp_tensor *y = xp_graph_tensor(graph, "activated", type, x->rank, x->shape);
    const xp_activation_attributes attributes = {.activation = activation};
    if (!y || !xp_graph_node(graph, &xp_operation_activation, 3, inputs, 1, &y, &attributes, sizeof attributes))
        return NULL;
    return y;
}

xp_tensor *xp_activate(xp_graph *graph, xp_tensor *x, xp_activation activation) {
    return x ? xp_activate_rows(graph, x, NULL, activation, x->type) : NULL;
}

static xp_status activation_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_launch_request request = {.kernel = "activation_backward",
                                 .bytes = 3 * (double)xp_tensor_bytes(node->outputs[0])};
    xp_variant_set(&request.variant, "ACTIVATION", XP_ATTRIBUTES(xp_activation_attributes, node)->activation);
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, node->outputs[0]);
    return emit_per_element(plan, node, &request, 24);
}

static xp_combine slope(const xp_node *node) {
    return XP_ATTRIBUTES(xp_activation_attributes, node)->activation == XP_ACTIVATION_RELU ? XP_COMBINE_RELU_SLOPE
                                                                                           : XP_COMBINE_GELU_SLOPE;
}

const xp_operation xp_operation_activation_backward = {
    .name = "activation_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_ANY, xp_supports_storage, activation_backward_emit}),
    .stored_inputs = 3,
    .stored_outputs = 1,
    .combination = slope};

xp_tensor *xp_activation_backward(xp_graph *graph, xp_tensor *dy, xp_tensor *z, xp_activation activation) {
    if (activation == XP_ACTIVATION_NONE) return dy;
    xp_tensor *inputs[] = {xp_graph_dense(graph, dy), xp_graph_dense(graph, z)};
    if (!inputs[0] || !inputs[1]) return NULL;
    if (xp_tensor_elements(dy) != xp_tensor_elements(z)) {
        char dy_shape[128], z_shape[128];
        xp_fail(XP_INVALID_ARGUMENT, "activation backward: the gradient %s %s does not fit %s %s", dy->name,
                xp_tensor_shape_text(dy, dy_shape, sizeof dy_shape), z->name,
                xp_tensor_shape_text(z, z_shape, sizeof z_shape));
        return NULL;
    }
    xp_tensor *dz = xp_graph_tensor(graph, "d_activation", z->type, z->rank, z->shape);
    xp_activation_attributes attributes = {.activation = activation};
    if (!dz ||
        !xp_graph_node(graph, &xp_operation_activation_backward, 2, inputs, 1, &dz, &attributes, sizeof attributes))
        return NULL;
    return dz;
}

/* ---- dropout ----------------------------------------------------------------------------------------------------- */

extern const xp_operation xp_operation_dropout; /* its gradient rule adds itself */

xp_tensor *xp_dropout_again(xp_graph *graph, xp_tensor *x, xp_tensor *random_state,
                            const xp_dropout_attributes *attributes) {
    xp_tensor *inputs[] = {xp_graph_dense(graph, x), random_state};
    if (!inputs[0] || !inputs[1]) return NULL;
    xp_tensor *y = xp_graph_tensor(graph, "dropped", x->type, x->rank, x->shape);
    if (!y || !xp_graph_node(graph, &xp_operation_dropout, 2, inputs, 1, &y, attributes, sizeof *attributes))
        return NULL;
    return y;
}

static xp_status dropout_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                  xp_tensor **d_inputs) {
    d_inputs[0] = xp_dropout_again(graph, d_outputs[0], node->inputs[1], XP_ATTRIBUTES(xp_dropout_attributes, node));
    return d_inputs[0] ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status dropout_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    return launch_dropout(plan, node, XP_ATTRIBUTES(xp_dropout_attributes, node), node->inputs[0], node->inputs[1],
                          node->outputs[0], family);
}

static xp_combine drops(const xp_node *node) {
    return XP_COMBINE_DROPOUT;
}

const xp_operation xp_operation_dropout = {
    .name = "dropout",
    .gradient = dropout_gradient,
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, dropout_emit}, {XP_FAMILY_TILED, xp_supports_storage, dropout_emit}),
    .stored_inputs = 1,
    .stored_outputs = 1,
    .combination = drops};

xp_tensor *xp_dropout(xp_graph *graph, xp_tensor *x, float probability) {
    xp_dropout_attributes attributes;
    if (!x || xp_building_dropout(graph, x->name, probability, &attributes) != XP_OK) return NULL;
    if (attributes.probability == 0.0f) return x;
    return xp_dropout_again(graph, x, xp_graph_random_state(graph), &attributes);
}
