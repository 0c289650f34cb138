/* Softmax cross-entropy with label smoothing, and its gradient. A work-group of 64 owns one sample, or the sums over the
 * batch, and reduces in local memory; in the kernels for CPU devices (*_wide) a work-item owns samples, sixteen classes
 * at a time. The batch is short, so one shape of its sums serves all families. A sample counts when its weight is not 0
 * and its label is a class; the others are selected away, never multiplied by 0, so that whatever lies in their rows
 * cannot reach the loss.
 *
 * CORRECT  1: whether the answers are right is found, too
 * SOFT     1: labels are the shares of all classes, F32 [batch, classes]; a sample counts by its weight alone
 * SUMMED   1: the gradient finds the sum of the weights made */
#include "common.clh"
#include "math.clh"

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
#define WIDE  __attribute__((reqd_work_group_size(1, 1, 1)))

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

/* The loss of a sample, and whether its answer is right, from the numbers found in its row. */
inline void finish(int sample, const __global float *row, LABELS, const __global float *weights,
                   __global float *losses, __global float *correct, __global float *counted, int classes,
                   float smoothing, float largest, float total, float shifted, float expected, float answer, float broken,
                   float greatest) {
    float loss = 0.0f;
#if !SOFT
    const int label = labels[sample];
    if (COUNTS(sample)) expected = row[label] - largest;
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
    float expected = 0.0f, likeliest = -INFINITY, broken = 0.0f, answer = classes, greatest = 0.0f;
#if SOFT
    for (int c = item; c < classes; c += 64) expected = fma(SHARE(sample, c), row[c] - largest, expected);
    expected = group_sum(expected, shared);
#endif
#if CORRECT
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
    for (int c = item; c < classes; c += 64) greatest = fmax(greatest, SHARE(sample, c));
    greatest = group_max(greatest, shared);
#endif
#endif
    if (item == 0)
        finish(sample, row, labels, weights, losses, correct, counted, classes, smoothing, largest, total, shifted,
               expected, answer, broken, greatest);
}

/* The numbers above of one sample, by one work-item. PoCL's vstore writes 16 bytes at a time, and what is read back at
 * once then waits for all of them. */
typedef float16 float16_anywhere __attribute__((aligned(4)));
#define PUT_16(value, to) (*(__global float16_anywhere *)(to) = (value))

/* By memory: Oclgrind takes half of a vector of sixteen for uninitialised. */
inline float sum_16(float16 x) {
    float lanes[16];
    vstore16(x, 0, lanes);
    return lanes_sum(vload8(0, lanes) + vload8(1, lanes));
}

inline bool any_of_16(int16 truths) {
    int lanes[16], some = 0;
    vstore16(truths, 0, lanes);
    for (int i = 0; i < 16; i++) some |= lanes[i];
    return some;
}

inline float largest_of_16(float16 x) {
    float lanes[16];
    vstore16(x, 0, lanes);
    const float8 eight = fmax(vload8(0, lanes), vload8(1, lanes));
    const float4 four = fmax(eight.lo, eight.hi);
    return fmax(fmax(four.x, four.y), fmax(four.z, four.w));
}

__kernel WIDE void cross_entropy_samples_wide(const __global float *restrict logits, LABELS,
                                              const __global float *restrict weights,
                                              __global float *restrict probabilities, __global float *restrict losses,
                                              __global float *restrict correct, __global float *restrict counted,
                                              int classes, float smoothing) {
    const int sample = get_group_id(0), whole = classes / 16 * 16;
    const __global float *row = logits + (size_t)sample * classes;
    __global float *probability = probabilities + (size_t)sample * classes;
    float16 largest_16 = -INFINITY, total_16 = 0.0f, shifted_16 = 0.0f;
    for (int c = 0; c < whole; c += 16) {
        const float16 z = vload16(0, row + c);
        largest_16 = z > largest_16 ? z : largest_16;
    }
    float largest = largest_of_16(largest_16);
    for (int c = whole; c < classes; c++) largest = fmax(largest, row[c]);
    for (int c = 0; c < whole; c += 16) {
        const float16 z = vload16(0, row + c) - largest, power = fast_exp_16(z);
        PUT_16(power, probability + c);
        total_16 += power;
        shifted_16 += z;
    }
    float total = sum_16(total_16), shifted = sum_16(shifted_16);
    for (int c = whole; c < classes; c++) {
        const float z = row[c] - largest, power = fast_exp_1(z);
        probability[c] = power;
        total += power;
        shifted += z;
    }
    int16 broken_16 = 0;
    float16 likeliest_16 = -INFINITY;
    for (int c = 0; c < whole; c += 16) {
        const float16 p = vload16(0, probability + c) / total;
        PUT_16(p, probability + c);
        likeliest_16 = p > likeliest_16 ? p : likeliest_16;
        broken_16 |= (as_int16(p) & 0x7f800000) == 0x7f800000;
    }
    float likeliest = largest_of_16(likeliest_16), broken = any_of_16(broken_16), expected = 0.0f, answer = classes;
    for (int c = whole; c < classes; c++) {
        const float p = probability[c] /= total;
        likeliest = fmax(likeliest, p);
        if (!is_finite(p)) broken = 1.0f;
    }
    float greatest = 0.0f;
#if SOFT
    for (int c = 0; c < classes; c++) {
        expected = fma(SHARE(sample, c), row[c] - largest, expected);
        greatest = fmax(greatest, SHARE(sample, c));
    }
#endif
#if CORRECT
    int first = 0;
    while (first < whole && !any_of_16(vload16(0, probability + first) == likeliest)) first += 16;
    for (int c = first; c < classes && answer == classes; c++)
        if (probability[c] == likeliest) answer = c;
#endif
    finish(sample, row, labels, weights, losses, correct, counted, classes, smoothing, largest, total, shifted, expected,
           answer, broken, greatest);
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

/* The same, where a work-item owns block_samples samples. */
__kernel WIDE void cross_entropy_backward_wide(const __global float *restrict d_loss,
                                               const __global float *restrict probabilities, LABELS,
                                               const __global float *restrict weights,
                                               const __global float *restrict weight_sum,
                                               __global float *restrict d_logits, int batch, int classes,
                                               float smoothing, int block_samples) {
#if SUMMED
    const float total = weight_sum[0];
#else
    float total = 0.0f;
    for (int sample = 0; sample < batch; sample++)
        if (COUNTS(sample)) total += weights[sample];
#endif
    const float scale = total > 0.0f ? d_loss[0] / total : 0.0f, rest = smoothing / classes;
    const int first = get_group_id(0) * block_samples, end = min(first + block_samples, batch);
    for (int sample = first; sample < end; sample++) {
        const __global float *p = probabilities + (size_t)sample * classes;
        __global float *d = d_logits + (size_t)sample * classes;
        const float factor = scale * weights[sample];
        int c = 0;
        if (!COUNTS(sample)) {
            for (; c + 16 <= classes; c += 16) PUT_16((float16)(0.0f), d + c);
            for (; c < classes; c++) d[c] = 0.0f;
            continue;
        }
#if SOFT
        const __global float *shares = labels + (size_t)sample * classes;
        for (; c + 16 <= classes; c += 16)
            PUT_16(factor * (vload16(0, p + c) - (rest + vload16(0, shares + c) * (1.0f - smoothing))), d + c);
        for (; c < classes; c++) d[c] = factor * (p[c] - (rest + shares[c] * (1.0f - smoothing)));
#else
        for (; c + 16 <= classes; c += 16) PUT_16(factor * (vload16(0, p + c) - rest), d + c);
        for (; c < classes; c++) d[c] = factor * (p[c] - rest);
        c = labels[sample];
        d[c] = factor * (p[c] - (rest + (1.0f - smoothing)));
#endif
    }
}
