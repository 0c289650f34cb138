/* Mean squared error over weighted samples. Owns the loss and its gradient; must not know what is predicted. */
#include "graph/launch.h"
#include "ops/building.h"

extern const xp_operation xp_operation_squared_error, xp_operation_squared_error_backward;

static xp_launch_request request_of(const char *kernel, int64_t groups) {
    return (xp_launch_request){
        .file = "squared_error", .kernel = kernel, .dimensions = 1, .global = {(size_t)groups * 64}, .local = {64}};
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

enum { ANSWERS, TARGETS, WEIGHTS, INPUTS };
enum { LOSS, LOSSES, ABSOLUTE, KNOWN, OUTPUTS };

static xp_status squared_error_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const int64_t batch = node->inputs[ANSWERS]->shape[0], outputs = node->inputs[ANSWERS]->shape[1];
    xp_launch_request samples = request_of("squared_error_samples", batch);
    samples.flops = 4.0 * (double)(batch * outputs);
    samples.bytes = 8.0 * (double)(batch * outputs);
    for (int i = 0; i < INPUTS; i++) xp_launch_read(&samples, node->inputs[i]);
    for (int i = LOSSES; i < OUTPUTS; i++) xp_launch_write(&samples, node->outputs[i]);
    xp_launch_int(&samples, outputs);
    XP_TRY(xp_plan_launch(plan, node, &samples));
    if (!xp_plan_reads(plan, node->outputs[LOSS])) return XP_OK;

    xp_launch_request mean = request_of("squared_error_mean", 1);
    mean.flops = 3.0 * (double)batch;
    mean.bytes = 12.0 * (double)batch;
    xp_launch_read(&mean, node->outputs[KNOWN]);
    xp_launch_read(&mean, node->inputs[WEIGHTS]);
    xp_launch_read(&mean, node->outputs[LOSSES]);
    xp_launch_write(&mean, node->outputs[LOSS]);
    xp_launch_int(&mean, batch);
    return xp_plan_launch(plan, node, &mean);
}

static xp_status squared_error_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                        xp_tensor **d_inputs) {
    if (!d_outputs[LOSS] || d_outputs[LOSSES] || d_outputs[ABSOLUTE] || d_outputs[KNOWN])
        return xp_fail(XP_UNSUPPORTED, "%s: only the loss of squared errors can be differentiated", node->label);
    xp_tensor *inputs[] = {xp_graph_dense(graph, d_outputs[LOSS]), node->inputs[ANSWERS], node->inputs[TARGETS],
                           node->inputs[WEIGHTS], node->outputs[KNOWN]};
    d_inputs[ANSWERS] = xp_graph_tensor(graph, "d_answers", XP_F32, 2, node->inputs[ANSWERS]->shape);
    if (!inputs[0] || !d_inputs[ANSWERS]) return XP_OUT_OF_MEMORY;
    return xp_graph_node(graph, &xp_operation_squared_error_backward, 5, inputs, 1, d_inputs, NULL, 0)
               ? XP_OK
               : XP_OUT_OF_MEMORY;
}

const xp_operation xp_operation_squared_error = {.name = "squared_error",
                                                 .gradient = squared_error_gradient,
                                                 .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, squared_error_emit})};

static xp_status check(const xp_tensor *answers, const xp_tensor *targets, const xp_tensor *weights) {
    char shape[128];
    if (answers->rank != 2)
        return xp_fail(XP_INVALID_ARGUMENT, "squared error: the answers %s %s are not [batch, outputs]", answers->name,
                       xp_tensor_shape_text(answers, shape, sizeof shape));
    if (targets->rank != 2 || targets->shape[0] != answers->shape[0] || targets->shape[1] != answers->shape[1] ||
        targets->type != XP_F32)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "squared error: the targets %s %s are not one float for each of %lld × %lld answers",
                       targets->name, xp_tensor_shape_text(targets, shape, sizeof shape), (long long)answers->shape[0],
                       (long long)answers->shape[1]);
    if (weights->rank != 1 || weights->shape[0] != answers->shape[0] || weights->type != XP_F32)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "squared error: the weights %s %s are not one float for each of %lld samples", weights->name,
                       xp_tensor_shape_text(weights, shape, sizeof shape), (long long)answers->shape[0]);
    return XP_OK;
}

xp_tensor *xp_squared_error(xp_graph *graph, xp_tensor *answers, xp_tensor *targets, xp_tensor *weights,
                            xp_squared_errors *errors) {
    if (!answers || !targets || !weights || check(answers, targets, weights) != XP_OK) return NULL;
    xp_tensor *inputs[] = {xp_graph_dense(graph, answers), xp_graph_dense(graph, targets),
                           xp_graph_dense(graph, weights)};
    xp_tensor *outputs[] = {[LOSS] = xp_graph_tensor(graph, "loss", XP_F32, 1, (int64_t[]){1}),
                            [LOSSES] = xp_graph_tensor(graph, "losses", XP_F32, 1, answers->shape),
                            [ABSOLUTE] = xp_graph_tensor(graph, "absolute", XP_F32, 1, answers->shape),
                            [KNOWN] = xp_graph_tensor(graph, "known", XP_F32, 1, answers->shape)};
    for (int i = 0; i < INPUTS; i++)
        if (!inputs[i]) return NULL;
    for (int i = 0; i < OUTPUTS; i++)
        if (!outputs[i]) return NULL;
    if (!xp_graph_node(graph, &xp_operation_squared_error, INPUTS, inputs, OUTPUTS, outputs, NULL, 0)) return NULL;
    *errors = (xp_squared_errors){outputs[LOSSES], outputs[ABSOLUTE], outputs[KNOWN]};
    return outputs[LOSS];
}

/* ---- backward ---------------------------------------------------------------------------------------------------- */

static xp_status squared_error_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const int64_t batch = node->inputs[1]->shape[0], outputs = node->inputs[1]->shape[1];
    xp_launch_request request = request_of("squared_error_backward", xp_launch_blocks(batch * outputs, 64));
    request.flops = 3.0 * (double)(batch * outputs);
    request.bytes = 12.0 * (double)(batch * outputs);
    for (int i = 0; i < 5; i++) xp_launch_read(&request, node->inputs[i]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, batch);
    xp_launch_int(&request, outputs);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_squared_error_backward = {
    .name = "squared_error_backward", .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, squared_error_backward_emit})};
