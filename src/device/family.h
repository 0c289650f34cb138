/* The families of kernels: which kind of device a kernel is written for. Knows no kernel; needs no device. */
#ifndef XP_DEVICE_FAMILY_H
#define XP_DEVICE_FAMILY_H

typedef enum xp_family {
    XP_FAMILY_ANY,   /* for all devices */
    XP_FAMILY_WIDE,  /* one work-item owns a register tile and uses vector types: CPUs */
    XP_FAMILY_TILED, /* a work-group shares tiles in local memory: GPUs */
    XP_FAMILIES
} xp_family;

static inline const char *xp_family_name(xp_family family) {
    static const char *const names[XP_FAMILIES] = {"any", "wide", "tiled"};
    return names[family];
}

#endif
