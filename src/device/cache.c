#include "device/cache.h"

#include "core/files.h"

#include <stdio.h>
#include <stdlib.h>

bool xp_cache_path(const char *name, bool make, char *path, size_t size) {
    const char *own = getenv("EXPANSE_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char folder[1024];
    if (own && !*own) return false;
    if (own)
        snprintf(folder, sizeof folder, "%s", own);
    else if (xdg && *xdg)
        snprintf(folder, sizeof folder, "%s/expanse", xdg);
    else if (home && *home)
        snprintf(folder, sizeof folder, "%s/.cache/expanse", home);
    else
        return false;
    if (make && xp_folder_make(folder) != XP_OK) return false;
    const int length = snprintf(path, size, "%s/%s", folder, name);
    return length > 0 && (size_t)length < size;
}

bool xp_cache_is_named(void) {
    const char *own = getenv("EXPANSE_CACHE_DIR");
    return own && *own;
}
