/* Cases of activation, addition, copies and dropout. */
#include "check/check.h"
#include "ops/ops.h"

enum {
    BLOCK = 256,
    LARGEST = 5000,
    FEW = 64 /* elements that may all be dropped or negative */,
    RANDOM_LIMIT = 1 << 30
};

/* A graph and one input x of a drawn shape of rank 1 to 3. */
static xp_tensor *draw_input(xp_case *out, xp_random *shape) {
    int rank = 1 + (int)xp_random_below(shape, 3);
    int64_t sizes[3], left = LARGEST;
    for (int i = rank - 1; i >= 0; i--) {
        sizes[i] = xp_case_size(shape, i == rank - 1 ? BLOCK : 4, left);
        left = left / sizes[i] > 0 ? left / sizes[i] : 1;
    }
    if (xp_graph_create(&out->graph, NULL, true) != XP_OK) return NULL;
    xp_tensor *x = xp_graph_input(out->graph, "x", XP_F32, rank, sizes);
    if (!x) return NULL;
    char text[128];
    snprintf(out->shape, sizeof out->shape, "x=%s", xp_tensor_shape_text(x, text, sizeof text));
    return x;
}

static xp_status finish(xp_case *out, const xp_tensor *y) {
    if (!y) return XP_INVALID_ARGUMENT;
    out->node = y->producer;
    return XP_OK;
}

xp_status xp_case_activation(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_activation activation = xp_random_below(variant, 2) ? XP_ACTIVATION_GELU : XP_ACTIVATION_RELU;
    xp_tensor *x = draw_input(out, shape);
    out->zeros_expected = x && xp_tensor_elements(x) <= FEW;
    return finish(out, xp_activate(out->graph, x, activation));
}

xp_status xp_case_activation_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_activation activation = xp_random_below(variant, 2) ? XP_ACTIVATION_GELU : XP_ACTIVATION_RELU;
    xp_tensor *z = draw_input(out, shape);
    if (!z) return XP_INVALID_ARGUMENT;
    xp_tensor *dy = xp_graph_input(out->graph, "dy", XP_F32, z->rank, z->shape);
    out->zeros_expected = xp_tensor_elements(z) <= FEW;
    return finish(out, xp_activation_backward(out->graph, dy, z, activation));
}

xp_status xp_case_add(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *a = draw_input(out, shape);
    if (!a) return XP_INVALID_ARGUMENT;
    return finish(out, xp_add(out->graph, a, xp_graph_input(out->graph, "b", XP_F32, a->rank, a->shape)));
}

/* From a part of a split tensor, or from a whole one into a part. */
xp_status xp_case_copy(xp_case *out, xp_random *variant, xp_random *shape) {
    const int64_t sizes[] = {xp_case_size(shape, 2, 5), xp_case_size(shape, 4, 20), xp_case_size(shape, 3, 4),
                             xp_case_size(shape, 64, 100)};
    const int axis = (int)xp_random_below(shape, 3);
    const int64_t parts = 1 + (int64_t)xp_random_below(shape, 4);
    const bool into = xp_random_below(shape, 2);
    int64_t whole_shape[5];
    for (int i = 0, j = 0; i < 5; i++) whole_shape[i] = i == axis ? parts : sizes[j++];
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *part[4], *whole = into ? xp_graph_tensor(out->graph, "whole", XP_F32, 5, whole_shape)
                                      : xp_graph_input(out->graph, "whole", XP_F32, 5, whole_shape);
    XP_TRY(xp_graph_split(out->graph, whole, axis, part));
    /* Now and then all of it, which has an axis more. */
    xp_tensor *which = !into && xp_random_below(shape, 4) == 0 ? whole : part[xp_random_below(shape, (uint32_t)parts)];
    char text[128];
    snprintf(out->shape, sizeof out->shape, "whole=%s axis=%d %s offset %lld",
             xp_tensor_shape_text(whole, text, sizeof text), axis, into ? "into" : "from", (long long)which->offset);
    xp_tensor *from = into ? xp_graph_input(out->graph, "from", XP_F32, 4, sizes) : which;
    xp_tensor *to = xp_copy(out->graph, from, into ? which : NULL);
    if (!to) return XP_INVALID_ARGUMENT;
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}

xp_status xp_case_dropout(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *x = draw_input(out, shape);
    if (!x) return XP_INVALID_ARGUMENT;
    out->graph->next_stream = xp_random_below(shape, 100);
    out->zeros_expected = xp_tensor_elements(x) <= FEW;
    xp_tensor *y = xp_dropout(out->graph, x, 0.05f + 0.8f * (float)xp_random_unit(shape));
    xp_case_fill(out, out->graph->random_state, XP_FILL_INDEX, RANDOM_LIMIT);
    return finish(out, y);
}
