/* The forward pass of attention for CPU devices. */
#include "attention_wide.clh"

/* p [keys][PANEL], scores to base 2, becomes the weights below a maximum; *total_low and *total_high grow by their
 * sums. */
INLINE void weigh_keys(int keys, floats low, floats high, float *p, floats *total_low, floats *total_high) {
    for (int j = 0; j < keys; j += 2, p += 2 * PANEL) { /* an even number of rows was written */
        floats p0 = load_lanes(0, p) - low, p1 = load_lanes(1, p) - high;
        floats p2 = load_lanes(2, p) - low, p3 = load_lanes(3, p) - high;
        OF_LANES(fast_exp2_four_)(&p0, &p1, &p2, &p3);
        *total_low += p0;
        *total_high += p1;
        if (j + 1 < keys) *total_low += p2, *total_high += p3;
        store_lanes(p0, 0, p);
        store_lanes(p1, 1, p);
        store_lanes(p2, 2, p);
        store_lanes(p3, 3, p);
    }
}

/* q [B,N,H,D], k [B,M,G,D], v [B,M,G,E], o [B,N,H,E] by offset and strides of sample, row and head; lse [B,H,N].
 * Work-groups: block of queries of each residue, head, sample. */
KERNEL void attention_forward(const __global stored *restrict q, const __global stored *restrict k,
                              const __global stored *restrict v, SIGHT_PARAMETERS, __global stored *restrict o,
                              __global float *restrict lse, int q_offset, int q_sample, int q_row, int q_head,
                              int k_offset, int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row,
                              int v_head, int o_offset, int o_sample, int o_row, int o_head) {
    float query[PANELS * FACTORS(D) * PANEL] ALIGNED, sum[PANELS * E * PANEL] ALIGNED, p[TILE_ROWS * PANEL] ALIGNED;
    float maximum[BLOCK_QUERIES] ALIGNED, total[BLOCK_QUERIES] ALIGNED;
#if PAIRS
    float value_pairs[KEY_TILE / 2 * E] ALIGNED;
#endif
#if DROPOUT
    float mask_tile[KEY_TILE * PANEL] ALIGNED;
#endif
    const int head = get_group_id(HEAD_AXIS), tensor = KEY_LENGTHS == 3 ? 0 : get_group_id(2);
    const sight s = look(get_group_id(2), head, get_group_id(BLOCK_AXIS) % STRIDE, SIGHT_ARGUMENTS);
    const int first = get_group_id(BLOCK_AXIS) / STRIDE * BLOCK_QUERIES;
    const int rows = min(BLOCK_QUERIES, s.query_rows - first), queries = clamp(s.queries - first, 0, rows);
    if (rows <= 0) return;
    const int panels = (queries + PANEL - 1) / PANEL;
    q += q_offset + (long)tensor * q_sample + (long)head * q_head + (long)(s.start_q + query_index(&s, first)) * q_row;
    k += k_offset + (long)tensor * k_sample + (long)(head / GROUP) * k_head + (long)(s.start_k + s.residue_k) * k_row;
    v += v_offset + (long)tensor * v_sample + (long)(head / GROUP) * v_head + (long)(s.start_k + s.residue_k) * v_row;
    o += o_offset + (long)tensor * o_sample + (long)head * o_head + (long)(s.start_q + query_index(&s, first)) * o_row;
    lse += s.lse + (long)first * STRIDE;
    q_row *= STRIDE, k_row *= STRIDE, v_row *= STRIDE, o_row *= STRIDE;

    const int begin = first_tile(&s, first), end = queries > 0 ? end_tile(&s, first + queries) : 0;
    expect_rows(q, queries, D, q_row);
    expect_rows(k + (long)begin * k_row, min(KEY_TILE, end - begin), D, k_row);
    expect_rows(v + (long)begin * v_row, min(KEY_TILE, end - begin), E, v_row);
    for (int g = 0; g < panels; g++)
        pack_panel(q + (long)g * PANEL * q_row, q_row, queries - g * PANEL, D, PACKED_SCALE,
                   query + g * FACTORS(D) * PANEL);
    for (int i = 0; i < panels * 2; i++) {
        store_lanes((floats)(LOWEST), i, maximum);
        store_lanes((floats)(0.0f), i, total);
    }
    for (int i = 0; i < panels * E * 2; i++) store_lanes((floats)(0.0f), i, sum);

    for (int first_key = begin; first_key < end; first_key += KEY_TILE) {
        const int keys = min(KEY_TILE, end - first_key);
        const int kind = MASKED ? tile_kind(&s, first, first + queries, first_key, first_key + keys) : TILE_FULL;
        const int following = min(KEY_TILE, end - first_key - KEY_TILE);
        expect_rows(k + (long)(first_key + KEY_TILE) * k_row, following, D, k_row);
        expect_rows(v + (long)(first_key + KEY_TILE) * v_row, following, E, v_row);
        if (kind == TILE_EMPTY) continue;
#if PAIRS
        pair_stored_rows(v + (long)first_key * v_row, v_row, keys, E, value_pairs);
#endif
        for (int g = 0; g < panels; g++) {
            const int seen = panel_kind(&s, kind, first + g * PANEL, first + queries, first_key, keys);
            if (seen == TILE_EMPTY) continue;
            const floats old_low = load_lanes(2 * g, maximum), old_high = load_lanes(2 * g + 1, maximum);
            floats low = old_low, high = old_high;
            for (int j = 0; j < keys; j += REGISTER_ROWS)
                multiply_rows(k + (long)(first_key + j) * k_row, k_row, keys - j, D, PACKED_SCALE,
                              query + g * FACTORS(D) * PANEL, p + j * PANEL, PANEL, LINEAR ? 0 : &low, &high);
            score_tile(&s, seen, first + g * PANEL, first_key, keys, p, PANEL, 0, 0);
            floats scale_low = 1.0f, scale_high = 1.0f, total_low = 0.0f, total_high = 0.0f;
#if LINEAR
#if NORMALISER == 0
            for (int j = 0; j < keys; j++) total_low += load_lanes(2 * j, p), total_high += load_lanes(2 * j + 1, p);
#elif NORMALISER == 1
            count_seen(&s, seen, first + g * PANEL, first_key, keys, &total_low, &total_high);
#endif
#else
            if (SCORED || seen != TILE_FULL) { /* the raw scores' maximum is another one */
                low = old_low, high = old_high;
                for (int j = 0; j < keys; j++) {
                    low = max(low, load_lanes(2 * j, p));
                    high = max(high, load_lanes(2 * j + 1, p));
                }
            }
            scale_low = OF_LANES(fast_exp2_)(old_low - low), scale_high = OF_LANES(fast_exp2_)(old_high - high);
            weigh_keys(keys, low, high, p, &total_low, &total_high);
            store_lanes(low, 2 * g, maximum);
            store_lanes(high, 2 * g + 1, maximum);
#endif
            store_lanes(fma(load_lanes(2 * g, total), scale_low, total_low), 2 * g, total);
            store_lanes(fma(load_lanes(2 * g + 1, total), scale_high, total_high), 2 * g + 1, total);
#if DROPOUT
            dropout_mask(random_state, stream, threshold, keep_scale, first_key, keys,
                         s.numbering + (uint)((first + g * PANEL) * STRIDE), mask_tile);
            for (int i = 0; i < keys * 2; i++) store_lanes(load_lanes(i, p) * load_lanes(i, mask_tile), i, p);
#endif
#if PAIRS
            pair_rows(p, PANEL, keys, p);
            add_all_columns(value_pairs, E, FACTORS(keys), E, p, PANEL, sum + g * E * PANEL, scale_low, scale_high);
#else
            add_all_columns(v + (long)first_key * v_row, v_row, keys, E, p, PANEL, sum + g * E * PANEL, scale_low,
                            scale_high);
#endif
        }
    }

    for (int i = 0; !LINEAR && i < panels * 2; i++)
        store_lanes(load_lanes(i, maximum) * LOG_2 + log(load_lanes(i, total)), i, maximum);
    for (int i = 0; i < rows; i++) {
        const float z = LINEAR && NORMALISER == 2 ? 1.0f : i < queries ? total[i] : 0.0f;
        const bool some = i < queries && z != 0.0f;
        lse[i * STRIDE] = LINEAR ? z : some ? maximum[i] : -INFINITY;
        total[i] = some ? 1.0f / z : 0.0f;
    }
    for (int g = 0; g < panels; g++)
        unpack_panel(sum + g * E * PANEL, total + g * PANEL, rows - g * PANEL, E, o + (long)g * PANEL * o_row, o_row);
    zero_rows(o + (long)panels * PANEL * o_row, o_row, rows - panels * PANEL, E);
}
