/* The weights of attention for GPUs as a table, for people to look at: no pass of training stores it. */
#define EMPTY_TILES 1
#include "attention_tiled.clh"

/* map [B,H,N,M] dense: the weights before dropout; q and k as above. Compact key j stands for STRIDE columns of the map,
 * all but one of them 0. Work-groups: block of queries of each residue, head, sample. */
KERNEL(ITEMS)
void attention_map(const __global stored *restrict q, const __global stored *restrict k, SIGHT_PARAMETERS,
                   const __global float *restrict lse, __global float *restrict map, int q_offset, int q_sample,
                   int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head) {
    __local float owned[OWNED_SIZE] __attribute__((aligned(16))), walked[WALKED_SIZE] __attribute__((aligned(16)));
    __local float weights[TILE_SIZE] __attribute__((aligned(16)));
    const int head = get_group_id(1);
    const sight s = look(get_group_id(2), head, get_group_id(0) % STRIDE, SIGHT_ARGUMENTS);
    const int first = get_group_id(0) / STRIDE * BLOCK_ROWS, rows = min(BLOCK_ROWS, s.query_rows - first);
    const int queries = clamp(s.queries - first, 0, max(rows, 0));
    q += q_offset + (long)s.batch * q_sample + (long)head * q_head + (long)query_index(&s, first) * q_row;
    k += k_offset + (long)s.batch * k_sample + (long)(head / GROUP) * k_head + (long)s.residue_k * k_row;
    lse += s.lse + (long)first * STRIDE;
    map += (((long)s.batch * H + head) * N + query_index(&s, first)) * M;
    q_row *= STRIDE, k_row *= STRIDE;

    for (int first_key = 0; first_key * STRIDE < M; first_key += BLOCK_COLUMNS) {
        const int keys = clamp(s.keys - first_key, 0, BLOCK_COLUMNS);
        int kind = keys > 0 && queries > 0 ? TILE_FULL : TILE_EMPTY;
        if (MASKED && kind == TILE_FULL)
            kind = tile_kind(&s, first, first + queries, first_key, first_key + keys);
        float4 scores[OWN_FOURS];
        multiply_tile(q, q_row, queries, first_key == 0, k + (long)first_key * k_row, k_row, keys, D, owned, walked,
                      scores);
        store_tile(scores, weights);
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_NONE
        for (int i = ITEM; i < BLOCK_ROWS * BLOCK_COLUMNS / 4; i += ITEMS) {
            const int row = i / (BLOCK_COLUMNS / 4), column = i % (BLOCK_COLUMNS / 4) * 4;
            float4 p = 0.0f, slope;
            if (kind != TILE_EMPTY)
                p = weight_of(score_four(&s, false, kind, first + row, first + queries, first_key + column,
                                         first_key + keys, read_across(weights, row, column) * SCORE_SCALE, &slope),
                              shift_of(lse, row, queries));
            const float four[4] = {p.x, p.y, p.z, p.w};
            UNROLL_FULL
            for (int c = 0; c < 4; c++)
                for (int t = 0; t < STRIDE; t++) {
                    const int to = (first_key + column + c) * STRIDE + t;
                    if (row < rows && to < M) map[(long)row * STRIDE * M + to] = t == s.residue_k ? four[c] : 0.0f;
                }
        }
    }
}
