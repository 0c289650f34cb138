/* The tables of the UCR archive, .tsv, .csv or .txt: in each line a label, then the values of one series, parted by
 * tabs, commas or spaces. There is no header. Series of different lengths are filled up with NaN at their ends. */
#include "core/text.h"
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

static bool read_number(const xp_name *name, double *value) {
    size_t taken = 0;
    return xp_text_number(name->text, value, &taken) == XP_OK && taken == name->length;
}

static int compare_labels(const void *a, const void *b) {
    const xp_name *left = *(xp_name *const *)a, *right = *(xp_name *const *)b;
    double x = 0, y = 0;
    const bool number = read_number(left, &x), other = read_number(right, &y);
    if (number != other) return number ? -1 : 1;
    if (number && x != y) return x < y ? -1 : 1;
    const size_t common = left->length < right->length ? left->length : right->length;
    const int order = memcmp(left->text, right->text, common);
    return order ? order : (left->length > right->length) - (left->length < right->length);
}

/* There is no list of classes: they are the labels, numbers by size before words by letters, so that the order of the
 * samples does not matter. */
static xp_status list_classes(const xp_series *series, xp_names *listed) {
    const xp_names *seen = &series->seen;
    xp_name **sorted = NULL;
    XP_TRY(xp_data_allocate((void **)&sorted, seen->count, sizeof *sorted, series->path));
    memcpy(sorted, seen->all, (size_t)seen->count * sizeof *sorted);
    qsort(sorted, (size_t)seen->count, sizeof *sorted, compare_labels);
    xp_status status = XP_OK;
    for (int i = 0; i < seen->count && status == XP_OK; i++)
        status = xp_names_add(listed, sorted[i]->text, sorted[i]->length, NULL);
    free(sorted);
    return status;
}

static xp_status read_whole(xp_series *series, xp_names *listed, xp_dataset *dataset) {
    series->dimensions = 1;
    while (xp_series_next_line(series)) XP_TRY(read_sample(series));
    XP_TRY(list_classes(series, listed));
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
