/* The times of the rows of a table: kept as numbers, written as in the file, and continued after its end. */
#ifndef XP_DATA_TIMES_H
#define XP_DATA_TIMES_H

#include "data/series.h"

struct xp_times {
    double *values; /* [count], seconds since 1970 of dates; NaN: not known */
    int64_t count;
    size_t room;
    int clock;    /* numbers of the time of day that are written, 0 to 3; -1: the values are numbers and no dates */
    int decimals; /* of seconds */
    bool digits;  /* dates are eight digits */
    char between; /* date and time of day */
    const char *after; /* "Z" or "" */
    double step;       /* from a row to the next, where it is always the same; else 0 */
    int months, day;   /* the same of dates on that day of a month, or on its last one; else 0 */
};

/* Adds the time of the next row, NaN: not known. All are numbers, or all dates. XP_OUT_OF_MEMORY, without a message. */
xp_status xp_times_add(xp_times *times, double value);
/* After the last row: finds out how times are written, from one that is known, and how they go on. `digits`: as dates
 * of eight digits. */
void xp_times_finish(xp_times *times, xp_slice written, bool digits);

/* Writes the time of a row, which may be one after the last. False: it is not known. */
bool xp_times_write(const xp_times *times, int64_t row, char *text, size_t size);

/* XP_OUT_OF_MEMORY, without a message. */
xp_status xp_times_copy(xp_times *out, const xp_times *from);
void xp_times_release(xp_times *times);

#endif
