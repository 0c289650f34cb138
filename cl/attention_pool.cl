/* Attention-SH: average pooling of keys or values with a window of its own for each head, and the way back.
 *
 * Row j of head h averages the rows of window j that exist: of a sequence (XP_GRID 0) s neighbours before the length,
 * of a patch grid (XP_GRID 1) s × s neighbours; a class token stays row 0. Rows behind a head's count are zero.
 *
 * Every element is read once and written once, so the shape only has to keep memory streaming: WIDE gives one row of
 * all heads to one work-item, TILED one element to each. Both directions gather: each output has one writer.
 *
 * Views: an offset and strides show [B,N,H,D] with unit column stride; others are dense.
 *
 * Macros: XP_TILED 0 or 1; XP_GRID 0 or 1; XP_TOKEN 1 keeps row 0 (with XP_GRID); XP_LENGTHS 1 reads lengths [B];
 * XP_COUNTS 1 writes counts [B,H]; XP_WHOLE 1: only windows all of whose rows exist; those of scales.clh. */
#include "scales.clh"

#ifndef XP_TILED
#define XP_TILED 0
#endif
#ifndef XP_GRID
#define XP_GRID 0
#endif
#ifndef XP_TOKEN
#define XP_TOKEN 0
#endif
#ifndef XP_LENGTHS
#define XP_LENGTHS 0
#endif
#ifndef XP_COUNTS
#define XP_COUNTS 0
#endif
#ifndef XP_WHOLE
#define XP_WHOLE 0
#endif
#if XP_GRID && (XP_LENGTHS || XP_WHOLE)
#error "XP_GRID excludes XP_LENGTHS and XP_WHOLE"
#endif
#if XP_TOKEN && !XP_GRID
#error "a class token needs a grid"
#endif

inline int windows(int rows, int scale) {
    return (rows + scale - 1) / scale;
}

/* The rows of sequence b that count in a head. */
inline int rows_of(__global const int *restrict lengths /* [B] */, int b, int rows, int scale) {
#if XP_LENGTHS
    rows = clamp(lengths[b], 0, rows);
#endif
    return XP_WHOLE ? rows / scale * scale : rows;
}

/* The pooled rows of a head. */
inline int count_windows(int rows, int scale, int height, int breadth) {
#if XP_GRID
    return XP_TOKEN + windows(height, scale) * windows(breadth, scale);
#else
    return windows(rows, scale);
#endif
}

/* A window: `lines` runs of `run` neighbouring rows, `pitch` rows apart. In one dimension there is one run. */
typedef struct window {
    int first, lines, run, pitch;
} window;

inline window window_at(int index, int rows, int scale, int height, int breadth) {
#if XP_GRID
    if (XP_TOKEN && index == 0) {
        const window token = {0, 1, 1, 0};
        return token;
    }
    const int across = windows(breadth, scale), cell = index - XP_TOKEN;
    const int y = cell / across * scale, x = cell % across * scale;
    const window square = {XP_TOKEN + y * breadth + x, min(scale, height - y), min(scale, breadth - x), breadth};
    return square;
#else
    const window span = {index * scale, 1, min(scale, rows - index * scale), 0};
    return span;
#endif
}

/* The window that row `row` belongs to. */
inline int window_of(int row, int scale, int breadth) {
#if XP_GRID
    if (XP_TOKEN && row == 0) return 0;
    const int cell = row - XP_TOKEN;
    return XP_TOKEN + cell / breadth / scale * windows(breadth, scale) + cell % breadth / scale;
#else
    return row / scale;
#endif
}

#if XP_TILED

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
attention_pool(__global const float *restrict x /* view [B,N,H,D] */, int x_offset, int x_batch, int x_row, int x_head,
               __global const int *restrict lengths, __global float *restrict y /* [B,P,H,D] */,
               __global int *restrict counts /* [B,H] */, int sequence, int pooled, int heads, int width, int height,
               int breadth) {
    const int column = (int)get_global_id(0), j = (int)get_global_id(1), b = (int)get_global_id(2);
    if (column >= heads * width) return;
    const int h = column / width, d = column - h * width, scale = scale_of(h);
    const int rows = rows_of(lengths, b, sequence, scale);
    const int count = count_windows(rows, scale, height, breadth);
#if XP_COUNTS
    if (j == 0 && d == 0) counts[b * heads + h] = count;
#endif
    float average = 0;
    if (j < count) {
        const window w = window_at(j, rows, scale, height, breadth);
        const long first = x_offset + (long)b * x_batch + (long)h * x_head + d;
        for (int line = 0; line < w.lines; line++)
            for (int i = 0; i < w.run; i++) average += x[first + (long)(w.first + line * w.pitch + i) * x_row];
        average /= w.lines * w.run;
    }
    y[((long)b * pooled + j) * heads * width + column] = average;
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
attention_pool_backward(__global const float *restrict dy /* [B,P,H,D] */, __global const int *restrict lengths,
                        __global float *restrict dx /* view [B,N,H,D] */, int dx_offset, int dx_batch, int dx_row,
                        int dx_head, int sequence, int pooled, int heads, int width, int height, int breadth) {
    const int column = (int)get_global_id(0), n = (int)get_global_id(1), b = (int)get_global_id(2);
    if (column >= heads * width) return;
    const int h = column / width, d = column - h * width, scale = scale_of(h);
    const int rows = rows_of(lengths, b, sequence, scale);
    float value = 0;
    if (n < rows) {
        const int j = window_of(n, scale, breadth);
        const window w = window_at(j, rows, scale, height, breadth);
        value = dy[((long)b * pooled + j) * heads * width + column] / (w.lines * w.run);
    }
    dx[dx_offset + (long)b * dx_batch + (long)n * dx_row + (long)h * dx_head + d] = value;
}

#else

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
attention_pool(__global const float *restrict x /* view [B,N,H,D] */, int x_offset, int x_batch, int x_row, int x_head,
               __global const int *restrict lengths, __global float *restrict y /* [B,P,H,D] */,
               __global int *restrict counts /* [B,H] */, int sequence, int pooled, int heads, int width, int height,
               int breadth) {
    const int j = (int)get_global_id(0), b = (int)get_global_id(1);
    for (int h = 0; h < heads; h++) {
        const int scale = scale_of(h), rows = rows_of(lengths, b, sequence, scale);
        const int count = count_windows(rows, scale, height, breadth);
        __global float *to = y + (((long)b * pooled + j) * heads + h) * width;
        int d = 0;
#if XP_COUNTS
        if (j == 0) counts[b * heads + h] = count;
#endif
        if (j < count) {
            const window w = window_at(j, rows, scale, height, breadth);
            const float cells = w.lines * w.run;
            __global const float *first = x + x_offset + (long)b * x_batch + (long)w.first * x_row + (long)h * x_head;
            for (; d + 8 <= width; d += 8) {
                float8 sum = 0;
                for (int line = 0; line < w.lines; line++)
                    for (int i = 0; i < w.run; i++) sum += vload8(0, first + (long)(line * w.pitch + i) * x_row + d);
                vstore8(sum / cells, 0, to + d);
            }
            for (; d < width; d++) {
                float sum = 0;
                for (int line = 0; line < w.lines; line++)
                    for (int i = 0; i < w.run; i++) sum += first[(long)(line * w.pitch + i) * x_row + d];
                to[d] = sum / cells;
            }
        }
        for (; d < width; d++) to[d] = 0;
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
attention_pool_backward(__global const float *restrict dy /* [B,P,H,D] */, __global const int *restrict lengths,
                        __global float *restrict dx /* view [B,N,H,D] */, int dx_offset, int dx_batch, int dx_row,
                        int dx_head, int sequence, int pooled, int heads, int width, int height, int breadth) {
    const int n = (int)get_global_id(0), b = (int)get_global_id(1);
    for (int h = 0; h < heads; h++) {
        const int scale = scale_of(h), rows = rows_of(lengths, b, sequence, scale);
        __global float *to = dx + dx_offset + (long)b * dx_batch + (long)n * dx_row + (long)h * dx_head;
        int d = 0;
        if (n < rows) {
            const int j = window_of(n, scale, breadth);
            const window w = window_at(j, rows, scale, height, breadth);
            const float cells = w.lines * w.run;
            __global const float *from = dy + (((long)b * pooled + j) * heads + h) * width;
            for (; d + 8 <= width; d += 8) vstore8(vload8(0, from + d) / cells, 0, to + d);
            for (; d < width; d++) to[d] = from[d] / cells;
        }
        for (; d < width; d++) to[d] = 0;
    }
}

#endif
