/* Estimates from a few measured values. */
#ifndef XP_CORE_STATISTICS_H
#define XP_CORE_STATISTICS_H

#include <stdint.h>

/* Sorts the values; count is at least 1. */
double xp_median(double *values, int count);

/* A median, and the interval that contains the median of the distribution with a confidence of at least 95 %. */
typedef struct xp_interval {
    double low, median, high;
} xp_interval;

/* The interval lies between two order statistics, chosen by the sign test: whatever the distribution, each value is
 * below its median with probability 1/2. With fewer than six values, low and high are infinite. Sorts the
 * values; count is at least 1. */
xp_interval xp_median_interval(double *values, int count);

/* An interval of 95 % of the mean of the groups' means, by the bootstrap: groups are drawn with replacement, then as
 * many of each group's values as it has (percentiles of 10,000 such means). Group i has sizes[i] values, at least one,
 * after those of the groups before it. The same seed gives the same interval. */
void xp_bootstrap_mean(const double *values, const int *sizes, int groups, uint64_t seed, double *low, double *high);

#endif
