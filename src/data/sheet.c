/* A picture of training images, side by side, augmented as one batch: what augmentation makes of them can be seen.
 * Mixup and CutMix pair them among each other, and not as the smaller or larger batches of training do. */
#include "data/formats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 8, MOST = 48, GAP = 2 };

/* From the number of a batch to a byte. */
static unsigned char byte_of(const xp_dataset *dataset, int channel, float value) {
    const xp_standardisation *statistics = dataset->standardisation;
    double pixel = value;
    if (statistics) {
        const double deviation = statistics->deviation[channel];
        pixel = statistics->mean[channel] + pixel * (deviation > 0 ? deviation : 1);
    }
    return (unsigned char)lround(255 * fmin(fmax(pixel, 0), 1));
}

/* Puts an image, values [channels][height][breadth], into its place of the sheet. */
static void place_image(const xp_dataset *dataset, int place, const float *values, xp_picture *sheet) {
    const int height = dataset->height, breadth = dataset->breadth, channels = sheet->channels;
    const int top = GAP + place / COLUMNS * (height + GAP), left = GAP + place % COLUMNS * (breadth + GAP);
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < height; y++)
            for (int x = 0; x < breadth; x++) {
                const size_t at = (size_t)(top + y) * (size_t)sheet->breadth + (size_t)(left + x);
                sheet->pixels[at * (size_t)channels + (size_t)c] = byte_of(dataset, c, *values++);
            }
}

static xp_status draw_batch(const xp_dataset *dataset, const xp_batch *batch, const char *path) {
    const int count = batch->filled, rows = (count + COLUMNS - 1) / COLUMNS,
              columns = count < COLUMNS ? count : COLUMNS;
    const int height = GAP + rows * (dataset->height + GAP), breadth = GAP + columns * (dataset->breadth + GAP);
    const int channels = dataset->channels == 3 ? 3 : 1;
    xp_picture sheet;
    XP_TRY(xp_picture_create(&sheet, height, breadth, channels, path));
    memset(sheet.pixels, 255, (size_t)height * (size_t)breadth * (size_t)channels);
    for (int i = 0; i < count; i++)
        place_image(dataset, i, batch->values + (int64_t)i * dataset->sample_elements, &sheet);
    const xp_status status = xp_picture_save(&sheet, path);
    xp_picture_release(&sheet);
    return status;
}

xp_status xp_sheet_draw(const xp_dataset *dataset, const int32_t *order, const char *path) {
    const int count = dataset->count < MOST ? (int)dataset->count : MOST;
    const int64_t elements = count * dataset->sample_elements, shares = (int64_t)count * dataset->classes;
    xp_batch batch = {.values = NULL};
    xp_status status;
    XP_TRY_OR(status, xp_data_allocate((void **)&batch.values, elements, sizeof(float), dataset->name), done);
    XP_TRY_OR(status, xp_data_allocate((void **)&batch.targets, shares, sizeof(float), dataset->name), done);
    XP_TRY_OR(status, xp_data_allocate((void **)&batch.weights, count, sizeof(float), dataset->name), done);
    XP_TRY_OR(status, xp_dataset_batch(dataset, order, count, 0, count, &batch), done);
    status = draw_batch(dataset, &batch, path);
done:
    free(batch.values);
    free(batch.targets);
    free(batch.weights);
    return status;
}
