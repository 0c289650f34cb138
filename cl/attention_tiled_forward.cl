/* The forward pass of attention for GPUs. */
#include "attention_tiled.clh"

/* q [B,N,H,D], k [B,M,G,D], v [B,M,G,E], o [B,N,H,E] by offset and strides of sample, row and head; lse [B,H,N].
 * Work-groups: block of queries of each residue, head, sample. */
KERNEL(WORK_ITEMS)
void attention_forward(const __global stored *restrict q, const __global stored *restrict k,
                       const __global stored *restrict v, SIGHT_PARAMETERS, __global stored *restrict o,
                       __global float *restrict lse, int q_offset, int q_sample, int q_row, int q_head, int k_offset,
                       int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row, int v_head,
                       int o_offset, int o_sample, int o_row, int o_head) {
    __local float stage[STAGE_SIZE] __attribute__((aligned(16)));
    __local float weights[BLOCK_ROWS * BLOCK_COLUMNS] __attribute__((aligned(16)));
    __local float partial[BLOCK_ROWS * COLUMN_GROUPS];
    const int head = get_group_id(1), tensor = KEY_LENGTHS == 3 ? 0 : get_group_id(2);
    const sight s = look(get_group_id(2), head, get_group_id(0) % STRIDE, SIGHT_ARGUMENTS);
    const int first = get_group_id(0) / STRIDE * BLOCK_ROWS, rows = min(BLOCK_ROWS, s.query_rows - first);
    const int queries = clamp(s.queries - first, 0, max(rows, 0));
    const int column_group = get_local_id(0) % COLUMN_GROUPS;
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = column_group * 4;
    q += q_offset + (long)tensor * q_sample + (long)head * q_head + (long)(s.start_q + query_index(&s, first)) * q_row;
    k += k_offset + (long)tensor * k_sample + (long)(head / GROUP) * k_head + (long)(s.start_k + s.residue_k) * k_row;
    v += v_offset + (long)tensor * v_sample + (long)(head / GROUP) * v_head + (long)(s.start_k + s.residue_k) * v_row;
    o += o_offset + (long)tensor * o_sample + (long)head * o_head + (long)(s.start_q + query_index(&s, first)) * o_row;
    lse += s.lse + (long)first * STRIDE;
    q_row *= STRIDE, k_row *= STRIDE, v_row *= STRIDE, o_row *= STRIDE;

    float maximum[4], total[4];
    float4 out[4 * GROUPS(E)], p[4];
    UNROLL_FULL
    for (int r = 0; r < 4; r++) maximum[r] = LOWEST, total[r] = 0.0f;
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(E); i++) out[i] = 0.0f;

    const int end = end_tile(&s, first, queries);
    int kind;
    for (int first_key = next_tile(&s, true, first, queries, first_tile(&s, first), end, &kind); first_key < end;
         first_key = next_tile(&s, true, first, queries, first_key + BLOCK_COLUMNS, end, &kind)) {
        const int keys = min(BLOCK_COLUMNS, end - first_key);
        multiply_tile(q, q_row, queries, k + (long)first_key * k_row, k_row, keys, D, stage, p);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            float4 slope;
            p[r] = score_four(&s, true, false, kind, first + row + r, first + queries, first_key + column,
                              first_key + keys, p[r] * SCORE_SCALE, &slope);
#if LINEAR
            if (NORMALISER < 2) total[r] += sum_of(NORMALISER == 0 ? p[r] : slope);
#else
            partial[(row + r) * COLUMN_GROUPS + column_group] = max(max(p[r].x, p[r].y), max(p[r].z, p[r].w));
#endif
        }
#if !LINEAR
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            float larger = maximum[r];
            UNROLL_NONE
            for (int i = 0; i < COLUMN_GROUPS; i++) larger = max(larger, partial[(row + r) * COLUMN_GROUPS + i]);
            float rescale = exp2(maximum[r] - larger);
            maximum[r] = larger;
            p[r] = exp2(p[r] - larger);
            total[r] = fma(total[r], rescale, sum_of(p[r]));
            UNROLL_FULL
            for (int g = 0; g < GROUPS(E); g++) out[4 * g + r] *= rescale;
        }
#endif
#if DROPOUT
        UNROLL_FULL
        for (int r = 0; r < 4; r++)
            p[r] *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                             s.numbering + (uint)((first + row + r) * STRIDE)),
                                threshold, keep_scale);
#endif
        store_weights(p, weights);
        accumulate_tile(weights, v + (long)first_key * v_row, v_row, keys, E, stage, out);
    }

    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_FULL
    for (int r = 0; r < 4; r++) partial[(row + r) * COLUMN_GROUPS + column_group] = total[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_FULL
    for (int r = 0; r < 4; r++) {
        float z = 0.0f;
        UNROLL_NONE
        for (int i = 0; i < COLUMN_GROUPS; i++) z += partial[(row + r) * COLUMN_GROUPS + i];
        if (LINEAR && NORMALISER == 2) z = 1.0f;
        const bool some = z != 0.0f;
        const float reciprocal = some ? 1.0f / z : 0.0f;
        UNROLL_FULL
        for (int g = 0; g < GROUPS(E); g++) out[4 * g + r] = some ? out[4 * g + r] * reciprocal : 0.0f;
        if (column_group == 0 && row + r < rows)
            lse[(row + r) * STRIDE] = LINEAR ? z : some ? maximum[r] * LOG_2 + log(z) : -INFINITY;
    }
    store_rows(out, o, o_row, rows, E);
}
