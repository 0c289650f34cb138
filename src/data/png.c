/* PNG files, by libspng. */
#include "core/files.h"
#include "data/picture.h"

#include <string.h>

static bool recognises(const char *bytes, size_t length) {
    return length >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}

#ifdef XP_WITH_PNG

#include <stdint.h>
#include <stdlib.h>

#include <spng.h>

static xp_status reject(const xp_encoded *image, int code) {
    return xp_encoded_reject(image, code == SPNG_EMEM ? XP_OUT_OF_MEMORY : XP_BAD_DATA, spng_strerror(code));
}

/* What is not critical, such as a comment, may be damaged. */
static xp_status begin(const xp_encoded *image, spng_ctx **out, struct spng_ihdr *header) {
    *out = spng_ctx_new(0);
    if (!*out) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", image->name);
    spng_set_crc_action(*out, SPNG_CRC_ERROR, SPNG_CRC_DISCARD);
    int code = spng_set_png_buffer(*out, image->bytes, image->length);
    if (code == 0) code = spng_get_ihdr(*out, header);
    return code == 0 ? XP_OK : reject(image, code);
}

static xp_status measure(xp_encoded *image) {
    spng_ctx *png = NULL;
    struct spng_ihdr header = {0};
    const xp_status status = begin(image, &png, &header);
    image->height = (int)header.height;
    image->breadth = (int)header.width;
    image->channels = 3;
    spng_ctx_free(png);
    return status;
}

/* Adds a line, rgba [breadth][4], to the sums of blocks of `side` pixels; what is transparent lies on white, as on a
 * page. sums [(breadth + side - 1) / side][3] */
static void add_line(const unsigned char *rgba, int breadth, int side, uint32_t *sums) {
    for (int x = 0; x < breadth; x++) {
        const uint32_t opaque = rgba[4 * x + 3];
        for (int c = 0; c < 3; c++)
            sums[x / side * 3 + c] += (rgba[4 * x + c] * opaque + 255 * (255 - opaque) + 127) / 255;
    }
}

/* Writes the means of a row of blocks, which have `lines` lines, and begins the next. */
static void finish_blocks(uint32_t *sums, int breadth, int side, int lines, unsigned char *out) {
    for (int first = 0; first < breadth; first += side) {
        const int columns = breadth - first < side ? breadth - first : side;
        const uint32_t pixels = (uint32_t)(columns * lines);
        for (int c = 0; c < 3; c++, sums++, out++) {
            *out = (unsigned char)((*sums + pixels / 2) / pixels);
            *sums = 0;
        }
    }
}

/* Room for a line, or for all of them where they come in several passes. */
typedef struct png_lines {
    bool interlaced;
    unsigned char *rgba;
    uint32_t *sums;
} png_lines;

static xp_status begin_lines(spng_ctx *png, const xp_encoded *image, png_lines *out) {
    const size_t row = 4 * (size_t)image->breadth, rows = out->interlaced ? (size_t)image->height : 1;
    out->rgba = malloc(rows * row);
    out->sums = calloc((size_t)image->breadth * 3, sizeof *out->sums);
    if (!out->rgba || !out->sums) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for its pixels", image->name);
    const int code = out->interlaced
                         ? spng_decode_image(png, out->rgba, rows * row, SPNG_FMT_RGBA8, SPNG_DECODE_TRNS)
                         : spng_decode_image(png, NULL, 0, SPNG_FMT_RGBA8, SPNG_DECODE_TRNS | SPNG_DECODE_PROGRESSIVE);
    return code == 0 ? XP_OK : reject(image, code);
}

/* Line by line, so that a picture of any size takes the memory of the smaller one. */
static xp_status read_lines(spng_ctx *png, const xp_encoded *image, int side, png_lines *lines, xp_picture *out) {
    const size_t row = 4 * (size_t)image->breadth;
    XP_TRY(begin_lines(png, image, lines));
    XP_TRY(
        xp_picture_create(out, (image->height + side - 1) / side, (image->breadth + side - 1) / side, 3, image->name));
    for (int y = 0; y < image->height; y++) {
        const unsigned char *line = lines->rgba + (lines->interlaced ? (size_t)y * row : 0);
        const int code = lines->interlaced ? 0 : spng_decode_row(png, lines->rgba, row);
        if (code != 0 && code != SPNG_EOI) return reject(image, code);
        add_line(line, image->breadth, side, lines->sums);
        if (y % side == side - 1 || y == image->height - 1)
            finish_blocks(lines->sums, image->breadth, side, y % side + 1,
                          out->pixels + (size_t)(y / side) * (size_t)out->breadth * 3);
    }
    return XP_OK;
}

static xp_status decode(const xp_encoded *image, int reduction, xp_picture *out) {
    spng_ctx *png = NULL;
    struct spng_ihdr header = {0};
    png_lines lines = {.rgba = NULL};
    *out = (xp_picture){.pixels = NULL};
    xp_status status = begin(image, &png, &header);
    lines.interlaced = header.interlace_method != 0;
    if (status == XP_OK) status = read_lines(png, image, reduction, &lines, out);
    free(lines.rgba);
    free(lines.sums);
    spng_ctx_free(png);
    if (status != XP_OK) xp_picture_release(out);
    return status;
}

xp_status xp_picture_save(const xp_picture *picture, const char *path) {
    const size_t bytes = (size_t)picture->height * (size_t)picture->breadth * (size_t)picture->channels;
    struct spng_ihdr header = {.width = (uint32_t)picture->breadth,
                               .height = (uint32_t)picture->height,
                               .bit_depth = 8,
                               .color_type =
                                   picture->channels == 3 ? SPNG_COLOR_TYPE_TRUECOLOR : SPNG_COLOR_TYPE_GRAYSCALE};
    spng_ctx *png = spng_ctx_new(SPNG_CTX_ENCODER);
    size_t length = 0;
    void *file = NULL;
    int code = png ? 0 : SPNG_EMEM;
    if (code == 0) code = spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    if (code == 0) code = spng_set_ihdr(png, &header);
    if (code == 0) code = spng_encode_image(png, picture->pixels, bytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    if (code == 0) file = spng_get_png_buffer(png, &length, &code);
    const xp_status status = code == 0 ? xp_file_write_atomic(path, file, length)
                                       : xp_fail(XP_OUT_OF_MEMORY, "%s: the picture: %s", path, spng_strerror(code));
    free(file);
    spng_ctx_free(png);
    return status;
}

const xp_codec xp_codec_png = {recognises, measure, decode};

#else

xp_status xp_picture_save(const xp_picture *picture, const char *path) {
    return XP_OK;
}

/* Images are measured before they are decoded. */
static xp_status measure(xp_encoded *image) {
    return xp_encoded_refuse(image, "PNG", "libspng");
}

const xp_codec xp_codec_png = {.recognises = recognises, .measure = measure};

#endif
