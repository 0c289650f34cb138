/* What turns a differentiated graph into a training step: the optimiser, and the numbers that change from step to step.
 * Owns no loop; knows no models, data or files. */
#include "train/step.h"

#include "core/options.h"
#include "graph/operation.h"
#include "graph/plan.h"
#include "graph/store.h"
#include "ops/ops.h"

#include <string.h>

void xp_optimiser_options_init(xp_optimiser_options *options, size_t size) {
    const xp_optimiser_options defaults = {
        .kind = XP_ADAMW, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f, .weight_decay = 0.01f};
    xp_options_fill(options, size, &defaults, sizeof defaults);
}

/* The graph's node of an operation; NULL: there is none. */
static const xp_node *find_node(const xp_graph *graph, const char *operation) {
    for (int i = 0; i < graph->node_count; i++)
        if (strcmp(graph->nodes[i]->operation->name, operation) == 0) return graph->nodes[i];
    return NULL;
}

static xp_status lay_out(const xp_graph *graph, const xp_device *device) {
    xp_store *store = graph->store;
    if (!store) return xp_fail(XP_INVALID_ARGUMENT, "optimiser: the graph has no store of parameters");
    XP_TRY(xp_store_lay_out(store, device->limits.alignment_bytes));
    if (store->trained_elements == 0) return xp_fail(XP_INVALID_ARGUMENT, "the model has no parameter to train");
    return XP_OK;
}

xp_status xp_train_accumulate(xp_graph *graph, xp_device *device) {
    XP_TRY(lay_out(graph, device));
    if (graph->store->device)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "gradients cannot be accumulated: the store was allocated without their sums");
    graph->store->accumulates = true;
    xp_graph_scope(graph, "optimiser");
    return xp_gradient_sum(graph);
}

static xp_status add_optimiser(xp_graph *graph, xp_device *device, const xp_optimiser_options *options,
                               xp_tensor **skipped) {
    xp_optimiser_options own;
    xp_optimiser_options_default(&own);
    XP_TRY(xp_options_take(&own, sizeof own, options, "xp_optimiser_options"));
    XP_TRY(lay_out(graph, device));
    if (find_node(graph, "gradient_sum"))
        return xp_fail(XP_INVALID_ARGUMENT,
                       "optimiser: this graph accumulates gradients; the update belongs to a graph of its own");
    xp_store *store = graph->store;
    for (int buffer = XP_STORE_MOMENT_1; buffer <= XP_STORE_MOMENT_2; buffer++) /* checkpoints have both */
        XP_TRY(xp_store_use(store, buffer));
    const xp_optimiser_attributes attributes = {
        .kind = own.kind,
        .beta1 = own.beta1,
        .beta2 = own.beta2,
        .epsilon = own.epsilon,
        .weight_decay = own.weight_decay,
        .momentum = own.momentum,
        .limit = own.gradient_clip,
        .decayed = store->decayed_elements,
        .trained = store->trained_elements,
    };
    xp_graph_scope(graph, "optimiser");
    xp_tensor *norm = NULL;
    if (own.gradient_clip > 0 || skipped) {
        norm = xp_gradient_norm(graph);
        if (!norm) return XP_INVALID_ARGUMENT;
    }
    return xp_optimise(graph, norm, &attributes, skipped);
}

xp_status xp_train_optimiser(xp_graph *graph, xp_device *device, const xp_optimiser_options *options) {
    return add_optimiser(graph, device, options, NULL);
}

xp_status xp_step_scaled_optimiser(xp_graph *graph, xp_device *device, const xp_optimiser_options *options,
                                   xp_tensor **skipped) {
    XP_TRY(add_optimiser(graph, device, options, skipped));
    xp_tensor_keep(*skipped);
    return XP_OK;
}

static xp_status check_step(int64_t step) {
    return step < 1 ? xp_fail(XP_INVALID_ARGUMENT, "step %lld: steps count from 1", (long long)step) : XP_OK;
}

void xp_step_fill_optimiser(const xp_graph *graph, int64_t step, double learning_rate, double scale, float state[8]) {
    const xp_node *optimiser = find_node(graph, "optimiser");
    xp_optimiser_state_fill(XP_ATTRIBUTES(xp_optimiser_attributes, optimiser), step, learning_rate, scale, state);
}

void xp_step_fill_part(int part, float state[8]) {
    for (int i = 0; i < 8; i++) state[i] = i == 4 && part > 0;
}

void xp_step_fill_random(uint64_t seed, int64_t step, int part, int parts, uint32_t state[4]) {
    const uint64_t run = (uint64_t)(step - 1) * (uint64_t)parts + (uint64_t)part; /* since the beginning */
    state[0] = (uint32_t)seed;
    state[1] = (uint32_t)(seed >> 32);
    state[2] = (uint32_t)run;
    state[3] = (uint32_t)(run >> 32);
}

static xp_status write_random_state(xp_plan *plan, uint64_t seed, int64_t step, int part, int parts) {
    const xp_graph *graph = xp_plan_graph(plan);
    uint32_t state[4];
    if (!graph->random_state) return XP_OK;
    xp_step_fill_random(seed, step, part, parts, state);
    return xp_plan_write(plan, graph->random_state, state);
}

xp_status xp_train_part(xp_plan *plan, uint64_t seed, int64_t step, int part, int parts) {
    XP_TRY(check_step(step));
    if (part < 0 || part >= parts)
        return xp_fail(XP_INVALID_ARGUMENT, "part %d of %d: parts count from 0", part, parts);
    const xp_graph *graph = xp_plan_graph(plan);
    if (!find_node(graph, "gradient_sum"))
        return xp_fail(XP_INVALID_ARGUMENT, "a part of a step: the plan does not accumulate gradients");
    float state[8];
    xp_step_fill_part(part, state);
    XP_TRY(xp_plan_write(plan, graph->optimiser_state, state));
    return write_random_state(plan, seed, step, part, parts);
}

xp_status xp_train_step(xp_plan *plan, uint64_t seed, int64_t step, double learning_rate) {
    XP_TRY(check_step(step));
    const xp_graph *graph = xp_plan_graph(plan);
    if (find_node(graph, "gradient_sum"))
        return xp_fail(XP_INVALID_ARGUMENT,
                       "a step: this plan accumulates gradients; before each of its runs comes xp_train_part");
    if (find_node(graph, "optimiser")) {
        float state[8];
        xp_step_fill_optimiser(graph, step, learning_rate, 1, state);
        XP_TRY(xp_plan_write(plan, graph->optimiser_state, state));
    }
    return write_random_state(plan, seed, step, 0, 1);
}
