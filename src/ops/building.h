/* What the operations with dropout share. Owns no operation; must not know of kernels or devices. */
#ifndef XP_OPS_BUILDING_H
#define XP_OPS_BUILDING_H

#include "ops/ops.h"

#include <math.h>

/* Attributes of a new dropout with its own stream; with probability 0, no stream is used. XP_INVALID_ARGUMENT: the
 * probability is not in [0, 1). */
static inline xp_status xp_building_dropout(xp_graph *graph, const char *name, float probability,
                                            xp_dropout_attributes *out) {
    *out = (xp_dropout_attributes){0};
    if (!(probability >= 0.0f && probability < 1.0f))
        return xp_fail(XP_INVALID_ARGUMENT, "tensor %s: the dropout probability %g is not in [0, 1)", name,
                       (double)probability);
    if (probability == 0.0f || !graph->training) return XP_OK;
    out->probability = probability;
    out->threshold = (uint32_t)llround((double)probability * 0x1p32);
    out->stream = graph->next_stream++;
    return XP_OK;
}

/* What a kept element is multiplied by. */
static inline float xp_building_keep_scale(const xp_dropout_attributes *dropout) {
    return (float)(1.0 / (1.0 - (double)dropout->probability));
}

#endif
