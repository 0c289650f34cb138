/* Devices: the table of what there is, selection, opening, buffers and transfers. */
#include "device/device.h"

#include "core/options.h"
#include "core/text.h"
#include "device/cache.h"
#include "device/findings.h"
#include "device/loader.h"
#include "device/program.h"
#include "device/tuning.h"

#include <ctype.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

#define PLATFORM_NOT_FOUND (-1001) /* cl_khr_icd: the loader found no driver */

/* ---- errors ------------------------------------------------------------------------------------------------------ */

const char *xp_cl_error_name(cl_int code) {
    static const struct {
        cl_int code;
        const char *name;
    } names[] = {
        {CL_SUCCESS, "CL_SUCCESS"},
        {CL_DEVICE_NOT_FOUND, "CL_DEVICE_NOT_FOUND"},
        {CL_DEVICE_NOT_AVAILABLE, "CL_DEVICE_NOT_AVAILABLE"},
        {CL_COMPILER_NOT_AVAILABLE, "CL_COMPILER_NOT_AVAILABLE"},
        {CL_MEM_OBJECT_ALLOCATION_FAILURE, "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
        {CL_OUT_OF_RESOURCES, "CL_OUT_OF_RESOURCES"},
        {CL_OUT_OF_HOST_MEMORY, "CL_OUT_OF_HOST_MEMORY"},
        {CL_PROFILING_INFO_NOT_AVAILABLE, "CL_PROFILING_INFO_NOT_AVAILABLE"},
        {CL_BUILD_PROGRAM_FAILURE, "CL_BUILD_PROGRAM_FAILURE"},
        {CL_MISALIGNED_SUB_BUFFER_OFFSET, "CL_MISALIGNED_SUB_BUFFER_OFFSET"},
        {CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"},
        {CL_INVALID_VALUE, "CL_INVALID_VALUE"},
        {CL_INVALID_PLATFORM, "CL_INVALID_PLATFORM"},
        {CL_INVALID_DEVICE, "CL_INVALID_DEVICE"},
        {CL_INVALID_CONTEXT, "CL_INVALID_CONTEXT"},
        {CL_INVALID_COMMAND_QUEUE, "CL_INVALID_COMMAND_QUEUE"},
        {CL_INVALID_MEM_OBJECT, "CL_INVALID_MEM_OBJECT"},
        {CL_INVALID_BINARY, "CL_INVALID_BINARY"},
        {CL_INVALID_BUILD_OPTIONS, "CL_INVALID_BUILD_OPTIONS"},
        {CL_INVALID_PROGRAM, "CL_INVALID_PROGRAM"},
        {CL_INVALID_KERNEL_NAME, "CL_INVALID_KERNEL_NAME"},
        {CL_INVALID_KERNEL, "CL_INVALID_KERNEL"},
        {CL_INVALID_ARG_INDEX, "CL_INVALID_ARG_INDEX"},
        {CL_INVALID_ARG_VALUE, "CL_INVALID_ARG_VALUE"},
        {CL_INVALID_ARG_SIZE, "CL_INVALID_ARG_SIZE"},
        {CL_INVALID_KERNEL_ARGS, "CL_INVALID_KERNEL_ARGS"},
        {CL_INVALID_WORK_DIMENSION, "CL_INVALID_WORK_DIMENSION"},
        {CL_INVALID_WORK_GROUP_SIZE, "CL_INVALID_WORK_GROUP_SIZE"},
        {CL_INVALID_WORK_ITEM_SIZE, "CL_INVALID_WORK_ITEM_SIZE"},
        {CL_INVALID_BUFFER_SIZE, "CL_INVALID_BUFFER_SIZE"},
        {CL_INVALID_GLOBAL_WORK_SIZE, "CL_INVALID_GLOBAL_WORK_SIZE"},
        {PLATFORM_NOT_FOUND, "CL_PLATFORM_NOT_FOUND_KHR"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].code == code) return names[i].name;
    return "an unnamed OpenCL error";
}

xp_status xp_cl_fail(cl_int code, const char *call) {
    xp_status status =
        code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY ? XP_OUT_OF_MEMORY : XP_DEVICE_ERROR;
    return xp_fail(status, "%s failed: %s (%d)", call, xp_cl_error_name(code), code);
}

xp_status xp_cl_made(const void *made, cl_int code, const char *call) {
    if (code != CL_SUCCESS) return xp_cl_fail(code, call);
    return made ? XP_OK : xp_fail(XP_DEVICE_ERROR, "%s returned no object, although the driver reported success", call);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

typedef struct found_device {
    cl_platform_id platform;
    cl_device_id id;
    xp_device_info info;
} found_device;

static void set_driver_defaults(void) {
    /* PoCL's two workers may share one core after an idle gap and halve the speed; it reads this at its first call. */
    setenv("POCL_AFFINITY", "1", 0);
    xp_cache_serve_pocl();
}

static void trim(char *text) {
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) text[--length] = 0;
    size_t start = strspn(text, " \t");
    if (start) memmove(text, text + start, length - start + 1);
}

/* Asks a device; `code` is that of the first question without an answer, and no further one is asked then. */
typedef struct questions {
    cl_device_id id;
    cl_int code;
} questions;

static void device_text(questions *ask, cl_device_info what, char *out, size_t size) {
    char text[512] = ""; /* longer than any field kept: a longer text fails rather than being cut by the driver */
    if (ask->code == CL_SUCCESS) ask->code = clGetDeviceInfo(ask->id, what, sizeof text, text, NULL);
    trim(text);
    snprintf(out, size, "%.*s", (int)size - 1, text);
}

static uint64_t device_number(questions *ask, cl_device_info what, size_t bytes) {
    uint64_t value = 0; /* little-endian hosts: a shorter number fills the low bytes */
    if (ask->code == CL_SUCCESS) ask->code = clGetDeviceInfo(ask->id, what, bytes, &value, NULL);
    return value;
}

static xp_status answered(const questions *ask) {
    return ask->code == CL_SUCCESS ? XP_OK : xp_cl_fail(ask->code, "clGetDeviceInfo");
}

static xp_status describe(found_device *found, unsigned platform, unsigned device) {
    xp_device_info *info = &found->info;
    questions ask = {.id = found->id};
    snprintf(info->selector, sizeof info->selector, "%u:%u", platform, device);
    char text[512] = "";
    const cl_int code = clGetPlatformInfo(found->platform, CL_PLATFORM_NAME, sizeof text, text, NULL);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clGetPlatformInfo");
    trim(text);
    snprintf(info->platform, sizeof info->platform, "%.127s", text);
    device_text(&ask, CL_DEVICE_NAME, info->name, sizeof info->name);
    device_text(&ask, CL_DEVICE_VENDOR, info->vendor, sizeof info->vendor);
    device_text(&ask, CL_DRIVER_VERSION, info->driver, sizeof info->driver);
    device_text(&ask, CL_DEVICE_VERSION, info->version, sizeof info->version);
    cl_device_type type = device_number(&ask, CL_DEVICE_TYPE, sizeof type);
    snprintf(info->type, sizeof info->type, "%s",
             type & CL_DEVICE_TYPE_GPU   ? "GPU"
             : type & CL_DEVICE_TYPE_CPU ? "CPU"
                                         : "ACC");
    info->compute_units = (unsigned)device_number(&ask, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof(cl_uint));
    info->global_bytes = device_number(&ask, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof(cl_ulong));
    info->allocation_bytes = device_number(&ask, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof(cl_ulong));
    info->local_bytes = device_number(&ask, CL_DEVICE_LOCAL_MEM_SIZE, sizeof(cl_ulong));
    info->available = device_number(&ask, CL_DEVICE_AVAILABLE, sizeof(cl_bool)) != 0;
    info->has_compiler = device_number(&ask, CL_DEVICE_COMPILER_AVAILABLE, sizeof(cl_bool)) != 0;
    return answered(&ask);
}

enum { MAX_PLATFORMS = 32, MAX_DEVICES = 64 };

static bool can_run(const xp_device_info *info) {
    return info->available && info->has_compiler;
}

static bool is_pocl(const char *platform) {
    return strcmp(platform, "Portable Computing Language") == 0;
}

/* Adds to the note why a platform gave no device. */
static void note_platform(cl_platform_id id, unsigned number, cl_int code, char *note, size_t size) {
    char name[128] = "?";
    clGetPlatformInfo(id, CL_PLATFORM_NAME, sizeof name, name, NULL);
    const char *cache = getenv("POCL_CACHE_DIR");
    if (is_pocl(name))
        xp_text_add(
            note, size,
            "%splatform %u (%s) offers no device: that is so where it cannot make its cache folder%s%.200s; let "
            "POCL_CACHE_DIR name a folder that can be written into",
            *note ? "; " : "", number, name, cache ? " " : "", cache ? cache : "");
    else if (code == CL_SUCCESS || code == CL_DEVICE_NOT_FOUND)
        xp_text_add(note, size, "%splatform %u (%s) is installed, and finds no device of its own", *note ? "; " : "",
                    number, name);
    else
        xp_text_add(note, size, "%splatform %u (%s) cannot list its devices: %s (%d)", *note ? "; " : "", number, name,
                    xp_cl_error_name(code), code);
}

/* Fills found[]; *note names platforms without devices, and devices that cannot be queried. */
static xp_status enumerate(found_device *found, size_t *count, char *note, size_t note_size) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_driver_defaults);
    *count = 0;
    note[0] = 0;
    XP_TRY(xp_loader_open());
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint platform_count = 0;
    cl_int code = clGetPlatformIDs(MAX_PLATFORMS, platforms, &platform_count);
    if (code == PLATFORM_NOT_FOUND || (code == CL_SUCCESS && platform_count == 0)) return xp_loader_no_platform();
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clGetPlatformIDs");
    if (platform_count > MAX_PLATFORMS) platform_count = MAX_PLATFORMS;
    for (cl_uint p = 0; p < platform_count; p++) {
        cl_device_id ids[MAX_DEVICES];
        cl_uint device_count = 0;
        code = clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &device_count);
        if (code != CL_SUCCESS || device_count == 0) {
            note_platform(platforms[p], p, code, note, note_size);
            continue;
        }
        if (device_count > MAX_DEVICES) device_count = MAX_DEVICES;
        for (cl_uint d = 0; d < device_count && *count < MAX_DEVICES; d++) {
            found_device *f = &found[(*count)++];
            *f = (found_device){.platform = platforms[p], .id = ids[d]};
            if (describe(f, p, d) == XP_OK) continue;
            (*count)--;
            xp_text_add(note, note_size, "%sdevice %u:%u cannot be queried: %s", *note ? "; " : "", p, d,
                        xp_last_error());
        }
    }
    const char *order[] = {"GPU", "CPU", "ACC"};
    for (int kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < *count; i++)
            if (can_run(&found[i].info) && strcmp(found[i].info.type, order[kind]) == 0) {
                found[i].info.is_default = true;
                return XP_OK;
            }
    return XP_OK;
}

xp_status xp_devices_list(xp_device_info **out, size_t *count, const char **note) {
    static _Thread_local char text[1024];
    found_device *found = calloc(MAX_DEVICES, sizeof *found);
    *out = NULL;
    *count = 0;
    if (note) *note = text;
    text[0] = 0;
    if (!found) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the device table");
    xp_status status = enumerate(found, count, text, sizeof text);
    if (status == XP_OK && *count > 0) {
        *out = calloc(*count, sizeof **out);
        if (*out)
            for (size_t i = 0; i < *count; i++) (*out)[i] = found[i].info;
        else
            status = xp_fail(XP_OUT_OF_MEMORY, "no memory for the device table");
    }
    free(found);
    return status;
}

/* ---- selection and opening --------------------------------------------------------------------------------------- */

void xp_device_options_init(xp_device_options *options, size_t size) {
    xp_options_fill(options, size, &(xp_device_options){0}, sizeof *options);
}

static xp_status take_options(xp_device_options *own, const xp_device_options *options) {
    xp_device_options_default(own);
    return xp_options_take(own, sizeof *own, options, "xp_device_options");
}

static bool contains_ignoring_case(const char *text, const char *part) {
    size_t length = strlen(part);
    for (; *text; text++)
        if (strncasecmp(text, part, length) == 0) return true;
    return false;
}

static bool matches(const xp_device_info *info, const char *select) {
    if (!select || !*select) return info->is_default;
    if (strcmp(info->selector, select) == 0) return true;
    if (strcasecmp(select, "gpu") == 0 || strcasecmp(select, "cpu") == 0) return strcasecmp(info->type, select) == 0;
    return contains_ignoring_case(info->name, select) || contains_ignoring_case(info->platform, select);
}

static xp_status select_device(const char *select, found_device *out) {
    found_device *found = calloc(MAX_DEVICES, sizeof *found);
    if (!found) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the device table");
    size_t count;
    char note[1024], table[4096] = "";
    xp_status status = enumerate(found, &count, note, sizeof note);
    if (status == XP_OK) {
        status = XP_NO_DEVICE;
        for (size_t i = 0; i < count && status != XP_OK; i++)
            if (matches(&found[i].info, select) && can_run(&found[i].info)) {
                *out = found[i];
                status = XP_OK;
            }
        for (size_t i = 0; i < count; i++) {
            xp_text_add(table, sizeof table, "%s%s %s (%s%s)", *table ? ", " : "", found[i].info.selector,
                        found[i].info.name, found[i].info.type,
                        !found[i].info.available      ? ", not available"
                        : !found[i].info.has_compiler ? ", whose driver has no compiler"
                                                      : "");
        }
        if (status != XP_OK) {
            if (select && *select)
                xp_fail(XP_NO_DEVICE, "no device matches \"%s\"; available: %s%s%s", select, *table ? table : "none",
                        *note ? "; " : "", note);
            else
                xp_fail(XP_NO_DEVICE, "no OpenCL device can be used: %s%s", *note ? note : table,
                        *note ? "" : "; pocl-opencl-icd provides a device on the CPU");
        }
    }
    free(found);
    return status;
}

/* The family of this name; XP_FAMILY_ANY: the choice is left to the device. */
static xp_status find_family(const char *name, xp_family *out) {
    *out = XP_FAMILY_ANY;
    if (!name || !*name || strcmp(name, "auto") == 0) return XP_OK;
    for (int f = XP_FAMILY_ANY + 1; f < XP_FAMILIES; f++)
        if (strcmp(name, xp_family_name((xp_family)f)) == 0) *out = (xp_family)f;
    if (*out == XP_FAMILY_ANY)
        return xp_fail(XP_INVALID_ARGUMENT, "kernel family \"%s\" is unknown: use wide, tiled, matrix or auto", name);
    return XP_OK;
}

static xp_status find_arithmetic(const char *name, xp_arithmetic *out) {
    *out = XP_ARITHMETIC_FP32;
    if (!name || !*name) return XP_OK;
    for (int a = 0; a < XP_ARITHMETICS; a++)
        if (strcmp(name, xp_arithmetic_name((xp_arithmetic)a)) == 0) {
            *out = (xp_arithmetic)a;
            return XP_OK;
        }
    return xp_fail(XP_INVALID_ARGUMENT, "arithmetic \"%s\" is unknown: use fp32, fp32-matrix or tf32", name);
}

/* The requested family first, then the others in the order that suits the type of the device. Emulated matrix units
 * are for a family that was asked for. */
static void order_families(xp_device *device, xp_family asked) {
    const xp_family of_cpu[] = {XP_FAMILY_WIDE, XP_FAMILY_TILED},
                    of_gpu[] = {XP_FAMILY_MATRIX, XP_FAMILY_TILED, XP_FAMILY_WIDE};
    const bool is_cpu = device->limits.type & CL_DEVICE_TYPE_CPU;
    const xp_family *usual = is_cpu ? of_cpu : of_gpu;
    int count = 0;
    if (asked == XP_FAMILY_MATRIX && device->matrix == XP_MATRIX_NONE) {
        device->matrix = XP_MATRIX_EMULATED;
        device->wgmma_bytes = device->limits.local_bytes / 2; /* which the units see apart */
    }
    device->layout = device->matrix == XP_MATRIX_EMULATED ? XP_MATRIX_NVIDIA : device->matrix;
    if (asked != XP_FAMILY_ANY) device->families[count++] = asked;
    for (int f = 0; f < (is_cpu ? 2 : 3); f++)
        if (usual[f] != asked && (usual[f] != XP_FAMILY_MATRIX || device->matrix != XP_MATRIX_NONE))
            device->families[count++] = usual[f];
}

/* Gives the device a queue and programs in the given context, or in a new one for NULL. */
static xp_status open_context(xp_device *device, cl_context context) {
    cl_int code = CL_SUCCESS;
    XP_TRY(xp_program_cache_create(&device->programs));
    if (context) {
        code = clRetainContext(context);
        if (code != CL_SUCCESS) return xp_cl_fail(code, "clRetainContext");
        device->context = context;
    } else {
        device->context = clCreateContext(NULL, 1, &device->id, NULL, NULL, &code);
        XP_TRY(xp_cl_made(device->context, code, "clCreateContext"));
    }
    device->queue =
        clCreateCommandQueue(device->context, device->id, device->profiling ? CL_QUEUE_PROFILING_ENABLE : 0, &code);
    return xp_cl_made(device->queue, code, "clCreateCommandQueue");
}

xp_status xp_device_clone(xp_device **out, const xp_device *device) {
    xp_device *clone = *out = malloc(sizeof *clone);
    if (!clone) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a device");
    *clone = *device;
    clone->context = NULL;
    clone->queue = NULL;
    clone->programs = NULL;
    clone->tuning = NULL;
    memset(clone->at_close, 0, sizeof clone->at_close);
    const xp_status status = open_context(clone, NULL);
    if (status != XP_OK) xp_device_close(out);
    return status;
}

/* Fills a device for `found`; its context is the given one, or a new one for NULL. */
static xp_status open_found(xp_device **out, const found_device *found, const xp_device_options *options,
                            cl_context context, bool anew) {
    xp_family family;
    xp_arithmetic arithmetic;
    questions ask = {.id = found->id};
    cl_device_type type = device_number(&ask, CL_DEVICE_TYPE, sizeof type);
    XP_TRY(answered(&ask));
    XP_TRY(find_family(options->family, &family));
    XP_TRY(find_arithmetic(options->arithmetic, &arithmetic));

    xp_device *device = calloc(1, sizeof *device);
    if (!device) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a device");
    device->platform = found->platform;
    device->id = found->id;
    device->arithmetic = arithmetic;
    device->register_option = "";
    device->profiling = options->profiling;
    device->debug = options->debug;
    device->short_header = is_pocl(found->info.platform);
    /* PoCL has a disk cache of its own, and compiles every kernel once more to hand its program out: that is done only
     * for a folder that was asked for. */
    device->saves_programs = xp_cache_is_named() || !is_pocl(found->info.platform);
    memcpy(device->name, found->info.name, sizeof device->name);
    memcpy(device->vendor, found->info.vendor, sizeof device->vendor);
    memcpy(device->driver, found->info.driver, sizeof device->driver);
    memcpy(device->selector, found->info.selector, sizeof device->selector);
    device->limits = (xp_device_limits){
        .type = type,
        .work_group_size = (size_t)device_number(&ask, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(size_t)),
        .local_bytes = (size_t)found->info.local_bytes,
        .static_local_bytes = (size_t)found->info.local_bytes,
        .allocation_bytes = (size_t)found->info.allocation_bytes,
        .alignment_bytes = (size_t)device_number(&ask, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof(cl_uint)) / 8,
        .compute_units = found->info.compute_units > 0 ? found->info.compute_units : 1, /* a driver may not say */
        .lanes = 8,
    };
    const cl_uint native_lanes = (cl_uint)device_number(&ask, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof native_lanes);
    if (device->limits.alignment_bytes < 128) device->limits.alignment_bytes = 128;

    const bool lanes_wanted =
        type & CL_DEVICE_TYPE_CPU && native_lanes >= 16 && (family == XP_FAMILY_ANY || family == XP_FAMILY_WIDE);
    xp_status status = answered(&ask);
    if (status == XP_OK) status = xp_tuning_open(&device->tuning);
    if (status == XP_OK) status = open_context(device, context);
    if (status == XP_OK) status = xp_findings_make(device, found->info.platform, lanes_wanted, anew);
    if (status != XP_OK) {
        xp_fail_in(status, "device %s (%s): ", device->selector, device->name);
        xp_device_close(&device);
        return status;
    }
    order_families(device, family);
    *out = device;
    return XP_OK;
}

static xp_status open_selected(xp_device **out, const xp_device_options *options, bool anew) {
    *out = NULL;
    xp_device_options own;
    XP_TRY(take_options(&own, options));
    found_device found = {0};
    XP_TRY(select_device(own.select, &found));
    return open_found(out, &found, &own, NULL, anew);
}

xp_status xp_device_open(xp_device **out, const xp_device_options *options) {
    return open_selected(out, options, false);
}

xp_status xp_device_open_anew(xp_device **out, const xp_device_options *options) {
    return open_selected(out, options, true);
}

xp_status xp_device_open_queue(xp_device **out, cl_command_queue queue, const xp_device_options *options) {
    *out = NULL;
    xp_device_options own;
    XP_TRY(take_options(&own, options));
    if (!queue) return xp_fail(XP_INVALID_ARGUMENT, "the queue is NULL");
    if (own.select && *own.select)
        return xp_fail(XP_INVALID_ARGUMENT, "the queue determines the device: \"%s\" cannot select another one",
                       own.select);
    XP_TRY(xp_loader_open());
    found_device found = {0};
    cl_context context = NULL;
    cl_int code = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, NULL);
    if (code == CL_SUCCESS) code = clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof found.id, &found.id, NULL);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clGetCommandQueueInfo");
    code = clGetDeviceInfo(found.id, CL_DEVICE_PLATFORM, sizeof found.platform, &found.platform, NULL);
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clGetDeviceInfo");
    XP_TRY(describe(&found, 0, 0));
    snprintf(found.info.selector, sizeof found.info.selector, "of a queue");
    return open_found(out, &found, &own, context, false);
}

void xp_device_opencl(const xp_device *device, cl_context *context, cl_device_id *id, cl_command_queue *queue) {
    if (context) *context = device->context;
    if (id) *id = device->id;
    if (queue) *queue = device->queue;
}

/* Plans and stores are closed before: with them went kernels, events and buffers. Then, since some drivers crash on
 * objects that outlive their context: commands end, libraries let go of their objects, and programs, queue and context
 * are released, the context last. */
void xp_device_close(xp_device **device) {
    if (!device || !*device) return;
    if ((*device)->queue) clFinish((*device)->queue);
    for (int i = 0; i < XP_AT_CLOSE && (*device)->at_close[i]; i++) (*device)->at_close[i]();
    xp_program_cache_close(&(*device)->programs);
    if ((*device)->queue) clReleaseCommandQueue((*device)->queue);
    xp_tuning_close(&(*device)->tuning);
    if ((*device)->context) clReleaseContext((*device)->context);
    free(*device);
    *device = NULL;
}

xp_status xp_device_at_close(xp_device *device, void (*release)(void)) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* threads may share the device */
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < XP_AT_CLOSE && device->at_close[i] && device->at_close[i] != release) i++;
    if (i < XP_AT_CLOSE) device->at_close[i] = release;
    pthread_mutex_unlock(&lock);
    return i < XP_AT_CLOSE ? XP_OK : xp_fail(XP_UNSUPPORTED, "more than %d libraries on a device", XP_AT_CLOSE);
}

bool xp_device_event_times(cl_event event, uint64_t *start, uint64_t *end) {
    cl_ulong first = 0, last = 0;
    if (!event ||
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof first, &first, NULL) != CL_SUCCESS ||
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof last, &last, NULL) != CL_SUCCESS ||
        first == 0 || last == (cl_ulong)-1 || last < first)
        return false;
    *start = first;
    *end = last;
    return true;
}

/* ---- buffers ----------------------------------------------------------------------------------------------------- */

static void CL_CALLBACK free_host_memory(cl_mem buffer, void *memory) {
    (void)buffer;
    free(memory);
}

/* Memory of a CPU device is host memory: large buffers in huge pages, touched once here, spare each step the page
 * faults that a driver's own allocation takes lazily. NULL: let the driver allocate. */
static void *huge_pages(const xp_device *device, size_t bytes) {
    enum { HUGE_PAGE = 2 << 20 };
    if (!(device->limits.type & CL_DEVICE_TYPE_CPU) || bytes < HUGE_PAGE) return NULL;
    size_t rounded = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *memory = aligned_alloc(HUGE_PAGE, rounded);
    if (!memory) return NULL;
    madvise(memory, rounded, MADV_HUGEPAGE);
    memset(memory, 0, rounded);
    return memory;
}

xp_status xp_device_buffer(xp_device *device, size_t bytes, cl_mem *out) {
    *out = NULL;
    if (bytes == 0) return xp_fail(XP_INVALID_ARGUMENT, "a device buffer of 0 bytes was requested");
    if (bytes > device->limits.allocation_bytes)
        return xp_fail(XP_OUT_OF_MEMORY, "a buffer of %zu MiB is larger than %s allows (%zu MiB): use a smaller batch",
                       bytes >> 20, device->name, device->limits.allocation_bytes >> 20);
    cl_int code;
    void *memory = huge_pages(device, bytes);
    *out =
        clCreateBuffer(device->context, CL_MEM_READ_WRITE | (memory ? CL_MEM_USE_HOST_PTR : 0), bytes, memory, &code);
    if (code == CL_SUCCESS && *out && memory) code = clSetMemObjectDestructorCallback(*out, free_host_memory, memory);
    if (code != CL_SUCCESS || !*out) {
        if (*out) clReleaseMemObject(*out);
        *out = NULL;
        free(memory);
        return xp_fail(XP_OUT_OF_MEMORY, "%zu MiB could not be allocated on %s: %s", bytes >> 20, device->name,
                       xp_cl_error_name(code));
    }
    return XP_OK;
}

xp_status xp_device_write(xp_device *device, cl_mem buffer, size_t offset, size_t bytes, const void *data) {
    cl_int code = clEnqueueWriteBuffer(device->queue, buffer, CL_TRUE, offset, bytes, data, 0, NULL, NULL);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clEnqueueWriteBuffer");
}

xp_status xp_device_read(xp_device *device, cl_mem buffer, size_t offset, size_t bytes, void *data) {
    cl_int code = clEnqueueReadBuffer(device->queue, buffer, CL_TRUE, offset, bytes, data, 0, NULL, NULL);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clEnqueueReadBuffer");
}

xp_status xp_device_fill_zero(xp_device *device, cl_mem buffer, size_t bytes) {
    const cl_uchar zero = 0; /* tensors of 16 bits have any even number of bytes */
    cl_int code = clEnqueueFillBuffer(device->queue, buffer, &zero, sizeof zero, 0, bytes, 0, NULL, NULL);
    return code == CL_SUCCESS ? XP_OK : xp_cl_fail(code, "clEnqueueFillBuffer");
}
