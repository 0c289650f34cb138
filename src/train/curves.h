/* Pictures of a run as SVG: learning curves and the confusion matrix. Owns the drawing; knows nothing of training. */
#ifndef XP_TRAIN_CURVES_H
#define XP_TRAIN_CURVES_H

#include "train/metrics.h"

/* Loss, accuracy and learning rate over the epochs, one panel each. Writes atomically. */
xp_status xp_curves_write(const char *path, const char *title, const xp_epoch_row *rows, int count);
/* The confusion matrix, rows true, columns predicted, shaded by the share of the row. Writes atomically. */
xp_status xp_confusion_write(const char *path, const char *title, const xp_evaluation *evaluation);

#endif
