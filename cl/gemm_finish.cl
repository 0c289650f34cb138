/* Finishes matrix products that other kernels or a library left without the end of their epilogue. */
#include "column_sum.clh"
#include "gemm_epilogue.clh"

#ifndef SUMS
#define SUMS 0 /* 1: the sums of the left factor over the depth are added up, too */
#endif

/* The whole epilogue, after the sum of the parts of the depth in their order. A work-item takes four neighbours of a row
 * of y, and the first m of them one sum of the left factor each. One part may be y itself, where y is fp32. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
gemm_finish(EPILOGUE_PARAMETERS, const __global float *parts, /* [part_count,m,n] */
            const __global float *part_sums,                  /* [part_count,m] or NULL */
            __global float *sums /* [m] or NULL */, int part_count) {
    const int fours = (n + 3) / 4, row = get_global_id(0) / fours, column = get_global_id(0) % fours * 4;
    if (row < m) {
        const long at = (long)row * n + column;
        float4 value = read_floats(parts + at, n - column, ALIGNED_Y);
        for (int part = 1; part < part_count; part++)
            value += read_floats(parts + (long)part * m * n + at, n - column, ALIGNED_Y);
        finish_four(value, at, column, EPILOGUE);
    }
#if SUMS
    if (get_global_id(0) < m) {
        float sum = 0.0f;
        for (int part = 0; part < part_count; part++) sum += part_sums[part * m + get_global_id(0)];
        sums[get_global_id(0)] = sum;
    }
#endif
}

/* On CPU devices, dropout and the partner after it, and the sum of the parts before: Philox pays only many blocks at a
 * time. A work-item owns DROPPED numbers. Where there is one part and y is fp32, it may be y itself. */
#define DROPPED 1024
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_drop_wide(__global float *parts,                /* [part_count,count] */
               const __global result *partner,       /* [count] or NULL */
               const __global uint *random_state,    /* [4] */
               __global result *y,                   /* [count] */
               int part_count, int count, uint threshold, uint stream, float keep_scale) {
    const int first = get_group_id(0) * DROPPED, last = min(first + DROPPED, count);
    if (part_count > 1) sum_columns(parts + first, part_count, count, last - first, parts + first);
    drop_block(parts + first, parts + first, first, last - first, random_state, threshold, stream, keep_scale);
    int i = first;
#if COMBINE
    for (; i + 8 <= last; i += 8) STORE_RESULT_8(COMBINED_8(vload8(0, parts + i), LOAD_RESULT_8(partner + i)), y + i);
    for (; i < last; i++) STORE_RESULT(COMBINED(parts[i], LOAD_RESULT(partner, i)), y, i);
#else
    for (; i + 8 <= last; i += 8) STORE_RESULT_8(vload8(0, parts + i), y + i);
    for (; i < last; i++) STORE_RESULT(parts[i], y, i);
#endif
}
