/* Depthwise convolution by its definition: every pair of rows that a tap joins, and the derivatives of that sum. */
#include "reference/reference.h"

#include "graph/operation.h"
#include "ops/attributes.h"

#include <tgmath.h>

typedef struct problem {
    const xp_depthwise_convolution_attributes *attributes;
    int64_t batch, sequence, columns, taps;
    const int32_t *lengths;
} problem;

static problem problem_of(const xp_node *node, const xp_tensor *x, const int32_t *lengths) {
    const xp_depthwise_convolution_attributes *attributes = XP_ATTRIBUTES(xp_depthwise_convolution_attributes, node);
    return (problem){attributes,
                     x->shape[0],
                     x->shape[1],
                     x->shape[2] * x->shape[3],
                     attributes->width * (attributes->grid_height ? attributes->width : 1),
                     lengths};
}

/* The row that `tap` lays on row n of sequence b; -1: none. */
static int64_t source_of(const problem *p, int64_t b, int64_t n, int64_t tap) {
    const xp_depthwise_convolution_attributes *attributes = p->attributes;
    const int64_t k = attributes->width, before = attributes->causal ? k - 1 : (k - 1) / 2;
    if (!attributes->grid_height) {
        const int64_t length = p->lengths ? p->lengths[b] : p->sequence, row = n + tap - before;
        return n < length && row >= 0 && row < length && row < p->sequence ? row : -1;
    }
    const int64_t token = attributes->class_token != 0, breadth = attributes->grid_width;
    if (n < token) return -1;
    const int64_t y = (n - token) / breadth + tap / k - before, x = (n - token) % breadth + tap % k - before;
    return y >= 0 && y < attributes->grid_height && x >= 0 && x < breadth ? token + y * breadth + x : -1;
}

static bool is_token(const problem *p, int64_t n) {
    return p->attributes->grid_height && p->attributes->class_token && n == 0;
}

void XP_REFERENCE_NAME(depthwise_convolution)(const xp_reference_call *call) {
    const problem p = problem_of(call->node, call->node->inputs[0], call->inputs[2]);
    const xp_real *x = call->inputs[0], *weight = call->inputs[1];
    xp_real *y = call->outputs[0];
    double *terms = call->magnitudes[0];
    for (int64_t b = 0; b < p.batch; b++)
        for (int64_t n = 0; n < p.sequence; n++)
            for (int64_t c = 0; c < p.columns; c++) {
                const int64_t to = (b * p.sequence + n) * p.columns + c;
                xp_real sum = is_token(&p, n) ? x[to] : 0;
                double sum_terms = fabs((double)sum);
                for (int64_t tap = 0; tap < p.taps; tap++) {
                    const int64_t row = source_of(&p, b, n, tap);
                    if (row < 0) continue;
                    const xp_real term = weight[c * p.taps + tap] * x[(b * p.sequence + row) * p.columns + c];
                    sum += term;
                    sum_terms += fabs((double)term);
                }
                y[to] = sum;
                if (terms) terms[to] = sum_terms;
            }
}

void XP_REFERENCE_NAME(depthwise_convolution_backward)(const xp_reference_call *call) {
    const problem p = problem_of(call->node, call->node->inputs[1], call->inputs[3]);
    const xp_real *dy = call->inputs[0], *x = call->inputs[1], *weight = call->inputs[2];
    xp_real *dx = call->outputs[0], *d_weight = call->outputs[1];
    double *dx_terms = call->magnitudes[0], *weight_terms = call->magnitudes[1];
    const int64_t elements = p.batch * p.sequence * p.columns;
    for (int64_t i = 0; i < elements; i++) {
        if (dx) dx[i] = is_token(&p, i / p.columns % p.sequence) ? dy[i] : 0;
        if (dx_terms) dx_terms[i] = 0;
    }
    for (int64_t i = 0; i < p.columns * p.taps; i++) {
        if (d_weight) d_weight[i] = 0;
        if (weight_terms) weight_terms[i] = 0;
    }
    for (int64_t b = 0; b < p.batch; b++)
        for (int64_t n = 0; n < p.sequence; n++)
            for (int64_t tap = 0; tap < p.taps; tap++) {
                const int64_t row = source_of(&p, b, n, tap);
                for (int64_t c = 0; row >= 0 && c < p.columns; c++) {
                    const xp_real slope = dy[(b * p.sequence + n) * p.columns + c];
                    const int64_t from = (b * p.sequence + row) * p.columns + c, at = c * p.taps + tap;
                    if (dx) dx[from] += weight[at] * slope;
                    if (dx_terms) dx_terms[from] += fabs((double)(weight[at] * slope));
                    if (d_weight) d_weight[at] += x[from] * slope;
                    if (weight_terms) weight_terms[at] += fabs((double)(x[from] * slope));
                }
            }
}
