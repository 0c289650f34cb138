/* Pictures of another size. Cubic convolution with a = -1/2 (Keys, 1981), stretched where the picture becomes smaller,
 * so that each new pixel is a weighted mean of all that it covers: first along the rows, then along the columns. */
#include "data/picture.h"

#include <math.h>
#include <stdlib.h>

/* The weights of one axis: new pixel i is the sum of weights[i·most + j] · old pixel first[i] + j, j < count[i]. */
typedef struct axis_weights {
    int size, most;
    int *first, *count; /* [size] */
    float *weights;     /* [size][most] */
} axis_weights;

static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static void release_weights(axis_weights *axis) {
    free(axis->first);
    free(axis->count);
    free(axis->weights);
}

/* From `length` pixels that begin at `begin` of `old` ones. */
static xp_status make_weights(axis_weights *out, int old, double begin, double length, int size, const char *name) {
    const double scale = length / size, stretch = scale > 1 ? scale : 1, reach = 2 * stretch;
    *out = (axis_weights){.size = size, .most = (int)ceil(2 * reach) + 2};
    out->first = malloc((size_t)size * sizeof *out->first);
    out->count = malloc((size_t)size * sizeof *out->count);
    out->weights = malloc((size_t)size * (size_t)out->most * sizeof *out->weights);
    if (!out->first || !out->count || !out->weights) {
        release_weights(out);
        return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to resize it", name);
    }
    for (int i = 0; i < size; i++) {
        const double centre = begin + (i + 0.5) * scale;
        int low = (int)floor(centre - reach), high = (int)ceil(centre + reach);
        low = low < 0 ? 0 : low < old ? low : old - 1;
        high = high > old ? old : high > low ? high : low + 1;
        float *weights = out->weights + (size_t)i * (size_t)out->most;
        double sum = 0;
        for (int j = low; j < high; j++) sum += cubic((j + 0.5 - centre) / stretch);
        for (int j = low; j < high; j++)
            weights[j - low] = sum != 0 ? (float)(cubic((j + 0.5 - centre) / stretch) / sum) : j == low;
        out->first[i] = low;
        out->count[i] = high - low;
    }
    return XP_OK;
}

/* Row `row` of the picture, in the new breadth; out [size][channels]. */
static void resample_row(const xp_picture *picture, int row, const axis_weights *across, float *out) {
    const int channels = picture->channels;
    const unsigned char *pixels = picture->pixels + (size_t)row * (size_t)picture->breadth * (size_t)channels;
    for (int x = 0; x < across->size; x++) {
        const float *weights = across->weights + (size_t)x * (size_t)across->most;
        const unsigned char *from = pixels + (size_t)across->first[x] * (size_t)channels;
        for (int c = 0; c < channels; c++) {
            float sum = 0;
            for (int j = 0; j < across->count[x]; j++) sum += weights[j] * (float)from[j * channels + c];
            out[x * channels + c] = sum;
        }
    }
}

/* rows [rows][row], the first of which is the picture's row `begin`; sums [row] is room. */
static void resample_columns(const float *rows, int begin, int row, const axis_weights *down, float *sums,
                             unsigned char *out) {
    for (int y = 0; y < down->size; y++) {
        const float *weights = down->weights + (size_t)y * (size_t)down->most;
        for (int i = 0; i < row; i++) sums[i] = 0.5f; /* rounds */
        for (int j = 0; j < down->count[y]; j++) {
            const float *from = rows + (size_t)(down->first[y] + j - begin) * (size_t)row;
            for (int i = 0; i < row; i++) sums[i] += weights[j] * from[i];
        }
        for (int i = 0; i < row; i++)
            out[(size_t)y * (size_t)row + (size_t)i] = sums[i] < 0      ? 0
                                                       : sums[i] >= 255 ? 255
                                                                        : (unsigned char)(int)sums[i];
    }
}

xp_status xp_picture_resample(const xp_picture *picture, const xp_box *box, int height, int breadth, const char *name,
                              xp_picture *out) {
    axis_weights across = {0}, down = {0};
    float *rows = NULL;
    xp_status status;
    *out = (xp_picture){.pixels = NULL};
    XP_TRY_OR(status, make_weights(&across, picture->breadth, box->left, box->breadth, breadth, name), done);
    XP_TRY_OR(status, make_weights(&down, picture->height, box->top, box->height, height, name), done);
    XP_TRY_OR(status, xp_picture_create(out, height, breadth, picture->channels, name), done);
    const int begin = down.first[0], end = down.first[height - 1] + down.count[height - 1];
    const size_t row = (size_t)breadth * (size_t)picture->channels;
    rows = malloc((size_t)(end - begin + 1) * row * sizeof *rows);
    if (!rows) {
        status = xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to resize it", name);
        xp_picture_release(out);
        goto done;
    }
    for (int y = begin; y < end; y++) resample_row(picture, y, &across, rows + (size_t)(y - begin) * row);
    resample_columns(rows, begin, (int)row, &down, rows + (size_t)(end - begin) * row, out->pixels);
done:
    free(rows);
    release_weights(&across);
    release_weights(&down);
    return status;
}
