/* Opens data sets by content and releases them. Owns the choice of the reader and the pairing of files; knows no format
 * from inside. */
#include "data/dataset.h"

#include "core/files.h"
#include "core/memory.h"
#include "core/text.h"
#include "data/formats.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

xp_status xp_data_allocate(void **out, int64_t count, size_t size, const char *what) {
    const bool fits = (uint64_t)count <= xp_memory_total() / size && (uint64_t)count <= SIZE_MAX / size;
    *out = fits ? calloc(count > 0 ? (size_t)count : 1, size) : NULL;
    if (*out) return XP_OK;
    return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for %lld values of %zu bytes; use fewer samples", what,
                   (long long)count, size);
}

xp_status xp_data_name_classes(xp_dataset *dataset, const char *const *names, int classes) {
    XP_TRY(xp_data_allocate((void **)&dataset->class_names, classes, sizeof *dataset->class_names, "class names"));
    dataset->classes = classes;
    for (int i = 0; i < classes; i++) {
        dataset->class_names[i] = strdup(names[i]);
        if (!dataset->class_names[i]) return xp_fail(XP_OUT_OF_MEMORY, "no memory for %d class names", classes);
    }
    return XP_OK;
}

void xp_data_forget_classes(xp_dataset *dataset) {
    for (int i = 0; i < dataset->classes + dataset->unseen; i++) free(dataset->class_names[i]);
    free(dataset->class_names);
    dataset->class_names = NULL;
    dataset->classes = dataset->unseen = 0;
}

void xp_dataset_close(xp_dataset **dataset) {
    if (!*dataset) return;
    xp_data_forget_classes(*dataset);
    free((*dataset)->values);
    free((*dataset)->lengths);
    free((*dataset)->labels);
    free((*dataset)->numbers);
    free(*dataset);
    *dataset = NULL;
}

/* --- images and their labels -------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Writes the path of the label file that exists for this image file; false when there is none. Either of the two may be
 * compressed. */
static bool find_labels(const char *path, char labels[PATH_MAX]) {
    static const char *const pairs[][2] = {
        {"images-idx3", "labels-idx1"}, {"images.idx3", "labels.idx1"}, {"images", "labels"}};
    const char *name = file_name(path);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const char *found = strstr(name, pairs[i][0]);
        if (!found) continue;
        int written = snprintf(labels, PATH_MAX - 3, "%.*s%s%s", (int)(found - path), path, pairs[i][1],
                               found + strlen(pairs[i][0]));
        if (written < 0 || written >= PATH_MAX - 3) return false;
        if (xp_file_exists(labels)) return true;
        if (ends_with(labels, ".gz")) {
            labels[strlen(labels) - 3] = '\0';
        } else {
            strcat(labels, ".gz");
        }
        return xp_file_exists(labels);
    }
    return false;
}

static xp_status read_labels(xp_dataset *dataset, const char *path) {
    char labels[PATH_MAX];
    if (!find_labels(path, labels)) return XP_OK;
    char *bytes = NULL;
    size_t length = 0;
    XP_TRY(xp_file_read(labels, &bytes, &length));
    xp_status status = xp_idx_parse_labels(dataset, labels, bytes, length);
    free(bytes);
    return status;
}

/* The image file of a folder's part. */
static xp_status find_images(const char *folder, const char *part, char path[PATH_MAX]) {
    bool test = part && strcmp(part, "test") == 0;
    if (!part || (!test && strcmp(part, "train") != 0)) {
        return xp_fail(XP_INVALID_ARGUMENT, "%s: is a folder; of it the part 'train' or 'test' can be read, not '%s'",
                       folder, part ? part : "");
    }
    static const char *const prefixes[2][2] = {{"train", "training"}, {"t10k", "test"}};
    static const char *const endings[] = {"-images-idx3-ubyte", "-images-idx3-ubyte.gz", "-images.idx3-ubyte",
                                          "-images.idx3-ubyte.gz"};
    for (size_t prefix = 0; prefix < 2; prefix++) {
        for (size_t ending = 0; ending < sizeof endings / sizeof endings[0]; ending++) {
            int written = snprintf(path, PATH_MAX, "%s/%s%s", folder, prefixes[test][prefix], endings[ending]);
            if (written > 0 && written < PATH_MAX && xp_file_exists(path)) return XP_OK;
        }
    }
    return xp_fail(XP_IO_ERROR, "%s: the folder has no IDX file %s-images-idx3-ubyte or %s-images-idx3-ubyte.gz",
                   folder, prefixes[test][0], prefixes[test][0]);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* The formats of text, but for .ts, which is any other. */
static const struct {
    bool (*recognised)(const char *text, size_t length);
    xp_status (*parse)(xp_dataset *dataset, const char *path, const char *text, size_t length);
} formats[] = {{xp_arff_recognised, xp_arff_parse}, {xp_ucr_recognised, xp_ucr_parse}};

static xp_status parse_text(xp_dataset *dataset, const char *path, const char *text, size_t length) {
    const char *nothing = memchr(text, '\0', length);
    if (nothing)
        return xp_fail(XP_BAD_DATA, "%s: byte %td: the text holds a NUL character; fetch the file again", path,
                       nothing - text);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].recognised(text, length)) return formats[i].parse(dataset, path, text, length);
    return xp_ts_parse(dataset, path, text, length);
}

static xp_status parse_utf16(xp_dataset *dataset, const char *path, const char *bytes, size_t length) {
    char *text = NULL;
    size_t text_length = 0;
    XP_TRY(xp_text_from_utf16(bytes, length, &text, &text_length));
    const xp_status status = parse_text(dataset, path, text, text_length);
    free(text);
    return status;
}

static bool looks_like_text(const char *bytes, size_t length) {
    size_t sample = length < 512 ? length : 512;
    return memchr(bytes, '\0', sample) == NULL;
}

static xp_status parse(xp_dataset *dataset, const char *path, const char *bytes, size_t length) {
    if (length == 0) return xp_fail(XP_BAD_DATA, "%s: byte 0: the file is empty", path);
    if (xp_text_is_utf16(bytes, length)) return parse_utf16(dataset, path, bytes, length);
    bool named_idx = strstr(file_name(path), "idx") || strstr(file_name(path), "ubyte");
    if (xp_idx_recognised(bytes, length) || named_idx || !looks_like_text(bytes, length)) {
        XP_TRY(xp_idx_parse_images(dataset, path, bytes, length));
        return read_labels(dataset, path);
    }
    return parse_text(dataset, path, bytes, length);
}

xp_status xp_dataset_open(xp_dataset **out, const char *path, const char *part) {
    char found[PATH_MAX];
    struct stat info;
    bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if (folder) {
        XP_TRY(find_images(path, part, found));
        path = found;
    }
    char *bytes = NULL;
    size_t length = 0;
    XP_TRY(xp_file_read(path, &bytes, &length));
    xp_dataset *dataset = calloc(1, sizeof *dataset);
    xp_status status =
        dataset ? parse(dataset, path, bytes, length) : xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", path);
    free(bytes);
    if (status != XP_OK) {
        xp_dataset_close(&dataset);
        return status;
    }
    snprintf(dataset->name, sizeof dataset->name, "%.*s", (int)sizeof dataset->name - 1, file_name(path));
    *out = dataset;
    return XP_OK;
}
