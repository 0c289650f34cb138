/* The flags of the commands that train on a synthetic batch: which model, and the shape of the data. */
#ifndef XP_TOOLS_SYNTHETIC_H
#define XP_TOOLS_SYNTHETIC_H

#include "command.h"
#include "train/config.h"
#include "train/synthetic.h"

/* Flags that are not options of a configuration: preset, file and the shape of the data. */
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
    {"--preset", "PRESET", "start from this preset, including its batch", .text = &(f).preset},                        \
        {"--config", "FILE", "then read this YAML file", .text = &(f).file},                                           \
        {"--width", "N", "model width (512)", .option = "model.width"},                                                \
        {"--heads", "N", "attention heads (8)", .option = "model.heads"},                                              \
        {"--layers", "N", "encoder layers (2)", .option = "model.layers"},                                             \
        {"--ffn", "N", "feed-forward width (2048)", .option = "model.feed_forward"},                                   \
        {"--attention", "SPEC", "attention specification (softmax)", .option = "model.attention"},                     \
        {"--batch", "N", "samples per batch (16)", .option = "training.batch"},                                        \
        {"--length", "N", "steps per series (128)", .number = &(f).length, .lowest = 1, .highest = 1 << 20},           \
        {"--features", "N", "features per step (16)", .number = &(f).features, .lowest = 1, .highest = 1 << 16},       \
        {"--image",                                                                                                    \
         "SIDE",                                                                                                       \
         "side of square images; without preset and file, use images instead of series",                               \
         .number = &(f).image,                                                                                         \
         .lowest = 1,                                                                                                  \
         .highest = 1 << 14},                                                                                          \
        {"--channels", "N", "channels of the images (1)", .number = &(f).channels, .lowest = 1, .highest = 1 << 10},   \
        {"--patch", "SIDE", "side of a patch (4)", .option = "model.patch"},                                           \
        {"--classes", "N", "number of classes (10)", .number = &(f).classes, .lowest = 1, .highest = 1 << 20},         \
        {"--precision", "TYPE", "as in expanse train (fp32)", .option = "training.precision"},                         \
        {"--accumulate", "N", "compute the batch in N parts, one after another", .option = "training.accumulate"}, {   \
        "--recompute", NULL, "recompute activations in the backward pass", .on = &(f).recompute                        \
    }

#define XP_SYNTHETIC_DESCRIPTION                                                                                       \
    "The model comes from a preset or a file, and flags override it; without preset and file, the defaults of the\n"   \
    "flags apply. Sizes of the data that are not given are assumed and printed.\n"

/* The configuration and shape that result from the flags. */
typedef struct xp_synthetic_setup {
    xp_config config;
    xp_model_shape shape; /* of the whole batch */
    /* A sentence about the sizes that were not given; empty if all were, or if the defaults of the flags apply. */
    char assumed[160];
} xp_synthetic_setup;

/* XP_INVALID_ARGUMENT: as `expanse train` rejects a configuration, or a size of the wrong kind of data. */
xp_status xp_synthetic_configure(const xp_synthetic_flags *flags, const xp_arguments *arguments,
                                 xp_synthetic_setup *out);

/* "uea-mvts d=64 H=8 L=3 FFN=256 B=64 N=128" */
void xp_synthetic_describe(const xp_synthetic_setup *setup, char *out, size_t size);

#endif
