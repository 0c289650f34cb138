/* Matrix product for GPUs: y = activation(op(a)·op(b) + bias), or combined with a partner: that plus the partner, or
 * times the slope of an activation there.
 *
 * A work-group of 16×16 work-items owns a tile of 64×64 of y and walks the depth in steps of 16: both factors' slices
 * go through local memory (8.5 KiB), turned so that a work-item reads its four rows and four columns as two float4 and
 * makes 16 fma of them. The next slice is fetched into registers while the present one is multiplied, which hides the
 * latency of global memory at any occupancy. One work-item writes each output; sums run along the depth in order.
 *
 * The second kernel finishes a product that a library made: bias, z, activation and partner. */
#include "math.clh"

#ifndef TRANSPOSE_A
#define TRANSPOSE_A 0 /* a is stored [k,m] */
#endif
#ifndef TRANSPOSE_B
#define TRANSPOSE_B 0 /* b is stored [n,k] */
#endif
#ifndef ALIGNED_A
#define ALIGNED_A 0 /* rows of a as it is stored start at multiples of four floats and have a multiple of four */
#endif
#ifndef ALIGNED_B
#define ALIGNED_B 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef ACTIVATION
#define ACTIVATION 0 /* 0 none, 1 ReLU, 2 GELU */
#endif
#ifndef KEEP_Z
#define KEEP_Z 0 /* z, the input of the activation, is stored, too */
#endif
#ifndef COMBINE
#define COMBINE 0 /* 0 nothing, 1 + partner, 2 · slope of ReLU at partner, 3 · slope of GELU at partner */
#endif

#if ACTIVATION < 0 || ACTIVATION > 2
#error "ACTIVATION is 0, 1 or 2"
#endif
#if KEEP_Z && !ACTIVATION
#error "KEEP_Z without an activation: z would be y"
#endif
#if COMBINE < 0 || COMBINE > 3 || (COMBINE && ACTIVATION)
#error "COMBINE is 0 to 3, and 0 beside an activation"
#endif

#define TILE   64
#define DEPTH  16
#define SIDE   16         /* work-items along each side of the tile */
#define STRIDE (TILE + 4) /* keeps float4 aligned and spreads the columns over the banks of local memory */

/* Four neighbours of a row that has `length` floats; what lies beyond `length` or in a row that is not there is 0. */
inline float4 load_four(const __global float *row, int column, int length, int there, int aligned) {
    if (there && column + 3 < length)
        return aligned ? *(const __global float4 *)(row + column) : vload4(0, row + column);
    float4 value = (float4)(0.0f);
    if (there && column < length) value.x = row[column];
    if (there && column + 1 < length) value.y = row[column + 1];
    if (there && column + 2 < length) value.z = row[column + 2];
    return value;
}

/* A slice of 16 steps of the depth and 64 outer indices. Stored with the depth along rows (outer × depth), a work-item
 * fetches four steps of one outer index; stored with the outer index along rows (depth × outer), four outer indices of
 * one step. */
inline float4 fetch_depth_in_rows(const __global float *matrix, int outer_begin, int outer_count, int step, int k,
                                  int item, int aligned) {
    const int outer = outer_begin + item / 4;
    return load_four(matrix + (long)outer * k, step + item % 4 * 4, k, outer < outer_count, aligned);
}

inline float4 fetch_outer_in_rows(const __global float *matrix, int outer_begin, int outer_count, int step, int k,
                                  int item, int aligned) {
    const int row = step + item / SIDE;
    return load_four(matrix + (long)row * outer_count, outer_begin + item % SIDE * 4, outer_count, row < k, aligned);
}

inline void keep_depth_in_rows(__local float *slice, float4 value, int item) {
    __local float *to = slice + item % 4 * 4 * STRIDE + item / 4;
    to[0] = value.x;
    to[STRIDE] = value.y;
    to[2 * STRIDE] = value.z;
    to[3 * STRIDE] = value.w;
}

inline void keep_outer_in_rows(__local float *slice, float4 value, int item) {
    *(__local float4 *)(slice + item / SIDE * STRIDE + item % SIDE * 4) = value;
}

#if TRANSPOSE_A
#define FETCH_A fetch_outer_in_rows
#define KEEP_A  keep_outer_in_rows
#else
#define FETCH_A fetch_depth_in_rows
#define KEEP_A  keep_depth_in_rows
#endif
#if TRANSPOSE_B
#define FETCH_B fetch_depth_in_rows
#define KEEP_B  keep_depth_in_rows
#else
#define FETCH_B fetch_outer_in_rows
#define KEEP_B  keep_outer_in_rows
#endif

#if ACTIVATION == 1
#define ACTIVATE(x) ((x) < 0.0f ? 0.0f : (x)) /* NaN passes */
#elif ACTIVATION == 2
#define ACTIVATE fast_gelu_1
#else
#define ACTIVATE(x) (x)
#endif

inline void finish(float value, const __global float *bias, const __global float *partner, __global float *y,
                   __global float *z, long at, int column) {
#if BIAS
    value += bias[column];
#endif
#if COMBINE == 1
    value += partner[at];
#elif COMBINE == 2
    value = partner[at] > 0.0f ? value : 0.0f;
#elif COMBINE == 3
    value *= fast_gelu_slope_1(partner[at]);
#endif
#if KEEP_Z
    z[at] = value;
#endif
    y[at] = ACTIVATE(value);
}

#define EACH_ROW(F) F(0, x) F(1, y) F(2, z) F(3, w)

#define MULTIPLY_ROW(r, c) sum##r = fma((float4)(left.c), right, sum##r);
#define STORE_ROW(r, c)                                                                                                \
    if (row + r < m) {                                                                                                 \
        const long at = (long)(row + r) * n + column;                                                                  \
        if (column < n) finish(sum##r.x, bias, partner, y, z, at, column);                                             \
        if (column + 1 < n) finish(sum##r.y, bias, partner, y, z, at + 1, column + 1);                                 \
        if (column + 2 < n) finish(sum##r.z, bias, partner, y, z, at + 2, column + 2);                                 \
        if (column + 3 < n) finish(sum##r.w, bias, partner, y, z, at + 3, column + 3);                                 \
    }

__kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void
gemm_tiled(const __global float *a,       /* [m,k], or [k,m] with TRANSPOSE_A */
           const __global float *b,       /* [k,n], or [n,k] with TRANSPOSE_B */
           const __global float *bias,    /* [n] or NULL */
           const __global float *partner, /* [m,n] or NULL */
           __global float *y,             /* [m,n] */
           __global float *z,             /* [m,n] or NULL */
           int m, int n, int k) {
    __local float slice_a[DEPTH * STRIDE] __attribute__((aligned(16)));
    __local float slice_b[DEPTH * STRIDE] __attribute__((aligned(16)));
    const int item = get_local_id(1) * SIDE + get_local_id(0);
    const int column_begin = get_group_id(0) * TILE, row_begin = get_group_id(1) * TILE;
    const int column = column_begin + get_local_id(0) * 4, row = row_begin + get_local_id(1) * 4;

    float4 sum0 = (float4)(0.0f), sum1 = (float4)(0.0f), sum2 = (float4)(0.0f), sum3 = (float4)(0.0f);
    float4 next_a = FETCH_A(a, row_begin, m, 0, k, item, ALIGNED_A);
    float4 next_b = FETCH_B(b, column_begin, n, 0, k, item, ALIGNED_B);
    for (int begin = 0; begin < k; begin += DEPTH) {
        KEEP_A(slice_a, next_a, item);
        KEEP_B(slice_b, next_b, item);
        barrier(CLK_LOCAL_MEM_FENCE);
        if (begin + DEPTH < k) {
            next_a = FETCH_A(a, row_begin, m, begin + DEPTH, k, item, ALIGNED_A);
            next_b = FETCH_B(b, column_begin, n, begin + DEPTH, k, item, ALIGNED_B);
        }
        for (int step = 0; step < DEPTH; step++) {
            const float4 left = *(const __local float4 *)(slice_a + step * STRIDE + get_local_id(1) * 4);
            const float4 right = *(const __local float4 *)(slice_b + step * STRIDE + get_local_id(0) * 4);
            EACH_ROW(MULTIPLY_ROW)
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    EACH_ROW(STORE_ROW)
}

/* y holds op(a)·op(b) already; one work-item an element. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
gemm_finish(const __global float *bias,    /* [n] or NULL */
            const __global float *partner, /* [m,n] or NULL */
            __global float *y,             /* [m,n] */
            __global float *z,             /* [m,n] or NULL */
            int m, int n) {
    const int groups = (n + 63) / 64, row = get_group_id(0) / groups; /* one dimension: some drivers limit the others */
    const int column = get_group_id(0) % groups * 64 + get_local_id(0);
    if (column < n && row < m) {
        const long at = (long)row * n + column;
        finish(y[at], bias, partner, y, z, at, column);
    }
}
