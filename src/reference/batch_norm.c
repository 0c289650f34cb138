/* The oracle of batch normalisation. */
#include "ops/attributes.h"
#include "reference/reference.h"

#include <tgmath.h>

static int64_t count_active(const xp_real *weight, int64_t samples, int64_t length) {
    int64_t count = 0;
    for (int64_t b = 0; b < samples; b++)
        if (weight[b] > 0) count += length;
    return count;
}

void XP_REFERENCE_NAME(batch_norm)(const xp_reference_call *call) {
    const xp_batch_norm_attributes *attributes = (const void *)call->node->attributes;
    const int64_t *shape = call->node->inputs[0]->shape;
    int64_t samples = shape[0], length = shape[1], columns = shape[2];
    const xp_real *x = call->inputs[0], *gamma = call->inputs[1], *beta = call->inputs[2], *weight = call->inputs[5];
    const xp_real *old_mean = call->inputs[3], *old_variance = call->inputs[4];
    xp_real *out = call->outputs[0];
    int64_t count = count_active(weight, samples, length);

    for (int64_t c = 0; c < columns; c++) {
        xp_real mean = old_mean[c], variance = old_variance[c];
        double mean_magnitude = 0;
        if (attributes->training) {
            xp_real sum = 0, squares = 0;
            for (int64_t b = 0; b < samples; b++)
                for (int64_t n = 0; n < length; n++)
                    if (weight[b] > 0) {
                        sum += x[(b * length + n) * columns + c];
                        mean_magnitude += fabs((double)x[(b * length + n) * columns + c]);
                    }
            mean = count > 0 ? sum / (xp_real)count : 0;
            mean_magnitude /= count > 0 ? (double)count : 1;
            for (int64_t b = 0; b < samples; b++)
                for (int64_t n = 0; n < length; n++)
                    if (weight[b] > 0) {
                        xp_real deviation = x[(b * length + n) * columns + c] - mean;
                        squares += deviation * deviation;
                    }
            variance = count > 0 ? squares / (xp_real)count : 0;
            if (count > 0) {
                xp_real unbiased = count > 1 ? squares / (xp_real)(count - 1) : squares, share = attributes->momentum;
                ((xp_real *)call->outputs[3])[c] = (1 - share) * old_mean[c] + share * mean;
                ((xp_real *)call->outputs[4])[c] = (1 - share) * old_variance[c] + share * unbiased;
                if (call->magnitudes[3])
                    call->magnitudes[3][c] = fabs((double)old_mean[c]) + (double)share * mean_magnitude;
            }
        } else {
            mean_magnitude = fabs((double)mean);
        }
        xp_real rstd = 1 / sqrt(variance + attributes->epsilon);
        if (attributes->training) {
            ((xp_real *)call->outputs[1])[c] = mean;
            ((xp_real *)call->outputs[2])[c] = rstd;
            if (call->magnitudes[1]) call->magnitudes[1][c] = mean_magnitude;
        }
        for (int64_t row = 0; row < samples * length; row++) {
            int64_t i = row * columns + c;
            out[i] = (x[i] - mean) * rstd * gamma[c] + beta[c];
            if (call->magnitudes[0])
                call->magnitudes[0][i] = (fabs((double)x[i]) + mean_magnitude) * (double)rstd * fabs((double)gamma[c]) +
                                         fabs((double)beta[c]);
        }
    }
}

void XP_REFERENCE_NAME(batch_norm_backward)(const xp_reference_call *call) {
    const int64_t *shape = call->node->inputs[1]->shape;
    int64_t samples = shape[0], length = shape[1], columns = shape[2];
    const xp_real *d_out = call->inputs[0], *x = call->inputs[1], *gamma = call->inputs[2], *mean = call->inputs[3];
    const xp_real *rstd = call->inputs[4], *weight = call->inputs[5];
    xp_real *dx = call->outputs[0], *d_gamma = call->outputs[1], *d_beta = call->outputs[2];
    int64_t count = count_active(weight, samples, length);

    for (int64_t c = 0; c < columns; c++) {
        xp_real products = 0, sum = 0;
        double product_terms = 0, sum_terms = 0;
        for (int64_t b = 0; b < samples; b++)
            for (int64_t n = 0; n < length; n++) {
                if (!(weight[b] > 0)) continue;
                int64_t i = (b * length + n) * columns + c;
                xp_real normalised = (x[i] - mean[c]) * rstd[c];
                products += d_out[i] * normalised;
                sum += d_out[i];
                product_terms +=
                    fabs((double)d_out[i]) * (fabs((double)x[i]) + fabs((double)mean[c])) * (double)rstd[c];
                sum_terms += fabs((double)d_out[i]);
            }
        if (d_gamma) d_gamma[c] = products;
        if (d_beta) d_beta[c] = sum;
        if (d_gamma && call->magnitudes[1]) call->magnitudes[1][c] = product_terms;
        if (d_beta && call->magnitudes[2]) call->magnitudes[2][c] = sum_terms;
        for (int64_t row = 0; dx && row < samples * length; row++) {
            int64_t i = row * columns + c;
            dx[i] = 0;
            if (!(weight[row / length] > 0)) continue;
            xp_real normalised = (x[i] - mean[c]) * rstd[c];
            dx[i] = gamma[c] * rstd[c] * (d_out[i] - sum / (xp_real)count - normalised * products / (xp_real)count);
            if (call->magnitudes[0]) {
                double spread = (fabs((double)x[i]) + fabs((double)mean[c])) * (double)rstd[c];
                double terms =
                    fabs((double)d_out[i]) + sum_terms / (double)count + spread * product_terms / (double)count;
                call->magnitudes[0][i] = fabs((double)gamma[c]) * (double)rstd[c] * terms;
            }
        }
    }
}
