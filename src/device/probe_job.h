/* What the probes share: a kernel of cl/probe.cl with its two buffers, and the words of an answer. For src/device
 * alone.
 */
#ifndef XP_DEVICE_PROBE_JOB_H
#define XP_DEVICE_PROBE_JOB_H

#include "device/device.h"
#include "device/probe.h"

/* Parts of cl/probe.cl; a device need not be able to compile all of them. */
enum {
    XP_PROBE_PART_CORE,
    XP_PROBE_PART_ARITHMETIC,
    XP_PROBE_PART_HALF_STORAGE,
    XP_PROBE_PART_DOUBLE,
    XP_PROBE_PART_HALF,
    XP_PROBE_PART_SUB_GROUPS,
    XP_PROBE_PART_MATRIX,
    XP_PROBE_PART_LOCAL,
    XP_PROBE_PART_PAIRS
};

/* The variant of a part. */
xp_variant xp_probe_part(int number);

/* A kernel of cl/probe.cl with its two buffers. */
typedef struct xp_probe_job {
    xp_device *device;
    const char *file; /* of another kernel: cl/<file>.cl; NULL: of these */
    cl_kernel kernel;
    cl_mem in, out;
    size_t global, local; /* local 0: chosen by the driver */
} xp_probe_job;

/* Compiles the kernel and makes its buffers; `in` (NULL: zeros) is copied. The caller closes the job, after a failure
 * as well. */
xp_status xp_probe_job_open(xp_probe_job *job, const char *kernel, const xp_variant *variant, size_t in_bytes,
                            const void *in, size_t out_bytes, int count);
xp_status xp_probe_job_enqueue(xp_probe_job *job, cl_event *event);
void xp_probe_job_close(xp_probe_job *job);
xp_status xp_probe_finish(xp_device *device); /* waits for the device's queue */
/* Opens, runs once, reads `out` and closes. */
xp_status xp_probe_compute(xp_device *device, const char *kernel, const xp_variant *variant, size_t global,
                           size_t local, size_t in_bytes, const void *in, size_t out_bytes, void *out, int count);

/* Notes that a probe ended with this status: what the compiler rejects is an answer, and what fails in another way is
 * none and may have broken the context. */
void xp_probe_ended(xp_device *device, xp_status status);

/* Fills the result; XP_OK. */
xp_status xp_probe_answer(xp_probe_result *out, bool works, double value, const char *figure, const char *meaning, ...)
    __attribute__((format(printf, 5, 6)));
/* A figure's text, valid until the thread's next call. */
const char *xp_probe_words(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The matrix units that compute correctly on this device; XP_MATRIX_NONE: none of those that cl/matrix.clh knows. For
 * a device that is being opened. */
xp_matrix xp_matrix_find(xp_device *device);
/* Bytes of local memory that a kernel's variables may take, at least what the driver reports. For a device that is
 * being opened. */
size_t xp_static_local_find(xp_device *device);
/* xp_register_option, the build option, with a space behind it, that gives a work-item the most registers; "": none is
 * known. For a device that is being opened. */
extern const char xp_register_option[];
const char *xp_registers_find(xp_device *device);
/* Whether the driver lists this extension; false for CPUs. Only compilers that could know an instruction or an option
 * are asked: others may not survive the attempt. */
bool xp_probe_lists(const xp_device *device, const char *extension);
/* How many of *of products, which every unit computes without rounding, are right. */
int xp_matrix_count_right(xp_device *device, xp_matrix matrix, int *of);

/* Whether this processor has the instructions of AVX-512 BF16; one that has not may end the process at the first. */
bool xp_bf16_instruction_exists(void);
/* Whether the device's compiler takes them and they compute correctly. For a device that is being opened, after
 * xp_peak_lanes. */
xp_status xp_bf16_instruction_find(xp_device *device, bool *out);

/* The local memory that kernels with asynchronous matrix units may use; 0: the device has none that compute correctly.
 * For a device that is being opened, after xp_matrix_find. */
size_t xp_wgmma_find(xp_device *device);
/* How many of *of such products are right in the last part of so much local memory, a multiple of 1024 bytes. */
int xp_wgmma_count_right(xp_device *device, size_t bytes, int *of);

/* The probes, by the file that has them: the driver, work-groups and memory, arithmetic, matrix units. */
xp_status xp_probe_open(xp_device *device, xp_probe_result *out);
xp_status xp_probe_build(xp_device *device, xp_probe_result *out);
xp_status xp_probe_binary(xp_device *device, xp_probe_result *out);
xp_status xp_probe_launch(xp_device *device, xp_probe_result *out);
xp_status xp_probe_events(xp_device *device, xp_probe_result *out);
xp_status xp_probe_local(xp_device *device, xp_probe_result *out);
xp_status xp_probe_groups(xp_device *device, xp_probe_result *out);
xp_status xp_probe_sub_buffer(xp_device *device, xp_probe_result *out);
xp_status xp_probe_memory(xp_device *device, xp_probe_result *out);
xp_status xp_probe_bandwidth(xp_device *device, xp_probe_result *out);
xp_status xp_probe_vectors(xp_device *device, xp_probe_result *out);
xp_status xp_probe_infinities(xp_device *device, xp_probe_result *out);
xp_status xp_probe_integers(xp_device *device, xp_probe_result *out);
xp_status xp_probe_functions(xp_device *device, xp_probe_result *out);
xp_status xp_probe_half_storage(xp_device *device, xp_probe_result *out);
xp_status xp_probe_double(xp_device *device, xp_probe_result *out);
xp_status xp_probe_half_arithmetic(xp_device *device, xp_probe_result *out);
xp_status xp_probe_sub_groups(xp_device *device, xp_probe_result *out);
xp_status xp_probe_bf16(xp_device *device, xp_probe_result *out);
xp_status xp_probe_matrix(xp_device *device, xp_probe_result *out);
xp_status xp_probe_wgmma(xp_device *device, xp_probe_result *out);
xp_status xp_probe_hang(xp_device *device, xp_probe_result *out);
xp_status xp_probe_crash(xp_device *device, xp_probe_result *out);

#endif
