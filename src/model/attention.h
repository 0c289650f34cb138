/* The core of an attention layer, from a specification and queries, keys and values to o: the sequence of operations
 * that the specification requires, and the parameters and files that it needs. Knows a graph and a specification; no
 * models, configurations or training. */
#ifndef XP_MODEL_ATTENTION_H
#define XP_MODEL_ATTENTION_H

#include "graph/graph.h"
#include "graph/store.h"
#include "model/specification.h"

typedef struct xp_attention_layer_inputs {
    xp_tensor *q, *k, *v;                   /* [B,N,H,D], [B,M,G,D], [B,M,G,E]; H is a multiple of G */
    xp_tensor *key_lengths, *query_lengths; /* I32 [B] or NULL; when packed: starts I32 [S+1] */
    /* I32 [1,1], the last of the rows of k that key_lengths counts: q is that row, or with a convolution as many rows
     * as k, of which that one asks. NULL: all rows of q ask. */
    xp_tensor *step;
    int grid_height, grid_width, class_token; /* the patch grid; 0 for sequences */
    float dropout;                            /* of the weights; only in graphs that train */
    bool packed;                              /* as in the operation "attention": all samples in one */
    int64_t longest_queries, longest_keys;    /* when packed */
    /* The score on the host, for the reference; NULL: it has none. As in xp_score. */
    double (*score_host)(double score, const int64_t place[4], const double *const *tensors, double *slope);
} xp_attention_layer_inputs;

/* Returns o [B,N,H,E], dense, or NULL with the reason in xp_last_error(). Learned parts are declared in graph->store as
 * "<scope>.beta" [G], "<scope>.bias" [1,H,N,M'], "<scope>.query_convolution" and ".key_convolution" [H·D,K] or
 * [H·D,K,K]; a graph without a store rejects them. Files are read now. *lse (may be NULL): the output of "attention";
 * NULL for the linear kernel, which has none. */
xp_tensor *xp_attention_layer(xp_graph *graph, const xp_specification *specification, const char *scope,
                              const xp_attention_layer_inputs *inputs, xp_tensor **lse);

/* One sentence without a full stop: which kernel the specification runs, and what its cost grows with. */
void xp_attention_describe(const xp_specification *specification, float dropout, char *text, size_t size);
/* Another one: how wide heads may be with fp32-matrix; "" where matrix units are not used. */
void xp_attention_describe_widths(const xp_specification *specification, char *text, size_t size);

#endif
