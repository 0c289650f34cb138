/* The builders: each adds one operation (forward) to a graph and returns its main output, or NULL with the reason in
 * xp_last_error(). Those that users may call are declared in expanse/ops.h; here are the others. What an operation
 * computes of which inputs is said in ops/attributes.h. A builder checks shapes and says which tensor is wrong. Passing
 * NULL for a required tensor returns NULL. */
#ifndef XP_OPS_OPS_H
#define XP_OPS_OPS_H

#include "ops/attributes.h"

/* ---- ops/gemm.c ---- */
/* aᵀ·op(b), and the sums of the columns of a. */
xp_tensor *xp_gemm_with_sums(xp_graph *graph, xp_tensor *a, xp_tensor *b, int transpose_b, xp_tensor **sums);

/* ---- ops/cast.c ---- */
/* A parameter in the type of the factor beside it: no launch, since the store keeps a copy in 16 bits. */
xp_tensor *xp_cast_weight(xp_graph *graph, xp_tensor *weight, xp_type type);

/* ---- ops/elementwise.c ---- */
/* xp_activate of x [B,N,C] in that type, with 0 in the rows from lengths I32 [B] on, if not NULL. */
xp_tensor *xp_activate_rows(xp_graph *graph, xp_tensor *x, xp_tensor *lengths, xp_activation activation, xp_type type);
xp_tensor *xp_activation_backward(xp_graph *graph, xp_tensor *dy, xp_tensor *z, xp_activation activation); /* dz */
/* With the choice of an earlier dropout. */
xp_tensor *xp_dropout_again(xp_graph *graph, xp_tensor *x, xp_tensor *random_state,
                            const xp_dropout_attributes *attributes);

/* ---- ops/drop_path.c ---- */
/* x of [B,…] as 0 for whole samples, with this probability, and scaled for the others; x itself in evaluation. */
xp_tensor *xp_drop_path(xp_graph *graph, xp_tensor *x, float probability);

/* ---- ops/embedding.c ---- */
xp_tensor *xp_embed_as(xp_graph *graph, xp_tensor *x, xp_tensor *position, xp_tensor *token, float scale, float dropout,
                       xp_type type);

/* ---- ops/reduction.c ---- */
xp_tensor *xp_column_sum(xp_graph *graph, xp_tensor *x);

/* ---- ops/attention.c ---- */
/* Softmax over all keys with this scale. */
xp_attention_attributes xp_attention_plain(float scale);
/* The widest heads of fp32 that matrix units multiply in three products, in the forward and in the backward pass. */
enum { XP_ATTENTION_SINGLES_FORWARD = 128, XP_ATTENTION_SINGLES_BACKWARD = 64 };
xp_tensor *xp_attention(xp_graph *graph, const xp_attention_inputs *inputs, const xp_attention_attributes *attributes,
                        float dropout, xp_tensor **lse_or_null);
/* "attention_map": the weights of a node that made `o`, before dropout, [B,H,N,M]; 0 where nothing is seen. It stores
 * the N×M matrix that attention never does: for pictures and statistics. Not of packed samples; not differentiated. */
xp_tensor *xp_attention_map(xp_graph *graph, const xp_tensor *o);

/* ---- ops/linear_attention.c ---- */
xp_tensor *xp_feature_map(xp_graph *graph, xp_tensor *x, xp_feature feature);
xp_tensor *xp_linear_attention(xp_graph *graph, xp_tensor *q, xp_tensor *k, xp_tensor *v, xp_tensor *key_lengths,
                               xp_tensor *query_lengths, const xp_linear_attention_attributes *attributes);

/* ---- ops/attention_normalise.c ---- */
xp_status xp_attention_normalise(xp_graph *graph, xp_tensor *q, xp_tensor *k, xp_tensor *key_lengths,
                                 xp_tensor *query_lengths_or_starts, xp_tensor *beta_or_null,
                                 const xp_attention_normalise_attributes *attributes, xp_tensor **q_out,
                                 xp_tensor **k_out);

/* ---- ops/attention_pool.c ---- */
xp_tensor *xp_attention_pool(xp_graph *graph, xp_tensor *x, xp_tensor *lengths,
                             const xp_attention_pool_attributes *attributes, xp_tensor **counts_or_null);

/* ---- ops/append.c ---- */
/* Writes rows [B,N,H,D] into whole [B,M,H,D], an input that keeps its content from run to run, from row starts I32 [B]
 * on; rows after the last one are dropped. Returns `whole`: what is built on it now sees them. No gradient. */
xp_tensor *xp_append(xp_graph *graph, xp_tensor *whole, xp_tensor *rows, xp_tensor *starts);

/* ---- ops/tokens.c ---- */
/* The whole numbers that values [B,L] holds from column `first` on, I32 [B,rows]; of samples of weight 0 (weights [B]
 * or NULL), -1. No gradient. */
xp_tensor *xp_tokens(xp_graph *graph, xp_tensor *values, xp_tensor *weights, int64_t first, int64_t rows);
/* The rows of table [V,C] that tokens I32 [B,N] name: -> [B,N,C]; zeros where there is none. */
xp_tensor *xp_lookup(xp_graph *graph, xp_tensor *table, xp_tensor *tokens);

/* ---- ops/pair.c ---- */
/* pairs [B,2,C] of a and b -> [B,4,C]: a, b, a·b, a - b. */
xp_tensor *xp_pair(xp_graph *graph, xp_tensor *pairs);

/* ---- ops/rescale.c ---- */
/* Numbers x [B,T] of samples -> x times the deviation plus the mean: levels F32 [B,2,C] has means, then deviations, and
 * number t is of feature t modulo C. No gradient of the levels. */
xp_tensor *xp_rescale(xp_graph *graph, xp_tensor *x, xp_tensor *levels);

/* ---- ops/depthwise_convolution.c ---- */
xp_tensor *xp_depthwise_convolution(xp_graph *graph, xp_tensor *x, xp_tensor *weight, xp_tensor *lengths,
                                    const xp_depthwise_convolution_attributes *attributes);

/* ---- ops/cross_entropy.c ---- */
/* Makes the node that computed `losses` also report which answers are right [B] (1 or 0; NaN where a probability is not
 * finite), and which samples count [B] (1 or 0). */
xp_status xp_cross_entropy_correct(xp_graph *graph, const xp_tensor *losses, xp_tensor **correct, xp_tensor **counted);

/* ---- ops/squared_error.c ---- */
typedef struct xp_squared_errors {
    xp_tensor *losses, *absolute, *known; /* [B] */
} xp_squared_errors;
/* Mean over the samples, weighted by weights [B], of the squared errors of answers [B,T] against targets F32 [B,T], of
 * which some may be NaN: not known -> loss [1]. */
xp_tensor *xp_squared_error(xp_graph *graph, xp_tensor *answers, xp_tensor *targets, xp_tensor *weights,
                            xp_squared_errors *errors);

/* ---- ops/tally.c ---- */
xp_tensor *xp_tally_samples(xp_graph *graph, xp_tensor *losses, xp_tensor *scores, xp_tensor *counted,
                            xp_tensor *weights);

/* ---- ops/optimiser.c ---- */
xp_tensor *xp_gradient_norm(xp_graph *graph);
xp_status xp_gradient_sum(xp_graph *graph); /* the store accumulates */
/* skipped not NULL: the gradients are multiples by the scale of the loss, and where they are not finite, which *skipped
 * [1] tells, nothing changes. */
xp_status xp_optimise(xp_graph *graph, xp_tensor *norm_or_null, const xp_optimiser_attributes *attributes,
                      xp_tensor **skipped);
/* Fills optimiser_state for step t (counted from 1), whose loss is multiplied by `scale`. */
void xp_optimiser_state_fill(const xp_optimiser_attributes *attributes, int64_t step, double learning_rate,
                             double scale, float state[8]);

#endif
