/* What a batch's answers are worth, summed up on the device. Owns the launch of cl/tally.cl; must not know what the
 * scores mean. */
#include "graph/launch.h"
#include "ops/ops.h"

extern const xp_operation xp_operation_tally;

static xp_launch_request request_of(const char *kernel, int64_t groups) {
    return (xp_launch_request){
        .file = "tally", .kernel = kernel, .dimensions = 1, .global = {(size_t)groups * 64}, .local = {64}};
}

static xp_status check_samples(const char *operation, const xp_tensor *tensor, xp_type type, int64_t batch) {
    char shape[128];
    if (tensor->rank == 1 && tensor->shape[0] == batch && tensor->type == type) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "%s: %s %s is not one %s for each of %lld samples", operation, tensor->name,
                   xp_tensor_shape_text(tensor, shape, sizeof shape), type == XP_I32 ? "integer" : "float",
                   (long long)batch);
}

static xp_status tally_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const int64_t batch = node->inputs[0]->shape[0];
    xp_launch_request request = request_of("tally", 1);
    request.flops = 3.0 * (double)batch;
    request.bytes = 16.0 * (double)batch;
    for (int i = 0; i < 4; i++) xp_launch_read(&request, node->inputs[i]);
    xp_launch_write(&request, node->outputs[0]);
    xp_launch_int(&request, batch);
    return xp_plan_launch(plan, node, &request);
}

const xp_operation xp_operation_tally = {.name = "tally", .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, tally_emit})};

xp_tensor *xp_tally_samples(xp_graph *graph, xp_tensor *losses, xp_tensor *scores, xp_tensor *counted,
                            xp_tensor *weights) {
    xp_tensor *inputs[] = {losses, scores, counted, weights};
    for (int i = 0; i < 4; i++) {
        if (!inputs[i] || check_samples("tally", inputs[i], XP_F32, losses->shape[0]) != XP_OK) return NULL;
        inputs[i] = xp_graph_dense(graph, inputs[i]);
        if (!inputs[i]) return NULL;
    }
    xp_tensor *sums = xp_graph_tensor(graph, "tally", XP_F32, 1, (int64_t[]){4});
    return sums && xp_graph_node(graph, &xp_operation_tally, 4, inputs, 1, &sums, NULL, 0) ? sums : NULL;
}
