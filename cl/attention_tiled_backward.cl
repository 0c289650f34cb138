/* The backward pass of attention for GPUs: two kernels, one that owns rows of q and writes dq, and one that owns rows of
 * k and v and writes dk and dv. Each output has one writer and a fixed order of summation. p is recomputed from lse, and
 * held at 1 where huge scores leave lse too coarse. */
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

/* delta [B,H,N] = Σ_e d_o · o - d_lse, one work-item a row; o [B,N,H,E] dense, d_o by strides. Weights whose divisor is no
 * sum of theirs have none. */
KERNEL(64)
void attention_backward_delta(const __global stored *restrict o, const __global stored *restrict d_o,
                              const __global float *restrict d_lse, __global float *restrict delta, int rows, int N,
                              int heads, int d_o_offset, int d_o_sample, int d_o_row, int d_o_head) {
    const int index = get_global_id(0);
    if (index < rows) {
        float sum = 0.0f;
#if !LINEAR || NORMALISER == 0
        const int batch = index / (heads * N), head = index / N % heads, row = index % N;
        o += (((long)batch * N + row) * heads + head) * E;
        d_o += d_o_offset + (long)batch * d_o_sample + (long)row * d_o_row + (long)head * d_o_head;
        for (int e = 0; e < E; e++) sum = fma(LOAD(d_o, e), LOAD(o, e), sum);
#endif
        delta[index] = D_LSE ? sum - d_lse[index] : sum;
    }
}

/* Owns rows of q: dq = ds · k. Work-groups: block of queries of each residue, head, sample. */
KERNEL(WORK_ITEMS)
void attention_backward_queries(const __global stored *restrict q, const __global stored *restrict k,
                                const __global stored *restrict v, const __global float *restrict lse,
                                const __global float *restrict delta, const __global stored *restrict d_o,
                                SIGHT_PARAMETERS, __global stored *restrict dq, int q_offset, int q_sample, int q_row,
                                int q_head, int k_offset, int k_sample, int k_row, int k_head, int v_offset,
                                int v_sample, int v_row, int v_head, int d_o_offset, int d_o_sample, int d_o_row,
                                int d_o_head, int dq_offset, int dq_sample, int dq_row, int dq_head) {
    __local float stage[STAGE_SIZE] __attribute__((aligned(16)));
    __local float weights[BLOCK_ROWS * BLOCK_COLUMNS] __attribute__((aligned(16)));
    const int head = get_group_id(1), tensor = KEY_LENGTHS == 3 ? 0 : get_group_id(2);
    const sight s = look(get_group_id(2), head, get_group_id(0) % STRIDE, SIGHT_ARGUMENTS);
    const int first = get_group_id(0) / STRIDE * BLOCK_ROWS, rows = min(BLOCK_ROWS, s.query_rows - first);
    const int queries = clamp(s.queries - first, 0, max(rows, 0));
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    const long first_row = s.start_q + query_index(&s, first), first_lse = s.lse + (long)first * STRIDE;
    q += q_offset + (long)tensor * q_sample + (long)head * q_head + first_row * q_row;
    d_o += d_o_offset + (long)tensor * d_o_sample + (long)head * d_o_head + first_row * d_o_row;
    k += k_offset + (long)tensor * k_sample + (long)(head / GROUP) * k_head + (long)(s.start_k + s.residue_k) * k_row;
    v += v_offset + (long)tensor * v_sample + (long)(head / GROUP) * v_head + (long)(s.start_k + s.residue_k) * v_row;
    dq += dq_offset + (long)tensor * dq_sample + (long)head * dq_head + first_row * dq_row;
    q_row *= STRIDE, d_o_row *= STRIDE, k_row *= STRIDE, v_row *= STRIDE, dq_row *= STRIDE;

    float shift[4], own_delta[4];
    float4 out[4 * GROUPS(D)], p[4], ds[4];
    load_shifts(lse + first_lse, row, queries, shift);
    load_four(delta + first_lse, row, queries, 0.0f, own_delta);
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(D); i++) out[i] = 0.0f;

    const int end = end_tile(&s, first, queries);
    int kind;
    for (int first_key = next_tile(&s, true, first, queries, first_tile(&s, first), end, &kind); first_key < end;
         first_key = next_tile(&s, true, first, queries, first_key + BLOCK_COLUMNS, end, &kind)) {
        const int keys = min(BLOCK_COLUMNS, end - first_key);
        multiply_tile(d_o, d_o_row, queries, v + (long)first_key * v_row, v_row, keys, E, stage, ds);
        multiply_tile(q, q_row, queries, k + (long)first_key * k_row, k_row, keys, D, stage, p);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            float4 slope;
            p[r] = score_four(&s, true, false, kind, first + row + r, first + queries, first_key + column,
                              first_key + keys, p[r] * SCORE_SCALE, &slope);
#if DROPOUT
            ds[r] *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                              s.numbering + (uint)((first + row + r) * STRIDE)),
                                 threshold, keep_scale);
#endif
            ds[r] = (ds[r] - own_delta[r]) * (slope_of(p[r], (float4)(shift[r]), slope) * scale);
        }
        store_weights(ds, weights);
        accumulate_tile(weights, k + (long)first_key * k_row, k_row, keys, D, stage, out);
    }
    store_rows(out, dq, dq_row, rows, D);
}

/* Owns rows of k and v of one key head: dv = pᵀ · d_o, dk = dsᵀ · q, summed over the queries and then over the query heads
 * that share it; rows behind the length become 0. Work-groups: block of keys of each residue, key head, sample. */
KERNEL(WORK_ITEMS)
void attention_backward_keys(const __global stored *restrict q, const __global stored *restrict k,
                             const __global stored *restrict v, const __global float *restrict lse,
                             const __global float *restrict delta, const __global stored *restrict d_o, SIGHT_PARAMETERS,
                             __global stored *restrict dk, __global stored *restrict dv, int q_offset, int q_sample,
                             int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head, int v_offset,
                             int v_sample, int v_row, int v_head, int d_o_offset, int d_o_sample, int d_o_row,
                             int d_o_head, int dk_offset, int dk_sample, int dk_row, int dk_head, int dv_offset,
                             int dv_sample, int dv_row, int dv_head) {
    __local float stage[STAGE_SIZE] __attribute__((aligned(16)));
    __local float weights[BLOCK_ROWS * BLOCK_COLUMNS] __attribute__((aligned(16)));
    const int residue = get_group_id(0) % STRIDE, first = get_group_id(0) / STRIDE * BLOCK_ROWS;
    const int key_head = get_group_id(1), batch = get_group_id(2), tensor = KEY_LENGTHS == 3 ? 0 : batch;
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    const sight owner = LOOK_FROM_KEYS(key_head * GROUP); /* the rows are the same for all heads of the group */
    const int rows = owner.key_rows - first;
    const long first_row = owner.start_k + residue + (long)first * STRIDE;
    k += k_offset + (long)tensor * k_sample + (long)key_head * k_head + first_row * k_row;
    v += v_offset + (long)tensor * v_sample + (long)key_head * v_head + first_row * v_row;
    k_row *= STRIDE, v_row *= STRIDE;

    float4 p[4];
#if WRITE_DK
    float4 d_key[4 * GROUPS(D)];
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(D); i++) d_key[i] = 0.0f;
#endif
#if WRITE_DV
    float4 d_value[4 * GROUPS(E)];
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(E); i++) d_value[i] = 0.0f;
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
            multiply_tile(k, k_row, keys, q_tile, q_row * STRIDE, queries, D, stage, p);
            float each[4];
            load_shifts(lse + first_lse, column, queries, each);
            const float4 shifts = (float4)(each[0], each[1], each[2], each[3]);
#if DROPOUT
            float4 keep[4], by_query[4];
            UNROLL_FULL
            for (int c = 0; c < 4; c++)
                by_query[c] = keep_factor(random_words(random_state, stream, (uint)(first + row) / 4,
                                                       s.numbering + (uint)((first_query + column + c) * STRIDE)),
                                          threshold, keep_scale);
            keep[0] = (float4)(by_query[0].x, by_query[1].x, by_query[2].x, by_query[3].x);
            keep[1] = (float4)(by_query[0].y, by_query[1].y, by_query[2].y, by_query[3].y);
            keep[2] = (float4)(by_query[0].z, by_query[1].z, by_query[2].z, by_query[3].z);
            keep[3] = (float4)(by_query[0].w, by_query[1].w, by_query[2].w, by_query[3].w);
#endif
            /* From here on p is the slope of a weight by its product; the weight itself goes to local memory. */
            float4 shown[4];
            UNROLL_FULL
            for (int r = 0; r < 4; r++) {
                float4 slope;
                const float4 score =
                    score_four(&s, false, false, kind, first_query + column, first_query + queries, first + row + r,
                               first + keys, p[r] * SCORE_SCALE, &slope);
                shown[r] = weight_of(score, shifts);
                p[r] = slope_of(score, shifts, slope) * scale;
#if DROPOUT
                shown[r] *= keep[r];
#endif
            }
#if WRITE_DV
            store_weights(shown, weights);
            accumulate_tile(weights, d_o_tile, d_o_row * STRIDE, queries, E, stage, d_value);
#endif
#if WRITE_DK
            float4 ds[4];
            multiply_tile(v, v_row, keys, d_o_tile, d_o_row * STRIDE, queries, E, stage, ds);
            load_four(delta + first_lse, column, queries, 0.0f, each);
            const float4 deltas = (float4)(each[0], each[1], each[2], each[3]);
            UNROLL_FULL
            for (int r = 0; r < 4; r++) {
#if DROPOUT
                ds[r] *= keep[r];
#endif
                ds[r] = (ds[r] - deltas) * p[r];
            }
            store_weights(ds, weights);
            accumulate_tile(weights, q_tile, q_row * STRIDE, queries, D, stage, d_key);
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
KERNEL(WORK_ITEMS)
void attention_backward_bias(const __global stored *restrict q, const __global stored *restrict k,
                             const __global stored *restrict v, const __global float *restrict lse,
                             const __global float *restrict delta, const __global stored *restrict d_o, SIGHT_PARAMETERS,
                             __global float *restrict d_bias, int batches, int key_blocks, int q_offset, int q_sample,
                             int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head, int v_offset,
                             int v_sample, int v_row, int v_head, int d_o_offset, int d_o_sample, int d_o_row,
                             int d_o_head) {
    __local float stage[MULTIPLY_SIZE] __attribute__((aligned(16)));
    const int residues = get_group_id(0) % (STRIDE * STRIDE), tile = get_group_id(0) / (STRIDE * STRIDE);
    const int residue_q = residues % STRIDE, residue_k = residues / STRIDE;
    const int first = tile / key_blocks * BLOCK_ROWS, first_key = tile % key_blocks * BLOCK_COLUMNS;
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    const int bias_heads = get_num_groups(1), bias_samples = get_num_groups(2);
    float4 sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
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
            float shift[4], own_delta[4];
            float4 p[4], ds[4];
            load_shifts(lse + first_lse, row, queries, shift);
            load_four(delta + first_lse, row, queries, 0.0f, own_delta);
            multiply_tile(d_o + d_o_offset + (long)tensor * d_o_sample + (long)head * d_o_head + query_row * d_o_row,
                          d_o_row * STRIDE, queries,
                          v + v_offset + (long)tensor * v_sample + (long)key_head * v_head + key_row * v_row,
                          v_row * STRIDE, keys, E, stage, ds);
            multiply_tile(q + q_offset + (long)tensor * q_sample + (long)head * q_head + query_row * q_row,
                          q_row * STRIDE, queries,
                          k + k_offset + (long)tensor * k_sample + (long)key_head * k_head + key_row * k_row,
                          k_row * STRIDE, keys, D, stage, p);
            UNROLL_FULL
            for (int r = 0; r < 4; r++) {
                float4 slope;
                p[r] = score_four(&s, true, true, kind, first + row + r, first + queries, first_key + column,
                                  first_key + keys, p[r] * SCORE_SCALE, &slope);
#if DROPOUT
                ds[r] *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                                  s.numbering + (uint)((first + row + r) * STRIDE)),
                                     threshold, keep_scale);
#endif
                sum[r] += (ds[r] - own_delta[r]) * slope_of(p[r], (float4)(shift[r]), slope);
            }
        }
    d_bias += ((long)get_group_id(2) * bias_heads + get_group_id(1)) * longest_queries * longest_keys;
    UNROLL_FULL
    for (int r = 0; r < 4; r++) {
        const float four[4] = {sum[r].x, sum[r].y, sum[r].z, sum[r].w};
        const int i = residue_q + (first + row + r) * STRIDE;
        UNROLL_FULL
        for (int c = 0; c < 4; c++) {
            const int j = residue_k + (first_key + column + c) * STRIDE;
            if (i < longest_queries && j < longest_keys) d_bias[(long)i * longest_keys + j] = four[c];
        }
    }
}
#endif
