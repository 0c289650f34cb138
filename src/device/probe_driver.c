/* Probes of the driver: opening, compiling, launching, timing; and two that fail on purpose. */
#include "device/probe_job.h"

#include "core/clock.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

xp_status xp_probe_open(xp_device *device, xp_probe_result *out) {
    static const char *const kernels[XP_FAMILIES] = {
        [XP_FAMILY_WIDE] = "wide (CPU)", [XP_FAMILY_TILED] = "tiled (GPU)", [XP_FAMILY_MATRIX] = "matrix (GPU)"};
    const xp_family family = device->families[0];
    return xp_probe_answer(out, true, family,
                           xp_probe_words("%.60s (%s), driver %.30s", device->name, device->selector, device->driver),
                           "uses the %s kernels", kernels[family]);
}

xp_status xp_probe_build(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 256 };
    float in[COUNT], got[COUNT / 64];
    xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    xp_variant_set(&variant, "NONCE", (long)(time.tv_sec % 1000000) * 1000 + time.tv_nsec / 1000000);
    for (int i = 0; i < COUNT; i++) in[i] = (float)i;
    double begin = xp_clock();
    XP_TRY(xp_probe_compute(device, "probe_tree", &variant, COUNT, 64, sizeof in, in, sizeof got, got, COUNT));
    double cold = xp_clock() - begin;
    begin = xp_clock();
    XP_TRY(xp_probe_compute(device, "probe_tree", &variant, COUNT, 64, sizeof in, in, sizeof got, got, COUNT));
    double warm = xp_clock() - begin;
    bool right = true;
    for (int g = 0; g < COUNT / 64; g++) right = right && got[g] == 64.0f * 64 * (float)g + 63 * 32;
    return xp_probe_answer(out, right, cold, xp_probe_words("%.0f ms, again %.2f ms", cold * 1e3, warm * 1e3),
                           right ? "kernels compile and run" : "kernels compile, but their results are wrong");
}

xp_status xp_probe_binary(xp_device *device, xp_probe_result *out) {
    float in[64], got[1] = {0};
    for (int i = 0; i < 64; i++) in[i] = 1;
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
    xp_probe_job j = {.device = device, .global = 64, .local = 64};
    cl_program program = NULL, again = NULL;
    cl_kernel kernel = NULL;
    unsigned char *binary = NULL;
    size_t length = 0;
    cl_int code, state = CL_SUCCESS;
    xp_status status;
    double begin = 0;
    XP_TRY_OR(status, xp_probe_job_open(&j, "probe_tree", &variant, sizeof in, in, sizeof got, 64), end);
    code = clGetKernelInfo(j.kernel, CL_KERNEL_PROGRAM, sizeof program, &program, NULL);
    if (code == CL_SUCCESS) code = clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof length, &length, NULL);
    if (code == CL_SUCCESS && length == 0) code = CL_INVALID_BINARY;
    binary = malloc(length + 1);
    if (code == CL_SUCCESS && binary)
        code = clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL);
    begin = xp_clock();
    if (code == CL_SUCCESS)
        again = clCreateProgramWithBinary(device->context, 1, &device->id, &length, (const unsigned char **)&binary,
                                          &state, &code);
    if (code == CL_SUCCESS && again) code = clBuildProgram(again, 1, &device->id, "", NULL, NULL);
    if (code == CL_SUCCESS && again) kernel = clCreateKernel(again, "probe_tree", &code);
    if (code != CL_SUCCESS || !kernel) {
        status = xp_cl_made(kernel, code, "loading a program's binary");
        goto end;
    }
    clReleaseKernel(j.kernel);
    j.kernel = kernel;
    code = clSetKernelArg(kernel, 0, sizeof j.in, &j.in);
    if (code == CL_SUCCESS) code = clSetKernelArg(kernel, 1, sizeof j.out, &j.out);
    if (code == CL_SUCCESS) code = clSetKernelArg(kernel, 2, sizeof(cl_int), &(cl_int){64});
    if (code != CL_SUCCESS) {
        status = xp_cl_fail(code, "clSetKernelArg");
        goto end;
    }
    XP_TRY_OR(status, xp_probe_job_enqueue(&j, NULL), end);
    XP_TRY_OR(status, xp_device_read(device, j.out, 0, sizeof got, got), end);
    xp_probe_answer(out, got[0] == 64, xp_clock() - begin,
                    xp_probe_words("%zu KiB in %.1f ms", (length + 1023) / 1024, (xp_clock() - begin) * 1e3),
                    "compiled kernels are cached on disk: only the first start compiles");
end:
    if (again) clReleaseProgram(again);
    free(binary);
    xp_probe_job_close(&j);
    return status;
}

/* Intel's: 256 registers of a thread instead of 128. */
const char xp_register_option[] = "-cl-intel-256-GRF-per-thread ";

const char *xp_registers_find(xp_device *device) {
    enum { COUNT = 64 };
    if (!xp_probe_lists(device, "cl_intel_required_subgroup_size")) return "";
    xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
    variant.many_registers = true;
    float in[COUNT], got[COUNT];
    for (int i = 0; i < COUNT; i++) in[i] = (float)i;
    device->register_option = xp_register_option;
    bool right =
        xp_probe_compute(device, "probe_scale", &variant, COUNT, COUNT, sizeof in, in, sizeof got, got, COUNT) == XP_OK;
    for (int i = 0; i < COUNT && right; i++) right = got[i] == 2 * in[i] + 1;
    return right ? xp_register_option : "";
}

xp_status xp_probe_launch(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 64, SINGLE = 50, CHAIN = 500 };
    float in[COUNT] = {0};
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
    xp_probe_job j = {.device = device, .global = COUNT, .local = COUNT};
    xp_status status = xp_probe_job_open(&j, "probe_scale", &variant, sizeof in, in, sizeof in, COUNT);
    double begin = 0, single = 0;
    for (int i = -5; i < SINGLE && status == XP_OK; i++) {
        if (i == 0) begin = xp_clock();
        status = xp_probe_job_enqueue(&j, NULL);
        if (status == XP_OK) status = xp_probe_finish(device);
    }
    single = (xp_clock() - begin) / SINGLE;
    begin = xp_clock();
    for (int i = 0; i < CHAIN && status == XP_OK; i++) status = xp_probe_job_enqueue(&j, NULL);
    if (status == XP_OK) status = xp_probe_finish(device);
    double chained = (xp_clock() - begin) / CHAIN;
    xp_probe_job_close(&j);
    if (status != XP_OK) return status;
    return xp_probe_answer(out, true, chained,
                           xp_probe_words("%.0f µs alone, %.1f µs in a chain", single * 1e6, chained * 1e6),
                           "a training step is a chain");
}

xp_status xp_probe_events(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 1 << 20 };
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_CORE);
    xp_probe_job j = {.device = device, .global = COUNT, .local = 64};
    cl_event events[2] = {NULL, NULL};
    uint64_t start[2] = {0, 0}, end[2] = {0, 0};
    bool timed = true;
    xp_status status =
        xp_probe_job_open(&j, "probe_scale", &variant, (size_t)COUNT * 4, NULL, (size_t)COUNT * 4, COUNT);
    if (status == XP_OK) status = xp_probe_job_enqueue(&j, NULL);
    if (status == XP_OK) status = xp_probe_finish(device);
    double begin = xp_clock();
    for (int i = 0; i < 2 && status == XP_OK; i++) status = xp_probe_job_enqueue(&j, &events[i]);
    if (status == XP_OK) status = xp_probe_finish(device);
    double wall = xp_clock() - begin;
    for (int i = 0; i < 2 && status == XP_OK; i++)
        timed = xp_device_event_times(events[i], &start[i], &end[i]) && timed;
    for (int i = 0; i < 2; i++)
        if (events[i]) clReleaseEvent(events[i]);
    xp_probe_job_close(&j);
    if (status != XP_OK) return status;
    if (!timed) return xp_probe_answer(out, false, 0, "the driver reports no times", "--profile cannot print anything");
    double told = (double)(end[1] - start[0]) * 1e-9;
    bool right = start[0] > 0 && start[0] < end[0] && end[0] <= end[1] && start[0] <= start[1] && start[1] < end[1] &&
                 told <= 1.5 * wall + 1e-4 && told >= 0.05 * wall;
    return xp_probe_answer(out, right, told,
                           xp_probe_words("%.3f ms reported, %.3f ms by the clock of the host", told * 1e3, wall * 1e3),
                           right ? "--profile and --time are reliable" : "--profile and --time are not reliable");
}

xp_status xp_probe_hang(xp_device *device, xp_probe_result *out) {
    while (device) pause();
    return xp_probe_answer(out, false, 0, "", "it returned");
}

xp_status xp_probe_crash(xp_device *device, xp_probe_result *out) {
    abort();
}
