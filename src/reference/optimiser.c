/* The oracle of the optimisers' steps, of the sum of gradients and of the norm of them all. */
#include "ops/attributes.h"
#include "reference/reference.h"

#include <tgmath.h>

void XP_REFERENCE_NAME(gradient_norm)(const xp_reference_call *call) {
    const xp_gradient_norm_attributes *attributes = (const void *)call->node->attributes;
    const xp_real *gradients = call->inputs[0];
    xp_real *squares = call->outputs[0];
    for (int64_t part = 0; part < call->node->outputs[0]->shape[0]; part++) {
        const int64_t first = part * attributes->part, rest = attributes->trained - first;
        squares[part] = 0;
        for (int64_t i = first; i < first + (rest < attributes->part ? rest : attributes->part); i++)
            squares[part] += gradients[i] * gradients[i];
    }
}

void XP_REFERENCE_NAME(gradient_sum)(const xp_reference_call *call) {
    const xp_real *gradients = call->inputs[0], *state = call->inputs[1];
    const int64_t trained = xp_tensor_elements(call->node->outputs[0]);
    xp_real *sums = call->outputs[0];
    for (int64_t i = 0; i < trained; i++) {
        const xp_real before = state[4] != 0 ? sums[i] : 0;
        if (call->magnitudes[0]) call->magnitudes[0][i] = fabs((double)before) + fabs((double)gradients[i]);
        sums[i] = before + gradients[i];
    }
}

void XP_REFERENCE_NAME(optimiser)(const xp_reference_call *call) {
    const xp_optimiser_attributes *a = (const void *)call->node->attributes;
    const xp_real *gradients = call->inputs[0], *squares = call->inputs[1], *state = call->inputs[2];
    xp_real *values = call->outputs[0], *moment_1 = call->outputs[1], *moment_2 = call->outputs[2];
    xp_real rate = state[0], beta1 = a->beta1, beta2 = a->beta2, momentum = a->momentum;

    xp_real clip = 1, norm = 0;
    for (int64_t i = 0; squares && i < call->node->inputs[1]->shape[0]; i++) norm += squares[i];
    xp_real *skipped = call->outputs[3], *copies = call->outputs[4];
    const xp_real unit = skipped ? state[5] : 1;
    const bool skips = skipped && !isfinite(norm);
    if (skipped) skipped[0] = skips;
    norm = sqrt(norm) * unit;
    if (squares && norm > a->limit && (!skipped || a->limit > 0)) clip = a->limit / norm;
    clip *= unit;
    for (int64_t i = 0; i < a->trained && !skips; i++) {
        xp_real decay = i < a->decayed ? a->weight_decay : 0, old = values[i], start = old;
        xp_real gradient = gradients[i] * clip;
        double gradient_terms = fabs((double)gradient), step_scale = (double)rate;
        if (a->kind == XP_ADAMW) {
            start = old * (1 - rate * decay);
        } else {
            gradient += decay * old;
            gradient_terms += fabs((double)(decay * old));
        }
        double moment_terms = gradient_terms;
        if (a->kind == XP_SGD) {
            if (moment_1) {
                moment_terms += fabs((double)(momentum * moment_1[i]));
                moment_1[i] = momentum * moment_1[i] + gradient;
                gradient = moment_1[i];
            }
            values[i] = start - rate * gradient;
        } else {
            moment_terms = fabs((double)(beta1 * moment_1[i])) + (1 - (double)beta1) * gradient_terms;
            double second_terms =
                fabs((double)(beta2 * moment_2[i])) + (1 - (double)beta2) * gradient_terms * gradient_terms;
            moment_1[i] = beta1 * moment_1[i] + (1 - beta1) * gradient;
            moment_2[i] = beta2 * moment_2[i] + (1 - beta2) * gradient * gradient;
            if (call->magnitudes[2]) call->magnitudes[2][i] = second_terms;
            xp_real step = 1 / state[1];
            if (a->kind != XP_RADAM)
                step /= sqrt(moment_2[i] / state[2]) + a->epsilon;
            else if (state[3] > 0)
                step *= state[3] * sqrt(state[2]) / (sqrt(moment_2[i]) + a->epsilon);
            step_scale *= (double)step;
            values[i] = start - rate * step * moment_1[i];
        }
        if (moment_1 && call->magnitudes[1]) call->magnitudes[1][i] = moment_terms;
        if (copies) copies[i] = values[i];
        if (call->magnitudes[0]) call->magnitudes[0][i] = fabs((double)old) + step_scale * moment_terms;
        if (copies && call->magnitudes[4]) call->magnitudes[4][i] = fabs((double)old) + step_scale * moment_terms;
    }
}
