/* Positions, class token and dropout on the way into an encoder; images cut into patches. Owns their shapes and
 * launches; must not know what encoder follows. */
#include "graph/stored.h"
#include "ops/building.h"

extern const xp_operation xp_operation_embed_backward; /* added by the gradient rule */

/* ---- embed ------------------------------------------------------------------------------------------------------- */

static void launch_dropout(xp_launch_request *request, const xp_dropout_attributes *dropout) {
    xp_launch_uint(request, dropout->threshold);
    xp_launch_uint(request, dropout->stream);
    xp_launch_float(request, xp_building_keep_scale(dropout));
}

/* What the kernels move at once: four columns where the width allows. */
static int64_t units_of_row(const xp_tensor *t) {
    return t->shape[2] / (t->shape[2] % 4 == 0 ? 4 : 1);
}

static xp_status embed_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_embed_attributes *attributes = XP_ATTRIBUTES(xp_embed_attributes, node);
    const xp_tensor *x = node->inputs[0], *y = node->outputs[0];
    const int64_t row_units = units_of_row(y), sample_units = y->shape[1] * row_units;
    const bool wide = family == XP_FAMILY_WIDE;
    xp_launch_request request = {
        .file = "embedding", .kernel = wide ? "embed_wide" : "embed", .dimensions = 2, .local = {wide ? 1 : 64, 1}};
    request.global[0] = (size_t)(wide ? y->shape[1] : xp_launch_blocks(sample_units, 64) * 64);
    request.global[1] = (size_t)y->shape[0];
    request.flops = 2.0 * (double)xp_tensor_elements(y);
    request.bytes = (double)(xp_tensor_bytes(x) + xp_tensor_bytes(y));
    xp_storage_set(&request.variant, node);
    xp_variant_set(&request.variant, "QUADS", y->shape[2] % 4 == 0);
    xp_variant_set(&request.variant, "TOKEN", node->inputs[2] != NULL);
    xp_variant_set(&request.variant, "DROPOUT", attributes->dropout.probability > 0);
    for (int i = 0; i < 4; i++) xp_launch_read(&request, node->inputs[i]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, wide ? y->shape[2] : sample_units);
    if (!wide) xp_launch_int(&request, (y->shape[1] - x->shape[1]) * row_units);
    xp_launch_float(&request, attributes->scale);
    launch_dropout(&request, &attributes->dropout);
    return xp_plan_launch(plan, node, &request);
}

static xp_status embed_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                xp_tensor **d_inputs) {
    xp_tensor *inputs[] = {xp_graph_dense(graph, d_outputs[0]), node->inputs[3]}, *outputs[3] = {0};
    static const char *const names[] = {"d_embedded", "d_position", "d_token"};
    if (!inputs[0]) return XP_OUT_OF_MEMORY;
    for (int i = 0; i < 3; i++) {
        const xp_tensor *input = node->inputs[i];
        if (!input || !input->needs_gradient) continue;
        outputs[i] = d_inputs[i] = xp_graph_tensor(graph, names[i], XP_F32, input->rank, input->shape);
        if (!outputs[i]) return XP_OUT_OF_MEMORY;
    }
    const xp_embed_backward_attributes attributes = {
        .embed = *XP_ATTRIBUTES(xp_embed_attributes, node),
        .length = node->inputs[0]->shape[1],
        .places = outputs[1] ? outputs[1]->shape[0] : d_outputs[0]->shape[1],
    };
    return xp_graph_node(graph, &xp_operation_embed_backward, 2, inputs, 3, outputs, &attributes, sizeof attributes)
               ? XP_OK
               : XP_OUT_OF_MEMORY;
}

const xp_operation xp_operation_embed = {.name = "embed",
                                         .gradient = embed_gradient,
                                         .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, embed_emit},
                                                                 {XP_FAMILY_TILED, xp_supports_storage, embed_emit}),
                                         .stored_outputs = 1};

xp_tensor *xp_embed(xp_graph *graph, xp_tensor *x, xp_tensor *position, xp_tensor *token, float scale, float dropout) {
    return xp_embed_as(graph, x, position, token, scale, dropout, XP_F32);
}

xp_tensor *xp_embed_as(xp_graph *graph, xp_tensor *x, xp_tensor *position, xp_tensor *token, float scale, float dropout,
                       xp_type type) {
    if (!x || !position) return NULL;
    char shape[128];
    if (x->rank != 3) {
        xp_fail(XP_INVALID_ARGUMENT, "embed: %s %s is not [batch, length, width]", x->name,
                xp_tensor_shape_text(x, shape, sizeof shape));
        return NULL;
    }
    int64_t length = x->shape[1] + (token ? 1 : 0), width = x->shape[2];
    if (position->rank != 2 || position->shape[1] != width || position->shape[0] < length) {
        xp_fail(XP_INVALID_ARGUMENT, "embed: the positions %s %s do not fit %lld rows of %lld", position->name,
                xp_tensor_shape_text(position, shape, sizeof shape), (long long)length, (long long)width);
        return NULL;
    }
    if (token && xp_tensor_elements(token) != width) {
        xp_fail(XP_INVALID_ARGUMENT, "embed: the class token %s %s does not fit rows of %lld", token->name,
                xp_tensor_shape_text(token, shape, sizeof shape), (long long)width);
        return NULL;
    }
    xp_embed_attributes attributes = {.scale = scale};
    if (xp_building_dropout(graph, x->name, dropout, &attributes.dropout) != XP_OK) return NULL;
    bool dropped = attributes.dropout.probability > 0;
    xp_tensor *inputs[] = {xp_graph_dense(graph, x), xp_graph_dense(graph, position), xp_graph_dense(graph, token),
                           dropped ? xp_graph_random_state(graph) : NULL};
    xp_tensor *y = xp_graph_tensor(graph, "embedded", type, 3, (int64_t[]){x->shape[0], length, width});
    if (!inputs[0] || !inputs[1] || (token && !inputs[2]) || (dropped && !inputs[3]) || !y) return NULL;
    if (!xp_graph_node(graph, &xp_operation_embed, 4, inputs, 1, &y, &attributes, sizeof attributes)) return NULL;
    return y;
}

enum { OWNED = 64 /* numbers of a work-item, as in cl/embedding.cl */ };

static xp_status embed_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_embed_backward_attributes *attributes = XP_ATTRIBUTES(xp_embed_backward_attributes, node);
    const xp_tensor *dy = node->inputs[0];
    const int64_t row_units = units_of_row(dy), units = attributes->places * row_units;
    const bool wide = family == XP_FAMILY_WIDE;
    xp_launch_request request = {.file = "embedding",
                                 .kernel = wide ? "embed_backward_wide" : "embed_backward",
                                 .dimensions = 2,
                                 .local = {wide ? 1 : 64, 1}};
    request.global[0] = (size_t)(wide ? xp_launch_blocks(dy->shape[2], OWNED) : xp_launch_blocks(units, 64) * 64);
    request.global[1] = (size_t)(wide ? attributes->places : 1);
    request.flops = 2.0 * (double)xp_tensor_elements(dy);
    request.bytes = (double)(xp_tensor_bytes(dy) + (node->outputs[0] ? xp_tensor_bytes(node->outputs[0]) : 0));
    xp_storage_set(&request.variant, node);
    xp_variant_set(&request.variant, "QUADS", dy->shape[2] % 4 == 0);
    xp_variant_set(&request.variant, "TOKEN", dy->shape[1] > attributes->length);
    xp_variant_set(&request.variant, "DROPOUT", attributes->embed.dropout.probability > 0);
    xp_variant_set(&request.variant, "D_X", node->outputs[0] != NULL);
    xp_variant_set(&request.variant, "D_POSITION", node->outputs[1] != NULL);
    xp_variant_set(&request.variant, "D_TOKEN", node->outputs[2] != NULL);
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_read(&request, node->inputs[1]);
    for (int i = 0; i < 3; i++) xp_launch_write(&request, node->outputs[i]);
    xp_launch_int(&request, wide ? dy->shape[2] : units);
    xp_launch_int(&request, dy->shape[0]);
    xp_launch_int(&request, wide ? dy->shape[1] : dy->shape[1] * row_units);
    if (!wide) xp_launch_int(&request, (dy->shape[1] - attributes->length) * row_units);
    xp_launch_float(&request, attributes->embed.scale);
    launch_dropout(&request, &attributes->embed.dropout);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_embed_backward = {
    .name = "embed_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, embed_backward_emit},
                            {XP_FAMILY_TILED, xp_supports_storage, embed_backward_emit}),
    .stored_inputs = 1};

/* ---- patches ----------------------------------------------------------------------------------------------------- */

static xp_status patches_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tensor *image = node->inputs[0];
    const int64_t patch = XP_ATTRIBUTES(xp_patches_attributes, node)->patch;
    const int64_t lines = xp_tensor_elements(image) / patch;
    const bool wide = family == XP_FAMILY_WIDE;
    xp_launch_request request = {
        .file = "embedding", .kernel = wide ? "patches_wide" : "patches", .dimensions = 2, .local = {wide ? 1 : 64, 1}};
    request.global[0] = (size_t)(wide ? image->shape[2] / patch : xp_launch_blocks(lines, 64) * 64);
    request.global[1] = (size_t)(wide ? image->shape[0] : 1);
    request.bytes = 8.0 * (double)(lines * patch);
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_write(&request, node->outputs[0]);
    if (!wide) xp_launch_int(&request, lines);
    for (int i = 1; i < 4; i++) xp_launch_int(&request, image->shape[i]);
    xp_launch_int(&request, patch);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_patches = {
    .name = "patches",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, patches_emit}, {XP_FAMILY_TILED, NULL, patches_emit})};

xp_tensor *xp_patches(xp_graph *graph, xp_tensor *image, int64_t patch) {
    image = xp_graph_dense(graph, image);
    if (!image) return NULL;
    if (image->rank != 4 || patch < 1 || image->shape[2] % patch != 0 || image->shape[3] % patch != 0) {
        char shape[128];
        xp_fail(XP_INVALID_ARGUMENT, "patches: %s %s does not divide into patches of %lld", image->name,
                xp_tensor_shape_text(image, shape, sizeof shape), (long long)patch);
        return NULL;
    }
    const int64_t shape[] = {image->shape[0], image->shape[2] / patch * (image->shape[3] / patch),
                             image->shape[1] * patch * patch};
    xp_tensor *y = xp_graph_tensor(graph, "patches", XP_F32, 3, shape);
    xp_patches_attributes attributes = {.patch = patch};
    if (!y || !xp_graph_node(graph, &xp_operation_patches, 1, &image, 1, &y, &attributes, sizeof attributes))
        return NULL;
    return y;
}
