/* The oracle's keep decision of dropout: which Philox word belongs to which element. */
#ifndef XP_REFERENCE_DROPOUT_H
#define XP_REFERENCE_DROPOUT_H

#include "core/random.h"
#include "ops/attributes.h"
#include "reference/reference.h"

/* What element `element` is multiplied by: 0 or 1/(1-p). `state` [4] is read only when something is dropped. */
static inline xp_real xp_reference_keep(const xp_dropout_attributes *dropout, const int32_t *state, int64_t element) {
    if (dropout->probability == 0) return 1;
    const uint32_t key[2] = {(uint32_t)state[0], (uint32_t)state[1]};
    const uint32_t counter[4] = {(uint32_t)(element / 4), 0, (uint32_t)state[2],
                                 dropout->stream ^ (uint32_t)state[3] << 16};
    uint32_t words[4];
    xp_philox(counter, key, words);
    return words[element % 4] >= dropout->threshold ? 1 / (1 - (xp_real)dropout->probability) : 0;
}

#endif
