/* Linear attention for CPU devices, forward and backward, in time and memory that grow with the length alone.
 *
 * One work-item owns one piece of output: the state of a chunk, a strip of all states of a head, or a block of BLOCK
 * rows. Rows are packed into private memory, with features applied and columns padded with 0 to a multiple of 8; all
 * arithmetic is one product of a packed matrix with another, in register tiles of 6 rows × two vectors of columns:
 * twelve named accumulators (arrays would be spilled).
 *
 * The states lie so that the lanes of the product that reads them are columns: forward [D][E] and the sum of features
 * [D], backward [E][D] with the sum of features as one more row. That row makes the quotient's part of the gradient
 * fall out of the same products: values get a column of ones, slopes g_i = d_o_i / z_i a column -(d_o_i·o_i) / z_i.
 *
 * Loads stop at the lengths. A causal row adds nothing of a later key, not even 0 times its value's rounding. */
#include "common.clh"
#include "lanes.clh"
#include "linear_attention.clh"
#include "transpose.clh"

#ifndef WRITE_DK
#define WRITE_DK 1
#endif
#ifndef WRITE_DV
#define WRITE_DV 1
#endif

#define BLOCK         64 /* rows of a work-item, and of a tile of the other sequence */
#define PART          24 /* rows of a block that share one end of what they see: a multiple of 6 */
#define STRIP         64 /* elements of the states in a work-item that adds them up */
#define EP            ROUND_UP_8(E)
#define VALUE_COLUMNS (E + (BACKWARD && SUM))
#define VP            ROUND_UP_8(VALUE_COLUMNS)
#define STATE         (BACKWARD ? VALUE_COLUMNS * DP : D * VP + SUM * DP)
#define ALIGNED       __attribute__((aligned(64)))
#define KERNEL        __kernel __attribute__((reqd_work_group_size(1, 1, 1)))

#define EACH_6(F) F(0) F(1) F(2) F(3) F(4) F(5)

/* ---- products ---------------------------------------------------------------------------------------------------- */

#define X_ROW(r)     const float *x##r = x + min(row + r, rows - 1) * x_row;
#define OUT_ROW(r)   (out + min(row + r, rows - 1) * out_row + column)
#define ZERO_PAIR(r) floats low##r = 0.0f, high##r = 0.0f;
#define LOAD_PAIR                                                                                                      \
    floats y_low = load_lanes(0, y + i * y_row + column), y_high = load_lanes(1, y + i * y_row + column);
#define STEP_PAIR(r)                                                                                                   \
    {                                                                                                                  \
        floats broadcast = (floats)(x##r[i * x_step]);                                                                 \
        low##r = fma(broadcast, y_low, low##r);                                                                        \
        high##r = fma(broadcast, y_high, high##r);                                                                     \
    }
#define ADD_PAIR(r)    low##r += load_lanes(0, OUT_ROW(r)), high##r += load_lanes(1, OUT_ROW(r));
#define STORE_PAIR(r)  store_lanes(low##r, 0, OUT_ROW(r)), store_lanes(high##r, 1, OUT_ROW(r));
#define ZERO_ONE(r)    floats low##r = 0.0f;
#define LOAD_ONE       floats y_low = load_lanes(0, y + i * y_row + column);
#define STEP_ONE(r)    low##r = fma((floats)(x##r[i * x_step]), y_low, low##r);
#define ADD_ONE(r)     low##r += load_lanes(0, OUT_ROW(r));
#define STORE_ONE(r)   store_lanes(low##r, 0, OUT_ROW(r));
#define ZERO_EIGHT(r)  float8 low##r = 0.0f;
#define LOAD_EIGHT     float8 y_low = vload8(0, y + i * y_row + column);
#define STEP_EIGHT(r)  low##r = fma((float8)(x##r[i * x_step]), y_low, low##r);
#define ADD_EIGHT(r)   low##r += vload8(0, OUT_ROW(r));
#define STORE_EIGHT(r) vstore8(low##r, 0, OUT_ROW(r));

/* out [rows][columns] = x · y, or += where it is not fresh, columns a multiple of 8; element (r, i) of x [rows][terms] is
 * x[r·x_row + i·x_step]. Runs of RUN terms, the last with up to eight more, are added up for themselves, since features
 * have one sign and a long chain of such terms loses digits. The last tile repeats the last row in place of those behind
 * it: all copies are read before one is written. */
#define RUN 32
#define TILES(KIND, WIDTH)                                                                                             \
    for (; column + WIDTH <= columns; column += WIDTH)                                                                 \
        for (int row = 0; row < rows; row += 6) {                                                                      \
            EACH_6(X_ROW)                                                                                              \
            for (int first = 0, end; first < terms; first = end) {                                                     \
                end = terms - first <= RUN + 8 ? terms : first + RUN;                                                  \
                EACH_6(ZERO_##KIND)                                                                                    \
                for (int i = first; i < end; i++) {                                                                    \
                    LOAD_##KIND EACH_6(STEP_##KIND)                                                                    \
                }                                                                                                      \
                if (first > 0 || !fresh) {                                                                             \
                    EACH_6(ADD_##KIND)                                                                                 \
                }                                                                                                      \
                EACH_6(STORE_##KIND)                                                                                   \
            }                                                                                                          \
        }
#define DEFINE_MULTIPLY(NAME, Y_SPACE, OUT_SPACE)                                                                      \
    INLINE void NAME(const float *x, const int x_row, const int x_step, int rows, int terms, const Y_SPACE float *y,   \
                     const int y_row, int columns, OUT_SPACE float *out, const int out_row, bool fresh) {              \
        int column = 0;                                                                                                \
        TILES(PAIR, 2 * LANES)                                                                                         \
        TILES(ONE, LANES)                                                                                              \
        if (LANES > 8) TILES(EIGHT, 8)                                                                                 \
    }
DEFINE_MULTIPLY(multiply, __private, __private)
DEFINE_MULTIPLY(multiply_state, __global, __private)
DEFINE_MULTIPLY(multiply_into_state, __private, __global)

/* ---- packing ----------------------------------------------------------------------------------------------------- */

INLINE void clear(float *x, int count) {
    for (int i = 0; i < count; i += 8) vstore8((float8)(0.0f), 0, x + i);
}

INLINE float identity_1(float x) {
    return x;
}

INLINE float8 identity_8(float8 x) {
    return x;
}

INLINE float16 identity_16(float16 x) {
    return x;
}

/* out [rows rounded up to 8][pitch] = map(rows of x), with 0 in the added columns and rows. Sixteen at once, since one
 * vector of eight waits for its own chain of operations. */
#define DEFINE_PACK(NAME, MAP)                                                                                         \
    INLINE void NAME(const __global float *x, int x_row, int rows, const int width, float *out, const int pitch) {     \
        for (int i = 0; i < rows; i++) {                                                                               \
            const __global float *from = x + (long)i * x_row;                                                          \
            float *to = out + i * pitch;                                                                               \
            int column = 0;                                                                                            \
            for (; column + 16 <= width; column += 16) vstore16(MAP##_16(vload16(0, from + column)), 0, to + column);  \
            for (; column + 8 <= width; column += 8) vstore8(MAP##_8(vload8(0, from + column)), 0, to + column);       \
            for (; column < width; column++) to[column] = MAP##_1(from[column]);                                       \
            for (; column < pitch; column++) to[column] = 0.0f;                                                        \
        }                                                                                                              \
        for (int i = rows * pitch; i < ROUND_UP_8(rows) * pitch; i += 8) vstore8((float8)(0.0f), 0, out + i);          \
    }
DEFINE_PACK(pack_features, feature)
DEFINE_PACK(pack_plain, identity)

INLINE void pack_values(const __global float *v, int v_row, int rows, float *out) {
    pack_plain(v, v_row, rows, E, out, VP);
#if BACKWARD && SUM
    for (int i = 0; i < rows; i++) out[i * VP + E] = 1.0f;
#endif
}

#if BACKWARD
/* g_i = d_o_i / z_i and, for the sum, -(d_o_i·o_i) / z_i; 0 where z_i is 0. */
INLINE void pack_slopes(const __global float *d_o, int d_o_row, const __global float *o, int o_row,
                        const __global float *z, int rows, float *out) {
    for (int i = 0; i < rows; i++, d_o += d_o_row, o += o_row) {
        float *slope = out + i * VP;
        const float factor = z[i] == 0.0f ? 0.0f : 1.0f / z[i];
        float8 products = 0.0f;
        float along = 0.0f;
        int e = 0;
        for (; e + 8 <= E; e += 8) {
            const float8 values = vload8(0, d_o + e);
            if (SUM) products = fma(vload8(0, o + e), values, products);
            vstore8(values * factor, 0, slope + e);
        }
        for (; e < E; e++) {
            if (SUM) along = fma(o[e], d_o[e], along);
            slope[e] = d_o[e] * factor;
        }
        if (SUM) slope[e++] = -(along + lanes_sum(products)) * factor;
        for (; e < VP; e++) slope[e] = 0.0f;
    }
    clear(out + rows * VP, (ROUND_UP_8(rows) - rows) * VP);
}
#endif

/* out [width][BLOCK] = x [rows][pitch] transposed. Private rows are rounded up to 8; those of a state end, and the last
 * one is repeated instead. */
#define ROW_8(r) vload8(0, x + (long)ROW(i + r) * pitch + c)
#define DEFINE_TRANSPOSE(NAME, X_SPACE)                                                                                \
    INLINE void NAME(const X_SPACE float *x, const int pitch, int rows, const int width, float *out) {                 \
        for (int i = 0; i < rows; i += 8) {                                                                            \
            int c = 0;                                                                                                 \
            for (; c + 8 <= width; c += 8)                                                                             \
                store_transposed_private(ROW_8(0), ROW_8(1), ROW_8(2), ROW_8(3), ROW_8(4), ROW_8(5), ROW_8(6),         \
                                         ROW_8(7), out + c * BLOCK + i, BLOCK);                                        \
            for (; c < width; c++)                                                                                     \
                for (int r = i; r < i + 8; r++) out[c * BLOCK + r] = x[(long)ROW(r) * pitch + c];                      \
        }                                                                                                              \
    }
#define ROW(r) (r)
DEFINE_TRANSPOSE(transpose, __private)
#undef ROW
#define ROW(r) min(r, rows - 1)
DEFINE_TRANSPOSE(transpose_state, __global)

/* ---- states ------------------------------------------------------------------------------------------------------ */

INLINE void clear_state(__global float *state) {
    for (int i = 0; i < STATE; i += 8) vstore8((float8)(0.0f), 0, state + i);
}

/* Adds rows of features [rows][DP] and values or slopes [rows][VP] to a state, or begins it. */
INLINE void add_to_state(const float *features, const float *values, int rows, __global float *state, bool fresh) {
#if BACKWARD
    multiply_into_state(values, 1, VP, VALUE_COLUMNS, rows, features, DP, DP, state, DP, fresh);
#else
    multiply_into_state(features, 1, DP, D, rows, values, VP, VP, state, VP, fresh);
#if SUM
    for (int c = 0; c < DP; c += 8) {
        float8 sum = fresh ? (float8)(0.0f) : vload8(0, state + D * VP + c);
        for (int i = 0; i < rows; i++) sum += vload8(0, features + i * DP + c);
        vstore8(sum, 0, state + D * VP + c);
    }
#endif
#endif
}

/* The state of one chunk of keys, in its slot. share: heads of states per key head. Work-groups: chunk, head of states,
 * sample. */
KERNEL void linear_attention_key_state(VIEW(k), VIEW(v), const __global int *restrict key_lengths,
                                       __global float *restrict states, int M, int share, int slots) {
    float b[BLOCK * DP] ALIGNED, values[BLOCK * VP] ALIGNED;
    const int first = get_group_id(0) * CHUNK, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2);
    const int end = min(first + CHUNK, valid_keys(key_lengths, sample, head, heads, M));
    k = AT(k, sample, head / share);
    v = AT(v, sample, head / share);
    states += (((long)sample * heads + head) * slots + get_group_id(0)) * STATE;
    if (first >= end) clear_state(states);
    for (int row = first; row < end; row += BLOCK) {
        const int rows = min(BLOCK, end - row);
        pack_features(k + (long)row * k_row, k_row, rows, D, b, DP);
        pack_values(v + (long)row * v_row, v_row, rows, values);
        add_to_state(b, values, rows, states, row == first);
    }
}

#if BACKWARD
/* The state of one chunk of queries, in its slot. Work-groups: chunk, head, sample. */
KERNEL void linear_attention_query_state(VIEW(q), VIEW(d_o), const __global float *restrict o /* [B,N,H,E] */,
                                         const __global float *restrict z /* [B,H,N] */,
                                         const __global int *restrict query_lengths, __global float *restrict states,
                                         int N, int slots) {
    float a[BLOCK * DP] ALIGNED, slopes[BLOCK * VP] ALIGNED;
    const int first = get_group_id(0) * CHUNK, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2);
    const int end = min(first + CHUNK, valid_queries(query_lengths, sample, N));
    q = AT(q, sample, head);
    d_o = AT(d_o, sample, head);
    o += ((long)sample * N * heads + head) * E;
    z += ((long)sample * heads + head) * N;
    states += (((long)sample * heads + head) * slots + get_group_id(0)) * STATE;
    if (first >= end) clear_state(states);
    for (int row = first; row < end; row += BLOCK) {
        const int rows = min(BLOCK, end - row);
        pack_features(q + (long)row * q_row, q_row, rows, D, a, DP);
        pack_slopes(d_o + (long)row * d_o_row, d_o_row, o + (long)row * heads * E, heads * E, z + row, rows, slopes);
        add_to_state(a, slopes, rows, states, row == first);
    }
}
#endif

/* Slot c becomes the sum of the slots before it, the last slot that of all. Work-groups: strip, head, sample. */
KERNEL void linear_attention_prefix(__global float *restrict states, int slots) {
    float sum[STRIP] ALIGNED;
    const int first = get_group_id(0) * STRIP, count = min(STRIP, STATE - first);
    states += ((long)get_group_id(2) * get_num_groups(1) + get_group_id(1)) * slots * STATE + first;
    clear(sum, STRIP);
    for (int slot = 0; slot + 1 < slots; slot++)
        for (int i = 0; i < count; i += 8) {
            __global float *at = states + (long)slot * STATE + i;
            float8 before = vload8(0, sum + i), own = vload8(0, at);
#if CAUSAL
            vstore8(before, 0, at);
#endif
            vstore8(before + own, 0, sum + i);
        }
    for (int i = 0; i < count; i += 8) vstore8(vload8(0, sum + i), 0, states + (long)(slots - 1) * STATE + i);
}

#if BACKWARD
/* Slot c becomes the sum of itself and the slots behind it, the last slot 0; without CAUSAL slot 0 that of all.
 * Work-groups: strip, head, sample. */
KERNEL void linear_attention_suffix(__global float *restrict states, int slots) {
    float sum[STRIP] ALIGNED;
    const int first = get_group_id(0) * STRIP, count = min(STRIP, STATE - first);
    states += ((long)get_group_id(2) * get_num_groups(1) + get_group_id(1)) * slots * STATE + first;
    clear(sum, STRIP);
    for (int i = 0; i < count; i += 8) vstore8((float8)(0.0f), 0, states + (long)(slots - 1) * STATE + i);
    for (int slot = slots - 2; slot >= 0; slot--)
        for (int i = 0; i < count; i += 8) {
            __global float *at = states + (long)slot * STATE + i;
            float8 own = vload8(0, sum + i) + vload8(0, at);
            vstore8(own, 0, sum + i);
#if CAUSAL
            vstore8(own, 0, at);
#endif
        }
#if !CAUSAL
    for (int i = 0; i < count; i += 8) vstore8(vload8(0, sum + i), 0, states + i);
#endif
}
#endif

/* ---- outputs ----------------------------------------------------------------------------------------------------- */

#if CAUSAL
/* weights [rows][BLOCK] = x [rows][pitch] · columns [pitch][BLOCK], of which row r keeps columns 0 … last + r, those up
 * to `seen` computed at all. */
INLINE void weights_before(const float *x, const int pitch, const int terms, int rows, const float *columns, int seen,
                           int last, float *weights) {
    const int computed = ROUND_UP_8(seen);
    multiply(x, pitch, 1, rows, terms, columns, BLOCK, computed, weights, BLOCK, true);
    for (int r = 0; r < rows; r++)
        for (int i = clamp(last + r + 1, 0, computed); i < computed; i++) weights[r * BLOCK + i] = 0.0f;
}
#endif

#if !BACKWARD
/* o [B,N,H,E] and z [B,H,N], both dense. group: query heads per key head; share: query heads per head of states.
 * Work-groups: block of queries, head, sample. */
KERNEL void linear_attention_forward(VIEW(q), VIEW(k), VIEW(v), const __global float *restrict states,
                                     const __global int *restrict key_lengths,
                                     const __global int *restrict query_lengths, __global float *restrict o,
                                     __global float *restrict z, int N, int M, int group, int share, int slots,
                                     float scale) {
    float a[BLOCK * DP] ALIGNED, out[BLOCK * VP] ALIGNED, total[BLOCK] ALIGNED;
#if CAUSAL
    float b[BLOCK * DP] ALIGNED, b_columns[D * BLOCK] ALIGNED, values[BLOCK * VP] ALIGNED;
    float weights[PART * BLOCK] ALIGNED;
#endif
    const int first = get_group_id(0) * BLOCK, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2);
    const int keys = valid_keys(key_lengths, sample, head, heads, M);
    const int queries = valid_queries(query_lengths, sample, N), shift = position_shift(keys, queries);
    const int rows = clamp(queries - first, 0, BLOCK), slot = key_slot(first, shift, slots);
    q = AT(q, sample, head) + (long)first * q_row;
    k = AT(k, sample, head / group);
    v = AT(v, sample, head / group);
    o += (((long)sample * N + first) * heads + head) * E;
    z += ((long)sample * heads + head) * N + first;
    states += (((long)sample * (heads / share) + head / share) * slots + slot) * STATE;

    pack_features(q, q_row, rows, D, a, DP);
    multiply_state(a, DP, 1, rows, D, states, VP, VP, out, VP, true);
    for (int i = 0; i < rows; i++) {
        float8 products = 0.0f;
#if SUM
        for (int c = 0; c < DP; c += 8)
            products = fma(vload8(0, a + i * DP + c), vload8(0, states + D * VP + c), products);
#endif
        total[i] = lanes_sum(products);
    }
#if CAUSAL
    const int end = rows > 0 ? keys_seen(first + rows - 1, shift, keys) : 0;
    for (int tile = slot * CHUNK; tile < end; tile += BLOCK) {
        const int tile_keys = min(BLOCK, end - tile);
        pack_features(k + (long)tile * k_row, k_row, tile_keys, D, b, DP);
        pack_values(v + (long)tile * v_row, v_row, tile_keys, values);
        transpose(b, DP, tile_keys, D, b_columns);
        for (int part = 0; part < rows; part += PART) {
            const int part_rows = min(PART, rows - part), last = first + part + shift - tile;
            const int seen = clamp(last + part_rows, 0, tile_keys);
            weights_before(a + part * DP, DP, D, part_rows, b_columns, seen, last, weights);
            multiply(weights, BLOCK, 1, part_rows, seen, values, VP, VP, out + part * VP, VP, false);
            for (int r = 0; r < part_rows; r++) {
                float8 sum = 0.0f;
                for (int i = 0; i < seen; i += 8) sum += vload8(0, weights + r * BLOCK + i);
                total[part + r] += lanes_sum(sum);
            }
        }
    }
#endif
    for (int i = 0; i < min(BLOCK, N - first); i++) {
        __global float *to = o + (long)i * heads * E;
        const int seen = i < rows ? keys_seen(first + i, shift, keys) : 0;
#if NORMALISER == 0
        const float divisor = i < rows ? scale * total[i] : 0.0f;
#elif NORMALISER == 1
        const float divisor = seen;
#else
        const float divisor = seen > 0 ? 1.0f : 0.0f;
#endif
        const float factor = divisor == 0.0f ? 0.0f : scale / divisor;
        int e = 0;
        if (divisor != 0.0f)
            for (; e + 8 <= E; e += 8) vstore8(vload8(0, out + i * VP + e) * factor, 0, to + e);
        for (; e < E; e++) to[e] = divisor == 0.0f ? 0.0f : out[i * VP + e] * factor;
        z[i] = divisor;
    }
}

#else
/* dx = d · φ'(x) · scale for `rows` rows, 0 for those up to `all`; d and features, which are φ(x) or NULL, [rows][DP]. */
#define SLOPE(N)                                                                                                       \
    (features ? feature_slope_of_##N(vload##N(0, features + i * DP + c), vload##N(0, at + c))                          \
              : feature_slope_##N(vload##N(0, at + c)))
INLINE void store_features(const float *d, const float *features, const __global float *x, int x_row,
                           __global float *dx, int dx_row, int rows, int all, float scale) {
    for (int i = 0; i < all; i++) {
        const __global float *at = x + (long)i * x_row;
        __global float *to = dx + (long)i * dx_row;
        int c = 0;
        for (; c + 16 <= D && i < rows; c += 16)
            vstore16(vload16(0, d + i * DP + c) * SLOPE(16) * scale, 0, to + c);
        for (; c + 8 <= D && i < rows; c += 8) vstore8(vload8(0, d + i * DP + c) * SLOPE(8) * scale, 0, to + c);
        for (; c < D; c++) to[c] = i < rows ? d[i * DP + c] * feature_slope_1(at[c]) * scale : 0.0f;
    }
}

/* dq. Shapes as in the forward pass. Work-groups: block of queries, head, sample. */
KERNEL void linear_attention_backward_queries(VIEW(q), VIEW(k), VIEW(v), VIEW(d_o), const __global float *restrict o,
                                              const __global float *restrict z, const __global float *restrict states,
                                              const __global int *restrict key_lengths,
                                              const __global int *restrict query_lengths, WRITTEN_VIEW(dq), int N,
                                              int M, int group, int share, int slots, float scale) {
    float slopes[BLOCK * VP] ALIGNED, out[BLOCK * DP] ALIGNED;
#if CAUSAL
    float b[BLOCK * DP] ALIGNED, values[BLOCK * VP] ALIGNED, value_columns[VALUE_COLUMNS * BLOCK] ALIGNED;
    float weights[PART * BLOCK] ALIGNED;
#endif
    const int first = get_group_id(0) * BLOCK, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2);
    const int keys = valid_keys(key_lengths, sample, head, heads, M);
    const int queries = valid_queries(query_lengths, sample, N), shift = position_shift(keys, queries);
    const int rows = clamp(queries - first, 0, BLOCK), slot = key_slot(first, shift, slots);
    q = AT(q, sample, head) + (long)first * q_row;
    k = AT(k, sample, head / group);
    v = AT(v, sample, head / group);
    d_o = AT(d_o, sample, head) + (long)first * d_o_row;
    dq = AT(dq, sample, head) + (long)first * dq_row;
    o += (((long)sample * N + first) * heads + head) * E;
    z += ((long)sample * heads + head) * N + first;
    states += (((long)sample * (heads / share) + head / share) * slots + slot) * STATE;

    pack_slopes(d_o, d_o_row, o, heads * E, z, rows, slopes);
    multiply_state(slopes, VP, 1, rows, VALUE_COLUMNS, states, DP, DP, out, DP, true);
#if CAUSAL
    const int end = rows > 0 ? keys_seen(first + rows - 1, shift, keys) : 0;
    for (int tile = slot * CHUNK; tile < end; tile += BLOCK) {
        const int tile_keys = min(BLOCK, end - tile);
        pack_features(k + (long)tile * k_row, k_row, tile_keys, D, b, DP);
        pack_values(v + (long)tile * v_row, v_row, tile_keys, values);
        transpose(values, VP, tile_keys, VALUE_COLUMNS, value_columns);
        for (int part = 0; part < rows; part += PART) {
            const int part_rows = min(PART, rows - part), last = first + part + shift - tile;
            const int seen = clamp(last + part_rows, 0, tile_keys);
            weights_before(slopes + part * VP, VP, VALUE_COLUMNS, part_rows, value_columns, seen, last, weights);
            multiply(weights, BLOCK, 1, part_rows, seen, b, DP, DP, out + part * DP, DP, false);
        }
    }
#endif
    store_features(out, 0, q, q_row, dq, dq_row, rows, min(BLOCK, N - first), scale);
}

#if CAUSAL
/* The mirror image: row r keeps columns first + r and later, those from `skipped` (a multiple of 8) on computed. */
INLINE void weights_behind(const float *x, const int pitch, const int terms, int rows, const float *columns,
                           int skipped, int count, int first, float *weights) {
    const int computed = ROUND_UP_8(count) - skipped;
    multiply(x, pitch, 1, rows, terms, columns + skipped, BLOCK, computed, weights + skipped, BLOCK, true);
    for (int r = 0; r < rows; r++)
        for (int i = skipped; i < clamp(first + r, skipped, count); i++) weights[r * BLOCK + i] = 0.0f;
}
#endif

/* dk, dv: the sums over the query heads of a group, in their order. states: of the queries, a head each. Work-groups:
 * block of keys, key head, sample. */
KERNEL void linear_attention_backward_keys(VIEW(q), VIEW(k), VIEW(v), VIEW(d_o), const __global float *restrict o,
                                           const __global float *restrict z, const __global float *restrict states,
                                           const __global int *restrict key_lengths,
                                           const __global int *restrict query_lengths, WRITTEN_VIEW(dk),
                                           WRITTEN_VIEW(dv), int N, int M, int group, int slots, float scale) {
    float b[BLOCK * DP] ALIGNED, values[BLOCK * VP] ALIGNED,
        columns[(D > VALUE_COLUMNS ? D : VALUE_COLUMNS) * BLOCK] ALIGNED;
#if CAUSAL
    float a[BLOCK * DP] ALIGNED, slopes[BLOCK * VP] ALIGNED, weights[PART * BLOCK] ALIGNED;
#endif
#if WRITE_DK
    float d_key[BLOCK * DP] ALIGNED;
    clear(d_key, BLOCK * DP);
#endif
#if WRITE_DV
    float d_value[BLOCK * EP] ALIGNED;
    clear(d_value, BLOCK * EP);
#endif
    const int first = get_group_id(0) * BLOCK, heads = get_num_groups(1) * group, sample = get_group_id(2);
    const int queries = valid_queries(query_lengths, sample, N);
    k = AT(k, sample, get_group_id(1)) + (long)first * k_row;
    v = AT(v, sample, get_group_id(1)) + (long)first * v_row;
    int most = 0; /* rows that any head of the group sees */
    for (int member = 0; member < group; member++)
        most = max(most, valid_keys(key_lengths, sample, get_group_id(1) * group + member, heads, M) - first);
    most = min(most, BLOCK);
    pack_features(k, k_row, most, D, b, DP);
    pack_values(v, v_row, most, values);

    for (int member = 0; member < group; member++) {
        const int head = get_group_id(1) * group + member, keys = valid_keys(key_lengths, sample, head, heads, M);
        const int rows = min(BLOCK, keys - first), shift = position_shift(keys, queries);
        if (rows <= 0) continue;
        const int slot = query_slot(first + rows - 1, shift, slots);
        const __global float *state = states + (((long)sample * heads + head) * slots + slot) * STATE;
#if WRITE_DK
        multiply_state(values, VP, 1, rows, VALUE_COLUMNS, state, DP, DP, d_key, DP, false);
#endif
#if WRITE_DV
        for (int e = 0; e < EP; e += BLOCK) { /* the state's columns e … as rows of a product */
            const int count = min(BLOCK, EP - e);
            transpose_state(state + e * DP, DP, min(count, VALUE_COLUMNS - e), D, columns);
            multiply(b, DP, 1, rows, D, columns, BLOCK, count, d_value + e, EP, false);
        }
#endif
#if CAUSAL
        const __global float *head_q = AT(q, sample, head), *head_d_o = AT(d_o, sample, head);
        const __global float *head_o = o + ((long)sample * N * heads + head) * E;
        const __global float *head_z = z + ((long)sample * heads + head) * N;
        const int end = min(queries, slot * CHUNK);
        for (int tile = max(first - shift, 0); tile < end; tile += BLOCK) {
            const int tile_queries = min(BLOCK, end - tile), see_all = first - shift - tile;
            pack_features(head_q + (long)tile * q_row, q_row, tile_queries, D, a, DP);
            pack_slopes(head_d_o + (long)tile * d_o_row, d_o_row, head_o + (long)tile * heads * E, heads * E,
                        head_z + tile, tile_queries, slopes);
#if WRITE_DV
            transpose(a, DP, tile_queries, D, columns);
            for (int part = 0; part < rows; part += PART) {
                const int part_rows = min(PART, rows - part);
                const int skipped = clamp(see_all + part, 0, tile_queries) / 8 * 8;
                weights_behind(b + part * DP, DP, D, part_rows, columns, skipped, tile_queries, see_all + part,
                               weights);
                multiply(weights + skipped, BLOCK, 1, part_rows, tile_queries - skipped, slopes + skipped * VP, VP, EP,
                         d_value + part * EP, EP, false);
            }
#endif
#if WRITE_DK
            transpose(slopes, VP, tile_queries, VALUE_COLUMNS, columns);
            for (int part = 0; part < rows; part += PART) {
                const int part_rows = min(PART, rows - part);
                const int skipped = clamp(see_all + part, 0, tile_queries) / 8 * 8;
                weights_behind(values + part * VP, VP, VALUE_COLUMNS, part_rows, columns, skipped, tile_queries,
                               see_all + part, weights);
                multiply(weights + skipped, BLOCK, 1, part_rows, tile_queries - skipped, a + skipped * DP, DP, DP,
                         d_key + part * DP, DP, false);
            }
#endif
        }
#endif
    }
#if WRITE_DK
    dk = AT(dk, sample, get_group_id(1)) + (long)first * dk_row;
    store_features(d_key, b, k, k_row, dk, dk_row, most, min(BLOCK, M - first), scale);
#endif
#if WRITE_DV
    dv = AT(dv, sample, get_group_id(1)) + (long)first * dv_row;
    for (int i = 0; i < min(BLOCK, M - first); i++, dv += dv_row) {
        int e = 0;
        for (; e + 8 <= E && i < most; e += 8) vstore8(vload8(0, d_value + i * EP + e) * scale, 0, dv + e);
        for (; e < E; e++) dv[e] = i < most ? d_value[i * EP + e] * scale : 0.0f;
    }
#endif
}
#endif
