/* A plan's storage: the arena, every tensor's buffer, kernels and their arguments, buffers of the caller's. Owns their
 * allocation and binding; must not know what a launch computes. */
#include "graph/plan_internal.h"

#include "graph/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- realising --------------------------------------------------------------------------------------------------- */

static xp_status allocate_arena(xp_plan *plan, xp_plan *lender) {
    if (plan->arena_bytes == 0 || plan->slabs) return XP_OK;
    if (lender && lender->realised && lender->slab_bytes == plan->slab_bytes &&
        lender->arena_bytes >= plan->arena_bytes) {
        plan->slabs = lender->slabs;
        plan->slab_count = lender->slab_count;
        plan->borrowed = true;
        return XP_OK;
    }
    int slabs = (int)((plan->arena_bytes + plan->slab_bytes - 1) / plan->slab_bytes);
    plan->slabs = calloc((size_t)slabs, sizeof *plan->slabs);
    if (!plan->slabs) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the arena");
    plan->slab_count = slabs;
    for (int i = 0; i < slabs; i++) {
        size_t left = plan->arena_bytes - (size_t)i * plan->slab_bytes;
        XP_TRY(xp_device_buffer(plan->device, left < plan->slab_bytes ? left : plan->slab_bytes, &plan->slabs[i]));
    }
    return XP_OK;
}

static xp_status sub_buffer(cl_mem whole, size_t offset, size_t bytes, cl_mem *out) {
    cl_buffer_region region = {offset, bytes};
    cl_int code;
    *out = clCreateSubBuffer(whole, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    return xp_cl_made(*out, code, "clCreateSubBuffer");
}

xp_status xp_plan_check_member(const xp_plan *plan, const xp_tensor *root) {
    if (root->graph == plan->graph && root->id < plan->place_count) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "tensor %s does not belong to this plan, or was created after it", root->name);
}

/* Holds a buffer as one's own, to be released: *out is NULL where that fails. */
static xp_status share(cl_mem buffer, cl_mem *out) {
    const cl_int code = clRetainMemObject(buffer);
    *out = code == CL_SUCCESS ? buffer : NULL;
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clRetainMemObject");
}

/* The buffer whose element 0 is the tensor's root's first element. */
xp_status xp_plan_buffer(xp_plan *plan, const xp_tensor *tensor, cl_mem *out) {
    const xp_tensor *root = xp_tensor_root(tensor);
    const xp_store *store = plan->graph->store;
    XP_TRY(xp_plan_check_member(plan, root));
    xp_place *place = &plan->places[root->id];
    if (place->bound) {
        *out = place->bound;
        return XP_OK;
    }
    if (!place->buffer) {
        size_t bytes = xp_tensor_bytes(root);
        if (root->external)
            return xp_fail(XP_INVALID_ARGUMENT, "tensor %s has no buffer: call xp_plan_bind first", root->name);
        switch (root->role) {
        case XP_ROLE_STORE:
            XP_TRY(share(store->buffers[root->store_index], &place->buffer));
            break;
        case XP_ROLE_PARAMETER:
        case XP_ROLE_GRADIENT:
            XP_TRY(sub_buffer(store->buffers[root->role == XP_ROLE_GRADIENT ? XP_STORE_GRADIENTS : XP_STORE_VALUES],
                              (size_t)store->parameters[root->store_index].offset * xp_type_bytes(XP_STORE_TYPE), bytes,
                              &place->buffer));
            break;
        case XP_ROLE_COPY:
            XP_TRY(sub_buffer(store->buffers[XP_STORE_COPIES],
                              (size_t)store->parameters[root->store_index].offset * xp_type_bytes(root->type), bytes,
                              &place->buffer));
            break;
        case XP_ROLE_CONSTANT:
            XP_TRY(xp_device_buffer(plan->device, bytes, &place->buffer));
            XP_TRY(xp_device_write(plan->device, place->buffer, 0, bytes, root->content));
            break;
        case XP_ROLE_ACTIVATION:
        case XP_ROLE_INPUT: {
            const xp_block *block = &plan->blocks[root->id];
            if (!block->used) return xp_fail(XP_INVALID_ARGUMENT, "tensor %s has no storage in this plan", root->name);
            if (!plan->slabs) return xp_fail(XP_INVALID_ARGUMENT, "the plan has no arena yet");
            XP_TRY(sub_buffer(plan->slabs[block->offset / plan->slab_bytes],
                              plan->slab_start + block->offset % plan->slab_bytes, bytes, &place->buffer));
            break;
        }
        }
    }
    *out = place->buffer;
    return XP_OK;
}

static xp_status set_argument(xp_plan *plan, cl_kernel kernel, cl_uint index, const xp_argument *argument) {
    cl_int code = CL_SUCCESS;
    switch (argument->kind) {
    case XP_ARGUMENT_TENSOR: {
        cl_mem buffer = NULL;
        if (argument->tensor) XP_TRY(xp_plan_buffer(plan, argument->tensor, &buffer));
        code = clSetKernelArg(kernel, index, sizeof buffer, argument->tensor ? &buffer : NULL);
        break;
    }
    case XP_ARGUMENT_INT:
        code = clSetKernelArg(kernel, index, sizeof argument->i, &argument->i);
        break;
    case XP_ARGUMENT_UINT:
        code = clSetKernelArg(kernel, index, sizeof argument->u, &argument->u);
        break;
    case XP_ARGUMENT_FLOAT:
        code = clSetKernelArg(kernel, index, sizeof argument->f, &argument->f);
        break;
    case XP_ARGUMENT_LOCAL:
        code = clSetKernelArg(kernel, index, argument->bytes, NULL);
        break;
    }
    if (code != CL_SUCCESS)
        return xp_fail(XP_DEVICE_ERROR, "the driver rejected argument %u: %s", index, xp_cl_error_name(code));
    return XP_OK;
}

static xp_status realise_kernel(xp_plan *plan, xp_launch *launch) {
    const xp_launch_request *request = &launch->request.kernel;
    size_t local = 1, local_bytes = 0;
    for (int i = 0; i < request->dimensions; i++) local *= request->local[i];
    for (int i = 0; i < request->argument_count; i++) local_bytes += request->arguments[i].bytes;
    if (local > plan->device->limits.work_group_size || local_bytes > plan->device->limits.local_bytes)
        return xp_fail(XP_UNSUPPORTED, "needs %zu work-items and %zu bytes of local memory; %s has %zu and %zu", local,
                       local_bytes, plan->device->name, plan->device->limits.work_group_size,
                       plan->device->limits.local_bytes);
    XP_TRY(xp_device_kernel(plan->device, request->file, request->kernel, &request->variant, &launch->kernel));
    cl_uint expected = 0;
    const cl_int code = clGetKernelInfo(launch->kernel, CL_KERNEL_NUM_ARGS, sizeof expected, &expected, NULL);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clGetKernelInfo");
    if ((int)expected != request->argument_count)
        return xp_fail(XP_DEVICE_ERROR, "takes %u arguments, not %d", expected, request->argument_count);
    return XP_OK;
}

/* Whether a tensor has its storage: what the caller brings may come later. */
bool xp_plan_has_storage(const xp_plan *plan, const xp_tensor *tensor) {
    if (!tensor) return true;
    const xp_tensor *root = xp_tensor_root(tensor);
    if (plan->places[root->id].bound) return true;
    return !root->external && (plan->slabs || !xp_plan_in_arena(root));
}

/* Tells a launch where its tensors are; for `only` (not NULL) just where that root is. */
static xp_status set_tensors(xp_plan *plan, xp_launch *launch, const xp_tensor *only) {
    const bool host = launch->host;
    const int count = host ? launch->request.call.tensor_count : launch->request.kernel.argument_count;
    for (int i = 0; i < count; i++) {
        const xp_argument *argument = host ? NULL : &launch->request.kernel.arguments[i];
        const bool names_tensor = host || argument->kind == XP_ARGUMENT_TENSOR;
        const xp_tensor *tensor = host ? launch->request.call.tensors[i] : names_tensor ? argument->tensor : NULL;
        if (only && (!tensor || xp_tensor_root(tensor) != only)) continue;
        if (!xp_plan_has_storage(plan, tensor)) continue;
        if (!host) XP_TRY(set_argument(plan, launch->kernel, (cl_uint)i, argument));
        if (!host || !tensor) continue;
        XP_TRY(xp_plan_buffer(plan, tensor, &launch->buffers[i]));
        launch->offsets[i] = (size_t)tensor->offset;
    }
    return XP_OK;
}

static xp_status set_all_tensors(xp_plan *plan, const xp_tensor *only) {
    for (int i = 0; i < plan->count; i++) {
        xp_launch *launch = &plan->launches[i];
        xp_status status = set_tensors(plan, launch, only);
        if (status != XP_OK) return xp_fail_in(status, "%s, kernel %s: ", launch->node->label, xp_launch_name(launch));
    }
    return XP_OK;
}

/* Libraries compile at their first call, so make it before the first step. */
static xp_status warm_call(xp_plan *plan, const xp_launch *launch) {
    const xp_host_request *request = &launch->request.call;
    for (int i = 0; i < request->tensor_count; i++)
        if (!xp_plan_has_storage(plan, request->tensors[i])) return XP_OK;
    return request->call(plan->device->queue, launch->context, launch->buffers, launch->offsets, NULL);
}

xp_status xp_plan_separate(xp_plan *plan) {
    for (int i = 0; i < plan->place_count; i++) {
        xp_place *place = &plan->places[i];
        if (!plan->blocks[i].used || place->bound) continue;
        XP_TRY(xp_device_buffer(plan->device, xp_tensor_bytes(plan->graph->tensors[i]), &place->bound));
    }
    plan->arena_bytes = 0;
    return XP_OK;
}

void xp_plan_watch(xp_plan *plan, xp_status (*prepared)(void *user), void *user) {
    plan->watch = prepared;
    plan->watch_user = user;
}

xp_status xp_plan_report_prepared(const xp_plan *plan) {
    return plan->watch ? plan->watch(plan->watch_user) : XP_OK;
}

/* The plan goes on with other kernels if the driver refuses one whose text is edited, in whatever way but for want of
 * memory: only the driver itself can tell, after it took those of the probe. */
static bool can_do_without(const xp_launch *launch, xp_status status) {
    return !launch->host && launch->request.kernel.variant.edit_for && status != XP_OK && status != XP_OUT_OF_MEMORY;
}

static xp_status do_without(xp_plan *plan, const xp_launch *launch) {
    const char *reason = xp_last_error();
    plan->device->edits_refused = true;
    snprintf(plan->note, sizeof plan->note,
             "warning: slower kernels take the place of %s on %s, because its driver refused this one: %.*s",
             xp_launch_name(launch), plan->device->name, (int)strcspn(reason, "\n"), reason);
    return xp_plan_make_again(plan);
}

static xp_status build_kernels(xp_plan *plan) {
    for (int i = 0; i < plan->count; i++) {
        xp_launch *launch = &plan->launches[i];
        xp_status status = launch->host ? XP_OK : realise_kernel(plan, launch);
        if (can_do_without(launch, status)) {
            XP_TRY(do_without(plan, launch));
            return build_kernels(plan);
        }
        if (status != XP_OK) return xp_fail_in(status, "%s, kernel %s: ", launch->node->label, xp_launch_name(launch));
        if (!launch->host && launch->first) XP_TRY(xp_plan_report_prepared(plan));
    }
    return XP_OK;
}

xp_status xp_plan_realise(xp_plan *plan, xp_plan *lender) {
    if (plan->realised) return xp_fail(XP_INVALID_ARGUMENT, "the plan is already realised");
    const xp_store *store = plan->graph->store;
    if (store && store->count > 0 && !store->buffers[XP_STORE_VALUES])
        return xp_fail(XP_INVALID_ARGUMENT, "the graph's store has no buffers yet: allocate it before the plan");
    XP_TRY(allocate_arena(plan, lender));
    XP_TRY(build_kernels(plan));
    XP_TRY(allocate_arena(plan, lender)); /* of a plan that was made again */
    XP_TRY(set_all_tensors(plan, NULL));
    for (int i = 0; i < plan->count; i++) {
        if (!plan->launches[i].host) continue;
        XP_TRY(warm_call(plan, &plan->launches[i]));
        if (plan->launches[i].first) XP_TRY(xp_plan_report_prepared(plan));
    }
    plan->realised = true;
    return XP_OK;
}

static xp_status check_workspace(const xp_plan *plan) {
    if (plan->arena_bytes <= plan->slab_bytes) return XP_OK;
    return xp_fail(XP_OUT_OF_MEMORY,
                   "a workspace of %zu MiB is larger than a buffer of %s can be (%zu MiB): use a smaller batch",
                   plan->arena_bytes >> 20, plan->device->name, plan->slab_bytes >> 20);
}

xp_status xp_plan_realise_without_arena(xp_plan *plan) {
    XP_TRY(check_workspace(plan));
    XP_TRY(build_kernels(plan));
    XP_TRY(check_workspace(plan)); /* of a plan that was made again */
    XP_TRY(set_all_tensors(plan, NULL));
    plan->realised = true;
    return XP_OK;
}

/* ---- the caller's storage ---------------------------------------------------------------------------------------- */

/* Whether a buffer is of the plan's context and holds so many bytes. */
static xp_status check_buffer(const xp_plan *plan, const char *what, const char *name, cl_mem buffer, size_t bytes) {
    cl_context context = NULL;
    size_t size = 0;
    cl_mem_object_type type = 0;
    cl_int code = clGetMemObjectInfo(buffer, CL_MEM_CONTEXT, sizeof context, &context, NULL);
    if (code == CL_SUCCESS) code = clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof size, &size, NULL);
    if (code == CL_SUCCESS) code = clGetMemObjectInfo(buffer, CL_MEM_TYPE, sizeof type, &type, NULL);
    if (code != CL_SUCCESS)
        return xp_fail(XP_INVALID_ARGUMENT, "the buffer of %s %s is not a valid memory object: %s", what, name,
                       xp_cl_error_name(code));
    if (type != CL_MEM_OBJECT_BUFFER)
        return xp_fail(XP_INVALID_ARGUMENT, "the memory object of %s %s is not a buffer", what, name);
    if (context != plan->device->context)
        return xp_fail(XP_INVALID_ARGUMENT, "the buffer of %s %s belongs to another context than the device", what,
                       name);
    if (size < bytes)
        return xp_fail(XP_INVALID_ARGUMENT, "%s %s needs %zu bytes, offset and gaps included; its buffer has %zu", what,
                       name, bytes, size);
    return XP_OK;
}

xp_status xp_plan_bind(xp_plan *plan, const xp_tensor *tensor, cl_mem buffer) {
    if (!tensor) return xp_fail(XP_INVALID_ARGUMENT, "the tensor is NULL");
    const xp_tensor *root = xp_tensor_root(tensor);
    XP_TRY(xp_plan_check_member(plan, root));
    if (!root->external && root->role != XP_ROLE_INPUT && !root->keep)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "tensor %s shares its memory: only inputs and kept tensors can use a buffer of the caller",
                       root->name);
    if (root->external && !buffer) return xp_fail(XP_INVALID_ARGUMENT, "tensor %s has no buffer", root->name);
    xp_place *place = &plan->places[root->id];
    if (buffer) {
        XP_TRY(check_buffer(plan, "tensor", root->name, buffer, xp_tensor_bytes(root)));
        XP_TRY(share(buffer, &buffer));
    }
    if (!buffer && !place->bound) return XP_OK;
    if (place->bound) clReleaseMemObject(place->bound);
    place->bound = buffer;
    return plan->realised ? set_all_tensors(plan, root) : XP_OK;
}

xp_status xp_plan_bind_arena(xp_plan *plan, cl_mem buffer) {
    if (plan->arena_bytes == 0 || (plan->slabs && plan->arena_given == buffer)) return XP_OK;
    cl_mem whole = buffer;
    size_t start = 0;
    if (buffer) {
        XP_TRY(check_buffer(plan, "the", "workspace", buffer, plan->arena_bytes));
        cl_mem parent = NULL;
        cl_int code = clGetMemObjectInfo(buffer, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof parent, &parent, NULL);
        if (code == CL_SUCCESS && parent) { /* a part of a part is not legal: the parts are cut from the whole buffer */
            code = clGetMemObjectInfo(buffer, CL_MEM_OFFSET, sizeof start, &start, NULL);
            whole = parent;
        }
        if (code != CL_SUCCESS) return xp_cl_fail(code, "clGetMemObjectInfo");
        XP_TRY(share(whole, &whole));
    } else {
        XP_TRY(xp_device_buffer(plan->device, plan->arena_bytes, &whole));
    }
    if (!plan->slabs && !(plan->slabs = calloc(1, sizeof *plan->slabs))) {
        clReleaseMemObject(whole);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for the arena");
    }
    for (int i = 0; i < plan->place_count; i++) {
        xp_place *place = &plan->places[i];
        if (!xp_plan_in_arena(plan->graph->tensors[i]) || !place->buffer) continue;
        clReleaseMemObject(place->buffer);
        place->buffer = NULL;
    }
    if (plan->slabs[0]) clReleaseMemObject(plan->slabs[0]);
    plan->slabs[0] = whole;
    plan->slab_count = 1;
    plan->slab_start = start;
    plan->arena_given = buffer;
    xp_status status = set_all_tensors(plan, NULL);
    if (status == XP_OK) return XP_OK;
    clReleaseMemObject(whole);
    free(plan->slabs);
    plan->slabs = NULL;
    return status;
}
