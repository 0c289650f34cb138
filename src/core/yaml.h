/* YAML as a tree whose values know their places, so that a reader can say where each fault is. Owns the reading of
 * libyaml's events; does not know what the values mean. */
#ifndef XP_CORE_YAML_H
#define XP_CORE_YAML_H

#include "core/writer.h"

typedef enum xp_yaml_kind { XP_YAML_NONE, XP_YAML_TEXT, XP_YAML_LIST, XP_YAML_MAPPING } xp_yaml_kind;

typedef struct xp_yaml {
    xp_yaml_kind kind;
    size_t line, column; /* of the value, from 1 */
    char *key;           /* of a value in a mapping; else NULL */
    size_t key_line, key_column;
    char *text;            /* of a text; no NUL character is in it */
    struct xp_yaml *items; /* [count], of a list or a mapping */
    int count;
    size_t room;
} xp_yaml;

/* Reads one document; an empty one is XP_YAML_NONE. What is wrong goes to `faults`, a line each that begins with
 * "name:line:column: "; the tree has all that could be read. In a mapping, a key that is there twice is a fault. The
 * caller releases *root. */
void xp_yaml_read(const char *name, const char *text, size_t length, xp_yaml *root, xp_writer *faults);
void xp_yaml_release(xp_yaml *value); /* an all-zero one is fine */

/* The value of a key; NULL: there is none. */
const xp_yaml *xp_yaml_find(const xp_yaml *mapping, const char *key);

/* Adds "name:line:column: " and the sentence as a line. */
void xp_yaml_fault(xp_writer *faults, const char *name, size_t line, size_t column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
