/* Arrays that grow as elements are added. Does not know the elements. */
#ifndef XP_CORE_ARRAY_H
#define XP_CORE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>

/* Makes room for `more` elements of `bytes` bytes after the first `count`. `array` is the address of the pointer to the
 * elements, which may be NULL; *room is the number of elements that fit; it at least doubles when it grows, so that
 * adding elements one by one copies each only a few times. New elements are not initialised. false: out of memory, and
 * nothing has changed. */
bool xp_array_reserve(void *array, size_t *room, size_t count, size_t more, size_t bytes);

#endif
