/* Writing of data that are made. */
#include "data/made.h"

#include "core/files.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

xp_status xp_made_file_write(const char *folder, const char *name, bool (*write)(void *user, FILE *file, int64_t count),
                             void *user, int64_t count) {
    char path[PATH_MAX], partial[PATH_MAX];
    const int need = snprintf(partial, sizeof partial, "%s/%s.partial", folder, name);
    if (need < 0 || (size_t)need >= sizeof partial) return xp_fail(XP_IO_ERROR, "%s: the path is too long", folder);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (xp_path_exists(path))
        return xp_fail(XP_INVALID_ARGUMENT, "%s: exists and is not overwritten; remove it or choose another folder",
                       path);
    FILE *file = fopen(partial, "wb");
    bool written = file && write(user, file, count) && fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0;
    int reason = errno;
    if (file && fclose(file) != 0) written = false;
    if (written && rename(partial, path) != 0) {
        written = false;
        reason = errno;
    }
    if (written) return XP_OK;
    if (file) (void)unlink(partial);
    return xp_fail(XP_IO_ERROR, "%s: cannot be written: %s", path, strerror(reason));
}
