/* The backward pass of attention for CPU devices.
 *
 * p is recomputed from lse, and held at 1 where huge scores leave lse too coarse. A work-item walks the query blocks of
 * its part, writes their dq, and adds to its own dk and dv, so that every output has one writer and one order of
 * summation; where a shape has several parts per head, attention_backward_sum adds them up in their order. */
#include "attention_wide.clh"

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

/* Rows of private arrays lie in chunks of two vectors, [width/PANEL][BLOCK_FACTORS][PANEL], and what is left in chunks
 * of one, the added columns 0: one chunk stays in the first-level cache while all keys of a tile take from it. */
#define BLOCK_FACTORS (BLOCK_QUERIES / STEPS)
#define CHUNK(column) ((column)*BLOCK_FACTORS)

/* x [count][x_stride] as such chunks. */
INLINE void pack_rows(const __global stored *x, int x_stride, int count, const int width, float *rows) {
    int column = 0;
    for (; column + PANEL <= width; column += PANEL)
        for (int i = 0; i < FACTORS(count); i++) {
            const __global stored *from = x + (long)i * STEPS * x_stride + column;
            const bool both = STEPS * i + 1 < count;
            store_lanes(load_lane_factors(from, x_stride, both), 2 * i, rows + CHUNK(column));
            store_lanes(load_lane_factors(from + LANES, x_stride, both), 2 * i + 1, rows + CHUNK(column));
        }
    for (; column < width; column += LANES)
        for (int i = 0; i < FACTORS(count); i++)
            for (int c = 0; c < LANES; c++) {
                const __global stored *from = x + (long)i * STEPS * x_stride + column + c;
                rows[CHUNK(column) + i * LANES + c] =
                    column + c < width ? load_lane_factor(from, x_stride, STEPS * i + 1 < count) : 0.0f;
            }
}

/* Rows of out, one of each key, += weights · rows · scale, of so many factors. Without pairs scale is 1. The rows of weights lie BLOCK_FACTORS apart,
 * REGISTER_ROWS at once: what those behind `keys` hold goes nowhere. */
#if PAIRS
#define SCALED_SUM(x) ((x)*scale)
#define WEIGHTS_OF(x) b.x##_factors
#else
#define SCALED_SUM(x) (x)
#define WEIGHTS_OF(x) b.x
#endif
#define WEIGHT(r)     w[r * BLOCK_FACTORS + i]
#define OUTER_ROW(r)  STEP_ROW(r, WEIGHT(r))
#define ZERO_HALF(r)  floats low##r = 0.0f;
#define OUTER_HALF(r) low##r = multiply_add((floats)WEIGHT(r), b_low, low##r);
#define ADD_ROW(r)                                                                                                     \
    if (j + r < keys) {                                                                                                \
        __global float *to = out + (long)(j + r) * out_stride + column;                                                \
        store_lanes(load_lanes(0, to) + SCALED_SUM(low##r), 0, to);                                                    \
        store_lanes(load_lanes(1, to) + SCALED_SUM(high##r), 1, to);                                                   \
    }
#define STORE_HALF(r) store_lanes(SCALED_SUM(low##r), r, tile);
INLINE void add_outer(const float *weights, int keys, int factors, const float *rows, const int width, float scale,
                      __global float *out, int out_stride) {
    int column = 0;
    for (; column + PANEL <= width; column += PANEL)
        for (int j = 0; j < keys; j += REGISTER_ROWS) {
            const float *w = weights + j * BLOCK_FACTORS;
            EACH_ROW(ZERO_ROW)
            for (int i = 0; i < factors; i++) {
                floats b_low = load_lanes(2 * i, rows + CHUNK(column)),
                       b_high = load_lanes(2 * i + 1, rows + CHUNK(column));
                EACH_ROW(OUTER_ROW)
            }
            EACH_ROW(ADD_ROW)
        }
    for (; column < width; column += LANES)
        for (int j = 0; j < keys; j += REGISTER_ROWS) {
            const float *w = weights + j * BLOCK_FACTORS;
            EACH_ROW(ZERO_HALF)
            for (int i = 0; i < factors; i++) {
                floats b_low = load_lanes(i, rows + CHUNK(column));
                EACH_ROW(OUTER_HALF)
            }
            float tile[REGISTER_ROWS * LANES] ALIGNED;
            EACH_ROW(STORE_HALF)
            for (int r = 0; r < min(REGISTER_ROWS, keys - j); r++) {
                __global float *to = out + (long)(j + r) * out_stride + column;
                if (column + LANES <= width)
                    store_lanes(load_lanes(0, to) + load_lanes(r, tile), 0, to);
                else
                    for (int i = 0; i < width - column; i++) to[i] += tile[r * LANES + i];
            }
        }
}

/* delta = Σ_e d_o·o - d_lse and what p is computed with, for one block of queries; o and d_o are at the block's first
 * row. Softmax: shift = lse·log2(e), INFINITY for a row that sees nothing; linear: 1/z, 0 for z = 0. */
INLINE void prepare_rows(const __global stored *d_o, int d_o_row, const __global stored *o, int o_row,
                         const __global float *lse, const __global float *d_lse, int queries, int lanes, float *delta,
                         float *shift) {
    for (int i = 0; i < lanes; i++) {
        float dot = 0.0f, row = LINEAR ? 0.0f : -INFINITY;
        if (i < queries) {
            row = lse[i * STRIDE];
            if (!LINEAR || NORMALISER == 0) {
                const __global stored *a = d_o + (long)i * d_o_row, *b = o + (long)i * o_row;
                float8 lanes = 0.0f;
                int e = 0;
                for (; e + 8 <= E; e += 8) lanes = fma(LOAD_8(a + e), LOAD_8(b + e), lanes);
                for (; e < E; e++) dot = fma(LOAD(a, e), LOAD(b, e), dot);
                dot += lanes_sum(lanes);
            }
            if (D_LSE) dot -= d_lse[i * STRIDE];
        }
        delta[i] = dot;
        if (LINEAR)
            shift[i] = row != 0.0f ? 1.0f / row : 0.0f;
        else
            shift[i] = row == -INFINITY ? INFINITY : row * LOG2_E;
    }
}

/* A vector of queries and one key: the weight and d_o·v become the weight with dropout and the gradient of the score.
 * mask_tile and slope may be NULL. The vectors are read as such: of loads some compilers make four loads of two
 * floats. */
INLINE void weigh_lanes(floats weight, floats row, floats delta, const floats *mask_tile, const floats *slope,
                        float factor, floats *p, floats *ds) {
    floats d_weight = *ds, inner = factor;
    if (SLOPED && slope) inner *= *slope;
#if DROPOUT
    d_weight *= *mask_tile;
#endif
    d_weight -= delta;
    inner *= LINEAR ? row : weight;
    *ds = d_weight * inner;
#if DROPOUT
    weight *= *mask_tile;
#endif
    *p = weight;
}

/* One panel of a tile: p and ds [keys][BLOCK_QUERIES], scores and d_o·v, become weights with dropout, and gradients of
 * q·k (slope: by_product) or of the bias. Two keys at once: an even number of rows was written. */
INLINE void weigh(const float *shift, const float *delta, int keys, const float *mask_tile, const float *slope,
                  float factor, float *p, float *ds) {
    const floats row_low = load_lanes(0, shift), row_high = load_lanes(1, shift);
    const floats delta_low = load_lanes(0, delta), delta_high = load_lanes(1, delta);
    const floats *mask_at = (const floats *)mask_tile, *slope_at = (const floats *)slope;
    floats *p_at = (floats *)p, *ds_at = (floats *)ds;
    const int next = BLOCK_QUERIES / LANES, next_mask = PANEL / LANES;
    for (int j = 0; j < keys; j += 2) {
#if LINEAR
        const floats p0 = p_at[0] * row_low, p1 = p_at[1] * row_high;
        const floats p2 = p_at[next] * row_low, p3 = p_at[next + 1] * row_high;
#else
        floats p0 = min(p_at[0] - row_low, 0.0f), p1 = min(p_at[1] - row_high, 0.0f);
        floats p2 = min(p_at[next] - row_low, 0.0f), p3 = min(p_at[next + 1] - row_high, 0.0f);
        OF_LANES(fast_exp2_four_)(&p0, &p1, &p2, &p3);
#endif
        weigh_lanes(p0, row_low, delta_low, mask_at, slope_at, factor, p_at, ds_at);
        weigh_lanes(p1, row_high, delta_high, mask_at + 1, slope ? slope_at + 1 : 0, factor, p_at + 1, ds_at + 1);
        if (j + 1 == keys) return;
        p_at += next, ds_at += next;
        if (SLOPED && slope) slope_at += next;
        if (DROPOUT) mask_at += next_mask;
        weigh_lanes(p2, row_low, delta_low, mask_at, slope_at, factor, p_at, ds_at);
        weigh_lanes(p3, row_high, delta_high, mask_at + 1, slope ? slope_at + 1 : 0, factor, p_at + 1, ds_at + 1);
        p_at += next, ds_at += next;
        if (SLOPED && slope) slope_at += next;
        if (DROPOUT) mask_at += next_mask;
    }
}

/* Linear weights are 0 where nothing is seen, but their gradient is not: hidden pairs of ds become 0. */
INLINE void hide_linear(const sight *s, int kind, int first, int first_key, int keys, float *ds) {
    if (!LINEAR || !MASKED || kind == TILE_FULL) return;
    for (int l = 0; l < min(PANEL, s->queries - first); l++)
        for (int j = 0; j < keys; j++)
            if (!sees(s, first + l, first_key + j)) ds[j * BLOCK_QUERIES + l] = 0.0f;
}

/* Everything of a block of queries that its tiles need: packed panels and rows, delta, shift. */
typedef struct block {
    float query[PANELS * FACTORS(D) * PANEL] ALIGNED, query_rows[BLOCK_FACTORS * ROUND_UP(D)] ALIGNED;
    float slope[PANELS * FACTORS(E) * PANEL] ALIGNED, slope_rows[BLOCK_FACTORS * ROUND_UP(E)] ALIGNED;
    float shift[BLOCK_QUERIES] ALIGNED, delta[BLOCK_QUERIES] ALIGNED;
    float p[TILE_ROWS * BLOCK_QUERIES] ALIGNED, ds[TILE_ROWS * BLOCK_QUERIES] ALIGNED;
#if PAIRS /* of p and ds: queries in pairs; of ds and of k, keys in pairs */
    float p_factors[TILE_ROWS * BLOCK_FACTORS] ALIGNED, ds_factors[TILE_ROWS * BLOCK_FACTORS] ALIGNED;
    float ds_pairs[KEY_TILE / 2 * PANEL] ALIGNED, key_pairs[KEY_TILE / 2 * D] ALIGNED;
#endif
#if SLOPED
    float by_product[KEY_TILE * BLOCK_QUERIES] ALIGNED;
#endif
#if SCORE
    float by_bias[KEY_TILE * BLOCK_QUERIES] ALIGNED;
#endif
#if DROPOUT
    float mask_tile[KEY_TILE * PANEL] ALIGNED;
#endif
} block;

INLINE void pack_block(block *b, const __global stored *q, int q_row, const __global stored *d_o, int d_o_row,
                       const __global stored *o, int o_row, const __global float *lse, const __global float *d_lse,
                       int queries, float scale) {
    const int panels = (queries + PANEL - 1) / PANEL;
    for (int g = 0; g < panels; g++) {
        const int row = g * PANEL, rows = queries - row;
        pack_panel(q + (long)row * q_row, q_row, rows, D, PACKED_SCALE, b->query + g * FACTORS(D) * PANEL);
        pack_panel(d_o + (long)row * d_o_row, d_o_row, rows, E, 1.0f, b->slope + g * FACTORS(E) * PANEL);
    }
    pack_rows(q, q_row, queries, D, b->query_rows);
    pack_rows(d_o, d_o_row, queries, E, b->slope_rows);
    prepare_rows(d_o, d_o_row, o, o_row, lse, d_lse, queries, panels * PANEL, b->delta, b->shift);
}

/* Weights and score gradients of panel g of a tile of which it sees `kind`: of the bias when `for_bias`, else of q·k;
 * where they are to be rounded to factors, without the outer scale, which dq and dk get instead. */
INLINE void weigh_tile(block *b, const sight *s, int kind, int g, int first, int first_key, int keys,
                       const __global stored *k_tile, int k_row, const __global stored *v_tile, int v_row, float scale,
                       const bool for_bias, const __global uint *random_state, uint stream, uint threshold,
                       float keep_scale) {
    float *p = b->p + g * PANEL, *ds = b->ds + g * PANEL, *slope = 0, *user = 0;
    const float *mask_tile = 0;
#if SLOPED
    slope = b->by_product + g * PANEL;
#endif
#if SCORE
    user = b->by_bias + g * PANEL;
#endif
    if (kind == TILE_EMPTY) {
        for (int j = 0; j < keys; j++)
            for (int half_panel = 0; half_panel < 2; half_panel++) {
                store_lanes((floats)(0.0f), half_panel, p + j * BLOCK_QUERIES);
                store_lanes((floats)(0.0f), half_panel, ds + j * BLOCK_QUERIES);
            }
        return;
    }
    for (int j = 0; j < keys; j += REGISTER_ROWS) {
        multiply_rows(k_tile + (long)j * k_row, k_row, keys - j, D, PACKED_SCALE, b->query + g * FACTORS(D) * PANEL,
                      p + j * BLOCK_QUERIES, BLOCK_QUERIES, 0, 0);
        multiply_rows(v_tile + (long)j * v_row, v_row, keys - j, E, 1.0f, b->slope + g * FACTORS(E) * PANEL,
                      ds + j * BLOCK_QUERIES, BLOCK_QUERIES, 0, 0);
    }
    score_tile(s, kind, first + g * PANEL, first_key, keys, p, BLOCK_QUERIES, slope, user);
#if DROPOUT
    dropout_mask(random_state, stream, threshold, keep_scale, first_key, keys,
                 s->numbering + (uint)((first + g * PANEL) * STRIDE), b->mask_tile);
    mask_tile = b->mask_tile;
#endif
    weigh(b->shift + g * PANEL, b->delta + g * PANEL, keys, mask_tile, for_bias ? user : slope,
          for_bias || PAIRS ? 1.0f : scale, p, ds);
    hide_linear(s, kind, first + g * PANEL, first_key, keys, ds);
}

#if PAIRS
/* factors [keys][BLOCK_FACTORS], of panel g, = x [keys][BLOCK_QUERIES], of so many queries of the block. What a user's
 * score makes of the lane behind an odd number of them is not a number that a product may see. */
INLINE void pair_queries(float *x, int g, int queries, int keys, float *factors) {
    if (queries % 2 && queries / PANEL == g)
        for (int j = 0; j < keys; j++) x[j * BLOCK_QUERIES + queries] = 0.0f;
    x += g * PANEL, factors += g * (PANEL / 2);
    for (int j = 0; j < keys; j++, x += BLOCK_QUERIES, factors += BLOCK_FACTORS)
        store_halves(load_lanes(0, x), load_lanes(1, x), factors);
}
#endif

/* Shapes as in the forward pass; o [B,N,H,E] dense; lse, d_lse [B,H,N]; d_o, dq, dk, dv by strides. A part is
 * `part_blocks` query blocks; with several parts, and in 16 bits always, dk and dv are scratch, [parts][B,M,G,·] dense.
 * Work-groups: part of each residue of keys, key head, sample. */
KERNEL void attention_backward(const __global stored *restrict q, const __global stored *restrict k,
                               const __global stored *restrict v, const __global stored *restrict o,
                               const __global float *restrict lse, const __global stored *restrict d_o,
                               const __global float *restrict d_lse, SIGHT_PARAMETERS, __global stored *restrict dq,
                               __global float *restrict dk, __global float *restrict dv, int part_blocks, int q_offset,
                               int q_sample, int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head,
                               int v_offset, int v_sample, int v_row, int v_head, int d_o_offset, int d_o_sample,
                               int d_o_row, int d_o_head, int dq_offset, int dq_sample, int dq_row, int dq_head,
                               int dk_offset, int dk_sample, int dk_row, int dk_head, int dv_offset, int dv_sample,
                               int dv_row, int dv_head) {
    block b;
#if WRITE_DQ
    float d_query[PANELS * D * PANEL] ALIGNED;
#endif
    const int residue = get_group_id(BLOCK_AXIS) % STRIDE, part = get_group_id(BLOCK_AXIS) / STRIDE;
    const int key_head = get_group_id(HEAD_AXIS), key_heads = get_num_groups(HEAD_AXIS), batch = get_group_id(2);
    const int tensor = KEY_LENGTHS == 3 ? 0 : batch, tensors = KEY_LENGTHS == 3 ? 1 : get_num_groups(2);
    for (int member = 0; member < GROUP; member++) {
        const int head = key_head * GROUP + member;
        const sight s = LOOK_FROM_KEYS(head);
        const __global stored *q_rows =
            q + q_offset + (long)tensor * q_sample + (long)head * q_head + (long)(s.start_q + s.residue_q) * q_row;
        const __global stored *k_rows =
            k + k_offset + (long)tensor * k_sample + (long)key_head * k_head + (long)(s.start_k + s.residue_k) * k_row;
        const __global stored *v_rows =
            v + v_offset + (long)tensor * v_sample + (long)key_head * v_head + (long)(s.start_k + s.residue_k) * v_row;
        const __global stored *o_rows = o + (((long)tensor * N + s.start_q + s.residue_q) * H + head) * E;
        const __global stored *slope_rows = d_o + d_o_offset + (long)tensor * d_o_sample + (long)head * d_o_head +
                                           (long)(s.start_q + s.residue_q) * d_o_row;
        const __global float *lse_rows = lse + s.lse, *d_lse_rows = D_LSE ? d_lse + s.lse : lse;
        const int q_step = q_row * STRIDE, k_step = k_row * STRIDE, v_step = v_row * STRIDE;
        const int o_step = H * E * STRIDE, slope_step = d_o_row * STRIDE;
#if WRITE_DQ
        const int dq_step = dq_row * STRIDE;
        __global stored *dq_rows =
            dq + dq_offset + (long)tensor * dq_sample + (long)head * dq_head + (long)(s.start_q + s.residue_q) * dq_row;
#endif
#if WRITE_DK
        const int dk_step = dk_row * STRIDE;
        __global float *dk_rows = dk + dk_offset + ((long)part * tensors + tensor) * dk_sample +
                                  (long)key_head * dk_head + (long)(s.start_k + s.residue_k) * dk_row;
        if (member == 0) zero_sums(dk_rows, dk_step, s.key_rows, D);
#endif
#if WRITE_DV
        const int dv_step = dv_row * STRIDE;
        __global float *dv_rows = dv + dv_offset + ((long)part * tensors + tensor) * dv_sample +
                                  (long)key_head * dv_head + (long)(s.start_k + s.residue_k) * dv_row;
        if (member == 0) zero_sums(dv_rows, dv_step, s.key_rows, E);
#endif
        const int part_end = min((long)s.query_rows, (long)(part + 1) * part_blocks * BLOCK_QUERIES);
        for (int first = part * part_blocks * BLOCK_QUERIES; first < part_end; first += BLOCK_QUERIES) {
            const int rows = min(BLOCK_QUERIES, part_end - first), queries = clamp(s.queries - first, 0, rows);
            const int panels = (queries + PANEL - 1) / PANEL;
            const int begin = first_tile(&s, first), end = queries > 0 ? end_tile(&s, first + queries) : 0;
            expect_rows(q_rows + (long)first * q_step, queries, D, q_step);
            expect_rows(slope_rows + (long)first * slope_step, queries, E, slope_step);
            expect_rows(o_rows + (long)first * o_step, queries, E, o_step);
            expect_rows(k_rows + (long)begin * k_step, min(KEY_TILE, end - begin), D, k_step);
            expect_rows(v_rows + (long)begin * v_step, min(KEY_TILE, end - begin), E, v_step);
            pack_block(&b, q_rows + (long)first * q_step, q_step, slope_rows + (long)first * slope_step, slope_step,
                       o_rows + (long)first * o_step, o_step, lse_rows + (long)first * STRIDE,
                       d_lse_rows + (long)first * STRIDE, queries, scale);
#if WRITE_DQ
            for (int i = 0; i < panels * D * 2; i++) store_lanes((floats)(0.0f), i, d_query);
#endif
            for (int first_key = begin; first_key < end; first_key += KEY_TILE) {
                const int keys = min(KEY_TILE, end - first_key);
                const int kind =
                    MASKED ? tile_kind(&s, first, first + queries, first_key, first_key + keys) : TILE_FULL;
                if (kind == TILE_EMPTY) continue;
                const __global stored *k_tile = k_rows + (long)first_key * k_step;
                const __global stored *v_tile = v_rows + (long)first_key * v_step;
                const int following = min(KEY_TILE, end - first_key - KEY_TILE);
                expect_rows(k_tile + (long)KEY_TILE * k_step, following, D, k_step);
                expect_rows(v_tile + (long)KEY_TILE * v_step, following, E, v_step);
#if WRITE_DV
                expect_rows(dv_rows + (long)first_key * dv_step, keys, E, dv_step);
#endif
#if WRITE_DK
                expect_rows(dk_rows + (long)first_key * dk_step, keys, D, dk_step);
#endif
#if PAIRS && WRITE_DQ
                pair_stored_rows(k_tile, k_step, keys, D, b.key_pairs);
#endif
                for (int g = 0; g < panels; g++) {
                    const int seen = panel_kind(&s, kind, first + g * PANEL, first + queries, first_key, keys);
                    weigh_tile(&b, &s, seen, g, first, first_key, keys, k_tile, k_step, v_tile, v_step, scale, false,
                               random_state, stream, threshold, keep_scale);
#if PAIRS && WRITE_DV
                    pair_queries(b.p, g, queries, keys, b.p_factors);
#endif
#if PAIRS && WRITE_DK
                    pair_queries(b.ds, g, queries, keys, b.ds_factors);
#endif
#if WRITE_DQ
                    if (seen == TILE_EMPTY) continue;
#if PAIRS
                    pair_rows(b.ds + g * PANEL, BLOCK_QUERIES, keys, b.ds_pairs);
                    add_all_columns(b.key_pairs, D, FACTORS(keys), D, b.ds_pairs, PANEL, d_query + g * D * PANEL,
                                    (floats)(1.0f), (floats)(1.0f));
#else
                    add_all_columns(k_tile, k_step, keys, D, b.ds + g * PANEL, BLOCK_QUERIES, d_query + g * D * PANEL,
                                    (floats)(1.0f), (floats)(1.0f));
#endif
#endif
                }
#if WRITE_DV
                add_outer(WEIGHTS_OF(p), keys, FACTORS(queries), b.slope_rows, E, 1.0f,
                          dv_rows + (long)first_key * dv_step, dv_step);
#endif
#if WRITE_DK
                add_outer(WEIGHTS_OF(ds), keys, FACTORS(queries), b.query_rows, D, scale,
                          dk_rows + (long)first_key * dk_step, dk_step);
#endif
            }
#if WRITE_DQ
            for (int i = 0; i < panels * PANEL; i++) b.delta[i] = i < queries ? PAIRS ? scale : 1.0f : 0.0f;
            for (int g = 0; g < panels; g++)
                unpack_panel(d_query + g * D * PANEL, b.delta + g * PANEL, rows - g * PANEL, D,
                             dq_rows + (long)(first + g * PANEL) * dq_step, dq_step);
            zero_rows(dq_rows + (long)(first + panels * PANEL) * dq_step, dq_step, rows - panels * PANEL, D);
#endif
        }
    }
}

#if BIAS
/* d_bias [B|1,H|1,longest_queries,longest_keys] dense: the sum over the samples and heads that share it, in their
 * order. A second recomputation of p, so that nothing of size N×M·B·H is ever stored. Work-groups: block of queries of
 * each residue, head of the bias, sample of the bias. */
KERNEL void attention_backward_bias(const __global stored *restrict q, const __global stored *restrict k,
                                    const __global stored *restrict v, const __global stored *restrict o,
                                    const __global float *restrict lse, const __global stored *restrict d_o,
                                    const __global float *restrict d_lse, SIGHT_PARAMETERS,
                                    __global float *restrict d_bias, int batches, int q_offset, int q_sample, int q_row,
                                    int q_head, int k_offset, int k_sample, int k_row, int k_head, int v_offset,
                                    int v_sample, int v_row, int v_head, int d_o_offset, int d_o_sample, int d_o_row,
                                    int d_o_head) {
    block b;
    const int residue = get_group_id(BLOCK_AXIS) % STRIDE, first = get_group_id(BLOCK_AXIS) / STRIDE * BLOCK_QUERIES;
    const int bias_heads = get_num_groups(HEAD_AXIS), bias_samples = get_num_groups(2);
    const int bias_rows = min(BLOCK_QUERIES, compact(longest_queries, residue) - first);
    d_bias += ((long)get_group_id(2) * bias_heads + get_group_id(HEAD_AXIS)) * longest_queries * longest_keys +
              (long)(residue + first * STRIDE) * longest_keys;
    for (int i = 0; i < bias_rows; i++)
        for (int j = 0; j < longest_keys; j++) d_bias[(long)i * STRIDE * longest_keys + j] = 0.0f;
    for (int batch = get_group_id(2); batch < batches; batch += bias_samples)
        for (int head = get_group_id(HEAD_AXIS); head < H; head += bias_heads) {
            const sight s = look(batch, head, residue, SIGHT_ARGUMENTS);
            const int queries = clamp(s.queries - first, 0, bias_rows), panels = (queries + PANEL - 1) / PANEL;
            if (queries == 0) continue;
            const int tensor = KEY_LENGTHS == 3 ? 0 : batch, key_head = head / GROUP;
            const long row = s.start_q + query_index(&s, first);
            const __global stored *k_rows = k + k_offset + (long)tensor * k_sample + (long)key_head * k_head +
                                           (long)(s.start_k + s.residue_k) * k_row;
            const __global stored *v_rows = v + v_offset + (long)tensor * v_sample + (long)key_head * v_head +
                                           (long)(s.start_k + s.residue_k) * v_row;
            const long at = s.lse + (long)first * STRIDE;
            pack_block(&b, q + q_offset + (long)tensor * q_sample + (long)head * q_head + row * q_row, q_row * STRIDE,
                       d_o + d_o_offset + (long)tensor * d_o_sample + (long)head * d_o_head + row * d_o_row,
                       d_o_row * STRIDE, o + (((long)tensor * N + row) * H + head) * E, H * E * STRIDE, lse + at,
                       D_LSE ? d_lse + at : lse, queries, scale);
            const int end = end_tile(&s, first + queries);
            for (int first_key = first_tile(&s, first); first_key < end; first_key += KEY_TILE) {
                const int keys = min(KEY_TILE, end - first_key);
                const int kind =
                    MASKED ? tile_kind(&s, first, first + queries, first_key, first_key + keys) : TILE_FULL;
                if (kind == TILE_EMPTY) continue;
                for (int g = 0; g < panels; g++)
                    weigh_tile(&b, &s, panel_kind(&s, kind, first + g * PANEL, first + queries, first_key, keys), g,
                               first, first_key, keys, k_rows + (long)first_key * k_row * STRIDE, k_row * STRIDE,
                               v_rows + (long)first_key * v_row * STRIDE, v_row * STRIDE, scale, true, random_state,
                               stream, threshold, keep_scale);
                for (int i = 0; i < queries; i++) {
                    __global float *to = d_bias + (long)i * STRIDE * longest_keys + s.residue_k + first_key * STRIDE;
                    for (int j = 0; j < keys; j++) to[j * STRIDE] += b.ds[j * BLOCK_QUERIES + i];
                }
            }
        }
}
#endif

/* out [B,M,H,width] by strides = Σ over parts of scratch [parts][B,M,H,width]. Work-groups: key row, sample. */
KERNEL void attention_backward_sum(const __global float *restrict scratch, __global stored *restrict out, int parts,
                                   int width, int heads, int out_offset, int out_sample, int out_row, int out_head) {
    const long row = get_group_id(0), rows = get_num_groups(0), batch = get_group_id(1);
    const long part_stride = get_num_groups(1) * rows * heads * width;
    scratch += (batch * rows + row) * heads * width;
    out += out_offset + batch * out_sample + row * out_row;
    for (int head = 0; head < heads; head++, scratch += width, out += out_head) {
        int i = 0;
        for (; i + 8 <= width; i += 8) {
            float8 sum = 0.0f;
            for (int part = 0; part < parts; part++) sum += vload8(0, scratch + part * part_stride + i);
            STORE_8(sum, out + i);
        }
        for (; i < width; i++) {
            float sum = 0.0f;
            for (int part = 0; part < parts; part++) sum += scratch[part * part_stride + i];
            STORE(sum, out, i);
        }
    }
}
