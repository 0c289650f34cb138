/* PNG files, by libspng. */
#include "core/files.h"
#include "data/picture.h"

#include <string.h>

static bool recognises(const char *bytes, size_t length) {
    return length >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}

#ifdef XP_WITH_PNG

#include <stdlib.h>

#include <spng.h>

/* What is not critical, such as a comment, may be damaged. */
static xp_status begin(const xp_encoded *image, spng_ctx **out, struct spng_ihdr *header) {
    *out = spng_ctx_new(0);
    if (!*out) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", image->name);
    spng_set_crc_action(*out, SPNG_CRC_ERROR, SPNG_CRC_DISCARD);
    int code = spng_set_png_buffer(*out, image->bytes, image->length);
    if (code == 0) code = spng_get_ihdr(*out, header);
    return code == 0 ? XP_OK : xp_encoded_reject(image, spng_strerror(code));
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

/* What is transparent lies on white, as on a page. rgba [pixels][4] becomes [pixels][3] in the same place. */
static void flatten(unsigned char *rgba, size_t pixels) {
    for (size_t i = 0; i < pixels; i++) {
        const int opaque = rgba[4 * i + 3];
        for (size_t c = 0; c < 3; c++)
            rgba[3 * i + c] = (unsigned char)((rgba[4 * i + c] * opaque + 255 * (255 - opaque) + 127) / 255);
    }
}

static xp_status decode_with(spng_ctx *png, const xp_encoded *image, xp_picture *out) {
    XP_TRY(xp_picture_create(out, image->height, image->breadth, 4, image->name));
    const size_t pixels = (size_t)image->height * (size_t)image->breadth;
    const int code = spng_decode_image(png, out->pixels, 4 * pixels, SPNG_FMT_RGBA8, SPNG_DECODE_TRNS);
    if (code != 0) return xp_encoded_reject(image, spng_strerror(code));
    flatten(out->pixels, pixels);
    out->channels = 3;
    return XP_OK;
}

static xp_status decode(const xp_encoded *image, int reduction, xp_picture *out) {
    spng_ctx *png = NULL;
    struct spng_ihdr header;
    *out = (xp_picture){.pixels = NULL};
    xp_status status = begin(image, &png, &header);
    if (status == XP_OK) status = decode_with(png, image, out);
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

#else

xp_status xp_picture_save(const xp_picture *picture, const char *path) {
    return XP_OK;
}

static xp_status refuse(const xp_encoded *image) {
    return xp_fail(XP_UNSUPPORTED, "%s: this build of Expanse does not read PNG files; build it with libspng",
                   image->name);
}

static xp_status measure(xp_encoded *image) {
    return refuse(image);
}

static xp_status decode(const xp_encoded *image, int reduction, xp_picture *out) {
    return refuse(image);
}

#endif

const xp_codec xp_codec_png = {"a PNG", recognises, measure, decode};
