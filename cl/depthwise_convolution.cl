/* A convolution of each column with taps of its own, along the sequence or over a patch grid, and the way back.
 *
 *   turn:    taps [T,C] from weight [C,T], so that neighbouring columns lie together
 *   rows:    y from x, and with XP_FLIPPED dx from dy: the same sum with the taps the other way round
 *   shares:  what each chunk of rows adds to d_weight      sum: d_weight
 *
 * Rows are read from cache as often as there are taps, so the shape only has to keep memory streaming: WIDE gives one
 * row of all columns to one work-item, TILED one element to each. For d_weight a work-group owns a block of columns,
 * one tap and one chunk of rows; the chunks' shares are added in order: no atomics, and the same bits every time.
 *
 * Views: an offset and strides show [B,N,H,D] with unit column stride; others are dense. C = H·D; T = k taps of a
 * sequence, k·k of a grid.
 *
 * Macros: those of columns.clh; XP_TAPS k; XP_GRID 0 or 1; XP_TOKEN 1: row 0 is a class token (with XP_GRID); XP_CAUSAL
 * 1: the last tap is the row itself, else the middle one; XP_LENGTHS 1 reads lengths [B]; XP_FLIPPED 0 or 1. */
#include "columns.clh"

#ifndef XP_TAPS
#define XP_TAPS 3
#endif
#ifndef XP_GRID
#define XP_GRID 0
#endif
#ifndef XP_TOKEN
#define XP_TOKEN 0
#endif
#ifndef XP_CAUSAL
#define XP_CAUSAL 0
#endif
#ifndef XP_LENGTHS
#define XP_LENGTHS 0
#endif
#ifndef XP_FLIPPED
#define XP_FLIPPED 0
#endif
#if XP_GRID && (XP_LENGTHS || XP_CAUSAL)
#error "a grid has no lengths and no order"
#endif
#if XP_TOKEN && !XP_GRID
#error "a class token needs a grid"
#endif

#define BEFORE (XP_CAUSAL ? XP_TAPS - 1 : (XP_TAPS - 1) / 2) /* taps before the row itself */
#define LINES  (XP_GRID ? XP_TAPS : 1)
#define ALL    (LINES * XP_TAPS)

/* The rows of sequence b that count. */
inline int rows_of(__global const int *restrict lengths /* [B] */, int b, int rows) {
#if XP_LENGTHS
    return clamp(lengths[b], 0, rows);
#else
    return rows;
#endif
}

/* The row that stands `down` lines and `right` cells from row n; -1: none. */
inline int neighbour(int n, int down, int right, int rows, int height, int breadth) {
#if XP_GRID
    const int cell = n - XP_TOKEN, y = cell / breadth + down, x = cell % breadth + right;
    return y < 0 || y >= height || x < 0 || x >= breadth ? -1 : XP_TOKEN + y * breadth + x;
#else
    const int row = n + right;
    return row < 0 || row >= rows ? -1 : row;
#endif
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
depthwise_convolution_turn(__global const float *restrict weight /* [C,T] */, __global float *restrict taps /* [T,C] */,
                           int columns) {
    const int c = (int)get_global_id(0), tap = (int)get_global_id(1);
    if (c < columns) taps[(long)tap * columns + c] = weight[(long)c * ALL + tap];
}

__kernel __attribute__((reqd_work_group_size(ROW_SIZE, 1, 1))) void
depthwise_convolution_rows(__global const float *restrict x /* view [B,N,H,D] */, int x_offset, int x_batch, int x_row,
                           int x_head, __global const float *restrict taps /* [T,C] */,
                           __global const int *restrict lengths, __global float *restrict y /* view [B,N,H,D] */,
                           int y_offset, int y_batch, int y_row, int y_head, int sequence, int heads, int width,
                           int height, int breadth) {
#if XP_TILED
    const int column = (int)get_global_id(0), n = (int)get_global_id(1), b = (int)get_global_id(2);
    if (column >= heads * width) return;
    const int h_begin = column / width, h_end = h_begin + 1, d_begin = column - h_begin * width, d_end = d_begin + 1;
#else
    const int n = (int)get_global_id(0), b = (int)get_global_id(1);
    const int h_begin = 0, h_end = heads, d_begin = 0, d_end = width;
#endif
    const int rows = rows_of(lengths, b, sequence);
    for (int h = h_begin; h < h_end; h++) {
        __global const float *from = x + view_row(x_offset, x_batch, x_row, x_head, b, 0, h);
        __global float *to = y + view_row(y_offset, y_batch, y_row, y_head, b, n, h);
        for (int d = d_begin; d < d_end; d += LANES) {
            const int left = width - d;
            lanes sum = 0;
            if (XP_TOKEN && n == 0) {
                sum = load(from + d, left, 0);
            } else if (n < rows) {
                for (int line = 0; line < LINES; line++)
                    for (int t = 0; t < XP_TAPS; t++) {
                        const int down = XP_GRID ? line - BEFORE : 0, right = t - BEFORE;
                        const int row = XP_FLIPPED ? neighbour(n, -down, -right, rows, height, breadth)
                                                   : neighbour(n, down, right, rows, height, breadth);
                        if (row < 0) continue;
                        __global const float *tap = taps + ((long)(line * XP_TAPS + t) * heads + h) * width;
                        sum = fma(load(tap + d, left, 0), load(from + (long)row * x_row + d, left, 0), sum);
                    }
            }
            store(sum, to + d, left);
        }
    }
}

/* Chunk i has rows i·size … of the B·N rows that lie end to end. */
__kernel __attribute__((reqd_work_group_size(COLUMNS, PARTS, 1))) void
depthwise_convolution_shares(__global const float *restrict dy /* [B,N,H,D] */,
                             __global const float *restrict x /* view [B,N,H,D] */, int x_offset, int x_batch,
                             int x_row, int x_head, __global const int *restrict lengths,
                             __global float *restrict shares /* [chunks,T,C] */, int batch, int sequence, int heads,
                             int width, int height, int breadth, int blocks /* of columns in a head */, int size) {
    SHARED(parts);
    const int lane = (int)get_local_id(0), part = (int)get_local_id(1);
    const int h = (int)get_group_id(0) / blocks, d = ((int)get_group_id(0) % blocks * COLUMNS + lane) * LANES;
    const int tap = (int)get_group_id(1), chunk = (int)get_group_id(2), left = width - d;
    const int down = XP_GRID ? tap / XP_TAPS - BEFORE : 0, right = tap % XP_TAPS - BEFORE;
    const long begin = (long)chunk * size;
    const int count = (int)min((long)size, (long)batch * sequence - begin);
    int b = (int)(begin / sequence), n = (int)(begin % sequence) + part;
    lanes sum = 0;
    for (int i = part; d < width && i < count; i += PARTS, n += PARTS) {
        while (n >= sequence) {
            n -= sequence;
            b++;
        }
        const int rows = rows_of(lengths, b, sequence);
        if (n >= rows || (XP_TOKEN && n == 0)) continue;
        const int row = neighbour(n, down, right, rows, height, breadth);
        if (row < 0) continue;
        sum = fma(load(dy + (((long)b * sequence + n) * heads + h) * width + d, left, 0),
                  load(x + view_row(x_offset, x_batch, x_row, x_head, b, row, h) + d, left, 0), sum);
    }
    sum = add_parts(parts, part, lane, sum);
    if (part == 0 && d < width) store(sum, shares + (((long)chunk * ALL + tap) * heads + h) * width + d, left);
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
depthwise_convolution_sum(__global const float *restrict shares /* [chunks,T,C] */,
                          __global float *restrict d_weight /* [C,T] */, int columns, int chunks) {
    const int c = (int)get_global_id(0), tap = (int)get_global_id(1);
    if (c >= columns) return;
    float sum = 0;
    for (int chunk = 0; chunk < chunks; chunk++) sum += shares[((long)chunk * ALL + tap) * columns + c];
    d_weight[(long)c * ALL + tap] = sum;
}
