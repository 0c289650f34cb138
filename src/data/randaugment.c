/* RandAugment (Cubuk et al., 2020): a table of operations on pictures. Their strengths are those of the training of
 * DeiT (Touvron et al., 2021): all grow with the magnitude, and each operation is skipped with probability 1/2. */
#include "data/augment.h"

#include <math.h>
#include <string.h>

enum { LEVELS = 256 };

/* What an operation is given. */
typedef struct operation_call {
    xp_picture *picture;
    const unsigned char *fill;
    double strength; /* from 0 to 1 */
    double sign;     /* -1 or 1 */
} operation_call;

static size_t count_bytes(const xp_picture *picture) {
    return (size_t)picture->height * (size_t)picture->breadth * (size_t)picture->channels;
}

static unsigned char to_byte(double value) {
    return value <= 0 ? 0 : value >= 255 ? 255 : (unsigned char)(value + 0.5);
}

/* ---- colours ----------------------------------------------------------------------------------------------------- */

static double grey_of(const unsigned char *pixel, int channels) {
    return channels < 3 ? pixel[0] : 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
}

/* Makes each byte of a channel what the table says. */
static void look_up(xp_picture *picture, int channel, const unsigned char table[LEVELS]) {
    for (size_t i = (size_t)channel; i < count_bytes(picture); i += (size_t)picture->channels)
        picture->pixels[i] = table[picture->pixels[i]];
}

static void look_up_all(xp_picture *picture, const unsigned char table[LEVELS]) {
    for (int c = 0; c < picture->channels; c++) look_up(picture, c, table);
}

void xp_picture_brighten(xp_picture *picture, double factor) {
    unsigned char table[LEVELS];
    for (int i = 0; i < LEVELS; i++) table[i] = to_byte(factor * i);
    look_up_all(picture, table);
}

/* Around the mean brightness. */
void xp_picture_contrast(xp_picture *picture, double factor) {
    const size_t bytes = count_bytes(picture), channels = (size_t)picture->channels;
    unsigned char table[LEVELS];
    double sum = 0;
    for (size_t i = 0; i < bytes; i += channels) sum += grey_of(picture->pixels + i, picture->channels);
    const double mean = floor(sum / (double)(bytes / channels) + 0.5);
    for (int i = 0; i < LEVELS; i++) table[i] = to_byte(mean + factor * (i - mean));
    look_up_all(picture, table);
}

void xp_picture_saturate(xp_picture *picture, double factor) {
    const size_t channels = (size_t)picture->channels;
    if (channels < 3) return;
    for (size_t i = 0; i < count_bytes(picture); i += channels) {
        const double grey = grey_of(picture->pixels + i, picture->channels);
        for (size_t c = 0; c < 3; c++)
            picture->pixels[i + c] = to_byte(grey + factor * (picture->pixels[i + c] - grey));
    }
}

static double factor_of(const operation_call *call) {
    return fmax(0.1, 1 + call->sign * 0.9 * call->strength);
}

static xp_status brightness(const operation_call *call) {
    xp_picture_brighten(call->picture, factor_of(call));
    return XP_OK;
}

static xp_status contrast(const operation_call *call) {
    xp_picture_contrast(call->picture, factor_of(call));
    return XP_OK;
}

static xp_status colour(const operation_call *call) {
    xp_picture_saturate(call->picture, factor_of(call));
    return XP_OK;
}

static xp_status invert(const operation_call *call) {
    for (size_t i = 0; i < count_bytes(call->picture); i++) call->picture->pixels[i] ^= 0xff;
    return XP_OK;
}

static xp_status posterise(const operation_call *call) {
    const int bits = 4 - (int)(4 * call->strength);
    const int mask = 0xff & ~(0xff >> bits);
    for (size_t i = 0; i < count_bytes(call->picture); i++) call->picture->pixels[i] &= (unsigned char)mask;
    return XP_OK;
}

static xp_status solarise(const operation_call *call) {
    unsigned char table[LEVELS];
    const int threshold = LEVELS - (int)(LEVELS * call->strength);
    for (int i = 0; i < LEVELS; i++) table[i] = (unsigned char)(i < threshold ? i : 255 - i);
    look_up_all(call->picture, table);
    return XP_OK;
}

static xp_status add_to_dark(const operation_call *call) {
    unsigned char table[LEVELS];
    for (int i = 0; i < LEVELS; i++) table[i] = i < 128 ? to_byte(i + floor(110 * call->strength)) : (unsigned char)i;
    look_up_all(call->picture, table);
    return XP_OK;
}

static void count_levels(const xp_picture *picture, int channel, int64_t counts[LEVELS]) {
    memset(counts, 0, LEVELS * sizeof *counts);
    for (size_t i = (size_t)channel; i < count_bytes(picture); i += (size_t)picture->channels)
        counts[picture->pixels[i]]++;
}

/* The least level becomes 0 and the greatest 255, channel by channel. */
static xp_status stretch(const operation_call *call) {
    int64_t counts[LEVELS];
    unsigned char table[LEVELS];
    for (int c = 0; c < call->picture->channels; c++) {
        int low = 0, high = LEVELS - 1;
        count_levels(call->picture, c, counts);
        while (counts[low] == 0) low++;
        while (counts[high] == 0) high--;
        if (high <= low) continue;
        for (int i = 0; i < LEVELS; i++) table[i] = to_byte(255.0 * (i - low) / (high - low));
        look_up(call->picture, c, table);
    }
    return XP_OK;
}

/* All levels become equally frequent, as far as possible, channel by channel. */
static xp_status equalise(const operation_call *call) {
    int64_t counts[LEVELS];
    unsigned char table[LEVELS];
    for (int c = 0; c < call->picture->channels; c++) {
        int last = LEVELS - 1;
        int64_t all = 0, before = 0;
        count_levels(call->picture, c, counts);
        while (counts[last] == 0) last--;
        for (int i = 0; i < LEVELS; i++) all += counts[i];
        const int64_t step = (all - counts[last]) / 255;
        if (step == 0) continue;
        for (int i = 0; i < LEVELS; i++) {
            const int64_t level = (before + step / 2) / step;
            table[i] = (unsigned char)(level > 255 ? 255 : level);
            before += counts[i];
        }
        look_up(call->picture, c, table);
    }
    return XP_OK;
}

/* ---- neighbours -------------------------------------------------------------------------------------------------- */

static xp_status copy_picture(const xp_picture *picture, xp_picture *out) {
    XP_TRY(xp_picture_create(out, picture->height, picture->breadth, picture->channels, "a training image"));
    memcpy(out->pixels, picture->pixels, count_bytes(picture));
    return XP_OK;
}

/* Away from, or towards, a mean of the pixels around, of which the middle one counts five times; the edges stay. */
static xp_status sharpness(const operation_call *call) {
    xp_picture *picture = call->picture, old;
    const int channels = picture->channels, row = picture->breadth * channels;
    const double factor = factor_of(call);
    XP_TRY(copy_picture(picture, &old));
    for (int y = 1; y + 1 < picture->height; y++)
        for (int i = channels; i < row - channels; i++) {
            const unsigned char *at = old.pixels + (size_t)y * (size_t)row + (size_t)i;
            int sum = 4 * at[0];
            for (int down = -row; down <= row; down += row) sum += at[down - channels] + at[down] + at[down + channels];
            const double smooth = sum / 13.0;
            picture->pixels[(size_t)y * (size_t)row + (size_t)i] = to_byte(smooth + factor * (at[0] - smooth));
        }
    xp_picture_release(&old);
    return XP_OK;
}

/* A pixel of channel c at this place, between four neighbours; outside of the picture is the colour `fill`. */
static double interpolate(const xp_picture *picture, double y, double x, int c, const unsigned char *fill) {
    const int top = (int)floor(y), left = (int)floor(x);
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        const int row = top + i / 2, column = left + i % 2;
        const double weight = (i / 2 ? y - top : 1 - (y - top)) * (i % 2 ? x - left : 1 - (x - left));
        const bool inside = row >= 0 && row < picture->height && column >= 0 && column < picture->breadth;
        const size_t at = ((size_t)row * (size_t)picture->breadth + (size_t)column) * (size_t)picture->channels;
        sum += weight * (inside ? picture->pixels[at + (size_t)c] : fill[c]);
    }
    return sum;
}

/* Shows at (x, y), counted from the centre, what was at (m0·x + m1·y + m2, m3·x + m4·y + m5). */
static xp_status move(const operation_call *call, const double m[6]) {
    xp_picture *picture = call->picture, old;
    const double middle = (picture->height - 1) / 2.0, centre = (picture->breadth - 1) / 2.0;
    unsigned char *out = picture->pixels;
    XP_TRY(copy_picture(picture, &old));
    for (int row = 0; row < picture->height; row++)
        for (int column = 0; column < picture->breadth; column++) {
            const double x = column - centre, y = row - middle;
            const double from_x = m[0] * x + m[1] * y + m[2] + centre, from_y = m[3] * x + m[4] * y + m[5] + middle;
            for (int c = 0; c < picture->channels; c++)
                *out++ = to_byte(interpolate(&old, from_y, from_x, c, call->fill));
        }
    xp_picture_release(&old);
    return XP_OK;
}

static xp_status rotate(const operation_call *call) {
    const double angle = call->sign * call->strength * 30 * acos(-1) / 180, c = cos(angle), s = sin(angle);
    return move(call, (double[]){c, s, 0, -s, c, 0});
}

static xp_status shear_across(const operation_call *call) {
    return move(call, (double[]){1, call->sign * 0.3 * call->strength, 0, 0, 1, 0});
}

static xp_status shear_down(const operation_call *call) {
    return move(call, (double[]){1, 0, 0, call->sign * 0.3 * call->strength, 1, 0});
}

static xp_status shift_across(const operation_call *call) {
    return move(call, (double[]){1, 0, call->sign * 0.45 * call->strength * call->picture->breadth, 0, 1, 0});
}

static xp_status shift_down(const operation_call *call) {
    return move(call, (double[]){1, 0, 0, 0, 1, call->sign * 0.45 * call->strength * call->picture->height});
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static xp_status (*const operations[])(const operation_call *call) = {
    stretch,  equalise,   invert,    rotate,       posterise,  solarise,     add_to_dark, colour,
    contrast, brightness, sharpness, shear_across, shear_down, shift_across, shift_down};
enum { OPERATIONS = sizeof operations / sizeof *operations };

xp_status xp_randaugment(const xp_augmentation *augmentation, const unsigned char *fill, xp_random *random,
                         xp_picture *picture) {
    for (int i = 0; i < augmentation->operations; i++) {
        const uint32_t chosen = xp_random_below(random, OPERATIONS);
        const double level = augmentation->magnitude + augmentation->magnitude_deviation * xp_random_normal(random);
        const operation_call call = {.picture = picture,
                                     .fill = fill,
                                     .strength = fmin(fmax(level, 0), 10) / 10,
                                     .sign = xp_random_below(random, 2) ? 1 : -1};
        if (xp_random_below(random, 2)) XP_TRY(operations[chosen](&call));
    }
    return XP_OK;
}
