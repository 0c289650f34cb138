#include "data/series.h"

#include "core/array.h"
#include "core/text.h"
#include "data/formats.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

xp_series xp_series_begin(const char *path, const char *text, size_t length, char separator) {
    const bool marked = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;
    const char *begin = text + (marked ? 3 : 0);
    return (xp_series){.path = path,
                       .text = begin,
                       .at = begin,
                       .end = text + length,
                       .newline = memchr(text, '\n', length) ? '\n' : '\r',
                       .separator = separator,
                       .line = {begin, begin}};
}

void xp_series_release(xp_series *series) {
    free(series->values);
    free(series->lengths);
    free(series->labels);
    free(series->targets);
    xp_names_release(&series->seen);
}

/* --- lines and places --------------------------------------------------------------------------------------------- */

bool xp_series_is_blank(const xp_series *series, char character) {
    return character == ' ' || character == '\r' || (character == '\t' && series->separator != '\t');
}

xp_slice xp_series_trim(const xp_series *series, xp_slice slice) {
    while (slice.begin < slice.end && xp_series_is_blank(series, *slice.begin)) slice.begin++;
    while (slice.end > slice.begin && xp_series_is_blank(series, slice.end[-1])) slice.end--;
    return slice;
}

bool xp_series_next_line(xp_series *series) {
    while (series->at < series->end) {
        const char *newline = memchr(series->at, series->newline, (size_t)(series->end - series->at));
        series->line = xp_series_trim(series, (xp_slice){series->at, newline ? newline : series->end});
        series->at = newline ? newline + 1 : series->end;
        const xp_slice line = series->line;
        if (line.begin < line.end && *line.begin != '#' && *line.begin != '%') return true;
    }
    series->line = (xp_slice){series->end, series->end};
    return false;
}

static const char *line_begin(const xp_series *series, const char *place) {
    while (place > series->text && place[-1] != series->newline) place--;
    return place;
}

int xp_series_line_of(const xp_series *series, const char *place) {
    int line = 1;
    for (const char *at = series->text; at < place; at++) line += *at == series->newline;
    return line;
}

xp_status xp_series_fail(const xp_series *series, xp_status status, const char *place, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return xp_fail(status, "%s:%d:%td: %s", series->path, xp_series_line_of(series, place),
                   place - line_begin(series, place) + 1, text);
}

const char *xp_series_cut_off(const xp_series *series) {
    return series->at == series->end && series->end[-1] != series->newline ? "; the file ends there: is it cut off?"
                                                                           : "";
}

/* --- values ------------------------------------------------------------------------------------------------------- */

bool xp_slice_is(xp_slice slice, const char *word) {
    const size_t length = (size_t)(slice.end - slice.begin);
    return length == strlen(word) && strncasecmp(slice.begin, word, length) == 0;
}

/* The characters of ? or of nan in any case, with a sign or without (C writes -nan); 0 for anything else. */
static size_t measure_missing(const char *at, const char *end) {
    if (at == end) return 0;
    if (*at == '?') return 1;
    const size_t sign = *at == '-' || *at == '+';
    if (end - at < 3 + (ptrdiff_t)sign || (at[sign] | 0x20) != 'n') return 0;
    return strncasecmp(at + sign, "nan", 3) == 0 ? 3 + sign : 0;
}

bool xp_slice_is_missing(xp_slice value) {
    return value.begin < value.end && measure_missing(value.begin, value.end) == (size_t)(value.end - value.begin);
}

xp_status xp_series_append(xp_series *series, float value) {
    if (series->used == series->room &&
        !xp_array_reserve(&series->values, &series->room, series->used, 1, sizeof *series->values))
        return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for more than %zu values", series->path, series->used);
    series->values[series->used++] = value;
    return XP_OK;
}

/* The characters up to the next separator, shortened for a message. */
static int offending_length(const xp_series *series, const char *at, const char *end) {
    int length = 0;
    while (length < 24 && at + length < end && at[length] != series->separator && at[length] != ':') length++;
    return length;
}

xp_status xp_series_read_value(xp_series *series, const char **at, const char *end, float *out) {
    const char *begin = *at;
    double value = NAN;
    size_t taken = measure_missing(begin, end);
    if (taken == 0) XP_TRY(xp_text_number(begin, &value, &taken));
    if (begin >= end || (taken == 0 && (*begin == series->separator || *begin == ':'))) {
        return xp_series_fail(series, XP_BAD_DATA, begin, "a value is missing; write a number, or ? if it is unknown");
    }
    const char *behind = begin + taken;
    while (series->separator != ' ' && behind < end && xp_series_is_blank(series, *behind)) behind++;
    if (taken == 0 || behind > end || (behind < end && *behind != series->separator)) {
        return xp_series_fail(series, XP_BAD_DATA, begin,
                              "'%.*s' is not a number; write a decimal number, or ? if it is unknown",
                              offending_length(series, begin, end), begin);
    }
    if (fabs(value) > FLT_MAX) {
        return xp_series_fail(series, XP_BAD_DATA, begin, "'%.*s' is outside the range of single precision",
                              offending_length(series, begin, end), begin);
    }
    *at = behind;
    *out = (float)value;
    return XP_OK;
}

xp_status xp_series_read_values(xp_series *series, xp_slice values, int *length) {
    const size_t before = series->used;
    const char *at = values.begin;
    for (;;) {
        float value = 0;
        while (at < values.end && xp_series_is_blank(series, *at)) at++;
        XP_TRY(xp_series_read_value(series, &at, values.end, &value));
        XP_TRY(xp_series_append(series, value));
        if (at >= values.end) break;
        at++;
    }
    const size_t count = series->used - before;
    if (count > INT_MAX)
        return xp_series_fail(series, XP_UNSUPPORTED, values.begin,
                              "a series of more than %d steps is not supported; cut it into shorter ones", INT_MAX);
    *length = (int)count;
    return XP_OK;
}

xp_status xp_series_check_steps(const xp_series *series, const char *place, int dimension, int steps, int first) {
    if (dimension == 0 || steps == first) return XP_OK;
    return xp_series_fail(series, XP_BAD_DATA, place,
                          "dimension %d has %d step%s, %s than the %d of the first; all need the same number%s",
                          dimension + 1, steps, steps == 1 ? "" : "s", steps < first ? "fewer" : "more", first,
                          steps < first ? xp_series_cut_off(series) : "");
}

/* --- targets ------------------------------------------------------------------------------------------------------ */

static xp_status append_target(xp_series *series, float value) {
    if (!xp_array_reserve(&series->targets, &series->targets_room, series->targets_used, 1, sizeof *series->targets))
        return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for more than %zu targets", series->path, series->targets_used);
    series->targets[series->targets_used++] = value;
    return XP_OK;
}

xp_status xp_series_read_targets(xp_series *series, xp_slice targets) {
    int count = 0;
    for (const char *at = targets.begin;; at++) {
        float value = 0;
        while (at < targets.end && xp_series_is_blank(series, *at)) at++;
        XP_TRY(xp_series_read_value(series, &at, targets.end, &value));
        if (count == XP_DATA_TARGETS)
            return xp_series_fail(series, XP_UNSUPPORTED, targets.begin, "more than %d targets are not supported",
                                  XP_DATA_TARGETS);
        XP_TRY(append_target(series, value));
        count++;
        if (at >= targets.end) break;
    }
    if (series->target_count == 0) {
        series->target_count = count;
        series->targets_at = targets.begin;
    }
    if (count == series->target_count) return XP_OK;
    return xp_series_fail(series, XP_BAD_DATA, targets.begin, "the sample has %d target%s, and that of line %d has %d",
                          count, count == 1 ? "" : "s", xp_series_line_of(series, series->targets_at),
                          series->target_count);
}

/* --- samples and their labels ------------------------------------------------------------------------------------- */

xp_status xp_series_check_name(const xp_series *series, xp_slice name) {
    const size_t length = (size_t)(name.end - name.begin), whole = xp_text_utf8(name.begin, length);
    if (whole < length)
        return xp_series_fail(series, XP_BAD_DATA, name.begin + whole,
                              "a name is not UTF-8 here; save the file as UTF-8, or change the name");
    for (const char *at = name.begin; at < name.end; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return xp_series_fail(series, XP_BAD_DATA, at, "a name has a control character here; change the name");
    }
    if (length > XP_DATA_NAME_BYTES)
        return xp_series_fail(series, XP_BAD_DATA, name.begin,
                              "a name has %zu bytes, more than the %d that it may have; shorten it", length,
                              XP_DATA_NAME_BYTES);
    return XP_OK;
}

static xp_status too_many_classes(const xp_series *series, const char *place) {
    return xp_series_fail(series, XP_UNSUPPORTED, place,
                          "there are more classes than the %d that are supported; are these values and not classes?",
                          XP_DATA_CLASSES);
}

static xp_status grow_samples(xp_series *series) {
    const size_t count = (size_t)series->count;
    if (xp_array_reserve(&series->lengths, &series->lengths_room, count, 1, sizeof *series->lengths) &&
        xp_array_reserve(&series->labels, &series->labels_room, count, 1, sizeof *series->labels))
        return XP_OK;
    return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for more than %zu samples", series->path, count);
}

xp_status xp_series_end_sample(xp_series *series, int length, xp_slice label) {
    if (series->count == INT32_MAX)
        return xp_series_fail(series, XP_UNSUPPORTED, series->line.begin,
                              "this is one sample more than the %d that are supported; split the file", INT32_MAX);
    XP_TRY(grow_samples(series));
    int number = -1;
    label = xp_series_trim(series, label);
    if (label.begin < label.end)
        XP_TRY(xp_names_add(&series->seen, label.begin, (size_t)(label.end - label.begin), &number));
    if (series->seen.count > XP_DATA_CLASSES + 1) return too_many_classes(series, label.begin);
    series->lengths[series->count] = length;
    series->labels[series->count] = number;
    series->count++;
    return XP_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* Replaces the numbers in `seen` by those in `listed`; *labelled is how many samples have a class. */
static xp_status number_labels(xp_series *series, const xp_names *listed, int64_t *labelled) {
    int *numbers = NULL;
    XP_TRY(xp_data_allocate((void **)&numbers, series->seen.count, sizeof *numbers, series->path));
    xp_status status = XP_OK;
    for (int i = 0; i < series->seen.count && status == XP_OK; i++) {
        const xp_name *name = series->seen.all[i];
        numbers[i] = xp_names_find(listed, name->text, name->length);
        if (numbers[i] >= 0 || xp_slice_is_missing((xp_slice){name->text, name->text + name->length})) continue;
        status = xp_series_check_name(series, (xp_slice){name->text, name->text + name->length});
        if (status == XP_OK)
            status = xp_series_fail(series, XP_BAD_DATA, name->text, "'%.*s' is not one of the classes in the header%s",
                                    name->length > 40 ? 40 : (int)name->length, name->text,
                                    name->text + name->length == series->end ? xp_series_cut_off(series) : "");
    }
    for (int64_t i = 0; i < series->count && status == XP_OK; i++) {
        if (series->labels[i] >= 0) series->labels[i] = numbers[series->labels[i]];
        *labelled += series->labels[i] >= 0;
    }
    free(numbers);
    return status;
}

static xp_status name_classes(const xp_series *series, const xp_names *listed, xp_dataset *dataset) {
    if (listed->count > XP_DATA_CLASSES) return too_many_classes(series, listed->all[XP_DATA_CLASSES]->text);
    XP_TRY(xp_data_allocate((void **)&dataset->class_names, listed->count, sizeof *dataset->class_names, series->path));
    for (; dataset->classes < listed->count; dataset->classes++) {
        const xp_name *name = listed->all[dataset->classes];
        XP_TRY(xp_series_check_name(series, (xp_slice){name->text, name->text + name->length}));
        dataset->class_names[dataset->classes] = strndup(name->text, name->length);
        if (!dataset->class_names[dataset->classes])
            return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the class names", series->path);
    }
    return XP_OK;
}

/* The samples one after the other, each [length][features]. */
static void transpose(const xp_series *series, float *values) {
    const float *from = series->values;
    for (int64_t i = 0; i < series->count; i++) {
        for (int feature = 0; feature < series->dimensions; feature++)
            for (int step = 0; step < series->lengths[i]; step++)
                values[(int64_t)step * series->dimensions + feature] = *from++;
        values += (int64_t)series->lengths[i] * series->dimensions;
    }
}

/* Gives the data set the collected samples. */
static xp_status lay_out(xp_series *series, xp_dataset *dataset) {
    float *values = NULL;
    int64_t *first = NULL;
    dataset->count = series->count;
    dataset->features = series->dimensions;
    XP_TRY(xp_data_allocate((void **)&first, series->count + 1, sizeof *first, series->path));
    for (int64_t i = 0; i < series->count; i++) {
        if (series->lengths[i] > dataset->length) dataset->length = series->lengths[i];
        first[i + 1] = first[i] + (int64_t)series->lengths[i] * series->dimensions;
    }
    dataset->sample_elements = xp_sample_elements(dataset);
    xp_status status = xp_data_allocate((void **)&values, (int64_t)series->used, sizeof *values, series->path);
    if (status == XP_OK) {
        transpose(series, values);
        status = xp_values_open(dataset, values, first, series->targets);
    }
    if (status == XP_OK) {
        series->targets = NULL;
        return XP_OK;
    }
    free(values);
    free(first);
    return status;
}

xp_status xp_series_finish(xp_series *series, const xp_names *listed, xp_dataset *dataset) {
    if (series->count == 0)
        return xp_series_fail(series, XP_BAD_DATA, series->end, "the file ends without samples; is it cut off?");
    int64_t labelled = 0;
    dataset->kind = &xp_series_kind;
    XP_TRY(name_classes(series, listed, dataset));
    if (series->target_count > 0) XP_TRY(xp_data_name_targets(dataset, NULL, series->target_count));
    XP_TRY(number_labels(series, listed, &labelled));
    XP_TRY(lay_out(series, dataset));
    dataset->lengths = series->lengths;
    series->lengths = NULL;
    if (labelled > 0) {
        dataset->labels = series->labels;
        series->labels = NULL;
    }
    return XP_OK;
}
