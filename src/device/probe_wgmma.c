/* NVIDIA's asynchronous matrix units: whether a device has them, and how much local memory their kernels may use. */
#include "device/probe_job.h"

#include "core/half.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, LINE = 128 /* bytes */, ITEMS = 256, FP32 = 0, FP16 = 1, BF16 = 2 };

/* Both layouts of both factors, and all types and widths that kernels use, with the left factor in local memory and in
 * registers. */
typedef struct trial {
    int storage, turn_a, turn_b, columns, held;
} trial;
static const trial trials[] = {{BF16, 0, 0, 256, 0}, {BF16, 1, 1, 256, 0}, {FP16, 0, 1, 128, 0}, {FP32, 0, 0, 256, 0},
                               {FP32, 0, 0, 128, 0}, {BF16, 0, 0, 64, 1},  {FP16, 0, 1, 64, 1}};
enum { TRIALS = sizeof trials / sizeof *trials };

/* Whole numbers that all types hold exactly. */
static float number(int row, int step) {
    return (float)((row * 37 + step * 11) % 17 - 8 + row / 5 % 3);
}

static void fill(void *lines, const trial *t, int turned, int rows) {
    const int numbers = LINE / (t->storage == FP32 ? 4 : 2);
    for (int row = 0; row < rows; row++)
        for (int step = 0; step < numbers; step++) {
            const int at = turned ? (row / numbers * numbers + step) * numbers + row % numbers : row * numbers + step;
            const float value = number(row, step);
            if (t->storage == FP32)
                ((float *)lines)[at] = value;
            else
                ((uint16_t *)lines)[at] =
                    t->storage == BF16 ? xp_bf16_bits((double)value) : xp_fp16_bits((double)value);
        }
}

static int count_right(const trial *t, const float *got) {
    const int numbers = LINE / (t->storage == FP32 ? 4 : 2);
    int right = 0;
    for (int row = 0; row < ROWS; row++)
        for (int column = 0; column < t->columns; column++) {
            float sum = 0;
            for (int step = 0; step < numbers; step++) sum += number(row, step) * number(column, step);
            right += got[row * t->columns + column] == sum;
        }
    return right;
}

static xp_status run(xp_device *device, const trial *t, size_t bytes, int *right) {
    const size_t in_bytes = (size_t)(LINE * (ROWS + t->columns)),
                 out_bytes = sizeof(float) * (size_t)(ROWS * t->columns);
    char *in = malloc(in_bytes);
    float *got = malloc(out_bytes);
    xp_variant variant = {.edit_for = device->matrix == XP_MATRIX_NVIDIA ? XP_WGMMA_TARGET : NULL};
    xp_variant_set(&variant, "MATRIX", device->matrix);
    xp_variant_set(&variant, "STORAGE", t->storage);
    xp_variant_set(&variant, "WGMMA_TURN_A", t->turn_a);
    xp_variant_set(&variant, "WGMMA_TURN_B", t->turn_b);
    xp_variant_set(&variant, "WGMMA_COLUMNS", t->columns);
    xp_variant_set(&variant, "RING", (long)(bytes / 16));
    if (t->held) xp_variant_set(&variant, "HELD", 1);
    xp_status status = in && got ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for a probe");
    if (status == XP_OK) {
        fill(in, t, t->turn_a, ROWS);
        fill(in + LINE * ROWS, t, t->turn_b, t->columns);
        xp_probe_job job = {.device = device, .file = "probe_wgmma", .global = ITEMS, .local = ITEMS};
        status = xp_probe_job_open(&job, "probe_wgmma", &variant, in_bytes, in, out_bytes, 0);
        if (status == XP_OK) status = xp_probe_job_enqueue(&job, NULL);
        if (status == XP_OK) status = xp_device_read(device, job.out, 0, out_bytes, got);
        xp_probe_job_close(&job);
        xp_probe_ended(device, status);
    }
    *right = status == XP_OK ? count_right(t, got) : 0;
    free(in);
    free(got);
    return status;
}

int xp_wgmma_count_right(xp_device *device, size_t bytes, int *of) {
    int right = 0;
    *of = 0;
    for (int i = 0; i < TRIALS; i++) {
        int own;
        *of += ROWS * trials[i].columns;
        if (run(device, &trials[i], bytes, &own) == XP_OK) right += own;
    }
    return right;
}

/* The instructions are those of one architecture: programs for others would be compiled in vain at each opening. */
static bool may_have(const xp_device *device) {
    enum { CAPABILITY_MAJOR = 0x4000 /* cl_nv_device_attribute_query */, HOPPER = 9 };
    cl_uint major = 0;
    return device->matrix == XP_MATRIX_NVIDIA &&
           clGetDeviceInfo(device->id, CAPABILITY_MAJOR, sizeof major, &major, NULL) == CL_SUCCESS && major == HOPPER;
}

size_t xp_wgmma_find(xp_device *device) {
    /* Four and three stages of a tile of 256 columns, three and two of one of 128. */
    static const size_t sizes[] = {192 << 10, 144 << 10, 96 << 10, 64 << 10};
    if (!may_have(device)) return 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int right, of;
        const xp_status status = run(device, &trials[0], sizes[i], &right);
        if (status == XP_UNSUPPORTED) return 0; /* the program cannot be edited */
        if (status != XP_OK || right != ROWS * trials[0].columns) continue;
        right = xp_wgmma_count_right(device, sizes[i], &of);
        return right == of ? sizes[i] : 0;
    }
    return 0;
}

xp_status xp_probe_wgmma(xp_device *device, xp_probe_result *out) {
    int right, of;
    if (!may_have(device)) return xp_probe_answer(out, true, 0, "none", "products use other units of the device");
    if (device->wgmma_bytes == 0) {
        XP_TRY(run(device, &trials[0], 64 << 10, &right));
        return xp_probe_answer(out, false, 0, "wrong results", "not used");
    }
    right = xp_wgmma_count_right(device, device->wgmma_bytes, &of);
    return xp_probe_answer(
        out, right == of, right,
        xp_probe_words("wgmma, %d of %d products right, %zu KiB of local memory", right, of, device->wgmma_bytes >> 10),
        right == of ? "multiply tensors in bf16, fp16, tf32 and fp32-matrix" : "not used");
}
