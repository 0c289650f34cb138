/* Cases of activation and dropout. */
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
    const bool drops = xp_random_below(variant, 2);
    const bool masked = xp_random_below(variant, 2);
    xp_tensor *x = draw_input(out, shape), *lengths = NULL;
    if (!x) return XP_INVALID_ARGUMENT;
    if (masked && x->rank == 3) {
        lengths = xp_graph_input(out->graph, "lengths", XP_I32, 1, &x->shape[0]);
        if (!lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, lengths, XP_FILL_LENGTH, x->shape[1]);
    }
    xp_tensor *y = xp_activate_rows(out->graph, x, lengths, activation, x->type);
    out->zeros_expected = lengths || xp_tensor_elements(x) <= FEW;
    if (drops && y) XP_TRY(xp_case_drop(out, y->producer, shape));
    return finish(out, y);
}

xp_status xp_case_activation_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_activation activation = xp_random_below(variant, 2) ? XP_ACTIVATION_GELU : XP_ACTIVATION_RELU;
    xp_tensor *z = draw_input(out, shape);
    if (!z) return XP_INVALID_ARGUMENT;
    xp_tensor *dy = xp_graph_input(out->graph, "dy", XP_F32, z->rank, z->shape);
    out->zeros_expected = xp_tensor_elements(z) <= FEW;
    return finish(out, xp_activation_backward(out->graph, dy, z, activation));
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
