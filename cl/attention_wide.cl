/* Softmax attention for CPU devices, forward and backward, without ever storing the N×M matrix.
 *
 * One work-item owns a block of queries of one head of one sample. Vector lanes are queries: a panel holds two vectors
 * of them, transposed, so that maximum, sum and rescaling are elementwise and need no horizontal step. Keys and values
 * are read in place, row by row, as the operand that is broadcast; the register tile is REGISTER_ROWS rows × a panel in
 * named accumulators (arrays would be spilled). Keys come in tiles of KEY_TILE, small enough for the first-level cache:
 * a multiple of 4 (random words) and mostly of REGISTER_ROWS, and 64 where blocks of a mask shall have the same edges.
 *
 * The backward pass recomputes p from lse, and holds it at 1 where huge scores leave lse too coarse. A work-item walks
 * the query blocks of its part, writes their dq, and adds to its own dk and dv, so that every output has one writer and
 * one order of summation; where a shape has several parts per head, attention_backward_sum adds them up in their order.
 *
 * Rows of one head are short and lie far apart, so those of the next tile are asked for early.
 *
 * Loads of k and v stop at the count. Rows of a tile behind the count are duplicates of the last valid row, which
 * change no maximum; nothing else of them is kept. */
#include "attention_score.clh"
#include "common.clh"
#include "lanes.clh"
#include "math.clh"
#include "random.clh"
#include "storage.clh"
#include "transpose.clh"

XP_DEFINE_STORE_TRANSPOSED(store_transposed_stored, __global stored, STORE_8)

#ifndef D /* width of queries and keys */
#define D 64
#endif
#ifndef E /* width of values */
#define E 64
#endif
#ifndef PANELS /* of 2 * LANES queries per block */
#define PANELS 4
#endif
#ifndef BACKWARD /* which pass the program holds: 0 forward, 1 backward, 2 the map of the weights */
#define BACKWARD 0
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
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
#ifndef HEADS_FIRST /* 1: work-groups are heads × blocks × samples, 0: blocks × heads × samples, as below */
#define HEADS_FIRST 0
#endif
#if D < 1 || D > 256 || E < 1 || E > 256
#error "head widths are 1 to 256"
#endif
#if PANELS < 1 || PANELS > 16
#error "a block has 1 to 16 panels"
#endif

#define PANEL         (2 * LANES)
#define BLOCK_QUERIES (PANELS * PANEL)
#define BLOCK_MASK    (MASK && MASK_BLOCK % 64 == 0)
#if LANES == 8
#define REGISTER_ROWS 6
#define EACH_ROW(F)   F(0) F(1) F(2) F(3) F(4) F(5)
#define KEY_TILE      (BLOCK_MASK ? 64 : 72)
#elif BLOCK_MASK /* registers of 16 lanes are twice as many */
#define REGISTER_ROWS 8
#define EACH_ROW(F)   F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define KEY_TILE      64
#else
#define REGISTER_ROWS 10
#define EACH_ROW(F)   F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9)
#define KEY_TILE      80
#endif
#define TILE_ROWS   ((KEY_TILE + REGISTER_ROWS - 1) / REGISTER_ROWS * REGISTER_ROWS) /* what register tiles write */
#define ROUND_UP(x) (((x) + LANES - 1) / LANES * LANES)
#define LOAD_LANES  OF_LANES(LOAD_) /* of LANES stored numbers */
#define ALIGNED     __attribute__((aligned(64)))
#define INLINE      static inline __attribute__((always_inline))
#define HEAD_AXIS   (HEADS_FIRST ? 0 : 1)
#define BLOCK_AXIS  (HEADS_FIRST ? 1 : 0)
#define KERNEL      __kernel __attribute__((reqd_work_group_size(1, 1, 1)))

#define ZERO_ROW(r) floats low##r = 0.0f, high##r = 0.0f;
#define STEP_ROW(r, x)                                                                                                 \
    {                                                                                                                  \
        floats broadcast = (floats)(x);                                                                                \
        low##r = fma(broadcast, b_low, low##r);                                                                        \
        high##r = fma(broadcast, b_high, high##r);                                                                     \
    }

/* out [REGISTER_ROWS][out_stride] = x [REGISTER_ROWS][width] · panel [width][PANEL], with x's rows taken from the first
 * `rows` of a strided array. *top_low and *top_high rise to the largest of each lane; they may be NULL. */
#define TAKE_ROW(r)    const __global stored *x##r = x + (long)min(r, rows - 1) * x_stride;
#define PRODUCT_ROW(r) STEP_ROW(r, LOAD(x##r, i))
#define STORE_ROW(r)                                                                                                   \
    store_lanes(low##r, 0, out + r * out_stride);                                                                      \
    store_lanes(high##r, 1, out + r * out_stride);
#define TOP_ROW(r) *top_low = max(*top_low, low##r), *top_high = max(*top_high, high##r);
INLINE void multiply_rows(const __global stored *x, int x_stride, int rows, const int width, const float *panel,
                          float *out, const int out_stride, floats *top_low, floats *top_high) {
    EACH_ROW(TAKE_ROW)
    EACH_ROW(ZERO_ROW)
    for (int i = 0; i < width; i++) {
        floats b_low = load_lanes(2 * i, panel), b_high = load_lanes(2 * i + 1, panel);
        EACH_ROW(PRODUCT_ROW)
    }
    EACH_ROW(STORE_ROW)
    if (top_low) {
        EACH_ROW(TOP_ROW)
    }
}

/* out [columns][PANEL] = out · scale + xᵀ · weights, with 1 to REGISTER_ROWS columns of x [rows][x_stride] and weights
 * [rows][weights_stride]. */
#define LOAD_COLUMN(r)                                                                                                 \
    if (r < columns) low##r = load_lanes(2 * r, out) * scale_low, high##r = load_lanes(2 * r + 1, out) * scale_high;
#define COLUMN_ROW(r)                                                                                                  \
    if (r < columns) STEP_ROW(r, LOAD(x, r))
#define STORE_COLUMN(r)                                                                                                \
    if (r < columns) store_lanes(low##r, 2 * r, out), store_lanes(high##r, 2 * r + 1, out);
INLINE void add_columns(const __global stored *x, int x_stride, int rows, const int columns, const float *weights,
                        const int weights_stride, float *out, floats scale_low, floats scale_high) {
    EACH_ROW(ZERO_ROW)
    EACH_ROW(LOAD_COLUMN)
    for (int i = 0; i < rows; i++, x += x_stride, weights += weights_stride) {
        floats b_low = load_lanes(0, weights), b_high = load_lanes(1, weights);
        EACH_ROW(COLUMN_ROW)
    }
    EACH_ROW(STORE_COLUMN)
}

/* The same for all columns of x: tiles as equal as can be, so that ten rows at once make 8 + 8 of 16, not 10 + 6. */
INLINE void add_all_columns(const __global stored *x, int x_stride, int rows, const int width, const float *weights,
                            const int weights_stride, float *out, floats scale_low, floats scale_high) {
    const int tiles = (width + REGISTER_ROWS - 1) / REGISTER_ROWS, columns = width / tiles, larger = width % tiles;
    for (int tile = 0; tile < larger; tile++, x += columns + 1, out += (columns + 1) * PANEL)
        add_columns(x, x_stride, rows, columns + 1, weights, weights_stride, out, scale_low, scale_high);
    for (int tile = larger; tile < tiles; tile++, x += columns, out += columns * PANEL)
        add_columns(x, x_stride, rows, columns, weights, weights_stride, out, scale_low, scale_high);
}

INLINE void zero_rows(__global stored *x, int x_stride, int count, const int width) {
    for (int i = 0; i < count; i++)
        for (int c = 0; c < width; c++) STORE(0.0f, x, (long)i * x_stride + c);
}

INLINE void zero_sums(__global float *x, int x_stride, int count, const int width) {
    for (int i = 0; i < count; i++)
        for (int c = 0; c < width; c++) x[(long)i * x_stride + c] = 0.0f;
}

/* panel [width][PANEL] = rows of x [PANEL][x_stride] transposed and scaled; lanes behind `rows` are 0. */
INLINE void pack_panel(const __global stored *x, int x_stride, int rows, const int width, float scale, float *panel) {
    int i = 0;
#define SCALED_ROW(r) (LOAD_8(from + (long)(r)*x_stride) * scale)
    for (; rows >= PANEL && i + 8 <= width; i += 8)
        for (int lane = 0; lane < PANEL; lane += 8) {
            const __global stored *from = x + (long)lane * x_stride + i;
            store_transposed_private(SCALED_ROW(0), SCALED_ROW(1), SCALED_ROW(2), SCALED_ROW(3), SCALED_ROW(4),
                                     SCALED_ROW(5), SCALED_ROW(6), SCALED_ROW(7), panel + i * PANEL + lane, PANEL);
        }
    for (; i < width; i++)
        for (int lane = 0; lane < PANEL; lane++)
            panel[i * PANEL + lane] = lane < rows ? LOAD(x, (long)lane * x_stride + i) * scale : 0.0f;
}

/* The way back: the first `rows` rows of x [PANEL][x_stride] = panel [width][PANEL] transposed, each lane times its
 * scale [PANEL]; 0 where that is 0, whatever the panel holds. */
INLINE void unpack_panel(const float *panel, const float *scale, int rows, const int width, __global stored *x,
                         int x_stride) {
    int i = 0;
#define SCALED_COLUMN(r) (lanes != 0.0f ? vload8(0, from + (r)*PANEL) * lanes : (float8)(0.0f))
    for (; rows >= PANEL && i + 8 <= width; i += 8)
        for (int lane = 0; lane < PANEL; lane += 8) {
            const float *from = panel + i * PANEL + lane;
            const float8 lanes = vload8(0, scale + lane);
            store_transposed_stored(SCALED_COLUMN(0), SCALED_COLUMN(1), SCALED_COLUMN(2), SCALED_COLUMN(3),
                                    SCALED_COLUMN(4), SCALED_COLUMN(5), SCALED_COLUMN(6), SCALED_COLUMN(7),
                                    x + (long)lane * x_stride + i, x_stride);
        }
    for (int lane = 0; lane < min(rows, PANEL); lane++)
        for (int c = i; c < width; c++)
            STORE(scale[lane] != 0.0f ? panel[c * PANEL + lane] * scale[lane] : 0.0f, x, (long)lane * x_stride + c);
}

#if DROPOUT
/* mask [KEY_TILE][PANEL] = 0 or keep_scale for keys first_key … first_key+keys-1 (first_key a multiple of 4) of a
 * panel's rows of the probability matrix, numbered from `row` on. */
INLINE void dropout_mask(const __global uint *random_state, uint stream, uint threshold, float keep_scale,
                         int first_key, int keys, uint row, float *mask) {
    const uint8 lanes = (uint8)(0, 1, 2, 3, 4, 5, 6, 7);
    for (int j = 0; j < keys; j += 4)
        for (int part = 0; part < PANEL / 8; part++) {
            uint8 words[4];
            random_words_8(random_state, stream, (uint)(first_key + j) / 4, row + (8 * part + lanes) * STRIDE, words);
            for (int t = 0; t < 4; t++) {
                float8 keep = words[t] >= threshold ? (float8)(keep_scale) : (float8)(0.0f);
                vstore8(keep, PANEL / 8 * (j + t) + part, mask);
            }
        }
}
#endif

/* What q is packed with: raw scores come out as the passes below want them. */
#define PACKED_SCALE (LINEAR || SCORED ? scale : scale * LOG2_E)

#if SCORED
/* score_pair for a vector of neighbouring queries, times log2(e). Queries behind the last valid one read its bias. */
INLINE floats score_lanes(const sight *s, floats x, int first, int j, floats *slope, floats *user) {
    *slope = *user = 1.0f;
#if SOFT_CAP
    const floats t = OF_LANES(fast_tanh_)(x / s->soft_cap);
    x = s->soft_cap * t;
    *slope = 1.0f - t * t;
#endif
#if ALIBI
    const ints positions = position(s, first) + LANE_NUMBERS * STRIDE;
    x -= s->slope * OF_LANES(convert_float)(abs_diff(positions, (ints)(key_index(s, j) * s->span + s->span - 1)));
#endif
#if BIAS || SCORE
    float lanes[LANES] ALIGNED;
    const int last = s->queries - 1, column = key_index(s, j);
#endif
#if BIAS
    for (int l = 0; l < LANES; l++)
        lanes[l] = s->bias[(long)query_index(s, min(first + l, last)) * s->bias_row + column];
    x += load_lanes(0, lanes);
#endif
#if SCORE
    float slopes[LANES] ALIGNED;
    store_lanes(x, 0, lanes);
    for (int l = 0; l < LANES; l++) {
        const int row = query_index(s, min(first + l, last));
        slopes[l] = CALL_USER(user_derivative, lanes[l], row, column);
        lanes[l] = CALL_USER(user_score, lanes[l], row, column);
    }
    *user = load_lanes(0, slopes);
    *slope *= *user;
    x = load_lanes(0, lanes);
#endif
    return x * LOG2_E;
}
#endif

/* Scores of a tile from raw ones, in place: p [keys][pitch], a panel's queries from `first` on. Softmax: to base 2,
 * -INFINITY where nothing is seen; linear: 0 there. slope and user [keys][pitch] are written where they are not all 1
 * and wanted.
 */
INLINE void score_tile(const sight *s, int kind, int first, int first_key, int keys, float *p, const int pitch,
                       float *slope, float *user) {
#if SCORED
    for (int j = 0; j < keys; j++)
        for (int half_panel = 0; half_panel < 2; half_panel++) {
            floats by_product, by_bias;
            float *at = p + j * pitch;
            store_lanes(score_lanes(s, load_lanes(half_panel, at), first + LANES * half_panel, first_key + j,
                                    &by_product, &by_bias),
                        half_panel, at);
            if (SLOPED && slope) store_lanes(by_product, half_panel, slope + j * pitch);
            if (SCORE && user) store_lanes(by_bias, half_panel, user + j * pitch);
        }
#endif
#if MASKED
    if (kind == TILE_FULL) return;
#if WINDOWED && MODULO == 1
    for (int half_panel = 0; half_panel < 2; half_panel++) {
        int from[LANES], to[LANES];
        for (int l = 0; l < LANES; l++) {
            from[l] = first_seen(s, first + LANES * half_panel + l + s->shift) - first_key;
            to[l] = end_seen(s, first + LANES * half_panel + l + s->shift) - first_key;
        }
        const ints begin = load_lanes(0, from), end = load_lanes(0, to);
        for (int j = 0; j < keys; j++) {
            float *at = p + j * pitch;
            store_lanes(j >= begin && j < end ? load_lanes(half_panel, at) : (floats)(HIDDEN), half_panel, at);
        }
    }
#endif
#if MASK || MODULO > 1
    for (int l = 0; l < min(PANEL, s->queries - first); l++)
        for (int j = 0; j < keys; j++)
            if (!sees(s, first + l, first_key + j)) p[j * pitch + l] = HIDDEN;
#endif
#endif
}

/* The number of keys of a tile that each query of a panel sees. */
INLINE void count_seen(const sight *s, int kind, int first, int first_key, int keys, floats *low, floats *high) {
    float seen[PANEL] ALIGNED;
    for (int l = 0; l < PANEL; l++) {
        seen[l] = keys;
        if (kind == TILE_FULL) continue;
        seen[l] = 0;
        for (int j = 0; j < keys && first + l < s->queries; j++) seen[l] += sees(s, first + l, first_key + j);
    }
    *low = load_lanes(0, seen);
    *high = load_lanes(1, seen);
}

/* What a panel's queries, from `first` on and before `end`, see of a tile that is of `kind` for all of a block. */
INLINE int panel_kind(const sight *s, int kind, int first, int end, int first_key, int keys) {
    return kind == TILE_PARTIAL ? tile_kind(s, first, min(first + PANEL, end), first_key, first_key + keys) : kind;
}

/* The tiles that some query of first … end - 1 sees through its window lie between these. */
INLINE int first_tile(const sight *s, int first) {
    return WINDOWED ? first_seen(s, first + s->shift) / KEY_TILE * KEY_TILE : 0;
}
INLINE int end_tile(const sight *s, int end) {
    return WINDOWED ? end_seen(s, end - 1 + s->shift) : s->keys;
}

#if BACKWARD == 0
/* q [B,N,H,D], k [B,M,G,D], v [B,M,G,E], o [B,N,H,E] by offset and strides of sample, row and head; lse [B,H,N].
 * Work-groups: block of queries of each residue, head, sample. */
KERNEL void attention_forward(const __global stored *restrict q, const __global stored *restrict k,
                              const __global stored *restrict v, SIGHT_PARAMETERS, __global stored *restrict o,
                              __global float *restrict lse, int q_offset, int q_sample, int q_row, int q_head,
                              int k_offset, int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row,
                              int v_head, int o_offset, int o_sample, int o_row, int o_head) {
    float query[PANELS * D * PANEL] ALIGNED, sum[PANELS * E * PANEL] ALIGNED, p[TILE_ROWS * PANEL] ALIGNED;
    float maximum[BLOCK_QUERIES] ALIGNED, total[BLOCK_QUERIES] ALIGNED;
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
        pack_panel(q + (long)g * PANEL * q_row, q_row, queries - g * PANEL, D, PACKED_SCALE, query + g * D * PANEL);
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
        for (int g = 0; g < panels; g++) {
            const int seen = panel_kind(&s, kind, first + g * PANEL, first + queries, first_key, keys);
            if (seen == TILE_EMPTY) continue;
            const floats old_low = load_lanes(2 * g, maximum), old_high = load_lanes(2 * g + 1, maximum);
            floats low = old_low, high = old_high;
            for (int j = 0; j < keys; j += REGISTER_ROWS)
                multiply_rows(k + (long)(first_key + j) * k_row, k_row, keys - j, D, query + g * D * PANEL,
                              p + j * PANEL, PANEL, LINEAR ? 0 : &low, &high);
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
            for (int j = 0; j < keys; j++) {
                floats p_low = OF_LANES(fast_exp2_)(load_lanes(2 * j, p) - low),
                       p_high = OF_LANES(fast_exp2_)(load_lanes(2 * j + 1, p) - high);
                total_low += p_low;
                total_high += p_high;
                store_lanes(p_low, 2 * j, p);
                store_lanes(p_high, 2 * j + 1, p);
            }
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
            add_all_columns(v + (long)first_key * v_row, v_row, keys, E, p, PANEL, sum + g * E * PANEL, scale_low,
                            scale_high);
        }
    }

    for (int i = 0; i < rows; i++) {
        const float z = LINEAR && NORMALISER == 2 ? 1.0f : i < queries ? total[i] : 0.0f;
        const bool some = i < queries && z != 0.0f;
        lse[i * STRIDE] = LINEAR ? z : some ? maximum[i] * LOG_2 + log(z) : -INFINITY;
        total[i] = some ? 1.0f / z : 0.0f;
    }
    for (int g = 0; g < panels; g++)
        unpack_panel(sum + g * E * PANEL, total + g * PANEL, rows - g * PANEL, E, o + (long)g * PANEL * o_row, o_row);
    zero_rows(o + (long)panels * PANEL * o_row, o_row, rows - panels * PANEL, E);
}

#elif BACKWARD == 2
/* map [B,H,N,M] dense: the weights before dropout; q and k as above. Work-groups: block of queries, head, sample. */
KERNEL void attention_map(const __global stored *restrict q, const __global stored *restrict k, SIGHT_PARAMETERS,
                          const __global float *restrict lse, __global float *restrict map, int q_offset, int q_sample,
                          int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head) {
    float query[D * PANEL] ALIGNED, p[TILE_ROWS * PANEL] ALIGNED;
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
            multiply_rows(k + (long)(first_key + j) * k_row, k_row, keys - j, D, query, p + j * PANEL, PANEL, 0, 0);
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

#else
/* Rows of private arrays lie in chunks of two vectors, [width/PANEL][BLOCK_QUERIES][PANEL], and what is left in chunks
 * of one, the added columns 0: one chunk stays in the first-level cache while all keys of a tile take from it. */
#define CHUNK(column) ((column)*BLOCK_QUERIES)

/* x [count][x_stride] as such chunks. */
INLINE void pack_rows(const __global stored *x, int x_stride, int count, const int width, float *rows) {
    int column = 0;
    for (; column + PANEL <= width; column += PANEL)
        for (int i = 0; i < count; i++) {
            const __global stored *from = x + (long)i * x_stride + column;
            store_lanes(LOAD_LANES(from), 2 * i, rows + CHUNK(column));
            store_lanes(LOAD_LANES(from + LANES), 2 * i + 1, rows + CHUNK(column));
        }
    for (; column < width; column += LANES)
        for (int i = 0; i < count; i++)
            for (int c = 0; c < LANES; c++)
                rows[CHUNK(column) + i * LANES + c] = column + c < width ? LOAD(x, (long)i * x_stride + column + c) : 0.0f;
}

/* Rows of out, one of each key, += weights · rows. The rows of weights lie BLOCK_QUERIES apart, REGISTER_ROWS at once:
 * what those behind `keys` hold goes nowhere. */
#define WEIGHT(r)     w[r * BLOCK_QUERIES + i]
#define OUTER_ROW(r)  STEP_ROW(r, WEIGHT(r))
#define ZERO_HALF(r)  floats low##r = 0.0f;
#define OUTER_HALF(r) low##r = fma((floats)WEIGHT(r), b_low, low##r);
#define ADD_ROW(r)                                                                                                     \
    if (j + r < keys) {                                                                                                \
        __global float *to = out + (long)(j + r) * out_stride + column;                                                \
        store_lanes(load_lanes(0, to) + low##r, 0, to);                                                                \
        store_lanes(load_lanes(1, to) + high##r, 1, to);                                                               \
    }
#define STORE_HALF(r) store_lanes(low##r, r, tile);
INLINE void add_outer(const float *weights, int keys, int terms, const float *rows, const int width,
                      __global float *out, int out_stride) {
    int column = 0;
    for (; column + PANEL <= width; column += PANEL)
        for (int j = 0; j < keys; j += REGISTER_ROWS) {
            const float *w = weights + j * BLOCK_QUERIES;
            EACH_ROW(ZERO_ROW)
            for (int i = 0; i < terms; i++) {
                floats b_low = load_lanes(2 * i, rows + CHUNK(column)),
                       b_high = load_lanes(2 * i + 1, rows + CHUNK(column));
                EACH_ROW(OUTER_ROW)
            }
            EACH_ROW(ADD_ROW)
        }
    for (; column < width; column += LANES)
        for (int j = 0; j < keys; j += REGISTER_ROWS) {
            const float *w = weights + j * BLOCK_QUERIES;
            EACH_ROW(ZERO_HALF)
            for (int i = 0; i < terms; i++) {
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

/* A vector of queries and one key: the score and d_o·v become the weight (with dropout) and the gradient of the score.
 * mask_tile and slope may be NULL. The vectors are read as such: of loads some compilers make four loads of two
 * floats. */
INLINE void weigh_lanes(floats row, floats delta, const floats *mask_tile, const floats *slope, float factor, floats *p,
                        floats *ds) {
    floats d_weight = *ds, weight, inner = factor;
    if (SLOPED && slope) inner *= *slope;
#if DROPOUT
    d_weight *= *mask_tile;
#endif
    d_weight -= delta;
#if LINEAR
    weight = *p * row;
    inner *= row;
#else
    weight = OF_LANES(fast_exp2_)(min(*p - row, 0.0f));
    inner *= weight;
#endif
    *ds = d_weight * inner;
#if DROPOUT
    weight *= *mask_tile;
#endif
    *p = weight;
}

/* One panel of a tile: the same for p and ds [keys][BLOCK_QUERIES]; ds becomes the gradient of q·k (slope: by_product)
 * or of the bias. */
INLINE void weigh(const float *shift, const float *delta, int keys, const float *mask_tile, const float *slope,
                  float factor, float *p, float *ds) {
    const floats row_low = load_lanes(0, shift), row_high = load_lanes(1, shift);
    const floats delta_low = load_lanes(0, delta), delta_high = load_lanes(1, delta);
    const floats *mask_at = (const floats *)mask_tile, *slope_at = (const floats *)slope;
    floats *p_at = (floats *)p, *ds_at = (floats *)ds;
    for (int j = 0; j < keys; j++) {
        weigh_lanes(row_low, delta_low, mask_at, slope_at, factor, p_at, ds_at);
        weigh_lanes(row_high, delta_high, mask_at + 1, slope ? slope_at + 1 : 0, factor, p_at + 1, ds_at + 1);
        p_at += BLOCK_QUERIES / LANES, ds_at += BLOCK_QUERIES / LANES;
        if (SLOPED && slope) slope_at += BLOCK_QUERIES / LANES;
        if (DROPOUT) mask_at += PANEL / LANES;
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
    float query[PANELS * D * PANEL] ALIGNED, query_rows[BLOCK_QUERIES * ROUND_UP(D)] ALIGNED;
    float slope[PANELS * E * PANEL] ALIGNED, slope_rows[BLOCK_QUERIES * ROUND_UP(E)] ALIGNED;
    float shift[BLOCK_QUERIES] ALIGNED, delta[BLOCK_QUERIES] ALIGNED;
    float p[TILE_ROWS * BLOCK_QUERIES] ALIGNED, ds[TILE_ROWS * BLOCK_QUERIES] ALIGNED;
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
        pack_panel(q + (long)row * q_row, q_row, rows, D, PACKED_SCALE, b->query + g * D * PANEL);
        pack_panel(d_o + (long)row * d_o_row, d_o_row, rows, E, 1.0f, b->slope + g * E * PANEL);
    }
    pack_rows(q, q_row, queries, D, b->query_rows);
    pack_rows(d_o, d_o_row, queries, E, b->slope_rows);
    prepare_rows(d_o, d_o_row, o, o_row, lse, d_lse, queries, panels * PANEL, b->delta, b->shift);
}

/* Weights and score gradients of panel g of a tile of which it sees `kind`: of q·k without the outer scale's share when
 * `for_bias`. */
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
        multiply_rows(k_tile + (long)j * k_row, k_row, keys - j, D, b->query + g * D * PANEL, p + j * BLOCK_QUERIES,
                      BLOCK_QUERIES, 0, 0);
        multiply_rows(v_tile + (long)j * v_row, v_row, keys - j, E, b->slope + g * E * PANEL, ds + j * BLOCK_QUERIES,
                      BLOCK_QUERIES, 0, 0);
    }
    score_tile(s, kind, first + g * PANEL, first_key, keys, p, BLOCK_QUERIES, slope, user);
#if DROPOUT
    dropout_mask(random_state, stream, threshold, keep_scale, first_key, keys,
                 s->numbering + (uint)((first + g * PANEL) * STRIDE), b->mask_tile);
    mask_tile = b->mask_tile;
#endif
    weigh(b->shift + g * PANEL, b->delta + g * PANEL, keys, mask_tile, for_bias ? user : slope, for_bias ? 1.0f : scale,
          p, ds);
    hide_linear(s, kind, first + g * PANEL, first_key, keys, ds);
}

/* Shapes as in the forward pass; o [B,N,H,E] dense; lse, d_lse [B,H,N]; d_o, dq, dk, dv by strides. A part is
 * `part_blocks` query blocks; with several parts, and in 16 bits always, dk and dv are scratch, [parts][B,M,G,·] dense. Work-groups: part of
 * each residue of keys, key head, sample. */
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
                for (int g = 0; g < panels; g++) {
                    const int seen = panel_kind(&s, kind, first + g * PANEL, first + queries, first_key, keys);
                    weigh_tile(&b, &s, seen, g, first, first_key, keys, k_tile, k_step, v_tile, v_step, scale, false,
                               random_state, stream, threshold, keep_scale);
#if WRITE_DQ
                    if (seen == TILE_EMPTY) continue;
                    add_all_columns(k_tile, k_step, keys, D, b.ds + g * PANEL, BLOCK_QUERIES, d_query + g * D * PANEL,
                                    (floats)(1.0f), (floats)(1.0f));
#endif
                }
#if WRITE_DV
                add_outer(b.p, keys, queries, b.slope_rows, E, dv_rows + (long)first_key * dv_step, dv_step);
#endif
#if WRITE_DK
                add_outer(b.ds, keys, queries, b.query_rows, D, dk_rows + (long)first_key * dk_step, dk_step);
#endif
            }
#if WRITE_DQ
            for (int i = 0; i < panels * PANEL; i++) b.delta[i] = i < queries ? 1.0f : 0.0f;
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
#endif
