/* The table of codecs, and pictures. */
#include "data/picture.h"

#include "data/walk.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* --- stored images ------------------------------------------------------------------------------------------------ */

static const xp_codec *const codecs[] = {&xp_codec_jpeg, &xp_codec_png};
enum { CODECS = sizeof codecs / sizeof *codecs };

static bool ends_with_any(const char *name, const char *const *endings) {
    while (*endings && !xp_name_ends(name, *endings)) endings++;
    return *endings != NULL;
}

bool xp_picture_is_name(const char *name) {
    static const char *const endings[] = {".jpg", ".jpeg", ".png", NULL};
    return ends_with_any(name, endings);
}

bool xp_picture_is_foreign_name(const char *name) {
    static const char *const endings[] = {".gif", ".bmp", ".webp", ".tif",  ".tiff", ".ppm",
                                          ".pgm", ".jp2", ".avif", ".heic", ".svg",  NULL};
    return ends_with_any(name, endings);
}

static const xp_codec *find_codec(const char *bytes, size_t length) {
    for (int i = 0; i < CODECS; i++)
        if (codecs[i]->recognises(bytes, length)) return codecs[i];
    return NULL;
}

bool xp_picture_is_image(const char *bytes, size_t length) {
    return find_codec(bytes, length) != NULL;
}

xp_status xp_encoded_reject(const xp_encoded *image, xp_status status, const char *reason) {
    if (status == XP_OUT_OF_MEMORY) return xp_fail(status, "%s: no memory to read it", image->name);
    if (status == XP_UNSUPPORTED)
        return xp_fail(status, "%s: such an image is not supported: %s; convert or remove it", image->name, reason);
    return xp_fail(XP_BAD_DATA, "%s: the file is damaged: %s; replace or remove it", image->name, reason);
}

xp_status xp_encoded_refuse(const xp_encoded *image, const char *format, const char *library) {
    return xp_fail(XP_UNSUPPORTED, "%s: this build of Expanse does not read %s files; build it with %s", image->name,
                   format, library);
}

xp_status xp_encoded_measure(xp_encoded *out) {
    enum { MOST_PIXELS = 1 << 30 };
    out->codec = find_codec(out->bytes, out->length);
    if (!out->codec)
        return xp_fail(XP_BAD_DATA, "%s: byte 0: the file is %s; replace or remove it", out->name,
                       out->length ? "neither a JPEG nor a PNG image" : "empty");
    XP_TRY(out->codec->measure(out));
    if (out->height < 1 || out->breadth < 1) return xp_encoded_reject(out, XP_BAD_DATA, "it has no pixels");
    if ((int64_t)out->height * out->breadth <= MOST_PIXELS) return XP_OK;
    return xp_fail(XP_UNSUPPORTED, "%s: %d × %d pixels are more than the %d that are supported; make it smaller",
                   out->name, out->breadth, out->height, MOST_PIXELS);
}

void xp_encoded_release(xp_encoded *image) {
    free(image->owned);
    *image = (xp_encoded){.codec = NULL};
}

/* --- raw pixels --------------------------------------------------------------------------------------------------- */

static xp_status decode_planes(const xp_encoded *image, int reduction, xp_picture *out) {
    const size_t pixels = (size_t)image->height * (size_t)image->breadth, channels = (size_t)image->channels;
    XP_TRY(xp_picture_create(out, image->height, image->breadth, image->channels, image->name));
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < pixels; i++) out->pixels[i * channels + c] = (unsigned char)image->bytes[c * pixels + i];
    return XP_OK;
}

const xp_codec xp_codec_planes = {.decode = decode_planes};

/* --- pictures ----------------------------------------------------------------------------------------------------- */

xp_status xp_picture_create(xp_picture *out, int height, int breadth, int channels, const char *name) {
    *out = (xp_picture){height, breadth, channels, malloc((size_t)height * (size_t)breadth * (size_t)channels)};
    return out->pixels ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for its pixels", name);
}

void xp_picture_release(xp_picture *picture) {
    free(picture->pixels);
    *picture = (xp_picture){.pixels = NULL};
}
