/* The oracle of the mean squared error and of its gradient. */
#include "reference/reference.h"

#include <tgmath.h>

void XP_REFERENCE_NAME(squared_error)(const xp_reference_call *call) {
    const int64_t batch = call->node->inputs[0]->shape[0], outputs = call->node->inputs[0]->shape[1];
    const xp_real *weights = call->inputs[2];
    xp_real *loss = call->outputs[0], *losses = call->outputs[1], *absolute = call->outputs[2];
    xp_real *known = call->outputs[3], sum = 0, weight = 0;
    double magnitude = 0;
    for (int64_t b = 0; b < batch; b++) {
        const xp_real *answers = (const xp_real *)call->inputs[0] + b * outputs;
        const xp_real *targets = (const xp_real *)call->inputs[1] + b * outputs;
        xp_real squares = 0, errors = 0, count = 0;
        double square_terms = 0, terms = 0;
        bool finite = true;
        for (int64_t i = 0; i < outputs; i++) {
            finite = finite && isfinite(answers[i]);
            if (isnan(targets[i])) continue;
            const xp_real error = answers[i] - targets[i], size = fabs(answers[i]) + fabs(targets[i]);
            squares += error * error;
            errors += fabs(error);
            count += 1;
            square_terms += (double)(size * (size + fabs(error)));
            terms += (double)size;
        }
        const bool counted = weights[b] != 0 && count > 0;
        losses[b] = counted ? squares / count : 0;
        absolute[b] = !finite ? (xp_real)NAN : counted ? errors / count : 0;
        known[b] = counted ? count : 0;
        if (call->magnitudes[1]) call->magnitudes[1][b] = counted ? square_terms / (double)count : 0;
        if (call->magnitudes[2]) call->magnitudes[2][b] = counted ? terms / (double)count : 0;
        if (call->magnitudes[3]) call->magnitudes[3][b] = 0;
        if (!counted) continue;
        sum += weights[b] * losses[b];
        weight += weights[b];
        magnitude += (double)weights[b] * square_terms / (double)count;
    }
    loss[0] = weight > 0 ? sum / weight : 0;
    if (call->magnitudes[0]) call->magnitudes[0][0] = weight > 0 ? magnitude / (double)weight : 0;
}

void XP_REFERENCE_NAME(squared_error_backward)(const xp_reference_call *call) {
    const int64_t batch = call->node->inputs[1]->shape[0], outputs = call->node->inputs[1]->shape[1];
    const xp_real *d_loss = call->inputs[0], *answers = call->inputs[1], *targets = call->inputs[2];
    const xp_real *weights = call->inputs[3], *known = call->inputs[4];
    xp_real *d_answers = call->outputs[0], weight = 0;
    for (int64_t b = 0; b < batch; b++)
        if (known[b] > 0) weight += weights[b];
    for (int64_t b = 0; b < batch; b++)
        for (int64_t i = b * outputs; i < (b + 1) * outputs; i++) {
            const bool counted = weight > 0 && known[b] > 0 && !isnan(targets[i]);
            const xp_real factor = counted ? 2 * d_loss[0] * weights[b] / (weight * known[b]) : 0;
            d_answers[i] = counted ? factor * (answers[i] - targets[i]) : 0;
            if (call->magnitudes[0])
                call->magnitudes[0][i] = counted ? (double)(fabs(factor) * (fabs(answers[i]) + fabs(targets[i]))) : 0;
        }
}
