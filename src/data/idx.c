/* The IDX binary format of MNIST and its relatives: a magic number, sizes in big-endian order, bytes. Owns the format,
 * and which files of it belong together; the pixels stay bytes until they are read. */
#include "core/files.h"
#include "data/formats.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_U8 = 0x08, HEADER_IMAGES = 16, HEADER_LABELS = 8 };

static uint32_t big_endian(const char *bytes) {
    const unsigned char *b = (const unsigned char *)bytes;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static bool has_magic(const char *bytes, size_t length) {
    return length >= 4 && bytes[0] == 0 && bytes[1] == 0 && bytes[2] >= TYPE_U8 && bytes[2] <= 0x0E && bytes[3] != 0;
}

/* Checks magic and sizes; sizes [dimensions]. */
static xp_status read_header(const char *path, const char *bytes, size_t length, int dimensions, const char *what,
                             int64_t *sizes) {
    size_t header = 4 + 4 * (size_t)dimensions;
    if (length < header) {
        return xp_fail(XP_BAD_DATA,
                       "%s: byte %zu: the file ends inside the %zu-byte header of IDX %s; download it again", path,
                       length, header, what);
    }
    uint32_t magic = big_endian(bytes), expected = (uint32_t)TYPE_U8 << 8 | (uint32_t)dimensions;
    if (magic != expected && has_magic(bytes, length) && bytes[2] != TYPE_U8) {
        return xp_fail(XP_UNSUPPORTED,
                       "%s: byte 2: IDX values of type 0x%02x are not supported; only unsigned bytes (0x08) are", path,
                       (unsigned)bytes[2]);
    }
    if (magic != expected) {
        return xp_fail(XP_BAD_DATA,
                       "%s: byte 0: the magic number is 0x%08x, but IDX %s have 0x%08x; is this the right file?", path,
                       magic, what, expected);
    }
    int64_t total = 1;
    for (int i = 0; i < dimensions; i++) {
        sizes[i] = big_endian(bytes + 4 + 4 * i);
        if (sizes[i] == 0) {
            return xp_fail(XP_BAD_DATA, "%s: byte %d: %s; a data set needs at least one sample", path, 4 + 4 * i,
                           i == 0 ? "the file holds no samples" : "the images have no pixels");
        }
        if (sizes[i] > INT_MAX || total > INT64_MAX / sizes[i]) {
            return xp_fail(XP_BAD_DATA, "%s: byte %d: the size %lld is invalid; the file is damaged", path, 4 + 4 * i,
                           (long long)sizes[i]);
        }
        total *= sizes[i];
    }
    if ((uint64_t)(length - header) != (uint64_t)total) {
        return xp_fail(XP_BAD_DATA,
                       "%s: byte %zu: the file ends there, but its header announces %lld bytes; download it again",
                       path, length, (long long)total + (long long)header);
    }
    return XP_OK;
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* --- labels ------------------------------------------------------------------------------------------------------- */

static xp_status parse_labels(xp_dataset *dataset, const char *path, const char *bytes, size_t length) {
    int64_t count = 0;
    XP_TRY(read_header(path, bytes, length, 1, "labels", &count));
    if (count != dataset->count) {
        return xp_fail(XP_BAD_DATA, "%s: byte 4: %lld labels for %lld images; the two files do not belong together",
                       path, (long long)count, (long long)dataset->count);
    }
    XP_TRY(xp_data_allocate((void **)&dataset->labels, count, sizeof *dataset->labels, path));
    int classes = 0;
    for (int64_t i = 0; i < count; i++) {
        dataset->labels[i] = (unsigned char)bytes[HEADER_LABELS + i];
        if (dataset->labels[i] >= classes) classes = dataset->labels[i] + 1;
    }
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%.*sclasses.txt", (int)(file_name(path) - path), path);
    return xp_data_name_numbers(dataset, file, xp_data_known_names(bytes + HEADER_LABELS, (size_t)count), classes,
                                UCHAR_MAX + 1);
}

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
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
    xp_status status = parse_labels(dataset, labels, bytes, length);
    free(bytes);
    return status;
}

/* --- images ------------------------------------------------------------------------------------------------------- */

typedef struct idx_source {
    xp_source source;
    char *bytes; /* of the whole file */
    int64_t pixels;
    int height, breadth;
} idx_source;

static bool recognises_idx(const xp_opening *opening) {
    const size_t sample = opening->length < 512 ? opening->length : 512;
    const char *name = file_name(opening->path);
    return has_magic(opening->bytes, opening->length) || strstr(name, "idx") || strstr(name, "ubyte") ||
           memchr(opening->bytes, '\0', sample);
}

static xp_status load_idx(const xp_source *source, int64_t number, char *name, xp_encoded *out) {
    const idx_source *idx = (const idx_source *)source;
    *out = (xp_encoded){.codec = &xp_codec_planes,
                        .name = "IDX",
                        .bytes = idx->bytes + HEADER_IMAGES + number * idx->pixels,
                        .length = (size_t)idx->pixels,
                        .height = idx->height,
                        .breadth = idx->breadth,
                        .channels = 1};
    return XP_OK;
}

static void close_idx(xp_source *source) {
    free(((idx_source *)source)->bytes);
    free(source);
}

static xp_status open_idx(xp_dataset *dataset, xp_opening *opening) {
    const char *path = opening->path, *bytes = opening->bytes;
    if (has_magic(bytes, opening->length) && bytes[2] == TYPE_U8 && bytes[3] == 1) {
        return xp_fail(XP_BAD_DATA, "%s: byte 3: this is an IDX label file; give the image file beside it", path);
    }
    int64_t sizes[3];
    XP_TRY(read_header(path, bytes, opening->length, 3, "images", sizes));
    dataset->kind = &xp_images_kind;
    dataset->count = sizes[0];
    dataset->channels = 1;
    dataset->height = (int)sizes[1];
    dataset->breadth = (int)sizes[2];
    dataset->sample_elements = xp_sample_elements(dataset);
    idx_source *source = calloc(1, sizeof *source);
    if (!source) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", path);
    *source = (idx_source){.source = {.load = load_idx, .close = close_idx, .data_sets = 1},
                           .bytes = opening->bytes,
                           .pixels = dataset->sample_elements,
                           .height = dataset->height,
                           .breadth = dataset->breadth};
    opening->bytes = NULL;
    dataset->source = &source->source;
    return read_labels(dataset, path);
}

const xp_format xp_format_idx = {XP_FORMAT_BINARY, recognises_idx, open_idx};

/* --- a folder of IDX files ---------------------------------------------------------------------------------------- */

/* The image file of a folder's part. */
static xp_status find_images(const xp_opening *opening, char path[PATH_MAX]) {
    const char *folder = opening->path;
    bool test = false;
    XP_TRY(xp_data_part_is_test(opening, &test));
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

/* By its own entries alone: other formats' folders may hold very many files further down. */
static bool recognises_folder(const xp_opening *opening) {
    DIR *listing = opendir(opening->path);
    bool found = false;
    if (!listing) return false;
    for (struct dirent *entry; !found && (entry = readdir(listing));)
        found = entry->d_name[0] != '.' && strstr(entry->d_name, "idx3-ubyte");
    closedir(listing);
    return found;
}

static xp_status open_folder(xp_dataset *dataset, xp_opening *opening) {
    char path[PATH_MAX];
    XP_TRY(find_images(opening, path));
    return xp_data_open_file(dataset, path);
}

const xp_format xp_format_idx_folder = {XP_FORMAT_FOLDER, recognises_folder, open_folder};
