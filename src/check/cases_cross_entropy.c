/* Cases of cross-entropy and of its gradient. */
#include "check/check.h"
#include "ops/ops.h"

/* MANY: from about here on, the gradient's weights are added up in a launch of their own. */
enum { BATCH = 300, CLASSES = 300, ELEMENTS = 40000, MANY = 1000 };

/* Some shapes draw labels from more numbers than there are classes: those samples must not count. */
static xp_tensor *build(xp_case *out, xp_random *variant, xp_random *shape, bool needs_gradient) {
    const bool soft = xp_random_below(variant, 2);
    int64_t classes = xp_case_size(shape, 64, CLASSES), batch = xp_case_size(shape, 64, BATCH);
    if (xp_random_below(shape, 4) == 0) batch += MANY;
    if (batch * classes > ELEMENTS) batch = ELEMENTS / classes;
    const int64_t extra = xp_random_below(shape, 4) == 0 ? 1 + classes / 4 : 0;
    const float smoothing = xp_random_below(shape, 2) ? 0.1f : 0.0f;
    if (xp_graph_create(&out->graph, NULL, true) != XP_OK) return NULL;
    snprintf(out->shape, sizeof out->shape, "B=%lld C=%lld smoothing=%.1f %s %lld", (long long)batch,
             (long long)classes, (double)smoothing, soft ? "shares of" : "labels below",
             (long long)(soft ? classes : classes + extra));
    /* One class is always right; a few samples may all be out of count. */
    out->zeros_expected = needs_gradient && (classes == 1 || (batch <= 8 && extra > 0));
    xp_tensor *logits = xp_graph_input(out->graph, "logits", XP_F32, 2, (int64_t[]){batch, classes});
    xp_tensor *labels = soft ? xp_graph_input(out->graph, "shares", XP_F32, 2, (int64_t[]){batch, classes})
                             : xp_graph_input(out->graph, "labels", XP_I32, 1, &batch);
    xp_tensor *weights = xp_graph_input(out->graph, "weights", XP_F32, 1, &batch);
    if (!logits || !labels || !weights) return NULL;
    logits->needs_gradient = needs_gradient;
    xp_case_fill(out, labels, soft ? XP_FILL_SHARES : XP_FILL_INDEX, soft ? classes : classes + extra);
    xp_case_fill(out, weights, XP_FILL_WEIGHT, 0);
    return xp_cross_entropy(out->graph, logits, labels, weights, smoothing, NULL, NULL);
}

xp_status xp_case_cross_entropy(xp_case *out, xp_random *variant, xp_random *shape) {
    const bool correct = xp_random_below(variant, 2);
    xp_tensor *loss = xp_tensor_keep(build(out, variant, shape, false)), *outputs[2];
    if (!loss) return XP_INVALID_ARGUMENT;
    out->node = loss->producer;
    if (correct) XP_TRY(xp_cross_entropy_correct(out->graph, out->node->outputs[2], &outputs[0], &outputs[1]));
    return XP_OK;
}

xp_status xp_case_cross_entropy_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *loss = build(out, variant, shape, true);
    if (!loss) return XP_INVALID_ARGUMENT;
    xp_tensor *d_loss = xp_graph_input(out->graph, "d_loss", XP_F32, 1, loss->shape);
    if (!d_loss) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_graph_differentiate(out->graph, 1, &loss, &d_loss, 0, NULL, NULL));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}
