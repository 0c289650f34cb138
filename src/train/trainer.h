/* Training and evaluation as a whole: data, model, plans, steps, checkpoints. Owns the loop; reports through callbacks
 * and never prints. */
#ifndef XP_TRAIN_TRAINER_H
#define XP_TRAIN_TRAINER_H

#include "train/config.h"
#include "train/metrics.h"
#include "train/run_folder.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

/* Where the run is, for the live line; sent every few steps and at the end of each phase. */
typedef struct xp_progress {
    const char *phase;     /* "preparing kernels"; then the set at work: "training", "validation", "test" … */
    int epoch, epochs;     /* from 1; epochs 0: this phase is of no epoch */
    int64_t step, steps;   /* of this phase of this epoch; kernels, when they are prepared */
    double loss, accuracy; /* of this set so far in this phase; NaN: there is none */
    double learning_rate;
    double samples_per_second;
    double seconds_left; /* of the whole run, or of the kernels' preparation; NaN: not known yet */
} xp_progress;

typedef struct xp_trainer_callbacks {
    void *user;
    void (*progress)(void *user, const xp_progress *progress);
    void (*epoch)(void *user, const xp_epoch_row *row, int epochs, bool best);
    void (*message)(void *user, const char *text);
    /* Before a new run's kernels are made: a chance to tune for a run of so many floating-point operations in all.
     * True: the tuning tables have changed. NULL: never. */
    bool (*tune)(void *user, const xp_config *config, const xp_model_shape *shape, const xp_device *device,
                 double flops);
    /* Steps follow: from now on there is something to save. NULL: nobody wants to know. */
    void (*begin)(void *user);
    /* Non-zero: finish the step or the kernel, save, return XP_INTERRUPTED. NULL: never. */
    const volatile sig_atomic_t *stop;
} xp_trainer_callbacks;

typedef struct xp_train_options {
    const char *out; /* run folder */
    bool resume;     /* go on from out/last, or from out/config.yaml without one; `config` is not read */
    int epochs;      /* of a resumed run: as many in all, not fewer than it was configured for; -1: as configured */
    bool trust_code; /* of a resumed run: take its score, whoever gave it (train/trust.h) */
    bool recompute;  /* of a resumed run: recompute activations from now on, however it was configured */
    const xp_cadence *checkpoint_every; /* of a resumed run, from now on; NULL: as configured */
    int keep;                           /* as well; -1: as configured */
    /* Of a resumed run, in place of what it recorded; NULL: as recorded. The data must be the same. */
    const char *train, *test, *device, *family;
    bool dry_run;  /* plan, print device, data, parameters, bytes to `report`; makes no folder */
    bool launches; /* of a dry run: print every launch, too */
    bool profile;  /* print the table of kernel times to `report` at the end */
    bool debug;    /* finish after each launch, so that a failure names its kernel and layer */
    FILE *report;
} xp_train_options;

/* Trains; with 0 epochs, only writes the initial weights, to which a resume adds epochs. *result is filled as far as the
 * run came. XP_INTERRUPTED: stopped by `stop`, with everything saved that a resume needs. */
xp_status xp_train(const xp_config *config, const xp_train_options *options, const xp_trainer_callbacks *callbacks,
                   xp_run_summary *result);

typedef struct xp_evaluate_options {
    const char *data;   /* "-": standard input */
    const char *part;   /* "train" or "test", for folders of IDX files; NULL: "test" */
    const char *device; /* NULL: as it was trained */
    const char *family;
    int64_t limit;   /* samples; 0: all */
    bool in_order;   /* the limit takes the first samples; else equally many of each class where it can */
    bool judged;     /* XP_BAD_DATA where a sample has no class, or one that training did not have */
    int batch;       /* 0: as it was trained */
    bool trust_code; /* take the run's score, whoever gave it (train/trust.h) */
} xp_evaluate_options;

/* Answers of a trained model on a data set. `model` is a run folder (its best/ is taken) or a checkpoint folder. */
xp_status xp_evaluate(const char *model, const xp_evaluate_options *options, const xp_trainer_callbacks *callbacks,
                      xp_evaluation *out);

#endif
