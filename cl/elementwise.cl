/* Elementwise operations. One work-item owns one element (dropout: the four that share one Philox block), straight-line
 * and without vector types: CPU compilers vectorise such a kernel over the work-group, and on GPUs the loads coalesce,
 * so one shape serves all families.
 *
 * DROPOUT_BLOCK  elements of one work-item of dropout_wide, a multiple of 4
 * ACTIVATION  1 ReLU, 2 exact GELU (x·Φ(x)); only for activation and activation_backward
 * LENGTHS     1: rows from their sample's length on become 0; only for activation */
#include "math.clh"
#include "random.clh"
#include "storage.clh"

#ifndef ACTIVATION
#define ACTIVATION 2
#endif
#ifndef LENGTHS
#define LENGTHS 0
#endif
#ifndef DROPOUT_BLOCK
#define DROPOUT_BLOCK 4096
#endif
#if ACTIVATION != 1 && ACTIVATION != 2
#error "ACTIVATION is 1 (ReLU) or 2 (GELU)"
#endif

#if ACTIVATION == 1
inline float activate(float x) {
    return x < 0.0f ? 0.0f : x; /* NaN passes */
}
#else
#define activate fast_gelu_1
#endif

/* Whether element i of [B, rows, columns] lies before its sample's length. */
#if LENGTHS
#define IS_SEEN(i) ((int)((i) / columns % rows) < lengths[(i) / columns / rows])
#else
#define IS_SEEN(i) 1
#endif

/* x, y [count], lengths [B] or NULL */
__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void
activation(const __global stored *restrict x, __global result *restrict y, const __global int *restrict lengths,
           int rows, int columns, int count) {
    const size_t i = get_global_id(0);
    if (i < count) {
        STORE_RESULT(IS_SEEN(i) ? activate(LOAD(x, i)) : 0.0f, y, i);
    }
}

/* y = dropout(activation(x)) */
__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void
activation_dropout(const __global stored *restrict x, __global result *restrict y, const __global int *restrict lengths,
                   int rows, int columns, const __global uint *restrict random_state, uint threshold, uint stream,
                   float keep_scale, int count) {
    const size_t i = get_global_id(0);
    if (i < count) {
        const uint4 words = random_words(random_state, stream, (uint)(i / 4), 0);
        const uint2 pair = i & 2 ? words.hi : words.lo;
        const int is_kept = IS_SEEN(i) && (i & 1 ? pair.y : pair.x) >= threshold;
        STORE_RESULT(is_kept ? activate(LOAD(x, i)) * keep_scale : 0.0f, y, i);
    }
}

/* dz = dy · activation'(z); dy, z, dz [count] */
__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void
activation_backward(const __global stored *restrict dy, const __global stored *restrict z, __global stored *restrict dz,
                    int count) {
    size_t i = get_global_id(0);
    if (i < count) {
        float slope_at = LOAD(z, i);
#if ACTIVATION == 1
        STORE(slope_at > 0.0f ? LOAD(dy, i) : 0.0f, dz, i);
#else
        STORE(LOAD(dy, i) * fast_gelu_slope_1(slope_at), dz, i);
#endif
    }
}

/* x, y [count], random_state [4]. A work-item owns elements 4·quad … 4·quad+3. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
dropout_tiled(const __global stored *restrict x, __global stored *restrict y,
              const __global uint *restrict random_state, uint threshold, uint stream, float keep_scale, int count) {
    size_t quad = get_global_id(0), first = 4 * quad;
    if (first < count) {
        uint4 words = random_words(random_state, stream, (uint)quad, 0);
        if (first + 4 <= count) {
            const float4 kept = LOAD_4_ALIGNED(x + first) * keep_scale;
            STORE_4_ALIGNED(select((float4)(0.0f), kept, words >= (uint4)(threshold)), y + first);
        } else {
            STORE(words.x >= threshold ? LOAD(x, first) * keep_scale : 0.0f, y, first);
            if (first + 1 < count) STORE(words.y >= threshold ? LOAD(x, first + 1) * keep_scale : 0.0f, y, first + 1);
            if (first + 2 < count) STORE(words.z >= threshold ? LOAD(x, first + 2) * keep_scale : 0.0f, y, first + 2);
        }
    }
}

/* The same of fp32; a work-item owns DROPOUT_BLOCK neighbours, since Philox on a CPU pays only eight blocks at a
 * time. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
dropout_wide(const __global float *x, __global float *y, const __global uint *restrict random_state, uint threshold,
             uint stream, float keep_scale, int count) {
    size_t first = get_group_id(0) * (size_t)DROPOUT_BLOCK;
    drop_block(x + first, y + first, first, min(DROPOUT_BLOCK, (int)(count - first)), random_state, threshold, stream,
               keep_scale);
}
