/* Attention by its definition, one row of the weights at a time, and its gradient. Owns nothing but the formulas;
 * shares no code with the kernels. */
#include "core/random.h"
#include "graph/operation.h"
#include "ops/attributes.h"
#include "reference/reference.h"

#include <stdlib.h>
#include <string.h>
#include <tgmath.h>

/* Positions of the inputs, in the order of the node. */
typedef struct places {
    int q, k, v, key_lengths, random_state, query_lengths, bias, mask, user;
} places;
static const places forward_places = {0, 1, 2, 3, 4, 5, 6, 7, 8};
static const places backward_places = {0, 1, 2, 7, 8, 9, 10, 11, 12};
enum { INPUT_O = 3, INPUT_LSE, INPUT_D_O, INPUT_D_LSE };

typedef struct problem {
    const xp_attention_attributes *attributes;
    bool packed, linear;
    int64_t samples;                              /* of packed sequences, or B */
    int64_t query_rows, key_rows;                 /* of the tensors: N, M or T, U */
    int64_t heads, key_heads, width, value_width; /* H, G, D, E */
    const xp_real *q, *k, *v, *bias;
    const int32_t *key_lengths, *query_lengths, *random_state;
    int key_lengths_rank;
    const uint32_t *mask;
    int64_t bias_shape[4], mask_shape[4];
    const double *user[XP_SCORE_NAMES];
} problem;

/* One head of one sample. */
typedef struct sight {
    int64_t sample, head, queries, keys; /* rows that count */
    int64_t first_query, first_key;      /* rows of the tensors before them, in this sample */
    int64_t shift, span;                 /* p_i = i + shift; rows that a key covers */
} sight;

/* User tensors are double for the host function of a score, whatever the precision here. */
static const double *widen(const void *values, const xp_tensor *tensor) {
    if (!values) return NULL;
    const int64_t count = xp_tensor_elements(tensor);
    double *wide = malloc((size_t)count * sizeof *wide);
    if (!wide) abort();
    for (int64_t i = 0; i < count; i++) wide[i] = (double)((const xp_real *)values)[i];
    return wide;
}

static problem problem_of(const xp_reference_call *call, const places *at) {
    const xp_node *node = call->node;
    const xp_tensor *q = node->inputs[at->q], *k = node->inputs[at->k], *v = node->inputs[at->v];
    const xp_tensor *key_lengths = node->inputs[at->key_lengths];
    problem p = {.attributes = XP_ATTRIBUTES(xp_attention_attributes, node),
                 .samples = q->shape[0],
                 .query_rows = q->shape[1],
                 .key_rows = v->shape[1],
                 .heads = q->shape[2],
                 .key_heads = k->shape[2],
                 .width = q->shape[3],
                 .value_width = v->shape[3],
                 .q = call->inputs[at->q],
                 .k = call->inputs[at->k],
                 .v = call->inputs[at->v],
                 .bias = call->inputs[at->bias],
                 .mask = call->inputs[at->mask],
                 .key_lengths = call->inputs[at->key_lengths],
                 .key_lengths_rank = key_lengths ? key_lengths->rank : 0,
                 .query_lengths = call->inputs[at->query_lengths],
                 .random_state = call->inputs[at->random_state]};
    p.packed = p.attributes->packed != 0;
    p.linear = p.attributes->kernel == XP_KERNEL_LINEAR;
    if (p.packed) p.samples = key_lengths->shape[0] - 1;
    if (p.bias) memcpy(p.bias_shape, node->inputs[at->bias]->shape, sizeof p.bias_shape);
    if (p.mask) memcpy(p.mask_shape, node->inputs[at->mask]->shape, sizeof p.mask_shape);
    for (int i = 0; i < XP_SCORE_NAMES; i++) p.user[i] = widen(call->inputs[at->user + i], node->inputs[at->user + i]);
    return p;
}

static void release(problem *p) {
    for (int i = 0; i < XP_SCORE_NAMES; i++) free((void *)(uintptr_t)p->user[i]);
}

/* What kernels that take factors in 16 bits take of one, in this unit. */
static xp_real taken(const xp_reference_call *call, xp_real factor, xp_real unit) {
    if (call->factors == XP_F32) return factor;
    return (xp_real)xp_type_round(call->factors, (double)(factor / unit)) * unit;
}

static int64_t within(int64_t value, int64_t limit) {
    return value < 0 ? 0 : value > limit ? limit : value;
}

static sight sight_of(const problem *p, int64_t b, int64_t h) {
    const xp_attention_attributes *a = p->attributes;
    sight s = {.sample = b, .head = h, .queries = p->query_rows, .keys = p->key_rows, .span = 1};
    if (p->packed) {
        s.first_query = p->query_lengths[b];
        s.first_key = p->key_lengths[b];
        s.queries = within(p->query_lengths[b + 1] - s.first_query, a->longest_queries);
        s.keys = within(p->key_lengths[b + 1] - s.first_key, a->longest_keys);
    } else {
        if (p->query_lengths) s.queries = within(p->query_lengths[b], p->query_rows);
        if (p->key_lengths)
            s.keys = within(p->key_lengths[p->key_lengths_rank == 2 ? b * p->heads + h : b], p->key_rows);
    }
    if (a->align_last) s.shift = s.keys - s.queries;
    if (a->scale_count) s.span = a->scales[h % a->scale_count];
    return s;
}

/* Row i of head h, sample s.sample, of an array [B,rows,heads,width] (packed: [1,rows,heads,width]). */
static int64_t row_at(const problem *p, int64_t b, int64_t i, int64_t rows, int64_t h, int64_t heads, int64_t width) {
    return (((p->packed ? 0 : b) * rows + i) * heads + h) * width;
}
static int64_t query_at(const problem *p, const sight *s, int64_t i, int64_t width) {
    return row_at(p, s->sample, s->first_query + i, p->query_rows, s->head, p->heads, width);
}
static int64_t key_at(const problem *p, const sight *s, int64_t j, int64_t width) {
    const int64_t group = p->heads / p->key_heads;
    return row_at(p, s->sample, s->first_key + j, p->key_rows, s->head / group, p->key_heads, width);
}
static int64_t lse_at(const problem *p, const sight *s, int64_t i) {
    return ((p->packed ? 0 : s->sample) * p->heads + s->head) * p->query_rows + s->first_query + i;
}

static int64_t floor_divide(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

static bool sees(const problem *p, const sight *s, int64_t i, int64_t j) {
    const xp_attention_attributes *a = p->attributes;
    const int64_t place = i + s->shift, first = j * s->span, last = first + s->span - 1;
    if (a->left >= 0 && first < place - a->left) return false;
    if (a->right >= 0 && last > place + a->right) return false;
    if (a->stride > 1 && (floor_divide(place, s->span) - j) % a->stride != 0) return false;
    if (p->mask) {
        const int64_t block = a->mask_block > 1 ? a->mask_block : 1, row = i / block, column = j / block;
        const int64_t b = p->mask_shape[0] > 1 ? s->sample : 0, h = p->mask_shape[1] > 1 ? s->head : 0;
        const uint32_t word =
            p->mask[((b * p->mask_shape[1] + h) * p->mask_shape[2] + row) * p->mask_shape[3] + column / 32];
        if (!(word >> column % 32 & 1)) return false;
    }
    return true;
}

static int64_t bias_at(const problem *p, const sight *s, int64_t i, int64_t j) {
    const int64_t b = p->bias_shape[0] > 1 ? s->sample : 0, h = p->bias_shape[1] > 1 ? s->head : 0;
    return ((b * p->bias_shape[1] + h) * p->bias_shape[2] + i) * p->bias_shape[3] + j;
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

/* The score from scale · q·k. */
typedef struct score {
    xp_real value;
    xp_real slope;      /* by the scaled product */
    xp_real user_slope; /* by the bias */
    double terms;       /* the sum of the absolute values of what was added up, as `value` sees it */
} score;

static score score_of(const problem *p, const sight *s, int64_t i, int64_t j) {
    const xp_attention_attributes *a = p->attributes;
    const xp_real *q = p->q + query_at(p, s, i, p->width), *k = p->k + key_at(p, s, j, p->width);
    const xp_real scale = (xp_real)a->scale, product = scale * dot(q, k, p->width);
    score out = {.value = product, .slope = 1, .user_slope = 1};
    out.terms = fabs((double)scale) * (double)dot_absolute(q, k, p->width);
    if (a->soft_cap > 0) {
        const xp_real cap = (xp_real)a->soft_cap, t = tanh(out.value / cap);
        out.value = cap * t;
        out.slope = 1 - t * t;
        out.terms = fmin(out.terms, fabs((double)out.value) + (double)out.slope * out.terms);
    }
    if (a->alibi) {
        const xp_real distance = (xp_real)llabs(i + s->shift - (j * s->span + s->span - 1));
        const xp_real slope = pow((xp_real)2, -8 * (xp_real)(s->head + 1) / (xp_real)p->heads);
        out.value -= slope * distance;
        out.terms += (double)(slope * distance);
    }
    if (p->bias) {
        out.value += p->bias[bias_at(p, s, i, j)];
        out.terms += fabs((double)p->bias[bias_at(p, s, i, j)]);
    }
    if (a->score) {
        double slope;
        const double value = a->score->host((double)out.value, (int64_t[]){s->sample, s->head, i, j}, p->user, &slope);
        out.terms = fabs(slope) * out.terms + fabs(value);
        out.value = (xp_real)value;
        out.user_slope = (xp_real)slope;
        out.slope *= out.user_slope;
    }
    return out;
}

/* What dropout multiplies weight (b,h,i,j) with. */
static xp_real keep_factor(const problem *p, const sight *s, int64_t i, int64_t j) {
    const xp_attention_attributes *a = p->attributes;
    if (a->dropout.threshold == 0) return 1;
    const uint32_t *state = (const uint32_t *)p->random_state;
    const int64_t rows = p->packed ? a->longest_queries : p->query_rows;
    const int64_t column = a->stride > 1 && a->scale_count == 0 ? j / a->stride : j;
    const uint32_t row = (uint32_t)((s->sample * p->heads + s->head) * rows + i);
    const uint32_t counter[4] = {(uint32_t)(column / 4), row, state[2], a->dropout.stream ^ (state[3] << 16)};
    const uint32_t key[2] = {state[0], state[1]};
    uint32_t words[4];
    xp_philox(counter, key, words);
    return words[column % 4] >= a->dropout.threshold ? 1 / (1 - (xp_real)a->dropout.probability) : (xp_real)0;
}

/* One row of softmax: weights [keys] (0 where the query does not look), the largest of them, the row's logarithmic sum,
 * the largest Σ|terms|. */
static xp_real softmax_row(const problem *p, const sight *s, int64_t i, xp_real *weights, xp_real *largest_weight,
                           double *largest_terms) {
    xp_real largest = -(xp_real)INFINITY, total = 0;
    bool any = false;
    *largest_terms = 0;
    for (int64_t j = 0; j < s->keys; j++) {
        if (!sees(p, s, i, j)) continue;
        const score made = score_of(p, s, i, j);
        weights[j] = made.value;
        largest = !any || made.value > largest || isnan(made.value) ? made.value : largest;
        *largest_terms = fmax(*largest_terms, made.terms);
        any = true;
    }
    for (int64_t j = 0; j < s->keys; j++) total += weights[j] = sees(p, s, i, j) ? exp(weights[j] - largest) : 0;
    for (int64_t j = 0; j < s->keys && any; j++) weights[j] /= total;
    *largest_weight = any ? 1 / total : 1;
    return any ? largest + log(total) : -(xp_real)INFINITY;
}

/* One row of linear weights, not yet divided by z; returns z. */
static xp_real linear_row(const problem *p, const sight *s, int64_t i, xp_real *weights, double *z_terms) {
    xp_real z = 0;
    *z_terms = 0;
    for (int64_t j = 0; j < s->keys; j++) {
        weights[j] = 0;
        if (!sees(p, s, i, j)) continue;
        const score made = score_of(p, s, i, j);
        weights[j] = made.value;
        z += p->attributes->normaliser == XP_NORMALISER_SUM ? made.value : 1;
        *z_terms += p->attributes->normaliser == XP_NORMALISER_SUM ? made.terms : 1;
    }
    return p->attributes->normaliser == XP_NORMALISER_NONE ? 1 : z;
}

static void zero(xp_real *values, double *magnitudes, int64_t count) {
    for (int64_t i = 0; values && i < count; i++) {
        values[i] = 0;
        if (magnitudes) magnitudes[i] = 0;
    }
}

void XP_REFERENCE_NAME(attention)(const xp_reference_call *call) {
    problem p = problem_of(call, &forward_places);
    xp_real *o = call->outputs[0], *lse = call->outputs[1];
    double *o_magnitude = call->magnitudes[0], *lse_magnitude = call->magnitudes[1];
    const int64_t tensors = p.packed ? 1 : p.samples;
    zero(o, o_magnitude, tensors * p.query_rows * p.heads * p.value_width);
    for (int64_t i = 0; i < tensors * p.heads * p.query_rows; i++) {
        lse[i] = !p.linear ? -(xp_real)INFINITY : p.attributes->normaliser == XP_NORMALISER_NONE ? 1 : 0;
        if (lse_magnitude) lse_magnitude[i] = 0;
    }
    xp_real *weights = malloc((size_t)p.key_rows * sizeof *weights);
    if (!weights) abort();
    for (int64_t b = 0; b < p.samples; b++)
        for (int64_t h = 0; h < p.heads; h++) {
            const sight s = sight_of(&p, b, h);
            for (int64_t i = 0; i < s.queries; i++) {
                double terms;
                xp_real largest = 1;
                const xp_real z = p.linear ? linear_row(&p, &s, i, weights, &terms)
                                           : softmax_row(&p, &s, i, weights, &largest, &terms);
                lse[lse_at(&p, &s, i)] = z;
                const xp_real divisor = p.linear ? z : 1;
                if (lse_magnitude)
                    lse_magnitude[lse_at(&p, &s, i)] = p.linear ? terms : isinf(z) ? 0 : 2 * fabs((double)z) + terms;
                for (int64_t e = 0; e < p.value_width; e++) {
                    xp_real sum = 0;
                    double sum_absolute = 0;
                    for (int64_t j = 0; j < s.keys; j++) {
                        if (!sees(&p, &s, i, j)) continue;
                        const xp_real value = p.v[key_at(&p, &s, j, p.value_width) + e];
                        const xp_real keep = keep_factor(&p, &s, i, j);
                        sum += taken(call, weights[j] * keep, largest) * value;
                        if (!o_magnitude) continue;
                        const double size = p.linear ? score_of(&p, &s, i, j).terms : fabs((double)weights[j]);
                        sum_absolute += size * fabs((double)(keep * value));
                    }
                    const int64_t at = query_at(&p, &s, i, p.value_width) + e;
                    o[at] = divisor != 0 ? sum / divisor : 0;
                    if (!o_magnitude || divisor == 0) continue;
                    /* A weight is as exact as its score's terms are large; a quotient as its divisor is. */
                    o_magnitude[at] = p.linear ? (sum_absolute + fabs((double)o[at]) * terms) / fabs((double)divisor)
                                               : sum_absolute * (1 + terms);
                }
            }
        }
    free(weights);
    release(&p);
}

/* Gradients of one pair (i, j). */
typedef struct pair_gradient {
    xp_real weight;    /* with dropout: what dv takes of d_o */
    xp_real d_product; /* of q·k */
    xp_real d_bias;
    double weight_terms, d_product_terms, d_bias_terms;
} pair_gradient;

static pair_gradient pair_of(const problem *p, const sight *s, const xp_reference_call *call, int64_t i, int64_t j,
                             xp_real delta, double delta_terms) {
    const xp_real *d_o = call->inputs[INPUT_D_O];
    const xp_real *slope = d_o + query_at(p, s, i, p->value_width), *v = p->v + key_at(p, s, j, p->value_width);
    const xp_real row = ((const xp_real *)call->inputs[INPUT_LSE])[lse_at(p, s, i)];
    const score made = score_of(p, s, i, j);
    const xp_real keep = keep_factor(p, s, i, j), d_weight = keep * dot(slope, v, p->value_width);
    const double d_weight_terms = (double)(keep * dot_absolute(slope, v, p->value_width)) + delta_terms;
    const xp_real scale = (xp_real)p->attributes->scale;
    pair_gradient out = {0};
    if (p->linear) {
        const xp_real reciprocal = row != 0 ? 1 / row : 0;
        out.weight = taken(call, made.value * reciprocal * keep, 1);
        out.weight_terms = made.terms * fabs((double)(reciprocal * keep));
        out.d_product = taken(call, (d_weight - delta) * reciprocal, 1) * scale;
        out.d_product_terms = d_weight_terms * fabs((double)(reciprocal * scale));
        return out;
    }
    const xp_real weight = isinf(row) ? 0 : exp(fmin(made.value - row, (xp_real)0));
    const double sensitivity = (double)weight * (1 + made.terms + fabs((double)row));
    const xp_real d_score = weight * (d_weight - delta);
    out.weight = taken(call, weight * keep, 1);
    out.weight_terms = isinf(row) ? 0 : sensitivity * (double)keep;
    out.d_bias = d_score * made.user_slope;
    out.d_product = taken(call, d_score * made.slope, 1) * scale;
    if (isinf(row)) return out;
    out.d_bias_terms = sensitivity * d_weight_terms * fabs((double)made.user_slope);
    out.d_product_terms = sensitivity * d_weight_terms * fabs((double)(made.slope * scale));
    /* The slope of a soft cap is a difference, 1 - tanh². */
    if (p->attributes->soft_cap > 0)
        out.d_product_terms += 2 * (double)weight * d_weight_terms * fabs((double)(made.user_slope * scale));
    return out;
}

void XP_REFERENCE_NAME(attention_backward)(const xp_reference_call *call) {
    problem p = problem_of(call, &backward_places);
    const xp_real *o = call->inputs[INPUT_O], *d_o = call->inputs[INPUT_D_O], *d_lse = call->inputs[INPUT_D_LSE];
    xp_real *dq = call->outputs[0], *dk = call->outputs[1], *dv = call->outputs[2], *d_bias = call->outputs[3];
    double *const *terms = call->magnitudes;
    const int64_t tensors = p.packed ? 1 : p.samples;
    zero(dq, terms[0], tensors * p.query_rows * p.heads * p.width);
    zero(dk, terms[1], tensors * p.key_rows * p.key_heads * p.width);
    zero(dv, terms[2], tensors * p.key_rows * p.key_heads * p.value_width);
    zero(d_bias, terms[3], p.bias_shape[0] * p.bias_shape[1] * p.bias_shape[2] * p.bias_shape[3]);
    for (int64_t b = 0; b < p.samples; b++)
        for (int64_t h = 0; h < p.heads; h++) {
            const sight s = sight_of(&p, b, h);
            for (int64_t i = 0; i < s.queries; i++) {
                const int64_t q_at = query_at(&p, &s, i, p.width), o_at = query_at(&p, &s, i, p.value_width);
                const bool with_delta = !p.linear || p.attributes->normaliser == XP_NORMALISER_SUM;
                xp_real delta = with_delta ? dot(d_o + o_at, o + o_at, p.value_width) : 0;
                double delta_terms = with_delta ? (double)dot_absolute(d_o + o_at, o + o_at, p.value_width) : 0;
                if (d_lse) {
                    delta -= d_lse[lse_at(&p, &s, i)];
                    delta_terms += fabs((double)d_lse[lse_at(&p, &s, i)]);
                }
                for (int64_t j = 0; j < s.keys; j++) {
                    if (!sees(&p, &s, i, j)) continue;
                    const pair_gradient g = pair_of(&p, &s, call, i, j, delta, delta_terms);
                    const int64_t k_at = key_at(&p, &s, j, p.width), v_at = key_at(&p, &s, j, p.value_width);
                    for (int64_t d = 0; d < p.width; d++) {
                        if (dq) dq[q_at + d] += g.d_product * p.k[k_at + d];
                        if (dk) dk[k_at + d] += g.d_product * p.q[q_at + d];
                        if (terms[0]) terms[0][q_at + d] += g.d_product_terms * fabs((double)p.k[k_at + d]);
                        if (terms[1]) terms[1][k_at + d] += g.d_product_terms * fabs((double)p.q[q_at + d]);
                    }
                    for (int64_t e = 0; e < p.value_width && dv; e++) {
                        dv[v_at + e] += g.weight * d_o[o_at + e];
                        if (terms[2]) terms[2][v_at + e] += g.weight_terms * fabs((double)d_o[o_at + e]);
                    }
                    if (d_bias) d_bias[bias_at(&p, &s, i, j)] += g.d_bias;
                    if (d_bias && terms[3]) terms[3][bias_at(&p, &s, i, j)] += g.d_bias_terms;
                }
            }
        }
    release(&p);
}

/* The weights themselves, before dropout, from what the forward pass kept of each row. */
void XP_REFERENCE_NAME(attention_map)(const xp_reference_call *call) {
    enum { INPUT_MAP_LSE = 12 };
    problem p = problem_of(call, &forward_places);
    const xp_real *lse = call->inputs[INPUT_MAP_LSE];
    xp_real *map = call->outputs[0];
    double *magnitudes = call->magnitudes[0];
    const int64_t *shape = call->node->outputs[0]->shape;
    zero(map, magnitudes, shape[0] * shape[1] * shape[2] * shape[3]);
    for (int64_t b = 0; b < p.samples; b++)
        for (int64_t h = 0; h < p.heads; h++) {
            const sight s = sight_of(&p, b, h);
            for (int64_t i = 0; i < s.queries; i++) {
                const xp_real row = lse[lse_at(&p, &s, i)];
                if (p.linear ? row == 0 : isinf(row)) continue;
                for (int64_t j = 0; j < s.keys; j++) {
                    if (!sees(&p, &s, i, j)) continue;
                    const int64_t at = ((b * shape[1] + h) * shape[2] + i) * shape[3] + j;
                    const score made = score_of(&p, &s, i, j);
                    map[at] = p.linear ? made.value / row : exp(fmin(made.value - row, (xp_real)0));
                    if (magnitudes)
                        magnitudes[at] = p.linear ? made.terms / fabs((double)row)
                                                  : (double)map[at] * (1 + made.terms + fabs((double)row));
                }
            }
        }
    release(&p);
}
