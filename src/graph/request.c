/* What emitters request from a plan: launches, library calls, scratch, and tuning. Owns the checks of a request; knows
 * no storage. */
#include "graph/plan_internal.h"

#include "core/array.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static xp_argument *next_argument(xp_launch_request *request, xp_argument_kind kind) {
    if (request->argument_count == XP_MAX_ARGUMENTS) return NULL; /* xp_plan_launch rejects the request */
    xp_argument *argument = &request->arguments[request->argument_count++];
    *argument = (xp_argument){.kind = kind};
    return argument;
}

void xp_launch_read(xp_launch_request *request, xp_tensor *tensor) {
    xp_argument *argument = next_argument(request, XP_ARGUMENT_TENSOR);
    if (argument) argument->tensor = tensor;
}

void xp_launch_write(xp_launch_request *request, xp_tensor *tensor) {
    xp_argument *argument = next_argument(request, XP_ARGUMENT_TENSOR);
    if (!argument) return;
    argument->tensor = tensor;
    argument->written = true;
}

void xp_launch_int(xp_launch_request *request, int64_t value) {
    xp_argument *argument = next_argument(request, XP_ARGUMENT_INT);
    if (argument) argument->i = value > INT_MAX || value < INT_MIN ? INT_MIN : (int)value;
}

void xp_launch_uint(xp_launch_request *request, uint32_t value) {
    xp_argument *argument = next_argument(request, XP_ARGUMENT_UINT);
    if (argument) argument->u = value;
}

void xp_launch_float(xp_launch_request *request, float value) {
    xp_argument *argument = next_argument(request, XP_ARGUMENT_FLOAT);
    if (argument) argument->f = value;
}

void xp_launch_local(xp_launch_request *request, size_t bytes) {
    xp_argument *argument = next_argument(request, XP_ARGUMENT_LOCAL);
    if (argument) argument->bytes = bytes;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

static xp_launch *add_launch(xp_plan *plan, const xp_node *node) {
    if (!xp_array_reserve(&plan->launches, &plan->room, (size_t)plan->count, 1, sizeof *plan->launches)) {
        xp_fail(XP_OUT_OF_MEMORY, "no memory for a list of more than %d launches", plan->count);
        return NULL;
    }
    xp_launch *launch = &plan->launches[plan->count++];
    *launch = (xp_launch){.node = node};
    return launch;
}

/* Whether no launch before the last one has its kernel. */
static bool is_first(const xp_plan *plan) {
    for (int i = 0; i < plan->count - 1; i++)
        if (xp_launch_same_kernel(&plan->launches[i], &plan->launches[plan->count - 1])) return false;
    return true;
}

xp_status xp_plan_launch(xp_plan *plan, const xp_node *node, const xp_launch_request *request) {
    if (request->argument_count == XP_MAX_ARGUMENTS)
        return xp_fail(XP_UNSUPPORTED, "kernel %s has more than %d arguments", request->kernel, XP_MAX_ARGUMENTS - 1);
    for (int i = 0; i < request->argument_count; i++)
        if (request->arguments[i].kind == XP_ARGUMENT_INT && request->arguments[i].i == INT_MIN)
            return xp_fail(XP_UNSUPPORTED, "kernel %s: a size exceeds 2^31: use a smaller batch", request->kernel);
    for (int i = 0; i < request->dimensions; i++)
        if (request->local[i] == 0 || request->global[i] == 0 || request->global[i] % request->local[i] != 0)
            return xp_fail(XP_UNSUPPORTED, "kernel %s: the global size %zu is not a multiple of the local size %zu",
                           request->kernel, request->global[i], request->local[i]);
    xp_launch *launch = add_launch(plan, node);
    if (!launch) return XP_OUT_OF_MEMORY;
    launch->request.kernel = *request;
    launch->first = is_first(plan);
    return XP_OK;
}

xp_status xp_plan_host_call(xp_plan *plan, const xp_node *node, const xp_host_request *request) {
    xp_launch *launch = add_launch(plan, node);
    if (!launch) return XP_OUT_OF_MEMORY;
    launch->host = true;
    launch->request.call = *request;
    launch->first = is_first(plan);
    launch->context = malloc(request->context_bytes + 1);
    if (!launch->context) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the call of %s", request->name);
    memcpy(launch->context, request->context, request->context_bytes);
    return XP_OK;
}

xp_tensor *xp_plan_scratch(xp_plan *plan, const xp_node *node, int64_t elements) {
    char name[XP_NAME_BYTES];
    snprintf(name, sizeof name, "scratch of %.40s", node->operation->name);
    return xp_graph_tensor(plan->graph, name, XP_F32, 1, &elements);
}

bool xp_plan_reads(const xp_plan *plan, const xp_tensor *tensor) {
    const xp_tensor *whole = xp_tensor_root(tensor);
    if (whole->keep || whole->external || whole->role != XP_ROLE_ACTIVATION) return true;
    for (int i = 0; i < plan->graph->node_count; i++) {
        const xp_node *node = plan->graph->nodes[i];
        for (int j = 0; j < node->input_count; j++)
            if (node->inputs[j] && xp_tensor_root(node->inputs[j]) == whole) return true;
    }
    return false;
}

xp_status xp_plan_tune(xp_plan *plan, const xp_node *node, xp_tuning *tuning) {
    XP_TRY(xp_tuning_look_up(plan->device, tuning));
    int i = 0;
    while (i < plan->tuned_count && (strcmp(plan->tuned[i].tuning.kernel, tuning->kernel) != 0 ||
                                     strcmp(plan->tuned[i].tuning.shape, tuning->shape) != 0))
        i++;
    if (i == plan->tuned_count) {
        if (!xp_array_reserve(&plan->tuned, &plan->tuned_room, (size_t)i, 1, sizeof *plan->tuned))
            return xp_fail(XP_OUT_OF_MEMORY, "no memory for the tuning requests of a plan");
        plan->tuned[plan->tuned_count++] = (xp_plan_tuned){.tuning = *tuning, .operation = node->operation->name};
    }
    tuning->handle = i + 1;
    return XP_OK;
}

const char *xp_launch_name(const xp_launch *launch) {
    return launch->host ? launch->request.call.name : launch->request.kernel.kernel;
}
