/* Cases of stochastic depth. */
#include "check/check.h"
#include "ops/ops.h"

enum { SAMPLES = 70, ELEMENTS = 300, RANDOM_LIMIT = 1 << 30 };

xp_status xp_case_drop_path(xp_case *out, xp_random *variant, xp_random *shape) {
    const int64_t sizes[] = {xp_case_size(shape, 8, SAMPLES), xp_case_size(shape, 8, ELEMENTS / 8),
                             xp_case_size(shape, 4, 8)};
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *x = xp_graph_input(out->graph, "x", XP_F32, 3, sizes);
    if (!x) return XP_OUT_OF_MEMORY;
    snprintf(out->shape, sizeof out->shape, "B=%lld N=%lld C=%lld", (long long)sizes[0], (long long)sizes[1],
             (long long)sizes[2]);
    out->graph->next_stream = xp_random_below(shape, 100);
    out->zeros_expected = sizes[0] <= 16; /* all may be dropped */
    xp_tensor *y = xp_drop_path(out->graph, x, 0.05f + 0.6f * (float)xp_random_unit(shape));
    if (!y) return XP_INVALID_ARGUMENT;
    xp_case_fill(out, out->graph->random_state, XP_FILL_INDEX, RANDOM_LIMIT);
    out->node = y->producer;
    return XP_OK;
}
