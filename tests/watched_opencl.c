/* An OpenCL that watches, preloaded before the real one: counts every object's references, and returns less than it
 * promises on request. Owns the counts; knows nothing of Expanse. */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "watched_opencl.h"

#include <dlfcn.h>
#include <pthread.h>

__attribute__((visibility("default"))) watched_opencl expanse_watched_opencl;

enum { ROOM = 1 << 14 };
static struct {
    const void *object;
    int references;
} objects[ROOM];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int live(void) {
    int count = 0;
    for (int i = 0; i < ROOM; i++) count += objects[i].references > 0;
    return count;
}

static void retain(const void *object) {
    if (!object) return;
    pthread_mutex_lock(&lock);
    int free = ROOM, i = 0;
    for (; i < ROOM && objects[i].object != object; i++)
        if (free == ROOM && objects[i].references == 0) free = i;
    if (i == ROOM) i = free;
    if (i < ROOM) {
        objects[i].object = object;
        objects[i].references++;
    }
    expanse_watched_opencl.live = live();
    pthread_mutex_unlock(&lock);
}

static void release(const void *object) {
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < ROOM && objects[i].object != object) i++;
    if (i == ROOM || objects[i].references == 0)
        expanse_watched_opencl.strays++;
    else
        objects[i].references--;
    expanse_watched_opencl.live = live();
    pthread_mutex_unlock(&lock);
}

#define REAL(name)                                                                                                     \
    __extension__({                                                                                                    \
        __typeof__(&name) real;                                                                                        \
        *(void **)&real = dlsym(RTLD_NEXT, #name);                                                                     \
        real;                                                                                                          \
    })
#define EXPORT __attribute__((visibility("default")))
#define MAKE(type, name, parameters, arguments)                                                                        \
    EXPORT type CL_API_CALL name parameters {                                                                          \
        const type made = REAL(name) arguments;                                                                        \
        retain(made);                                                                                                  \
        return made;                                                                                                   \
    }
#define KEEP(type, name)                                                                                               \
    EXPORT cl_int CL_API_CALL name(type object) {                                                                      \
        retain(object);                                                                                                \
        return REAL(name)(object);                                                                                     \
    }
#define DROP(type, name)                                                                                               \
    EXPORT cl_int CL_API_CALL name(type object) {                                                                      \
        release(object);                                                                                               \
        return REAL(name)(object);                                                                                     \
    }

MAKE(cl_context, clCreateContext,
     (const cl_context_properties *a, cl_uint b, const cl_device_id *c,
      void(CL_CALLBACK *d)(const char *, const void *, size_t, void *), void *e, cl_int *f),
     (a, b, c, d, e, f))
MAKE(cl_command_queue, clCreateCommandQueue, (cl_context a, cl_device_id b, cl_command_queue_properties c, cl_int *d),
     (a, b, c, d))
MAKE(cl_mem, clCreateBuffer, (cl_context a, cl_mem_flags b, size_t c, void *d, cl_int *e), (a, b, c, d, e))
MAKE(cl_mem, clCreateSubBuffer, (cl_mem a, cl_mem_flags b, cl_buffer_create_type c, const void *d, cl_int *e),
     (a, b, c, d, e))
MAKE(cl_program, clCreateProgramWithSource, (cl_context a, cl_uint b, const char **c, const size_t *d, cl_int *e),
     (a, b, c, d, e))
MAKE(cl_program, clCreateProgramWithBinary,
     (cl_context a, cl_uint b, const cl_device_id *c, const size_t *d, const unsigned char **e, cl_int *f, cl_int *g),
     (a, b, c, d, e, f, g))
KEEP(cl_context, clRetainContext)
KEEP(cl_mem, clRetainMemObject)
DROP(cl_command_queue, clReleaseCommandQueue)
DROP(cl_mem, clReleaseMemObject)
DROP(cl_program, clReleaseProgram)
DROP(cl_kernel, clReleaseKernel)
DROP(cl_event, clReleaseEvent)

EXPORT cl_int CL_API_CALL clReleaseContext(cl_context context) {
    release(context);
    int references = 0;
    for (int i = 0; i < ROOM; i++)
        if (objects[i].object == context) references = objects[i].references;
    if (references == 0) expanse_watched_opencl.strays += live();
    return REAL(clReleaseContext)(context);
}

EXPORT cl_kernel CL_API_CALL clCreateKernel(cl_program program, const char *name, cl_int *code) {
    if (expanse_watched_opencl.fault == WATCHED_NO_OBJECTS) {
        if (code) *code = CL_SUCCESS;
        return NULL;
    }
    const cl_kernel made = REAL(clCreateKernel)(program, name, code);
    retain(made);
    return made;
}

/* What a command that was enqueued with success gives of its event. */
static cl_int give(cl_int code, cl_event *event) {
    if (code != CL_SUCCESS || !event) return code;
    if (expanse_watched_opencl.fault == WATCHED_NO_EVENTS) {
        REAL(clReleaseEvent)(*event);
        *event = NULL;
    }
    retain(*event);
    return code;
}

EXPORT cl_int CL_API_CALL clEnqueueNDRangeKernel(cl_command_queue a, cl_kernel b, cl_uint c, const size_t *d,
                                                 const size_t *e, const size_t *f, cl_uint g, const cl_event *h,
                                                 cl_event *event) {
    return give(REAL(clEnqueueNDRangeKernel)(a, b, c, d, e, f, g, h, event), event);
}

EXPORT cl_int CL_API_CALL clEnqueueFillBuffer(cl_command_queue a, cl_mem b, const void *c, size_t d, size_t e, size_t f,
                                              cl_uint g, const cl_event *h, cl_event *event) {
    return give(REAL(clEnqueueFillBuffer)(a, b, c, d, e, f, g, h, event), event);
}

EXPORT cl_int CL_API_CALL clEnqueueMarkerWithWaitList(cl_command_queue a, cl_uint b, const cl_event *c,
                                                      cl_event *event) {
    return give(REAL(clEnqueueMarkerWithWaitList)(a, b, c, event), event);
}

EXPORT cl_int CL_API_CALL clEnqueueBarrierWithWaitList(cl_command_queue a, cl_uint b, const cl_event *c,
                                                       cl_event *event) {
    return give(REAL(clEnqueueBarrierWithWaitList)(a, b, c, event), event);
}

EXPORT cl_int CL_API_CALL clGetEventProfilingInfo(cl_event event, cl_profiling_info what, size_t size, void *value,
                                                  size_t *needed) {
    if (expanse_watched_opencl.fault == WATCHED_NO_TIMES) return CL_PROFILING_INFO_NOT_AVAILABLE;
    if (expanse_watched_opencl.fault == WATCHED_TIMES_REVERSED)
        what = what == CL_PROFILING_COMMAND_START ? CL_PROFILING_COMMAND_END : CL_PROFILING_COMMAND_START;
    return REAL(clGetEventProfilingInfo)(event, what, size, value, needed);
}
