/* Linear attention for CPU devices, forward and backward, in time and memory that grow with the length alone.
 *
 * One work-item owns a chunk of rows and walks it in blocks of BLOCK rows: queries upwards, keys downwards. Rows are
 * packed into private memory, with features applied and columns padded with 0; all arithmetic is one product of a
 * packed matrix with another, in register tiles of ROWS rows × two vectors of columns: named accumulators (arrays would
 * be spilled). What a block needs besides fits the first-level cache with it. The next block is asked for while the
 * products of this one run: rows of one head lie too far apart for the device to see them coming.
 *
 * The state that rows are multiplied with is private, too. Without CAUSAL it is the sum over all chunks, in slot 0.
 * With it, a slot holds the state of the chunks in front of its own (keys) or behind it (queries); the walk begins with
 * that and adds each block once it has been passed. A single chunk begins with nothing, and needs no slot.
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

#ifndef WRITE_DQ
#define WRITE_DQ 1
#endif
#ifndef WRITE_DK
#define WRITE_DK 1
#endif
#ifndef WRITE_DV
#define WRITE_DV 1
#endif
#ifndef QUERY_STATES /* the pass for dq leaves the states of queries for that for dk and dv */
#define QUERY_STATES 1
#endif

#define ROWS  (LANES / 2) /* of a register tile */
#define BLOCK 32          /* rows of a step of the walk, and of a tile of the other sequence */
#define STRIP 64          /* elements of the states in a work-item that adds them up */

/* Columns of rows in private memory, whole lines; rows that lie a multiple of 512 bytes apart would share the sets of
 * the first-level cache. */
#define ROUND_UP_16(x) (((x) + 15) / 16 * 16)
#define PITCH(columns) (ROUND_UP_16(columns) + (ROUND_UP_16(columns) % 128 == 0 ? 16 : 0))
#define VALUE_COLUMNS  (E + (BACKWARD && SUM))
#define KEY_PITCH      PITCH(D)
#define VALUE_PITCH    PITCH(VALUE_COLUMNS)

/* Rows of a state that are products of tiles. A sum of features that no tile has room for is a row of its own. */
#define LONE_SUM  (SUM && (!BACKWARD || E % 8 == 0))
#define TILE_ROWS (BACKWARD ? (LONE_SUM ? E : ROUND_UP_8(VALUE_COLUMNS)) : ROUND_UP_8(D))
#define STATE_ROW (BACKWARD ? KEY_PITCH : VALUE_PITCH)
#define STATE     (TILE_ROWS * STATE_ROW + LONE_SUM * KEY_PITCH)
#define ALIGNED   __attribute__((aligned(64)))
#define OUTLINE   static __attribute__((noinline))
#define KERNEL    __kernel __attribute__((reqd_work_group_size(1, 1, 1)))

#if LANES == 16
#define EACH_ROW(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#else
#define EACH_ROW(F) F(0) F(1) F(2) F(3)
#endif

/* ---- what comes next --------------------------------------------------------------------------------------------- */

/* Rows that a block will write or the next one read, [rows][row]. Each of a block's `tiles` of products asks for its
 * share of them: asked for at once they would wait for one another, and the products for them. */
typedef struct rows_ahead {
    const __global float *x;
    int row, rows, width;
} rows_ahead;
#define STREAMS 7
typedef struct coming {
    rows_ahead streams[STREAMS];
    int count, tiles, tile;
} coming;
#define NO_COMING ((coming *)0)

INLINE void expect(coming *next, const __global float *x, int row, int rows, int width) {
    const rows_ahead stream = {x, row, rows, width};
    next->streams[next->count++] = stream;
}

INLINE void ask(coming *next) {
    const int from = next->tile * BLOCK / next->tiles, to = ++next->tile * BLOCK / next->tiles;
    for (int s = 0; s < next->count; s++) {
        const rows_ahead stream = next->streams[s];
        for (int i = from; i < min(to, stream.rows); i++)
            for (int c = 0; c < stream.width; c += CACHE_LINE) expect_line(stream.x + (long)i * stream.row + c);
    }
}

/* Tiles of the products that ask. */
#define COLUMN_TILES(columns) (((columns) + 2 * LANES - 1) / (2 * LANES))
#define ADDING_TILES          (TILE_ROWS / ROWS * COLUMN_TILES(BACKWARD ? D : E))
#define STATE_TILES           (BLOCK / ROWS * COLUMN_TILES(BACKWARD ? D : E))
#define VALUE_TILES           (CAUSAL ? ROUND_UP_8(E) / ROWS * COLUMN_TILES(BLOCK) : BLOCK / ROWS * COLUMN_TILES(E))

/* ---- products ---------------------------------------------------------------------------------------------------- */

#define X_ROW(r)     const float *x##r = x + (row + r) * x_row;
#define OUT_ROW(r)   (out + (row + r) * out_row + column)
#define ZERO_PAIR(r) floats low##r = 0.0f, high##r = 0.0f;
#define LOAD_PAIR                                                                                                      \
    floats y_low = load_lanes(0, y + i * y_row + column), y_high = load_lanes(1, y + i * y_row + column);
#define STEP_PAIR(r)                                                                                                   \
    {                                                                                                                  \
        floats broadcast = (floats)(x##r[i * x_step]);                                                                 \
        low##r = fma(broadcast, y_low, low##r);                                                                        \
        high##r = fma(broadcast, y_high, high##r);                                                                     \
    }
#define ADD_PAIR(r)   low##r += load_lanes(0, OUT_ROW(r)), high##r += load_lanes(1, OUT_ROW(r));
#define STORE_PAIR(r) store_lanes(low##r, 0, OUT_ROW(r)), store_lanes(high##r, 1, OUT_ROW(r));
#define ZERO_ONE(r)   floats low##r = 0.0f;
#define LOAD_ONE      floats y_low = load_lanes(0, y + i * y_row + column);
#define STEP_ONE(r)   low##r = fma((floats)(x##r[i * x_step]), y_low, low##r);
#define ADD_ONE(r)    low##r += load_lanes(0, OUT_ROW(r));
#define STORE_ONE(r)  store_lanes(low##r, 0, OUT_ROW(r));

/* out [rows][columns] = x · y, or += where it is not fresh, rows a multiple of ROWS, columns of 16; element (r, i) of
 * x [rows][terms] is x[r·x_row + i·x_step]. Runs of RUN terms, the last with up to eight more, are added up for
 * themselves, since features have one sign and a long chain of such terms loses digits. */
#define RUN 64
#define TILES(KIND, WIDTH)                                                                                             \
    for (; column + WIDTH <= columns; column += WIDTH)                                                                 \
        for (int row = 0; row < rows; row += ROWS) {                                                                   \
            if (next) ask(next);                                                                                       \
            EACH_ROW(X_ROW)                                                                                            \
            for (int first = 0, end; first < terms; first = end) {                                                     \
                end = terms - first <= RUN + 8 ? terms : first + RUN;                                                  \
                EACH_ROW(ZERO_##KIND)                                                                                  \
                for (int i = first; i < end; i++) {                                                                    \
                    LOAD_##KIND EACH_ROW(STEP_##KIND)                                                                  \
                }                                                                                                      \
                if (first > 0 || !fresh) {                                                                             \
                    EACH_ROW(ADD_##KIND)                                                                               \
                }                                                                                                      \
                EACH_ROW(STORE_##KIND)                                                                                 \
            }                                                                                                          \
        }
INLINE void multiply(const float *x, const int x_row, const int x_step, int rows, int terms, const float *y,
                     const int y_row, int columns, float *out, const int out_row, const bool fresh, coming *next) {
    int column = 0;
    TILES(PAIR, 2 * LANES)
    if (LANES > 8) TILES(ONE, LANES)
}

/* out [columns] += Σ_i x[i·x_step] · y[i] */
INLINE void multiply_row(const float *x, const int x_step, int terms, const float *y, const int y_row, int columns,
                         float *out) {
    for (int column = 0; column < columns; column += LANES, y += LANES, out += LANES) {
        floats sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f; /* BLOCK terms have no chain to wait for */
        int i = 0;
        for (; i + 4 <= terms; i += 4) {
            sum0 = fma((floats)(x[i * x_step]), load_lanes(0, y + i * y_row), sum0);
            sum1 = fma((floats)(x[(i + 1) * x_step]), load_lanes(0, y + (i + 1) * y_row), sum1);
            sum2 = fma((floats)(x[(i + 2) * x_step]), load_lanes(0, y + (i + 2) * y_row), sum2);
            sum3 = fma((floats)(x[(i + 3) * x_step]), load_lanes(0, y + (i + 3) * y_row), sum3);
        }
        for (; i < terms; i++) sum0 = fma((floats)(x[i * x_step]), load_lanes(0, y + i * y_row), sum0);
        store_lanes(load_lanes(0, out) + ((sum0 + sum1) + (sum2 + sum3)), 0, out);
    }
}

INLINE float sum_of(floats x) {
#if LANES == 16
    return lanes_sum(x.lo + x.hi);
#else
    return lanes_sum(x);
#endif
}

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

/* As store_lanes, of sixteen and eight numbers. */
typedef float16 float16_anywhere __attribute__((aligned(4)));
typedef float8 float8_anywhere __attribute__((aligned(4)));
#define PUT_16(x, SPACE, p) (*(SPACE float16_anywhere *)(p) = (x))
#define PUT_8(x, SPACE, p)  (*(SPACE float8_anywhere *)(p) = (x))
#define PUT_PRIVATE_8(x, p) PUT_8(x, __private, p)

/* out [BLOCK][pitch] = map(rows of x), with 0 in the added columns and rows. Sixteen at once, since one vector of eight
 * waits for its own chain of operations. */
#define DEFINE_PACK(NAME, MAP, WIDTH, USED, PITCH)                                                                     \
    OUTLINE void NAME(const __global float *x, int x_row, int rows, float *out) {                                      \
        for (int i = 0; i < rows; i++, x += x_row, out += PITCH) {                                                     \
            int column = 0;                                                                                            \
            for (; column + 16 <= WIDTH; column += 16)                                                                 \
                PUT_16(MAP##_16(vload16(0, x + column)), __private, out + column);                                     \
            for (; column + 8 <= WIDTH; column += 8) PUT_8(MAP##_8(vload8(0, x + column)), __private, out + column);   \
            for (; column < WIDTH; column++) out[column] = MAP##_1(x[column]);                                         \
            for (; column < USED; column++) out[column] = 0.0f;                                                        \
        }                                                                                                              \
        clear(out, (BLOCK - rows) * PITCH);                                                                            \
    }
DEFINE_PACK(pack_features, feature, D, ROUND_UP_16(D), KEY_PITCH)
DEFINE_PACK(pack_plain, identity, E, ROUND_UP_16(VALUE_COLUMNS), VALUE_PITCH)

INLINE void pack_values(const __global float *v, int v_row, int rows, float *out) {
    pack_plain(v, v_row, rows, out);
#if BACKWARD && SUM
    for (int i = 0; i < rows; i++) out[i * VALUE_PITCH + E] = 1.0f;
#endif
}

#if BACKWARD
/* g_i = d_o_i / z_i and, for the sum, -(d_o_i·o_i) / z_i; 0 where z_i is 0. */
OUTLINE void pack_slopes(const __global float *d_o, int d_o_row, const __global float *o, int o_row,
                         const __global float *z, int rows, float *slope) {
    for (int i = 0; i < rows; i++, d_o += d_o_row, o += o_row, slope += VALUE_PITCH) {
        const float factor = z[i] == 0.0f ? 0.0f : 1.0f / z[i];
        floats products = 0.0f;
        float along = 0.0f;
        int e = 0;
        for (; e + LANES <= E; e += LANES) {
            const floats values = load_lanes(0, d_o + e);
            if (SUM) products = fma(load_lanes(0, o + e), values, products);
            store_lanes(values * factor, 0, slope + e);
        }
        for (; e < E; e++) {
            if (SUM) along = fma(o[e], d_o[e], along);
            slope[e] = d_o[e] * factor;
        }
        if (SUM) slope[e++] = -(along + sum_of(products)) * factor;
        for (; e < ROUND_UP_16(VALUE_COLUMNS); e++) slope[e] = 0.0f;
    }
    clear(slope, (BLOCK - rows) * VALUE_PITCH);
}
#endif

/* out [width][out_row] = x [rows][pitch] transposed, both rounded up to 8. */
#define ROW_8(r) vload8(0, x + (i + r) * pitch + c)
XP_DEFINE_STORE_TRANSPOSED(store_transposed, __private float, PUT_PRIVATE_8)
INLINE void transpose(const float *x, const int pitch, int rows, const int width, float *out, const int out_row) {
    for (int i = 0; i < rows; i += 8)
        for (int c = 0; c < width; c += 8)
            store_transposed(ROW_8(0), ROW_8(1), ROW_8(2), ROW_8(3), ROW_8(4), ROW_8(5), ROW_8(6), ROW_8(7),
                             out + c * out_row + i, out_row);
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

/* Adds rows of features [BLOCK][KEY_PITCH] and values or slopes [BLOCK][VALUE_PITCH] to a state. */
OUTLINE void add_to_state(const float *features, const float *values, int rows, float *state, coming *next) {
#if BACKWARD
    multiply(values, 1, VALUE_PITCH, TILE_ROWS, rows, features, KEY_PITCH, ROUND_UP_16(D), state, STATE_ROW, false,
             next);
    if (LONE_SUM)
        multiply_row(values + E, VALUE_PITCH, rows, features, KEY_PITCH, ROUND_UP_16(D), state + TILE_ROWS * STATE_ROW);
#else
    const float one = 1.0f;
    multiply(features, 1, KEY_PITCH, TILE_ROWS, rows, values, VALUE_PITCH, ROUND_UP_16(E), state, STATE_ROW, false,
             next);
    if (LONE_SUM) multiply_row(&one, 0, rows, features, KEY_PITCH, ROUND_UP_16(D), state + TILE_ROWS * STATE_ROW);
#endif
}

INLINE void load_state(const __global float *from, float *state) {
    for (int i = 0; i < STATE; i += LANES) store_lanes(load_lanes(0, from + i), 0, state + i);
}

INLINE void store_state(const float *state, __global float *to) {
    for (int i = 0; i < STATE; i += LANES) store_lanes(load_lanes(0, state + i), 0, to + i);
}

/* The state of one chunk of keys, in its slot. share: heads of states per key head. Work-groups: chunk, head of states,
 * sample. */
KERNEL void linear_attention_key_state(VIEW(k), VIEW(v), const __global int *restrict key_lengths,
                                       __global float *restrict states, int M, int share) {
    float b[BLOCK * KEY_PITCH] ALIGNED, values[BLOCK * VALUE_PITCH] ALIGNED, state[STATE] ALIGNED;
    const int first = get_group_id(0) * CHUNK, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2);
    const int end = min(first + CHUNK, valid_keys(key_lengths, sample, head, heads, M));
    k = AT(k, sample, head / share) + (long)first * k_row;
    v = AT(v, sample, head / share) + (long)first * v_row;
    clear(state, STATE);
    coming next;
    for (int row = first; row < end; row += BLOCK, k += (long)BLOCK * k_row, v += (long)BLOCK * v_row) {
        const int rows = min(BLOCK, end - row), ahead = min(BLOCK, end - row - BLOCK);
        next.count = next.tile = 0;
        next.tiles = ADDING_TILES;
        expect(&next, k + (long)BLOCK * k_row, k_row, ahead, D);
        expect(&next, v + (long)BLOCK * v_row, v_row, ahead, E);
        pack_features(k, k_row, rows, b);
        pack_values(v, v_row, rows, values);
        add_to_state(b, values, rows, state, &next);
    }
    store_state(state, states + (((long)sample * heads + head) * get_num_groups(0) + get_group_id(0)) * STATE);
}

/* CAUSAL: slot c becomes the sum of the slots before it, or behind it. Otherwise slot 0 becomes that of all.
 * Work-groups: strip, head, sample. */
KERNEL void linear_attention_sums(__global float *restrict states, int slots, int behind) {
    float sum[STRIP] ALIGNED;
    const int first = get_group_id(0) * STRIP, count = min(STRIP, STATE - first);
    states += ((long)get_group_id(2) * get_num_groups(1) + get_group_id(1)) * slots * STATE + first;
    clear(sum, STRIP);
    for (int slot = 0; slot < slots; slot++) {
        __global float *at = states + (long)(behind ? slots - 1 - slot : slot) * STATE;
        for (int i = 0; i < count; i += 8) {
            const float8 before = vload8(0, sum + i), own = vload8(0, at + i);
            if (CAUSAL) vstore8(before, 0, at + i);
            vstore8(before + own, 0, sum + i);
        }
    }
    if (!CAUSAL)
        for (int i = 0; i < count; i += 8) vstore8(vload8(0, sum + i), 0, states + i);
}

/* ---- outputs ----------------------------------------------------------------------------------------------------- */

#if CAUSAL
/* weights [ROWS][BLOCK] = x [ROWS][x_row] · columns [terms][BLOCK], of which row r keeps columns 0 … last + r, those up
 * to `seen` computed at all. */
INLINE void weigh(const float *x, const int x_row, const int terms, const float *columns, int seen, int last,
                  float *weights) {
    const int computed = ROUND_UP_16(seen);
    multiply(x, x_row, 1, ROWS, terms, columns, BLOCK, computed, weights, BLOCK, true, NO_COMING);
    if (last + 1 < computed)
        for (int r = 0; r < ROWS; r++, weights += BLOCK)
            for (int c = 0; c < computed; c += LANES) {
                const ints kept = LANE_NUMBERS + c <= last + r;
                store_lanes(kept ? load_lanes(0, weights + c) : (floats)(0.0f), 0, weights + c);
            }
}

OUTLINE void weigh_features(const float *x, const float *columns, int seen, int last, float *weights) {
    weigh(x, KEY_PITCH, D, columns, seen, last, weights);
}

#if BACKWARD
OUTLINE void weigh_values(const float *x, const float *columns, int seen, int last, float *weights) {
    weigh(x, VALUE_PITCH, VALUE_COLUMNS, columns, seen, last, weights);
}
#endif

#if BACKWARD
/* weights [count][BLOCK] of `rows` keys, of which query i sees 0 … last + i. */
#define WEIGH(FUNCTION, x, pitch, columns)                                                                             \
    for (int part = 0; part < count; part += ROWS) {                                                                   \
        const int seen = clamp(last + part + ROWS, 0, rows);                                                           \
        if (seen > 0) FUNCTION((x) + part * (pitch), columns, seen, last + part, weights + part * BLOCK);              \
    }
#endif

/* Whether a tile is better added to the state than multiplied with each of `rows` rows. */
INLINE bool is_worth_adding(int rows) {
    return rows * (D + E) > D * E;
}
#endif

#if !BACKWARD
OUTLINE void multiply_state(const float *a, int rows, const float *state, float *out, coming *next) {
    multiply(a, KEY_PITCH, 1, rows, D, state, STATE_ROW, ROUND_UP_16(E), out, VALUE_PITCH, true, next);
}

#if CAUSAL
OUTLINE void multiply_values(const float *weights, int seen, const float *values, float *out) {
    multiply(weights, BLOCK, 1, ROWS, seen, values, VALUE_PITCH, ROUND_UP_16(E), out, VALUE_PITCH, false, NO_COMING);
}
#endif

/* o [B,N,H,E] and z [B,H,N], both dense. group: query heads per key head; share: query heads per head of states;
 * chunks: of keys. Work-groups: chunk of queries, head, sample. */
KERNEL void linear_attention_forward(VIEW(q), VIEW(k), VIEW(v), const __global float *restrict states,
                                     const __global int *restrict key_lengths,
                                     const __global int *restrict query_lengths, __global float *restrict o,
                                     __global float *restrict z, int N, int M, int group, int share, int chunks,
                                     float scale) {
    float a[BLOCK * KEY_PITCH] ALIGNED, out[BLOCK * VALUE_PITCH] ALIGNED, total[BLOCK * LANES] ALIGNED;
    float state[STATE] ALIGNED;
#if CAUSAL
    float b[BLOCK * KEY_PITCH] ALIGNED, b_columns[ROUND_UP_8(D) * BLOCK] ALIGNED, values[BLOCK * VALUE_PITCH] ALIGNED;
    float weights[ROWS * BLOCK] ALIGNED;
#endif
    const int first = get_group_id(0) * CHUNK, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2);
    const int keys = valid_keys(key_lengths, sample, head, heads, M);
    const int queries = valid_queries(query_lengths, sample, N), shift = position_shift(keys, queries);
    q = AT(q, sample, head);
    k = AT(k, sample, head / group);
    v = AT(v, sample, head / group);
    o += ((long)sample * N * heads + head) * E;
    z += ((long)sample * heads + head) * N;
    states += ((long)sample * (heads / share) + head / share) * chunks * STATE;
#if CAUSAL
    const int slot = min(chunk_floor(first + shift), chunks - 1);
    int done = slot * CHUNK; /* keys in the state */
    if (slot > 0)
        load_state(states + (long)slot * STATE, state);
    else
        clear(state, STATE);
#else
    load_state(states, state);
#endif

    coming next;
    for (int block = first; block < min(first + CHUNK, N); block += BLOCK) {
        const int rows = clamp(queries - block, 0, BLOCK);
        const int ahead = min(BLOCK, min(first + CHUNK, queries) - block - BLOCK);
        next.count = next.tile = 0;
        next.tiles = STATE_TILES + CAUSAL * ADDING_TILES;
        expect(&next, q + (long)(block + BLOCK) * q_row, q_row, ahead, D);
        expect(&next, o + (long)block * heads * E, heads * E, rows, E);
#if CAUSAL
        expect(&next, k + (long)(block + shift + BLOCK) * k_row, k_row, min(ahead, keys - block - shift - BLOCK), D);
        expect(&next, v + (long)(block + shift + BLOCK) * v_row, v_row, min(ahead, keys - block - shift - BLOCK), E);
#endif
        const int tiled_rows = (rows + ROWS - 1) / ROWS * ROWS;
        pack_features(q + (long)block * q_row, q_row, rows, a);
#if CAUSAL
        const int all_see = min(block + shift + 1, keys);
        if (rows > 0 && (ahead > 0 || is_worth_adding(rows)))
            for (; done + BLOCK <= all_see; done += BLOCK) {
                pack_features(k + (long)done * k_row, k_row, BLOCK, b);
                pack_values(v + (long)done * v_row, v_row, BLOCK, values);
                add_to_state(b, values, BLOCK, state, &next);
            }
#endif
        multiply_state(a, tiled_rows, state, out, &next);
        for (int i = 0; i < rows; i++) {
            floats products = 0.0f;
            if (SUM)
                for (int c = 0; c < ROUND_UP_16(D); c += LANES)
                    products = fma(load_lanes(0, a + i * KEY_PITCH + c),
                                   load_lanes(0, state + TILE_ROWS * STATE_ROW + c), products);
            store_lanes(products, i, total);
        }
#if CAUSAL
        const int end = rows > 0 ? keys_seen(block + rows - 1, shift, keys) : 0;
        for (int tile = done; tile < end; tile += BLOCK) {
            const int tile_keys = min(BLOCK, end - tile);
            pack_features(k + (long)tile * k_row, k_row, tile_keys, b);
            pack_values(v + (long)tile * v_row, v_row, tile_keys, values);
            transpose(b, KEY_PITCH, BLOCK, D, b_columns, BLOCK);
            for (int part = 0; part < rows; part += ROWS) {
                const int last = block + part + shift - tile, seen = clamp(last + ROWS, 0, tile_keys);
                if (seen == 0) continue;
                weigh_features(a + part * KEY_PITCH, b_columns, seen, last, weights);
                multiply_values(weights, seen, values, out + part * VALUE_PITCH);
                if (SUM)
                    for (int r = 0; r < ROWS; r++) {
                        floats sum = load_lanes(part + r, total);
                        for (int c = 0; c < seen; c += LANES) sum += load_lanes(0, weights + r * BLOCK + c);
                        store_lanes(sum, part + r, total);
                    }
            }
            if (tile_keys == BLOCK && ahead > 0) {
                add_to_state(b, values, BLOCK, state, &next);
                done += BLOCK;
            }
        }
#endif
        for (int i = 0; i < min(BLOCK, N - block); i++) {
            __global float *to = o + (long)(block + i) * heads * E;
#if NORMALISER == 0
            const float divisor = i < rows ? scale * sum_of(load_lanes(i, total)) : 0.0f;
#else
            const int seen = i < rows ? keys_seen(block + i, shift, keys) : 0;
            const float divisor = NORMALISER == 1 ? seen : seen > 0;
#endif
            const float factor = divisor == 0.0f ? 0.0f : scale / divisor;
            int e = 0;
            if (divisor != 0.0f)
                for (; e + LANES <= E; e += LANES)
                    store_lanes(load_lanes(0, out + i * VALUE_PITCH + e) * factor, 0, to + e);
            for (; e < E; e++) to[e] = divisor == 0.0f ? 0.0f : out[i * VALUE_PITCH + e] * factor;
            z[block + i] = divisor;
        }
    }
}

#else
OUTLINE void multiply_state(const float *values, int rows, const float *state, float *out, coming *next) {
    multiply(values, VALUE_PITCH, 1, rows, VALUE_COLUMNS, state, STATE_ROW, ROUND_UP_16(D), out, KEY_PITCH, true, next);
}

#if CAUSAL
/* d [ROWS] += weights [ROWS][BLOCK] · b */
OUTLINE void multiply_keys(const float *weights, int seen, const float *b, float *d) {
    multiply(weights, BLOCK, 1, ROWS, seen, b, KEY_PITCH, ROUND_UP_16(D), d, KEY_PITCH, false, NO_COMING);
}

/* d [ROWS] += weights [queries][BLOCK] transposed · a, or slopes. */
OUTLINE void multiply_queries(const float *weights, int queries, const float *a, float *d) {
    multiply(weights, 1, BLOCK, ROWS, queries, a, KEY_PITCH, ROUND_UP_16(D), d, KEY_PITCH, false, NO_COMING);
}

OUTLINE void multiply_slopes(const float *weights, int queries, const float *slopes, float *d) {
    multiply(weights, 1, BLOCK, ROWS, queries, slopes, VALUE_PITCH, ROUND_UP_16(E), d, VALUE_PITCH, false, NO_COMING);
}
#endif

/* dx = d · φ'(x) · scale for `rows` rows and 0 for those up to `all`, or += for `rows` rows where it is not fresh; d
 * and features, which are φ(x), [BLOCK][KEY_PITCH]. */
#define D_X(N) (vload##N(0, d + c) * feature_slope_of_##N(vload##N(0, features + c), vload##N(0, x + c)) * scale)
OUTLINE void store_features(const float *d, const float *features, const __global float *x, int x_row,
                            __global float *dx, int dx_row, int rows, int all, float scale, bool fresh) {
    for (int i = 0; i < rows; i++, x += x_row, dx += dx_row, d += KEY_PITCH, features += KEY_PITCH) {
        int c = 0;
        for (; c + 16 <= D; c += 16) PUT_16(fresh ? D_X(16) : vload16(0, dx + c) + D_X(16), __global, dx + c);
        for (; c + 8 <= D; c += 8) PUT_8(fresh ? D_X(8) : vload8(0, dx + c) + D_X(8), __global, dx + c);
        for (; c < D; c++) {
            const float own = d[c] * feature_slope_1(x[c]) * scale;
            dx[c] = fresh ? own : dx[c] + own;
        }
    }
    for (int i = rows; fresh && i < all; i++, dx += dx_row)
        for (int c = 0; c < D; c++) dx[c] = 0.0f;
}

/* dq, and the state of the chunk's queries in its slot. key_states, share and key_chunks as in the forward pass.
 * Work-groups: chunk of queries, head, sample. */
KERNEL void linear_attention_backward_queries(VIEW(q), VIEW(k), VIEW(v), VIEW(d_o), const __global float *restrict o,
                                              const __global float *restrict z,
                                              const __global float *restrict key_states,
                                              const __global int *restrict key_lengths,
                                              const __global int *restrict query_lengths, WRITTEN_VIEW(dq),
                                              __global float *restrict query_states, int N, int M, int group, int share,
                                              int key_chunks, float scale) {
    float a[BLOCK * KEY_PITCH] ALIGNED, slopes[BLOCK * VALUE_PITCH] ALIGNED;
    const int first = get_group_id(0) * CHUNK, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2), queries = valid_queries(query_lengths, sample, N);
    q = AT(q, sample, head);
    d_o = AT(d_o, sample, head);
    o += ((long)sample * N * heads + head) * E;
    z += ((long)sample * heads + head) * N;
#if QUERY_STATES
    float query_state[STATE] ALIGNED;
    clear(query_state, STATE);
#endif
#if WRITE_DQ
    float out[BLOCK * KEY_PITCH] ALIGNED, state[STATE] ALIGNED;
    const int keys = valid_keys(key_lengths, sample, head, heads, M), shift = position_shift(keys, queries);
    dq = AT(dq, sample, head);
    key_states += ((long)sample * (heads / share) + head / share) * key_chunks * STATE;
#if CAUSAL
    float b[BLOCK * KEY_PITCH] ALIGNED, values[BLOCK * VALUE_PITCH] ALIGNED;
    float value_columns[ROUND_UP_8(VALUE_COLUMNS) * BLOCK] ALIGNED, weights[ROWS * BLOCK] ALIGNED;
    const int slot = min(chunk_floor(first + shift), key_chunks - 1);
    int done = slot * CHUNK; /* keys in the state */
    k = AT(k, sample, head / group);
    v = AT(v, sample, head / group);
    if (slot > 0)
        load_state(key_states + (long)slot * STATE, state);
    else
        clear(state, STATE);
#else
    load_state(key_states, state);
#endif
#endif

    coming next;
    for (int block = first; block < min(first + CHUNK, N); block += BLOCK) {
        const int rows = clamp(queries - block, 0, BLOCK);
        const int ahead = min(BLOCK, min(first + CHUNK, queries) - block - BLOCK);
        next.count = next.tile = 0;
        next.tiles = QUERY_STATES * ADDING_TILES + WRITE_DQ * (STATE_TILES + CAUSAL * ADDING_TILES);
        expect(&next, q + (long)(block + BLOCK) * q_row, q_row, ahead, D);
        expect(&next, d_o + (long)(block + BLOCK) * d_o_row, d_o_row, ahead, E);
        if (SUM) expect(&next, o + (long)(block + BLOCK) * heads * E, heads * E, ahead, E);
#if WRITE_DQ
        expect(&next, dq + (long)block * dq_row, dq_row, rows, D);
#if CAUSAL
        expect(&next, k + (long)(block + shift + BLOCK) * k_row, k_row, min(ahead, keys - block - shift - BLOCK), D);
        expect(&next, v + (long)(block + shift + BLOCK) * v_row, v_row, min(ahead, keys - block - shift - BLOCK), E);
#endif
#endif
        pack_features(q + (long)block * q_row, q_row, rows, a);
        pack_slopes(d_o + (long)block * d_o_row, d_o_row, o + (long)block * heads * E, heads * E, z + block, rows,
                    slopes);
#if QUERY_STATES
        add_to_state(a, slopes, rows, query_state, &next);
#endif
#if WRITE_DQ
#if CAUSAL
        if (rows > 0 && (ahead > 0 || is_worth_adding(rows)))
            for (; done + BLOCK <= min(block + shift + 1, keys); done += BLOCK) {
                pack_features(k + (long)done * k_row, k_row, BLOCK, b);
                pack_values(v + (long)done * v_row, v_row, BLOCK, values);
                add_to_state(b, values, BLOCK, state, &next);
            }
#endif
        multiply_state(slopes, ROUND_UP_8(rows), state, out, &next);
#if CAUSAL
        const int end = rows > 0 ? keys_seen(block + rows - 1, shift, keys) : 0;
        for (int tile = done; tile < end; tile += BLOCK) {
            const int tile_keys = min(BLOCK, end - tile);
            pack_features(k + (long)tile * k_row, k_row, tile_keys, b);
            pack_values(v + (long)tile * v_row, v_row, tile_keys, values);
            transpose(values, VALUE_PITCH, BLOCK, VALUE_COLUMNS, value_columns, BLOCK);
            for (int part = 0; part < rows; part += ROWS) {
                const int last = block + part + shift - tile, seen = clamp(last + ROWS, 0, tile_keys);
                if (seen == 0) continue;
                weigh_values(slopes + part * VALUE_PITCH, value_columns, seen, last, weights);
                multiply_keys(weights, seen, b, out + part * KEY_PITCH);
            }
            if (tile_keys == BLOCK && ahead > 0) {
                add_to_state(b, values, BLOCK, state, &next);
                done += BLOCK;
            }
        }
#endif
        store_features(out, a, q + (long)block * q_row, q_row, dq + (long)block * dq_row, dq_row, rows,
                       min(BLOCK, N - block), scale, true);
#endif
    }
#if QUERY_STATES
    query_states += (((long)sample * heads + head) * get_num_groups(0) + get_group_id(0)) * STATE;
    store_state(query_state, query_states);
#endif
}

#if CAUSAL
/* d_columns [E][BLOCK] = the state · columns [D][BLOCK] of features. */
OUTLINE void multiply_columns(const float *state, const float *columns, float *d_columns, coming *next) {
    multiply(state, STATE_ROW, 1, ROUND_UP_8(E), D, columns, BLOCK, BLOCK, d_columns, BLOCK, true, next);
}
#else
OUTLINE void multiply_features(const float *b, int rows, const float *state_columns, float *d_value, coming *next) {
    multiply(b, KEY_PITCH, 1, rows, D, state_columns, VALUE_PITCH, ROUND_UP_16(E), d_value, VALUE_PITCH, true, next);
}
#endif

#if WRITE_DV
OUTLINE void store_values(const float *d, __global float *dv, int dv_row, int rows, int all, float scale, bool fresh) {
    for (int i = 0; i < rows; i++, dv += dv_row, d += VALUE_PITCH) {
        int e = 0;
        for (; e + LANES <= E; e += LANES) {
            const floats own = load_lanes(0, d + e) * scale;
            store_lanes(fresh ? own : load_lanes(0, dv + e) + own, 0, dv + e);
        }
        for (; e < E; e++) dv[e] = fresh ? d[e] * scale : dv[e] + d[e] * scale;
    }
    for (int i = rows; fresh && i < all; i++, dv += dv_row)
        for (int e = 0; e < E; e++) dv[e] = 0.0f;
}
#endif

/* dk, dv: the sums over the query heads of a group, in their order. states: of the queries, a head each; chunks: of
 * these. Work-groups: chunk of keys, key head, sample. */
KERNEL void linear_attention_backward_keys(VIEW(q), VIEW(k), VIEW(v), VIEW(d_o), const __global float *restrict o,
                                           const __global float *restrict z, const __global float *restrict states,
                                           const __global int *restrict key_lengths,
                                           const __global int *restrict query_lengths, WRITTEN_VIEW(dk),
                                           WRITTEN_VIEW(dv), int N, int M, int group, int chunks, float scale) {
    float b[BLOCK * KEY_PITCH] ALIGNED, values[BLOCK * VALUE_PITCH] ALIGNED, state[STATE] ALIGNED;
#if CAUSAL
    float a[BLOCK * KEY_PITCH] ALIGNED, slopes[BLOCK * VALUE_PITCH] ALIGNED, weights[BLOCK * BLOCK] ALIGNED;
    float b_columns[ROUND_UP_8(D) * BLOCK] ALIGNED, d_columns[ROUND_UP_8(E) * BLOCK] ALIGNED;
    float value_columns[ROUND_UP_8(VALUE_COLUMNS) * BLOCK] ALIGNED;
#else
    float state_columns[ROUND_UP_8(D) * VALUE_PITCH] ALIGNED;
    clear(state_columns, ROUND_UP_8(D) * VALUE_PITCH);
#endif
#if WRITE_DK
    float d_key[BLOCK * KEY_PITCH] ALIGNED;
    dk = AT(dk, get_group_id(2), get_group_id(1));
#endif
#if WRITE_DV
    float d_value[BLOCK * VALUE_PITCH] ALIGNED;
    clear(d_value, BLOCK * VALUE_PITCH);
    dv = AT(dv, get_group_id(2), get_group_id(1));
#endif
    const int first = get_group_id(0) * CHUNK, heads = get_num_groups(1) * group, sample = get_group_id(2);
    const int queries = valid_queries(query_lengths, sample, N);
    k = AT(k, sample, get_group_id(1));
    v = AT(v, sample, get_group_id(1));

    coming next;
    for (int member = 0; member < group; member++) {
        const int head = get_group_id(1) * group + member, keys = valid_keys(key_lengths, sample, head, heads, M);
        const int end = min(first + CHUNK, keys);
        const __global float *head_states = states + ((long)sample * heads + head) * chunks * STATE;
#if CAUSAL
        const int shift = position_shift(keys, queries);
        const int slot = clamp(chunk_floor(end - 1 - shift + CHUNK - 1) - 1, 0, chunks - 1);
        int done =
            min((slot + 1) * CHUNK, (queries + BLOCK - 1) / BLOCK * BLOCK); /* queries from here on are in the state */
        const __global float *head_q = AT(q, sample, head), *head_d_o = AT(d_o, sample, head);
        const __global float *head_o = o + ((long)sample * N * heads + head) * E;
        const __global float *head_z = z + ((long)sample * heads + head) * N;
        if (slot + 1 < chunks)
            load_state(head_states + (long)slot * STATE, state);
        else
            clear(state, STATE);
#else
        load_state(head_states, state);
#if WRITE_DV
        transpose(state, STATE_ROW, ROUND_UP_8(E), D, state_columns, VALUE_PITCH);
#endif
#endif
        for (int block = first + (min(first + CHUNK, M) - first - 1) / BLOCK * BLOCK; block >= first; block -= BLOCK) {
            const int rows = clamp(end - block, 0, BLOCK), all = min(BLOCK, M - block);
            const int ahead = block > first ? BLOCK : 0;
            next.count = next.tile = 0;
            next.tiles = WRITE_DK * STATE_TILES + WRITE_DV * VALUE_TILES + CAUSAL * ADDING_TILES;
            expect(&next, k + (long)(block - BLOCK) * k_row, k_row, ahead, D);
            expect(&next, v + (long)(block - BLOCK) * v_row, v_row, ahead, E);
#if WRITE_DK
            expect(&next, dk + (long)block * dk_row, dk_row, rows, D);
#endif
#if WRITE_DV
            expect(&next, dv + (long)block * dv_row, dv_row, rows, E);
#endif
#if CAUSAL
            const int query = done - 2 * BLOCK, ahead_of_queries = query >= 0 ? min(ahead, queries - query) : 0;
            expect(&next, head_q + (long)query * q_row, q_row, ahead_of_queries, D);
            expect(&next, head_d_o + (long)query * d_o_row, d_o_row, ahead_of_queries, E);
            if (SUM) expect(&next, head_o + (long)query * heads * E, heads * E, ahead_of_queries, E);
#endif
            pack_features(k + (long)block * k_row, k_row, rows, b);
            pack_values(v + (long)block * v_row, v_row, rows, values);
#if CAUSAL
#define PACK_TILE(tile, count)                                                                                         \
    pack_features(head_q + (long)(tile)*q_row, q_row, count, a);                                                       \
    pack_slopes(head_d_o + (long)(tile)*d_o_row, d_o_row, head_o + (long)(tile)*heads * E, heads * E, head_z + (tile), \
                count, slopes);
            if (rows > 0 && (block > first || is_worth_adding(rows)))
                while (done > 0 && done - BLOCK + shift >= block + rows - 1) {
                    done -= BLOCK;
                    const int count = min(BLOCK, queries - done);
                    PACK_TILE(done, count)
                    add_to_state(a, slopes, count, state, &next);
                }
#if WRITE_DV
            transpose(b, KEY_PITCH, BLOCK, D, b_columns, BLOCK);
            multiply_columns(state, b_columns, d_columns, &next);
            transpose(d_columns, BLOCK, ROUND_UP_8(E), BLOCK, d_value, VALUE_PITCH);
#endif
#if WRITE_DK
            transpose(values, VALUE_PITCH, BLOCK, VALUE_COLUMNS, value_columns, BLOCK);
            multiply_state(values, ROUND_UP_8(rows), state, d_key, &next);
#endif
            for (int tile = done - BLOCK; rows > 0 && tile >= 0 && tile + BLOCK + shift > block; tile -= BLOCK) {
                const int count = min(BLOCK, queries - tile),
                          last = tile + shift - block; /* key that query `tile` sees */
                PACK_TILE(tile, count)
#if WRITE_DV
                WEIGH(weigh_features, a, KEY_PITCH, b_columns)
                for (int part = 0; part < rows; part += ROWS) {
                    const int from = clamp(part - last, 0, count);
                    multiply_slopes(weights + from * BLOCK + part, count - from, slopes + from * VALUE_PITCH,
                                    d_value + part * VALUE_PITCH);
                }
#endif
#if WRITE_DK
                WEIGH(weigh_values, slopes, VALUE_PITCH, value_columns)
                for (int part = 0; part < rows; part += ROWS) {
                    const int from = clamp(part - last, 0, count);
                    multiply_queries(weights + from * BLOCK + part, count - from, a + from * KEY_PITCH,
                                     d_key + part * KEY_PITCH);
                }
#endif
                if (tile + shift >= block && block > first) {
                    add_to_state(a, slopes, count, state, &next);
                    done = tile;
                }
            }
#else
#if WRITE_DV
            multiply_features(b, ROUND_UP_8(rows), state_columns, d_value, &next);
#endif
#if WRITE_DK
            multiply_state(values, ROUND_UP_8(rows), state, d_key, &next);
#endif
#endif
#if WRITE_DK
            store_features(d_key, b, k + (long)block * k_row, k_row, dk + (long)block * dk_row, dk_row, rows, all,
                           scale, member == 0);
#endif
#if WRITE_DV
            store_values(d_value, dv + (long)block * dv_row, dv_row, rows, all, scale, member == 0);
#endif
        }
    }
}
#endif
