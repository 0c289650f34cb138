/* The table of operations. Adding one: a file here, a .cl, a reference function, a case generator and a row in each
 * table. */
#include "ops/operation.h"

#define XP_OPERATION_LIST(ROW)                                                                                         \
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

#define DECLARE(name) extern const xp_operation xp_operation_##name;
XP_OPERATION_LIST(DECLARE)

#define ROW(name) &xp_operation_##name,
const xp_operation *const xp_operations[] = {XP_OPERATION_LIST(ROW)};
const int xp_operation_count = sizeof xp_operations / sizeof xp_operations[0];
