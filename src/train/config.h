/* A run's whole configuration: one struct, one option table (options.c) that serves YAML files, presets, flags,
 * --print-config and the checkpoint. Owns names, ranges, defaults and messages; builds nothing. */
#ifndef XP_TRAIN_CONFIG_H
#define XP_TRAIN_CONFIG_H

#include "core/writer.h"
#include "data/dataset.h"
#include "model/model.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum xp_schedule_kind {
    XP_SCHEDULE_CONSTANT,
    XP_SCHEDULE_COSINE,
    XP_SCHEDULE_ONE_CYCLE,
    XP_SCHEDULE_STEP
} xp_schedule_kind;

/* How often, by one measure or the other; both 0: never. */
typedef struct xp_cadence {
    int64_t steps, seconds;
} xp_cadence;

typedef struct xp_config {
    char preset[64];
    xp_model_config model;
    struct {
        char task[32]; /* "": the first that takes the training data */
        char train[1024], test[1024];
        double test_part;  /* fraction split off the training data before all else; 0: none */
        double validation; /* fraction split off the training part; 0: none */
        int context;       /* of windows of a table: rows before those that are predicted; text: bytes before the one */
        int horizon, season, stride; /* of such windows; horizon 0: the data have none */
        char words[1024];            /* of texts that are classified; empty: their bytes are the tokens */
        char predict[256];           /* columns of it, by name; empty: all */
        int64_t train_limit;         /* samples; 0: all */
        int64_t test_limit;
        int max_length; /* steps of the longest series that the model takes; 0: of the longest in the data */
        int standardise;
        int normalise_windows; /* take off each its own mean and deviation, and put them back on its forecast */
        char mean[128], deviation[128]; /* of the features, to standardise by; empty: those of the training data */
        int image_size;                 /* side of all images; 0: they are as they are */
        double image_crop;              /* part of the short side that an evaluation sees */
    } data;
    xp_augmentation augment; /* of images, in training */
    struct {
        int epochs, batch;
        int accumulate; /* parts of a step's batch, one after another */
        uint64_t seed;
        int optimiser; /* xp_optimiser_kind */
        double learning_rate, weight_decay, beta1, beta2, epsilon, momentum;
        double gradient_clip; /* L2 norm; 0: off */
        double label_smoothing;
        char class_weights[1024];    /* none, balanced, or a number for each class */
        int patience;                /* epochs without a better one on the validation set, and then the end; 0: off */
        char from[1024];             /* run folder, checkpoint or file of weights to start from; empty: drawn */
        int schedule;                /* xp_schedule_kind */
        double warmup;               /* epochs */
        double final_rate;           /* cosine, one-cycle: fraction of learning_rate at the end */
        double step_factor;          /* step: multiply by this … */
        int step_epochs;             /* … every N epochs */
        int precision;               /* xp_precision */
        int recompute;               /* activations of the layers, in the backward pass */
        xp_cadence checkpoint_every; /* beside the end of each epoch */
        int tensorboard;             /* write the metrics of each epoch for it, too */
        int keep;                    /* checkpoints of the last epochs, beside the best and the last */
    } training;
    struct {
        char select[128];
        char family[16];
    } device;
} xp_config;

void xp_config_default(xp_config *config);
/* Overlays a preset of the library, by name; an unknown one names the nearest. */
xp_status xp_config_preset(xp_config *config, const char *name);
/* Overlays a YAML file. All faults (unknown key with the nearest known one, wrong type, out of range) in one message,
 * one a line, each with file:line:column. */
xp_status xp_config_file(xp_config *config, const char *path);
/* Overlays "section.key=value" (or "key=value" where the key is unique). */
xp_status xp_config_set(xp_config *config, const char *assignment);
/* Checks every number against its range, then what concerns several options together; all faults in one message. */
xp_status xp_config_check(const xp_config *config);
/* XP_INVALID_ARGUMENT when the runs of two configurations are not the same; the message names the first option that
 * differs. Which files are written makes no difference. */
xp_status xp_config_compare(const xp_config *old, const xp_config *wanted);
/* How data become samples of its model; borrows its texts. */
xp_windows xp_config_windows(const xp_config *config);
bool xp_config_has_test(const xp_config *config); /* a file, or a part of the training data */
/* Makes the paths of the data independent of the folder that the process works in. One that cannot be written into a
 * configuration then (too long, not UTF-8) stays as it is. */
void xp_config_make_absolute(xp_config *config);
/* Writes YAML that xp_config_file reads back to the same struct. */
xp_status xp_config_print(const xp_config *config, FILE *out);
xp_status xp_config_text(const xp_config *config, char **text); /* the same text, freed by the caller */
/* The section "model" as one JSON object: switches as booleans, choices as words. *text is freed by the caller. */
xp_status xp_config_model_json(const xp_config *config, char **text);
/* Appends the value of "section.key". */
xp_status xp_config_value(const xp_config *config, const char *key, xp_writer *out);
/* Names of the presets, in alphabetical order; returns how many. */
int xp_config_presets(char names[][64], int room);
/* Learning rate of optimiser step `step` (counted from 0), with `steps_per_epoch`. A warm-up rises in a straight line;
 * in a one-cycle schedule it rises from 1/25 of the rate as half a cosine. */
double xp_schedule_rate(const xp_config *config, int64_t step, int64_t steps_per_epoch);

#endif
