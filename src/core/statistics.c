#include "core/statistics.h"

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
