/* The oracle of tokens, and of the rows of a table that they stand for. */
#include "graph/operation.h"
#include "ops/attributes.h"
#include "reference/reference.h"

#include <tgmath.h>

void XP_REFERENCE_NAME(tokens)(const xp_reference_call *call) {
    const int64_t first = XP_ATTRIBUTES(xp_tokens_attributes, call->node)->first;
    const int64_t length = call->node->inputs[0]->shape[1], *shape = call->node->outputs[0]->shape;
    const xp_real *values = call->inputs[0], *weights = call->inputs[1];
    int32_t *y = call->outputs[0];
    for (int64_t b = 0; b < shape[0]; b++)
        for (int64_t n = 0; n < shape[1]; n++) {
            const xp_real value = rint(values[b * length + first + n]);
            const bool whole = value >= 0 && value <= 16777216 && !(weights && weights[b] == 0);
            y[b * shape[1] + n] = whole ? (int32_t)value : -1;
        }
}

void XP_REFERENCE_NAME(lookup)(const xp_reference_call *call) {
    const int64_t entries = call->node->inputs[0]->shape[0], columns = call->node->inputs[0]->shape[1];
    const int64_t rows = xp_tensor_elements(call->node->inputs[1]);
    const xp_real *table = call->inputs[0];
    const int32_t *tokens = call->inputs[1];
    xp_real *y = call->outputs[0];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            y[r * columns + c] = tokens[r] >= 0 && tokens[r] < entries ? table[tokens[r] * columns + c] : 0;
}

void XP_REFERENCE_NAME(lookup_backward)(const xp_reference_call *call) {
    const int64_t entries = call->node->outputs[0]->shape[0], columns = call->node->outputs[0]->shape[1];
    const int64_t rows = xp_tensor_elements(call->node->inputs[1]);
    const xp_real *dy = call->inputs[0];
    const int32_t *tokens = call->inputs[1];
    xp_real *d_table = call->outputs[0];
    for (int64_t e = 0; e < entries; e++)
        for (int64_t c = 0; c < columns; c++) {
            xp_real sum = 0, terms = 0;
            for (int64_t r = 0; r < rows; r++) {
                if (tokens[r] != e) continue;
                sum += dy[r * columns + c];
                terms += fabs(dy[r * columns + c]);
            }
            d_table[e * columns + c] = sum;
            if (call->magnitudes[0]) call->magnitudes[0][e * columns + c] = (double)terms;
        }
}
