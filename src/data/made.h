/* Files of data that are made here: each is written under a temporary name and renamed, and none is overwritten. */
#ifndef XP_DATA_MADE_H
#define XP_DATA_MADE_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Writes a file with `count` samples, by a function that returns false when the file cannot be written.
 * XP_INVALID_ARGUMENT: it is there already; XP_IO_ERROR. */
xp_status xp_made_file_write(const char *folder, const char *name, bool (*write)(void *user, FILE *file, int64_t count),
                             void *user, int64_t count);

#endif
