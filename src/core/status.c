/* The thread-local text of the last failure. */
#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 16384 }; /* a build log with its options must fit */

static _Thread_local char message[MESSAGE_BYTES];
static _Thread_local xp_status code;

const char *xp_last_error(void) {
    return message;
}

xp_status xp_last_status(void) {
    return code;
}

xp_status xp_fail(xp_status status, const char *format, ...) {
    char text[MESSAGE_BYTES]; /* an argument may be the old message itself */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof message);
    return code = status;
}

xp_status xp_fail_in(xp_status status, const char *format, ...) {
    char text[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0) return status;
    if ((size_t)length < sizeof text) snprintf(text + length, sizeof text - (size_t)length, "%s", message);
    memcpy(message, text, sizeof message);
    return code = status;
}

const char *xp_status_name(xp_status status) {
    switch (status) {
    case XP_OK:
        return "ok";
    case XP_INVALID_ARGUMENT:
        return "invalid argument";
    case XP_UNSUPPORTED:
        return "unsupported";
    case XP_OUT_OF_MEMORY:
        return "out of memory";
    case XP_IO_ERROR:
        return "input/output error";
    case XP_BAD_DATA:
        return "bad data";
    case XP_NO_DEVICE:
        return "no device";
    case XP_DEVICE_ERROR:
        return "device error";
    case XP_BUILD_ERROR:
        return "kernel build error";
    case XP_INTERRUPTED:
        return "interrupted";
    }
    return "unknown status";
}
