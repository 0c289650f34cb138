/* Positions, class token and dropout on the way into an encoder, and images cut into patches. Work-items own outputs
 * and load neighbours together. Samples are walked as the rows of numbers that they are, so that no work-item divides
 * by a width. On CPU devices (*_wide) a work-item owns a stretch of neighbours, of which 32 share one evaluation of the
 * random numbers.
 *
 * QUADS     1: the width is a multiple of 4 and a work-item owns four neighbouring columns (one Philox block); 0: one
 * TOKEN     1: a class token comes before the sequence
 * DROPOUT   1: elements of y are dropped out by their number in y
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

/* A step of the wide kernels through `count` neighbours, the first of which is element `first` of y: EIGHT(i) for eight
 * of them and ONE(i) for one, where KEPT_8 and KEPT_1 make value · keep / (1-p) of a value. */
#if DROPOUT
inline uint kept_1(size_t element, const __global uint *random_state, uint threshold, uint stream) {
    const uint4 words = random_words(random_state, stream, (uint)(element / 4), 0);
    const uint2 pair = element & 2 ? words.hi : words.lo;
    return (element & 1 ? pair.y : pair.x) >= threshold;
}

#define KEPT_8(value) as_float8(as_uint8((value) * keep_scale) & keep[part])
#define KEPT_1(value) (is_kept ? (value) * keep_scale : 0.0f)
#define EACH_NEIGHBOUR(first, count)                                                                                   \
    int i = 0;                                                                                                         \
    for (; i < (count) && (((first) + i) & 3); i++) {                                                                  \
        const uint is_kept = kept_1((first) + i, random_state, threshold, stream);                                     \
        ONE(i)                                                                                                         \
    }                                                                                                                  \
    while (i < (count)) {                                                                                              \
        uint8 keep[4];                                                                                                 \
        kept_32(random_state, threshold, stream, (uint)(((first) + i) / 4), keep);                                     \
        int part = 0;                                                                                                  \
        for (; part < 4 && i + 8 <= (count); part++, i += 8) EIGHT(i)                                                  \
        for (int rest = 0; part < 4 && i < (count); rest++, i++) {                                                     \
            const uint is_kept = ((const uint *)(keep + part))[rest];                                                  \
            ONE(i)                                                                                                     \
        }                                                                                                              \
    }
#else
#define KEPT_8(value) (value)
#define KEPT_1(value) (value)
#define EACH_NEIGHBOUR(first, count)                                                                                   \
    int i = 0;                                                                                                         \
    for (; i + 8 <= (count); i += 8) EIGHT(i)                                                                          \
    for (; i < (count); i++) ONE(i)
#endif

/* Arrays as in embed. Work-groups: row of a sample, samples. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
embed_wide(const __global float *restrict x, const __global float *restrict position,
           const __global float *restrict token, const __global uint *restrict random_state,
           __global stored *restrict y, int columns, float scale, uint threshold, uint stream, float keep_scale) {
    const size_t row = get_group_id(0), sample = get_group_id(1);
    const size_t first = (sample * get_num_groups(0) + row) * columns;
    const bool is_token = TOKEN && row == 0;
    const __global float *from = is_token ? token : x + first - (sample + 1) * TOKEN * columns;
    const float factor = is_token ? 1.0f : scale;
    position += row * columns;
    y += first;
#define ONE(i) STORE(KEPT_1(from[i] * factor + position[i]), y, i);
#define EIGHT(i)                                                                                                       \
    {                                                                                                                  \
        const float8 value = vload8(0, from + (i)) * factor + vload8(0, position + (i));                               \
        STORE_8(KEPT_8(value), y + (i));                                                                               \
    }
    EACH_NEIGHBOUR(first, columns)
#undef ONE
#undef EIGHT
}

/* dy [batch, length + TOKEN, columns], dx [batch, length, columns], d_position [places, columns], d_token [columns];
 * units = places·columns / UNIT. A work-item owns a unit of the positions and walks the batch in order, so that the sum
 * over samples has one writer and a fixed order. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
embed_backward(const __global stored *restrict dy, const __global uint *restrict random_state,
               __global float *restrict dx, __global float *restrict d_position, __global float *restrict d_token,
               int units, int batch, int sample_units, int token_units, float scale, uint threshold, uint stream,
               float keep_scale) {
    const int index = get_global_id(0);
    if (index >= units) return;
    unit sum = 0.0f;
    for (size_t sample = 0; sample < batch && index < sample_units; sample++) {
        const size_t element = (sample * sample_units + index) * UNIT;
        const unit value = drop(LOAD_STORED(dy + element), element, random_state, threshold, stream, keep_scale);
        sum += value;
#if D_X
        if (!TOKEN || index >= token_units) STORE_UNIT(value * scale, dx + element - (sample + 1) * token_units * UNIT);
#endif
    }
#if D_POSITION
    STORE_UNIT(sum, d_position + (size_t)index * UNIT);
#endif
#if D_TOKEN
    if (index < token_units) STORE_UNIT(sum, d_token + (size_t)index * UNIT);
#endif
}

/* The same for a stretch of OWNED numbers of a row. count = length + TOKEN. Work-groups: stretch, place. */
#define OWNED 64
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
embed_backward_wide(const __global stored *restrict dy, const __global uint *restrict random_state,
                    __global float *restrict dx, __global float *restrict d_position, __global float *restrict d_token,
                    int columns, int batch, int count, float scale, uint threshold, uint stream, float keep_scale) {
    const size_t column = get_group_id(0) * OWNED, row = get_group_id(1);
    const int owned = min(OWNED, (int)(columns - column)), samples = row < count ? batch : 0;
    const bool is_token = TOKEN && row == 0;
    float sums[OWNED];
    for (int i = 0; i < OWNED; i++) sums[i] = 0.0f;
    for (size_t sample = 0; sample < samples; sample++) {
        const size_t first = (sample * count + row) * columns + column;
        const __global stored *from = dy + first;
#if D_X
        __global float *to = dx + first - (is_token ? 0 : (sample + 1) * TOKEN * columns);
#define PASS_ON(STORE_IT) if (!is_token) STORE_IT;
#else
#define PASS_ON(STORE_IT)
#endif
#define ONE(i)                                                                                                         \
    {                                                                                                                  \
        const float value = KEPT_1(LOAD(from, i));                                                                     \
        sums[i] += value;                                                                                              \
        PASS_ON(to[i] = value * scale)                                                                                 \
    }
#define EIGHT(i)                                                                                                       \
    {                                                                                                                  \
        const float8 value = KEPT_8(LOAD_8(from + (i)));                                                               \
        *(float8_anywhere *)(sums + (i)) += value;                                                                     \
        PASS_ON(STORE_8_AS_0(value * scale, to + (i)))                                                                 \
    }
        EACH_NEIGHBOUR(first, owned)
    }
    for (int i = 0; i < owned; i++) {
#if D_POSITION
        d_position[row * columns + column + i] = sums[i];
#endif
#if D_TOKEN
        if (is_token) d_token[column + i] = sums[i];
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

/* The same for CPU devices, where a work-item owns a row of patches: it divides nothing. Work-groups: row of patches,
 * samples. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
patches_wide(const __global float *restrict image, __global float *restrict y, int channels, int height, int width,
             int patch) {
    const size_t row = get_group_id(0), sample = get_group_id(1);
    image += (sample * channels * height + row * patch) * width;
    y += (sample * height + row * patch) * width * channels;
    for (int column = 0; column < width; column += patch)
        for (int channel = 0; channel < channels; channel++)
            for (int line = 0; line < patch; line++, y += patch) {
                const __global float *from = image + ((size_t)channel * height + line) * width + column;
                int i = 0;
                for (; i + 16 <= patch; i += 16) STORE_16_AS_0(vload16(0, from + i), y + i);
                for (; i + 4 <= patch; i += 4) vstore4(vload4(0, from + i), 0, y + i);
                for (; i < patch; i++) y[i] = from[i];
            }
}
