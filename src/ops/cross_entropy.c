/* Softmax cross-entropy with label smoothing over weighted samples. Owns the loss and its gradient; must not know where
 * logits come from. */
#include "graph/launch.h"
#include "ops/building.h"

extern const xp_operation xp_operation_cross_entropy_backward; /* added by the gradient rule */

static xp_launch_request request_of(const char *kernel, int64_t groups) {
    return (xp_launch_request){
        .file = "cross_entropy", .kernel = kernel, .dimensions = 1, .global = {(size_t)groups * 64}, .local = {64}};
}

/* The kernel that a work-item runs alone. */
static void make_wide(xp_launch_request *request, const char *kernel, int64_t groups) {
    request->kernel = kernel;
    request->global[0] = (size_t)groups;
    request->local[0] = 1;
}

static bool is_soft(const xp_tensor *labels) {
    return labels->type == XP_F32;
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

static xp_status cross_entropy_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    xp_tensor *logits = node->inputs[0], *labels = node->inputs[1], *weights = node->inputs[2];
    xp_tensor *loss = node->outputs[0], *losses = node->outputs[2];
    double elements = (double)xp_tensor_elements(logits);

    xp_launch_request samples = request_of("cross_entropy_samples", logits->shape[0]);
    if (family == XP_FAMILY_WIDE) make_wide(&samples, "cross_entropy_samples_wide", logits->shape[0]);
    samples.flops = 6.0 * elements;
    samples.bytes = 8.0 * elements;
    xp_launch_read(&samples, logits);
    xp_launch_read(&samples, labels);
    xp_launch_read(&samples, weights);
    for (int i = 1; i < 5; i++) xp_launch_write(&samples, node->outputs[i]);
    if (node->outputs[3]) xp_variant_set(&samples.variant, "CORRECT", 1);
    if (is_soft(labels)) xp_variant_set(&samples.variant, "SOFT", 1);
    xp_launch_int(&samples, logits->shape[1]);
    xp_launch_float(&samples, XP_ATTRIBUTES(xp_cross_entropy_attributes, node)->smoothing);
    XP_TRY(xp_plan_launch(plan, node, &samples));
    if (!xp_plan_reads(plan, loss)) return XP_OK;

    xp_launch_request mean = request_of("cross_entropy_mean", 1);
    if (is_soft(labels)) xp_variant_set(&mean.variant, "SOFT", 1);
    mean.flops = 3.0 * (double)logits->shape[0];
    mean.bytes = 12.0 * (double)logits->shape[0];
    xp_launch_read(&mean, labels);
    xp_launch_read(&mean, weights);
    xp_launch_read(&mean, losses);
    xp_launch_write(&mean, loss);
    xp_launch_int(&mean, logits->shape[0]);
    xp_launch_int(&mean, logits->shape[1]);
    return xp_plan_launch(plan, node, &mean);
}

static xp_status cross_entropy_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                        xp_tensor **d_inputs) {
    if (!d_outputs[0] || d_outputs[1] || d_outputs[2])
        return xp_fail(XP_UNSUPPORTED, "%s: only the loss of cross-entropy can be differentiated", node->label);
    xp_tensor *inputs[] = {xp_graph_dense(graph, d_outputs[0]), node->outputs[1], node->inputs[1], node->inputs[2]};
    d_inputs[0] = xp_graph_tensor(graph, "d_logits", XP_F32, 2, node->inputs[0]->shape);
    if (!inputs[0] || !d_inputs[0]) return XP_OUT_OF_MEMORY;
    return xp_graph_node(graph, &xp_operation_cross_entropy_backward, 4, inputs, 1, d_inputs, node->attributes,
                         sizeof(xp_cross_entropy_attributes))
               ? XP_OK
               : XP_OUT_OF_MEMORY;
}

const xp_operation xp_operation_cross_entropy = {
    .name = "cross_entropy",
    .gradient = cross_entropy_gradient,
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, cross_entropy_emit}, {XP_FAMILY_TILED, NULL, cross_entropy_emit})};

xp_tensor *xp_cross_entropy(xp_graph *graph, xp_tensor *logits, xp_tensor *labels, xp_tensor *weights, float smoothing,
                            xp_tensor **probabilities, xp_tensor **losses) {
    if (!logits || !labels || !weights) return NULL;
    char shape[128];
    if (logits->rank != 2) {
        xp_fail(XP_INVALID_ARGUMENT, "cross-entropy: the logits %s %s are not [batch, classes]", logits->name,
                xp_tensor_shape_text(logits, shape, sizeof shape));
        return NULL;
    }
    const xp_tensor *per_sample[] = {labels, weights};
    const bool soft = is_soft(labels);
    if (soft && !xp_tensor_same_shape(labels, logits)) {
        xp_fail(XP_INVALID_ARGUMENT, "cross-entropy: the shares %s %s are not one for each of the logits", labels->name,
                xp_tensor_shape_text(labels, shape, sizeof shape));
        return NULL;
    }
    for (int i = soft; i < 2; i++)
        if (per_sample[i]->rank != 1 || per_sample[i]->shape[0] != logits->shape[0] ||
            per_sample[i]->type != (i == 0 ? XP_I32 : XP_F32)) {
            xp_fail(XP_INVALID_ARGUMENT, "cross-entropy: the %s %s %s are not one %s for each of %lld samples",
                    i == 0 ? "labels" : "weights", per_sample[i]->name,
                    xp_tensor_shape_text(per_sample[i], shape, sizeof shape), i == 0 ? "integer" : "float",
                    (long long)logits->shape[0]);
            return NULL;
        }
    if (!(smoothing >= 0.0f && smoothing <= 1.0f)) {
        xp_fail(XP_INVALID_ARGUMENT, "cross-entropy: the label smoothing %g is not in [0, 1]", (double)smoothing);
        return NULL;
    }
    xp_tensor *inputs[] = {xp_graph_dense(graph, logits), xp_graph_dense(graph, labels),
                           xp_graph_dense(graph, weights)};
    xp_tensor *outputs[] = {xp_graph_tensor(graph, "loss", XP_F32, 1, (int64_t[]){1}),
                            xp_graph_tensor(graph, "probabilities", XP_F32, 2, logits->shape),
                            xp_graph_tensor(graph, "losses", XP_F32, 1, logits->shape), NULL, NULL};
    xp_cross_entropy_attributes attributes = {.smoothing = smoothing};
    if (!inputs[0] || !inputs[1] || !inputs[2] || !outputs[0] || !outputs[1] || !outputs[2] ||
        !xp_graph_node(graph, &xp_operation_cross_entropy, 3, inputs, 5, outputs, &attributes, sizeof attributes))
        return NULL;
    if (probabilities) *probabilities = outputs[1];
    if (losses) *losses = outputs[2];
    return outputs[0];
}

xp_status xp_cross_entropy_correct(xp_graph *graph, const xp_tensor *losses, xp_tensor **correct, xp_tensor **counted) {
    xp_node *node = losses->producer;
    for (int i = 3; i < 5; i++) {
        node->outputs[i] = xp_graph_tensor(graph, i == 3 ? "correct" : "counted", XP_F32, 1, losses->shape);
        if (!node->outputs[i]) return XP_OUT_OF_MEMORY;
        node->outputs[i]->producer = node;
    }
    *correct = node->outputs[3];
    *counted = node->outputs[4];
    return XP_OK;
}

/* ---- backward ---------------------------------------------------------------------------------------------------- */

/* The sum of the weights of a batch that is too large for every work-group to add it up. */
static xp_status emit_weight(xp_plan *plan, const xp_node *node, xp_tensor *total) {
    const int64_t batch = node->inputs[1]->shape[0], classes = node->inputs[1]->shape[1];
    if (!total) return XP_OUT_OF_MEMORY;
    xp_launch_request request = request_of("cross_entropy_weight", 1);
    request.flops = (double)batch;
    request.bytes = 8.0 * (double)batch;
    xp_variant_set(&request.variant, "SUMMED", 1); /* one program with the gradient */
    if (is_soft(node->inputs[2])) xp_variant_set(&request.variant, "SOFT", 1);
    xp_launch_read(&request, node->inputs[2]);
    xp_launch_read(&request, node->inputs[3]);
    xp_launch_write(&request, total);
    xp_launch_int(&request, batch);
    xp_launch_int(&request, classes);
    return xp_plan_launch(plan, node, &request);
}

static xp_status cross_entropy_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    enum { FEW = 1024 /* samples: another launch costs more than their sum in every work-group */, GROUPS = 64 };
    const int64_t batch = node->inputs[1]->shape[0], classes = node->inputs[1]->shape[1];
    xp_tensor *total = batch > FEW ? xp_plan_scratch(plan, node, 1) : NULL;
    if (batch > FEW) XP_TRY(emit_weight(plan, node, total));
    xp_launch_request request = request_of("cross_entropy_backward", xp_launch_blocks(batch * classes, 64));
    const int64_t block = xp_launch_blocks(batch, GROUPS);
    if (family == XP_FAMILY_WIDE) make_wide(&request, "cross_entropy_backward_wide", xp_launch_blocks(batch, block));
    if (total) xp_variant_set(&request.variant, "SUMMED", 1);
    if (is_soft(node->inputs[2])) xp_variant_set(&request.variant, "SOFT", 1);
    request.flops = 3.0 * (double)(batch * classes);
    request.bytes = 8.0 * (double)(batch * classes);
    for (int i = 0; i < 4; i++) xp_launch_read(&request, node->inputs[i]);
    xp_launch_read(&request, total);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, batch);
    xp_launch_int(&request, classes);
    xp_launch_float(&request, XP_ATTRIBUTES(xp_cross_entropy_attributes, node)->smoothing);
    if (family == XP_FAMILY_WIDE) xp_launch_int(&request, block);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_cross_entropy_backward = {
    .name = "cross_entropy_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, cross_entropy_backward_emit},
                            {XP_FAMILY_TILED, NULL, cross_entropy_backward_emit})};
