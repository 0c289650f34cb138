/* Images before they are samples: as they are stored, and as pictures of 8-bit pixels. A table of codecs, whose rows
 * know one way to store an image; and what is done to a picture. Knows no data sets. */
#ifndef XP_DATA_PICTURE_H
#define XP_DATA_PICTURE_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct xp_codec xp_codec;

/* An image as it is stored. */
typedef struct xp_encoded {
    const xp_codec *codec;
    const char *name; /* of its file, for messages; borrowed */
    const char *bytes;
    size_t length;
    char *owned; /* the bytes, where they are released with it */
    int height, breadth, channels;
} xp_encoded;

typedef struct xp_picture {
    int height, breadth, channels;
    unsigned char *pixels; /* [height][breadth][channels], owned */
} xp_picture;

struct xp_codec {
    bool (*recognises)(const char *bytes, size_t length);
    xp_status (*measure)(xp_encoded *image); /* finds its size */
    /* Makes the picture, smaller by a power of two up to `reduction`, if the codec can do that for less work. Threads
     * may decode at the same time. */
    xp_status (*decode)(const xp_encoded *image, int reduction, xp_picture *out);
};
extern const xp_codec xp_codec_jpeg, xp_codec_png; /* of files: red, green and blue */
extern const xp_codec xp_codec_planes;             /* raw pixels, channel after channel; not measured */

/* Whether the name of a file is that of an image that is read, or of one of another format. */
bool xp_picture_is_name(const char *name);
bool xp_picture_is_foreign_name(const char *name);
/* Whether bytes are an image of a file. */
bool xp_picture_is_image(const char *bytes, size_t length);

/* Finds codec and size of out->bytes. XP_BAD_DATA, XP_UNSUPPORTED: the message begins with the name. */
xp_status xp_encoded_measure(xp_encoded *out);
void xp_encoded_release(xp_encoded *image);
/* The message of a codec about an image. XP_BAD_DATA: it is damaged; XP_UNSUPPORTED, XP_OUT_OF_MEMORY. */
xp_status xp_encoded_reject(const xp_encoded *image, xp_status status, const char *reason);
/* The same of a build without the library that reads the format: XP_UNSUPPORTED. */
xp_status xp_encoded_refuse(const xp_encoded *image, const char *format, const char *library);

/* Allocates the pixels. XP_OUT_OF_MEMORY. */
xp_status xp_picture_create(xp_picture *out, int height, int breadth, int channels, const char *name);
void xp_picture_release(xp_picture *picture);

/* Writes it as a PNG file, atomically; a build without PNG writes nothing. XP_IO_ERROR, XP_OUT_OF_MEMORY. */
xp_status xp_picture_save(const xp_picture *picture, const char *path);

/* A part of a picture, in its pixels. */
typedef struct xp_box {
    double top, left, height, breadth;
} xp_box;

/* Makes a picture of this size of a part of another, by bicubic interpolation over all pixels that a new one covers.
 * XP_OUT_OF_MEMORY. */
xp_status xp_picture_resample(const xp_picture *picture, const xp_box *box, int height, int breadth, const char *name,
                              xp_picture *out);

#endif
