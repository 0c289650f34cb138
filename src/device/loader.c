/* The OpenCL functions that the project calls, as forwarders into the loader library found at run time. Owns nothing
 * but the table of addresses. A new OpenCL function is one more FORWARD line. */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "device/loader.h"

#include "device/device.h"

#include <dlfcn.h>
#include <pthread.h>

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

static const char *missing = "libOpenCL.so.1"; /* what was not found; NULL: all is there */

static void load(void) {
    /* Whatever the process already has comes first: the application's own loader, or a checker that was preloaded. */
    bool present = dlsym(RTLD_DEFAULT, "clGetPlatformIDs") != NULL;
    void *handle = present ? RTLD_DEFAULT : dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!present && !handle) return;
    missing = NULL;
#define FORWARD(result, name, parameters, arguments)                                                                   \
    *(void **)&opencl.name = dlsym(handle, #name);                                                                     \
    if (!opencl.name) missing = #name;
    XP_OPENCL_FUNCTIONS(FORWARD)
#undef FORWARD
}

xp_status xp_loader_open(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (missing)
        return xp_fail(XP_NO_DEVICE,
                       "the OpenCL loader has no %s: install ocl-icd-libopencl1 (or your GPU vendor's OpenCL), and "
                       "pocl-opencl-icd to run on the CPU",
                       missing);
    return XP_OK;
}

#define FORWARD(result, name, parameters, arguments)                                                                   \
    result CL_API_CALL name parameters {                                                                               \
        return opencl.name arguments;                                                                                  \
    }
XP_OPENCL_FUNCTIONS(FORWARD)
