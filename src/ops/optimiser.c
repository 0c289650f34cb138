/* Optimisers, the sum of several runs' gradients and their global norm, over the store's flat buffers. Owns launches of
 * cl/optimiser.cl and the numbers that change from step to step. */
#include "graph/store.h"
#include "graph/stored.h"
#include "ops/ops.h"

#include <math.h>

extern const xp_operation xp_operation_gradient_norm, xp_operation_gradient_sum, xp_operation_optimiser;

enum { NORM_PARTS = 128, NORM_SMALLEST_PART = 1024, NORM_TILED_LOCAL = 256, STEP_LOCAL = 256, STEP_BLOCK = 4096 };

enum { GRADIENTS, NORM, STATE, INPUTS };
enum { VALUES, MOMENT_1, MOMENT_2, SKIPPED, COPIES, OUTPUTS };

/* What the update reads. */
static xp_tensor *step_gradients(xp_graph *graph) {
    const bool sums = graph->store && graph->store->accumulates;
    return xp_graph_store_buffer(graph, sums ? XP_STORE_SUMS : XP_STORE_GRADIENTS);
}

xp_tensor *xp_gradient_norm(xp_graph *graph) {
    xp_tensor *gradients = step_gradients(graph);
    if (!gradients) return NULL;
    xp_gradient_norm_attributes attributes = {.trained = graph->store->trained_elements};
    attributes.part = xp_launch_blocks(attributes.trained, NORM_PARTS);
    if (attributes.part < NORM_SMALLEST_PART) attributes.part = NORM_SMALLEST_PART;
    const int64_t parts = xp_launch_blocks(attributes.trained, attributes.part);
    xp_tensor *sums = xp_graph_tensor(graph, "squares", XP_F32, 1, &parts);
    if (!sums) return NULL;
    return xp_graph_node(graph, &xp_operation_gradient_norm, 1, &gradients, 1, &sums, &attributes, sizeof attributes)
               ? sums
               : NULL;
}

xp_status xp_gradient_sum(xp_graph *graph) {
    xp_tensor *inputs[] = {xp_graph_store_buffer(graph, XP_STORE_GRADIENTS), xp_graph_optimiser_state(graph)};
    xp_tensor *sums = xp_graph_store_buffer(graph, XP_STORE_SUMS);
    if (!inputs[0] || !inputs[1] || !sums) return XP_INVALID_ARGUMENT;
    return xp_graph_node(graph, &xp_operation_gradient_sum, 2, inputs, 1, &sums, NULL, 0) ? XP_OK : XP_OUT_OF_MEMORY;
}

xp_status xp_optimise(xp_graph *graph, xp_tensor *norm_or_null, const xp_optimiser_attributes *attributes,
                      xp_tensor **skipped) {
    if (attributes->kind < XP_SGD || attributes->kind > XP_RADAM)
        return xp_fail(XP_INVALID_ARGUMENT, "optimiser: unknown kind %d", attributes->kind);
    bool adaptive = attributes->kind != XP_SGD;
    if (norm_or_null && (norm_or_null->rank != 1 || norm_or_null->shape[0] > NORM_PARTS))
        return xp_fail(XP_INVALID_ARGUMENT, "optimiser: tensor %s must be the output of gradient_norm",
                       norm_or_null->name);
    xp_tensor *inputs[INPUTS] = {step_gradients(graph), norm_or_null, xp_graph_optimiser_state(graph)};
    xp_tensor *outputs[OUTPUTS] = {xp_graph_store_buffer(graph, XP_STORE_VALUES)};
    if (!inputs[GRADIENTS] || !inputs[STATE] || !outputs[VALUES]) return XP_INVALID_ARGUMENT;
    if (attributes->trained > xp_tensor_elements(inputs[GRADIENTS]) || attributes->decayed > attributes->trained)
        return xp_fail(XP_INVALID_ARGUMENT, "optimiser: %lld decayed and %lld trained elements do not fit the store",
                       (long long)attributes->decayed, (long long)attributes->trained);
    if (adaptive || attributes->momentum != 0) {
        outputs[MOMENT_1] = xp_graph_store_buffer(graph, XP_STORE_MOMENT_1);
        if (!outputs[MOMENT_1]) return XP_OUT_OF_MEMORY;
    }
    if (adaptive) {
        outputs[MOMENT_2] = xp_graph_store_buffer(graph, XP_STORE_MOMENT_2);
        if (!outputs[MOMENT_2]) return XP_OUT_OF_MEMORY;
    }
    if (graph->store->copies != XP_F32) {
        outputs[COPIES] = xp_graph_store_buffer(graph, XP_STORE_COPIES);
        if (!outputs[COPIES]) return XP_OUT_OF_MEMORY;
    }
    if (skipped) {
        if (!norm_or_null) return xp_fail(XP_INVALID_ARGUMENT, "optimiser: scaled gradients need their norm");
        *skipped = outputs[SKIPPED] = xp_graph_tensor(graph, "skipped", XP_F32, 1, (int64_t[]){1});
        if (!*skipped) return XP_OUT_OF_MEMORY;
    }
    return xp_graph_node(graph, &xp_operation_optimiser, INPUTS, inputs, OUTPUTS, outputs, attributes,
                         sizeof *attributes)
               ? XP_OK
               : XP_OUT_OF_MEMORY;
}

/* Liu et al. 2020, "On the variance of the adaptive learning rate and beyond", as PyTorch applies it: 0 while the
 * variance of the second moment is not yet tractable. */
static double rectification(double beta2, double step) {
    double longest = 2 / (1 - beta2) - 1, power = pow(beta2, step);
    double length = longest - 2 * step * power / (1 - power);
    if (length <= 5) return 0;
    return sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length));
}

void xp_optimiser_state_fill(const xp_optimiser_attributes *attributes, int64_t step, double learning_rate,
                             double scale, float state[8]) {
    for (int i = 0; i < 8; i++) state[i] = 0;
    state[0] = (float)learning_rate;
    state[1] = (float)(1 - pow(attributes->beta1, (double)step));
    state[2] = (float)(1 - pow(attributes->beta2, (double)step));
    state[5] = (float)(1 / scale);
    if (attributes->kind == XP_RADAM) state[3] = (float)rectification(attributes->beta2, (double)step);
}

static xp_status gradient_norm_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_gradient_norm_attributes *attributes = XP_ATTRIBUTES(xp_gradient_norm_attributes, node);
    const size_t local = family == XP_FAMILY_WIDE ? 1 : NORM_TILED_LOCAL;
    xp_launch_request request = {.file = "optimiser", .kernel = "gradient_norm", .dimensions = 1};
    xp_variant_set(&request.variant, "NORM_LOCAL", (long)local);
    request.local[0] = local;
    request.global[0] = (size_t)node->outputs[0]->shape[0] * local;
    request.flops = 2.0 * (double)attributes->trained;
    request.bytes = 4.0 * (double)attributes->trained;
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, attributes->trained);
    xp_launch_int(&request, attributes->part);
    return xp_plan_launch(plan, node, &request);
}

/* Work-groups of STEP_BLOCK elements. */
static void cover(xp_launch_request *request, xp_family family, int64_t elements) {
    const bool wide = family == XP_FAMILY_WIDE;
    const int64_t local = wide ? 1 : STEP_LOCAL;
    xp_variant_set(&request->variant, "STEP_LOCAL", local);
    request->local[0] = (size_t)local;
    request->global[0] = (size_t)(xp_launch_blocks(elements, STEP_BLOCK) * local);
}

static xp_status gradient_sum_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_launch_request request = {.file = "optimiser", .kernel = "gradient_sum", .dimensions = 1};
    const int64_t trained = xp_tensor_elements(node->outputs[0]);
    cover(&request, family, trained);
    request.flops = (double)trained;
    request.bytes = 12.0 * (double)trained;
    xp_launch_read(&request, node->inputs[0]);
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, trained);
    return xp_plan_launch(plan, node, &request);
}

static xp_status optimiser_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_optimiser_attributes *attributes = XP_ATTRIBUTES(xp_optimiser_attributes, node);
    xp_launch_request request = {.file = "optimiser", .kernel = "optimiser_step", .dimensions = 1};
    xp_variant_set(&request.variant, "KIND", attributes->kind);
    xp_variant_set(&request.variant, "MOMENTUM", attributes->kind == XP_SGD && node->outputs[MOMENT_1] != NULL);
    xp_variant_set(&request.variant, "CLIP", node->inputs[NORM] != NULL);
    if (node->outputs[SKIPPED]) xp_variant_set(&request.variant, "SCALED", 1);
    cover(&request, family, attributes->trained);
    int streams = 3 + (node->outputs[MOMENT_1] ? 2 : 0) + (node->outputs[MOMENT_2] ? 2 : 0);
    request.flops = 16.0 * (double)attributes->trained;
    request.bytes = 4.0 * streams * (double)attributes->trained;
    if (node->outputs[COPIES]) request.bytes += (double)xp_tensor_bytes(node->outputs[COPIES]);
    xp_storage_set(&request.variant, node);
    xp_launch_read(&request, node->inputs[GRADIENTS]);
    xp_launch_read(&request, node->inputs[NORM]);
    xp_launch_read(&request, node->inputs[STATE]);
    xp_launch_write(&request, node->outputs[VALUES]);
    xp_launch_write(&request, node->outputs[MOMENT_1]);
    xp_launch_write(&request, node->outputs[MOMENT_2]);
    xp_launch_int(&request, attributes->trained);
    xp_launch_int(&request, attributes->decayed);
    xp_launch_float(&request, attributes->beta1);
    xp_launch_float(&request, (float)(1 - (double)attributes->beta1));
    xp_launch_float(&request, attributes->beta2);
    xp_launch_float(&request, (float)(1 - (double)attributes->beta2));
    xp_launch_float(&request, attributes->epsilon);
    xp_launch_float(&request, attributes->weight_decay);
    xp_launch_float(&request, attributes->momentum);
    xp_launch_int(&request, node->inputs[NORM] ? node->inputs[NORM]->shape[0] : 0);
    xp_launch_float(&request, attributes->limit);
    xp_launch_write(&request, node->outputs[SKIPPED]);
    xp_launch_write(&request, node->outputs[COPIES]);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_gradient_norm = {
    .name = "gradient_norm",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, gradient_norm_emit}, {XP_FAMILY_TILED, NULL, gradient_norm_emit})};
const xp_operation xp_operation_gradient_sum = {
    .name = "gradient_sum",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, gradient_sum_emit}, {XP_FAMILY_TILED, NULL, gradient_sum_emit})};
const xp_operation xp_operation_optimiser = {.name = "optimiser",
                                             .emitters =
                                                 XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, optimiser_emit},
                                                             {XP_FAMILY_TILED, xp_supports_storage, optimiser_emit}),
                                             .stored_outputs = 1 << COPIES};
