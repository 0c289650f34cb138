/* Folders of plain files that are replaced as a whole: a reader, or a process after a power failure, finds the old
 * folder or the new one, never a part. Owns the names beside a folder, "NAME.partial" and "NAME.previous"; does not
 * know the files. Only one process at a time may exchange a folder; the caller must ensure this. */
#ifndef XP_CORE_EXCHANGE_H
#define XP_CORE_EXCHANGE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { XP_EXCHANGE_BYTES = 1200 }; /* the longest path of a folder that is made, with its NUL */

/* Makes an empty folder beside `folder` and writes its path to `made`; it replaces what a killed process left under
 * that name. XP_IO_ERROR. */
xp_status xp_exchange_begin(const char *folder, char made[XP_EXCHANGE_BYTES]);
/* Flushes the folder `made` and moves it to `folder`, replacing it if it exists. *left: the new one is in place, but
 * the old one could not be removed; xp_last_error() names it. XP_IO_ERROR: `folder` is unchanged. */
xp_status xp_exchange_finish(const char *made, const char *folder, bool *left);
/* Removes `made` after a failure with `status`, and returns `status`; the message remains that of the failure. */
xp_status xp_exchange_abandon(const char *made, xp_status status);
/* Removes a whole folder: a folder under this name is always complete. XP_IO_ERROR. */
xp_status xp_exchange_remove(const char *folder);

/* If an exchange or a removal may have left a folder called `name`, the length of the original name; else 0. */
size_t xp_exchange_leftover(const char *name);
/* Cleans up after a killed process: if xp_exchange_leftover(name), removes the folder `parent`/`name`, or restores its
 * original name if the process ended between two renames. What cannot be removed does no harm. */
void xp_exchange_recover(const char *parent, const char *name);

#endif
