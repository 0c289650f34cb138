/* Regression: numbers to be predicted for each sample. Loss: the squared error of standardised targets; metrics: mean
 * squared and mean absolute error, R²; picture: predictions against true values. */
#ifndef XP_TASK_REGRESSION_H
#define XP_TASK_REGRESSION_H

#include "task/task.h"

extern const xp_task xp_regression;

/* Of one target, in its own unit, over the samples where it is known; NaN: there are none. */
typedef struct xp_target_errors {
    int64_t known;
    double squared, absolute; /* means */
    double r2; /* 1 - Σ errors² / Σ (value - mean of the values)²; where the values are all the same, 1 or 0 */
} xp_target_errors;

/* The evaluation of a regression, whose answers have the units of the data. */
typedef struct xp_targets {
    int count;
    char **names;             /* [count], owned */
    float *values;            /* [samples][count], the true ones; NaN: not known */
    bool known;               /* of one sample, at least */
    xp_standardisation scale; /* of the targets, owned */
    xp_target_errors *errors; /* [count] */
} xp_targets;

/* The loss and what is read, of targets of any kind. */
xp_status xp_regression_build(xp_learner *learner, const xp_task_options *options, bool training);

/* Of an evaluation of this task. */
const xp_targets *xp_evaluation_targets(const xp_evaluation *evaluation);

/* Predictions against true values as SVG, a panel for each of the first targets (scatter.c). */
xp_status xp_scatter_write(const char *path, const char *title, const char *set, const xp_evaluation *evaluation);

#endif
