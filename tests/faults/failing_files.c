/* File operations that fail, preloaded into a program: on a full disk, a broken one, or when the process is killed.
 * Owns the counts; knows nothing of Expanse.
 *
 * Environment:
 *   FAILING_FILES=NAME:N:HOW    let the N-th operation NAME (from 1) fail; "N+": and all later ones. NAME: open, read,
 *                               write, fsync, close, rename, mkdir, unlink or rmdir. HOW: ENOSPC, EIO, or KILL, which
 *                               ends the process before the operation
 *   FAILING_FILES_REPORT=FILE   append "files NAME COUNT" of each operation at the end
 *   FAILING_FILES_BELOW=FOLDER  only what happens to files in this folder, named by relative or absolute path, counts
 * No fsync reaches the disk: what a power cut does is not what is tried here. */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS /* open and open64 are two names here */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef enum operation { OPEN, READ, WRITE, FSYNC, CLOSE, RENAME, MKDIR, UNLINK, RMDIR, OPERATIONS } operation;
static const char *const names[] = {"open", "read", "write", "fsync", "close", "rename", "mkdir", "unlink", "rmdir"};
static long counts[OPERATIONS];

/* ---- which of them ----------------------------------------------------------------------------------------------- */

static bool counts_path(const char *path) {
    const char *folder = getenv("FAILING_FILES_BELOW");
    return !folder || *path != '/' || strncmp(path, folder, strlen(folder)) == 0;
}

enum { MOST_DESCRIPTORS = 1024 };
static bool watched[MOST_DESCRIPTORS];

static bool counts_descriptor(int descriptor) {
    return descriptor >= 0 && descriptor < MOST_DESCRIPTORS && watched[descriptor];
}

/* Counts an operation; true, with errno, where it is to fail. */
static bool fails(operation which) {
    char name[16], how[16];
    long first;
    const long number = ++counts[which];
    const char *wanted = getenv("FAILING_FILES");
    if (!wanted || sscanf(wanted, "%15[^:]:%ld%*[+:]%15s", name, &first, how) != 3) return false;
    const bool on = strchr(wanted, '+') != NULL;
    if (strcmp(name, names[which]) != 0 || (on ? number < first : number != first)) return false;
    if (strcmp(how, "KILL") == 0) kill(getpid(), SIGKILL);
    errno = strcmp(how, "EIO") == 0 ? EIO : ENOSPC;
    return true;
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

EXPORT int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    const bool counted = counts_path(path);
    if (counted && fails(OPEN)) return -1;
    const int descriptor = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (descriptor >= 0 && descriptor < MOST_DESCRIPTORS) watched[descriptor] = counted;
    return descriptor;
}

EXPORT int open64(const char *path, int flags, ...) __attribute__((alias("open")));

EXPORT int openat(int folder, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    const bool counted = counts_path(path);
    if (counted && fails(OPEN)) return -1;
    const int descriptor = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (descriptor >= 0 && descriptor < MOST_DESCRIPTORS) watched[descriptor] = counted;
    return descriptor;
}

EXPORT int openat64(int folder, const char *path, int flags, ...) __attribute__((alias("openat")));

EXPORT ssize_t read(int descriptor, void *to, size_t bytes) {
    if (counts_descriptor(descriptor) && fails(READ)) return -1;
    return syscall(SYS_read, descriptor, to, bytes);
}

EXPORT ssize_t write(int descriptor, const void *from, size_t bytes) {
    if (counts_descriptor(descriptor) && fails(WRITE)) return -1;
    return syscall(SYS_write, descriptor, from, bytes);
}

EXPORT int fsync(int descriptor) {
    return counts_descriptor(descriptor) && fails(FSYNC) ? -1 : 0;
}

/* A descriptor is closed also where closing fails. */
EXPORT int close(int descriptor) {
    const bool failed = counts_descriptor(descriptor) && fails(CLOSE);
    if (descriptor >= 0 && descriptor < MOST_DESCRIPTORS) watched[descriptor] = false;
    const int reason = errno, code = (int)syscall(SYS_close, descriptor);
    if (failed) errno = reason;
    return failed ? -1 : code;
}

EXPORT int rename(const char *from, const char *to) {
    if (counts_path(to) && fails(RENAME)) return -1;
    return (int)syscall(SYS_rename, from, to);
}

EXPORT int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    if (counts_path(to) && fails(RENAME)) return -1;
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

EXPORT int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return renameat2(from_folder, from, to_folder, to, 0);
}

EXPORT int mkdir(const char *path, mode_t mode) {
    if (counts_path(path) && fails(MKDIR)) return -1;
    return (int)syscall(SYS_mkdir, path, mode);
}

EXPORT int unlink(const char *path) {
    if (counts_path(path) && fails(UNLINK)) return -1;
    return (int)syscall(SYS_unlink, path);
}

EXPORT int unlinkat(int folder, const char *path, int flags) {
    if (counts_path(path) && fails(UNLINK)) return -1;
    return (int)syscall(SYS_unlinkat, folder, path, flags);
}

EXPORT int rmdir(const char *path) {
    if (counts_path(path) && fails(RMDIR)) return -1;
    return (int)syscall(SYS_rmdir, path);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("FAILING_FILES_REPORT");
    const int to = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    for (int i = 0; to >= 0 && i < OPERATIONS; i++) dprintf(to, "files %s %ld\n", names[i], counts[i]);
    if (to >= 0) syscall(SYS_close, to);
}
