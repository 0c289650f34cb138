/* Matrix products by CLBlast: whether it is there, its parameters, its call. gemm_tiled.c decides which products it
 * makes. Without the library's headers at build time all of this says that it is not there. */
#ifndef XP_OPS_GEMM_CLBLAST_H
#define XP_OPS_GEMM_CLBLAST_H

#include "graph/launch.h"
#include "ops/ops.h"

/* Values of the parameter LIBRARY of "gemm_tiled": who makes a product. */
enum { XP_LIBRARY_OURS = 1, XP_LIBRARY_CLBLAST };

/* Whether the library is installed. */
bool xp_clblast_is_there(void);

/* Looks up the parameters of the library, one set for all products of the device, and records the request for the
 * tuner. Call it for each node that the library can compute. */
xp_status xp_clblast_tune(xp_plan *plan, const xp_node *node, xp_tuning *tuning);

/* Adds y [m,n] = a·b with the parameters of `tuning` to the plan; there is no epilogue. chosen_by: handle of the tuning
 * that chose the library. */
xp_status xp_clblast_emit(xp_plan *plan, const xp_node *node, const xp_tuning *tuning, int chosen_by);

#endif
