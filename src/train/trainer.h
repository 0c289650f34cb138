/* Training and evaluation as a whole: data, model, plans, steps, checkpoints. Owns the loop; reports through callbacks
 * and never prints. */
#ifndef XP_TRAIN_TRAINER_H
#define XP_TRAIN_TRAINER_H

#include "train/progress.h"
#include "train/run_folder.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct xp_train_options {
    const char *out;  /* run folder */
    bool resume;      /* continue from out/last, or without one from out/config.yaml; `config` is not read */
    int epochs;       /* of a resumed run: as many in all, not fewer than it was configured for; -1: as configured */
    bool trust_code;  /* for a resumed run: accept its score without a mark (train/trust.h) */
    bool tensorboard; /* of a resumed run: write its event file from now on, however it was configured */
    bool recompute;   /* of a resumed run: recompute activations from now on, however it was configured */
    const xp_cadence *checkpoint_every; /* of a resumed run, from now on; NULL: as configured */
    int keep;                           /* as well; -1: as configured */
    /* Of a resumed run, in place of what it recorded; NULL: as recorded. The data must be the same. */
    const char *train, *test, *device, *family, *precision;
    bool dry_run;  /* plan, print device, data, parameters, bytes to `report`; makes no folder */
    bool launches; /* of a dry run: print every launch, too */
    bool profile;  /* print the table of kernel times to `report` at the end */
    bool debug;    /* finish after each launch, so that a failure names its kernel and layer */
    FILE *report;
} xp_train_options;

/* Trains; with 0 epochs, only writes the initial weights, to which a resume adds epochs. *result is filled as far as
 * the run came. XP_INTERRUPTED: stopped by `stop`, with everything saved that a resume needs. */
xp_status xp_train(const xp_config *config, const xp_train_options *options, const xp_trainer_callbacks *callbacks,
                   xp_run_summary *result);

typedef struct xp_evaluate_options {
    const char *data; /* "-": standard input */
    const char *part; /* "train" or "test", of what the run had split, or of a folder of IDX files; NULL: all, "test" */
    const char *device; /* NULL: as it was trained */
    const char *family;
    int64_t limit;   /* samples; 0: all */
    int season;      /* of the forecast to beat, in steps; 0: as in training */
    int64_t windows; /* of a table over time: so many of the latest; 0: all */
    bool in_order;   /* the limit takes the first samples; else equally many of each class where it can */
    bool judged; /* XP_BAD_DATA where a sample has no label to judge by, as one of a class that training did not have */
    int batch;   /* 0: as it was trained */
    bool trust_code; /* accept the score of the run without a mark (train/trust.h) */
} xp_evaluate_options;

/* Answers of a trained model on a data set. `model` is a run folder (its best/ is taken) or a checkpoint folder. */
xp_status xp_evaluate(const char *model, const xp_evaluate_options *options, const xp_trainer_callbacks *callbacks,
                      xp_evaluation *out);

#endif
