/* Whole files in, whole files out: plain or gzip reading, atomic writing. Knows nothing of what the bytes mean. */
#ifndef XP_CORE_FILES_H
#define XP_CORE_FILES_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Reads a whole file, decompressing when it is gzip. *out is allocated with one NUL behind its *length bytes; the
 * caller frees it. XP_IO_ERROR, XP_BAD_DATA (damaged gzip), XP_OUT_OF_MEMORY. */
xp_status xp_file_read(const char *path, char **out, size_t *length);

/* Writes to a temporary name beside `path`, flushes it to the disk and renames it: readers see the old or the new file,
 * never a part; a full disk leaves the old one. XP_IO_ERROR. */
xp_status xp_file_write_atomic(const char *path, const void *data, size_t length);

/* Makes a folder and its parents; an existing one is fine. XP_IO_ERROR. */
xp_status xp_folder_make(const char *path);

bool xp_path_exists(const char *path);
bool xp_folder_is_empty(const char *path); /* a missing folder counts as empty */

#endif
