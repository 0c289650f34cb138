/* Cases of matrix products and of column sums: which variants and shapes are tried. Does not know how they are
 * computed. */
#include "check/check.h"
#include "ops/ops.h"

enum { TILE = 64, DEPTH = 512, LARGEST = 300 };

/* Two sizes around the tile, and a depth that keeps the work small; now and then one around the block of depth, where
 * partial products are picked up again, or so great that the depth is cut into parts. */
static void draw_sizes(xp_random *shape, int64_t *m, int64_t *n, int64_t *k) {
    enum { PRODUCT = 600000 };
    switch (xp_random_below(shape, 8)) {
    case 0:
        *k = DEPTH - 8 + (int64_t)xp_random_below(shape, 600);
        break;
    case 1:
        *k = 2 * DEPTH + (int64_t)xp_random_below(shape, 6 * DEPTH);
        break;
    default:
        *k = xp_case_size(shape, 16, LARGEST);
    }
    *m = xp_case_size(shape, TILE, LARGEST);
    *n = xp_case_size(shape, TILE, LARGEST);
    while (*m * *n * *k > PRODUCT) {
        if (*m > *n)
            *m = (*m + 1) / 2;
        else
            *n = (*n + 1) / 2;
    }
}

xp_status xp_case_gemm(xp_case *out, xp_random *variant, xp_random *shape) {
    const int transpose_a = (int)xp_random_below(variant, 2), transpose_b = (int)xp_random_below(variant, 2);
    const bool bias = xp_random_below(variant, 2);
    const xp_activation activation = (xp_activation)xp_random_below(variant, 3);
    const bool training = xp_random_below(variant, 2);
    const xp_combine combine = (xp_combine)xp_random_below(variant, 4);
    const bool sums = xp_random_below(variant, 2), drops = xp_random_below(variant, 4) == 0;
    int64_t m, n, k;
    draw_sizes(shape, &m, &n, &k);
    XP_TRY(xp_graph_create(&out->graph, NULL, training));
    snprintf(out->shape, sizeof out->shape, "m=%lld n=%lld k=%lld", (long long)m, (long long)n, (long long)k);

    const int64_t a_shape[] = {transpose_a ? k : m, transpose_a ? m : k};
    const int64_t b_shape[] = {transpose_b ? n : k, transpose_b ? k : n};
    xp_tensor *a = xp_graph_input(out->graph, "a", XP_F32, 2, a_shape), *y;
    xp_tensor *b = xp_graph_input(out->graph, "b", XP_F32, 2, b_shape);
    if (!transpose_a && transpose_b)
        y = xp_linear(out->graph, a, b, bias ? xp_graph_input(out->graph, "bias", XP_F32, 1, &n) : NULL, activation);
    else if (transpose_a && sums)
        y = xp_gemm_with_sums(out->graph, a, b, transpose_b, &(xp_tensor *){NULL});
    else
        y = xp_gemm(out->graph, a, transpose_a, b, transpose_b);
    if (!y) return XP_INVALID_ARGUMENT;
    xp_node *product = y->producer;
    if (drops && training) XP_TRY(xp_case_drop(out, product, shape));
    if (combine != XP_COMBINE_NONE) {
        xp_tensor *partner = xp_graph_input(out->graph, "partner", XP_F32, 2, (int64_t[]){m, n});
        if (!partner) return XP_OUT_OF_MEMORY;
        product->operation->take_in(product, combine, partner, NULL); /* beside an activation it does not */
    }
    out->zeros_expected = m * n < 32 && (drops || activation == XP_ACTIVATION_RELU || combine == XP_COMBINE_RELU_SLOPE);
    out->node = product;
    return XP_OK;
}

xp_status xp_case_column_sum(xp_case *out, xp_random *variant, xp_random *shape) {
    const int64_t x_shape[] = {xp_case_size(shape, 64, 5000), xp_case_size(shape, 64, 600)};
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    snprintf(out->shape, sizeof out->shape, "R=%lld C=%lld", (long long)x_shape[0], (long long)x_shape[1]);
    xp_tensor *sums = xp_column_sum(out->graph, xp_graph_input(out->graph, "x", XP_F32, 2, x_shape));
    if (!sums) return XP_INVALID_ARGUMENT;
    out->node = sums->producer;
    return XP_OK;
}
