/* Preparation of samples when they are read: fills missing values, standardises, pads; and statistics of their values
 * before. Knows no file format. */
#include "core/text.h"
#include "data/timeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* values [count], `stride` apart; `otherwise` where none is known. */
static void interpolate(float *values, int64_t count, int stride, float otherwise) {
    int64_t known = -1; /* the last step with a value */
    for (int64_t step = 0; step < count; step++) {
        float value = values[step * stride];
        if (isnan(value)) continue;
        float before = known < 0 ? value : values[known * stride];
        for (int64_t gap = known + 1; gap < step; gap++) {
            double part = (double)(gap - known) / (double)(step - known);
            values[gap * stride] = known < 0 ? value : (float)(before + part * ((double)value - before));
        }
        known = step;
    }
    float last = known < 0 ? otherwise : values[known * stride];
    for (int64_t gap = known + 1; gap < count; gap++) values[gap * stride] = last;
}

static void standardise(float *values, int64_t count, int stride, double mean, double deviation) {
    const double factor = deviation > 0 ? 1.0 / deviation : 1.0;
    for (int64_t i = 0; i < count; i++) values[i * stride] = (float)((values[i * stride] - mean) * factor);
}

static xp_status read_sample(const xp_dataset *dataset, int64_t sample, xp_random *random, float *values) {
    const xp_standardisation *standardisation = dataset->standardisation;
    const int features = dataset->kind->features(dataset);
    const bool windows = dataset->horizon > 0 && standardisation; /* nothing known is the mean, and 0 after it */
    int64_t own = 0;                                              /* values without the padding */
    const int64_t number = xp_dataset_number(dataset, sample);
    XP_TRY(dataset->source->load ? xp_view_read(dataset, number, random, values)
                                 : dataset->source->read(dataset->source, number, values));
    for (int feature = 0; feature < features; feature++) {
        const xp_feature_place place = dataset->kind->place(dataset, sample, feature);
        own += place.count;
        const float otherwise = windows ? (float)standardisation->mean[feature] : 0.0f;
        if (dataset->fills_missing) interpolate(values + place.offset, place.count, place.stride, otherwise);
        if (standardisation)
            standardise(values + place.offset, place.count, place.stride, standardisation->mean[feature],
                        standardisation->deviation[feature]);
    }
    memset(values + own, 0, (size_t)(dataset->sample_elements - own) * sizeof *values);
    if (random)
        xp_augment_erase(dataset->augmentation, dataset->channels, dataset->height, dataset->breadth, random, values);
    return XP_OK;
}

xp_status xp_dataset_read(const xp_dataset *dataset, int64_t sample, float *values) {
    return read_sample(dataset, sample, NULL, values);
}

xp_status xp_dataset_read_augmented(const xp_dataset *dataset, int64_t sample, int64_t place, float *values) {
    enum { PURPOSE_AUGMENT = 0x41554747 };
    if (!dataset->augmentation) return xp_dataset_read(dataset, sample, values);
    xp_random random = xp_random_of(dataset->seed, PURPOSE_AUGMENT, dataset->epoch, place);
    return read_sample(dataset, sample, &random, values);
}

bool xp_dataset_is_slow(const xp_dataset *dataset) {
    return dataset->source->identify || dataset->augmentation;
}

/* --- statistics of the values ------------------------------------------------------------------------------------- */

/* What is known of one feature, over all samples. */
typedef struct feature_values {
    float low, high; /* low > high: all are missing */
    double sum, squares;
    int64_t count;
} feature_values;

/* Adds to each of all[features] one sample's values: least, greatest, sum and number; or, around the given means,
 * squares. */
static void note_sample(const xp_dataset *dataset, int64_t sample, const float *values, const double *means,
                        feature_values *all) {
    const int features = dataset->kind->features(dataset);
    for (int feature = 0; feature < features; feature++) {
        const xp_feature_place place = dataset->kind->place(dataset, sample, feature);
        feature_values *own = &all[feature];
        own->count += place.count;
        for (int64_t j = 0; j < place.count; j++) {
            const float value = values[place.offset + j * place.stride];
            if (means) {
                const double difference = value - means[feature];
                own->squares += difference * difference;
                continue;
            }
            own->low = fminf(own->low, value);
            own->high = fmaxf(own->high, value);
            own->sum += value;
        }
    }
}

/* A few samples at a time. */
typedef struct look {
    const xp_dataset *dataset;
    int64_t first, stride;
    float *values;
} look;

static xp_status read_one(void *user, int i) {
    const look *own = user;
    return xp_dataset_read(own->dataset, own->first + i * own->stride, own->values + i * own->dataset->sample_elements);
}

/* The same over all samples; of those that take long to read, over some. The caller frees *out [features]. */
static xp_status note_values(const xp_dataset *dataset, const double *means, feature_values **out) {
    enum { FILES = 1000 };
    const int features = dataset->kind->features(dataset);
    const bool slow = dataset->source->identify;
    const int most = slow ? xp_workers_usual() : 1;
    look at = {dataset, 0, slow ? (dataset->count + FILES - 1) / FILES : 1, NULL};
    xp_workers *workers = NULL;
    XP_TRY(xp_data_allocate((void **)&at.values, most * dataset->sample_elements, sizeof *at.values, dataset->name));
    xp_status status = xp_data_allocate((void **)out, features, sizeof **out, dataset->name);
    for (int feature = 0; feature < features && status == XP_OK; feature++)
        (*out)[feature] = (feature_values){.low = INFINITY, .high = -INFINITY};
    if (status == XP_OK && slow) status = xp_workers_open(&workers, most);
    for (int count; at.first < dataset->count && status == XP_OK; at.first += count * at.stride) {
        const int64_t left = (dataset->count - at.first + at.stride - 1) / at.stride;
        count = left < most ? (int)left : most;
        status = xp_workers_run(workers, count, read_one, &at);
        for (int i = 0; i < count && status == XP_OK; i++)
            note_sample(dataset, at.first + i * at.stride, at.values + i * dataset->sample_elements, means, *out);
    }
    xp_workers_close(&workers);
    free(at.values);
    if (status == XP_OK) return XP_OK;
    free(*out);
    *out = NULL;
    return status;
}

/* Writes "dimensions 2, 3, 5 and 4 more". */
static void list_features(xp_writer *out, const xp_dataset *dataset, const int *numbers, int count) {
    enum { SHOWN = 8 };
    xp_write(out, "%s%s", dataset->kind->feature, count > 1 ? "s" : "");
    for (int i = 0; i < count && i < SHOWN; i++)
        xp_write(out, "%s %d", i == 0 ? "" : i + 1 == count ? " and" : ",", numbers[i] + 1);
    if (count > SHOWN) xp_write(out, " and %d more", count - SHOWN);
}

xp_status xp_dataset_note_idle(const xp_dataset *dataset, bool constant, xp_writer *note) {
    const int features = dataset->kind->features(dataset);
    int *missing = NULL, *same = NULL, missing_count = 0, same_count = 0;
    feature_values *known = NULL;
    xp_status status;
    if (!dataset->kind->has_missing && !constant) return XP_OK;
    XP_TRY_OR(status, note_values(dataset, NULL, &known), done);
    XP_TRY_OR(status, xp_data_allocate((void **)&missing, features, sizeof *missing, dataset->name), done);
    XP_TRY_OR(status, xp_data_allocate((void **)&same, features, sizeof *same, dataset->name), done);
    for (int feature = 0; feature < features; feature++) {
        const feature_values *own = &known[feature];
        if (!(own->low <= own->high))
            missing[missing_count++] = feature;
        else if (constant && own->low == own->high)
            same[same_count++] = feature;
    }
    if (missing_count + same_count > 0) xp_write(note, "%s: ", dataset->name);
    if (missing_count > 0) {
        list_features(note, dataset, missing, missing_count);
        xp_write(note, " %s missing in every sample and set to 0%s", missing_count > 1 ? "are" : "is",
                 same_count > 0 ? "; " : "");
    }
    if (same_count > 0) {
        list_features(note, dataset, same, same_count);
        xp_write(note, " never change%s and contain%s no information", same_count > 1 ? "" : "s",
                 same_count > 1 ? "" : "s");
    }
    status = xp_writer_status(note, "the note on missing values");
done:
    free(known);
    free(missing);
    free(same);
    return status;
}

xp_status xp_dataset_interpolate(xp_dataset *dataset) {
    feature_values *known = NULL;
    bool any = false;
    if (!dataset->kind->has_missing) return XP_OK;
    XP_TRY(note_values(dataset, NULL, &known));
    for (int feature = 0; feature < dataset->kind->features(dataset); feature++)
        any = any || known[feature].low <= known[feature].high;
    free(known);
    if (!any)
        return xp_fail(XP_BAD_DATA, "%s: every value is missing; check the program that wrote the file", dataset->name);
    dataset->fills_missing = true;
    return XP_OK;
}

/* --- standardisation ---------------------------------------------------------------------------------------------- */

/* A constant feature is found by its range: its deviation as computed may be a rounding error instead of 0. */
static xp_status fit(xp_standardisation *out, const xp_dataset *training) {
    if (training->horizon > 0) return xp_timeline_fit(out, training, false);
    feature_values *known = NULL, *around = NULL;
    XP_TRY(note_values(training, NULL, &known));
    for (int feature = 0; feature < out->features; feature++)
        out->mean[feature] = known[feature].sum / (double)known[feature].count;
    const xp_status status = note_values(training, out->mean, &around);
    for (int feature = 0; feature < out->features && status == XP_OK; feature++)
        out->deviation[feature] = known[feature].low == known[feature].high
                                      ? 0.0
                                      : sqrt(around[feature].squares / (double)around[feature].count);
    free(known);
    free(around);
    return status;
}

xp_status xp_standardisation_fit(xp_standardisation *out, const xp_dataset *training) {
    *out = (xp_standardisation){.features = training->kind->features(training)};
    if (training->count == 0) return xp_fail(XP_INVALID_ARGUMENT, "%s: no samples to standardise by", training->name);
    out->mean = calloc((size_t)out->features, sizeof *out->mean);
    out->deviation = calloc((size_t)out->features, sizeof *out->deviation);
    const xp_status status =
        out->mean && out->deviation
            ? fit(out, training)
            : xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the means of its features", training->name);
    if (status != XP_OK) xp_standardisation_release(out);
    return status;
}

/* Reads so many numbers, separated by commas. */
static bool parse_numbers(const char *text, int count, double *out) {
    size_t length = 0;
    for (int i = 0; i < count; i++) {
        if (xp_text_number(text, &out[i], &length) != XP_OK || length == 0 || !isfinite(out[i])) return false;
        text += length;
        while (*text == ' ') text++;
        if (*text != (i + 1 < count ? ',' : '\0')) return false;
        for (text++; i + 1 < count && *text == ' ';) text++;
    }
    return true;
}

xp_status xp_standardisation_parse(xp_standardisation *out, const xp_dataset *training, const char *mean,
                                   const char *deviation) {
    const int features = training->kind->features(training);
    *out = (xp_standardisation){features, calloc((size_t)features, sizeof *out->mean),
                                calloc((size_t)features, sizeof *out->deviation)};
    xp_status status = XP_OK;
    if (!out->mean || !out->deviation)
        status = xp_fail(XP_OUT_OF_MEMORY, "no memory for the statistics of %d features", features);
    else if (!parse_numbers(mean, features, out->mean) || !parse_numbers(deviation, features, out->deviation))
        status =
            xp_fail(XP_INVALID_ARGUMENT,
                    "data.mean and data.deviation: '%s' and '%s' are not %d number%s each, separated by commas: one "
                    "for each %s of %s",
                    mean, deviation, features, features == 1 ? "" : "s", training->kind->feature, training->name);
    for (int i = 0; i < features && status == XP_OK; i++)
        if (out->deviation[i] <= 0)
            status = xp_fail(XP_INVALID_ARGUMENT, "data.deviation: %g is not greater than 0", out->deviation[i]);
    if (status != XP_OK) xp_standardisation_release(out);
    return status;
}

void xp_standardisation_apply(const xp_standardisation *standardisation, xp_dataset *dataset) {
    dataset->standardisation = standardisation;
}

xp_status xp_standardisation_copy(xp_standardisation *out, const xp_standardisation *from) {
    const size_t bytes = (size_t)from->features * sizeof *from->mean;
    *out = (xp_standardisation){from->features, malloc(bytes), malloc(bytes)};
    if (!out->mean || !out->deviation) {
        xp_standardisation_release(out);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for the statistics of %d features", from->features);
    }
    memcpy(out->mean, from->mean, bytes);
    memcpy(out->deviation, from->deviation, bytes);
    return XP_OK;
}

void xp_standardisation_release(xp_standardisation *standardisation) {
    free(standardisation->mean);
    free(standardisation->deviation);
    *standardisation = (xp_standardisation){0};
}
