/* Cases of counting right answers and of summing up a batch. */
#include "check/check.h"
#include "ops/ops.h"

enum { BATCH = 300, CLASSES = 300 };

xp_status xp_case_correct(xp_case *out, xp_random *variant, xp_random *shape) {
    const int64_t classes = xp_case_size(shape, 64, CLASSES), batch = xp_case_size(shape, 64, BATCH);
    const int64_t labels_below = classes + (xp_random_below(shape, 4) == 0 ? 1 + classes / 4 : 0);
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    snprintf(out->shape, sizeof out->shape, "B=%lld C=%lld labels below %lld", (long long)batch, (long long)classes,
             (long long)labels_below);
    out->zeros_expected = batch <= 8; /* a few samples may all be out of count */
    xp_tensor *probabilities = xp_graph_input(out->graph, "probabilities", XP_F32, 2, (int64_t[]){batch, classes});
    xp_tensor *labels = xp_graph_input(out->graph, "labels", XP_I32, 1, &batch);
    xp_tensor *weights = xp_graph_input(out->graph, "weights", XP_F32, 1, &batch), *counted = NULL;
    if (!probabilities || !labels || !weights) return XP_OUT_OF_MEMORY;
    xp_case_fill(out, probabilities, XP_FILL_UNIT, 0);
    xp_case_fill(out, labels, XP_FILL_INDEX, labels_below);
    xp_case_fill(out, weights, XP_FILL_WEIGHT, 0);
    xp_tensor *correct = xp_correct(out->graph, probabilities, labels, weights, &counted);
    if (!correct) return XP_INVALID_ARGUMENT;
    out->node = correct->producer;
    return XP_OK;
}

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
