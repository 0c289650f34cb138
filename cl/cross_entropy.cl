/* Softmax cross-entropy with label smoothing, and its gradient. A work-group of 64 owns one sample (or the sums over the
 * batch) and reduces in local memory; the classes and the batch are few, so one shape serves both families. A sample
 * counts when its weight is not 0 and its label is a class; the others are selected away, never multiplied by 0, so that
 * whatever lies in their rows cannot reach the loss. */
#include "common.clh"

#define GROUP __attribute__((reqd_work_group_size(64, 1, 1)))

inline int counts(float weight, int label, int classes) {
    return weight != 0.0f && label >= 0 && label < classes;
}

/* logits, probabilities [batch, classes], labels, weights, losses [batch]
 * loss = log Σ exp(z) - (1-smoothing)·z_label - smoothing·mean(z), with z shifted by its maximum. */
__kernel GROUP void cross_entropy_samples(const __global float *restrict logits, const __global int *restrict labels,
                                          const __global float *restrict weights,
                                          __global float *restrict probabilities, __global float *restrict losses,
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
    if (item == 0) {
        int label = labels[sample];
        float loss = 0.0f;
        if (counts(weights[sample], label, classes)) {
            loss = log(total) - (1.0f - smoothing) * (row[label] - largest);
            if (smoothing > 0.0f) loss -= smoothing / classes * shifted;
        }
        losses[sample] = loss;
    }
}

/* labels, weights, losses [batch] -> loss [1], the weighted mean. One work-group. */
__kernel GROUP void cross_entropy_mean(const __global int *restrict labels, const __global float *restrict weights,
                                       const __global float *restrict losses, __global float *restrict loss, int batch,
                                       int classes) {
    __local float shared[64];
    int item = get_local_id(0);
    float sum = 0.0f, weight = 0.0f;
    for (int sample = item; sample < batch; sample += 64)
        if (counts(weights[sample], labels[sample], classes)) {
            sum = fma(weights[sample], losses[sample], sum);
            weight += weights[sample];
        }
    sum = group_sum(sum, shared);
    weight = group_sum(weight, shared);
    if (item == 0) loss[0] = weight > 0.0f ? sum / weight : 0.0f;
}

/* probabilities, d_logits [batch, classes], labels, weights [batch], d_loss [1]. A work-group owns 64 numbers; each adds up
 * the weights of the batch for itself, which are few. */
__kernel GROUP void cross_entropy_backward(const __global float *restrict d_loss,
                                           const __global float *restrict probabilities,
                                           const __global int *restrict labels, const __global float *restrict weights,
                                           __global float *restrict d_logits, int batch, int classes,
                                           float smoothing) {
    __local float shared[64];
    float total = 0.0f;
    for (int sample = get_local_id(0); sample < batch; sample += 64)
        if (counts(weights[sample], labels[sample], classes)) total += weights[sample];
    total = group_sum(total, shared);
    const float scale = total > 0.0f ? d_loss[0] / total : 0.0f;
    const size_t i = get_global_id(0);
    if (i < (size_t)batch * classes) {
        int sample = i / classes, c = i % classes, label = labels[sample];
        float weight = weights[sample];
        float target = smoothing / classes + (c == label ? 1.0f - smoothing : 0.0f);
        d_logits[i] = counts(weight, label, classes) ? scale * weight * (probabilities[i] - target) : 0.0f;
    }
}
