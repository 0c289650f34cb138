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
    XP_MATRIX_EMULATED, /* ordinary arithmetic with the same layout: slow, for tests, and only where it is asked for */
    XP_MATRIX_NVIDIA    /* mma.sync */
} xp_matrix;

static inline const char *xp_matrix_name(xp_matrix matrix) {
    static const char *const names[] = {"none", "emulated", "NVIDIA mma.sync"};
    return names[matrix];
}

#endif
