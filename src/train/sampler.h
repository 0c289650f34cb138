/* Draws one of a number of answers by their logits. Owns the rules; does not know what the answers are. */
#ifndef XP_TRAIN_SAMPLER_H
#define XP_TRAIN_SAMPLER_H

#include "core/random.h"
#include "core/status.h"

typedef struct xp_sampling {
    double temperature; /* logits are divided by it; 0: the likeliest answer, of equal ones the first */
    int top_k;          /* only the K likeliest; 0: all */
    double top_p;       /* of these, only the likeliest that together have at least this probability; 1: all */
} xp_sampling;

typedef struct xp_sampler {
    int count;
    struct xp_candidate *candidates; /* [count] */
} xp_sampler;

/* XP_OUT_OF_MEMORY. */
xp_status xp_sampler_open(xp_sampler *out, int count);
void xp_sampler_close(xp_sampler *sampler); /* an all-zero one is fine */
/* logits [count], finite. */
int xp_sampler_choose(xp_sampler *sampler, const float *logits, const xp_sampling *how, xp_random *random);

#endif
