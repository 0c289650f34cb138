/* Matrix product for CPU devices: y = activation(op(a)·op(b) + bias), or combined with a partner: that plus the
 * partner, or times the slope of an activation there.
 *
 * One work-item is a work-group: it owns BLOCK_ROWS rows by block_columns columns of y and walks the depth in blocks of
 * BLOCK_DEPTH, so a panel of b stays in the first-level cache and the block of a in the second while both are used
 * again and again. The heart is a tile of TILE_ROWS rows and two vectors of columns in named registers (an array of
 * them would spill): per factor of the depth two loads of b, a broadcast of a and two multiply_add for each row. b is
 * packed into panels of a tile's columns by a kernel of its own, so the heart reads one stream; a is
 * read in place, and packed by each work-item for itself where it is stored transposed. A product with few outputs and
 * a great depth is cut into parts of the depth. Sums run along the depth in one fixed order, whatever the block of
 * columns.
 *
 * STORAGE is the type of a, b and z, RESULT that of the partner and of the tensor y. What is multiplied are factors
 * (factors.clh): numbers in fp32, or pairs of bf16. Sums are fp32: in y itself or, with SUMS_COLUMNS, the width of a
 * block, in private memory, from which y is stored as it is kept. Of several parts, gemm_sum_parts makes what the tensor
 * stores.
 *
 * Ragged edges repeat the last row or column instead of reading beyond the arrays; what is repeated is never stored. */
#include "column_sum.clh"
#include "factors.clh"
#include "gemm_epilogue.clh"
#include "lanes.clh"
#include "transpose.clh"

#ifndef TRANSPOSE_A
#define TRANSPOSE_A 0 /* a is stored [k,m] */
#endif
#ifndef TRANSPOSE_B
#define TRANSPOSE_B 0 /* b is stored [n,k] */
#endif
#ifndef BLOCK_ROWS
#define BLOCK_ROWS 48
#endif
#ifndef BLOCK_DEPTH
#define BLOCK_DEPTH 512
#endif
#ifndef SUMS_COLUMNS /* 0: sums grow in y */
#define SUMS_COLUMNS 0
#endif

#define TILE_ROWS    (3 * LANES / 4) /* 6 or 12: wider registers are twice as many */
#define TILE_COLUMNS (2 * LANES)
/* LANES stored numbers. */
#define LOAD_RESULT_LANES OF_LANES(LOAD_RESULT_)
#if STORAGE
#define STORE_LANES OF_LANES(STORE_)
#else
#define STORE_LANES(value, to) store_lanes(value, 0, to)
#endif
#define SHORT        256 /* steps: rows of a that are not longer are asked for */
#define LINE         (4 * CACHE_LINE / (int)sizeof(stored))

#if BLOCK_ROWS % 12 || BLOCK_DEPTH % 8
#error "BLOCK_ROWS is a multiple of 12, BLOCK_DEPTH of 8"
#endif

#if LANES == 16
#define EACH_ROW(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#else
#define EACH_ROW(F) F(0) F(1) F(2) F(3) F(4) F(5)
#endif

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* One work-item packs BLOCK_DEPTH steps of one panel. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_pack_b(const __global stored *b, /* [k,n], or [n,k] with TRANSPOSE_B */
            __global float *panels,   /* [ceil(n/columns)][FACTORS(k)][columns of a tile] of factors */
            int n, int k) {
    const int column = get_group_id(0) * TILE_COLUMNS, begin = get_group_id(1) * BLOCK_DEPTH;
    const int end = min(begin + BLOCK_DEPTH, k), columns = min(TILE_COLUMNS, n - column);
    __global float *to = panels + (long)column * FACTORS(k) + (long)(begin / STEPS) * TILE_COLUMNS;
#if TRANSPOSE_B
    for (int side = 0; side < TILE_COLUMNS; side += 8) {
        __global float *side_to = to + side;
        const __global stored *row[8];
        for (int j = 0; j < 8; j++) row[j] = b + (long)(column + min(side + j, columns - 1)) * k;
        int step = begin;
        for (; step + 8 * STEPS <= end; step += 8 * STEPS, side_to += 8 * TILE_COLUMNS)
            store_transposed_global(load_factors_8(row[0] + step), load_factors_8(row[1] + step),
                                    load_factors_8(row[2] + step), load_factors_8(row[3] + step),
                                    load_factors_8(row[4] + step), load_factors_8(row[5] + step),
                                    load_factors_8(row[6] + step), load_factors_8(row[7] + step), side_to,
                                    TILE_COLUMNS);
        for (; step < end; step += STEPS, side_to += TILE_COLUMNS)
            for (int j = 0; j < 8; j++) side_to[j] = load_lane_factor(row[j] + step, 1, step + 1 < end);
    }
#else
    const __global stored *from = b + (long)begin * n + column;
    for (int step = begin; step < end; step += STEPS, from += (long)STEPS * n, to += TILE_COLUMNS) {
        if (columns == TILE_COLUMNS) {
            store_lanes(load_lane_factors(from, n, step + 1 < end), 0, to);
            store_lanes(load_lane_factors(from + LANES, n, step + 1 < end), 1, to);
        } else
            for (int j = 0; j < TILE_COLUMNS; j++)
                to[j] = load_lane_factor(from + min(j, columns - 1), n, step + 1 < end);
    }
#endif
}

#if TRANSPOSE_A
/* A panel lies a line off a multiple of the page behind its neighbour, so that the panels' heads do not share the sets
 * of the first-level cache. */
#define PANEL_PITCH (BLOCK_DEPTH / STEPS * TILE_ROWS + 16)

#define AHEAD 16 /* steps */

/* panels [ceil(rows/TILE_ROWS)][PANEL_PITCH], each [factors of the depth][TILE_ROWS], = a [depth][m] from its row on, of
 * which `rest` are left. What is written behind a factor belongs to the next one, which overwrites it. */
inline void pack_a(const __global stored *a, int rows, int rest, int depth, int m, float *panels) {
    for (int step = 0; step < depth; step += STEPS, a += (long)STEPS * m, panels += TILE_ROWS) {
        const bool both = step + 1 < depth;
        float *to = panels;
        int row = 0;
        for (int ahead = AHEAD; ahead < AHEAD + STEPS && step + ahead < depth; ahead++)
            for (int i = 0; i < rows; i += LINE) expect_line(a + (long)ahead * m + i);
        for (; row < rows && row + LANES <= rest; row += TILE_ROWS, to += PANEL_PITCH)
            store_lanes(load_lane_factors(a + row, m, both), 0, to);
        for (; row < rows; row += TILE_ROWS, to += PANEL_PITCH)
            for (int i = 0; i < TILE_ROWS; i++) to[i] = load_lane_factor(a + min(row + i, rest - 1), m, both);
    }
}
#endif

/* ---- the product ------------------------------------------------------------------------------------------------- */

#if TRANSPOSE_A
#define A_SOURCE    const float
#define WHOLE       FACTORS(depth) /* factors to multiply with: what is packed has no odd step */
#define A_ROW(r)
#define A_FACTOR(r) a[factor * TILE_ROWS + r]
#else
#define A_SOURCE    const __global stored
#define WHOLE       (depth / STEPS)
#define A_ROW(r)    const __global stored *a##r = a + (long)min(r, rows - 1) * k;
#define A_FACTOR(r) load_factor(a##r + factor * STEPS)
#define A_LAST(r)   load_last_factor(a##r + depth - 1)
#endif

#if SUMS_COLUMNS
#define SUMS         __private
#define SUMS_PITCH   SUMS_COLUMNS
typedef result kept; /* of y */
#if RESULT
#define STORE_KEPT_LANES OF_LANES(STORE_RESULT_)
#else
#define STORE_KEPT_LANES(value, to) store_lanes(value, 0, to)
#endif
#define STORE_KEPT STORE_RESULT
#else
#define SUMS       __global
#define SUMS_PITCH n
typedef float kept;
#define STORE_KEPT_LANES(value, to) store_lanes(value, 0, to)
#define STORE_KEPT(value, to, at)   ((to)[at] = (value))
#endif

#define CLEAR_ROW(r) floats c##r##0 = (floats)(0.0f), c##r##1 = (floats)(0.0f);
#define MULTIPLY_ROW_BY(r, x)                                                                                          \
    {                                                                                                                  \
        const floats a_factor = (floats)(x);                                                                           \
        c##r##0 = multiply_add(a_factor, b0, c##r##0);                                                                 \
        c##r##1 = multiply_add(a_factor, b1, c##r##1);                                                                 \
    }
#define MULTIPLY_ROW(r) MULTIPLY_ROW_BY(r, A_FACTOR(r))
#define MULTIPLY_LAST(r) MULTIPLY_ROW_BY(r, A_LAST(r))
#define STORE_ROW(r)                                                                                                   \
    if (r < rows) {                                                                                                    \
        SUMS float *to = sums + (long)r * SUMS_PITCH;                                                                  \
        if (accumulate) {                                                                                              \
            c##r##0 += load_lanes(0, to);                                                                              \
            c##r##1 += load_lanes(1, to);                                                                              \
        }                                                                                                              \
        store_lanes(c##r##0, 0, to);                                                                                   \
        store_lanes(c##r##1, 1, to);                                                                                   \
    }
#define KEEP_ROW(r)                                                                                                    \
    store_lanes(c##r##0, 2 * r, tile);                                                                                 \
    store_lanes(c##r##1, 2 * r + 1, tile);

/* sums[rows, columns] (+)= a[rows, depth]·b[depth, columns] for one tile. */
inline void multiply_tile(A_SOURCE *a,             /* [TILE_ROWS][k], or packed [factors of the depth][TILE_ROWS] */
                          const __global float *b, /* [factors][b_step], the columns of a tile at the beginning */
                          SUMS float *sums,        /* [rows][SUMS_PITCH] */
                          int rows, int columns, int depth, int b_step, int n, int k, int accumulate) {
    EACH_ROW(A_ROW)
    EACH_ROW(CLEAR_ROW)
    for (int factor = 0; factor < WHOLE; factor++) {
        const floats b0 = load_lanes(0, b), b1 = load_lanes(1, b);
        EACH_ROW(MULTIPLY_ROW)
        b += b_step;
    }
#if PAIRS && !TRANSPOSE_A
    if (depth % 2) {
        const floats b0 = load_lanes(0, b), b1 = load_lanes(1, b);
        EACH_ROW(MULTIPLY_LAST)
    }
#endif
    if (columns == TILE_COLUMNS) {
        EACH_ROW(STORE_ROW)
    } else {
        float tile[TILE_ROWS * TILE_COLUMNS];
        EACH_ROW(KEEP_ROW)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) {
                SUMS float *to = sums + (long)i * SUMS_PITCH + j;
                *to = tile[i * TILE_COLUMNS + j] + (accumulate ? *to : 0.0f);
            }
    }
}

#if ACTIVATION == 1
#define ACTIVATE_LANES(x) ((x) < (floats)(0.0f) ? (floats)(0.0f) : (x))
#elif ACTIVATION == 2
#define ACTIVATE_LANES OF_LANES(fast_gelu_)
#else
#define ACTIVATE_LANES(x) (x)
#endif

#if COMBINE == 1
#define COMBINE_LANES(x, partner) ((x) + (partner))
#elif COMBINE == 2
#define COMBINE_LANES(x, partner) ((partner) > (floats)(0.0f) ? (x) : (floats)(0.0f))
#elif COMBINE == 3
#define COMBINE_LANES(x, partner) ((x)*OF_LANES(fast_gelu_slope_)(partner))
#endif

#if BIAS || ACTIVATION || COMBINE || SUMS_COLUMNS
/* Bias, activation and partner of one finished tile while it is still in the first-level cache. */
inline void finish_tile(const __global float *bias,     /* [columns] or NULL */
                        const __global result *partner, /* [rows][n] or NULL */
                        const SUMS float *sums,         /* [rows][SUMS_PITCH] */
                        __global kept *y,               /* [rows][n] */
                        __global stored *z,             /* [rows][n] or NULL */
                        int rows, int columns, int n) {
    for (int i = 0; i < rows; i++, y += n, sums += SUMS_PITCH) {
        int j = 0;
        for (; j + LANES <= columns; j += LANES) {
            floats value = load_lanes(0, sums + j);
#if BIAS
            value += load_lanes(0, bias + j);
#endif
#if COMBINE
            value = COMBINE_LANES(value, LOAD_RESULT_LANES(partner + (long)i * n + j));
#endif
#if KEEP_Z
            STORE_LANES(value, z + (long)i * n + j);
#endif
            STORE_KEPT_LANES(ACTIVATE_LANES(value), y + j);
        }
        for (; j < columns; j++) {
            float value = sums[j];
#if BIAS
            value += bias[j];
#endif
#if COMBINE
            value = COMBINED(value, LOAD_RESULT(partner, (long)i * n + j));
#endif
#if KEEP_Z
            STORE(value, z, (long)i * n + j);
#endif
            STORE_KEPT(ACTIVATE(value), y, j);
        }
    }
}
#endif

/* Work-groups: block of rows, block of columns, part of the depth. Each part has a y of its own, bias and partner go to
 * the first one; gemm_sum_parts adds them up. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_wide(const __global stored *a,       /* [m,k], or [k,m] with TRANSPOSE_A */
          const __global float *b,        /* factor [f, column] at f · b_step + column · b_column */
          const __global float *bias,     /* [n] or NULL */
          const __global result *partner, /* [m,n] or NULL */
          __global kept *y,               /* [parts,m,n] */
          __global stored *z,             /* [m,n] or NULL */
          int m, int n, int k, int b_step, int b_column, int block_columns, int part_depth) {
    const int row_begin = get_group_id(0) * BLOCK_ROWS, column_begin = get_group_id(1) * block_columns;
    const int row_end = min(row_begin + BLOCK_ROWS, m), column_end = min(column_begin + block_columns, n);
    const int part = get_group_id(2), part_begin = part * part_depth, part_end = min(part_begin + part_depth, k);
    y += (long)part * m * n;
#if SUMS_COLUMNS
    float block_sums[BLOCK_ROWS * SUMS_COLUMNS] __attribute__((aligned(64)));
#endif
#if TRANSPOSE_A
    float packed[(BLOCK_ROWS / TILE_ROWS) * PANEL_PITCH] __attribute__((aligned(64)));
#endif
    for (int begin = part_begin; begin < part_end; begin += BLOCK_DEPTH) {
        const int depth = min(BLOCK_DEPTH, part_end - begin);
        const bool finish = part == 0 && begin + depth == part_end;
#if TRANSPOSE_A
        pack_a(a + (long)begin * m + row_begin, row_end - row_begin, m - row_begin, depth, m, packed);
#endif
        for (int column = column_begin; column < column_end; column += TILE_COLUMNS) {
            const int columns = min(TILE_COLUMNS, column_end - column);
            const __global float *panel = b + (long)column * b_column + (long)(begin / STEPS) * b_step;
            for (int row = row_begin; row < row_end; row += TILE_ROWS) {
                const int rows = min(TILE_ROWS, row_end - row);
                const long at = (long)row * n + column;
#if SUMS_COLUMNS
                float *sums = block_sums + (row - row_begin) * SUMS_COLUMNS + column - column_begin;
#else
                __global float *sums = y + at;
#endif
#if TRANSPOSE_A
                A_SOURCE *factors = packed + (row - row_begin) / TILE_ROWS * PANEL_PITCH;
#else
                A_SOURCE *factors = a + (long)row * k + begin;
#endif
#if !TRANSPOSE_A
                if (column == column_begin && depth <= SHORT)
                    expect_rows(factors + (long)TILE_ROWS * k, min(TILE_ROWS, row_end - row - TILE_ROWS), depth, k);
#endif
#if COMBINE
                if (finish) expect_rows(partner + at, rows, columns, n);
#endif
                multiply_tile(factors, panel, sums, rows, columns, depth, b_step, n, k, begin > part_begin);
#if BIAS || ACTIVATION || COMBINE || SUMS_COLUMNS
                if (finish) finish_tile(bias + column, partner + at, sums, y + at, z + at, rows, columns, n);
#endif
            }
        }
    }
}

XP_DEFINE_SUM_COLUMNS(sum_parts, 0, RESULT)

/* y [count] = Σ over the parts, in their order; a work-item owns SUMMED numbers. */
#define SUMMED 1024
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_sum_parts(const __global float *partial, /* [parts,count] */
               __global result *y, int parts, int count) {
    const int first = get_group_id(0) * SUMMED;
    sum_parts(partial + first, parts, count, min(SUMMED, count - first), y + first);
}
