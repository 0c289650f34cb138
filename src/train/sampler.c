/* Drawing an answer. */
#include "train/sampler.h"

#include <math.h>
#include <stdlib.h>

struct xp_candidate {
    float logit;
    int answer;
    double weight; /* its probability, times a constant */
};

xp_status xp_sampler_open(xp_sampler *out, int count) {
    *out = (xp_sampler){.count = count, .candidates = calloc((size_t)count, sizeof *out->candidates)};
    return out->candidates ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory to choose from %d answers", count);
}

void xp_sampler_close(xp_sampler *sampler) {
    free(sampler->candidates);
    *sampler = (xp_sampler){.count = 0};
}

/* The likeliest first; of equal ones, the first. */
static int compare(const void *a, const void *b) {
    const struct xp_candidate *one = a, *other = b;
    if (one->logit != other->logit) return one->logit > other->logit ? -1 : 1;
    return one->answer - other->answer;
}

/* How many of the first `count`, whose weights add up to `total`, have the probability p. */
static int count_likeliest(const struct xp_candidate *candidates, int count, double total, double p) {
    double sum = 0;
    int kept = 0;
    while (kept < count && (kept == 0 || sum < p * total)) sum += candidates[kept++].weight;
    return kept;
}

int xp_sampler_choose(xp_sampler *sampler, const float *logits, const xp_sampling *how, xp_random *random) {
    struct xp_candidate *candidates = sampler->candidates;
    int kept = how->top_k > 0 && how->top_k < sampler->count ? how->top_k : sampler->count;
    double total = 0;
    for (int i = 0; i < sampler->count; i++) candidates[i] = (struct xp_candidate){.logit = logits[i], .answer = i};
    qsort(candidates, (size_t)sampler->count, sizeof *candidates, compare);
    if (how->temperature == 0) return candidates[0].answer;
    for (int i = 0; i < kept; i++)
        total += candidates[i].weight =
            exp(((double)candidates[i].logit - (double)candidates[0].logit) / how->temperature);
    if (how->top_p < 1) {
        kept = count_likeliest(candidates, kept, total, how->top_p);
        total = 0;
        for (int i = 0; i < kept; i++) total += candidates[i].weight;
    }
    double left = xp_random_unit(random) * total;
    int chosen = 0;
    while (chosen + 1 < kept && left >= candidates[chosen].weight) left -= candidates[chosen++].weight;
    return candidates[chosen].answer;
}
