#include "device/cache.h"

#include "core/files.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What a place is made of; NULL: not set. */
typedef struct place {
    const char *folder, *below;
} place;

static const char *variable(const char *value) {
    return value && *value ? value : NULL;
}

/* Where programs keep what they can make again: XDG_CACHE_HOME, else ~/.cache. */
static place usual_place(void) {
    const char *xdg = variable(getenv("XDG_CACHE_HOME")), *home = variable(getenv("HOME"));
    return xdg ? (place){xdg, ""} : (place){home, "/.cache"};
}

static xp_status join(const char *folder, const char *below, const char *name, char *path, size_t size) {
    const int length = snprintf(path, size, "%s%s%s", folder, below, name);
    if (length > 0 && (size_t)length < size) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT,
                   "the path of the cache folder, which begins with %.60s, is too long: choose a shorter "
                   "EXPANSE_CACHE_DIR",
                   folder);
}

/* The folder's path. *unwanted: there is to be none, which is no fault. */
static xp_status folder_path(char path[PATH_MAX], bool *unwanted) {
    const char *own = getenv("EXPANSE_CACHE_DIR");
    const place usual = usual_place();
    *unwanted = own && !*own;
    if (*unwanted) return xp_fail(XP_UNSUPPORTED, "EXPANSE_CACHE_DIR is empty, so nothing is cached");
    if (own) return join(own, "", "", path, PATH_MAX);
    if (usual.folder) return join(usual.folder, usual.below, "/expanse", path, PATH_MAX);
    return xp_fail(XP_INVALID_ARGUMENT, "there is no cache folder: neither EXPANSE_CACHE_DIR nor HOME is set");
}

static xp_status open_folder(bool make, char path[PATH_MAX], int *descriptor) {
    bool unwanted;
    XP_TRY(folder_path(path, &unwanted));
    return xp_private_folder_open(path, make, descriptor);
}

xp_status xp_cache_check(void) {
    char path[PATH_MAX];
    bool unwanted;
    int descriptor;
    const xp_status status = folder_path(path, &unwanted);
    if (unwanted) return XP_OK;
    XP_TRY(status);
    XP_TRY(xp_private_folder_open(path, true, &descriptor));
    close(descriptor);
    return XP_OK;
}

xp_status xp_cache_path(const char *name, bool make, char *path, size_t size) {
    char folder[PATH_MAX];
    int descriptor;
    XP_TRY(open_folder(make, folder, &descriptor));
    close(descriptor);
    return join(folder, "/", name, path, size);
}

xp_status xp_cache_read(const char *name, char **out, size_t *length) {
    char folder[PATH_MAX];
    int descriptor;
    XP_TRY(open_folder(false, folder, &descriptor));
    const xp_status status = xp_private_file_read(descriptor, name, name, out, length);
    close(descriptor);
    return status;
}

xp_status xp_cache_write(const char *name, const void *data, size_t length) {
    char folder[PATH_MAX];
    int descriptor;
    XP_TRY(open_folder(true, folder, &descriptor));
    const xp_status status = xp_private_file_write(descriptor, name, name, true, data, length);
    close(descriptor);
    return status;
}

bool xp_cache_is_named(void) {
    return variable(getenv("EXPANSE_CACHE_DIR")) != NULL;
}

/* ---- PoCL's ------------------------------------------------------------------------------------------------------ */

static bool pocl_finds_a_place(void) {
    char path[PATH_MAX];
    const place usual = usual_place();
    return usual.folder && join(usual.folder, usual.below, "/pocl/kcache", path, sizeof path) == XP_OK &&
           xp_folder_can_be_made(path, 0) == XP_OK;
}

void xp_cache_serve_pocl(void) {
    char folder[PATH_MAX], path[PATH_MAX], own[32];
    int descriptor;
    if (getenv("POCL_CACHE_DIR") || pocl_finds_a_place()) return;
    if (open_folder(true, folder, &descriptor) != XP_OK) {
        const char *temporary = variable(getenv("TMPDIR"));
        snprintf(own, sizeof own, "/expanse-%lu", (unsigned long)geteuid());
        if (join(temporary ? temporary : "/tmp", own, "", folder, sizeof folder) != XP_OK ||
            xp_private_folder_open(folder, true, &descriptor) != XP_OK)
            return;
    }
    close(descriptor);
    if (join(folder, "/pocl", "", path, sizeof path) == XP_OK) setenv("POCL_CACHE_DIR", path, 0);
}
