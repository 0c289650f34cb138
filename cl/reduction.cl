/* Sums of columns, in two passes of one kernel: blocks of rows to partial sums, partial sums to the result. Every
 * output has one writer and every sum a fixed order, which is what makes a repeated run equal bit by bit.
 *
 * Wide: a work-item streams its rows once, four at a time (a short tree that also keeps the rounding small), and holds
 * the sums of its columns in the first-level cache. Tiled: a work-item owns one column, so neighbours read
 * neighbours. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
column_sum_wide(const __global float *x, /* [rows,columns] */
                __global float *sums,    /* [ceil(rows/block_rows),columns] */
                int rows, int columns, int block_rows, int block_columns) {
    const int begin = get_group_id(0) * block_columns, end = min(begin + block_columns, columns);
    const int row_begin = get_group_id(1) * block_rows, row_end = min(row_begin + block_rows, rows);
    __global float *to = sums + (long)get_group_id(1) * columns;
    const __global float *from = x + (long)row_begin * columns;
    for (int column = begin; column < end; column++) to[column] = 0.0f;
    int row = row_begin;
    for (; row + 4 <= row_end; row += 4, from += 4 * (long)columns) {
        const __global float *second = from + columns, *third = second + columns, *fourth = third + columns;
        int column = begin;
        for (; column + 8 <= end; column += 8)
            vstore8(vload8(0, to + column) + ((vload8(0, from + column) + vload8(0, second + column)) +
                                              (vload8(0, third + column) + vload8(0, fourth + column))),
                    0, to + column);
        for (; column < end; column++) to[column] += (from[column] + second[column]) + (third[column] + fourth[column]);
    }
    for (; row < row_end; row++, from += columns)
        for (int column = begin; column < end; column++) to[column] += from[column];
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
column_sum_tiled(const __global float *x, /* [rows,columns] */
                 __global float *sums,    /* [ceil(rows/block_rows),columns] */
                 int rows, int columns, int block_rows) {
    const int column = get_global_id(0);
    const int row_begin = get_group_id(1) * block_rows, row_end = min(row_begin + block_rows, rows);
    if (column < columns) {
        float sum = 0.0f;
        for (int row = row_begin; row < row_end; row++) sum += x[(long)row * columns + column];
        sums[(long)get_group_id(1) * columns + column] = sum;
    }
}
