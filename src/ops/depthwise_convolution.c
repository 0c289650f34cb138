/* A convolution of each column of queries or keys with its own taps, and the backward pass. Owns shapes, gradient rule
 * and launches; must not know what attention does with the results. */
#include "graph/launch.h"
#include "ops/building.h"
#include "ops/ops.h"
#include "ops/views.h"

enum { INPUT_X, INPUT_WEIGHT, INPUT_LENGTHS, INPUTS };
enum { BACK_DY, BACK_X, BACK_WEIGHT, BACK_LENGTHS, BACK_INPUTS };
enum { BACK_DX, BACK_D_WEIGHT, BACK_OUTPUTS };
enum { MOST_TAPS = 127 };

extern const xp_operation xp_operation_depthwise_convolution, xp_operation_depthwise_convolution_backward;

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool has_grid(const xp_depthwise_convolution_attributes *attributes) {
    return attributes->grid_height > 0;
}

static xp_status check_grid(const xp_tensor *x, const xp_tensor *lengths,
                            const xp_depthwise_convolution_attributes *attributes) {
    char text[128];
    if (lengths)
        return xp_fail(XP_INVALID_ARGUMENT, "depthwise_convolution: a patch grid is complete and has no lengths");
    if (attributes->causal)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "depthwise_convolution: a patch grid has no order: a causal convolution needs a sequence");
    const int64_t cells = (int64_t)attributes->grid_height * attributes->grid_width + (attributes->class_token != 0);
    if (attributes->grid_width < 1 || cells != x->shape[1])
        return xp_fail(XP_INVALID_ARGUMENT, "depthwise_convolution: x %s must have %lld rows: a grid of %d × %d%s",
                       xp_tensor_shape_text(x, text, sizeof text), (long long)cells, attributes->grid_height,
                       attributes->grid_width, attributes->class_token ? " and a class token" : "");
    return XP_OK;
}

static xp_status check(const xp_tensor *x, const xp_tensor *weight, const xp_tensor *lengths,
                       const xp_depthwise_convolution_attributes *attributes) {
    char text[128];
    if (x->rank != 4 || x->type != XP_F32 || !xp_view_has_unit_columns(x))
        return xp_fail(XP_INVALID_ARGUMENT, "depthwise_convolution: x %s must be [B,N,H,D] with dense columns",
                       xp_tensor_shape_text(x, text, sizeof text));
    const int64_t columns = x->shape[2] * x->shape[3], taps = attributes->width;
    if (taps < 1 || taps > MOST_TAPS)
        return xp_fail(XP_INVALID_ARGUMENT, "depthwise_convolution: a width of %lld is not between 1 and %d",
                       (long long)taps, MOST_TAPS);
    const bool fits = weight->rank == (has_grid(attributes) ? 3 : 2) && weight->shape[0] == columns &&
                      weight->shape[1] == taps && weight->shape[weight->rank - 1] == taps;
    if (weight->type != XP_F32 || !fits || !xp_view_is_plain(weight))
        return xp_fail(XP_INVALID_ARGUMENT, "depthwise_convolution: weight %s must be dense [%lld,k%s], k = %lld",
                       xp_tensor_shape_text(weight, text, sizeof text), (long long)columns,
                       has_grid(attributes) ? ",k" : "", (long long)taps);
    if (lengths && (lengths->type != XP_I32 || lengths->rank != 1 || lengths->shape[0] != x->shape[0] ||
                    !xp_view_is_plain(lengths)))
        return xp_fail(XP_INVALID_ARGUMENT, "depthwise_convolution: lengths %s must be dense whole numbers [%lld]",
                       xp_tensor_shape_text(lengths, text, sizeof text), (long long)x->shape[0]);
    return has_grid(attributes) ? check_grid(x, lengths, attributes) : XP_OK;
}

xp_tensor *xp_depthwise_convolution(xp_graph *graph, xp_tensor *x, xp_tensor *weight, xp_tensor *lengths,
                                    const xp_depthwise_convolution_attributes *attributes) {
    if (!x || !weight || check(x, weight, lengths, attributes) != XP_OK) return NULL;
    xp_tensor *inputs[INPUTS] = {x, weight, lengths};
    xp_tensor *y = xp_graph_tensor(graph, "convolved", XP_F32, 4, x->shape);
    if (!y || !xp_graph_node(graph, &xp_operation_depthwise_convolution, INPUTS, inputs, 1, &y, attributes,
                             sizeof *attributes))
        return NULL;
    return y;
}

static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    xp_tensor *x = node->inputs[INPUT_X], *weight = node->inputs[INPUT_WEIGHT], *outputs[BACK_OUTPUTS] = {0};
    if (!d_outputs[0]) return XP_OK;
    xp_tensor *inputs[BACK_INPUTS] = {xp_graph_dense(graph, d_outputs[0]), x, weight, node->inputs[INPUT_LENGTHS]};
    if (!inputs[BACK_DY]) return XP_OUT_OF_MEMORY;
    if (x->needs_gradient && !(outputs[BACK_DX] = xp_graph_tensor(graph, "d_x", XP_F32, 4, x->shape)))
        return XP_OUT_OF_MEMORY;
    if (weight->needs_gradient &&
        !(outputs[BACK_D_WEIGHT] = xp_graph_tensor(graph, "d_weight", XP_F32, weight->rank, weight->shape)))
        return XP_OUT_OF_MEMORY;
    if (!xp_graph_node(graph, &xp_operation_depthwise_convolution_backward, BACK_INPUTS, inputs, BACK_OUTPUTS, outputs,
                       node->attributes, sizeof(xp_depthwise_convolution_attributes)))
        return XP_OUT_OF_MEMORY;
    d_inputs[INPUT_X] = outputs[BACK_DX];
    d_inputs[INPUT_WEIGHT] = outputs[BACK_D_WEIGHT];
    return XP_OK;
}

/* ---- launching --------------------------------------------------------------------------------------------------- */

typedef struct sizes {
    const xp_depthwise_convolution_attributes *attributes;
    xp_tensor *lengths;
    int64_t batch, sequence, heads, width, columns, taps;
    double elements;
    bool tiled;
} sizes;

static sizes sizes_of(const xp_node *node, xp_family family, const xp_tensor *x, xp_tensor *lengths) {
    const xp_depthwise_convolution_attributes *attributes = XP_ATTRIBUTES(xp_depthwise_convolution_attributes, node);
    return (sizes){.attributes = attributes,
                   .lengths = lengths,
                   .batch = x->shape[0],
                   .sequence = x->shape[1],
                   .heads = x->shape[2],
                   .width = x->shape[3],
                   .columns = x->shape[2] * x->shape[3],
                   .taps = (has_grid(attributes) ? attributes->width : 1) * attributes->width,
                   .elements = (double)xp_tensor_elements(x),
                   .tiled = family == XP_FAMILY_TILED};
}

static xp_launch_request start(const char *kernel, const sizes *s) {
    xp_launch_request request = {.file = "depthwise_convolution", .kernel = kernel};
    xp_variant_set(&request.variant, "XP_TILED", s->tiled);
    xp_variant_set(&request.variant, "XP_TAPS", s->attributes->width);
    xp_variant_set(&request.variant, "XP_GRID", has_grid(s->attributes));
    xp_variant_set(&request.variant, "XP_TOKEN", has_grid(s->attributes) && s->attributes->class_token);
    xp_variant_set(&request.variant, "XP_CAUSAL", s->attributes->causal != 0);
    xp_variant_set(&request.variant, "XP_LENGTHS", s->lengths != NULL);
    return request;
}

/* A work-item for each weight. */
static void shape_weights(xp_launch_request *request, const sizes *s) {
    request->dimensions = 2;
    request->global[0] = (size_t)xp_launch_blocks(s->columns, 64) * 64;
    request->global[1] = (size_t)s->taps;
    request->local[0] = 64;
    request->local[1] = 1;
}

/* to = from convolved, or with the taps flipped. */
static xp_status emit_rows(xp_plan *plan, const xp_node *node, const sizes *s, xp_tensor *from, xp_tensor *weight,
                           xp_tensor *to, bool flipped) {
    xp_tensor *taps = xp_plan_scratch(plan, node, s->taps * s->columns);
    if (!taps) return XP_OUT_OF_MEMORY;
    xp_launch_request turn = start("depthwise_convolution_turn", s);
    shape_weights(&turn, s);
    xp_launch_read(&turn, weight);
    xp_launch_write(&turn, taps);
    xp_launch_int(&turn, s->columns);
    turn.bytes = 8 * (double)(s->taps * s->columns);
    XP_TRY(xp_plan_launch(plan, node, &turn));

    xp_launch_request request = start("depthwise_convolution_rows", s);
    xp_variant_set(&request.variant, "XP_FLIPPED", flipped);
    request.dimensions = s->tiled ? 3 : 2;
    request.global[0] = s->tiled ? (size_t)xp_launch_blocks(s->columns, 64) * 64 : (size_t)s->sequence;
    request.global[1] = (size_t)(s->tiled ? s->sequence : s->batch);
    request.global[2] = (size_t)s->batch;
    request.local[0] = s->tiled ? 64 : 1;
    request.local[1] = request.local[2] = 1;
    xp_view_pass(&request, from, false);
    xp_launch_read(&request, taps);
    xp_launch_read(&request, s->lengths);
    xp_view_pass(&request, to, true);
    xp_launch_int(&request, s->sequence);
    xp_launch_int(&request, s->heads);
    xp_launch_int(&request, s->width);
    xp_launch_int(&request, s->attributes->grid_height);
    xp_launch_int(&request, s->attributes->grid_width);
    request.flops = 2 * (double)s->taps * s->elements;
    request.bytes = 8 * s->elements;
    return xp_plan_launch(plan, node, &request);
}

/* Chunks of rows, so that there is work for many work-items, though not so many that their sum costs more: the number
 * depends on the shape alone, so every device sums alike. */
static xp_status emit_weight(xp_plan *plan, const xp_node *node, const sizes *s) {
    enum { LEAST_ROWS = 64, MOST_CHUNKS = 256, TILED_COLUMNS = 32, WIDE_COLUMNS = 8, PARTS = 8 };
    const int64_t rows = s->batch * s->sequence, share = xp_launch_blocks(rows, MOST_CHUNKS);
    const int64_t size = share > LEAST_ROWS ? share : LEAST_ROWS, chunks = xp_launch_blocks(rows, size);
    const int64_t blocks = xp_launch_blocks(s->width, s->tiled ? TILED_COLUMNS : WIDE_COLUMNS);
    xp_tensor *shares = xp_plan_scratch(plan, node, chunks * s->taps * s->columns);
    if (!shares) return XP_OUT_OF_MEMORY;
    xp_launch_request request = start("depthwise_convolution_shares", s);
    request.dimensions = 3;
    request.local[0] = s->tiled ? TILED_COLUMNS : 1;
    request.local[1] = s->tiled ? PARTS : 1;
    request.local[2] = 1;
    request.global[0] = (size_t)(s->heads * blocks) * request.local[0];
    request.global[1] = (size_t)s->taps * request.local[1];
    request.global[2] = (size_t)chunks;
    xp_launch_read(&request, node->inputs[BACK_DY]);
    xp_view_pass(&request, node->inputs[BACK_X], false);
    xp_launch_read(&request, s->lengths);
    xp_launch_write(&request, shares);
    xp_launch_int(&request, s->batch);
    xp_launch_int(&request, s->sequence);
    xp_launch_int(&request, s->heads);
    xp_launch_int(&request, s->width);
    xp_launch_int(&request, s->attributes->grid_height);
    xp_launch_int(&request, s->attributes->grid_width);
    xp_launch_int(&request, blocks);
    xp_launch_int(&request, size);
    request.flops = 2 * (double)s->taps * s->elements;
    request.bytes = 8 * s->elements;
    XP_TRY(xp_plan_launch(plan, node, &request));

    xp_launch_request sum = start("depthwise_convolution_sum", s);
    shape_weights(&sum, s);
    xp_launch_read(&sum, shares);
    xp_launch_write(&sum, node->outputs[BACK_D_WEIGHT]);
    xp_launch_int(&sum, s->columns);
    xp_launch_int(&sum, chunks);
    sum.flops = (double)(chunks * s->taps * s->columns);
    sum.bytes = 4 * sum.flops;
    return xp_plan_launch(plan, node, &sum);
}

static xp_status emit(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_tensor *x = node->inputs[INPUT_X];
    const sizes s = sizes_of(node, family, x, node->inputs[INPUT_LENGTHS]);
    return emit_rows(plan, node, &s, x, node->inputs[INPUT_WEIGHT], node->outputs[0], false);
}

static xp_status emit_backward(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_tensor *const *in = node->inputs, *dx = node->outputs[BACK_DX];
    const sizes s = sizes_of(node, family, in[BACK_X], in[BACK_LENGTHS]);
    if (dx) XP_TRY(emit_rows(plan, node, &s, in[BACK_DY], in[BACK_WEIGHT], dx, true));
    return node->outputs[BACK_D_WEIGHT] ? emit_weight(plan, node, &s) : XP_OK;
}

const xp_operation xp_operation_depthwise_convolution = {
    .name = "depthwise_convolution",
    .gradient = gradient,
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, emit}, {XP_FAMILY_TILED, NULL, emit})};
const xp_operation xp_operation_depthwise_convolution_backward = {
    .name = "depthwise_convolution_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, emit_backward}, {XP_FAMILY_TILED, NULL, emit_backward}),
    .strided_outputs = 1u << BACK_DX};
