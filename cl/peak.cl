/* Kernels that reach the peak of a device: the figure that all other kernels are compared with. No model uses them.
 *
 * LANES  8 or 16: vectors in twelve named registers, as the kernels of CPU devices; 1: scalars in eight */
#ifndef LANES
#define LANES 8
#endif

#if LANES == 1
typedef float number;
#define LOCAL       256
#define EACH_SUM(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define FIRST_OF(x) (x)
#else
#include "lanes.clh"
typedef floats number;
#define LOCAL       1
#define EACH_SUM(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#define FIRST_OF(x) ((x).s0)
#endif

#define DECLARE(i)  number sum##i = (number)(i + get_global_id(0));
#define MULTIPLY(i) sum##i = fma(sum##i, factor, term);
#define COLLECT(i)  all += sum##i;

/* Chains of fused multiply-adds that wait for nothing but themselves. in [2]: factor and term; out [work-items]. */
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void peak_arithmetic(const __global float *in,
                                                                                 __global float *out, int rounds) {
    const number factor = (number)(in[0]), term = (number)(in[1]);
    EACH_SUM(DECLARE)
    for (int round = 0; round < rounds; round++) {
        EACH_SUM(MULTIPLY)
    }
    number all = (number)(0.0f);
    EACH_SUM(COLLECT)
    out[get_global_id(0)] = FIRST_OF(all);
}

/* c [elements] = a [elements] + factor · b [elements], each work-item one element. */
__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void peak_triad(const __global float *restrict a,
                                                                          const __global float *restrict b,
                                                                          __global float *restrict c, float factor) {
    const int i = get_global_id(0);
    c[i] = fma(factor, b[i], a[i]);
}

/* The least that a launch can be. out [1] */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void peak_launch(__global float *out) {
    out[0] = 1.0f;
}
