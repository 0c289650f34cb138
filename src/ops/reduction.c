/* Sums of columns: shape and launches. Owns the order of summation, which depends only on the shape and the family;
 * does not know what the sums are used for. */
#include "ops/reduction.h"

#include "ops/ops.h"

extern const xp_operation xp_operation_column_sum;

xp_tensor *xp_column_sum(xp_graph *graph, xp_tensor *x) {
    if (!x) return NULL;
    if (x->rank != 2 || !xp_type_is_real(x->type)) {
        char text[96];
        xp_fail(XP_INVALID_ARGUMENT, "column sum: %s %s is not a matrix of reals", x->name,
                xp_tensor_shape_text(x, text, sizeof text));
        return NULL;
    }
    x = xp_graph_dense(graph, x);
    if (!x) return NULL;
    xp_tensor *sums = xp_graph_tensor(graph, "column sums", XP_F32, 1, &x->shape[1]);
    if (!sums) return NULL;
    return xp_graph_node(graph, &xp_operation_column_sum, 1, &x, 1, &sums, NULL, 0) ? sums : NULL;
}

/* sums[i,:] = the sum of rows [i·block_rows, (i+1)·block_rows) of x. */
static xp_status emit_pass(xp_plan *plan, const xp_node *node, xp_tensor *x, xp_tensor *sums, int64_t rows,
                           int64_t columns, int64_t block_rows, xp_family family) {
    enum { WIDE_COLUMNS = 512, STRIP = 16 /* as in cl/strips.clh */, TILED_ITEMS = 64 };
    const bool wide = family == XP_FAMILY_WIDE;
    const int64_t block_columns = wide ? WIDE_COLUMNS : STRIP;
    const size_t local = wide ? 1 : TILED_ITEMS;
    xp_launch_request request = {.file = "reduction",
                                 .kernel = wide ? "column_sum_wide" : "column_sum_tiled",
                                 .dimensions = 2,
                                 .global = {(size_t)xp_launch_blocks(columns, block_columns) * local,
                                            (size_t)xp_launch_blocks(rows, block_rows)},
                                 .local = {local, 1},
                                 .flops = (double)rows * (double)columns,
                                 .bytes = (double)xp_type_bytes(x->type) * (double)rows * (double)columns};
    if (x->type != XP_F32) xp_storage_set(&request.variant, node);
    if (!wide) xp_variant_set(&request.variant, "QUADS", columns % 4 == 0);
    xp_launch_read(&request, x);
    xp_launch_write(&request, sums);
    xp_launch_int(&request, rows);
    xp_launch_int(&request, columns);
    xp_launch_int(&request, block_rows);
    if (wide) xp_launch_int(&request, block_columns);
    return xp_plan_launch(plan, node, &request);
}

xp_status xp_column_sum_launch(xp_plan *plan, const xp_node *node, xp_tensor *x, xp_tensor *sums, xp_family family) {
    enum { MOST_BLOCKS = 64 };
    const int64_t fewest_rows = family == XP_FAMILY_WIDE ? 64 : 512; /* which a work-group sums sixteen at a time */
    const int64_t rows = x->shape[0], columns = x->shape[1];
    if (rows <= fewest_rows) return emit_pass(plan, node, x, sums, rows, columns, rows, family);
    int64_t block_rows = xp_launch_blocks(rows, MOST_BLOCKS);
    if (block_rows < fewest_rows) block_rows = fewest_rows;
    const int64_t partial_rows = xp_launch_blocks(rows, block_rows);
    xp_tensor *partial = xp_plan_scratch(plan, node, partial_rows * columns);
    if (!partial) return XP_OUT_OF_MEMORY;
    XP_TRY(emit_pass(plan, node, x, partial, rows, columns, block_rows, family));
    return emit_pass(plan, node, partial, sums, partial_rows, columns, partial_rows, family);
}

static xp_status emit(xp_plan *plan, const xp_node *node, xp_family family) {
    return xp_column_sum_launch(plan, node, node->inputs[0], node->outputs[0], family);
}

const xp_operation xp_operation_column_sum = {
    .name = "column_sum",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, emit}, {XP_FAMILY_TILED, xp_supports_storage, emit}),
    .stored_inputs = 1};
