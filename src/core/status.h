/* How the functions of the library report a failure. Owns the thread-local message; depends on no other module. */
#ifndef XP_CORE_STATUS_H
#define XP_CORE_STATUS_H

#include <expanse/status.h>

/* Records the message (printf-like) for xp_last_error() and returns `status`. */
xp_status xp_fail(xp_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Inserts text before the recorded message ("layer 2: …") and returns `status`. */
xp_status xp_fail_in(xp_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Returns from the calling function when `call` fails; for functions with nothing to release. */
#define XP_TRY(call)                                                                                                   \
    do {                                                                                                               \
        xp_status xp_try_status = (call);                                                                              \
        if (xp_try_status != XP_OK) return xp_try_status;                                                              \
    } while (0)

/* Jumps to `label` with `status` set when `call` fails; for functions that release on the way out. */
#define XP_TRY_OR(status, call, label)                                                                                 \
    do {                                                                                                               \
        (status) = (call);                                                                                             \
        if ((status) != XP_OK) goto label;                                                                             \
    } while (0)

#endif
