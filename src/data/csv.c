/* Tables of measurements over time, .csv: a header with the names of the columns, then a row for each time. Owns their
 * grammar; does not know what is cut from them. */
#include "core/array.h"
#include "core/text.h"
#include "data/series.h"
#include "data/stamps.h"
#include "data/timeline.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 10000 };
typedef enum column_kind { UNKNOWN, NUMBERS, TEXTS, TIMES } column_kind; /* UNKNOWN: every cell so far is missing */

typedef struct column {
    xp_slice name;
    column_kind kind;
    const char *known_at; /* the first cell that is not missing */
} column;

typedef struct csv_reader {
    xp_series series;
    column *columns; /* [count] */
    int count;
    size_t room;
    const char *header_at;
    double time;                             /* of the row before; NaN: there is none, or its time is not known */
    xp_slice time_cell;                      /* the last one that is known */
    bool dated;                              /* its column is called date: eight digits are one, too */
    enum { NUMBER, DATE, DIGITS } time_form; /* of that cell */
    xp_times times;
} csv_reader;

/* --- cells -------------------------------------------------------------------------------------------------------- */

/* The quotation mark that closes what the one at `open` opens, NULL: none; two in a row are one of the text. */
static const char *closing_quote(const char *open, const char *end) {
    for (const char *at = open + 1; at < end; at++) {
        if (*at != '"') continue;
        if (at + 1 == end || at[1] != '"') return at;
        at++;
    }
    return NULL;
}

/* The cell that begins at *at, without blanks and quotation marks; *at moves to the next one, or becomes NULL. What has
 * more after its closing mark stays as it is, and so is no number. */
static xp_slice next_cell(const xp_series *series, const char **at) {
    const char *begin = *at, *end = series->line.end;
    while (begin < end && xp_series_is_blank(series, *begin)) begin++;
    const char *quote = begin < end && *begin == '"' ? closing_quote(begin, end) : NULL;
    const char *from = quote ? quote : begin, *stop = memchr(from, series->separator, (size_t)(end - from));
    *at = stop ? stop + 1 : NULL;
    const xp_slice cell = xp_series_trim(series, (xp_slice){begin, stop ? stop : end});
    return quote && quote + 1 == cell.end ? (xp_slice){begin + 1, quote} : cell;
}

static bool is_missing(xp_slice cell) {
    static const char *const words[] = {"na", "n/a", "null", "none", ".", "-"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (xp_slice_is(cell, words[i])) return true;
    return cell.begin == cell.end || xp_slice_is_missing(cell);
}

/* A number, or true and false as 1 and 0. */
static bool read_number(xp_slice cell, double *value) {
    size_t taken = 0;
    *value = xp_slice_is(cell, "true");
    if (*value != 0 || xp_slice_is(cell, "false")) return true;
    return cell.begin < cell.end && xp_text_number(cell.begin, value, &taken) == XP_OK && taken > 0 &&
           cell.begin + taken == cell.end;
}

static int shown(xp_slice cell) {
    return cell.end - cell.begin < 32 ? (int)(cell.end - cell.begin) : 32;
}

/* --- header ------------------------------------------------------------------------------------------------------- */

static char find_separator(const char *text, size_t length) {
    xp_series series = xp_series_begin("", text, length, '\t');
    if (!xp_series_next_line(&series)) return ',';
    const size_t line = (size_t)(series.line.end - series.line.begin);
    return memchr(series.line.begin, '\t', line) ? '\t' : memchr(series.line.begin, ',', line) ? ',' : ';';
}

/* Several names, and another line, or one name before a number. Only after the name of the times can a name be a number
 * or hold a colon: else the line may be one of series. */
static bool recognises_csv(const xp_opening *opening) {
    xp_series series =
        xp_series_begin("", opening->bytes, opening->length, find_separator(opening->bytes, opening->length));
    if (!xp_series_next_line(&series) || *series.line.begin == '@' || *series.line.begin == '(') return false;
    int count = 0;
    bool timed = false;
    for (const char *at = series.line.begin; at; count++) {
        double value;
        const xp_slice cell = next_cell(&series, &at);
        timed = timed || (count == 0 && xp_stamps_is_name(cell));
        if (timed) continue;
        if (read_number(cell, &value) || memchr(cell.begin, ':', (size_t)(cell.end - cell.begin))) return false;
    }
    if (!xp_series_next_line(&series)) return false;
    double value;
    return count > 1 || read_number(series.line, &value);
}

static bool is_called_time(const column *own, int place) {
    return xp_stamps_is_name(own->name) ||
           (place == 0 && (own->name.begin == own->name.end || xp_slice_is(own->name, "index")));
}

static xp_status read_header(csv_reader *reader) {
    xp_series *series = &reader->series;
    xp_series_next_line(series);
    reader->header_at = series->line.begin;
    bool timed = false;
    for (const char *at = series->line.begin; at; reader->count++) {
        if (!xp_array_reserve(&reader->columns, &reader->room, (size_t)reader->count, 1, sizeof *reader->columns))
            return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for more than %d columns", series->path, reader->count);
        column *own = &reader->columns[reader->count];
        *own = (column){.name = next_cell(series, &at)};
        XP_TRY(xp_series_check_name(series, own->name));
        if (reader->count == COLUMNS)
            return xp_series_fail(series, XP_UNSUPPORTED, own->name.begin, "more than %d columns are not supported",
                                  COLUMNS);
        for (int i = 0; i < reader->count; i++) {
            const xp_slice other = reader->columns[i].name;
            if (own->name.end - own->name.begin == other.end - other.begin &&
                memcmp(own->name.begin, other.begin, (size_t)(other.end - other.begin)) == 0)
                return xp_series_fail(series, XP_BAD_DATA, own->name.begin, "the column '%.*s' is named twice",
                                      shown(other), other.begin);
        }
        if (timed || !is_called_time(own, reader->count)) continue;
        own->kind = TIMES;
        reader->dated = xp_slice_is(own->name, "date");
        timed = true;
    }
    return XP_OK;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* Rows are in the order of time; times that are no numbers or dates cannot be compared, and no number with a date. */
static xp_status check_time(csv_reader *reader, xp_slice cell) {
    double time = NAN;
    const bool digits = reader->dated && xp_stamps_read_digits(cell, &time), date = digits || xp_stamps_is_date(cell);
    const xp_slice before = reader->time_cell;
    if (!digits && !xp_stamps_read_time(cell, &time)) time = NAN;
    if (!isnan(time) && before.begin && date != (reader->time_form != NUMBER))
        return xp_series_fail(
            &reader->series, XP_BAD_DATA, cell.begin,
            "the time '%.*s' is a %s, but that of line %d is a %s; write all times as numbers, or all "
            "as dates",
            shown(cell), cell.begin, date ? "date" : "number", xp_series_line_of(&reader->series, before.begin),
            date ? "number" : "date");
    if (time <= reader->time)
        return xp_series_fail(
            &reader->series, XP_BAD_DATA, cell.begin,
            "the time '%.*s' does not come after that of line %d; sort the rows, and give each series a "
            "file of its own",
            shown(cell), cell.begin, xp_series_line_of(&reader->series, before.begin));
    reader->time = time;
    if (!isnan(time)) {
        reader->time_cell = cell;
        reader->time_form = digits ? DIGITS : date ? DATE : NUMBER;
    }
    if (xp_times_add(&reader->times, time) == XP_OK) return XP_OK;
    return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the times of its rows", reader->series.path);
}

/* The first cell that is known decides what a column holds: numbers, or texts such as a date, which are passed over. A
 * number among texts is told: a column of numbers would be left out because of one cell. */
static xp_status read_cell(csv_reader *reader, column *own, xp_slice cell, float *out) {
    double value = NAN;
    *out = NAN;
    if (is_missing(cell)) return XP_OK;
    const bool number = read_number(cell, &value);
    if (own->kind == UNKNOWN) {
        own->kind = number ? NUMBERS : TEXTS;
        own->known_at = cell.begin;
    }
    if (own->kind == TEXTS && !number) return XP_OK;
    if (own->kind == TEXTS)
        return xp_series_fail(
            &reader->series, XP_BAD_DATA, cell.begin,
            "'%.*s' is a number, but the column '%.*s' holds texts since line %d; leave the cell there "
            "empty if its number is not known, or remove the column",
            shown(cell), cell.begin, shown(own->name), own->name.begin,
            xp_series_line_of(&reader->series, own->known_at));
    if (!number)
        return xp_series_fail(
            &reader->series, XP_BAD_DATA, cell.begin,
            "'%.*s' is not a number, and the column '%.*s' holds numbers since line %d; leave the cell "
            "empty if the number is not known",
            shown(cell), cell.begin, shown(own->name), own->name.begin,
            xp_series_line_of(&reader->series, own->known_at));
    if (fabs(value) > FLT_MAX)
        return xp_series_fail(&reader->series, XP_BAD_DATA, cell.begin,
                              "'%.*s' is outside the range of single precision", shown(cell), cell.begin);
    *out = (float)value;
    return XP_OK;
}

static xp_status read_row(csv_reader *reader) {
    xp_series *series = &reader->series;
    int place = 0;
    if (series->count == INT_MAX)
        return xp_series_fail(series, XP_UNSUPPORTED, series->line.begin, "more than %d rows are not supported",
                              INT_MAX);
    for (const char *at = series->line.begin; at; place++) {
        float value = NAN;
        const xp_slice cell = next_cell(series, &at);
        if (place >= reader->count) continue; /* one too many, which is counted */
        column *own = &reader->columns[place];
        if (own->kind == TIMES)
            XP_TRY(check_time(reader, cell));
        else
            XP_TRY(read_cell(reader, own, cell, &value));
        XP_TRY(xp_series_append(series, value));
    }
    if (place != reader->count)
        return xp_series_fail(
            series, XP_BAD_DATA, series->line.begin, "the row has %s cells than the %d columns of line %d%s",
            place < reader->count ? "fewer" : "more", reader->count, xp_series_line_of(series, reader->header_at),
            place < reader->count ? xp_series_cut_off(series) : "");
    series->count++;
    return XP_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* A decimal comma makes texts of all cells. */
static xp_status reject_texts(const csv_reader *reader) {
    const xp_series *series = &reader->series;
    for (int i = 0; i < reader->count; i++) {
        const column *own = &reader->columns[i];
        if (own->kind != TEXTS) continue;
        const char *end = own->known_at;
        while (end < series->end && *end != series->separator && *end != '\n' && *end != '\r') end++;
        return xp_series_fail(series, XP_BAD_DATA, own->known_at,
                              "no column holds numbers: the first cell of '%.*s' is '%.*s'; numbers have a decimal "
                              "point, and no signs between thousands",
                              shown(own->name), own->name.begin, shown((xp_slice){own->known_at, end}), own->known_at);
    }
    return xp_series_fail(series, XP_BAD_DATA, reader->header_at, "no column holds numbers");
}

/* Leaves the columns of numbers, in their order, and names them. */
static xp_status keep_numbers(csv_reader *reader, float **values, char ***names, int *channels) {
    const xp_series *series = &reader->series;
    for (int i = 0; i < reader->count; i++) *channels += reader->columns[i].kind == NUMBERS;
    if (*channels == 0) return reject_texts(reader);
    XP_TRY(xp_data_allocate((void **)values, series->count * *channels, sizeof **values, series->path));
    XP_TRY(xp_data_allocate((void **)names, *channels, sizeof **names, series->path));
    int to = 0;
    for (int i = 0; i < reader->count; i++) {
        const xp_slice name = reader->columns[i].name;
        if (reader->columns[i].kind != NUMBERS) continue;
        for (int64_t row = 0; row < series->count; row++)
            (*values)[row * *channels + to] = series->values[row * reader->count + i];
        (*names)[to] = strndup(name.begin, (size_t)(name.end - name.begin));
        if (!(*names)[to++]) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the names of columns", series->path);
    }
    return XP_OK;
}

static xp_status read_whole(csv_reader *reader, xp_dataset *dataset) {
    float *values = NULL;
    char **names = NULL;
    int channels = 0;
    XP_TRY(read_header(reader));
    while (xp_series_next_line(&reader->series)) XP_TRY(read_row(reader));
    if (reader->time_cell.begin)
        xp_times_finish(&reader->times, reader->time_cell, reader->time_form == DIGITS);
    else
        xp_times_release(&reader->times);
    xp_status status = keep_numbers(reader, &values, &names, &channels);
    if (status == XP_OK)
        status = xp_timeline_open(dataset, values, reader->series.count, names, channels, &reader->times);
    if (status == XP_OK || dataset->source) return status; /* the source has them */
    for (int i = 0; names && i < channels; i++) free(names[i]);
    free(names);
    free(values);
    return status;
}

static xp_status open_csv(xp_dataset *dataset, xp_opening *opening) {
    csv_reader reader = {.series = xp_series_begin(opening->path, opening->bytes, opening->length,
                                                   find_separator(opening->bytes, opening->length)),
                         .time = NAN};
    const xp_status status = read_whole(&reader, dataset);
    free(reader.columns);
    xp_times_release(&reader.times);
    xp_series_release(&reader.series);
    return status;
}

const xp_format xp_format_csv = {XP_FORMAT_TEXT, recognises_csv, open_csv};
