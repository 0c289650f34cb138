/* What a run measures: the row of an epoch, and which set selects the best epoch. Owns the sets; the task owns what is
 * measured. Knows no devices or files. */
#ifndef XP_TRAIN_METRICS_H
#define XP_TRAIN_METRICS_H

#include "task/task.h"

typedef enum xp_set { XP_SET_TRAINING, XP_SET_VALIDATION, XP_SET_TEST, XP_SETS } xp_set;

/* One finished epoch: a line of metrics.csv. A value that was not measured is NaN and an empty cell. */
typedef struct xp_epoch_row {
    int epoch;                                /* from 1 */
    double metrics[XP_SETS][XP_TASK_METRICS]; /* of each set, by the task's row; NaN: there is no such set */
    double learning_rate;                     /* of the epoch's last step */
    double seconds;                           /* since the run began, including evaluation; continues after a resume */
    double samples_per_second;                /* of training */
} xp_epoch_row;

/* "training", "validation", "test". */
const char *xp_set_name(xp_set set);
/* The set that chooses the best epoch: validation, else test, else training. */
xp_set xp_judging_set(bool validation, bool test);
/* The same of a finished epoch. */
xp_set xp_epoch_judge(const xp_task *task, const xp_epoch_row *row);
/* The set that a run is measured by: test, else validation; training, when there is neither. */
xp_set xp_epoch_result(const xp_task *task, const xp_epoch_row *row);
/* What the deciding metric says of it. */
double xp_epoch_decision(const xp_task *task, const xp_epoch_row *row, xp_set set);
/* Whether it is better than another of the run: by the deciding metric of the set that chooses, and where both have the
 * same value, by the loss of this set. */
bool xp_epoch_is_better(const xp_task *task, const xp_epoch_row *row, const xp_epoch_row *than);

#endif
