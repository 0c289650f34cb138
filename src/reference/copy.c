/* The oracle of sums and copies. Shares no code with the kernels. */
#include "reference/reference.h"

#include <tgmath.h>

void XP_REFERENCE_NAME(add)(const xp_reference_call *call) {
    const xp_real *a = call->inputs[0], *b = call->inputs[1];
    xp_real *y = call->outputs[0];
    int64_t count = xp_tensor_elements(call->node->outputs[0]);
    for (int64_t i = 0; i < count; i++) {
        y[i] = a[i] + b[i];
        if (call->magnitudes[0]) call->magnitudes[0][i] = (double)(fabs(a[i]) + fabs(b[i]));
    }
}

void XP_REFERENCE_NAME(copy)(const xp_reference_call *call) {
    int64_t count = xp_tensor_elements(call->node->outputs[0]);
    if (call->node->outputs[0]->type == XP_I32) {
        const int32_t *from = call->inputs[0];
        int32_t *to = call->outputs[0];
        for (int64_t i = 0; i < count; i++) to[i] = from[i];
    } else {
        const xp_real *from = call->inputs[0];
        xp_real *to = call->outputs[0];
        for (int64_t i = 0; i < count; i++) to[i] = from[i];
    }
}
