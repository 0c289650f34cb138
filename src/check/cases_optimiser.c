/* Cases of the optimisers, of the sum of gradients and of the norm of them all, over a small store of parameters. */
#include "check/check.h"

#include "core/text.h"
#include "graph/store.h"
#include "ops/ops.h"

#include <math.h>
#include <string.h>

/* MANY: from here on a chunk of the norm is longer than its smallest and ends anywhere. */
enum { ALIGNMENT_BYTES = 128, BLOCK = 256, MANY = 131072 };

static xp_status build_store(xp_case *out, xp_random *shape, xp_type copies) {
    static const char *const names[] = {"weight", "bias", "state"};
    int64_t elements[3];
    XP_TRY(xp_store_create(&out->store));
    for (int i = 0; i < 3; i++) {
        elements[i] = xp_case_size(shape, BLOCK, i == 0 ? 20000 : 500);
        if (i == 0 && xp_random_below(shape, 8) == 0) elements[i] += MANY;
        xp_parameter_kind kind = (xp_parameter_kind)(XP_PARAMETER_DECAYED + i);
        XP_TRY(xp_store_add(out->store, names[i], kind, XP_INITIAL_CONSTANT, 0, 1, &elements[i]));
    }
    out->store->copies = copies;
    XP_TRY(xp_store_lay_out(out->store, ALIGNMENT_BYTES));
    snprintf(out->shape, sizeof out->shape, "decayed=%lld trained=%lld elements=%lld",
             (long long)out->store->decayed_elements, (long long)out->store->trained_elements,
             (long long)out->store->elements);
    return xp_graph_create(&out->graph, out->store, true);
}

xp_status xp_case_gradient_norm(xp_case *out, xp_random *variant, xp_random *shape) {
    (void)variant;
    XP_TRY(build_store(out, shape, XP_F32));
    xp_tensor *norm = xp_gradient_norm(out->graph);
    if (!norm) return XP_INVALID_ARGUMENT;
    out->node = norm->producer;
    return XP_OK;
}

xp_status xp_case_gradient_sum(xp_case *out, xp_random *variant, xp_random *shape) {
    (void)variant;
    XP_TRY(build_store(out, shape, XP_F32));
    XP_TRY(xp_gradient_sum(out->graph));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    const float state[8] = {[4] = (float)xp_random_below(shape, 2)};
    xp_case_values(out, out->graph->optimiser_state, 8, state);
    xp_text_add(out->shape, sizeof out->shape, " kept=%d", state[4] != 0);
    return XP_OK;
}

xp_status xp_case_optimiser(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_optimiser_attributes attributes = {.kind = (int)xp_random_below(variant, 4),
                                          .beta1 = 0.9f,
                                          .beta2 = 0.999f,
                                          .epsilon = 1e-8f,
                                          .weight_decay = xp_random_below(variant, 2) ? 0.05f : 0.0f,
                                          .momentum = xp_random_below(variant, 2) ? 0.9f : 0.0f};
    bool clipped = xp_random_below(variant, 2);
    static const xp_type copies[] = {XP_F32, XP_BF16, XP_F16};
    XP_TRY(build_store(out, shape, copies[xp_random_below(variant, 3)]));
    attributes.decayed = out->store->decayed_elements;
    attributes.trained = out->store->trained_elements;
    attributes.limit = xp_random_below(shape, 4) ? 1 : 1e6f;
    xp_tensor *skipped;
    const bool scaled = clipped && xp_random_below(variant, 2);
    if (scaled && xp_random_below(shape, 2)) attributes.limit = 0;
    XP_TRY(
        xp_optimise(out->graph, clipped ? xp_gradient_norm(out->graph) : NULL, &attributes, scaled ? &skipped : NULL));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    if (clipped) xp_case_fill(out, out->node->inputs[1], XP_FILL_UNIT, 0);
    if (scaled && xp_random_below(shape, 3) == 0)
        xp_case_values(out, out->node->inputs[1], 2, (const float[2]){1, INFINITY});
    /* RAdam leaves its warm-up at the sixth step. */
    int64_t step = 1 + xp_random_below(shape, 12);
    float state[8];
    xp_optimiser_state_fill(&attributes, step, 0.01, scaled ? 1024 : 1, state);
    xp_case_values(out, out->graph->optimiser_state, 8, state);
    xp_case_fill(out, out->node->outputs[2], XP_FILL_UNIT, 0);
    xp_text_add(out->shape, sizeof out->shape, " kind=%d step=%lld%s", attributes.kind, (long long)step,
                scaled ? " scaled" : "");
    return XP_OK;
}
