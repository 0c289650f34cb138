/* The backward pass of attention for GPUs: four kernels. One owns rows of q and writes delta and dq, one owns rows of
 * k and v and writes dk and dv, one writes delta alone where no dq is wanted, and one owns a tile of the bias's
 * gradient. Each output has one writer and a fixed order of summation. p is recomputed from lse, and held at 1 where
 * huge scores leave lse too coarse. */
#include "attention_tiled.clh"

#ifndef D_LSE /* a gradient arrives at lse */
#define D_LSE 0
#endif
#ifndef WRITE_DK
#define WRITE_DK 1
#endif
#ifndef WRITE_DV
#define WRITE_DV 1
#endif

/* Σ_e d_o · o - d_lse of a row. Weights whose divisor is no sum of theirs have no such sum. */
INLINE float delta_of(const __global stored *o, const __global stored *d_o, const __global float *d_lse) {
    float sum = 0.0f;
#if !LINEAR || NORMALISER == 0
    for (int e = 0; e < E; e += 4) {
        const float4 a = load_columns(d_o, e, E), b = load_columns(o, e, E);
        sum = fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
    }
#endif
    return D_LSE ? sum - *d_lse : sum;
}

/* delta [B,H,N] where no pass owns queries and does it, one work-item a row; o [B,N,H,E] dense, d_o by strides. */
KERNEL(64)
void attention_backward_delta(const __global stored *restrict o, const __global stored *restrict d_o,
                              const __global float *restrict d_lse, __global float *restrict delta, int rows, int N,
                              int heads, int d_o_offset, int d_o_sample, int d_o_row, int d_o_head) {
    const int index = get_global_id(0);
    if (index < rows) {
        const int batch = index / (heads * N), head = index / N % heads, row = index % N;
        delta[index] =
            delta_of(o + (((long)batch * N + row) * heads + head) * E,
                     d_o + d_o_offset + (long)batch * d_o_sample + (long)row * d_o_row + (long)head * d_o_head,
                     d_lse + (D_LSE ? index : 0));
    }
}

/* Owns rows of q: dq = ds · k, and delta [B,H,N] for the passes after it. o [B,N,H,E] dense. Work-groups: block of queries
 * of each residue, head, sample. */
KERNEL(ITEMS)
void attention_backward_queries(const __global stored *restrict q, const __global stored *restrict k,
                                const __global stored *restrict v, const __global float *restrict lse,
                                __global float *restrict delta, const __global stored *restrict d_o,
                                SIGHT_PARAMETERS, const __global stored *restrict o,
                                const __global float *restrict d_lse, __global stored *restrict dq, int q_offset,
                                int q_sample, int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head,
                                int v_offset, int v_sample, int v_row, int v_head, int d_o_offset, int d_o_sample,
                                int d_o_row, int d_o_head, int dq_offset, int dq_sample, int dq_row, int dq_head) {
    __local float owned[OWNED_SIZE] __attribute__((aligned(16))), walked[WALKED_SIZE] __attribute__((aligned(16)));
    __local float products[TILE_SIZE] __attribute__((aligned(16))), weights[TILE_SIZE] __attribute__((aligned(16)));
    const int head = get_group_id(1), tensor = KEY_LENGTHS == 3 ? 0 : get_group_id(2);
    const sight s = look(get_group_id(2), head, get_group_id(0) % STRIDE, SIGHT_ARGUMENTS);
    const int first = get_group_id(0) / STRIDE * BLOCK_ROWS, rows = min(BLOCK_ROWS, s.query_rows - first);
    const int queries = clamp(s.queries - first, 0, max(rows, 0));
    const long first_row = s.start_q + query_index(&s, first), first_lse = s.lse + (long)first * STRIDE;
    q += q_offset + (long)tensor * q_sample + (long)head * q_head + first_row * q_row;
    d_o += d_o_offset + (long)tensor * d_o_sample + (long)head * d_o_head + first_row * d_o_row;
    k += k_offset + (long)tensor * k_sample + (long)(head / GROUP) * k_head + (long)(s.start_k + s.residue_k) * k_row;
    v += v_offset + (long)tensor * v_sample + (long)(head / GROUP) * v_head + (long)(s.start_k + s.residue_k) * v_row;
    dq += dq_offset + (long)tensor * dq_sample + (long)head * dq_head + first_row * dq_row;
    q_row *= STRIDE, d_o_row *= STRIDE, k_row *= STRIDE, v_row *= STRIDE, dq_row *= STRIDE;

    const int row = OWN_ROW;
    const float shift = shift_of(lse + first_lse, row, queries);
    float own_delta = 0.0f;
    if (row < queries) {
        own_delta = delta_of(o + (((long)tensor * N + first_row + row * STRIDE) * H + head) * E,
                             d_o + (long)row * d_o_row, d_lse + (D_LSE ? first_lse + row * STRIDE : 0));
        if (PART == 0) delta[first_lse + row * STRIDE] = own_delta;
    }
    float4 out[OWN_FOURS], scores[OWN_FOURS];
    clear(out);

    const int end = end_tile(&s, first, queries);
    int kind;
    for (int first_key = next_tile(&s, true, first, queries, first_tile(&s, first), end, &kind); first_key < end;
         first_key = next_tile(&s, true, first, queries, first_key + BLOCK_COLUMNS, end, &kind)) {
        const int keys = min(BLOCK_COLUMNS, end - first_key);
        multiply_tile(d_o, d_o_row, queries, true, v + (long)first_key * v_row, v_row, keys, E, owned, walked, scores);
        store_tile(scores, weights);
        multiply_tile(q, q_row, queries, true, k + (long)first_key * k_row, k_row, keys, D, owned, walked, scores);
        store_tile(scores, products);
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_NONE
        for (int column = 4 * PART; column < BLOCK_COLUMNS; column += 4 * PARTS) {
            float4 slope, ds = read_across(weights, row, column);
            const float4 score =
                score_four(&s, false, kind, first + row, first + queries, first_key + column, first_key + keys,
                           read_across(products, row, column) * SCORE_SCALE, &slope);
#if DROPOUT
            ds *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                           s.numbering + (uint)((first + row) * STRIDE)),
                              threshold, keep_scale);
#endif
            write_across((ds - own_delta) * (slope_of(score, shift, slope) * scale), weights, row, column);
        }
        accumulate_tile(weights, k + (long)first_key * k_row, k_row, keys, D, walked, out);
    }
    store_rows(out, dq, dq_row, rows, D);
}

/* Owns rows of k and v of one key head: dv = pᵀ · d_o, dk = dsᵀ · q, summed over the queries and then over the query heads
 * that share it; rows behind the length become 0. Work-groups: block of keys of each residue, key head, sample. */
KERNEL(ITEMS)
void attention_backward_keys(const __global stored *restrict q, const __global stored *restrict k,
                             const __global stored *restrict v, const __global float *restrict lse,
                             const __global float *restrict delta, const __global stored *restrict d_o, SIGHT_PARAMETERS,
                             __global stored *restrict dk, __global stored *restrict dv, int q_offset, int q_sample,
                             int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head, int v_offset,
                             int v_sample, int v_row, int v_head, int d_o_offset, int d_o_sample, int d_o_row,
                             int d_o_head, int dk_offset, int dk_sample, int dk_row, int dk_head, int dv_offset,
                             int dv_sample, int dv_row, int dv_head) {
    __local float owned[OWNED_SIZE] __attribute__((aligned(16))), walked[WALKED_SIZE] __attribute__((aligned(16)));
    __local float products[TILE_SIZE] __attribute__((aligned(16))), weights[TILE_SIZE] __attribute__((aligned(16)));
    const int residue = get_group_id(0) % STRIDE, first = get_group_id(0) / STRIDE * BLOCK_ROWS;
    const int key_head = get_group_id(1), batch = get_group_id(2), tensor = KEY_LENGTHS == 3 ? 0 : batch;
    __local float shifts[BLOCK_COLUMNS], deltas[BLOCK_COLUMNS];
    const sight owner = LOOK_FROM_KEYS(key_head * GROUP); /* the rows are the same for all heads of the group */
    const int rows = owner.key_rows - first;
    const long first_row = owner.start_k + residue + (long)first * STRIDE;
    k += k_offset + (long)tensor * k_sample + (long)key_head * k_head + first_row * k_row;
    v += v_offset + (long)tensor * v_sample + (long)key_head * v_head + first_row * v_row;
    k_row *= STRIDE, v_row *= STRIDE;

    float4 scores[OWN_FOURS];
#if WRITE_DK
    float4 d_key[OWN_FOURS];
    clear(d_key);
#endif
#if WRITE_DV
    float4 d_value[OWN_FOURS];
    clear(d_value);
#endif

    UNROLL_NONE
    for (int head = key_head * GROUP; head < (key_head + 1) * GROUP; head++) {
        const sight s = LOOK_FROM_KEYS(head);
        const int keys = clamp(s.keys - first, 0, BLOCK_ROWS);
        const __global stored *q_rows = q + q_offset + (long)tensor * q_sample + (long)head * q_head +
                                       (long)(s.start_q + s.residue_q) * q_row;
        const __global stored *d_o_rows = d_o + d_o_offset + (long)tensor * d_o_sample + (long)head * d_o_head +
                                         (long)(s.start_q + s.residue_q) * d_o_row;
        int from, end, kind;
        seen_by(&s, first, first + keys, &from, &end);
        if (keys == 0) end = 0;
        for (int first_query = next_tile(&s, false, first, keys, from / BLOCK_COLUMNS * BLOCK_COLUMNS, end, &kind);
             first_query < end; first_query = next_tile(&s, false, first, keys, first_query + BLOCK_COLUMNS, end, &kind)) {
            const int queries = min(BLOCK_COLUMNS, end - first_query);
            const __global stored *q_tile = q_rows + (long)first_query * STRIDE * q_row;
            const __global stored *d_o_tile = d_o_rows + (long)first_query * STRIDE * d_o_row;
            const long first_lse = s.lse + (long)first_query * STRIDE;
            for (int i = ITEM; i < BLOCK_COLUMNS; i += ITEMS) {
                shifts[i] = shift_of(lse + first_lse, i, queries);
                deltas[i] = i < queries ? delta[first_lse + i * STRIDE] : 0.0f;
            }
            multiply_tile(k, k_row, keys, true, q_tile, q_row * STRIDE, queries, D, owned, walked, scores);
            store_tile(scores, weights);
#if WRITE_DK
            multiply_tile(v, v_row, keys, true, d_o_tile, d_o_row * STRIDE, queries, E, owned, walked, scores);
            store_tile(scores, products);
#endif
            barrier(CLK_LOCAL_MEM_FENCE);
            /* Weights stay where the scores are, gradients of scores go where those of weights are. */
            UNROLL_NONE
            for (int i = ITEM; i < BLOCK_COLUMNS * BLOCK_ROWS / 4; i += ITEMS) {
                const int query = i / (BLOCK_ROWS / 4), key = i % (BLOCK_ROWS / 4) * 4;
                __local float *weight = weights + query * ROW_PITCH + key, *d_weight = products + query * ROW_PITCH + key;
                float4 slope;
                const float4 score = score_four(&s, false, kind, first_query + query, first_query + queries, first + key,
                                                first + keys, vload4(0, weight) * SCORE_SCALE, &slope);
                float4 shown = weight_of(score, shifts[query]);
#if DROPOUT
                const float4 keep = keep_factor(random_words(random_state, stream, (uint)(first + key) / 4,
                                                             s.numbering + (uint)((first_query + query) * STRIDE)),
                                                threshold, keep_scale);
                shown *= keep;
#endif
                vstore4(shown, 0, weight);
#if WRITE_DK
                float4 ds = vload4(0, d_weight);
#if DROPOUT
                ds *= keep;
#endif
                vstore4((ds - deltas[query]) * (slope_of(score, shifts[query], slope) * scale), 0, d_weight);
#endif
            }
#if WRITE_DV
            accumulate_tile(weights, d_o_tile, d_o_row * STRIDE, queries, E, walked, d_value);
#endif
#if WRITE_DK
            accumulate_tile(products, q_tile, q_row * STRIDE, queries, D, walked, d_key);
#endif
        }
    }
#if WRITE_DK
    dk += dk_offset + (long)tensor * dk_sample + (long)key_head * dk_head + first_row * dk_row;
    store_rows(d_key, dk, dk_row * STRIDE, rows, D);
#endif
#if WRITE_DV
    dv += dv_offset + (long)tensor * dv_sample + (long)key_head * dv_head + first_row * dv_row;
    store_rows(d_value, dv, dv_row * STRIDE, rows, E);
#endif
}

#if BIAS
/* Owns a tile of d_bias [B|1,H|1,longest_queries,longest_keys], dense: ds summed over the samples and heads that share
 * it, in their order. Work-groups: tile (its key block fastest) of each residue of queries and of keys, head of the
 * bias, sample of the bias. */
KERNEL(ITEMS)
void attention_backward_bias(const __global stored *restrict q, const __global stored *restrict k,
                             const __global stored *restrict v, const __global float *restrict lse,
                             const __global float *restrict delta, const __global stored *restrict d_o, SIGHT_PARAMETERS,
                             __global float *restrict d_bias, int batches, int key_blocks, int q_offset, int q_sample,
                             int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head, int v_offset,
                             int v_sample, int v_row, int v_head, int d_o_offset, int d_o_sample, int d_o_row,
                             int d_o_head) {
    __local float owned[OWNED_SIZE] __attribute__((aligned(16))), walked[WALKED_SIZE] __attribute__((aligned(16)));
    __local float products[TILE_SIZE] __attribute__((aligned(16))), weights[TILE_SIZE] __attribute__((aligned(16)));
    const int residues = get_group_id(0) % (STRIDE * STRIDE), tile = get_group_id(0) / (STRIDE * STRIDE);
    const int residue_q = residues % STRIDE, residue_k = residues / STRIDE;
    const int first = tile / key_blocks * BLOCK_ROWS, first_key = tile % key_blocks * BLOCK_COLUMNS;
    const int bias_heads = get_num_groups(1), bias_samples = get_num_groups(2);
    const int row = OWN_ROW;
    float4 sum[OWN_FOURS], scores[OWN_FOURS];
    clear(sum);
    for (int batch = get_group_id(2); batch < batches; batch += bias_samples)
        for (int head = get_group_id(1); head < H; head += bias_heads) {
            sight s;
            int queries, keys, kind;
            for (; head < H; head += bias_heads) {
                s = look(batch, head, residue_q, SIGHT_ARGUMENTS);
                queries = min(BLOCK_ROWS, s.queries - first), keys = min(BLOCK_COLUMNS, s.keys - first_key);
                if (queries <= 0 || keys <= 0 || s.residue_k != residue_k) continue;
                kind = MASKED ? tile_kind(&s, first, first + queries, first_key, first_key + keys) : TILE_FULL;
                if (kind != TILE_EMPTY) break;
            }
            if (head >= H) break;
            const int tensor = KEY_LENGTHS == 3 ? 0 : batch, key_head = head / GROUP;
            const long query_row = s.start_q + query_index(&s, first), key_row = s.start_k + key_index(&s, first_key);
            const long first_lse = s.lse + (long)first * STRIDE;
            const float shift = shift_of(lse + first_lse, row, queries);
            const float own_delta = row < queries ? delta[first_lse + row * STRIDE] : 0.0f;
            multiply_tile(d_o + d_o_offset + (long)tensor * d_o_sample + (long)head * d_o_head + query_row * d_o_row,
                          d_o_row * STRIDE, queries, true,
                          v + v_offset + (long)tensor * v_sample + (long)key_head * v_head + key_row * v_row,
                          v_row * STRIDE, keys, E, owned, walked, scores);
            store_tile(scores, weights);
            multiply_tile(q + q_offset + (long)tensor * q_sample + (long)head * q_head + query_row * q_row,
                          q_row * STRIDE, queries, true,
                          k + k_offset + (long)tensor * k_sample + (long)key_head * k_head + key_row * k_row,
                          k_row * STRIDE, keys, D, owned, walked, scores);
            store_tile(scores, products);
            barrier(CLK_LOCAL_MEM_FENCE);
            UNROLL_NONE
            for (int column = 4 * PART; column < BLOCK_COLUMNS; column += 4 * PARTS) {
                float4 slope, ds = read_across(weights, row, column);
                const float4 score =
                    score_four(&s, true, kind, first + row, first + queries, first_key + column, first_key + keys,
                               read_across(products, row, column) * SCORE_SCALE, &slope);
#if DROPOUT
                ds *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                               s.numbering + (uint)((first + row) * STRIDE)),
                                  threshold, keep_scale);
#endif
                write_across((ds - own_delta) * slope_of(score, shift, slope), weights, row, column);
            }
            UNROLL_FULL
            for (int i = 0; i < OWN_FOURS; i++) sum[i] += read_across(weights, row, (i * PARTS + PART) * 4);
        }
    UNROLL_FULL
    for (int i = 0; i < OWN_FOURS; i++) write_across(sum[i], weights, row, (i * PARTS + PART) * 4);
    barrier(CLK_LOCAL_MEM_FENCE);
    d_bias += ((long)get_group_id(2) * bias_heads + get_group_id(1)) * longest_queries * longest_keys;
    UNROLL_NONE
    for (int i = ITEM; i < BLOCK_ROWS * BLOCK_COLUMNS; i += ITEMS) {
        const int query = residue_q + (first + i / BLOCK_COLUMNS) * STRIDE;
        const int key = residue_k + (first_key + i % BLOCK_COLUMNS) * STRIDE;
        if (query < longest_queries && key < longest_keys)
            d_bias[(long)query * longest_keys + key] = weights[i % BLOCK_COLUMNS * ROW_PITCH + i / BLOCK_COLUMNS];
    }
}
#endif
