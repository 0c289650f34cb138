/* Augmentation of images: crops, reflections, erasing (Zhong et al., 2020), mixup (Zhang et al., 2018) and CutMix (Yun
 * et al., 2019), with the constants of the training of DeiT (Touvron et al., 2021). */
#include "data/augment.h"

#include <math.h>
#include <string.h>

enum { TRIES = 10 };

bool xp_augmentation_mixes(const xp_augmentation *augmentation) {
    return augmentation->mixup > 0 || augmentation->cutmix > 0;
}

bool xp_augmentation_changes(const xp_augmentation *augmentation) {
    const xp_augmentation *a = augmentation;
    return a->crop < 1 || a->flip > 0 || a->jitter > 0 || a->operations > 0 || a->erase > 0 || a->repeats > 1 ||
           xp_augmentation_mixes(a);
}

void xp_augment_order(const xp_augmentation *augmentation, int64_t count, int32_t *order) {
    for (int64_t i = count - 1; i > 0; i--) order[i] = order[i / augmentation->repeats];
}

static double uniform(xp_random *random, double low, double high) {
    return low + (high - low) * xp_random_unit(random);
}

/* ---- one image --------------------------------------------------------------------------------------------------- */

/* A box of this share of the area and up to this ratio of its sides; false: it is larger than the image. */
static bool draw_box(xp_random *random, double least, double most, double ratio, double height, double breadth,
                     xp_box *out) {
    const double area = uniform(random, least, most) * height * breadth;
    const double aspect = exp(uniform(random, -log(ratio), log(ratio)));
    out->height = sqrt(area / aspect);
    out->breadth = sqrt(area * aspect);
    if (out->height > height || out->breadth > breadth) return false;
    out->top = uniform(random, 0, height - out->height);
    out->left = uniform(random, 0, breadth - out->breadth);
    return true;
}

xp_box xp_augment_crop(const xp_augmentation *augmentation, int height, int breadth, xp_random *random) {
    const double ratio = 4.0 / 3, side = fmin(height, breadth);
    xp_box box;
    for (int i = 0; i < TRIES; i++)
        if (draw_box(random, augmentation->crop, 1, ratio, height, breadth, &box)) return box;
    box.height = fmin(height, side * ratio);
    box.breadth = fmin(breadth, side * ratio);
    box.top = (height - box.height) / 2;
    box.left = (breadth - box.breadth) / 2;
    return box;
}

static void flip(xp_picture *picture) {
    const size_t channels = (size_t)picture->channels, row = (size_t)picture->breadth * channels;
    for (int y = 0; y < picture->height; y++) {
        unsigned char *left = picture->pixels + (size_t)y * row, *right = left + row - channels, kept[4];
        for (; left < right; left += channels, right -= channels) {
            memcpy(kept, left, channels);
            memcpy(left, right, channels);
            memcpy(right, kept, channels);
        }
    }
}

static double draw_factor(xp_random *random, double jitter) {
    return uniform(random, fmax(0, 1 - jitter), 1 + jitter);
}

xp_status xp_augment_picture(const xp_augmentation *augmentation, const unsigned char *fill, xp_random *random,
                             xp_picture *picture) {
    if (xp_random_unit(random) < augmentation->flip) flip(picture);
    if (augmentation->jitter > 0) {
        xp_picture_brighten(picture, draw_factor(random, augmentation->jitter));
        xp_picture_contrast(picture, draw_factor(random, augmentation->jitter));
        xp_picture_saturate(picture, draw_factor(random, augmentation->jitter));
    }
    return xp_randaugment(augmentation, fill, random, picture);
}

void xp_augment_erase(const xp_augmentation *augmentation, int channels, int height, int breadth, xp_random *random,
                      float *values) {
    xp_box box;
    bool fits = false;
    if (xp_random_unit(random) >= augmentation->erase) return;
    for (int i = 0; i < TRIES && !fits; i++) fits = draw_box(random, 0.02, 1.0 / 3, 1 / 0.3, height, breadth, &box);
    if (!fits) return;
    const int top = (int)box.top, left = (int)box.left;
    const int bottom = top + (int)box.height, right = left + (int)box.breadth;
    for (int c = 0; c < channels; c++)
        for (int y = top; y < bottom; y++)
            for (int x = left; x < right; x++)
                values[((size_t)c * (size_t)height + (size_t)y) * (size_t)breadth + (size_t)x] =
                    (float)xp_random_normal(random);
}

/* ---- a batch ----------------------------------------------------------------------------------------------------- */

/* Beta(a, a), by Jöhnk's method, which suits an `a` of up to about 2. */
static double draw_share(xp_random *random, double a) {
    for (;;) {
        const double u = 1 - xp_random_unit(random), v = 1 - xp_random_unit(random);
        const double x = pow(u, 1 / a), y = pow(v, 1 / a);
        if (x + y == 0) return 1 / (1 + exp((log(v) - log(u)) / a)); /* both are too small for their ratio */
        if (x + y <= 1) return x / (x + y);
    }
}

/* Gives each of two rows `share` of itself and the rest of the other. */
static void blend(float *one, float *other, size_t count, double share) {
    const float own = (float)share, rest = (float)(1 - share);
    for (size_t i = 0; i < count; i++) {
        const float kept = one[i];
        one[i] = own * kept + rest * other[i];
        other[i] = own * other[i] + rest * kept;
    }
}

static void swap_box(const xp_mixing *batch, float *one, float *other, const int box[4]) {
    for (int c = 0; c < batch->channels; c++)
        for (int y = box[0]; y < box[1]; y++)
            for (int x = box[2]; x < box[3]; x++) {
                const size_t at = ((size_t)c * (size_t)batch->height + (size_t)y) * (size_t)batch->breadth + (size_t)x;
                const float kept = one[at];
                one[at] = other[at];
                other[at] = kept;
            }
}

/* Where a length of `size`, around a random centre, begins and ends within `whole`. */
static void draw_side(xp_random *random, int whole, double size, int *begin, int *end) {
    const int half = (int)(size / 2), centre = (int)xp_random_below(random, (uint32_t)whole);
    *begin = centre - half > 0 ? centre - half : 0;
    *end = centre + half < whole ? centre + half : whole;
}

/* All pairs of a batch have the same share and the same box. */
void xp_augment_mix(const xp_augmentation *augmentation, xp_random *random, const xp_mixing *batch) {
    const double mixup = augmentation->mixup, cutmix = augmentation->cutmix;
    const bool both = mixup > 0 && cutmix > 0, cuts = both ? xp_random_unit(random) < 0.5 : cutmix > 0;
    const size_t elements = (size_t)batch->channels * (size_t)batch->height * (size_t)batch->breadth;
    double share = draw_share(random, cuts ? cutmix : mixup);
    int box[4] = {0};
    if (cuts) {
        draw_side(random, batch->height, batch->height * sqrt(1 - share), &box[0], &box[1]);
        draw_side(random, batch->breadth, batch->breadth * sqrt(1 - share), &box[2], &box[3]);
        share = 1 - (double)(box[1] - box[0]) * (box[3] - box[2]) / ((double)batch->height * batch->breadth);
    }
    for (int i = 0; i < batch->count / 2; i++) {
        const size_t a = (size_t)i, b = (size_t)(batch->count - 1 - i), classes = (size_t)batch->classes;
        float *one = batch->values + a * elements, *other = batch->values + b * elements;
        if (cuts)
            swap_box(batch, one, other, box);
        else
            blend(one, other, elements, share);
        blend(batch->targets + a * classes, batch->targets + b * classes, classes, share);
        blend(batch->weights + a, batch->weights + b, 1, share);
    }
}
