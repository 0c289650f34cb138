/* The exchange of folders. */
#define _GNU_SOURCE /* renameat2 */
#include "core/exchange.h"

#include "core/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = XP_EXCHANGE_BYTES };

static const char partial[] = ".partial", previous[] = ".previous";

/* "FOLDER.partial" or "FOLDER.previous". */
static xp_status name_beside(const char *folder, const char *ending, char path[PATH_BYTES]) {
    const int need = snprintf(path, PATH_BYTES, "%s%s", folder, ending);
    if (need >= 0 && need < PATH_BYTES) return XP_OK;
    return xp_fail(XP_IO_ERROR, "%s: the path is too long; choose a shorter folder", folder);
}

static void flush_folder(const char *path) {
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    (void)fsync(descriptor); /* some file systems cannot */
    close(descriptor);
}

/* Makes the name `path` free. What cannot be removed (on a network file system, while a file in it is open) is moved to
 * "PATH.1", "PATH.2" …, which are removed when that succeeds. */
static xp_status clear(const char *path) {
    enum { ASIDE = 100 };
    char aside[PATH_BYTES + 16], reason[PATH_BYTES + 128];
    if (xp_folder_remove(path) == XP_OK) return XP_OK;
    snprintf(reason, sizeof reason, "%s", xp_last_error());
    for (int k = 1; k < ASIDE; k++) {
        snprintf(aside, sizeof aside, "%s.%d", path, k);
        if (xp_folder_remove(aside) == XP_OK && rename(path, aside) == 0) return XP_OK;
    }
    return xp_fail(XP_IO_ERROR, "%s; it cannot be renamed either; remove it, and continue with --resume", reason);
}

xp_status xp_exchange_begin(const char *folder, char made[XP_EXCHANGE_BYTES]) {
    XP_TRY(name_beside(folder, previous, made)); /* the longer one fits, too */
    XP_TRY(name_beside(folder, partial, made));
    XP_TRY(clear(made));
    return xp_folder_make(made);
}

/* Exchanging the names is one step, so that there is always a whole folder of that name; where the file system cannot,
 * the old one waits as "….previous". */
static xp_status take_place(const char *made, const char *folder, bool *left) {
    if (rename(made, folder) == 0) return XP_OK; /* there was none, or an empty one */
    const int reason = errno;
    if (renameat2(AT_FDCWD, made, AT_FDCWD, folder, RENAME_EXCHANGE) == 0) {
        *left = xp_folder_remove(made) != XP_OK;
        return XP_OK;
    }
    char old[PATH_BYTES];
    XP_TRY(name_beside(folder, previous, old));
    XP_TRY(clear(old));
    if (rename(folder, old) != 0 || rename(made, folder) != 0) {
        return xp_fail(XP_IO_ERROR, "%s: cannot be replaced: %s", folder, strerror(errno == ENOENT ? reason : errno));
    }
    *left = xp_folder_remove(old) != XP_OK;
    return XP_OK;
}

xp_status xp_exchange_finish(const char *made, const char *folder, bool *left) {
    char parent[PATH_BYTES + 4];
    *left = false;
    flush_folder(made);
    XP_TRY(take_place(made, folder, left));
    snprintf(parent, sizeof parent, "%s/..", folder);
    flush_folder(parent);
    return XP_OK;
}

xp_status xp_exchange_abandon(const char *made, xp_status status) {
    char reason[PATH_BYTES + 512];
    snprintf(reason, sizeof reason, "%s", xp_last_error());
    (void)xp_folder_remove(made); /* the reason of the failure is worth more than a second one */
    return xp_fail(status, "%s", reason);
}

xp_status xp_exchange_remove(const char *folder) {
    char aside[PATH_BYTES];
    XP_TRY(name_beside(folder, partial, aside));
    XP_TRY(clear(aside));
    if (rename(folder, aside) != 0) return xp_fail(XP_IO_ERROR, "%s: cannot be removed: %s", folder, strerror(errno));
    return xp_folder_remove(aside);
}

size_t xp_exchange_leftover(const char *name) {
    const size_t length = strcspn(name, ".");
    const bool left = strncmp(name + length, partial, strlen(partial)) == 0 ||
                      strncmp(name + length, previous, strlen(previous)) == 0;
    return left ? length : 0;
}

void xp_exchange_recover(const char *parent, const char *name) {
    char path[PATH_BYTES], whole[PATH_BYTES];
    const size_t length = xp_exchange_leftover(name);
    const int need = snprintf(path, sizeof path, "%s/%s", parent, name);
    if (length == 0 || need < 0 || (size_t)need >= sizeof path) return;
    snprintf(whole, sizeof whole, "%s/%.*s", parent, (int)length, name); /* shorter than `path` */
    if (strcmp(name + length, previous) == 0 && !xp_path_exists(whole))
        (void)rename(path, whole);
    else
        (void)xp_folder_remove(path);
}
