/* Names in the C library's balanced tree: a file may hold as many names as samples. */
#include "data/names.h"

#include "core/array.h"
#include <search.h>
#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b) {
    const xp_name *left = a, *right = b;
    if (left->length != right->length) return left->length < right->length ? -1 : 1;
    return memcmp(left->text, right->text, left->length);
}

int xp_names_find(const xp_names *names, const char *text, size_t length) {
    const xp_name wanted = {text, length, 0};
    xp_name *const *found = tfind(&wanted, &names->tree, compare_names);
    return found ? (*found)->number : -1;
}

static xp_status no_memory(const xp_names *names) {
    return xp_fail(XP_OUT_OF_MEMORY, "no memory for more than %d names", names->count);
}

xp_status xp_names_add(xp_names *names, const char *text, size_t length, int *number) {
    int found = xp_names_find(names, text, length);
    if (found < 0) {
        if (!xp_array_reserve(&names->all, &names->room, (size_t)names->count, 1, sizeof *names->all))
            return no_memory(names);
        xp_name *added = malloc(sizeof *added);
        if (!added) return no_memory(names);
        *added = (xp_name){text, length, names->count};
        if (!tsearch(added, &names->tree, compare_names)) {
            free(added);
            return no_memory(names);
        }
        found = names->count;
        names->all[names->count++] = added;
    }
    if (number) *number = found;
    return XP_OK;
}

void xp_names_release(xp_names *names) {
    for (int i = 0; i < names->count; i++) {
        tdelete(names->all[i], &names->tree, compare_names);
        free(names->all[i]);
    }
    free(names->all);
    *names = (xp_names){0};
}
