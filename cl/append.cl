/* Rows written into a larger tensor from a place that the host gives: what a step adds to what it remembers. A work-item owns
 * one number and neighbours load together, which serves all families. */

/* rows [batch, count, heads, width], a view; starts [batch]; whole [batch, length, heads, width]. Rows that would come after
 * the last one are dropped. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
append(const __global float *restrict rows, int offset, int stride_batch, int stride_row, int stride_head,
       const __global int *restrict starts, __global float *restrict whole, int elements, int count, int length, int heads,
       int width) {
    const int index = get_global_id(0);
    if (index < elements) {
        const int column = index % width, head = index / width % heads, row = index / (width * heads) % count;
        const int batch = index / (width * heads * count), place = starts[batch] + row;
        if (place >= 0 && place < length)
            whole[(((size_t)batch * length + place) * heads + head) * width + column] =
                rows[offset + (size_t)batch * stride_batch + (size_t)row * stride_row + (size_t)head * stride_head + column];
    }
}
