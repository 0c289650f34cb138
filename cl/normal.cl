/* Normal random numbers for whole buffers: inputs of benchmarks. Owns the way from random words to normal numbers
 * (Box and Muller 1958). The host twin is xp_random_normal of src/core/random.c: the same numbers up to rounding. */
#include "random.clh"
#include "storage.clh"

/* Each work-item owns 8 evaluations of the generator, which give 16 neighbours: on CPUs they share vectors. */
#define ELEMENTS 16

/* -log of (word + 0.5) / 2^32, precise near 1 too. */
inline float8 minus_log(uint8 word) {
    float8 below = (convert_float8(word) + 0.5f) * 0x1p-32f, above = (convert_float8(~word) + 0.5f) * 0x1p-32f;
    return select(-log(below), -log1p(-above), as_int8(word));
}

inline float8 normal(uint8 radius, uint8 angle) {
    return sqrt(2.0f * minus_log(radius)) * cospi(convert_float8(angle) * 0x1p-31f);
}

/* out [offset + count]: elements from `offset` on. random_state [4] = seed low, seed high, purpose, 0: the key and the
 * stream of the host's xp_random_start. Indices are 64 bits wide: a buffer may have more than 2^31 bytes. */
__kernel void normal_fill(__global stored *out, const __global uint *random_state, ulong offset, ulong count) {
    const ulong first = (ulong)get_global_id(0) * ELEMENTS, quad = first / 2;
    if (first >= count) return;
    uint8 words[4];
    random_words_8(random_state, 0, (uint)quad + (uint8)(0, 1, 2, 3, 4, 5, 6, 7), (uint)(quad >> 32), words);
    /* The host takes the words of an evaluation from the last to the first. */
    const float8 even = normal(words[3], words[2]), odd = normal(words[1], words[0]);
    __global stored *to = out + offset + first;
    const float8 low = shuffle2(even, odd, (uint8)(0, 8, 1, 9, 2, 10, 3, 11));
    const float8 high = shuffle2(even, odd, (uint8)(4, 12, 5, 13, 6, 14, 7, 15));
    if (count - first >= ELEMENTS) {
        STORE_8(low, to);
        STORE_8(high, to + 8);
        return;
    }
    float last[ELEMENTS];
    vstore8(low, 0, last);
    vstore8(high, 1, last);
    for (uint i = 0; i < (uint)(count - first); i++) STORE(last[i], to, i);
}
