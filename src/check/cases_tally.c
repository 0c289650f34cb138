/* Cases of summing up a batch. */
#include "check/check.h"
#include "ops/ops.h"

enum { BATCH = 300 };

xp_status xp_case_tally(xp_case *out, xp_random *variant, xp_random *shape) {
    static const char *const names[] = {"losses", "scores", "counted", "weights"};
    const int64_t batch = xp_case_size(shape, 64, BATCH);
    xp_tensor *inputs[4];
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    snprintf(out->shape, sizeof out->shape, "B=%lld", (long long)batch);
    out->zeros_expected = batch <= 8;
    for (int i = 0; i < 4; i++) {
        inputs[i] = xp_graph_input(out->graph, names[i], XP_F32, 1, &batch);
        if (!inputs[i]) return XP_OUT_OF_MEMORY;
        if (i >= 2) xp_case_fill(out, inputs[i], XP_FILL_WEIGHT, 0);
    }
    xp_tensor *sums = xp_tally_samples(out->graph, inputs[0], inputs[1], inputs[2], inputs[3]);
    if (!sums) return XP_INVALID_ARGUMENT;
    out->node = sums->producer;
    return XP_OK;
}
