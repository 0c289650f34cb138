/* Reads and writes JSON, completely or not at all. Does not know what the values mean. */
#ifndef XP_CORE_JSON_H
#define XP_CORE_JSON_H

#include "core/status.h"
#include "core/writer.h"

#include <jansson.h>
#include <stddef.h>

/* Reads a text; the caller owns *out. If it is not valid JSON, the result is XP_OK, *out is NULL, and *error holds
 * reason and position. XP_OUT_OF_MEMORY, with `name` in the message. */
xp_status xp_json_read(const char *name, const char *text, size_t length, json_t **out, json_error_t *error);

/* Adds a value to a list or an object; takes ownership of both and returns the list or object. If memory runs out or
 * either is NULL, releases both and returns NULL, so the result of a chain of calls is complete or NULL. */
json_t *xp_json_append(json_t *list, json_t *value);
json_t *xp_json_set(json_t *object, const char *name, json_t *value);

/* Writes a value, with the flags of jansson. NULL stands for a value that could not be allocated. */
void xp_json_write(xp_writer *out, const json_t *value, size_t flags);

#endif
