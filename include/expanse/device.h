/* OpenCL devices: listing and opening them. */
#ifndef EXPANSE_DEVICE_H
#define EXPANSE_DEVICE_H

#include <expanse/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One line of the device table. */
typedef struct xp_device_info {
    char selector[16]; /* "platform:device", both counted from 0: stable while the same drivers are installed */
    char platform[128];
    char name[128];
    char vendor[64];
    char driver[128];
    char version[128]; /* "OpenCL 3.0 …" */
    char type[8];      /* "GPU", "CPU", "ACC" */
    unsigned compute_units;
    uint64_t global_bytes;
    uint64_t allocation_bytes; /* largest single buffer */
    uint64_t local_bytes;      /* per work-group */
    bool available;
    bool has_compiler; /* of its driver; without one no kernel can be built */
    bool is_default;   /* the one that an empty selection opens */
} xp_device_info;

/* Lists all devices of all platforms. *out is allocated (NULL when *count is 0); the caller frees it with free().
 * Platforms that fail are skipped; *note (may be NULL) then holds a sentence about them, else ""; the text belongs to
 * this thread. XP_NO_DEVICE: there is no OpenCL loader or no platform; the message says what is missing or cannot be
 * loaded, and what to install. */
XP_API xp_status xp_devices_list(xp_device_info **out, size_t *count, const char **note);

typedef struct xp_device xp_device;

typedef struct xp_device_options {
    size_t size;        /* of this struct; set by xp_device_options_default */
    const char *select; /* "0:0", part of a name, "gpu", "cpu"; NULL or "": the first GPU, else the first CPU */
    const char *family; /* "wide", "tiled", "matrix"; NULL or "auto": by device type and what its probe says of matrix
                           units. With "matrix", a device without such units emulates them, slowly. */
    bool profiling;     /* time every kernel */
    bool debug;         /* finish after each launch so that a failure names its kernel and layer */
    /* How matrix units multiply fp32 tensors: NULL or "fp32": not at all; "fp32-matrix": in three products, with errors
     * like those of fp32, except that an infinite factor gives NaN; "tf32": factors rounded to 11 significant bits.
     * Devices without such units compute in fp32 whatever this is. */
    const char *arithmetic;
} xp_device_options;

/* NULLs and false. Option structs may get more fields at their end, and programs that were compiled earlier continue to
 * work: therefore always fill them with …_default first. */
XP_API void xp_device_options_init(xp_device_options *options, size_t size); /* size: sizeof *options */
static inline void xp_device_options_default(xp_device_options *options) {
    xp_device_options_init(options, sizeof *options);
}

/* Opens a device with its own context and queue. May be shared between threads. Close it last.
 * XP_NO_DEVICE: nothing matches the selection; the message lists the devices. */
XP_API xp_status xp_device_open(xp_device **out, const xp_device_options *options);
XP_API void xp_device_close(xp_device **device); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
