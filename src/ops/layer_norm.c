/* Residual addition, dropout of the branch and LayerNorm, fused, and the gradient. Owns the split of the rows into
 * blocks, and so the order of the sums over rows; must not know what the rows are. */
#include "graph/stored.h"
#include "ops/building.h"

extern const xp_operation xp_operation_layer_norm_backward; /* added by the gradient rule */

/* Enough blocks of rows for 64 cores whatever the device, so that the order of summation never depends on it; for GPUs,
 * whose work-groups share a block's columns, blocks so large that most models have one, which saves a launch. */
enum { ROW_BLOCKS = 128, SMALLEST_BLOCK = 4, TILED_BLOCK = 512 };
enum { STRIP = 16 /* columns of a work-group, as in cl/strips.clh */, WIDE_STRIP = 64, TILED_ITEMS = 64 };
enum { ROWS_FORWARD = 4, ROWS_BACKWARD = 5 }; /* of work, as in cl/layer_norm.cl */

static int64_t rows_per_block(int64_t rows, bool wide) {
    if (!wide) return TILED_BLOCK;
    int64_t block = xp_launch_blocks(rows, ROW_BLOCKS);
    return block < SMALLEST_BLOCK ? SMALLEST_BLOCK : block;
}

/* Work-items of `tiled` that share a row: a work-group serves several rows that are narrow. */
static int64_t row_items(int64_t columns) {
    enum { FEWEST = 8 };
    int64_t items = TILED_ITEMS;
    while (items > FEWEST && items / 2 * (columns % 4 == 0 ? 4 : 1) >= columns) items /= 2;
    return items;
}

/* Of all rows. */
static int64_t row_groups(int64_t rows, int64_t columns) {
    return xp_launch_blocks(rows * row_items(columns), TILED_ITEMS);
}

static void launch_dropout(xp_launch_request *request, const xp_dropout_attributes *dropout) {
    xp_launch_uint(request, dropout->threshold);
    xp_launch_uint(request, dropout->stream);
    xp_launch_float(request, xp_building_keep_scale(dropout));
}

/* Rows in fp32 for the wide kernels where the tensors are not. */
static xp_status pass_work(xp_plan *plan, const xp_node *node, xp_launch_request *request, int64_t elements) {
    if (xp_node_storage(node) == XP_F32) return XP_OK;
    xp_tensor *work = xp_plan_scratch(plan, node, elements);
    if (!work) return XP_OUT_OF_MEMORY;
    xp_launch_write(request, work);
    return XP_OK;
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

static xp_status layer_norm_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_layer_norm_attributes *attributes = XP_ATTRIBUTES(xp_layer_norm_attributes, node);
    const xp_tensor *x = node->inputs[0];
    const bool wide = family == XP_FAMILY_WIDE, branch = node->inputs[1];
    int64_t columns = x->shape[x->rank - 1], rows = xp_tensor_elements(x) / columns, block = rows_per_block(rows, wide);
    xp_launch_request request = {
        .file = "layer_norm", .kernel = wide ? "forward_wide" : "forward_tiled", .dimensions = 1};
    request.local[0] = wide ? 1 : TILED_ITEMS;
    request.global[0] = (size_t)(wide ? xp_launch_blocks(rows, block) : row_groups(rows, columns) * TILED_ITEMS);
    request.flops = 9.0 * (double)(rows * columns);
    request.bytes = (branch ? 4 : 2) * xp_storage_bytes(node) * (double)(rows * columns);
    xp_storage_set(&request.variant, node);
    xp_variant_set(&request.variant, "BRANCH", branch);
    xp_variant_set(&request.variant, "DROPOUT", attributes->dropout.probability > 0);
    xp_variant_set(&request.variant, "STATISTICS", node->outputs[2] != NULL);
    xp_variant_set(&request.variant, "QUADS", columns % 4 == 0);
    if (!wide) xp_variant_set(&request.variant, "ROW_ITEMS", row_items(columns));
    for (int i = 0; i < 5; i++) xp_launch_read(&request, node->inputs[i]);
    for (int i = 0; i < 4; i++) xp_launch_write(&request, node->outputs[i]);
    xp_launch_int(&request, rows);
    xp_launch_int(&request, columns);
    xp_launch_int(&request, block);
    xp_launch_float(&request, attributes->epsilon);
    launch_dropout(&request, &attributes->dropout);
    if (wide) XP_TRY(pass_work(plan, node, &request, xp_launch_blocks(rows, block) * ROWS_FORWARD * columns));
    return xp_plan_launch(plan, node, &request);
}

static xp_status layer_norm_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                     xp_tensor **d_inputs) {
    const xp_layer_norm_attributes *attributes = XP_ATTRIBUTES(xp_layer_norm_attributes, node);
    xp_tensor *x = node->inputs[0], *branch = node->inputs[1], *gamma = node->inputs[2], *beta = node->inputs[3];
    bool dropped = attributes->dropout.probability > 0;
    bool rows_wanted = x->needs_gradient || (branch && branch->needs_gradient);
    bool parameters_wanted = d_outputs[0] && (gamma->needs_gradient || beta->needs_gradient);
    if (!d_outputs[0] && !dropped) {
        d_inputs[0] = d_inputs[1] = d_outputs[1];
        return XP_OK;
    }
    if (!node->outputs[2])
        return xp_fail(XP_INVALID_ARGUMENT, "%s: layer norm of a graph that is not for training has no gradient",
                       node->label);
    xp_tensor *inputs[] = {xp_graph_dense(graph, d_outputs[0]),
                           xp_graph_dense(graph, d_outputs[1]),
                           branch ? node->outputs[1] : x,
                           node->outputs[2],
                           node->outputs[3],
                           gamma,
                           node->inputs[4],
                           NULL};
    xp_tensor *outputs[4] = {0};
    if (rows_wanted) {
        outputs[0] = xp_graph_tensor(graph, "d_sum", x->type, x->rank, x->shape);
        if (!outputs[0]) return XP_OUT_OF_MEMORY;
        if (dropped) {
            outputs[1] = xp_graph_tensor(graph, "d_branch", x->type, x->rank, x->shape);
            if (!outputs[1]) return XP_OUT_OF_MEMORY;
        }
    }
    if (parameters_wanted) {
        outputs[2] = xp_graph_tensor(graph, "d_gamma", XP_F32, 1, gamma->shape);
        outputs[3] = xp_graph_tensor(graph, "d_beta", XP_F32, 1, beta->shape);
        if (!outputs[2] || !outputs[3]) return XP_OUT_OF_MEMORY;
    }
    if (!xp_graph_node(graph, &xp_operation_layer_norm_backward, 8, inputs, 4, outputs, attributes, sizeof *attributes))
        return XP_OUT_OF_MEMORY;
    d_inputs[0] = outputs[0];
    if (branch) d_inputs[1] = dropped ? outputs[1] : outputs[0];
    d_inputs[2] = outputs[2];
    d_inputs[3] = outputs[3];
    return XP_OK;
}

const xp_operation xp_operation_layer_norm = {.name = "layer_norm",
                                              .gradient = layer_norm_gradient,
                                              .emitters =
                                                  XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, layer_norm_emit},
                                                              {XP_FAMILY_TILED, xp_supports_storage, layer_norm_emit}),
                                              .stored_inputs = 3,
                                              .stored_outputs = 3};

xp_tensor *xp_layer_norm(xp_graph *graph, xp_tensor *x, xp_tensor *branch, xp_tensor *gamma, xp_tensor *beta,
                         float epsilon, float branch_dropout, xp_tensor **sum_or_null) {
    if (!x || !gamma || !beta) return NULL;
    int64_t columns = x->shape[x->rank - 1], rows = xp_tensor_elements(x) / columns;
    char shape[128];
    if (branch && !xp_tensor_same_shape(x, branch)) {
        xp_fail(XP_INVALID_ARGUMENT, "layer norm: the branch %s %s does not have the shape of %s", branch->name,
                xp_tensor_shape_text(branch, shape, sizeof shape), x->name);
        return NULL;
    }
    const xp_tensor *parameters[] = {gamma, beta};
    for (int i = 0; i < 2; i++)
        if (parameters[i]->rank != 1 || parameters[i]->shape[0] != columns) {
            xp_fail(XP_INVALID_ARGUMENT, "layer norm: %s %s does not fit rows of %lld", parameters[i]->name,
                    xp_tensor_shape_text(parameters[i], shape, sizeof shape), (long long)columns);
            return NULL;
        }
    xp_layer_norm_attributes attributes = {.epsilon = epsilon};
    if (xp_building_dropout(graph, x->name, branch ? branch_dropout : 0.0f, &attributes.dropout) != XP_OK) return NULL;
    bool dropped = attributes.dropout.probability > 0;
    xp_tensor *inputs[] = {xp_graph_dense(graph, x), xp_graph_dense(graph, branch), xp_graph_dense(graph, gamma),
                           xp_graph_dense(graph, beta), dropped ? xp_graph_random_state(graph) : NULL};
    xp_tensor *outputs[] = {xp_graph_tensor(graph, "normalised", x->type, x->rank, x->shape),
                            branch ? xp_graph_tensor(graph, "residual", x->type, x->rank, x->shape) : NULL,
                            graph->training ? xp_graph_tensor(graph, "mean", XP_F32, 1, &rows) : NULL,
                            graph->training ? xp_graph_tensor(graph, "rstd", XP_F32, 1, &rows) : NULL};
    if (!inputs[0] || (branch && !inputs[1]) || !inputs[2] || !inputs[3] || (dropped && !inputs[4]) || !outputs[0] ||
        (branch && !outputs[1]) || (graph->training && (!outputs[2] || !outputs[3])))
        return NULL;
    if (!xp_graph_node(graph, &xp_operation_layer_norm, 5, inputs, 4, outputs, &attributes, sizeof attributes))
        return NULL;
    if (sum_or_null) *sum_or_null = branch ? outputs[1] : x;
    return outputs[0];
}

/* ---- backward ---------------------------------------------------------------------------------------------------- */

static xp_status layer_norm_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_layer_norm_attributes *attributes = XP_ATTRIBUTES(xp_layer_norm_attributes, node);
    const xp_tensor *sum = node->inputs[2], *lengths = node->inputs[7];
    const bool wide = family == XP_FAMILY_WIDE;
    int64_t columns = sum->shape[sum->rank - 1], rows = xp_tensor_elements(sum) / columns;
    int64_t block = rows_per_block(rows, wide), blocks = xp_launch_blocks(rows, block);
    int64_t strips = xp_launch_blocks(columns, wide ? WIDE_STRIP : STRIP);
    bool d_rows = node->outputs[0], d_parameters = node->outputs[2];
    double elements = (double)(rows * columns);
    xp_tensor *d_gammas = node->outputs[2], *d_betas = node->outputs[3]; /* of each block */
    if (d_parameters && blocks > 1) {
        d_gammas = xp_plan_scratch(plan, node, blocks * columns);
        d_betas = xp_plan_scratch(plan, node, blocks * columns);
        if (!d_gammas || !d_betas) return XP_OUT_OF_MEMORY;
    }
    const int64_t parameter_groups = !wide && d_parameters ? blocks * strips : 0;
    xp_launch_request request = {
        .file = "layer_norm", .kernel = wide ? "backward_wide" : "backward_tiled", .dimensions = 1};
    request.local[0] = wide ? 1 : TILED_ITEMS;
    request.global[0] =
        (size_t)(wide ? blocks : (parameter_groups + (d_rows ? row_groups(rows, columns) : 0)) * TILED_ITEMS);
    request.flops = (14.0 + (parameter_groups ? 5.0 : 0.0)) * elements;
    xp_storage_set(&request.variant, node);
    request.bytes = xp_storage_bytes(node) * elements *
                    (2 + 2 * (parameter_groups > 0) + (node->inputs[1] != NULL) + d_rows + (node->outputs[1] != NULL));
    xp_variant_set(&request.variant, "BRANCH", node->outputs[1] != NULL);
    xp_variant_set(&request.variant, "DROPOUT", node->outputs[1] != NULL);
    xp_variant_set(&request.variant, "QUADS", columns % 4 == 0);
    if (!wide) xp_variant_set(&request.variant, "ROW_ITEMS", row_items(columns));
    xp_variant_set(&request.variant, "D_OUT", node->inputs[0] != NULL);
    xp_variant_set(&request.variant, "D_SUM", node->inputs[1] != NULL);
    xp_variant_set(&request.variant, "D_ROWS", d_rows);
    xp_variant_set(&request.variant, "D_PARAMETERS", d_parameters);
    if (lengths) xp_variant_set(&request.variant, "LENGTHS", 1);
    for (int i = 0; i < 8; i++) xp_launch_read(&request, node->inputs[i]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_write(&request, node->outputs[1]);
    xp_launch_write(&request, d_gammas);
    xp_launch_write(&request, d_betas);
    xp_launch_int(&request, rows);
    xp_launch_int(&request, columns);
    xp_launch_int(&request, block);
    xp_launch_int(&request, lengths ? rows / lengths->shape[0] : rows);
    launch_dropout(&request, &attributes->dropout);
    if (wide)
        XP_TRY(pass_work(plan, node, &request, blocks * ROWS_BACKWARD * columns));
    else
        xp_launch_int(&request, parameter_groups);
    XP_TRY(xp_plan_launch(plan, node, &request));
    if (!d_parameters || blocks == 1) return XP_OK;
    request = (xp_launch_request){.file = "layer_norm",
                                  .kernel = wide ? "sum_parameters_wide" : "sum_parameters_tiled",
                                  .dimensions = 1,
                                  .global = {(size_t)strips * (wide ? 1 : TILED_ITEMS)},
                                  .local = {wide ? 1 : TILED_ITEMS},
                                  .flops = 2.0 * (double)(blocks * columns),
                                  .bytes = 8.0 * (double)(blocks * columns)};
    xp_variant_set(&request.variant, "QUADS", columns % 4 == 0);
    xp_launch_read(&request, d_gammas);
    xp_launch_read(&request, d_betas);
    xp_launch_write(&request, node->outputs[2]);
    xp_launch_write(&request, node->outputs[3]);
    xp_launch_int(&request, blocks);
    xp_launch_int(&request, columns);
    return xp_plan_launch(plan, node, &request);
}

static bool take_lengths(xp_node *node, int input, xp_tensor *lengths) {
    if (input != 0 || node->inputs[7]) return false;
    node->inputs[7] = lengths;
    return true;
}

const xp_operation xp_operation_layer_norm_backward = {
    .name = "layer_norm_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, layer_norm_backward_emit},
                            {XP_FAMILY_TILED, xp_supports_storage, layer_norm_backward_emit}),
    .stored_inputs = 7,
    .stored_outputs = 3,
    .take_lengths = take_lengths};
