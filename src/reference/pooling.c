/* The oracle of pooling a sequence, of its gradient, and of masked rows. */
#include "graph/operation.h"
#include "ops/attributes.h"
#include "reference/reference.h"

#include <tgmath.h>

/* How many rows of sample b count; lengths outside the sequence are cut. */
static int64_t rows_that_count(const int32_t *lengths, int64_t b, int64_t rows) {
    if (!lengths || lengths[b] > rows) return rows;
    return lengths[b] < 0 ? 0 : lengths[b];
}

void XP_REFERENCE_NAME(sequence_pool)(const xp_reference_call *call) {
    bool mean = XP_ATTRIBUTES(xp_sequence_pool_attributes, call->node)->pool == XP_POOL_MEAN;
    const int64_t *shape = call->node->inputs[0]->shape;
    int64_t rows = shape[1], columns = shape[2];
    const xp_real *x = call->inputs[0];
    xp_real *y = call->outputs[0];
    for (int64_t b = 0; b < shape[0]; b++) {
        int64_t length = mean ? rows_that_count(call->inputs[1], b, rows) : 1;
        for (int64_t c = 0; c < columns; c++) {
            xp_real sum = 0, terms = 0;
            for (int64_t n = 0; n < length; n++) {
                sum += x[(b * rows + n) * columns + c];
                terms += fabs(x[(b * rows + n) * columns + c]);
            }
            y[b * columns + c] = length > 0 ? sum / (xp_real)length : 0;
            if (call->magnitudes[0])
                call->magnitudes[0][b * columns + c] = length > 0 ? (double)terms / (double)length : 0;
        }
    }
}

void XP_REFERENCE_NAME(sequence_pool_backward)(const xp_reference_call *call) {
    bool mean = XP_ATTRIBUTES(xp_sequence_pool_attributes, call->node)->pool == XP_POOL_MEAN;
    const int64_t *shape = call->node->outputs[0]->shape;
    int64_t rows = shape[1], columns = shape[2];
    const xp_real *dy = call->inputs[0];
    xp_real *dx = call->outputs[0];
    for (int64_t b = 0; b < shape[0]; b++) {
        int64_t length = mean ? rows_that_count(call->inputs[1], b, rows) : 1;
        for (int64_t n = 0; n < rows; n++)
            for (int64_t c = 0; c < columns; c++)
                dx[(b * rows + n) * columns + c] = n < length ? dy[b * columns + c] / (xp_real)length : 0;
    }
}

void XP_REFERENCE_NAME(mask_rows)(const xp_reference_call *call) {
    const int64_t *shape = call->node->inputs[0]->shape;
    int64_t rows = shape[1], columns = shape[2];
    const xp_real *x = call->inputs[0];
    xp_real *y = call->outputs[0];
    for (int64_t b = 0; b < shape[0]; b++) {
        int64_t length = rows_that_count(call->inputs[1], b, rows);
        for (int64_t i = b * rows * columns; i < (b + 1) * rows * columns; i++)
            y[i] = i < (b * rows + length) * columns ? x[i] : 0;
    }
}
