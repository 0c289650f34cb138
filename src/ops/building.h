/* What the builders of several operations share: dense inputs, dropout's attributes, sizes of launches. Owns no
 * operation; must not know of kernels or devices. */
#ifndef XP_OPS_BUILDING_H
#define XP_OPS_BUILDING_H

#include "ops/ops.h"

#include <math.h>

/* The tensor itself when a kernel can read it from element 0 of its storage on, else a dense copy. */
static inline xp_tensor *xp_building_dense(xp_graph *graph, xp_tensor *tensor) {
    if (!tensor || (tensor->offset == 0 && xp_tensor_is_dense(tensor))) return tensor;
    return xp_copy(graph, tensor, NULL);
}

/* Attributes of a new dropout with a stream of its own; probability 0, and no stream used up, when there is nothing to
 * drop. XP_INVALID_ARGUMENT when the probability is not in [0, 1). */
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

static inline int64_t xp_building_blocks(int64_t count, int64_t block) {
    return (count + block - 1) / block;
}

static inline bool xp_building_same_shape(const xp_tensor *a, const xp_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

#endif
