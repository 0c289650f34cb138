/* What an operation is: one row of functions. Everything else in the project treats operations through it; there is no
 * other switch over operations. Needs no device: an emitter is given a plan that it hands launches to
 * (graph/launch.h). */
#ifndef XP_GRAPH_OPERATION_H
#define XP_GRAPH_OPERATION_H

#include "device/family.h"
#include "graph/graph.h"

/* What can be done to a result, element by element, with a partner of the same size. */
typedef enum xp_combine {
    XP_COMBINE_NONE,
    XP_COMBINE_ADD,        /* y + partner */
    XP_COMBINE_RELU_SLOPE, /* y · relu'(partner) */
    XP_COMBINE_GELU_SLOPE, /* y · gelu'(partner) */
    XP_COMBINE_DROPOUT,    /* y · keep / (1-p); here the partner is the random state */
    XP_COMBINE_CAST        /* y in another type; no partner */
} xp_combine;

/* One way to put a node on a device. */
typedef struct xp_emitter {
    xp_family family;
    /* NULL: xp_supports_single. It may consult the device's tuning table: so a table chooses between the emitters of a
     * family, which then make the same tuning requests. */
    bool (*supports)(const xp_device *device, const xp_node *node);
    /* Adds the node's launches to the plan. The family is the emitter's: one function may serve several. */
    xp_status (*emit)(xp_plan *plan, const xp_node *node, xp_family family);
} xp_emitter;
#define XP_EMITTERS(...) ((const xp_emitter[]){__VA_ARGS__, {0}}) /* ends in one without emit */

typedef struct xp_operation {
    const char *name; /* "layer_norm"; also the name of the reference function and of the check's cases */

    /* Gradient rule. d_outputs[k] is NULL where no gradient arrives; the rule adds backward nodes and sets d_inputs[i]
     * for every non-NULL inputs[i] with needs_gradient (others may stay NULL). NULL rule: not differentiable. */
    xp_status (*gradient)(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs);

    /* What can put the node on a device, the best first. NULL: nothing is to be done there (views). */
    const xp_emitter *emitters;

    /* Bit k set: output k may be any view with unit last stride (else outputs are dense). Inputs are checked by
     * builders. */
    unsigned strided_outputs;

    /* Bit k set: input or output k may be stored in bf16 or fp16, and then all such tensors of a node are. What is
     * computed is fp32 whatever they are stored in. */
    unsigned stored_inputs, stored_outputs;
    /* Bit k set, of these: input or output k is part of the result, which may be of another real type than the rest. */
    unsigned result_inputs, result_outputs;

    /* Bit k set: input k is a factor of products, which matrix units round to tf32 if the device is asked for it. */
    unsigned rounded_inputs;
    /* Matrix units multiply its fp32 tensors in several products, with errors like those of fp32, if the device is
     * asked for it. */
    bool multiplies_singles;

    /* Takes long for the few bytes that it writes: recomputation (graph/recompute.c) keeps them. */
    bool costly;

    /* For fusion (graph/fuse.c). combination: the node's only output is inputs[0] combined so with inputs[1], and
     * whatever makes inputs[0] may do it. take_in: has the node combine outputs[0] as `reader` does, while it writes
     * it, with the partner, dense and (but for dropout) of as many elements; false where it cannot. A cast has no
     * partner, and changes the type of outputs[0] once it is taken in. NULL: neither. */
    xp_combine (*combination)(const xp_node *node);
    bool (*take_in)(xp_node *node, xp_combine combine, xp_tensor *partner, const xp_node *reader);

    /* ends_rows: the node's only output is inputs[0] [B,N,C] with zeros in the rows from the lengths inputs[1] [B] on,
     * whatever is there, and its only reader may see to that. take_lengths: has the node do so when it reads an input
     * of B·N rows; false where it cannot. */
    bool ends_rows;
    bool (*take_lengths)(xp_node *node, int input, xp_tensor *lengths);
} xp_operation;

/* For `supports`: nodes without a tensor in 16 bits; nodes whose stored tensors are of one type (and so is the result)
 * and the others fp32 or int32. Of every shape, on every device. */
bool xp_supports_single(const xp_device *device, const xp_node *node);
bool xp_supports_storage(const xp_device *device, const xp_node *node);
/* The type of a node's stored tensors; XP_F32 where it has none. That of its result; of the stored ones where it has
 * none. */
xp_type xp_node_storage(const xp_node *node);
xp_type xp_node_result(const xp_node *node);
/* The first tensor in 16 bits; NULL: none. */
const xp_tensor *xp_node_stored_tensor(const xp_node *node);

/* The operation's attributes struct of a node. */
#define XP_ATTRIBUTES(type, node) ((const type *)(const void *)(node)->attributes)

extern const xp_operation xp_operation_reshape; /* the view of a whole tensor under another shape */

#endif
