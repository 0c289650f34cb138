/* The table of operations. Adding one: a file here, a .cl, a reference function, a case generator and one row in
 * ops/list.h. */
#include "ops/operations.h"

#include "ops/list.h"

#define DECLARE(name, factor) extern const xp_operation xp_operation_##name;
XP_OPERATION_LIST(DECLARE)

#define ROW(name, factor) &xp_operation_##name,
const xp_operation *const xp_operations[] = {XP_OPERATION_LIST(ROW)};
const int xp_operation_count = sizeof xp_operations / sizeof xp_operations[0];
