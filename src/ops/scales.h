/* Handing the scales of Attention-SH to a kernel: the macros of cl/scales.clh. Knows no operation. */
#ifndef XP_OPS_SCALES_H
#define XP_OPS_SCALES_H

#include "device/device.h"

enum { XP_SCALE_BITS = 15, XP_SCALES_PER_OPTION = 4, XP_SCALE_LIMIT = (1 << XP_SCALE_BITS) - 1 };

static inline void xp_scales_pass(xp_variant *variant, int count, const int16_t *scales) {
    static const char *const names[] = {"XP_SCALES_0",  "XP_SCALES_1",  "XP_SCALES_2",  "XP_SCALES_3",
                                        "XP_SCALES_4",  "XP_SCALES_5",  "XP_SCALES_6",  "XP_SCALES_7",
                                        "XP_SCALES_8",  "XP_SCALES_9",  "XP_SCALES_10", "XP_SCALES_11",
                                        "XP_SCALES_12", "XP_SCALES_13", "XP_SCALES_14", "XP_SCALES_15"};
    xp_variant_set(variant, "XP_SCALE_COUNT", count);
    for (int i = 0; i < count; i += XP_SCALES_PER_OPTION) {
        long packed = 0;
        for (int j = 0; j < XP_SCALES_PER_OPTION && i + j < count; j++)
            packed |= (long)scales[i + j] << XP_SCALE_BITS * j;
        xp_variant_set(variant, names[i / XP_SCALES_PER_OPTION], packed);
    }
}

#endif
