/* Matrix product for GPUs: y = op(a)·op(b) with the epilogue of gemm_epilogue.clh.
 *
 * A work-group of SIDE·SIDE work-items, or of twice as many that own 16 columns, owns a tile of y, OWN_ROWS×OWN_COLUMNS
 * for each of them, and walks the depth in steps of DEPTH: both factors' slices go through local memory, turned so that
 * a work-item reads its rows and columns in fours. There are two slices of each: while one is multiplied, the next is
 * fetched into registers, and then stored beside it, so one barrier a slice is enough. With 8×8 a work-item reads 16
 * numbers of local memory for 64 multiply-adds, with 8×16 it reads 24 for 128; 32 neighbours share 8 fours of columns
 * and 4 of rows, which lie in different banks.
 *
 * Tiles are numbered along bands of BAND rows of tiles, so that the work-groups of one time share rows of a and columns
 * of b in the cache. For small results the depth is cut twice: SHARES times so many work-items of a work-group sum one
 * share each for the same tile, which the first of them add in their order by way of local memory; and work-groups sum
 * one part each into scratch (PARTIAL), where gemm_finish adds them in their order, which is a launch more. One work-item
 * writes each output; sums run along the depth in order within a share, whatever the tile.
 *
 * STORAGE is the type of a and b; the bias and partial sums are fp32. */
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
#ifndef PARTIAL
#define PARTIAL 0 /* 1: the sums of a part of the depth go to `parts`, without the epilogue */
#endif
#ifndef SUMS
#define SUMS 0 /* 1: the sums of op(a) over k are computed, too, by the work-groups of the first columns */
#endif
#ifndef SIDE
#define SIDE 16 /* work-items along a row of the tile */
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
#ifndef SHARES
#define SHARES 1 /* of a work-group's depth */
#endif
#if SIDE != 8 && SIDE != 16
#error "SIDE is 8 or 16"
#endif
#if DEPTH != 8 && DEPTH != 16 && DEPTH != 32
#error "DEPTH is 8, 16 or 32"
#endif
#if (OWN_ROWS != 4 && OWN_ROWS != 8) || (OWN_COLUMNS != 4 && OWN_COLUMNS != 8 && OWN_COLUMNS != 16)
#error "a work-item owns 4 or 8 rows, and 4, 8 or 16 columns"
#endif

#if SHARES != 1 && (SIDE != 8 || (SHARES != 2 && SHARES != 4))
#error "SHARES is 1, or 2 or 4 of groups of 8 by 8"
#endif

/* Longer stretches take registers: with 128 or fewer, and 255 of 8×16, two work-groups share a compute unit. */
#define UNROLL      _Pragma("unroll 2")
#define UNROLL_NONE _Pragma("unroll 1")

#define BAND         8
#define SIDE_ROWS    (OWN_COLUMNS == 16 ? 2 * SIDE : SIDE) /* work-items along a column of the tile */
#define ITEMS        (SIDE * SIDE_ROWS)
#define TILE_ROWS    (SIDE_ROWS * OWN_ROWS)
#define TILE_COLUMNS (SIDE * OWN_COLUMNS)
/* Of a slice in local memory: keeps float4 aligned and spreads the columns over the banks. */
#define PITCH(tile) ((tile) + 4)
/* Fours of a slice, and how many of them each work-item fetches, at most. */
#define FOURS(tile)   ((tile) * DEPTH / 4)
#define FETCHES(tile) ((FOURS(tile) + ITEMS - 1) / ITEMS)

/* Where a work-item stands in its tile: 32 neighbours form a block of 8 columns by 4 rows. */
#define ITEM_COLUMN (item / 32 % (SIDE / 8) * 8 + item % 8)
#define ITEM_ROW    (item / 32 / (SIDE / 8) * 4 + item % 32 / 8)

/* A slice of DEPTH steps of the depth and `tile` outer indices, four by four. Stored with the depth along rows (outer ×
 * depth), a four is four steps of one outer index; stored with the outer index along rows (depth × outer), four outer
 * indices of one step. `from` is the place of a work-item's first four, and moves with the slices, since to compute it
 * anew would take registers. */
#define OUTER_OF_DEPTH(four)       ((four) / (DEPTH / 4))
#define STEP_OF_DEPTH(four)        ((four) % (DEPTH / 4) * 4)
#define OUTER_OF_OUTER(four, tile) ((four) % ((tile) / 4) * 4)
#define STEP_OF_OUTER(four, tile)  ((four) / ((tile) / 4))

inline float4 fetch_depth_in_rows(const __global stored *from, int outer_begin, int outer_count, int step, int k,
                                  int item, int four, int tile, int aligned) {
    const int outer = outer_begin + OUTER_OF_DEPTH(four), column = step + STEP_OF_DEPTH(four);
    if (outer >= outer_count || column >= k) return (float4)(0.0f);
    return read_stored(from + (long)(OUTER_OF_DEPTH(four) - OUTER_OF_DEPTH(item)) * k, k - column, aligned);
}

inline float4 fetch_outer_in_rows(const __global stored *from, int outer_begin, int outer_count, int step, int k,
                                  int item, int four, int tile, int aligned) {
    const int row = step + STEP_OF_OUTER(four, tile), column = outer_begin + OUTER_OF_OUTER(four, tile);
    if (row >= k || column >= outer_count) return (float4)(0.0f);
    return read_stored(from + (long)(STEP_OF_OUTER(four, tile) - STEP_OF_OUTER(item, tile)) * outer_count,
                       outer_count - column, aligned);
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

#define FIRST_DEPTH(begin_outer) ((long)((begin_outer) + OUTER_OF_DEPTH(item)) * k + begin + STEP_OF_DEPTH(item))
#define FIRST_OUTER(begin_outer, count, tile)                                                                          \
    ((long)(begin + STEP_OF_OUTER(item, tile)) * (count) + (begin_outer) + OUTER_OF_OUTER(item, tile))
#if TRANSPOSE_A
#define FETCH_A  fetch_outer_in_rows
#define KEEP_A   keep_outer_in_rows
#define FIRST_A  FIRST_OUTER(row_begin, m, TILE_ROWS)
#define STRIDE_A ((long)DEPTH * m)
#else
#define FETCH_A  fetch_depth_in_rows
#define KEEP_A   keep_depth_in_rows
#define FIRST_A  FIRST_DEPTH(row_begin)
#define STRIDE_A DEPTH
#endif
#if TRANSPOSE_B
#define FETCH_B  fetch_depth_in_rows
#define KEEP_B   keep_depth_in_rows
#define FIRST_B  FIRST_DEPTH(column_begin)
#define STRIDE_B DEPTH
#else
#define FETCH_B  fetch_outer_in_rows
#define KEEP_B   keep_outer_in_rows
#define FIRST_B  FIRST_OUTER(column_begin, n, TILE_COLUMNS)
#define STRIDE_B ((long)DEPTH * n)
#endif

/* Four sums of a work-group from `column` of `row` on; those of a part stay as they are. */
INLINE void put(float4 value, int row, int column, __global float *parts, EPILOGUE_PARAMETERS) {
    const long at = (long)row * n + column;
    if (row >= m || column >= n) return;
#if PARTIAL
    write_floats(value, parts + (long)get_group_id(1) * m * n + at, n - column, ALIGNED_Y);
#else
    finish_four(value, at, column, EPILOGUE);
#endif
}

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
#define PUT_ROW(r, c, f)      PUT_FOUR(r, 0)
#define DECLARE_ROW(r, c, f)  float4 sum##r##_0 = (float4)(0.0f);
#elif OWN_COLUMNS == 8
#define EACH_COLUMN_FOUR(F)   F(0) F(1)
#define MULTIPLY_ROW(r, c, f) MULTIPLY(r, c, f, 0) MULTIPLY(r, c, f, 1)
#define PUT_ROW(r, c, f)      PUT_FOUR(r, 0) PUT_FOUR(r, 1)
#define DECLARE_ROW(r, c, f)  float4 sum##r##_0 = (float4)(0.0f), sum##r##_1 = (float4)(0.0f);
#elif OWN_COLUMNS == 16
#define EACH_COLUMN_FOUR(F)   F(0) F(1) F(2) F(3)
#define MULTIPLY_ROW(r, c, f) MULTIPLY(r, c, f, 0) MULTIPLY(r, c, f, 1) MULTIPLY(r, c, f, 2) MULTIPLY(r, c, f, 3)
#define PUT_ROW(r, c, f)      PUT_FOUR(r, 0) PUT_FOUR(r, 1) PUT_FOUR(r, 2) PUT_FOUR(r, 3)
#define DECLARE_ROW(r, c, f)                                                                                           \
    float4 sum##r##_0 = (float4)(0.0f), sum##r##_1 = (float4)(0.0f), sum##r##_2 = (float4)(0.0f),                      \
           sum##r##_3 = (float4)(0.0f);
#endif
#define EACH_1(F) F(0)
#define EACH_2(F) F(0) F(1)
#define EACH_4(F) EACH_2(F) F(2) F(3)
#define EACH_8(F) EACH_4(F) F(4) F(5) F(6) F(7)
#if FETCHES(TILE_ROWS) == 1
#define EACH_FETCH_A EACH_1
#elif FETCHES(TILE_ROWS) == 2
#define EACH_FETCH_A EACH_2
#elif FETCHES(TILE_ROWS) == 4
#define EACH_FETCH_A EACH_4
#elif FETCHES(TILE_ROWS) == 8
#define EACH_FETCH_A EACH_8
#endif
#if FETCHES(TILE_COLUMNS) == 1
#define EACH_FETCH_B EACH_1
#elif FETCHES(TILE_COLUMNS) == 2
#define EACH_FETCH_B EACH_2
#elif FETCHES(TILE_COLUMNS) == 4
#define EACH_FETCH_B EACH_4
#elif FETCHES(TILE_COLUMNS) == 8
#define EACH_FETCH_B EACH_8
#endif

#define IN_SLICE(i, tile) ((i + 1) * ITEMS <= FOURS(tile) || item < FOURS(tile))
#define DECLARE_A(i)      float4 next_a##i;
#define DECLARE_B(i)      float4 next_b##i;
#define FETCH_SLICE_A(i)                                                                                               \
    if (IN_SLICE(i, TILE_ROWS))                                                                                        \
        next_a##i = FETCH_A(a, row_begin, m, begin, k, item, item + i * ITEMS, TILE_ROWS, ALIGNED_A);
#define FETCH_SLICE_B(i)                                                                                               \
    if (IN_SLICE(i, TILE_COLUMNS))                                                                                     \
        next_b##i = FETCH_B(b, column_begin, n, begin, k, item, item + i * ITEMS, TILE_COLUMNS, ALIGNED_B);
#define KEEP_SLICE_A(i)                                                                                                \
    if (IN_SLICE(i, TILE_ROWS))                                                                                        \
        KEEP_A(slice_a + now * SLICE_A, next_a##i, item + i * ITEMS, TILE_ROWS);
#define KEEP_SLICE_B(i)                                                                                                \
    if (IN_SLICE(i, TILE_COLUMNS))                                                                                     \
        KEEP_B(slice_b + now * SLICE_B, next_b##i, item + i * ITEMS, TILE_COLUMNS);
#define READ_LEFT(f)                                                                                                   \
    const float4 left##f =                                                                                             \
        *(const __local float4 *)(own_a + step * PITCH(TILE_ROWS) + f * (4 * SIDE_ROWS));
#define READ_RIGHT(g)                                                                                                  \
    const float4 right##g =                                                                                            \
        *(const __local float4 *)(own_b + step * PITCH(TILE_COLUMNS) + g * (4 * SIDE));
#define MULTIPLY(r, c, f, g) sum##r##_##g = fma((float4)(left##f.c), right##g, sum##r##_##g);
#define PUT_FOUR(r, g)                                                                                                 \
    put(sum##r##_##g, row_begin + r / 4 * (4 * SIDE_ROWS) + ITEM_ROW * 4 + r % 4,                                    \
        column_begin + g * (4 * SIDE) + ITEM_COLUMN * 4, parts, EPILOGUE);

#define SLICE_A     (DEPTH * PITCH(TILE_ROWS))
#define SLICE_B     (DEPTH * PITCH(TILE_COLUMNS))
#define SHARE_FLOATS (2 * (SLICE_A + SLICE_B))

#if SHARES > 1
/* A four of sums goes from another share to the first. */
#define GIVE_FOUR(r, g) given[((r) * (OWN_COLUMNS / 4) + g) * ITEMS + item] = sum##r##_##g;
#define TAKE_FOUR(r, g) sum##r##_##g += given[((r) * (OWN_COLUMNS / 4) + g) * ITEMS + item];
#if OWN_COLUMNS == 4
#define GIVE_ROW(r, c, f) GIVE_FOUR(r, 0)
#define TAKE_ROW(r, c, f) TAKE_FOUR(r, 0)
#elif OWN_COLUMNS == 8
#define GIVE_ROW(r, c, f) GIVE_FOUR(r, 0) GIVE_FOUR(r, 1)
#define TAKE_ROW(r, c, f) TAKE_FOUR(r, 0) TAKE_FOUR(r, 1)
#else
#define GIVE_ROW(r, c, f) GIVE_FOUR(r, 0) GIVE_FOUR(r, 1) GIVE_FOUR(r, 2) GIVE_FOUR(r, 3)
#define TAKE_ROW(r, c, f) TAKE_FOUR(r, 0) TAKE_FOUR(r, 1) TAKE_FOUR(r, 2) TAKE_FOUR(r, 3)
#endif
#endif

/* Work-groups: tiles, parts of the depth. */
__kernel __attribute__((reqd_work_group_size(ITEMS * SHARES, 1, 1))) void
gemm_tiled(const __global stored *a, /* [m,k], or [k,m] with TRANSPOSE_A */
           const __global stored *b, /* [k,n], or [n,k] with TRANSPOSE_B */
           EPILOGUE_PARAMETERS, int k, int part_depth, /* a multiple of SHARES·DEPTH */
           __global float *parts,                      /* [parts,m,n] or NULL */
           __global float *sums /* [m], or [parts,m] with PARTIAL, or NULL */) {
    __local float slices[SHARES * SHARE_FLOATS] __attribute__((aligned(16)));
    const int item = get_local_id(0) % ITEMS, share = get_local_id(0) / ITEMS;
    __local float *const slice_a = slices + share * SHARE_FLOATS, *const slice_b = slice_a + 2 * SLICE_A;
    const int tile_columns = (n + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const int band = get_group_id(0) / (BAND * tile_columns), in_band = get_group_id(0) % (BAND * tile_columns);
    const int band_rows = min((m + TILE_ROWS - 1) / TILE_ROWS - band * BAND, BAND);
    const int row_begin = (band * BAND + in_band % band_rows) * TILE_ROWS;
    const int column_begin = in_band / band_rows * TILE_COLUMNS;
    const int share_depth = part_depth / SHARES;
    int begin = get_group_id(1) * part_depth + share * share_depth, now = 0;
#if SHARES == 1
    const int end = min(begin + part_depth, k);
#else
    const int end = begin + share_depth; /* equally far in all shares, whose work-items meet at barriers */
#endif
    EACH_ROW(DECLARE_ROW)
    EACH_FETCH_A(DECLARE_A)
    EACH_FETCH_B(DECLARE_B)
#if SUMS
    float sum_of_row = 0.0f;
#endif
    a += FIRST_A;
    b += FIRST_B;
    EACH_FETCH_A(FETCH_SLICE_A)
    EACH_FETCH_B(FETCH_SLICE_B)
    EACH_FETCH_A(KEEP_SLICE_A)
    EACH_FETCH_B(KEEP_SLICE_B)
    barrier(CLK_LOCAL_MEM_FENCE);
    while (begin < end) {
        const __local float *own_a = slice_a + now * SLICE_A + ITEM_ROW * 4;
        const __local float *own_b = slice_b + now * SLICE_B + ITEM_COLUMN * 4;
        begin += DEPTH;
        a += STRIDE_A;
        b += STRIDE_B;
        now ^= 1;
        if (begin < end) {
            EACH_FETCH_A(FETCH_SLICE_A)
            EACH_FETCH_B(FETCH_SLICE_B)
        }
        UNROLL
        for (int step = 0; step < DEPTH; step++) {
            EACH_ROW_FOUR(READ_LEFT)
            EACH_COLUMN_FOUR(READ_RIGHT)
            EACH_ROW(MULTIPLY_ROW)
        }
#if SUMS
        if (column_begin == 0 && item < TILE_ROWS) {
            UNROLL_NONE
            for (int step = 0; step < DEPTH; step++)
                sum_of_row += slice_a[(now ^ 1) * SLICE_A + step * PITCH(TILE_ROWS) + item];
        }
#endif
        if (begin < end) {
            EACH_FETCH_A(KEEP_SLICE_A)
            EACH_FETCH_B(KEEP_SLICE_B)
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#if SHARES > 1
    __local float4 *const given = (__local float4 *)slices;
    for (int giver = 1; giver < SHARES; giver++) {
        if (share == giver) { EACH_ROW(GIVE_ROW) }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (share == 0) { EACH_ROW(TAKE_ROW) }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#if SUMS
    slices[share * ITEMS + item] = sum_of_row;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int giver = 1; giver < SHARES; giver++) sum_of_row += slices[giver * ITEMS + item];
#endif
    if (share > 0) return;
#endif
    EACH_ROW(PUT_ROW)
#if SUMS
    if (column_begin == 0 && item < TILE_ROWS && row_begin + item < m)
        sums[get_group_id(1) * m + row_begin + item] = sum_of_row;
#endif
}
