/* Running a probe's kernel, and wording its answer. */
#include "device/probe_job.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

xp_status xp_probe_answer(xp_probe_result *out, bool works, double value, const char *figure, const char *meaning,
                          ...) {
    va_list arguments;
    out->works = works;
    out->value = value;
    snprintf(out->figure, sizeof out->figure, "%s", figure);
    va_start(arguments, meaning);
    vsnprintf(out->meaning, sizeof out->meaning, meaning, arguments);
    va_end(arguments);
    return XP_OK;
}

const char *xp_probe_words(const char *format, ...) {
    static _Thread_local char text[112];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

bool xp_probe_lists(const xp_device *device, const char *extension) {
    char extensions[16384] = "", *rest = NULL;
    if (device->limits.type & CL_DEVICE_TYPE_CPU ||
        clGetDeviceInfo(device->id, CL_DEVICE_EXTENSIONS, sizeof extensions - 1, extensions, NULL) != CL_SUCCESS)
        return false;
    for (const char *word = strtok_r(extensions, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        if (strcmp(word, extension) == 0) return true;
    return false;
}

void xp_probe_job_close(xp_probe_job *j) {
    if (j->in) clReleaseMemObject(j->in);
    if (j->out) clReleaseMemObject(j->out);
    if (j->kernel) clReleaseKernel(j->kernel);
    j->in = j->out = NULL;
    j->kernel = NULL;
}

xp_status xp_probe_job_open(xp_probe_job *j, const char *kernel, const xp_variant *variant, size_t in_bytes,
                            const void *in, size_t out_bytes, int count) {
    const cl_int number = count;
    XP_TRY(xp_device_kernel(j->device, j->file ? j->file : "probe", kernel, variant, &j->kernel));
    XP_TRY(xp_device_buffer(j->device, in_bytes, &j->in));
    XP_TRY(xp_device_buffer(j->device, out_bytes, &j->out));
    XP_TRY(xp_device_fill_zero(j->device, j->out, out_bytes));
    if (in) XP_TRY(xp_device_write(j->device, j->in, 0, in_bytes, in));
    cl_int code = clSetKernelArg(j->kernel, 0, sizeof j->in, &j->in);
    if (code == CL_SUCCESS) code = clSetKernelArg(j->kernel, 1, sizeof j->out, &j->out);
    if (code == CL_SUCCESS) code = clSetKernelArg(j->kernel, 2, sizeof number, &number);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clSetKernelArg");
}

xp_status xp_probe_job_enqueue(xp_probe_job *j, cl_event *event) {
    cl_int code = clEnqueueNDRangeKernel(j->device->queue, j->kernel, 1, NULL, &j->global, j->local ? &j->local : NULL,
                                         0, NULL, event);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clEnqueueNDRangeKernel");
}

xp_status xp_probe_finish(xp_device *device) {
    cl_int code = clFinish(device->queue);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clFinish");
}

void xp_probe_ended(xp_device *device, xp_status status) {
    if (status != XP_OK && status != XP_BUILD_ERROR && status != XP_UNSUPPORTED) device->probe_failed = true;
}

xp_status xp_probe_compute(xp_device *device, const char *kernel, const xp_variant *variant, size_t global,
                           size_t local, size_t in_bytes, const void *in, size_t out_bytes, void *out, int count) {
    xp_probe_job j = {.device = device, .global = global, .local = local};
    xp_status status = xp_probe_job_open(&j, kernel, variant, in_bytes, in, out_bytes, count);
    if (status == XP_OK) status = xp_probe_job_enqueue(&j, NULL);
    if (status == XP_OK) status = xp_device_read(device, j.out, 0, out_bytes, out);
    xp_probe_job_close(&j);
    xp_probe_ended(device, status);
    return status;
}

xp_variant xp_probe_part(int number) {
    xp_variant variant = {0};
    xp_variant_set(&variant, "PART", number);
    return variant;
}
