/* Text: which byte follows. Loss: cross-entropy; metric: bits per byte. */
#ifndef XP_TASK_TEXT_H
#define XP_TASK_TEXT_H

#include "task/task.h"

extern const xp_task xp_text;

#endif
