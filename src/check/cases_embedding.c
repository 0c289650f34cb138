/* Cases of positions, class token and dropout, of their gradient, and of patches. */
#include "check/check.h"
#include "ops/ops.h"

enum { LENGTH = 60, COLUMNS = 130, ELEMENTS = 40000, RANDOM_LIMIT = 1 << 30 };

/* The forward node; `wanted` has bit 0 for the gradient of x, 1 for positions, 2 for the token. */
static xp_status build(xp_case *out, xp_random *variant, xp_random *shape, unsigned wanted, xp_tensor **y) {
    const bool token = xp_random_below(variant, 2), quads = xp_random_below(variant, 2);
    const float dropout = xp_random_below(variant, 2) ? 0.2f : 0.0f;
    int64_t columns = xp_case_size(shape, 64, COLUMNS), length = xp_case_size(shape, 16, LENGTH);
    if (quads) columns = (columns + 3) / 4 * 4;
    if (!quads && columns % 4 == 0) columns++;
    int64_t batch = xp_case_size(shape, 4, ELEMENTS / (columns * length) + 1);
    if (batch > 40) batch = 40;
    int64_t places = length + token + xp_random_below(shape, 3);
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    out->graph->next_stream = xp_random_below(shape, 100);
    snprintf(out->shape, sizeof out->shape, "B=%lld N=%lld C=%lld P=%lld%s%s", (long long)batch, (long long)length,
             (long long)columns, (long long)places, token ? " token" : "", dropout > 0 ? " dropout" : "");
    xp_tensor *inputs[] = {
        xp_graph_input(out->graph, "x", XP_F32, 3, (int64_t[]){batch, length, columns}),
        xp_graph_input(out->graph, "position", XP_F32, 2, (int64_t[]){places, columns}),
        token ? xp_graph_input(out->graph, "token", XP_F32, 1, &columns) : NULL,
    };
    for (unsigned i = 0; i < 3; i++)
        if (inputs[i]) inputs[i]->needs_gradient = wanted >> i & 1;
    *y = xp_embed(out->graph, inputs[0], inputs[1], inputs[2], 0.5f + (float)xp_random_unit(shape), dropout);
    if (!*y) return XP_INVALID_ARGUMENT;
    if (out->graph->random_state) xp_case_fill(out, out->graph->random_state, XP_FILL_INDEX, RANDOM_LIMIT);
    return XP_OK;
}

xp_status xp_case_embed(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *y;
    XP_TRY(build(out, variant, shape, 0, &y));
    out->node = y->producer;
    return XP_OK;
}

xp_status xp_case_embed_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    static const unsigned choices[] = {7, 7, 3, 1, 6};
    xp_tensor *y;
    XP_TRY(build(out, variant, shape, choices[xp_random_below(variant, 5)], &y));
    xp_tensor *dy = xp_graph_input(out->graph, "dy", XP_F32, 3, y->shape);
    if (!dy) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_graph_differentiate(out->graph, 1, &y, &dy, 0, NULL, NULL));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}

xp_status xp_case_patches(xp_case *out, xp_random *variant, xp_random *shape) {
    int64_t patch = xp_case_size(shape, 4, 8);
    const int64_t sizes[] = {xp_case_size(shape, 2, 5), xp_case_size(shape, 3, 4), patch * xp_case_size(shape, 4, 6),
                             patch * xp_case_size(shape, 4, 6)};
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *image = xp_graph_input(out->graph, "image", XP_F32, 4, sizes);
    xp_tensor *y = xp_patches(out->graph, image, patch);
    if (!y) return XP_INVALID_ARGUMENT;
    char text[128];
    snprintf(out->shape, sizeof out->shape, "image=%s patch=%lld", xp_tensor_shape_text(image, text, sizeof text),
             (long long)patch);
    out->node = y->producer;
    return XP_OK;
}
