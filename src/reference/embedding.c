/* The oracle of positions, class token and dropout, of their gradient, and of patches. */
#include "graph/operation.h"
#include "reference/dropout.h"

#include <tgmath.h>

void XP_REFERENCE_NAME(embed)(const xp_reference_call *call) {
    const xp_embed_attributes *attributes = XP_ATTRIBUTES(xp_embed_attributes, call->node);
    const int64_t *shape = call->node->inputs[0]->shape;
    int64_t batch = shape[0], length = shape[1], columns = shape[2];
    const xp_real *x = call->inputs[0], *position = call->inputs[1], *token = call->inputs[2];
    int64_t before = token ? 1 : 0;
    xp_real *y = call->outputs[0];
    for (int64_t b = 0; b < batch; b++)
        for (int64_t n = 0; n < length + before; n++)
            for (int64_t c = 0; c < columns; c++) {
                int64_t i = (b * (length + before) + n) * columns + c;
                xp_real value =
                    n < before ? token[c] : (xp_real)attributes->scale * x[(b * length + n - before) * columns + c];
                xp_real keep = xp_reference_keep(&attributes->dropout, call->inputs[3], i);
                y[i] = keep == 0 ? 0 : (value + position[n * columns + c]) * keep;
                if (call->magnitudes[0])
                    call->magnitudes[0][i] = (double)((fabs(value) + fabs(position[n * columns + c])) * keep);
            }
}

void XP_REFERENCE_NAME(embed_backward)(const xp_reference_call *call) {
    const xp_embed_backward_attributes *attributes = XP_ATTRIBUTES(xp_embed_backward_attributes, call->node);
    const int64_t *shape = call->node->inputs[0]->shape;
    int64_t batch = shape[0], rows = shape[1], columns = shape[2], before = rows - attributes->length;
    const xp_real *dy = call->inputs[0];
    xp_real *dx = call->outputs[0], *d_position = call->outputs[1], *d_token = call->outputs[2];
    for (int64_t n = 0; n < attributes->places; n++)
        for (int64_t c = 0; c < columns; c++) {
            xp_real sum = 0, terms = 0;
            for (int64_t b = 0; n < rows && b < batch; b++) {
                int64_t i = (b * rows + n) * columns + c;
                xp_real keep = xp_reference_keep(&attributes->embed.dropout, call->inputs[1], i);
                xp_real value = keep == 0 ? 0 : dy[i] * keep;
                sum += value;
                terms += fabs(value);
                if (dx && n >= before)
                    dx[(b * attributes->length + n - before) * columns + c] = value * (xp_real)attributes->embed.scale;
            }
            if (d_position) d_position[n * columns + c] = sum;
            if (d_position && call->magnitudes[1]) call->magnitudes[1][n * columns + c] = (double)terms;
            if (d_token && n == 0) d_token[c] = sum;
            if (d_token && n == 0 && call->magnitudes[2]) call->magnitudes[2][c] = (double)terms;
        }
}

void XP_REFERENCE_NAME(patches)(const xp_reference_call *call) {
    int64_t patch = XP_ATTRIBUTES(xp_patches_attributes, call->node)->patch;
    const int64_t *shape = call->node->inputs[0]->shape;
    int64_t batch = shape[0], channels = shape[1], height = shape[2], width = shape[3], across = width / patch;
    const xp_real *image = call->inputs[0];
    xp_real *y = call->outputs[0];
    for (int64_t b = 0; b < batch; b++)
        for (int64_t channel = 0; channel < channels; channel++)
            for (int64_t row = 0; row < height; row++)
                for (int64_t column = 0; column < width; column++) {
                    int64_t which = row / patch * across + column / patch;
                    int64_t inside = (channel * patch + row % patch) * patch + column % patch;
                    y[(b * (height / patch) * across + which) * channels * patch * patch + inside] =
                        image[((b * channels + channel) * height + row) * width + column];
                }
}
