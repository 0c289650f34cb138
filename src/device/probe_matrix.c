/* Matrix units: whether a device has those that cl/matrix.clh knows. */
#include "device/probe_job.h"

#include "core/half.h"

#include <string.h>

/* Small whole numbers, by both kinds of loads, in both types. A failure counts as none right. */
int xp_matrix_count_right(xp_device *device, xp_matrix matrix, int *of) {
    enum { SIDE = 32, ROWS = 16, HALVES = 2 * SIDE * SIDE, RESULTS = 2 * ROWS * ROWS, FP16 = 1, BF16 = 2 };
    float numbers[HALVES], got[RESULTS];
    uint16_t halves[HALVES];
    int right = 0;
    for (int i = 0; i < HALVES; i++) numbers[i] = (float)(i * 37 % 17 - 8 + i / SIDE % 3);
    *of = 0;
    for (int storage = FP16; storage <= BF16; storage++) {
        xp_variant variant = xp_probe_part(XP_PROBE_PART_MATRIX);
        xp_variant_set(&variant, "MATRIX", matrix);
        xp_variant_set(&variant, "STORAGE", storage);
        xp_variant_set(&variant, "SUB_GROUPS", 1);
        *of += RESULTS;
        for (int i = 0; i < HALVES; i++)
            halves[i] = storage == BF16 ? xp_bf16_bits((double)numbers[i]) : xp_fp16_bits((double)numbers[i]);
        if (xp_probe_compute(device, "probe_matrix", &variant, 32, 32, sizeof halves, halves, sizeof got, got,
                             HALVES) != XP_OK)
            continue;
        const float *a = numbers, *b = numbers + SIDE * SIDE;
        for (int i = 0; i < RESULTS; i++) {
            const int turned = i / (ROWS * ROWS), row = i / ROWS % ROWS, column = i % ROWS;
            float sum = 0;
            for (int k = 0; k < SIDE; k++)
                sum += turned ? a[k * SIDE + row] * b[k * SIDE + column] : a[row * SIDE + k] * b[column * SIDE + k];
            right += got[i] == sum;
        }
    }
    return right;
}

/* Only compilers that could know the instructions are asked: others may not survive the attempt. */
static bool may_have_nvidia(const xp_device *device) {
    char extensions[16384] = "";
    return !(device->limits.type & CL_DEVICE_TYPE_CPU) &&
           clGetDeviceInfo(device->id, CL_DEVICE_EXTENSIONS, sizeof extensions - 1, extensions, NULL) == CL_SUCCESS &&
           strstr(extensions, "cl_nv_device_attribute_query");
}

xp_matrix xp_matrix_find(xp_device *device) {
    if (!may_have_nvidia(device)) return XP_MATRIX_NONE;
    int of, right = xp_matrix_count_right(device, XP_MATRIX_NVIDIA, &of);
    return right == of ? XP_MATRIX_NVIDIA : XP_MATRIX_NONE;
}

xp_status xp_probe_matrix(xp_device *device, xp_probe_result *out) {
    if (!may_have_nvidia(device))
        return xp_probe_answer(out, true, 0, "none", "products use the ordinary units of the device");
    int of, right = xp_matrix_count_right(device, XP_MATRIX_NVIDIA, &of);
    if (right == 0) return xp_probe_answer(out, true, 0, "none", "products use the ordinary units of the device");
    return xp_probe_answer(out, right == of, right,
                           xp_probe_words("%s, %d of %d products right", xp_matrix_name(XP_MATRIX_NVIDIA), right, of),
                           right == of ? "multiply tensors in bf16 and fp16" : "not used");
}
