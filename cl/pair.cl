/* What a classifier of pairs sees: both vectors, their product and their difference. Work-items own outputs; the
 * work is moving data, so one shape serves all families. */

/* x [batch, 2, columns], y [batch, 4, columns]: a, b, a·b, a - b; count = batch·columns. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void pair(const __global float *restrict x,
                                                                   __global float *restrict y, int count,
                                                                   int columns) {
    const int index = get_global_id(0);
    if (index < count) {
        const size_t sample = index / columns, column = index % columns;
        const float a = x[2 * sample * columns + column], b = x[(2 * sample + 1) * columns + column];
        __global float *out = y + 4 * sample * columns + column;
        out[0] = a;
        out[columns] = b;
        out[2 * columns] = a * b;
        out[3 * columns] = a - b;
    }
}

/* dy [batch, 4, columns], x and dx [batch, 2, columns]. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void pair_backward(const __global float *restrict dy,
                                                                            const __global float *restrict x,
                                                                            __global float *restrict dx, int count,
                                                                            int columns) {
    const int index = get_global_id(0);
    if (index < count) {
        const size_t sample = index / columns, column = index % columns;
        const size_t first = 2 * sample * columns + column, second = first + columns;
        const __global float *d = dy + 4 * sample * columns + column;
        const float product = d[2 * columns], difference = d[3 * columns];
        dx[first] = d[0] + product * x[second] + difference;
        dx[second] = d[columns] + product * x[first] - difference;
    }
}
