/* Sequences of tokens. A sample is one sequence or a pair: of each, its length and then its tokens, padded with 0. */
#include "data/tokens.h"

#include "data/formats.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

/* ---- the kind of samples ----------------------------------------------------------------------------------------- */

static int shape(const xp_dataset *dataset, int64_t sizes[XP_SAMPLE_RANK]) {
    sizes[0] = dataset->channels;
    sizes[1] = dataset->length + 1;
    return 2;
}

static int features(const xp_dataset *dataset) {
    (void)dataset;
    return 1;
}

static xp_feature_place place(const xp_dataset *dataset, int64_t sample, int feature) {
    (void)sample;
    return (xp_feature_place){feature, dataset->sample_elements, 1};
}

static xp_status check_alike(const xp_dataset *dataset, const xp_dataset *other) {
    if (dataset->channels != other->channels)
        return xp_fail(XP_BAD_DATA, "%s has %d text%s a sample and %s has %d; both parts need the same number",
                       dataset->name, dataset->channels, dataset->channels == 1 ? "" : "s", other->name,
                       other->channels);
    if (dataset->features == other->features) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s has %d different tokens and %s has %d; both parts need the same data.words",
                   dataset->name, dataset->features, other->name, other->features);
}

static void describe(const xp_dataset *dataset, xp_writer *out) {
    int shortest = INT_MAX, longest = 0;
    for (int64_t i = 0; i < dataset->count; i++) {
        if (dataset->lengths[i] < shortest) shortest = dataset->lengths[i];
        if (dataset->lengths[i] > longest) longest = dataset->lengths[i];
    }
    if (dataset->channels > 1) xp_write(out, "%d sequences, ", dataset->channels);
    xp_write(out, "%d", shortest);
    if (longest > shortest) xp_write(out, " to %d", longest);
    xp_write(out, " tokens");
}

static void complete(const xp_dataset *dataset, float *values) {
    for (int s = 0; s < dataset->channels; s++) values[s * (dataset->length + 1)] = (float)dataset->length;
}

const xp_sample_kind xp_tokens_kind = {.name = "tokens",
                                       .feature = "token",
                                       .has = {.length = true, .features = true, .channels = true},
                                       .symbols = XP_TOKENS_SYMBOLS,
                                       .of_images = true,
                                       .refusal = "holds texts with a class: set model.kind to tokens, or use a preset "
                                                  "such as lra-text",
                                       .shape = shape,
                                       .features = features,
                                       .place = place,
                                       .check_alike = check_alike,
                                       .describe = describe,
                                       .complete = complete};

/* ---- images ------------------------------------------------------------------------------------------------------ */

/* Reads images from their own source. */
typedef struct pixels_source {
    xp_source source;
    xp_dataset images; /* as they were, with no samples */
    int pixels;        /* of an image */
    int length;        /* tokens of a sample that is read, with the padding */
} pixels_source;

/* The brightness of colours, with the weights of ITU-R BT.601. */
static float brightness(const float *image, int channels, int pixels, int at) {
    if (channels != 3) return image[at];
    return 0.299f * image[at] + 0.587f * image[pixels + at] + 0.114f * image[2 * pixels + at];
}

static xp_status read_pixels(const xp_source *source, int64_t number, float *values) {
    const pixels_source *own = (const pixels_source *)source;
    const int channels = own->images.channels, pixels = own->pixels;
    float *image = malloc((size_t)channels * (size_t)pixels * sizeof *image);
    if (!image) return xp_fail(XP_OUT_OF_MEMORY, "no memory for an image of %d pixels", pixels);
    const xp_status status = xp_view_read(&own->images, number, NULL, image);
    values[0] = (float)pixels;
    for (int i = 0; i < own->length && status == XP_OK; i++)
        values[1 + i] = i < pixels ? rintf(255.0f * brightness(image, channels, pixels, i)) : 0;
    free(image);
    return status;
}

static void name_image(const xp_source *source, int64_t number, char *text, size_t size) {
    const xp_source *images = ((const pixels_source *)source)->images.source;
    images->name(images, number, text, size);
}

static uint64_t identify_image(const xp_source *source, int64_t number) {
    const xp_source *images = ((const pixels_source *)source)->images.source;
    return images->identify(images, number);
}

static void pad_pixels(xp_source *source, int length) {
    ((pixels_source *)source)->length = length;
}

static void close_pixels(xp_source *source) {
    xp_source *images = ((pixels_source *)source)->images.source;
    images->close(images);
    free(source);
}

xp_status xp_tokens_of_images(xp_dataset *dataset) {
    const int pixels = dataset->height * dataset->breadth;
    pixels_source *own = calloc(1, sizeof *own);
    if (!own) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", dataset->name);
    const xp_status status =
        xp_data_allocate((void **)&dataset->lengths, dataset->count, sizeof *dataset->lengths, dataset->name);
    if (status != XP_OK) {
        free(own);
        return status;
    }
    const xp_source *images = dataset->source;
    *own = (pixels_source){.source = {.read = read_pixels,
                                      .name = images->name ? name_image : NULL,
                                      .identify = images->identify ? identify_image : NULL,
                                      .pad = pad_pixels,
                                      .close = close_pixels,
                                      .data_sets = 1},
                           .images = {.kind = dataset->kind,
                                      .source = dataset->source,
                                      .channels = dataset->channels,
                                      .height = dataset->height,
                                      .breadth = dataset->breadth,
                                      .crop = dataset->crop},
                           .pixels = pixels};
    for (int64_t i = 0; i < dataset->count; i++) dataset->lengths[i] = pixels;
    dataset->source = &own->source;
    dataset->kind = &xp_tokens_kind;
    dataset->features = XP_TOKENS_SYMBOLS;
    dataset->channels = 1;
    dataset->height = dataset->breadth = 0;
    xp_dataset_pad(dataset, pixels);
    return XP_OK;
}
