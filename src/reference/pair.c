/* The oracle of the features of pairs, and of their gradient. */
#include "graph/operation.h"
#include "reference/reference.h"

#include <tgmath.h>

void XP_REFERENCE_NAME(pair)(const xp_reference_call *call) {
    const int64_t *shape = call->node->inputs[0]->shape;
    const int64_t columns = shape[2];
    const xp_real *x = call->inputs[0];
    xp_real *y = call->outputs[0];
    for (int64_t b = 0; b < shape[0]; b++)
        for (int64_t c = 0; c < columns; c++) {
            const xp_real first = x[(b * 2) * columns + c], second = x[(b * 2 + 1) * columns + c];
            const xp_real features[] = {first, second, first * second, first - second};
            for (int64_t f = 0; f < 4; f++) {
                y[(b * 4 + f) * columns + c] = features[f];
                if (call->magnitudes[0])
                    call->magnitudes[0][(b * 4 + f) * columns + c] =
                        (double)(f == 3 ? fabs(first) + fabs(second) : fabs(features[f]));
            }
        }
}

void XP_REFERENCE_NAME(pair_backward)(const xp_reference_call *call) {
    const int64_t *shape = call->node->outputs[0]->shape;
    const int64_t columns = shape[2];
    const xp_real *dy = call->inputs[0], *x = call->inputs[1];
    xp_real *dx = call->outputs[0];
    for (int64_t b = 0; b < shape[0]; b++)
        for (int64_t side = 0; side < 2; side++)
            for (int64_t c = 0; c < columns; c++) {
                const xp_real own = dy[(b * 4 + side) * columns + c], product = dy[(b * 4 + 2) * columns + c];
                const xp_real difference = dy[(b * 4 + 3) * columns + c], other = x[(b * 2 + 1 - side) * columns + c];
                const int64_t at = (b * 2 + side) * columns + c;
                dx[at] = own + product * other + (side ? -difference : difference);
                if (call->magnitudes[0])
                    call->magnitudes[0][at] = (double)(fabs(own) + fabs(product * other) + fabs(difference));
            }
}
