/* The files of a folder and of the folders in it. Owns the order in which they come; does not know what they hold. */
#ifndef XP_DATA_WALK_H
#define XP_DATA_WALK_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

/* A file, while it is visited. */
typedef struct xp_walk_file {
    const char *path;   /* with that of the folder before it */
    const char *inside; /* the same, from the folder on: "cats/1.jpg" */
    const char *name;
    long long bytes;
} xp_walk_file;

/* Visits each file, in the order of the names by their bytes, which is the same in every locale; what begins with a dot
 * is left out. A visit that fails ends the walk. XP_IO_ERROR, XP_UNSUPPORTED: folders too deep, or paths too long. */
xp_status xp_walk(const char *folder, xp_status (*visit)(void *user, const xp_walk_file *file), void *user);

/* Whether a name ends so; ASCII letters may be in upper or lower case. */
bool xp_name_ends(const char *name, const char *ending);

#endif
