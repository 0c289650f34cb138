/* Softmax attention for GPUs, forward and backward, without ever storing the N×M matrix.
 *
 * A work-group of 128 owns BLOCK_ROWS rows of its outputs and walks the other sequence in tiles of BLOCK_COLUMNS;
 * BLOCK_ROWS · BLOCK_COLUMNS is always 2048, so a work-item holds 4 × 4 scores, and 4 × 4 or 4 × 8 outputs for wide and
 * narrow heads alike. Two steps make up every pass: multiply_tile (scores = x · yᵀ, both staged in slices of SLICE
 * columns) and accumulate_tile (outputs += weights · x, x staged in slices of SLICE rows), with the weights handed
 * over in local memory. Any head width fits, since only slices of it are ever staged.
 *
 * The backward pass is two kernels, one that owns rows of q and writes dq, and one that owns rows of k and v and writes
 * dk and dv: each output has one writer and a fixed order of summation. p is recomputed from lse, and held at 1 where
 * huge scores leave lse too coarse.
 *
 * Loads of k and v stop at the count. Trip counts depend on the work-group alone, so barriers are met by all. */
#include "random.clh"

#ifndef D /* width of queries and keys */
#define D 64
#endif
#ifndef E /* width of values */
#define E 64
#endif
#ifndef BLOCK_ROWS
#define BLOCK_ROWS 32
#endif
#ifndef BACKWARD /* which of the two passes the program holds */
#define BACKWARD 0
#endif
#ifndef COUNTS /* 0: all keys are valid, 1: counts [B], 2: counts [B,H] */
#define COUNTS 0
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef WRITE_DK
#define WRITE_DK 1
#endif
#ifndef WRITE_DV
#define WRITE_DV 1
#endif
#if D < 1 || D > 256 || E < 1 || E > 256
#error "head widths are 1 to 256"
#endif
#if BLOCK_ROWS != 8 && BLOCK_ROWS != 16 && BLOCK_ROWS != 32 && BLOCK_ROWS != 64
#error "a block has 8, 16, 32 or 64 rows"
#endif
#if COUNTS < 0 || COUNTS > 2
#error "COUNTS is 0, 1 or 2"
#endif

#define WORK_ITEMS    128
#define BLOCK_COLUMNS (2048 / BLOCK_ROWS)
#define COLUMN_GROUPS (BLOCK_COLUMNS / 4)
#define SLICE         16
#define PAD           4 /* keeps the transposing stores of a slice apart in the banks, and vectors aligned */
#define GROUPS(width) (((width) + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS) /* of four output columns per work-item */
#define MULTIPLY_SIZE (SLICE * (BLOCK_ROWS + PAD + BLOCK_COLUMNS + PAD))
#define WIDER_GROUPS  (GROUPS(D) > GROUPS(E) ? GROUPS(D) : GROUPS(E))
#define WIDER_SIZE    (SLICE * WIDER_GROUPS * BLOCK_COLUMNS)
#define STAGE_SIZE    (MULTIPLY_SIZE > WIDER_SIZE ? MULTIPLY_SIZE : WIDER_SIZE)
#if (D > 2 * BLOCK_COLUMNS) || (E > 2 * BLOCK_COLUMNS)
#error "BLOCK_ROWS is too large for the head width"
#endif
#define LOG2_E    1.44269504f
#define LOG_2     0.69314718f
#define INLINE    static inline __attribute__((always_inline))
#define KERNEL(n) __kernel __attribute__((reqd_work_group_size(n, 1, 1)))

/* Register arrays need their loops gone; longer stretches only cost compilation, and registers on Intel. */
#define UNROLL_FULL  _Pragma("unroll")
#define UNROLL_SLICE _Pragma("unroll 4")
#define UNROLL_NONE  _Pragma("unroll 1")

INLINE int valid_keys(const __global int *counts, int batch, int head, int heads, int M) {
#if COUNTS == 1
    return clamp(counts[batch], 0, M);
#elif COUNTS == 2
    return clamp(counts[batch * heads + head], 0, M);
#else
    return M;
#endif
}

/* slice [SLICE][pitch] = columns first … first+SLICE-1 of `rows` rows of x, transposed; 0 behind `valid` rows and
 * behind `width`. */
INLINE void stage_transposed(const __global float *x, int x_stride, const int rows, int valid, const int width,
                             int first, __local float *slice, const int pitch) {
    UNROLL_NONE
    for (int i = get_local_id(0); i < rows * SLICE; i += WORK_ITEMS) {
        int row = i / SLICE, column = i % SLICE;
        slice[column * pitch + row] =
            row < valid && first + column < width ? x[(long)row * x_stride + first + column] : 0.0f;
    }
}

/* scores[r] = row 4·row_group + r of x · yᵀ, columns 4·column_group … + 3. */
INLINE void multiply_tile(const __global float *x, int x_stride, int x_valid, const __global float *y, int y_stride,
                          int y_valid, const int width, __local float *stage, float4 *scores) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    __local float *x_slice = stage, *y_slice = stage + SLICE * (BLOCK_ROWS + PAD);
    float4 s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (int first = 0; first < width; first += SLICE) {
        barrier(CLK_LOCAL_MEM_FENCE);
        stage_transposed(x, x_stride, BLOCK_ROWS, x_valid, width, first, x_slice, BLOCK_ROWS + PAD);
        stage_transposed(y, y_stride, BLOCK_COLUMNS, y_valid, width, first, y_slice, BLOCK_COLUMNS + PAD);
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_SLICE
        for (int i = 0; i < SLICE; i++) {
            float4 a = vload4(0, x_slice + i * (BLOCK_ROWS + PAD) + row);
            float4 b = vload4(0, y_slice + i * (BLOCK_COLUMNS + PAD) + column);
            s0 = fma((float4)(a.x), b, s0);
            s1 = fma((float4)(a.y), b, s1);
            s2 = fma((float4)(a.z), b, s2);
            s3 = fma((float4)(a.w), b, s3);
        }
    }
    scores[0] = s0, scores[1] = s1, scores[2] = s2, scores[3] = s3;
}

/* Hands a tile over: weights [BLOCK_COLUMNS][BLOCK_ROWS]. */
INLINE void store_weights(const float4 *p, __local float *weights) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    vstore4((float4)(p[0].x, p[1].x, p[2].x, p[3].x), 0, weights + (column + 0) * BLOCK_ROWS + row);
    vstore4((float4)(p[0].y, p[1].y, p[2].y, p[3].y), 0, weights + (column + 1) * BLOCK_ROWS + row);
    vstore4((float4)(p[0].z, p[1].z, p[2].z, p[3].z), 0, weights + (column + 2) * BLOCK_ROWS + row);
    vstore4((float4)(p[0].w, p[1].w, p[2].w, p[3].w), 0, weights + (column + 3) * BLOCK_ROWS + row);
}

/* out[4g + r] += row 4·row_group + r of weightsᵀ · x, columns g·BLOCK_COLUMNS + 4·column_group … + 3. */
INLINE void accumulate_tile(const __local float *weights, const __global float *x, int x_stride, int x_valid,
                            const int width, __local float *stage, float4 *out) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    const int pitch = GROUPS(width) * BLOCK_COLUMNS;
    for (int first = 0; first < min(BLOCK_COLUMNS, x_valid); first += SLICE) {
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_NONE
        for (int i = get_local_id(0); i < SLICE * pitch; i += WORK_ITEMS) {
            int r = first + i / pitch, c = i % pitch;
            stage[i] = r < x_valid && c < width ? x[(long)r * x_stride + c] : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_SLICE
        for (int i = 0; i < SLICE; i++) {
            float4 w = vload4(0, weights + (first + i) * BLOCK_ROWS + row);
            UNROLL_FULL
            for (int g = 0; g < GROUPS(width); g++) {
                float4 b = vload4(0, stage + i * pitch + g * BLOCK_COLUMNS + column);
                out[4 * g + 0] = fma((float4)(w.x), b, out[4 * g + 0]);
                out[4 * g + 1] = fma((float4)(w.y), b, out[4 * g + 1]);
                out[4 * g + 2] = fma((float4)(w.z), b, out[4 * g + 2]);
                out[4 * g + 3] = fma((float4)(w.w), b, out[4 * g + 3]);
            }
        }
    }
}

/* Writes a work-item's four rows of an output block whose first row is *x. */
INLINE void store_rows(const float4 *out, __global float *x, int x_stride, int valid, const int width) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    UNROLL_FULL
    for (int g = 0; g < GROUPS(width); g++) {
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            __global float *to = x + (long)(row + r) * x_stride;
            int c = g * BLOCK_COLUMNS + column;
            if (row + r < valid) {
                if (c + 0 < width) to[c + 0] = out[4 * g + r].x;
                if (c + 1 < width) to[c + 1] = out[4 * g + r].y;
                if (c + 2 < width) to[c + 2] = out[4 * g + r].z;
                if (c + 3 < width) to[c + 3] = out[4 * g + r].w;
            }
        }
    }
}

INLINE float4 keep_factor(uint4 words, uint threshold, float keep_scale) {
    return words >= (uint4)(threshold) ? (float4)(keep_scale) : (float4)(0.0f);
}

#if !BACKWARD
/* q [B,N,H,D], k [B,M,H,D], v [B,M,H,E], o [B,N,H,E] by offset and strides of sample, row and head; lse [B,H,N].
 * Work-groups: block of queries, head, sample. */
KERNEL(WORK_ITEMS)
void attention_forward(const __global float *restrict q, const __global float *restrict k,
                       const __global float *restrict v, const __global int *restrict counts,
                       const __global uint *restrict random_state, __global float *restrict o,
                       __global float *restrict lse, int N, int M, float scale, int q_offset, int q_sample, int q_row, int q_head,
                       int k_offset, int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row, int v_head, int o_offset, int o_sample,
                       int o_row, int o_head, uint stream, uint threshold, float keep_scale) {
    __local float stage[STAGE_SIZE] __attribute__((aligned(16)));
    __local float weights[BLOCK_ROWS * BLOCK_COLUMNS] __attribute__((aligned(16)));
    __local float partial[BLOCK_ROWS * COLUMN_GROUPS];
    const int head = get_group_id(1), heads = get_num_groups(1), batch = get_group_id(2);
    const int first = get_group_id(0) * BLOCK_ROWS, queries = min(BLOCK_ROWS, N - first);
    const int column_group = get_local_id(0) % COLUMN_GROUPS;
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = column_group * 4;
    const int count = valid_keys(counts, batch, head, heads, M);
    q += q_offset + (long)batch * q_sample + (long)head * q_head + (long)first * q_row;
    k += k_offset + (long)batch * k_sample + (long)head * k_head;
    v += v_offset + (long)batch * v_sample + (long)head * v_head;
    o += o_offset + (long)batch * o_sample + (long)head * o_head + (long)first * o_row;
    lse += ((long)batch * heads + head) * N + first;

    float maximum[4], total[4];
    float4 out[4 * GROUPS(E)], p[4];
    UNROLL_FULL
    for (int r = 0; r < 4; r++) maximum[r] = -INFINITY, total[r] = 0.0f;
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(E); i++) out[i] = 0.0f;

    for (int first_key = 0; first_key < count; first_key += BLOCK_COLUMNS) {
        const int keys = count - first_key;
        multiply_tile(q, q_row, queries, k + (long)first_key * k_row, k_row, keys, D, stage, p);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            p[r] *= scale * LOG2_E;
            p[r] = column + (int4)(0, 1, 2, 3) < (int4)(keys) ? p[r] : (float4)(-INFINITY);
            partial[(row + r) * COLUMN_GROUPS + column_group] = max(max(p[r].x, p[r].y), max(p[r].z, p[r].w));
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            float larger = maximum[r];
            UNROLL_NONE
            for (int i = 0; i < COLUMN_GROUPS; i++) larger = max(larger, partial[(row + r) * COLUMN_GROUPS + i]);
            float rescale = exp2(maximum[r] - larger);
            maximum[r] = larger;
            p[r] = exp2(p[r] - larger);
            total[r] = fma(total[r], rescale, (p[r].x + p[r].y) + (p[r].z + p[r].w));
            UNROLL_FULL
            for (int g = 0; g < GROUPS(E); g++) out[4 * g + r] *= rescale;
#if DROPOUT
            p[r] *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                             (uint)((batch * heads + head) * N + first + row + r)),
                                threshold, keep_scale);
#endif
        }
        store_weights(p, weights);
        accumulate_tile(weights, v + (long)first_key * v_row, v_row, keys, E, stage, out);
    }

    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_FULL
    for (int r = 0; r < 4; r++) partial[(row + r) * COLUMN_GROUPS + column_group] = total[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_FULL
    for (int r = 0; r < 4; r++) {
        float sum = 0.0f;
        UNROLL_NONE
        for (int i = 0; i < COLUMN_GROUPS; i++) sum += partial[(row + r) * COLUMN_GROUPS + i];
        float reciprocal = count > 0 ? 1.0f / sum : 0.0f;
        UNROLL_FULL
        for (int g = 0; g < GROUPS(E); g++) out[4 * g + r] *= reciprocal;
        if (column_group == 0 && row + r < queries)
            lse[row + r] = count > 0 ? maximum[r] * LOG_2 + log(sum) : -INFINITY;
    }
    store_rows(out, o, o_row, queries, E);
}

#else
/* delta [B,H,N] = Σ_e d_o · o, one work-item a row; o [B,N,H,E] dense, d_o by strides. */
KERNEL(64)
void attention_backward_delta(const __global float *restrict o, const __global float *restrict d_o,
                              __global float *restrict delta, int rows, int N, int heads, int d_o_offset, int d_o_sample, int d_o_row,
                              int d_o_head) {
    const int index = get_global_id(0);
    if (index < rows) {
        const int batch = index / (heads * N), head = index / N % heads, row = index % N;
        o += (((long)batch * N + row) * heads + head) * E;
        d_o += d_o_offset + (long)batch * d_o_sample + (long)row * d_o_row + (long)head * d_o_head;
        float sum = 0.0f;
        for (int e = 0; e < E; e++) sum = fma(d_o[e], o[e], sum);
        delta[index] = sum;
    }
}

/* Owns rows of q: dq = ds · k. Work-groups: block of queries, head, sample. */
KERNEL(WORK_ITEMS)
void attention_backward_queries(const __global float *restrict q, const __global float *restrict k,
                                const __global float *restrict v, const __global float *restrict lse,
                                const __global float *restrict delta, const __global float *restrict d_o,
                                const __global int *restrict counts, const __global uint *restrict random_state,
                                __global float *restrict dq, int N, int M, float scale, int q_offset, int q_sample, int q_row,
                                int q_head, int k_offset, int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row, int v_head,
                                int d_o_offset, int d_o_sample, int d_o_row, int d_o_head, int dq_offset, int dq_sample, int dq_row, int dq_head,
                                uint stream, uint threshold, float keep_scale) {
    __local float stage[STAGE_SIZE] __attribute__((aligned(16)));
    __local float weights[BLOCK_ROWS * BLOCK_COLUMNS] __attribute__((aligned(16)));
    const int head = get_group_id(1), heads = get_num_groups(1), batch = get_group_id(2);
    const int first = get_group_id(0) * BLOCK_ROWS, queries = min(BLOCK_ROWS, N - first);
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    const int count = valid_keys(counts, batch, head, heads, M);
    const long first_row = ((long)batch * heads + head) * N + first;
    q += q_offset + (long)batch * q_sample + (long)head * q_head + (long)first * q_row;
    d_o += d_o_offset + (long)batch * d_o_sample + (long)head * d_o_head + (long)first * d_o_row;
    k += k_offset + (long)batch * k_sample + (long)head * k_head;
    v += v_offset + (long)batch * v_sample + (long)head * v_head;
    dq += dq_offset + (long)batch * dq_sample + (long)head * dq_head + (long)first * dq_row;

    float shift[4], own_delta[4];
    float4 out[4 * GROUPS(D)], p[4], ds[4];
    UNROLL_FULL
    for (int r = 0; r < 4; r++) {
        shift[r] = row + r < queries ? lse[first_row + row + r] * LOG2_E : 0.0f;
        own_delta[r] = row + r < queries ? delta[first_row + row + r] : 0.0f;
    }
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(D); i++) out[i] = 0.0f;

    for (int first_key = 0; first_key < count; first_key += BLOCK_COLUMNS) {
        const int keys = count - first_key;
        multiply_tile(q, q_row, queries, k + (long)first_key * k_row, k_row, keys, D, stage, p);
        multiply_tile(d_o, d_o_row, queries, v + (long)first_key * v_row, v_row, keys, E, stage, ds);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            p[r] = exp2(min(p[r] * (scale * LOG2_E) - shift[r], 0.0f));
#if DROPOUT
            ds[r] *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                              (uint)(first_row + row + r)),
                                 threshold, keep_scale);
#endif
            ds[r] = p[r] * (ds[r] - own_delta[r]) * scale;
            ds[r] = column + (int4)(0, 1, 2, 3) < (int4)(keys) ? ds[r] : (float4)(0.0f);
        }
        store_weights(ds, weights);
        accumulate_tile(weights, k + (long)first_key * k_row, k_row, keys, D, stage, out);
    }
    store_rows(out, dq, dq_row, queries, D);
}

/* Owns rows of k and v: dv = pᵀ · d_o, dk = dsᵀ · q; rows behind the count become 0. Work-groups: block of keys, head,
 * sample. */
KERNEL(WORK_ITEMS)
void attention_backward_keys(const __global float *restrict q, const __global float *restrict k,
                             const __global float *restrict v, const __global float *restrict lse,
                             const __global float *restrict delta, const __global float *restrict d_o,
                             const __global int *restrict counts, const __global uint *restrict random_state,
                             __global float *restrict dk, __global float *restrict dv, int N, int M, float scale,
                             int q_offset, int q_sample, int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head, int v_offset, int v_sample,
                             int v_row, int v_head, int d_o_offset, int d_o_sample, int d_o_row, int d_o_head, int dk_offset, int dk_sample,
                             int dk_row, int dk_head, int dv_offset, int dv_sample, int dv_row, int dv_head, uint stream,
                             uint threshold, float keep_scale) {
    __local float stage[STAGE_SIZE] __attribute__((aligned(16)));
    __local float weights[BLOCK_ROWS * BLOCK_COLUMNS] __attribute__((aligned(16)));
    const int head = get_group_id(1), heads = get_num_groups(1), batch = get_group_id(2);
    const int first = get_group_id(0) * BLOCK_ROWS;
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    const int keys = valid_keys(counts, batch, head, heads, M) - first;
    const long first_row = ((long)batch * heads + head) * N;
    q += q_offset + (long)batch * q_sample + (long)head * q_head;
    d_o += d_o_offset + (long)batch * d_o_sample + (long)head * d_o_head;
    k += k_offset + (long)batch * k_sample + (long)head * k_head + (long)first * k_row;
    v += v_offset + (long)batch * v_sample + (long)head * v_head + (long)first * v_row;

    float4 p[4], ds[4];
#if WRITE_DK
    float4 d_key[4 * GROUPS(D)];
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(D); i++) d_key[i] = 0.0f;
#endif
#if WRITE_DV
    float4 d_value[4 * GROUPS(E)];
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(E); i++) d_value[i] = 0.0f;
#endif

    const int end = keys > 0 ? N : 0;
    for (int first_query = 0; first_query < end; first_query += BLOCK_COLUMNS) {
        const int queries = N - first_query;
        const __global float *q_tile = q + (long)first_query * q_row, *d_o_tile = d_o + (long)first_query * d_o_row;
        multiply_tile(k, k_row, keys, q_tile, q_row, queries, D, stage, p);
        float shift[4];
        UNROLL_FULL
        for (int c = 0; c < 4; c++)
            shift[c] = column + c < queries ? lse[first_row + first_query + column + c] * LOG2_E : INFINITY;
        const float4 shifts = (float4)(shift[0], shift[1], shift[2], shift[3]);
#if DROPOUT
        float4 keep[4], by_query[4];
        UNROLL_FULL
        for (int c = 0; c < 4; c++)
            by_query[c] = keep_factor(random_words(random_state, stream, (uint)(first + row) / 4,
                                                   (uint)(first_row + first_query + column + c)),
                                      threshold, keep_scale);
        keep[0] = (float4)(by_query[0].x, by_query[1].x, by_query[2].x, by_query[3].x);
        keep[1] = (float4)(by_query[0].y, by_query[1].y, by_query[2].y, by_query[3].y);
        keep[2] = (float4)(by_query[0].z, by_query[1].z, by_query[2].z, by_query[3].z);
        keep[3] = (float4)(by_query[0].w, by_query[1].w, by_query[2].w, by_query[3].w);
#endif
        UNROLL_FULL
        for (int r = 0; r < 4; r++)
            p[r] = row + r < keys ? exp2(min(p[r] * (scale * LOG2_E) - shifts, 0.0f)) : (float4)(0.0f);
#if WRITE_DV
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            ds[r] = p[r];
#if DROPOUT
            ds[r] *= keep[r];
#endif
        }
        store_weights(ds, weights);
        accumulate_tile(weights, d_o_tile, d_o_row, queries, E, stage, d_value);
#endif
#if WRITE_DK
        multiply_tile(v, v_row, keys, d_o_tile, d_o_row, queries, E, stage, ds);
        UNROLL_FULL
        for (int c = 0; c < 4; c++)
            shift[c] = column + c < queries ? delta[first_row + first_query + column + c] : 0.0f;
        const float4 deltas = (float4)(shift[0], shift[1], shift[2], shift[3]);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
#if DROPOUT
            ds[r] *= keep[r];
#endif
            ds[r] = p[r] * (ds[r] - deltas) * scale;
        }
        store_weights(ds, weights);
        accumulate_tile(weights, q_tile, q_row, queries, D, stage, d_key);
#endif
    }
#if WRITE_DK
    dk += dk_offset + (long)batch * dk_sample + (long)head * dk_head + (long)first * dk_row;
    store_rows(d_key, dk, dk_row, M - first, D);
#endif
#if WRITE_DV
    dv += dv_offset + (long)batch * dv_sample + (long)head * dv_head + (long)first * dv_row;
    store_rows(d_value, dv, dv_row, M - first, E);
#endif
}
#endif
