/* What a few measured values say of the distribution that they come from. */
#ifndef XP_CORE_STATISTICS_H
#define XP_CORE_STATISTICS_H

/* Sorts the values; count is at least 1. */
double xp_median(double *values, int count);

/* A median, and the interval in which that of the distribution lies with a confidence of at least 95 %. */
typedef struct xp_interval {
    double low, median, high;
} xp_interval;

/* The interval lies between two order statistics, chosen by the sign test: whatever the distribution, each value is
 * below its median with probability 1/2. Fewer than six values bound nothing: low and high are infinite. Sorts the
 * values; count is at least 1. */
xp_interval xp_median_interval(double *values, int count);

#endif
