/* The .arff format of Weka as the UEA/UCR archive writes it: a series is all attributes but the last, which is its
 * class; of several dimensions, the series is one relational attribute, in quotes, its dimensions parted by \n. */
#include "data/formats.h"
#include "data/series.h"

#include <limits.h>
#include <string.h>

typedef struct arff_reader {
    xp_series series;
    int steps;               /* numeric attributes */
    bool relational, nested; /* there is a relational attribute; the line is between its @attribute and its @end */
    bool classed;            /* the attribute of classes was there */
    xp_names listed;
} arff_reader;

/* --- words -------------------------------------------------------------------------------------------------------- */

static bool is_quote(char character) {
    return character == '\'' || character == '"';
}

/* The position after the closing quote of the quoted text that begins here; NULL: there is none. */
static const char *quoted_end(const char *at, const char *end) {
    const char quote = *at;
    for (at++; at < end; at++) {
        if (*at == '\\')
            at++;
        else if (*at == quote)
            return at + 1;
    }
    return NULL;
}

/* Where the field ends that begins here: at `separator` or a blank (space), outside quotes. */
static const char *field_end(const xp_series *series, const char *at, const char *end, char separator) {
    const char *stop = at < end && is_quote(*at) ? quoted_end(at, end) : at;
    if (!stop) return end;
    while (stop < end && !(separator == ' ' ? xp_series_is_blank(series, *stop) : *stop == separator)) stop++;
    return stop;
}

static xp_slice unquote(const xp_series *series, xp_slice word) {
    word = xp_series_trim(series, word);
    if (word.end - word.begin >= 2 && is_quote(*word.begin) && word.end[-1] == *word.begin) word.begin++, word.end--;
    return word;
}

static xp_slice next_word(const xp_series *series, xp_slice *rest) {
    *rest = xp_series_trim(series, *rest);
    const xp_slice word = {rest->begin, field_end(series, rest->begin, rest->end, ' ')};
    rest->begin = word.end;
    return word;
}

/* --- header ------------------------------------------------------------------------------------------------------- */

static xp_status read_classes(arff_reader *reader, xp_slice list) {
    const xp_series *series = &reader->series;
    if (list.end[-1] != '}')
        return xp_series_fail(series, XP_BAD_DATA, list.end, "expected '}' at the end of the list of classes");
    reader->classed = true;
    list.begin++, list.end--;
    while (list.begin < list.end && reader->listed.count <= XP_DATA_CLASSES) {
        const char *stop = field_end(series, list.begin, list.end, ',');
        const xp_slice name = unquote(series, (xp_slice){list.begin, stop});
        if (name.begin == name.end)
            return xp_series_fail(series, XP_BAD_DATA, name.begin, "the name of a class is missing here");
        XP_TRY(xp_names_add(&reader->listed, name.begin, (size_t)(name.end - name.begin), NULL));
        list.begin = stop < list.end ? stop + 1 : stop;
    }
    return XP_OK;
}

static xp_status read_attribute(arff_reader *reader, xp_slice rest) {
    const xp_series *series = &reader->series;
    next_word(series, &rest); /* its name */
    rest = xp_series_trim(series, rest);
    const xp_slice type = next_word(series, &(xp_slice){rest.begin, rest.end});
    if (reader->classed)
        return xp_series_fail(series, XP_UNSUPPORTED, series->line.begin,
                              "an attribute after that of the classes is not supported; the class must be the last");
    if (xp_slice_is(type, "numeric") || xp_slice_is(type, "real") || xp_slice_is(type, "integer")) {
        if (reader->relational && !reader->nested)
            return xp_series_fail(series, XP_UNSUPPORTED, type.begin,
                                  "a number to predict (regression) is read from .ts files alone, which have "
                                  "@targetLabel true; here are classes, in attributes like {a,b}");
        reader->steps++;
    } else if (xp_slice_is(type, "relational") && !reader->relational && reader->steps == 0) {
        reader->relational = reader->nested = true;
    } else if (type.begin < type.end && *type.begin == '{' && !reader->nested) {
        return read_classes(reader, rest);
    } else {
        return xp_series_fail(series, XP_UNSUPPORTED, type.begin,
                              "attributes of the type '%.*s' are not supported here; a series has numeric ones, or one "
                              "relational one, and then the classes, {a,b}",
                              type.end - type.begin < 24 ? (int)(type.end - type.begin) : 24, type.begin);
    }
    return XP_OK;
}

static xp_status read_header(arff_reader *reader) {
    xp_series *series = &reader->series;
    for (;;) {
        if (!xp_series_next_line(series))
            return xp_series_fail(series, XP_BAD_DATA, series->end,
                                  "the file ends without an @data line; is it cut off?");
        xp_slice rest = series->line;
        const xp_slice tag = next_word(series, &rest);
        if (xp_slice_is(tag, "@data")) break;
        if (xp_slice_is(tag, "@attribute")) {
            XP_TRY(read_attribute(reader, rest));
        } else if (xp_slice_is(tag, "@end")) {
            reader->nested = false;
        } else if (!xp_slice_is(tag, "@relation")) {
            return xp_series_fail(series, XP_BAD_DATA, tag.begin,
                                  "expected @relation, @attribute, @end, or @data before values");
        }
    }
    if (!reader->classed)
        return xp_series_fail(
            series, XP_UNSUPPORTED, series->line.begin,
            "no attribute before @data lists classes, {a,b}; numbers to predict (regression) are read "
            "from .ts files alone, which have @targetLabel true");
    if (reader->steps == 0)
        return xp_series_fail(series, XP_BAD_DATA, series->line.begin, "no numeric attribute before @data");
    return XP_OK;
}

/* --- samples ------------------------------------------------------------------------------------------------------ */

/* One dimension: as many values as there are numeric attributes. */
static xp_status read_dimension(arff_reader *reader, xp_slice values) {
    xp_series *series = &reader->series;
    int steps = 0;
    XP_TRY(xp_series_read_values(series, values, &steps));
    if (steps == reader->steps) return XP_OK;
    return xp_series_fail(series, XP_BAD_DATA, values.begin,
                          "the series has %d step%s, %s than the %d numeric attributes of the header%s", steps,
                          steps == 1 ? "" : "s", steps < reader->steps ? "fewer" : "more", reader->steps,
                          steps < reader->steps ? xp_series_cut_off(series) : "");
}

static const char *dimension_end(const char *at, const char *end) {
    while (at < end && !(*at == '\\' && at + 1 < end && at[1] == 'n')) at++;
    return at;
}

static xp_status read_dimensions(arff_reader *reader, xp_slice values) {
    xp_series *series = &reader->series;
    int dimensions = 0;
    for (const char *at = values.begin;;) {
        const char *stop = reader->relational ? dimension_end(at, values.end) : values.end;
        XP_TRY(read_dimension(reader, (xp_slice){at, stop}));
        dimensions++;
        if (stop == values.end) break;
        at = stop + 2;
    }
    if (series->dimensions == 0) {
        series->dimensions = dimensions;
        series->dimensions_at = series->line.begin;
    }
    if (dimensions == series->dimensions) return XP_OK;
    return xp_series_fail(series, XP_BAD_DATA, series->line.begin,
                          "the sample has %d dimension%s, %s than the %d that line %d has", dimensions,
                          dimensions == 1 ? "" : "s", dimensions < series->dimensions ? "fewer" : "more",
                          series->dimensions, xp_series_line_of(series, series->dimensions_at));
}

static xp_status read_sample(arff_reader *reader) {
    xp_series *series = &reader->series;
    const xp_slice line = series->line;
    if (*line.begin == '{')
        return xp_series_fail(series, XP_UNSUPPORTED, line.begin,
                              "samples in the sparse form, {index value, …}, are not supported; write all values");
    xp_slice last = line; /* the last field: fields are parted by commas, and quoted ones may hold some */
    const char *comma = NULL;
    for (const char *stop; (stop = field_end(series, last.begin, line.end, ',')) < line.end; last.begin = stop + 1)
        comma = stop;
    if (!comma)
        return xp_series_fail(series, XP_BAD_DATA, line.end, "the sample has no class after its values%s",
                              xp_series_cut_off(series));
    const xp_slice values = {line.begin, comma};
    XP_TRY(read_dimensions(reader, reader->relational ? unquote(series, values) : values));
    return xp_series_end_sample(series, reader->steps, unquote(series, last));
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static bool recognises_arff(const xp_opening *opening) {
    xp_series series = xp_series_begin("", opening->bytes, opening->length, ',');
    if (!xp_series_next_line(&series)) return false;
    xp_slice rest = series.line;
    return xp_slice_is(next_word(&series, &rest), "@relation");
}

static xp_status read_whole(arff_reader *reader, xp_dataset *dataset) {
    XP_TRY(read_header(reader));
    while (xp_series_next_line(&reader->series)) XP_TRY(read_sample(reader));
    return xp_series_finish(&reader->series, &reader->listed, dataset);
}

static xp_status open_arff(xp_dataset *dataset, xp_opening *opening) {
    arff_reader reader = {.series = xp_series_begin(opening->path, opening->bytes, opening->length, ',')};
    const xp_status status = read_whole(&reader, dataset);
    xp_names_release(&reader.listed);
    xp_series_release(&reader.series);
    return status;
}

const xp_format xp_format_arff = {XP_FORMAT_TEXT, recognises_arff, open_arff};
