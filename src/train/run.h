/* A run of training under way, shared by the files that make it: its data (run_data.c), its steps and checkpoints
 * (run_loop.c), what is said of it beforehand (run_describe.c), and its beginning and end (trainer.c). */
#ifndef XP_TRAIN_RUN_H
#define XP_TRAIN_RUN_H

#include "train/checkpoint.h"
#include "train/session.h"
#include "train/trainer.h"
#include "train/transfer.h"

typedef struct xp_run {
    const xp_train_options *options;
    const xp_trainer_callbacks *callbacks;
    xp_checkpoint checkpoint; /* configuration, shape and state: what last/ is written from */
    xp_dataset *train, *validation, *test;
    xp_session session;
    xp_transfer transfer; /* of a run that starts from other weights */
    xp_run_folder folder;
    bool has_folder;
    bool finished;         /* resumed with nothing left to do */
    bool resumed;          /* goes on from a checkpoint, not from the beginning */
    char last[1200];       /* that checkpoint */
    xp_config recorded;    /* of a resumed run: what its folder says */
    double *class_weights; /* [classes], in the loss; NULL: all are 1 */
    int64_t counts[3];     /* samples of the sets for training, validation and test */
    int epochs_before;     /* of the configuration, when the run is made longer; else -1 */
    int32_t *order;
    int64_t steps_per_epoch;
    int64_t steps_enqueued; /* since the beginning */
    int64_t steps_made;     /* in this process */
    double saved;           /* clock, of the last checkpoint */
    double started;         /* clock when this process began, minus what earlier ones spent */
    xp_epoch_row row;
} xp_run;

static inline void xp_run_say(const xp_run *run, const char *text) {
    if (run->callbacks && run->callbacks->message) run->callbacks->message(run->callbacks->user, text);
}

static inline bool xp_run_stop_asked(const xp_run *run) {
    return run->callbacks && run->callbacks->stop && *run->callbacks->stop;
}

/* Opens the sets, brings them to one shape and prepares them by the training set. A resumed run's must be those that it
 * was trained with. */
xp_status xp_run_load_data(xp_run *run);
/* Notes in the checkpoint what it must know of the data; on resume, compares instead. */
xp_status xp_run_describe_data(xp_run *run);

/* Makes the steps and epochs that are left. XP_INTERRUPTED: a stop was asked for, and what a resume needs is saved. */
xp_status xp_run_loop(xp_run *run);
/* Writes a checkpoint into the run's folder, under this name. */
xp_status xp_run_save(xp_run *run, const char *name);
/* From the rows of metrics.csv and the state, so that a resumed run tells the same as one that was never cut. */
void xp_run_summarise(const xp_run *run, xp_run_summary *out);
/* Whether there is no step left: every epoch is done, or patience has run out. */
bool xp_run_is_done(const xp_run *run);
bool xp_run_has_stopped_early(const xp_run *run); /* the latter, before the last epoch */
/* NULL, or a file that a run whose every epoch is done has, but this one has not. */
const char *xp_run_missing_file(const xp_run *run);

/* Device, data, parameters, batch and memory, as one message. */
xp_status xp_run_announce(const xp_run *run);
/* For a dry run: the same, and the plan, to options->report. */
xp_status xp_run_print_plan(const xp_run *run);

#endif
