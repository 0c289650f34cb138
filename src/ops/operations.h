/* The table of operations, which ops/list.h lists. */
#ifndef XP_OPS_OPERATIONS_H
#define XP_OPS_OPERATIONS_H

#include "graph/operation.h"

extern const xp_operation *const xp_operations[]; /* in alphabetical order */
extern const int xp_operation_count;

#endif
