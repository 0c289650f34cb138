/* The .ts text format of the UEA/UCR archive. Owns its grammar; knows no files, models or treatment of missing values.
 */
#include "data/formats.h"
#include "data/series.h"
#include "data/stamps.h"

#include <limits.h>
#include <string.h>

typedef enum answer { NOT_SAID, YES, NO } answer;

typedef struct ts_reader {
    xp_series series;
    answer equal_length, labelled, targeted, stamped;
    const char *univariate_at;     /* what says that there is one dimension, or NULL */
    int series_length;             /* 0: not said */
    const char *series_length_at;  /* determined by the header or the first sample */
    xp_slice class_names;          /* the rest of the line of @classLabel */
    const char *targets_said_at;   /* @targetLabel */
    const char *labels_at;         /* the first sample */
    bool label_field, label_empty; /* after the dimensions of each sample there is one more field, for a label or
                                      targets; it is empty */
} ts_reader;

/* --- header ------------------------------------------------------------------------------------------------------- */

/* Cuts the first word off the rest of a line. */
static xp_slice next_word(const xp_series *series, xp_slice *rest) {
    *rest = xp_series_trim(series, *rest);
    xp_slice word = {rest->begin, rest->begin};
    while (word.end < rest->end && !xp_series_is_blank(series, *word.end)) word.end++;
    rest->begin = word.end;
    return word;
}

static xp_status read_answer(const xp_series *series, xp_slice tag, xp_slice *rest, answer *out) {
    xp_slice value = next_word(series, rest);
    if (xp_slice_is(value, "true")) {
        *out = YES;
    } else if (xp_slice_is(value, "false")) {
        *out = NO;
    } else {
        return xp_series_fail(series, XP_BAD_DATA, value.begin, "%.*s needs 'true' or 'false' here",
                              (int)(tag.end - tag.begin), tag.begin);
    }
    return XP_OK;
}

static bool read_digits(xp_slice word, int *out) {
    int64_t number = 0;
    for (const char *at = word.begin; at < word.end && number <= INT_MAX; at++)
        number = *at >= '0' && *at <= '9' ? number * 10 + (*at - '0') : (int64_t)INT_MAX + 1;
    *out = (int)number;
    return word.begin < word.end && number <= INT_MAX;
}

static xp_status read_dimensions(xp_series *series, xp_slice tag, xp_slice *rest) {
    xp_slice value = next_word(series, rest);
    if (!read_digits(value, &series->dimensions) || series->dimensions == 0)
        return xp_series_fail(series, XP_BAD_DATA, value.begin, "%.*s needs a whole number above 0 here",
                              (int)(tag.end - tag.begin), tag.begin);
    series->dimensions_at = tag.begin;
    return XP_OK;
}

/* Writers say -1 or 0 where the lengths differ. */
static xp_status read_series_length(ts_reader *reader, xp_slice tag, xp_slice *rest) {
    xp_slice value = next_word(&reader->series, rest);
    if (xp_slice_is(value, "-1")) {
        reader->series_length = 0;
    } else if (!read_digits(value, &reader->series_length)) {
        return xp_series_fail(&reader->series, XP_BAD_DATA, value.begin,
                              "%.*s needs a whole number here, or -1 if the lengths differ", (int)(tag.end - tag.begin),
                              tag.begin);
    }
    reader->series_length_at = tag.begin;
    return XP_OK;
}

static xp_status read_class_label(ts_reader *reader, xp_slice tag, xp_slice *rest) {
    XP_TRY(read_answer(&reader->series, tag, rest, &reader->labelled));
    reader->class_names = xp_series_trim(&reader->series, *rest);
    if (reader->labelled == NO || reader->class_names.begin < reader->class_names.end) return XP_OK;
    return xp_series_fail(&reader->series, XP_BAD_DATA, rest->end,
                          "%.*s true names no class; list the class names after it, or write false",
                          (int)(tag.end - tag.begin), tag.begin);
}

static xp_status read_target_label(ts_reader *reader, xp_slice tag, xp_slice *rest) {
    reader->targets_said_at = tag.begin;
    return read_answer(&reader->series, tag, rest, &reader->targeted);
}

/* Header lines that carry nothing for training (@problemName, @missing, …) are passed over. */
static xp_status read_tag(ts_reader *reader, bool *data_begins) {
    xp_series *series = &reader->series;
    xp_slice rest = series->line, tag = next_word(series, &rest);
    answer said = NOT_SAID;
    if (xp_slice_is(tag, "@data")) {
        *data_begins = true;
    } else if (xp_slice_is(tag, "@timeStamps")) {
        return read_answer(series, tag, &rest, &reader->stamped);
    } else if (xp_slice_is(tag, "@targetLabel")) {
        return read_target_label(reader, tag, &rest);
    } else if (xp_slice_is(tag, "@univariate")) {
        XP_TRY(read_answer(series, tag, &rest, &said));
        reader->univariate_at = said == YES ? tag.begin : NULL;
    } else if (xp_slice_is(tag, "@equalLength")) {
        return read_answer(series, tag, &rest, &reader->equal_length);
    } else if (xp_slice_is(tag, "@dimensions") || xp_slice_is(tag, "@dimension")) {
        return read_dimensions(series, tag, &rest);
    } else if (xp_slice_is(tag, "@seriesLength")) {
        return read_series_length(reader, tag, &rest);
    } else if (xp_slice_is(tag, "@classLabel")) {
        return read_class_label(reader, tag, &rest);
    }
    return XP_OK;
}

static xp_status read_header(ts_reader *reader) {
    xp_series *series = &reader->series;
    for (bool data_begins = false; !data_begins;) {
        if (!xp_series_next_line(series))
            return xp_series_fail(series, XP_BAD_DATA, series->end,
                                  "the file ends without an @data line; is it cut off?");
        if (*series->line.begin != '@')
            return xp_series_fail(
                series, XP_BAD_DATA, series->line.begin,
                "expected a header line that begins with @, or @data before values; without a header, "
                "each line is a label and numbers");
        XP_TRY(read_tag(reader, &data_begins));
    }
    if (reader->labelled == NOT_SAID && reader->targeted == NOT_SAID)
        return xp_series_fail(series, XP_BAD_DATA, series->line.begin,
                              "no @classLabel line before @data; add '@classLabel true NAME NAME …', '@classLabel "
                              "false', or '@targetLabel true' for numbers to predict");
    if (reader->labelled == YES && reader->targeted == YES)
        return xp_series_fail(
            series, XP_BAD_DATA, reader->targets_said_at,
            "a file has either classes or numbers to predict; write @classLabel false or @targetLabel "
            "false");
    if (reader->univariate_at == NULL) return XP_OK;
    if (series->dimensions > 1)
        return xp_series_fail(series, XP_BAD_DATA, series->dimensions_at,
                              "%d dimensions contradict @univariate true in line %d", series->dimensions,
                              xp_series_line_of(series, reader->univariate_at));
    series->dimensions = 1;
    series->dimensions_at = reader->univariate_at;
    return XP_OK;
}

/* --- samples ------------------------------------------------------------------------------------------------------ */

/* Where the field that begins here ends: at a colon, in a stamped field at one after a parenthesis. */
static const char *field_end(const ts_reader *reader, const char *at, const char *end) {
    const xp_slice field = xp_series_trim(&reader->series, (xp_slice){at, end});
    const char *stop = field.begin;
    while (reader->stamped == YES && stop < end && *stop == '(') {
        const char *close = memchr(stop, ')', (size_t)(end - stop));
        if (!close) return end;
        stop = close + 1;
        while (stop < end && (xp_series_is_blank(&reader->series, *stop) || *stop == ',')) stop++;
    }
    stop = memchr(stop, ':', (size_t)(end - stop));
    return stop ? stop : end;
}

/* How many fields the line has, and the last of them. */
static int64_t count_fields(const ts_reader *reader, xp_slice *last) {
    const char *end = reader->series.line.end;
    int64_t fields = 0;
    for (const char *at = reader->series.line.begin;; at = last->end + 1) {
        fields++;
        *last = (xp_slice){at, field_end(reader, at, end)};
        if (last->end == end) break;
    }
    *last = xp_series_trim(&reader->series, *last);
    return fields;
}

/* What the samples may have after their dimensions. */
static bool has_labels(const ts_reader *reader) {
    return reader->labelled == YES || reader->targeted == YES;
}

static const char *label_word(const ts_reader *reader) {
    return reader->targeted == YES ? "target" : "class label";
}

static bool begins_a_value(xp_slice field) {
    return field.begin < field.end && (strchr("0123456789.+-(?", *field.begin) || xp_slice_is_missing(field));
}

/* The first sample shows whether the samples have a label after their dimensions: a header may list classes although
 * the samples have no labels. Programs that write samples without labels may still end them with a colon, followed by
 * nothing. */
static void learn_fields(ts_reader *reader, int64_t fields, xp_slice last) {
    xp_series *series = &reader->series;
    reader->labels_at = series->line.begin;
    const bool empty = reader->label_empty = fields > 1 && last.begin == last.end;
    if (series->dimensions > 0) {
        const bool whole = fields == series->dimensions && begins_a_value(last);
        reader->label_field = empty || (has_labels(reader) && !whole);
        return;
    }
    reader->label_field = fields > 1 && (empty || has_labels(reader));
    series->dimensions = (int)(fields - reader->label_field);
    series->dimensions_at = series->line.begin;
}

static xp_status check_fields(ts_reader *reader, int64_t fields, xp_slice last) {
    xp_series *series = &reader->series;
    if (fields > INT_MAX)
        return xp_series_fail(series, XP_UNSUPPORTED, series->line.begin, "more than %d dimensions are not supported",
                              INT_MAX);
    if (reader->labels_at == NULL) learn_fields(reader, fields, last);
    const int64_t expected = series->dimensions, found = fields - reader->label_field;
    if (found == expected && reader->label_field && (last.begin == last.end) != reader->label_empty)
        return xp_series_fail(series, XP_BAD_DATA, last.begin, "the sample has %s %s, and that of line %d has %s%s",
                              reader->label_empty ? "a" : "no", label_word(reader),
                              xp_series_line_of(series, reader->labels_at), reader->label_empty ? "none" : "one",
                              reader->label_empty ? "" : xp_series_cut_off(series));
    if (found == expected) return XP_OK;
    if (found == expected + 1 && last.begin == last.end)
        return xp_series_fail(series, XP_BAD_DATA, series->line.end - 1,
                              "there is one ':' too many at the end of the sample; remove it");
    const int line = xp_series_line_of(series, series->dimensions_at);
    if (reader->label_field && found == expected - 1 && begins_a_value(last)) /* it may be either that is missing */
        return xp_series_fail(series, XP_BAD_DATA, series->line.end,
                              "the sample has %lld field%s separated by ':', fewer than the %lld dimension%s of line "
                              "%d and a %s%s",
                              (long long)fields, fields == 1 ? "" : "s", (long long)expected, expected == 1 ? "" : "s",
                              line, label_word(reader), xp_series_cut_off(series));
    return xp_series_fail(series, XP_BAD_DATA, series->line.end,
                          "the sample has %lld dimension%s, %s than the %lld of line %d%s", (long long)found,
                          found == 1 ? "" : "s", found < expected ? "fewer" : "more", (long long)expected, line,
                          found < expected ? xp_series_cut_off(series) : "");
}

static xp_status check_length(ts_reader *reader, int length) {
    const xp_series *series = &reader->series;
    if (reader->equal_length != YES) return XP_OK;
    if (reader->series_length == 0) {
        reader->series_length = length;
        reader->series_length_at = series->line.begin;
    }
    const int expected = reader->series_length;
    if (expected == length) return XP_OK;
    return xp_series_fail(series, XP_BAD_DATA, series->line.begin,
                          "the series has %d step%s, %s than the %d of line %d, and @equalLength is true%s", length,
                          length == 1 ? "" : "s", length < expected ? "fewer" : "more", expected,
                          xp_series_line_of(series, reader->series_length_at),
                          length < expected ? xp_series_cut_off(series) : "");
}

static xp_status read_sample(ts_reader *reader) {
    xp_series *series = &reader->series;
    const xp_slice line = series->line;
    if (*line.begin == '@') return xp_series_fail(series, XP_BAD_DATA, line.begin, "a header line cannot follow @data");
    if (*line.begin == '(' && reader->stamped != YES)
        return xp_series_fail(series, XP_BAD_DATA, line.begin,
                              "values with time stamps, (time,value), need '@timeStamps true' in the header");
    xp_slice last;
    const int64_t fields = count_fields(reader, &last);
    XP_TRY(check_fields(reader, fields, last));
    int length = 0;
    const char *at = line.begin;
    for (int dimension = 0; dimension < series->dimensions; dimension++) {
        const xp_slice field = {at, field_end(reader, at, line.end)};
        int steps = 0;
        XP_TRY(reader->stamped == YES ? xp_stamps_read_values(series, field, &steps)
                                      : xp_series_read_values(series, field, &steps));
        XP_TRY(xp_series_check_steps(series, at, dimension, steps, length));
        length = steps;
        at = field.end < line.end ? field.end + 1 : line.end;
    }
    XP_TRY(check_length(reader, length));
    const bool labelled = reader->label_field && !reader->label_empty;
    if (labelled && reader->targeted == YES) XP_TRY(xp_series_read_targets(series, last));
    return xp_series_end_sample(series, length,
                                labelled && reader->labelled == YES ? last : (xp_slice){line.end, line.end});
}

/* --- classes ------------------------------------------------------------------------------------------------------ */

/* The end of the longest label of a sample that the header's words spell from here on; without one, of the first word.
 */
static const char *class_end(const ts_reader *reader, xp_slice rest) {
    const xp_series *series = &reader->series;
    const xp_slice first = next_word(series, &rest);
    const char *end = first.end;
    for (xp_slice word = first; word.begin < word.end && word.end - first.begin <= XP_DATA_NAME_BYTES;
         word = next_word(series, &rest))
        if (xp_names_find(&series->seen, first.begin, (size_t)(word.end - first.begin)) >= 0) end = word.end;
    return end;
}

/* Names may hold spaces, and the header parts them by spaces, too: `run walk up` are the classes run and walk up when
 * samples have them, else three. A class that is named twice is one. */
static xp_status list_classes(const ts_reader *reader, xp_names *listed) {
    const xp_series *series = &reader->series;
    for (xp_slice rest = reader->class_names; rest.begin < rest.end && listed->count <= XP_DATA_CLASSES;
         rest = xp_series_trim(series, rest)) {
        const char *begin = rest.begin;
        rest.begin = class_end(reader, rest);
        XP_TRY(xp_names_add(listed, begin, (size_t)(rest.begin - begin), NULL));
    }
    return XP_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static xp_status read_whole(ts_reader *reader, xp_names *listed, xp_dataset *dataset) {
    XP_TRY(read_header(reader));
    while (xp_series_next_line(&reader->series)) XP_TRY(read_sample(reader));
    if (reader->labelled == YES) XP_TRY(list_classes(reader, listed));
    /* Samples without their targets are for a model of one. */
    if (reader->targeted == YES && reader->series.target_count == 0) reader->series.target_count = 1;
    return xp_series_finish(&reader->series, listed, dataset);
}

static xp_status open_ts(xp_dataset *dataset, xp_opening *opening) {
    ts_reader reader = {.series = xp_series_begin(opening->path, opening->bytes, opening->length, ',')};
    xp_names listed = {0};
    const xp_status status = read_whole(&reader, &listed, dataset);
    xp_names_release(&listed);
    xp_series_release(&reader.series);
    return status;
}

/* The format of last resort, so that its messages say what a file needs. */
static bool recognises_ts(const xp_opening *opening) {
    return true;
}

const xp_format xp_format_ts = {XP_FORMAT_TEXT, recognises_ts, open_ts};
