/* The weights of attention for CPU devices as a table, for people to look at: no pass of training stores it. */
#include "attention_wide.clh"

/* map [B,H,N,M] dense: the weights before dropout; q and k as above. Work-groups: block of queries, head, sample. */
KERNEL void attention_map(const __global stored *restrict q, const __global stored *restrict k, SIGHT_PARAMETERS,
                          const __global float *restrict lse, __global float *restrict map, int q_offset, int q_sample,
                          int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head) {
    float query[FACTORS(D) * PANEL] ALIGNED, p[TILE_ROWS * PANEL] ALIGNED;
    const int head = get_group_id(HEAD_AXIS);
    const sight s = look(get_group_id(2), head, get_group_id(BLOCK_AXIS) % STRIDE, SIGHT_ARGUMENTS);
    const int first = get_group_id(BLOCK_AXIS) / STRIDE * PANEL, rows = min(PANEL, s.query_rows - first);
    const int queries = clamp(s.queries - first, 0, rows);
    if (rows <= 0) return;
    q += q_offset + (long)s.batch * q_sample + (long)head * q_head + (long)query_index(&s, first) * q_row;
    k += k_offset + (long)s.batch * k_sample + (long)(head / GROUP) * k_head + (long)s.residue_k * k_row;
    lse += s.lse + (long)first * STRIDE;
    map += (((long)s.batch * H + head) * N + query_index(&s, first)) * M;
    q_row *= STRIDE, k_row *= STRIDE;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < M; j++) map[(long)i * STRIDE * M + j] = 0.0f;
    if (queries == 0) return;
    pack_panel(q, q_row, queries, D, PACKED_SCALE, query);
    for (int first_key = 0; first_key < s.keys; first_key += KEY_TILE) {
        const int keys = min(KEY_TILE, s.keys - first_key);
        const int kind = MASKED ? tile_kind(&s, first, first + queries, first_key, first_key + keys) : TILE_FULL;
        if (kind == TILE_EMPTY) continue;
        for (int j = 0; j < keys; j += REGISTER_ROWS)
            multiply_rows(k + (long)(first_key + j) * k_row, k_row, keys - j, D, PACKED_SCALE, query, p + j * PANEL,
                          PANEL, 0, 0);
        score_tile(&s, kind, first, first_key, keys, p, PANEL, 0, 0);
        for (int i = 0; i < queries; i++) {
            const float z = lse[i * STRIDE];
            for (int j = 0; j < keys; j++) {
                const float x = p[j * PANEL + i];
                const float weight = LINEAR ? (z != 0.0f ? x / z : 0.0f)
                                            : (z == -INFINITY ? 0.0f : fast_exp2_1(min(x - z * LOG2_E, 0.0f)));
                map[(long)i * STRIDE * M + key_index(&s, first_key + j)] = weight;
            }
        }
    }
}
