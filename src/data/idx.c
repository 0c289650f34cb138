/* The IDX binary format of MNIST and its relatives: a magic number, sizes in big-endian order, bytes. Owns the format;
 * knows nothing of files or of where the labels lie. */
#include "data/formats.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { TYPE_U8 = 0x08, HEADER_IMAGES = 16, HEADER_LABELS = 8 };

static uint32_t big_endian(const char *bytes) {
    const unsigned char *b = (const unsigned char *)bytes;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

bool xp_idx_recognised(const char *bytes, size_t length) {
    return length >= 4 && bytes[0] == 0 && bytes[1] == 0 && bytes[2] >= TYPE_U8 && bytes[2] <= 0x0E && bytes[3] != 0;
}

/* Checks magic and sizes; sizes [dimensions]. */
static xp_status read_header(const char *path, const char *bytes, size_t length, int dimensions, const char *what,
                             int64_t *sizes) {
    size_t header = 4 + 4 * (size_t)dimensions;
    if (length < header) {
        return xp_fail(XP_BAD_DATA, "%s: byte %zu: the file ends inside the %zu-byte header of IDX %s; fetch it again",
                       path, length, header, what);
    }
    uint32_t magic = big_endian(bytes), expected = (uint32_t)TYPE_U8 << 8 | (uint32_t)dimensions;
    if (magic != expected && xp_idx_recognised(bytes, length) && bytes[2] != TYPE_U8) {
        return xp_fail(XP_UNSUPPORTED,
                       "%s: byte 2: IDX values of type 0x%02x are not supported; only unsigned bytes (0x08) are", path,
                       (unsigned)bytes[2]);
    }
    if (magic != expected) {
        return xp_fail(XP_BAD_DATA,
                       "%s: byte 0: the magic number is 0x%08x where IDX %s have 0x%08x; is it another file?", path,
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
            return xp_fail(XP_BAD_DATA, "%s: byte %d: a size of %lld makes no sense; the file is damaged", path,
                           4 + 4 * i, (long long)sizes[i]);
        }
        total *= sizes[i];
    }
    if ((uint64_t)(length - header) != (uint64_t)total) {
        return xp_fail(XP_BAD_DATA,
                       "%s: byte %zu: the file ends there, but its header promises %lld bytes; fetch it again", path,
                       length, (long long)total + (long long)header);
    }
    return XP_OK;
}

xp_status xp_idx_parse_images(xp_dataset *dataset, const char *path, const char *bytes, size_t length) {
    if (xp_idx_recognised(bytes, length) && bytes[2] == TYPE_U8 && bytes[3] == 1) {
        return xp_fail(XP_BAD_DATA, "%s: byte 3: this is an IDX label file; name the image file beside it", path);
    }
    int64_t sizes[3];
    XP_TRY(read_header(path, bytes, length, 3, "images", sizes));
    dataset->kind = XP_DATASET_IMAGES;
    dataset->count = sizes[0];
    dataset->channels = 1;
    dataset->height = (int)sizes[1];
    dataset->breadth = (int)sizes[2];
    dataset->sample_elements = sizes[1] * sizes[2];
    int64_t total = dataset->count * dataset->sample_elements;
    XP_TRY(xp_data_allocate((void **)&dataset->values, total, sizeof *dataset->values, path));
    const unsigned char *pixels = (const unsigned char *)bytes + HEADER_IMAGES;
    for (int64_t i = 0; i < total; i++) dataset->values[i] = (float)pixels[i] / 255.0f;
    return XP_OK;
}

xp_status xp_idx_parse_labels(xp_dataset *dataset, const char *path, const char *bytes, size_t length) {
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
    char names[UCHAR_MAX + 1][4];
    const char *pointers[UCHAR_MAX + 1];
    for (int i = 0; i < classes; i++) {
        snprintf(names[i], sizeof names[i], "%d", i & UCHAR_MAX);
        pointers[i] = names[i];
    }
    return xp_data_name_classes(dataset, pointers, classes);
}
