/* What the emitters of the matrix family must know of the layouts of cl/matrix.clh. Knows no kernel. */
#ifndef XP_DEVICE_MATRIX_H
#define XP_DEVICE_MATRIX_H

#include "device/device.h"

/* By the names there. */
typedef struct xp_matrix_layout {
    int lanes;
    int rows, columns;           /* MATRIX_ROWS, MATRIX_COLUMNS */
    int left_words, right_words; /* of a fragment */
    int lane_rows;
    bool asynchronous; /* copies run beside arithmetic */
    bool singles;      /* tensors of fp32 can be multiplied, as tf32 */
    int most;          /* sums of a sub-group's tile that its registers hold beside all else */
} xp_matrix_layout;

/* Of a kind of units that has one: neither none nor emulated. */
static inline const xp_matrix_layout *xp_matrix_layout_of(xp_matrix matrix) {
    static const xp_matrix_layout layouts[] = {
        [XP_MATRIX_NVIDIA] = {32, 16, 8, 4, 2, 2, true, true, 64 * 64},
        [XP_MATRIX_AMD_MFMA] = {64, 16, 16, 2, 2, 1, false, false, 64 * 64},
        [XP_MATRIX_AMD_WMMA] = {32, 16, 16, 8, 8, 1, false, false, 64 * 32},
        [XP_MATRIX_INTEL_8] = {8, 8, 8, 8, 8, 1, false, false, 16 * 32},
        [XP_MATRIX_INTEL_16] = {16, 16, 8, 8, 4, 1, false, false, 32 * 32},
    };
    return &layouts[matrix];
}

/* Whether the device's units, or those that it emulates, multiply tensors of fp32. */
static inline bool xp_matrix_multiplies_singles(const xp_device *device) {
    return device->matrix != XP_MATRIX_NONE && xp_matrix_layout_of(device->layout)->singles;
}

/* MATRIX and, for an emulation, LAYOUT; and the registers. */
static inline void xp_matrix_set(xp_variant *variant, xp_matrix matrix, xp_matrix layout) {
    variant->many_registers |= matrix == XP_MATRIX_INTEL_8 || matrix == XP_MATRIX_INTEL_16;
    xp_variant_set(variant, "MATRIX", matrix);
    if (matrix == XP_MATRIX_EMULATED) xp_variant_set(variant, "LAYOUT", layout);
}

/* Bytes of a tile in local memory: of NVIDIA's layout rows follow each other, of others with a chunk between them. */
static inline int64_t xp_matrix_tile_bytes(xp_matrix layout, int64_t rows, int64_t row_bytes) {
    return rows * (layout == XP_MATRIX_NVIDIA ? row_bytes : row_bytes + 16);
}

/* Values of the tuning parameter INSTRUCTION: NVIDIA's units multiply for each sub-group (cl/matrix.clh), or for teams
 * of them, asynchronously (cl/wgmma.clh). */
enum { XP_INSTRUCTION_MMA = 1, XP_INSTRUCTION_WGMMA };

#endif
