/* Times of rows. */
#include "data/times.h"

#include "core/array.h"
#include "data/stamps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double DAY = 86400;

/* --- dates -------------------------------------------------------------------------------------------------------- */

typedef struct date {
    int64_t year;
    int month, day;
    double rest; /* seconds of the day */
} date;

static int days_of(int64_t year, int month) {
    return (int)(xp_stamps_days(year + month / 12, month % 12 + 1, 1) - xp_stamps_days(year, month, 1));
}

static date split(double seconds) {
    const int64_t days = (int64_t)floor(seconds / DAY);
    date out = {.year = 1970 + (int64_t)floor((double)days / 365.2425), .month = 12};
    while (xp_stamps_days(out.year + 1, 1, 1) <= days) out.year++;
    while (xp_stamps_days(out.year, 1, 1) > days) out.year--;
    while (xp_stamps_days(out.year, out.month, 1) > days) out.month--;
    out.day = (int)(days - xp_stamps_days(out.year, out.month, 1)) + 1;
    out.rest = seconds - DAY * (double)days;
    return out;
}

/* The day of a month that is wanted, or its last one. */
static int nearest_day(int64_t year, int month, int day) {
    return day < days_of(year, month) ? day : days_of(year, month);
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

/* Times that were rounded may differ from equal steps by a little. Of a hundred rows, one may be missing. */
static double find_step(const xp_times *times) {
    const double step = times->count > 1 ? times->values[times->count - 1] - times->values[times->count - 2] : NAN;
    int64_t odd = 0;
    for (int64_t i = 1; i < times->count; i++)
        odd += !(fabs(times->values[i] - times->values[i - 1] - step) <= 1e-3 * step);
    return step > 0 && 100 * odd <= times->count ? step : 0;
}

/* Whether dates are as many months apart each, on the same day. */
static void find_months(xp_times *times) {
    int day = 0;
    int64_t months = 0;
    for (int64_t i = 0; i < times->count; i++) {
        if (isnan(times->values[i])) return;
        const int own = split(times->values[i]).day;
        day = own > day ? own : day;
    }
    for (int64_t i = 1; i < times->count; i++) {
        const date before = split(times->values[i - 1]), now = split(times->values[i]);
        const int64_t apart = 12 * (now.year - before.year) + now.month - before.month;
        if (i == 1) months = apart;
        if (apart != months || now.rest != before.rest || now.day != nearest_day(now.year, now.month, day)) return;
    }
    if (months < 1 || months > 12000) return;
    times->months = (int)months;
    times->day = day;
}

static double value_at(const xp_times *times, int64_t row) {
    const int64_t after = row - times->count + 1;
    if (row < 0 || times->count == 0) return NAN;
    if (after <= 0) return times->values[row];
    const double last = times->values[times->count - 1];
    if (times->step > 0) return last + (double)after * times->step;
    if (times->months == 0) return NAN;
    const date end = split(last);
    const int64_t months = end.month - 1 + after * times->months, year = end.year + months / 12;
    const int month = (int)(months % 12) + 1;
    return DAY * (double)xp_stamps_days(year, month, nearest_day(year, month, times->day)) + end.rest;
}

/* --- what others call --------------------------------------------------------------------------------------------- */

xp_status xp_times_add(xp_times *times, double value) {
    if (!xp_array_reserve(&times->values, &times->room, (size_t)times->count, 1, sizeof *times->values))
        return XP_OUT_OF_MEMORY;
    times->values[times->count++] = value;
    return XP_OK;
}

/* "2012-01-31T13:30:00Z" */
void xp_times_finish(xp_times *times, xp_slice written, bool digits) {
    const char *end = written.end, *at = written.begin, *point = NULL;
    times->clock = digits ? 0 : -1;
    times->digits = digits;
    times->between = ' ';
    times->after = "";
    if (xp_stamps_is_date(written)) {
        times->clock = 0;
        if (end[-1] == 'Z') {
            times->after = "Z";
            end--;
        }
        for (; at < end; at++) {
            if (*at == ' ' || *at == 'T') times->between = *at;
            if (*at == ':') times->clock += times->clock ? 1 : 2;
            if (*at == '.') point = at;
        }
        times->decimals = point ? (int)(end - point) - 1 : 0;
        if (times->decimals > 6) times->decimals = 6;
    }
    times->step = find_step(times);
    if (times->clock >= 0 && times->step == 0) find_months(times);
}

bool xp_times_write(const xp_times *times, int64_t row, char *text, size_t size) {
    double value = value_at(times, row);
    if (!isfinite(value)) return false;
    if (times->clock < 0) {
        snprintf(text, size, "%.15g", value);
        return true;
    }
    const double unit = times->clock == 3 ? pow(10, -times->decimals) : times->clock == 2 ? 60 : DAY;
    const date at = split(floor(value / unit + 0.5) * unit);
    const int minutes = (int)(at.rest / 60);
    if (at.year < 0 || at.year > 9999) return false; /* no date that can be read */
    size_t used = (size_t)snprintf(text, size, times->digits ? "%04lld%02d%02d" : "%04lld-%02d-%02d",
                                   (long long)at.year, at.month, at.day);
    if (times->clock > 0 && used < size)
        used += (size_t)snprintf(text + used, size - used, "%c%02d:%02d", times->between, minutes / 60, minutes % 60);
    if (times->clock > 2 && used < size)
        used += (size_t)snprintf(text + used, size - used, ":%0*.*f", times->decimals ? times->decimals + 3 : 2,
                                 times->decimals, at.rest - 60.0 * minutes);
    if (used < size) snprintf(text + used, size - used, "%s", times->after);
    return true;
}

xp_status xp_times_copy(xp_times *out, const xp_times *from) {
    *out = *from;
    out->values = malloc((size_t)from->count * sizeof *out->values + 1);
    if (!out->values) return XP_OUT_OF_MEMORY;
    memcpy(out->values, from->values, (size_t)from->count * sizeof *out->values);
    return XP_OK;
}

void xp_times_release(xp_times *times) {
    free(times->values);
    *times = (xp_times){.values = NULL};
}
