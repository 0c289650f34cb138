/* Cases of batch normalisation. */
#include "check/check.h"
#include "ops/ops.h"

enum { COLUMN_BLOCK = 64, CHUNK = 16 };

static xp_tensor *build(xp_case *out, xp_random *shape, bool training, unsigned gradients) {
    int64_t size[] = {xp_case_size(shape, 8, 24), xp_case_size(shape, CHUNK, 97),
                      xp_case_size(shape, COLUMN_BLOCK, 257)};
    while (size[0] * size[1] * size[2] > 200000) {
        int largest = size[1] > size[0] ? 1 : 0;
        size[size[2] > size[largest] ? 2 : largest] /= 2;
    }
    if (xp_graph_create(&out->graph, NULL, training) != XP_OK) return NULL;
    snprintf(out->shape, sizeof out->shape, "B=%lld N=%lld C=%lld training=%d gradients=%u", (long long)size[0],
             (long long)size[1], (long long)size[2], training, gradients);
    out->zeros_expected = gradients && size[0] * size[1] <= 4; /* one row equals its mean, and a weight may be 0 */
    xp_tensor *x = xp_graph_input(out->graph, "x", XP_F32, 3, size);
    xp_tensor *gamma = xp_graph_input(out->graph, "gamma", XP_F32, 1, &size[2]);
    xp_tensor *beta = xp_graph_input(out->graph, "beta", XP_F32, 1, &size[2]);
    xp_tensor *mean = xp_graph_input(out->graph, "running_mean", XP_F32, 1, &size[2]);
    xp_tensor *variance = xp_graph_input(out->graph, "running_variance", XP_F32, 1, &size[2]);
    xp_tensor *weight = xp_graph_input(out->graph, "sample_weight", XP_F32, 1, &size[0]);
    if (!x || !gamma || !beta || !weight) return NULL;
    x->needs_gradient = gradients & 1;
    gamma->needs_gradient = gradients & 2;
    beta->needs_gradient = gradients & 4;
    xp_case_fill(out, variance, XP_FILL_POSITIVE, 0);
    xp_case_fill(out, weight, XP_FILL_WEIGHT, 0);
    return xp_batch_norm(out->graph, x, gamma, beta, mean, variance, weight, 1e-5f, 0.1f);
}

xp_status xp_case_batch_norm(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *y = build(out, shape, xp_random_below(variant, 4) != 0, 0);
    if (!y) return XP_INVALID_ARGUMENT;
    out->node = y->producer;
    return XP_OK;
}

xp_status xp_case_batch_norm_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    unsigned gradients = xp_random_below(variant, 2) ? 7 : 1 + xp_random_below(variant, 7);
    xp_tensor *y = build(out, shape, true, gradients);
    if (!y) return XP_INVALID_ARGUMENT;
    xp_tensor *seed = xp_graph_input(out->graph, "d_out", XP_F32, 3, y->shape);
    if (!seed) return XP_INVALID_ARGUMENT;
    XP_TRY(xp_graph_differentiate(out->graph, 1, &y, &seed, 0, NULL, NULL));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}
