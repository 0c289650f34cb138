/* Checkpoints: a folder with model.safetensors (all parameters and running statistics by name, and in its metadata what
 * prediction needs beside them), training.safetensors (moments), state.json (the progress of the run, and what
 * prediction needs to know about the training data) and config.yaml; docs/MODEL.md describes them. Owns the folder's
 * format and its atomic replacement; does not know the training loop. */
#ifndef XP_TRAIN_CHECKPOINT_H
#define XP_TRAIN_CHECKPOINT_H

#include "data/dataset.h"
#include "graph/store.h"
#include "task/task.h"
#include "train/config.h"
#include "train/loss_scale.h"

#include <jansson.h>

/* The progress of a run: everything that the next step depends on, apart from the parameters and moments. */
typedef struct xp_training_state {
    int64_t step;              /* optimiser steps done */
    int epoch;                 /* the epoch under way, from 0; equal to the epochs finished */
    int64_t position;          /* steps done of that epoch */
    double sums[XP_TASK_SUMS]; /* of the task, over the samples of the epoch so far */
    int64_t samples;           /* of the epoch so far */
    int64_t counted;           /* of these: those that the sums are of; the others have no label that is known */
    double best;    /* value of the deciding metric, of the set that judges: validation, else test, else training */
    double at_best; /* of the test set (else as above) in that epoch: what summary.json reports */
    int epoch_best; /* from 1; 0: none yet */
    double seconds; /* spent so far */
    int64_t samples_total;
    double training_seconds;  /* spent in training steps alone */
    xp_loss_scale loss_scale; /* all zero before the first step in fp16 */
} xp_training_state;

typedef struct xp_checkpoint {
    xp_config config;
    xp_model_shape shape;
    const xp_sample_kind *kind;                /* of the data */
    const xp_task *task;                       /* what is learned from them */
    char **output_names;                       /* [shape.outputs], owned */
    xp_standardisation standardisation;        /* features 0: none was applied */
    xp_standardisation target_standardisation; /* of a task that has targets */
    xp_training_state state;
    char fingerprint[48];                      /* of all its data */
    char device[128], driver[128], family[16]; /* a bitwise resume needs the same */
    json_t *tunings; /* of the session that wrote it (xp_session_tunings), owned; NULL: it recorded none */
} xp_checkpoint;

/* Writes all of it beside `folder` under a temporary name, flushes, and takes the old one's place: a reader or a power
 * cut finds the old or the new checkpoint whole. The queue must be finished. *left: the new one is in place, but a
 * folder that it replaced could not be removed; xp_last_error() names it. XP_BAD_DATA: a parameter is not finite; the
 * old one stays. */
xp_status xp_checkpoint_write(const char *folder, const xp_checkpoint *checkpoint, xp_store *store, bool *left);
/* Rewrites config.yaml. */
xp_status xp_checkpoint_configure(const char *folder, const xp_config *config);
/* Reads state.json and config.yaml, and checks each value against its range and the others. *out is released by the
 * caller on success. XP_IO_ERROR, XP_BAD_DATA. */
xp_status xp_checkpoint_read(const char *folder, xp_checkpoint *out);
/* Checks that the folder's tensors are those of the model that it describes; needs no device. XP_IO_ERROR, XP_BAD_DATA.
 */
xp_status xp_checkpoint_check(const char *folder, const xp_checkpoint *checkpoint, bool moments);
/* Checks that this progress is possible with this number of training samples. XP_BAD_DATA. */
xp_status xp_checkpoint_check_samples(const char *folder, const xp_checkpoint *checkpoint, int64_t samples);
void xp_checkpoint_release(xp_checkpoint *checkpoint);
/* Fills the realised store's values, and its moments when `moments`. XP_BAD_DATA when the folder holds another model:
 * the message names the first difference. Nothing is written to the store then. A table of sines as positions is
 * computed where the store's has more rows than the folder's. */
xp_status xp_checkpoint_load(const char *folder, xp_store *store, bool moments);

/* The data that a model was trained on, as a header without samples; borrows the names of the outputs. */
xp_dataset xp_checkpoint_data(const xp_checkpoint *checkpoint);
/* Hex digests of samples, lengths and labels: of the training file with the part split off for validation, and after a
 * '+' of the test set. The latter two may be NULL. Fails as xp_dataset_read. */
xp_status xp_checkpoint_fingerprint(const xp_dataset *train, const xp_dataset *validation, const xp_dataset *test,
                                    char text[48]);

#endif
