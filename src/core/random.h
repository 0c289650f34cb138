/* Philox4x32-10, the counter-based generator of Salmon et al. (SC'11): the same words as cl/random.clh computes on the
 * device. Host uses: shuffling, initialisation, test data. Nothing is stored but the key and the counter. */
#ifndef XP_CORE_RANDOM_H
#define XP_CORE_RANDOM_H

#include <stdint.h>

/* The four output words for one counter and key. */
void xp_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* A sequential stream over the generator, for host code. `purpose` separates the streams of one seed. */
typedef struct xp_random {
    uint32_t key[2];
    uint64_t position;
    uint32_t purpose;
    uint32_t words[4];
    int left;
} xp_random;

void xp_random_start(xp_random *random, uint64_t seed, uint32_t purpose);
/* A stream of its own for each pair of numbers: that of a key which is drawn for them. */
xp_random xp_random_of(uint64_t seed, uint32_t purpose, int64_t epoch, int64_t place);
uint32_t xp_random_next(xp_random *random);
uint32_t xp_random_below(xp_random *random, uint32_t bound); /* uniform in [0, bound), without modulo bias; bound > 0 */
double xp_random_unit(xp_random *random);                    /* uniform in [0, 1) */
double xp_random_normal(xp_random *random);

#endif
