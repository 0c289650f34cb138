/* From standardised numbers of a sample to its own scale. One work-item owns one number.
 *
 * SHIFTS  1: the means are added; 0: they are not, as in the gradient */
#ifndef SHIFTS
#define SHIFTS 1
#endif

/* x, y [batch, numbers], levels [batch, 2, features]: means, then deviations; count = batch·numbers. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void rescale(const __global float *restrict x,
                                                                      const __global float *restrict levels,
                                                                      __global float *restrict y, int count,
                                                                      int numbers, int features) {
    const int i = get_global_id(0);
    if (i < count) {
        const int feature = i % numbers % features;
        const __global float *own = levels + (size_t)(i / numbers) * 2 * features + feature;
        y[i] = SHIFTS ? fma(x[i], own[features], own[0]) : x[i] * own[features];
    }
}
