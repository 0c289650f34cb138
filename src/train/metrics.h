/* What a run measures: the row of an epoch, and an evaluation with its confusion matrix. Owns the arithmetic of
 * accuracy, precision and recall; knows nothing of devices or files. */
#ifndef XP_TRAIN_METRICS_H
#define XP_TRAIN_METRICS_H

#include "core/status.h"
#include "data/dataset.h"

#include <stdbool.h>
#include <stdint.h>

/* One finished epoch: a line of metrics.csv. A value that was not measured is NaN and an empty cell. */
typedef struct xp_epoch_row {
    int epoch; /* from 1 */
    double train_loss, train_accuracy;
    double validation_loss, validation_accuracy; /* NaN without a validation split */
    double test_loss, test_accuracy;             /* NaN without a test set */
    double learning_rate;                        /* of the epoch's last step */
    double seconds;                              /* since the run began, evaluation included; goes on across a resume */
    double samples_per_second;                   /* of training */
} xp_epoch_row;

/* The set whose accuracy chooses the best epoch, by its name: validation, else test, else training. */
const char *xp_judging_set(bool validation, bool test);
/* The same of a finished epoch, with this accuracy. */
const char *xp_epoch_judge(const xp_epoch_row *row, double *accuracy);
/* The set that a run is measured by: test, else validation. NULL, and NaN, when there is neither. */
const char *xp_epoch_result(const xp_epoch_row *row, double *accuracy, double *loss);

/* A model's answers on one data set. */
typedef struct xp_evaluation {
    int64_t count;
    int classes;
    int unseen;           /* classes of the data behind these, which the model does not know */
    char **class_names;   /* [classes + unseen], owned */
    int32_t *labels;      /* [count], -1: the sample has none; NULL when the data have none */
    int32_t *predictions; /* [count] */
    float *probabilities; /* [count][classes] */
    int64_t *confusion;   /* [classes][classes], true × predicted, of the samples whose class the model knows */
    double accuracy;      /* of these samples; NaN without any */
    double loss; /* mean cross-entropy of their true classes, from the probabilities; NaN without any, and when one of
                  theirs is NaN */
    char weights[96]; /* a checkpoint's, by xp_evaluate: "epoch 7, the best on the validation set" */
} xp_evaluation;

typedef struct xp_class_metrics {
    int64_t support;                 /* samples of the class */
    double precision, recall, score; /* score: F1; 0 where undefined */
} xp_class_metrics;

/* Makes room for the answers to `dataset`, whose labels and class names are copied; probabilities are zero until the
 * caller fills them. On failure *out holds nothing. XP_OUT_OF_MEMORY. */
xp_status xp_evaluation_create(xp_evaluation *out, const xp_dataset *dataset);
/* Computes predictions, confusion, accuracy and loss from the probabilities and labels. A NaN is never the largest. */
void xp_evaluation_finish(xp_evaluation *evaluation);
void xp_evaluation_class(const xp_evaluation *evaluation, int class_index, xp_class_metrics *out);
void xp_evaluation_release(xp_evaluation *evaluation); /* an all-zero one is fine */

#endif
