/* The launches of sums of columns, for emitters of other operations that need the sums of an input, too. */
#ifndef XP_OPS_REDUCTION_H
#define XP_OPS_REDUCTION_H

#include "graph/stored.h"

/* sums [C] = Σ over the rows of x [R,C], which is fp32 or stored as the node's tensors are. */
xp_status xp_column_sum_launch(xp_plan *plan, const xp_node *node, xp_tensor *x, xp_tensor *sums, xp_family family);

#endif
