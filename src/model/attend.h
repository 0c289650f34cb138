/* From a specification line to operations on q, k and v. Owns the order of the steps and the names of what is learned;
 * must not know what makes q, k and v, nor what is done with o. */
#ifndef XP_MODEL_ATTEND_H
#define XP_MODEL_ATTEND_H

#include "graph/graph.h"
#include "model/specification.h"

/* o [B,N,H,E] dense of q [B,N,H,D], k [B,M,G,D], v [B,M,G,E]; key_lengths I32 [B] or NULL. Parameters are declared in
 * the graph's store as "<name>.…". *lse_or_null is [B,H,N]. NULL with the reason in xp_last_error(). */
xp_tensor *xp_attend_specified(xp_graph *graph, const xp_specification *specification, const char *name, xp_tensor *q,
                               xp_tensor *k, xp_tensor *v, xp_tensor *key_lengths, float dropout,
                               xp_tensor **lse_or_null);

#endif
