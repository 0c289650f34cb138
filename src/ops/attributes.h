/* What each operation computes, of which inputs, and its attributes struct: what a node stores, what the kernels' hosts
 * read and what the reference reads. Needs no device.
 *
 * Words: R rows, C columns, B batch, N query length, M key length, H heads, D head width, E value width. */
#ifndef XP_OPS_ATTRIBUTES_H
#define XP_OPS_ATTRIBUTES_H

#include "graph/operation.h"

#include <expanse/ops.h>
#include <expanse/train.h>

/* ---- dropout, of every operation that has it -----------------------------------------------------------------------
 * x · keep / (1-p), keep from Philox with a stream of the node's: element e of the tensor uses word e%4 of
 * random_words(random_state, stream, e/4, 0). Probability 0: none. */
typedef struct xp_dropout_attributes {
    float probability;
    uint32_t threshold; /* round(p · 2^32) */
    uint32_t stream;
} xp_dropout_attributes;

/* ---- ops/gemm.c: "gemm" ---------------------------------------------------------------------------------------------
 * y = combined(dropout(activation(z)), partner), z = op(a) · op(b) + bias, with op(a) [m,k] and op(b) [k,n] after the
 * optional transposition. Combined: + partner, or · activation'(partner); only without an activation.
 *
 * inputs:  a, b, bias [n] or NULL, partner [m,n] or NULL, random_state or NULL
 * outputs: y [m,n], z [m,n] or NULL (kept only when a backward pass needs it), the sums of op(a) over k [m] or NULL
 *          (only of a transposed a: with the gradient of a weight comes that of its bias) */
typedef struct xp_gemm_attributes {
    int64_t m, n, k;
    int transpose_a, transpose_b;
    int activation; /* GELU is the exact one, x·Φ(x) */
    int combine;    /* an xp_combine */
    xp_dropout_attributes dropout;
} xp_gemm_attributes;

/* ---- graph/copy.c: "add", "copy": part of the graph, without attributes ---------------------------------------------
 * copy reads and writes views. */

/* ---- ops/elementwise.c: "activation", "activation_backward", "dropout" ----------------------------------------------
 * activation: y = dropout(activation(x)), and 0 in the rows of x [B,N,C] from lengths on; inputs x, random_state or
 * NULL, lengths I32 [B] or NULL.
 * dropout: its gradient is the same operation on dy with the same stream. */
typedef struct xp_activation_attributes {
    int activation;
    xp_dropout_attributes dropout;
} xp_activation_attributes;

/* ---- ops/drop_path.c: "drop_path" -----------------------------------------------------------------------------------
 * y[b,…] = x[b,…] · keep_b / (1-p), the decisions of a dropout over samples instead of elements; its gradient is the
 * same operation on dy. Inputs x, random_state; attributes xp_dropout_attributes. */

/* ---- ops/reduction.c: "column_sum" ----------------------------------------------------------------------------------
 * x [R,C] -> [C], in a fixed order of summation. The bias gradient. */

/* ---- ops/layer_norm.c: "layer_norm", "layer_norm_backward" ----------------------------------------------------------
 * Residual addition, dropout of the branch and LayerNorm in one pass over rows of C:
 *
 *   sum = x + dropout(branch)   (sum = x when branch is NULL),   out = (sum - mean)·rstd·gamma + beta
 *
 * inputs:  x [...,C], branch [...,C] or NULL, gamma [C], beta [C], random_state or NULL
 * outputs: out, sum (NULL without branch), mean [R], rstd [R]; the last two NULL when not training
 * Backward
 * inputs:  d_out or NULL, d_sum or NULL, sum, mean, rstd, gamma, random_state or NULL, lengths I32 [B] of samples of
 *          R / B rows, from which on d_out counts as 0, or NULL
 * outputs: dx, d_branch (NULL without branch; without dropout dx itself serves), d_gamma [C], d_beta [C] */
typedef struct xp_layer_norm_attributes {
    float epsilon;
    xp_dropout_attributes dropout;
} xp_layer_norm_attributes;

/* ---- ops/batch_norm.c: "batch_norm", "batch_norm_backward" ----------------------------------------------------------
 * Per column over all rows of samples with weight > 0 (rows b·N … b·N+N-1 belong to sample b): biased variance for
 * normalising, unbiased for the running one, running = (1-momentum)·running + momentum·batch, as PyTorch.
 * Training: statistics of the batch, running ones updated in place. Evaluation: running statistics.
 *
 * inputs:  x [B,N,C], gamma [C], beta [C], running_mean [C], running_variance [C] (state parameters), sample_weight [B]
 * outputs: out, mean [C], rstd [C] (NULL in evaluation)
 * Backward
 * inputs:  d_out, x, gamma, mean, rstd, sample_weight
 * outputs: dx (0 for samples of weight 0), d_gamma, d_beta */
typedef struct xp_batch_norm_attributes {
    float epsilon, momentum;
    int training;
} xp_batch_norm_attributes;

/* ---- ops/embedding.c: "embed", "embed_backward", "patches" ----------------------------------------------------------
 * embed: y = dropout(scale·x + position), with an optional class token in front:
 * y[b,0] = token + position[0], y[b,1+i] = scale·x[b,i] + position[1+i]. Dropout numbering over y's elements.
 *
 * inputs:  x [B,N,C], position [P,C] with P >= N+token, token [C] or NULL, random_state or NULL
 * outputs: y [B,N+token,C]
 * Backward
 * inputs:  dy, random_state or NULL
 * outputs: dx or NULL, d_position [P,C] or NULL (rows beyond are 0), d_token [C] or NULL
 *
 * patches: image [B,Ch,Y,X] -> [B, (Y/p)·(X/p), Ch·p·p] (channel, row, column inside a patch: PyTorch's convolution
 * order); p divides Y and X. Not differentiated (its input is data). */
typedef struct xp_embed_attributes {
    float scale;
    xp_dropout_attributes dropout;
} xp_embed_attributes;
typedef struct xp_embed_backward_attributes {
    xp_embed_attributes embed;
    int64_t length, places; /* N without the token; P */
} xp_embed_backward_attributes;
typedef struct xp_patches_attributes {
    int64_t patch;
} xp_patches_attributes;

/* ---- ops/pair.c: "pair", "pair_backward"; no attributes
 * -------------------------------------------------------------- pairs [B,2,C] of a and b -> [B,4,C]: a, b, a·b, a - b.
 * Backward
 * inputs:  dy, pairs
 * outputs: d_pairs */

/* ---- ops/rescale.c: "rescale" ---------------------------------------------------------------------------------------
 * y[b,t] = x[b,t] · levels[b,1,t mod C] + levels[b,0,t mod C]; its gradient is the same without the sum.
 *
 * inputs:  x [B,T], levels [B,2,C] */
typedef struct xp_rescale_attributes {
    int shifts;
} xp_rescale_attributes;

/* ---- ops/pooling.c: "sequence_pool", "sequence_pool_backward", "mask_rows" ------------------------------------------
 * sequence_pool: x [B,N,C] -> [B,C]: CLASS takes row 0; MEAN averages the first lengths[b] rows (all N when lengths is
 * NULL; 0 for a length of 0). Loads stop at the length.
 *
 * inputs:  x, lengths I32 [B] or NULL
 *
 * mask_rows: y = x, rows at and after lengths[b] are 0; its gradient is the same operation. */
typedef struct xp_sequence_pool_attributes {
    int pool; /* CLASS does not look at the lengths */
} xp_sequence_pool_attributes;

/* ---- ops/cross_entropy.c: "cross_entropy", "cross_entropy_backward" -------------------------------------------------
 * loss = Σ_b w_b · (-Σ_c t_bc · log softmax(logits_b)_c) / Σ_b w_b, t = (1-smoothing)·onehot + smoothing/C; 0 when all
 * weights are 0. A sample whose label is no class counts as one of weight 0: its loss is 0 and it has no gradient.
 *
 * inputs:  logits [B,C], labels I32 [B] (ignored where the weight is 0), or F32 [B,C] the shares of the classes
 *          in a sample, which add up to 1 and take the place of onehot; weights [B]
 * outputs: loss [1], probabilities [B,C], losses [B] (unweighted, per sample; 0 where the weight is 0),
 *          correct [B]: 1, 0, or NaN where a probability is not finite, or NULL; counted [B]: 1 or 0, or NULL. The
 *          first of the largest probabilities is the prediction, which is right if no share is larger than its own; a
 *          sample counts if its weight is not 0 and its label is a class
 * Backward
 * inputs:  d_loss [1], probabilities, labels, weights
 * outputs: d_logits */
typedef struct xp_cross_entropy_attributes {
    float smoothing;
} xp_cross_entropy_attributes;

/* ---- ops/squared_error.c: "squared_error", "squared_error_backward"; no attributes
 * ----------------------------------- loss = Σ_b w_b · (1/n_b Σ_t (y_bt - t_bt)²) / Σ_b w_b over the n_b targets that
 * are known, which are not NaN; 0 when all weights are 0. A sample without a known target counts as one of weight 0:
 * its loss is 0 and it has no gradient.
 *
 * inputs:  answers [B,T], targets [B,T], weights [B]
 * outputs: loss [1], losses [B] (unweighted), absolute [B] (mean absolute errors; NaN where an answer is not finite),
 *          known [B]: n_b; the last three are 0 where a sample does not count
 * Backward
 * inputs:  d_loss [1], answers, targets, weights, known
 * outputs: d_answers */

/* ---- ops/tally.c: "tally"; no attributes, no gradient ---------------------------------------------------------------
 * The sums over the samples that count; scores: the value of a prediction by a metric, such as correct.
 * inputs:   losses, scores, counted, weights [B]
 * outputs:  tally [4]: Σ losses, Σ scores, samples, and 1 + the first sample of a weight other than 0 whose loss or
 *           score is not finite (0: none) */
enum { XP_TALLY_LOSS, XP_TALLY_SCORE, XP_TALLY_SAMPLES, XP_TALLY_BROKEN, XP_TALLY_SUMS };

/* ---- ops/attention.c: "attention", "attention_backward" -------------------------------------------------------------
 * o_i = Σ_j w_ij v_j over the keys that query i sees; the N×M matrix is never stored.
 *
 *   softmax   w_ij = softmax_j(s_ij);   lse_i = log Σ_j exp(s_ij)
 *             s = scale · q_i·k_j;  s = soft_cap · tanh(s / soft_cap);  s -= slope_h · |p_i - p_j| (ALiBi, with
 *             slope_h = 2^(-8(h+1)/H));  s += bias;  s = score(s)
 *   linear    w_ij = scale · q_i·k_j / z_i;   z_i = Σ_j scale · q_i·k_j, or the number of keys seen, or 1. A row whose
 *             z_i is 0 gives 0. q and k come with their features applied ("feature_map"); lse_i holds z_i.
 *
 * Attention dropout multiplies w_ij, after normalisation. A row without keys: o = 0, lse = -INFINITY (z = 0), and its
 * gradient is 0.
 *
 * What query i sees: key j < key_lengths that passes every part of the pattern and whose bit in the mask is set.
 * Query i is at p_i = i, or with align_last at i + (valid keys' rows) - (valid queries). Key j covers rows
 * first_j = j·s … last_j = j·s + s - 1 with s = scales[h % scale_count] (1 without scaled heads), at p_j = last_j.
 *   window    p_i - left <= first_j and last_j <= p_i + right; -1: no limit on that side. Causal: left -1, right 0
 *   stride    j = ⌊p_i / s⌋ modulo stride
 *
 * inputs:  q [B,N,H,D], k [B,M,G,D], v [B,M,G,E] (views with unit last stride are fine; H is a multiple of G, query
 *          head h uses key head h / (H/G))
 *          key_lengths I32 [B], [B,H] or NULL (all M); query_lengths I32 [B] or NULL (all N; rows after it give 0)
 *          bias F32 dense [B|1,H|1,N,M] or NULL
 *          mask I32 dense [B|1,H|1,⌈N/mask_block⌉,⌈⌈M/mask_block⌉/32⌉] or NULL: bit c%32 of word c/32 allows block
 *          column c
 *          user: the tensors named by the score, dense
 * packed:  samples of any length lie one after another in one. q [1,T,H,D], k [1,U,G,D], …; key_lengths and
 *          query_lengths are then starts, I32 [S+1], rising from 0 to T and to U; sample s has rows starts[s] …
 *          starts[s+1]-1. Indices of the pattern, the mask, the score and the dropout count within the sample, b = s,
 *          and N, M of the bias and the mask are longest_queries and longest_keys, which bound every sample's rows.
 * outputs: o [B,N,H,E] dense, lse [B,H,N]. Loads of k and v stop at the length.
 *
 * Dropout: weight (b,h,i,j) uses word c%4 of random_words(random_state, stream, c/4, (b·H + h)·N + i), c = j / stride,
 * or j of pooled keys.
 *
 * Backward
 * inputs:  q, k, v, o, lse, d_o, d_lse or NULL (softmax alone), and the others
 * outputs: dq, dk, dv (views are fine; rows of no sample are 0), d_bias [as bias]. D, E <= 256. */
enum { XP_MAX_SCALES = 64, XP_SCORE_NAMES = 4 };
typedef enum xp_attention_kernel { XP_KERNEL_SOFTMAX, XP_KERNEL_LINEAR } xp_attention_kernel;
typedef enum xp_normaliser { XP_NORMALISER_SUM, XP_NORMALISER_COUNT, XP_NORMALISER_NONE } xp_normaliser;

/* A score of the user's own: OpenCL C expressions of float `score`, int `batch, head, query_index, key_index`, the
 * named scalars (float) and elements of the named tensors, as in table[head]; an index outside reads the last one. */
typedef struct xp_score {
    const char *text;       /* "score - 0.1f * abs(query_index - key_index)" */
    const char *derivative; /* of the text by score; NULL: 1 */
    int scalar_count, tensor_count;
    struct {
        const char *name;
        float value;
    } scalars[XP_SCORE_NAMES];
    const char *tensors[XP_SCORE_NAMES]; /* names of inputs.user */
    /* The same on the host, for the reference; NULL: this score has none. *slope is the derivative. */
    double (*host)(double score, const int64_t place[4] /* batch, head, query, key */, const double *const *tensors,
                   double *slope);
} xp_score;

typedef struct xp_attention_attributes {
    float scale;
    xp_dropout_attributes dropout; /* filled by the builder */
    int kernel, normaliser;        /* xp_attention_kernel; xp_normaliser of linear */
    int left, right;               /* of the window; -1: no limit */
    int stride;                    /* 0 and 1: every key */
    int align_last;
    int mask_block; /* rows and columns that one bit of the mask speaks for; 0: 1 */
    float soft_cap; /* 0: none */
    int alibi;
    int packed;
    int64_t longest_queries, longest_keys; /* when packed */
    float key_share;               /* of all keys, that a head has by its lengths on average; for the profile; 0: 1 */
    int scale_count;               /* 0: keys are not pooled */
    int16_t scales[XP_MAX_SCALES]; /* divides H */
    const xp_score *score;         /* NULL: none; lives as long as the graph (xp_graph_memory) */
    const char *prelude;           /* the score for the kernels; filled by the builder */
} xp_attention_attributes;
typedef struct xp_attention_inputs {
    xp_tensor *q, *k, *v, *key_lengths, *query_lengths, *bias, *mask, *user[XP_SCORE_NAMES];
} xp_attention_inputs;

/* ---- ops/linear_attention.c: "feature_map", "linear_attention" and the "_backward" of both --------------------------
 * feature_map: y = φ(x)
 *
 * inputs:  x [B,N,H,D] (views with unit last stride are fine); output y dense
 * Backward inputs: dy, x; output dx (views are fine)
 *
 * linear_attention: the linear kernel over all keys or over those before the query, in time and memory O(N + M).
 *
 *   o_i = Σ_j w_ij v_j / z_i;  w_ij = scale · φ(q_i)·φ(k_j);  z_i = Σ_j w_ij, or the number of keys seen, or 1
 *
 * A row whose z_i is 0 (it sees no key, or all its weights are 0) gives 0 and has no gradient. Causal: query i sees
 * keys j <= p_i, p_i = i, or with align_last i + (valid keys) - (valid queries).
 *
 * inputs:  q [B,N,H,D], k [B,M,G,D], v [B,M,G,E] (views with unit last stride are fine; H is a multiple of G, query
 *          head h uses key head h / (H/G)), key_lengths I32 [B], [B,H] or NULL (all M), query_lengths I32 [B] or NULL
 *          (all N). Rows after the lengths are never read; o, z and the gradients are 0 there.
 * outputs: o [B,N,H,E] dense, z [B,H,N]
 * Backward
 * inputs:  q, k, v, o, z, d_o, key_lengths, query_lengths
 * outputs: dq, dk, dv (views are fine). D, E <= 256. */
typedef enum xp_feature {
    XP_FEATURE_IDENTITY,
    XP_FEATURE_RELU,  /* max(x, 0) */
    XP_FEATURE_ELU,   /* elu(x) + 1 */
    XP_FEATURE_SQUARE /* x² */
} xp_feature;
typedef struct xp_feature_map_attributes {
    int feature;
} xp_feature_map_attributes;
typedef struct xp_linear_attention_attributes {
    int features;   /* xp_feature, of queries and keys */
    int normaliser; /* xp_normaliser */
    int causal, align_last;
    float scale;
} xp_linear_attention_attributes;

/* ---- ops/append.c: "append"; no attributes, no gradient
 * -------------------------------------------------------------- whole[b, starts[b] + n] = rows[b, n] in place, where
 * there is such a row. inputs:  whole [B,M,H,D], rows [B,N,H,D] (a view with unit last stride is fine), starts I32 [B]
 * outputs: whole */

/* ---- ops/tokens.c: "tokens", "lookup", "lookup_backward" ------------------------------------------------------------
 * tokens: values [B,L], weights [B] or NULL -> I32 [B,N]: the whole numbers nearest to values[b,first+n]; -1 for what
 * is no whole number from 0 to 2^24, and for samples of weight 0.
 * lookup: table [V,C], tokens I32 [B,N] -> [B,N,C]; a token outside [0,V) gives zeros. Backward: dy, tokens -> d_table,
 * whose sums over the rows have a fixed order. */
typedef struct xp_tokens_attributes {
    int64_t first;
} xp_tokens_attributes;

/* ---- ops/attention_normalise.c: "attention_normalise", "attention_normalise_backward" -------------------------------
 * Attention-BN (Primal-Dual framework, section on Attention-BN): per sample and head, with the valid keys,
 * mu = mean_j k_j, s2 = mean_j (k_j - mu)^2 + epsilon (1 when scaling is off), s = sqrt(s2):
 *
 *   for softmax  q' = (q - beta·mu) / s2, k' = k - beta·mu
 *   both         q' = (q - beta·mu) / s,  k' = (k - beta·mu) / s
 *
 * prefix: query i takes mu_i and s2_i of the keys that it sees. It is at row p_i = i, or with align_last at
 * i + (valid keys) - (valid queries), and sees key j where last_j <= p_i: last_j = j, or j·s + s - 1 for pooled keys
 * with s = key_scales[g % key_scale_count] of key head g (without align_last). Keys are referred to the sample's first
 * key k_0, never to a later one: q'_i = (q_i - beta·mu_i) / s2_i, k'_j = k_j - k_0. The row constant
 * -q'_i·(beta·mu_i - k_0) that is missing cancels in a plain softmax; constant: q' and k' have D+1 columns, q'_i[D] is
 * that constant and k'_j[D] = 1. With both, key j takes mu_j and s_j and there is nothing to refer to. A query that
 * sees no key: q' = q, constant 0.
 *
 * inputs:  q [B,N,H,D], k [B,M,G,D] (views with unit last stride; H is a multiple of G, query head h goes with key head
 *          h / (H/G)), key_lengths I32 [B], [B,G] or NULL (all M), query_lengths I32 [B] or NULL (all N), beta [G] or
 *          NULL (then the constant of the attribute is used)
 * packed:  (B = 1; not with pooled keys) both lengths are starts I32 [S+1] as in attention
 * outputs: q' [B,N,H,D], k' [B,M,G,D] (rows after the lengths are 0); mu, s2 [S,G,D], S samples; with prefix mu - k_0,
 *          s2 [B,M,G,D]. Loads stop at the lengths. Without keys mu = 0, s2 = 1.
 * Backward
 * inputs:  d_q', d_k', q, k, mu, s2, key_lengths, query_lengths, beta
 * outputs: dq, dk (views are fine), d_beta [G] or NULL */
typedef struct xp_attention_normalise_attributes {
    float beta;
    int scale; /* divide by the variance */
    float epsilon;
    int prefix, align_last, both, constant, packed;
    int key_scale_count; /* 0: keys are not pooled */
    int16_t key_scales[XP_MAX_SCALES];
} xp_attention_normalise_attributes;

/* ---- ops/attention_pool.c: "attention_pool", "attention_pool_backward" ----------------------------------------------
 * Attention-SH: average pooling of keys or values with window and stride scales[h] for head h.
 *   1-D (grid_height 0)   along the sequence; row j of head h averages rows j·s … j·s+s-1 that lie before lengths[b]
 *   2-D                   N = class_token + grid_height·grid_width; s×s windows on the grid, edge windows average the
 *                         existing cells, the class token is kept as row 0
 *
 * inputs:  x [B,N,H,D] (views fine), lengths I32 [B] or NULL
 * outputs: y [B,P,H,D] dense, P the largest count of any head, rows after the head's count are 0;
 *          counts I32 [B,H]: ⌈lengths[b]/s⌉, or with `whole`, of sequences, ⌊lengths[b]/s⌋; or the grid's
 * Backward inputs: dy, lengths; output dx (views fine) */
typedef struct xp_attention_pool_attributes {
    int scale_count; /* repeated over the heads; divides H */
    int16_t scales[XP_MAX_SCALES];
    int grid_height, grid_width, class_token;
    int whole; /* a window with fewer rows than its scale does not count */
} xp_attention_pool_attributes;

/* ---- ops/depthwise_convolution.c: "depthwise_convolution", "depthwise_convolution_backward" -------------------------
 * A convolution of each column with taps of its own.
 *   1-D (grid_height 0)   weight [H·D,k]: y[n] = Σ_t w[c,t] x[n + t - (k-1)/2], causal: x[n + t - (k-1)], of rows
 *                         before lengths[b]; rows at and after it give 0
 *   2-D                   weight [H·D,k,k], N = class_token + grid_height·grid_width:
 *                         y[i,j] = Σ_uv w[c,u,v] x[i + u - (k-1)/2, j + v - (k-1)/2] of cells of the grid; the class
 *                         token passes
 *
 * inputs:  x [B,N,H,D] (views fine), weight, lengths I32 [B] or NULL
 * outputs: y [B,N,H,D] dense. Loads stop at the length.
 * Backward
 * inputs:  dy, x, weight, lengths
 * outputs: dx (views fine), d_weight; NULL if no reader needs them */
typedef struct xp_depthwise_convolution_attributes {
    int width; /* k, 1 … 127 */
    int causal;
    int grid_height, grid_width, class_token;
} xp_depthwise_convolution_attributes;

/* ---- ops/optimiser.c: "gradient_norm", "gradient_sum", "optimiser" --------------------------------------------------
 * gradient_norm: gradients (store buffer, first trained elements) -> [parts]: the sums of squares of as many parts of
 * equal length (but the last), whose number depends on nothing but the number of elements.
 *
 * gradient_sum: gradients, optimiser_state [8] -> store buffer sums, in place: adds the gradients, or starts the sums
 * again.
 *
 * optimiser: one launch over all trained elements, in place on the store's values and moments.
 * inputs:  gradients, the sums of squares [parts] or NULL, optimiser_state [8]
 * outputs: values, moment 1, moment 2 (NULL for plain SGD), skipped [1] or NULL, the store's copies in 16 bits or NULL
 * With sums of squares, gradients are multiplied by min(1, limit / their norm). With `skipped`, they are first
 * multiplied by state[5], a limit of 0 means no limit, and where the sum of squares is not finite nothing changes but
 * skipped[0], which is then 1, and else 0. Elements below `decayed` have weight decay: AdamW decoupled; SGD, Adam and
 * RAdam add decay·p to the gradient (PyTorch). The norm and the step read the sums in place of the gradients where the
 * store accumulates.
 *
 * optimiser_state is written by the host each step: [0] learning rate, [1] 1 - beta1^t, [2] 1 - beta2^t, [3] RAdam's
 * rectification (0: momentum step without the second moment), [4] 0: gradient_sum starts again, [5] 1/the scale of the
 * loss, [6], [7] unused. */
typedef struct xp_optimiser_attributes {
    int kind;
    float beta1, beta2, epsilon, weight_decay, momentum;
    float limit;              /* of the norm of all gradients */
    int64_t decayed, trained; /* elements */
} xp_optimiser_attributes;
typedef struct xp_gradient_norm_attributes {
    int64_t trained, part; /* elements of all gradients and of a part */
} xp_gradient_norm_attributes;

#endif
