/* Devices, programs and their cache, buffers, queues. Owns contexts (or shares the caller's), queues and programs, and
 * creates kernels and buffers, which belong to the plan or store that requests them; knows no tensors, models or
 * training. */
#ifndef XP_DEVICE_DEVICE_H
#define XP_DEVICE_DEVICE_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

#include "core/status.h"
#include "device/family.h"
#include <expanse/device_opencl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The -D options of one kernel, in the order they were set: the only source of option text, cache key and repro line.
 */
enum { XP_VARIANT_OPTIONS = 64 };
/* In a prelude, the text of a user follows a line '#line 1 "NAME"', in one line that starts with XP_PRELUDE_TEXT;
 * '#line 2 "NAME"' ends it. A failed build then names the position in that text. */
#define XP_PRELUDE_TEXT "return ("
typedef struct xp_variant {
    /* OpenCL C before the kernel file, part of the key; lives as long as the plan. NULL: none. */
    const char *prelude;
    const char *standard; /* of OpenCL C; NULL: "CL1.2" */
    const char *edit_for; /* the target that the program's text is edited for (device/ptx.h), "sm_90a"; NULL: none */
    bool optimised;       /* even if kernels are built without optimisation on this device */
    bool many_registers;  /* work-items get the most registers that the device has, which then runs fewer of them */
    int tuning;           /* handle of the tuning request that chose options, for the profile; 0: none */
    int count;
    struct {
        const char *name; /* a string literal */
        long value;
    } options[XP_VARIANT_OPTIONS];
} xp_variant;

void xp_variant_set(xp_variant *variant, const char *name, long value);
/* Writes "-DNAME=1 -DOTHER=2" to text; returns the length that the whole text needs. */
size_t xp_variant_print(const xp_variant *variant, char *text, size_t size);

/* Properties of an open device that the host needs. */
typedef struct xp_device_limits {
    cl_device_type type;
    size_t work_group_size;
    size_t local_bytes;
    size_t static_local_bytes; /* of __local variables in a kernel, which may be more; see probe_memory.c */
    size_t allocation_bytes;   /* the largest single buffer */
    size_t alignment_bytes;    /* of a sub-buffer's offset */
    unsigned compute_units;
    unsigned lanes;        /* width of the vectors in CPU kernels: 8 or 16 (see cl/lanes.clh) */
    bool bf16_instruction; /* CPU kernels multiply pairs of bf16 at once (see cl/factors.clh) */
} xp_device_limits;

enum { XP_AT_CLOSE = 4 };
struct xp_device {
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue; /* in order */
    xp_device_limits limits;
    /* Of kernels, in the order of preference: the one of the options first, then by the type; XP_FAMILY_ANY fills the
     * places of those that the device cannot use. */
    xp_family families[XP_FAMILIES - 1];
    xp_matrix matrix;
    /* Whose layout of registers the kernels of matrix units have, if there are any: of `matrix`, or the one that is
     * emulated, which a check may choose. */
    xp_matrix layout;
    size_t
        wgmma_bytes; /* of local memory for kernels with asynchronous matrix units (cl/wgmma.clh); 0: there are none */
    /* A kernel of a plan did not build as its text was edited, though the probe's did: no more such kernels are chosen.
     * By any thread. */
    atomic_bool edits_refused;
    xp_arithmetic arithmetic;    /* of fp32 tensors; from the options */
    const char *register_option; /* of programs with many registers; "": there is none */
    bool profiling;
    bool debug;          /* wait for every launch and name the one that fails */
    bool saves_programs; /* in the disk cache */
    bool short_header;   /* programs declare what they call, in place of a header that the compiler includes */
    bool probe_failed;   /* a probe ended without an answer */
    char name[128], vendor[64], driver[128], selector[16];
    struct xp_program_cache *programs;
    struct xp_tuning_tables *tuning;
    void (*at_close[XP_AT_CLOSE])(void); /* of xp_device_at_close; NULL after the last */
};

/* Compiles cl/<file>.cl for `variant`, or takes it from the memory or disk cache, and creates the kernel; the caller
 * releases it with clReleaseKernel. `file` has no folder and no extension ("gemm_wide"). XP_BUILD_ERROR has options and
 * log. */
xp_status xp_device_kernel(xp_device *device, const char *file, const char *kernel, const xp_variant *variant,
                           cl_kernel *out);

xp_status xp_device_buffer(xp_device *device, size_t bytes, cl_mem *out); /* read-write; released by the caller */
xp_status xp_device_write(xp_device *device, cl_mem buffer, size_t offset, size_t bytes, const void *data); /* blocks */
xp_status xp_device_read(xp_device *device, cl_mem buffer, size_t offset, size_t bytes, void *data);        /* blocks */
xp_status xp_device_fill_zero(xp_device *device, cl_mem buffer, size_t bytes);

/* As xp_device_open, but all probes run, whatever was found at an earlier opening. */
xp_status xp_device_open_anew(xp_device **out, const xp_device_options *options);
/* The same device with a context, queue and programs of its own, and without tuning tables; close it. */
xp_status xp_device_clone(xp_device **out, const xp_device *device);

/* Calls `release` when the device closes, after its queue has finished and while its context still exists: for
 * libraries that keep objects of the context. Each function is called once. */
xp_status xp_device_at_close(xp_device *device, void (*release)(void));

/* Start and end of a finished command of a profiling queue, in nanoseconds of the device's clock. False if the driver
 * returned no event or no times, or times that cannot be: a start of 0, an end that is the largest number or before the
 * start. */
bool xp_device_event_times(cl_event event, uint64_t *start, uint64_t *end);

/* Fails with the name of the call and the OpenCL name of the code. */
xp_status xp_cl_fail(cl_int code, const char *call);
/* Fails for an error code of a call that makes an object or an event, and if the driver reports success but returned no
 * object. */
xp_status xp_cl_made(const void *made, cl_int code, const char *call);
const char *xp_cl_error_name(cl_int code);

#endif
