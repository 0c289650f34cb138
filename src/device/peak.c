/* The peak of a device: three small kernels timed by the wall clock, and a record of the best figures. Knows no other
 * kernels. */
#include "device/peak.h"

#include "core/clock.h"
#include "device/probe_job.h"
#include "device/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 8, CHAIN = 500, MOST_BUFFERS = 3 };

typedef struct bench {
    xp_device *device;
    int lanes; /* of the vectors that the arithmetic uses; 1: scalars */
    cl_kernel kernel;
    cl_mem buffers[MOST_BUFFERS];
    int arguments;
} bench;

/* The peak is a property of the device, whichever family of kernels runs on it. */
static bool is_wide(const xp_device *device) {
    return device->limits.type & CL_DEVICE_TYPE_CPU;
}

static void bench_close(bench *b) {
    for (int i = 0; i < MOST_BUFFERS; i++)
        if (b->buffers[i]) clReleaseMemObject(b->buffers[i]);
    if (b->kernel) clReleaseKernel(b->kernel);
}

static xp_status bench_open(bench *b, const char *kernel, int buffers, size_t bytes) {
    xp_variant variant = {.optimised = true};
    xp_variant_set(&variant, "LANES", b->lanes);
    XP_TRY(xp_device_kernel(b->device, "peak", kernel, &variant, &b->kernel));
    for (int i = 0; i < buffers; i++) {
        XP_TRY(xp_device_buffer(b->device, bytes, &b->buffers[i]));
        XP_TRY(xp_device_fill_zero(b->device, b->buffers[i], bytes));
        const cl_int code = clSetKernelArg(b->kernel, (cl_uint)b->arguments++, sizeof(cl_mem), &b->buffers[i]);
        if (code != CL_SUCCESS) return xp_cl_fail(code, "clSetKernelArg");
    }
    return XP_OK;
}

/* Seconds of the quickest of ROUNDS rounds of `launches` launches; the first round warms up. */
static xp_status best_seconds(bench *b, size_t global, size_t local, int launches, double *out) {
    *out = 0;
    for (int round = 0; round <= ROUNDS; round++) {
        const double begin = xp_clock();
        cl_int code = CL_SUCCESS;
        for (int i = 0; i < launches && code == CL_SUCCESS; i++)
            code = clEnqueueNDRangeKernel(b->device->queue, b->kernel, 1, NULL, &global, &local, 0, NULL, NULL);
        if (code != CL_SUCCESS) return xp_cl_fail(code, "clEnqueueNDRangeKernel");
        if ((code = clFinish(b->device->queue)) != CL_SUCCESS) return xp_cl_fail(code, "clFinish");
        const double seconds = xp_clock() - begin;
        if (round > 0 && (*out == 0 || seconds < *out)) *out = seconds;
    }
    return XP_OK;
}

/* Raises *flops to what is measured. */
static xp_status arithmetic(bench *b, double *flops) {
    enum { RANGE_WIDE = 64, RANGE_TILED = 4096, ROUNDS_WIDE = 100000, ROUNDS_TILED = 4096 };
    const bool wide = b->lanes > 1;
    const size_t local = wide ? 1 : 256,
                 global = (wide ? RANGE_WIDE : RANGE_TILED) * (size_t)b->device->limits.compute_units;
    const int chains = wide ? 12 : 8;
    const float numbers[2] = {0.5f, 0.25f};
    const cl_int rounds = wide ? ROUNDS_WIDE : ROUNDS_TILED;
    double seconds;
    XP_TRY(bench_open(b, "peak_arithmetic", 2, global * sizeof(float)));
    XP_TRY(xp_device_write(b->device, b->buffers[0], 0, sizeof numbers, numbers));
    const cl_int code = clSetKernelArg(b->kernel, 2, sizeof rounds, &rounds);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clSetKernelArg");
    XP_TRY(best_seconds(b, global, local, 1, &seconds));
    const double found = 2.0 * (double)global * rounds * chains * b->lanes / seconds;
    if (found > *flops) *flops = found;
    return XP_OK;
}

static xp_status triad(bench *b, double *bytes_per_second) {
    const size_t most = (size_t)128 << 20, allowed = b->device->limits.allocation_bytes;
    const size_t bytes = allowed < most ? allowed / 4096 * 4096 : most;
    const cl_float factor = 0.5f;
    double seconds;
    XP_TRY(bench_open(b, "peak_triad", 3, bytes));
    const cl_int code = clSetKernelArg(b->kernel, 3, sizeof factor, &factor);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clSetKernelArg");
    XP_TRY(best_seconds(b, bytes / sizeof(float), 256, 1, &seconds));
    *bytes_per_second = 3.0 * (double)bytes / seconds;
    return XP_OK;
}

static xp_status launches(bench *b, double *seconds) {
    XP_TRY(bench_open(b, "peak_launch", 1, sizeof(float)));
    XP_TRY(best_seconds(b, 1, 1, CHAIN, seconds));
    *seconds /= CHAIN;
    return XP_OK;
}

static xp_status measure(xp_device *device, xp_status (*of)(bench *, double *), int lanes, double *figure) {
    bench b = {.device = device, .lanes = lanes};
    const xp_status status = of(&b, figure);
    bench_close(&b);
    return status == XP_OK ? XP_OK : xp_fail_in(status, "measuring the peak of the device: ");
}

/* A CPU's arithmetic with vectors of 8 and of 16 numbers, since some have none of 16 or lower their clock for them. */
xp_status xp_peak_measure(xp_device *device, xp_peak *out) {
    const bool wide = is_wide(device);
    out->flops = 0;
    XP_TRY(measure(device, arithmetic, wide ? 8 : 1, &out->flops));
    if (wide) XP_TRY(measure(device, arithmetic, 16, &out->flops));
    XP_TRY(measure(device, triad, wide ? 8 : 1, &out->bytes));
    return measure(device, launches, wide ? 8 : 1, &out->launch_seconds);
}

double xp_peak_share(const xp_peak *peak, double flops, double bytes, double seconds) {
    const double arithmetic_seconds = flops / peak->flops, memory_seconds = bytes / peak->bytes;
    return seconds > 0 ? (arithmetic_seconds > memory_seconds ? arithmetic_seconds : memory_seconds) / seconds : 0;
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

static const char record_name[] = "peak.json";

static void device_key(const xp_device *device, char *out, size_t size) {
    snprintf(out, size, "%s | %s", device->name, device->driver);
}

static bool recorded(const json_t *all, const xp_device *device, xp_peak *out) {
    char key[300];
    device_key(device, key, sizeof key);
    const json_t *entry = json_object_get(all, key);
    *out = (xp_peak){json_number_value(json_object_get(entry, "flops")),
                     json_number_value(json_object_get(entry, "bytes")),
                     json_number_value(json_object_get(entry, "launch_seconds"))};
    return out->flops > 0 && out->bytes > 0 && out->launch_seconds > 0;
}

xp_status xp_peak_record(const xp_device *device, xp_peak *measured) {
    char key[300];
    json_t *all = NULL;
    xp_peak before;
    XP_TRY(xp_record_load(record_name, &all));
    if (recorded(all, device, &before)) {
        if (before.flops > measured->flops) measured->flops = before.flops;
        if (before.bytes > measured->bytes) measured->bytes = before.bytes;
        if (before.launch_seconds < measured->launch_seconds) measured->launch_seconds = before.launch_seconds;
    }
    device_key(device, key, sizeof key);
    xp_record_store(record_name, all, key,
                    json_pack("{s:f,s:f,s:f}", "flops", measured->flops, "bytes", measured->bytes, "launch_seconds",
                              measured->launch_seconds));
    json_decref(all);
    return XP_OK;
}

/* Halved registers cost more than a third; a neighbour on the machine may cost a tenth. Processors with instructions
 * for bf16 have wide registers of full speed, whatever a busy machine would measure. */
xp_status xp_peak_lanes(xp_device *device, unsigned *lanes) {
    double eight = 0, sixteen = 0;
    *lanes = 16;
    if (xp_bf16_instruction_exists()) return XP_OK;
    XP_TRY(measure(device, arithmetic, 8, &eight));
    const xp_status status = measure(device, arithmetic, 16, &sixteen);
    *lanes = status == XP_OK && sixteen > 0.85 * eight ? 16 : 8;
    return status == XP_BUILD_ERROR ? XP_OK : status; /* vectors of 16 do not compile here */
}

xp_status xp_peak_of(xp_device *device, xp_peak *out) {
    json_t *all = NULL;
    XP_TRY(xp_record_load(record_name, &all));
    const bool known = recorded(all, device, out);
    json_decref(all);
    if (known) return XP_OK;
    XP_TRY(xp_peak_measure(device, out));
    return xp_peak_record(device, out);
}
