/* Building graphs: tensors, views, nodes. */
#include "graph/graph.h"

#include "core/array.h"
#include "core/text.h"
#include "graph/operation.h"
#include "graph/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

int64_t xp_tensor_elements(const xp_tensor *tensor) {
    int64_t count = 1;
    for (int i = 0; i < tensor->rank; i++) count *= tensor->shape[i];
    return count;
}

size_t xp_tensor_bytes(const xp_tensor *tensor) {
    return (size_t)xp_tensor_elements(tensor) * xp_type_bytes(tensor->type);
}

xp_tensor *xp_tensor_root(const xp_tensor *tensor) {
    return tensor->base ? tensor->base : (xp_tensor *)tensor; /* as far as its owner lets it be changed */
}

bool xp_tensor_is_dense(const xp_tensor *tensor) {
    int64_t expected = 1;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->stride[i] != expected) return false;
        expected *= tensor->shape[i];
    }
    return true;
}

bool xp_tensor_same_shape(const xp_tensor *a, const xp_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

const char *xp_tensor_shape_text(const xp_tensor *tensor, char *text, size_t size) {
    snprintf(text, size, "[");
    for (int i = 0; i < tensor->rank; i++) xp_text_add(text, size, "%s%lld", i ? "," : "", (long long)tensor->shape[i]);
    xp_text_add(text, size, "]");
    return text;
}

static void set_dense_strides(xp_tensor *tensor) {
    int64_t stride = 1;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        tensor->stride[i] = stride;
        stride *= tensor->shape[i];
    }
}

static xp_tensor *add_tensor(xp_graph *graph, const char *name, xp_type type, xp_role role, int rank,
                             const int64_t *shape) {
    if (rank < 1 || rank > XP_MAX_RANK) {
        xp_fail(XP_INVALID_ARGUMENT, "tensor %s: rank %d is not between 1 and %d", name, rank, XP_MAX_RANK);
        return NULL;
    }
    xp_tensor *tensor = calloc(1, sizeof *tensor);
    if (!tensor ||
        !xp_array_reserve(&graph->tensors, &graph->tensor_room, (size_t)graph->tensor_count, 1, sizeof tensor)) {
        free(tensor);
        xp_fail(XP_OUT_OF_MEMORY, "no memory for tensor %s", name);
        return NULL;
    }
    tensor->id = graph->tensor_count;
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->type = type;
    tensor->role = role;
    tensor->rank = rank;
    tensor->store_index = -1;
    tensor->graph = graph;
    int64_t elements = 1;
    for (int i = 0; i < rank; i++) {
        tensor->shape[i] = shape[i];
        if (shape[i] < 1 || __builtin_mul_overflow(elements, shape[i], &elements) || elements > INT64_MAX / 8) {
            char text[128];
            xp_fail(XP_INVALID_ARGUMENT, "tensor %s: the shape %s is empty or too large", name,
                    xp_tensor_shape_text(tensor, text, sizeof text));
            free(tensor);
            return NULL;
        }
    }
    set_dense_strides(tensor);
    graph->tensors[graph->tensor_count++] = tensor;
    return tensor;
}

xp_tensor *xp_graph_tensor(xp_graph *graph, const char *name, xp_type type, int rank, const int64_t *shape) {
    return add_tensor(graph, name, type, XP_ROLE_ACTIVATION, rank, shape);
}

xp_tensor *xp_graph_input(xp_graph *graph, const char *name, xp_type type, int rank, const int64_t *shape) {
    return add_tensor(graph, name, type, XP_ROLE_INPUT, rank, shape);
}

xp_tensor *xp_graph_constant(xp_graph *graph, const char *name, xp_type type, int rank, const int64_t *shape,
                             const void *content) {
    xp_tensor *tensor = add_tensor(graph, name, type, XP_ROLE_CONSTANT, rank, shape);
    if (!tensor) return NULL;
    const size_t bytes = xp_tensor_bytes(tensor);
    void *copy = xp_graph_memory(graph, bytes);
    if (!copy) return NULL;
    tensor->content = memcpy(copy, content, bytes);
    return tensor;
}

xp_tensor *xp_graph_parameter(xp_graph *graph, const char *name) {
    int index = graph->store ? xp_store_find(graph->store, name) : -1;
    if (index < 0) {
        xp_fail(XP_INVALID_ARGUMENT, "the store has no parameter %s", name);
        return NULL;
    }
    for (int i = 0; i < graph->tensor_count; i++)
        if (graph->tensors[i]->role == XP_ROLE_PARAMETER && graph->tensors[i]->store_index == index)
            return graph->tensors[i];
    const xp_parameter *parameter = &graph->store->parameters[index];
    xp_tensor *tensor = add_tensor(graph, name, XP_STORE_TYPE, XP_ROLE_PARAMETER, parameter->rank, parameter->shape);
    if (!tensor) return NULL;
    tensor->store_index = index;
    tensor->needs_gradient = graph->training && parameter->kind != XP_PARAMETER_STATE;
    return tensor;
}

xp_tensor *xp_graph_store_buffer(xp_graph *graph, int buffer) {
    static const char *const names[] = {"values", "gradients", "moment 1", "moment 2", "sums", "copies"};
    for (int i = 0; i < graph->tensor_count; i++)
        if (graph->tensors[i]->role == XP_ROLE_STORE && graph->tensors[i]->store_index == buffer)
            return graph->tensors[i];
    if (!graph->store || !graph->store->laid_out) {
        xp_fail(XP_INVALID_ARGUMENT, "the %s of the store were requested before the store was laid out", names[buffer]);
        return NULL;
    }
    if (xp_store_use(graph->store, buffer) != XP_OK) return NULL;
    int64_t elements = buffer == XP_STORE_VALUES ? graph->store->elements : graph->store->trained_elements;
    const xp_type type = buffer == XP_STORE_COPIES ? graph->store->copies : XP_STORE_TYPE;
    xp_tensor *tensor = add_tensor(graph, names[buffer], type, XP_ROLE_STORE, 1, &elements);
    if (tensor) tensor->store_index = buffer;
    return tensor;
}

xp_tensor *xp_graph_random_state(xp_graph *graph) {
    if (!graph->random_state) graph->random_state = xp_graph_input(graph, "random_state", XP_I32, 1, (int64_t[]){4});
    return graph->random_state;
}

xp_tensor *xp_graph_optimiser_state(xp_graph *graph) {
    if (!graph->optimiser_state)
        graph->optimiser_state = xp_graph_input(graph, "optimiser_state", XP_F32, 1, (int64_t[]){8});
    return graph->optimiser_state;
}

xp_tensor *xp_tensor_keep(xp_tensor *tensor) {
    if (tensor) xp_tensor_root(tensor)->keep = true;
    return tensor;
}

xp_tensor *xp_tensor_want_gradient(xp_tensor *tensor) {
    if (tensor && xp_type_is_real(tensor->type)) tensor->needs_gradient = true;
    return tensor;
}

xp_tensor *xp_tensor_external(xp_tensor *tensor) {
    if (tensor) tensor->external = true;
    return tensor;
}

int xp_tensor_shape(const xp_tensor *tensor, int64_t *shape) {
    if (!tensor) return 0;
    for (int i = 0; i < tensor->rank && shape; i++) shape[i] = tensor->shape[i];
    return tensor->rank;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

xp_node *xp_graph_node(xp_graph *graph, const xp_operation *operation, int input_count, xp_tensor *const *inputs,
                       int output_count, xp_tensor *const *outputs, const void *attributes, size_t attribute_bytes) {
    if (input_count > XP_MAX_INPUTS || output_count > XP_MAX_OUTPUTS || attribute_bytes > XP_ATTRIBUTE_BYTES) {
        xp_fail(XP_INVALID_ARGUMENT, "operation %s: %d inputs, %d outputs or %zu bytes of attributes are too many",
                operation->name, input_count, output_count, attribute_bytes);
        return NULL;
    }
    xp_node *node = calloc(1, sizeof *node);
    if (!node || !xp_array_reserve(&graph->nodes, &graph->node_room, (size_t)graph->node_count, 1, sizeof node)) {
        free(node);
        xp_fail(XP_OUT_OF_MEMORY, "no memory for a node of operation %s", operation->name);
        return NULL;
    }
    node->id = graph->node_count;
    node->operation = operation;
    memcpy(node->label, graph->scope, sizeof node->label);
    node->input_count = input_count;
    node->output_count = output_count;
    node->backward = graph->backward;
    if (attribute_bytes) memcpy(node->attributes, attributes, attribute_bytes);
    bool needs_gradient = false;
    for (int i = 0; i < input_count; i++) {
        node->inputs[i] = inputs[i];
        if (inputs[i] && inputs[i]->graph != graph) {
            xp_fail(XP_INVALID_ARGUMENT, "operation %s: tensor %s belongs to another graph", operation->name,
                    inputs[i]->name);
            free(node);
            return NULL;
        }
        if (inputs[i] && inputs[i]->needs_gradient) needs_gradient = true;
    }
    for (int i = 0; i < output_count; i++) {
        xp_tensor *output = node->outputs[i] = outputs[i];
        if (!output || output->role != XP_ROLE_ACTIVATION) continue;
        if (!output->producer) output->producer = node;
        output->needs_gradient =
            needs_gradient && !graph->backward && xp_type_is_real(output->type) && operation->gradient;
    }
    graph->nodes[graph->node_count++] = node;
    return node;
}

/* ---- views ------------------------------------------------------------------------------------------------------- */

static xp_tensor *add_view(xp_graph *graph, xp_tensor *of, int rank, const int64_t *shape) {
    xp_tensor *view = add_tensor(graph, of->name, of->type, XP_ROLE_ACTIVATION, rank, shape);
    if (!view) return NULL;
    view->base = xp_tensor_root(of);
    view->offset = of->offset;
    return view;
}

static xp_status reshape_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                  xp_tensor **d_inputs) {
    xp_tensor *d_output = d_outputs[0];
    if (!xp_tensor_is_dense(d_output)) d_output = xp_copy(graph, d_output, NULL);
    d_inputs[0] = xp_graph_reshape(graph, d_output, node->inputs[0]->rank, node->inputs[0]->shape);
    return d_inputs[0] ? XP_OK : XP_OUT_OF_MEMORY;
}

const xp_operation xp_operation_reshape = {.name = "reshape", .gradient = reshape_gradient};

xp_tensor *xp_graph_reshape(xp_graph *graph, xp_tensor *tensor, int rank, const int64_t *shape) {
    if (!tensor) return NULL;
    xp_tensor *view = add_view(graph, tensor, rank, shape);
    if (!view) return NULL;
    char from[128], to[128];
    if (xp_tensor_elements(view) != xp_tensor_elements(tensor) || !xp_tensor_is_dense(tensor)) {
        xp_fail(XP_INVALID_ARGUMENT, "tensor %s: %s cannot be reshaped to %s", tensor->name,
                xp_tensor_shape_text(tensor, from, sizeof from), xp_tensor_shape_text(view, to, sizeof to));
        return NULL;
    }
    return xp_graph_node(graph, &xp_operation_reshape, 1, &tensor, 1, &view, NULL, 0) ? view : NULL;
}

typedef struct split_attributes {
    int axis;
    int kept; /* parts have the axis, too */
    int64_t first[XP_MAX_OUTPUTS];
} split_attributes;

/* Where a part lies in `whole`: returns the offset. */
static int64_t part_layout(const xp_tensor *whole, const split_attributes *split, int index,
                           int64_t stride[XP_MAX_RANK]) {
    for (int i = 0, j = 0; i < whole->rank; i++)
        if (i != split->axis || split->kept) stride[j++] = whole->stride[i];
    return whole->offset + split->first[index] * whole->stride[split->axis];
}

/* A tensor may be moved into another's storage when its producer can write any view and nobody yet relies on its own.
 */
static bool can_move(const xp_graph *graph, const xp_tensor *tensor) {
    if (tensor->base || tensor->role != XP_ROLE_ACTIVATION || !tensor->producer) return false;
    const xp_node *producer = tensor->producer;
    bool strided = false;
    for (int i = 0; i < producer->output_count; i++)
        if (producer->outputs[i] == tensor) strided = producer->operation->strided_outputs >> i & 1;
    if (!strided) return false;
    for (int i = 0; i < graph->tensor_count; i++)
        if (graph->tensors[i]->base == tensor) return false;
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; j < graph->nodes[i]->input_count; j++)
            if (graph->nodes[i]->inputs[j] == tensor) return false;
    return true;
}

static void place_view(xp_tensor *view, xp_tensor *whole, int64_t offset, const int64_t *stride) {
    view->base = whole;
    view->offset = offset;
    for (int i = 0; i < view->rank; i++) view->stride[i] = stride[i];
}

xp_tensor *xp_graph_view(xp_graph *graph, xp_tensor *whole, int rank, const int64_t *shape, int64_t offset,
                         const int64_t *stride) {
    xp_tensor *view = add_view(graph, whole, rank, shape);
    if (view) place_view(view, whole, offset, stride);
    return view;
}

xp_tensor *xp_graph_write_into(xp_graph *graph, xp_tensor *tensor, xp_tensor *whole, int64_t offset,
                               const int64_t *stride) {
    /* Operations write views whose last stride is 1: parts of a last axis have another one. */
    const int last = tensor->rank - 1;
    if ((stride[last] == 1 || tensor->shape[last] == 1) && can_move(graph, tensor)) {
        place_view(tensor, whole, offset, stride);
        if (!whole->producer) whole->producer = tensor->producer;
        return tensor;
    }
    xp_tensor *target = xp_graph_view(graph, whole, tensor->rank, tensor->shape, offset, stride);
    if (!target || !xp_copy(graph, tensor, target)) return NULL;
    if (!whole->producer) whole->producer = target->producer;
    return target;
}

static xp_status split_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                xp_tensor **d_inputs) {
    const xp_tensor *whole = node->inputs[0];
    const split_attributes *split = XP_ATTRIBUTES(split_attributes, node);
    char name[XP_NAME_BYTES];
    snprintf(name, sizeof name, "d_%.50s", whole->name);
    xp_tensor *d_whole = xp_graph_tensor(graph, name, whole->type, whole->rank, whole->shape);
    if (!d_whole) return XP_OUT_OF_MEMORY;
    for (int i = 0; i < node->output_count; i++) {
        xp_tensor *d_part = d_outputs[i];
        if (!d_part) return xp_fail(XP_UNSUPPORTED, "%s: part %d of %s has no gradient", node->label, i, whole->name);
        int64_t stride[XP_MAX_RANK], offset = part_layout(d_whole, split, i, stride);
        if (!xp_graph_write_into(graph, d_part, d_whole, offset, stride)) return XP_OUT_OF_MEMORY;
    }
    d_inputs[0] = d_whole;
    return XP_OK;
}

static const xp_operation operation_split = {.name = "split", .gradient = split_gradient};

static xp_status add_parts(xp_graph *graph, xp_tensor *tensor, const split_attributes *split, int parts,
                           xp_tensor **part) {
    for (int i = 0; i < parts; i++) {
        int64_t stride[XP_MAX_RANK], offset = part_layout(tensor, split, i, stride);
        place_view(part[i], part[i]->base, offset, stride);
    }
    return xp_graph_node(graph, &operation_split, 1, &tensor, parts, part, split, sizeof *split) ? XP_OK
                                                                                                 : XP_OUT_OF_MEMORY;
}

xp_status xp_graph_split(xp_graph *graph, xp_tensor *tensor, int axis, xp_tensor **part) {
    if (!tensor) return XP_INVALID_ARGUMENT;
    if (axis < 0 || axis >= tensor->rank || tensor->rank < 2 || tensor->shape[axis] > XP_MAX_OUTPUTS)
        return xp_fail(XP_INVALID_ARGUMENT, "tensor %s cannot be split along axis %d", tensor->name, axis);
    int64_t shape[XP_MAX_RANK];
    for (int i = 0, j = 0; i < tensor->rank; i++)
        if (i != axis) shape[j++] = tensor->shape[i];
    split_attributes split = {.axis = axis};
    const int parts = (int)tensor->shape[axis];
    for (int i = 0; i < parts; i++) {
        split.first[i] = i;
        if (!(part[i] = add_view(graph, tensor, tensor->rank - 1, shape))) return XP_OUT_OF_MEMORY;
    }
    return add_parts(graph, tensor, &split, parts, part);
}

xp_status xp_graph_slice(xp_graph *graph, xp_tensor *tensor, int axis, int parts, const int64_t *sizes,
                         xp_tensor **part) {
    if (!tensor) return XP_INVALID_ARGUMENT;
    int64_t sum = 0, shape[XP_MAX_RANK];
    for (int i = 0; i < parts; i++) sum += sizes[i];
    if (axis < 0 || axis >= tensor->rank || parts < 1 || parts > XP_MAX_OUTPUTS || sum != tensor->shape[axis])
        return xp_fail(XP_INVALID_ARGUMENT, "tensor %s cannot be cut into %d slices of %lld along axis %d",
                       tensor->name, parts, (long long)sum, axis);
    memcpy(shape, tensor->shape, sizeof shape);
    split_attributes split = {.axis = axis, .kept = 1};
    sum = 0;
    for (int i = 0; i < parts; i++) {
        split.first[i] = sum;
        sum += shape[axis] = sizes[i];
        if (!(part[i] = add_view(graph, tensor, tensor->rank, shape))) return XP_OUT_OF_MEMORY;
    }
    return add_parts(graph, tensor, &split, parts, part);
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

struct xp_graph_block {
    struct xp_graph_block *next;
    _Alignas(16) unsigned char content[];
};

void *xp_graph_memory(xp_graph *graph, size_t bytes) {
    struct xp_graph_block *block = calloc(1, sizeof *block + bytes);
    if (!block) {
        xp_fail(XP_OUT_OF_MEMORY, "no memory for %zu bytes of a graph", bytes);
        return NULL;
    }
    block->next = graph->memory;
    graph->memory = block;
    return block->content;
}

xp_status xp_graph_create(xp_graph **out, xp_store *store, bool training) {
    *out = calloc(1, sizeof **out);
    if (!*out) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a graph");
    (*out)->store = store;
    (*out)->training = training;
    return XP_OK;
}

void xp_graph_close(xp_graph **graph) {
    if (!graph || !*graph) return;
    for (int i = 0; i < (*graph)->tensor_count; i++) free((*graph)->tensors[i]);
    for (int i = 0; i < (*graph)->node_count; i++) free((*graph)->nodes[i]);
    for (struct xp_graph_block *block = (*graph)->memory, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free((*graph)->tensors);
    free((*graph)->nodes);
    free(*graph);
    *graph = NULL;
}

void xp_graph_scope(xp_graph *graph, const char *label) {
    snprintf(graph->scope, sizeof graph->scope, "%s", label);
}
