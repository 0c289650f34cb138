/* Batch normalisation over batch and time. Owns shape rule, gradient rule and launches of cl/batch_norm.cl. */
#include "graph/stored.h"
#include "ops/ops.h"

extern const xp_operation xp_operation_batch_norm, xp_operation_batch_norm_backward;

enum { GATHERED_CHUNKS = 64, SMALLEST_CHUNK = 16, TILED_COLUMNS = 64, WIDE_LANES = 8 };

enum { X, GAMMA, BETA, RUNNING_MEAN, RUNNING_VARIANCE, WEIGHT, INPUTS };
enum { OUT, MEAN, RSTD, NEW_MEAN, NEW_VARIANCE, OUTPUTS };
enum { B_D_OUT, B_X, B_GAMMA, B_MEAN, B_RSTD, B_WEIGHT, B_INPUTS };
enum { B_DX, B_D_GAMMA, B_D_BETA, B_OUTPUTS };

static bool is_column(const xp_tensor *tensor, int64_t columns) {
    return tensor->rank == 1 && tensor->shape[0] == columns && tensor->type == XP_F32;
}

xp_tensor *xp_batch_norm(xp_graph *graph, xp_tensor *x, xp_tensor *gamma, xp_tensor *beta, xp_tensor *running_mean,
                         xp_tensor *running_variance, xp_tensor *sample_weight, float epsilon, float momentum) {
    if (!x || !gamma || !beta || !running_mean || !running_variance || !sample_weight) return NULL;
    if (x->rank != 3 || !xp_type_is_real(x->type) || !xp_tensor_is_dense(x)) {
        xp_fail(XP_INVALID_ARGUMENT, "batch norm: tensor %s must be dense [B,N,C]", x->name);
        return NULL;
    }
    const xp_tensor *columns[] = {gamma, beta, running_mean, running_variance};
    for (int i = 0; i < 4; i++)
        if (!is_column(columns[i], x->shape[2])) {
            xp_fail(XP_INVALID_ARGUMENT, "batch norm: tensor %s must be [%lld], a number for each column of %s",
                    columns[i]->name, (long long)x->shape[2], x->name);
            return NULL;
        }
    if (!is_column(sample_weight, x->shape[0])) {
        xp_fail(XP_INVALID_ARGUMENT, "batch norm: tensor %s must be [%lld], a number for each sample of %s",
                sample_weight->name, (long long)x->shape[0], x->name);
        return NULL;
    }
    xp_tensor *outputs[OUTPUTS] = {xp_graph_tensor(graph, "batch_norm", x->type, 3, x->shape)};
    int output_count = 1;
    if (graph->training) {
        outputs[MEAN] = xp_graph_tensor(graph, "mean", XP_F32, 1, &x->shape[2]);
        outputs[RSTD] = xp_graph_tensor(graph, "rstd", XP_F32, 1, &x->shape[2]);
        outputs[NEW_MEAN] = running_mean;
        outputs[NEW_VARIANCE] = running_variance;
        output_count = OUTPUTS;
        if (!outputs[MEAN] || !outputs[RSTD]) return NULL;
    }
    if (!outputs[OUT]) return NULL;
    xp_tensor *inputs[INPUTS] = {x, gamma, beta, running_mean, running_variance, sample_weight};
    xp_batch_norm_attributes attributes = {.epsilon = epsilon, .momentum = momentum, .training = graph->training};
    return xp_graph_node(graph, &xp_operation_batch_norm, INPUTS, inputs, output_count, outputs, &attributes,
                         sizeof attributes)
               ? outputs[OUT]
               : NULL;
}

static xp_status batch_norm_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                     xp_tensor **d_inputs) {
    const xp_batch_norm_attributes *attributes = XP_ATTRIBUTES(xp_batch_norm_attributes, node);
    if (!attributes->training)
        return xp_fail(XP_UNSUPPORTED, "%s: batch norm with running statistics is not differentiated", node->label);
    xp_tensor *inputs[B_INPUTS] = {d_outputs[OUT],      node->inputs[X],     node->inputs[GAMMA],
                                   node->outputs[MEAN], node->outputs[RSTD], node->inputs[WEIGHT]};
    static const int wanted[B_OUTPUTS] = {X, GAMMA, BETA};
    static const char *const names[B_OUTPUTS] = {"d_x", "d_gamma", "d_beta"};
    xp_tensor *outputs[B_OUTPUTS] = {0};
    for (int i = 0; i < B_OUTPUTS; i++) {
        const xp_tensor *input = node->inputs[wanted[i]];
        if (!input->needs_gradient) continue;
        outputs[i] = xp_graph_tensor(graph, names[i], input->type, input->rank, input->shape);
        if (!outputs[i]) return XP_OUT_OF_MEMORY;
        d_inputs[wanted[i]] = outputs[i];
    }
    return xp_graph_node(graph, &xp_operation_batch_norm_backward, B_INPUTS, inputs, B_OUTPUTS, outputs, attributes,
                         sizeof *attributes)
               ? XP_OK
               : XP_OUT_OF_MEMORY;
}

/* How rows and columns are dealt to work-items. Depends on shape and family alone, never on the device, so that the
 * order of summation is the same everywhere. */
typedef struct layout {
    int64_t rows, columns, length, chunk_rows, chunks;
    bool wide;
} layout;

static layout layout_of(xp_family family, const xp_tensor *x) {
    layout l = {.rows = x->shape[0] * x->shape[1], .columns = x->shape[2], .length = x->shape[1]};
    l.wide = family == XP_FAMILY_WIDE;
    l.chunk_rows = (l.rows + GATHERED_CHUNKS - 1) / GATHERED_CHUNKS;
    if (l.chunk_rows < SMALLEST_CHUNK) l.chunk_rows = SMALLEST_CHUNK;
    l.chunks = (l.rows + l.chunk_rows - 1) / l.chunk_rows;
    return l;
}

/* A launch over `chunks` chunks of rows, or over columns alone where chunks is 0. */
static xp_launch_request request_of(const xp_node *node, const layout *l, const char *kernel, int training,
                                    int64_t chunks) {
    xp_launch_request request = {.file = "batch_norm", .kernel = kernel, .dimensions = chunks ? 2 : 1};
    int64_t blocks = (l->columns + TILED_COLUMNS - 1) / TILED_COLUMNS;
    request.local[0] = l->wide ? 1 : TILED_COLUMNS;
    request.global[0] = l->wide ? 1 : (size_t)(blocks * TILED_COLUMNS);
    if (l->wide && !chunks) request.global[0] = (size_t)((l->columns + WIDE_LANES - 1) / WIDE_LANES);
    request.local[1] = 1;
    request.global[1] = (size_t)chunks;
    xp_variant_set(&request.variant, "WIDTH", l->wide && l->columns >= WIDE_LANES ? WIDE_LANES : 1);
    xp_variant_set(&request.variant, "LOCAL", l->wide ? 1 : TILED_COLUMNS);
    xp_variant_set(&request.variant, "TRAINING", training);
    xp_storage_set(&request.variant, node);
    return request;
}

static xp_status launch_apply(xp_plan *plan, const xp_node *node, const layout *l, xp_tensor *mean, xp_tensor *scale) {
    const xp_batch_norm_attributes *attributes = XP_ATTRIBUTES(xp_batch_norm_attributes, node);
    xp_launch_request request = request_of(node, l, "batch_norm_apply", attributes->training, l->chunks);
    request.bytes = 2 * xp_storage_bytes(node) * (double)(l->rows * l->columns);
    request.flops = 3.0 * (double)(l->rows * l->columns);
    xp_launch_read(&request, node->inputs[X]);
    xp_launch_read(&request, node->inputs[GAMMA]);
    xp_launch_read(&request, node->inputs[BETA]);
    xp_launch_read(&request, mean);
    xp_launch_read(&request, scale);
    xp_launch_write(&request, node->outputs[OUT]);
    xp_launch_int(&request, l->rows);
    xp_launch_int(&request, l->columns);
    xp_launch_int(&request, l->chunk_rows);
    xp_launch_float(&request, attributes->epsilon);
    return xp_plan_launch(plan, node, &request);
}

static xp_status batch_norm_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_batch_norm_attributes *attributes = XP_ATTRIBUTES(xp_batch_norm_attributes, node);
    layout l = layout_of(family, node->inputs[X]);
    if (!attributes->training)
        return launch_apply(plan, node, &l, node->inputs[RUNNING_MEAN], node->inputs[RUNNING_VARIANCE]);
    xp_tensor *counts = xp_plan_scratch(plan, node, l.chunks);
    xp_tensor *partial = xp_plan_scratch(plan, node, l.chunks * 2 * l.columns);
    if (!counts || !partial) return XP_OUT_OF_MEMORY;

    xp_launch_request gather = request_of(node, &l, "batch_norm_gather", 1, l.chunks);
    gather.bytes = xp_storage_bytes(node) * (double)(l.rows * l.columns);
    gather.flops = 4.0 * (double)(l.rows * l.columns);
    xp_launch_read(&gather, node->inputs[X]);
    xp_launch_read(&gather, node->inputs[WEIGHT]);
    xp_launch_write(&gather, counts);
    xp_launch_write(&gather, partial);
    xp_launch_int(&gather, l.rows);
    xp_launch_int(&gather, l.columns);
    xp_launch_int(&gather, l.length);
    xp_launch_int(&gather, l.chunk_rows);
    XP_TRY(xp_plan_launch(plan, node, &gather));

    xp_launch_request join = request_of(node, &l, "batch_norm_join", 1, 0);
    join.bytes = 8.0 * (double)(l.chunks * l.columns);
    join.flops = 8.0 * (double)(l.chunks * l.columns);
    xp_launch_read(&join, counts);
    xp_launch_read(&join, partial);
    xp_launch_write(&join, node->outputs[NEW_MEAN]);
    xp_launch_write(&join, node->outputs[NEW_VARIANCE]);
    xp_launch_write(&join, node->outputs[MEAN]);
    xp_launch_write(&join, node->outputs[RSTD]);
    xp_launch_int(&join, l.chunks);
    xp_launch_int(&join, l.columns);
    xp_launch_float(&join, attributes->epsilon);
    xp_launch_float(&join, attributes->momentum);
    XP_TRY(xp_plan_launch(plan, node, &join));

    return launch_apply(plan, node, &l, node->outputs[MEAN], node->outputs[RSTD]);
}

static xp_status batch_norm_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    layout l = layout_of(family, node->inputs[B_X]);
    xp_tensor *counts = xp_plan_scratch(plan, node, l.chunks);
    xp_tensor *partial = xp_plan_scratch(plan, node, l.chunks * 2 * l.columns);
    xp_tensor *means = xp_plan_scratch(plan, node, 2 * l.columns);
    xp_tensor *d_gamma = node->outputs[B_D_GAMMA], *d_beta = node->outputs[B_D_BETA];
    if (!d_gamma) d_gamma = xp_plan_scratch(plan, node, l.columns);
    if (!d_beta) d_beta = xp_plan_scratch(plan, node, l.columns);
    if (!counts || !partial || !means || !d_gamma || !d_beta) return XP_OUT_OF_MEMORY;

    xp_launch_request gather = request_of(node, &l, "batch_norm_backward_gather", 1, l.chunks);
    gather.bytes = 2 * xp_storage_bytes(node) * (double)(l.rows * l.columns);
    gather.flops = 5.0 * (double)(l.rows * l.columns);
    xp_launch_read(&gather, node->inputs[B_D_OUT]);
    xp_launch_read(&gather, node->inputs[B_X]);
    xp_launch_read(&gather, node->inputs[B_MEAN]);
    xp_launch_read(&gather, node->inputs[B_RSTD]);
    xp_launch_read(&gather, node->inputs[B_WEIGHT]);
    xp_launch_write(&gather, counts);
    xp_launch_write(&gather, partial);
    xp_launch_int(&gather, l.rows);
    xp_launch_int(&gather, l.columns);
    xp_launch_int(&gather, l.length);
    xp_launch_int(&gather, l.chunk_rows);
    XP_TRY(xp_plan_launch(plan, node, &gather));

    xp_launch_request join = request_of(node, &l, "batch_norm_backward_join", 1, 0);
    join.bytes = 8.0 * (double)(l.chunks * l.columns);
    join.flops = 2.0 * (double)(l.chunks * l.columns);
    xp_launch_read(&join, counts);
    xp_launch_read(&join, partial);
    xp_launch_write(&join, d_gamma);
    xp_launch_write(&join, d_beta);
    xp_launch_write(&join, means);
    xp_launch_int(&join, l.chunks);
    xp_launch_int(&join, l.columns);
    XP_TRY(xp_plan_launch(plan, node, &join));
    if (!node->outputs[B_DX]) return XP_OK;

    xp_launch_request apply = request_of(node, &l, "batch_norm_backward_apply", 1, l.chunks);
    apply.bytes = 3 * xp_storage_bytes(node) * (double)(l.rows * l.columns);
    apply.flops = 6.0 * (double)(l.rows * l.columns);
    xp_launch_read(&apply, node->inputs[B_D_OUT]);
    xp_launch_read(&apply, node->inputs[B_X]);
    xp_launch_read(&apply, node->inputs[B_GAMMA]);
    xp_launch_read(&apply, node->inputs[B_MEAN]);
    xp_launch_read(&apply, node->inputs[B_RSTD]);
    xp_launch_read(&apply, node->inputs[B_WEIGHT]);
    xp_launch_read(&apply, means);
    xp_launch_write(&apply, node->outputs[B_DX]);
    xp_launch_int(&apply, l.rows);
    xp_launch_int(&apply, l.columns);
    xp_launch_int(&apply, l.length);
    xp_launch_int(&apply, l.chunk_rows);
    return xp_plan_launch(plan, node, &apply);
}

const xp_operation xp_operation_batch_norm = {.name = "batch_norm",
                                              .gradient = batch_norm_gradient,
                                              .emitters =
                                                  XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, batch_norm_emit},
                                                              {XP_FAMILY_TILED, xp_supports_storage, batch_norm_emit}),
                                              .stored_inputs = 1 << X,
                                              .stored_outputs = 1 << OUT};
const xp_operation xp_operation_batch_norm_backward = {
    .name = "batch_norm_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, batch_norm_backward_emit},
                            {XP_FAMILY_TILED, xp_supports_storage, batch_norm_backward_emit}),
    .stored_inputs = 1 << B_D_OUT | 1 << B_X,
    .stored_outputs = 1 << B_DX};
