/* An OpenCL without a device, preloaded in place of the real one. Buffers are host memory, and kernels do nothing, so
 * that a whole training takes the time of its host code alone. Every handle, count of references, transfer and launch
 * is checked. Owns all objects; knows nothing of Expanse.
 *
 * Environment:
 *   NULL_OPENCL_TYPE=gpu           pose as a GPU, not as a CPU
 *   NULL_OPENCL_FAIL=NAME:N        let the N-th call of the function NAME fail; "NAME:N+": and all later ones
 *   NULL_OPENCL_REPORT=FILE        write there at the end: "misuse TEXT", "leak KIND COUNT", "calls NAME COUNT" of each
 *                                  function, "blocking NAME COUNT" of those that wait until a queue or a transfer is
 *                                  done, and "commands DIGEST" of all that was written to buffers and launched, with
 *                                  the kernel's source and options: what a real device's results depend on
 *   NULL_OPENCL_SIGNATURES=FOLDER  keep there what was found out about programs, so that the next process need not
 *   NULL_OPENCL_CC=COMMAND         the C compiler that preprocesses sources; "cc" by default
 * Without a report, misuses and leaks are told on stderr. */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "null_opencl.h"

#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT null_opencl expanse_null_opencl;

/* ---- calls ------------------------------------------------------------------------------------------------------- */

typedef struct call {
    const char *name;
    long count, blocking;
    struct call *next;
} call;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP; /* callbacks call back */
static call *calls;

static void unlock(const bool *held) {
    (void)held;
    pthread_mutex_unlock(&lock);
}

/* A call that returns only when what was enqueued is done. */
static void blocks(call *made) {
    made->blocking++;
}

/* Counts a call; true where it is the one to fail. */
static bool fails(call *made) {
    if (made->count++ == 0) {
        made->next = calls;
        calls = made;
    }
    const char *wanted = getenv("NULL_OPENCL_FAIL"), *colon = wanted ? strchr(wanted, ':') : NULL;
    const size_t length = strlen(made->name);
    if (!colon || (size_t)(colon - wanted) != length || strncmp(wanted, made->name, length) != 0) return false;
    char *end;
    const long first = strtol(colon + 1, &end, 10);
    return *end == '+' ? made->count >= first : made->count == first;
}

/* At exit; a call after that finds nothing of the driver. */
static bool ended;
static void end(void) {
    ended = true;
}

/* Begins every function: one at a time, counted, and answered by `failure` where it is to fail. */
#define CALL(failure)                                                                                                  \
    static call this_call = {.name = __func__};                                                                        \
    pthread_mutex_lock(&lock);                                                                                         \
    __attribute__((cleanup(unlock))) const bool held = true;                                                           \
    (void)held;                                                                                                        \
    if (ended) abort();                                                                                                \
    if (fails(&this_call)) return (failure)

/* ---- what is told ------------------------------------------------------------------------------------------------ */

static int report_descriptor(void) {
    static int descriptor = -1;
    const char *path = getenv("NULL_OPENCL_REPORT");
    if (descriptor < 0)
        descriptor = path && *path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : dup(STDERR_FILENO);
    return descriptor;
}

static void misuse(const char *format, ...) {
    char text[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    expanse_null_opencl.misuses++;
    dprintf(report_descriptor(), "misuse %s\n", text);
}

static uint64_t mix(uint64_t hash, const void *data, size_t bytes) { /* FNV-1a */
    for (const unsigned char *at = data; bytes > 0; at++, bytes--) hash = (hash ^ *at) * 1099511628211u;
    return hash;
}

enum { BASIS = 1469598103u };
static uint64_t commands = BASIS;

static void note(const void *data, size_t bytes) {
    commands = mix(commands, data, bytes);
}

static void note_number(uint64_t number) {
    note(&number, sizeof number);
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

typedef enum object_kind { CONTEXT, QUEUE, BUFFER, PROGRAM, KERNEL, EVENT, KINDS } object_kind;
static const char *const kind_names[] = {"context", "queue", "buffer", "program", "kernel", "event"};

typedef struct argument {
    bool set;
    size_t bytes;
    struct object *buffer; /* NULL: none, or a value */
    uint64_t digest;
} argument;

typedef struct object {
    const void *dispatch; /* where a loader would look */
    object_kind kind;
    int references;
    uint64_t number;       /* among those of its kind, in order of creation */
    struct object *owner;  /* the context; of a sub-buffer, the whole one */
    unsigned char *memory; /* of a buffer; of a program, its signatures: "NAME COUNT\n" of each kernel */
    size_t bytes, offset;
    bool callers; /* the memory */
    int mapped;
    void(CL_CALLBACK *gone)(cl_mem, void *);
    void *gone_user;
    cl_command_queue_properties properties;
    uint64_t identity; /* of a program: source and options */
    char *source;
    bool built, refused; /* a program */
    bool broken;         /* a context */
    argument *arguments;
    int argument_count;
} object;

/* Never used again, so that a handle that is gone is recognised. */
enum { MOST_OBJECTS = 1 << 18 };
static object objects[MOST_OBJECTS];
static int object_count;
static long made[KINDS], live[KINDS];

static object *make(object_kind kind, object *owner) {
    if (object_count == MOST_OBJECTS) {
        misuse("more than %d objects", MOST_OBJECTS);
        abort();
    }
    object *new = &objects[object_count++];
    *new = (object){.kind = kind, .references = 1, .number = (uint64_t)made[kind]++, .owner = owner};
    live[kind]++;
    expanse_null_opencl.live++;
    return new;
}

/* The object of a handle; NULL, told as a misuse by `user`, where it is none of this kind or has gone. */
static object *find(const void *handle, object_kind kind, const char *user) {
    const uintptr_t offset = (uintptr_t)handle - (uintptr_t)objects;
    object *found = (object *)(uintptr_t)handle;
    if (offset < sizeof objects && offset % sizeof *objects == 0 && found->kind == kind && found->references > 0)
        return found;
    misuse("%s: %p is no %s, or has gone", user, handle, kind_names[kind]);
    return NULL;
}

static void check_all_gone(const object *context) {
    for (int i = 0; i < object_count; i++) {
        const object *owner = objects[i].owner;
        while (owner && owner->kind != CONTEXT) owner = owner->owner;
        if (objects[i].references > 0 && owner == context)
            misuse("a %s outlives its context", kind_names[objects[i].kind]);
    }
}

static void let_go(object *gone) {
    if (--gone->references > 0) return;
    live[gone->kind]--;
    expanse_null_opencl.live--;
    if (gone->kind == CONTEXT) check_all_gone(gone);
    if (gone->gone) gone->gone((cl_mem)gone, gone->gone_user);
    const bool part = gone->owner && gone->owner->kind == BUFFER;
    if (!gone->callers && !part) free(gone->memory);
    free(gone->source);
    free(gone->arguments);
    gone->memory = NULL;
    if (part) let_go(gone->owner);
}

#define KEEP(type, kind, Keep, code)                                                                                   \
    EXPORT cl_int CL_API_CALL Keep(type handle) {                                                                      \
        CALL(CL_OUT_OF_HOST_MEMORY);                                                                                   \
        object *kept = find(handle, kind, __func__);                                                                   \
        if (kept) kept->references++;                                                                                  \
        return kept ? CL_SUCCESS : (code);                                                                             \
    }
#define DROP(type, kind, Drop, good, code)                                                                             \
    EXPORT cl_int CL_API_CALL Drop(type handle) {                                                                      \
        CALL(CL_OUT_OF_RESOURCES);                                                                                     \
        object *dropped = find(handle, kind, __func__);                                                                \
        if (dropped) let_go(dropped);                                                                                  \
        return dropped ? (good) : (code);                                                                              \
    }
#define KEEP_AND_DROP(type, kind, Keep, Drop, code)                                                                    \
    KEEP(type, kind, Keep, code)                                                                                       \
    DROP(type, kind, Drop, CL_SUCCESS, code)

KEEP_AND_DROP(cl_context, CONTEXT, clRetainContext, clReleaseContext, CL_INVALID_CONTEXT)
KEEP_AND_DROP(cl_command_queue, QUEUE, clRetainCommandQueue, clReleaseCommandQueue, CL_INVALID_COMMAND_QUEUE)
KEEP_AND_DROP(cl_mem, BUFFER, clRetainMemObject, clReleaseMemObject, CL_INVALID_MEM_OBJECT)
KEEP_AND_DROP(cl_program, PROGRAM, clRetainProgram, clReleaseProgram, CL_INVALID_PROGRAM)
KEEP_AND_DROP(cl_kernel, KERNEL, clRetainKernel, clReleaseKernel, CL_INVALID_KERNEL)
KEEP(cl_event, EVENT, clRetainEvent, CL_INVALID_EVENT)
DROP(cl_event, EVENT, clReleaseEvent,
     expanse_null_opencl.fault == NULL_FAULT_EVENTS_STAY ? CL_OUT_OF_RESOURCES : CL_SUCCESS, CL_INVALID_EVENT)

static void *answer(cl_int code, cl_int *told, void *result) {
    if (told) *told = code;
    return code == CL_SUCCESS ? result : NULL;
}

static cl_int give(const void *value, size_t bytes, size_t room, void *out, size_t *needed) {
    if (needed) *needed = bytes;
    if (!out) return CL_SUCCESS;
    if (room < bytes) return CL_INVALID_VALUE;
    memcpy(out, value, bytes);
    return CL_SUCCESS;
}

#define GIVE(type, ...) give(&(type){__VA_ARGS__}, sizeof(type), room, out, needed)

static cl_int give_text(const char *text, size_t room, void *out, size_t *needed) {
    return give(text, strlen(text) + 1, room, out, needed);
}

/* ---- the platform and its device --------------------------------------------------------------------------------- */

static char platform, device; /* their addresses are the handles */

static bool is_gpu(void) {
    const char *type = getenv("NULL_OPENCL_TYPE");
    return type && strcmp(type, "gpu") == 0;
}

EXPORT cl_int CL_API_CALL clGetPlatformIDs(cl_uint room, cl_platform_id *out, cl_uint *count) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    if (count) *count = 1;
    if (out && room > 0) *out = (cl_platform_id)&platform;
    return CL_SUCCESS;
}

EXPORT cl_int CL_API_CALL clGetPlatformInfo(cl_platform_id id, cl_platform_info what, size_t room, void *out,
                                            size_t *needed) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    if (id != (cl_platform_id)&platform) misuse("%s: %p is no platform", __func__, (void *)id);
    return give_text(what == CL_PLATFORM_VERSION ? "OpenCL 1.2 null" : "Null", room, out, needed);
}

EXPORT cl_int CL_API_CALL clGetDeviceIDs(cl_platform_id id, cl_device_type type, cl_uint room, cl_device_id *out,
                                         cl_uint *count) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    if (id != (cl_platform_id)&platform) misuse("%s: %p is no platform", __func__, (void *)id);
    if (count) *count = 1;
    if (out && room > 0) *out = (cl_device_id)&device;
    return CL_SUCCESS;
}

EXPORT cl_int CL_API_CALL clGetDeviceInfo(cl_device_id id, cl_device_info what, size_t room, void *out,
                                          size_t *needed) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    const bool gpu = is_gpu();
    if (id != (cl_device_id)&device) misuse("%s: %p is no device", __func__, (void *)id);
    switch (what) {
    case CL_DEVICE_TYPE:
        return GIVE(cl_device_type, gpu ? CL_DEVICE_TYPE_GPU : CL_DEVICE_TYPE_CPU);
    case CL_DEVICE_NAME:
        return give_text(gpu ? "Null GPU" : "Null CPU", room, out, needed);
    case CL_DEVICE_VENDOR:
        return give_text("Null", room, out, needed);
    case CL_DRIVER_VERSION:
        return give_text("1.0", room, out, needed);
    case CL_DEVICE_VERSION:
        return give_text("OpenCL 1.2 null", room, out, needed);
    case CL_DEVICE_EXTENSIONS:
        return give_text(expanse_null_opencl.extensions ? expanse_null_opencl.extensions : "", room, out, needed);
    case CL_DEVICE_PLATFORM:
        return GIVE(cl_platform_id, (cl_platform_id)&platform);
    case CL_DEVICE_AVAILABLE:
    case CL_DEVICE_COMPILER_AVAILABLE:
        return GIVE(cl_bool, CL_TRUE);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
        return GIVE(size_t, 1024);
    case CL_DEVICE_LOCAL_MEM_SIZE:
        return GIVE(cl_ulong, 48 << 10);
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
        return GIVE(cl_ulong, (cl_ulong)2 << 30);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
        return GIVE(cl_ulong, (cl_ulong)8 << 30);
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN:
        return GIVE(cl_uint, 1024);
    case CL_DEVICE_MAX_COMPUTE_UNITS:
        return GIVE(cl_uint, gpu ? 64 : 2);
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT:
        return GIVE(cl_uint, 16);
    default:
        misuse("%s: no answer to question 0x%x", __func__, what);
        return CL_INVALID_VALUE;
    }
}

/* ---- contexts and queues ----------------------------------------------------------------------------------------- */

EXPORT cl_context CL_API_CALL clCreateContext(const cl_context_properties *properties, cl_uint count,
                                              const cl_device_id *ids,
                                              void(CL_CALLBACK *told)(const char *, const void *, size_t, void *),
                                              void *user, cl_int *code) {
    CALL(answer(CL_OUT_OF_HOST_MEMORY, code, NULL));
    if (made[CONTEXT] == 0) atexit(end);
    return answer(CL_SUCCESS, code, make(CONTEXT, NULL));
}

EXPORT cl_command_queue CL_API_CALL clCreateCommandQueue(cl_context context, cl_device_id id,
                                                         cl_command_queue_properties properties, cl_int *code) {
    CALL(answer(CL_OUT_OF_HOST_MEMORY, code, NULL));
    object *owner = find(context, CONTEXT, __func__);
    if (!owner) return answer(CL_INVALID_CONTEXT, code, NULL);
    object *queue = make(QUEUE, owner);
    queue->properties = properties;
    return answer(CL_SUCCESS, code, queue);
}

EXPORT cl_int CL_API_CALL clGetCommandQueueInfo(cl_command_queue handle, cl_command_queue_info what, size_t room,
                                                void *out, size_t *needed) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    const object *queue = find(handle, QUEUE, __func__);
    if (!queue) return CL_INVALID_COMMAND_QUEUE;
    if (what == CL_QUEUE_CONTEXT) return GIVE(cl_context, (cl_context)queue->owner);
    if (what == CL_QUEUE_DEVICE) return GIVE(cl_device_id, (cl_device_id)&device);
    if (what == CL_QUEUE_PROPERTIES) return GIVE(cl_command_queue_properties, queue->properties);
    return CL_INVALID_VALUE;
}

EXPORT cl_int CL_API_CALL clFlush(cl_command_queue queue) {
    CALL(CL_OUT_OF_RESOURCES);
    return find(queue, QUEUE, __func__) ? CL_SUCCESS : CL_INVALID_COMMAND_QUEUE;
}

EXPORT cl_int CL_API_CALL clFinish(cl_command_queue queue) {
    CALL(CL_OUT_OF_RESOURCES);
    blocks(&this_call);
    return find(queue, QUEUE, __func__) ? CL_SUCCESS : CL_INVALID_COMMAND_QUEUE;
}

/* ---- buffers ----------------------------------------------------------------------------------------------------- */

EXPORT cl_mem CL_API_CALL clCreateBuffer(cl_context context, cl_mem_flags flags, size_t bytes, void *memory,
                                         cl_int *code) {
    CALL(answer(CL_MEM_OBJECT_ALLOCATION_FAILURE, code, NULL));
    object *owner = find(context, CONTEXT, __func__);
    if (!owner) return answer(CL_INVALID_CONTEXT, code, NULL);
    if (bytes == 0) return answer(CL_INVALID_BUFFER_SIZE, code, NULL);
    object *buffer = make(BUFFER, owner);
    buffer->bytes = bytes;
    buffer->callers = flags & CL_MEM_USE_HOST_PTR;
    buffer->memory = buffer->callers ? memory : calloc(1, bytes);
    if (flags & CL_MEM_COPY_HOST_PTR) memcpy(buffer->memory, memory, bytes);
    return answer(CL_SUCCESS, code, buffer);
}

EXPORT cl_mem CL_API_CALL clCreateSubBuffer(cl_mem handle, cl_mem_flags flags, cl_buffer_create_type type,
                                            const void *described, cl_int *code) {
    CALL(answer(CL_MEM_OBJECT_ALLOCATION_FAILURE, code, NULL));
    object *whole = find(handle, BUFFER, __func__);
    const cl_buffer_region *region = described;
    if (!whole) return answer(CL_INVALID_MEM_OBJECT, code, NULL);
    if (region->size == 0 || region->origin > whole->bytes || region->size > whole->bytes - region->origin) {
        misuse("a sub-buffer of %zu bytes at %zu of a buffer of %zu", region->size, region->origin, whole->bytes);
        return answer(CL_INVALID_VALUE, code, NULL);
    }
    if (whole->owner->kind == BUFFER || region->origin % 128 != 0)
        misuse("a sub-buffer at byte %zu of a %s", region->origin, whole->owner->kind == BUFFER ? "part" : "whole");
    object *part = make(BUFFER, whole);
    whole->references++;
    part->memory = whole->memory + region->origin;
    part->bytes = region->size;
    part->offset = region->origin;
    return answer(CL_SUCCESS, code, part);
}

EXPORT cl_int CL_API_CALL clGetMemObjectInfo(cl_mem handle, cl_mem_info what, size_t room, void *out, size_t *needed) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    const object *buffer = find(handle, BUFFER, __func__);
    if (!buffer) return CL_INVALID_MEM_OBJECT;
    const object *whole = buffer->owner->kind == BUFFER ? buffer->owner : NULL;
    if (what == CL_MEM_CONTEXT) return GIVE(cl_context, (cl_context)(whole ? whole->owner : buffer->owner));
    if (what == CL_MEM_SIZE) return GIVE(size_t, buffer->bytes);
    if (what == CL_MEM_TYPE) return GIVE(cl_mem_object_type, CL_MEM_OBJECT_BUFFER);
    if (what == CL_MEM_ASSOCIATED_MEMOBJECT) return GIVE(cl_mem, (cl_mem)(uintptr_t)whole);
    if (what == CL_MEM_OFFSET) return GIVE(size_t, buffer->offset);
    return CL_INVALID_VALUE;
}

EXPORT cl_int CL_API_CALL clSetMemObjectDestructorCallback(cl_mem handle, void(CL_CALLBACK *gone)(cl_mem, void *),
                                                           void *user) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    object *buffer = find(handle, BUFFER, __func__);
    if (!buffer) return CL_INVALID_MEM_OBJECT;
    if (buffer->gone) misuse("a second callback for a buffer");
    buffer->gone = gone;
    buffer->gone_user = user;
    return CL_SUCCESS;
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

/* Checks what all commands have, and gives the event that is wanted. */
static cl_int command(cl_command_queue queue, cl_uint wait_count, const cl_event *wait, cl_event *event,
                      const char *user) {
    object *on = find(queue, QUEUE, user);
    if (!on) return CL_INVALID_COMMAND_QUEUE;
    if (on->owner->broken) return CL_OUT_OF_RESOURCES;
    for (cl_uint i = 0; i < wait_count; i++)
        if (!find(wait[i], EVENT, user)) return CL_INVALID_EVENT_WAIT_LIST;
    if (event) *event = expanse_null_opencl.fault == NULL_FAULT_NO_EVENTS ? NULL : (cl_event)make(EVENT, on->owner);
    return CL_SUCCESS;
}

/* The memory that a transfer is about; notes which part of which buffer it is. */
static unsigned char *transferred(cl_mem handle, size_t offset, size_t bytes, const char *user) {
    const object *buffer = find(handle, BUFFER, user);
    if (!buffer) return NULL;
    if (bytes == 0 || offset > buffer->bytes || bytes > buffer->bytes - offset) {
        misuse("%s: %zu bytes at %zu of a buffer of %zu", user, bytes, offset, buffer->bytes);
        return NULL;
    }
    note_number(buffer->number);
    note_number(offset);
    return buffer->memory + offset;
}

EXPORT cl_int CL_API_CALL clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset,
                                              size_t bytes, void *to, cl_uint wait_count, const cl_event *wait,
                                              cl_event *event) {
    CALL(CL_OUT_OF_RESOURCES);
    const unsigned char *from = transferred(buffer, offset, bytes, __func__);
    if (blocking) blocks(&this_call);
    if (!from) return CL_INVALID_VALUE;
    memcpy(to, from, bytes);
    return command(queue, wait_count, wait, event, __func__);
}

EXPORT cl_int CL_API_CALL clEnqueueWriteBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset,
                                               size_t bytes, const void *from, cl_uint wait_count, const cl_event *wait,
                                               cl_event *event) {
    CALL(CL_OUT_OF_RESOURCES);
    unsigned char *to = transferred(buffer, offset, bytes, __func__);
    if (blocking) blocks(&this_call);
    if (!to) return CL_INVALID_VALUE;
    note(from, bytes);
    memcpy(to, from, bytes);
    return command(queue, wait_count, wait, event, __func__);
}

EXPORT cl_int CL_API_CALL clEnqueueFillBuffer(cl_command_queue queue, cl_mem buffer, const void *pattern,
                                              size_t pattern_bytes, size_t offset, size_t bytes, cl_uint wait_count,
                                              const cl_event *wait, cl_event *event) {
    CALL(CL_OUT_OF_RESOURCES);
    unsigned char *to = transferred(buffer, offset, bytes, __func__);
    if (!to || bytes % pattern_bytes != 0) return CL_INVALID_VALUE;
    note(pattern, pattern_bytes);
    for (size_t at = 0; at < bytes; at += pattern_bytes) memcpy(to + at, pattern, pattern_bytes);
    return command(queue, wait_count, wait, event, __func__);
}

EXPORT void *CL_API_CALL clEnqueueMapBuffer(cl_command_queue queue, cl_mem handle, cl_bool blocking, cl_map_flags flags,
                                            size_t offset, size_t bytes, cl_uint wait_count, const cl_event *wait,
                                            cl_event *event, cl_int *code) {
    CALL(answer(CL_MAP_FAILURE, code, NULL));
    object *buffer = find(handle, BUFFER, __func__);
    if (blocking) blocks(&this_call);
    if (!buffer || bytes == 0 || offset > buffer->bytes || bytes > buffer->bytes - offset)
        return answer(CL_INVALID_VALUE, code, NULL);
    buffer->mapped++;
    return answer(command(queue, wait_count, wait, event, __func__), code, buffer->memory + offset);
}

EXPORT cl_int CL_API_CALL clEnqueueUnmapMemObject(cl_command_queue queue, cl_mem handle, void *memory,
                                                  cl_uint wait_count, const cl_event *wait, cl_event *event) {
    CALL(CL_OUT_OF_RESOURCES);
    object *buffer = find(handle, BUFFER, __func__);
    if (!buffer) return CL_INVALID_MEM_OBJECT;
    if (buffer->mapped-- == 0) misuse("%s: the buffer is not mapped", __func__);
    return command(queue, wait_count, wait, event, __func__);
}

EXPORT cl_int CL_API_CALL clWaitForEvents(cl_uint count, const cl_event *events) {
    CALL(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
    blocks(&this_call);
    if (count == 0) return CL_INVALID_VALUE;
    for (cl_uint i = 0; i < count; i++)
        if (!find(events[i], EVENT, __func__)) return CL_INVALID_EVENT;
    return CL_SUCCESS;
}

EXPORT cl_int CL_API_CALL clEnqueueMarkerWithWaitList(cl_command_queue queue, cl_uint wait_count, const cl_event *wait,
                                                      cl_event *event) {
    CALL(CL_OUT_OF_RESOURCES);
    return command(queue, wait_count, wait, event, __func__);
}

EXPORT cl_int CL_API_CALL clEnqueueBarrierWithWaitList(cl_command_queue queue, cl_uint wait_count, const cl_event *wait,
                                                       cl_event *event) {
    CALL(CL_OUT_OF_RESOURCES);
    return command(queue, wait_count, wait, event, __func__);
}

EXPORT cl_int CL_API_CALL clGetEventProfilingInfo(cl_event event, cl_profiling_info what, size_t room, void *out,
                                                  size_t *needed) {
    CALL(CL_PROFILING_INFO_NOT_AVAILABLE);
    const object *found = find(event, EVENT, __func__);
    if (!found) return CL_INVALID_EVENT;
    if (expanse_null_opencl.fault == NULL_FAULT_NO_TIMES) return CL_PROFILING_INFO_NOT_AVAILABLE;
    const bool is_end = what == CL_PROFILING_COMMAND_END;
    const cl_ulong early = 1000 * (found->number + 1), late = early + 500; /* a command takes half a microsecond */
    switch (expanse_null_opencl.fault) {
    case NULL_FAULT_TIMES_REVERSED:
        return GIVE(cl_ulong, is_end ? early : late);
    case NULL_FAULT_TIMES_ZERO:
        return GIVE(cl_ulong, 0);
    case NULL_FAULT_TIMES_GARBAGE:
        if (found->number % 3 == 2) return GIVE(cl_ulong, is_end ? late : early);
        return GIVE(cl_ulong, is_end == (found->number % 3 == 0) ? (cl_ulong)-1 : 0);
    default:
        return GIVE(cl_ulong, is_end ? late : early);
    }
}

/* ---- programs ---------------------------------------------------------------------------------------------------- */

static const char binary_mark[] = "null OpenCL 1";
static const char any_kernel[] = "copy 4\n"; /* of programs made of PTX */

EXPORT cl_program CL_API_CALL clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts,
                                                        const size_t *lengths, cl_int *code) {
    CALL(answer(CL_OUT_OF_HOST_MEMORY, code, NULL));
    object *owner = find(context, CONTEXT, __func__);
    if (!owner) return answer(CL_INVALID_CONTEXT, code, NULL);
    if (count != 1 || lengths) misuse("%s: more than one text", __func__);
    object *program = make(PROGRAM, owner);
    program->source = malloc(strlen(texts[0]) + 1);
    strcpy(program->source, texts[0]);
    return answer(CL_SUCCESS, code, program);
}

EXPORT cl_program CL_API_CALL clCreateProgramWithBinary(cl_context context, cl_uint count, const cl_device_id *ids,
                                                        const size_t *lengths, const unsigned char **binaries,
                                                        cl_int *state, cl_int *code) {
    CALL(answer(CL_OUT_OF_HOST_MEMORY, code, NULL));
    object *owner = find(context, CONTEXT, __func__);
    if (!owner) return answer(CL_INVALID_CONTEXT, code, NULL);
    if (strncmp((const char *)binaries[0], ".version", 8) == 0) {
        object *program = make(PROGRAM, owner);
        const char *refused = expanse_null_opencl.refused;
        program->refused = refused && strstr((const char *)binaries[0], refused);
        program->bytes = strlen(any_kernel) + 1;
        program->memory = malloc(program->bytes);
        memcpy(program->memory, any_kernel, program->bytes);
        snprintf(expanse_null_opencl.loaded, sizeof expanse_null_opencl.loaded, "%.*s", (int)lengths[0],
                 (const char *)binaries[0]);
        if (state) *state = CL_SUCCESS;
        return answer(CL_SUCCESS, code, program);
    }
    uint64_t identity;
    const size_t head = sizeof binary_mark + sizeof identity;
    const bool whole = lengths[0] > head && memcmp(binaries[0], binary_mark, sizeof binary_mark) == 0;
    if (state) *state = whole ? CL_SUCCESS : CL_INVALID_BINARY;
    if (!whole) return answer(CL_INVALID_BINARY, code, NULL);
    object *program = make(PROGRAM, owner);
    memcpy(&program->identity, binaries[0] + sizeof binary_mark, sizeof identity);
    program->bytes = lengths[0] - head;
    program->memory = malloc(program->bytes);
    memcpy(program->memory, binaries[0] + head, program->bytes);
    return answer(CL_SUCCESS, code, program);
}

/* All kernels of a preprocessed source, and the numbers of their arguments. */
static void list_kernels(const char *text, FILE *out) {
    for (const char *at = text; (at = strstr(at, "__kernel")) && (at = strstr(at, "void"));) {
        at += strlen("void");
        at += strspn(at, " \t\n");
        const int length = (int)strcspn(at, " \t\n(");
        int depth = 0, commas = 0;
        bool any = false;
        for (const char *end = at + length; *end && (depth != 1 || *end != ')'); end++) {
            depth += (*end == '(') - (*end == ')');
            commas += depth == 1 && *end == ',';
            any = any || (*end != '(' && !isspace((unsigned char)*end));
        }
        fprintf(out, "%.*s %d\n", length, at, any ? commas + 1 : 0);
    }
}

/* Writes what the C preprocessor makes of a source; false where it finds fault. */
static bool preprocess(const char *source, const char *options, const char *to) {
    char from[1100], copy[4096], *words[128];
    char *compiler = getenv("NULL_OPENCL_CC");
    int count = 0;
    const char *fixed[] = {compiler && *compiler ? compiler : "cc", "-E", "-P", "-undef", "-x", "c", "-o", to};
    snprintf(from, sizeof from, "%s.c", to);
    snprintf(copy, sizeof copy, "%s", options ? options : "");
    FILE *file = fopen(from, "w");
    if (!file) return false;
    fputs(source, file);
    fclose(file);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) words[count++] = (char *)(uintptr_t)fixed[i];
    words[count++] = (char[]){"-D__OPENCL_C_VERSION__=120"};
    char *rest = NULL;
    for (char *word = strtok_r(copy, " ", &rest); word && count < 126; word = strtok_r(NULL, " ", &rest))
        if (strncmp(word, "-D", 2) == 0) words[count++] = word;
    words[count++] = from;
    words[count] = NULL;
    /* Not watched itself: the compiler gets nothing of the environment but the path. */
    char path[4096];
    snprintf(path, sizeof path, "PATH=%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    pid_t child;
    int status = -1;
    if (posix_spawnp(&child, words[0], NULL, NULL, words, (char *[]){path, NULL}) == 0) waitpid(child, &status, 0);
    unlink(from);
    return status == 0;
}

static char *read_whole(const char *path) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    const off_t bytes = descriptor < 0 ? -1 : lseek(descriptor, 0, SEEK_END);
    char *text = bytes < 0 ? NULL : calloc(1, (size_t)bytes + 1);
    if (text && pread(descriptor, text, (size_t)bytes, 0) != bytes) text[0] = '\0';
    if (descriptor >= 0) close(descriptor);
    return text;
}

/* NULL: the source does not build. */
static char *signatures(const object *program, const char *options) {
    const char *folder = getenv("NULL_OPENCL_SIGNATURES");
    char kept[1024], made_here[1060], *text = NULL;
    snprintf(kept, sizeof kept, "%s/%016llx", folder && *folder ? folder : "/tmp",
             (unsigned long long)program->identity);
    if (folder && *folder && (text = read_whole(kept))) return text;
    snprintf(made_here, sizeof made_here, "%s.%ld", kept, (long)getpid());
    char *plain = preprocess(program->source, options, made_here) ? read_whole(made_here) : NULL;
    size_t length = 0;
    FILE *out = plain ? open_memstream(&text, &length) : NULL;
    if (out) {
        list_kernels(plain, out);
        fclose(out);
    }
    free(plain);
    if (text && folder && *folder) {
        FILE *file = fopen(made_here, "w");
        if (file) fputs(text, file);
        if (file && fclose(file) == 0) rename(made_here, kept);
    }
    unlink(made_here);
    return text;
}

EXPORT cl_int CL_API_CALL clBuildProgram(cl_program handle, cl_uint count, const cl_device_id *ids, const char *options,
                                         void(CL_CALLBACK *told)(cl_program, void *), void *user) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    object *program = find(handle, PROGRAM, __func__);
    if (!program) return CL_INVALID_PROGRAM;
    expanse_null_opencl.builds++;
    if (program->source) {
        program->identity = mix(BASIS, program->source, strlen(program->source));
        program->identity = mix(program->identity, options ? options : "", options ? strlen(options) : 0);
        program->memory = (unsigned char *)signatures(program, options);
        program->bytes = program->memory ? strlen((char *)program->memory) + 1 : 0;
    }
    program->built = program->memory != NULL && !program->refused;
    return program->built ? CL_SUCCESS : CL_BUILD_PROGRAM_FAILURE;
}

EXPORT cl_int CL_API_CALL clGetProgramInfo(cl_program handle, cl_program_info what, size_t room, void *out,
                                           size_t *needed) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    const object *program = find(handle, PROGRAM, __func__);
    if (!program) return CL_INVALID_PROGRAM;
    if (what == CL_PROGRAM_NUM_DEVICES) return GIVE(cl_uint, 1);
    const char *ptx = expanse_null_opencl.ptx;
    if (ptx && what == CL_PROGRAM_BINARY_SIZES) return GIVE(size_t, strlen(ptx) + 1);
    if (ptx && what == CL_PROGRAM_BINARIES) {
        memcpy(*(char **)out, ptx, strlen(ptx) + 1);
        return CL_SUCCESS;
    }
    if (what == CL_PROGRAM_BINARY_SIZES)
        return GIVE(size_t, program->built ? sizeof binary_mark + sizeof program->identity + program->bytes : 0);
    if (what != CL_PROGRAM_BINARIES || !program->built || room < sizeof(char *)) return CL_INVALID_VALUE;
    unsigned char *binary = *(unsigned char **)out;
    memcpy(binary, binary_mark, sizeof binary_mark);
    memcpy(binary + sizeof binary_mark, &program->identity, sizeof program->identity);
    memcpy(binary + sizeof binary_mark + sizeof program->identity, program->memory, program->bytes);
    return CL_SUCCESS;
}

EXPORT cl_int CL_API_CALL clGetProgramBuildInfo(cl_program handle, cl_device_id id, cl_program_build_info what,
                                                size_t room, void *out, size_t *needed) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    if (!find(handle, PROGRAM, __func__)) return CL_INVALID_PROGRAM;
    return give_text("nothing is compiled here", room, out, needed);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

EXPORT cl_kernel CL_API_CALL clCreateKernel(cl_program handle, const char *name, cl_int *code) {
    CALL(answer(CL_OUT_OF_HOST_MEMORY, code, NULL));
    object *program = find(handle, PROGRAM, __func__);
    if (!program || !program->built) return answer(CL_INVALID_PROGRAM_EXECUTABLE, code, NULL);
    if (expanse_null_opencl.fault == NULL_FAULT_NO_OBJECTS) return answer(CL_SUCCESS, code, NULL);
    const size_t length = strlen(name);
    const char *line = (const char *)program->memory;
    while (line && *line && (strncmp(line, name, length) != 0 || line[length] != ' ')) {
        line = strchr(line, '\n');
        if (line) line++;
    }
    if (!line || !*line) return answer(CL_INVALID_KERNEL_NAME, code, NULL);
    object *kernel = make(KERNEL, program->owner);
    kernel->argument_count = atoi(line + length);
    kernel->arguments = calloc((size_t)kernel->argument_count + 1, sizeof *kernel->arguments);
    kernel->identity = mix(program->identity, name, length);
    return answer(CL_SUCCESS, code, kernel);
}

EXPORT cl_int CL_API_CALL clGetKernelInfo(cl_kernel handle, cl_kernel_info what, size_t room, void *out,
                                          size_t *needed) {
    CALL(CL_OUT_OF_HOST_MEMORY);
    const object *kernel = find(handle, KERNEL, __func__);
    if (!kernel) return CL_INVALID_KERNEL;
    return what == CL_KERNEL_NUM_ARGS ? GIVE(cl_uint, (cl_uint)kernel->argument_count) : CL_INVALID_VALUE;
}

/* A value of a handle's size that is a buffer's is one: nothing else here looks like an address in objects[]. */
static object *as_buffer(size_t bytes, const void *value) {
    uintptr_t handle = 0;
    if (!value || bytes != sizeof handle) return NULL;
    memcpy(&handle, value, sizeof handle);
    const bool inside = handle - (uintptr_t)objects < sizeof objects;
    return inside ? find((const void *)handle, BUFFER, "clSetKernelArg") : NULL;
}

EXPORT cl_int CL_API_CALL clSetKernelArg(cl_kernel handle, cl_uint index, size_t bytes, const void *value) {
    CALL(CL_OUT_OF_RESOURCES);
    object *kernel = find(handle, KERNEL, __func__);
    if (!kernel) return CL_INVALID_KERNEL;
    if (index >= (cl_uint)kernel->argument_count) {
        misuse("argument %u of a kernel that has %d", index, kernel->argument_count);
        return CL_INVALID_ARG_INDEX;
    }
    object *buffer = as_buffer(bytes, value);
    kernel->arguments[index] = (argument){
        .set = true, .bytes = bytes, .buffer = buffer, .digest = value && !buffer ? mix(BASIS, value, bytes) : 0};
    return CL_SUCCESS;
}

static bool note_argument(const argument *given, int index) {
    if (!given->set) {
        misuse("a launch without argument %d", index);
        return false;
    }
    if (given->buffer && !find(given->buffer, BUFFER, "clEnqueueNDRangeKernel")) return false;
    note_number(given->buffer ? given->buffer->number : given->digest);
    note_number(given->bytes);
    return true;
}

EXPORT cl_int CL_API_CALL clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel handle, cl_uint dimensions,
                                                 const size_t *offset, const size_t *global, const size_t *local,
                                                 cl_uint wait_count, const cl_event *wait, cl_event *event) {
    CALL(CL_OUT_OF_RESOURCES);
    const object *kernel = find(handle, KERNEL, __func__);
    if (!kernel) return CL_INVALID_KERNEL;
    note_number(kernel->identity);
    for (int i = 0; i < kernel->argument_count; i++)
        if (!note_argument(&kernel->arguments[i], i)) return CL_INVALID_KERNEL_ARGS;
    for (cl_uint i = 0; i < dimensions; i++) {
        if (global[i] == 0 || (local && (local[i] == 0 || global[i] % local[i] != 0))) {
            misuse("a launch of %zu work-items in groups of %zu", global[i], local ? local[i] : 0);
            return CL_INVALID_WORK_GROUP_SIZE;
        }
        note_number(global[i]);
        note_number(local ? local[i] : 0);
    }
    if (expanse_null_opencl.fault == NULL_FAULT_LAUNCHES_BREAK) {
        kernel->owner->broken = true;
        if (event) *event = (cl_event)&device;
        return CL_OUT_OF_RESOURCES;
    }
    return command(queue, wait_count, wait, event, __func__);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

__attribute__((destructor)) static void report(void) {
    const int to = report_descriptor();
    for (int i = 0; i < KINDS; i++)
        if (live[i] > 0) dprintf(to, "leak %s %ld\n", kind_names[i], live[i]);
    if (!getenv("NULL_OPENCL_REPORT")) return;
    for (const call *each = calls; each; each = each->next) {
        dprintf(to, "calls %s %ld\n", each->name, each->count);
        if (each->blocking > 0) dprintf(to, "blocking %s %ld\n", each->name, each->blocking);
    }
    dprintf(to, "commands %016llx\n", (unsigned long long)commands);
}
