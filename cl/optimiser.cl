/* The optimiser's step and the norm of all gradients, over the store's flat buffers. The step is one straight-line
 * scalar work-item per element: CPU devices vectorise it, GPUs coalesce it. The norm is two launches with a fixed
 * number of partial sums, so its order of summation depends on nothing but the number of elements.
 *
 * KIND 0 SGD, 1 Adam, 2 AdamW, 3 RAdam, with PyTorch's definitions. MOMENTUM (SGD): moment_1 is there. CLIP: the
 * gradient is multiplied by clip[1]. NORM_LOCAL: work-items that share one partial sum. */
#ifndef KIND
#define KIND 2
#endif
#ifndef MOMENTUM
#define MOMENTUM 0
#endif
#ifndef CLIP
#define CLIP 0
#endif
#ifndef NORM_LOCAL
#define NORM_LOCAL 1
#endif
#if KIND < 0 || KIND > 3
#error "KIND is 0 to 3"
#endif
#if NORM_LOCAL & (NORM_LOCAL - 1)
#error "NORM_LOCAL is a power of two: the partial sums meet in a tree"
#endif

/* values, moment_1, moment_2, gradients [count]; clip [2]; state [8]: learning rate, 1 - beta1^t, 1 - beta2^t,
 * rectification. Elements below `decayed` have weight decay. rest1 and rest2 are 1 - beta1 and 1 - beta2, rounded once. */
__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void
optimiser_step(const __global float *gradients, const __global float *clip, const __global float *state,
               __global float *values, __global float *moment_1, __global float *moment_2, int count, int decayed,
               float beta1, float rest1, float beta2, float rest2, float epsilon, float decay, float momentum) {
    int i = get_global_id(0);
    if (i >= count) return;
    float rate = state[0], value = values[i], gradient = gradients[i];
    float own_decay = i < decayed ? decay : 0.0f;
#if CLIP
    gradient *= clip[1];
#endif
#if KIND == 2
    value -= rate * own_decay * value;
#else
    gradient += own_decay * value;
#endif
#if KIND == 0
#if MOMENTUM
    gradient += momentum * moment_1[i];
    moment_1[i] = gradient;
#endif
    values[i] = value - rate * gradient;
#else
    float first = beta1 * moment_1[i] + rest1 * gradient;
    float second = beta2 * moment_2[i] + rest2 * gradient * gradient;
    moment_1[i] = first;
    moment_2[i] = second;
    float step = rate * (first / state[1]);
#if KIND == 3
    float rectification = state[3];
    if (rectification > 0.0f) step *= rectification * sqrt(state[2]) / (sqrt(second) + epsilon);
    values[i] = value - step;
#else
    values[i] = value - step / (sqrt(second / state[2]) + epsilon);
#endif
#endif
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
