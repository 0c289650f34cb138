/* From a graph to a flat list of launches over one arena. */
#include "graph/plan_internal.h"

#include "graph/operation.h"
#include "graph/store.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static xp_argument *next_argument(xp_launch_request *request, xp_argument_kind kind) {
    if (request->argument_count == XP_MAX_ARGUMENTS) return NULL; /* xp_plan_launch refuses the request */
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

static xp_launch *add_launch(xp_plan *plan, const xp_node *node) {
    if (plan->count == plan->room) {
        int room = plan->room ? plan->room * 2 : 128;
        xp_launch *grown = realloc(plan->launches, (size_t)room * sizeof *grown);
        if (!grown) {
            xp_fail(XP_OUT_OF_MEMORY, "no memory for a list of %d launches", room);
            return NULL;
        }
        plan->launches = grown;
        plan->room = room;
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
            return xp_fail(XP_UNSUPPORTED, "kernel %s: a size is beyond 2^31: use a smaller batch", request->kernel);
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

xp_status xp_plan_tune(xp_plan *plan, const xp_node *node, xp_tuning *tuning) {
    XP_TRY(xp_tuning_look_up(plan->device, tuning));
    int i = 0;
    while (i < plan->tuned_count && (strcmp(plan->tuned[i].tuning.kernel, tuning->kernel) != 0 ||
                                     strcmp(plan->tuned[i].tuning.shape, tuning->shape) != 0))
        i++;
    if (i == plan->tuned_count) {
        xp_plan_tuned *grown = realloc(plan->tuned, (size_t)(i + 1) * sizeof *grown);
        if (!grown) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the choices of a plan");
        plan->tuned = grown;
        plan->tuned[plan->tuned_count++] = (xp_plan_tuned){.tuning = *tuning, .operation = node->operation->name};
    }
    tuning->handle = i + 1;
    return XP_OK;
}

xp_device *xp_plan_device(const xp_plan *plan) {
    return plan->device;
}

xp_graph *xp_plan_graph(const xp_plan *plan) {
    return plan->graph;
}

const char *xp_launch_name(const xp_launch *launch) {
    return launch->host ? launch->request.call.name : launch->request.kernel.kernel;
}

/* ---- placement --------------------------------------------------------------------------------------------------- */

static bool in_arena(const xp_tensor *root) {
    return (root->role == XP_ROLE_ACTIVATION || root->role == XP_ROLE_INPUT) && !root->external;
}

static xp_status note_use(xp_plan *plan, const xp_tensor *tensor, int launch, bool written) {
    if (!tensor) return XP_OK;
    const xp_tensor *root = xp_tensor_root(tensor);
    if (!in_arena(root)) return XP_OK;
    xp_place *place = &plan->places[root->id];
    if (!place->used) {
        if (!written && root->role != XP_ROLE_INPUT)
            return xp_fail(XP_INVALID_ARGUMENT, "%s: kernel %s reads tensor %s before anything writes it",
                           plan->launches[launch].node->label, xp_launch_name(&plan->launches[launch]), root->name);
        place->used = true;
        place->first = launch;
    }
    place->last = launch;
    return XP_OK;
}

static xp_status find_lifetimes(xp_plan *plan) {
    for (int l = 0; l < plan->count; l++) {
        const xp_launch *launch = &plan->launches[l];
        if (launch->host) {
            for (int i = 0; i < launch->request.call.tensor_count; i++)
                XP_TRY(note_use(plan, launch->request.call.tensors[i], l, launch->request.call.written[i]));
        } else {
            const xp_launch_request *request = &launch->request.kernel;
            for (int i = 0; i < request->argument_count; i++)
                if (request->arguments[i].kind == XP_ARGUMENT_TENSOR)
                    XP_TRY(note_use(plan, request->arguments[i].tensor, l, request->arguments[i].written));
        }
    }
    for (int t = 0; t < plan->graph->tensor_count; t++) {
        const xp_tensor *tensor = plan->graph->tensors[t], *root = xp_tensor_root(tensor);
        if (!in_arena(root)) continue;
        xp_place *place = &plan->places[root->id];
        if (root->role == XP_ROLE_INPUT) {
            place->used = true;
            place->first = 0;
            place->last = INT_MAX;
        } else if (tensor->keep && place->used) {
            place->last = INT_MAX;
        }
    }
    return XP_OK;
}

typedef struct item {
    int id;
    size_t bytes;
    int first;
} item;

/* Large ones first; ties by first use, so that a plan is the same every time. */
static int by_size(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static size_t round_up(size_t value, size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* The lowest offset at which `place` meets none of the placed ones that live at the same time, inside one slab. */
static size_t lowest_gap(const xp_plan *plan, const item *placed, int placed_count, const xp_place *place) {
    size_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        if (offset / plan->slab_bytes != (offset + place->bytes - 1) / plan->slab_bytes) {
            offset = round_up(offset, plan->slab_bytes);
            moved = true;
        }
        for (int i = 0; i < placed_count; i++) {
            const xp_place *other = &plan->places[placed[i].id];
            bool together = other->first <= place->last && place->first <= other->last;
            if (together && offset < other->offset + other->bytes && other->offset < offset + place->bytes) {
                offset = other->offset + other->bytes;
                moved = true;
            }
        }
    }
    return offset;
}

static xp_status place_tensors(xp_plan *plan) {
    size_t alignment = plan->device->limits.alignment_bytes;
    plan->slab_bytes = plan->device->limits.allocation_bytes / alignment * alignment;
    item *items = malloc((size_t)plan->place_count * sizeof *items + 1);
    if (!items) return xp_fail(XP_OUT_OF_MEMORY, "no memory to place %d tensors", plan->place_count);
    int count = 0;
    xp_status status = XP_OK;
    for (int t = 0; t < plan->place_count; t++) {
        xp_place *place = &plan->places[t];
        if (!place->used) continue;
        const xp_tensor *tensor = plan->graph->tensors[t];
        place->bytes = round_up((size_t)xp_tensor_elements(tensor) * 4, alignment);
        if (place->bytes > plan->slab_bytes) {
            char shape[128];
            status = xp_fail(
                XP_OUT_OF_MEMORY,
                "tensor %s %s needs %zu MiB, more than one buffer of %s may have (%zu MiB): use a smaller batch",
                tensor->name, xp_tensor_shape_text(tensor, shape, sizeof shape), place->bytes >> 20, plan->device->name,
                plan->slab_bytes >> 20);
            break;
        }
        if (tensor->role == XP_ROLE_INPUT)
            plan->input_bytes += place->bytes;
        else
            plan->unshared_bytes += place->bytes;
        items[count++] = (item){t, place->bytes, place->first};
    }
    if (status == XP_OK) {
        qsort(items, (size_t)count, sizeof *items, by_size);
        for (int i = 0; i < count; i++) {
            xp_place *place = &plan->places[items[i].id];
            place->offset = lowest_gap(plan, items, i, place);
            if (place->offset + place->bytes > plan->arena_bytes) plan->arena_bytes = place->offset + place->bytes;
        }
    }
    free(items);
    return status;
}

/* By the first emitter that supports the node, in the order of the device's families. */
static xp_status emit(xp_plan *plan, const xp_node *node) {
    const xp_device *device = plan->device;
    for (int f = 0; f < XP_FAMILIES - 1; f++)
        for (const xp_emitter *emitter = node->operation->emitters; emitter->emit; emitter++)
            if ((emitter->family == device->families[f] || emitter->family == XP_FAMILY_ANY) &&
                (!emitter->supports || emitter->supports(device, node)))
                return emitter->emit(plan, node, emitter->family);
    return xp_fail(XP_UNSUPPORTED, "there are no kernels for these shapes on %s", device->name);
}

xp_status xp_plan_create(xp_plan **out, xp_device *device, xp_graph *graph) {
    *out = NULL;
    xp_plan *plan = calloc(1, sizeof *plan);
    if (!plan) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a plan");
    plan->device = device;
    plan->graph = graph;
    plan->forward_end = -1;
    xp_status status = XP_OK;
    for (int i = 0; i < graph->node_count && status == XP_OK; i++) {
        const xp_node *node = graph->nodes[i];
        if (node->backward && plan->forward_end < 0) plan->forward_end = plan->count;
        if (!node->operation->emitters) continue;
        status = emit(plan, node);
        if (status != XP_OK) xp_fail_in(status, "%s, operation %s: ", node->label, node->operation->name);
    }
    if (plan->forward_end < 0) plan->forward_end = plan->count;
    if (status == XP_OK) {
        plan->place_count = graph->tensor_count; /* scratch included */
        plan->places = calloc((size_t)plan->place_count + 1, sizeof *plan->places);
        if (!plan->places) status = xp_fail(XP_OUT_OF_MEMORY, "no memory to place %d tensors", plan->place_count);
    }
    if (status == XP_OK) status = find_lifetimes(plan);
    if (status == XP_OK) status = place_tensors(plan);
    if (status != XP_OK) {
        xp_plan_close(&plan);
        return status;
    }
    *out = plan;
    return XP_OK;
}

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

static xp_status check_member(const xp_plan *plan, const xp_tensor *root) {
    if (root->graph == plan->graph && root->id < plan->place_count) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "tensor %s is not of this plan, or was made after it", root->name);
}

/* Holds a buffer as one's own, to be released: *out is NULL where that fails. */
static xp_status share(cl_mem buffer, cl_mem *out) {
    const cl_int code = clRetainMemObject(buffer);
    *out = code == CL_SUCCESS ? buffer : NULL;
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clRetainMemObject");
}

/* The buffer whose element 0 is the tensor's root's first element. */
static xp_status buffer_of(xp_plan *plan, const xp_tensor *tensor, cl_mem *out) {
    const xp_tensor *root = xp_tensor_root(tensor);
    const xp_store *store = plan->graph->store;
    XP_TRY(check_member(plan, root));
    xp_place *place = &plan->places[root->id];
    if (place->bound) {
        *out = place->bound;
        return XP_OK;
    }
    if (!place->buffer) {
        size_t bytes = (size_t)xp_tensor_elements(root) * 4;
        if (root->external)
            return xp_fail(XP_INVALID_ARGUMENT, "tensor %s has no buffer: bind the caller's first", root->name);
        switch (root->role) {
        case XP_ROLE_STORE:
            XP_TRY(share(store->buffers[root->store_index], &place->buffer));
            break;
        case XP_ROLE_PARAMETER:
        case XP_ROLE_GRADIENT:
            XP_TRY(sub_buffer(store->buffers[root->role == XP_ROLE_GRADIENT ? XP_STORE_GRADIENTS : XP_STORE_VALUES],
                              (size_t)store->parameters[root->store_index].offset * 4, bytes, &place->buffer));
            break;
        case XP_ROLE_CONSTANT:
            XP_TRY(xp_device_buffer(plan->device, bytes, &place->buffer));
            XP_TRY(xp_device_write(plan->device, place->buffer, 0, bytes, root->content));
            break;
        case XP_ROLE_ACTIVATION:
        case XP_ROLE_INPUT:
            if (!place->used) return xp_fail(XP_INVALID_ARGUMENT, "tensor %s has no place in this plan", root->name);
            if (!plan->slabs) return xp_fail(XP_INVALID_ARGUMENT, "the plan has no arena yet");
            XP_TRY(sub_buffer(plan->slabs[place->offset / plan->slab_bytes],
                              plan->slab_start + place->offset % plan->slab_bytes, bytes, &place->buffer));
            break;
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
        if (argument->tensor) XP_TRY(buffer_of(plan, argument->tensor, &buffer));
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
        return xp_fail(XP_DEVICE_ERROR, "argument %u is refused: %s", index, xp_cl_error_name(code));
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
static bool has_storage(const xp_plan *plan, const xp_tensor *tensor) {
    if (!tensor) return true;
    const xp_tensor *root = xp_tensor_root(tensor);
    if (plan->places[root->id].bound) return true;
    return !root->external && (plan->slabs || !in_arena(root));
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
        if (!has_storage(plan, tensor)) continue;
        if (!host) XP_TRY(set_argument(plan, launch->kernel, (cl_uint)i, argument));
        if (!host || !tensor) continue;
        XP_TRY(buffer_of(plan, tensor, &launch->buffers[i]));
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

/* Libraries compile at their first call: have that behind us before the first step. */
static xp_status warm_call(xp_plan *plan, const xp_launch *launch) {
    const xp_host_request *request = &launch->request.call;
    for (int i = 0; i < request->tensor_count; i++)
        if (!has_storage(plan, request->tensors[i])) return XP_OK;
    return request->call(plan->device->queue, launch->context, launch->buffers, launch->offsets, NULL);
}

xp_status xp_plan_separate(xp_plan *plan) {
    for (int i = 0; i < plan->place_count; i++) {
        xp_place *place = &plan->places[i];
        if (!place->used || place->bound) continue;
        XP_TRY(xp_device_buffer(plan->device, (size_t)xp_tensor_elements(plan->graph->tensors[i]) * 4, &place->bound));
    }
    plan->arena_bytes = 0;
    return XP_OK;
}

void xp_plan_watch(xp_plan *plan, xp_status (*prepared)(void *user), void *user) {
    plan->watch = prepared;
    plan->watch_user = user;
}

static xp_status report_prepared(const xp_plan *plan) {
    return plan->watch ? plan->watch(plan->watch_user) : XP_OK;
}

static xp_status build_kernels(xp_plan *plan) {
    for (int i = 0; i < plan->count; i++) {
        xp_launch *launch = &plan->launches[i];
        xp_status status = launch->host ? XP_OK : realise_kernel(plan, launch);
        if (status != XP_OK) return xp_fail_in(status, "%s, kernel %s: ", launch->node->label, xp_launch_name(launch));
        if (!launch->host && launch->first) XP_TRY(report_prepared(plan));
    }
    return XP_OK;
}

xp_status xp_plan_realise(xp_plan *plan, xp_plan *lender) {
    if (plan->realised) return xp_fail(XP_INVALID_ARGUMENT, "the plan was realised before");
    const xp_store *store = plan->graph->store;
    if (store && store->count > 0 && !store->buffers[XP_STORE_VALUES])
        return xp_fail(XP_INVALID_ARGUMENT, "the graph's store has no buffers yet: allocate it before the plan");
    XP_TRY(allocate_arena(plan, lender));
    XP_TRY(build_kernels(plan));
    XP_TRY(set_all_tensors(plan, NULL));
    for (int i = 0; i < plan->count; i++) {
        if (!plan->launches[i].host) continue;
        XP_TRY(warm_call(plan, &plan->launches[i]));
        if (plan->launches[i].first) XP_TRY(report_prepared(plan));
    }
    plan->realised = true;
    return XP_OK;
}

xp_status xp_plan_realise_without_arena(xp_plan *plan) {
    if (plan->arena_bytes > plan->slab_bytes)
        return xp_fail(XP_OUT_OF_MEMORY,
                       "a workspace of %zu MiB is more than one buffer of %s may have (%zu MiB): use "
                       "a smaller batch",
                       plan->arena_bytes >> 20, plan->device->name, plan->slab_bytes >> 20);
    XP_TRY(build_kernels(plan));
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
        return xp_fail(XP_INVALID_ARGUMENT, "the buffer of %s %s is none: %s", what, name, xp_cl_error_name(code));
    if (type != CL_MEM_OBJECT_BUFFER)
        return xp_fail(XP_INVALID_ARGUMENT, "the memory object of %s %s is not a buffer", what, name);
    if (context != plan->device->context)
        return xp_fail(XP_INVALID_ARGUMENT, "the buffer of %s %s is of another context than the device", what, name);
    if (size < bytes)
        return xp_fail(XP_INVALID_ARGUMENT, "%s %s needs %zu bytes, offset and gaps included; its buffer has %zu", what,
                       name, bytes, size);
    return XP_OK;
}

xp_status xp_plan_bind(xp_plan *plan, const xp_tensor *tensor, cl_mem buffer) {
    if (!tensor) return xp_fail(XP_INVALID_ARGUMENT, "there is no tensor to bind a buffer to");
    const xp_tensor *root = xp_tensor_root(tensor);
    XP_TRY(check_member(plan, root));
    if (!root->external && root->role != XP_ROLE_INPUT && !root->keep)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "tensor %s shares its place: only inputs and kept tensors can have the caller's buffer",
                       root->name);
    if (root->external && !buffer) return xp_fail(XP_INVALID_ARGUMENT, "tensor %s has no buffer", root->name);
    xp_place *place = &plan->places[root->id];
    if (buffer) {
        XP_TRY(check_buffer(plan, "tensor", root->name, buffer, (size_t)xp_tensor_elements(root) * 4));
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
        if (!in_arena(plan->graph->tensors[i]) || !place->buffer) continue;
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

static xp_status check_storage(const xp_plan *plan, int first, int end);

xp_status xp_plan_warm(xp_plan *plan) {
    XP_TRY(check_storage(plan, 0, plan->count));
    for (int t = 0; t < plan->graph->tensor_count; t++) {
        const xp_tensor *tensor = plan->graph->tensors[t];
        if (tensor->role != XP_ROLE_INPUT || plan->places[t].bound) continue;
        cl_mem buffer = NULL;
        XP_TRY(buffer_of(plan, tensor, &buffer));
        XP_TRY(xp_device_fill_zero(plan->device, buffer, (size_t)xp_tensor_elements(tensor) * 4));
    }
    for (int i = 0; i < plan->count; i++) {
        const xp_launch *launch = &plan->launches[i];
        XP_TRY(xp_launch_enqueue(plan, launch, plan->device->queue, true, 0, NULL, NULL));
        if (!launch->first && i < plan->count - 1) continue;
        cl_int code = clFinish(plan->device->queue);
        if (code != CL_SUCCESS) return xp_cl_fail(code, "clFinish");
        if (launch->first) XP_TRY(report_prepared(plan));
    }
    return XP_OK;
}

void xp_plan_close(xp_plan **plan) {
    if (!plan || !*plan) return;
    xp_plan *p = *plan;
    if (p->realised) clFinish(p->device->queue);
    for (int i = 0; i < p->count; i++) {
        if (p->launches[i].kernel) clReleaseKernel(p->launches[i].kernel);
        free(p->launches[i].context);
    }
    for (int i = 0; i < p->place_count && p->places; i++) {
        if (p->places[i].buffer) clReleaseMemObject(p->places[i].buffer);
        if (p->places[i].bound) clReleaseMemObject(p->places[i].bound);
    }
    if (!p->borrowed) {
        for (int i = 0; i < p->slab_count; i++)
            if (p->slabs[i]) clReleaseMemObject(p->slabs[i]);
        free(p->slabs);
    }
    free(p->tuned);
    free(p->places);
    free(p->launches);
    free(p);
    *plan = NULL;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* A library call takes no events: barriers stand before and after it where the queue does not order by itself. The
 * event is the library's own where it serves, because some drivers know no times of barriers. */
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
    if (launch->host) {
        status = enqueue_call(launch, queue, ordered, wait_count, wait, event);
    } else {
        const xp_launch_request *request = &launch->request.kernel;
        cl_int code = clEnqueueNDRangeKernel(queue, launch->kernel, (cl_uint)request->dimensions, NULL, request->global,
                                             request->local, wait_count, wait_count ? wait : NULL, event);
        if (code != CL_SUCCESS) status = xp_cl_fail(code, "clEnqueueNDRangeKernel");
    }
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
            if (!has_storage(plan, tensor))
                return xp_fail(XP_INVALID_ARGUMENT, "tensor %s has no buffer: bind the caller's first",
                               xp_tensor_root(tensor)->name);
        }
    }
    return XP_OK;
}

xp_status xp_plan_enqueue_phase(xp_plan *plan, xp_phase phase, cl_command_queue queue, cl_uint wait_count,
                                const cl_event *wait, cl_event *done) {
    const int first = phase == XP_PHASE_BACKWARD ? plan->forward_end : 0;
    const int end = phase == XP_PHASE_FORWARD ? plan->forward_end : plan->count;
    if (done) *done = NULL;
    if (!queue) return xp_fail(XP_INVALID_ARGUMENT, "there is no queue to run on: it is NULL");
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
        return xp_fail(XP_INVALID_ARGUMENT, "the queue is of another context than the device %s", plan->device->name);

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

xp_status xp_plan_storage(xp_plan *plan, const xp_tensor *tensor, cl_mem *buffer, size_t *offset) {
    *offset = (size_t)tensor->offset * 4;
    return buffer_of(plan, tensor, buffer);
}

static xp_status dense_storage(xp_plan *plan, const xp_tensor *tensor, cl_mem *buffer, size_t *offset) {
    if (!tensor) return xp_fail(XP_INVALID_ARGUMENT, "there is no tensor to transfer");
    if (!plan->realised) return xp_fail(XP_INVALID_ARGUMENT, "the plan has no storage before it is realised");
    if (!xp_tensor_is_dense(tensor))
        return xp_fail(XP_INVALID_ARGUMENT, "tensor %s is a view with gaps: transfer its base", tensor->name);
    return xp_plan_storage(plan, tensor, buffer, offset);
}

/* What may share its place holds nothing of meaning after a run. */
static xp_status check_kept(const xp_plan *plan, const xp_tensor *tensor) {
    if (!tensor) return xp_fail(XP_INVALID_ARGUMENT, "there is no tensor to read");
    const xp_tensor *root = xp_tensor_root(tensor);
    XP_TRY(check_member(plan, root));
    if (!in_arena(root) || root->role == XP_ROLE_INPUT || root->keep || plan->places[root->id].bound) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "tensor %s cannot be read: it was not kept before planning", root->name);
}

xp_status xp_plan_write(xp_plan *plan, const xp_tensor *tensor, const void *data) {
    cl_mem buffer = NULL;
    size_t offset = 0;
    XP_TRY(dense_storage(plan, tensor, &buffer, &offset));
    return xp_device_write(plan->device, buffer, offset, (size_t)xp_tensor_elements(tensor) * 4, data);
}

xp_status xp_plan_read(xp_plan *plan, const xp_tensor *tensor, void *data) {
    cl_mem buffer = NULL;
    size_t offset = 0;
    XP_TRY(check_kept(plan, tensor));
    XP_TRY(dense_storage(plan, tensor, &buffer, &offset));
    return xp_device_read(plan->device, buffer, offset, (size_t)xp_tensor_elements(tensor) * 4, data);
}
