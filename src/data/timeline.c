/* Windows of one long series: cutting, reading, parting by time. */
#include "data/timeline.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the source --------------------------------------------------------------------------------------------------- */

static xp_status read_window(const xp_source *source, int64_t number, float *values) {
    const xp_timeline *own = (const xp_timeline *)source;
    const int64_t steps = own->context ? own->context : own->rows;
    memcpy(values, own->values + number * own->channels, (size_t)(steps * own->channels) * sizeof *values);
    return XP_OK;
}

/* One number, NaN before the first row and after the last. */
static float value_at(const xp_timeline *own, int64_t row, int target) {
    return row >= 0 && row < own->rows ? own->values[row * own->channels + own->predicted[target]] : NAN;
}

static xp_status read_future(const xp_source *source, int64_t number, float *targets) {
    const xp_timeline *own = (const xp_timeline *)source;
    for (int step = 0; step < own->horizon; step++)
        for (int t = 0; t < own->predicted_count; t++) *targets++ = value_at(own, number + own->context + step, t);
    return XP_OK;
}

static void close_timeline(xp_source *source) {
    xp_timeline *own = (xp_timeline *)source;
    for (int i = 0; i < own->channels; i++) free(own->names[i]);
    free(own->names);
    free(own->values);
    free(own->predicted);
    xp_times_release(&own->times);
    free(own);
}

/* --- cutting ------------------------------------------------------------------------------------------------------ */

static int find_channel(const xp_timeline *own, const char *name, size_t length) {
    for (int i = 0; i < own->channels; i++)
        if (strlen(own->names[i]) == length && strncmp(own->names[i], name, length) == 0) return i;
    return -1;
}

static xp_status reject_channel(const xp_timeline *own, const char *file, const char *name, int length) {
    enum { SHOWN = 8 };
    xp_writer known = {0};
    for (int i = 0; i < own->channels && i < SHOWN; i++) xp_write(&known, "%s'%s'", i ? ", " : "", own->names[i]);
    if (own->channels > SHOWN) xp_write(&known, " and %d more", own->channels - SHOWN);
    xp_status status = xp_writer_status(&known, "columns");
    if (status == XP_OK)
        status = xp_fail(XP_INVALID_ARGUMENT, "%s has no column '%.*s' of numbers (data.predict); it has %s", file,
                         length, name, known.text);
    xp_writer_release(&known);
    return status;
}

/* The channels of a list of names parted by commas; all for an empty one. */
static xp_status choose_channels(xp_timeline *own, const char *file, const char *list) {
    XP_TRY(xp_data_allocate((void **)&own->predicted, own->channels, sizeof *own->predicted, file));
    if (!*list)
        for (int i = 0; i < own->channels; i++) own->predicted[own->predicted_count++] = i;
    while (*list) {
        const size_t length = strcspn(list, ",");
        const int channel = find_channel(own, list, length);
        bool twice = false;
        for (int i = 0; i < own->predicted_count; i++) twice = twice || own->predicted[i] == channel;
        if (channel < 0) return reject_channel(own, file, list, (int)length);
        if (twice) return xp_fail(XP_INVALID_ARGUMENT, "data.predict names the column '%.*s' twice", (int)length, list);
        own->predicted[own->predicted_count++] = channel;
        list += length + (list[length] == ',');
    }
    return XP_OK;
}

/* "Demand +1", the first step after the window. */
static xp_status name_targets(xp_dataset *dataset, const xp_timeline *own) {
    const int64_t count = (int64_t)own->horizon * own->predicted_count;
    char **names = NULL;
    if (count > XP_DATA_TARGETS)
        return xp_fail(XP_UNSUPPORTED,
                       "%lld numbers to predict (data.horizon times %d columns) are more than the %d supported",
                       (long long)count, own->predicted_count, XP_DATA_TARGETS);
    XP_TRY(xp_data_allocate((void **)&names, count, sizeof *names, dataset->name));
    bool whole = true;
    for (int64_t i = 0; i < count && whole; i++) {
        char name[320];
        snprintf(name, sizeof name, "%s +%d", own->names[own->predicted[i % own->predicted_count]],
                 (int)(i / own->predicted_count) + 1);
        names[i] = strdup(name);
        whole = names[i] != NULL;
    }
    const xp_status status = whole ? xp_data_name_targets(dataset, (const char *const *)names, (int)count)
                                   : xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for names", dataset->name);
    for (int64_t i = 0; i < count; i++) free(names[i]);
    free(names);
    return status;
}

static xp_status cut_timeline(xp_dataset *dataset, const xp_windows *windows) {
    xp_timeline *own = (xp_timeline *)dataset->source;
    if (windows->horizon == 0)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "%s is a table of measurements over time: say how many steps are to be "
                       "predicted, with --horizon (data.horizon)",
                       dataset->name);
    const int64_t needed = (int64_t)windows->context + (windows->to_end ? 0 : windows->horizon);
    if (own->rows < windows->context)
        return xp_fail(XP_BAD_DATA, "%s has %lld rows, fewer than the %d that the model sees (--context)",
                       dataset->name, (long long)own->rows, windows->context);
    if (own->rows < needed)
        return xp_fail(
            XP_BAD_DATA,
            "%s has %lld rows, fewer than the %d that the model sees (--context) and the %d that it predicts "
            "(--horizon)",
            dataset->name, (long long)own->rows, windows->context, windows->horizon);
    own->context = windows->context;
    own->horizon = dataset->horizon = windows->horizon;
    dataset->season = windows->season;
    dataset->levelled = windows->levelled;
    XP_TRY(choose_channels(own, dataset->name, windows->predict));
    XP_TRY(name_targets(dataset, own));
    own->source.read_targets = read_future;
    dataset->count = own->rows - needed + 1;
    xp_dataset_pad(dataset, windows->context);
    free(dataset->lengths);
    dataset->lengths = NULL;
    XP_TRY(xp_data_allocate((void **)&dataset->lengths, dataset->count, sizeof *dataset->lengths, dataset->name));
    for (int64_t i = 0; i < dataset->count; i++) dataset->lengths[i] = windows->context;
    return XP_OK;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

xp_status xp_timeline_open(xp_dataset *dataset, float *values, int64_t rows, char **names, int channels,
                           xp_times *times) {
    xp_timeline *own = calloc(1, sizeof *own);
    if (!own) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for its rows", dataset->name);
    *own = (xp_timeline){.source = {.read = read_window, .cut = cut_timeline, .close = close_timeline, .data_sets = 1},
                         .values = values,
                         .rows = rows,
                         .channels = channels,
                         .names = names,
                         .times = *times};
    *times = (xp_times){.values = NULL};
    dataset->source = &own->source;
    dataset->kind = &xp_series_kind;
    dataset->count = 1;
    dataset->features = channels;
    dataset->length = (int)rows;
    dataset->sample_elements = xp_sample_elements(dataset);
    XP_TRY(xp_data_allocate((void **)&dataset->lengths, 1, sizeof *dataset->lengths, dataset->name));
    dataset->lengths[0] = (int)rows;
    return XP_OK;
}

const xp_timeline *xp_timeline_of(const xp_dataset *dataset) {
    const bool own = dataset->source && dataset->source->read == read_window;
    return own ? (const xp_timeline *)dataset->source : NULL;
}

const xp_times *xp_dataset_times(const xp_dataset *dataset) {
    const xp_timeline *own = xp_timeline_of(dataset);
    return own && own->times.count > 0 ? &own->times : NULL;
}

/* --- parts -------------------------------------------------------------------------------------------------------- */

static xp_status take_range(const xp_dataset *dataset, int64_t first, int64_t count, int64_t stride, xp_dataset **out) {
    int32_t *chosen = NULL;
    const int64_t taken = (count + stride - 1) / stride;
    XP_TRY(xp_data_allocate((void **)&chosen, taken, sizeof *chosen, dataset->name));
    for (int64_t i = 0; i < taken; i++) chosen[i] = (int32_t)(first + i * stride);
    const xp_status status = xp_part_take(dataset, chosen, taken, out);
    free(chosen);
    return status;
}

/* The later rows are what is predicted in the part that is split off, and no window of the rest knows or predicts them.
 */
xp_status xp_timeline_split(xp_dataset *dataset, double fraction, xp_dataset **away) {
    const xp_timeline *own = xp_timeline_of(dataset);
    const int64_t window = (int64_t)own->context + own->horizon, rows = dataset->count + window - 1;
    const int64_t later = llround(fraction * (double)rows), left = rows - later - window + 1;
    const int64_t held = later - own->horizon + 1;
    xp_dataset *rest = NULL;
    if (left < 1 || held < 1)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "%s: a part of %g of %lld rows leaves no window of %d + %d steps to one of the "
                       "parts; use another part, or shorter windows",
                       dataset->name, fraction, (long long)rows, own->context, own->horizon);
    XP_TRY(take_range(dataset, dataset->count - held, held, 1, away));
    const xp_status status = take_range(dataset, 0, left, 1, &rest);
    if (status == XP_OK)
        xp_part_replace(dataset, &rest);
    else
        xp_dataset_close(away);
    return status;
}

xp_status xp_dataset_latest(xp_dataset *dataset, int64_t count) {
    xp_dataset *part = NULL;
    if (count >= dataset->count) return XP_OK;
    XP_TRY(take_range(dataset, dataset->count - count, count, 1, &part));
    xp_part_replace(dataset, &part);
    return XP_OK;
}

xp_status xp_dataset_thin(xp_dataset *dataset, int64_t stride) {
    xp_dataset *part = NULL;
    if (stride == 1) return XP_OK;
    XP_TRY(take_range(dataset, 0, dataset->count, stride, &part));
    xp_part_replace(dataset, &part);
    return XP_OK;
}

/* --- statistics --------------------------------------------------------------------------------------------------- */

static void fit_channel(const xp_timeline *own, int channel, int64_t first, int64_t end, double *mean,
                        double *deviation) {
    const float *values = own->values + channel;
    double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
    int64_t count = 0;
    for (int64_t row = first; row < end; row++) {
        const double value = values[row * own->channels];
        if (isnan(value)) continue;
        sum += value;
        count++;
        low = fmin(low, value);
        high = fmax(high, value);
    }
    *mean = count > 0 ? sum / (double)count : 0;
    for (int64_t row = first; row < end; row++) {
        const double difference = values[row * own->channels] - *mean;
        if (!isnan(difference)) squares += difference * difference;
    }
    *deviation = low < high ? sqrt(squares / (double)count) : 0;
}

xp_status xp_timeline_fit(xp_standardisation *out, const xp_dataset *training, bool targets) {
    const xp_timeline *own = xp_timeline_of(training);
    const int64_t first = xp_dataset_number(training, 0), last = xp_dataset_number(training, training->count - 1);
    for (int i = 0; i < out->features; i++)
        fit_channel(own, targets ? own->predicted[i] : i, first, last + own->context + own->horizon, &out->mean[i],
                    &out->deviation[i]);
    return XP_OK;
}

void xp_timeline_level(const xp_timeline *own, float *values, float *levels) {
    static const double steady = 1e-5; /* of a variance: a column that hardly changes is not magnified */
    const int steps = own->context, predicted = own->predicted_count;
    for (int c = 0; c < own->channels; c++) {
        double mean = 0, squares = 0;
        for (int step = 0; step < steps; step++) mean += values[step * own->channels + c];
        mean /= steps;
        for (int step = 0; step < steps; step++) {
            const double difference = values[step * own->channels + c] - mean;
            squares += difference * difference;
        }
        const double deviation = sqrt(squares / steps + steady);
        for (int step = 0; step < steps; step++) {
            float *value = &values[step * own->channels + c];
            *value = (float)((*value - mean) / deviation);
        }
        for (int i = 0; levels && i < predicted; i++) {
            if (own->predicted[i] != c) continue;
            levels[i] = (float)mean;
            levels[predicted + i] = (float)deviation;
        }
    }
}

/* --- the forecast to beat ----------------------------------------------------------------------------------------- */

void xp_dataset_read_naive(const xp_dataset *dataset, int64_t sample, float *forecast) {
    const int season = dataset->season;
    const xp_timeline *own = xp_timeline_of(dataset);
    const int64_t begin = xp_dataset_number(dataset, sample) + own->context; /* the first row that is not known */
    for (int step = 0; step < own->horizon; step++)
        for (int t = 0; t < own->predicted_count; t++) {
            int64_t row = begin + step % season - season;
            while (row >= 0 && isnan(value_at(own, row, t))) row -= season;
            *forecast++ = value_at(own, row, t);
        }
}
