/* Finishes a matrix product that a library made: bias, partner, z and activation. One work-item an element. */
#include "gemm_epilogue.clh"

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
gemm_finish(const __global float *bias,    /* [n] or NULL */
            const __global stored *partner, /* [m,n] or NULL */
            __global stored *y,             /* [m,n] */
            __global stored *z,             /* [m,n] or NULL */
            int m, int n) {
    const int groups = (n + 63) / 64, row = get_group_id(0) / groups; /* one dimension: some drivers limit the others */
    const int column = get_group_id(0) % groups * 64 + get_local_id(0);
    if (column < n && row < m) {
        const long at = (long)row * n + column;
        finish(LOAD(y, at), bias, partner, y, z, at, column);
    }
}
