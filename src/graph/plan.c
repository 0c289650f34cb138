/* From a graph to a flat list of launches over one arena: each node emitted, each tensor's lifetime found, all of them
 * placed. Owns the plan; requests (graph/request.c), placement (graph/placement.c), storage (graph/storage.c) and
 * running (graph/run.c) have files of their own. */
#include "graph/plan_internal.h"

#include "graph/operation.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

xp_device *xp_plan_device(const xp_plan *plan) {
    return plan->device;
}

xp_graph *xp_plan_graph(const xp_plan *plan) {
    return plan->graph;
}

/* ---- lifetimes and places ---------------------------------------------------------------------------------------- */

bool xp_plan_in_arena(const xp_tensor *root) {
    return (root->role == XP_ROLE_ACTIVATION || root->role == XP_ROLE_INPUT) && !root->external;
}

static xp_status note_use(xp_plan *plan, const xp_tensor *tensor, int launch, bool written) {
    if (!tensor) return XP_OK;
    const xp_tensor *root = xp_tensor_root(tensor);
    if (!xp_plan_in_arena(root)) return XP_OK;
    xp_block *block = &plan->blocks[root->id];
    if (!block->used) {
        if (!written && root->role != XP_ROLE_INPUT)
            return xp_fail(XP_INVALID_ARGUMENT, "%s: kernel %s reads tensor %s before anything writes it",
                           plan->launches[launch].node->label, xp_launch_name(&plan->launches[launch]), root->name);
        block->used = true;
        block->first = launch;
    }
    block->last = launch;
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
        if (!xp_plan_in_arena(root)) continue;
        xp_block *block = &plan->blocks[root->id];
        if (root->role == XP_ROLE_INPUT) {
            block->used = true;
            block->first = 0;
            block->last = INT_MAX;
        } else if (tensor->keep && block->used) {
            block->last = INT_MAX;
        }
    }
    return XP_OK;
}

static xp_status place_tensors(xp_plan *plan) {
    const size_t alignment = plan->device->limits.alignment_bytes;
    plan->slab_bytes = plan->device->limits.allocation_bytes / alignment * alignment;
    for (int t = 0; t < plan->place_count; t++) {
        xp_block *block = &plan->blocks[t];
        if (!block->used) continue;
        const xp_tensor *tensor = plan->graph->tensors[t];
        block->bytes = (xp_tensor_bytes(tensor) + alignment - 1) / alignment * alignment;
        if (block->bytes > plan->slab_bytes) {
            char shape[128];
            return xp_fail(
                XP_OUT_OF_MEMORY,
                "tensor %s %s needs %zu MiB, but a buffer of %s can be no larger than %zu MiB: use a smaller batch",
                tensor->name, xp_tensor_shape_text(tensor, shape, sizeof shape), block->bytes >> 20, plan->device->name,
                plan->slab_bytes >> 20);
        }
        if (tensor->role == XP_ROLE_INPUT)
            plan->input_bytes += block->bytes;
        else
            plan->unshared_bytes += block->bytes;
    }
    return xp_placement_find(plan->blocks, plan->place_count, plan->slab_bytes, &plan->arena_bytes);
}

/* ---- planning ---------------------------------------------------------------------------------------------------- */

/* By the first emitter that supports the node, in the order of the device's families. */
static xp_status emit(xp_plan *plan, const xp_node *node) {
    const xp_device *device = plan->device;
    for (int f = 0; f < XP_FAMILIES - 1; f++)
        for (const xp_emitter *emitter = node->operation->emitters; emitter->emit; emitter++)
            if ((emitter->family == device->families[f] || emitter->family == XP_FAMILY_ANY) &&
                (emitter->supports ? emitter->supports : xp_supports_single)(device, node))
                return emitter->emit(plan, node, emitter->family);
    const xp_tensor *stored = xp_node_stored_tensor(node);
    if (stored)
        return xp_fail(XP_UNSUPPORTED, "no kernels for this device accept tensor %s in %s: cast it to %s", stored->name,
                       xp_type_name(stored->type), xp_type_name(XP_F32));
    return xp_fail(XP_UNSUPPORTED, "there are no kernels for these shapes on %s", device->name);
}

/* Room for the places of all tensors, scratch included. Buffers that the caller has bound stay. */
static xp_status make_places(xp_plan *plan) {
    const size_t old = (size_t)plan->place_count, count = (size_t)plan->graph->tensor_count;
    xp_place *places = realloc(plan->places, (count + 1) * sizeof *places);
    if (places) plan->places = places;
    free(plan->blocks);
    plan->blocks = calloc(count + 1, sizeof *plan->blocks);
    if (!places || !plan->blocks) return xp_fail(XP_OUT_OF_MEMORY, "no memory to place %zu tensors", count);
    memset(places + old, 0, (count - old) * sizeof *places);
    plan->place_count = (int)count;
    return XP_OK;
}

static xp_status make(xp_plan *plan) {
    xp_status status = XP_OK;
    plan->forward_end = -1;
    for (int i = 0; i < plan->graph->node_count && status == XP_OK; i++) {
        const xp_node *node = plan->graph->nodes[i];
        if (node->backward && plan->forward_end < 0) plan->forward_end = plan->count;
        if (!node->operation->emitters) continue;
        status = emit(plan, node);
        if (status != XP_OK) xp_fail_in(status, "%s, operation %s: ", node->label, node->operation->name);
    }
    if (plan->forward_end < 0) plan->forward_end = plan->count;
    if (status == XP_OK) status = make_places(plan);
    if (status == XP_OK) status = find_lifetimes(plan);
    return status == XP_OK ? place_tensors(plan) : status;
}

static void release_launches(xp_plan *plan) {
    for (int i = 0; i < plan->count; i++) {
        if (plan->launches[i].kernel) clReleaseKernel(plan->launches[i].kernel);
        free(plan->launches[i].context);
    }
    plan->count = 0;
}

static void release_slabs(xp_plan *plan) {
    if (!plan->borrowed) {
        for (int i = 0; i < plan->slab_count; i++)
            if (plan->slabs[i]) clReleaseMemObject(plan->slabs[i]);
        free(plan->slabs);
    }
    plan->slabs = NULL;
    plan->slab_count = 0;
    plan->borrowed = false;
}

xp_status xp_plan_make_again(xp_plan *plan) {
    release_launches(plan);
    release_slabs(plan);
    plan->tuned_count = 0;
    plan->input_bytes = plan->unshared_bytes = 0;
    return make(plan);
}

xp_status xp_plan_create(xp_plan **out, xp_device *device, xp_graph *graph) {
    *out = NULL;
    xp_plan *plan = calloc(1, sizeof *plan);
    if (!plan) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a plan");
    plan->device = device;
    plan->graph = graph;
    const xp_status status = make(plan);
    if (status == XP_OK)
        *out = plan;
    else
        xp_plan_close(&plan);
    return status;
}

const char *xp_plan_note(const xp_plan *plan) {
    return plan->note;
}

void xp_plan_close(xp_plan **plan) {
    if (!plan || !*plan) return;
    xp_plan *p = *plan;
    if (p->realised) clFinish(p->device->queue);
    release_launches(p);
    for (int i = 0; i < p->place_count && p->places; i++) {
        if (p->places[i].buffer) clReleaseMemObject(p->places[i].buffer);
        if (p->places[i].bound) clReleaseMemObject(p->places[i].bound);
    }
    release_slabs(p);
    free(p->tuned);
    free(p->places);
    free(p->blocks);
    free(p->launches);
    free(p);
    *plan = NULL;
}
