/* The forward pass of attention on matrix units. Asynchronous ones multiply the weights of a block while those of the
 * next one are made: its scores' product goes first. */
#define KEPT (INSTRUCTION == 2)
#include "attention_matrix.clh"

#define HELD_Q      HOLDS(D, 32)
#define RING_COPIES (STAGES * BLOCK_COPIES + SHARE(ROWS * CHUNKS(D)))

/* q [B,N,H,D], k [B,M,G,D], v [B,M,G,E], o [B,N,H,E] in 16 bits, by offset and strides of sample, row and head; lse
 * [B,H,N]. Work-groups: block of queries of each residue, head, sample. */
KERNEL void attention_forward(const __global stored *restrict q, const __global stored *restrict k,
                              const __global stored *restrict v, SIGHT_PARAMETERS, __global stored *restrict o,
                              __global float *restrict lse, int q_offset, int q_sample, int q_row, int q_head,
                              int k_offset, int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row,
                              int v_head, int o_offset, int o_sample, int o_row, int o_head) {
    DECLARE_RING(LARGER(STAGES * BLOCK_CHUNKS, HELD_Q ? TILE_OF(ROWS, D) : 0), RING_COPIES)
    DECLARE_OWN(own_q, HELD_Q, D)
    MATRIX_STATE(LEFTS, MOST_RIGHTS)
    ROWS_STATE(LINES)
    COPY_STATE(RING_COPIES)
    /* Queries that see all before them come last: the longest work first. */
    const int group = RIGHT >= 0 ? get_num_groups(0) - 1 - get_group_id(0) : get_group_id(0);
    const int head = get_group_id(1), tensor = KEY_LENGTHS == 3 ? 0 : get_group_id(2);
    const sight s = look(get_group_id(2), head, group % STRIDE, SIGHT_ARGUMENTS);
    const int first = group / STRIDE * ROWS, rows = min(ROWS, s.query_rows - first), own_row = SUB_GROUP * OWN_ROWS;
    const int queries = clamp(s.queries - first, 0, max(rows, 0));
    q += q_offset + (long)tensor * q_sample + (long)head * q_head + (long)(s.start_q + query_index(&s, first)) * q_row;
    k += k_offset + (long)tensor * k_sample + (long)(head / GROUP) * k_head + (long)(s.start_k + s.residue_k) * k_row;
    v += v_offset + (long)tensor * v_sample + (long)(head / GROUP) * v_head + (long)(s.start_k + s.residue_k) * v_row;
    q_row *= STRIDE, k_row *= STRIDE, v_row *= STRIDE;

    float out[LEFTS][SUMS(E)][SUM_NUMBERS], largest[LINES], total[LINES];
    ZERO(out, SUMS(E))
    UNROLL for (int r = 0; r < LINES; r++) largest[r] = LOWEST, total[r] = 0.0f;
    BRING_OWN(own_q, HELD_Q, q, q_row, queries, D)

    const float factor = SCORE_FACTOR;
    const int from = WINDOWED ? first_seen(&s, first + s.shift) / KEYS * KEYS : 0;
    const int end = queries == 0 ? 0 : WINDOWED ? end_seen(&s, first + queries - 1 + s.shift) : s.keys;
#define BRING_BLOCK(block, at)                                                                                         \
    {                                                                                                                  \
        BRING(block, k + (long)(at)*k_row, k_row, KEYS, end - (at), D)                                                 \
        BRING((block) + TILE_OF(KEYS, D), v + (long)(at)*v_row, v_row, KEYS, end - (at), E)                            \
    }
    WEIGHTS(weights)
#if KEPT
    const __local uint4 *values = NULL; /* of the block before */
#endif
    BEGIN_WALK(true, first, queries, from, end)
    float p[LEFTS][RIGHTS][SUM_NUMBERS], most[LINES], rescale[LINES];
    START_OWN(p, own_q, HELD_Q, x_tile, D)
#if KEPT
    if (values) {
        START_ACCUMULATE(out, weights, values, E)
    } else {
        WGMMA_COMMIT();
    }
    values = y_tile;
#endif
    FINISH_OWN(p, own_q, HELD_Q, x_tile, D, 1)
    MAKE_SCORES(p, 0, true, first, first + queries, end)
    UNROLL for (int r = 0; r < LINES; r++) {
        most[r] = largest[r];
        UNROLL for (int j = 0; j < RIGHTS; j++) UNROLL for (int c = 0; c < ROW_NUMBERS; c += 2) {
            const int e = ELEMENT_OF(r) + c;
            most[r] = fmax(most[r], fmax(p[LEFT_OF(r)][j][e], p[LEFT_OF(r)][j][e + 1]));
        }
    }
    ROWS_REDUCE(most, LINES, fmax)
    UNROLL for (int r = 0; r < LINES; r++) {
        /* Differences first: one fma less would leave huge scores' weights to the rounding of their maximum. */
        rescale[r] = EXP2((largest[r] - most[r]) * factor);
        float sum = 0.0f;
        UNROLL for (int j = 0; j < RIGHTS; j++) UNROLL for (int c = 0; c < ROW_NUMBERS; c += 2) {
            float *const two = p[LEFT_OF(r)][j] + ELEMENT_OF(r) + c;
            two[0] = EXP2((two[0] - most[r]) * factor);
            two[1] = EXP2((two[1] - most[r]) * factor);
            sum += two[0] + two[1];
#if DROPOUT
            const int row = first + own_row + ROW_OF(r);
            const float2 keep =
                keep_two(random_state, stream, threshold, keep_scale, at + MATRIX_COLUMNS * j + MATRIX_COLUMN(c),
                         s.numbering + (uint)(row * STRIDE));
            two[0] *= keep.x, two[1] *= keep.y;
#endif
        }
        largest[r] = most[r];
        total[r] = fma(total[r], rescale[r], sum);
    }
    FINISH_ACCUMULATE(out, 0)
    UNROLL for (int r = 0; r < LINES; r++) UNROLL for (int j = 0; j < SUMS(E); j++)
        UNROLL for (int c = 0; c < ROW_NUMBERS; c++) out[LEFT_OF(r)][j][ELEMENT_OF(r) + c] *= rescale[r];
    PACK_WEIGHTS(weights, p)
#if !KEPT
    ACCUMULATE(out, weights, y_tile, E)
#endif
    END_WALK
#if KEPT
    if (values) {
        ACCUMULATE(out, weights, values, E)
    }
#endif

    o += o_offset + (long)tensor * o_sample + (long)head * o_head + (long)(s.start_q + query_index(&s, first)) * o_row;
    lse += s.lse + (long)first * STRIDE;
    ROWS_REDUCE(total, LINES, ADD)
    UNROLL for (int r = 0; r < LINES; r++) {
        const int row = own_row + ROW_OF(r);
        if (MATRIX_COLUMN(0) == 0 && row < rows)
            lse[row * STRIDE] =
                total[r] == 0.0f ? -INFINITY : largest[r] * (SCORED ? LOG_2 : scale) + log(total[r]);
        total[r] = total[r] == 0.0f ? 0.0f : 1.0f / total[r];
    }
    STORE_ROWS(out, o, o_row * STRIDE, rows, E, total[r_])
}
