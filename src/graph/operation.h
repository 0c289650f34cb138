/* What an operation is: one row of functions. Everything else in the project treats operations through it; there is no
 * other switch over operations. Needs no device: emit() is given a plan that it hands launches to (graph/launch.h). */
#ifndef XP_GRAPH_OPERATION_H
#define XP_GRAPH_OPERATION_H

#include "graph/graph.h"

/* What can be done to a result, element by element, with a partner of the same size. */
typedef enum xp_combine {
    XP_COMBINE_NONE,
    XP_COMBINE_ADD,        /* y + partner */
    XP_COMBINE_RELU_SLOPE, /* y · relu'(partner) */
    XP_COMBINE_GELU_SLOPE  /* y · gelu'(partner) */
} xp_combine;

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

    /* For fusion (graph/fuse.c). combination: the node's only output is inputs[0] combined so with inputs[1], and
     * whatever makes inputs[0] may do it. take_in: has the node combine outputs[0] with the partner, dense and of as
     * many elements, while it writes it; false where it cannot. NULL: neither. */
    xp_combine (*combination)(const xp_node *node);
    bool (*take_in)(xp_node *node, xp_combine combine, xp_tensor *partner);
} xp_operation;

/* The operation's attributes struct of a node. */
#define XP_ATTRIBUTES(type, node) ((const type *)(const void *)(node)->attributes)

extern const xp_operation xp_operation_reshape; /* the view of a whole tensor under another shape */

#endif
