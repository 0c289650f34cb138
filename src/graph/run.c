/* Running a plan: its launches on a queue, and what the host writes and reads around them. Owns the order of commands;
 * must not know how storage is found. */
#include "graph/plan_internal.h"

/* ---- launches ---------------------------------------------------------------------------------------------------- */

/* A library call takes no events: barriers are placed before and after it if the queue is out of order. The event is
 * that of the library if possible, because some drivers report no times for barriers. */
static xp_status enqueue_call(const xp_launch *launch, cl_command_queue queue, bool ordered, cl_uint wait_count,
                              const cl_event *wait, cl_event *event) {
    cl_int code = CL_SUCCESS;
    if (wait_count > 0) code = clEnqueueBarrierWithWaitList(queue, wait_count, wait, NULL);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clEnqueueBarrierWithWaitList");
    XP_TRY(launch->request.call.call(queue, launch->context, launch->buffers, launch->offsets, ordered ? event : NULL));
    if (!ordered || (event && !*event)) code = clEnqueueBarrierWithWaitList(queue, 0, NULL, event);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clEnqueueBarrierWithWaitList");
}

xp_status xp_launch_enqueue(const xp_plan *plan, const xp_launch *launch, cl_command_queue queue, bool ordered,
                            cl_uint wait_count, const cl_event *wait, cl_event *event) {
    xp_status status = XP_OK;
    if (event) *event = NULL;
    if (launch->host) {
        status = enqueue_call(launch, queue, ordered, wait_count, wait, event);
    } else {
        const xp_launch_request *request = &launch->request.kernel;
        cl_int code = clEnqueueNDRangeKernel(queue, launch->kernel, (cl_uint)request->dimensions, NULL, request->global,
                                             request->local, wait_count, wait_count ? wait : NULL, event);
        if (code != CL_SUCCESS) status = xp_cl_fail(code, "clEnqueueNDRangeKernel");
    }
    if (status != XP_OK && event) *event = NULL; /* whatever the driver has left there */
    if (status == XP_OK && plan->device->debug) {
        cl_int code = clFinish(queue);
        if (code != CL_SUCCESS) status = xp_cl_fail(code, "clFinish");
    }
    if (status != XP_OK) xp_fail_in(status, "%s, kernel %s: ", launch->node->label, xp_launch_name(launch));
    return status;
}

/* Every tensor of the launches has its storage. */
static xp_status check_storage(const xp_plan *plan, int first, int end) {
    if (!plan->realised) return xp_fail(XP_INVALID_ARGUMENT, "the plan cannot run before it is realised");
    for (int l = first; l < end; l++) {
        const xp_launch *launch = &plan->launches[l];
        const int count = launch->host ? launch->request.call.tensor_count : launch->request.kernel.argument_count;
        for (int i = 0; i < count; i++) {
            const xp_tensor *tensor =
                launch->host ? launch->request.call.tensors[i] : launch->request.kernel.arguments[i].tensor;
            if (!xp_plan_has_storage(plan, tensor))
                return xp_fail(XP_INVALID_ARGUMENT, "tensor %s has no buffer: call xp_plan_bind first",
                               xp_tensor_root(tensor)->name);
        }
    }
    return XP_OK;
}

xp_status xp_plan_warm(xp_plan *plan) {
    XP_TRY(check_storage(plan, 0, plan->count));
    for (int t = 0; t < plan->graph->tensor_count; t++) {
        const xp_tensor *tensor = plan->graph->tensors[t];
        if (tensor->role != XP_ROLE_INPUT || plan->places[t].bound) continue;
        cl_mem buffer = NULL;
        XP_TRY(xp_plan_buffer(plan, tensor, &buffer));
        XP_TRY(xp_device_fill_zero(plan->device, buffer, xp_tensor_bytes(tensor)));
    }
    for (int i = 0; i < plan->count; i++) {
        const xp_launch *launch = &plan->launches[i];
        XP_TRY(xp_launch_enqueue(plan, launch, plan->device->queue, true, 0, NULL, NULL));
        if (!launch->first && i < plan->count - 1) continue;
        cl_int code = clFinish(plan->device->queue);
        if (code != CL_SUCCESS) return xp_cl_fail(code, "clFinish");
        if (launch->first) XP_TRY(xp_plan_report_prepared(plan));
    }
    return XP_OK;
}

xp_status xp_plan_enqueue_phase(xp_plan *plan, xp_phase phase, cl_command_queue queue, cl_uint wait_count,
                                const cl_event *wait, cl_event *done) {
    const int first = phase == XP_PHASE_BACKWARD ? plan->forward_end : 0;
    const int end = phase == XP_PHASE_FORWARD ? plan->forward_end : plan->count;
    if (done) *done = NULL;
    if (!queue) return xp_fail(XP_INVALID_ARGUMENT, "the queue is NULL");
    if ((wait_count > 0) != (wait != NULL))
        return xp_fail(XP_INVALID_ARGUMENT, "%u events to wait for, but the list of events is %s", wait_count,
                       wait ? "given" : "NULL");
    XP_TRY(check_storage(plan, first, end));
    cl_context context = NULL;
    cl_command_queue_properties properties = 0;
    cl_int code = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, NULL);
    if (code == CL_SUCCESS)
        code = clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clGetCommandQueueInfo");
    if (context != plan->device->context)
        return xp_fail(XP_INVALID_ARGUMENT, "the queue belongs to another context than the device %s",
                       plan->device->name);

    const bool ordered = !(properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    xp_status status = XP_OK;
    cl_event previous = NULL; /* chains the launches where the queue does not */
    for (int i = first; i < end && status == XP_OK; i++) {
        const bool starts = i == first, ends = i == end - 1;
        const bool chained = !starts && !ordered, wanted = (ends && done) || !ordered;
        cl_event event = NULL;
        status = xp_launch_enqueue(plan, &plan->launches[i], queue, ordered,
                                   starts    ? wait_count
                                   : chained ? 1
                                             : 0,
                                   starts ? wait : &previous, wanted ? &event : NULL);
        if (status == XP_OK && wanted) status = xp_cl_made(event, CL_SUCCESS, xp_launch_name(&plan->launches[i]));
        if (previous) clReleaseEvent(previous);
        previous = event;
    }
    if (status == XP_OK && first == end && (done || wait_count)) {
        code = clEnqueueMarkerWithWaitList(queue, wait_count, wait, &previous);
        status = xp_cl_made(previous, code, "clEnqueueMarkerWithWaitList");
        if (status != XP_OK) previous = NULL;
    }
    if (status == XP_OK && done)
        *done = previous;
    else if (previous)
        clReleaseEvent(previous);
    if (status != XP_OK) return status;
    code = clFlush(queue);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clFlush");
}

xp_status xp_plan_enqueue(xp_plan *plan, cl_command_queue queue, cl_uint wait_count, const cl_event *wait,
                          cl_event *done) {
    return xp_plan_enqueue_phase(plan, XP_PHASE_WHOLE, queue, wait_count, wait, done);
}

xp_status xp_plan_run(xp_plan *plan) {
    if (plan->device->profiling && plan->realised) return xp_plan_run_profiled(plan);
    return xp_plan_enqueue(plan, plan->device->queue, 0, NULL, NULL);
}

/* ---- transfers --------------------------------------------------------------------------------------------------- */

xp_status xp_plan_storage(xp_plan *plan, const xp_tensor *tensor, cl_mem *buffer, size_t *offset) {
    *offset = (size_t)tensor->offset * xp_type_bytes(tensor->type);
    return xp_plan_buffer(plan, tensor, buffer);
}

static xp_status dense_storage(xp_plan *plan, const xp_tensor *tensor, cl_mem *buffer, size_t *offset) {
    if (!tensor) return xp_fail(XP_INVALID_ARGUMENT, "the tensor is NULL");
    if (!plan->realised) return xp_fail(XP_INVALID_ARGUMENT, "the plan has no storage before it is realised");
    if (!xp_tensor_is_dense(tensor))
        return xp_fail(XP_INVALID_ARGUMENT, "tensor %s is a view with gaps: transfer its base", tensor->name);
    return xp_plan_storage(plan, tensor, buffer, offset);
}

/* What may share its place holds nothing of meaning after a run. */
static xp_status check_kept(const xp_plan *plan, const xp_tensor *tensor) {
    if (!tensor) return xp_fail(XP_INVALID_ARGUMENT, "the tensor is NULL");
    const xp_tensor *root = xp_tensor_root(tensor);
    XP_TRY(xp_plan_check_member(plan, root));
    if (!xp_plan_in_arena(root) || root->role == XP_ROLE_INPUT || root->keep || plan->places[root->id].bound)
        return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "tensor %s cannot be read: it was not kept before planning", root->name);
}

xp_status xp_plan_write(xp_plan *plan, const xp_tensor *tensor, const void *data) {
    cl_mem buffer = NULL;
    size_t offset = 0;
    XP_TRY(dense_storage(plan, tensor, &buffer, &offset));
    return xp_device_write(plan->device, buffer, offset, xp_tensor_bytes(tensor), data);
}

xp_status xp_plan_read(xp_plan *plan, const xp_tensor *tensor, void *data) {
    cl_mem buffer = NULL;
    size_t offset = 0;
    XP_TRY(check_kept(plan, tensor));
    XP_TRY(dense_storage(plan, tensor, &buffer, &offset));
    return xp_device_read(plan->device, buffer, offset, xp_tensor_bytes(tensor), data);
}
