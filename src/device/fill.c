/* One launch of cl/normal.cl. Does not know what the numbers are for. */
#include "device/fill.h"

static xp_status launch(xp_device *device, cl_kernel kernel, cl_mem buffer, cl_mem state, cl_ulong offset,
                        cl_ulong count) {
    enum { ELEMENTS = 16 /* of a work-item, as in cl/normal.cl */, LOCAL = 64 };
    const struct {
        size_t bytes;
        const void *value;
    } arguments[] = {
        {sizeof buffer, &buffer}, {sizeof state, &state}, {sizeof offset, &offset}, {sizeof count, &count}};
    for (cl_uint i = 0; i < 4; i++) {
        const cl_int code = clSetKernelArg(kernel, i, arguments[i].bytes, arguments[i].value);
        if (code != CL_SUCCESS) return xp_cl_fail(code, "clSetKernelArg");
    }
    const size_t items = (size_t)((count + ELEMENTS - 1) / ELEMENTS), local = LOCAL,
                 global = (items + LOCAL - 1) / LOCAL * LOCAL;
    const cl_int code = clEnqueueNDRangeKernel(device->queue, kernel, 1, NULL, &global, &local, 0, NULL, NULL);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clEnqueueNDRangeKernel");
}

xp_status xp_device_fill_normal(xp_device *device, cl_mem buffer, int storage, size_t offset, size_t count,
                                uint64_t seed, uint32_t purpose) {
    if (count == 0) return XP_OK;
    xp_variant variant = {.optimised = true};
    if (storage) xp_variant_set(&variant, "STORAGE", storage);
    const uint32_t words[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), purpose, 0};
    cl_kernel kernel = NULL;
    cl_mem state = NULL;
    xp_status status = xp_device_kernel(device, "normal", "normal_fill", &variant, &kernel);
    if (status == XP_OK) status = xp_device_buffer(device, sizeof words, &state);
    if (status == XP_OK) status = xp_device_write(device, state, 0, sizeof words, words);
    if (status == XP_OK) status = launch(device, kernel, buffer, state, offset, count);
    if (state) clReleaseMemObject(state); /* lives on until the launch has ended */
    if (kernel) clReleaseKernel(kernel);
    return status;
}
