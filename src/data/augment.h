/* What training changes about images, at random: the options, and their place between picture and batch. All draws are
 * functions of the seed, the epoch and the place in the order of the epoch, so no thread or interruption changes
 * them. */
#ifndef XP_DATA_AUGMENT_H
#define XP_DATA_AUGMENT_H

#include "core/random.h"
#include "data/picture.h"

#include <stdint.h>

/* A configuration's section "augment". Without gaps: configurations are compared as bytes. */
typedef struct xp_augmentation {
    double crop;    /* least share of the area that a random crop shows; 1: what an evaluation shows */
    double flip;    /* probability of a horizontal reflection */
    double jitter;  /* of brightness, contrast and saturation: factors of up to 1 ± this */
    int operations; /* RandAugment: so many of them … */
    int repeats;    /* a sample is taken so often, one after another, in an epoch of the same length */
    double magnitude, magnitude_deviation; /* … of a normal strength from 0 to 10 */
    double erase;                          /* probability that a rectangle becomes noise */
    double mixup, cutmix;                  /* parameters of the beta distribution of the shares; 0: off */
} xp_augmentation;

#define XP_AUGMENTATION_NONE                                                                                           \
    (xp_augmentation) {                                                                                                \
        .crop = 1, .magnitude = 9, .magnitude_deviation = 0.5, .repeats = 1                                            \
    }

/* Whether samples differ from those of an evaluation, and whether they have shares of several classes. */
bool xp_augmentation_changes(const xp_augmentation *augmentation);
bool xp_augmentation_mixes(const xp_augmentation *augmentation);

/* Takes each of the first samples of the order `repeats` times. */
void xp_augment_order(const xp_augmentation *augmentation, int64_t count, int32_t *order);

/* A part of an image of this size. */
xp_box xp_augment_crop(const xp_augmentation *augmentation, int height, int breadth, xp_random *random);
/* Flips the picture and changes its colours and geometry, in its place. `fill` [channels] is the colour of what comes
 * into view. XP_OUT_OF_MEMORY. */
xp_status xp_augment_picture(const xp_augmentation *augmentation, const unsigned char *fill, xp_random *random,
                             xp_picture *picture);
/* Replaces a rectangle of the values, which are standardised, by noise. */
void xp_augment_erase(const xp_augmentation *augmentation, int channels, int height, int breadth, xp_random *random,
                      float *values);

/* The operations of RandAugment (Cubuk et al., 2020), in the order of severity (randaugment.c). */
xp_status xp_randaugment(const xp_augmentation *augmentation, const unsigned char *fill, xp_random *random,
                         xp_picture *picture);
/* By these factors, of which 1 changes nothing. */
void xp_picture_brighten(xp_picture *picture, double factor);
void xp_picture_contrast(xp_picture *picture, double factor);
void xp_picture_saturate(xp_picture *picture, double factor);

/* Samples of a batch, of which the first is mixed with the last, and so on: images and shares of classes. */
typedef struct xp_mixing {
    int count, channels, height, breadth, classes;
    float *values, *targets, *weights; /* [count][channels][height][breadth], [count][classes], [count] */
} xp_mixing;
void xp_augment_mix(const xp_augmentation *augmentation, xp_random *random, const xp_mixing *batch);

#endif
