/* The cache folder: EXPANSE_CACHE_DIR, else XDG_CACHE_HOME/expanse, else ~/.cache/expanse; EXPANSE_CACHE_DIR=""
 * disables it. Its files are executed and trusted, so the folder is made for this user alone, and a folder that belongs
 * to another user or that others can write to is not used. Does not know what the files contain. */
#ifndef XP_DEVICE_CACHE_H
#define XP_DEVICE_CACHE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

/* XP_OK if the folder can be used or is disabled; otherwise the message says what is wrong with it and what to do.
 * XP_IO_ERROR, XP_INVALID_ARGUMENT. */
xp_status xp_cache_check(void);

/* The path of `name` in the folder, which is made if `make` is set. Fails if there is no usable folder; the message
 * says why. */
xp_status xp_cache_path(const char *name, bool make, char *path, size_t size);

/* Reads and writes a file of the folder as xp_private_file_read and xp_private_file_write do. */
xp_status xp_cache_read(const char *name, char **out, size_t *length);
xp_status xp_cache_write(const char *name, const void *data, size_t length);

/* Whether EXPANSE_CACHE_DIR names the folder. */
bool xp_cache_is_named(void);

/* PoCL, the driver for CPUs, has its own cache folder and offers no device if it cannot make it. If the usual folder
 * cannot be made, this sets POCL_CACHE_DIR: to "pocl" in the cache folder, or else to a private folder for temporary
 * files. An existing POCL_CACHE_DIR is kept. Call it before the first OpenCL function. */
void xp_cache_serve_pocl(void);

#endif
