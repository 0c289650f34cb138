/* The precisions of training: in which type activations and their gradients are stored, and what makes the products of
 * fp32 tensors. Weights, moments, statistics, sums and losses are fp32 in all of them. */
#ifndef XP_TRAIN_PRECISION_H
#define XP_TRAIN_PRECISION_H

#include "device/matrix.h"
#include "graph/graph.h"

typedef enum xp_precision {
    XP_PRECISION_FP32,
    XP_PRECISION_FP32_MATRIX, /* as good as fp32, on matrix units */
    XP_PRECISION_TF32,        /* factors of products rounded to 11 significant bits, on matrix units */
    XP_PRECISION_BF16,
    XP_PRECISION_FP16
} xp_precision;

static inline xp_type xp_precision_storage(int precision) {
    return precision == XP_PRECISION_BF16 ? XP_BF16 : precision == XP_PRECISION_FP16 ? XP_F16 : XP_F32;
}

static inline xp_arithmetic xp_precision_arithmetic(int precision) {
    return precision == XP_PRECISION_FP32_MATRIX ? XP_ARITHMETIC_FP32_MATRIX
           : precision == XP_PRECISION_TF32      ? XP_ARITHMETIC_TF32
                                                 : XP_ARITHMETIC_FP32;
}

static inline const char *xp_precision_name(int precision) {
    const xp_arithmetic arithmetic = xp_precision_arithmetic(precision);
    return arithmetic == XP_ARITHMETIC_FP32 ? xp_type_name(xp_precision_storage(precision))
                                            : xp_arithmetic_name(arithmetic);
}

/* XP_UNSUPPORTED: the precision needs matrix units for fp32, and the device has none. */
static inline xp_status xp_precision_check(int precision, const xp_device *device) {
    if (xp_precision_arithmetic(precision) == XP_ARITHMETIC_FP32 || xp_matrix_multiplies_singles(device)) return XP_OK;
    return xp_fail(XP_UNSUPPORTED,
                   "precision %s: %s has no matrix units for fp32 that Expanse can use (see expanse doctor): use fp32, "
                   "bf16 or fp16",
                   xp_precision_name(precision), device->name);
}

#endif
