/* Images of files: a folder with a folder for each class, or one without classes, or a single file. Owns the names of
 * the files, of which one is read when its sample is; knows no codec. */
#include "core/array.h"
#include "core/files.h"
#include "data/formats.h"
#include "data/walk.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct image_file {
    size_t name; /* where it begins in names */
    int32_t label;
    long long bytes;
} image_file;

typedef struct image_source {
    xp_source source;
    char *root;  /* of the names */
    char *names; /* one after another, each with a NUL */
    size_t used, names_room;
    image_file *files;
    size_t count, room;
} image_source;

/* --- the source --------------------------------------------------------------------------------------------------- */

static void name_image(const xp_source *source, int64_t number, char *text, size_t size) {
    const image_source *own = (const image_source *)source;
    const char *name = own->names + own->files[number].name;
    if (*own->root)
        snprintf(text, size, "%s/%s", own->root, name);
    else
        snprintf(text, size, "%s", name);
}

static xp_status load_image(const xp_source *source, int64_t number, char *name, xp_encoded *out) {
    name_image(source, number, name, PATH_MAX);
    *out = (xp_encoded){.name = name};
    XP_TRY(xp_file_read(name, &out->owned, &out->length));
    out->bytes = out->owned;
    const xp_status status = xp_encoded_measure(out);
    if (status != XP_OK) xp_encoded_release(out);
    return status;
}

/* By its name and size, since reading all would take as long as an epoch. */
static uint64_t identify_image(const xp_source *source, int64_t number) {
    const image_source *own = (const image_source *)source;
    const image_file *file = &own->files[number];
    const char *name = own->names + file->name;
    return XXH64(name, strlen(name), (uint64_t)file->bytes);
}

static void close_images(xp_source *source) {
    image_source *own = (image_source *)source;
    free(own->root);
    free(own->names);
    free(own->files);
    free(own);
}

static xp_status begin(xp_dataset *dataset, const char *root, image_source **out) {
    const char *slash = strrchr(root, '/');
    image_source *own = calloc(1, sizeof *own);
    if (!own) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", root);
    own->source = (xp_source){
        .load = load_image, .name = name_image, .identify = identify_image, .close = close_images, .data_sets = 1};
    own->root = strdup(root);
    dataset->source = &own->source;
    dataset->kind = &xp_images_kind;
    dataset->channels = 3;
    snprintf(dataset->name, sizeof dataset->name, "%.*s", (int)sizeof dataset->name - 1, slash ? slash + 1 : root);
    *out = own;
    return own->root ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", root);
}

static xp_status add_file(image_source *own, const char *name, int label, long long bytes) {
    const size_t length = strlen(name) + 1;
    if (own->count == INT32_MAX)
        return xp_fail(XP_UNSUPPORTED, "%s: more than 2^31 images are not supported", own->root);
    if (!xp_array_reserve(&own->names, &own->names_room, own->used, length, 1) ||
        !xp_array_reserve(&own->files, &own->room, own->count, 1, sizeof *own->files))
        return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the names of %zu images", own->root, own->count + 1);
    memcpy(own->names + own->used, name, length);
    own->files[own->count++] = (image_file){own->used, label, bytes};
    own->used += length;
    return XP_OK;
}

/* --- a folder ----------------------------------------------------------------------------------------------------- */

typedef struct scan {
    image_source *own;
    char (*classes)[NAME_MAX + 1]; /* in the order of their names, as the folders come */
    size_t class_count, room;
    char loose[PATH_MAX]; /* an image that lies in no folder; empty: none does */
} scan;

static xp_status check_name(const image_source *own, const char *name, size_t length) {
    const char *fault = xp_data_name_fault(name, length);
    if (!fault) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s/%.*s: the name of this class %s; rename the folder", own->root, (int)length, name,
                   fault);
}

/* The number of the class of a file: that of the first folder of its name; -1: it is in none. */
static xp_status find_class(scan *s, const xp_walk_file *file, int *label) {
    const char *slash = strchr(file->inside, '/');
    const size_t length = slash ? (size_t)(slash - file->inside) : 0;
    *label = -1;
    if (!slash) return XP_OK;
    const char *last = s->class_count ? s->classes[s->class_count - 1] : "";
    if (strncmp(last, file->inside, length) != 0 || last[length] != '\0') {
        if (s->class_count == XP_DATA_CLASSES)
            return xp_fail(XP_UNSUPPORTED,
                           "%s: has more than %d folders of images; a model has at most so many classes", s->own->root,
                           XP_DATA_CLASSES);
        if (!xp_array_reserve(&s->classes, &s->room, s->class_count, 1, sizeof *s->classes))
            return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the names of its classes", s->own->root);
        XP_TRY(check_name(s->own, file->inside, length));
        snprintf(s->classes[s->class_count++], sizeof *s->classes, "%.*s", (int)length, file->inside);
    }
    *label = (int)s->class_count - 1;
    return XP_OK;
}

static xp_status visit(void *user, const xp_walk_file *file) {
    scan *s = user;
    int label;
    if (xp_picture_is_foreign_name(file->name))
        return xp_fail(XP_UNSUPPORTED, "%s: only JPEG and PNG images are read; convert or remove it", file->path);
    if (!xp_picture_is_name(file->name)) return XP_OK;
    XP_TRY(find_class(s, file, &label));
    if (label < 0 && !*s->loose) snprintf(s->loose, sizeof s->loose, "%s", file->path);
    if (*s->loose && s->class_count > 0)
        return xp_fail(XP_BAD_DATA, "%s: lies beside the folders of the classes; move it into one of them", s->loose);
    return add_file(s->own, file->inside, label, file->bytes);
}

/* Sets count, labels and classes. */
static xp_status describe(xp_dataset *dataset, const scan *s) {
    const char *names[XP_DATA_CLASSES];
    const image_source *own = s->own;
    dataset->count = (int64_t)own->count;
    if (s->class_count == 0) return XP_OK;
    XP_TRY(xp_data_allocate((void **)&dataset->labels, dataset->count, sizeof *dataset->labels, own->root));
    for (size_t i = 0; i < own->count; i++) dataset->labels[i] = own->files[i].label;
    for (size_t c = 0; c < s->class_count; c++) names[c] = s->classes[c];
    return xp_data_name_classes(dataset, names, (int)s->class_count);
}

/* The folder of this name in another, if there is one. */
static bool enter(const char *folder, const char *name, char path[PATH_MAX]) {
    return snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX && xp_path_exists(path) && !xp_file_exists(path);
}

/* A folder with one for training and one for tests has two parts; in others, such names are those of classes. */
static void choose_part(const xp_opening *opening, char root[PATH_MAX]) {
    static const char *const tests[] = {"test", "val", "validation"};
    char train[PATH_MAX], test[PATH_MAX];
    snprintf(root, PATH_MAX, "%s", opening->path);
    for (size_t end = strlen(root); end > 1 && root[end - 1] == '/'; end--) root[end - 1] = '\0';
    if (!opening->part || !enter(root, "train", train)) return;
    for (int i = 0; i < 3; i++) {
        if (!enter(root, tests[i], test)) continue;
        snprintf(root, PATH_MAX, "%s", strcmp(opening->part, "test") == 0 ? test : train);
        return;
    }
}

/* A folder beside those of the classes would be a class that is missing in silence. */
static xp_status check_folders(const char *root, const scan *s) {
    DIR *listing = s->class_count > 0 ? opendir(root) : NULL;
    xp_status status = XP_OK;
    for (struct dirent *entry; listing && status == XP_OK && (entry = readdir(listing));) {
        char path[PATH_MAX];
        bool known = entry->d_name[0] == '.' || !enter(root, entry->d_name, path);
        for (size_t c = 0; c < s->class_count && !known; c++) known = strcmp(s->classes[c], entry->d_name) == 0;
        if (!known)
            status = xp_fail(XP_BAD_DATA, "%s: this folder of a class has no images; add some, or remove it", path);
    }
    if (listing) closedir(listing);
    return status;
}

static xp_status open_folder(xp_dataset *dataset, xp_opening *opening) {
    char root[PATH_MAX];
    scan s = {.classes = NULL};
    choose_part(opening, root);
    XP_TRY(begin(dataset, root, &s.own));
    xp_status status = xp_walk(root, visit, &s);
    if (status == XP_OK && s.own->count == 0)
        status = xp_fail(XP_BAD_DATA, "%s: the folder has no images: no file of it ends in .jpg, .jpeg or .png", root);
    if (status == XP_OK) status = check_folders(root, &s);
    if (status == XP_OK) status = describe(dataset, &s);
    free(s.classes);
    return status;
}

static xp_status find_image(void *user, const xp_walk_file *file) {
    bool *found = user;
    *found = xp_picture_is_name(file->name);
    return *found ? XP_INTERRUPTED : XP_OK;
}

static bool recognises_folder(const xp_opening *opening) {
    bool found = false;
    (void)xp_walk(opening->path, find_image, &found);
    return found;
}

const xp_format xp_format_image_folder = {XP_FORMAT_FOLDER, recognises_folder, open_folder};

/* --- a single file ------------------------------------------------------------------------------------------------ */

static bool recognises_image(const xp_opening *opening) {
    return xp_picture_is_image(opening->bytes, opening->length);
}

static xp_status open_image(xp_dataset *dataset, xp_opening *opening) {
    image_source *own = NULL;
    XP_TRY(begin(dataset, "", &own));
    dataset->count = 1;
    return add_file(own, opening->path, -1, (long long)opening->length);
}

const xp_format xp_format_image = {XP_FORMAT_BINARY, recognises_image, open_image};
