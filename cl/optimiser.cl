/* The optimiser's step, the sum of several runs' gradients and the norm of them all, over the store's flat buffers. In the
 * step and the sum a work-group owns STEP_BLOCK elements: on GPUs its work-items take turns, on CPUs its only one takes
 * vectors, since there divisions and roots are what it costs. The sums of squares for the norm are of a fixed number of
 * parts, which each work-group of the step adds up for itself, so the order of summation depends on nothing but the number
 * of elements.
 *
 * KIND        0 SGD, 1 Adam, 2 AdamW, 3 RAdam, with PyTorch's definitions
 * MOMENTUM    1: SGD has moment_1
 * CLIP        1: the norm of the gradients is limited
 * SCALED      1: the gradients are multiplied by the scale of the loss, whose inverse is state[5]; where their norm is not
 *             finite, neither values nor moments change, and skipped[0] says so
 * STORAGE     of the copies of the values, in 16 bits; 0: there are none
 * STEP_LOCAL, NORM_LOCAL  work-items of a group of the step and of the norm */
#ifndef KIND
#define KIND 2
#endif
#ifndef MOMENTUM
#define MOMENTUM 0
#endif
#ifndef CLIP
#define CLIP 0
#endif
#ifndef STEP_LOCAL
#define STEP_LOCAL 1
#endif
#ifndef NORM_LOCAL
#define NORM_LOCAL 1
#endif
#ifndef SCALED
#define SCALED 0
#endif
#define STEP_BLOCK 4096

#include "common.clh"
#include "storage.clh"

#if KIND < 0 || KIND > 3
#error "KIND is 0 to 3"
#endif
#if NORM_LOCAL & (NORM_LOCAL - 1)
#error "NORM_LOCAL is a power of two: the partial sums meet in a tree"
#endif

/* The numbers of a step that all elements share. */
typedef struct shared {
    float rate, clip, bias_1, bias_2, rectification;
    float beta1, rest1, beta2, rest2, epsilon, momentum;
} shared;

/* The elements at one place, eight or one; returns their values. */
#define DEFINE_UPDATE(F, NAME, LOAD, STORE)                                                                            \
    inline F NAME(const shared *s, const __global float *gradients, F decay, __global float *values,                   \
                     __global float *moment_1, __global float *moment_2) {                                             \
        F value = LOAD(values), gradient = LOAD(gradients) * s->clip;                                                  \
        if (KIND == 2)                                                                                                 \
            value -= s->rate * decay * value;                                                                          \
        else                                                                                                           \
            gradient += decay * value;                                                                                 \
        if (KIND == 0) {                                                                                               \
            if (MOMENTUM) {                                                                                            \
                gradient += s->momentum * LOAD(moment_1);                                                              \
                STORE(gradient, moment_1);                                                                             \
            }                                                                                                          \
            value -= s->rate * gradient;                                                                               \
            STORE(value, values);                                                                                      \
            return value;                                                                                              \
        }                                                                                                              \
        F first = s->beta1 * LOAD(moment_1) + s->rest1 * gradient;                                                     \
        F second = s->beta2 * LOAD(moment_2) + s->rest2 * gradient * gradient;                                         \
        STORE(first, moment_1);                                                                                        \
        STORE(second, moment_2);                                                                                       \
        F step = s->rate * (first / s->bias_1);                                                                        \
        if (KIND == 3) {                                                                                               \
            if (s->rectification > 0.0f) step *= s->rectification * sqrt(s->bias_2) / (sqrt(second) + s->epsilon);     \
            value -= step;                                                                                             \
        } else {                                                                                                       \
            value -= step / (sqrt(second / s->bias_2) + s->epsilon);                                                   \
        }                                                                                                              \
        STORE(value, values);                                                                                          \
        return value;                                                                                                  \
    }
#define LOAD_1(from)       (*(from))
#define STORE_1(value, to) (*(to) = (value))
DEFINE_UPDATE(float, update_1, LOAD_1, STORE_1)
DEFINE_UPDATE(float8, update_8, LOAD_8_AS_0, STORE_8_AS_0)

/* Copies of them. */
#if STORAGE
#define COPY_1(value, at) STORE(value, copies, at)
#define COPY_8(value, at) STORE_8(value, copies + at)
#else
#define COPY_1(value, at) (void)(value)
#define COPY_8(value, at) (void)(value)
#endif

/* The square of the norm. At most 128 parts. */
#if STEP_LOCAL == 1
inline float squared_norm(const __global float *squares, int parts) {
    float sum = 0.0f;
    for (int i = 0; i < parts; i++) sum += squares[i];
    return sum;
}
#else
inline float squared_norm(const __global float *squares, int parts, __local float *sums) {
    const int item = get_local_id(0);
    sums[item] = item < parts ? squares[item] : 0.0f;
    for (int reach = 64; reach > 0; reach /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < reach) sums[item] += sums[item + reach];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return sums[0];
}
#endif

/* values, moment_1, moment_2, gradients, copies [count]; squares [parts]; skipped [1]; state [8]: learning rate,
 * 1 - beta1^t, 1 - beta2^t, rectification, [5] what a scaled gradient is multiplied by. Elements below `decayed` have
 * weight decay. rest1 and rest2 are 1 - beta1 and 1 - beta2, rounded once. */
__kernel __attribute__((reqd_work_group_size(STEP_LOCAL, 1, 1))) void
optimiser_step(const __global float *gradients, const __global float *squares, const __global float *state,
               __global float *values, __global float *moment_1, __global float *moment_2, int count, int decayed,
               float beta1, float rest1, float beta2, float rest2, float epsilon, float decay, float momentum, int parts,
               float limit, __global float *skipped, __global stored *copies) {
    float clip = 1.0f;
#if CLIP
#if STEP_LOCAL == 1
    const float square = squared_norm(squares, parts);
#else
    __local float sums[STEP_LOCAL];
    const float square = squared_norm(squares, parts, sums);
#endif
#if SCALED
    if (get_global_id(0) == 0) skipped[0] = !is_finite(square);
    if (!is_finite(square)) return;
    const float norm = sqrt(square) * state[5];
    clip = (limit > 0.0f && norm > limit ? limit / norm : 1.0f) * state[5];
#else
    const float norm = sqrt(square);
    clip = norm > limit ? limit / norm : 1.0f;
#endif
#endif
    const shared s = {state[0], clip, state[1], state[2], state[3], beta1, rest1, beta2, rest2, epsilon, momentum};
    int i = get_group_id(0) * STEP_BLOCK + get_local_id(0);
    const int last = min(count, (int)get_group_id(0) * STEP_BLOCK + STEP_BLOCK);
#if STEP_LOCAL == 1
    for (; i + 8 <= last; i += 8) {
        const float8 own = i + (int8)(0, 1, 2, 3, 4, 5, 6, 7) < decayed ? (float8)(decay) : (float8)(0.0f);
        const float8 value = update_8(&s, gradients + i, own, values + i, moment_1 + i, moment_2 + i);
        COPY_8(value, i);
    }
#endif
    for (; i < last; i += STEP_LOCAL) {
        const float own = i < decayed ? decay : 0.0f;
        const float value = update_1(&s, gradients + i, own, values + i, moment_1 + i, moment_2 + i);
        COPY_1(value, i);
    }
}

/* sums [count] += gradients [count]; where state[4] is 0, what was in sums is forgotten, whatever it was. */
__kernel __attribute__((reqd_work_group_size(STEP_LOCAL, 1, 1))) void
gradient_sum(const __global float *gradients, const __global float *state, __global float *sums, int count) {
    const int kept = state[4] != 0.0f;
    int i = get_group_id(0) * STEP_BLOCK + get_local_id(0);
    const int last = min(count, (int)get_group_id(0) * STEP_BLOCK + STEP_BLOCK);
#if STEP_LOCAL == 1
    for (; i + 8 <= last; i += 8) {
        const float8 own = vload8(0, gradients + i);
        vstore8(kept ? vload8(0, sums + i) + own : own, 0, sums + i);
    }
#endif
    for (; i < last; i += STEP_LOCAL) sums[i] = kept ? sums[i] + gradients[i] : gradients[i];
}

/* gradients [count] -> squares [parts]: each group owns `part` elements in a row. */
__kernel __attribute__((reqd_work_group_size(NORM_LOCAL, 1, 1))) void
gradient_norm(const __global float *gradients, __global float *squares, int count, int part) {
    long first = (long)get_group_id(0) * part, last = min((long)count, first + part);
#if NORM_LOCAL == 1
    float8 sums = 0.0f;
    long i = first;
    for (; i + 8 <= last; i += 8) {
        float8 g = vload8(0, gradients + i);
        sums = fma(g, g, sums);
    }
    float4 four = sums.lo + sums.hi;
    float2 two = four.lo + four.hi;
    float sum = two.x + two.y;
    for (; i < last; i++) sum = fma(gradients[i], gradients[i], sum);
    squares[get_group_id(0)] = sum;
#else
    __local float sums[NORM_LOCAL];
    int item = get_local_id(0);
    float sum = 0.0f;
    for (long i = first + item; i < last; i += NORM_LOCAL) sum = fma(gradients[i], gradients[i], sum);
    sums[item] = sum;
    for (int reach = NORM_LOCAL / 2; reach > 0; reach /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < reach) sums[item] += sums[item + reach];
    }
    if (item == 0) squares[get_group_id(0)] = sums[0];
#endif
}
