/* Series whose values have time stamps: (time,value),(time,value),… Owns how times are written. */
#ifndef XP_DATA_STAMPS_H
#define XP_DATA_STAMPS_H

#include "data/series.h"

/* As xp_series_read_values. The steps of a series must be equal: then positions say as much as times, which are
 * dropped. XP_UNSUPPORTED: they are not. */
xp_status xp_stamps_read_values(xp_series *series, xp_slice field, int *length);

/* Whether a column of this name holds times; quotation marks around it do not matter. */
bool xp_stamps_is_name(xp_slice name);
/* A number, or a date with or without a time of day, in seconds; an ending Z is passed over. */
bool xp_stamps_read_time(xp_slice text, double *time);
bool xp_stamps_is_date(xp_slice text); /* and no number */
/* A date as eight digits, "20120131", in seconds. */
bool xp_stamps_read_digits(xp_slice text, double *time);
/* Days from 1970-01-01 in the Gregorian calendar. */
int64_t xp_stamps_days(int64_t year, int month, int day);

#endif
