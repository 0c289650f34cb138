#include "data/stamps.h"

#include "core/text.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* Years begin in March, so that the leap day is their last. */
int64_t xp_stamps_days(int64_t year, int month, int day) {
    year -= month < 3;
    const int64_t day_of_year = (153 * (month + (month < 3 ? 9 : -3)) + 2) / 5 + day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
}

/* YYYY-MM-DD, and after a space or T hours, minutes, and whole or broken seconds, as seconds. */
static bool read_date(xp_slice text, double *seconds) {
    enum { YEAR, MONTH, DAY, HOUR, MINUTE, PARTS };
    static const char ends[] = "-- :";
    int parts[PARTS] = {0}, part = 0;
    const char *at = text.begin;
    for (; part < PARTS && at < text.end; part++) {
        const char *begin = at;
        while (at < text.end && at - begin < 4 && *at >= '0' && *at <= '9')
            parts[part] = parts[part] * 10 + *at++ - '0';
        if (at == begin) return false;
        if (at == text.end || part == MINUTE) continue;
        if (*at != ends[part] && !(part == DAY && *at == 'T')) return false;
        at++;
    }
    double second = 0;
    if (part == PARTS && at < text.end) {
        size_t taken = 0;
        if (*at++ != ':' || xp_text_number(at, &second, &taken) != XP_OK || taken == 0 || at + taken != text.end)
            return false;
        if (!(second >= 0 && second < 61)) return false; /* 60: a leap second */
    }
    if (part <= DAY || part == HOUR + 1 || parts[MONTH] < 1 || parts[MONTH] > 12) return false;
    *seconds = 86400.0 * (double)xp_stamps_days(parts[YEAR], parts[MONTH], parts[DAY]) + 3600.0 * parts[HOUR] +
               60.0 * parts[MINUTE] + second;
    return true;
}

static xp_slice without_zone(xp_slice text) {
    if (text.end > text.begin && text.end[-1] == 'Z') text.end--;
    return text;
}

bool xp_stamps_is_date(xp_slice text) {
    double seconds;
    return read_date(without_zone(text), &seconds);
}

bool xp_stamps_read_digits(xp_slice text, double *time) {
    char dashed[] = "YYYY-MM-DD";
    if (text.end - text.begin != 8) return false;
    for (int from = 0, to = 0; from < 8; from++, to++) {
        to += from == 4 || from == 6;
        dashed[to] = text.begin[from];
    }
    return read_date((xp_slice){dashed, dashed + sizeof dashed - 1}, time);
}

bool xp_stamps_read_time(xp_slice text, double *time) {
    size_t taken = 0;
    text = without_zone(text);
    if (read_date(text, time)) return true;
    return xp_text_number(text.begin, time, &taken) == XP_OK && taken > 0 && text.begin + taken == text.end;
}

static xp_status read_time(const xp_series *series, xp_slice text, double *time) {
    if (xp_stamps_read_time(text, time)) return XP_OK;
    const int shown = text.end - text.begin < 32 ? (int)(text.end - text.begin) : 32;
    return xp_series_fail(series, XP_BAD_DATA, text.begin,
                          "'%.*s' is not a time stamp; write a number, or YYYY-MM-DD HH:MM:SS", shown, text.begin);
}

/* (time,value): moves *at past the parenthesis. */
static xp_status read_pair(xp_series *series, const char **at, const char *end, double *time, float *value) {
    const char *close = **at == '(' ? memchr(*at, ')', (size_t)(end - *at)) : NULL;
    const char *comma = close ? memchr(*at, ',', (size_t)(close - *at)) : NULL;
    if (!comma)
        return xp_series_fail(series, XP_BAD_DATA, *at, "expected a value with its time stamp, (time,value)%s",
                              close ? "" : xp_series_cut_off(series));
    XP_TRY(read_time(series, xp_series_trim(series, (xp_slice){*at + 1, comma}), time));
    const xp_slice rest = xp_series_trim(series, (xp_slice){comma + 1, close});
    const char *behind = rest.begin;
    XP_TRY(xp_series_read_value(series, &behind, rest.end, value));
    if (behind < rest.end)
        return xp_series_fail(series, XP_UNSUPPORTED, behind,
                              "more than one value at a time is not supported; give "
                              "each dimension its own times");
    *at = close + 1;
    return XP_OK;
}

/* Times that were rounded when they were written may differ from equal ones by a little. */
static bool is_step(double step, double first) {
    return first > 0 && fabs(step - first) <= 1e-3 * first;
}

xp_status xp_stamps_read_values(xp_series *series, xp_slice field, int *length) {
    double before = 0, first_step = 0;
    field = xp_series_trim(series, field);
    const char *at = field.begin;
    for (*length = 0;;) {
        const char *pair = at;
        double time = 0;
        float value = 0;
        XP_TRY(read_pair(series, &at, field.end, &time, &value));
        if (*length == 1) first_step = time - before;
        if (*length > 0 && !is_step(time - before, first_step))
            return xp_series_fail(series, XP_UNSUPPORTED, pair,
                                  "the time steps of this series are not equal, and irregular times are not supported; "
                                  "resample to equal steps, or write the values alone");
        if (*length == INT_MAX)
            return xp_series_fail(series, XP_UNSUPPORTED, pair, "a series of more than %d steps is not supported",
                                  INT_MAX);
        XP_TRY(xp_series_append(series, value));
        before = time;
        (*length)++;
        while (at < field.end && xp_series_is_blank(series, *at)) at++;
        if (at == field.end) return XP_OK;
        if (*at != ',') return xp_series_fail(series, XP_BAD_DATA, at, "expected ',' between values with time stamps");
        at++;
        while (at < field.end && xp_series_is_blank(series, *at)) at++;
    }
}

bool xp_stamps_is_name(xp_slice name) {
    static const char *const names[] = {"time", "date", "datetime", "timestamp", "ds"};
    const bool quoted = name.end - name.begin > 1 && *name.begin == '"' && name.end[-1] == '"';
    if (quoted) name = (xp_slice){name.begin + 1, name.end - 1};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (xp_slice_is(name, names[i])) return true;
    return false;
}
