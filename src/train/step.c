/* What turns a differentiated graph into a training step: the optimiser behind it, and the numbers that change from
 * step to step. Owns no loop; knows nothing of models, data or files. */
#include "graph/plan.h"
#include "graph/store.h"
#include "ops/operation.h"
#include "ops/ops.h"

#include <string.h>

void xp_optimiser_options_default(xp_optimiser_options *options) {
    *options = (xp_optimiser_options){
        .kind = XP_ADAMW, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f, .weight_decay = 0.01f};
}

xp_status xp_train_optimiser(xp_graph *graph, xp_device *device, const xp_optimiser_options *options) {
    xp_store *store = graph->store;
    if (!store) return xp_fail(XP_INVALID_ARGUMENT, "optimiser: the graph has no store of parameters");
    XP_TRY(xp_store_lay_out(store, device->limits.alignment_bytes));
    if (store->trained_elements == 0) return xp_fail(XP_INVALID_ARGUMENT, "the model has no parameter to train");
    const xp_optimiser_attributes attributes = {
        .kind = options->kind,
        .beta1 = options->beta1,
        .beta2 = options->beta2,
        .epsilon = options->epsilon,
        .weight_decay = options->weight_decay,
        .momentum = options->momentum,
        .decayed = store->decayed_elements,
        .trained = store->trained_elements,
    };
    xp_graph_scope(graph, "optimiser");
    xp_tensor *clip = NULL;
    if (options->gradient_clip > 0) {
        clip = xp_gradient_norm(graph, options->gradient_clip);
        if (!clip) return XP_INVALID_ARGUMENT;
    }
    return xp_optimise(graph, clip, &attributes);
}

xp_status xp_train_step(xp_plan *plan, uint64_t seed, int64_t step, double learning_rate) {
    if (step < 1) return xp_fail(XP_INVALID_ARGUMENT, "step %lld: steps count from 1", (long long)step);
    const xp_graph *graph = xp_plan_graph(plan);
    for (int i = 0; i < graph->node_count; i++) {
        if (strcmp(graph->nodes[i]->operation->name, "optimiser") != 0) continue;
        float state[8];
        xp_optimiser_state_fill(XP_ATTRIBUTES(xp_optimiser_attributes, graph->nodes[i]), step, learning_rate, state);
        XP_TRY(xp_plan_write(plan, graph->optimiser_state, state));
    }
    if (!graph->random_state) return XP_OK;
    const uint64_t place = (uint64_t)step - 1;
    const uint32_t state[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)place, (uint32_t)(place >> 32)};
    return xp_plan_write(plan, graph->random_state, state);
}
