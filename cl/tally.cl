/* Sums over the samples of a batch. One work-group reduces in local memory in a fixed order; one shape serves both
 * families. */
#include "common.clh"

#define GROUP __attribute__((reqd_work_group_size(64, 1, 1)))

/* losses, scores, counted, weights [batch] -> tally [4]: the sums of losses and scores over the samples that count, their
 * number, and 1 + the first sample of a weight other than 0 whose loss or score is not finite; 0: there is none. One
 * work-group. */
__kernel GROUP void tally(const __global float *restrict losses, const __global float *restrict scores,
                          const __global float *restrict counted, const __global float *restrict weights,
                          __global float *restrict sums, int batch) {
    __local float shared[64];
    int item = get_local_id(0);
    float loss = 0.0f, score = 0.0f, number = 0.0f, first = batch;
    for (int sample = item; sample < batch; sample += 64) {
        if (weights[sample] == 0.0f) continue;
        if (!is_finite(losses[sample]) || !is_finite(scores[sample])) first = fmin(first, (float)sample);
        if (counted[sample] == 0.0f) continue;
        loss += losses[sample];
        score += scores[sample];
        number += 1.0f;
    }
    loss = group_sum(loss, shared);
    score = group_sum(score, shared);
    number = group_sum(number, shared);
    first = -group_max(-first, shared);
    if (item == 0) {
        sums[0] = loss;
        sums[1] = score;
        sums[2] = number;
        sums[3] = first < batch ? first + 1.0f : 0.0f;
    }
}
