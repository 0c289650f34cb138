/* The oracle of rows that are added in place. */
#include "graph/operation.h"
#include "reference/reference.h"

void XP_REFERENCE_NAME(append)(const xp_reference_call *call) {
    const int64_t *shape = call->node->inputs[0]->shape, *added = call->node->inputs[1]->shape;
    const int64_t width = shape[2] * shape[3];
    const xp_real *rows = call->inputs[1];
    const int32_t *starts = call->inputs[2];
    xp_real *whole = call->outputs[0];
    for (int64_t b = 0; b < shape[0]; b++)
        for (int64_t n = 0; n < added[1]; n++) {
            const int64_t place = starts[b] + n;
            for (int64_t c = 0; place < shape[1] && c < width; c++)
                whole[(b * shape[1] + place) * width + c] = rows[(b * added[1] + n) * width + c];
        }
}
