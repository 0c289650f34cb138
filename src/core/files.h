/* Whole files in, whole files out: plain or gzip reading, atomic writing, folders that others cannot write into. Knows
 * nothing of what the bytes mean. */
#ifndef XP_CORE_FILES_H
#define XP_CORE_FILES_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

/* What is read at most, so that no file takes the machine's memory: half of that memory; from a pipe or a device, which
 * may have no end, this much; and of gzip data so many times what they take, once there is more than the least. */
enum { XP_FILE_STREAM_GIB = 1, XP_FILE_GZIP_RATIO = 100, XP_FILE_GZIP_LEAST_MIB = 64 };

/* Reads a whole file, decompressing when it is gzip. *out is allocated with one NUL behind its *length bytes; the
 * caller frees it. XP_IO_ERROR, XP_BAD_DATA (damaged gzip, or one that grows too much), XP_UNSUPPORTED (a
 * stream without end), XP_OUT_OF_MEMORY. */
xp_status xp_file_read(const char *path, char **out, size_t *length);

/* Writes to a new file of a temporary name beside `path`, flushes it to the disk and renames it: readers see the old or
 * the new file, never a part; a full disk leaves the old one. XP_IO_ERROR. */
xp_status xp_file_write_atomic(const char *path, const void *data, size_t length);

/* Makes a folder and its parents; an existing one is fine. XP_IO_ERROR. */
xp_status xp_folder_make(const char *path);

/* Removes a folder of plain files, if it is there. A link goes, and not what it points to. XP_IO_ERROR. */
xp_status xp_folder_remove(const char *path);

/* Folders of files that nobody else may have written: machine code, secrets.
 *
 * Opens one; with `make`, makes it and its parents, for this user alone (0700). The caller closes *descriptor.
 * XP_IO_ERROR: it is not there, belongs to somebody else, or others may write into it. */
xp_status xp_private_folder_open(const char *path, bool make, int *descriptor);
/* Reads or writes a file of the folder, which `path` names in messages. No link is followed, and a file that belongs to
 * somebody else or that others may write is not read. Writing is atomic and the file readable by this user alone;
 * without `replace`, one that is there stays, and XP_INVALID_ARGUMENT tells it. */
xp_status xp_private_file_read(int folder, const char *path, const char *name, char **out, size_t *length);
xp_status xp_private_file_write(int folder, const char *path, const char *name, bool replace, const void *data,
                                size_t length);

/* Anything of that name, also a link to nothing: what must not be written over. */
bool xp_path_exists(const char *path);
/* A plain file, or a link to one. What may not be looked at counts as one, so that reading it tells why. */
bool xp_file_exists(const char *path);

/* For what is to be written after long work, before it. XP_IO_ERROR tells what is in the way. */
xp_status xp_file_can_be_made(const char *path);                 /* its folder is there and can be written to */
xp_status xp_folder_can_be_made(const char *path, double bytes); /* … or can be made, with so many bytes free */

#endif
