/* The numbers that change from step to step (xp_train_step and xp_train_part upload them): how they are made. Knows no
 * plan. */
#ifndef XP_TRAIN_STEP_H
#define XP_TRAIN_STEP_H

#include "graph/graph.h"

#include <expanse/train.h>

/* xp_train_optimiser for gradients that are multiplied by the scale of the loss: after a step, *skipped [1] says
 * whether they were not finite, in which case nothing was updated. */
xp_status xp_step_scaled_optimiser(xp_graph *graph, xp_device *device, const xp_optimiser_options *options,
                                   xp_tensor **skipped);

/* What the graph's optimiser reads for a step whose loss is multiplied by `scale`; what it adds gradients by, for a
 * part of one. */
void xp_step_fill_optimiser(const xp_graph *graph, int64_t step, double learning_rate, double scale, float state[8]);
void xp_step_fill_part(int part, float state[8]);
/* The random state of a part (0 of 1: the whole) of a step. */
void xp_step_fill_random(uint64_t seed, int64_t step, int part, int parts, uint32_t state[4]);

#endif
