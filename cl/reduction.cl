/* Sums of columns, in two passes of one kernel: blocks of rows to partial sums, partial sums to the result. Every
 * output has one writer and every sum a fixed order, which is what makes a repeated run equal bit by bit.
 *
 * Wide: a work-item owns some columns of a block. Tiled: a work-group owns a strip of them. */
#include "column_sum.clh"
#include "strips.clh"

#ifndef QUADS
#define QUADS 0 /* 1: columns is a multiple of 4 */
#endif

XP_DEFINE_SUM_COLUMNS(sum_stored_columns, STORAGE, 0)

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
column_sum_wide(const __global stored *x, /* [rows,columns] */
                __global float *sums,     /* [ceil(rows/block_rows),columns] */
                int rows, int columns, int block_rows, int block_columns) {
    const int column = get_group_id(0) * block_columns, row = get_group_id(1) * block_rows;
    sum_stored_columns(x + (long)row * columns + column, min(block_rows, rows - row), columns,
                       min(block_columns, columns - column), sums + (long)get_group_id(1) * columns + column);
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
column_sum_tiled(const __global stored *x, /* [rows,columns] */
                 __global float *sums,     /* [ceil(rows/block_rows),columns] */
                 int rows, int columns, int block_rows) {
    __local float4 shared[64];
    const int column = STRIP_COLUMN(get_group_id(0)), row_begin = get_group_id(1) * block_rows;
    const int row_end = column < columns ? min(row_begin + block_rows, rows) : 0;
    float4 sum = 0.0f;
    for (int row = row_begin + STRIP_PART; row < row_end; row += STRIP_PARTS)
        sum += STRIP_FOUR(STORAGE, x + (long)row * columns + column, columns - column, QUADS);
    write_strip(sum, shared, sums + (long)get_group_id(1) * columns + column, columns - column);
}
