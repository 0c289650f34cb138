/* Recomputation: a differentiated graph discards activations of the forward pass and computes them again where the
 * backward pass reads them. Decides what is kept and what runs again; knows no layers or devices. */
#include "graph/graph.h"

#include "graph/operation.h"

#include <stdlib.h>
#include <string.h>

typedef struct recomputation {
    xp_graph *graph;
    int node_count, forward_count; /* of the graph as it was; the forward pass comes first */
    bool *again;                   /* by node of the forward pass: a copy of it may run in the backward pass */
    bool *updated;                 /* by id: state that the forward pass writes */
    bool *stays;                   /* by id of a tensor without a base: the backward pass reads it as it is */
    xp_tensor **copies;            /* by tensor id: its recomputed copy so far */
    xp_node **order;               /* all nodes with the copies between them; has room for a copy of every one */
    int order_count;
} recomputation;

static bool writes(const xp_node *node, const xp_tensor *root) {
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] && xp_tensor_root(node->outputs[i]) == root) return true;
    return false;
}

static bool in_scope(const xp_node *node, const char *scope) {
    const size_t length = strlen(scope);
    return strncmp(node->label, scope, length) == 0 && (node->label[length] == '\0' || node->label[length] == '.');
}

/* ---- what stays -------------------------------------------------------------------------------------------------- */

/* Whether the backward pass recomputes everything that the node wrote. */
static bool gives_up(const recomputation *r, const xp_node *node) {
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] && r->stays[xp_tensor_root(node->outputs[i])->id]) return false;
    return true;
}

static void let_stay(recomputation *r, xp_tensor *const *tensors, int count) {
    for (int i = 0; i < count; i++)
        if (tensors[i]) r->stays[xp_tensor_root(tensors[i])->id] = true;
}

/* State that the forward pass updates would be another one the second time. */
static bool touches_state(const recomputation *r, const xp_node *node) {
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] && r->updated[xp_tensor_root(node->inputs[i])->id]) return true;
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] && r->updated[xp_tensor_root(node->outputs[i])->id]) return true;
    return false;
}

/* What is read outside the scope stays; so does all that is written beside something that stays, as no node runs again
 * for a part of what it writes. */
static void decide(recomputation *r, const char *scope) {
    for (int t = 0; t < r->graph->tensor_count; t++) {
        const xp_tensor *tensor = r->graph->tensors[t];
        r->stays[t] = tensor->role != XP_ROLE_ACTIVATION || tensor->keep || tensor->external;
    }
    for (int n = 0; n < r->forward_count; n++) {
        const xp_node *node = r->graph->nodes[n];
        for (int i = 0; i < node->output_count; i++) {
            const xp_tensor *root = node->outputs[i] ? xp_tensor_root(node->outputs[i]) : NULL;
            if (root && root->role != XP_ROLE_ACTIVATION && root->role != XP_ROLE_COPY) r->updated[root->id] = true;
        }
    }
    for (int n = 0; n < r->node_count; n++) {
        xp_node *node = r->graph->nodes[n];
        if (!node->operation->emitters) continue; /* a view */
        const bool forward = n < r->forward_count;
        const bool inside = forward && in_scope(node, scope);
        if (inside && !node->operation->costly && !touches_state(r, node)) {
            r->again[n] = true;
            continue;
        }
        if (forward && !inside) let_stay(r, node->inputs, node->input_count);
        let_stay(r, node->outputs, node->output_count);
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (int n = 0; n < r->forward_count; n++) {
            const xp_node *node = r->graph->nodes[n];
            if (!r->again[n] || gives_up(r, node)) continue;
            let_stay(r, node->outputs, node->output_count);
            r->again[n] = false;
            changed = true;
        }
    }
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static xp_tensor *copy_tensor(recomputation *r, const xp_tensor *tensor) {
    xp_tensor **copy = &r->copies[tensor->id];
    if (*copy) return *copy;
    if (!tensor->base)
        return *copy = xp_graph_tensor(r->graph, tensor->name, tensor->type, tensor->rank, tensor->shape);
    xp_tensor *base = copy_tensor(r, tensor->base);
    if (base) *copy = xp_graph_view(r->graph, base, tensor->rank, tensor->shape, tensor->offset, tensor->stride);
    return *copy;
}

static xp_status read_copies(recomputation *r, xp_tensor **inputs, int count);

static xp_status run_again(recomputation *r, const xp_node *node) {
    xp_tensor *inputs[XP_MAX_INPUTS], *outputs[XP_MAX_OUTPUTS] = {0};
    memcpy(inputs, node->inputs, sizeof inputs);
    XP_TRY(read_copies(r, inputs, node->input_count));
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] && !(outputs[i] = copy_tensor(r, node->outputs[i]))) return XP_OUT_OF_MEMORY;
    memcpy(r->graph->scope, node->label, sizeof r->graph->scope);
    xp_node *copy = xp_graph_node(r->graph, node->operation, node->input_count, inputs, node->output_count, outputs,
                                  node->attributes, sizeof node->attributes);
    if (!copy) return XP_OUT_OF_MEMORY;
    copy->recomputed = true;
    r->order[r->order_count++] = copy;
    for (int i = 0; i < copy->output_count; i++)
        if (outputs[i] && outputs[i]->base && !outputs[i]->base->producer) outputs[i]->base->producer = copy;
    return XP_OK;
}

/* Has copies made of what does not stay, in the order of the forward pass and no earlier than needed, and reads them.
 */
static xp_status read_copies(recomputation *r, xp_tensor **inputs, int count) {
    for (int i = 0; i < count; i++) {
        const xp_tensor *root = inputs[i] ? xp_tensor_root(inputs[i]) : NULL;
        if (!root || r->stays[root->id]) continue;
        for (int n = 0; n < r->forward_count; n++) {
            if (!r->again[n] || !writes(r->graph->nodes[n], root)) continue;
            r->again[n] = false;
            XP_TRY(run_again(r, r->graph->nodes[n]));
        }
        if (!(inputs[i] = copy_tensor(r, inputs[i]))) return XP_OUT_OF_MEMORY;
    }
    return XP_OK;
}

static xp_status rebuild(recomputation *r) {
    xp_graph *graph = r->graph;
    char scope[XP_NAME_BYTES];
    memcpy(scope, graph->scope, sizeof scope);
    memcpy(r->order, graph->nodes, (size_t)r->forward_count * sizeof *r->order);
    r->order_count = r->forward_count;
    graph->backward = true;
    xp_status status = XP_OK;
    for (int n = r->forward_count; n < r->node_count && status == XP_OK; n++) {
        xp_node *node = graph->nodes[n];
        status = read_copies(r, node->inputs, node->input_count);
        r->order[r->order_count++] = node;
    }
    graph->backward = false;
    memcpy(graph->scope, scope, sizeof scope);
    if (status != XP_OK) return status;
    memcpy(graph->nodes, r->order, (size_t)graph->node_count * sizeof *r->order);
    for (int n = 0; n < graph->node_count; n++) graph->nodes[n]->id = n;
    return XP_OK;
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

static xp_status mark(const recomputation *r, const char *scope) {
    int count = 0;
    if (r->forward_count == r->node_count)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "recompute %s: the graph has no backward pass yet: call xp_graph_differentiate first", scope);
    for (int n = 0; n < r->forward_count; n++) {
        if (!in_scope(r->graph->nodes[n], scope)) continue;
        if (r->graph->nodes[n]->recomputed)
            return xp_fail(XP_INVALID_ARGUMENT, "recompute %s: the activations of %s are recomputed already", scope,
                           r->graph->nodes[n]->label);
        count++;
    }
    if (count == 0)
        return xp_fail(XP_INVALID_ARGUMENT, "recompute %s: no operation of the forward pass was added in that scope",
                       scope);
    for (int n = 0; n < r->forward_count; n++)
        if (in_scope(r->graph->nodes[n], scope)) r->graph->nodes[n]->recomputed = true;
    return XP_OK;
}

xp_status xp_graph_recompute(xp_graph *graph, const char *scope) {
    recomputation r = {.graph = graph, .node_count = graph->node_count};
    while (r.forward_count < r.node_count && !graph->nodes[r.forward_count]->backward) r.forward_count++;
    XP_TRY(mark(&r, scope));
    r.updated = calloc((size_t)graph->tensor_count + 1, sizeof *r.updated);
    r.again = calloc((size_t)r.node_count, sizeof *r.again);
    r.stays = calloc((size_t)graph->tensor_count + 1, sizeof *r.stays);
    r.copies = calloc((size_t)graph->tensor_count + 1, sizeof *r.copies);
    r.order = calloc((size_t)(r.node_count + r.forward_count), sizeof *r.order);
    xp_status status = XP_OK;
    if (!r.updated || !r.again || !r.stays || !r.copies || !r.order)
        status = xp_fail(XP_OUT_OF_MEMORY, "no memory to recompute %s among %d nodes", scope, r.node_count);
    if (status == XP_OK) {
        decide(&r, scope);
        status = rebuild(&r);
    }
    free(r.updated);
    free(r.again);
    free(r.stays);
    free(r.copies);
    free(r.order);
    return status;
}
