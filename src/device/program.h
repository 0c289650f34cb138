/* Programs: source text with its includes, the memory cache and the disk cache of binaries. Used by src/device alone.
 */
#ifndef XP_DEVICE_PROGRAM_H
#define XP_DEVICE_PROGRAM_H

#include "device/device.h"

xp_status xp_program_cache_create(struct xp_program_cache **out);
void xp_program_cache_close(struct xp_program_cache **cache);

/* A hash of the text of cl/<file>.cl with its includes. */
xp_status xp_program_version(const char *file, unsigned long long *out);

#endif
