/* Tokens, and the rows of a table that they stand for. Owns shape rules, gradient rule and launches of cl/tokens.cl;
 * must not know what a token is. */
#include "graph/launch.h"
#include "ops/ops.h"

extern const xp_operation xp_operation_lookup_backward; /* added by the gradient rule */

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

static xp_status tokens_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *values = node->inputs[0], *y = node->outputs[0];
    const int64_t count = xp_tensor_elements(y);
    xp_launch_request request = {.file = "tokens", .kernel = "tokens", .dimensions = 1, .local = {64}};
    request.global[0] = (size_t)xp_launch_blocks(count, 64) * 64;
    request.bytes = 8.0 * (double)count;
    xp_variant_set(&request.variant, "WEIGHTS", node->inputs[1] != NULL);
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, count);
    xp_launch_int(&request, y->shape[1]);
    xp_launch_int(&request, values->shape[1]);
    xp_launch_int(&request, XP_ATTRIBUTES(xp_tokens_attributes, node)->first);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_tokens = {.name = "tokens",
                                          .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, tokens_emit})};

xp_tensor *xp_tokens(xp_graph *graph, xp_tensor *values, xp_tensor *weights, int64_t first, int64_t rows) {
    values = xp_graph_dense(graph, values);
    if (!values) return NULL;
    char shape[128];
    if (values->rank != 2 || values->type != XP_F32 || first < 0 || rows < 1 || first + rows > values->shape[1]) {
        xp_fail(XP_INVALID_ARGUMENT, "tokens: %s %s is not [batch, length] with the rows %lld to %lld", values->name,
                xp_tensor_shape_text(values, shape, sizeof shape), (long long)first, (long long)(first + rows - 1));
        return NULL;
    }
    if (weights && (weights->rank != 1 || weights->type != XP_F32 || weights->shape[0] != values->shape[0])) {
        xp_fail(XP_INVALID_ARGUMENT, "tokens: the weights %s %s are not one float for each of %lld samples",
                weights->name, xp_tensor_shape_text(weights, shape, sizeof shape), (long long)values->shape[0]);
        return NULL;
    }
    xp_tensor *inputs[] = {values, weights};
    xp_tensor *y = xp_graph_tensor(graph, "tokens", XP_I32, 2, (int64_t[]){values->shape[0], rows});
    const xp_tokens_attributes attributes = {.first = first};
    if (!y || !xp_graph_node(graph, &xp_operation_tokens, 2, inputs, 1, &y, &attributes, sizeof attributes))
        return NULL;
    return y;
}

/* ---- lookup ------------------------------------------------------------------------------------------------------ */

/* What the kernels move at once: four columns where the width allows. */
static int64_t units_of_row(const xp_tensor *table) {
    return table->shape[1] / (table->shape[1] % 4 == 0 ? 4 : 1);
}

static xp_status lookup_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *table = node->inputs[0];
    const int64_t units = units_of_row(table), count = xp_tensor_elements(node->inputs[1]) * units;
    xp_launch_request request = {.file = "tokens", .kernel = "lookup", .dimensions = 1, .local = {64}};
    request.global[0] = (size_t)xp_launch_blocks(count, 64) * 64;
    request.bytes = 8.0 * (double)xp_tensor_elements(node->outputs[0]);
    xp_variant_set(&request.variant, "QUADS", table->shape[1] % 4 == 0);
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, count);
    xp_launch_int(&request, units);
    xp_launch_int(&request, table->shape[0]);
    return xp_plan_launch(plan, node, &request);
}

static xp_status lookup_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                 xp_tensor **d_inputs) {
    xp_tensor *inputs[] = {xp_graph_dense(graph, d_outputs[0]), node->inputs[1]};
    d_inputs[0] = xp_graph_tensor(graph, "d_table", XP_F32, 2, node->inputs[0]->shape);
    if (!inputs[0] || !d_inputs[0]) return XP_OUT_OF_MEMORY;
    return xp_graph_node(graph, &xp_operation_lookup_backward, 2, inputs, 1, d_inputs, NULL, 0) ? XP_OK
                                                                                                : XP_OUT_OF_MEMORY;
}

const xp_operation xp_operation_lookup = {
    .name = "lookup", .gradient = lookup_gradient, .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, lookup_emit})};

xp_tensor *xp_lookup(xp_graph *graph, xp_tensor *table, xp_tensor *tokens) {
    table = xp_graph_dense(graph, table);
    tokens = xp_graph_dense(graph, tokens);
    if (!table || !tokens) return NULL;
    char shape[128];
    if (table->rank != 2 || table->type != XP_F32) {
        xp_fail(XP_INVALID_ARGUMENT, "lookup: the table %s %s is not [entries, width]", table->name,
                xp_tensor_shape_text(table, shape, sizeof shape));
        return NULL;
    }
    if (tokens->rank != 2 || tokens->type != XP_I32) {
        xp_fail(XP_INVALID_ARGUMENT, "lookup: the tokens %s %s are not integers [batch, length]", tokens->name,
                xp_tensor_shape_text(tokens, shape, sizeof shape));
        return NULL;
    }
    xp_tensor *inputs[] = {table, tokens};
    xp_tensor *y = xp_graph_tensor(graph, "looked_up", XP_F32, 3,
                                   (int64_t[]){tokens->shape[0], tokens->shape[1], table->shape[1]});
    return y && xp_graph_node(graph, &xp_operation_lookup, 2, inputs, 1, &y, NULL, 0) ? y : NULL;
}

static xp_status lookup_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *d_table = node->outputs[0];
    const int64_t units = units_of_row(d_table), rows = xp_tensor_elements(node->inputs[1]);
    const bool wide = family == XP_FAMILY_WIDE;
    const int64_t owned = wide ? 16 : 1, local = wide ? 1 : 64;
    xp_launch_request request = {
        .file = "tokens", .kernel = "lookup_backward", .dimensions = 2, .local = {(size_t)local, 1}};
    request.global[0] = (size_t)(xp_launch_blocks(units, owned * local) * local);
    request.global[1] = (size_t)d_table->shape[0];
    request.flops = (double)xp_tensor_elements(node->inputs[0]);
    request.bytes = 4.0 * (double)(xp_tensor_elements(node->inputs[0]) + xp_tensor_elements(d_table));
    xp_variant_set(&request.variant, "OWNED", (long)owned);
    xp_variant_set(&request.variant, "QUADS", d_table->shape[1] % 4 == 0);
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, rows);
    xp_launch_int(&request, units);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_lookup_backward = {
    .name = "lookup_backward",
    .emitters =
        XP_EMITTERS({XP_FAMILY_WIDE, NULL, lookup_backward_emit}, {XP_FAMILY_TILED, NULL, lookup_backward_emit})};
