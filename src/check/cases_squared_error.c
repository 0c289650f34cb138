/* Cases of the squared error and of its gradient. */
#include "check/check.h"
#include "ops/ops.h"

enum { BATCH = 300, OUTPUTS = 300, ELEMENTS = 40000 };

static xp_tensor *build(xp_case *out, xp_random *shape, bool needs_gradient) {
    int64_t outputs = xp_case_size(shape, 64, OUTPUTS), batch = xp_case_size(shape, 64, BATCH);
    xp_squared_errors errors;
    if (batch * outputs > ELEMENTS) batch = ELEMENTS / outputs;
    if (xp_graph_create(&out->graph, NULL, true) != XP_OK) return NULL;
    snprintf(out->shape, sizeof out->shape, "B=%lld T=%lld", (long long)batch, (long long)outputs);
    out->zeros_expected = batch <= 8; /* a few samples may all be out of count */
    xp_tensor *answers = xp_graph_input(out->graph, "answers", XP_F32, 2, (int64_t[]){batch, outputs});
    xp_tensor *targets = xp_graph_input(out->graph, "targets", XP_F32, 2, (int64_t[]){batch, outputs});
    xp_tensor *weights = xp_graph_input(out->graph, "weights", XP_F32, 1, &batch);
    if (!answers || !targets || !weights) return NULL;
    answers->needs_gradient = needs_gradient;
    xp_case_fill(out, targets, XP_FILL_PARTIAL, 0);
    xp_case_fill(out, weights, XP_FILL_WEIGHT, 0);
    return xp_squared_error(out->graph, answers, targets, weights, &errors);
}

xp_status xp_case_squared_error(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *loss = xp_tensor_keep(build(out, shape, false));
    if (!loss) return XP_INVALID_ARGUMENT;
    out->node = loss->producer;
    return XP_OK;
}

xp_status xp_case_squared_error_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *loss = build(out, shape, true);
    if (!loss) return XP_INVALID_ARGUMENT;
    xp_tensor *d_loss = xp_graph_input(out->graph, "d_loss", XP_F32, 1, loss->shape);
    if (!d_loss) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_graph_differentiate(out->graph, 1, &loss, &d_loss, 0, NULL, NULL));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}
