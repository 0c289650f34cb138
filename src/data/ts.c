/* The .ts text format of the UEA/UCR archive. Owns its grammar; knows nothing of files, models or missing-value policy.
 */
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

typedef enum answer { NOT_SAID, YES, NO } answer;

/* One walk over the text. Samples are collected as they come, feature by feature, because the longest series, which
 * fixes the layout of the data set, is known only at the end. */
typedef struct ts_reader {
    const char *path;
    const char *at, *end;        /* the rest of the text, from the current line on */
    const char *line, *line_end; /* the current line without its end and trailing blanks */
    int line_number;
    answer univariate, equal_length, labelled;
    int dimensions;      /* 0 until the header or the first sample tells */
    int dimensions_line; /* the line that told */
    int series_length;   /* 0: not said */
    float *values;       /* [used], sample by sample, in each dimension by dimension */
    size_t used, capacity;
    int32_t *lengths, *labels; /* [count] */
    int64_t count, samples_capacity;
    xp_dataset *dataset;
} ts_reader;

static xp_status fail_at(const ts_reader *reader, xp_status status, const char *place, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static xp_status fail_at(const ts_reader *reader, xp_status status, const char *place, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return xp_fail(status, "%s:%d:%td: %s", reader->path, reader->line_number, place - reader->line + 1, text);
}

static bool is_blank(char character) {
    return character == ' ' || character == '\t';
}

static const char *skip_blanks(const char *at, const char *end) {
    while (at < end && is_blank(*at)) at++;
    return at;
}

/* Steps to the next line that is neither empty nor a comment: # or, in older files, %. */
static bool next_line(ts_reader *reader) {
    while (reader->at < reader->end) {
        const char *newline = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
        const char *stop = newline ? newline : reader->end;
        reader->line = reader->at;
        reader->at = newline ? newline + 1 : reader->end;
        reader->line_number++;
        while (stop > reader->line && (is_blank(stop[-1]) || stop[-1] == '\r')) stop--;
        reader->line_end = stop;
        const char *first = skip_blanks(reader->line, stop);
        if (first < stop && *first != '#' && *first != '%') return true;
    }
    return false;
}

/* --- header ------------------------------------------------------------------------------------------------------- */

typedef struct ts_word {
    const char *text;
    int length;
} ts_word;

static ts_word next_word(const ts_reader *reader, const char **at) {
    const char *begin = skip_blanks(*at, reader->line_end), *stop = begin;
    while (stop < reader->line_end && !is_blank(*stop)) stop++;
    *at = stop;
    return (ts_word){begin, (int)(stop - begin)};
}

static bool word_is(ts_word word, const char *text) {
    return (size_t)word.length == strlen(text) && strncasecmp(word.text, text, (size_t)word.length) == 0;
}

static xp_status read_answer(const ts_reader *reader, ts_word tag, const char **at, answer *out) {
    ts_word value = next_word(reader, at);
    if (word_is(value, "true")) {
        *out = YES;
    } else if (word_is(value, "false")) {
        *out = NO;
    } else {
        return fail_at(reader, XP_BAD_DATA, value.text, "%.*s needs 'true' or 'false' here", tag.length, tag.text);
    }
    return XP_OK;
}

static xp_status read_count(const ts_reader *reader, ts_word tag, const char **at, int *out) {
    ts_word value = next_word(reader, at);
    int64_t number = 0;
    for (int i = 0; i < value.length && number <= INT_MAX; i++) {
        char digit = value.text[i];
        number = digit >= '0' && digit <= '9' ? number * 10 + (digit - '0') : (int64_t)INT_MAX + 1;
    }
    if (value.length == 0 || number == 0 || number > INT_MAX) {
        return fail_at(reader, XP_BAD_DATA, value.text, "%.*s needs a whole number above 0 here", tag.length, tag.text);
    }
    *out = (int)number;
    return XP_OK;
}

static xp_status read_class_names(ts_reader *reader, ts_word tag, const char *at) {
    if (reader->labelled == NO) return XP_OK;
    const char **names = NULL;
    char *text = malloc((size_t)(reader->line_end - at) + 1);
    names = malloc(((size_t)(reader->line_end - at) / 2 + 1) * sizeof *names);
    xp_status status = XP_OK;
    if (!text || !names) {
        status = xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the class names", reader->path);
        goto done;
    }
    int classes = 0;
    char *free_text = text;
    for (;;) {
        ts_word name = next_word(reader, &at);
        if (name.length == 0) break;
        memcpy(free_text, name.text, (size_t)name.length);
        free_text[name.length] = '\0';
        for (int i = 0; i < classes; i++) {
            if (strcmp(names[i], free_text) == 0) {
                status = fail_at(reader, XP_BAD_DATA, name.text, "the class '%s' is named twice", free_text);
                goto done;
            }
        }
        names[classes++] = free_text;
        free_text += name.length + 1;
    }
    if (classes == 0) {
        status =
            fail_at(reader, XP_BAD_DATA, reader->line_end,
                    "%.*s true names no class; list the class names behind it, or say false", tag.length, tag.text);
        goto done;
    }
    xp_data_forget_classes(reader->dataset);
    status = xp_data_name_classes(reader->dataset, names, classes);
done:
    free(text);
    free(names);
    return status;
}

/* Header lines that carry nothing for training (@problemName, @missing, …) are passed over. */
static xp_status read_tag(ts_reader *reader, bool *data_begins) {
    const char *at = reader->line;
    ts_word tag = next_word(reader, &at);
    answer said = NOT_SAID;
    if (word_is(tag, "@data")) {
        *data_begins = true;
    } else if (word_is(tag, "@timeStamps")) {
        XP_TRY(read_answer(reader, tag, &at, &said));
        if (said == YES) {
            return fail_at(reader, XP_UNSUPPORTED, tag.text,
                           "series with time stamps (%.*s true) are not supported; resample to equal steps and write "
                           "the values alone",
                           tag.length, tag.text);
        }
    } else if (word_is(tag, "@targetLabel")) {
        XP_TRY(read_answer(reader, tag, &at, &said));
        if (said == YES) {
            return fail_at(reader, XP_UNSUPPORTED, tag.text,
                           "regression targets (%.*s true) are not supported; only data with @classLabel are",
                           tag.length, tag.text);
        }
        if (reader->labelled == NOT_SAID) reader->labelled = NO;
    } else if (word_is(tag, "@univariate")) {
        XP_TRY(read_answer(reader, tag, &at, &reader->univariate));
    } else if (word_is(tag, "@equalLength")) {
        XP_TRY(read_answer(reader, tag, &at, &reader->equal_length));
    } else if (word_is(tag, "@dimensions") || word_is(tag, "@dimension")) {
        XP_TRY(read_count(reader, tag, &at, &reader->dimensions));
        reader->dimensions_line = reader->line_number;
    } else if (word_is(tag, "@seriesLength")) {
        XP_TRY(read_count(reader, tag, &at, &reader->series_length));
    } else if (word_is(tag, "@classLabel")) {
        XP_TRY(read_answer(reader, tag, &at, &reader->labelled));
        XP_TRY(read_class_names(reader, tag, at));
    }
    return XP_OK;
}

static xp_status read_header(ts_reader *reader) {
    bool data_begins = false;
    while (!data_begins) {
        if (!next_line(reader)) {
            return xp_fail(XP_BAD_DATA, "%s:%d:1: the file ends without an @data line; is it cut off?", reader->path,
                           reader->line_number + 1);
        }
        const char *first = skip_blanks(reader->line, reader->line_end);
        if (*first != '@') {
            return fail_at(reader, XP_BAD_DATA, first,
                           "expected a header line that begins with @, or @data before values");
        }
        XP_TRY(read_tag(reader, &data_begins));
    }
    if (reader->labelled == NOT_SAID) {
        return fail_at(reader, XP_BAD_DATA, reader->line,
                       "no @classLabel line before @data; add '@classLabel true NAME NAME …' or '@classLabel false'");
    }
    if (reader->univariate == YES) {
        if (reader->dimensions > 1) {
            return fail_at(reader, XP_BAD_DATA, reader->line,
                           "the header says both @univariate true and @dimensions %d", reader->dimensions);
        }
        reader->dimensions = 1;
    }
    return XP_OK;
}

/* --- samples ------------------------------------------------------------------------------------------------------ */

static xp_status append_value(ts_reader *reader, float value) {
    if (reader->used == reader->capacity) {
        size_t larger = reader->capacity ? reader->capacity * 2 : 4096;
        float *moved = larger > SIZE_MAX / sizeof *moved ? NULL : realloc(reader->values, larger * sizeof *moved);
        if (!moved) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for %zu values", reader->path, larger);
        reader->values = moved;
        reader->capacity = larger;
    }
    reader->values[reader->used++] = value;
    return XP_OK;
}

static xp_status append_sample(ts_reader *reader, int length, int label) {
    if (reader->count == reader->samples_capacity) {
        int64_t larger = reader->samples_capacity ? reader->samples_capacity * 2 : 256;
        int32_t *lengths = realloc(reader->lengths, (size_t)larger * sizeof *lengths);
        if (lengths) reader->lengths = lengths;
        int32_t *labels = realloc(reader->labels, (size_t)larger * sizeof *labels);
        if (labels) reader->labels = labels;
        if (!lengths || !labels) {
            return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for %lld samples", reader->path, (long long)larger);
        }
        reader->samples_capacity = larger;
    }
    reader->lengths[reader->count] = length;
    reader->labels[reader->count] = label;
    reader->count++;
    return XP_OK;
}

/* The characters up to the next separator, shortened for a message. */
static int offending_length(const char *at, const char *end) {
    int length = 0;
    while (length < 24 && at + length < end && at[length] != ',' && at[length] != ':') length++;
    return length;
}

static xp_status read_value(ts_reader *reader, const char **at, const char *end) {
    const char *begin = *at;
    size_t taken = 0;
    double value = NAN;
    if (begin < end && *begin == '?') {
        taken = 1;
    } else if (end - begin >= 3 && strncasecmp(begin, "nan", 3) == 0) {
        taken = 3;
    } else {
        XP_TRY(xp_text_number(begin, &value, &taken));
    }
    const char *behind = skip_blanks(begin + taken, end);
    if (begin == end || (taken == 0 && (*begin == ',' || *begin == ':'))) {
        return fail_at(reader, XP_BAD_DATA, begin, "a value is missing; write a number, or ? where it is unknown");
    }
    if (taken == 0 || behind > end || (behind < end && *behind != ',')) {
        return fail_at(reader, XP_BAD_DATA, begin,
                       "'%.*s' is not a number; write a decimal number, or ? where it is unknown",
                       offending_length(begin, end), begin);
    }
    if (fabs(value) > FLT_MAX) {
        return fail_at(reader, XP_BAD_DATA, begin, "'%.*s' does not fit single precision", offending_length(begin, end),
                       begin);
    }
    *at = behind;
    return append_value(reader, (float)value);
}

/* One dimension: values parted by commas. *length is how many. */
static xp_status read_series(ts_reader *reader, const char *at, const char *end, int *length) {
    size_t before = reader->used;
    at = skip_blanks(at, end);
    for (;;) {
        XP_TRY(read_value(reader, &at, end));
        if (at == end) break;
        at = skip_blanks(at + 1, end);
    }
    size_t count = reader->used - before;
    if (count > INT_MAX)
        return fail_at(reader, XP_UNSUPPORTED, at, "a series of more than %d steps is not supported", INT_MAX);
    *length = (int)count;
    return XP_OK;
}

static xp_status read_label(const ts_reader *reader, const char *at, const char *end, int *label) {
    at = skip_blanks(at, end);
    while (end > at && is_blank(end[-1])) end--;
    size_t length = (size_t)(end - at);
    for (int i = 0; i < reader->dataset->classes; i++) {
        const char *name = reader->dataset->class_names[i];
        if (strlen(name) == length && memcmp(name, at, length) == 0) {
            *label = i;
            return XP_OK;
        }
    }
    return fail_at(reader, XP_BAD_DATA, at, "'%.*s' is no class that the @classLabel line names; is the line cut off?",
                   length > 40 ? 40 : (int)length, at);
}

static int count_fields(const char *at, const char *end) {
    int fields = 1;
    for (; at < end; at++) fields += *at == ':';
    return fields;
}

static xp_status check_dimensions(ts_reader *reader, int found) {
    if (reader->dimensions == 0) {
        reader->dimensions = found;
        reader->dimensions_line = reader->line_number;
    }
    if (found == reader->dimensions) return XP_OK;
    return fail_at(reader, XP_BAD_DATA, reader->line_end,
                   "the sample has %d dimension%s where line %d says %d; is it cut off?", found, found == 1 ? "" : "s",
                   reader->dimensions_line, reader->dimensions);
}

static xp_status check_length(const ts_reader *reader, int length) {
    int expected = reader->series_length;
    if (reader->equal_length != YES) return XP_OK;
    if (expected == 0 && reader->count > 0) expected = reader->lengths[0];
    if (expected == 0 || expected == length) return XP_OK;
    return fail_at(reader, XP_BAD_DATA, reader->line, "the series has %d steps where @equalLength true asks for %d",
                   length, expected);
}

static xp_status read_sample(ts_reader *reader) {
    const char *at = skip_blanks(reader->line, reader->line_end), *end = reader->line_end;
    if (*at == '@') return fail_at(reader, XP_BAD_DATA, at, "a header line cannot follow @data");
    if (*at == '(') {
        return fail_at(reader, XP_UNSUPPORTED, at,
                       "values with time stamps, (time,value), are not supported; write the values alone");
    }
    int fields = count_fields(at, end), labelled = reader->labelled == YES;
    if (labelled && fields < 2) {
        return fail_at(reader, XP_BAD_DATA, end, "the sample has no class label behind ':'; is it cut off?");
    }
    XP_TRY(check_dimensions(reader, fields - labelled));
    int length = 0, label = 0;
    for (int dimension = 0; dimension < reader->dimensions; dimension++) {
        const char *stop = memchr(at, ':', (size_t)(end - at));
        if (!stop) stop = end;
        int steps = 0;
        XP_TRY(read_series(reader, at, stop, &steps));
        if (dimension > 0 && steps != length) {
            return fail_at(reader, XP_BAD_DATA, at,
                           "dimension %d has %d steps where the first has %d; all need as many", dimension + 1, steps,
                           length);
        }
        length = steps;
        at = stop < end ? stop + 1 : end;
    }
    XP_TRY(check_length(reader, length));
    if (labelled) XP_TRY(read_label(reader, at, end, &label));
    return append_sample(reader, length, label);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* Lays the collected samples out as [count][length][features]. */
static xp_status lay_out(ts_reader *reader) {
    xp_dataset *dataset = reader->dataset;
    for (int64_t i = 0; i < reader->count; i++) {
        if (reader->lengths[i] > dataset->length) dataset->length = reader->lengths[i];
    }
    dataset->count = reader->count;
    dataset->features = reader->dimensions;
    dataset->sample_elements = (int64_t)dataset->length * dataset->features;
    if (dataset->count > INT64_MAX / dataset->sample_elements) {
        return xp_fail(XP_OUT_OF_MEMORY, "%s: %lld samples of %lld values do not fit the memory", reader->path,
                       (long long)dataset->count, (long long)dataset->sample_elements);
    }
    XP_TRY(xp_data_allocate((void **)&dataset->values, dataset->count * dataset->sample_elements,
                            sizeof *dataset->values, reader->path));
    const float *from = reader->values;
    for (int64_t i = 0; i < dataset->count; i++) {
        float *sample = dataset->values + i * dataset->sample_elements;
        for (int feature = 0; feature < dataset->features; feature++) {
            for (int step = 0; step < reader->lengths[i]; step++) {
                sample[(int64_t)step * dataset->features + feature] = *from++;
            }
        }
    }
    dataset->lengths = reader->lengths;
    reader->lengths = NULL;
    if (reader->labelled == YES) {
        dataset->labels = reader->labels;
        reader->labels = NULL;
    }
    return XP_OK;
}

xp_status xp_ts_parse(xp_dataset *dataset, const char *path, const char *text, size_t length) {
    const char *begin = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text; /* byte order mark */
    ts_reader reader = {.path = path, .at = begin, .end = text + length, .dataset = dataset};
    dataset->kind = XP_DATASET_SERIES;
    xp_status status;
    XP_TRY_OR(status, read_header(&reader), done);
    while (next_line(&reader)) XP_TRY_OR(status, read_sample(&reader), done);
    if (reader.count == 0) {
        status = xp_fail(XP_BAD_DATA, "%s:%d:1: the file has no samples behind @data; is it cut off?", path,
                         reader.line_number + 1);
        goto done;
    }
    status = lay_out(&reader);
done:
    free(reader.values);
    free(reader.lengths);
    free(reader.labels);
    return status;
}
