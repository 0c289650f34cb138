/* The families of kernels: which kind of device a kernel is written for; and the matrix units that one of them needs.
 * Knows no kernel; needs no device. */
#ifndef XP_DEVICE_FAMILY_H
#define XP_DEVICE_FAMILY_H

typedef enum xp_family {
    XP_FAMILY_ANY,    /* for all devices */
    XP_FAMILY_WIDE,   /* one work-item owns a register tile and uses vector types: CPUs */
    XP_FAMILY_TILED,  /* a work-group shares tiles in local memory: GPUs */
    XP_FAMILY_MATRIX, /* matrix units multiply what lies in local memory: GPUs that have them */
    XP_FAMILIES
} xp_family;

static inline const char *xp_family_name(xp_family family) {
    static const char *const names[XP_FAMILIES] = {"any", "wide", "tiled", "matrix"};
    return names[family];
}

/* Who multiplies for the kernels of the matrix family: the values of the macro MATRIX of cl/matrix.clh. */
typedef enum xp_matrix {
    XP_MATRIX_NONE,
    XP_MATRIX_EMULATED, /* ordinary arithmetic with the layout of another: slow, only where it is asked for */
    XP_MATRIX_NVIDIA,   /* mma.sync */
    XP_MATRIX_AMD_MFMA, /* gfx90a and later */
    XP_MATRIX_AMD_WMMA, /* gfx11 */
    XP_MATRIX_INTEL_8,  /* XMX, sub-groups of 8 */
    XP_MATRIX_INTEL_16, /* of 16 */
    XP_MATRICES
} xp_matrix;

static inline const char *xp_matrix_name(xp_matrix matrix) {
    static const char *const names[XP_MATRICES] = {"none",     "emulated",       "NVIDIA mma.sync", "AMD mfma",
                                                   "AMD wmma", "Intel XMX of 8", "Intel XMX of 16"};
    return names[matrix];
}

/* What programs with NVIDIA's asynchronous units (cl/wgmma.clh) are edited for. */
#define XP_WGMMA_TARGET "sm_90a"

/* What products of fp32 tensors are made of where there are matrix units. */
typedef enum xp_arithmetic {
    XP_ARITHMETIC_FP32,        /* the units are for 16 bits alone */
    XP_ARITHMETIC_FP32_MATRIX, /* three products of tf32, together as good as fp32 */
    XP_ARITHMETIC_TF32,        /* one, of factors rounded to 11 significant bits */
    XP_ARITHMETICS
} xp_arithmetic;

static inline const char *xp_arithmetic_name(xp_arithmetic arithmetic) {
    static const char *const names[XP_ARITHMETICS] = {"fp32", "fp32-matrix", "tf32"};
    return names[arithmetic];
}

#endif
