/* The factor of the loss that keeps small gradients above the smallest numbers of fp16: the gradients of a step are
 * multiples by it. It doubles after many good steps, and halves after one whose gradients overflowed, which the device
 * skips. The scale of a step depends on the outcomes up to the step before the last one, known without waiting and the
 * same whether or not a run was interrupted. Owns that rule; knows no device. */
#ifndef XP_TRAIN_LOSS_SCALE_H
#define XP_TRAIN_LOSS_SCALE_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum xp_outcome { XP_OUTCOME_NONE, XP_OUTCOME_GOOD, XP_OUTCOME_SKIPPED } xp_outcome;

typedef struct xp_loss_scale {
    double scale;    /* a power of two, so that no bit is lost by it */
    int64_t good;    /* steps in a row that were good */
    int64_t skipped; /* steps in all */
    int held;        /* xp_outcome of the last step that was counted, while it is not yet part of the above */
} xp_loss_scale;

xp_loss_scale xp_loss_scale_begin(void);
/* Adds the outcome of a step, in their order. */
void xp_loss_scale_count(xp_loss_scale *scale, bool skipped);
/* Sets the scale of step `step` (from 1), when `counted` steps have been counted. XP_BAD_DATA: no scale helps. */
xp_status xp_loss_scale_choose(xp_loss_scale *scale, int64_t step, int64_t counted);
/* All steps that were skipped. */
int64_t xp_loss_scale_skipped(const xp_loss_scale *scale);

#endif
