/* A sequence to one row, and rows behind a sequence's length to zero. Loads stop at the length: what lies behind it may
 * be NaN.
 *
 *   sequence_pool_wide   one work-item owns 16 columns of a sample (one cache line of every row) and walks the rows
 *   sequence_pool_tiled  a work-group owns a strip of a sample's columns (cl/strips.clh)
 *   sequence_pool_backward_wide   one work-item owns up to 128 columns of a sample: it divides once and writes every row
 *   sequence_pool_backward_tiled  a work-group owns a strip of BLOCK_ROWS rows
 *   mask_rows            one number per work-item, in all families
 *
 * MEAN     1: the mean of the rows before the length; 0: row 0 (the class token), lengths are not looked at
 * LENGTHS  1: lengths [batch] are given; 0: all rows count
 * QUADS    1: columns is a multiple of 4
 * STORAGE is the type of sequences; the rows that pools make of them are fp32. */
#include "storage.clh"
#include "strips.clh"

#ifndef MEAN
#define MEAN 1
#endif
#ifndef LENGTHS
#define LENGTHS 1
#endif
#ifndef QUADS
#define QUADS 0
#endif
#define BLOCK_ROWS 64
#if LENGTHS && !MEAN
#error "LENGTHS needs MEAN: the class token is always there"
#endif

inline int length_of(const __global int *lengths, int sample, int rows) {
#if LENGTHS
    return clamp(lengths[sample], 0, rows);
#else
    return rows;
#endif
}

/* x [batch, rows, columns], lengths [batch], y [batch, columns] */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void sequence_pool_wide(const __global stored *restrict x,
                                                                                const __global int *restrict lengths,
                                                                                __global float *restrict y, int rows,
                                                                                int columns) {
    int column_blocks = (columns + 15) / 16;
    int sample = get_group_id(0) / column_blocks, first = get_group_id(0) % column_blocks * 16;
    int length = MEAN ? length_of(lengths, sample, rows) : 1;
    const __global stored *from = x + (size_t)sample * rows * columns;
    __global float *to = y + (size_t)sample * columns;
    float divisor = max(length, 1);
    if (first + 16 <= columns) {
        float16 sum = 0.0f;
        for (int row = 0; row < length; row++) sum += LOAD_16(from + (size_t)row * columns + first);
        vstore16(sum / divisor, 0, to + first);
    } else {
        for (int column = first; column < columns; column++) {
            float sum = 0.0f;
            for (int row = 0; row < length; row++) sum += LOAD(from, (size_t)row * columns + column);
            to[column] = sum / divisor;
        }
    }
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void sequence_pool_tiled(const __global stored *restrict x,
                                                                                  const __global int *restrict lengths,
                                                                                  __global float *restrict y, int rows,
                                                                                  int columns) {
    __local float4 shared[64];
    const int sample = get_group_id(0) / STRIPS(columns), column = STRIP_COLUMN(get_group_id(0) % STRIPS(columns));
    const int length = MEAN ? length_of(lengths, sample, rows) : 1, end = column < columns ? length : 0;
    const __global stored *from = x + (size_t)sample * rows * columns + column;
    float4 sum = 0.0f;
    _Pragma("unroll 4") for (int row = STRIP_PART; row < end; row += STRIP_PARTS)
        sum += STRIP_FOUR(STORAGE, from + (size_t)row * columns, columns - column, QUADS);
    write_strip(sum / max(length, 1), shared, y + (size_t)sample * columns + column, columns - column);
}

/* dy [batch, columns], lengths [batch], dx [batch, rows, columns] */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
sequence_pool_backward_wide(const __global float *restrict dy, const __global int *restrict lengths,
                            __global stored *restrict dx, int rows, int columns) {
    const int column_blocks = (columns + 127) / 128;
    const int sample = get_group_id(0) / column_blocks, first = get_group_id(0) % column_blocks * 128;
    const int owned = min(128, columns - first), length = MEAN ? length_of(lengths, sample, rows) : 1;
    float quotients[128];
    for (int i = 0; i < owned; i++) quotients[i] = dy[(size_t)sample * columns + first + i] / length;
    __global stored *to = dx + (size_t)sample * rows * columns + first;
    for (int row = 0; row < rows; row++, to += columns) {
        int i = 0;
        if (row < length)
            for (; i + 8 <= owned; i += 8) STORE_8(vload8(0, quotients + i), to + i);
        else
            for (; i + 8 <= owned; i += 8) STORE_8((float8)(0.0f), to + i);
        for (; i < owned; i++) STORE(row < length ? quotients[i] : 0.0f, to, i);
    }
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
sequence_pool_backward_tiled(const __global float *restrict dy, const __global int *restrict lengths,
                             __global stored *restrict dx, int rows, int columns) {
    const int line = get_group_id(0) / STRIPS(columns), column = STRIP_COLUMN(get_group_id(0) % STRIPS(columns));
    const int blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS, sample = line / blocks, begin = line % blocks * BLOCK_ROWS;
    const int length = MEAN ? length_of(lengths, sample, rows) : 1, count = columns - column;
    if (count <= 0) return;
    const float4 quotient = STRIP_FOUR(0, dy + (size_t)sample * columns + column, count, QUADS) / length;
    const int end = min(begin + BLOCK_ROWS, rows);
    for (int row = begin + STRIP_PART; row < end; row += STRIP_PARTS) {
        const float4 four = row < length ? quotient : (float4)(0.0f);
        __global stored *const to = dx + ((size_t)sample * rows + row) * columns + column;
#if QUADS
        STORE_4_ALIGNED(four, to);
#else
        STORE(four.x, to, 0);
        if (count > 1) STORE(four.y, to, 1);
        if (count > 2) STORE(four.z, to, 2);
        if (count > 3) STORE(four.w, to, 3);
#endif
    }
}

/* x, y [batch, rows, columns], lengths [batch]. A work-group owns 64 columns of one row. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void mask_rows(const __global stored *restrict x,
                                                                        const __global int *restrict lengths,
                                                                        __global stored *restrict y, int rows,
                                                                        int columns) {
    int column_blocks = (columns + 63) / 64;
    size_t line = get_group_id(0) / column_blocks;
    int column = get_group_id(0) % column_blocks * 64 + get_local_id(0);
    int sample = line / rows, row = line % rows;
    int length = length_of(lengths, sample, rows);
    if (column < columns) STORE(row < length ? LOAD(x, line * columns + column) : 0.0f, y, line * columns + column);
}
