/* Attention-SH by its definition: each pooled row is the average of the rows whose window it is, and its gradient goes
 * back to them in equal shares. */
#include "reference/reference.h"

#include "graph/operation.h"
#include "ops/attributes.h"

#include <tgmath.h>

static int64_t divide_up(int64_t value, int64_t by) {
    return (value + by - 1) / by;
}

static int64_t rows_of(const xp_attention_pool_attributes *attributes, const int32_t *lengths, int64_t b,
                       int64_t sequence, int64_t scale) {
    int64_t rows = lengths ? lengths[b] : sequence;
    rows = rows < 0 ? 0 : rows > sequence ? sequence : rows;
    return attributes->whole ? rows - rows % scale : rows;
}

static int64_t count_windows(const xp_attention_pool_attributes *attributes, int64_t scale, int64_t rows) {
    if (attributes->grid_height == 0) return divide_up(rows, scale);
    return (attributes->class_token != 0) +
           divide_up(attributes->grid_height, scale) * divide_up(attributes->grid_width, scale);
}

/* The window that row n belongs to. */
static int64_t window_of(const xp_attention_pool_attributes *attributes, int64_t scale, int64_t n) {
    if (attributes->grid_height == 0) return n / scale;
    if (attributes->class_token && n == 0) return 0;
    const int64_t token = attributes->class_token != 0, breadth = attributes->grid_width;
    const int64_t y = (n - token) / breadth, x = (n - token) % breadth;
    return token + y / scale * divide_up(breadth, scale) + x / scale;
}

/* The rows of a window that exist. */
static int64_t window_size(const xp_attention_pool_attributes *attributes, int64_t scale, int64_t rows, int64_t j) {
    int64_t size = 0;
    for (int64_t n = 0; n < rows; n++) size += window_of(attributes, scale, n) == j;
    return size;
}

void XP_REFERENCE_NAME(attention_pool)(const xp_reference_call *call) {
    const xp_attention_pool_attributes *attributes = XP_ATTRIBUTES(xp_attention_pool_attributes, call->node);
    const int64_t *shape = call->node->inputs[0]->shape, pooled = call->node->outputs[0]->shape[1];
    const int64_t batch = shape[0], sequence = shape[1], heads = shape[2], width = shape[3];
    const xp_real *x = call->inputs[0];
    xp_real *y = call->outputs[0];
    int32_t *counts = call->outputs[1];
    double *terms = call->magnitudes[0];
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++) {
            const int64_t scale = attributes->scales[h % attributes->scale_count];
            const int64_t rows = rows_of(attributes, call->inputs[1], b, sequence, scale);
            if (counts) counts[b * heads + h] = (int32_t)count_windows(attributes, scale, rows);
            for (int64_t j = 0; j < pooled; j++) {
                const int64_t size = window_size(attributes, scale, rows, j);
                for (int64_t d = 0; d < width; d++) {
                    const int64_t to = ((b * pooled + j) * heads + h) * width + d;
                    xp_real sum = 0;
                    double sum_terms = 0;
                    for (int64_t n = 0; n < rows; n++)
                        if (window_of(attributes, scale, n) == j) {
                            sum += x[((b * sequence + n) * heads + h) * width + d];
                            sum_terms += fabs((double)x[((b * sequence + n) * heads + h) * width + d]);
                        }
                    y[to] = size ? sum / (xp_real)size : 0;
                    if (terms) terms[to] = size ? sum_terms / (double)size : 0;
                }
            }
        }
}

void XP_REFERENCE_NAME(attention_pool_backward)(const xp_reference_call *call) {
    const xp_attention_pool_attributes *attributes = XP_ATTRIBUTES(xp_attention_pool_attributes, call->node);
    const int64_t *shape = call->node->outputs[0]->shape, pooled = call->node->inputs[0]->shape[1];
    const int64_t batch = shape[0], sequence = shape[1], heads = shape[2], width = shape[3];
    const xp_real *dy = call->inputs[0];
    xp_real *dx = call->outputs[0];
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++) {
            const int64_t scale = attributes->scales[h % attributes->scale_count];
            const int64_t rows = rows_of(attributes, call->inputs[1], b, sequence, scale);
            for (int64_t n = 0; n < sequence; n++) {
                const int64_t j = window_of(attributes, scale, n);
                const int64_t size = n < rows ? window_size(attributes, scale, rows, j) : 0;
                for (int64_t d = 0; d < width; d++)
                    dx[((b * sequence + n) * heads + h) * width + d] =
                        size ? dy[((b * pooled + j) * heads + h) * width + d] / (xp_real)size : 0;
            }
        }
}
