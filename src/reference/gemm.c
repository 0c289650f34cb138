/* The oracle of matrix products and of sums of columns: plain loops, no knowledge of the kernels. */
#include "graph/operation.h"
#include "reference/dropout.h"

#include <tgmath.h>

static xp_real activate(xp_real z, int activation) {
    if (activation == XP_ACTIVATION_RELU) return z < 0 ? 0 : z;
    if (activation == XP_ACTIVATION_GELU) return z * (xp_real)0.5 * erfc(-z * (xp_real)0.70710678118654752440);
    return z;
}

static xp_real combine(xp_real z, xp_real partner, int kind) {
    if (kind == XP_COMBINE_ADD) return z + partner;
    if (kind == XP_COMBINE_RELU_SLOPE) return partner > 0 ? z : 0;
    if (kind == XP_COMBINE_GELU_SLOPE)
        return z * ((xp_real)0.5 * erfc(-partner * (xp_real)0.70710678118654752440) +
                    partner * (xp_real)0.39894228040143267794 * exp((xp_real)-0.5 * partner * partner));
    return z;
}

void XP_REFERENCE_NAME(gemm)(const xp_reference_call *call) {
    const xp_gemm_attributes *attributes = XP_ATTRIBUTES(xp_gemm_attributes, call->node);
    const int64_t m = attributes->m, n = attributes->n, k = attributes->k;
    const xp_real *a = call->inputs[0], *b = call->inputs[1], *bias = call->inputs[2], *partner = call->inputs[3];
    xp_real *y = call->outputs[0], *z = call->outputs[1], *sums = call->outputs[2];
    const int64_t a_row = attributes->transpose_a ? 1 : k, a_step = attributes->transpose_a ? m : 1;
    const int64_t b_column = attributes->transpose_b ? k : 1, b_step = attributes->transpose_b ? 1 : n;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            xp_real sum = 0;
            double terms = bias ? fabs((double)bias[j]) : 0;
            for (int64_t step = 0; step < k; step++) {
                const xp_real term = a[i * a_row + step * a_step] * b[j * b_column + step * b_step];
                sum += term;
                terms += fabs((double)term);
            }
            if (bias) sum += bias[j];
            if (z) z[i * n + j] = sum;
            const xp_real keep = xp_reference_keep(&attributes->dropout, call->inputs[4], i * n + j);
            y[i * n + j] = activate(sum, attributes->activation) * keep;
            if (call->magnitudes[1]) call->magnitudes[1][i * n + j] = terms;
            if (partner) {
                y[i * n + j] = combine(sum * keep, partner[i * n + j], attributes->combine);
                if (attributes->combine == XP_COMBINE_ADD)
                    terms += fabs((double)partner[i * n + j]);
                else /* a slope of GELU lies between -0.13 and 1.13 */
                    terms *= 1.13;
            }
            if (call->magnitudes[0]) call->magnitudes[0][i * n + j] = terms * (double)(keep > 1 ? keep : 1);
        }
    for (int64_t i = 0; i < m && sums; i++) {
        xp_real sum = 0;
        double terms = 0;
        for (int64_t step = 0; step < k; step++) {
            sum += a[i * a_row + step * a_step];
            terms += fabs((double)a[i * a_row + step * a_step]);
        }
        sums[i] = sum;
        if (call->magnitudes[2]) call->magnitudes[2][i] = terms;
    }
}

void XP_REFERENCE_NAME(column_sum)(const xp_reference_call *call) {
    const int64_t rows = call->node->inputs[0]->shape[0], columns = call->node->inputs[0]->shape[1];
    const xp_real *x = call->inputs[0];
    xp_real *sums = call->outputs[0];
    for (int64_t column = 0; column < columns; column++) {
        xp_real sum = 0;
        double terms = 0;
        for (int64_t row = 0; row < rows; row++) {
            sum += x[row * columns + column];
            terms += fabs((double)x[row * columns + column]);
        }
        sums[column] = sum;
        if (call->magnitudes[0]) call->magnitudes[0][column] = terms;
    }
}
