/* Tasks: what is learned from data. Each is a row of a table with everything specific to the task: the loss that it
 * builds in the graph, what it counts in a batch and measures from that, which metric selects the best epoch, what it
 * checks, draws and prints. Knows no training loop, run folders or terminal. Adding a task touches one file here and
 * the table in list.c. */
#ifndef XP_TASK_TASK_H
#define XP_TASK_TASK_H

#include "core/writer.h"
#include "data/dataset.h"
#include "model/model.h"
#include "ops/attributes.h"

enum { XP_TASK_SUMS = XP_TALLY_SAMPLES, XP_TASK_METRICS = 4 };

/* ---- what is measured -------------------------------------------------------------------------------------------- */

/* What the batches of a pass add up to. */
typedef struct xp_tally {
    double sums[XP_TASK_SUMS]; /* those of the losses and of the scores: what a score is, the task says */
    int64_t samples;
    int64_t counted; /* of the samples: those whose label the model knows; the sums are of them */
    int64_t skipped; /* steps of training without an update, since a gradient was not finite in fp16 */
} xp_tally;

/* One of the sums, and its key in state.json. */
typedef struct xp_sum {
    const char *name;
    bool counts;   /* samples: a whole number, never more than all of them */
    double lowest; /* that another sum can be */
} xp_sum;

/* A measure of quality, computed from the sums of any number of batches. */
typedef struct xp_metric {
    const char *name;       /* in columns, keys and print: "accuracy" */
    const char *unit;       /* printed after the number: " %", or "" */
    double scale;           /* printed is the number times this */
    int digits;             /* printed after the decimal point */
    bool significant;       /* digits are those of the whole number, whose unit is that of the data */
    double lowest, highest; /* that the number can have */
    /* unit: of what the sums are sums of, in that of the data (xp_dataset_target_unit). */
    double (*value)(const double *sums, int64_t counted, double unit);
} xp_metric;

/* Writes a value as it is printed, with its unit. */
void xp_metric_text(const xp_metric *metric, double value, char *text, size_t size);

/* ---- the answers to a data set ----------------------------------------------------------------------------------- */

typedef struct xp_task xp_task;

/* A model's answers on one data set. */
typedef struct xp_evaluation {
    const xp_task *task;
    int64_t count;
    int outputs;                     /* numbers of an answer to a sample */
    float *answers;                  /* [count][outputs] */
    double metrics[XP_TASK_METRICS]; /* by the task's row; NaN where there is no label to measure by */
    void *own;                       /* what the task keeps of the data, and finds */
    char weights[96];                /* a checkpoint's, by xp_evaluate: "epoch 7, the best on the validation set" */
} xp_evaluation;

/* Allocates the answers for `dataset`, of which the task copies what it needs; answers are zero until the caller fills
 * them. On failure *out is empty. XP_OUT_OF_MEMORY. */
xp_status xp_evaluation_create(xp_evaluation *out, const xp_task *task, const xp_dataset *dataset);
/* Computes the metrics, and what the task finds beside them, from the answers and labels. */
void xp_evaluation_finish(xp_evaluation *evaluation);
void xp_evaluation_release(xp_evaluation *evaluation); /* an all-zero one is fine */

/* ---- tables for print -------------------------------------------------------------------------------------------- */

typedef enum xp_task_cell_kind { XP_TASK_TEXT, XP_TASK_WHOLE, XP_TASK_REAL } xp_task_cell_kind;

typedef struct xp_task_column {
    char *name;        /* in CSV and JSON, owned */
    const char *title; /* for people; NULL: the name */
    xp_task_cell_kind kind;
    int digits;
    bool significant; /* as in xp_metric */
    double scale;     /* for people the number is shown times this; 0: as it is */
} xp_task_column;

typedef union xp_task_cell {
    const char *text; /* NULL: none */
    int64_t whole;
    double real;
} xp_task_cell;

/* A table that a task makes of its answers. */
typedef struct xp_task_table {
    const char *name; /* of the rows, in JSON; NULL: they are all that is written */
    int column_count;
    int64_t row_count;
    xp_task_column *columns; /* owned */
    void (*fill)(const xp_evaluation *evaluation, int64_t row, xp_task_cell *cells);
} xp_task_table;

/* Allocates this number of empty columns. XP_OUT_OF_MEMORY. */
xp_status xp_task_table_create(xp_task_table *out, int columns);
/* A table with copies of these columns. As above. */
xp_status xp_task_table_of(xp_task_table *out, const xp_task_column *columns, int count);
/* Fills the next column without a name with a copy of this one. */
xp_status xp_task_table_column(xp_task_table *table, const xp_task_column *column);
void xp_task_table_release(xp_task_table *table); /* an all-zero one is fine */

/* ---- a model that learns ----------------------------------------------------------------------------------------- */

/* Options of the loss from the configuration. */
typedef struct xp_task_options {
    double label_smoothing;
    bool shares;        /* samples of training are mixtures: they have shares of classes */
    int levelled_steps; /* forecasting: the horizon, where windows have levels (data/dataset.h); 0: they have none */
} xp_task_options;

/* A model followed by the loss of its task: inputs and outputs, borrowed from the graph of the model. */
typedef struct xp_learner {
    xp_model model;
    xp_tensor *labels;        /* I32 [B]: classes; F32 [B,targets]: numbers; NULL: the task finds them in the input */
    xp_tensor *levels;        /* F32 [B,2,C] of windows (data/dataset.h); NULL: there are none */
    xp_tensor *loss;          /* [1], of the batch; keep it to read it */
    xp_tensor *tally;         /* [XP_TALLY_SUMS], of the batch (ops/attributes.h) */
    xp_tensor *answers;       /* [B, numbers of an answer] */
    xp_tensor *loss_gradient; /* input [1], upload 1; NULL in evaluation */
} xp_learner;

/* Builds the model, the loss and, when training, the backward pass to all parameters of the store. On failure *out is
 * released. */
xp_status xp_learner_build(xp_learner *out, const xp_task *task, const xp_model_config *config,
                           const xp_model_shape *shape, const xp_task_options *options, xp_store *store, bool training);
void xp_learner_release(xp_learner *learner);

/* ---- the rows ---------------------------------------------------------------------------------------------------- */

/* What data are for, when they are checked. */
typedef enum xp_data_use { XP_DATA_TRAINS, XP_DATA_TESTS, XP_DATA_JUDGES } xp_data_use;

struct xp_task {
    const char *name;

    /* Whether the task applies to such data. */
    bool (*takes)(const xp_dataset *training);
    /* Opens data as the task needs them, whatever they look like. NULL: by their content. */
    xp_status (*open_data)(xp_dataset **out, const char *path, const char *part);
    /* Rejects data with unsuitable labels. The message begins with `path`. XP_BAD_DATA. */
    xp_status (*check)(const xp_dataset *dataset, const char *path, xp_data_use use);
    /* Fills weights [outputs] of the classes in the loss from an option's text: "balanced", or numbers. NULL: the task
     * has no classes. XP_INVALID_ARGUMENT, without the name of the option. */
    xp_status (*weigh)(const xp_dataset *training, const char *text, double *weights);
    /* Describes the labels, after a comma: ", 3 classes". */
    void (*describe)(const xp_dataset *dataset, xp_writer *out);

    /* How many numbers the model gives, and the name of each (valid until the next call). The keys are those of
     * state.json, and the names' that of the weights' metadata. */
    int (*outputs)(const xp_dataset *training);
    const char *(*output_name)(const xp_dataset *training, int output);
    const char *outputs_key, *names_key;
    bool has_targets; /* numbers, which are standardised by those of the training set; else classes */
    /* Gives the header of a data set what its labels were in training. Borrows the names. */
    void (*restore)(xp_dataset *header, int outputs, char **names);

    /* Adds labels and loss after the model, and keeps what is read: tally and answers. */
    xp_status (*build)(xp_learner *learner, const xp_task_options *options, bool training);
    int answer_numbers; /* of a sample; 0: those that the model gives */

    /* The sums of the tally, in its order, and metrics, of which the first is the loss. */
    xp_sum sums[XP_TASK_SUMS];
    int sum_count;
    xp_metric metrics[XP_TASK_METRICS];
    int metric_count;
    int deciding; /* of the metrics: that of the best epoch */
    bool higher_is_better;

    /* The task's own part of an evaluation. */
    xp_status (*open)(xp_evaluation *evaluation, const xp_dataset *dataset);
    void (*finish)(xp_evaluation *evaluation);
    void (*release)(xp_evaluation *evaluation);

    /* A picture of an evaluation; NULL: none. `set` describes the samples: "test set in the best epoch,
     * 17". Writes atomically. */
    const char *picture; /* its file */
    xp_status (*draw)(const char *path, const char *title, const char *set, const xp_evaluation *evaluation);

    /* What expanse eval prints below the metrics, and what expanse predict writes. *out is released by the caller on
     * success. `report` may be NULL: nothing. */
    xp_status (*report)(const xp_evaluation *evaluation, xp_task_table *out);
    xp_status (*list)(const xp_evaluation *evaluation, xp_task_table *out);
};

/* Whether one value of the deciding metric is better than another. */
bool xp_task_is_better(const xp_task *task, double value, double than);
/* The metric in this place, from 0, of a listing: the deciding one comes first. */
int xp_task_metric_at(const xp_task *task, int place);
/* All metrics, from the sums of `counted` samples in this unit; out [XP_TASK_METRICS], NaN after those of the task, and
 * without a sample. */
void xp_task_measure(const xp_task *task, const double *sums, int64_t counted, double unit, double *out);

/* The table (list.c). */
extern const xp_task *const xp_tasks[];
extern const int xp_task_count;
/* Opens data for a task that is known, or (NULL) by their content. `path` and `part` as in xp_dataset_open. */
xp_status xp_task_open_data(const xp_task *task, const char *path, const char *part, xp_dataset **out);
/* The first of the table that takes the data. XP_UNSUPPORTED. */
xp_status xp_task_for(const xp_dataset *training, const xp_task **out);
const xp_task *xp_task_find(const char *name); /* NULL: no task has this name */
/* The same of a task that the user names. XP_INVALID_ARGUMENT: the message lists the names. */
xp_status xp_task_named(const char *name, const xp_task **out);

#endif
