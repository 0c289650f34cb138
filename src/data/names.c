/* Names in the C library's balanced tree: a file may hold as many names as samples. */
#include "data/names.h"

#include "core/array.h"
#include "core/text.h"

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

static bool read_number(const xp_name *name, double *value) {
    size_t taken = 0;
    return xp_text_number(name->text, value, &taken) == XP_OK && taken == name->length;
}

static int compare_sizes(const void *a, const void *b) {
    const xp_name *left = *(xp_name *const *)a, *right = *(xp_name *const *)b;
    double x = 0, y = 0;
    const bool number = read_number(left, &x), other = read_number(right, &y);
    if (number != other) return number ? -1 : 1;
    if (number && x != y) return x < y ? -1 : 1;
    const size_t common = left->length < right->length ? left->length : right->length;
    const int order = memcmp(left->text, right->text, common);
    return order ? order : (left->length > right->length) - (left->length < right->length);
}

xp_status xp_names_sort(const xp_names *names, xp_names *sorted) {
    const size_t count = (size_t)names->count;
    xp_name **all = malloc((count + 1) * sizeof *all);
    if (!all) return no_memory(names);
    if (count > 0) memcpy(all, names->all, count * sizeof *all);
    qsort(all, count, sizeof *all, compare_sizes);
    xp_status status = XP_OK;
    for (size_t i = 0; i < count && status == XP_OK; i++)
        status = xp_names_add(sorted, all[i]->text, all[i]->length, NULL);
    free(all);
    return status;
}

void xp_names_release(xp_names *names) {
    for (int i = 0; i < names->count; i++) {
        tdelete(names->all[i], &names->tree, compare_names);
        free(names->all[i]);
    }
    free(names->all);
    *names = (xp_names){0};
}
