/* JPEG files, by libjpeg-turbo. Owns the way from its errors, which leave by a jump, to a status. */
#include "data/picture.h"

#include <string.h>

static bool recognises(const char *bytes, size_t length) {
    return length >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0;
}

#ifdef XP_WITH_JPEG

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jerror.h>
#include <jpeglib.h>

typedef struct reading {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    char reason[JMSG_LENGTH_MAX];
    unsigned char *line; /* of four colours, owned */
} reading;

static void leave(j_common_ptr jpeg) {
    reading *own = jpeg->client_data;
    jpeg->err->format_message(jpeg, own->reason);
    longjmp(own->failed, 1);
}

/* Most warnings are about bytes that do not matter; one is that the file ends too early. */
static void warn(j_common_ptr jpeg, int level) {
    if (level < 0 && jpeg->err->msg_code == JWRN_JPEG_EOF) leave(jpeg);
}

/* After an error. */
static xp_status reject(const reading *own, const xp_encoded *image) {
    static const int unsupported[] = {
        JERR_ARITH_NOTIMPL,        JERR_BAD_PRECISION, JERR_CCIR601_NOTIMPL, JERR_CONVERSION_NOTIMPL,
        JERR_FRACT_SAMPLE_NOTIMPL, JERR_NOT_COMPILED,  JERR_NOTIMPL,         JERR_SOF_UNSUPPORTED};
    const int code = own->errors.msg_code;
    xp_status status = code == JERR_OUT_OF_MEMORY ? XP_OUT_OF_MEMORY : XP_BAD_DATA;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (code == unsupported[i]) status = XP_UNSUPPORTED;
    return xp_encoded_reject(image, status, own->reason);
}

static xp_status begin(reading *own, const xp_encoded *image) {
    *own = (reading){.line = NULL};
    own->jpeg.err = jpeg_std_error(&own->errors);
    own->errors.error_exit = leave;
    own->errors.emit_message = warn;
    own->jpeg.client_data = own;
    if (setjmp(own->failed)) return reject(own, image);
    jpeg_create_decompress(&own->jpeg);
    jpeg_mem_src(&own->jpeg, (const unsigned char *)image->bytes, image->length);
    jpeg_read_header(&own->jpeg, TRUE);
    return XP_OK;
}

static void end(reading *own) {
    jpeg_destroy_decompress(&own->jpeg);
    free(own->line);
}

static xp_status measure(xp_encoded *image) {
    reading own;
    const xp_status status = begin(&own, image);
    image->height = (int)own.jpeg.image_height;
    image->breadth = (int)own.jpeg.image_width;
    image->channels = 3;
    end(&own);
    return status;
}

/* Adobe's programs store the four colours inverted: how much light is left. */
static void convert_cmyk(const unsigned char *line, int breadth, bool inverted, unsigned char *out) {
    for (int x = 0; x < breadth; x++)
        for (int c = 0; c < 3; c++) {
            const int colour = line[4 * x + c], black = line[4 * x + 3];
            out[3 * x + c] = (unsigned char)((inverted ? colour * black : (255 - colour) * (255 - black)) / 255);
        }
}

static void read_lines(reading *own, xp_picture *out) {
    struct jpeg_decompress_struct *jpeg = &own->jpeg;
    const size_t row = (size_t)out->breadth * 3;
    while (jpeg->output_scanline < jpeg->output_height) {
        unsigned char *line = out->pixels + jpeg->output_scanline * row, *to = own->line ? own->line : line;
        jpeg_read_scanlines(jpeg, &to, 1);
        if (own->line) convert_cmyk(own->line, out->breadth, jpeg->saw_Adobe_marker, line);
    }
}

/* What changes between setjmp and longjmp is in *own and *out. */
static xp_status read_pixels(reading *own, const xp_encoded *image, int reduction, xp_picture *out) {
    struct jpeg_decompress_struct *jpeg = &own->jpeg;
    const bool four = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    if (setjmp(own->failed)) return reject(own, image);
    jpeg->out_color_space = four ? JCS_CMYK : JCS_RGB;
    jpeg->scale_num = 1;
    jpeg->scale_denom = (unsigned)(reduction > 8 ? 8 : reduction);
    jpeg_start_decompress(jpeg);
    XP_TRY(xp_picture_create(out, (int)jpeg->output_height, (int)jpeg->output_width, 3, image->name));
    if (four && !(own->line = malloc((size_t)out->breadth * 4)))
        return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for its pixels", image->name);
    read_lines(own, out);
    jpeg_finish_decompress(jpeg);
    return XP_OK;
}

static xp_status decode(const xp_encoded *image, int reduction, xp_picture *out) {
    reading own;
    *out = (xp_picture){.pixels = NULL};
    xp_status status = begin(&own, image);
    if (status == XP_OK) status = read_pixels(&own, image, reduction, out);
    end(&own);
    if (status != XP_OK) xp_picture_release(out);
    return status;
}

const xp_codec xp_codec_jpeg = {recognises, measure, decode};

#else

/* Images are measured before they are decoded. */
static xp_status measure(xp_encoded *image) {
    return xp_encoded_refuse(image, "JPEG", "libjpeg-turbo");
}

const xp_codec xp_codec_jpeg = {.recognises = recognises, .measure = measure};

#endif
