/* Softmax attention for CPU devices, forward and backward, without ever storing the N×M matrix.
 *
 * One work-item owns a block of queries of one head of one sample. Vector lanes are queries: a panel holds 16 of them,
 * transposed, so that maximum, sum and rescaling are elementwise and need no horizontal step. Keys and values are read
 * in place, row by row, as the operand that is broadcast; the register tile is 6 rows × 16 queries in twelve named
 * accumulators (arrays would be spilled). Keys come in tiles of KEY_TILE, small enough for the first-level cache.
 *
 * The backward pass recomputes p from lse, and holds it at 1 where huge scores leave lse too coarse. A work-item walks
 * the query blocks of its part, writes their dq, and adds to its own dk and dv, so that every output has one writer and
 * one order of summation; where a shape has several parts per head, attention_backward_sum adds them up in their order.
 *
 * Loads of k and v stop at the count. Rows of a tile behind the count are duplicates of the last valid row, whose
 * results nobody reads. */
#include "math.clh"
#include "random.clh"

#ifndef D /* width of queries and keys */
#define D 64
#endif
#ifndef E /* width of values */
#define E 64
#endif
#ifndef PANELS /* of 16 queries per block */
#define PANELS 4
#endif
#ifndef BACKWARD /* which of the two passes the program holds */
#define BACKWARD 0
#endif
#ifndef COUNTS /* 0: all keys are valid, 1: counts [B], 2: counts [B,H] */
#define COUNTS 0
#endif
#ifndef DROPOUT
#define DROPOUT 0
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
#if D < 1 || D > 256 || E < 1 || E > 256
#error "head widths are 1 to 256"
#endif
#if PANELS < 1 || PANELS > 4
#error "a block has 1 to 4 panels"
#endif
#if COUNTS < 0 || COUNTS > 2
#error "COUNTS is 0, 1 or 2"
#endif

#define PANEL         16
#define BLOCK_QUERIES (PANELS * PANEL)
#define KEY_TILE      72 /* a multiple of 6 (register tile) and of 4 (random words) */
#define ROUND_UP_8(x) (((x) + 7) / 8 * 8)
#define LOG2_E        1.44269504f
#define LOG_2         0.69314718f
#define ALIGNED       __attribute__((aligned(64)))
#define INLINE        static inline __attribute__((always_inline))
#define KERNEL        __kernel __attribute__((reqd_work_group_size(1, 1, 1)))

#define EACH_1(F) F(0)
#define EACH_2(F) EACH_1(F) F(1)
#define EACH_3(F) EACH_2(F) F(2)
#define EACH_4(F) EACH_3(F) F(3)
#define EACH_5(F) EACH_4(F) F(4)
#define EACH_6(F) EACH_5(F) F(5)

#define ZERO_ROW(r) float8 low##r = 0.0f, high##r = 0.0f;
#define LOAD_ROW(r) float8 low##r = vload8(2 * r, out) * scale_low, high##r = vload8(2 * r + 1, out) * scale_high;
#define STEP_ROW(r, x)                                                                                                 \
    {                                                                                                                  \
        float8 broadcast = (float8)(x);                                                                                \
        low##r = fma(broadcast, b_low, low##r);                                                                        \
        high##r = fma(broadcast, b_high, high##r);                                                                     \
    }

INLINE int valid_keys(const __global int *counts, int batch, int head, int heads, int M) {
#if COUNTS == 1
    return clamp(counts[batch], 0, M);
#elif COUNTS == 2
    return clamp(counts[batch * heads + head], 0, M);
#else
    return M;
#endif
}

/* out [6][out_stride] = x [6][width] · panel [width][16], with x's rows taken from the first `rows` of a strided array. */
#define TAKE_ROW(r)    const __global float *x##r = x + (long)min(r, rows - 1) * x_stride;
#define PRODUCT_ROW(r) STEP_ROW(r, x##r[i])
#define STORE_ROW(r)                                                                                                   \
    vstore8(low##r, 0, out + r * out_stride);                                                                          \
    vstore8(high##r, 1, out + r * out_stride);
INLINE void multiply_rows(const __global float *x, int x_stride, int rows, const int width, const float *panel,
                          float *out, const int out_stride) {
    EACH_6(TAKE_ROW)
    EACH_6(ZERO_ROW)
    for (int i = 0; i < width; i++) {
        float8 b_low = vload8(2 * i, panel), b_high = vload8(2 * i + 1, panel);
        EACH_6(PRODUCT_ROW)
    }
    EACH_6(STORE_ROW)
}

/* out [R][16] = out · scale + xᵀ · weights, with R columns of x [rows][x_stride] and weights [rows][weights_stride]. */
#define COLUMN_ROW(r) STEP_ROW(r, x[r])
#define STORE_COLUMN(r)                                                                                                \
    vstore8(low##r, 2 * r, out);                                                                                       \
    vstore8(high##r, 2 * r + 1, out);
#define DEFINE_ADD_COLUMNS(R)                                                                                          \
    INLINE void add_columns_##R(const __global float *x, int x_stride, int rows, const float *weights,                 \
                                const int weights_stride, float *out, float8 scale_low, float8 scale_high) {           \
        EACH_##R(LOAD_ROW) for (int i = 0; i < rows; i++) {                                                            \
            float8 b_low = vload8(0, weights), b_high = vload8(1, weights);                                            \
            EACH_##R(COLUMN_ROW) x += x_stride;                                                                        \
            weights += weights_stride;                                                                                 \
        }                                                                                                              \
        EACH_##R(STORE_COLUMN)                                                                                         \
    }
DEFINE_ADD_COLUMNS(1)
DEFINE_ADD_COLUMNS(2)
DEFINE_ADD_COLUMNS(3)
DEFINE_ADD_COLUMNS(4)
DEFINE_ADD_COLUMNS(5)
DEFINE_ADD_COLUMNS(6)

/* The same for all WIDTH columns: tiles as equal as can be, so that a width like 8 becomes 4 + 4 and not 6 + 2. Chosen by
 * the preprocessor, since every copy that a compiler would have to throw away costs the user time. */
#define TILES(width)      (((width) + 5) / 6)
#define SMALL_TILE(width) ((width) / TILES(width))
#define DEFINE_ADD_ALL_COLUMNS(NAME, WIDTH, SMALL, LARGE)                                                              \
    INLINE void NAME(const __global float *x, int x_stride, int rows, const float *weights, const int weights_stride,  \
                     float *out, float8 scale_low, float8 scale_high) {                                                \
        for (int tile = 0; tile < WIDTH % TILES(WIDTH); tile++) {                                                      \
            add_columns_##LARGE(x, x_stride, rows, weights, weights_stride, out, scale_low, scale_high);               \
            x += LARGE;                                                                                                \
            out += LARGE * PANEL;                                                                                      \
        }                                                                                                              \
        for (int tile = WIDTH % TILES(WIDTH); tile < TILES(WIDTH); tile++) {                                           \
            add_columns_##SMALL(x, x_stride, rows, weights, weights_stride, out, scale_low, scale_high);               \
            x += SMALL;                                                                                                \
            out += SMALL * PANEL;                                                                                      \
        }                                                                                                              \
    }
#if SMALL_TILE(D) == 1
DEFINE_ADD_ALL_COLUMNS(add_key_columns, D, 1, 2)
#elif SMALL_TILE(D) == 2
DEFINE_ADD_ALL_COLUMNS(add_key_columns, D, 2, 3)
#elif SMALL_TILE(D) == 3
DEFINE_ADD_ALL_COLUMNS(add_key_columns, D, 3, 4)
#elif SMALL_TILE(D) == 4
DEFINE_ADD_ALL_COLUMNS(add_key_columns, D, 4, 5)
#elif SMALL_TILE(D) == 5
DEFINE_ADD_ALL_COLUMNS(add_key_columns, D, 5, 6)
#else
DEFINE_ADD_ALL_COLUMNS(add_key_columns, D, 6, 6)
#endif
#if SMALL_TILE(E) == 1
DEFINE_ADD_ALL_COLUMNS(add_value_columns, E, 1, 2)
#elif SMALL_TILE(E) == 2
DEFINE_ADD_ALL_COLUMNS(add_value_columns, E, 2, 3)
#elif SMALL_TILE(E) == 3
DEFINE_ADD_ALL_COLUMNS(add_value_columns, E, 3, 4)
#elif SMALL_TILE(E) == 4
DEFINE_ADD_ALL_COLUMNS(add_value_columns, E, 4, 5)
#elif SMALL_TILE(E) == 5
DEFINE_ADD_ALL_COLUMNS(add_value_columns, E, 5, 6)
#else
DEFINE_ADD_ALL_COLUMNS(add_value_columns, E, 6, 6)
#endif

/* panel [width][16] = rows of x [16][x_stride] transposed and scaled; lanes behind `rows` are 0. */
INLINE void pack_panel(const __global float *x, int x_stride, int rows, const int width, float scale, float *panel) {
    for (int lane = 0; lane < PANEL; lane++)
        for (int i = 0; i < width; i++)
            panel[i * PANEL + lane] = lane < rows ? x[(long)lane * x_stride + i] * scale : 0.0f;
}

#if DROPOUT
/* mask [KEY_TILE][16] = 0 or keep_scale for keys first_key … first_key+keys-1 (first_key a multiple of 4) of sixteen
 * rows of the probability matrix, numbered from `row` on. */
INLINE void dropout_mask(const __global uint *random_state, uint stream, uint threshold, float keep_scale,
                         int first_key, int keys, uint row, float *mask) {
    const uint8 lanes = (uint8)(0, 1, 2, 3, 4, 5, 6, 7);
    for (int j = 0; j < keys; j += 4)
        for (int half_panel = 0; half_panel < 2; half_panel++) {
            uint8 words[4];
            random_words_8(random_state, stream, (uint)(first_key + j) / 4, row + 8 * half_panel + lanes, words);
            for (int t = 0; t < 4; t++) {
                float8 keep = words[t] >= threshold ? (float8)(keep_scale) : (float8)(0.0f);
                vstore8(keep, 2 * (j + t) + half_panel, mask);
            }
        }
}
#endif

#if !BACKWARD
/* q [B,N,H,D], k [B,M,H,D], v [B,M,H,E], o [B,N,H,E] by offset and strides of sample, row and head; lse [B,H,N].
 * Work-groups: query block, head, sample. */
KERNEL void attention_forward(const __global float *restrict q, const __global float *restrict k,
                              const __global float *restrict v, const __global int *restrict counts,
                              const __global uint *restrict random_state, __global float *restrict o,
                              __global float *restrict lse, int N, int M, float scale, int q_offset, int q_sample, int q_row,
                              int q_head, int k_offset, int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row, int v_head,
                              int o_offset, int o_sample, int o_row, int o_head, uint stream, uint threshold, float keep_scale) {
    float query[PANELS * D * PANEL] ALIGNED, sum[PANELS * E * PANEL] ALIGNED, p[KEY_TILE * PANEL] ALIGNED;
    float maximum[BLOCK_QUERIES] ALIGNED, total[BLOCK_QUERIES] ALIGNED;
#if DROPOUT
    float mask[KEY_TILE * PANEL] ALIGNED;
#endif
    const int head = get_group_id(1), heads = get_num_groups(1), batch = get_group_id(2);
    const int first = get_group_id(0) * BLOCK_QUERIES, queries = min(BLOCK_QUERIES, N - first);
    const int panels = (queries + PANEL - 1) / PANEL;
    const int count = valid_keys(counts, batch, head, heads, M);
    q += q_offset + (long)batch * q_sample + (long)head * q_head + (long)first * q_row;
    k += k_offset + (long)batch * k_sample + (long)head * k_head;
    v += v_offset + (long)batch * v_sample + (long)head * v_head;
    o += o_offset + (long)batch * o_sample + (long)head * o_head + (long)first * o_row;
    lse += ((long)batch * heads + head) * N + first;

    for (int g = 0; g < panels; g++)
        pack_panel(q + (long)g * PANEL * q_row, q_row, queries - g * PANEL, D, scale * LOG2_E, query + g * D * PANEL);
    for (int i = 0; i < panels * 2; i++) {
        vstore8((float8)(-INFINITY), i, maximum);
        vstore8((float8)(0.0f), i, total);
    }
    for (int i = 0; i < panels * E * 2; i++) vstore8((float8)(0.0f), i, sum);

    for (int first_key = 0; first_key < count; first_key += KEY_TILE) {
        const int keys = min(KEY_TILE, count - first_key);
        for (int g = 0; g < panels; g++) {
            for (int j = 0; j < keys; j += 6)
                multiply_rows(k + (long)(first_key + j) * k_row, k_row, keys - j, D, query + g * D * PANEL,
                              p + j * PANEL, PANEL);
            float8 old_low = vload8(2 * g, maximum), old_high = vload8(2 * g + 1, maximum);
            float8 low = old_low, high = old_high;
            for (int j = 0; j < keys; j++) {
                low = max(low, vload8(2 * j, p));
                high = max(high, vload8(2 * j + 1, p));
            }
            float8 scale_low = fast_exp2_8(old_low - low), scale_high = fast_exp2_8(old_high - high);
            float8 total_low = 0.0f, total_high = 0.0f;
            for (int j = 0; j < keys; j++) {
                float8 p_low = fast_exp2_8(vload8(2 * j, p) - low), p_high = fast_exp2_8(vload8(2 * j + 1, p) - high);
                total_low += p_low;
                total_high += p_high;
                vstore8(p_low, 2 * j, p);
                vstore8(p_high, 2 * j + 1, p);
            }
            vstore8(low, 2 * g, maximum);
            vstore8(high, 2 * g + 1, maximum);
            vstore8(fma(vload8(2 * g, total), scale_low, total_low), 2 * g, total);
            vstore8(fma(vload8(2 * g + 1, total), scale_high, total_high), 2 * g + 1, total);
#if DROPOUT
            dropout_mask(random_state, stream, threshold, keep_scale, first_key, keys,
                         (uint)((batch * heads + head) * N + first + g * PANEL), mask);
            for (int i = 0; i < keys * 2; i++) vstore8(vload8(i, p) * vload8(i, mask), i, p);
#endif
            add_value_columns(v + (long)first_key * v_row, v_row, keys, p, PANEL, sum + g * E * PANEL, scale_low,
                              scale_high);
        }
    }

    for (int i = 0; i < queries; i++) {
        const float *column = sum + i / PANEL * E * PANEL + i % PANEL;
        float reciprocal = count > 0 ? 1.0f / total[i] : 0.0f;
        for (int e = 0; e < E; e++) o[(long)i * o_row + e] = column[e * PANEL] * reciprocal;
        lse[i] = count > 0 ? maximum[i] * LOG_2 + log(total[i]) : -INFINITY;
    }
}

#else
/* Six rows of out += weights · x, x [terms][width rounded up to 8] private. The rows of weights lie BLOCK_QUERIES apart;
 * those behind `rows` repeat the last one, which is then written more than once, with the same numbers. */
#define WEIGHT_ROW(r)  const float *w##r = weights + min(r, rows - 1) * BLOCK_QUERIES;
#define TARGET_ROW(r)  __global float *out##r = out + (long)min(r, rows - 1) * out_stride;
#define OUTER_ROW(r)   STEP_ROW(r, w##r[i])
#define ADD_TARGET(r)  low##r += vload8(0, out##r), high##r += vload8(1, out##r);
#define STORE_PAIR(r)  vstore8(low##r, 0, out##r), vstore8(high##r, 1, out##r);
#define ZERO_HALF(r)   float8 low##r = 0.0f;
#define OUTER_HALF(r)  low##r = fma((float8)(w##r[i]), b_low, low##r);
#define ADD_HALF(r)    low##r += vload8(0, out##r);
#define STORE_HALF(r)  vstore8(low##r, 0, out##r);
#define STORE_TILE(r)  vstore8(low##r, r, tile);
INLINE void add_outer(const float *weights, int rows, int terms, const float *x, const int width,
                      __global float *out, int out_stride) {
    const int x_stride = ROUND_UP_8(width);
    EACH_6(WEIGHT_ROW)
    EACH_6(TARGET_ROW)
    int column = 0;
    for (; column + 16 <= width; column += 16) {
        EACH_6(ZERO_ROW)
        for (int i = 0; i < terms; i++) {
            float8 b_low = vload8(0, x + i * x_stride + column), b_high = vload8(1, x + i * x_stride + column);
            EACH_6(OUTER_ROW)
        }
        EACH_6(ADD_TARGET)
        EACH_6(STORE_PAIR)
        out0 += 16, out1 += 16, out2 += 16, out3 += 16, out4 += 16, out5 += 16;
    }
    for (; column < width; column += 8) {
        EACH_6(ZERO_HALF)
        for (int i = 0; i < terms; i++) {
            float8 b_low = vload8(0, x + i * x_stride + column);
            EACH_6(OUTER_HALF)
        }
        if (column + 8 <= width) {
            EACH_6(ADD_HALF)
            EACH_6(STORE_HALF)
            out0 += 8, out1 += 8, out2 += 8, out3 += 8, out4 += 8, out5 += 8;
        } else {
            float tile[6 * 8] ALIGNED;
            EACH_6(STORE_TILE)
            for (int r = 0; r < min(6, rows); r++)
                for (int i = 0; i < width - column; i++) out[(long)r * out_stride + column + i] += tile[r * 8 + i];
        }
    }
}

/* rows of x [count][x_stride] as a dense private array of ROUND_UP_8(width) columns, the added ones 0. */
INLINE void pack_rows(const __global float *x, int x_stride, int count, const int width, float *rows) {
    for (int i = 0; i < count; i++) {
        for (int c = 0; c < width; c++) rows[i * ROUND_UP_8(width) + c] = x[(long)i * x_stride + c];
        for (int c = width; c < ROUND_UP_8(width); c++) rows[i * ROUND_UP_8(width) + c] = 0.0f;
    }
}

INLINE void zero_rows(__global float *x, int x_stride, int count, const int width) {
    for (int i = 0; i < count; i++)
        for (int c = 0; c < width; c++) x[(long)i * x_stride + c] = 0.0f;
}

/* Shapes as in the forward pass; o [B,N,H,E] dense; d_o, dq, dk, dv by strides. A part is `part_blocks` query blocks;
 * with several parts dk and dv are scratch, [parts][B,M,H,·] dense. Work-groups: part, head, sample. */
KERNEL void attention_backward(const __global float *restrict q, const __global float *restrict k,
                               const __global float *restrict v, const __global float *restrict o,
                               const __global float *restrict lse, const __global float *restrict d_o,
                               const __global int *restrict counts, const __global uint *restrict random_state,
                               __global float *restrict dq, __global float *restrict dk, __global float *restrict dv,
                               int N, int M, float scale, int part_blocks, int q_offset, int q_sample, int q_row, int q_head,
                               int k_offset, int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row, int v_head, int d_o_offset, int d_o_sample,
                               int d_o_row, int d_o_head, int dq_offset, int dq_sample, int dq_row, int dq_head, int dk_offset, int dk_sample,
                               int dk_row, int dk_head, int dv_offset, int dv_sample, int dv_row, int dv_head, uint stream,
                               uint threshold, float keep_scale) {
    float query[PANELS * D * PANEL] ALIGNED, query_rows[BLOCK_QUERIES * ROUND_UP_8(D)] ALIGNED;
    float slope[PANELS * E * PANEL] ALIGNED, slope_rows[BLOCK_QUERIES * ROUND_UP_8(E)] ALIGNED;
    float p[KEY_TILE * BLOCK_QUERIES] ALIGNED, ds[KEY_TILE * BLOCK_QUERIES] ALIGNED;
    float shift[BLOCK_QUERIES] ALIGNED, delta[BLOCK_QUERIES] ALIGNED;
#if WRITE_DQ
    float d_query[PANELS * D * PANEL] ALIGNED;
#endif
#if DROPOUT
    float mask[KEY_TILE * PANEL] ALIGNED;
#endif
    const int part = get_group_id(0), head = get_group_id(1), heads = get_num_groups(1), batch = get_group_id(2);
    const int batches = get_num_groups(2);
    const int count = valid_keys(counts, batch, head, heads, M);
    const int end = min((long)N, (long)(part + 1) * part_blocks * BLOCK_QUERIES);
    q += q_offset + (long)batch * q_sample + (long)head * q_head;
    k += k_offset + (long)batch * k_sample + (long)head * k_head;
    v += v_offset + (long)batch * v_sample + (long)head * v_head;
    o += ((long)batch * N * heads + head) * E;
    d_o += d_o_offset + (long)batch * d_o_sample + (long)head * d_o_head;
    lse += ((long)batch * heads + head) * N;
#if WRITE_DQ
    dq += dq_offset + (long)batch * dq_sample + (long)head * dq_head;
#endif
#if WRITE_DK
    dk += dk_offset + ((long)part * batches + batch) * dk_sample + (long)head * dk_head;
    zero_rows(dk, dk_row, M, D);
#endif
#if WRITE_DV
    dv += dv_offset + ((long)part * batches + batch) * dv_sample + (long)head * dv_head;
    zero_rows(dv, dv_row, M, E);
#endif

    for (int first = part * part_blocks * BLOCK_QUERIES; first < end; first += BLOCK_QUERIES) {
        const int queries = min(BLOCK_QUERIES, end - first), panels = (queries + PANEL - 1) / PANEL;
        for (int g = 0; g < panels; g++) {
            const int row = first + g * PANEL, rows = queries - g * PANEL;
            pack_panel(q + (long)row * q_row, q_row, rows, D, scale * LOG2_E, query + g * D * PANEL);
            pack_panel(d_o + (long)row * d_o_row, d_o_row, rows, E, 1.0f, slope + g * E * PANEL);
        }
        pack_rows(q + (long)first * q_row, q_row, queries, D, query_rows);
        pack_rows(d_o + (long)first * d_o_row, d_o_row, queries, E, slope_rows);
        for (int i = 0; i < panels * PANEL; i++) {
            float dot = 0.0f;
            if (i < queries)
                for (int e = 0; e < E; e++)
                    dot = fma(slope_rows[i * ROUND_UP_8(E) + e], o[(long)(first + i) * heads * E + e], dot);
            delta[i] = dot;
            shift[i] = i < queries ? lse[first + i] * LOG2_E : 0.0f;
        }
#if WRITE_DQ
        for (int i = 0; i < panels * D * 2; i++) vstore8((float8)(0.0f), i, d_query);
#endif

        for (int first_key = 0; first_key < count; first_key += KEY_TILE) {
            const int keys = min(KEY_TILE, count - first_key);
            const __global float *k_tile = k + (long)first_key * k_row, *v_tile = v + (long)first_key * v_row;
            for (int g = 0; g < panels; g++) {
                float *p_panel = p + g * PANEL, *ds_panel = ds + g * PANEL;
                for (int j = 0; j < keys; j += 6) {
                    multiply_rows(k_tile + (long)j * k_row, k_row, keys - j, D, query + g * D * PANEL,
                                  p_panel + j * BLOCK_QUERIES, BLOCK_QUERIES);
                    multiply_rows(v_tile + (long)j * v_row, v_row, keys - j, E, slope + g * E * PANEL,
                                  ds_panel + j * BLOCK_QUERIES, BLOCK_QUERIES);
                }
#if DROPOUT
                dropout_mask(random_state, stream, threshold, keep_scale, first_key, keys,
                             (uint)((batch * heads + head) * N + first + g * PANEL), mask);
#endif
                for (int i = 0; i < keys * 2; i++) {
                    float *p_at = p_panel + i / 2 * BLOCK_QUERIES, *ds_at = ds_panel + i / 2 * BLOCK_QUERIES;
                    float8 weight = fast_exp2_8(min(vload8(i % 2, p_at) - vload8(2 * g + i % 2, shift), 0.0f));
                    float8 d_weight = vload8(i % 2, ds_at);
#if DROPOUT
                    d_weight *= vload8(i, mask);
                    vstore8(weight * vload8(i, mask), i % 2, p_at);
#else
                    vstore8(weight, i % 2, p_at);
#endif
                    vstore8(weight * (d_weight - vload8(2 * g + i % 2, delta)) * scale, i % 2, ds_at);
                }
#if WRITE_DQ
                add_key_columns(k_tile, k_row, keys, ds_panel, BLOCK_QUERIES, d_query + g * D * PANEL, (float8)(1.0f),
                                (float8)(1.0f));
#endif
            }
#if WRITE_DV
            for (int j = 0; j < keys; j += 6)
                add_outer(p + j * BLOCK_QUERIES, keys - j, queries, slope_rows, E, dv + (long)(first_key + j) * dv_row,
                          dv_row);
#endif
#if WRITE_DK
            for (int j = 0; j < keys; j += 6)
                add_outer(ds + j * BLOCK_QUERIES, keys - j, queries, query_rows, D, dk + (long)(first_key + j) * dk_row,
                          dk_row);
#endif
        }
#if WRITE_DQ
        for (int i = 0; i < queries; i++) {
            const float *column = d_query + i / PANEL * D * PANEL + i % PANEL;
            for (int d = 0; d < D; d++) dq[(long)(first + i) * dq_row + d] = column[d * PANEL];
        }
#endif
    }
}

/* out [B,M,H,width] by strides = Σ over parts of scratch [parts][B,M,H,width]. Work-groups: key row, sample. */
KERNEL void attention_backward_sum(const __global float *restrict scratch, __global float *restrict out, int parts,
                                   int width, int heads, int out_offset, int out_sample, int out_row, int out_head) {
    const long row = get_group_id(0), rows = get_num_groups(0), batch = get_group_id(1);
    const long part_stride = get_num_groups(1) * rows * heads * width;
    scratch += (batch * rows + row) * heads * width;
    out += out_offset + batch * out_sample + row * out_row;
    for (int head = 0; head < heads; head++)
        for (int i = 0; i < width; i++) {
            float sum = 0.0f;
            for (int part = 0; part < parts; part++) sum += scratch[part * part_stride + head * width + i];
            out[(long)head * out_head + i] = sum;
        }
}
#endif
