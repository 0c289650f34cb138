/* The probes and how their results are judged. The kernels are in cl/probe.cl. */
#include "device/probe.h"

#include "core/clock.h"
#include "core/text.h"

#include "device/device.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- tools ------------------------------------------------------------------------------------------------------- */

enum { PART_CORE, PART_ARITHMETIC, PART_HALF_STORAGE, PART_DOUBLE, PART_HALF, PART_SUB_GROUPS }; /* of cl/probe.cl */

static xp_status answer(xp_probe_result *out, bool works, double value, const char *figure, const char *meaning, ...)
    __attribute__((format(printf, 5, 6)));
static xp_status answer(xp_probe_result *out, bool works, double value, const char *figure, const char *meaning, ...) {
    va_list arguments;
    out->works = works;
    out->value = value;
    snprintf(out->figure, sizeof out->figure, "%s", figure);
    va_start(arguments, meaning);
    vsnprintf(out->meaning, sizeof out->meaning, meaning, arguments);
    va_end(arguments);
    return XP_OK;
}

static const char *words(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *words(const char *format, ...) {
    static _Thread_local char text[112];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

/* A kernel of cl/probe.cl with its two buffers. */
typedef struct job {
    xp_device *device;
    cl_kernel kernel;
    cl_mem in, out;
    size_t global, local; /* local 0: chosen by the driver */
} job;

static void job_close(job *j) {
    if (j->in) clReleaseMemObject(j->in);
    if (j->out) clReleaseMemObject(j->out);
    if (j->kernel) clReleaseKernel(j->kernel);
    j->in = j->out = NULL;
    j->kernel = NULL;
}

static xp_status job_open(job *j, const char *kernel, const xp_variant *variant, size_t in_bytes, const void *in,
                          size_t out_bytes, int count) {
    const cl_int number = count;
    XP_TRY(xp_device_kernel(j->device, "probe", kernel, variant, &j->kernel));
    XP_TRY(xp_device_buffer(j->device, in_bytes, &j->in));
    XP_TRY(xp_device_buffer(j->device, out_bytes, &j->out));
    XP_TRY(xp_device_fill_zero(j->device, j->out, out_bytes));
    if (in) XP_TRY(xp_device_write(j->device, j->in, 0, in_bytes, in));
    cl_int code = clSetKernelArg(j->kernel, 0, sizeof j->in, &j->in);
    if (code == CL_SUCCESS) code = clSetKernelArg(j->kernel, 1, sizeof j->out, &j->out);
    if (code == CL_SUCCESS) code = clSetKernelArg(j->kernel, 2, sizeof number, &number);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clSetKernelArg");
}

static xp_status job_enqueue(job *j, cl_event *event) {
    cl_int code = clEnqueueNDRangeKernel(j->device->queue, j->kernel, 1, NULL, &j->global, j->local ? &j->local : NULL,
                                         0, NULL, event);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clEnqueueNDRangeKernel");
}

static xp_status finish(xp_device *device) {
    cl_int code = clFinish(device->queue);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clFinish");
}

/* Opens, runs once, reads `out` and closes. */
static xp_status compute(xp_device *device, const char *kernel, const xp_variant *variant, size_t global, size_t local,
                         size_t in_bytes, const void *in, size_t out_bytes, void *out, int count) {
    job j = {.device = device, .global = global, .local = local};
    xp_status status = job_open(&j, kernel, variant, in_bytes, in, out_bytes, count);
    if (status == XP_OK) status = job_enqueue(&j, NULL);
    if (status == XP_OK) status = xp_device_read(device, j.out, 0, out_bytes, out);
    job_close(&j);
    return status;
}

static xp_variant part(int number) {
    xp_variant variant = {0};
    xp_variant_set(&variant, "PART", number);
    return variant;
}

/* ---- the driver -------------------------------------------------------------------------------------------------- */

static xp_status probe_open(xp_device *device, xp_probe_result *out) {
    const xp_family family = device->families[0];
    return answer(out, true, family, words("%.60s (%s), driver %.30s", device->name, device->selector, device->driver),
                  "uses the %s kernels", family == XP_FAMILY_WIDE ? "wide (CPU)" : "tiled (GPU)");
}

static xp_status probe_build(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 256 };
    float in[COUNT], got[COUNT / 64];
    xp_variant variant = part(PART_CORE);
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    xp_variant_set(&variant, "NONCE", (long)(time.tv_sec % 1000000) * 1000 + time.tv_nsec / 1000000);
    for (int i = 0; i < COUNT; i++) in[i] = (float)i;
    double begin = xp_clock();
    XP_TRY(compute(device, "probe_tree", &variant, COUNT, 64, sizeof in, in, sizeof got, got, COUNT));
    double cold = xp_clock() - begin;
    begin = xp_clock();
    XP_TRY(compute(device, "probe_tree", &variant, COUNT, 64, sizeof in, in, sizeof got, got, COUNT));
    double warm = xp_clock() - begin;
    bool right = true;
    for (int g = 0; g < COUNT / 64; g++) right = right && got[g] == 64.0f * 64 * (float)g + 63 * 32;
    return answer(out, right, cold, words("%.0f ms, again %.2f ms", cold * 1e3, warm * 1e3),
                  right ? "kernels compile and run" : "kernels compile, but their results are wrong");
}

static xp_status probe_binary(xp_device *device, xp_probe_result *out) {
    float in[64], got[1] = {0};
    for (int i = 0; i < 64; i++) in[i] = 1;
    const xp_variant variant = part(PART_CORE);
    job j = {.device = device, .global = 64, .local = 64};
    cl_program program = NULL, again = NULL;
    cl_kernel kernel = NULL;
    unsigned char *binary = NULL;
    size_t length = 0;
    cl_int code, state = CL_SUCCESS;
    xp_status status;
    double begin = 0;
    XP_TRY_OR(status, job_open(&j, "probe_tree", &variant, sizeof in, in, sizeof got, 64), end);
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
    XP_TRY_OR(status, job_enqueue(&j, NULL), end);
    XP_TRY_OR(status, xp_device_read(device, j.out, 0, sizeof got, got), end);
    answer(out, got[0] == 64, xp_clock() - begin,
           words("%zu KiB in %.1f ms", (length + 1023) / 1024, (xp_clock() - begin) * 1e3),
           "compiled kernels are cached on disk: only the first start compiles");
end:
    if (again) clReleaseProgram(again);
    free(binary);
    job_close(&j);
    return status;
}

static xp_status probe_launch(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 64, SINGLE = 50, CHAIN = 500 };
    float in[COUNT] = {0};
    const xp_variant variant = part(PART_CORE);
    job j = {.device = device, .global = COUNT, .local = COUNT};
    xp_status status = job_open(&j, "probe_scale", &variant, sizeof in, in, sizeof in, COUNT);
    double begin = 0, single = 0;
    for (int i = -5; i < SINGLE && status == XP_OK; i++) {
        if (i == 0) begin = xp_clock();
        status = job_enqueue(&j, NULL);
        if (status == XP_OK) status = finish(device);
    }
    single = (xp_clock() - begin) / SINGLE;
    begin = xp_clock();
    for (int i = 0; i < CHAIN && status == XP_OK; i++) status = job_enqueue(&j, NULL);
    if (status == XP_OK) status = finish(device);
    double chained = (xp_clock() - begin) / CHAIN;
    job_close(&j);
    if (status != XP_OK) return status;
    return answer(out, true, chained, words("%.0f µs alone, %.1f µs in a chain", single * 1e6, chained * 1e6),
                  "a training step is a chain");
}

static xp_status probe_events(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 1 << 20 };
    const xp_variant variant = part(PART_CORE);
    job j = {.device = device, .global = COUNT, .local = 64};
    cl_event events[2] = {NULL, NULL};
    uint64_t start[2] = {0, 0}, end[2] = {0, 0};
    bool timed = true;
    xp_status status = job_open(&j, "probe_scale", &variant, (size_t)COUNT * 4, NULL, (size_t)COUNT * 4, COUNT);
    if (status == XP_OK) status = job_enqueue(&j, NULL);
    if (status == XP_OK) status = finish(device);
    double begin = xp_clock();
    for (int i = 0; i < 2 && status == XP_OK; i++) status = job_enqueue(&j, &events[i]);
    if (status == XP_OK) status = finish(device);
    double wall = xp_clock() - begin;
    for (int i = 0; i < 2 && status == XP_OK; i++)
        timed = xp_device_event_times(events[i], &start[i], &end[i]) && timed;
    for (int i = 0; i < 2; i++)
        if (events[i]) clReleaseEvent(events[i]);
    job_close(&j);
    if (status != XP_OK) return status;
    if (!timed) return answer(out, false, 0, "the driver reports no times", "--profile cannot print anything");
    double told = (double)(end[1] - start[0]) * 1e-9;
    bool right = start[0] > 0 && start[0] < end[0] && end[0] <= end[1] && start[0] <= start[1] && start[1] < end[1] &&
                 told <= 1.5 * wall + 1e-4 && told >= 0.05 * wall;
    return answer(out, right, told, words("%.3f ms reported, %.3f ms by the clock of the host", told * 1e3, wall * 1e3),
                  right ? "--profile and --time are reliable" : "--profile and --time are not reliable");
}

/* ---- work-groups and memory -------------------------------------------------------------------------------------- */

static xp_status probe_local(xp_device *device, xp_probe_result *out) {
    enum { GROUPS = 64, COUNT = GROUPS * 64, ROUNDS = 101 };
    static float in[COUNT], got[COUNT];
    const xp_variant variant = part(PART_CORE);
    for (int i = 0; i < COUNT; i++) in[i] = (float)i;
    XP_TRY(compute(device, "probe_turn", &variant, COUNT, 64, sizeof in, in, sizeof got, got, ROUNDS));
    int wrong = 0;
    for (int i = 0; i < COUNT; i++) wrong += got[i] != (float)(i / 64 * 64 + 63 - i % 64 + ROUNDS * (ROUNDS - 1) / 2);
    return answer(out, wrong == 0, wrong,
                  words("%d of %d wrong, %zu KiB", wrong, COUNT, device->limits.local_bytes >> 10),
                  wrong ? "barriers do not work: results would be wrong" : "local memory and barriers work");
}

static xp_status probe_groups(xp_device *device, xp_probe_result *out) {
    enum { LARGEST = 1024, GROUPS = 8, ENOUGH = 256 };
    static float in[LARGEST * GROUPS];
    float got[GROUPS];
    for (int i = 0; i < LARGEST * GROUPS; i++) in[i] = (float)(i % 7);
    int largest = 0;
    for (int size = 64; size <= LARGEST; size *= 2) {
        xp_variant variant = part(PART_CORE);
        xp_variant_set(&variant, "GROUP", size);
        size_t count = (size_t)size * GROUPS;
        if (compute(device, "probe_tree", &variant, count, (size_t)size, count * 4, in, sizeof got, got, 0) != XP_OK)
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
    return answer(out, largest >= ENOUGH, largest,
                  words("%d work-items with barriers, the driver reports %zu", largest, device->limits.work_group_size),
                  "kernels need up to %d", ENOUGH);
}

static xp_status probe_sub_buffer(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 64 };
    const size_t alignment = device->limits.alignment_bytes;
    const xp_variant variant = part(PART_CORE);
    float in[COUNT], got[COUNT];
    for (int i = 0; i < COUNT; i++) in[i] = (float)i;
    job j = {.device = device, .global = COUNT, .local = COUNT};
    cl_mem piece = NULL;
    cl_int code = CL_SUCCESS;
    xp_status status = job_open(&j, "probe_scale", &variant, sizeof in, in, 3 * alignment + sizeof in, COUNT);
    if (status == XP_OK) {
        cl_buffer_region region = {.origin = 3 * alignment, .size = sizeof in};
        piece = clCreateSubBuffer(j.out, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
        status = xp_cl_made(piece, code, "clCreateSubBuffer");
        if (status == XP_OK) code = clSetKernelArg(j.kernel, 1, sizeof piece, &piece);
        if (status == XP_OK && code != CL_SUCCESS) status = xp_cl_fail(code, "clSetKernelArg");
    }
    if (status == XP_OK) status = job_enqueue(&j, NULL);
    if (status == XP_OK) status = xp_device_read(device, j.out, 3 * alignment, sizeof got, got);
    if (piece) clReleaseMemObject(piece);
    job_close(&j);
    if (status != XP_OK) return status;
    bool right = true;
    for (int i = 0; i < COUNT; i++) right = right && got[i] == 2 * in[i] + 1;
    return answer(out, right, (double)alignment, words("at multiples of %zu bytes", alignment),
                  right ? "activations share one arena" : "results are written to the wrong place");
}

static xp_status touch(xp_device *device, size_t bytes) {
    const float in[2] = {3, 5};
    float first = 0, last = 0;
    const xp_variant variant = part(PART_CORE);
    job j = {.device = device, .global = 1, .local = 1};
    xp_status status = job_open(&j, "probe_touch", &variant, sizeof in, in, bytes, (int)(bytes / 4));
    if (status == XP_OK) status = job_enqueue(&j, NULL);
    if (status == XP_OK) status = xp_device_read(device, j.out, 0, 4, &first);
    if (status == XP_OK) status = xp_device_read(device, j.out, bytes - 4, 4, &last);
    job_close(&j);
    if (status == XP_OK && (first != 3 || last != 5))
        status =
            xp_fail(XP_DEVICE_ERROR, "the ends of a buffer of %zu MiB do not contain what was written", bytes >> 20);
    return status;
}

static xp_status probe_memory(xp_device *device, xp_probe_result *out) {
    const size_t MOST = (size_t)512 << 20, LEAST = (size_t)16 << 20;
    size_t bytes = MOST;
    while (bytes > device->limits.allocation_bytes && bytes > LEAST) bytes /= 2;
    while (bytes > LEAST && touch(device, bytes) != XP_OK) bytes /= 2;
    if (bytes == LEAST) XP_TRY(touch(device, bytes));
    return answer(out, true, (double)bytes,
                  words("%zu MiB tested, the driver allows %zu", bytes >> 20, device->limits.allocation_bytes >> 20),
                  "in one buffer; larger ones were not tested");
}

static xp_status probe_bandwidth(xp_device *device, xp_probe_result *out) {
    enum { ROUNDS = 5 };
    size_t bytes = (size_t)64 << 20;
    while (bytes > device->limits.allocation_bytes) bytes /= 2;
    const xp_variant variant = part(PART_CORE);
    job j = {.device = device, .global = bytes / 16, .local = 64};
    double best = 1e30;
    xp_status status = job_open(&j, "probe_copy", &variant, bytes, NULL, bytes, (int)(bytes / 16));
    if (status == XP_OK) status = xp_device_fill_zero(device, j.in, bytes);
    for (int i = 0; i < ROUNDS && status == XP_OK; i++) {
        double begin = xp_clock();
        status = job_enqueue(&j, NULL);
        if (status == XP_OK) status = finish(device);
        double seconds = xp_clock() - begin;
        if (seconds < best) best = seconds;
    }
    job_close(&j);
    if (status != XP_OK) return status;
    return answer(out, true, 2 * (double)bytes / best, words("%.1f GB/s", 2 * (double)bytes / best * 1e-9),
                  "a copy of %zu MiB, reads and writes", bytes >> 20);
}

/* ---- arithmetic -------------------------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *state) { /* enough to spread operands */
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static xp_status probe_vectors(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 64 };
    float in[COUNT * 24], got[COUNT * 8];
    uint32_t state = 1;
    for (int i = 0; i < COUNT; i++)
        for (int lane = 0; lane < 8; lane++) {
            float a = 1 + (float)next_random(&state) * 0x1p-24f, b = 1 + (float)next_random(&state) * 0x1p-24f;
            in[i * 24 + lane] = a;
            in[i * 24 + 8 + lane] = b;
            in[i * 24 + 16 + lane] = -(a * b); /* what is left is the rounding error of the product */
        }
    const xp_variant variant = part(PART_ARITHMETIC);
    XP_TRY(compute(device, "probe_fma", &variant, COUNT, 0, sizeof in, in, sizeof got, got, COUNT));
    int wrong = 0;
    for (int i = 0; i < COUNT * 8; i++) {
        const float *operands = in + i / 8 * 24 + i % 8;
        wrong += got[i] != fmaf(operands[0], operands[8], operands[16]);
    }
    return answer(out, wrong == 0, wrong, words("%d of %d wrong", wrong, COUNT * 8),
                  wrong ? "sums are less accurate than the bounds assume" : "vectors of eight, products rounded once");
}

static xp_status probe_infinities(xp_device *device, xp_probe_result *out) {
    enum { TRUTHS = 12 };
    const float in[] = {-INFINITY, 1.5f, NAN};
    float got[TRUTHS] = {0};
    const xp_variant variant = part(PART_ARITHMETIC);
    XP_TRY(compute(device, "probe_infinity", &variant, 1, 1, sizeof in, in, sizeof got, got, 1));
    char wrong[64] = "";
    int right = 0;
    for (int i = 0; i < TRUTHS; i++) {
        right += got[i] == 1;
        if (got[i] != 1) xp_text_add(wrong, sizeof wrong, "%s%d", *wrong ? "," : ", not number ", i);
    }
    return answer(out, right == TRUTHS, right, words("%d of %d conditions hold%s", right, TRUTHS, wrong),
                  right == TRUTHS ? "masks of -infinity work, NaN is preserved"
                                  : "masks of -infinity are not reliable");
}

/* By 32-bit halves: ISO C has no type for the product. */
static uint64_t high_half(uint64_t a, uint64_t b) {
    const uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), carried = a0 * b1 + (middle & 0xffffffff);
    return a1 * b1 + (middle >> 32) + (carried >> 32);
}

static xp_status probe_integers(xp_device *device, xp_probe_result *out) {
    enum { KNOWN = 3, PRODUCTS = 256 };
    static const uint32_t in[KNOWN * 6] = {0,          0,          0,          0,          0,          0,
                                           ~0u,        ~0u,        ~0u,        ~0u,        ~0u,        ~0u,
                                           0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0};
    static const uint32_t known[KNOWN * 4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8, 0x408f276d, 0x41c83b0e,
                                              0xa20bc7c6, 0x6d5451fd, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    uint32_t got[KNOWN * 4] = {0};
    const xp_variant variant = part(PART_ARITHMETIC);
    XP_TRY(compute(device, "probe_philox", &variant, KNOWN, 0, sizeof in, in, sizeof got, got, KNOWN));
    bool random = memcmp(got, known, sizeof known) == 0;
    uint64_t factors[PRODUCTS * 2], high[PRODUCTS] = {0};
    uint32_t state = 7;
    for (int i = 0; i < PRODUCTS * 2; i++)
        factors[i] = (uint64_t)next_random(&state) << 40 ^ (uint64_t)next_random(&state) << 20 ^ next_random(&state);
    XP_TRY(compute(device, "probe_high_half", &variant, PRODUCTS, 0, sizeof factors, factors, sizeof high, high,
                   PRODUCTS));
    int wrong = 0;
    for (int i = 0; i < PRODUCTS; i++) wrong += high[i] != high_half(factors[2 * i], factors[2 * i + 1]);
    return answer(out, random, wrong,
                  words("Philox %s, 128-bit products %s", random ? "right" : "WRONG", wrong ? "WRONG" : "right"),
                  random ? "dropout uses the same numbers as on every device" : "dropout would use other numbers");
}

static double in_ulp(float got, double exact) {
    double magnitude = fabs(exact);
    if (magnitude < 0x1p-126) magnitude = 0x1p-126;
    return fabs((double)got - exact) / ldexp(1, ilogb(magnitude) - 23);
}

static xp_status probe_functions(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 1 << 14, FUNCTIONS = 6 };
    /* OpenCL's own limits for single precision. */
    static const struct {
        const char *name;
        double limit;
    } functions[FUNCTIONS] = {{"exp", 3}, {"exp2", 3}, {"log", 3}, {"tanh", 5}, {"sqrt", 3}, {"/", 2.5}};
    static float in[COUNT], got[COUNT * FUNCTIONS];
    for (int i = 0; i < COUNT; i++) in[i] = ((float)i + 0.5f) * (40.0f / COUNT) - 20;
    const xp_variant variant = part(PART_ARITHMETIC);
    XP_TRY(compute(device, "probe_functions", &variant, COUNT, 64, sizeof in, in, sizeof got, got, COUNT));
    double worst[FUNCTIONS] = {0};
    for (int i = 0; i < COUNT; i++) {
        const double x = (double)in[i];
        const double exact[FUNCTIONS] = {exp(x), exp2(x), log(fabs(x)), tanh(x), sqrt(fabs(x)), 3 / x};
        for (int f = 0; f < FUNCTIONS; f++) {
            double error = in_ulp(got[f * COUNT + i], exact[f]);
            if (!(error <= worst[f])) worst[f] = error;
        }
    }
    char text[112] = "";
    bool right = true;
    for (int f = 0; f < FUNCTIONS; f++) {
        xp_text_add(text, sizeof text, "%s%s %.1f", f ? ", " : "", functions[f].name, worst[f]);
        right = right && worst[f] <= functions[f].limit;
    }
    xp_text_add(text, sizeof text, " ulp");
    return answer(out, right, worst[0], text,
                  right ? "as accurate as OpenCL requires" : "less accurate than OpenCL requires");
}

static double half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -magnitude : magnitude;
}

/* All finite halves; stored again after a small move that rounding to nearest takes back. */
static xp_status probe_half_storage(xp_device *device, xp_probe_result *out) {
    enum { HALVES = 0x7c00, COUNT = 2 * HALVES };
    uint16_t *in = malloc(COUNT * sizeof *in);
    float *got = malloc((size_t)COUNT * 6);
    xp_status status = in && got ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for a probe");
    if (status == XP_OK) {
        for (int i = 0; i < HALVES; i++) {
            in[2 * i] = (uint16_t)i;
            in[2 * i + 1] = (uint16_t)(i | 0x8000);
        }
        const xp_variant variant = part(PART_HALF_STORAGE);
        status = compute(device, "probe_half_storage", &variant, COUNT, 64, COUNT * sizeof *in, in, (size_t)COUNT * 6,
                         got, COUNT);
    }
    int loads = 0, stores = 0;
    for (int i = 0; i < COUNT && status == XP_OK; i++) {
        uint16_t stored;
        memcpy(&stored, (const char *)got + (size_t)COUNT * 4 + (size_t)i * 2, 2);
        loads += (double)got[i] != half_value(in[i]);
        stores += stored != in[i];
    }
    free(in);
    free(got);
    if (status != XP_OK) return status;
    return answer(out, loads + stores == 0, loads + stores,
                  words("%d loads and %d stores of %d wrong", loads, stores, COUNT),
                  "fp16 storage, arithmetic in single precision");
}

/* ---- extras ------------------------------------------------------------------------------------------------------ */

static xp_status probe_double(xp_device *device, xp_probe_result *out) {
    double in[64], got[64] = {0};
    for (int i = 0; i < 64; i++) in[i] = 1 + i / 3.0;
    const xp_variant variant = part(PART_DOUBLE);
    XP_TRY(compute(device, "probe_double", &variant, 64, 64, sizeof in, in, sizeof got, got, 64));
    bool right = true;
    for (int i = 0; i < 64; i++) right = right && fabs(got[i] - (sqrt(in[i]) + 1 / in[i])) < 1e-14;
    return answer(out, right, right, right ? "right" : "wrong", "no kernel uses it");
}

static xp_status probe_half_arithmetic(xp_device *device, xp_probe_result *out) {
    uint16_t in[64], got[64] = {0};
    for (int i = 0; i < 64; i++) in[i] = (uint16_t)(0x3c00 + (i << 4)); /* 1 to 2: squares and sums are near, too */
    const xp_variant variant = part(PART_HALF);
    XP_TRY(compute(device, "probe_half", &variant, 64, 64, sizeof in, in, sizeof got, got, 64));
    bool right = true;
    for (int i = 0; i < 64; i++) {
        double x = half_value(in[i]);
        right = right && fabs(half_value(got[i]) - (x * x + x)) <= 0x1p-7;
    }
    return answer(out, right, right, right ? "right" : "wrong", "no kernel uses it");
}

static xp_status probe_sub_groups(xp_device *device, xp_probe_result *out) {
    static const char *const standards[] = {"CL1.2", "CL2.0", "CL3.0"};
    float in[256], got[256] = {0};
    for (int i = 0; i < 256; i++) in[i] = 1;
    for (int s = 0; s < 3; s++) {
        xp_variant variant = part(PART_SUB_GROUPS);
        variant.standard = standards[s];
        if (compute(device, "probe_sub_group", &variant, 256, 64, sizeof in, in, sizeof got, got, 0) != XP_OK) continue;
        bool right = got[0] > 0;
        for (int i = 0; i < 256; i++) right = right && got[i] == got[0];
        return answer(out, right, (double)got[0],
                      words("%s, %.0f work-items, as %s", right ? "right" : "wrong", (double)got[0], standards[s]),
                      "no kernel uses them");
    }
    return xp_fail(XP_BUILD_ERROR, "they do not compile as CL1.2, CL2.0 or CL3.0");
}

static xp_status probe_hang(xp_device *device, xp_probe_result *out) {
    while (device) pause();
    return answer(out, false, 0, "", "it returned");
}

static xp_status probe_crash(xp_device *device, xp_probe_result *out) {
    abort();
}

const xp_probe xp_probes[] = {
    {"open", "the device opens", XP_PROBE_NEEDED, "nothing works without it", probe_open},
    {"build", "kernels compile and run", XP_PROBE_NEEDED, "nothing works without it", probe_build},
    {"binary", "compiled kernels load again", XP_PROBE_USEFUL, "every start compiles all kernels", probe_binary},
    {"launch", "launches", XP_PROBE_NEEDED, "nothing works without it", probe_launch},
    {"local", "local memory and barriers", XP_PROBE_NEEDED, "results would be wrong", probe_local},
    {"groups", "work-group sizes that run", XP_PROBE_NEEDED, "kernels need groups of 256", probe_groups},
    {"sub-buffers", "sub-buffers", XP_PROBE_NEEDED, "activations cannot share an arena", probe_sub_buffer},
    {"memory", "large buffers", XP_PROBE_NEEDED, "a buffer of 16 MiB does not work", probe_memory},
    {"bandwidth", "memory bandwidth", XP_PROBE_NEEDED, "buffers cannot be copied", probe_bandwidth},
    {"vectors", "float8 and fma", XP_PROBE_NEEDED, "results would be wrong", probe_vectors},
    {"infinities", "infinities and NaN", XP_PROBE_NEEDED, "masked scores would be wrong", probe_infinities},
    {"integers", "Philox and wide products", XP_PROBE_NEEDED, "no dropout", probe_integers},
    {"functions", "exp, log, tanh", XP_PROBE_NEEDED, "results would be wrong", probe_functions},
    {"events", "profiling events", XP_PROBE_USEFUL, "--profile and --time are not reliable", probe_events},
    {"half-storage", "fp16 in memory", XP_PROBE_UNUSED, "no kernel uses them", probe_half_storage},
    {"half", "fp16 arithmetic", XP_PROBE_UNUSED, "no kernel uses it", probe_half_arithmetic},
    {"double", "double precision", XP_PROBE_UNUSED, "no kernel uses it", probe_double},
    {"sub-groups", "sub-groups", XP_PROBE_UNUSED, "no kernel uses them", probe_sub_groups},
    {"hang", "a probe that hangs", XP_PROBE_HIDDEN, "as intended", probe_hang},
    {"crash", "a probe that crashes", XP_PROBE_HIDDEN, "as intended", probe_crash},
};
const int xp_probe_count = sizeof xp_probes / sizeof xp_probes[0];

const xp_probe *xp_probe_find(const char *name) {
    for (int i = 0; i < xp_probe_count; i++)
        if (strcmp(xp_probes[i].name, name) == 0) return &xp_probes[i];
    return NULL;
}

void xp_probe_failed(const xp_probe *probe, const char *reason, xp_probe_result *out) {
    *out = (xp_probe_result){0};
    const int length = (int)strcspn(reason, "\n"), room = (int)sizeof out->figure - 4;
    snprintf(out->reason, sizeof out->reason, "%.*s", length, reason);
    snprintf(out->figure, sizeof out->figure, "%.*s%s", length < room ? length : room, reason,
             length < room ? "" : "…");
    snprintf(out->meaning, sizeof out->meaning, "%s", probe->without);
}

void xp_probe_run(const xp_probe *probe, const char *select, xp_probe_result *out) {
    xp_device *device = NULL;
    xp_device_options options;
    xp_device_options_default(&options);
    options.select = select;
    options.profiling = true;
    *out = (xp_probe_result){0};
    xp_status status = xp_device_open(&device, &options);
    if (status == XP_OK) status = probe->run(device, out);
    /* Of a build error, the compiler's first line says more than ours. */
    const char *log = status == XP_BUILD_ERROR ? strchr(xp_last_error(), '\n') : NULL;
    if (log && log[1])
        xp_probe_failed(probe, words("does not compile: %.60s", log + 1), out);
    else if (status != XP_OK)
        xp_probe_failed(probe, xp_last_error(), out);
    xp_device_close(&device);
}

/* ---- the verdict ------------------------------------------------------------------------------------------------- */

/* Names the probes of this need that do not work; returns how many. */
static int list_failed(char *text, size_t size, const xp_probe_result *results, xp_probe_need need) {
    int count = 0;
    for (int i = 0; i < xp_probe_count; i++)
        if (xp_probes[i].need == need && !results[i].works) {
            xp_text_add(text, size, "%s%s (%s)", count ? ", " : "", xp_probes[i].title, xp_probes[i].without);
            count++;
        }
    return count;
}

static const xp_probe_result *result_of(const xp_probe_result *results, const char *name) {
    return &results[xp_probe_find(name) - xp_probes];
}

bool xp_probe_verdict(const xp_probe_result *results, char *text, size_t size) {
    /* A small vision transformer: the figures of `train --dry-run` for vit-tiny-28. */
    enum { KERNELS = 31, LAUNCHES = 166 };
    bool fit = true;
    text[0] = 0;
    for (int i = 0; i < xp_probe_count; i++) fit = fit && (xp_probes[i].need != XP_PROBE_NEEDED || results[i].works);
    if (!fit) {
        xp_text_add(text, size, "Not fit for training: ");
        list_failed(text, size, results, XP_PROBE_NEEDED);
        xp_text_add(text, size, ". A newer driver may help; pocl-opencl-icd runs everything on the CPU.");
        return false;
    }
    xp_text_add(text, size, "Fit for training, with the %s kernels.",
                xp_family_name((xp_family)result_of(results, "open")->value));
    size_t before = strlen(text);
    xp_text_add(text, size, " Not available: ");
    if (list_failed(text, size, results, XP_PROBE_USEFUL) == 0)
        text[before] = 0;
    else
        xp_text_add(text, size, ".");
    const double build = result_of(results, "build")->value, load = result_of(results, "binary")->value;
    xp_text_add(text, size,
                " A small transformer has about %d kernels: compiling them at the first start takes %.0f s or more",
                KERNELS, build * KERNELS);
    if (result_of(results, "binary")->works)
        xp_text_add(text, size, ", loading them later about %.1f s", load * KERNELS);
    xp_text_add(
        text, size,
        ". A step has about %d launches, which take at least %.1f ms. To test whether each kernel computes correct "
        "results, run expanse check.",
        LAUNCHES, result_of(results, "launch")->value * LAUNCHES * 1e3);
    return true;
}
