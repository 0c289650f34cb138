/* The oracle of the fused residual addition, dropout and LayerNorm, and of its gradient. */
#include "graph/operation.h"
#include "reference/dropout.h"

#include <tgmath.h>

void XP_REFERENCE_NAME(layer_norm)(const xp_reference_call *call) {
    const xp_layer_norm_attributes *attributes = XP_ATTRIBUTES(xp_layer_norm_attributes, call->node);
    const xp_tensor *shape = call->node->inputs[0];
    int64_t columns = shape->shape[shape->rank - 1], rows = xp_tensor_elements(shape) / columns;
    const xp_real *x = call->inputs[0], *branch = call->inputs[1], *gamma = call->inputs[2], *beta = call->inputs[3];
    xp_real *out = call->outputs[0], *sum = call->outputs[1], *mean = call->outputs[2], *rstd = call->outputs[3];
    for (int64_t row = 0; row < rows; row++) {
        const xp_real *values = x + row * columns;
        if (branch) {
            for (int64_t c = row * columns; c < (row + 1) * columns; c++) {
                xp_real keep = xp_reference_keep(&attributes->dropout, call->inputs[4], c);
                xp_real added = keep == 0 ? 0 : branch[c] * keep;
                sum[c] = x[c] + added;
                if (call->magnitudes[1]) call->magnitudes[1][c] = (double)(fabs(x[c]) + fabs(added));
            }
            values = sum + row * columns;
        }
        xp_real middle = 0, absolute = 0, variance = 0;
        for (int64_t c = 0; c < columns; c++) {
            middle += values[c] / (xp_real)columns;
            absolute += fabs(values[c]) / (xp_real)columns;
        }
        for (int64_t c = 0; c < columns; c++)
            variance += (values[c] - middle) * (values[c] - middle) / (xp_real)columns;
        xp_real scale = 1 / sqrt(variance + (xp_real)attributes->epsilon);
        for (int64_t c = 0; c < columns; c++) {
            out[row * columns + c] = (values[c] - middle) * scale * gamma[c] + beta[c];
            /* The mean's own rounding is in proportion to the mean of the absolute values. */
            if (call->magnitudes[0])
                call->magnitudes[0][row * columns + c] =
                    (double)((fabs(values[c]) + absolute) * scale * fabs(gamma[c]) + fabs(beta[c]));
        }
        if (mean) {
            mean[row] = middle;
            rstd[row] = scale;
            if (call->magnitudes[2]) call->magnitudes[2][row] = (double)absolute;
            if (call->magnitudes[3]) call->magnitudes[3][row] = (double)(scale * (1 + absolute * scale));
        }
    }
}

void XP_REFERENCE_NAME(layer_norm_backward)(const xp_reference_call *call) {
    const xp_layer_norm_attributes *attributes = XP_ATTRIBUTES(xp_layer_norm_attributes, call->node);
    const xp_tensor *shape = call->node->inputs[2];
    int64_t columns = shape->shape[shape->rank - 1], rows = xp_tensor_elements(shape) / columns;
    const xp_real *d_out = call->inputs[0], *d_sum = call->inputs[1], *sum = call->inputs[2], *mean = call->inputs[3];
    const xp_real *rstd = call->inputs[4], *gamma = call->inputs[5];
    xp_real *dx = call->outputs[0], *d_branch = call->outputs[1], *d_gamma = call->outputs[2];
    xp_real *d_beta = call->outputs[3];
    const xp_tensor *lengths = call->node->inputs[7];
    const int64_t sample_rows = lengths ? rows / lengths->shape[0] : rows;
    const int32_t *length = call->inputs[7];
    for (int64_t c = 0; d_gamma && c < columns; c++) {
        double gamma_terms = 0, beta_terms = 0;
        d_gamma[c] = d_beta[c] = 0;
        for (int64_t row = 0; row < rows; row++) {
            if (length && row % sample_rows >= length[row / sample_rows]) continue;
            xp_real arriving = d_out[row * columns + c];
            d_gamma[c] += arriving * (sum[row * columns + c] - mean[row]) * rstd[row];
            d_beta[c] += arriving;
            gamma_terms += (double)(fabs(arriving) * (fabs(sum[row * columns + c]) + fabs(mean[row])) * rstd[row]);
            beta_terms += (double)fabs(arriving);
        }
        if (call->magnitudes[2]) call->magnitudes[2][c] = gamma_terms;
        if (call->magnitudes[3]) call->magnitudes[3][c] = beta_terms;
    }
    for (int64_t row = 0; dx && row < rows; row++) {
        xp_real mean_inner = 0, mean_along = 0, inner_terms = 0, along_terms = 0;
        const bool arrives = d_out && !(length && row % sample_rows >= length[row / sample_rows]);
        for (int64_t c = 0; arrives && c < columns; c++) {
            xp_real inner = d_out[row * columns + c] * gamma[c];
            xp_real normal = (sum[row * columns + c] - mean[row]) * rstd[row];
            xp_real normal_terms = (fabs(sum[row * columns + c]) + fabs(mean[row])) * rstd[row];
            mean_inner += inner / (xp_real)columns;
            mean_along += inner * normal / (xp_real)columns;
            inner_terms += fabs(inner) / (xp_real)columns;
            along_terms += fabs(inner) * normal_terms / (xp_real)columns;
        }
        for (int64_t c = 0; c < columns; c++) {
            int64_t i = row * columns + c;
            xp_real result = 0, terms = 0;
            if (arrives) {
                xp_real normal = (sum[i] - mean[row]) * rstd[row];
                xp_real normal_terms = (fabs(sum[i]) + fabs(mean[row])) * rstd[row];
                result = (d_out[i] * gamma[c] - mean_inner - normal * mean_along) * rstd[row];
                terms = (fabs(d_out[i] * gamma[c]) + inner_terms + normal_terms * along_terms) * rstd[row];
            }
            if (d_sum) {
                result += d_sum[i];
                terms += fabs(d_sum[i]);
            }
            dx[i] = result;
            if (call->magnitudes[0]) call->magnitudes[0][i] = (double)terms;
            if (d_branch) {
                xp_real keep = xp_reference_keep(&attributes->dropout, call->inputs[6], i);
                d_branch[i] = keep == 0 ? 0 : result * keep;
                if (call->magnitudes[1]) call->magnitudes[1][i] = (double)(terms * keep);
            }
        }
    }
}
