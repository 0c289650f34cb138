/* Scores of the user's own: their text made into functions that attention's kernels call. Knows no kernel file. */
#ifndef XP_OPS_SCORE_H
#define XP_OPS_SCORE_H

#include "ops/ops.h"

/* The OpenCL C that defines user_score and user_derivative; of the graph's memory. NULL: no memory. Each text is on its
 * own line with the file name XP_SCORE_FILE or XP_DERIVATIVE_FILE, so that a compiler error names a position in it. The
 * code limits an index of a tensor to its elements: one before the first or after the last reads the last. `tensors`
 * are inputs.user. */
#define XP_SCORE_FILE      "score"
#define XP_DERIVATIVE_FILE "derivative"
const char *xp_score_prelude(xp_graph *graph, const xp_score *score, xp_tensor *const *tensors);

#endif
