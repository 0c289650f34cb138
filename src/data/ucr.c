/* The tables of the UCR archive, .tsv, .csv or .txt: in each line a label, then the values of one series, parted by
 * tabs, commas or spaces. There is no header. Series of different lengths are filled up with NaN at their ends. */
#include "data/formats.h"
#include "data/series.h"
#include "data/stamps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- lines -------------------------------------------------------------------------------------------------------- */

static xp_slice cut_label(const xp_series *series, xp_slice *rest) {
    const char *stop = rest->begin;
    while (stop < rest->end && *stop != series->separator) stop++;
    const xp_slice label = xp_series_trim(series, (xp_slice){rest->begin, stop});
    rest->begin = stop < rest->end ? stop + 1 : stop;
    return label;
}

/* The first line decides what parts values. */
static char find_separator(const char *text, size_t length) {
    xp_series series = xp_series_begin("", text, length, '\t');
    if (!xp_series_next_line(&series)) return ',';
    const size_t line = (size_t)(series.line.end - series.line.begin);
    return memchr(series.line.begin, '\t', line) ? '\t' : memchr(series.line.begin, ',', line) ? ',' : ' ';
}

static bool recognises_ucr(const xp_opening *opening) {
    const char *text = opening->bytes;
    const size_t length = opening->length;
    xp_series series = xp_series_begin("", text, length, find_separator(text, length));
    if (!xp_series_next_line(&series) || *series.line.begin == '@') return false;
    xp_slice rest = series.line;
    if (xp_stamps_is_name(cut_label(&series, &rest))) return false; /* the header of a table over time */
    rest = xp_series_trim(&series, rest);
    float value = 0;
    return xp_series_read_value(&series, &rest.begin, rest.end, &value) == XP_OK;
}

static xp_status read_sample(xp_series *series) {
    xp_slice rest = series->line;
    const xp_slice label = cut_label(series, &rest);
    if (label.begin == label.end)
        return xp_series_fail(series, XP_BAD_DATA, label.begin, "the line begins without a label");
    int length = 0;
    XP_TRY(xp_series_read_values(series, rest, &length));
    for (; length > 1 && isnan(series->values[series->used - 1]); series->used--) length--;
    return xp_series_end_sample(series, length, label);
}

/* --- classes ------------------------------------------------------------------------------------------------------ */

/* There is no list of classes: they are the labels. */
static xp_status read_whole(xp_series *series, xp_names *listed, xp_dataset *dataset) {
    series->dimensions = 1;
    while (xp_series_next_line(series)) XP_TRY(read_sample(series));
    XP_TRY(xp_names_sort(&series->seen, listed));
    return xp_series_finish(series, listed, dataset);
}

static xp_status open_ucr(xp_dataset *dataset, xp_opening *opening) {
    xp_series series = xp_series_begin(opening->path, opening->bytes, opening->length,
                                       find_separator(opening->bytes, opening->length));
    xp_names listed = {0};
    const xp_status status = read_whole(&series, &listed, dataset);
    xp_names_release(&listed);
    xp_series_release(&series);
    return status;
}

const xp_format xp_format_ucr = {XP_FORMAT_TEXT, recognises_ucr, open_ucr};
