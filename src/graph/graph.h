/* Tensors, nodes and graphs: a description of a computation on shaped tensors, without storage. Owns its tensors and
 * nodes; knows of operations only through their table entries (ops/operation.h), and nothing of devices.
 *
 * A graph is built forward by the builders in ops/ops.h, extended backward by xp_graph_differentiate(), and then either
 * planned for a device (graph/plan.h) or evaluated on the host by the reference (check/interpreter.h). */
#ifndef XP_GRAPH_GRAPH_H
#define XP_GRAPH_GRAPH_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { XP_MAX_RANK = 5, XP_MAX_INPUTS = 16, XP_MAX_OUTPUTS = 8, XP_ATTRIBUTE_BYTES = 512, XP_NAME_BYTES = 64 };

typedef enum xp_type { XP_F32, XP_I32 } xp_type; /* both four bytes */

typedef enum xp_role {
    XP_ROLE_ACTIVATION, /* lives in the arena between its first and last use */
    XP_ROLE_INPUT,      /* uploaded by the host; keeps its place for the whole plan */
    XP_ROLE_CONSTANT,   /* known when the graph is built; in a buffer of its own */
    XP_ROLE_PARAMETER,  /* in the store, trained or state (running statistics) */
    XP_ROLE_GRADIENT,   /* the gradient of a parameter, in the store */
    XP_ROLE_STORE       /* one of the store's whole flat buffers (graph/store.h) */
} xp_role;

typedef struct xp_tensor xp_tensor;
typedef struct xp_node xp_node;
typedef struct xp_graph xp_graph;
struct xp_operation;
struct xp_store;

/* A shaped array of numbers. A tensor with a base is a view: it has no storage of its own and shows elements
 * offset + Σ index_i · stride_i of the base (which is never a view itself). A tensor without a base is dense and
 * row-major. Strides and offsets count elements. */
struct xp_tensor {
    int id;
    char name[XP_NAME_BYTES];
    xp_type type;
    xp_role role;
    int rank;
    int64_t shape[XP_MAX_RANK];
    int64_t stride[XP_MAX_RANK];
    xp_tensor *base;
    int64_t offset;
    int store_index;     /* parameter or gradient: which entry of the store; store buffer: which buffer; else -1 */
    bool needs_gradient; /* a parameter that is trained, or computed from one */
    bool keep;           /* read by the host after a run: never shares its place */
    const void *content; /* of a constant, dense; owned by the graph */
    xp_node *producer;   /* NULL for inputs, parameters, store buffers */
    xp_graph *graph;
};

/* One use of an operation. */
struct xp_node {
    int id;
    const struct xp_operation *operation;
    char label[XP_NAME_BYTES]; /* the layer that it belongs to: "encoder.1.attention" */
    int input_count, output_count;
    xp_tensor *inputs[XP_MAX_INPUTS];                         /* optional inputs may be NULL */
    xp_tensor *outputs[XP_MAX_OUTPUTS];                       /* optional outputs may be NULL */
    _Alignas(8) unsigned char attributes[XP_ATTRIBUTE_BYTES]; /* the operation's own plain struct, zero-padded */
    bool backward;                                            /* added by differentiation */
};

struct xp_graph {
    xp_tensor **tensors;
    int tensor_count, tensor_room;
    xp_node **nodes; /* in the order of execution */
    int node_count, node_room;
    char scope[XP_NAME_BYTES];     /* label of the nodes that are added next */
    bool training;                 /* dropout and batch statistics on */
    bool backward;                 /* nodes added now belong to the backward pass */
    uint32_t next_stream;          /* dropout streams in order of building: equal for equal models */
    struct xp_store *store;        /* borrowed; NULL for graphs without parameters */
    xp_tensor *random_state;       /* input I32 [4]: seed low, high, step low, high; made at first use */
    xp_tensor *optimiser_state;    /* input F32 [8]: see ops/optimiser.h; made at first use */
    struct xp_graph_block *memory; /* what xp_graph_memory gave */
};

xp_status xp_graph_create(xp_graph **out, struct xp_store *store, bool training);
void xp_graph_close(xp_graph **graph);

/* Printf-like label for the nodes added from now on. */
void xp_graph_scope(xp_graph *graph, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All constructors return NULL when memory ends or, for builders in ops/ops.h, when shapes do not fit; the reason is in
 * graph->status-free form: xp_last_error(). Passing NULL for a required tensor returns NULL, so that calls can be
 * chained and the end result tested once. */
xp_tensor *xp_graph_input(xp_graph *graph, const char *name, xp_type type, int rank, const int64_t *shape);
/* `content` is copied: dense, four bytes an element. */
xp_tensor *xp_graph_constant(xp_graph *graph, const char *name, xp_type type, int rank, const int64_t *shape,
                             const void *content);
xp_tensor *xp_graph_parameter(xp_graph *graph, const char *name); /* of the store, by name; once per graph and name */
xp_tensor *xp_graph_store_buffer(xp_graph *graph, int buffer);    /* one of the store's flat buffers, F32 [P] */
xp_tensor *xp_graph_random_state(xp_graph *graph);
xp_tensor *xp_graph_optimiser_state(xp_graph *graph);

/* A dense activation tensor without producer: an operation's builder makes its outputs with it. */
xp_tensor *xp_graph_tensor(xp_graph *graph, const char *name, xp_type type, int rank, const int64_t *shape);

/* The same elements under another shape; only of dense tensors. Differentiable. */
xp_tensor *xp_graph_reshape(xp_graph *graph, xp_tensor *tensor, int rank, const int64_t *shape);
/* part[i] of `parts` equal slices along `axis` as views without that axis: [B,N,3,H,D] along 2 gives three [B,N,H,D].
 * Differentiable without copies: the gradients are written into one tensor by their producers. */
xp_status xp_graph_split(xp_graph *graph, xp_tensor *tensor, int axis, xp_tensor **part);
/* The same with `parts` slices of sizes[i] along `axis`, which they keep: [B,N,H+2G,D] along 2 gives [B,N,H,D] and two
 * [B,N,G,D]. The sizes add up to the axis. */
xp_status xp_graph_slice(xp_graph *graph, xp_tensor *tensor, int axis, int parts, const int64_t *sizes,
                         xp_tensor **part);

/* Appends a node; `attributes` is copied. Sets producer and needs_gradient of the outputs. NULL on no memory. */
xp_node *xp_graph_node(xp_graph *graph, const struct xp_operation *operation, int input_count, xp_tensor *const *inputs,
                       int output_count, xp_tensor *const *outputs, const void *attributes, size_t attribute_bytes);

/* Adds the backward nodes that carry the gradients of `outputs` (seeds[i]: a tensor of the same shape, given) to every
 * tensor that needs one. Gradients of the store's parameters get role XP_ROLE_GRADIENT. leaf_gradients[i] is that of
 * leaves[i] (inputs marked needs_gradient), possibly a view with gaps, or NULL where nothing reaches it. */
xp_status xp_graph_differentiate(xp_graph *graph, int output_count, xp_tensor *const *outputs, xp_tensor *const *seeds,
                                 int leaf_count, xp_tensor *const *leaves, xp_tensor **leaf_gradients);

/* Zeroed memory that lives as long as the graph: for what attributes point to. NULL when memory ends. */
void *xp_graph_memory(xp_graph *graph, size_t bytes);

int64_t xp_tensor_elements(const xp_tensor *tensor);
bool xp_tensor_is_dense(const xp_tensor *tensor); /* row-major without gaps (a view may be, too) */
/* "[16,29,512]" */
const char *xp_tensor_shape_text(const xp_tensor *tensor, char *text, size_t size);

#endif
