/* Records: JSON objects in the cache folder that keep what was measured or tested on devices. Does not know what the
 * values mean. */
#ifndef XP_DEVICE_RECORD_H
#define XP_DEVICE_RECORD_H

#include "core/json.h"

/* Reads the record `name`; the caller owns *all. It is an empty object if the file is missing or damaged: that only
 * costs a measurement. */
xp_status xp_record_load(const char *name, json_t **all);

/* Sets `key` and writes the record; takes ownership of the value. Best effort: what could not be kept is measured
 * again. */
void xp_record_store(const char *name, json_t *all, const char *key, json_t *value);

#endif
