/* Softmax cross-entropy with label smoothing, and its gradient. A work-group of 64 owns one sample (or the sums over the
 * batch) and reduces in local memory; the classes and the batch are few, so one shape serves all families. A sample
 * counts when its weight is not 0 and its label is a class; the others are selected away, never multiplied by 0, so that
 * whatever lies in their rows cannot reach the loss.
 *
 * CORRECT  1: whether the answers are right is found, too
 * SOFT     1: labels are the shares of all classes, F32 [batch, classes]; a sample counts by its weight alone
 * SUMMED   1: the gradient finds the sum of the weights made */
#include "common.clh"

#ifndef CORRECT
#define CORRECT 0
#endif

#ifndef SOFT
#define SOFT 0
#endif

#ifndef SUMMED
#define SUMMED 0
#endif

#define GROUP __attribute__((reqd_work_group_size(64, 1, 1)))

#if SOFT
#define LABELS          const __global float *restrict labels
#define COUNTS(sample)  (weights[sample] != 0.0f)
#define SHARE(sample, c) labels[(size_t)(sample)*classes + (c)]
#else
#define LABELS          const __global int *restrict labels
#define COUNTS(sample)  counts(weights[sample], labels[sample], classes)
#define SHARE(sample, c) ((c) == labels[sample] ? 1.0f : 0.0f)

inline int counts(float weight, int label, int classes) {
    return weight != 0.0f && label >= 0 && label < classes;
}
#endif

/* logits, probabilities [batch, classes], labels, weights, losses [batch]
 * loss = log Σ exp(z) - (1-smoothing)·z_label - smoothing·mean(z), with z shifted by its maximum, and the mean of z by the
 * shares in place of z_label where there are any.
 * correct, counted [batch]: 1 or 0, or NULL. The first class of the largest probability is the answer, which is right if no
 * share is larger than its own; correct is NaN where one of the probabilities is not finite. */
__kernel GROUP void cross_entropy_samples(const __global float *restrict logits, LABELS,
                                          const __global float *restrict weights,
                                          __global float *restrict probabilities, __global float *restrict losses,
                                          __global float *restrict correct, __global float *restrict counted,
                                          int classes, float smoothing) {
    __local float shared[64];
    int sample = get_group_id(0), item = get_local_id(0);
    const __global float *row = logits + (size_t)sample * classes;
    __global float *probability = probabilities + (size_t)sample * classes;
    float largest = -INFINITY;
    for (int c = item; c < classes; c += 64) largest = fmax(largest, row[c]);
    largest = group_max(largest, shared);
    float total = 0.0f, shifted = 0.0f;
    for (int c = item; c < classes; c += 64) {
        float value = exp(row[c] - largest);
        probability[c] = value;
        total += value;
        shifted += row[c] - largest;
    }
    total = group_sum(total, shared);
    shifted = group_sum(shifted, shared);
    for (int c = item; c < classes; c += 64) probability[c] /= total;
#if SOFT
    float expected = 0.0f;
    for (int c = item; c < classes; c += 64) expected = fma(SHARE(sample, c), row[c] - largest, expected);
    expected = group_sum(expected, shared);
#endif
#if CORRECT
    float likeliest = -INFINITY, broken = 0.0f, answer = classes;
    for (int c = item; c < classes; c += 64) {
        likeliest = fmax(likeliest, probability[c]);
        if (!is_finite(probability[c])) broken = 1.0f;
    }
    likeliest = group_max(likeliest, shared);
    broken = group_max(broken, shared);
    for (int c = item; c < classes; c += 64)
        if (probability[c] == likeliest) answer = fmin(answer, (float)c);
    answer = -group_max(-answer, shared);
#if SOFT
    float greatest = 0.0f;
    for (int c = item; c < classes; c += 64) greatest = fmax(greatest, SHARE(sample, c));
    greatest = group_max(greatest, shared);
#endif
#endif
    if (item == 0) {
        float loss = 0.0f;
#if !SOFT
        const int label = labels[sample];
        const float expected = COUNTS(sample) ? row[label] - largest : 0.0f;
#endif
#if CORRECT
#if SOFT
        const int is_right = SHARE(sample, min((int)answer, classes - 1)) >= greatest;
#else
        const int is_right = (int)answer == label;
#endif
        const int is_counted = COUNTS(sample);
        correct[sample] = broken > 0.0f ? NAN : is_counted && is_right ? 1.0f : 0.0f;
        counted[sample] = is_counted ? 1.0f : 0.0f;
#endif
        if (COUNTS(sample)) {
            loss = log(total) - (1.0f - smoothing) * expected;
            if (smoothing > 0.0f) loss -= smoothing / classes * shifted;
        }
        losses[sample] = loss;
    }
}

/* labels, weights, losses [batch] -> loss [1], the weighted mean. One work-group. */
__kernel GROUP void cross_entropy_mean(LABELS, const __global float *restrict weights,
                                       const __global float *restrict losses, __global float *restrict loss, int batch,
                                       int classes) {
    __local float shared[64];
    int item = get_local_id(0);
    float sum = 0.0f, weight = 0.0f;
    for (int sample = item; sample < batch; sample += 64)
        if (COUNTS(sample)) {
            sum = fma(weights[sample], losses[sample], sum);
            weight += weights[sample];
        }
    sum = group_sum(sum, shared);
    weight = group_sum(weight, shared);
    if (item == 0) loss[0] = weight > 0.0f ? sum / weight : 0.0f;
}

/* The weights of the samples that count, added by a work-group. */
inline float counted_weight(LABELS, const __global float *weights, int batch, int classes,
                            __local float *shared) {
    float total = 0.0f;
    for (int sample = get_local_id(0); sample < batch; sample += 64)
        if (COUNTS(sample)) total += weights[sample];
    return group_sum(total, shared);
}

/* labels, weights [batch] -> weight_sum [1]. One work-group. */
__kernel GROUP void cross_entropy_weight(LABELS, const __global float *restrict weights,
                                         __global float *restrict weight_sum, int batch, int classes) {
    __local float shared[64];
    const float sum = counted_weight(labels, weights, batch, classes, shared);
    if (get_local_id(0) == 0) weight_sum[0] = sum;
}

/* probabilities, d_logits [batch, classes], labels, weights [batch], d_loss [1], weight_sum [1] or NULL. A work-group owns 64
 * numbers; each adds up the weights of the batch for itself, where they are few. */
__kernel GROUP void cross_entropy_backward(const __global float *restrict d_loss,
                                           const __global float *restrict probabilities,
                                           LABELS, const __global float *restrict weights,
                                           const __global float *restrict weight_sum, __global float *restrict d_logits,
                                           int batch, int classes, float smoothing) {
#if SUMMED
    const float total = weight_sum[0];
#else
    __local float shared[64];
    const float total = counted_weight(labels, weights, batch, classes, shared);
#endif
    const float scale = total > 0.0f ? d_loss[0] / total : 0.0f;
    const size_t i = get_global_id(0);
    if (i < (size_t)batch * classes) {
        int sample = i / classes, c = i % classes;
        float target = smoothing / classes + SHARE(sample, c) * (1.0f - smoothing);
        d_logits[i] = COUNTS(sample) ? scale * weights[sample] * (probabilities[i] - target) : 0.0f;
    }
}
