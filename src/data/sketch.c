/* One sample as a part of an SVG picture: an image as pixels, a series as lines. Owns how a sample looks there. */
#include "core/svg.h"
#include "data/formats.h"

#include <math.h>
#include <stdlib.h>

enum { CELLS = 40 }; /* a side of an image; larger ones are averaged down */

/* The sample as the data have it, whatever training makes of it. */
static xp_status read_plain(const xp_dataset *dataset, int64_t sample, float **values) {
    xp_dataset plain = *dataset;
    plain.standardisation = NULL;
    plain.augmentation = NULL;
    XP_TRY(xp_data_allocate((void **)values, dataset->sample_elements, sizeof **values, dataset->name));
    const xp_status status = xp_dataset_read(&plain, sample, *values);
    if (status != XP_OK) free(*values);
    return status;
}

/* The mean of the pixels that a cell covers, from 0 to 255. */
static int mean_of_cell(const float *channel, int breadth, int top, int bottom, int left, int right) {
    double sum = 0;
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) sum += (double)channel[y * breadth + x];
    return (int)lround(255 * fmin(fmax(sum / ((bottom - top) * (right - left)), 0), 1));
}

xp_status xp_sketch_image(const xp_dataset *dataset, int64_t sample, double side, xp_writer *out) {
    const int height = dataset->height, breadth = dataset->breadth, last = dataset->channels == 3 ? 2 : 0;
    const int rows = height < CELLS ? height : CELLS, columns = breadth < CELLS ? breadth : CELLS;
    const double cell = side / (rows > columns ? rows : columns);
    float *values = NULL;
    XP_TRY(read_plain(dataset, sample, &values));
    xp_write(out, "<g shape-rendering=\"crispEdges\">\n"); /* else a dark page shows between the cells */
    for (int row = 0; row < rows; row++) {
        const int top = row * height / rows, bottom = (row + 1) * height / rows;
        for (int column = 0; column < columns; column++) {
            const int left = column * breadth / columns, right = (column + 1) * breadth / columns;
            int colour[3];
            for (int c = 0; c < 3; c++)
                colour[c] = mean_of_cell(values + (ptrdiff_t)(c < last ? c : last) * height * breadth, breadth, top,
                                         bottom, left, right);
            /* Not in the form of the palette, whose colours change on a dark page. */
            xp_write(out, "<path fill=\"rgb(%d,%d,%d)\" d=\"M%.4g %.4gh%.4gv%.4gh-%.4gz\"/>\n", colour[0], colour[1],
                     colour[2], column * cell, row * cell, cell, cell, cell);
        }
    }
    xp_write(out, "</g>\n");
    free(values);
    return XP_OK;
}

xp_status xp_sketch_series(const xp_dataset *dataset, int64_t sample, double side, xp_writer *out) {
    const int features = dataset->features, steps = dataset->lengths[sample];
    double low = INFINITY, high = -INFINITY;
    float *values = NULL;
    XP_TRY(read_plain(dataset, sample, &values));
    for (int64_t i = 0; i < (int64_t)steps * features; i++) {
        low = fmin(low, (double)values[i]);
        high = fmax(high, (double)values[i]);
    }
    for (int feature = 0; feature < features; feature++) {
        xp_write(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" d=\"",
                 xp_svg_series[feature % XP_SVG_SERIES]);
        for (int step = 0; step < steps; step++) {
            const double share = high > low ? ((double)values[step * features + feature] - low) / (high - low) : 0.5;
            xp_write(out, "%s%.1f %.1f", step ? "L" : "M", (step + 0.5) * side / steps, side * (0.97 - 0.94 * share));
        }
        xp_write(out, "\"/>\n");
    }
    free(values);
    return XP_OK;
}
