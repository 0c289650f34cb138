/* Status codes and the text of the last error. Every fallible function of the library returns xp_status; the library
 * never prints, exits or aborts. */
#ifndef EXPANSE_STATUS_H
#define EXPANSE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define XP_API __attribute__((visibility("default")))
#else
#define XP_API
#endif

/* 0 is success; all others are positive and so disjoint from OpenCL's negative codes. */
typedef enum xp_status {
    XP_OK = 0,
    XP_INVALID_ARGUMENT = 1, /* a value, shape or option that makes no sense; the message names it */
    XP_UNSUPPORTED = 2,      /* right in itself, but not possible on this device or in this version */
    XP_OUT_OF_MEMORY = 3,    /* host or device memory; the message says how much was requested */
    XP_IO_ERROR = 4,         /* a file or folder could not be read or written */
    XP_BAD_DATA = 5,         /* a file was read but its content is wrong; the message has file:line or byte offset */
    XP_NO_DEVICE = 6,        /* no OpenCL device fits the selection */
    XP_DEVICE_ERROR = 7,     /* an OpenCL call failed; the message names the call, the kernel and the layer */
    XP_BUILD_ERROR = 8,      /* a kernel did not compile; the message holds its options and the build log */
    XP_INTERRUPTED = 9       /* the caller asked to stop; everything that a resume needs was saved */
} xp_status;

/* The last failure in this thread: a sentence that says where it happened and what to do. Never NULL; empty if nothing
 * has failed. Valid until the thread's next failing call. */
XP_API const char *xp_last_error(void);
/* The code of that failure: why a builder returned NULL. XP_OK if nothing has failed. */
XP_API xp_status xp_last_status(void);

/* The name of a code, for logs: "invalid argument". */
XP_API const char *xp_status_name(xp_status status);

#ifdef __cplusplus
}
#endif
#endif
