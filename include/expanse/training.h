/* Trains the models of the library, as `expanse train` does: with a configuration from a preset and options, data from
 * files, and a run folder with checkpoints, metrics and weights. The library prints nothing; callbacks report.
 *
 *     xp_training_create(&training, "uea-mvts");
 *     xp_training_set(training, "data.train=series.ts");
 *     xp_training_run(training, "runs/first", NULL);
 *     xp_training_metric(training, "training", "accuracy");
 *
 * `expanse train --print-config` lists the options, docs/DATA.md describes the data and docs/MODEL.md the run folder. A
 * training belongs to one thread at a time. */
#ifndef EXPANSE_TRAINING_H
#define EXPANSE_TRAINING_H

#include <expanse/status.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct xp_training xp_training;

/* Starts with the default of every option, overridden by a preset; NULL: no preset. XP_INVALID_ARGUMENT: there is no
 * such preset; the message suggests the nearest one. */
XP_API xp_status xp_training_create(xp_training **out, const char *preset);
XP_API void xp_training_close(xp_training **training); /* NULL is fine */

/* Sets one option: "training.epochs=20". The section may be omitted if the key is unique. XP_INVALID_ARGUMENT: no such
 * option, or an invalid value; the message names both. */
XP_API xp_status xp_training_set(xp_training *training, const char *assignment);
/* Reads a YAML file that overrides the configuration, as --config does. XP_BAD_DATA: the message has file:line:column
 * of each error. */
XP_API xp_status xp_training_read(xp_training *training, const char *path);

typedef struct xp_training_callbacks {
    size_t size; /* of this struct; set by xp_training_callbacks_default */
    void *user;
    /* After each epoch, counted from 1: xp_training_metric now returns the values of this epoch. NULL: not reported. */
    void (*epoch)(void *user, const xp_training *training, int epoch, int epochs);
    /* A sentence for the user, about the data, the device or the run. NULL: not reported. */
    void (*message)(void *user, const char *text);
} xp_training_callbacks;

/* NULLs. */
XP_API void xp_training_callbacks_init(xp_training_callbacks *callbacks, size_t size); /* size: sizeof *callbacks */
static inline void xp_training_callbacks_default(xp_training_callbacks *callbacks) {
    xp_training_callbacks_init(callbacks, sizeof *callbacks);
}

/* Trains from new weights in a new run folder. Blocks until the last epoch is finished. callbacks may be NULL.
 * XP_INVALID_ARGUMENT: options that contradict one another, or a folder that is not empty. XP_INTERRUPTED:
 * xp_training_stop was called; the folder contains what `expanse train --resume` needs. */
XP_API xp_status xp_training_run(xp_training *training, const char *folder, const xp_training_callbacks *callbacks);

/* Ends the run after the current step. May be called from a callback, from another thread and from a signal
 * handler. */
XP_API void xp_training_stop(xp_training *training);

/* A metric of the last finished epoch. set: "training", "validation" or "test"; metric: a column of metrics.csv, such
 * as "loss" or "accuracy". NaN: it was not measured. */
XP_API double xp_training_metric(const xp_training *training, const char *set, const char *metric);
/* The epoch whose weights are in <folder>/best; 0: none is finished. */
XP_API int xp_training_best_epoch(const xp_training *training);

#ifdef __cplusplus
}
#endif
#endif
