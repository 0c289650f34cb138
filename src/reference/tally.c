/* The oracle of the sums over a batch. */
#include "reference/reference.h"

#include <tgmath.h>

void XP_REFERENCE_NAME(tally)(const xp_reference_call *call) {
    const int64_t batch = call->node->inputs[0]->shape[0];
    const xp_real *losses = call->inputs[0], *scores = call->inputs[1], *counted = call->inputs[2];
    const xp_real *weights = call->inputs[3];
    xp_real *sums = call->outputs[0];
    double magnitudes[2] = {0, 0};
    for (int i = 0; i < 4; i++) sums[i] = 0;
    for (int64_t b = 0; b < batch; b++) {
        if (weights[b] == 0) continue;
        if (sums[3] == 0 && !(isfinite(losses[b]) && isfinite(scores[b]))) sums[3] = (xp_real)b + 1;
        if (counted[b] == 0) continue;
        sums[0] += losses[b];
        sums[1] += scores[b];
        sums[2] += 1;
        magnitudes[0] += (double)fabs(losses[b]);
        magnitudes[1] += (double)fabs(scores[b]);
    }
    if (!call->magnitudes[0]) return;
    for (int i = 0; i < 4; i++) call->magnitudes[0][i] = i < 2 ? magnitudes[i] : (double)fabs(sums[i]);
}
