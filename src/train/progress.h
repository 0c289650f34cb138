/* How training, evaluation and analysis report progress to their caller, and how the caller stops them. */
#ifndef XP_TRAIN_PROGRESS_H
#define XP_TRAIN_PROGRESS_H

#include "train/config.h"
#include "train/metrics.h"

#include <signal.h>
#include <stdbool.h>

/* Where the run is, for the live line; sent every few steps and at the end of each phase. */
typedef struct xp_progress {
    const xp_task *task;
    const char *phase;   /* "preparing kernels"; then the set at work: "training", "validation", "test" … */
    int epoch, epochs;   /* from 1; epochs 0: this phase is of no epoch */
    int64_t step, steps; /* of this phase of this epoch; kernels, when they are prepared */
    double metrics[XP_TASK_METRICS]; /* of this set so far in this phase; NaN: none */
    double learning_rate;
    double samples_per_second;
    double seconds_left; /* of the whole run, or of the kernels' preparation; NaN: not known yet */
} xp_progress;

typedef struct xp_trainer_callbacks {
    void *user;
    void (*progress)(void *user, const xp_progress *progress);
    void (*epoch)(void *user, const xp_task *task, const xp_epoch_row *row, int epochs, bool best);
    void (*message)(void *user, const char *text);
    /* Called before the kernels of a new run are built, with the total number of its floating-point operations, so that
     * the caller can tune. Returns whether the tuning tables have changed. NULL: no tuning. */
    bool (*tune)(void *user, const xp_config *config, const xp_model_shape *shape, const xp_device *device,
                 double flops);
    /* Called before the first step: from now on there is something to save. May be NULL. */
    void (*begin)(void *user);
    /* Non-zero: finish the step or the kernel, save, return XP_INTERRUPTED. NULL: never. */
    const volatile sig_atomic_t *stop;
} xp_trainer_callbacks;

#endif
