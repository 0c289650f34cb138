/* What an operation is: one entry of the table that ops/list.h lists. Everything else in the project treats operations
 * through it; there is no other switch over operations. */
#ifndef XP_OPS_OPERATION_H
#define XP_OPS_OPERATION_H

#include "graph/graph.h"
#include "graph/plan.h"

typedef struct xp_operation {
    const char *name; /* "layer_norm"; also the name of the reference function and of the check's cases */

    /* Gradient rule. d_outputs[k] is NULL where no gradient arrives; the rule adds backward nodes and sets d_inputs[i]
     * for every non-NULL inputs[i] with needs_gradient (others may stay NULL). NULL rule: not differentiable. */
    xp_status (*gradient)(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs);

    /* Adds the launches of the node to the plan. NULL: nothing to do on the device (views). */
    xp_status (*emit)(xp_plan *plan, const xp_node *node);

    /* Bit k set: output k may be any view with unit last stride (else outputs are dense). Inputs are checked by
     * builders. */
    unsigned strided_outputs;

    /* Takes long for the few bytes that it writes: recomputation (graph/recompute.c) keeps them. */
    bool costly;
} xp_operation;

/* The operation's attributes struct of a node. */
#define XP_ATTRIBUTES(type, node) ((const type *)(const void *)(node)->attributes)

/* The table, in alphabetical order. */
extern const xp_operation *const xp_operations[];
extern const int xp_operation_count;

#endif
