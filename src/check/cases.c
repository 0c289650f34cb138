/* The table of case generators; each lives in the cases_*.c file of its family of operations. */
#include "check/check.h"

#define XP_CASE_LIST(ROW)                                                                                              \
    ROW(activation, 2)                                                                                                 \
    ROW(activation_backward, 3)                                                                                        \
    ROW(add, 2)                                                                                                        \
    ROW(attention, 2)                                                                                                  \
    ROW(attention_backward, 3)                                                                                         \
    ROW(attention_normalise, 2)                                                                                        \
    ROW(attention_normalise_backward, 3)                                                                               \
    ROW(attention_pool, 2)                                                                                             \
    ROW(attention_pool_backward, 3)                                                                                    \
    ROW(batch_norm, 2)                                                                                                 \
    ROW(batch_norm_backward, 3)                                                                                        \
    ROW(column_sum, 2)                                                                                                 \
    ROW(copy, 2)                                                                                                       \
    ROW(cross_entropy, 2)                                                                                              \
    ROW(cross_entropy_backward, 3)                                                                                     \
    ROW(dropout, 2)                                                                                                    \
    ROW(embed, 2)                                                                                                      \
    ROW(embed_backward, 3)                                                                                             \
    ROW(gemm, 2)                                                                                                       \
    ROW(gradient_norm, 2)                                                                                              \
    ROW(layer_norm, 2)                                                                                                 \
    ROW(layer_norm_backward, 3)                                                                                        \
    ROW(mask_rows, 2)                                                                                                  \
    ROW(optimiser, 2)                                                                                                  \
    ROW(patches, 2)                                                                                                    \
    ROW(sequence_pool, 2)                                                                                              \
    ROW(sequence_pool_backward, 3)

#define DECLARE(name, factor) xp_status xp_case_##name(xp_case *out, xp_random *variant, xp_random *shape);
XP_CASE_LIST(DECLARE)

#define ROW(name, factor) {#name, xp_case_##name, factor},
const xp_case_entry xp_case_entries[] = {XP_CASE_LIST(ROW)};
const int xp_case_entry_count = sizeof xp_case_entries / sizeof xp_case_entries[0];

int64_t xp_case_size(xp_random *random, int64_t block, int64_t limit) {
    const int64_t edges[] = {1, 2, block - 1, block, block + 1, 97, 257};
    uint32_t pick = xp_random_below(random, 12);
    int64_t size = pick < 7 ? edges[pick] : 1 + (int64_t)xp_random_below(random, (uint32_t)limit);
    if (size < 1) return 1;
    return size > limit ? limit : size;
}
