/* Classification: one of several classes for each sample. Loss: cross-entropy; metric: accuracy; picture: the confusion
 * matrix. */
#ifndef XP_TASK_CLASSIFICATION_H
#define XP_TASK_CLASSIFICATION_H

#include "task/task.h"

extern const xp_task xp_classification;

/* The evaluation of a classification. */
typedef struct xp_classes {
    int classes;
    int unseen;           /* further classes of the data, which the model does not know */
    char **names;         /* [classes + unseen], owned */
    int32_t *labels;      /* [count], -1: the sample has none; NULL when the data have none */
    int32_t *predictions; /* [count] */
    char **samples;       /* [count], the files that they are; NULL: they have no files */
    int64_t *confusion;   /* [classes][classes], true × predicted, of the samples whose class the model knows */
} xp_classes;

typedef struct xp_class_metrics {
    int64_t support;                 /* samples of the class */
    double precision, recall, score; /* score: F1; 0 where undefined */
} xp_class_metrics;

/* Of an evaluation of this task. */
const xp_classes *xp_evaluation_classes(const xp_evaluation *evaluation);
void xp_evaluation_class(const xp_evaluation *evaluation, int class_index, xp_class_metrics *out);

/* The confusion matrix as SVG, rows true, columns predicted, shaded by the share of the row (confusion.c). */
xp_status xp_confusion_write(const char *path, const char *title, const char *set, const xp_evaluation *evaluation);

#endif
