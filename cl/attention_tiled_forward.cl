/* The forward pass of attention for GPUs. */
#define STAGED_TOGETHER (D > 16 ? 4 : 2) /* more spills registers of narrow heads */
#include "attention_tiled.clh"

/* Multiplies a work-item's own rows; a factor of 0 clears a row, whatever is in it. */
INLINE void scale_rows(const __local float *factors, float4 *out) {
    UNROLL_FULL
    for (int r = 0; r < OWN_ROWS; r++) {
        const float factor = factors[row_of(r)];
        out[2 * r] = factor != 0.0f ? out[2 * r] * factor : (float4)(0.0f);
        out[2 * r + 1] = factor != 0.0f ? out[2 * r + 1] * factor : (float4)(0.0f);
    }
}

/* q [B,N,H,D], k [B,M,G,D], v [B,M,G,E], o [B,N,H,E] by offset and strides of sample, row and head; lse [B,H,N].
 * Work-groups: block of queries of each residue, head, sample. */
KERNEL(ITEMS)
void attention_forward(const __global stored *restrict q, const __global stored *restrict k,
                       const __global stored *restrict v, SIGHT_PARAMETERS, __global stored *restrict o,
                       __global float *restrict lse, int q_offset, int q_sample, int q_row, int q_head, int k_offset,
                       int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row, int v_head,
                       int o_offset, int o_sample, int o_row, int o_head) {
    __local float owned[OWNED_SIZE] __attribute__((aligned(16))), walked[WALKED_SIZE] __attribute__((aligned(16)));
    __local float weights[TILE_SIZE] __attribute__((aligned(16)));
    __local float partial[PARTS * BLOCK_ROWS], factors[BLOCK_ROWS] __attribute__((aligned(16)));
    const int head = get_group_id(1), tensor = KEY_LENGTHS == 3 ? 0 : get_group_id(2);
    const sight s = look(get_group_id(2), head, get_group_id(0) % STRIDE, SIGHT_ARGUMENTS);
    const int first = get_group_id(0) / STRIDE * BLOCK_ROWS, rows = min(BLOCK_ROWS, s.query_rows - first);
    const int queries = clamp(s.queries - first, 0, max(rows, 0));
    const int row = OWN_ROW;
    q += q_offset + (long)tensor * q_sample + (long)head * q_head + (long)(s.start_q + query_index(&s, first)) * q_row;
    k += k_offset + (long)tensor * k_sample + (long)(head / GROUP) * k_head + (long)(s.start_k + s.residue_k) * k_row;
    v += v_offset + (long)tensor * v_sample + (long)(head / GROUP) * v_head + (long)(s.start_k + s.residue_k) * v_row;
    o += o_offset + (long)tensor * o_sample + (long)head * o_head + (long)(s.start_q + query_index(&s, first)) * o_row;
    lse += s.lse + (long)first * STRIDE;
    q_row *= STRIDE, k_row *= STRIDE, v_row *= STRIDE, o_row *= STRIDE;

    float maximum = LOWEST, total = 0.0f; /* of what this work-item makes weights of */
    float4 out[OWN_FOURS], scores[OWN_FOURS];
    clear(out);

    const int end = end_tile(&s, first, queries), begin = first_tile(&s, first);
    int kind, fresh = true;
    for (int first_key = next_tile(&s, true, first, queries, begin, end, &kind); first_key < end;
         first_key = next_tile(&s, true, first, queries, first_key + BLOCK_COLUMNS, end, &kind)) {
        const int keys = min(BLOCK_COLUMNS, end - first_key);
        multiply_tile(q, q_row, queries, fresh, k + (long)first_key * k_row, k_row, keys, D, owned, walked, scores);
        fresh = false;
        store_tile(scores, weights);
        barrier(CLK_LOCAL_MEM_FENCE);
        float larger = maximum;
        UNROLL_NONE
        for (int column = 4 * PART; column < BLOCK_COLUMNS; column += 4 * PARTS) {
            float4 slope;
            float4 p = score_four(&s, false, kind, first + row, first + queries, first_key + column, first_key + keys,
                                  read_across(weights, row, column) * SCORE_SCALE, &slope);
#if LINEAR
            if (NORMALISER < 2) total += sum_of(NORMALISER == 0 ? p : slope);
#if DROPOUT
            p *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                          s.numbering + (uint)((first + row) * STRIDE)),
                             threshold, keep_scale);
#endif
#else
            larger = fmax(larger, fmax(fmax(p.x, p.y), fmax(p.z, p.w)));
#endif
            write_across(p, weights, row, column);
        }
#if !LINEAR
#if PARTS > 1
        partial[PART * BLOCK_ROWS + row] = larger;
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_FULL
        for (int part = 0; part < PARTS; part++) larger = fmax(larger, partial[part * BLOCK_ROWS + row]);
#endif
        const float factor = exp2(maximum - larger);
        maximum = larger;
        total *= factor;
        UNROLL_NONE
        for (int column = 4 * PART; column < BLOCK_COLUMNS; column += 4 * PARTS) {
            float4 p = exp2(read_across(weights, row, column) - larger);
            total += sum_of(p);
#if DROPOUT
            p *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                          s.numbering + (uint)((first + row) * STRIDE)),
                             threshold, keep_scale);
#endif
            write_across(p, weights, row, column);
        }
        if (PART == 0) factors[row] = factor;
        barrier(CLK_LOCAL_MEM_FENCE);
        scale_rows(factors, out);
#endif
        accumulate_tile(weights, v + (long)first_key * v_row, v_row, keys, E, walked, out);
    }

    partial[PART * BLOCK_ROWS + row] = total;
    barrier(CLK_LOCAL_MEM_FENCE);
    float z = 0.0f;
    UNROLL_FULL
    for (int part = 0; part < PARTS; part++) z += partial[part * BLOCK_ROWS + row];
    if (LINEAR && NORMALISER == 2) z = 1.0f;
    if (PART == 0) {
        factors[row] = z != 0.0f ? 1.0f / z : 0.0f;
        if (row < rows) lse[row * STRIDE] = LINEAR ? z : z != 0.0f ? maximum * LOG_2 + log(z) : -INFINITY;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    scale_rows(factors, out);
    store_rows(out, o, o_row, rows, E);
}
