/* Reads and writes whole files: plain or gzip reading, atomic writing, folders that other users cannot write to. Does
 * not know what the bytes mean. */
#ifndef XP_CORE_FILES_H
#define XP_CORE_FILES_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Limits, so that no file exhausts the memory: half of the memory of the machine for a file; STREAM for a pipe or a
 * device, which may have no end; RATIO times their compressed size for gzip data that expand to more than LEAST. */
enum { XP_FILE_STREAM_GIB = 1, XP_FILE_GZIP_RATIO = 100, XP_FILE_GZIP_LEAST_MIB = 64 };

/* Reads a whole file, decompressing when it is gzip. *out is allocated, with a NUL after its *length bytes; the
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

/* Folders of files that no other user may have written: machine code, secrets.
 *
 * Opens one; with `make`, makes it and its parents, for this user alone (0700). The caller closes *descriptor.
 * XP_IO_ERROR: it does not exist, belongs to another user, or others can write to it. */
xp_status xp_private_folder_open(const char *path, bool make, int *descriptor);
/* Reads or writes a file of the folder; messages name it `path`. Links are not followed, and a file that belongs to
 * another user or is writable for others is not read. Writing is atomic, and only this user can read the file. Without
 * `replace`, an existing file is kept and the result is XP_INVALID_ARGUMENT. */
xp_status xp_private_file_read(int folder, const char *path, const char *name, char **out, size_t *length);
xp_status xp_private_file_write(int folder, const char *path, const char *name, bool replace, const void *data,
                                size_t length);

/* Whether anything of that name exists, even a dangling link: it must not be overwritten. */
bool xp_path_exists(const char *path);
/* Whether it is a plain file or a link to one. A path that cannot be examined counts as a file: reading it then reports
 * the reason. */
bool xp_file_exists(const char *path);

/* Checks before long work whether its result can be written afterwards. XP_IO_ERROR: the message names the obstacle. */
xp_status xp_file_can_be_made(const char *path); /* its folder exists and is writable */
xp_status xp_folder_can_be_made(const char *path,
                                double bytes); /* it exists or can be made, and has this much free space */

#endif
