/* The table of reference functions, by operation name. */
#include "reference/reference.h"

#include <string.h>

#define XP_REFERENCE_LIST(ROW)                                                                                         \
    ROW(activation)                                                                                                    \
    ROW(activation_backward)                                                                                           \
    ROW(add)                                                                                                           \
    ROW(attention)                                                                                                     \
    ROW(attention_backward)                                                                                            \
    ROW(attention_normalise)                                                                                           \
    ROW(attention_normalise_backward)                                                                                  \
    ROW(attention_pool)                                                                                                \
    ROW(attention_pool_backward)                                                                                       \
    ROW(batch_norm)                                                                                                    \
    ROW(batch_norm_backward)                                                                                           \
    ROW(column_sum)                                                                                                    \
    ROW(copy)                                                                                                          \
    ROW(cross_entropy)                                                                                                 \
    ROW(cross_entropy_backward)                                                                                        \
    ROW(dropout)                                                                                                       \
    ROW(embed)                                                                                                         \
    ROW(embed_backward)                                                                                                \
    ROW(gemm)                                                                                                          \
    ROW(gradient_norm)                                                                                                 \
    ROW(layer_norm)                                                                                                    \
    ROW(layer_norm_backward)                                                                                           \
    ROW(mask_rows)                                                                                                     \
    ROW(optimiser)                                                                                                     \
    ROW(patches)                                                                                                       \
    ROW(sequence_pool)                                                                                                 \
    ROW(sequence_pool_backward)

#define DECLARE(name)                                                                                                  \
    void xp_reference_##name(const xp_reference_call *call);                                                           \
    void xp_reference_##name##_single(const xp_reference_call *call);
XP_REFERENCE_LIST(DECLARE)

#define ROW(name) {#name, xp_reference_##name, xp_reference_##name##_single},
static const xp_reference_entry entries[] = {XP_REFERENCE_LIST(ROW)};

const xp_reference_entry *xp_reference_find(const char *operation) {
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
        if (strcmp(entries[i].operation, operation) == 0) return &entries[i];
    return NULL;
}
