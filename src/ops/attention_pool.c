/* Attention-SH around plain attention: keys and values pooled by the scale of their head, and the way back. Owns
 * shapes, gradient rule and launches; must not know what attention does with the results. */
#include "graph/launch.h"
#include "ops/building.h"
#include "ops/ops.h"
#include "ops/scales.h"
#include "ops/views.h"

enum { INPUT_X, INPUT_LENGTHS, INPUTS };
enum { OUTPUT_Y, OUTPUT_COUNTS, OUTPUTS };

extern const xp_operation xp_operation_attention_pool, xp_operation_attention_pool_backward;

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool has_grid(const xp_attention_pool_attributes *attributes) {
    return attributes->grid_height > 0;
}

static xp_status check(const xp_tensor *x, const xp_tensor *lengths, const xp_attention_pool_attributes *attributes) {
    char text[128];
    if (x->rank != 4 || !xp_view_has_unit_columns(x))
        return xp_fail(XP_INVALID_ARGUMENT, "attention_pool: x %s must be [B,N,H,D] with dense columns",
                       xp_tensor_shape_text(x, text, sizeof text));
    const int64_t batch = x->shape[0], sequence = x->shape[1], heads = x->shape[2];
    if (attributes->scale_count < 1 || attributes->scale_count > XP_MAX_SCALES || heads % attributes->scale_count != 0)
        return xp_fail(XP_INVALID_ARGUMENT, "attention_pool: %d scales do not divide %lld heads",
                       attributes->scale_count, (long long)heads);
    for (int i = 0; i < attributes->scale_count; i++)
        if (attributes->scales[i] < 1)
            return xp_fail(XP_INVALID_ARGUMENT, "attention_pool: scale %d is not positive", attributes->scales[i]);
    if (lengths &&
        (lengths->type != XP_I32 || lengths->rank != 1 || lengths->shape[0] != batch || !xp_view_is_plain(lengths)))
        return xp_fail(XP_INVALID_ARGUMENT, "attention_pool: lengths %s must be dense whole numbers [%lld]",
                       xp_tensor_shape_text(lengths, text, sizeof text), (long long)batch);
    if (!has_grid(attributes)) return XP_OK;
    if (lengths) return xp_fail(XP_INVALID_ARGUMENT, "attention_pool: a patch grid is complete and has no lengths");
    if (attributes->whole)
        return xp_fail(XP_INVALID_ARGUMENT, "attention_pool: the edges of a patch grid count: whole is for sequences");
    const int64_t cells = (int64_t)attributes->grid_height * attributes->grid_width + (attributes->class_token != 0);
    if (attributes->grid_width < 1 || cells != sequence)
        return xp_fail(XP_INVALID_ARGUMENT, "attention_pool: x %s must have %lld rows: a grid of %d × %d%s",
                       xp_tensor_shape_text(x, text, sizeof text), (long long)cells, attributes->grid_height,
                       attributes->grid_width, attributes->class_token ? " and a class token" : "");
    return XP_OK;
}

/* The most rows that any head has after pooling. */
static int64_t pooled_rows(const xp_attention_pool_attributes *attributes, int64_t sequence) {
    int64_t most = 0;
    for (int i = 0; i < attributes->scale_count; i++) {
        const int64_t scale = attributes->scales[i];
        const int64_t rows = has_grid(attributes)
                                 ? (attributes->class_token != 0) + xp_launch_blocks(attributes->grid_height, scale) *
                                                                        xp_launch_blocks(attributes->grid_width, scale)
                                 : xp_launch_blocks(sequence, scale);
        if (rows > most) most = rows;
    }
    return most;
}

xp_tensor *xp_attention_pool(xp_graph *graph, xp_tensor *x, xp_tensor *lengths,
                             const xp_attention_pool_attributes *attributes, xp_tensor **counts_or_null) {
    if (counts_or_null) *counts_or_null = NULL;
    if (!x || check(x, lengths, attributes) != XP_OK) return NULL;
    const int64_t y_shape[] = {x->shape[0], pooled_rows(attributes, x->shape[1]), x->shape[2], x->shape[3]};
    const int64_t counts_shape[] = {x->shape[0], x->shape[2]};
    xp_tensor *inputs[INPUTS] = {x, lengths};
    xp_tensor *outputs[OUTPUTS] = {xp_graph_tensor(graph, "pooled", XP_F32, 4, y_shape)};
    if (!outputs[OUTPUT_Y]) return NULL;
    if (counts_or_null && !(outputs[OUTPUT_COUNTS] = xp_graph_tensor(graph, "counts", XP_I32, 2, counts_shape)))
        return NULL;
    if (!xp_graph_node(graph, &xp_operation_attention_pool, INPUTS, inputs, OUTPUTS, outputs, attributes,
                       sizeof *attributes))
        return NULL;
    if (counts_or_null) *counts_or_null = outputs[OUTPUT_COUNTS];
    return outputs[OUTPUT_Y];
}

static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    xp_tensor *x = node->inputs[INPUT_X];
    if (!x->needs_gradient || !d_outputs[OUTPUT_Y]) return XP_OK;
    xp_tensor *inputs[INPUTS] = {xp_graph_dense(graph, d_outputs[OUTPUT_Y]), node->inputs[INPUT_LENGTHS]};
    xp_tensor *dx = xp_graph_tensor(graph, "d_unpooled", XP_F32, 4, x->shape);
    if (!inputs[0] || !dx ||
        !xp_graph_node(graph, &xp_operation_attention_pool_backward, INPUTS, inputs, 1, &dx, node->attributes,
                       sizeof(xp_attention_pool_attributes)))
        return XP_OUT_OF_MEMORY;
    d_inputs[INPUT_X] = dx;
    return XP_OK;
}

/* ---- launching --------------------------------------------------------------------------------------------------- */

static xp_launch_request start(const char *kernel, bool tiled, const xp_attention_pool_attributes *attributes,
                               const xp_tensor *lengths) {
    xp_launch_request request = {.file = "attention_pool", .kernel = kernel};
    xp_variant_set(&request.variant, "XP_TILED", tiled);
    xp_variant_set(&request.variant, "XP_GRID", has_grid(attributes));
    xp_variant_set(&request.variant, "XP_TOKEN", has_grid(attributes) && attributes->class_token);
    xp_variant_set(&request.variant, "XP_LENGTHS", lengths != NULL);
    if (attributes->whole) xp_variant_set(&request.variant, "XP_WHOLE", 1);
    xp_scales_pass(&request.variant, attributes->scale_count, attributes->scales);
    return request;
}

/* `rows` rows of all heads: in one work-item each, or an element each. */
static void shape_rows(xp_launch_request *request, bool tiled, int64_t rows, const xp_tensor *x) {
    if (tiled) {
        request->dimensions = 3;
        request->global[0] = (size_t)xp_launch_blocks(x->shape[2] * x->shape[3], 64) * 64;
        request->global[1] = (size_t)rows;
        request->global[2] = (size_t)x->shape[0];
        request->local[0] = 64;
        request->local[1] = request->local[2] = 1;
    } else {
        request->dimensions = 2;
        request->global[0] = (size_t)rows;
        request->global[1] = (size_t)x->shape[0];
        request->local[0] = request->local[1] = 1;
    }
}

static void pass_sizes(xp_launch_request *request, const xp_tensor *x, const xp_tensor *y,
                       const xp_attention_pool_attributes *attributes) {
    xp_launch_int(request, x->shape[1]);
    xp_launch_int(request, y->shape[1]);
    xp_launch_int(request, x->shape[2]);
    xp_launch_int(request, x->shape[3]);
    xp_launch_int(request, attributes->grid_height);
    xp_launch_int(request, attributes->grid_width);
    request->flops = (double)xp_tensor_elements(x);
    request->bytes = 4 * ((double)xp_tensor_elements(x) + (double)xp_tensor_elements(y));
}

static xp_status emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_pool_attributes *attributes = XP_ATTRIBUTES(xp_attention_pool_attributes, node);
    const bool tiled = family == XP_FAMILY_TILED;
    xp_tensor *x = node->inputs[INPUT_X], *lengths = node->inputs[INPUT_LENGTHS], *y = node->outputs[OUTPUT_Y];
    xp_launch_request request = start("attention_pool", tiled, attributes, lengths);
    xp_variant_set(&request.variant, "XP_COUNTS", node->outputs[OUTPUT_COUNTS] != NULL);
    shape_rows(&request, tiled, y->shape[1], x);
    xp_view_pass(&request, x, false);
    xp_launch_read(&request, lengths);
    xp_launch_write(&request, y);
    xp_launch_write(&request, node->outputs[OUTPUT_COUNTS]);
    pass_sizes(&request, x, y, attributes);
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_backward(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_pool_attributes *attributes = XP_ATTRIBUTES(xp_attention_pool_attributes, node);
    const bool tiled = family == XP_FAMILY_TILED;
    xp_tensor *dy = node->inputs[0], *lengths = node->inputs[INPUT_LENGTHS], *dx = node->outputs[0];
    xp_launch_request request = start("attention_pool_backward", tiled, attributes, lengths);
    shape_rows(&request, tiled, dx->shape[1], dx);
    xp_launch_read(&request, dy);
    xp_launch_read(&request, lengths);
    xp_view_pass(&request, dx, true);
    pass_sizes(&request, dx, dy, attributes);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_attention_pool = {
    .name = "attention_pool",
    .gradient = gradient,
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, emit}, {XP_FAMILY_TILED, NULL, emit})};
const xp_operation xp_operation_attention_pool_backward = {
    .name = "attention_pool_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, emit_backward}, {XP_FAMILY_TILED, NULL, emit_backward}),
    .strided_outputs = 1u};
