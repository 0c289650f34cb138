/* Matrix units: whether a device has those that cl/matrix.clh knows. */
#include "device/matrix.h"
#include "device/probe_job.h"

#include "core/half.h"

#include <string.h>

enum { SIDE = 32, NUMBERS = 2 * SIDE * SIDE, ROWS = 16, PRODUCTS = 2 * ROWS * ROWS, FP32 = 0, FP16 = 1, BF16 = 2 };

/* What the kernel writes; the last two in 16 bits alone. */
typedef struct answers {
    float products[PRODUCTS], largest[ROWS];
    uint16_t packed[2][ROWS * ROWS];
} answers;

static uint16_t bits_of(float value, int storage) {
    return storage == BF16 ? xp_bf16_bits((double)value) : xp_fp16_bits((double)value);
}

static int compare(const float *numbers, int storage, const answers *got) {
    const float *a = numbers, *b = numbers + SIDE * SIDE;
    float largest[ROWS];
    int right = 0;
    for (int i = 0; i < PRODUCTS; i++) {
        const int turned = i / (ROWS * ROWS), at = i % (ROWS * ROWS), row = at / ROWS, column = i % ROWS;
        float sum = 0;
        for (int k = 0; k < SIDE; k++)
            sum += turned ? a[k * SIDE + row] * b[k * SIDE + column] : a[row * SIDE + k] * b[column * SIDE + k];
        right += got->products[i] == sum;
        if (turned || storage == FP32) continue;
        right += (got->packed[0][at] == bits_of(sum, storage)) + (got->packed[1][at] == bits_of(-sum, storage));
        if (column == 0 || sum > largest[row]) largest[row] = sum;
        if (column == ROWS - 1) right += got->largest[row] == largest[row];
    }
    return right;
}

/* Small whole numbers, by both kinds of loads, in all types that the units take; reductions of rows, and rounding. A
 * failure counts as none right. */
int xp_matrix_count_right(xp_device *device, xp_matrix matrix, int *of) {
    const xp_matrix layout = matrix == XP_MATRIX_EMULATED ? device->layout : matrix;
    const size_t lanes = (size_t)xp_matrix_layout_of(layout)->lanes;
    float numbers[NUMBERS];
    uint16_t halves[NUMBERS];
    int right = 0;
    for (int i = 0; i < NUMBERS; i++) numbers[i] = (float)(i * 37 % 17 - 8 + i / SIDE % 3);
    *of = 0;
    for (int storage = layout == XP_MATRIX_NVIDIA ? FP32 : FP16; storage <= BF16; storage++) {
        xp_variant variant = xp_probe_part(XP_PROBE_PART_MATRIX);
        answers got = {{0}};
        xp_matrix_set(&variant, matrix, layout);
        xp_variant_set(&variant, "STORAGE", storage);
        xp_variant_set(&variant, "SUB_GROUPS", 1);
        *of += storage == FP32 ? PRODUCTS : 2 * PRODUCTS + ROWS;
        for (int i = 0; i < NUMBERS; i++) halves[i] = bits_of(numbers[i], storage);
        const void *in = storage == FP32 ? (const void *)numbers : halves;
        if (xp_probe_compute(device, "probe_matrix", &variant, lanes, lanes,
                             storage == FP32 ? sizeof numbers : sizeof halves, in, sizeof got, &got, 0) == XP_OK)
            right += compare(numbers, storage, &got);
    }
    return right;
}

static bool may_have(const xp_device *device, xp_matrix matrix) {
    static const char *const signs[XP_MATRICES] = {
        [XP_MATRIX_NVIDIA] = "cl_nv_device_attribute_query",
        [XP_MATRIX_AMD_MFMA] = "cl_amd_device_attribute_query",
        [XP_MATRIX_AMD_WMMA] = "cl_amd_device_attribute_query",
        [XP_MATRIX_INTEL_8] = "cl_intel_subgroup_matrix_multiply_accumulate",
        [XP_MATRIX_INTEL_16] = "cl_intel_subgroup_matrix_multiply_accumulate",
    };
    return xp_probe_lists(device, signs[matrix]);
}

/* The units that have the most products right, and how many of how many; none is right of those that were tried last
 * where no unit has one. */
static xp_matrix find_best(xp_device *device, int *right, int *of) {
    xp_matrix best = XP_MATRIX_NONE;
    *right = *of = 0;
    for (int m = XP_MATRIX_NVIDIA; m < XP_MATRICES; m++) {
        if (!may_have(device, (xp_matrix)m)) continue;
        int all;
        const int found = xp_matrix_count_right(device, (xp_matrix)m, &all);
        if (best == XP_MATRIX_NONE) *of = all;
        if (found <= *right) continue;
        best = (xp_matrix)m;
        *right = found;
        *of = all;
    }
    return best;
}

xp_matrix xp_matrix_find(xp_device *device) {
    int right, of;
    const xp_matrix best = find_best(device, &right, &of);
    return right == of ? best : XP_MATRIX_NONE;
}

/* How the last kernel failed that was tried: the compiler's first line says more than ours. */
static const char *reason(void) {
    const char *log = strchr(xp_last_error(), '\n'), *text = log && log[1] ? log + 1 : xp_last_error();
    return xp_probe_words("%.*s", (int)strcspn(text, "\n"), text);
}

xp_status xp_probe_matrix(xp_device *device, xp_probe_result *out) {
    static const char others[] = "products use the ordinary units of the device";
    int right, of;
    const xp_matrix best = find_best(device, &right, &of);
    if (best == XP_MATRIX_NONE && of > 0) return xp_probe_answer(out, true, 0, "none", "%s: %.120s", others, reason());
    if (best == XP_MATRIX_NONE) return xp_probe_answer(out, true, 0, "none", "%s", others);
    return xp_probe_answer(out, right == of, right,
                           xp_probe_words("%s, %d of %d products right", xp_matrix_name(best), right, of),
                           right == of ? "multiply tensors in bf16 and fp16" : "not used");
}
