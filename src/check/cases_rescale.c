/* Cases of numbers in the scale of their sample. */
#include "check/check.h"
#include "ops/ops.h"

xp_status xp_case_rescale(xp_case *out, xp_random *variant, xp_random *shape) {
    const bool gradient = xp_random_below(variant, 2) == 1;
    const int64_t batch = xp_case_size(shape, 16, 60), features = xp_case_size(shape, 8, 20);
    const int64_t numbers = features * xp_case_size(shape, 16, 60);
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    snprintf(out->shape, sizeof out->shape, "B=%lld T=%lld C=%lld%s", (long long)batch, (long long)numbers,
             (long long)features, gradient ? " backward" : "");
    xp_tensor *x = xp_graph_input(out->graph, "x", XP_F32, 2, (int64_t[]){batch, numbers});
    xp_tensor *levels = xp_graph_input(out->graph, "levels", XP_F32, 3, (int64_t[]){batch, 2, features});
    if (!x || !levels) return XP_OUT_OF_MEMORY;
    x->needs_gradient = gradient;
    xp_tensor *y = xp_rescale(out->graph, x, levels);
    if (!y) return XP_INVALID_ARGUMENT;
    if (gradient) {
        xp_tensor *dy = xp_graph_input(out->graph, "dy", XP_F32, 2, y->shape);
        if (!dy) return XP_OUT_OF_MEMORY;
        XP_TRY(xp_graph_differentiate(out->graph, 1, &y, &dy, 0, NULL, NULL));
    }
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}
