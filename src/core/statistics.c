#include "core/statistics.h"

#include "core/random.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double xp_median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    return 0.5 * (values[(count - 1) / 2] + values[count / 2]);
}

xp_interval xp_median_interval(double *values, int count) {
    const double median = xp_median(values, count);
    /* `outside` values are left out at either end. The median is among them with twice the probability that at most
     * outside - 1 of `count` fair coins show heads. */
    double tail = 0, next = pow(0.5, count); /* probability of as many heads as are outside */
    int outside = 0;
    while (outside < count / 2 && 2 * (tail + next) <= 0.05) {
        tail += next;
        next *= (double)(count - outside) / (outside + 1);
        outside++;
    }
    return (xp_interval){.low = outside ? values[outside - 1] : -INFINITY,
                         .median = median,
                         .high = outside ? values[count - outside] : INFINITY};
}

/* The mean of one drawing. */
static double draw_mean(const double *values, const int *sizes, int groups, xp_random *random) {
    double total = 0;
    for (int i = 0; i < groups; i++) {
        const int group = (int)xp_random_below(random, (uint32_t)groups);
        const double *own = values;
        double sum = 0;
        for (int k = 0; k < group; k++) own += sizes[k];
        for (int k = 0; k < sizes[group]; k++) sum += own[xp_random_below(random, (uint32_t)sizes[group])];
        total += sum / sizes[group];
    }
    return total / groups;
}

void xp_bootstrap_mean(const double *values, const int *sizes, int groups, uint64_t seed, double *low, double *high) {
    enum { DRAWINGS = 10000, OUTSIDE = DRAWINGS / 40 };
    double means[DRAWINGS];
    xp_random random;
    xp_random_start(&random, seed, 0);
    for (int i = 0; i < DRAWINGS; i++) means[i] = draw_mean(values, sizes, groups, &random);
    qsort(means, DRAWINGS, sizeof *means, by_value);
    *low = means[OUTSIDE];
    *high = means[DRAWINGS - 1 - OUTSIDE];
}
