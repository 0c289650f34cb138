/* Positions, class token and dropout on the way into an encoder, and images cut into patches. Work-items own outputs
 * and load neighbours together, which serves both families: the work is moving data. The backward pass is *_tiled that
 * way; *_wide, one work-item walks whole stretches of rows.
 *
 * QUADS     1: the width is a multiple of 4 and a work-item owns four neighbouring columns (one Philox block); 0: one
 * TOKEN     1: a class token comes before the sequence
 * DROPOUT   1: elements of y are dropped out by their number in y
 * D_X, D_POSITION, D_TOKEN  1: this gradient is wanted */
#include "random.clh"

#ifndef QUADS
#define QUADS 1
#endif
#ifndef TOKEN
#define TOKEN 0
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef D_X
#define D_X 1
#endif
#ifndef D_POSITION
#define D_POSITION 1
#endif
#ifndef D_TOKEN
#define D_TOKEN 0
#endif
#if D_TOKEN && !TOKEN
#error "D_TOKEN needs TOKEN"
#endif

#if QUADS
#define UNIT 4
typedef float4 unit;
#define LOAD(p)         vload4(0, p)
#define STORE(value, p) vstore4(value, 0, p)
#else
#define UNIT            1
typedef float unit;
#define LOAD(p)         (*(p))
#define STORE(value, p) (*(p) = (value))
#endif

/* value · keep / (1-p) for the unit whose first element is `element`. */
inline unit drop(unit value, size_t element, const __global uint *random_state, uint threshold, uint stream,
                 float keep_scale) {
#if DROPOUT
    uint4 words = random_words(random_state, stream, (uint)(element / 4), 0);
#if QUADS
    return select((float4)(0.0f), value * keep_scale, words >= (uint4)(threshold));
#else
    uint2 pair = element & 2 ? words.hi : words.lo;
    return (element & 1 ? pair.y : pair.x) >= threshold ? value * keep_scale : 0.0f;
#endif
#else
    return value;
#endif
}

/* x [batch, length, columns], position [·, columns], token [columns], y [batch, length + TOKEN, columns];
 * units = batch·(length + TOKEN)·columns / UNIT */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
embed(const __global float *restrict x, const __global float *restrict position, const __global float *restrict token,
      const __global uint *restrict random_state, __global float *restrict y, int units, int length, int columns,
      float scale, uint threshold, uint stream, float keep_scale) {
    int index = get_global_id(0);
    if (index < units) {
        int units_per_row = columns / UNIT, row = index / units_per_row, column = index % units_per_row * UNIT;
        int sample = row / (length + TOKEN), place = row % (length + TOKEN);
        size_t element = (size_t)index * UNIT;
        unit value;
#if TOKEN
        if (place == 0)
            value = LOAD(token + column);
        else
#endif
            value = LOAD(x + ((size_t)sample * length + place - TOKEN) * columns + column) * scale;
        value += LOAD(position + (size_t)place * columns + column);
        STORE(drop(value, element, random_state, threshold, stream, keep_scale), y + element);
    }
}

/* dy [batch, length + TOKEN, columns], dx [batch, length, columns], d_position [places, columns], d_token [columns];
 * units = places·columns / UNIT. A work-item owns some units of one place and walks the batch in order, so that the sum
 * over samples has one writer and a fixed order. The wide grid is places × stretches of OWNED units. */
#define OWNED 64
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
embed_backward_wide(const __global float *restrict dy, const __global uint *restrict random_state,
                    __global float *restrict dx, __global float *restrict d_position, __global float *restrict d_token,
                    int batch, int length, int columns, float scale, uint threshold, uint stream, float keep_scale) {
    const int units_per_row = columns / UNIT, stretches = (units_per_row + OWNED - 1) / OWNED;
    const int place = get_group_id(0) / stretches, first = get_group_id(0) % stretches * OWNED;
    const int owned = min(OWNED, units_per_row - first);
    unit sums[OWNED];
    for (int u = 0; u < owned; u++) sums[u] = 0.0f;
    for (int sample = 0; sample < batch && place < length + TOKEN; sample++) {
        const size_t element = ((size_t)sample * (length + TOKEN) + place) * columns + first * UNIT;
#if D_X
        __global float *to = dx + ((size_t)sample * length + place - TOKEN) * columns + first * UNIT;
#endif
        for (int u = 0; u < owned; u++) {
            const unit value =
                drop(LOAD(dy + element + u * UNIT), element + u * UNIT, random_state, threshold, stream, keep_scale);
            sums[u] += value;
#if D_X
            if (place >= TOKEN) STORE(value * scale, to + u * UNIT);
#endif
        }
    }
    for (int u = 0; u < owned; u++) {
#if D_POSITION
        STORE(sums[u], d_position + (size_t)place * columns + (first + u) * UNIT);
#endif
#if D_TOKEN
        if (place == 0) STORE(sums[u], d_token + (first + u) * UNIT);
#endif
    }
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
embed_backward_tiled(const __global float *restrict dy, const __global uint *restrict random_state,
                     __global float *restrict dx, __global float *restrict d_position, __global float *restrict d_token,
                     int units, int batch, int length, int columns, float scale, uint threshold, uint stream,
                     float keep_scale) {
    int index = get_global_id(0);
    if (index < units) {
        int units_per_row = columns / UNIT, place = index / units_per_row, column = index % units_per_row * UNIT;
        unit sum = 0.0f;
        if (place < length + TOKEN)
            for (int sample = 0; sample < batch; sample++) {
                size_t element = ((size_t)sample * (length + TOKEN) + place) * columns + column;
                unit value = drop(LOAD(dy + element), element, random_state, threshold, stream, keep_scale);
                sum += value;
#if D_X
                if (place >= TOKEN)
                    STORE(value * scale, dx + ((size_t)sample * length + place - TOKEN) * columns + column);
#endif
            }
#if D_POSITION
        STORE(sum, d_position + (size_t)index * UNIT);
#endif
#if D_TOKEN
        if (place == 0) STORE(sum, d_token + column);
#endif
    }
}

/* image [batch, channels, height, width] -> y [batch, height/patch · width/patch, channels·patch·patch]; a work-item
 * owns one number of y. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void patches(const __global float *restrict image,
                                                                      __global float *restrict y, int count,
                                                                      int channels, int height, int width, int patch) {
    int index = get_global_id(0);
    if (index < count) {
        int rest = index;
        int column = rest % patch;
        rest /= patch;
        int row = rest % patch;
        rest /= patch;
        int channel = rest % channels;
        rest /= channels;
        int patch_column = rest % (width / patch);
        rest /= width / patch;
        int patch_row = rest % (height / patch);
        int sample = rest / (height / patch);
        size_t line = ((size_t)sample * channels + channel) * height + patch_row * patch + row;
        y[index] = image[line * width + patch_column * patch + column];
    }
}
