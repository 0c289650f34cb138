/* Plain text, as the bytes that it consists of: a file, or the files of a folder one after another. Owns the bytes,
 * once, and how they are cut into samples: a sample is a number of bytes and the one that follows them. Knows no
 * characters. */
#include "core/text.h"
#include "core/array.h"
#include "core/files.h"
#include "data/formats.h"
#include "data/walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SYMBOLS = 256 };

/* ---- the bytes --------------------------------------------------------------------------------------------------- */

typedef struct text_part {
    char *bytes;        /* of a file, owned */
    int64_t first, end; /* in the whole text */
} text_part;

typedef struct text_source {
    xp_source source;
    text_part *parts;
    size_t count, room;
    int window; /* values of a sample */
} text_source;

static int64_t length_of(const text_source *text) {
    return text->count ? text->parts[text->count - 1].end : 0;
}

/* The part with this byte. */
static const text_part *find_part(const text_source *text, int64_t at) {
    size_t low = 0, high = text->count - 1;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (at < text->parts[middle].end)
            high = middle;
        else
            low = middle + 1;
    }
    return &text->parts[low];
}

/* `number`: of the first byte. */
static xp_status read_text(const xp_source *source, int64_t number, float *values) {
    const text_source *text = (const text_source *)source;
    const text_part *part = find_part(text, number);
    for (int i = 0; i < text->window; i++) {
        const int64_t at = number + i;
        while (at >= part->end) part++;
        values[i] = (float)(unsigned char)part->bytes[at - part->first];
    }
    return XP_OK;
}

static void close_text(xp_source *source) {
    text_source *text = (text_source *)source;
    for (size_t i = 0; i < text->count; i++) free(text->parts[i].bytes);
    free(text->parts);
    free(text);
}

/* ---- cutting ----------------------------------------------------------------------------------------------------- */

static xp_status cut_text(xp_dataset *dataset, const xp_windows *windows) {
    text_source *text = (text_source *)dataset->source;
    const int length = windows->context;
    const int64_t bytes = length_of(text), count = (bytes - 1) / length;
    if (bytes <= length)
        return xp_fail(XP_BAD_DATA,
                       "%s: the text has %lld bytes, but a sample takes %d: the context of %d and the byte after it; "
                       "use more text, or a shorter data.context (--context)",
                       dataset->name, (long long)bytes, length + 1, length);
    if (count > INT32_MAX)
        return xp_fail(XP_UNSUPPORTED, "%s: the text has %lld samples, more than the 2^31 that can be numbered",
                       dataset->name, (long long)count);
    dataset->length = length;
    dataset->step = length;
    dataset->count = count;
    dataset->sample_elements = xp_sample_elements(dataset);
    text->window = length + 1;
    return XP_OK;
}

/* ---- files and folders ------------------------------------------------------------------------------------------- */

/* Gives the data set an empty text. */
static xp_status begin(xp_dataset *dataset, const char *path, text_source **out) {
    const char *slash = strrchr(path, '/');
    text_source *text = calloc(1, sizeof *text);
    if (!text) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", path);
    text->source = (xp_source){.read = read_text, .cut = cut_text, .close = close_text, .data_sets = 1};
    dataset->source = &text->source;
    dataset->kind = &xp_text_kind;
    snprintf(dataset->name, sizeof dataset->name, "%.*s", (int)sizeof dataset->name - 1, slash ? slash + 1 : path);
    *out = text;
    return XP_OK;
}

/* Takes *bytes over, on success. */
static xp_status add_part(text_source *text, const char *path, char **bytes, size_t length) {
    if (!xp_array_reserve(&text->parts, &text->room, text->count, 1, sizeof *text->parts))
        return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", path);
    const int64_t first = length_of(text);
    if (length == 0) return XP_OK;
    text->parts[text->count++] = (text_part){*bytes, first, first + (int64_t)length};
    *bytes = NULL;
    return XP_OK;
}

/* Text in UTF-16 becomes UTF-8, as in all formats. */
static xp_status add_file(text_source *text, const char *path) {
    char *bytes = NULL, *converted = NULL;
    size_t length = 0;
    XP_TRY(xp_file_read(path, &bytes, &length));
    xp_status status = XP_OK;
    if (xp_text_is_utf16(bytes, length)) {
        status = xp_text_from_utf16(bytes, length, &converted, &length);
        free(bytes);
        bytes = converted;
    }
    if (status == XP_OK) status = add_part(text, path, &bytes, length);
    free(bytes);
    return status;
}

static bool is_text_name(const char *name) {
    return xp_name_ends(name, ".txt") || xp_name_ends(name, ".txt.gz");
}

static xp_status add_if_text(void *user, const xp_walk_file *file) {
    return is_text_name(file->name) ? add_file(user, file->path) : XP_OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static xp_status open_folder(xp_dataset *dataset, xp_opening *opening) {
    text_source *text = NULL;
    XP_TRY(begin(dataset, opening->path, &text));
    XP_TRY(xp_walk(opening->path, add_if_text, text));
    if (text->count > 0) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s: the folder has no text: no file of it ends in .txt or .txt.gz", opening->path);
}

static xp_status open_text(xp_dataset *dataset, xp_opening *opening) {
    text_source *text = NULL;
    XP_TRY(begin(dataset, opening->path, &text));
    return add_part(text, opening->path, &opening->bytes, opening->length);
}

xp_status xp_dataset_open_text(xp_dataset **out, const char *path) {
    struct stat info;
    text_source *text = NULL;
    xp_opening opening = {.path = path};
    xp_dataset *dataset = calloc(1, sizeof *dataset);
    if (!dataset) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", path);
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    xp_status status = folder ? open_folder(dataset, &opening) : begin(dataset, path, &text);
    if (status == XP_OK && !folder) status = add_file(text, path);
    if (status == XP_OK && length_of((text_source *)dataset->source) == 0)
        status = xp_fail(XP_BAD_DATA, "%s: byte 0: the file is empty", path);
    if (status == XP_OK)
        *out = dataset;
    else
        xp_dataset_close(&dataset);
    return status;
}

/* A file of series can have this name, too: its first line that is no comment begins with '@'. */
static bool recognises_text(const xp_opening *opening) {
    const char *at = opening->bytes, *end = at + opening->length;
    if (!is_text_name(opening->path)) return false;
    while (at < end && strchr("#\r\n \t", *at)) {
        const char *line = *at == '#' ? memchr(at, '\n', (size_t)(end - at)) : at;
        at = line ? line + 1 : end;
    }
    return at == end || *at != '@';
}

static xp_status find_text(void *user, const xp_walk_file *file) {
    bool *found = user;
    *found = is_text_name(file->name);
    return *found ? XP_INTERRUPTED : XP_OK;
}

static bool recognises_folder(const xp_opening *opening) {
    bool found = false;
    (void)xp_walk(opening->path, find_text, &found);
    return found;
}

const xp_format xp_format_text = {XP_FORMAT_TEXT, recognises_text, open_text};
const xp_format xp_format_text_folder = {XP_FORMAT_FOLDER, recognises_folder, open_folder};

/* ---- the kind of samples ----------------------------------------------------------------------------------------- */

static int shape(const xp_dataset *dataset, int64_t sizes[XP_SAMPLE_RANK]) {
    sizes[0] = dataset->length + 1;
    return 1;
}

static int features(const xp_dataset *dataset) {
    (void)dataset;
    return 1;
}

static xp_feature_place place(const xp_dataset *dataset, int64_t sample, int feature) {
    (void)sample;
    return (xp_feature_place){feature, dataset->length + 1, 1};
}

static xp_status check_alike(const xp_dataset *dataset, const xp_dataset *other) {
    (void)dataset;
    (void)other;
    return XP_OK;
}

static void describe(const xp_dataset *dataset, xp_writer *out) {
    xp_write(out, "%d bytes", dataset->length);
}

const xp_sample_kind xp_text_kind = {.name = "text",
                                     .feature = "byte",
                                     .has = {.length = true},
                                     .symbols = SYMBOLS,
                                     .continues = true,
                                     .refusal = "holds text: set model.kind to language, or use a preset such as "
                                                "text-small",
                                     .shape = shape,
                                     .features = features,
                                     .place = place,
                                     .check_alike = check_alike,
                                     .describe = describe};
