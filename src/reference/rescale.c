/* The oracle of numbers in the scale of their sample. */
#include "ops/attributes.h"
#include "reference/reference.h"

#include <tgmath.h>

void XP_REFERENCE_NAME(rescale)(const xp_reference_call *call) {
    const int64_t *shape = call->node->inputs[0]->shape, features = call->node->inputs[1]->shape[2];
    const bool shifts = XP_ATTRIBUTES(xp_rescale_attributes, call->node)->shifts;
    const xp_real *x = call->inputs[0], *levels = call->inputs[1];
    xp_real *y = call->outputs[0];
    for (int64_t b = 0; b < shape[0]; b++)
        for (int64_t t = 0; t < shape[1]; t++) {
            const int64_t at = b * shape[1] + t;
            const xp_real *own = levels + b * 2 * features + t % features;
            const xp_real scaled = x[at] * own[features], shift = shifts ? own[0] : 0;
            y[at] = scaled + shift;
            if (call->magnitudes[0]) call->magnitudes[0][at] = (double)(fabs(scaled) + fabs(shift));
        }
}
