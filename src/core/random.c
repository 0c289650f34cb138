/* Philox4x32-10 on the host. */
#include "core/random.h"

#include <math.h>

void xp_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void xp_random_start(xp_random *random, uint64_t seed, uint32_t purpose) {
    *random = (xp_random){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .purpose = purpose};
}

xp_random xp_random_of(uint64_t seed, uint32_t purpose, int64_t epoch, int64_t place) {
    const uint32_t counter[4] = {(uint32_t)place, (uint32_t)((uint64_t)place >> 32), (uint32_t)epoch, ~purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t words[4];
    xp_random random;
    xp_philox(counter, key, words);
    xp_random_start(&random, (uint64_t)words[1] << 32 | words[0], purpose);
    return random;
}

uint32_t xp_random_next(xp_random *random) {
    if (random->left == 0) {
        uint32_t counter[4] = {(uint32_t)random->position, (uint32_t)(random->position >> 32), random->purpose, 0};
        xp_philox(counter, random->key, random->words);
        random->position++;
        random->left = 4;
    }
    return random->words[--random->left];
}

uint32_t xp_random_below(xp_random *random, uint32_t bound) {
    uint32_t threshold = -bound % bound; /* the words below it would favour small results */
    for (;;) {
        uint64_t product = (uint64_t)xp_random_next(random) * bound;
        if ((uint32_t)product >= threshold) return (uint32_t)(product >> 32);
    }
}

double xp_random_unit(xp_random *random) {
    return xp_random_next(random) * 0x1p-32;
}

double xp_random_normal(xp_random *random) {
    double u = (xp_random_next(random) + 0.5) * 0x1p-32, v = xp_random_unit(random);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}
