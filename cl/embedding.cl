/* Positions, class token and dropout on the way into an encoder, and images cut into patches. Work-items own outputs
 * and load neighbours together, which serves all families: the work is moving data. Samples are walked as the rows of
 * numbers that they are, so that no work-item divides by a width.
 *
 * QUADS     1: the width is a multiple of 4 and a work-item owns four neighbouring columns (one Philox block); 0: one
 * TOKEN     1: a class token comes before the sequence
 * DROPOUT   1: elements of y are dropped out by their number in y
 * OWNED     units of a work-item of the backward pass; on CPU devices several, each a work-group
 * D_X, D_POSITION, D_TOKEN  1: this gradient is wanted
 *
 * STORAGE is the type of y and dy. */
#include "random.clh"
#include "storage.clh"

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
#ifndef OWNED
#define OWNED 16
#endif
#if D_TOKEN && !TOKEN
#error "D_TOKEN needs TOKEN"
#endif

#if QUADS
#define UNIT 4
typedef float4 unit;
#define LOAD_UNIT(p)           vload4(0, p)
#define STORE_UNIT(value, p)   vstore4(value, 0, p)
#define LOAD_STORED(p)         LOAD_4(p)
#define STORE_STORED(value, p) STORE_4(value, p)
#else
#define UNIT                   1
typedef float unit;
#define LOAD_UNIT(p)           (*(p))
#define STORE_UNIT(value, p)   (*(p) = (value))
#define LOAD_STORED(p)         LOAD(p, 0)
#define STORE_STORED(value, p) STORE(value, p, 0)
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

/* x [batch, length, columns], position [·, columns], token [columns], y [batch, length + TOKEN, columns]. Work-items:
 * units of a sample, samples; sample_units = (length + TOKEN)·columns / UNIT, token_units = TOKEN·columns / UNIT. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
embed(const __global float *restrict x, const __global float *restrict position, const __global float *restrict token,
      const __global uint *restrict random_state, __global stored *restrict y, int sample_units, int token_units,
      float scale, uint threshold, uint stream, float keep_scale) {
    const int index = get_global_id(0);
    if (index < sample_units) {
        const size_t sample = get_global_id(1), element = (sample * sample_units + index) * UNIT;
        unit value;
#if TOKEN
        if (index < token_units)
            value = LOAD_UNIT(token + (size_t)index * UNIT);
        else
#endif
            value = LOAD_UNIT(x + element - (sample + 1) * token_units * UNIT) * scale;
        value += LOAD_UNIT(position + (size_t)index * UNIT);
        STORE_STORED(drop(value, element, random_state, threshold, stream, keep_scale), y + element);
    }
}

/* dy [batch, length + TOKEN, columns], dx [batch, length, columns], d_position [places, columns], d_token [columns];
 * units = places·columns / UNIT. A work-item owns OWNED units of the positions and walks the batch in order, so that
 * the sum over samples has one writer and a fixed order. */
__kernel __attribute__((reqd_work_group_size(OWNED > 1 ? 1 : 64, 1, 1))) void
embed_backward(const __global stored *restrict dy, const __global uint *restrict random_state,
               __global float *restrict dx, __global float *restrict d_position, __global float *restrict d_token,
               int units, int batch, int sample_units, int token_units, float scale, uint threshold, uint stream,
               float keep_scale) {
    const int first = get_global_id(0) * OWNED, end = min(first + OWNED, units);
    unit sums[OWNED];
    for (int u = 0; u < OWNED; u++) sums[u] = 0.0f;
    for (size_t sample = 0; sample < batch; sample++)
        for (int index = first; index < min(end, sample_units); index++) {
            const size_t element = (sample * sample_units + index) * UNIT;
            const unit value = drop(LOAD_STORED(dy + element), element, random_state, threshold, stream, keep_scale);
            sums[index - first] += value;
#if D_X
            if (!TOKEN || index >= token_units) STORE_UNIT(value * scale, dx + element - (sample + 1) * token_units * UNIT);
#endif
        }
    for (int index = first; index < end; index++) {
#if D_POSITION
        STORE_UNIT(sums[index - first], d_position + (size_t)index * UNIT);
#endif
#if D_TOKEN
        if (index < token_units) STORE_UNIT(sums[index - first], d_token + (size_t)index * UNIT);
#endif
    }
}

/* image [batch, channels, height, width] -> y [batch, height/patch · width/patch, channels·patch·patch]; a work-item
 * owns one of the lines of `patch` numbers: its divisions cost more than the numbers. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void patches(const __global float *restrict image,
                                                                      __global float *restrict y, int lines,
                                                                      int channels, int height, int width, int patch) {
    const int index = get_global_id(0);
    if (index < lines) {
        int rest = index;
        const int row = rest % patch;
        rest /= patch;
        const int channel = rest % channels;
        rest /= channels;
        const int patch_column = rest % (width / patch);
        rest /= width / patch;
        const int patch_row = rest % (height / patch), sample = rest / (height / patch);
        const size_t line = ((size_t)sample * channels + channel) * height + patch_row * patch + row;
        image += line * width + patch_column * patch;
        y += (size_t)index * patch;
        for (int i = 0; i < patch; i++) y[i] = image[i];
    }
}
