/* The folder for what the next start need not find out again: EXPANSE_CACHE_DIR, else XDG_CACHE_HOME/expanse, else
 * ~/.cache/expanse; EXPANSE_CACHE_DIR="" means none. Knows nothing of what is kept there. */
#ifndef XP_DEVICE_CACHE_H
#define XP_DEVICE_CACHE_H

#include <stdbool.h>
#include <stddef.h>

/* The path of `name` in the folder, which is made when `make` is set. false: there is no folder. */
bool xp_cache_path(const char *name, bool make, char *path, size_t size);

/* Whether EXPANSE_CACHE_DIR names the folder. */
bool xp_cache_is_named(void);

#endif
