/* CIFAR-10 and CIFAR-100 in their binary form: records of one or two labels and 32 × 32 pixels, channel after channel.
 * Owns the format, and which files of a folder belong to a part; the pixels stay bytes until they are read. */
#include "core/array.h"
#include "core/files.h"
#include "data/formats.h"
#include "data/walk.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, CHANNELS = 3, PIXELS = SIDE * SIDE * CHANNELS };

/* The two sets. Of two labels, the last is the finer one, which is read. */
typedef struct cifar_set {
    size_t labels; /* bytes before the pixels */
    int classes;
    const char *names; /* the file of the classes' names, beside the data */
    const char *train[6], *test[2];
} cifar_set;
static const cifar_set sets[] = {
    {1,
     10,
     "batches.meta.txt",
     {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
     {"test_batch.bin"}},
    {2, 100, "fine_label_names.txt", {"train.bin"}, {"test.bin"}}};
enum { SETS = sizeof sets / sizeof *sets };

typedef struct cifar_source {
    xp_source source;
    const cifar_set *set;
    char *bytes;
    size_t length, room;
} cifar_source;

static size_t record_bytes(const cifar_set *set) {
    return set->labels + PIXELS;
}

/* --- the source --------------------------------------------------------------------------------------------------- */

static xp_status load_image(const xp_source *source, int64_t number, char *name, xp_encoded *out) {
    const cifar_source *own = (const cifar_source *)source;
    *out = (xp_encoded){.codec = &xp_codec_planes,
                        .name = "CIFAR",
                        .bytes = own->bytes + (size_t)number * record_bytes(own->set) + own->set->labels,
                        .length = PIXELS,
                        .height = SIDE,
                        .breadth = SIDE,
                        .channels = CHANNELS};
    return XP_OK;
}

static void close_cifar(xp_source *source) {
    free(((cifar_source *)source)->bytes);
    free(source);
}

static xp_status begin(xp_dataset *dataset, const char *path, cifar_source **out) {
    cifar_source *own = calloc(1, sizeof *own);
    if (!own) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", path);
    own->source = (xp_source){.load = load_image, .close = close_cifar, .data_sets = 1};
    dataset->source = &own->source;
    dataset->kind = &xp_images_kind;
    dataset->channels = CHANNELS;
    dataset->height = dataset->breadth = SIDE;
    dataset->sample_elements = PIXELS;
    *out = own;
    return XP_OK;
}

/* The set whose records fill the bytes, with labels that it has; NULL: neither. */
static const cifar_set *find_set(const char *bytes, size_t length) {
    for (int i = 0; i < SETS; i++) {
        const size_t record = record_bytes(&sets[i]);
        bool fits = length % record == 0;
        for (size_t at = 0; at < length && fits; at += record)
            fits = (unsigned char)bytes[at + sets[i].labels - 1] < sets[i].classes;
        if (fits) return &sets[i];
    }
    return NULL;
}

static xp_status add_records(cifar_source *own, const char *path, const char *bytes, size_t length) {
    const cifar_set *set = find_set(bytes, length);
    if (!set)
        return xp_fail(XP_BAD_DATA,
                       "%s: byte %zu: the %zu bytes are no whole records of CIFAR-10 (%zu bytes, labels below 10) or "
                       "CIFAR-100 (%zu bytes, labels below 100); download the file again",
                       path, length, length, record_bytes(&sets[0]), record_bytes(&sets[1]));
    if (own->set && own->set != set)
        return xp_fail(XP_BAD_DATA, "%s: the records are not those of the files before it", path);
    own->set = set;
    if (!xp_array_reserve(&own->bytes, &own->room, own->length, length, 1))
        return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", path);
    memcpy(own->bytes + own->length, bytes, length);
    own->length += length;
    return XP_OK;
}

/* --- classes ------------------------------------------------------------------------------------------------------ */

/* From the file of names in this folder, if there is one; else numbers. */
static xp_status name_classes(xp_dataset *dataset, const cifar_set *set, const char *folder) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", folder, set->names);
    return xp_data_name_numbers(dataset, path, NULL, set->classes, set->classes);
}

static xp_status describe(xp_dataset *dataset, const cifar_source *own, const char *folder) {
    const size_t record = record_bytes(own->set);
    dataset->count = (int64_t)(own->length / record);
    XP_TRY(xp_data_allocate((void **)&dataset->labels, dataset->count, sizeof *dataset->labels, dataset->name));
    for (int64_t i = 0; i < dataset->count; i++)
        dataset->labels[i] = (unsigned char)own->bytes[(size_t)i * record + own->set->labels - 1];
    return name_classes(dataset, own->set, folder);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static bool recognises_file(const xp_opening *opening) {
    const bool named = xp_name_ends(opening->path, ".bin") || xp_name_ends(opening->path, ".bin.gz");
    const bool idx = opening->length >= 3 && memcmp(opening->bytes, "\0\0\x08", 3) == 0;
    return named && (!idx || find_set(opening->bytes, opening->length));
}

static xp_status open_file(xp_dataset *dataset, xp_opening *opening) {
    const char *slash = strrchr(opening->path, '/');
    char folder[PATH_MAX];
    cifar_source *own = NULL;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - opening->path) : 1, slash ? opening->path : ".");
    XP_TRY(begin(dataset, opening->path, &own));
    XP_TRY(add_records(own, opening->path, opening->bytes, opening->length));
    return describe(dataset, own, folder);
}

/* Which set's files a folder has; NULL: none. */
static const cifar_set *find_files(const char *folder) {
    char path[PATH_MAX];
    for (int i = 0; i < SETS; i++) {
        const char *const first[] = {sets[i].train[0], sets[i].test[0]};
        for (int j = 0; j < 2; j++)
            if (snprintf(path, sizeof path, "%s/%s", folder, first[j]) < PATH_MAX && xp_path_exists(path))
                return &sets[i];
    }
    return NULL;
}

static bool recognises_folder(const xp_opening *opening) {
    return find_files(opening->path) != NULL;
}

static xp_status open_folder(xp_dataset *dataset, xp_opening *opening) {
    const cifar_set *set = find_files(opening->path);
    cifar_source *own = NULL;
    bool test = false;
    XP_TRY(xp_data_part_is_test(opening, &test));
    XP_TRY(begin(dataset, opening->path, &own));
    snprintf(dataset->name, sizeof dataset->name, "CIFAR-%d", set->classes);
    for (const char *const *name = test ? set->test : set->train; *name; name++) {
        char path[PATH_MAX], *bytes = NULL;
        size_t length = 0;
        snprintf(path, sizeof path, "%s/%s", opening->path, *name);
        XP_TRY(xp_file_read(path, &bytes, &length));
        const xp_status status = add_records(own, path, bytes, length);
        free(bytes);
        XP_TRY(status);
    }
    return describe(dataset, own, opening->path);
}

const xp_format xp_format_cifar = {XP_FORMAT_BINARY, recognises_file, open_file};
const xp_format xp_format_cifar_folder = {XP_FORMAT_FOLDER, recognises_folder, open_folder};
