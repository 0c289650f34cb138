/* What the text formats of series have in common: a walk over lines, values, labels, and the samples, which are
 * collected until the longest is known and fixes the layout. Owns what is collected; knows no format. */
#ifndef XP_DATA_SERIES_H
#define XP_DATA_SERIES_H

#include "data/dataset.h"
#include "data/names.h"

typedef struct xp_slice {
    const char *begin, *end;
} xp_slice;

/* Places in the text are pointers into it: a line and a column are counted only for a message. */
typedef struct xp_series {
    const char *path;
    const char *text, *at, *end; /* the whole without its mark, and the rest from the next line on */
    char newline;                /* what ends a line: \r in files that have no \n */
    char separator;              /* between values: , or \t, or a space for any run of blanks */
    xp_slice line;               /* the current one without its end and the blanks around it */
    int dimensions;              /* 0: not known yet */
    const char *dimensions_at;   /* its source */
    float *values;               /* [used], sample by sample, in each dimension by dimension */
    size_t used, room;
    int32_t *lengths, *labels; /* [count]; labels are numbers in `seen`, or -1 */
    size_t lengths_room, labels_room;
    float *targets; /* [count][target_count] */
    size_t targets_used, targets_room;
    int target_count;       /* 0: not known yet, or there are none */
    const char *targets_at; /* the first sample's */
    int64_t count;
    xp_names seen; /* the samples' labels, slices of the text */
} xp_series;

/* text has a NUL after its `length` bytes and outlives the reader, which begins after a byte order mark. */
xp_series xp_series_begin(const char *path, const char *text, size_t length, char separator);
void xp_series_release(xp_series *series);

/* Steps to the next line that is neither empty nor a comment: # or %. */
bool xp_series_next_line(xp_series *series);

/* Fails with path:line:column of `place` before the message. */
xp_status xp_series_fail(const xp_series *series, xp_status status, const char *place, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int xp_series_line_of(const xp_series *series, const char *place);
/* What to add to a message about something missing: a question, if the text ends within the current line. */
const char *xp_series_cut_off(const xp_series *series);

bool xp_series_is_blank(const xp_series *series, char character); /* not a separator */
xp_slice xp_series_trim(const xp_series *series, xp_slice slice);
bool xp_slice_is(xp_slice slice, const char *word); /* in any case of letters */
bool xp_slice_is_missing(xp_slice value);           /* ?, nan with or without sign */

/* Reads one value from *at and moves *at past it: to `end`, or to a separator. */
xp_status xp_series_read_value(xp_series *series, const char **at, const char *end, float *value);
xp_status xp_series_append(xp_series *series, float value);
/* Appends the values of one dimension; *length is their number. Rejects an empty series, and one longer than an int can
 * count. */
xp_status xp_series_read_values(xp_series *series, xp_slice values, int *length);
/* Fails unless dimension number `dimension` (from 0) has as many steps as the first. */
xp_status xp_series_check_steps(const xp_series *series, const char *place, int dimension, int steps, int first);
/* Appends a sample's targets, parted by the separator, before it ends. Each sample has as many. */
xp_status xp_series_read_targets(xp_series *series, xp_slice targets);
/* Ends a sample whose values are appended. An empty label: it has none. */
xp_status xp_series_end_sample(xp_series *series, int length, xp_slice label);

/* A name that every file of a run can hold: UTF-8 without control characters, not too long. */
xp_status xp_series_check_name(const xp_series *series, xp_slice name);
/* Gives the data set its samples, their targets, and classes: those in `listed`, in their order. XP_BAD_DATA: a sample
 * has another. Where it has ? or nan and no class is called so, it has none. */
xp_status xp_series_finish(xp_series *series, const xp_names *listed, xp_dataset *dataset);

#endif
