/* The backward pass of attention on matrix units: two kernels, one that owns rows of q and writes delta and dq, and one
 * that owns rows of k and v and writes dk and dv. Each output has one writer and a fixed order of summation. p is
 * recomputed from lse. */
#include "attention_matrix.clh"

#ifndef D_LSE /* a gradient arrives at lse */
#define D_LSE 0
#endif
#ifndef WRITE_DQ
#define WRITE_DQ 1
#endif
#ifndef WRITE_DK
#define WRITE_DK 1
#endif
#ifndef WRITE_DV
#define WRITE_DV 1
#endif
#if LEFTS != 1
#error "the backward passes hold two kinds of scores and have no room for a second row of fragments"
#endif
#if WRITE_DK && WRITE_DV && SUMS(D) * SUM_NUMBERS + SUMS(E) * SUM_NUMBERS > 128
#error "the sums of dk and dv of so wide heads do not fit the registers: write them one after the other"
#endif

#define HELD_Q   HOLDS(D, 32)
#define HELD_D_O HOLDS(E, 32)
#define HELD_K   HOLDS(D, STORAGE ? 32 : 16)
#define HELD_V   HOLDS(E, 16)
#define RING(rows_d, rows_e)                                                                                           \
    LARGER(STAGES * BLOCK_CHUNKS, LARGER(rows_d ? TILE_OF(ROWS, D) : 0, rows_e ? TILE_OF(ROWS, E) : 0))
#define RING_COPIES (STAGES * BLOCK_COPIES + LARGER(SHARE(ROWS * CHUNKS(D)), SHARE(ROWS * CHUNKS(E))))

/* Σ_e a·b, shared by the work-items of a row. */
INLINE float share_of_product(const __global stored *a, const __global stored *b) {
    float sum = 0.0f;
    for (int e = MATRIX_COLUMN(0) / ROW_NUMBERS * 8; e < E; e += 8 * ROW_LANES) {
        if (e + 8 <= E) {
            const float8 product = LOAD_8(a + e) * LOAD_8(b + e);
            const float4 four = product.lo + product.hi;
            sum += (four.x + four.y) + (four.z + four.w);
        } else
            for (int i = e; i < E; i++) sum = fma(LOAD(a, i), LOAD(b, i), sum);
    }
    return sum;
}

/* Owns rows of q: delta [B,H,N] = Σ_e d_o · o - d_lse, with o [B,N,H,E] dense, and dq = ds · k. Work-groups: block of
 * queries of each residue, head, sample. */
KERNEL void attention_backward_queries(const __global stored *restrict q, const __global stored *restrict k,
                                       const __global stored *restrict v, const __global stored *restrict o,
                                       const __global float *restrict lse, const __global stored *restrict d_o,
                                       const __global float *restrict d_lse, SIGHT_PARAMETERS,
                                       __global float *restrict delta, __global stored *restrict dq, int q_offset,
                                       int q_sample, int q_row, int q_head, int k_offset, int k_sample, int k_row,
                                       int k_head, int v_offset, int v_sample, int v_row, int v_head, int d_o_offset,
                                       int d_o_sample, int d_o_row, int d_o_head, int dq_offset, int dq_sample,
                                       int dq_row, int dq_head) {
    DECLARE_RING(RING(HELD_Q, HELD_D_O), RING_COPIES)
    DECLARE_OWN(own_q, HELD_Q, D)
    DECLARE_OWN(own_d_o, HELD_D_O, E)
    MATRIX_STATE(1, MOST_RIGHTS)
    ROWS_STATE(LINES)
    COPY_STATE(RING_COPIES)
    const int group = RIGHT >= 0 ? get_num_groups(0) - 1 - get_group_id(0) : get_group_id(0);
    const int head = get_group_id(1), tensor = KEY_LENGTHS == 3 ? 0 : get_group_id(2);
    const sight s = look(get_group_id(2), head, group % STRIDE, SIGHT_ARGUMENTS);
    const int first = group / STRIDE * ROWS, rows = min(ROWS, s.query_rows - first), own_row = SUB_GROUP * OWN_ROWS;
    const int queries = clamp(s.queries - first, 0, max(rows, 0));
    const long first_row = s.start_q + query_index(&s, first), first_lse = s.lse + (long)first * STRIDE;
    d_o += d_o_offset + (long)tensor * d_o_sample + (long)head * d_o_head + first_row * d_o_row;
    o += (((long)tensor * N + first_row) * H + head) * E;
    d_o_row *= STRIDE;

    float shift[LINES], means[LINES];
    UNROLL for (int r = 0; r < LINES; r++) {
        const int row = own_row + ROW_OF(r);
        shift[r] = row < queries ? shift_of(lse[first_lse + row * STRIDE]) : 0.0f;
        means[r] = 0.0f;
        if (row < queries)
            means[r] =
                share_of_product(d_o + (long)row * d_o_row, o + (long)row * STRIDE * H * E);
    }
    ROWS_REDUCE(means, LINES, ADD)
    UNROLL for (int r = 0; r < LINES; r++) {
        const int row = own_row + ROW_OF(r);
        if (D_LSE && row < queries) means[r] -= d_lse[first_lse + row * STRIDE];
        if (MATRIX_COLUMN(0) == 0 && row < rows) delta[first_lse + row * STRIDE] = means[r];
    }
#if WRITE_DQ
    q += q_offset + (long)tensor * q_sample + (long)head * q_head + first_row * q_row;
    k += k_offset + (long)tensor * k_sample + (long)(head / GROUP) * k_head + (long)(s.start_k + s.residue_k) * k_row;
    v += v_offset + (long)tensor * v_sample + (long)(head / GROUP) * v_head + (long)(s.start_k + s.residue_k) * v_row;
    dq += dq_offset + (long)tensor * dq_sample + (long)head * dq_head + first_row * dq_row;
    q_row *= STRIDE, k_row *= STRIDE, v_row *= STRIDE, dq_row *= STRIDE;

    float out[1][SUMS(D)][SUM_NUMBERS];
    ZERO(out, SUMS(D))
    BRING_OWN(own_q, HELD_Q, q, q_row, queries, D)
    BRING_OWN(own_d_o, HELD_D_O, d_o, d_o_row, queries, E)
    const float factor = SCORE_FACTOR;
    const int from = WINDOWED ? first_seen(&s, first + s.shift) / KEYS * KEYS : 0;
    const int end = queries == 0 ? 0 : WINDOWED ? end_seen(&s, first + queries - 1 + s.shift) : s.keys;
#define BRING_BLOCK(block, at)                                                                                         \
    {                                                                                                                  \
        BRING(block, k + (long)(at)*k_row, k_row, KEYS, end - (at), D)                                                 \
        BRING((block) + TILE_OF(KEYS, D), v + (long)(at)*v_row, v_row, KEYS, end - (at), E)                            \
    }
    BEGIN_WALK(true, first, queries, from, end)
    float p[1][RIGHTS][SUM_NUMBERS], ds[1][RIGHTS][SUM_NUMBERS];
    SLOPES(slopes)
    START_OWN(p, own_q, HELD_Q, x_tile, D)
    START_OWN(ds, own_d_o, HELD_D_O, y_tile, E)
    FINISH_OWN(p, own_q, HELD_Q, x_tile, D, 1)
    MAKE_SCORES(p, slopes, true, first, first + queries, end)
    UNROLL for (int j = 0; j < RIGHTS; j++) UNROLL for (int e = 0; e < SUM_NUMBERS; e++)
        p[0][j][e] = weight_of(p[0][j][e], factor, shift[e / ROW_NUMBERS]);
    FINISH_OWN(ds, own_d_o, HELD_D_O, y_tile, E, 0)
    UNROLL for (int j = 0; j < RIGHTS; j++) UNROLL for (int e = 0; e < SUM_NUMBERS; e++) {
        const int r = e / ROW_NUMBERS;
#if DROPOUT
        if (e % 2 == 0) {
            const float2 keep =
                keep_two(random_state, stream, threshold, keep_scale, at + MATRIX_COLUMNS * j + MATRIX_COLUMN(e),
                         s.numbering + (uint)((first + own_row + ROW_OF(r)) * STRIDE));
            ds[0][j][e] *= keep.x, ds[0][j][e + 1] *= keep.y;
        }
#endif
        ds[0][j][e] = (ds[0][j][e] - means[r]) * p[0][j][e] * SLOPE_OF(slopes, j, e);
    }
    WEIGHTS(weights)
    PACK_WEIGHTS(weights, ds)
    ACCUMULATE(out, weights, x_tile, D)
    END_WALK
    STORE_ROWS(out, dq, dq_row, rows, D, scale)
#undef BRING_BLOCK
#endif
}

#if WRITE_DK || WRITE_DV
/* Shift and delta of the queries of a block that this work-item brings: each is read from memory once, a block ahead. */
#define BROUGHT SHARE(KEYS)
INLINE void read_shifts(float *shift, float *mean, const __global float *lse, const __global float *delta, int at,
                        int end) {
    UNROLL for (int i = 0; i < BROUGHT; i++) {
        const int place = get_local_id(0) + i * WORK_ITEMS, query = at + place;
        const bool there = place < KEYS && query < end;
        shift[i] = there ? shift_of(lse[query * STRIDE]) : INFINITY;
        mean[i] = there && WRITE_DK ? delta[query * STRIDE] : 0.0f;
    }
}
INLINE void store_shifts(const float *shift, const float *mean, __local float *shifts, __local float *means) {
    UNROLL for (int i = 0; i < BROUGHT; i++) {
        const int place = get_local_id(0) + i * WORK_ITEMS;
        if (place < KEYS) shifts[place] = shift[i], means[place] = mean[i];
    }
}

/* Owns rows of k and v of one key head: dv = pᵀ · d_o, dk = dsᵀ · q, summed over the queries and then over the query
 * heads that share it; rows behind the length become 0. Work-groups: block of keys of each residue, head, sample. */
KERNEL void attention_backward_keys(const __global stored *restrict q, const __global stored *restrict k,
                                    const __global stored *restrict v, const __global float *restrict lse,
                                    const __global float *restrict delta, const __global stored *restrict d_o,
                                    SIGHT_PARAMETERS, __global stored *restrict dk, __global stored *restrict dv,
                                    int q_offset, int q_sample, int q_row, int q_head, int k_offset, int k_sample,
                                    int k_row, int k_head, int v_offset, int v_sample, int v_row, int v_head,
                                    int d_o_offset, int d_o_sample, int d_o_row, int d_o_head, int dk_offset,
                                    int dk_sample, int dk_row, int dk_head, int dv_offset, int dv_sample, int dv_row,
                                    int dv_head) {
    DECLARE_RING(RING(HELD_K, WRITE_DK &&HELD_V), RING_COPIES)
    DECLARE_OWN(own_k, HELD_K, D)
    /* Of the block at hand and the next one. */
    __local float shifts[2 * KEYS] __attribute__((aligned(16))), means[2 * KEYS] __attribute__((aligned(16)));
    MATRIX_STATE(1, MOST_RIGHTS)
    COPY_STATE(RING_COPIES)
    const int residue = get_group_id(0) % STRIDE, first = get_group_id(0) / STRIDE * ROWS;
    const int key_head = get_group_id(1), batch = get_group_id(2), tensor = KEY_LENGTHS == 3 ? 0 : batch;
    const int own_row = SUB_GROUP * OWN_ROWS;
    const sight owner = LOOK_FROM_KEYS(key_head * GROUP); /* the rows are the same for all heads of the group */
    const int rows = owner.key_rows - first;
    const long first_row = owner.start_k + residue + (long)first * STRIDE;
    const float factor = SCORE_FACTOR;
    k += k_offset + (long)tensor * k_sample + (long)key_head * k_head + first_row * k_row;
    v += v_offset + (long)tensor * v_sample + (long)key_head * v_head + first_row * v_row;
    k_row *= STRIDE, v_row *= STRIDE;
#if WRITE_DK
    DECLARE_OWN(own_v, HELD_V, E)
    float d_key[1][SUMS(D)][SUM_NUMBERS];
    ZERO(d_key, SUMS(D))
#endif
#if WRITE_DV
    float d_value[1][SUMS(E)][SUM_NUMBERS];
    ZERO(d_value, SUMS(E))
#endif

    for (int head = key_head * GROUP; head < (key_head + 1) * GROUP; head++) {
        const sight s = LOOK_FROM_KEYS(head);
        const int keys = clamp(s.keys - first, 0, ROWS);
        const __global stored *q_rows = q + q_offset + (long)tensor * q_sample + (long)head * q_head +
                                        (long)(s.start_q + s.residue_q) * q_row;
        const __global stored *d_o_rows = d_o + d_o_offset + (long)tensor * d_o_sample + (long)head * d_o_head +
                                          (long)(s.start_q + s.residue_q) * d_o_row;
        const __global float *own_lse = lse + s.lse, *own_delta = delta + s.lse;
        int from, end;
        seen_by(&s, first, first + keys, &from, &end);
        if (keys == 0) end = 0;
        /* Heads may see different numbers of keys. */
        barrier(CLK_LOCAL_MEM_FENCE);
        BRING_OWN(own_k, HELD_K, k, k_row, keys, D)
#if WRITE_DK
        BRING_OWN(own_v, HELD_V, v, v_row, keys, E)
#endif
#define BRING_BLOCK(block, at)                                                                                         \
    {                                                                                                                  \
        BRING(block, q_rows + (long)(at)*STRIDE * q_row, STRIDE *q_row, KEYS, end - (at), D)                           \
        BRING((block) + TILE_OF(KEYS, D), d_o_rows + (long)(at)*STRIDE * d_o_row, STRIDE *d_o_row, KEYS, end - (at),   \
              E)                                                                                                       \
    }
        float brought_shift[BROUGHT], brought_mean[BROUGHT];
        int turn = 0, kind_of_first;
        const int begin = next_block(&s, false, first, keys, from / KEYS * KEYS, end, &kind_of_first);
        read_shifts(brought_shift, brought_mean, own_lse, own_delta, begin, end);
        store_shifts(brought_shift, brought_mean, shifts, means);
        BEGIN_WALK(false, first, keys, begin, end)
        read_shifts(brought_shift, brought_mean, own_lse, own_delta, place_[0], end);
        float p[1][RIGHTS][SUM_NUMBERS];
        SLOPES(slopes)
        START_OWN(p, own_k, HELD_K, x_tile, D)
#if WRITE_DK
        float ds[1][RIGHTS][SUM_NUMBERS];
        START_OWN(ds, own_v, HELD_V, y_tile, E)
#endif
        FINISH_OWN(p, own_k, HELD_K, x_tile, D, WRITE_DK)
        MAKE_SCORES(p, slopes, false, first, first + keys, end)
        UNROLL for (int j = 0; j < RIGHTS; j++) UNROLL for (int c = 0; c < ROW_NUMBERS; c++) {
            const float shift = shifts[turn + MATRIX_COLUMNS * j + MATRIX_COLUMN(c)];
            UNROLL for (int e = c; e < SUM_NUMBERS; e += ROW_NUMBERS) p[0][j][e] = weight_of(p[0][j][e], factor, shift);
        }
#if DROPOUT
        float keep[1][RIGHTS][SUM_NUMBERS];
        UNROLL for (int j = 0; j < RIGHTS; j++) UNROLL for (int e = 0; e < SUM_NUMBERS; e++) {
            const int key = first + own_row + MATRIX_ROW(e), query = at + MATRIX_COLUMNS * j + MATRIX_COLUMN(e);
            const float2 two =
                keep_two(random_state, stream, threshold, keep_scale, key, s.numbering + (uint)(query * STRIDE));
            keep[0][j][e] = key & 1 ? two.y : two.x;
        }
#define KEEP(j, e) keep[0][j][e]
#else
#define KEEP(j, e) 1.0f
#endif
#if WRITE_DV
        float kept[1][RIGHTS][SUM_NUMBERS];
        UNROLL for (int j = 0; j < RIGHTS; j++)
            UNROLL for (int e = 0; e < SUM_NUMBERS; e++) kept[0][j][e] = p[0][j][e] * KEEP(j, e);
        WEIGHTS(weights)
        PACK_WEIGHTS(weights, kept)
        START_ACCUMULATE(d_value, weights, y_tile, E)
#endif
#if WRITE_DK
        FINISH_OWN(ds, own_v, HELD_V, y_tile, E, WRITE_DV)
        UNROLL for (int j = 0; j < RIGHTS; j++) UNROLL for (int c = 0; c < ROW_NUMBERS; c++) {
            const float mean = means[turn + MATRIX_COLUMNS * j + MATRIX_COLUMN(c)];
            UNROLL for (int e = c; e < SUM_NUMBERS; e += ROW_NUMBERS)
                ds[0][j][e] = (ds[0][j][e] * KEEP(j, e) - mean) * p[0][j][e] * SLOPE_OF(slopes, j, e);
        }
        WEIGHTS(d_weights)
        PACK_WEIGHTS(d_weights, ds)
        START_ACCUMULATE(d_key, d_weights, x_tile, D)
        FINISH_ACCUMULATE(d_key, 0)
#endif
#if WRITE_DV
        FINISH_ACCUMULATE(d_value, 0)
#endif
        turn = KEYS - turn;
        store_shifts(brought_shift, brought_mean, shifts + turn, means + turn);
        END_WALK
    }
#if WRITE_DK
    dk += dk_offset + (long)tensor * dk_sample + (long)key_head * dk_head + first_row * dk_row;
    STORE_ROWS(d_key, dk, dk_row * STRIDE, rows, D, scale)
#endif
#if WRITE_DV
    dv += dv_offset + (long)tensor * dv_sample + (long)key_head * dv_head + first_row * dv_row;
    STORE_ROWS(d_value, dv, dv_row * STRIDE, rows, E, 1.0f)
#endif
}
#endif
