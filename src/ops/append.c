/* Rows added to what a tensor remembers from run to run. Owns shape rule and launch of cl/append.cl; must not know what
 * is remembered. */
#include "graph/launch.h"
#include "ops/ops.h"
#include "ops/views.h"

enum { WHOLE, ROWS, STARTS, INPUTS };

static xp_status append_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *whole = node->inputs[WHOLE], *rows = node->inputs[ROWS];
    const int64_t elements = xp_tensor_elements(rows);
    xp_launch_request request = {.file = "append", .kernel = "append", .dimensions = 1, .local = {64}};
    request.global[0] = (size_t)xp_launch_blocks(elements, 64) * 64;
    request.bytes = 8.0 * (double)elements;
    xp_view_pass(&request, node->inputs[ROWS], false);
    xp_launch_read(&request, node->inputs[STARTS]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, elements);
    xp_launch_int(&request, rows->shape[1]);
    xp_launch_int(&request, whole->shape[1]);
    xp_launch_int(&request, whole->shape[2]);
    xp_launch_int(&request, whole->shape[3]);
    return xp_plan_launch(plan, node, &request);
}

extern const xp_operation xp_operation_append;
const xp_operation xp_operation_append = {.name = "append",
                                          .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, append_emit})};

xp_tensor *xp_append(xp_graph *graph, xp_tensor *whole, xp_tensor *rows, xp_tensor *starts) {
    if (!whole || !rows || !starts) return NULL;
    char shape[128], other[128];
    bool fits = whole->rank == 4 && rows->rank == 4 && xp_view_is_plain(whole) && xp_view_has_unit_columns(rows);
    for (int i = 0; fits && i < 4; i++) fits = i == 1 || whole->shape[i] == rows->shape[i];
    if (!fits || whole->role != XP_ROLE_INPUT || starts->type != XP_I32 || starts->rank != 1 ||
        starts->shape[0] != rows->shape[0]) {
        xp_fail(
            XP_INVALID_ARGUMENT,
            "append: the rows %s %s cannot be added to %s %s: both must be [B,·,H,D], with an integer for each of B",
            rows->name, xp_tensor_shape_text(rows, shape, sizeof shape), whole->name,
            xp_tensor_shape_text(whole, other, sizeof other));
        return NULL;
    }
    xp_tensor *inputs[INPUTS] = {whole, rows, starts};
    return xp_graph_node(graph, &xp_operation_append, INPUTS, inputs, 1, &whole, NULL, 0) ? whole : NULL;
}
