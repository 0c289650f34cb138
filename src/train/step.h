/* The numbers that change from step to step (xp_train_step and xp_train_part upload them): how they are made. Knows no
 * plan. */
#ifndef XP_TRAIN_STEP_H
#define XP_TRAIN_STEP_H

#include "graph/graph.h"

/* What the graph's optimiser reads for a step; what it adds gradients by, for a part of one. */
void xp_step_fill_optimiser(const xp_graph *graph, int64_t step, double learning_rate, float state[8]);
void xp_step_fill_part(int part, float state[8]);
/* The random state of a part (0 of 1: the whole) of a step. */
void xp_step_fill_random(uint64_t seed, int64_t step, int part, int parts, uint32_t state[4]);

#endif
