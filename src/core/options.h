/* Public option structs that may grow at their end without a new interface: each begins with its size when the caller
 * was compiled, so that a library with more fields neither writes nor reads beyond the caller's struct. Knows only the
 * field `size`. */
#ifndef XP_CORE_OPTIONS_H
#define XP_CORE_OPTIONS_H

#include "core/status.h"

#include <stddef.h>

/* Fills the caller's struct of `size` bytes with the first of the `bytes` of defaults, and zeroes the rest. */
void xp_options_fill(void *options, size_t size, const void *defaults, size_t bytes);

/* Copies the fields that the caller has filled to *own, which holds the defaults in `bytes` bytes. `name` is that of
 * the struct. NULL: the defaults stay.
 * XP_INVALID_ARGUMENT: it has no size, so xp_…_options_default was not called.
 * XP_UNSUPPORTED: it sets a field that only a newer version of the library has. */
xp_status xp_options_take(void *own, size_t bytes, const void *options, const char *name);

#endif
