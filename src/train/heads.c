/* Distances between heads, and their maps converted to one shape. Owns the arithmetic; knows no devices. */
#include "train/heads.h"

#include <math.h>
#include <stdint.h>

static int blocks(int rows, int scale) {
    return (rows + scale - 1) / scale;
}

static int smaller(int a, int b) {
    return a < b ? a : b;
}

int xp_head_key_count(const xp_head_keys *keys, int rows) {
    if (keys->grid_height == 0) return blocks(rows, keys->scale);
    return (keys->class_token != 0) + blocks(keys->grid_height, keys->scale) * blocks(keys->grid_width, keys->scale);
}

static void expand_sequence(int scale, const float *map, int rows, float *out) {
    for (int first = 0, key = 0; first < rows; first += scale, key++) {
        int covered = smaller(scale, rows - first);
        for (int i = 0; i < covered; i++) out[first + i] = map[key] / (float)covered;
    }
}

static void expand_grid(const xp_head_keys *keys, const float *map, float *out) {
    int scale = keys->scale, height = keys->grid_height, width = keys->grid_width;
    if (keys->class_token) *out++ = *map++;
    for (int top = 0; top < height; top += scale) {
        for (int left = 0; left < width; left += scale) {
            int bottom = smaller(top + scale, height), right = smaller(left + scale, width);
            float share = *map++ / (float)((bottom - top) * (right - left));
            for (int y = top; y < bottom; y++) {
                for (int x = left; x < right; x++) out[y * width + x] = share;
            }
        }
    }
}

void xp_head_expand(const xp_head_keys *keys, const float *map, int stride, int queries, int rows, float *out) {
    for (int query = 0; query < queries; query++) {
        const float *from = map + (int64_t)query * stride;
        float *to = out + (int64_t)query * rows;
        if (keys->grid_height > 0)
            expand_grid(keys, from, to);
        else
            expand_sequence(keys->scale, from, rows, to);
    }
}

double xp_head_distance(const float *a, int heads, int head_stride, int rows, int row_stride, int columns) {
    double sum = 0;
    for (int h = 0; h < heads; h++) {
        for (int g = 0; g < h; g++) {
            const float *one = a + (int64_t)h * head_stride, *other = a + (int64_t)g * head_stride;
            double squares = 0;
            for (int r = 0; r < rows; r++) {
                for (int c = 0; c < columns; c++) {
                    int64_t at = (int64_t)r * row_stride + c;
                    double difference = (double)one[at] - (double)other[at];
                    squares += difference * difference;
                }
            }
            sum += sqrt(squares / ((double)rows * columns));
        }
    }
    return heads > 1 ? sum / (0.5 * heads * (heads - 1)) : NAN;
}

void xp_head_shrink(const float *map, int rows, int columns, int limit, float *out, int *out_rows, int *out_columns) {
    *out_rows = smaller(rows, limit);
    *out_columns = smaller(columns, limit);
    for (int i = 0; i < *out_rows; i++) {
        int top = (int)((int64_t)i * rows / *out_rows), bottom = (int)((int64_t)(i + 1) * rows / *out_rows);
        for (int j = 0; j < *out_columns; j++) {
            int left = (int)((int64_t)j * columns / *out_columns);
            int right = (int)((int64_t)(j + 1) * columns / *out_columns);
            double sum = 0;
            for (int r = top; r < bottom; r++) {
                for (int c = left; c < right; c++) sum += (double)map[(int64_t)r * columns + c];
            }
            out[(int64_t)i * *out_columns + j] = (float)(sum / ((double)(bottom - top) * (right - left)));
        }
    }
}
