/* Reads and writes whole files. Owns temporary names; does not know what the bytes mean. */
#include "core/files.h"

#include "core/array.h"
#include "core/memory.h"
#include "core/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Makes room for `need` bytes and a NUL. */
static xp_status reserve(const char *path, char **bytes, size_t *capacity, size_t need) {
    if (xp_array_reserve(bytes, capacity, need, 1, 1)) return XP_OK;
    return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the file's %zu bytes", path, need);
}

enum { STEP_BYTES = 1 << 24 }; /* decompressed between two looks at the limit */

/* `used` is what is there already, or what a file's size says. */
static xp_status check_size(const char *path, uint64_t used, bool stream) {
    const uint64_t half = xp_memory_total() / 2;
    char text[32];
    if (used > half) {
        xp_text_bytes((double)half, text);
        return xp_fail(XP_OUT_OF_MEMORY,
                       "%s: holds more than %s, half of this machine's memory; split it, or use a larger machine", path,
                       text);
    }
    if (!stream || used <= (uint64_t)XP_FILE_STREAM_GIB << 30) return XP_OK;
    return xp_fail(XP_UNSUPPORTED, "%s: is not a file, and contains more than %d GiB; give a file", path,
                   XP_FILE_STREAM_GIB);
}

static xp_status read_descriptor(const char *path, int descriptor, char **out, size_t *length) {
    struct stat info;
    if (fstat(descriptor, &info) != 0) return xp_fail(XP_IO_ERROR, "%s: cannot be examined: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) return xp_fail(XP_IO_ERROR, "%s: is a folder; give a file in it", path);
    const bool stream = !S_ISREG(info.st_mode);
    XP_TRY(check_size(path, info.st_size > 0 ? (uint64_t)info.st_size : 0, stream));
    size_t capacity = 0, used = 0;
    char *bytes = NULL;
    xp_status status;
    XP_TRY_OR(status, reserve(path, &bytes, &capacity, info.st_size > 0 ? (size_t)info.st_size : 4096), failed);
    for (;;) {
        XP_TRY_OR(status, check_size(path, used, stream), failed);
        if (used + 1 >= capacity) XP_TRY_OR(status, reserve(path, &bytes, &capacity, used + 4096), failed);
        ssize_t got = read(descriptor, bytes + used, capacity - used - 1);
        if (got == 0) break;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = xp_fail(XP_IO_ERROR, "%s: reading failed at byte %zu: %s", path, used, strerror(errno));
            goto failed;
        }
        used += (size_t)got;
    }
    bytes[used] = '\0';
    *out = bytes;
    *length = used;
    return XP_OK;
failed:
    free(bytes);
    return status;
}

/* A few megabytes of gzip can grow to gigabytes of nothing, so there is a limit, which hardly any real data come near.
 * It counts from what was taken so far: a file of zeros is rejected at once. */
static xp_status check_growth(const char *path, size_t taken, size_t used) {
    XP_TRY(check_size(path, used, false));
    if (used <= (size_t)XP_FILE_GZIP_LEAST_MIB << 20 || used / XP_FILE_GZIP_RATIO <= taken) return XP_OK;
    return xp_fail(
        XP_BAD_DATA,
        "%s: its gzip data expand to more than %d times their size, which is unusual and might exhaust the memory; "
        "if the file is correct, decompress it with gunzip and give the result",
        path, XP_FILE_GZIP_RATIO);
}

/* A gzip file may hold several members one after another; their contents are joined. */
static xp_status decompress(const char *path, const char *packed, size_t packed_length, char **out, size_t *length) {
    size_t capacity = 0, used = 0, taken = 0;
    char *bytes = NULL;
    z_stream stream = {0};
    if (inflateInit2(&stream, 15 + 16) != Z_OK) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to decompress", path);
    xp_status status;
    XP_TRY_OR(status, reserve(path, &bytes, &capacity, packed_length * 4), done);
    for (;;) {
        size_t left = packed_length - taken;
        stream.next_in = (Bytef *)(uintptr_t)(packed + taken);
        stream.avail_in = left > UINT_MAX / 2 ? UINT_MAX / 2 : (uInt)left;
        uInt offered = stream.avail_in;
        if (used + 1 >= capacity) XP_TRY_OR(status, reserve(path, &bytes, &capacity, used + 65536), done);
        size_t room = capacity - used - 1;
        stream.next_out = (Bytef *)(bytes + used);
        stream.avail_out = room > STEP_BYTES ? STEP_BYTES : (uInt)room;
        uInt asked = stream.avail_out;
        int code = inflate(&stream, Z_NO_FLUSH);
        taken += offered - stream.avail_in;
        used += asked - stream.avail_out;
        XP_TRY_OR(status, check_growth(path, taken, used), done);
        if (code == Z_STREAM_END) {
            bool another = packed_length - taken >= 2 && packed[taken] == '\x1f' && packed[taken + 1] == '\x8b';
            if (!another) break;
            if (inflateReset(&stream) != Z_OK) code = Z_DATA_ERROR;
        }
        if (code == Z_MEM_ERROR) {
            status = xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to decompress", path);
            goto done;
        }
        if (code == Z_BUF_ERROR || (code == Z_OK && taken == packed_length && stream.avail_out > 0)) {
            status = xp_fail(XP_BAD_DATA, "%s: the gzip data end too early, at byte %zu; download the file again", path,
                             packed_length);
            goto done;
        }
        if (code != Z_OK && code != Z_STREAM_END) {
            status = xp_fail(XP_BAD_DATA, "%s: the gzip data are damaged near byte %zu (%s); download the file again",
                             path, taken, stream.msg ? stream.msg : "no detail");
            goto done;
        }
    }
    bytes[used] = '\0';
    *out = bytes;
    *length = used;
    bytes = NULL;
done:
    inflateEnd(&stream);
    free(bytes);
    return status;
}

xp_status xp_file_read(const char *path, char **out, size_t *length) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return xp_fail(XP_IO_ERROR, "%s: cannot be opened: %s", path, strerror(errno));
    char *bytes = NULL;
    size_t count = 0;
    xp_status status = read_descriptor(path, descriptor, &bytes, &count);
    close(descriptor);
    if (status != XP_OK) return status;
    if (count >= 2 && bytes[0] == '\x1f' && bytes[1] == '\x8b') {
        char *plain = NULL;
        status = decompress(path, bytes, count, &plain, &count);
        free(bytes);
        if (status != XP_OK) return status;
        bytes = plain;
    }
    *out = bytes;
    *length = count;
    return XP_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static xp_status write_all(const char *path, int descriptor, const char *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t put = write(descriptor, bytes + done, length - done);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            return xp_fail(XP_IO_ERROR, "%s: writing failed at byte %zu of %zu: %s; the old content is unchanged", path,
                           done, length, strerror(errno));
        }
        done += (size_t)put;
    }
    if (fsync(descriptor) != 0) {
        return xp_fail(XP_IO_ERROR, "%s: flushing to the disk failed: %s; the old content is unchanged", path,
                       strerror(errno));
    }
    return XP_OK;
}

/* Without this the new name may be lost in a power cut though the bytes are safe. Some file systems cannot sync a
 * folder, so its failure is no failure of the write. */
static void sync_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    int descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    (void)fsync(descriptor);
    close(descriptor);
}

/* Makes a new file beside `name` with an unpredictable name, and writes that name to `temporary`. */
static int open_temporary(int folder, const char *name, mode_t mode, char temporary[PATH_MAX]) {
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) return -1;
    const int written = snprintf(temporary, PATH_MAX, "%s.%016" PRIx64 ".partial", name, random);
    if (written < 0 || written >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
}

/* `name` counts from `folder`; `path` is what messages call it. */
static xp_status write_new(int folder, const char *path, const char *name, mode_t mode, bool replace, const void *data,
                           size_t length) {
    char temporary[PATH_MAX];
    const int descriptor = open_temporary(folder, name, mode, temporary);
    if (descriptor < 0) return xp_fail(XP_IO_ERROR, "%s: cannot be created: %s", path, strerror(errno));
    xp_status status = write_all(path, descriptor, data, length);
    if (close(descriptor) != 0 && status == XP_OK) {
        status = xp_fail(XP_IO_ERROR, "%s: closing failed: %s; the old content is unchanged", path, strerror(errno));
    }
    const bool linked = status == XP_OK && !replace && linkat(folder, temporary, folder, name, 0) == 0;
    if (status == XP_OK && !replace && !linked) {
        status = errno == EEXIST ? xp_fail(XP_INVALID_ARGUMENT, "%s: already exists", path)
                                 : xp_fail(XP_IO_ERROR, "%s: cannot be created: %s", path, strerror(errno));
    }
    if (status == XP_OK && replace && renameat(folder, temporary, folder, name) != 0) {
        status = xp_fail(XP_IO_ERROR, "%s: cannot be replaced: %s", path, strerror(errno));
    }
    if (status != XP_OK || linked) unlinkat(folder, temporary, 0);
    return status;
}

xp_status xp_file_write_atomic(const char *path, const void *data, size_t length) {
    XP_TRY(write_new(AT_FDCWD, path, path, 0666, true, data, length));
    sync_parent(path);
    return XP_OK;
}

/* --- folders ------------------------------------------------------------------------------------------------------ */

static xp_status make_folder(const char *path, mode_t mode) {
    char partial[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial) {
        return xp_fail(XP_IO_ERROR, "'%s': not a usable folder name; give one of 1 to %d characters", path,
                       PATH_MAX - 1);
    }
    memcpy(partial, path, length + 1);
    for (size_t at = 1; at <= length; at++) {
        if (partial[at] != '/' && partial[at] != '\0') continue;
        char kept = partial[at];
        partial[at] = '\0';
        if (mkdir(partial, mode) != 0 && errno != EEXIST) {
            return xp_fail(XP_IO_ERROR, "%s: the folder cannot be made: %s", partial, strerror(errno));
        }
        partial[at] = kept;
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        return xp_fail(XP_IO_ERROR, "%s: exists and is not a folder; choose another name", path);
    }
    return XP_OK;
}

xp_status xp_folder_make(const char *path) {
    return make_folder(path, 0777);
}

xp_status xp_private_folder_open(const char *path, bool make, int *descriptor) {
    struct stat info;
    if (make) XP_TRY(make_folder(path, 0700));
    /* Who owns a link can let it point elsewhere later. */
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode) && info.st_uid != geteuid())
        return xp_fail(XP_IO_ERROR, "%s: is another user's link; remove it or choose another folder", path);
    *descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*descriptor < 0) return xp_fail(XP_IO_ERROR, "%s: the folder cannot be opened: %s", path, strerror(errno));
    xp_status status = XP_OK;
    if (fstat(*descriptor, &info) != 0)
        status = xp_fail(XP_IO_ERROR, "%s: cannot be examined: %s", path, strerror(errno));
    else if (info.st_uid != geteuid())
        status =
            xp_fail(XP_IO_ERROR, "%s: the folder belongs to another user, who could have placed any file in it", path);
    else if (info.st_mode & (S_IWGRP | S_IWOTH))
        status = xp_fail(XP_IO_ERROR, "%s: other users can write to the folder; protect it with chmod 700", path);
    if (status != XP_OK) close(*descriptor);
    return status;
}

xp_status xp_private_file_read(int folder, const char *path, const char *name, char **out, size_t *length) {
    struct stat info;
    const int descriptor = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return xp_fail(XP_IO_ERROR, "%s: cannot be opened: %s", path, strerror(errno));
    xp_status status = XP_OK;
    if (fstat(descriptor, &info) != 0)
        status = xp_fail(XP_IO_ERROR, "%s: cannot be examined: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode) || info.st_uid != geteuid() || info.st_mode & (S_IWGRP | S_IWOTH))
        status =
            xp_fail(XP_IO_ERROR, "%s: is not a file that belongs to this user and that nobody else can write to", path);
    if (status == XP_OK) status = read_descriptor(path, descriptor, out, length);
    close(descriptor);
    return status;
}

xp_status xp_private_file_write(int folder, const char *path, const char *name, bool replace, const void *data,
                                size_t length) {
    XP_TRY(write_new(folder, path, name, 0600, replace, data, length));
    (void)fsync(folder); /* as in sync_parent */
    return XP_OK;
}

xp_status xp_folder_remove(const char *path) {
    const int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0 && errno == ENOENT) return XP_OK;
    if (descriptor < 0 && (errno == ELOOP || errno == ENOTDIR) && unlink(path) == 0) return XP_OK;
    DIR *folder = descriptor < 0 ? NULL : fdopendir(descriptor);
    if (!folder && descriptor >= 0) close(descriptor);
    if (!folder) return xp_fail(XP_IO_ERROR, "%s: cannot be opened to remove it: %s", path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        (void)unlinkat(dirfd(folder), entry->d_name, 0); /* what stays makes rmdir fail below */
    }
    closedir(folder);
    if (rmdir(path) != 0) return xp_fail(XP_IO_ERROR, "%s: cannot be removed: %s", path, strerror(errno));
    return XP_OK;
}

bool xp_path_exists(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

bool xp_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? S_ISREG(info.st_mode) : errno != ENOENT && errno != ENOTDIR;
}

/* --- what will be written later ----------------------------------------------------------------------------------- */

/* The folder of `path`: "a/b/" and "a/b" are in "a", "b" is in ".". */
static xp_status parent_folder(const char *path, char parent[PATH_MAX]) {
    size_t length = strlen(path);
    if (length >= PATH_MAX) return xp_fail(XP_IO_ERROR, "%s: the path is too long", path);
    while (length > 1 && path[length - 1] == '/') length--;
    while (length > 0 && path[length - 1] != '/') length--;
    while (length > 1 && path[length - 1] == '/') length--;
    memcpy(parent, path, length);
    strcpy(parent + length, length > 0 ? "" : ".");
    return XP_OK;
}

static xp_status check_folder(const char *path, const char *folder) {
    struct stat info;
    const bool there = stat(folder, &info) == 0;
    if (!there && errno == ENOENT)
        return xp_fail(XP_IO_ERROR, "%s: cannot be made, because the folder %s does not exist; make it first", path,
                       folder);
    if (!there)
        return xp_fail(XP_IO_ERROR, "%s: cannot be made, because of the folder %s: %s", path, folder, strerror(errno));
    if (!S_ISDIR(info.st_mode) && strcmp(path, folder) == 0)
        return xp_fail(XP_IO_ERROR, "%s: exists and is not a folder; choose another name", path);
    if (!S_ISDIR(info.st_mode))
        return xp_fail(XP_IO_ERROR, "%s: cannot be made, because %s is not a folder", path, folder);
    if (access(folder, W_OK | X_OK) == 0) return XP_OK;
    return xp_fail(XP_IO_ERROR, "%s: cannot be made, because the folder %s cannot be written to: %s", path, folder,
                   strerror(errno));
}

xp_status xp_file_can_be_made(const char *path) {
    char parent[PATH_MAX];
    XP_TRY(parent_folder(path, parent));
    return check_folder(path, parent);
}

xp_status xp_folder_can_be_made(const char *path, double bytes) {
    char folder[PATH_MAX], above[PATH_MAX], need[32], left[32];
    struct statvfs disk;
    snprintf(folder, sizeof folder, "%s", path);
    while (!xp_path_exists(folder) && strcmp(folder, ".") != 0) {
        XP_TRY(parent_folder(folder, above));
        strcpy(folder, above);
    }
    XP_TRY(check_folder(path, folder));
    if (statvfs(folder, &disk) != 0 || disk.f_blocks == 0) return XP_OK; /* a file system without this information */
    const double room = (double)disk.f_bavail * (double)disk.f_frsize;
    if (room >= bytes) return XP_OK;
    xp_text_bytes(bytes, need);
    xp_text_bytes(room, left);
    return xp_fail(XP_IO_ERROR,
                   "%s: the files to be written take %s, and the disk has %s left; free some space, or choose "
                   "another folder",
                   path, need, left);
}
