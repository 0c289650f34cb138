/* Folders of plain files that are replaced as a whole: a reader, or a process after a power cut, finds the old folder or
 * the new one, never a part. Owns the names beside a folder, "NAME.partial" and "NAME.previous"; knows nothing of the
 * files. One process at a time may exchange a folder; the caller sees to that. */
#ifndef XP_CORE_EXCHANGE_H
#define XP_CORE_EXCHANGE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { XP_EXCHANGE_BYTES = 1200 }; /* the longest path of a folder that is made, with its NUL */

/* Makes an empty folder beside `folder`, whose path goes to `made`; it takes the place of what a killed process left of
 * that name. XP_IO_ERROR. */
xp_status xp_exchange_begin(const char *folder, char made[XP_EXCHANGE_BYTES]);
/* Flushes the folder `made` and puts it in the place of `folder`, which need not be there. *left: the new one is in
 * place, but the one that it replaced could not be removed; xp_last_error() names it. XP_IO_ERROR: `folder` is as it
 * was. */
xp_status xp_exchange_finish(const char *made, const char *folder, bool *left);
/* Removes `made` after a failure of `status`, which it returns; the message stays that of the failure. */
xp_status xp_exchange_abandon(const char *made, xp_status status);
/* Removes a whole folder: under its own name, nothing is ever a part of one. XP_IO_ERROR. */
xp_status xp_exchange_remove(const char *folder);

/* The length of the folder's own name where `name` is one that an exchange or a removal may leave behind; else 0. */
size_t xp_exchange_leftover(const char *name);
/* Cleans up after a process that was killed: removes the folder `parent`/`name`, where xp_exchange_leftover(name), or
 * gives it its own name back where the process ended between two renames. What cannot be removed does no harm. */
void xp_exchange_recover(const char *parent, const char *name);

#endif
