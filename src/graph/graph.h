/* Tensors, nodes and graphs: a description of a computation on shaped tensors, without storage. Owns its tensors and
 * nodes; knows of operations only through their rows (graph/operation.h), and nothing of devices.
 *
 * A graph is built forward by the builders in ops/ops.h, extended backward by xp_graph_differentiate(), and then either
 * planned for a device (graph/plan.h) or evaluated on the host by the reference (check/interpreter.h). */
#ifndef XP_GRAPH_GRAPH_H
#define XP_GRAPH_GRAPH_H

#include "core/status.h"

#include <expanse/graph.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { XP_MAX_INPUTS = 16, XP_MAX_OUTPUTS = 8, XP_ATTRIBUTE_BYTES = 512, XP_NAME_BYTES = 64 };

typedef enum xp_role {
    XP_ROLE_ACTIVATION, /* lives in the arena between its first and last use */
    XP_ROLE_INPUT,      /* uploaded by the host; keeps its place for the whole plan */
    XP_ROLE_CONSTANT,   /* known when the graph is built; in a separate buffer */
    XP_ROLE_PARAMETER,  /* in the store, trained or state (running statistics) */
    XP_ROLE_GRADIENT,   /* the gradient of a parameter, in the store */
    XP_ROLE_COPY,       /* a trained parameter in 16 bits, which the store keeps up to date */
    XP_ROLE_STORE       /* one of the store's whole flat buffers (graph/store.h) */
} xp_role;

typedef struct xp_node xp_node;
struct xp_operation;
struct xp_store;

/* A shaped array of numbers. A tensor with a base is a view: it has no storage and refers to elements
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
    int store_index; /* parameter, gradient or copy: which entry of the store; store buffer: which buffer; else -1 */
    bool needs_gradient; /* a parameter that is trained, or computed from one */
    bool keep;           /* read by the host after a run: never shares its place */
    bool external;       /* its storage is a buffer of the caller's, bound to the plan (graph/plan.h) */
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
    bool backward;                                            /* added by differentiation, or for it */
    bool recomputed; /* in a scope of xp_graph_recompute; a backward one is the copy of one that is */
};

struct xp_graph {
    xp_tensor **tensors;
    int tensor_count;
    size_t tensor_room;
    xp_node **nodes; /* in the order of execution */
    int node_count;
    size_t node_room;
    char scope[XP_NAME_BYTES];     /* label of the nodes that are added next */
    bool training;                 /* dropout and batch statistics on */
    bool backward;                 /* nodes added now belong to the backward pass */
    uint32_t next_stream;          /* dropout streams in order of building: equal for equal models */
    struct xp_store *store;        /* borrowed; NULL for graphs without parameters */
    xp_tensor *random_state;       /* input I32 [4]: seed low, high, step low, high; made at first use */
    xp_tensor *optimiser_state;    /* input F32 [8]: see ops/optimiser.h; made at first use */
    int fused;                     /* nodes that others took in … */
    double fused_bytes;            /* … and the traffic that this saves */
    struct xp_graph_block *memory; /* what xp_graph_memory gave */
};

/* What builds a graph from outside is declared in expanse/graph.h. */

xp_tensor *xp_graph_store_buffer(xp_graph *graph, int buffer); /* one of the store's flat buffers, F32 [P] */
xp_tensor *xp_graph_random_state(xp_graph *graph);
xp_tensor *xp_graph_optimiser_state(xp_graph *graph);

/* A dense activation tensor without producer: an operation's builder makes its outputs with it. */
xp_tensor *xp_graph_tensor(xp_graph *graph, const char *name, xp_type type, int rank, const int64_t *shape);

/* A view of a tensor without a base: element index_i … is offset + Σ index_i · stride_i of it. It has no gradient. */
xp_tensor *xp_graph_view(xp_graph *graph, xp_tensor *whole, int rank, const int64_t *shape, int64_t offset,
                         const int64_t *stride);
/* Has what makes `tensor` write it into that part of `whole` (which has no base): at once where the producer can write
 * such a view and nothing has read the tensor yet, else by a copy. Returns the view. */
xp_tensor *xp_graph_write_into(xp_graph *graph, xp_tensor *tensor, xp_tensor *whole, int64_t offset,
                               const int64_t *stride);

/* Copies, as the operation "copy". `to_or_null`: a view to fill; else a new dense tensor. */
xp_tensor *xp_copy(xp_graph *graph, xp_tensor *from, xp_tensor *to_or_null);
/* The tensor itself when a kernel can read it from element 0 of its storage on, else a dense copy. */
xp_tensor *xp_graph_dense(xp_graph *graph, xp_tensor *tensor);

/* Appends a node; `attributes` is copied. Sets producer and needs_gradient of the outputs. NULL on no memory. */
xp_node *xp_graph_node(xp_graph *graph, const struct xp_operation *operation, int input_count, xp_tensor *const *inputs,
                       int output_count, xp_tensor *const *outputs, const void *attributes, size_t attribute_bytes);

/* Fuses operations that only change a result element by element into the products and other operations that make it,
 * in the backward pass, and dropout everywhere; this saves traffic, and the fused nodes become views. held [tensors of
 * the graph]: by id, tensors whose content is used outside the graph; kept up to date. */
void xp_graph_fuse(xp_graph *graph, bool *held);

/* Zeroed memory that lives as long as the graph: for what attributes point to. NULL if memory runs out. */
void *xp_graph_memory(xp_graph *graph, size_t bytes);

bool xp_type_is_real(xp_type type);                                       /* fp32, bf16, fp16 */
double xp_type_value(xp_type type, const void *content, int64_t element); /* of an array of a real type */
double xp_type_round(xp_type type, double value);                         /* what a tensor of a real type holds of it */
size_t xp_tensor_bytes(const xp_tensor *tensor);                          /* of its elements, without gaps */
/* The tensor that has the storage: the base, or the tensor itself. */
xp_tensor *xp_tensor_root(const xp_tensor *tensor);
bool xp_tensor_same_shape(const xp_tensor *a, const xp_tensor *b);
bool xp_tensor_is_dense(const xp_tensor *tensor); /* row-major without gaps (a view may be, too) */
/* "[16,29,512]" */
const char *xp_tensor_shape_text(const xp_tensor *tensor, char *text, size_t size);

#endif
