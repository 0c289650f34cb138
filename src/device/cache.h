/* The folder for what the next start need not find out again: EXPANSE_CACHE_DIR, else XDG_CACHE_HOME/expanse, else
 * ~/.cache/expanse; EXPANSE_CACHE_DIR="" means none. What lies there is run and believed, so the folder is made for this
 * user alone, and one that belongs to somebody else or that others may write into is not used. Knows nothing of what is
 * kept there. */
#ifndef XP_DEVICE_CACHE_H
#define XP_DEVICE_CACHE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether something can be kept, or is not meant to be: else the message says what is wrong with the folder, and what to
 * do. XP_IO_ERROR, XP_INVALID_ARGUMENT. */
xp_status xp_cache_check(void);

/* The path of `name` in the folder, which is made when `make` is set. Fails where there is no folder to be used; the
 * message says why. */
xp_status xp_cache_path(const char *name, bool make, char *path, size_t size);

/* Reads and writes a file of the folder as xp_private_file_read and xp_private_file_write do. */
xp_status xp_cache_read(const char *name, char **out, size_t *length);
xp_status xp_cache_write(const char *name, const void *data, size_t length);

/* Whether EXPANSE_CACHE_DIR names the folder. */
bool xp_cache_is_named(void);

/* PoCL, the driver for CPUs, keeps what it compiles in a folder of its own, and offers no device where it cannot make
 * that. Where the usual place is none that it can be made in, POCL_CACHE_DIR is set to one: "pocl" in the cache folder,
 * else a folder of this user's own for temporary files. A POCL_CACHE_DIR that is set already stays. To be called before
 * the first OpenCL function. */
void xp_cache_serve_pocl(void);

#endif
