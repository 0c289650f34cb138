/* From an image to a sample: which part of it is seen, and at which size. Knows no file format. */
#include "data/formats.h"

#include <limits.h>
#include <math.h>

/* Pixels are numbers from 0 to 1, channel after channel. */
static void write_values(const xp_picture *picture, float *values) {
    const size_t pixels = (size_t)picture->height * (size_t)picture->breadth, channels = (size_t)picture->channels;
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < pixels; i++) values[c * pixels + i] = (float)picture->pixels[i * channels + c] / 255.0f;
}

/* A random part, the square in the centre, or all. */
static xp_box choose_box(const xp_dataset *dataset, const xp_encoded *image, xp_random *random) {
    if (random && dataset->augmentation->crop < 1)
        return xp_augment_crop(dataset->augmentation, image->height, image->breadth, random);
    const double height = image->height, breadth = image->breadth;
    const double side = dataset->crop * fmin(height, breadth);
    if (dataset->crop == 0) return (xp_box){0, 0, height, breadth};
    return (xp_box){(height - side) / 2, (breadth - side) / 2, side, side};
}

/* By how much the image may be smaller, so that the box still has all pixels of the sample. */
static int choose_reduction(const xp_dataset *dataset, const xp_box *box) {
    enum { MOST_REDUCTION = 64 };
    int reduction = 1;
    while (reduction < MOST_REDUCTION && box->height >= 2 * reduction * dataset->height &&
           box->breadth >= 2 * reduction * dataset->breadth)
        reduction *= 2;
    return reduction;
}

static bool is_whole(const xp_dataset *dataset, const xp_picture *picture, const xp_box *box) {
    return picture->height == dataset->height && picture->breadth == dataset->breadth &&
           box->height == picture->height && box->breadth == picture->breadth;
}

/* By how much the codec made it smaller, a power of two; the size was rounded up. */
static int find_reduction(const xp_encoded *image, const xp_picture *picture) {
    int reduction = 1;
    while ((image->height + reduction - 1) / reduction > picture->height ||
           (image->breadth + reduction - 1) / reduction > picture->breadth)
        reduction *= 2;
    return reduction;
}

/* Replaces the picture by the part of it that the sample shows. */
static xp_status show(const xp_dataset *dataset, const xp_encoded *image, xp_box box, xp_picture *picture) {
    const int reduction = find_reduction(image, picture);
    xp_picture shown;
    box = (xp_box){box.top / reduction, box.left / reduction, box.height / reduction, box.breadth / reduction};
    if (is_whole(dataset, picture, &box)) return XP_OK;
    XP_TRY(xp_picture_resample(picture, &box, dataset->height, dataset->breadth, image->name, &shown));
    xp_picture_release(picture);
    *picture = shown;
    return XP_OK;
}

/* What comes into view is as bright as the mean, if that is known. */
static xp_status change(const xp_dataset *dataset, xp_random *random, xp_picture *picture) {
    const xp_standardisation *statistics = dataset->standardisation;
    unsigned char fill[4];
    for (int c = 0; c < picture->channels; c++)
        fill[c] = statistics ? (unsigned char)fmin(fmax(255 * statistics->mean[c], 0), 255) : 128;
    return xp_augment_picture(dataset->augmentation, fill, random, picture);
}

xp_status xp_view_read(const xp_dataset *dataset, int64_t number, xp_random *random, float *values) {
    char name[PATH_MAX];
    xp_encoded image;
    xp_picture picture = {.pixels = NULL};
    XP_TRY(dataset->source->load(dataset->source, number, name, &image));
    const xp_box box = choose_box(dataset, &image, random);
    xp_status status = image.codec->decode(&image, choose_reduction(dataset, &box), &picture);
    if (status == XP_OK) status = show(dataset, &image, box, &picture);
    if (status == XP_OK && random) status = change(dataset, random, &picture);
    if (status == XP_OK) write_values(&picture, values);
    xp_picture_release(&picture);
    xp_encoded_release(&image);
    return status;
}

xp_status xp_dataset_frame(xp_dataset *dataset, int side, double crop) {
    const bool images = dataset->kind->has.height;
    if (!images && side > 0)
        return xp_fail(XP_INVALID_ARGUMENT, "%s holds %s: data.image_size (--image-size) is for images", dataset->name,
                       dataset->kind->name);
    if (images && side == 0 && dataset->height == 0)
        return xp_fail(
            XP_INVALID_ARGUMENT,
            "%s: its images have sizes of their own: give the side of a common one in pixels, such as 64, in "
            "data.image_size (--image-size)",
            dataset->name);
    if (side == 0) return XP_OK;
    dataset->height = dataset->breadth = side;
    dataset->crop = crop;
    dataset->sample_elements = xp_sample_elements(dataset);
    return XP_OK;
}
