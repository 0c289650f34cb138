/* What a batch's answers are worth: which of them are right, and the sums over the batch. A work-group of 64 owns one sample,
 * or the sums, and reduces in local memory in a fixed order; one shape serves both families. */
#include "common.clh"

#define GROUP __attribute__((reqd_work_group_size(64, 1, 1)))

/* By the bits: a compiler may take isfinite for true. */
inline int is_finite(float value) {
    return (as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

/* probabilities [batch, classes], labels, weights [batch] -> correct, counted [batch]: 1 or 0. The first class of the
 * largest probability is the answer; correct is NaN where one of the probabilities is not finite. A sample counts when its
 * weight is not 0 and its label is a class. */
__kernel GROUP void correct_samples(const __global float *restrict probabilities, const __global int *restrict labels,
                                    const __global float *restrict weights, __global float *restrict correct,
                                    __global float *restrict counted, int classes) {
    __local float shared[64];
    int sample = get_group_id(0), item = get_local_id(0);
    const __global float *row = probabilities + (size_t)sample * classes;
    float largest = -INFINITY, broken = 0.0f, first = classes;
    for (int c = item; c < classes; c += 64) {
        largest = fmax(largest, row[c]);
        if (!is_finite(row[c])) broken = 1.0f;
    }
    largest = group_max(largest, shared);
    broken = group_max(broken, shared);
    for (int c = item; c < classes; c += 64)
        if (row[c] == largest) first = fmin(first, (float)c);
    first = -group_max(-first, shared);
    if (item == 0) {
        int label = labels[sample], counts = weights[sample] != 0.0f && label >= 0 && label < classes;
        correct[sample] = broken > 0.0f ? NAN : counts && (int)first == label ? 1.0f : 0.0f;
        counted[sample] = counts ? 1.0f : 0.0f;
    }
}

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
