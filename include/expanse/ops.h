/* The builders: each adds one operation to a graph (graph.h) and returns its output, or NULL with the reason in
 * xp_last_error(); the message names the tensor that does not fit. All can be differentiated unless said otherwise.
 *
 * Shapes: B batch, N rows (queries), M keys, H heads, G key heads, D head width, E value width, C columns; "…" any
 * axes. */
#ifndef EXPANSE_OPS_H
#define EXPANSE_OPS_H

#include <expanse/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum xp_activation { XP_ACTIVATION_NONE, XP_ACTIVATION_RELU, XP_ACTIVATION_GELU } xp_activation;

/* activation(x·weightᵀ + bias): x […,K], weight [C,K] (PyTorch's order), bias [C] or NULL -> […,C]. */
XP_API xp_tensor *xp_linear(xp_graph *graph, xp_tensor *x, xp_tensor *weight, xp_tensor *bias,
                            xp_activation activation);
/* op(a)·op(b) of matrices, op transposes if requested: [m,k]·[k,n] -> [m,n]. */
XP_API xp_tensor *xp_gemm(xp_graph *graph, xp_tensor *a, int transpose_a, xp_tensor *b, int transpose_b);

/* The same numbers in another element type, rounded to nearest; x itself where it has the type. Not of int32. */
XP_API xp_tensor *xp_cast(xp_graph *graph, xp_tensor *x, xp_type type);

XP_API xp_tensor *xp_activate(xp_graph *graph, xp_tensor *x, xp_activation activation); /* GELU: the exact one */
/* Zeroes with this probability, in [0,1), and scales the rest; x itself in evaluation. Seed and step: xp_train_step. */
XP_API xp_tensor *xp_dropout(xp_graph *graph, xp_tensor *x, float probability);

/* Normalises the rows of x + dropout(branch): x […,C], branch as x or NULL, gamma and beta [C]. *sum_or_null is what
 * was normalised. */
XP_API xp_tensor *xp_layer_norm(xp_graph *graph, xp_tensor *x, xp_tensor *branch, xp_tensor *gamma, xp_tensor *beta,
                                float epsilon, float branch_dropout, xp_tensor **sum_or_null);
/* Normalises the columns of x [B,N,C] over all rows of the samples whose weight (sample_weight [B]) is above 0, as
 * PyTorch does; running_mean and running_variance [C] are STATE parameters, updated in training and used in
 * evaluation. */
XP_API xp_tensor *xp_batch_norm(xp_graph *graph, xp_tensor *x, xp_tensor *gamma, xp_tensor *beta,
                                xp_tensor *running_mean, xp_tensor *running_variance, xp_tensor *sample_weight,
                                float epsilon, float momentum);

/* dropout(scale·x + position), with an optional class token as row 0: x [B,N,C], position [P,C] with P >= N (+1), token
 * [C] or NULL -> [B,N (+1),C]. */
XP_API xp_tensor *xp_embed(xp_graph *graph, xp_tensor *x, xp_tensor *position, xp_tensor *token, float scale,
                           float dropout);
/* Square patches of images: [B,channels,Y,X] -> [B,(Y/p)(X/p),channels·p·p]; p divides Y and X. No gradient. */
XP_API xp_tensor *xp_patches(xp_graph *graph, xp_tensor *image, int64_t patch);

/* CLASS: row 0. MEAN: the mean of the first lengths[b] rows (lengths I32 [B]; NULL: all). x [B,N,C] -> [B,C]. */
typedef enum xp_pool { XP_POOL_CLASS, XP_POOL_MEAN } xp_pool;
XP_API xp_tensor *xp_sequence_pool(xp_graph *graph, xp_tensor *x, xp_tensor *lengths, xp_pool pool);
/* x with the rows from lengths[b] on set to 0. */
XP_API xp_tensor *xp_mask_rows(xp_graph *graph, xp_tensor *x, xp_tensor *lengths);

/* Attention by its specification line ("softmax+bn", "softmax+sh(1,2)"; docs/API.md lists the words): q [B,N,H,D], k
 * [B,M,G,D], v [B,M,G,E], views with unit last stride (parts of a split) or dense -> o [B,N,H,E]. H is a multiple of G;
 * D and E are at most 256. key_lengths I32 [B]: later keys are not seen; NULL: all are. Learned parts of the line are
 * declared in the store as "<name>.beta" …. No rows × keys matrix is ever stored. */
XP_API xp_tensor *xp_attend(xp_graph *graph, const char *specification, const char *name, xp_tensor *q, xp_tensor *k,
                            xp_tensor *v, xp_tensor *key_lengths, float dropout);

/* Mean over the samples, weighted by weights [B], of the cross entropy of logits [B,C] and labels, smoothed by
 * `smoothing` in [0,1); labels are classes I32 [B], or the shares of all classes F32 [B,C], which add up to 1: ->
 * loss [1]. *probabilities [B,C] and *losses [B] (unweighted) may be NULL. */
XP_API xp_tensor *xp_cross_entropy(xp_graph *graph, xp_tensor *logits, xp_tensor *labels, xp_tensor *weights,
                                   float smoothing, xp_tensor **probabilities, xp_tensor **losses);

#ifdef __cplusplus
}
#endif
#endif
