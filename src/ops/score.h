/* Scores of the user's own: their text made into functions that attention's kernels call. Knows no kernel file. */
#ifndef XP_OPS_SCORE_H
#define XP_OPS_SCORE_H

#include "ops/ops.h"

/* The OpenCL C that defines user_score and user_derivative; of the graph's memory. NULL with the reason: no memory.
 * The texts stand on lines of their own under the file names XP_SCORE_FILE and XP_DERIVATIVE_FILE, so that a compiler's
 * message names a place in them. An index of a tensor is written so that it stays within its elements: one before the
 * first or behind the last reads the last. `tensors` are inputs.user. */
#define XP_SCORE_FILE      "score"
#define XP_DERIVATIVE_FILE "derivative"
const char *xp_score_prelude(xp_graph *graph, const xp_score *score, xp_tensor *const *tensors);

#endif
