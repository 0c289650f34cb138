/* Opens data sets by content and releases them. Owns the table of formats; knows none from inside. */
#include "data/dataset.h"

#include "core/files.h"
#include "core/memory.h"
#include "core/text.h"
#include "data/formats.h"
#include "data/timeline.h"
#include "data/walk.h"

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

const char *xp_data_name_fault(const char *name, size_t length) {
    if (length > XP_DATA_NAME_BYTES) return "is longer than 255 bytes";
    if (xp_text_utf8(name, length) != length) return "is not UTF-8";
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f) return "has a control character";
    return NULL;
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
    for (int i = 0; dataset->class_names && i < dataset->classes + dataset->unseen; i++) free(dataset->class_names[i]);
    free(dataset->class_names);
    dataset->class_names = NULL;
    dataset->classes = dataset->unseen = 0;
}

void xp_dataset_close(xp_dataset **dataset) {
    if (!*dataset) return;
    xp_source *source = (*dataset)->source;
    xp_data_forget_classes(*dataset);
    xp_data_forget_targets(*dataset);
    if (source && --source->data_sets == 0) source->close(source);
    free((*dataset)->lengths);
    free((*dataset)->labels);
    free((*dataset)->numbers);
    free(*dataset);
    *dataset = NULL;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* The first that recognises what there is opens it. */
static const xp_format *const formats[] = {&xp_format_idx_folder,  &xp_format_cifar_folder, &xp_format_image_folder,
                                           &xp_format_text_folder, &xp_format_image,        &xp_format_cifar,
                                           &xp_format_idx,         &xp_format_arff,         &xp_format_tsv,
                                           &xp_format_ucr,         &xp_format_text,         &xp_format_csv,
                                           &xp_format_ts};

static const xp_format *find_format(const xp_opening *opening) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if ((formats[i]->of == XP_FORMAT_FOLDER) == !opening->bytes && formats[i]->recognises(opening))
            return formats[i];
    return NULL;
}

static xp_status check_text(const xp_opening *opening) {
    const char *nothing = memchr(opening->bytes, '\0', opening->length);
    if (!nothing) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s: byte %td: the text holds a NUL character; download the file again", opening->path,
                   nothing - opening->bytes);
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static xp_status convert_utf16(xp_opening *opening) {
    char *text = NULL;
    size_t length = 0;
    XP_TRY(xp_text_from_utf16(opening->bytes, opening->length, &text, &length));
    free(opening->bytes);
    opening->bytes = text;
    opening->length = length;
    return XP_OK;
}

static xp_status open_bytes(xp_dataset *dataset, xp_opening *opening) {
    if (opening->length == 0) return xp_fail(XP_BAD_DATA, "%s: byte 0: the file is empty", opening->path);
    if (xp_text_is_utf16(opening->bytes, opening->length)) XP_TRY(convert_utf16(opening));
    const xp_format *format = find_format(opening);
    if (format->of == XP_FORMAT_TEXT) XP_TRY(check_text(opening));
    return format->open(dataset, opening);
}

xp_status xp_data_open_file(xp_dataset *dataset, const char *path) {
    xp_opening opening = {.path = path};
    XP_TRY(xp_file_read(path, &opening.bytes, &opening.length));
    const xp_status status = open_bytes(dataset, &opening);
    free(opening.bytes);
    snprintf(dataset->name, sizeof dataset->name, "%.*s", (int)sizeof dataset->name - 1, file_name(path));
    return status;
}

static xp_status pass(void *user, const xp_walk_file *file) {
    return XP_OK;
}

/* What keeps a folder from being searched may be why nothing was found in it. */
static xp_status open_folder(xp_dataset *dataset, xp_opening *opening) {
    const xp_format *format = find_format(opening);
    if (format) return format->open(dataset, opening);
    XP_TRY(xp_walk(opening->path, pass, NULL));
    return xp_fail(XP_BAD_DATA,
                   "%s: the folder has no data: no JPEG or PNG images, no files of IDX (train-images-idx3-ubyte) or of "
                   "CIFAR (data_batch_1.bin), and no text (.txt)",
                   opening->path);
}

xp_status xp_data_part_is_test(const xp_opening *opening, bool *test) {
    const char *part = opening->part ? opening->part : "";
    *test = strcmp(part, "test") == 0;
    if (*test || strcmp(part, "train") == 0) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "%s: is a folder, of which the part 'train' or 'test' can be read, not '%s'",
                   opening->path, part);
}

xp_status xp_dataset_open(xp_dataset **out, const char *path, const char *part) {
    struct stat info;
    xp_opening opening = {.path = path, .part = part};
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    xp_dataset *dataset = calloc(1, sizeof *dataset);
    if (!dataset) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", path);
    const xp_status status = folder ? open_folder(dataset, &opening) : xp_data_open_file(dataset, path);
    if (status == XP_OK)
        *out = dataset;
    else
        xp_dataset_close(&dataset);
    return status;
}

xp_status xp_dataset_check_kind(const xp_dataset *header, const xp_windows *windows, const xp_dataset *dataset) {
    static const char table[] = "a table of measurements over time";
    const bool is_table = xp_timeline_of(dataset) != NULL, wants_table = windows->horizon > 0;
    const bool are_pixels = windows->tokens && dataset->kind->tokenise;
    if (is_table == wants_table && (dataset->kind == header->kind || are_pixels)) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s holds %s, but the model was trained on %s", dataset->name,
                   is_table ? table : dataset->kind->name, wants_table ? table : header->kind->name);
}

xp_status xp_dataset_cut(xp_dataset *dataset, const xp_windows *windows) {
    if (windows->horizon > 0 && !xp_timeline_of(dataset))
        return xp_fail(XP_BAD_DATA,
                       "%s: data.horizon (--horizon) is for a table of measurements over time, in CSV with a header",
                       dataset->name);
    if (windows->tokens && dataset->kind->tokenise) return dataset->kind->tokenise(dataset);
    return dataset->source->cut ? dataset->source->cut(dataset, windows) : XP_OK;
}
