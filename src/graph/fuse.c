/* Fusion: an operation that only combines the result of another with a partner, element by element, or casts it, is
 * fused into the operation that computes the result, if the row of that operation permits it; one that only ends rows
 * at lengths is fused into its reader. Decides when this is the same computation, but that a result is rounded once
 * instead of twice; must not know which operations there are. */
#include "graph/operation.h"

#include <string.h>

/* The tensor without a base that this one shows whole and in its order; NULL where it shows a part or leaves gaps. */
static xp_tensor *whole_of(xp_tensor *tensor) {
    if (!tensor->base) return tensor;
    const bool whole = tensor->offset == 0 && xp_tensor_is_dense(tensor) &&
                       xp_tensor_elements(tensor) == xp_tensor_elements(tensor->base);
    return whole ? tensor->base : NULL;
}

static bool is_read_beside(const xp_graph *graph, const xp_tensor *whole, const xp_node *reader) {
    for (int i = 0; i < graph->node_count; i++) {
        const xp_node *node = graph->nodes[i];
        if (node == reader || !node->operation->emitters) continue; /* a view is no reader */
        for (int j = 0; j < node->input_count; j++)
            if (node->inputs[j] && xp_tensor_root(node->inputs[j]) == whole) return true;
    }
    return false;
}

static void change_type(xp_graph *graph, xp_tensor *whole, xp_type type) {
    whole->type = type;
    for (int i = 0; i < graph->tensor_count; i++)
        if (graph->tensors[i]->base == whole) graph->tensors[i]->type = type;
}

/* From now on the node's output shows what `whole` holds, and so do the views of that output. */
static void become_view(xp_graph *graph, xp_node *node, xp_tensor *whole) {
    xp_tensor *output = node->outputs[0];
    for (int i = 0; i < graph->tensor_count; i++)
        if (graph->tensors[i]->base == output) graph->tensors[i]->base = whole;
    output->base = whole;
    if (whole->type != output->type) change_type(graph, whole, output->type);
    node->operation = &xp_operation_reshape;
    memset(node->inputs, 0, sizeof node->inputs);
    memset(node->attributes, 0, sizeof node->attributes);
    node->inputs[0] = whole;
    node->input_count = 1;
}

static void fuse_node(xp_graph *graph, xp_node *node, bool *held) {
    const xp_combine combine = node->operation->combination ? node->operation->combination(node) : XP_COMBINE_NONE;
    if (combine == XP_COMBINE_NONE || node->outputs[0]->base) return;
    const bool drops = combine == XP_COMBINE_DROPOUT, casts = combine == XP_COMBINE_CAST;
    xp_tensor *whole = whole_of(node->inputs[0]), *partner = casts ? NULL : whole_of(node->inputs[1]);
    if (!whole || (!partner && !casts) || whole == partner) return;
    if (!drops && !casts && (partner->type != whole->type || xp_tensor_elements(whole) != xp_tensor_elements(partner)))
        return;
    xp_node *maker = whole->producer;
    if (!maker || !(maker->backward || drops) || !maker->operation->take_in || maker->outputs[0] != whole) return;
    if (whole->role != XP_ROLE_ACTIVATION || whole->keep || whole->external || held[whole->id]) return;
    if (partner && partner->producer && partner->producer->id >= maker->id) return; /* it is made too late */
    if (is_read_beside(graph, whole, node) || !maker->operation->take_in(maker, combine, partner, node)) return;
    graph->fused++;
    graph->fused_bytes += 2.0 * (double)xp_tensor_bytes(whole); /* written, and read again */
    become_view(graph, node, whole);
    held[whole->id] = held[node->outputs[0]->id];
}

/* The only node that reads the tensor, and which of its inputs shows it, whole and in its order; or NULL. */
static xp_node *only_reader(const xp_graph *graph, xp_tensor *whole, int *input) {
    for (int i = 0; i < graph->node_count; i++) {
        xp_node *node = graph->nodes[i];
        for (int j = 0; node->operation->emitters && j < node->input_count; j++) {
            if (!node->inputs[j] || xp_tensor_root(node->inputs[j]) != whole) continue;
            *input = j;
            return whole_of(node->inputs[j]) && !is_read_beside(graph, whole, node) ? node : NULL;
        }
    }
    return NULL;
}

static void fuse_lengths(xp_graph *graph, xp_node *node, const bool *held) {
    if (!node->operation->ends_rows || node->outputs[0]->base) return;
    xp_tensor *output = node->outputs[0], *whole = whole_of(node->inputs[0]);
    if (!whole || output->role != XP_ROLE_ACTIVATION || output->keep || output->external || held[output->id]) return;
    int input;
    xp_node *reader = only_reader(graph, output, &input);
    if (!reader || !reader->operation->take_lengths || !reader->operation->take_lengths(reader, input, node->inputs[1]))
        return;
    graph->fused++;
    graph->fused_bytes += 2.0 * (double)xp_tensor_bytes(output); /* written, and read again */
    become_view(graph, node, whole);
}

void xp_graph_fuse(xp_graph *graph, bool *held) {
    for (int i = 0; i < graph->node_count; i++) {
        fuse_node(graph, graph->nodes[i], held);
        fuse_lengths(graph, graph->nodes[i], held);
    }
}
