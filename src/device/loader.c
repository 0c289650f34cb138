/* The OpenCL functions that the project calls, as forwarders into the loader library found at run time. Owns nothing
 * but the table of addresses, and the words for what is missing below it: the loader, a driver, a driver's library. A
 * new OpenCL function is one more FORWARD line. */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "device/loader.h"

#include "core/writer.h"
#include "device/device.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *xp_loader_symbol(const char *library, const char *symbol) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    return handle ? dlsym(handle, symbol) : NULL;
}

/* FORWARD(result, name, parameters, arguments) */
#define XP_OPENCL_FUNCTIONS(FORWARD)                                                                                   \
    FORWARD(cl_int, clGetPlatformIDs, (cl_uint a, cl_platform_id * b, cl_uint * c), (a, b, c))                         \
    FORWARD(cl_int, clGetPlatformInfo, (cl_platform_id a, cl_platform_info b, size_t c, void *d, size_t *e),           \
            (a, b, c, d, e))                                                                                           \
    FORWARD(cl_int, clGetDeviceIDs, (cl_platform_id a, cl_device_type b, cl_uint c, cl_device_id * d, cl_uint * e),    \
            (a, b, c, d, e))                                                                                           \
    FORWARD(cl_int, clGetDeviceInfo, (cl_device_id a, cl_device_info b, size_t c, void *d, size_t *e),                 \
            (a, b, c, d, e))                                                                                           \
    FORWARD(cl_context, clCreateContext,                                                                               \
            (const cl_context_properties *a, cl_uint b, const cl_device_id *c,                                         \
             void(CL_CALLBACK * d)(const char *, const void *, size_t, void *), void *e, cl_int *f),                   \
            (a, b, c, d, e, f))                                                                                        \
    FORWARD(cl_int, clRetainContext, (cl_context a), (a))                                                              \
    FORWARD(cl_int, clReleaseContext, (cl_context a), (a))                                                             \
    FORWARD(cl_command_queue, clCreateCommandQueue,                                                                    \
            (cl_context a, cl_device_id b, cl_command_queue_properties c, cl_int * d), (a, b, c, d))                   \
    FORWARD(cl_int, clGetCommandQueueInfo,                                                                             \
            (cl_command_queue a, cl_command_queue_info b, size_t c, void *d, size_t *e), (a, b, c, d, e))              \
    FORWARD(cl_int, clReleaseCommandQueue, (cl_command_queue a), (a))                                                  \
    FORWARD(cl_int, clFlush, (cl_command_queue a), (a))                                                                \
    FORWARD(cl_int, clFinish, (cl_command_queue a), (a))                                                               \
    FORWARD(cl_mem, clCreateBuffer, (cl_context a, cl_mem_flags b, size_t c, void *d, cl_int *e), (a, b, c, d, e))     \
    FORWARD(cl_mem, clCreateSubBuffer, (cl_mem a, cl_mem_flags b, cl_buffer_create_type c, const void *d, cl_int *e),  \
            (a, b, c, d, e))                                                                                           \
    FORWARD(cl_int, clGetMemObjectInfo, (cl_mem a, cl_mem_info b, size_t c, void *d, size_t *e), (a, b, c, d, e))      \
    FORWARD(cl_int, clRetainMemObject, (cl_mem a), (a))                                                                \
    FORWARD(cl_int, clReleaseMemObject, (cl_mem a), (a))                                                               \
    FORWARD(cl_int, clSetMemObjectDestructorCallback, (cl_mem a, void(CL_CALLBACK * b)(cl_mem, void *), void *c),      \
            (a, b, c))                                                                                                 \
    FORWARD(cl_int, clEnqueueReadBuffer,                                                                               \
            (cl_command_queue a, cl_mem b, cl_bool c, size_t d, size_t e, void *f, cl_uint g, const cl_event *h,       \
             cl_event *i),                                                                                             \
            (a, b, c, d, e, f, g, h, i))                                                                               \
    FORWARD(cl_int, clEnqueueWriteBuffer,                                                                              \
            (cl_command_queue a, cl_mem b, cl_bool c, size_t d, size_t e, const void *f, cl_uint g, const cl_event *h, \
             cl_event *i),                                                                                             \
            (a, b, c, d, e, f, g, h, i))                                                                               \
    FORWARD(cl_int, clEnqueueFillBuffer,                                                                               \
            (cl_command_queue a, cl_mem b, const void *c, size_t d, size_t e, size_t f, cl_uint g, const cl_event *h,  \
             cl_event *i),                                                                                             \
            (a, b, c, d, e, f, g, h, i))                                                                               \
    FORWARD(void *, clEnqueueMapBuffer,                                                                                \
            (cl_command_queue a, cl_mem b, cl_bool c, cl_map_flags d, size_t e, size_t f, cl_uint g,                   \
             const cl_event *h, cl_event *i, cl_int *j),                                                               \
            (a, b, c, d, e, f, g, h, i, j))                                                                            \
    FORWARD(cl_int, clEnqueueUnmapMemObject,                                                                           \
            (cl_command_queue a, cl_mem b, void *c, cl_uint d, const cl_event *e, cl_event *f), (a, b, c, d, e, f))    \
    FORWARD(cl_int, clWaitForEvents, (cl_uint a, const cl_event *b), (a, b))                                           \
    FORWARD(cl_program, clCreateProgramWithSource,                                                                     \
            (cl_context a, cl_uint b, const char **c, const size_t *d, cl_int *e), (a, b, c, d, e))                    \
    FORWARD(cl_program, clCreateProgramWithBinary,                                                                     \
            (cl_context a, cl_uint b, const cl_device_id *c, const size_t *d, const unsigned char **e, cl_int *f,      \
             cl_int *g),                                                                                               \
            (a, b, c, d, e, f, g))                                                                                     \
    FORWARD(cl_int, clBuildProgram,                                                                                    \
            (cl_program a, cl_uint b, const cl_device_id *c, const char *d, void(CL_CALLBACK * e)(cl_program, void *), \
             void *f),                                                                                                 \
            (a, b, c, d, e, f))                                                                                        \
    FORWARD(cl_int, clGetProgramInfo, (cl_program a, cl_program_info b, size_t c, void *d, size_t *e),                 \
            (a, b, c, d, e))                                                                                           \
    FORWARD(cl_int, clGetProgramBuildInfo,                                                                             \
            (cl_program a, cl_device_id b, cl_program_build_info c, size_t d, void *e, size_t *f), (a, b, c, d, e, f)) \
    FORWARD(cl_int, clReleaseProgram, (cl_program a), (a))                                                             \
    FORWARD(cl_kernel, clCreateKernel, (cl_program a, const char *b, cl_int *c), (a, b, c))                            \
    FORWARD(cl_int, clSetKernelArg, (cl_kernel a, cl_uint b, size_t c, const void *d), (a, b, c, d))                   \
    FORWARD(cl_int, clGetKernelInfo, (cl_kernel a, cl_kernel_info b, size_t c, void *d, size_t *e), (a, b, c, d, e))   \
    FORWARD(cl_int, clReleaseKernel, (cl_kernel a), (a))                                                               \
    FORWARD(cl_int, clEnqueueNDRangeKernel,                                                                            \
            (cl_command_queue a, cl_kernel b, cl_uint c, const size_t *d, const size_t *e, const size_t *f, cl_uint g, \
             const cl_event *h, cl_event *i),                                                                          \
            (a, b, c, d, e, f, g, h, i))                                                                               \
    FORWARD(cl_int, clEnqueueMarkerWithWaitList, (cl_command_queue a, cl_uint b, const cl_event *c, cl_event *d),      \
            (a, b, c, d))                                                                                              \
    FORWARD(cl_int, clEnqueueBarrierWithWaitList, (cl_command_queue a, cl_uint b, const cl_event *c, cl_event *d),     \
            (a, b, c, d))                                                                                              \
    FORWARD(cl_int, clGetEventProfilingInfo, (cl_event a, cl_profiling_info b, size_t c, void *d, size_t *e),          \
            (a, b, c, d, e))                                                                                           \
    FORWARD(cl_int, clReleaseEvent, (cl_event a), (a))

static struct {
#define FORWARD(result, name, parameters, arguments) result(CL_API_CALL *name) parameters;
    XP_OPENCL_FUNCTIONS(FORWARD)
#undef FORWARD
} opencl;

static char fault[512]; /* why it cannot be used; "": it can */

static void load(void) {
    /* Whatever the process already has comes first: the application's own loader, or a checker that was preloaded. */
    bool present = dlsym(RTLD_DEFAULT, "clGetPlatformIDs") != NULL;
    void *handle = present ? RTLD_DEFAULT : dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!present && !handle) {
        const char *reason = dlerror();
        snprintf(fault, sizeof fault, "the OpenCL loader cannot be loaded: %.300s",
                 reason ? reason : "no reason given");
        return;
    }
#define FORWARD(result, name, parameters, arguments)                                                                   \
    *(void **)&opencl.name = dlsym(handle, #name);                                                                     \
    if (!opencl.name) snprintf(fault, sizeof fault, "the OpenCL loader is older than OpenCL 1.2: it has no %s", #name);
    XP_OPENCL_FUNCTIONS(FORWARD)
#undef FORWARD
}

xp_status xp_loader_open(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (*fault)
        return xp_fail(
            XP_NO_DEVICE,
            "%s; install ocl-icd-libopencl1 (or OpenCL from the vendor of your GPU), and pocl-opencl-icd to run on the "
            "CPU",
            fault);
    return XP_OK;
}

/* ---- drivers ----------------------------------------------------------------------------------------------------- */

/* The library that an ICD file names in its first line. */
static bool read_name(const char *path, char *name, size_t size) {
    FILE *file = fopen(path, "r");
    const bool got = file && fgets(name, (int)size, file);
    if (file) fclose(file);
    if (got) name[strcspn(name, "\r\n")] = '\0';
    return got && *name;
}

/* Appends what is wrong with a library that provides no platform, and the file or variable that names it. */
static void try_library(const char *by, const char *name, xp_writer *out) {
    const bool loads = dlopen(name, RTLD_LAZY | RTLD_LOCAL) != NULL;
    xp_write(out, "%s%s names %s, which %s%s", out->length ? "; " : "", by, name,
             loads ? "can be loaded but offers no platform" : "cannot be loaded: ", loads ? "" : dlerror());
}

static void try_file(const char *folder, const char *file, xp_writer *out) {
    char path[PATH_MAX], name[PATH_MAX];
    const int length = snprintf(path, sizeof path, "%s/%s", folder, file);
    if (length > 0 && (size_t)length < sizeof path && read_name(path, name, sizeof name))
        try_library(file, name, out);
    else
        xp_write(out, "%s%s cannot be read or is empty", out->length ? "; " : "", file);
}

xp_status xp_loader_no_platform(void) {
    static const char usual[] = "/etc/OpenCL/vendors", ending[] = ".icd";
    const char *given = getenv("OCL_ICD_VENDORS"), *folder = given && *given ? given : usual;
    xp_writer drivers = {0};
    DIR *listing = opendir(folder);
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        const size_t length = strlen(entry->d_name), end = sizeof ending - 1;
        if (length > end && strcmp(entry->d_name + length - end, ending) == 0)
            try_file(folder, entry->d_name, &drivers);
    }
    const bool listed = listing != NULL;
    if (listed)
        closedir(listing);
    else if (folder != usual)
        try_library("OCL_ICD_VENDORS", folder, &drivers); /* it may be one library */
    if (drivers.text)
        xp_fail(XP_NO_DEVICE, "no registered OpenCL driver works: %s%s%s", listed ? folder : "", listed ? ": " : "",
                drivers.text);
    else
        xp_fail(XP_NO_DEVICE,
                "no OpenCL driver is registered in %s: install the driver of your GPU, or pocl-opencl-icd to run on "
                "the CPU",
                folder);
    xp_writer_release(&drivers);
    return XP_NO_DEVICE;
}

/* ---- forwarders -------------------------------------------------------------------------------------------------- */

#define FORWARD(result, name, parameters, arguments)                                                                   \
    result CL_API_CALL name parameters {                                                                               \
        return opencl.name arguments;                                                                                  \
    }
XP_OPENCL_FUNCTIONS(FORWARD)
