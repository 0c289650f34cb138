/* Copies between views, and sums of two: one shape of work-group serves all families, as in elementwise.cl. */
#include "storage.clh"

#if STORAGE
typedef ushort element; /* whatever its 16 bits mean */
#else
typedef float element;
#endif

/* a, b, y [count]; a and b may be the same */
__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void
add(const __global stored *a, const __global stored *b, __global stored *restrict y, int count) {
    size_t i = get_global_id(0);
    if (i < count) STORE(LOAD(a, i) + LOAD(b, i), y, i);
}

/* to[view] = from[view]. A work-group owns 64 neighbours of the last axis [columns]; the axes before it are
 * [·, shape_1, shape_2, shape_3]. Strides and offsets count elements; those of 4 bytes may be of any type. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
copy(const __global element *from, __global element *to, int from_offset, int to_offset, int columns, int shape_1,
     int shape_2, int shape_3, int from_stride_0, int from_stride_1, int from_stride_2, int from_stride_3,
     int from_column, int to_stride_0, int to_stride_1, int to_stride_2, int to_stride_3, int to_column) {
    long column_blocks = (columns + 63) / 64;
    long row = get_group_id(0) / column_blocks;
    long column = get_group_id(0) % column_blocks * 64 + get_local_id(0);
    long index_3 = row % shape_3;
    row /= shape_3;
    long index_2 = row % shape_2;
    row /= shape_2;
    long index_1 = row % shape_1;
    long index_0 = row / shape_1;
    if (column < columns)
        to[to_offset + index_0 * to_stride_0 + index_1 * to_stride_1 + index_2 * to_stride_2 + index_3 * to_stride_3 +
           column * to_column] = from[from_offset + index_0 * from_stride_0 + index_1 * from_stride_1 +
                                      index_2 * from_stride_2 + index_3 * from_stride_3 + column * from_column];
}
