#include "core/options.h"

#include <expanse/version.h>

#include <string.h>

enum { MOST_BYTES = 4096 }; /* of a struct; more is no size */

void xp_options_fill(void *options, size_t size, const void *defaults, size_t bytes) {
    memset(options, 0, size);
    memcpy(options, defaults, size < bytes ? size : bytes);
    memcpy(options, &size, sizeof size);
}

xp_status xp_options_take(void *own, size_t bytes, const void *options, const char *name) {
    size_t size;
    if (!options) return XP_OK;
    memcpy(&size, options, sizeof size);
    if (size < sizeof size || size > MOST_BYTES)
        return xp_fail(XP_INVALID_ARGUMENT, "%s: the field size is not set; call %s_default first", name, name);
    for (size_t i = bytes; i < size; i++)
        if (((const char *)options)[i])
            return xp_fail(XP_UNSUPPORTED, "%s: a field is set that this version of the library, %s, does not have",
                           name, XP_VERSION);
    memcpy(own, options, size < bytes ? size : bytes);
    memcpy(own, &bytes, sizeof bytes);
    return XP_OK;
}
