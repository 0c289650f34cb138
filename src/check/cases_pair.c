/* Cases of the features of pairs, and of their gradient. */
#include "check/check.h"
#include "ops/ops.h"

static xp_tensor *build(xp_case *out, xp_random *shape, bool needs_gradient) {
    const int64_t batch = xp_case_size(shape, 16, 60), columns = xp_case_size(shape, 64, 300);
    if (xp_graph_create(&out->graph, NULL, true) != XP_OK) return NULL;
    snprintf(out->shape, sizeof out->shape, "B=%lld C=%lld", (long long)batch, (long long)columns);
    xp_tensor *pairs = xp_graph_input(out->graph, "pairs", XP_F32, 3, (int64_t[]){batch, 2, columns});
    if (!pairs) return NULL;
    pairs->needs_gradient = needs_gradient;
    return xp_pair(out->graph, pairs);
}

xp_status xp_case_pair(xp_case *out, xp_random *variant, xp_random *shape) {
    (void)variant;
    const xp_tensor *y = build(out, shape, false);
    if (!y) return XP_INVALID_ARGUMENT;
    out->node = y->producer;
    return XP_OK;
}

xp_status xp_case_pair_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    (void)variant;
    xp_tensor *y = build(out, shape, true);
    if (!y) return XP_INVALID_ARGUMENT;
    xp_tensor *dy = xp_graph_input(out->graph, "dy", XP_F32, 3, y->shape);
    if (!dy) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_graph_differentiate(out->graph, 1, &y, &dy, 0, NULL, NULL));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}
