/* A training session on one synthetic batch, for benchmarks and the tuner: the same numbers at each start. */
#ifndef XP_TOOLS_SYNTHETIC_H
#define XP_TOOLS_SYNTHETIC_H

#include "data/dataset.h"
#include "train/config.h"
#include "train/session.h"

/* What the flags say. With a preset or a configuration file the model is theirs, and only the data's shape is read. */
typedef struct xp_synthetic_shape {
    const char *preset, *config, *attention;
    long width, heads, layers, feed_forward, batch;
    long length, features;       /* of series */
    long image, channels, patch; /* side of images and of their patches; image 0: series */
    long classes;
    long accumulate; /* parts of the batch; 0: as configured */
    bool recompute;
} xp_synthetic_shape;

#define XP_SYNTHETIC_DEFAULTS                                                                                          \
    {                                                                                                                  \
        .attention = "softmax", .width = 512, .heads = 8, .layers = 2, .feed_forward = 2048, .batch = 16,              \
        .length = 128, .features = 16, .channels = 1, .patch = 4, .classes = 10                                        \
    }

#define XP_SYNTHETIC_FLAGS(s)                                                                                          \
    {"--width", "N", "model width (512)", .number = &(s).width},                                                       \
        {"--heads", "N", "attention heads (8)", .number = &(s).heads},                                                 \
        {"--layers", "N", "encoder layers (2)", .number = &(s).layers},                                                \
        {"--ffn", "N", "feed-forward width (2048)", .number = &(s).feed_forward},                                      \
        {"--batch", "N", "samples in the batch (16)", .number = &(s).batch},                                           \
        {"--length", "N", "steps of a sequence (128)", .number = &(s).length},                                         \
        {"--features", "N", "numbers of a step (16)", .number = &(s).features},                                        \
        {"--image", "SIDE", "a vision transformer on images of this side in place of series", .number = &(s).image},   \
        {"--channels", "N", "of the images (1)", .number = &(s).channels},                                             \
        {"--patch", "SIDE", "of the images' patches (4)", .number = &(s).patch},                                       \
        {"--classes", "N", "to tell apart (10)", .number = &(s).classes},                                              \
        {"--attention", "SPEC", "attention specification (softmax)", .text = &(s).attention},                          \
        {"--accumulate", "N", "compute the batch in so many parts, one after another", .number = &(s).accumulate},     \
        {"--recompute", NULL, "make activations anew in the backward pass", .on = &(s).recompute},                     \
        {"--preset", "NAME", "the model and the batch of a preset", .text = &(s).preset}, {                            \
        "--config", "FILE", "the model and the batch of a configuration file", .text = &(s).config                     \
    }

typedef struct xp_synthetic {
    xp_config config;
    xp_session session;
    xp_dataset batch;
    int32_t *order;
    int64_t step;
} xp_synthetic;

/* Opens the device, builds and realises the plan, draws parameters. Close it, whatever the outcome. */
xp_status xp_synthetic_open(xp_synthetic *out, const xp_synthetic_shape *shape, const xp_device_options *options);
void xp_synthetic_close(xp_synthetic *synthetic);

/* Runs `count` optimiser steps; *seconds is wall time, *loss that of the last step's forward pass. */
xp_status xp_synthetic_run(xp_synthetic *synthetic, int count, double *seconds, double *loss);

/* "d=512 H=8 L=2 FFN=2048 B=16 N=128" */
void xp_synthetic_describe(const xp_synthetic_shape *shape, char *out, size_t size);

#endif
