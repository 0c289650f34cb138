/* Attention-BN by its definition: statistics of the keys that a head sees, queries and keys normalised with them, and
 * the derivatives. */
#include "reference/reference.h"

#include "ops/operation.h"
#include "ops/ops.h"

#include <tgmath.h>

/* How many keys head h of sequence b sees. */
static int64_t count_keys(const xp_tensor *tensor, const int32_t *counts, int64_t b, int64_t h, int64_t keys) {
    if (!counts) return keys;
    int64_t count = tensor->rank == 2 ? counts[b * tensor->shape[1] + h] : counts[b];
    return count < 0 ? 0 : count > keys ? keys : count;
}

void XP_REFERENCE_NAME(attention_normalise)(const xp_reference_call *call) {
    const xp_node *node = call->node;
    const xp_attention_normalise_attributes *attributes = XP_ATTRIBUTES(xp_attention_normalise_attributes, node);
    const int64_t batch = node->inputs[0]->shape[0], queries = node->inputs[0]->shape[1];
    const int64_t heads = node->inputs[0]->shape[2], width = node->inputs[0]->shape[3];
    const int64_t keys = node->inputs[1]->shape[1], row = heads * width;
    const xp_real *q = call->inputs[0], *k = call->inputs[1], *betas = call->inputs[3];
    xp_real *q_out = call->outputs[0], *k_out = call->outputs[1], *mu = call->outputs[2], *s2 = call->outputs[3];
    double *const *magnitudes = call->magnitudes;

    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++) {
            const int64_t count = count_keys(node->inputs[2], call->inputs[2], b, h, keys);
            const xp_real beta = betas ? betas[h] : (xp_real)attributes->beta;
            for (int64_t d = 0; d < width; d++) {
                const int64_t statistic = (b * heads + h) * width + d, column = h * width + d;
                const xp_real *key = k + b * keys * row + column;
                xp_real mean = 0, variance = 0;
                double mean_terms = 0, variance_terms = 0;
                for (int64_t j = 0; j < count; j++) mean += key[j * row];
                if (count > 0) mean /= (xp_real)count;
                for (int64_t j = 0; j < count; j++) mean_terms += fabs((double)key[j * row]) / (double)count;
                for (int64_t j = 0; j < count; j++) {
                    const xp_real deviation = key[j * row] - mean;
                    variance += deviation * deviation;
                    variance_terms += fabs((double)deviation) *
                                      (fabs((double)deviation) + 2 * (fabs((double)key[j * row]) + mean_terms)) /
                                      (double)count;
                }
                const bool scaled = attributes->scale && count > 0;
                mu[statistic] = mean;
                s2[statistic] = scaled ? variance / (xp_real)count + (xp_real)attributes->epsilon : 1;
                if (!scaled) variance_terms = 0;
                if (magnitudes[2]) magnitudes[2][statistic] = mean_terms;
                if (magnitudes[3]) magnitudes[3][statistic] = variance_terms + fabs((double)attributes->epsilon);

                for (int64_t i = 0; i < queries; i++) {
                    const int64_t at = (b * queries + i) * row + column;
                    q_out[at] = (q[at] - beta * mean) / s2[statistic];
                    if (magnitudes[0])
                        magnitudes[0][at] = (fabs((double)q[at]) + fabs((double)beta) * mean_terms +
                                             fabs((double)q_out[at]) * variance_terms) /
                                            (double)s2[statistic];
                }
                for (int64_t j = 0; j < keys; j++) {
                    const int64_t at = (b * keys + j) * row + column;
                    k_out[at] = j < count ? k[at] - beta * mean : 0;
                    if (magnitudes[1] && j < count)
                        magnitudes[1][at] = fabs((double)k[at]) + fabs((double)beta) * mean_terms;
                }
            }
        }
}

void XP_REFERENCE_NAME(attention_normalise_backward)(const xp_reference_call *call) {
    const xp_node *node = call->node;
    const xp_attention_normalise_attributes *attributes = XP_ATTRIBUTES(xp_attention_normalise_attributes, node);
    const int64_t batch = node->inputs[2]->shape[0], queries = node->inputs[2]->shape[1];
    const int64_t heads = node->inputs[2]->shape[2], width = node->inputs[2]->shape[3];
    const int64_t keys = node->inputs[3]->shape[1], row = heads * width;
    const xp_real *d_q_out = call->inputs[0], *d_k_out = call->inputs[1], *q = call->inputs[2], *k = call->inputs[3];
    const xp_real *mu = call->inputs[4], *s2 = call->inputs[5], *betas = call->inputs[7];
    xp_real *dq = call->outputs[0], *dk = call->outputs[1], *d_beta = call->outputs[2];
    double *const *magnitudes = call->magnitudes;

    for (int64_t h = 0; h < heads; h++) {
        xp_real beta_sum = 0;
        double beta_terms = 0;
        for (int64_t b = 0; b < batch; b++) {
            const int64_t count = count_keys(node->inputs[6], call->inputs[6], b, h, keys);
            const xp_real beta = betas ? betas[h] : (xp_real)attributes->beta;
            for (int64_t d = 0; d < width; d++) {
                const int64_t statistic = (b * heads + h) * width + d, column = h * width + d;
                const xp_real mean = mu[statistic], variance = s2[statistic];
                /* centre = beta·mu: both outputs subtract it */
                xp_real d_centre = 0, d_variance = 0;
                double centre_terms = 0, variance_terms = 0;
                for (int64_t i = 0; i < queries; i++) {
                    const int64_t at = (b * queries + i) * row + column;
                    const xp_real g = d_q_out[at];
                    d_centre -= g / variance;
                    d_variance -= g * (q[at] - beta * mean) / (variance * variance);
                    centre_terms += fabs((double)(g / variance));
                    variance_terms +=
                        fabs((double)(g / (variance * variance))) * (fabs((double)q[at]) + fabs((double)(beta * mean)));
                    if (dq) dq[at] = g / variance;
                }
                for (int64_t j = 0; j < count; j++) {
                    const xp_real r = d_k_out[(b * keys + j) * row + column];
                    d_centre -= r;
                    centre_terms += fabs((double)r);
                }
                beta_sum += mean * d_centre;
                beta_terms += fabs((double)mean) * centre_terms;
                if (!attributes->scale) d_variance = 0, variance_terms = 0;
                for (int64_t j = 0; dk && j < keys; j++) {
                    const int64_t at = (b * keys + j) * row + column;
                    dk[at] = j < count
                                 ? d_k_out[at] + (beta * d_centre + 2 * d_variance * (k[at] - mean)) / (xp_real)count
                                 : 0;
                    if (magnitudes[1] && j < count)
                        magnitudes[1][at] = fabs((double)d_k_out[at]) +
                                            (fabs((double)beta) * centre_terms +
                                             2 * variance_terms * (fabs((double)k[at]) + fabs((double)mean))) /
                                                (double)count;
                }
            }
        }
        if (d_beta) d_beta[h] = beta_sum;
        if (d_beta && magnitudes[2]) magnitudes[2][h] = beta_terms;
    }
}
