/* Matrix product for GPUs: y = activation(op(a)·op(b) + bias), or combined with a partner: that plus the partner, or
 * times the slope of an activation there.
 *
 * A work-group of SIDE×SIDE work-items owns a tile of y, OWN_ROWS×OWN_COLUMNS for each of them, and walks the depth in
 * steps of DEPTH: both factors' slices go through local memory (8.5 KiB by default), turned so that a work-item reads
 * its rows and columns in fours. The next slice is fetched into registers while the present one is multiplied, which
 * hides the latency of global memory at any occupancy. One work-item writes each output; sums run along the depth in
 * order, whatever the tile.
 *
 * STORAGE is the type of a, b, partner, y and z; the bias is fp32. */
#include "gemm_epilogue.clh"

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
#ifndef SUMS
#define SUMS 0 /* 1: the sums of op(a) over k are computed, too, by the work-groups of the first columns */
#endif
#ifndef SIDE
#define SIDE 16 /* work-items along each side of the tile */
#endif
#ifndef OWN_ROWS
#define OWN_ROWS 4
#endif
#ifndef OWN_COLUMNS
#define OWN_COLUMNS 4
#endif
#ifndef DEPTH
#define DEPTH 16
#endif
#if (OWN_ROWS != 4 && OWN_ROWS != 8) || (OWN_COLUMNS != 4 && OWN_COLUMNS != 8)
#error "a work-item owns 4 or 8 rows and columns"
#endif

#define TILE_ROWS    (SIDE * OWN_ROWS)
#define TILE_COLUMNS (SIDE * OWN_COLUMNS)
/* Fours of a slice that each work-item fetches: 1, 2, 4 or 8. */
#define FETCHES_A (OWN_ROWS * DEPTH / (4 * SIDE))
#define FETCHES_B (OWN_COLUMNS * DEPTH / (4 * SIDE))
/* Of a slice in local memory: keeps float4 aligned and spreads the columns over the banks. */
#define PITCH(tile) ((tile) + 4)

/* Four neighbours of a row that has `length` floats; what lies beyond `length` or in a row that is not there is 0. */
inline float4 load_four(const __global stored *row, int column, int length, int there, int aligned) {
#if STORAGE
    if (there && column + 3 < length) return LOAD_4(row + column);
#else
    if (there && column + 3 < length)
        return aligned ? *(const __global float4 *)(row + column) : vload4(0, row + column);
#endif
    float4 value = (float4)(0.0f);
    if (there && column < length) value.x = LOAD(row, column);
    if (there && column + 1 < length) value.y = LOAD(row, column + 1);
    if (there && column + 2 < length) value.z = LOAD(row, column + 2);
    return value;
}

/* A slice of DEPTH steps of the depth and `tile` outer indices, four by four. Stored with the depth along rows (outer ×
 * depth), a four is four steps of one outer index; stored with the outer index along rows (depth × outer), four outer
 * indices of one step. */
inline float4 fetch_depth_in_rows(const __global stored *matrix, int outer_begin, int outer_count, int step, int k,
                                  int four, int tile, int aligned) {
    const int outer = outer_begin + four / (DEPTH / 4);
    return load_four(matrix + (long)outer * k, step + four % (DEPTH / 4) * 4, k, outer < outer_count, aligned);
}

inline float4 fetch_outer_in_rows(const __global stored *matrix, int outer_begin, int outer_count, int step, int k,
                                  int four, int tile, int aligned) {
    const int row = step + four / (tile / 4);
    return load_four(matrix + (long)row * outer_count, outer_begin + four % (tile / 4) * 4, outer_count, row < k,
                     aligned);
}

inline void keep_depth_in_rows(__local float *slice, float4 value, int four, int tile) {
    __local float *to = slice + four % (DEPTH / 4) * 4 * PITCH(tile) + four / (DEPTH / 4);
    to[0] = value.x;
    to[PITCH(tile)] = value.y;
    to[2 * PITCH(tile)] = value.z;
    to[3 * PITCH(tile)] = value.w;
}

inline void keep_outer_in_rows(__local float *slice, float4 value, int four, int tile) {
    *(__local float4 *)(slice + four / (tile / 4) * PITCH(tile) + four % (tile / 4) * 4) = value;
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

/* What a work-item owns has a name for each four, not a place in an array: arrays are slow where a driver makes loops
 * of work-items. F(row, its component of left, the four of rows it belongs to). */
#define ROWS_OF_FOUR_0(F) F(0, x, 0) F(1, y, 0) F(2, z, 0) F(3, w, 0)
#define ROWS_OF_FOUR_1(F) F(4, x, 1) F(5, y, 1) F(6, z, 1) F(7, w, 1)
#if OWN_ROWS == 4
#define EACH_ROW_FOUR(F) F(0)
#define EACH_ROW(F)      ROWS_OF_FOUR_0(F)
#elif OWN_ROWS == 8
#define EACH_ROW_FOUR(F) F(0) F(1)
#define EACH_ROW(F)      ROWS_OF_FOUR_0(F) ROWS_OF_FOUR_1(F)
#endif
#if OWN_COLUMNS == 4
#define EACH_COLUMN_FOUR(F)   F(0)
#define MULTIPLY_ROW(r, c, f) MULTIPLY(r, c, f, 0)
#define STORE_ROW(r, c, f)    STORE_FOUR(r, 0)
#define DECLARE_ROW(r, c, f)  float4 sum##r##_0 = (float4)(0.0f);
#elif OWN_COLUMNS == 8
#define EACH_COLUMN_FOUR(F)   F(0) F(1)
#define MULTIPLY_ROW(r, c, f) MULTIPLY(r, c, f, 0) MULTIPLY(r, c, f, 1)
#define STORE_ROW(r, c, f)    STORE_FOUR(r, 0) STORE_FOUR(r, 1)
#define DECLARE_ROW(r, c, f)  float4 sum##r##_0 = (float4)(0.0f), sum##r##_1 = (float4)(0.0f);
#endif
#define EACH_1(F) F(0)
#define EACH_2(F) F(0) F(1)
#define EACH_4(F) EACH_2(F) F(2) F(3)
#define EACH_8(F) EACH_4(F) F(4) F(5) F(6) F(7)
#if FETCHES_A == 1
#define EACH_FETCH_A EACH_1
#elif FETCHES_A == 2
#define EACH_FETCH_A EACH_2
#elif FETCHES_A == 4
#define EACH_FETCH_A EACH_4
#elif FETCHES_A == 8
#define EACH_FETCH_A EACH_8
#endif
#if FETCHES_B == 1
#define EACH_FETCH_B EACH_1
#elif FETCHES_B == 2
#define EACH_FETCH_B EACH_2
#elif FETCHES_B == 4
#define EACH_FETCH_B EACH_4
#elif FETCHES_B == 8
#define EACH_FETCH_B EACH_8
#endif

#define DECLARE_A(i)     float4 next_a##i;
#define DECLARE_B(i)     float4 next_b##i;
#define FETCH_SLICE_A(i) next_a##i = FETCH_A(a, row_begin, m, begin, k, item + i * SIDE * SIDE, TILE_ROWS, ALIGNED_A);
#define FETCH_SLICE_B(i)                                                                                               \
    next_b##i = FETCH_B(b, column_begin, n, begin, k, item + i * SIDE * SIDE, TILE_COLUMNS, ALIGNED_B);
#define KEEP_SLICE_A(i) KEEP_A(slice_a, next_a##i, item + i * SIDE * SIDE, TILE_ROWS);
#define KEEP_SLICE_B(i) KEEP_B(slice_b, next_b##i, item + i * SIDE * SIDE, TILE_COLUMNS);
#define READ_LEFT(f)                                                                                                   \
    const float4 left##f =                                                                                             \
        *(const __local float4 *)(slice_a + step * PITCH(TILE_ROWS) + (f * SIDE + get_local_id(1)) * 4);
#define READ_RIGHT(g)                                                                                                  \
    const float4 right##g =                                                                                            \
        *(const __local float4 *)(slice_b + step * PITCH(TILE_COLUMNS) + (g * SIDE + get_local_id(0)) * 4);
#define MULTIPLY(r, c, f, g) sum##r##_##g = fma((float4)(left##f.c), right##g, sum##r##_##g);
#define STORE_FOUR(r, g)                                                                                               \
    if (row_begin + (r / 4 * SIDE + get_local_id(1)) * 4 + r % 4 < m) {                                                \
        const int column = column_begin + (g * SIDE + get_local_id(0)) * 4;                                            \
        const long at = (long)(row_begin + (r / 4 * SIDE + get_local_id(1)) * 4 + r % 4) * n + column;                 \
        finish_four(sum##r##_##g, at, column, EPILOGUE);                                                               \
    }

__kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void
gemm_tiled(const __global stored *a, /* [m,k], or [k,m] with TRANSPOSE_A */
           const __global stored *b, /* [k,n], or [n,k] with TRANSPOSE_B */
           EPILOGUE_PARAMETERS, int k, __global float *sums /* [m] or NULL */) {
    __local float slice_a[DEPTH * PITCH(TILE_ROWS)] __attribute__((aligned(16)));
    __local float slice_b[DEPTH * PITCH(TILE_COLUMNS)] __attribute__((aligned(16)));
    const int item = get_local_id(1) * SIDE + get_local_id(0);
    const int column_begin = get_group_id(0) * TILE_COLUMNS, row_begin = get_group_id(1) * TILE_ROWS;
    EACH_ROW(DECLARE_ROW)
    EACH_FETCH_A(DECLARE_A)
    EACH_FETCH_B(DECLARE_B)
#if SUMS
    float sum_of_row = 0.0f;
#endif
    int begin = 0;
    EACH_FETCH_A(FETCH_SLICE_A)
    EACH_FETCH_B(FETCH_SLICE_B)
    while (begin < k) {
        EACH_FETCH_A(KEEP_SLICE_A)
        EACH_FETCH_B(KEEP_SLICE_B)
        barrier(CLK_LOCAL_MEM_FENCE);
        begin += DEPTH;
        if (begin < k) {
            EACH_FETCH_A(FETCH_SLICE_A)
            EACH_FETCH_B(FETCH_SLICE_B)
        }
        for (int step = 0; step < DEPTH; step++) {
            EACH_ROW_FOUR(READ_LEFT)
            EACH_COLUMN_FOUR(READ_RIGHT)
            EACH_ROW(MULTIPLY_ROW)
        }
#if SUMS
        if (get_group_id(0) == 0 && item < TILE_ROWS)
            for (int step = 0; step < DEPTH; step++) sum_of_row += slice_a[step * PITCH(TILE_ROWS) + item];
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    EACH_ROW(STORE_ROW)
#if SUMS
    if (get_group_id(0) == 0 && item < TILE_ROWS && row_begin + item < m) sums[row_begin + item] = sum_of_row;
#endif
}
