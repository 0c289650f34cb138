/* Softmax attention by its definition, one row of the probability matrix at a time, and its gradient. Owns nothing but
 * the formulas; shares no code with the kernels. */
#include "core/random.h"
#include "ops/operation.h"
#include "ops/ops.h"
#include "reference/reference.h"

#include <stdlib.h>
#include <tgmath.h>

typedef struct problem {
    int64_t samples, queries, keys, heads, width, value_width;
    const xp_real *q, *k, *v; /* [B,N,H,D], [B,M,H,D], [B,M,H,E] */
    const int32_t *counts;    /* [B], [B,H] or NULL */
    int counts_rank;
    const int32_t *random_state;
    const xp_attention_attributes *attributes;
} problem;

static problem problem_of(const xp_reference_call *call, int counts_input) {
    const xp_node *node = call->node;
    const xp_tensor *q = node->inputs[0], *v = node->inputs[2], *counts = node->inputs[counts_input];
    return (problem){.samples = q->shape[0],
                     .queries = q->shape[1],
                     .keys = v->shape[1],
                     .heads = q->shape[2],
                     .width = q->shape[3],
                     .value_width = v->shape[3],
                     .q = call->inputs[0],
                     .k = call->inputs[1],
                     .v = call->inputs[2],
                     .counts = counts ? call->inputs[counts_input] : NULL,
                     .counts_rank = counts ? counts->rank : 0,
                     .random_state = call->inputs[counts_input + 1],
                     .attributes = XP_ATTRIBUTES(xp_attention_attributes, node)};
}

static int64_t valid_keys(const problem *p, int64_t b, int64_t h) {
    if (!p->counts) return p->keys;
    int64_t count = p->counts[p->counts_rank == 2 ? b * p->heads + h : b];
    return count < 0 ? 0 : count > p->keys ? p->keys : count;
}

/* What dropout multiplies probability (b,h,i,j) with. */
static xp_real keep_factor(const problem *p, int64_t b, int64_t h, int64_t i, int64_t j) {
    const xp_dropout_attributes *dropout = &p->attributes->dropout;
    if (dropout->threshold == 0) return 1;
    const uint32_t *state = (const uint32_t *)p->random_state;
    const uint32_t row = (uint32_t)((b * p->heads + h) * p->queries + i);
    const uint32_t counter[4] = {(uint32_t)(j / 4), row, state[2], dropout->stream ^ (state[3] << 16)};
    const uint32_t key[2] = {state[0], state[1]};
    uint32_t words[4];
    xp_philox(counter, key, words);
    return words[j % 4] >= dropout->threshold ? 1 / (1 - (xp_real)dropout->probability) : (xp_real)0;
}

/* Row `row` of head h of sample b in an array [B,rows,H,width]. */
static int64_t at(const problem *p, int64_t b, int64_t row, int64_t rows, int64_t h, int64_t width) {
    return ((b * rows + row) * p->heads + h) * width;
}

static xp_real dot(const xp_real *a, const xp_real *b, int64_t count) {
    xp_real sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

static xp_real dot_absolute(const xp_real *a, const xp_real *b, int64_t count) {
    xp_real sum = 0;
    for (int64_t i = 0; i < count; i++) sum += fabs(a[i] * b[i]);
    return sum;
}

void XP_REFERENCE_NAME(attention)(const xp_reference_call *call) {
    const problem p = problem_of(call, 3);
    xp_real *o = call->outputs[0], *lse = call->outputs[1];
    double *o_magnitude = call->magnitudes[0], *lse_magnitude = call->magnitudes[1];
    const xp_real scale = (xp_real)p.attributes->scale;
    xp_real *weights = malloc((size_t)p.keys * sizeof *weights);
    if (!weights) abort();
    for (int64_t b = 0; b < p.samples; b++)
        for (int64_t h = 0; h < p.heads; h++)
            for (int64_t i = 0; i < p.queries; i++) {
                const int64_t count = valid_keys(&p, b, h), row = (b * p.heads + h) * p.queries + i;
                const int64_t o_at = at(&p, b, i, p.queries, h, p.value_width);
                const xp_real *q = p.q + at(&p, b, i, p.queries, h, p.width);
                xp_real largest = -(xp_real)INFINITY, total = 0, largest_sum = 0;
                for (int64_t j = 0; j < count; j++) {
                    const xp_real *k = p.k + at(&p, b, j, p.keys, h, p.width);
                    weights[j] = scale * dot(q, k, p.width);
                    largest = weights[j] > largest || isnan(weights[j]) ? weights[j] : largest;
                    if (call->magnitudes[0]) largest_sum = fmax(largest_sum, fabs(scale) * dot_absolute(q, k, p.width));
                }
                for (int64_t j = 0; j < count; j++) total += weights[j] = exp(weights[j] - largest);
                for (int64_t e = 0; e < p.value_width; e++) {
                    xp_real sum = 0, sum_absolute = 0;
                    for (int64_t j = 0; j < count; j++) {
                        xp_real term =
                            weights[j] * keep_factor(&p, b, h, i, j) * p.v[at(&p, b, j, p.keys, h, p.value_width) + e];
                        sum += term;
                        sum_absolute += fabs(term);
                    }
                    o[o_at + e] = count ? sum / total : 0;
                    /* A score is as exact as the terms of its dot product are large, and p as exact as the score. */
                    if (o_magnitude) o_magnitude[o_at + e] = count ? sum_absolute / total * (1 + largest_sum) : 0;
                }
                lse[row] = count ? largest + log(total) : -(xp_real)INFINITY;
                if (lse_magnitude && count) lse_magnitude[row] = fabs(lse[row]) + largest_sum + fabs(log(total));
            }
    free(weights);
}

void XP_REFERENCE_NAME(attention_backward)(const xp_reference_call *call) {
    const problem p = problem_of(call, 6);
    const xp_real *o = call->inputs[3], *lse = call->inputs[4], *d_o = call->inputs[5];
    xp_real *outputs[3] = {call->outputs[0], call->outputs[1], call->outputs[2]};
    double *magnitudes[3] = {call->magnitudes[0], call->magnitudes[1], call->magnitudes[2]};
    const int64_t rows[] = {p.queries, p.keys, p.keys}, widths[] = {p.width, p.width, p.value_width};
    for (int t = 0; t < 3; t++)
        for (int64_t i = 0; outputs[t] && i < p.samples * rows[t] * p.heads * widths[t]; i++) {
            outputs[t][i] = 0;
            if (magnitudes[t]) magnitudes[t][i] = 0;
        }
    const xp_real scale = (xp_real)p.attributes->scale;
    for (int64_t b = 0; b < p.samples; b++)
        for (int64_t h = 0; h < p.heads; h++)
            for (int64_t i = 0; i < p.queries; i++) {
                const int64_t q_at = at(&p, b, i, p.queries, h, p.width);
                const int64_t o_at = at(&p, b, i, p.queries, h, p.value_width), count = valid_keys(&p, b, h);
                const xp_real row_lse = lse[(b * p.heads + h) * p.queries + i];
                const xp_real delta = dot(d_o + o_at, o + o_at, p.value_width);
                const xp_real delta_sum = dot_absolute(d_o + o_at, o + o_at, p.value_width);
                for (int64_t j = 0; j < count; j++) {
                    const int64_t k_at = at(&p, b, j, p.keys, h, p.width);
                    const int64_t v_at = at(&p, b, j, p.keys, h, p.value_width);
                    const xp_real weight =
                        exp(fmin(scale * dot(p.q + q_at, p.k + k_at, p.width) - row_lse, (xp_real)0));
                    const xp_real keep = keep_factor(&p, b, h, i, j);
                    const xp_real d_weight = keep * dot(d_o + o_at, p.v + v_at, p.value_width);
                    const xp_real d_score = weight * (d_weight - delta) * scale;
                    for (int64_t d = 0; d < p.width; d++) {
                        if (outputs[0]) outputs[0][q_at + d] += d_score * p.k[k_at + d];
                        if (outputs[1]) outputs[1][k_at + d] += d_score * p.q[q_at + d];
                    }
                    for (int64_t e = 0; e < p.value_width && outputs[2]; e++)
                        outputs[2][v_at + e] += weight * keep * d_o[o_at + e];
                    if (!magnitudes[0] && !magnitudes[1] && !magnitudes[2]) continue;
                    const double sensitivity =
                        (double)(weight *
                                 (1 + fabs(scale) * dot_absolute(p.q + q_at, p.k + k_at, p.width) + fabs(row_lse)));
                    const double d_score_magnitude =
                        sensitivity *
                        (double)(fabs(scale) *
                                 (keep * dot_absolute(d_o + o_at, p.v + v_at, p.value_width) + delta_sum));
                    for (int64_t d = 0; d < p.width; d++) {
                        if (magnitudes[0]) magnitudes[0][q_at + d] += d_score_magnitude * fabs((double)p.k[k_at + d]);
                        if (magnitudes[1]) magnitudes[1][k_at + d] += d_score_magnitude * fabs((double)p.q[q_at + d]);
                    }
                    for (int64_t e = 0; e < p.value_width && magnitudes[2]; e++)
                        magnitudes[2][v_at + e] += sensitivity * (double)keep * fabs((double)d_o[o_at + e]);
                }
            }
}
