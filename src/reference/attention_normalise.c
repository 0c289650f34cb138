/* Attention-BN by its definition: statistics of the keys that a head or a query sees, queries and keys normalised with
 * them, and the derivatives. */
#include "reference/reference.h"

#include "graph/operation.h"
#include "ops/attributes.h"

#include <tgmath.h>

typedef struct problem {
    const xp_attention_normalise_attributes *attributes;
    int64_t samples, queries, keys, heads, key_heads, group, width, out_width;
    const int32_t *key_lengths, *query_lengths;
    int key_lengths_rank;
} problem;

static problem problem_of(const xp_node *node, const xp_tensor *q, const xp_tensor *k, const xp_tensor *key_lengths,
                          const int32_t *key_values, const int32_t *query_values) {
    const xp_attention_normalise_attributes *attributes = XP_ATTRIBUTES(xp_attention_normalise_attributes, node);
    return (problem){.attributes = attributes,
                     .samples = attributes->packed ? key_lengths->shape[0] - 1 : q->shape[0],
                     .queries = q->shape[1],
                     .keys = k->shape[1],
                     .heads = q->shape[2],
                     .key_heads = k->shape[2],
                     .group = q->shape[2] / k->shape[2],
                     .width = q->shape[3],
                     .out_width = q->shape[3] + (attributes->constant != 0),
                     .key_lengths = key_values,
                     .query_lengths = query_values,
                     .key_lengths_rank = key_lengths ? key_lengths->rank : 0};
}

/* The rows of a sample as rows of the tensor, with the samples one after another. */
typedef struct span {
    int64_t first, count;
} span;

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

static span keys_of(const problem *p, int64_t s, int64_t g) {
    if (p->attributes->packed) return (span){p->key_lengths[s], p->key_lengths[s + 1] - p->key_lengths[s]};
    int64_t count = p->keys;
    if (p->key_lengths) count = p->key_lengths[p->key_lengths_rank == 2 ? s * p->key_heads + g : s];
    return (span){s * p->keys, clamp(count, 0, p->keys)};
}

static span queries_of(const problem *p, int64_t s) {
    if (p->attributes->packed) return (span){p->query_lengths[s], p->query_lengths[s + 1] - p->query_lengths[s]};
    return (span){s * p->queries, p->query_lengths ? clamp(p->query_lengths[s], 0, p->queries) : p->queries};
}

/* How many statistics a sample's head has, and how many keys are in the one of number t. */
static int64_t count_statistics(const problem *p, span keys) {
    return p->attributes->prefix ? keys.count : 1;
}

static int64_t keys_in(const problem *p, span keys, int64_t t) {
    return p->attributes->prefix ? t + 1 : keys.count;
}

/* Which statistic query i of the sample takes; -1: none, since it sees no key. */
static int64_t statistic_of(const problem *p, int64_t g, int64_t i, span keys, span queries) {
    const xp_attention_normalise_attributes *attributes = p->attributes;
    if (!attributes->prefix) return 0;
    const int64_t scale = attributes->key_scale_count ? attributes->key_scales[g % attributes->key_scale_count] : 1;
    const int64_t at = attributes->align_last ? i + keys.count - queries.count : i;
    /* key j is at its last row, j·scale + scale - 1 */
    const int64_t visible = clamp(at < 0 ? 0 : (at + 1) / scale, 0, keys.count);
    return visible - 1;
}

/* The position of element d of a statistic. */
static int64_t place_of(const problem *p, int64_t s, int64_t g, int64_t t, span keys, int64_t d) {
    return ((p->attributes->prefix ? keys.first + t : s) * p->key_heads + g) * p->width + d;
}

static double size_of(xp_real value) {
    return fabs((double)value);
}

static double term_of(const double *terms, int64_t at) {
    return terms ? terms[at] : 0;
}

/* The mean and variance of the first n keys, from `reference`. */
static void describe(const problem *p, const xp_real *key, int64_t row, int64_t n, xp_real reference, xp_real *mean,
                     xp_real *variance, double *mean_terms, double *variance_terms) {
    const bool scaled = p->attributes->scale && n > 0;
    *mean = 0;
    *variance = 0;
    *mean_terms = *variance_terms = 0;
    for (int64_t j = 0; j < n; j++) *mean += key[j * row] - reference;
    if (n > 0) *mean /= (xp_real)n;
    for (int64_t j = 0; j < n; j++) *mean_terms += size_of(key[j * row] - reference) / (double)n;
    for (int64_t j = 0; j < n; j++) {
        const xp_real value = key[j * row] - reference, deviation = value - *mean;
        *variance += deviation * deviation;
        *variance_terms += size_of(deviation) * (size_of(deviation) + 2 * (size_of(value) + *mean_terms)) / (double)n;
    }
    *variance = scaled ? *variance / (xp_real)n + (xp_real)p->attributes->epsilon : 1;
    *variance_terms = scaled ? *variance_terms + fabs((double)p->attributes->epsilon) : 0;
}

/* What a statistic takes from a value: value - beta·mu, and how large the terms are. */
typedef struct centre {
    xp_real strength, reference, mean, variance, spread;
    double mean_terms, variance_terms;
} centre;

static xp_real centred(const centre *c, xp_real value) {
    return value - c->strength * c->reference - c->strength * c->mean;
}

static double centred_terms(const centre *c, xp_real value) {
    return size_of(value) + size_of(c->strength) * (size_of(c->reference) + c->mean_terms);
}

/* beta·mu - reference */
static xp_real recentring(const centre *c) {
    return (c->strength - 1) * c->reference + c->strength * c->mean;
}

static double recentring_terms(const centre *c) {
    return size_of((c->strength - 1) * c->reference) + size_of(c->strength) * c->mean_terms;
}

static centre centre_of(const problem *p, xp_real strength, xp_real reference, xp_real mean, xp_real variance,
                        double mean_terms, double variance_terms) {
    const xp_real spread = p->attributes->both ? sqrt(variance) : variance;
    /* the error of a root is half as large */
    const double share = p->attributes->both ? 0.5 : 1;
    return (centre){strength, reference, mean, variance, spread, mean_terms, share * variance_terms / (double)variance};
}

/* (value - beta·mu) / spread */
static xp_real divided(const centre *c, xp_real value, double *terms) {
    const xp_real result = centred(c, value) / c->spread;
    *terms = centred_terms(c, value) / (double)c->spread + size_of(result) * c->variance_terms;
    return result;
}

void XP_REFERENCE_NAME(attention_normalise)(const xp_reference_call *call) {
    const xp_node *node = call->node;
    const problem p =
        problem_of(node, node->inputs[0], node->inputs[1], node->inputs[2], call->inputs[2], call->inputs[3]);
    const xp_attention_normalise_attributes *attributes = p.attributes;
    const int64_t q_row = p.heads * p.width, k_row = p.key_heads * p.width, width = p.width;
    const xp_real *q = call->inputs[0], *k = call->inputs[1], *betas = call->inputs[4];
    xp_real *q_out = call->outputs[0], *k_out = call->outputs[1], *mu = call->outputs[2], *s2 = call->outputs[3];
    double *const *magnitudes = call->magnitudes;
    for (int output = 0; output < 4; output++)
        for (int64_t i = 0; i < xp_tensor_elements(node->outputs[output]); i++) {
            ((xp_real *)call->outputs[output])[i] = output == 3;
            if (magnitudes[output]) magnitudes[output][i] = 0;
        }

    for (int64_t s = 0; s < p.samples; s++)
        for (int64_t g = 0; g < p.key_heads; g++) {
            const span keys = keys_of(&p, s, g), queries = queries_of(&p, s);
            const xp_real beta = betas ? betas[g] : (xp_real)attributes->beta;
            for (int64_t d = 0; d < width; d++) {
                const xp_real *key = k + keys.first * k_row + g * width + d;
                const xp_real reference = attributes->prefix && keys.count ? *key : 0;
                for (int64_t t = 0; t < count_statistics(&p, keys); t++) {
                    const int64_t at = place_of(&p, s, g, t, keys, d);
                    double mean_terms, variance_terms;
                    describe(&p, key, k_row, keys_in(&p, keys, t), reference, &mu[at], &s2[at], &mean_terms,
                             &variance_terms);
                    if (magnitudes[2]) magnitudes[2][at] = mean_terms;
                    if (magnitudes[3]) magnitudes[3][at] = variance_terms;
                }
                for (int64_t h = g * p.group; h < (g + 1) * p.group; h++)
                    for (int64_t i = 0; i < queries.count; i++) {
                        const int64_t from = (queries.first + i) * q_row + h * width + d;
                        const int64_t to = ((queries.first + i) * p.heads + h) * p.out_width;
                        const int64_t t = statistic_of(&p, g, i, keys, queries);
                        q_out[to + d] = q[from];
                        if (t < 0) continue;
                        const int64_t at = place_of(&p, s, g, t, keys, d);
                        const centre c = centre_of(&p, beta, reference, mu[at], s2[at], term_of(magnitudes[2], at),
                                                   term_of(magnitudes[3], at));
                        double terms;
                        q_out[to + d] = divided(&c, q[from], &terms);
                        if (magnitudes[0]) magnitudes[0][to + d] = terms;
                        if (!attributes->constant) continue;
                        q_out[to + width] -= q_out[to + d] * recentring(&c);
                        if (magnitudes[0])
                            magnitudes[0][to + width] +=
                                terms * size_of(recentring(&c)) + size_of(q_out[to + d]) * recentring_terms(&c);
                    }
                for (int64_t j = 0; j < keys.count; j++) {
                    const int64_t to = ((keys.first + j) * p.key_heads + g) * p.out_width;
                    const int64_t at = place_of(&p, s, g, attributes->prefix ? j : 0, keys, d);
                    const centre c = centre_of(&p, beta, reference, mu[at], s2[at], term_of(magnitudes[2], at),
                                               term_of(magnitudes[3], at));
                    double terms = centred_terms(&c, key[j * k_row]);
                    if (attributes->both)
                        k_out[to + d] = divided(&c, key[j * k_row], &terms);
                    else if (attributes->prefix)
                        k_out[to + d] = key[j * k_row] - reference;
                    else
                        k_out[to + d] = centred(&c, key[j * k_row]);
                    if (magnitudes[1] && (attributes->both || !attributes->prefix)) magnitudes[1][to + d] = terms;
                    if (attributes->constant) k_out[to + width] = 1;
                }
            }
        }
}

void XP_REFERENCE_NAME(attention_normalise_backward)(const xp_reference_call *call) {
    const xp_node *node = call->node;
    const problem p =
        problem_of(node, node->inputs[2], node->inputs[3], node->inputs[6], call->inputs[6], call->inputs[7]);
    const xp_attention_normalise_attributes *attributes = p.attributes;
    const bool both = attributes->both, prefix = attributes->prefix;
    const int64_t q_row = p.heads * p.width, k_row = p.key_heads * p.width, width = p.width;
    const xp_real *d_q_out = call->inputs[0], *d_k_out = call->inputs[1], *q = call->inputs[2], *k = call->inputs[3];
    const xp_real *mu = call->inputs[4], *s2 = call->inputs[5], *betas = call->inputs[8];
    xp_real *dq = call->outputs[0], *dk = call->outputs[1], *d_beta = call->outputs[2];
    double *dq_terms = call->magnitudes[0], *dk_terms = call->magnitudes[1];
    for (int output = 0; output < 3; output++)
        for (int64_t i = 0; node->outputs[output] && i < xp_tensor_elements(node->outputs[output]); i++) {
            ((xp_real *)call->outputs[output])[i] = 0;
            if (call->magnitudes[output]) call->magnitudes[output][i] = 0;
        }

    for (int64_t g = 0; g < p.key_heads; g++) {
        xp_real beta_sum = 0;
        double beta_terms = 0;
        const xp_real beta = betas ? betas[g] : (xp_real)attributes->beta;
        for (int64_t s = 0; s < p.samples; s++)
            for (int64_t d = 0; d < width; d++) {
                const span keys = keys_of(&p, s, g), queries = queries_of(&p, s);
                const int64_t first = keys.first * k_row + g * width + d; /* of the keys */
                const int64_t r_row = p.key_heads * p.out_width;
                const xp_real *r = d_k_out + (keys.first * p.key_heads + g) * p.out_width + d;
                const xp_real reference = prefix && keys.count ? k[first] : 0;
                /* what k'_j itself passes on, where that is not divided */
                for (int64_t j = 0; dk && !both && j < keys.count; j++) {
                    dk[first + j * k_row] += r[j * r_row];
                    if (prefix) dk[first] -= r[j * r_row];
                    if (dk_terms) dk_terms[first + j * k_row] += size_of(r[j * r_row]);
                    if (dk_terms && prefix) dk_terms[first] += size_of(r[j * r_row]);
                }
                for (int64_t h = g * p.group; dq && h < (g + 1) * p.group; h++)
                    for (int64_t i = 0; i < queries.count; i++)
                        dq[(queries.first + i) * q_row + h * width + d] =
                            d_q_out[((queries.first + i) * p.heads + h) * p.out_width + d];
                for (int64_t t = 0; t < count_statistics(&p, keys); t++) {
                    const int64_t at = place_of(&p, s, g, t, keys, d), n = keys_in(&p, keys, t);
                    const centre c = centre_of(&p, beta, reference, mu[at], s2[at], size_of(mu[at]), 0);
                    /* the slopes by beta·mu, which all results subtract, and by s2 */
                    xp_real d_centre = 0, d_variance = 0;
                    double centre_terms = 0, variance_terms = 0;
                    for (int64_t h = g * p.group; h < (g + 1) * p.group; h++)
                        for (int64_t i = 0; i < queries.count; i++) {
                            if (statistic_of(&p, g, i, keys, queries) != t) continue;
                            const int64_t from = (queries.first + i) * q_row + h * width + d;
                            const xp_real *arriving = d_q_out + ((queries.first + i) * p.heads + h) * p.out_width;
                            xp_real slope = arriving[d];
                            double slope_terms = size_of(slope);
                            if (attributes->constant) {
                                const xp_real pull = arriving[width] * centred(&c, q[from]) / c.variance;
                                const double pull_terms =
                                    size_of(arriving[width]) * centred_terms(&c, q[from]) / (double)c.variance;
                                slope -= arriving[width] * recentring(&c);
                                slope_terms += size_of(arriving[width]) * recentring_terms(&c);
                                d_centre -= pull;
                                centre_terms += pull_terms;
                                if (dk) dk[first] += pull;
                                if (dk_terms) dk_terms[first] += pull_terms;
                            }
                            const xp_real factor =
                                both ? 1 / (2 * c.variance * c.spread) : 1 / (c.variance * c.variance);
                            d_centre -= slope / c.spread;
                            d_variance -= slope * centred(&c, q[from]) * factor;
                            centre_terms += slope_terms / (double)c.spread;
                            variance_terms += slope_terms * centred_terms(&c, q[from]) * (double)factor;
                            if (dq) dq[from] = slope / c.spread;
                            if (dq_terms) dq_terms[from] = slope_terms / (double)c.spread;
                        }
                    /* the keys that this statistic normalises: all of them, or of prefixes none or the last */
                    for (int64_t j = prefix ? t : 0; j < (prefix && !both ? 0 : n); j++) {
                        const xp_real slope = r[j * r_row], key = k[first + j * k_row];
                        const xp_real divisor = both ? c.spread : 1;
                        d_centre -= slope / divisor;
                        centre_terms += size_of(slope / divisor);
                        if (!both) continue;
                        d_variance -= slope * centred(&c, key) / (2 * c.variance * c.spread);
                        variance_terms += size_of(slope) * centred_terms(&c, key) / (double)(2 * c.variance * c.spread);
                        if (dk) dk[first + j * k_row] += slope / c.spread;
                        if (dk_terms) dk_terms[first + j * k_row] += size_of(slope / c.spread);
                    }
                    beta_sum += (reference + c.mean) * d_centre;
                    beta_terms += (size_of(reference) + size_of(c.mean)) * centre_terms;
                    if (!attributes->scale) d_variance = 0, variance_terms = 0;
                    for (int64_t j = 0; dk && j < n; j++) {
                        const xp_real value = k[first + j * k_row] - reference;
                        dk[first + j * k_row] += (beta * d_centre + 2 * d_variance * (value - c.mean)) / (xp_real)n;
                        if (dk_terms)
                            dk_terms[first + j * k_row] += (size_of(beta) * centre_terms +
                                                            2 * variance_terms * (size_of(value) + size_of(c.mean))) /
                                                           (double)n;
                    }
                }
            }
        if (d_beta) d_beta[g] = beta_sum;
        if (d_beta && call->magnitudes[2]) call->magnitudes[2][g] = beta_terms;
    }
}
