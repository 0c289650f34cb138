/* The oracle of activation and dropout. Shares no code with the kernels. */
#include "graph/operation.h"
#include "ops/attributes.h"
#include "reference/dropout.h"
#include "reference/reference.h"

#include <tgmath.h>

/* Φ(x) of the standard normal distribution; erfc keeps its digits in the left tail. */
static xp_real normal_distribution(xp_real x) {
    return (xp_real)0.5 * erfc(-x * (xp_real)0.70710678118654752440);
}

void XP_REFERENCE_NAME(activation)(const xp_reference_call *call) {
    const xp_activation_attributes *attributes = XP_ATTRIBUTES(xp_activation_attributes, call->node);
    const xp_real *x = call->inputs[0];
    xp_real *y = call->outputs[0];
    const bool relu = attributes->activation == XP_ACTIVATION_RELU;
    const int64_t count = xp_tensor_elements(call->node->outputs[0]), *shape = call->node->inputs[0]->shape;
    const int32_t *lengths = call->inputs[2];
    for (int64_t i = 0; i < count; i++) {
        const bool seen = !lengths || i / shape[2] % shape[1] < lengths[i / shape[2] / shape[1]];
        const xp_real keep = seen ? xp_reference_keep(&attributes->dropout, call->inputs[1], i) : 0;
        if (relu)
            y[i] = x[i] > 0 ? x[i] * keep : 0;
        else
            y[i] = x[i] * normal_distribution(x[i]) * keep;
        /* Φ(x) near the left tail is 1 minus a rounded number in the plain single-precision form. */
        if (!relu && call->magnitudes[0]) call->magnitudes[0][i] = (double)fabs(x[i] * keep);
    }
}

void XP_REFERENCE_NAME(activation_backward)(const xp_reference_call *call) {
    const xp_real *dy = call->inputs[0], *z = call->inputs[1];
    xp_real *dz = call->outputs[0];
    bool relu = XP_ATTRIBUTES(xp_activation_attributes, call->node)->activation == XP_ACTIVATION_RELU;
    int64_t count = xp_tensor_elements(call->node->outputs[0]);
    for (int64_t i = 0; i < count; i++) {
        if (relu) {
            dz[i] = z[i] > 0 ? dy[i] : 0;
            continue;
        }
        xp_real density = (xp_real)0.39894228040143267794 * exp(-z[i] * z[i] / 2);
        dz[i] = dy[i] * (normal_distribution(z[i]) + z[i] * density);
        if (call->magnitudes[0]) call->magnitudes[0][i] = (double)(fabs(dy[i]) * (1 + fabs(z[i] * density)));
    }
}

void XP_REFERENCE_NAME(dropout)(const xp_reference_call *call) {
    const xp_real *x = call->inputs[0];
    const int32_t *state = call->inputs[1];
    const xp_dropout_attributes *attributes = XP_ATTRIBUTES(xp_dropout_attributes, call->node);
    xp_real *y = call->outputs[0];
    int64_t count = xp_tensor_elements(call->node->outputs[0]);
    for (int64_t i = 0; i < count; i++) {
        xp_real factor = xp_reference_keep(attributes, state, i);
        y[i] = factor == 0 ? 0 : x[i] * factor;
    }
}
