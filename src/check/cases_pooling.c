/* Cases of pooling a sequence, of its gradient, and of masked rows. */
#include "check/check.h"
#include "ops/ops.h"

enum { LENGTH = 260, COLUMNS = 150, ELEMENTS = 40000 };

static xp_tensor *draw_sequence(xp_case *out, xp_random *shape) {
    int64_t columns = xp_case_size(shape, xp_random_below(shape, 2) ? 16 : 64, COLUMNS);
    int64_t length = xp_case_size(shape, 16, LENGTH), batch = xp_case_size(shape, 4, ELEMENTS / (columns * length) + 1);
    if (batch > 20) batch = 20;
    if (xp_graph_create(&out->graph, NULL, true) != XP_OK) return NULL;
    snprintf(out->shape, sizeof out->shape, "B=%lld N=%lld C=%lld", (long long)batch, (long long)length,
             (long long)columns);
    return xp_graph_input(out->graph, "x", XP_F32, 3, (int64_t[]){batch, length, columns});
}

static xp_tensor *draw_lengths(xp_case *out, const xp_tensor *x) {
    xp_tensor *lengths = xp_graph_input(out->graph, "lengths", XP_I32, 1, x->shape);
    if (lengths) xp_case_fill(out, lengths, XP_FILL_LENGTH, x->shape[1]);
    xp_case_poison(out, x, lengths);
    return lengths;
}

static xp_tensor *pool(xp_case *out, xp_random *variant, xp_random *shape, bool needs_gradient) {
    const uint32_t kind = xp_random_below(variant, 3);
    xp_tensor *x = draw_sequence(out, shape);
    if (!x) return NULL;
    x->needs_gradient = needs_gradient;
    out->zeros_expected = needs_gradient && kind == 0; /* the class token's row alone gets a gradient */
    return xp_sequence_pool(out->graph, x, kind == 2 ? draw_lengths(out, x) : NULL,
                            kind == 0 ? XP_POOL_CLASS : XP_POOL_MEAN);
}

xp_status xp_case_sequence_pool(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *y = pool(out, variant, shape, false);
    if (!y) return XP_INVALID_ARGUMENT;
    out->node = y->producer;
    return XP_OK;
}

xp_status xp_case_sequence_pool_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *y = pool(out, variant, shape, true);
    if (!y) return XP_INVALID_ARGUMENT;
    xp_tensor *dy = xp_graph_input(out->graph, "dy", XP_F32, 2, y->shape);
    if (!dy) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_graph_differentiate(out->graph, 1, &y, &dy, 0, NULL, NULL));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}

xp_status xp_case_mask_rows(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *x = draw_sequence(out, shape);
    if (!x) return XP_INVALID_ARGUMENT;
    xp_tensor *lengths = draw_lengths(out, x);
    if (!lengths) return XP_OUT_OF_MEMORY;
    xp_tensor *y = xp_mask_rows(out->graph, x, lengths);
    if (!y) return XP_INVALID_ARGUMENT;
    out->node = y->producer;
    return XP_OK;
}
