/* JSON that is read and written whole or not at all. Knows nothing of what the values mean. */
#ifndef XP_CORE_JSON_H
#define XP_CORE_JSON_H

#include "core/status.h"
#include "core/writer.h"

#include <jansson.h>
#include <stddef.h>

/* Reads a text; the caller owns *out. Where it is no JSON, *out is NULL and *error says why and where: what to make of
 * that is the caller's. XP_OUT_OF_MEMORY, with `name` in the message. */
xp_status xp_json_read(const char *name, const char *text, size_t length, json_t **out, json_error_t *error);

/* Adds a value to a list or an object; both are taken over. Returns the list or object; NULL, and both are released, where
 * memory ends or either is NULL: what is made of such calls is whole, or NULL. */
json_t *xp_json_append(json_t *list, json_t *value);
json_t *xp_json_set(json_t *object, const char *name, json_t *value);

/* Writes a value, with jansson's flags. A value of NULL is one that there was no memory for. */
void xp_json_write(xp_writer *out, const json_t *value, size_t flags);

#endif
