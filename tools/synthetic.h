/* A training session on one synthetic batch, for benchmarks and the tuner: the same numbers at each start. */
#ifndef XP_TOOLS_SYNTHETIC_H
#define XP_TOOLS_SYNTHETIC_H

#include "command.h"
#include "data/dataset.h"
#include "train/config.h"
#include "train/session.h"

/* Flags that are no option of a configuration: where one comes from, and the data's shape. */
typedef struct xp_synthetic_flags {
    const char *preset, *file;
    long length, features, image, channels, classes; /* XP_SYNTHETIC_NONE: not given */
    bool recompute;
} xp_synthetic_flags;

enum { XP_SYNTHETIC_NONE = -1 };
#define XP_SYNTHETIC_NO_FLAGS                                                                                          \
    {                                                                                                                  \
        .length = XP_SYNTHETIC_NONE, .features = XP_SYNTHETIC_NONE, .image = XP_SYNTHETIC_NONE,                        \
        .channels = XP_SYNTHETIC_NONE, .classes = XP_SYNTHETIC_NONE                                                    \
    }

#define XP_SYNTHETIC_FLAGS(f)                                                                                          \
    {"--preset", "PRESET", "start from a preset, its batch included", .text = &(f).preset},                            \
        {"--config", "FILE", "lay a YAML file over it", .text = &(f).file},                                            \
        {"--width", "N", "model width (512)", .option = "model.width"},                                                \
        {"--heads", "N", "attention heads (8)", .option = "model.heads"},                                              \
        {"--layers", "N", "encoder layers (2)", .option = "model.layers"},                                             \
        {"--ffn", "N", "feed-forward width (2048)", .option = "model.feed_forward"},                                   \
        {"--attention", "SPEC", "attention specification (softmax)", .option = "model.attention"},                     \
        {"--batch", "N", "samples in the batch (16)", .option = "training.batch"},                                     \
        {"--length", "N", "steps of a series (128)", .number = &(f).length, .lowest = 1, .highest = 1 << 20},          \
        {"--features", "N", "numbers of a step (16)", .number = &(f).features, .lowest = 1, .highest = 1 << 16},       \
        {"--image",                                                                                                    \
         "SIDE",                                                                                                       \
         "images of this side; without preset and file, in place of series",                                           \
         .number = &(f).image,                                                                                         \
         .lowest = 1,                                                                                                  \
         .highest = 1 << 14},                                                                                          \
        {"--channels", "N", "of the images (1)", .number = &(f).channels, .lowest = 1, .highest = 1 << 10},            \
        {"--patch", "SIDE", "of the images' patches (4)", .option = "model.patch"},                                    \
        {"--classes", "N", "to tell apart (10)", .number = &(f).classes, .lowest = 1, .highest = 1 << 20},             \
        {"--accumulate", "N", "compute the batch in so many parts, one after another",                                 \
         .option = "training.accumulate"},                                                                             \
    {                                                                                                                  \
        "--recompute", NULL, "make activations anew in the backward pass", .on = &(f).recompute                        \
    }

#define XP_SYNTHETIC_DESCRIPTION                                                                                       \
    "The model is that of a preset or a file, with the flags laid over it; without either, the flags' defaults\n"      \
    "hold. Sizes of the data that are not given are assumed, and printed.\n"

/* What the flags come to. */
typedef struct xp_synthetic_setup {
    xp_config config;
    xp_model_shape shape; /* of the whole batch */
    /* One sentence on the sizes that nobody gave; empty where all are given or are a flag's default. */
    char assumed[160];
} xp_synthetic_setup;

/* XP_INVALID_ARGUMENT: as `expanse train` refuses a configuration, or a size of the wrong kind of data. */
xp_status xp_synthetic_configure(const xp_synthetic_flags *flags, const xp_arguments *arguments,
                                 xp_synthetic_setup *out);

/* "uea-mvts d=64 H=8 L=3 FFN=256 B=64 N=128" */
void xp_synthetic_describe(const xp_synthetic_setup *setup, char *out, size_t size);

typedef struct xp_synthetic {
    xp_config config;
    xp_session session;
    xp_dataset *batch;
    int32_t *order;
    int64_t step;
} xp_synthetic;

/* Opens the device, builds and realises the plan, draws batch and parameters. Close it, whatever the outcome. */
xp_status xp_synthetic_open(xp_synthetic *out, const xp_synthetic_setup *setup, const xp_device_options *options);
void xp_synthetic_close(xp_synthetic *synthetic);

/* Runs `count` optimiser steps; *seconds is wall time, *loss that of the last step's forward pass. */
xp_status xp_synthetic_run(xp_synthetic *synthetic, int count, double *seconds, double *loss);

#endif
