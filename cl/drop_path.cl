/* Stochastic depth: the branch of a sample is dropped as a whole, or kept and scaled. One work-item owns one element, in
 * straight lines, which compilers vectorise; all of a sample find the same random word.
 *
 * STORAGE  of x and y (cl/storage.clh) */
#include "random.clh"
#include "storage.clh"

/* x, y [samples, elements], random_state [4]; count = samples·elements */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
drop_path(const __global stored *restrict x, const __global uint *restrict random_state, __global stored *restrict y,
          uint threshold, uint stream, float keep_scale, int elements, int count) {
    const size_t i = get_global_id(0);
    if (i < count) {
        const uint sample = (uint)(i / elements);
        const uint4 words = random_words(random_state, stream, sample / 4, 0);
        const uint2 pair = sample & 2 ? words.hi : words.lo;
        STORE((sample & 1 ? pair.y : pair.x) >= threshold ? LOAD(x, i) * keep_scale : 0.0f, y, i);
    }
}
