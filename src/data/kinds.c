/* What samples can be: series and images; text is in text.c, and sequences of tokens are in tokens.c. */
#include "data/formats.h"
#include "data/tokens.h"

#include <limits.h>
#include <string.h>

/* --- series ------------------------------------------------------------------------------------------------------- */

static int series_shape(const xp_dataset *dataset, int64_t shape[XP_SAMPLE_RANK]) {
    shape[0] = dataset->length;
    shape[1] = dataset->features;
    return 2;
}

static int series_features(const xp_dataset *dataset) {
    return dataset->features;
}

static xp_feature_place series_place(const xp_dataset *dataset, int64_t sample, int feature) {
    return (xp_feature_place){feature, dataset->lengths[sample], dataset->features};
}

static xp_status series_check_alike(const xp_dataset *dataset, const xp_dataset *other) {
    if (dataset->features == other->features) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s has %d dimensions and %s has %d; both parts need the same number", dataset->name,
                   dataset->features, other->name, other->features);
}

static void series_describe(const xp_dataset *dataset, xp_writer *out) {
    int shortest = INT_MAX, longest = 0;
    for (int64_t i = 0; i < dataset->count; i++) {
        if (dataset->lengths[i] < shortest) shortest = dataset->lengths[i];
        if (dataset->lengths[i] > longest) longest = dataset->lengths[i];
    }
    xp_write(out, "length %d", shortest);
    if (longest > shortest) xp_write(out, " to %d", longest);
    xp_write(out, ", %d feature%s", dataset->features, dataset->features == 1 ? "" : "s");
}

const xp_sample_kind xp_series_kind = {.name = "series",
                                       .feature = "dimension",
                                       .has = {.length = true, .features = true},
                                       .has_missing = true,
                                       .refusal = "holds series: set model.kind to encoder, or use a preset such as "
                                                  "uea-mvts, tser or forecast",
                                       .shape = series_shape,
                                       .features = series_features,
                                       .place = series_place,
                                       .check_alike = series_check_alike,
                                       .describe = series_describe,
                                       .sketch = xp_sketch_series};

/* --- images ------------------------------------------------------------------------------------------------------- */

static int images_shape(const xp_dataset *dataset, int64_t shape[XP_SAMPLE_RANK]) {
    shape[0] = dataset->channels;
    shape[1] = dataset->height;
    shape[2] = dataset->breadth;
    return 3;
}

static int images_features(const xp_dataset *dataset) {
    return dataset->channels;
}

static xp_feature_place images_place(const xp_dataset *dataset, int64_t sample, int feature) {
    const int64_t pixels = (int64_t)dataset->height * dataset->breadth;
    return (xp_feature_place){feature * pixels, pixels, 1};
}

static xp_status images_check_alike(const xp_dataset *dataset, const xp_dataset *other) {
    if (dataset->channels == other->channels && dataset->height == other->height && dataset->breadth == other->breadth)
        return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s has images of %dx%dx%d and %s of %dx%dx%d; both parts need the same size",
                   dataset->name, dataset->channels, dataset->height, dataset->breadth, other->name, other->channels,
                   other->height, other->breadth);
}

static void images_describe(const xp_dataset *dataset, xp_writer *out) {
    xp_write(out, "%d × %d pixels, %d channel%s", dataset->height, dataset->breadth, dataset->channels,
             dataset->channels == 1 ? "" : "s");
}

const xp_sample_kind xp_images_kind = {.name = "images",
                                       .feature = "channel",
                                       .has = {.channels = true, .height = true, .breadth = true},
                                       .refusal = "holds images: set model.kind to vision, or use a preset such as "
                                                  "images-64 or vit-tiny-28",
                                       .shape = images_shape,
                                       .features = images_features,
                                       .place = images_place,
                                       .check_alike = images_check_alike,
                                       .describe = images_describe,
                                       .tokenise = xp_tokens_of_images,
                                       .picture = "samples.png",
                                       .draw = xp_sheet_draw,
                                       .sketch = xp_sketch_image};

/* --- the table ---------------------------------------------------------------------------------------------------- */

const xp_sample_kind *xp_sample_kind_find(const char *name) {
    static const xp_sample_kind *const kinds[] = {&xp_series_kind, &xp_images_kind, &xp_text_kind, &xp_tokens_kind};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i]->name, name) == 0) return kinds[i];
    return NULL;
}

int64_t xp_sample_elements(const xp_dataset *dataset) {
    int64_t shape[XP_SAMPLE_RANK], elements = 1;
    const int rank = dataset->kind->shape(dataset, shape);
    for (int i = 0; i < rank; i++) elements *= shape[i];
    return elements;
}
