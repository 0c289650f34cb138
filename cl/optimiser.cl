/* The optimiser's step, the sum of several runs' gradients and the norm of them all, over the store's flat buffers. In
 * the step and the sum a work-item owns one
 * element, or on CPU devices STEP_BLOCK elements, in vectors: there divisions and roots are what it costs. The norm is
 * two launches with a fixed number of partial sums, so its order of summation depends on nothing but the number of
 * elements.
 *
 * KIND 0 SGD, 1 Adam, 2 AdamW, 3 RAdam, with PyTorch's definitions. MOMENTUM (SGD): moment_1 is there. CLIP: the
 * gradient is multiplied by clip[1]. STEP_LOCAL: work-items of a group of the step; 1: each owns a block. NORM_LOCAL:
 * work-items that share one partial sum. */
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
#define STEP_BLOCK 4096

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

/* The elements at one place, eight or one. */
#define DEFINE_UPDATE(F, NAME, LOAD, STORE)                                                                            \
    inline void NAME(const shared *s, const __global float *gradients, F decay, __global float *values,                \
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
            STORE(value - s->rate * gradient, values);                                                                 \
            return;                                                                                                    \
        }                                                                                                              \
        F first = s->beta1 * LOAD(moment_1) + s->rest1 * gradient;                                                     \
        F second = s->beta2 * LOAD(moment_2) + s->rest2 * gradient * gradient;                                         \
        STORE(first, moment_1);                                                                                        \
        STORE(second, moment_2);                                                                                       \
        F step = s->rate * (first / s->bias_1);                                                                        \
        if (KIND == 3) {                                                                                               \
            if (s->rectification > 0.0f) step *= s->rectification * sqrt(s->bias_2) / (sqrt(second) + s->epsilon);     \
            STORE(value - step, values);                                                                               \
        } else {                                                                                                       \
            STORE(value - step / (sqrt(second / s->bias_2) + s->epsilon), values);                                     \
        }                                                                                                              \
    }
#define LOAD_1(from)       (*(from))
#define STORE_1(value, to) (*(to) = (value))
#define LOAD_8(from)       vload8(0, from)
#define STORE_8(value, to) vstore8(value, 0, to)
DEFINE_UPDATE(float, update_1, LOAD_1, STORE_1)
DEFINE_UPDATE(float8, update_8, LOAD_8, STORE_8)

/* values, moment_1, moment_2, gradients [count]; clip [2]; state [8]: learning rate, 1 - beta1^t, 1 - beta2^t,
 * rectification. Elements below `decayed` have weight decay. rest1 and rest2 are 1 - beta1 and 1 - beta2, rounded once.
 */
__kernel __attribute__((reqd_work_group_size(STEP_LOCAL, 1, 1))) void
optimiser_step(const __global float *gradients, const __global float *clip, const __global float *state,
               __global float *values, __global float *moment_1, __global float *moment_2, int count, int decayed,
               float beta1, float rest1, float beta2, float rest2, float epsilon, float decay, float momentum) {
    const shared s = {
        state[0], CLIP ? clip[1] : 1.0f, state[1], state[2], state[3], beta1, rest1, beta2, rest2, epsilon, momentum};
#if STEP_LOCAL == 1
    int i = get_group_id(0) * STEP_BLOCK;
    const int last = min(count, i + STEP_BLOCK);
    for (; i + 8 <= last; i += 8) {
        const float8 own = i + (int8)(0, 1, 2, 3, 4, 5, 6, 7) < decayed ? (float8)(decay) : (float8)(0.0f);
        update_8(&s, gradients + i, own, values + i, moment_1 + i, moment_2 + i);
    }
#else
    int i = get_global_id(0);
    const int last = min(count, i + 1);
#endif
    for (; i < last; i++)
        update_1(&s, gradients + i, i < decayed ? decay : 0.0f, values + i, moment_1 + i, moment_2 + i);
}

/* sums [count] += gradients [count]; where state[4] is 0, what was in sums is forgotten, whatever it was. */
__kernel __attribute__((reqd_work_group_size(STEP_LOCAL, 1, 1))) void
gradient_sum(const __global float *gradients, const __global float *state, __global float *sums, int count) {
    const int kept = state[4] != 0.0f;
#if STEP_LOCAL == 1
    int i = get_group_id(0) * STEP_BLOCK;
    const int last = min(count, i + STEP_BLOCK);
    for (; i + 8 <= last; i += 8) {
        const float8 own = vload8(0, gradients + i);
        vstore8(kept ? vload8(0, sums + i) + own : own, 0, sums + i);
    }
#else
    int i = get_global_id(0);
    const int last = min(count, i + 1);
#endif
    for (; i < last; i++) sums[i] = kept ? sums[i] + gradients[i] : gradients[i];
}

/* gradients [count] -> partial [groups]: each group owns chunk elements in a row. */
__kernel __attribute__((reqd_work_group_size(NORM_LOCAL, 1, 1))) void
gradient_norm_gather(const __global float *gradients, __global float *partial, int count, int chunk) {
    long first = (long)get_group_id(0) * chunk, last = min((long)count, first + chunk);
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
    partial[get_group_id(0)] = sum;
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
    if (item == 0) partial[get_group_id(0)] = sums[0];
#endif
}

/* partial [groups] -> norm [2]: the norm and the factor that clips. A limit of 0 clips nothing. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gradient_norm_join(const __global float *partial, __global float *norm, int groups, float limit) {
    float sum = 0.0f;
    for (int i = 0; i < groups; i++) sum += partial[i];
    float length = sqrt(sum);
    norm[0] = length;
    norm[1] = limit > 0.0f && length > limit ? limit / length : 1.0f;
}
