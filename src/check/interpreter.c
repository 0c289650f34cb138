/* Graphs on the host. */
#include "check/interpreter.h"

#include "graph/operation.h"
#include "graph/store.h"
#include "reference/reference.h"

#include <stdlib.h>
#include <string.h>

struct xp_interpreter {
    const xp_graph *graph;
    xp_precision precision;
    size_t real_bytes;
    void **values; /* by tensor id, for roots outside the store */
    int count;
    void *store[XP_STORE_ALL_BUFFERS];
};

void xp_tensor_walk(const xp_tensor *tensor, xp_tensor_visit visit, void *context) {
    int64_t index[XP_MAX_RANK] = {0}, count = xp_tensor_elements(tensor), place = tensor->offset;
    for (int64_t element = 0; element < count; element++) {
        visit(context, element, place);
        for (int i = tensor->rank - 1; i >= 0; i--) {
            place += tensor->stride[i];
            if (++index[i] < tensor->shape[i]) break;
            place -= tensor->stride[i] * tensor->shape[i];
            index[i] = 0;
        }
    }
}

static size_t element_bytes(const xp_interpreter *interpreter, const xp_tensor *tensor) {
    return tensor->type == XP_I32 ? sizeof(int32_t) : interpreter->real_bytes;
}

/* Where element 0 of a root lives. */
static void *storage_of(const xp_interpreter *interpreter, const xp_tensor *root) {
    const xp_store *store = interpreter->graph->store;
    switch (root->role) {
    case XP_ROLE_STORE:
        return interpreter->store[root->store_index];
    case XP_ROLE_PARAMETER:
    case XP_ROLE_GRADIENT: {
        int buffer = root->role == XP_ROLE_GRADIENT ? XP_STORE_GRADIENTS : XP_STORE_VALUES;
        size_t offset = (size_t)store->parameters[root->store_index].offset;
        return (char *)interpreter->store[buffer] + offset * interpreter->real_bytes;
    }
    case XP_ROLE_ACTIVATION:
    case XP_ROLE_COPY: /* made by its cast */
    case XP_ROLE_INPUT:
    case XP_ROLE_CONSTANT:
        break;
    }
    return interpreter->values[root->id];
}

static void load_constant(const xp_interpreter *interpreter, const xp_tensor *tensor, int64_t element) {
    void *values = interpreter->values[tensor->id];
    if (tensor->type == XP_I32)
        ((int32_t *)values)[element] = ((const int32_t *)tensor->content)[element];
    else if (interpreter->precision == XP_DOUBLE)
        ((double *)values)[element] = xp_type_value(tensor->type, tensor->content, element);
    else
        ((float *)values)[element] = (float)xp_type_value(tensor->type, tensor->content, element);
}

xp_status xp_interpreter_create(xp_interpreter **out, const xp_graph *graph, xp_precision precision) {
    xp_interpreter *interpreter = calloc(1, sizeof *interpreter);
    *out = NULL;
    if (!interpreter) return xp_fail(XP_OUT_OF_MEMORY, "no memory for an interpreter");
    interpreter->graph = graph;
    interpreter->precision = precision;
    interpreter->real_bytes = precision == XP_DOUBLE ? sizeof(double) : sizeof(float);
    interpreter->count = graph->tensor_count;
    interpreter->values = calloc((size_t)graph->tensor_count + 1, sizeof *interpreter->values);
    bool complete = interpreter->values != NULL;
    for (int i = 0; i < graph->tensor_count && complete; i++) {
        const xp_tensor *tensor = graph->tensors[i];
        if (tensor->base || tensor->role == XP_ROLE_STORE || tensor->role == XP_ROLE_PARAMETER ||
            tensor->role == XP_ROLE_GRADIENT)
            continue;
        const int64_t elements = xp_tensor_elements(tensor);
        interpreter->values[i] = calloc((size_t)elements, element_bytes(interpreter, tensor));
        complete = interpreter->values[i] != NULL;
        if (!complete || tensor->role != XP_ROLE_CONSTANT) continue;
        for (int64_t e = 0; e < elements; e++) load_constant(interpreter, tensor, e);
    }
    for (int i = 0; i < XP_STORE_ALL_BUFFERS && complete && graph->store; i++) {
        interpreter->store[i] = calloc((size_t)graph->store->elements + 1, interpreter->real_bytes);
        complete = interpreter->store[i] != NULL;
    }
    if (!complete) {
        xp_interpreter_close(&interpreter);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for the values of %d tensors", graph->tensor_count);
    }
    *out = interpreter;
    return XP_OK;
}

void xp_interpreter_close(xp_interpreter **interpreter) {
    if (!interpreter || !*interpreter) return;
    for (int i = 0; i < (*interpreter)->count && (*interpreter)->values; i++) free((*interpreter)->values[i]);
    for (int i = 0; i < XP_STORE_ALL_BUFFERS; i++) free((*interpreter)->store[i]);
    free((*interpreter)->values);
    free(*interpreter);
    *interpreter = NULL;
}

/* ---- between dense arrays and the places of a view --------------------------------------------------------------- */

typedef struct transfer {
    void *dense, *places; /* either may be the source */
    xp_type type;
} transfer;

static void double_to_double(void *context, int64_t element, int64_t place) {
    transfer *t = context;
    ((double *)t->places)[place] = ((const double *)t->dense)[element];
}

static void double_from_double(void *context, int64_t element, int64_t place) {
    transfer *t = context;
    ((double *)t->dense)[element] = ((const double *)t->places)[place];
}

static void double_to_float(void *context, int64_t element, int64_t place) {
    transfer *t = context;
    ((float *)t->places)[place] = (float)((const double *)t->dense)[element];
}

static void double_from_float(void *context, int64_t element, int64_t place) {
    transfer *t = context;
    ((double *)t->dense)[element] = ((const float *)t->places)[place];
}

static void word_to_word(void *context, int64_t element, int64_t place) {
    transfer *t = context;
    ((uint32_t *)t->places)[place] = ((const uint32_t *)t->dense)[element];
}

static void word_from_word(void *context, int64_t element, int64_t place) {
    transfer *t = context;
    ((uint32_t *)t->dense)[element] = ((const uint32_t *)t->places)[place];
}

static void round_double(void *context, int64_t element, int64_t place) {
    transfer *t = context;
    (void)element;
    ((double *)t->places)[place] = xp_type_round(t->type, ((const double *)t->places)[place]);
}

static void round_float(void *context, int64_t element, int64_t place) {
    transfer *t = context;
    (void)element;
    ((float *)t->places)[place] = (float)xp_type_round(t->type, (double)((const float *)t->places)[place]);
}

/* What was just written, in a tensor whose type holds less than the evaluation's precision. */
static void round_places(const xp_interpreter *interpreter, const xp_tensor *tensor) {
    if (xp_type_bytes(tensor->type) == sizeof(float)) return;
    transfer t = {.places = storage_of(interpreter, xp_tensor_root(tensor)), .type = tensor->type};
    xp_tensor_walk(tensor, interpreter->precision == XP_DOUBLE ? round_double : round_float, &t);
}

void xp_interpreter_write(xp_interpreter *interpreter, const xp_tensor *tensor, const void *data) {
    transfer t = {.dense = (void *)data, .places = storage_of(interpreter, xp_tensor_root(tensor))};
    bool words = tensor->type == XP_I32, exact = interpreter->precision == XP_DOUBLE;
    xp_tensor_walk(tensor, words ? word_to_word : exact ? double_to_double : double_to_float, &t);
    round_places(interpreter, tensor);
}

void xp_interpreter_read(const xp_interpreter *interpreter, const xp_tensor *tensor, void *data) {
    transfer t = {.dense = data, .places = storage_of(interpreter, xp_tensor_root(tensor))};
    bool words = tensor->type == XP_I32, exact = interpreter->precision == XP_DOUBLE;
    xp_tensor_walk(tensor, words ? word_from_word : exact ? double_from_double : double_from_float, &t);
}

/* ---- evaluation -------------------------------------------------------------------------------------------------- */

/* A dense copy of the tensor in the evaluation's own precision. */
static void *gather(const xp_interpreter *interpreter, const xp_tensor *tensor) {
    void *dense = malloc((size_t)xp_tensor_elements(tensor) * element_bytes(interpreter, tensor));
    if (!dense) return NULL;
    transfer t = {.dense = dense, .places = storage_of(interpreter, xp_tensor_root(tensor))};
    bool doubles = xp_type_is_real(tensor->type) && interpreter->precision == XP_DOUBLE;
    xp_tensor_walk(tensor, doubles ? double_from_double : word_from_word, &t);
    return dense;
}

static void scatter(xp_interpreter *interpreter, const xp_tensor *tensor, void *dense) {
    transfer t = {.dense = dense, .places = storage_of(interpreter, xp_tensor_root(tensor))};
    bool doubles = xp_type_is_real(tensor->type) && interpreter->precision == XP_DOUBLE;
    xp_tensor_walk(tensor, doubles ? double_to_double : word_to_word, &t);
    round_places(interpreter, tensor);
}

static xp_status run_node(xp_interpreter *interpreter, const xp_node *node) {
    const xp_reference_entry *entry = xp_reference_find(node->operation->name);
    if (!entry && !node->operation->emitters) return XP_OK; /* a view: nothing is computed */
    xp_reference_function function = !entry ? NULL : interpreter->precision == XP_DOUBLE ? entry->exact : entry->single;
    if (!function) return xp_fail(XP_UNSUPPORTED, "operation %s has no reference", node->operation->name);
    xp_reference_call call = {.node = node};
    xp_status status = XP_OK;
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] && !(call.inputs[i] = gather(interpreter, node->inputs[i]))) status = XP_OUT_OF_MEMORY;
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] && !(call.outputs[i] = gather(interpreter, node->outputs[i]))) status = XP_OUT_OF_MEMORY;
    if (status == XP_OK) {
        function(&call);
        for (int i = 0; i < node->output_count; i++)
            if (node->outputs[i]) scatter(interpreter, node->outputs[i], call.outputs[i]);
    } else {
        xp_fail(status, "no memory to evaluate operation %s", node->operation->name);
    }
    for (int i = 0; i < node->input_count; i++) free((void *)call.inputs[i]);
    for (int i = 0; i < node->output_count; i++) free(call.outputs[i]);
    return status;
}

xp_status xp_interpreter_run(xp_interpreter *interpreter, const xp_node *end) {
    for (int i = 0; i < interpreter->graph->node_count && interpreter->graph->nodes[i] != end; i++)
        XP_TRY(run_node(interpreter, interpreter->graph->nodes[i]));
    return XP_OK;
}
