/* A feature map applied to a whole tensor, and its gradient: for what has to work on features and not on their
 * arguments. One work-item owns one element, straight-line, so that CPU compilers vectorise over the work-group and
 * loads on GPUs coalesce: one shape serves all families.
 *
 * Views show [B,N,heads,columns] with unit column stride by offset and strides; heads that lie behind each other come
 * as one head with many columns. */
#include "features.clh"

#define KERNEL __kernel __attribute__((reqd_work_group_size(64, 1, 1)))

/* y [B,N,heads,columns] = φ(x). Work-groups: 64 columns, row and head, sample. */
KERNEL void feature_map(const __global float *restrict x /* view */, int x_offset, int x_sample, int x_row, int x_head,
                        __global float *restrict y, int heads, int columns) {
    const int column = (int)get_global_id(0), line = (int)get_global_id(1), sample = (int)get_global_id(2);
    const int row = line / heads, head = line - row * heads;
    const long from = x_offset + (long)sample * x_sample + (long)row * x_row + (long)head * x_head;
    const long to = ((long)sample * get_global_size(1) + line) * columns;
    if (column < columns) y[to + column] = feature_1(x[from + column]);
}

/* dx = dy · φ'(x); dy [B,N,heads,columns] dense. */
KERNEL void feature_map_backward(const __global float *restrict dy, const __global float *restrict x /* view */,
                                 int x_offset, int x_sample, int x_row, int x_head,
                                 __global float *restrict dx /* view */, int dx_offset, int dx_sample, int dx_row,
                                 int dx_head, int heads, int columns) {
    const int column = (int)get_global_id(0), line = (int)get_global_id(1), sample = (int)get_global_id(2);
    const int row = line / heads, head = line - row * heads;
    const long from = x_offset + (long)sample * x_sample + (long)row * x_row + (long)head * x_head;
    const long to = dx_offset + (long)sample * dx_sample + (long)row * dx_row + (long)head * dx_head;
    const long dense = ((long)sample * get_global_size(1) + line) * columns;
    if (column < columns) dx[to + column] = dy[dense + column] * feature_slope_1(x[from + column]);
}
