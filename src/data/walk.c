/* Walks through folders. */
#include "data/walk.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MOST_DEPTH = 16 };

typedef struct walk {
    xp_status (*visit)(void *user, const xp_walk_file *file);
    void *user;
    size_t root; /* length of the path of the first folder, with the slash */
} walk;

static int is_shown(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static xp_status walk_folder(const walk *own, const char *folder, int depth);

static xp_status visit_entry(const walk *own, const char *folder, const char *name, int depth) {
    char path[PATH_MAX];
    struct stat info;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH_MAX)
        return xp_fail(XP_UNSUPPORTED, "%s/%s: the path is too long", folder, name);
    if (stat(path, &info) != 0)
        return xp_fail(XP_IO_ERROR, "%s: cannot be examined: %s; correct or remove it", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) return walk_folder(own, path, depth + 1);
    const xp_walk_file file = {path, path + own->root, path + strlen(folder) + 1, (long long)info.st_size};
    return own->visit(own->user, &file);
}

static xp_status walk_folder(const walk *own, const char *folder, int depth) {
    struct dirent **entries = NULL;
    if (depth == MOST_DEPTH)
        return xp_fail(XP_UNSUPPORTED, "%s: folders in more than %d others are not supported", folder, MOST_DEPTH - 1);
    const int count = scandir(folder, &entries, is_shown, compare_names);
    xp_status status = count < 0 ? xp_fail(XP_IO_ERROR, "%s: the folder cannot be read", folder) : XP_OK;
    for (int i = 0; i < count; i++) {
        if (status == XP_OK) status = visit_entry(own, folder, entries[i]->d_name, depth);
        free(entries[i]);
    }
    free(entries);
    return status;
}

xp_status xp_walk(const char *folder, xp_status (*visit)(void *user, const xp_walk_file *file), void *user) {
    const walk own = {visit, user, strlen(folder) + 1};
    return walk_folder(&own, folder, 0);
}

bool xp_name_ends(const char *name, const char *ending) {
    const size_t length = strlen(name), tail = strlen(ending);
    return length > tail && strcasecmp(name + length - tail, ending) == 0;
}
