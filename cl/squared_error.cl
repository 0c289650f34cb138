/* Mean squared error over the known targets of each sample, and its gradient. A work-group of 64 owns one sample (or the
 * sums over the batch) and reduces in local memory; targets and batch are few, so one shape serves all families. A target
 * that is NaN is not known: it is selected away, never multiplied by 0. A sample counts when its weight is not 0 and one of
 * its targets is known. */
#include "common.clh"

#define GROUP __attribute__((reqd_work_group_size(64, 1, 1)))

/* By the bits: a compiler may take a comparison of a value with itself for true. */
inline int is_known(float target) {
    return (as_uint(target) & 0x7fffffffu) <= 0x7f800000u;
}

/* answers, targets [batch, outputs], weights, losses, absolute, known [batch]: the means of squared and of absolute errors,
 * and how many targets are known, 0 where the sample does not count; absolute is NaN where an answer is not finite. */
__kernel GROUP void squared_error_samples(const __global float *restrict answers, const __global float *restrict targets,
                                          const __global float *restrict weights, __global float *restrict losses,
                                          __global float *restrict absolute, __global float *restrict known,
                                          int outputs) {
    __local float shared[64];
    int sample = get_group_id(0), item = get_local_id(0);
    const __global float *answer = answers + (size_t)sample * outputs, *target = targets + (size_t)sample * outputs;
    float squares = 0.0f, sum = 0.0f, count = 0.0f, broken = 0.0f;
    for (int i = item; i < outputs; i += 64) {
        if (!is_finite(answer[i])) broken = 1.0f;
        if (!is_known(target[i])) continue;
        const float error = answer[i] - target[i];
        squares = fma(error, error, squares);
        sum += fabs(error);
        count += 1.0f;
    }
    squares = group_sum(squares, shared);
    sum = group_sum(sum, shared);
    count = group_sum(count, shared);
    broken = group_max(broken, shared);
    if (item == 0) {
        const int counted = weights[sample] != 0.0f && count > 0.0f;
        losses[sample] = counted ? squares / count : 0.0f;
        absolute[sample] = broken > 0.0f ? NAN : counted ? sum / count : 0.0f;
        known[sample] = counted ? count : 0.0f;
    }
}

/* known, weights, losses [batch] -> loss [1], the weighted mean over the samples that count. One work-group. */
__kernel GROUP void squared_error_mean(const __global float *restrict known, const __global float *restrict weights,
                                       const __global float *restrict losses, __global float *restrict loss,
                                       int batch) {
    __local float shared[64];
    int item = get_local_id(0);
    float sum = 0.0f, weight = 0.0f;
    for (int sample = item; sample < batch; sample += 64)
        if (known[sample] > 0.0f) {
            sum = fma(weights[sample], losses[sample], sum);
            weight += weights[sample];
        }
    sum = group_sum(sum, shared);
    weight = group_sum(weight, shared);
    if (item == 0) loss[0] = weight > 0.0f ? sum / weight : 0.0f;
}

/* d_loss [1], answers, targets, d_answers [batch, outputs], weights, known [batch]. A work-group owns 64 numbers; each adds
 * up the weights of the batch for itself, which are few. */
__kernel GROUP void squared_error_backward(const __global float *restrict d_loss, const __global float *restrict answers,
                                           const __global float *restrict targets,
                                           const __global float *restrict weights, const __global float *restrict known,
                                           __global float *restrict d_answers, int batch, int outputs) {
    __local float shared[64];
    float total = 0.0f;
    for (int sample = get_local_id(0); sample < batch; sample += 64)
        if (known[sample] > 0.0f) total += weights[sample];
    total = group_sum(total, shared);
    const float scale = total > 0.0f ? 2.0f * d_loss[0] / total : 0.0f;
    const size_t i = get_global_id(0);
    if (i < (size_t)batch * outputs) {
        const int sample = i / outputs;
        const int counted = known[sample] > 0.0f && is_known(targets[i]);
        d_answers[i] = counted ? scale * weights[sample] / known[sample] * (answers[i] - targets[i]) : 0.0f;
    }
}
