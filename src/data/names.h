/* A set of names, each with its number in the order in which they came. The texts are borrowed. */
#ifndef XP_DATA_NAMES_H
#define XP_DATA_NAMES_H

#include "core/status.h"

#include <stddef.h>

typedef struct xp_name {
    const char *text;
    size_t length;
    int number;
} xp_name;

/* All zero: empty. */
typedef struct xp_names {
    void *tree;
    xp_name **all; /* [count], by number */
    int count;
    size_t room;
} xp_names;

/* Adds the name unless it is there; *number may be NULL. XP_OUT_OF_MEMORY. */
xp_status xp_names_add(xp_names *names, const char *text, size_t length, int *number);
int xp_names_find(const xp_names *names, const char *text, size_t length); /* its number, or -1 */
/* Adds the names to an empty set, numbers by size before words by letters: whatever the order in which they came. */
xp_status xp_names_sort(const xp_names *names, xp_names *sorted);
void xp_names_release(xp_names *names);

#endif
