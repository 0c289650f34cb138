/* Probes of work-groups and memory. */
#include "device/probe_job.h"

#include "core/clock.h"

#include <stdlib.h>
#include <string.h>

/* Whether several work-groups keep so many bytes of variables in local memory. */
static bool keeps_local(xp_device *device, size_t bytes) {
    enum { ITEMS = 64, COUNT = 64 * ITEMS };
    static const float in[1];
    float got[COUNT];
    xp_variant variant = xp_probe_part(XP_PROBE_PART_LOCAL);
    xp_variant_set(&variant, "LOCAL_BYTES", (long)bytes);
    if (xp_probe_compute(device, "probe_keep", &variant, COUNT, ITEMS, sizeof in, in, sizeof got, got, 0) != XP_OK)
        return false;
    for (int i = 0; i < COUNT; i++)
        if (got[i] != (float)(bytes / (ITEMS * sizeof(cl_uint)))) return false;
    return true;
}

size_t xp_static_local_find(xp_device *device) {
    /* NVIDIA's driver reports 48 KiB and gives arguments no more, but variables of a kernel get all that a unit has:
     * that of compute capability 9.0, 8.0 and 8.6. */
    static const size_t sizes[] = {227 << 10, 163 << 10, 99 << 10};
    if (xp_probe_lists(device, "cl_nv_device_attribute_query"))
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            if (sizes[i] > device->limits.local_bytes && keeps_local(device, sizes[i])) return sizes[i];
    return device->limits.local_bytes;
}

xp_status xp_probe_local(xp_device *device, xp_probe_result *out) {
    enum { GROUPS = 64, COUNT = GROUPS * 64, ROUNDS = 101 };
    static float in[COUNT], got[COUNT];
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
    for (int i = 0; i < COUNT; i++) in[i] = (float)i;
    XP_TRY(xp_probe_compute(device, "probe_turn", &variant, COUNT, 64, sizeof in, in, sizeof got, got, ROUNDS));
    int wrong = 0;
    for (int i = 0; i < COUNT; i++) wrong += got[i] != (float)(i / 64 * 64 + 63 - i % 64 + ROUNDS * (ROUNDS - 1) / 2);
    return xp_probe_answer(
        out, wrong == 0, wrong,
        xp_probe_words("%d of %d wrong, %zu KiB", wrong, COUNT, device->limits.static_local_bytes >> 10),
        wrong ? "barriers do not work: results would be wrong" : "local memory and barriers work");
}

xp_status xp_probe_groups(xp_device *device, xp_probe_result *out) {
    enum { LARGEST = 1024, GROUPS = 8, ENOUGH = 256 };
    static float in[LARGEST * GROUPS];
    float got[GROUPS];
    for (int i = 0; i < LARGEST * GROUPS; i++) in[i] = (float)(i % 7);
    int largest = 0;
    for (int size = 64; size <= LARGEST; size *= 2) {
        xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
        xp_variant_set(&variant, "GROUP", size);
        size_t count = (size_t)size * GROUPS;
        if (xp_probe_compute(device, "probe_tree", &variant, count, (size_t)size, count * 4, in, sizeof got, got, 0) !=
            XP_OK)
            break;
        bool right = true;
        for (int g = 0; g < GROUPS; g++) {
            float sum = 0;
            for (int i = 0; i < size; i++) sum += in[g * size + i];
            right = right && got[g] == sum;
        }
        if (!right) break;
        largest = size;
    }
    return xp_probe_answer(
        out, largest >= ENOUGH, largest,
        xp_probe_words("%d work-items with barriers, the driver reports %zu", largest, device->limits.work_group_size),
        "kernels need up to %d", ENOUGH);
}

xp_status xp_probe_sub_buffer(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 64 };
    const size_t alignment = device->limits.alignment_bytes;
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
    float in[COUNT], got[COUNT];
    for (int i = 0; i < COUNT; i++) in[i] = (float)i;
    xp_probe_job j = {.device = device, .global = COUNT, .local = COUNT};
    cl_mem piece = NULL;
    cl_int code = CL_SUCCESS;
    xp_status status = xp_probe_job_open(&j, "probe_scale", &variant, sizeof in, in, 3 * alignment + sizeof in, COUNT);
    if (status == XP_OK) {
        cl_buffer_region region = {.origin = 3 * alignment, .size = sizeof in};
        piece = clCreateSubBuffer(j.out, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
        status = xp_cl_made(piece, code, "clCreateSubBuffer");
        if (status == XP_OK) code = clSetKernelArg(j.kernel, 1, sizeof piece, &piece);
        if (status == XP_OK && code != CL_SUCCESS) status = xp_cl_fail(code, "clSetKernelArg");
    }
    if (status == XP_OK) status = xp_probe_job_enqueue(&j, NULL);
    if (status == XP_OK) status = xp_device_read(device, j.out, 3 * alignment, sizeof got, got);
    if (piece) clReleaseMemObject(piece);
    xp_probe_job_close(&j);
    if (status != XP_OK) return status;
    bool right = true;
    for (int i = 0; i < COUNT; i++) right = right && got[i] == 2 * in[i] + 1;
    return xp_probe_answer(out, right, (double)alignment, xp_probe_words("at multiples of %zu bytes", alignment),
                           right ? "activations share one arena" : "results are written to the wrong place");
}

static xp_status touch(xp_device *device, size_t bytes) {
    const float in[2] = {3, 5};
    float first = 0, last = 0;
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
    xp_probe_job j = {.device = device, .global = 1, .local = 1};
    xp_status status = xp_probe_job_open(&j, "probe_touch", &variant, sizeof in, in, bytes, (int)(bytes / 4));
    if (status == XP_OK) status = xp_probe_job_enqueue(&j, NULL);
    if (status == XP_OK) status = xp_device_read(device, j.out, 0, 4, &first);
    if (status == XP_OK) status = xp_device_read(device, j.out, bytes - 4, 4, &last);
    xp_probe_job_close(&j);
    if (status == XP_OK && (first != 3 || last != 5))
        status =
            xp_fail(XP_DEVICE_ERROR, "the ends of a buffer of %zu MiB do not contain what was written", bytes >> 20);
    return status;
}

xp_status xp_probe_memory(xp_device *device, xp_probe_result *out) {
    const size_t MOST = (size_t)512 << 20, LEAST = (size_t)16 << 20;
    size_t bytes = MOST;
    while (bytes > device->limits.allocation_bytes && bytes > LEAST) bytes /= 2;
    while (bytes > LEAST && touch(device, bytes) != XP_OK) bytes /= 2;
    if (bytes == LEAST) XP_TRY(touch(device, bytes));
    return xp_probe_answer(
        out, true, (double)bytes,
        xp_probe_words("%zu MiB tested, the driver allows %zu", bytes >> 20, device->limits.allocation_bytes >> 20),
        "in one buffer; larger ones were not tested");
}

xp_status xp_probe_bandwidth(xp_device *device, xp_probe_result *out) {
    enum { ROUNDS = 5 };
    size_t bytes = (size_t)64 << 20;
    while (bytes > device->limits.allocation_bytes) bytes /= 2;
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
    xp_probe_job j = {.device = device, .global = bytes / 16, .local = 64};
    double best = 1e30;
    xp_status status = xp_probe_job_open(&j, "probe_copy", &variant, bytes, NULL, bytes, (int)(bytes / 16));
    if (status == XP_OK) status = xp_device_fill_zero(device, j.in, bytes);
    for (int i = 0; i < ROUNDS && status == XP_OK; i++) {
        double begin = xp_clock();
        status = xp_probe_job_enqueue(&j, NULL);
        if (status == XP_OK) status = xp_probe_finish(device);
        double seconds = xp_clock() - begin;
        if (seconds < best) best = seconds;
    }
    xp_probe_job_close(&j);
    if (status != XP_OK) return status;
    return xp_probe_answer(out, true, 2 * (double)bytes / best,
                           xp_probe_words("%.1f GB/s", 2 * (double)bytes / best * 1e-9),
                           "a copy of %zu MiB, reads and writes", bytes >> 20);
}
