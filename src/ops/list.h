/* The only list of operations: the tables of operations, of reference functions and of check cases are generated from
 * it. FACTOR is the permitted error of a device, as a multiple of the error of a plain single-precision computation. */
#ifndef XP_OPS_LIST_H
#define XP_OPS_LIST_H

/* ROW(name, FACTOR) */
#define XP_OPERATION_LIST(ROW)                                                                                         \
    ROW(activation, 2)                                                                                                 \
    ROW(activation_backward, 3)                                                                                        \
    ROW(add, 2)                                                                                                        \
    ROW(append, 2)                                                                                                     \
    ROW(attention, 2)                                                                                                  \
    ROW(attention_backward, 3)                                                                                         \
    ROW(attention_map, 2)                                                                                              \
    ROW(attention_normalise, 2)                                                                                        \
    ROW(attention_normalise_backward, 3)                                                                               \
    ROW(attention_pool, 2)                                                                                             \
    ROW(attention_pool_backward, 3)                                                                                    \
    ROW(batch_norm, 2)                                                                                                 \
    ROW(batch_norm_backward, 3)                                                                                        \
    ROW(cast, 2)                                                                                                       \
    ROW(column_sum, 2)                                                                                                 \
    ROW(copy, 2)                                                                                                       \
    ROW(cross_entropy, 2)                                                                                              \
    ROW(cross_entropy_backward, 3)                                                                                     \
    ROW(depthwise_convolution, 2)                                                                                      \
    ROW(depthwise_convolution_backward, 3)                                                                             \
    ROW(drop_path, 2)                                                                                                  \
    ROW(dropout, 2)                                                                                                    \
    ROW(embed, 2)                                                                                                      \
    ROW(embed_backward, 3)                                                                                             \
    ROW(feature_map, 2)                                                                                                \
    ROW(feature_map_backward, 3)                                                                                       \
    ROW(gemm, 2)                                                                                                       \
    ROW(gradient_norm, 2)                                                                                              \
    ROW(gradient_sum, 2)                                                                                               \
    ROW(layer_norm, 2)                                                                                                 \
    ROW(layer_norm_backward, 3)                                                                                        \
    ROW(linear_attention, 2)                                                                                           \
    ROW(linear_attention_backward, 3)                                                                                  \
    ROW(lookup, 2)                                                                                                     \
    ROW(lookup_backward, 3)                                                                                            \
    ROW(mask_rows, 2)                                                                                                  \
    ROW(optimiser, 2)                                                                                                  \
    ROW(pair, 2)                                                                                                       \
    ROW(pair_backward, 3)                                                                                              \
    ROW(patches, 2)                                                                                                    \
    ROW(rescale, 2)                                                                                                    \
    ROW(sequence_pool, 2)                                                                                              \
    ROW(sequence_pool_backward, 3)                                                                                     \
    ROW(squared_error, 2)                                                                                              \
    ROW(squared_error_backward, 3)                                                                                     \
    ROW(tally, 2)                                                                                                      \
    ROW(tokens, 2)

#endif
