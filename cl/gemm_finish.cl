/* Finishes matrix products that other kernels or a library left without the end of their epilogue. */
#include "column_sum.clh"
#include "gemm_epilogue.clh"

/* The whole epilogue. One work-item an element. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void gemm_finish(EPILOGUE_PARAMETERS) {
    const int groups = (n + 63) / 64, row = get_group_id(0) / groups; /* one dimension: some drivers limit the others */
    const int column = get_group_id(0) % groups * 64 + get_local_id(0);
    if (column < n && row < m) {
        const long at = (long)row * n + column;
        finish(LOAD(y, at), at, column, EPILOGUE);
    }
}

/* On CPU devices, dropout and the partner after it, and the sum of the parts before: Philox pays only many blocks at a
 * time. A work-item owns DROPPED numbers. Where there is one part and y is fp32, it may be y itself. */
#define DROPPED 1024
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_drop_wide(__global float *parts,                /* [part_count,count] */
               const __global stored *partner,       /* [count] or NULL */
               const __global uint *random_state,    /* [4] */
               __global stored *y,                   /* [count] */
               int part_count, int count, uint threshold, uint stream, float keep_scale) {
    const int first = get_group_id(0) * DROPPED, last = min(first + DROPPED, count);
    if (part_count > 1) sum_columns(parts + first, part_count, count, last - first, parts + first);
    drop_block(parts + first, parts + first, first, last - first, random_state, threshold, stream, keep_scale);
    int i = first;
#if COMBINE
    for (; i + 8 <= last; i += 8) STORE_8(COMBINED_8(vload8(0, parts + i), LOAD_8(partner + i)), y + i);
    for (; i < last; i++) STORE(COMBINED(parts[i], LOAD(partner, i)), y, i);
#else
    for (; i + 8 <= last; i += 8) STORE_8(vload8(0, parts + i), y + i);
    for (; i < last; i++) STORE(parts[i], y, i);
#endif
}
