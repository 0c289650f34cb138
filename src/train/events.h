/* The event file that TensorBoard reads: the metrics and the learning rate of each epoch. Owns its format, records of
 * protocol buffers with checksums; does not know the training loop. */
#ifndef XP_TRAIN_EVENTS_H
#define XP_TRAIN_EVENTS_H

#include "train/metrics.h"

/* Makes the file hold the epochs of these rows, in their order: keeps the events that it has of them, drops later ones
 * and what an ended process left incomplete, and appends the others. XP_IO_ERROR, XP_OUT_OF_MEMORY. */
xp_status xp_events_update(const char *path, const xp_task *task, const xp_epoch_row *rows, int count);

#endif
