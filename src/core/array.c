/* Growing arrays. */
#include "core/array.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool xp_array_reserve(void *array, size_t *room, size_t count, size_t more, size_t bytes) {
    enum { LEAST = 16 };
    if (count <= *room && *room - count >= more) return true;
    if (count > SIZE_MAX - more) return false;
    const size_t need = count + more, twice = *room > SIZE_MAX / 2 ? SIZE_MAX : 2 * *room;
    const size_t larger = need > twice ? need : twice, elements = larger > LEAST ? larger : LEAST;
    void *held;
    memcpy(&held, array, sizeof held); /* a pointer to whatever the elements are */
    if (elements > SIZE_MAX / bytes || !(held = realloc(held, elements * bytes))) return false;
    memcpy(array, &held, sizeof held);
    *room = elements;
    return true;
}
