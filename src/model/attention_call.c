/* One attention call on the caller's queue and buffers: a graph of q, k and v as views of the caller's buffers, the
 * specification's operations, their gradients, and one plan whose arena is the workspace. Owns the check of layouts and
 * the binding of buffers; must not know of kernels. */
#include "core/options.h"
#include "graph/plan.h"
#include "graph/store.h"
#include "model/attention.h"
#include "model/specification.h"
#include "ops/ops.h"

#include <expanse/attention.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The caller's tensors, in the order of the table of buffers. */
enum { Q, K, V, O, D_O, DQ, DK, DV, SLOTS };
static const char *const names[SLOTS] = {"q", "k", "v", "o", "d_o", "dq", "dk", "dv"};

struct xp_attention_call {
    xp_attention_options options;
    xp_store *store; /* names and shapes of the parameters; never allocated: their values are the caller's */
    xp_graph *graph;
    xp_plan *plan;
    xp_tensor *roots[SLOTS];                      /* what a buffer is bound to; NULL: the call does not use it */
    xp_tensor *lse, *key_lengths, *query_lengths; /* may be NULL */
    xp_tensor *parameters[XP_ATTENTION_PARAMETERS], *d_parameters[XP_ATTENTION_PARAMETERS];
    bool ran_forward;
};

/* ---- layouts ----------------------------------------------------------------------------------------------------- */

typedef struct layout {
    int64_t shape[4], stride[4], offset;
    int64_t extent; /* elements from the start of the buffer to the end of the last one */
} layout;

static int ascending(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return x[0] < y[0] ? -1 : x[0] > y[0];
}

/* Rows that an output would write twice. */
static bool overlaps(const layout *l) {
    int64_t axes[3][2], end = l->shape[3];
    for (int i = 0; i < 3; i++) {
        axes[i][0] = l->stride[i];
        axes[i][1] = l->shape[i];
    }
    qsort(axes, 3, sizeof axes[0], ascending);
    for (int i = 0; i < 3; i++) {
        if (axes[i][1] == 1) continue;
        if (axes[i][0] < end) return true;
        end += (axes[i][1] - 1) * axes[i][0];
    }
    return false;
}

static xp_status read_layout(const xp_attention_options *options, int slot, layout *out) {
    const xp_attention_layout *given[SLOTS] = {&options->q,   &options->k,  &options->v,  &options->o,
                                               &options->d_o, &options->dq, &options->dk, &options->dv};
    const bool of_keys = slot == K || slot == V || slot == DK || slot == DV;
    const bool of_values = slot == V || slot == O || slot == D_O || slot == DV;
    const bool written = slot == O || slot >= DQ;
    *out = (layout){.shape = {options->batch, of_keys ? options->keys : options->queries,
                              of_keys ? options->key_heads : options->heads,
                              of_values ? options->value_width : options->width},
                    .offset = given[slot]->offset};
    const int64_t *stride = given[slot]->stride, *shape = out->shape;
    const bool dense = stride[0] == 0 && stride[1] == 0 && stride[2] == 0;
    int64_t last = out->offset;
    out->stride[3] = 1;
    for (int i = 2; i >= 0; i--) out->stride[i] = dense ? out->stride[i + 1] * shape[i + 1] : stride[i];
    if (last < 0)
        return xp_fail(XP_INVALID_ARGUMENT, "attention: the offset %lld of %s is negative", (long long)last,
                       names[slot]);
    for (int i = 0; i < 4; i++) {
        int64_t reach;
        if (out->stride[i] < 0)
            return xp_fail(XP_INVALID_ARGUMENT, "attention: stride %lld of %s is negative", (long long)out->stride[i],
                           names[slot]);
        if (__builtin_mul_overflow(shape[i] - 1, out->stride[i], &reach) ||
            __builtin_add_overflow(last, reach, &last) || last >= INT_MAX)
            return xp_fail(XP_UNSUPPORTED, "attention: %s extends beyond 2^31 elements of its buffer", names[slot]);
    }
    out->extent = last + 1;
    if (written && overlaps(out))
        return xp_fail(XP_INVALID_ARGUMENT, "attention: rows of %s overlap with strides %lld, %lld, %lld", names[slot],
                       (long long)out->stride[0], (long long)out->stride[1], (long long)out->stride[2]);
    return XP_OK;
}

static bool is_plain(const layout *l) {
    int64_t dense = 1;
    for (int i = 3; i >= 0; i--) {
        if (l->shape[i] != 1 && l->stride[i] != dense) return false;
        dense *= l->shape[i];
    }
    return l->offset == 0;
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static xp_status check_sizes(const xp_attention_options *options) {
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {{"batch", options->batch},
                 {"queries", options->queries},
                 {"keys", options->keys},
                 {"heads", options->heads},
                 {"key_heads", options->key_heads},
                 {"width", options->width},
                 {"value_width", options->value_width}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value < 1 || sizes[i].value >= INT_MAX)
            return xp_fail(XP_INVALID_ARGUMENT, "attention: %s is %lld: it must be at least 1 and below 2^31",
                           sizes[i].name, (long long)sizes[i].value);
    const unsigned known = XP_ATTENTION_DQ | XP_ATTENTION_DK | XP_ATTENTION_DV | XP_ATTENTION_DPARAMETERS;
    if (options->gradients & ~known)
        return xp_fail(XP_INVALID_ARGUMENT, "attention: gradients %#x has unknown bits", options->gradients);
    if (options->packed_samples == 0) return XP_OK;
    if (options->packed_samples < 1 || options->packed_samples >= INT_MAX - 1 || options->batch != 1)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "attention: %lld packed samples in a batch of %lld: packed samples need a batch of 1",
                       (long long)options->packed_samples, (long long)options->batch);
    if (!options->has_key_lengths || !options->has_query_lengths)
        return xp_fail(XP_INVALID_ARGUMENT, "attention: packed samples need key_lengths and query_lengths, as starts");
    if (options->longest_queries < 1 || options->longest_keys < 1)
        return xp_fail(XP_INVALID_ARGUMENT, "attention: packed samples need longest_queries and longest_keys");
    return XP_OK;
}

/* A view of the caller's buffer. */
static xp_status add_input(xp_attention_call *call, int slot, bool wants_gradient, xp_tensor **out) {
    layout l;
    XP_TRY(read_layout(&call->options, slot, &l));
    call->roots[slot] = xp_tensor_external(xp_graph_input(call->graph, names[slot], XP_F32, 1, &l.extent));
    if (!call->roots[slot]) return XP_OUT_OF_MEMORY;
    *out = xp_graph_view(call->graph, call->roots[slot], 4, l.shape, l.offset, l.stride);
    if (!*out) return XP_OUT_OF_MEMORY;
    (*out)->needs_gradient = wants_gradient;
    return XP_OK;
}

/* Has a result written into the caller's buffer. */
static xp_status add_output(xp_attention_call *call, int slot, xp_tensor *result) {
    layout l;
    XP_TRY(read_layout(&call->options, slot, &l));
    if (is_plain(&l) && !result->base) {
        memcpy(result->name, names[slot], strlen(names[slot]) + 1);
        call->roots[slot] = xp_tensor_external(result);
        return XP_OK;
    }
    xp_tensor *root = xp_graph_tensor(call->graph, names[slot], XP_F32, 1, &l.extent);
    call->roots[slot] = xp_tensor_external(root);
    return root && xp_graph_write_into(call->graph, result, root, l.offset, l.stride) ? XP_OK : XP_OUT_OF_MEMORY;
}

/* What the backward pass reads of the forward pass keeps its place, so that it can run more than once. */
static void keep_what_backward_reads(const xp_graph *graph) {
    for (int n = 0; n < graph->node_count; n++) {
        const xp_node *node = graph->nodes[n];
        for (int i = 0; node->backward && i < node->input_count; i++) {
            xp_tensor *root = node->inputs[i] ? xp_tensor_root(node->inputs[i]) : NULL;
            if (root && root->producer && !root->producer->backward) root->keep = true;
        }
    }
}

/* The parameters that the layer declared, as the caller's buffers. */
static xp_status find_parameters(xp_attention_call *call) {
    if (call->store->count > XP_ATTENTION_PARAMETERS)
        return xp_fail(XP_UNSUPPORTED, "attention: %d parameters are more than a call supports", call->store->count);
    for (int t = 0; t < call->graph->tensor_count; t++) {
        xp_tensor *tensor = call->graph->tensors[t];
        if (tensor->role != XP_ROLE_PARAMETER) continue;
        call->parameters[tensor->store_index] = xp_tensor_external(tensor);
        if (!(call->options.gradients & XP_ATTENTION_DPARAMETERS)) tensor->needs_gradient = false;
    }
    return XP_OK;
}

static void find_parameter_gradients(xp_attention_call *call) {
    for (int t = 0; t < call->graph->tensor_count; t++) {
        xp_tensor *tensor = call->graph->tensors[t];
        if (tensor->role != XP_ROLE_GRADIENT) continue;
        snprintf(tensor->name, sizeof tensor->name, "d_%.50s", call->store->parameters[tensor->store_index].name);
        call->d_parameters[tensor->store_index] = xp_tensor_external(tensor);
    }
}

static xp_status build_backward(xp_attention_call *call, xp_tensor *o, xp_tensor *const *inputs) {
    static const int gradient_slots[] = {DQ, DK, DV};
    xp_graph *graph = call->graph;
    xp_tensor *d_o = NULL, *leaves[3], *gradients[3];
    int slots[3], count = 0;
    for (int i = 0; i < 3; i++) {
        if (!(call->options.gradients >> i & 1)) continue;
        leaves[count] = inputs[i];
        slots[count++] = gradient_slots[i];
    }
    if (!o->needs_gradient)
        return xp_fail(XP_INVALID_ARGUMENT, "attention: this specification has no learned parameters");
    XP_TRY(add_input(call, D_O, false, &d_o));
    XP_TRY(xp_graph_differentiate(graph, 1, &o, &d_o, count, leaves, gradients));
    find_parameter_gradients(call);
    graph->backward = true; /* copies of gradients belong to it */
    for (int i = 0; i < count; i++) {
        if (!gradients[i]) return xp_fail(XP_UNSUPPORTED, "attention: %s has no gradient", names[slots[i]]);
        XP_TRY(add_output(call, slots[i], gradients[i]));
    }
    graph->backward = false;
    keep_what_backward_reads(graph);
    return XP_OK;
}

static xp_status add_lengths(xp_attention_call *call, const char *name, bool wanted, xp_tensor **out) {
    const int64_t samples = call->options.packed_samples, count = samples ? samples + 1 : call->options.batch;
    if (!wanted) return XP_OK;
    *out = xp_tensor_external(xp_graph_input(call->graph, name, XP_I32, 1, &count));
    return *out ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status build(xp_attention_call *call, xp_device *device) {
    const xp_attention_options *options = &call->options;
    xp_specification specification;
    XP_TRY(xp_specification_parse(options->specification, &specification));
    XP_TRY(check_sizes(options));
    XP_TRY(xp_store_create(&call->store));
    XP_TRY(xp_graph_create(&call->graph, call->store, true));
    xp_graph_scope(call->graph, "attention");
    xp_tensor *inputs[3] = {0};
    for (int slot = Q; slot <= V; slot++) XP_TRY(add_input(call, slot, options->gradients >> slot & 1, &inputs[slot]));
    XP_TRY(add_lengths(call, "key_lengths", options->has_key_lengths, &call->key_lengths));
    XP_TRY(add_lengths(call, "query_lengths", options->has_query_lengths, &call->query_lengths));
    const xp_attention_layer_inputs layer = {.q = inputs[Q],
                                             .k = inputs[K],
                                             .v = inputs[V],
                                             .key_lengths = call->key_lengths,
                                             .query_lengths = call->query_lengths,
                                             .dropout = options->dropout,
                                             .packed = options->packed_samples > 0,
                                             .longest_queries = options->longest_queries,
                                             .longest_keys = options->longest_keys};
    xp_tensor *o = xp_attention_layer(call->graph, &specification, "", &layer, &call->lse);
    if (!o) return xp_last_status();
    XP_TRY(find_parameters(call));
    xp_tensor_keep(call->lse);
    /* The gradient's rule reads o itself: where o goes to gaps, it is copied there and stays in the workspace. */
    XP_TRY(add_output(call, O, o));
    if (options->gradients) XP_TRY(build_backward(call, o, inputs));
    XP_TRY(xp_plan_create(&call->plan, device, call->graph));
    return xp_plan_realise_without_arena(call->plan);
}

void xp_attention_options_init(xp_attention_options *options, size_t size) {
    xp_options_fill(options, size, &(xp_attention_options){.specification = "softmax"}, sizeof *options);
}

xp_status xp_attention_create(xp_attention_call **out, xp_device *device, const xp_attention_options *options) {
    *out = NULL;
    xp_attention_options own;
    xp_attention_options_default(&own);
    if (!device) return xp_fail(XP_INVALID_ARGUMENT, "attention: the device is NULL");
    XP_TRY(xp_options_take(&own, sizeof own, options, "xp_attention_options"));
    xp_attention_call *call = calloc(1, sizeof *call);
    if (!call) return xp_fail(XP_OUT_OF_MEMORY, "no memory for an attention call");
    if (!own.specification) own.specification = "softmax";
    if (own.key_heads == 0) own.key_heads = own.heads;
    if (own.value_width == 0) own.value_width = own.width;
    call->options = own;
    xp_status status = build(call, device);
    call->options.specification = NULL; /* the caller's text is not kept */
    if (status != XP_OK) {
        xp_attention_close(&call);
        return status;
    }
    *out = call;
    return XP_OK;
}

void xp_attention_close(xp_attention_call **attention) {
    if (!attention || !*attention) return;
    xp_plan_close(&(*attention)->plan);
    xp_graph_close(&(*attention)->graph);
    xp_store_close(&(*attention)->store);
    free(*attention);
    *attention = NULL;
}

int xp_attention_parameters(const xp_attention_call *attention,
                            xp_attention_parameter parameters[XP_ATTENTION_PARAMETERS]) {
    const xp_store *store = attention->store;
    for (int i = 0; i < store->count; i++) {
        const xp_parameter *from = &store->parameters[i];
        parameters[i] = (xp_attention_parameter){.rank = from->rank};
        memcpy(parameters[i].name, from->name, sizeof from->name);
        memcpy(parameters[i].shape, from->shape, sizeof from->shape);
    }
    return store->count;
}

size_t xp_attention_workspace_bytes(const xp_attention_call *attention) {
    xp_plan_summary summary;
    xp_plan_summarise(attention->plan, &summary);
    return summary.arena_bytes;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static xp_status check_call(const xp_attention_call *call, cl_command_queue queue,
                            const xp_attention_tensors *tensors) {
    const char *missing = !call ? "attention object" : !queue ? "queue" : !tensors ? "table of tensors" : NULL;
    return missing ? xp_fail(XP_INVALID_ARGUMENT, "attention: the %s is NULL", missing) : XP_OK;
}

static xp_status bind_tensors(xp_attention_call *call, const xp_attention_tensors *tensors, bool backward) {
    const cl_mem buffers[SLOTS] = {tensors->q,   tensors->k,  tensors->v,  tensors->o,
                                   tensors->d_o, tensors->dq, tensors->dk, tensors->dv};
    XP_TRY(xp_plan_bind_arena(call->plan, tensors->workspace));
    for (int slot = 0; slot < (backward ? SLOTS : D_O); slot++)
        if (call->roots[slot]) XP_TRY(xp_plan_bind(call->plan, call->roots[slot], buffers[slot]));
    if (call->key_lengths) XP_TRY(xp_plan_bind(call->plan, call->key_lengths, tensors->key_lengths));
    if (call->query_lengths) XP_TRY(xp_plan_bind(call->plan, call->query_lengths, tensors->query_lengths));
    for (int i = 0; i < XP_ATTENTION_PARAMETERS; i++) {
        if (call->parameters[i]) XP_TRY(xp_plan_bind(call->plan, call->parameters[i], tensors->parameters[i]));
        if (backward && call->d_parameters[i])
            XP_TRY(xp_plan_bind(call->plan, call->d_parameters[i], tensors->d_parameters[i]));
    }
    if (!call->lse && tensors->lse) return xp_fail(XP_UNSUPPORTED, "attention: linear attention has no lse: pass NULL");
    return call->lse ? xp_plan_bind(call->plan, call->lse, tensors->lse) : XP_OK;
}

/* Seed and step of dropout, by a command that copies them at once. */
static xp_status enqueue_random_state(xp_attention_call *call, cl_command_queue queue,
                                      const xp_attention_tensors *tensors, cl_uint wait_count, const cl_event *wait,
                                      cl_event *done) {
    const uint64_t seed = tensors->seed, step = tensors->step;
    const cl_uint state[4] = {(cl_uint)seed, (cl_uint)(seed >> 32), (cl_uint)step, (cl_uint)(step >> 32)};
    cl_mem buffer = NULL;
    size_t offset = 0;
    XP_TRY(xp_plan_storage(call->plan, call->graph->random_state, &buffer, &offset));
    cl_int code = clEnqueueFillBuffer(queue, buffer, state, sizeof state, offset, sizeof state, wait_count, wait, done);
    return xp_cl_made(*done, code, "clEnqueueFillBuffer");
}

xp_status xp_attention_forward(xp_attention_call *attention, cl_command_queue queue,
                               const xp_attention_tensors *tensors, cl_uint wait_count, const cl_event *wait,
                               cl_event *done) {
    if (done) *done = NULL;
    XP_TRY(check_call(attention, queue, tensors));
    XP_TRY(bind_tensors(attention, tensors, false));
    attention->ran_forward = true;
    if (!attention->graph->random_state)
        return xp_plan_enqueue_phase(attention->plan, XP_PHASE_FORWARD, queue, wait_count, wait, done);
    cl_event seeded = NULL;
    XP_TRY(enqueue_random_state(attention, queue, tensors, wait_count, wait, &seeded));
    xp_status status = xp_plan_enqueue_phase(attention->plan, XP_PHASE_FORWARD, queue, 1, &seeded, done);
    clReleaseEvent(seeded);
    return status;
}

xp_status xp_attention_backward(xp_attention_call *attention, cl_command_queue queue,
                                const xp_attention_tensors *tensors, cl_uint wait_count, const cl_event *wait,
                                cl_event *done) {
    if (done) *done = NULL;
    XP_TRY(check_call(attention, queue, tensors));
    if (!attention->options.gradients)
        return xp_fail(XP_INVALID_ARGUMENT, "attention: the options request no gradient");
    if (!attention->ran_forward)
        return xp_fail(XP_INVALID_ARGUMENT, "attention: run a forward pass before the backward pass");
    XP_TRY(bind_tensors(attention, tensors, true));
    return xp_plan_enqueue_phase(attention->plan, XP_PHASE_BACKWARD, queue, wait_count, wait, done);
}
