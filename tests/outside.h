/* What the tests of the public interface share: they see it from outside, linked with the shared library and the OpenCL
 * loader as a user's program is, and including public headers alone. Owns a context and a device of the caller's. */
#ifndef EXPANSE_TESTS_OUTSIDE_H
#define EXPANSE_TESTS_OUTSIDE_H

#include "support.h"

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <expanse/device.h>
#include <expanse/opencl.h>
#include <expanse/status.h>

static cl_context context;
static cl_device_id device_id;
static cl_command_queue queue, unordered;
static xp_device *device;

static void must(xp_status status) {
    if (status != XP_OK) fail_msg("%s: %s", xp_status_name(status), xp_last_error());
}

static void must_cl(cl_int code) {
    if (code != CL_SUCCESS) fail_msg("OpenCL code %d", code);
}

static void rejects(xp_status status, xp_status expected, const char *part) {
    if (status != expected || !strstr(xp_last_error(), part))
        fail_msg("expected \"%s\" with \"%s\", got \"%s\": %s", xp_status_name(expected), part, xp_status_name(status),
                 xp_last_error());
}

static cl_mem new_buffer(size_t bytes) {
    cl_int code;
    cl_mem buffer = clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    must_cl(code);
    return buffer;
}

static int open_all(void **state) {
    cl_platform_id platforms[16];
    cl_uint count = 0;
    if (clGetPlatformIDs(16, platforms, &count) != CL_SUCCESS) return -1;
    const char *family = getenv("EXPANSE_TEST_FAMILY"); /* "tiled": the kernels for GPUs */
    for (cl_uint i = 0; i < count && i < 16 && !device_id; i++)
        if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 1, &device_id, NULL) != CL_SUCCESS) device_id = NULL;
    cl_int code = CL_SUCCESS;
    context = clCreateContext(NULL, 1, &device_id, NULL, NULL, &code);
    if (code == CL_SUCCESS) queue = clCreateCommandQueue(context, device_id, 0, &code);
    if (code == CL_SUCCESS)
        unordered = clCreateCommandQueue(context, device_id, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &code);
    if (code != CL_SUCCESS) return -1;
    xp_device_options options;
    xp_device_options_default(&options);
    options.family = family;
    if (xp_device_open_queue(&device, queue, &options) != XP_OK) {
        fprintf(stderr, "%s\n", xp_last_error());
        return -1;
    }
    return 0;
}

static int close_all(void **state) {
    xp_device_close(&device);
    clReleaseCommandQueue(queue);
    clReleaseCommandQueue(unordered);
    clReleaseContext(context);
    return 0;
}

#endif
