/* Linear attention by its definition, a weight for every pair of query and key, its gradient, and the feature maps.
 * Owns nothing but the formulas; shares no code with the kernels. */
#include "graph/operation.h"
#include "ops/attributes.h"
#include "reference/reference.h"

#include <float.h>
#include <stdlib.h>
#include <tgmath.h>

/* Numbers below the smallest normal one count as 0 in e^x: whether z is 0 must not depend on what becomes of them. */
static xp_real exponential(xp_real x) {
    const xp_real value = exp(x);
    return value < (xp_real)FLT_MIN ? 0 : value;
}

static xp_real feature(int kind, xp_real x) {
    if (kind == XP_FEATURE_RELU) return x < 0 ? 0 : x;
    if (kind == XP_FEATURE_ELU) return x > 0 ? x + 1 : exponential(x);
    if (kind == XP_FEATURE_SQUARE) return x * x;
    return x;
}

static xp_real feature_slope(int kind, xp_real x) {
    if (kind == XP_FEATURE_RELU) return x > 0 ? 1 : 0;
    if (kind == XP_FEATURE_ELU) return x > 0 ? 1 : exponential(x);
    if (kind == XP_FEATURE_SQUARE) return 2 * x;
    return 1;
}

void XP_REFERENCE_NAME(feature_map)(const xp_reference_call *call) {
    const int kind = XP_ATTRIBUTES(xp_feature_map_attributes, call->node)->feature;
    const xp_real *x = call->inputs[0];
    xp_real *y = call->outputs[0];
    const int64_t count = xp_tensor_elements(call->node->outputs[0]);
    for (int64_t i = 0; i < count; i++) y[i] = feature(kind, x[i]);
}

void XP_REFERENCE_NAME(feature_map_backward)(const xp_reference_call *call) {
    const int kind = XP_ATTRIBUTES(xp_feature_map_attributes, call->node)->feature;
    const xp_real *dy = call->inputs[0], *x = call->inputs[1];
    xp_real *dx = call->outputs[0];
    const int64_t count = xp_tensor_elements(call->node->outputs[0]);
    for (int64_t i = 0; i < count; i++) dx[i] = dy[i] * feature_slope(kind, x[i]);
}

typedef struct problem {
    int64_t samples, queries, keys, heads, key_heads, width, value_width;
    const xp_real *q, *k, *v; /* [B,N,H,D], [B,M,G,D], [B,M,G,E] */
    const int32_t *key_lengths, *query_lengths;
    int key_lengths_rank;
    const xp_linear_attention_attributes *attributes;
    xp_real scale;
} problem;

static problem problem_of(const xp_reference_call *call, int lengths_input) {
    const xp_node *node = call->node;
    const xp_tensor *q = node->inputs[0], *v = node->inputs[2], *lengths = node->inputs[lengths_input];
    problem p = {.samples = q->shape[0],
                 .queries = q->shape[1],
                 .keys = v->shape[1],
                 .heads = q->shape[2],
                 .key_heads = v->shape[2],
                 .width = q->shape[3],
                 .value_width = v->shape[3],
                 .q = call->inputs[0],
                 .k = call->inputs[1],
                 .v = call->inputs[2],
                 .key_lengths = call->inputs[lengths_input],
                 .query_lengths = call->inputs[lengths_input + 1],
                 .key_lengths_rank = lengths ? lengths->rank : 0,
                 .attributes = XP_ATTRIBUTES(xp_linear_attention_attributes, node)};
    p.scale = (xp_real)p.attributes->scale;
    return p;
}

static int64_t limited(int64_t value, int64_t most) {
    return value < 0 ? 0 : value > most ? most : value;
}

static int64_t valid_queries(const problem *p, int64_t b) {
    return p->query_lengths ? limited(p->query_lengths[b], p->queries) : p->queries;
}

/* How many keys query i of head h of sample b sees: the first ones. */
static int64_t keys_seen(const problem *p, int64_t b, int64_t h, int64_t i) {
    const int64_t queries = valid_queries(p, b);
    int64_t keys = p->keys;
    if (p->key_lengths) keys = limited(p->key_lengths[p->key_lengths_rank == 2 ? b * p->heads + h : b], p->keys);
    if (i >= queries) return 0;
    if (!p->attributes->causal) return keys;
    return limited(i + (p->attributes->align_last ? keys - queries : 0) + 1, keys);
}

static int64_t query_at(const problem *p, int64_t b, int64_t i, int64_t h, int64_t width) {
    return ((b * p->queries + i) * p->heads + h) * width;
}

static int64_t key_at(const problem *p, int64_t b, int64_t j, int64_t h, int64_t width) {
    return ((b * p->keys + j) * p->key_heads + h / (p->heads / p->key_heads)) * width;
}

/* Σ φ(q)·φ(k), and of the absolute values of its terms. */
static xp_real product(const problem *p, const xp_real *q, const xp_real *k, xp_real *absolute) {
    const int kind = p->attributes->features;
    xp_real sum = 0;
    *absolute = 0;
    for (int64_t d = 0; d < p->width; d++) {
        const xp_real term = feature(kind, q[d]) * feature(kind, k[d]);
        sum += term;
        *absolute += fabs(term);
    }
    return sum;
}

/* Summed in so many parts, one after the other. Two sums that cancel are taken in different orders, as every kernel
 * does: in one order they would round alike, and the single-precision error would hide what rounding leaves of them. */
static xp_real dot(const xp_real *a, const xp_real *b, int64_t count, int parts, xp_real *absolute) {
    xp_real sum = 0;
    *absolute = 0;
    for (int part = 0; part < parts; part++) {
        xp_real partial = 0;
        for (int64_t i = part; i < count; i += parts) {
            partial += a[i] * b[i];
            *absolute += fabs(a[i] * b[i]);
        }
        sum += partial;
    }
    return sum;
}

void XP_REFERENCE_NAME(linear_attention)(const xp_reference_call *call) {
    const problem p = problem_of(call, 3);
    xp_real *o = call->outputs[0], *z = call->outputs[1];
    double *o_magnitude = call->magnitudes[0], *z_magnitude = call->magnitudes[1];
    const bool sum = p.attributes->normaliser == XP_NORMALISER_SUM;
    xp_real *weights = malloc((size_t)p.keys * sizeof *weights), *absolute = malloc((size_t)p.keys * sizeof *absolute);
    if (!weights || !absolute) abort();
    for (int64_t b = 0; b < p.samples; b++)
        for (int64_t h = 0; h < p.heads; h++)
            for (int64_t i = 0; i < p.queries; i++) {
                const int64_t seen = keys_seen(&p, b, h, i), row = (b * p.heads + h) * p.queries + i;
                xp_real total = 0, total_absolute = 0;
                for (int64_t j = 0; j < seen; j++) {
                    weights[j] = p.scale * product(&p, p.q + query_at(&p, b, i, h, p.width),
                                                   p.k + key_at(&p, b, j, h, p.width), &absolute[j]);
                    absolute[j] *= fabs(p.scale);
                    total += weights[j];
                    total_absolute += absolute[j];
                }
                if (p.attributes->normaliser == XP_NORMALISER_COUNT) total = (xp_real)seen;
                if (p.attributes->normaliser == XP_NORMALISER_NONE) total = seen > 0;
                z[row] = total;
                if (z_magnitude) z_magnitude[row] = sum ? (double)total_absolute : (double)total;
                for (int64_t e = 0; e < p.value_width; e++) {
                    const int64_t at = query_at(&p, b, i, h, p.value_width) + e;
                    xp_real value = 0, value_absolute = 0;
                    for (int64_t j = 0; j < seen; j++) {
                        const xp_real v = p.v[key_at(&p, b, j, h, p.value_width) + e];
                        value += weights[j] * v;
                        value_absolute += absolute[j] * fabs(v);
                    }
                    o[at] = total == 0 ? 0 : value / total;
                    if (!o_magnitude) continue;
                    /* A quotient is as exact as its two sums are. */
                    const xp_real of_total = sum ? fabs(o[at]) * total_absolute : 0;
                    o_magnitude[at] = total == 0 ? 0 : (double)((value_absolute + of_total) / fabs(total));
                }
            }
    free(weights);
    free(absolute);
}

void XP_REFERENCE_NAME(linear_attention_backward)(const xp_reference_call *call) {
    const problem p = problem_of(call, 6);
    const int kind = p.attributes->features;
    const bool sum = p.attributes->normaliser == XP_NORMALISER_SUM;
    const xp_real *o = call->inputs[3], *z = call->inputs[4], *d_o = call->inputs[5];
    xp_real *outputs[3] = {call->outputs[0], call->outputs[1], call->outputs[2]};
    double *magnitudes[3] = {call->magnitudes[0], call->magnitudes[1], call->magnitudes[2]};
    const int64_t sizes[] = {p.samples * p.queries * p.heads * p.width, p.samples * p.keys * p.key_heads * p.width,
                             p.samples * p.keys * p.key_heads * p.value_width};
    for (int t = 0; t < 3; t++)
        for (int64_t i = 0; outputs[t] && i < sizes[t]; i++) {
            outputs[t][i] = 0;
            if (magnitudes[t]) magnitudes[t][i] = 0;
        }
    for (int64_t b = 0; b < p.samples; b++)
        for (int64_t h = 0; h < p.heads; h++)
            for (int64_t i = 0; i < p.queries; i++) {
                const int64_t seen = keys_seen(&p, b, h, i), q_at = query_at(&p, b, i, h, p.width);
                const int64_t o_at = query_at(&p, b, i, h, p.value_width);
                const xp_real total = z[(b * p.heads + h) * p.queries + i];
                if (total == 0) continue;
                xp_real along_absolute, along = dot(d_o + o_at, o + o_at, p.value_width, 8, &along_absolute);
                if (!sum) along = along_absolute = 0;
                for (int64_t j = 0; j < seen; j++) {
                    const int64_t k_at = key_at(&p, b, j, h, p.width), v_at = key_at(&p, b, j, h, p.value_width);
                    xp_real absolute, d_absolute;
                    const xp_real weight = p.scale * product(&p, p.q + q_at, p.k + k_at, &absolute);
                    const xp_real d_weight =
                        p.scale * (dot(d_o + o_at, p.v + v_at, p.value_width, 1, &d_absolute) - along) / total;
                    const double large = fabs((double)p.scale) * (double)absolute;
                    const double d_large = fabs((double)(p.scale * (d_absolute + along_absolute) / total));
                    for (int64_t d = 0; d < p.width; d++) {
                        const xp_real q = p.q[q_at + d], k = p.k[k_at + d];
                        const xp_real dq = d_weight * feature(kind, k), dk = d_weight * feature(kind, q);
                        if (outputs[0]) outputs[0][q_at + d] += dq * feature_slope(kind, q);
                        if (outputs[1]) outputs[1][k_at + d] += dk * feature_slope(kind, k);
                        if (magnitudes[0])
                            magnitudes[0][q_at + d] +=
                                d_large * fabs((double)(feature(kind, k) * feature_slope(kind, q)));
                        if (magnitudes[1])
                            magnitudes[1][k_at + d] +=
                                d_large * fabs((double)(feature(kind, q) * feature_slope(kind, k)));
                    }
                    for (int64_t e = 0; e < p.value_width && outputs[2]; e++) {
                        outputs[2][v_at + e] += weight * d_o[o_at + e] / total;
                        if (magnitudes[2]) magnitudes[2][v_at + e] += large * fabs((double)(d_o[o_at + e] / total));
                    }
                }
            }
}
