/* A run's folder: config.yaml, metrics.csv, summary.json, curves.svg, confusion.svg, best/, last/, epoch-0001/ …. Owns
 * which names there are and that nothing is ever silently overwritten; does not know the training loop. */
#ifndef XP_TRAIN_RUN_FOLDER_H
#define XP_TRAIN_RUN_FOLDER_H

#include "train/config.h"
#include "train/metrics.h"

typedef struct xp_run_folder {
    char path[1024];
    int lock;            /* descriptor of the locked folder: one run at a time */
    const xp_task *task; /* of the rows; NULL: opened, but not yet resumed */
    xp_epoch_row *rows;
    int count;
    size_t room;
} xp_run_folder;

/* The content of summary.json. */
typedef struct xp_run_summary {
    const xp_task *task;     /* NULL: not known yet */
    xp_epoch_row best, last; /* the rows of the best and of the last epoch; epoch 0: none is finished yet */
    int epochs;
    int64_t parameters, samples, validation_samples, test_samples; /* parameters: 0 if no model was built */
    double seconds, samples_per_second;
    double step_flops;   /* of a training step; 0 if no model was built, as the next two */
    double memory_bytes; /* of the device, by the plan */
    double peak_bytes;   /* of this process, as the system measured it; with a CPU device, this includes the former */
    bool scaled;         /* the loss, now or before, since it was in fp16: */
    int64_t skipped;
    double loss_scale;
    bool stopped_early; /* before the last epoch, since patience ran out */
    bool finished;      /* false: interrupted, can be resumed */
    char device[128], driver[128], family[16];
} xp_run_summary;

/* Whether a new run can use the folder: it does not exist, or contains nothing but what a killed process left
 * half-written. XP_INVALID_ARGUMENT: it contains anything else; the message says what to do. */
xp_status xp_run_folder_check_free(const char *path);
/* Whether a new run folder can be made there, with this much free space: call it before long work. Fails as making the
 * folder does. */
xp_status xp_run_folder_can_be_made(const char *path, double bytes);
/* Makes a new run folder with its config.yaml; as above. */
xp_status xp_run_folder_create(xp_run_folder *out, const char *path, const xp_task *task, const xp_config *config);
/* Locks an existing one, removes what a killed process left half-written, and restores the name of a checkpoint that it
 * was about to replace. Read the content of the folder only after this call: a run that is still active may be changing
 * it. XP_INVALID_ARGUMENT: another run has the lock. */
xp_status xp_run_folder_open(xp_run_folder *out, const char *path);
/* Continues with an opened one: keeps the rows of the first `epochs_done` epochs of metrics.csv, and their events, and
 * drops later ones. XP_BAD_DATA: rows are missing. */
xp_status xp_run_folder_resume(xp_run_folder *folder, const xp_task *task, const xp_config *config, int epochs_done);
/* The configuration of the run: that of its last checkpoint, else of the folder. */
xp_status xp_run_folder_config(const char *path, xp_config *out);
/* Rewrites config.yaml. */
xp_status xp_run_folder_configure(const xp_run_folder *folder, const xp_config *config);
/* Removes summary.json, if it exists, because it is out of date. */
xp_status xp_run_folder_forget_summary(const xp_run_folder *folder);
/* Adds the row to metrics.csv, and to the events if configured, and draws curves.svg again. `epoch_best`: the best of
 * all rows, this one included. */
xp_status xp_run_folder_append(xp_run_folder *folder, const xp_config *config, const xp_epoch_row *row, int epoch_best);
/* All rows of a run's metrics.csv; the caller owns *rows. XP_IO_ERROR; XP_BAD_DATA: it was changed, or is that of
 * another task. */
xp_status xp_run_folder_rows(const char *path, const xp_task *task, xp_epoch_row **rows, int *count);
/* The numbers of samples of the sets according to summary.json; 0: no such set. */
xp_status xp_run_folder_samples(const xp_run_folder *folder, int64_t *training, int64_t *validation, int64_t *test);
/* Draws curves.svg of the rows. */
xp_status xp_run_folder_draw_curves(const xp_run_folder *folder, const xp_config *config, int epoch_best);
/* Draws the picture of the task for the set that measures the run, in its best epoch so far, which has a row. */
xp_status xp_run_folder_draw(const xp_run_folder *folder, const xp_config *config, int epoch,
                             const xp_evaluation *evaluation);
/* Writes summary.json, the last file of a run. */
xp_status xp_run_folder_summarise(const xp_run_folder *folder, const xp_config *config, const xp_run_summary *summary);
/* The name of the kept checkpoint of an epoch: "epoch-0003". */
void xp_run_folder_epoch_name(int epoch, char name[32]);
/* Removes the kept checkpoints of the epochs below `first` and above `last`. */
xp_status xp_run_folder_keep(const xp_run_folder *folder, int first, int last);
void xp_run_folder_close(xp_run_folder *folder);

/* Whether it has such a file. */
bool xp_run_folder_has(const xp_run_folder *folder, const char *name);
/* "FOLDER/name" in text [size]; XP_IO_ERROR when it is too long. */
xp_status xp_run_folder_path(const char *folder, const char *name, char *text, size_t size);
/* The same of a file that is to be read. XP_IO_ERROR: it is not a file; reading a pipe might block forever. */
xp_status xp_run_folder_file(const char *folder, const char *name, char *text, size_t size);
/* The checkpoint folder for a run folder or a checkpoint folder: itself, best/ or last/. */
xp_status xp_run_folder_checkpoint(const char *path, bool prefer_best, char *text, size_t size);

#endif
