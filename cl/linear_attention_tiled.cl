/* Linear attention for GPUs, forward and backward, in time and memory that grow with the length alone.
 *
 * States [E][D], with the sum of features as row E where the weights' sum normalises, are made by work-groups of 64
 * that own a tile of 32 × 32 of one chunk's state. Outputs are made by work-groups of 128 that own BLOCK_ROWS rows; a
 * step is always BLOCK_ROWS × BLOCK_COLUMNS weights, 4 × 4 in a work-item, handed over in local memory and multiplied
 * with rows that are staged in slices. For the part of the sequence that the state sums up, the weights are the
 * features (or values, or slopes) themselves and the rows are the state's; for the rest they are products of tiles.
 *
 * The row of the state that holds the sum of features makes the quotient's part of the gradient fall out of the same
 * steps: values get a column of ones, slopes g_i = d_o_i / z_i a column -(d_o_i·o_i) / z_i.
 *
 * Loads stop at the lengths. Trip counts depend on the work-group alone, so barriers are met by all. */
#include "linear_attention.clh"

#ifndef BLOCK_ROWS
#define BLOCK_ROWS 32
#endif
#if BLOCK_ROWS != 8 && BLOCK_ROWS != 16 && BLOCK_ROWS != 32 && BLOCK_ROWS != 64
#error "a block has 8, 16, 32 or 64 rows"
#endif

#define STATE_ITEMS   64
#define STATE_TILE    32
#define DP            ROUND_UP_8(D)
#define STATE         ((E + SUM) * DP)
#define SUM_ITEMS     64
#define WORK_ITEMS    128
#define BLOCK_COLUMNS (2048 / BLOCK_ROWS)
#define COLUMN_GROUPS (BLOCK_COLUMNS / 4)
#define SLICE         16
#define PAD           4 /* keeps the transposing stores of a slice apart in the banks, and vectors aligned */
#define WEIGHT_PITCH  (BLOCK_ROWS + PAD)
#define GROUPS(width) (((width) + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS) /* of four output columns per work-item */
#define MULTIPLY_SIZE (SLICE * (BLOCK_ROWS + PAD + BLOCK_COLUMNS + PAD))
#define WIDER_GROUPS  (GROUPS(D) > GROUPS(E) ? GROUPS(D) : GROUPS(E))
#define WIDER_SIZE    (SLICE * (WIDER_GROUPS * BLOCK_COLUMNS + PAD))
#define STAGE_SIZE    (MULTIPLY_SIZE > WIDER_SIZE ? MULTIPLY_SIZE : WIDER_SIZE)
#if (D > 2 * BLOCK_COLUMNS) || (E > 2 * BLOCK_COLUMNS)
#error "BLOCK_ROWS is too large for the head width"
#endif
#define KERNEL(n) __kernel __attribute__((reqd_work_group_size(n, 1, 1)))
#define ALIGNED   __attribute__((aligned(16)))

/* Register arrays need their loops gone; longer stretches only cost compilation, and registers on Intel. */
#define UNROLL_FULL  _Pragma("unroll")
#define UNROLL_SLICE _Pragma("unroll 4")
/* With other lengths NVIDIA's assembler spills registers in order to place one more work-group on a unit; the compilers
 * of AMD's GPUs would need more of them. */
#if !defined __NVPTX__ && !defined __NV_CL_C_VERSION
#define UNROLL_ACCUMULATE UNROLL_SLICE
#elif BACKWARD
#define UNROLL_ACCUMULATE _Pragma("unroll 8")
#else
#define UNROLL_ACCUMULATE _Pragma("unroll 6")
#endif
#define UNROLL_NONE  _Pragma("unroll 1")

/* ---- slots ------------------------------------------------------------------------------------------------------- */

/* Keys: slot c is the state before chunk c, the last slot the whole sum; queries: slot c is the state of chunks c and
 * later, the last slot 0. Without CAUSAL only the whole sums are written, and where there is one chunk it has one slot,
 * which is that sum. */

/* The slot of the keys that all queries from `query` on see. */
INLINE int key_slot(int query, int shift, int slots) {
#if CAUSAL
    return min(chunk_floor(query + shift), slots - 1);
#else
    return slots - 1;
#endif
}

/* The slot of the queries that see all keys up to `key`. */
INLINE int query_slot(int key, int shift, int slots) {
#if CAUSAL
    return min(chunk_floor(key - shift + CHUNK - 1), slots - 1);
#else
    return 0;
#endif
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

#if BACKWARD
/* What the backward pass needs of each query: terms [B,H,N][2] = 1 / z_i and (d_o_i·o_i) / z_i, 0 where z_i is 0; the
 * second one 0 where the weights' sum does not normalise. o [B,N,H,E] dense, z [B,H,N]. One work-item a row. */
KERNEL(SUM_ITEMS)
void linear_attention_terms(VIEW(d_o), const __global float *restrict o, const __global float *restrict z,
                            const __global int *restrict query_lengths, __global float *restrict terms, int N,
                            int heads, int rows) {
    const int i = get_global_id(0), row = i % N, head = i / N % heads, sample = i / N / heads;
    if (i >= rows) return;
    float factor = 0.0f, along = 0.0f;
    if (row < valid_queries(query_lengths, sample, N)) {
        factor = z[i] == 0.0f ? 0.0f : 1.0f / z[i];
#if SUM
        d_o = AT(d_o, sample, head) + (long)row * d_o_row;
        o += (((long)sample * N + row) * heads + head) * E;
        for (int e = 0; e < E; e++) along = fma(d_o[e], o[e], along);
#endif
    }
    terms[2 * (long)i] = factor;
    terms[2 * (long)i + 1] = along * factor;
}
#endif

/* The tile of one chunk's state that a work-group owns: state[e][d] = Σ_i values_i[e] · φ(features_i[d]) over `rows`
 * rows, and row E = Σ_i 1 · φ(features_i[d]). With `terms` values are slopes: times terms[0], and - terms[1] stands for
 * the 1. */
INLINE void state_tile(const __global float *values, int values_row, const __global float *features, int features_row,
                       const __global float *terms, const int has_terms, int rows, int tile,
                       __local float *value_slice, __local float *feature_slice, __local float *ones,
                       __global float *state) {
    const int tiles_across = (D + STATE_TILE - 1) / STATE_TILE;
    const int first_value = tile / tiles_across * STATE_TILE, first_feature = tile % tiles_across * STATE_TILE;
    const int item = get_local_id(0), row = item / 8 * 4, column = item % 8 * 4;
    float4 s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f, sum = 0.0f;
    for (int first = 0; first < rows; first += SLICE) {
        float4 t0 = 0.0f, t1 = 0.0f, t2 = 0.0f, t3 = 0.0f, t = 0.0f; /* as in accumulate_tile */
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_NONE
        for (int i = item; i < SLICE * STATE_TILE; i += STATE_ITEMS) {
            const int r = first + i / STATE_TILE, e = first_value + i % STATE_TILE, d = first_feature + i % STATE_TILE;
            float value = r < rows && e < E ? values[(long)r * values_row + e] : 0.0f;
            if (has_terms && r < rows) value *= terms[2 * r];
            value_slice[i] = value;
            feature_slice[i] = r < rows && d < D ? feature_1(features[(long)r * features_row + d]) : 0.0f;
        }
        if (item < SLICE) ones[item] = first + item < rows ? (has_terms ? -terms[2 * (first + item) + 1] : 1.0f) : 0.0f;
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_SLICE
        for (int i = 0; i < SLICE; i++) {
            float4 a = vload4(0, value_slice + i * STATE_TILE + row);
            float4 b = vload4(0, feature_slice + i * STATE_TILE + column);
            t0 = fma((float4)(a.x), b, t0);
            t1 = fma((float4)(a.y), b, t1);
            t2 = fma((float4)(a.z), b, t2);
            t3 = fma((float4)(a.w), b, t3);
            t = fma((float4)(ones[i]), b, t);
        }
        s0 += t0, s1 += t1, s2 += t2, s3 += t3, sum += t;
    }
    if (first_feature + column < DP) {
        state += first_feature + column;
        if (first_value + row + 0 < E) vstore4(s0, 0, state + (first_value + row + 0) * DP);
        if (first_value + row + 1 < E) vstore4(s1, 0, state + (first_value + row + 1) * DP);
        if (first_value + row + 2 < E) vstore4(s2, 0, state + (first_value + row + 2) * DP);
        if (first_value + row + 3 < E) vstore4(s3, 0, state + (first_value + row + 3) * DP);
#if SUM
        if (first_value + row == 0) vstore4(sum, 0, state + E * DP);
#endif
    }
}

/* The state of one chunk of keys, in its slot. share: heads of states per key head; tiles: of a state. Work-groups:
 * chunk and tile, head of states, sample. */
KERNEL(STATE_ITEMS)
void linear_attention_key_state(VIEW(k), VIEW(v), const __global int *restrict key_lengths,
                                __global float *restrict states, int M, int share, int slots, int tiles) {
    __local float value_slice[SLICE * STATE_TILE] ALIGNED, feature_slice[SLICE * STATE_TILE] ALIGNED, ones[SLICE];
    const int chunk = get_group_id(0) / tiles, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2), first = chunk * CHUNK;
    const int rows = clamp(valid_keys(key_lengths, sample, head, heads, M) - first, 0, CHUNK);
    k = AT(k, sample, head / share) + (long)first * k_row;
    v = AT(v, sample, head / share) + (long)first * v_row;
    states += (((long)sample * heads + head) * slots + chunk) * STATE;
    state_tile(v, v_row, k, k_row, 0, 0, rows, get_group_id(0) % tiles, value_slice, feature_slice, ones, states);
}

#if BACKWARD
/* The state of one chunk of queries, in its slot. Work-groups: chunk and tile, head, sample. */
KERNEL(STATE_ITEMS)
void linear_attention_query_state(VIEW(q), VIEW(d_o), const __global float *restrict terms,
                                  const __global int *restrict query_lengths, __global float *restrict states, int N,
                                  int slots, int tiles) {
    __local float value_slice[SLICE * STATE_TILE] ALIGNED, feature_slice[SLICE * STATE_TILE] ALIGNED, ones[SLICE];
    const int chunk = get_group_id(0) / tiles, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2), first = chunk * CHUNK;
    const int rows = clamp(valid_queries(query_lengths, sample, N) - first, 0, CHUNK);
    q = AT(q, sample, head) + (long)first * q_row;
    d_o = AT(d_o, sample, head) + (long)first * d_o_row;
    terms += 2 * (((long)sample * heads + head) * N + first);
    states += (((long)sample * heads + head) * slots + chunk) * STATE;
    state_tile(d_o, d_o_row, q, q_row, terms, 1, rows, get_group_id(0) % tiles, value_slice, feature_slice, ones,
               states);
}
#endif

/* Slot c becomes the sum of the slots before it, the last slot that of all. Work-groups: 64 elements, head, sample. */
KERNEL(SUM_ITEMS)
void linear_attention_prefix(__global float *restrict states, int slots) {
    const int i = get_global_id(0);
    if (i >= STATE) return;
    states += ((long)get_group_id(2) * get_num_groups(1) + get_group_id(1)) * slots * STATE + i;
    float sum = 0.0f;
    for (int slot = 0; slot + 1 < slots; slot++) {
        const float own = states[(long)slot * STATE];
#if CAUSAL
        states[(long)slot * STATE] = sum;
#endif
        sum += own;
    }
    states[(long)(slots - 1) * STATE] = sum;
}

#if BACKWARD
/* Slot c becomes the sum of itself and the slots behind it, the last slot 0; without CAUSAL slot 0 that of all. */
KERNEL(SUM_ITEMS)
void linear_attention_suffix(__global float *restrict states, int slots) {
    const int i = get_global_id(0);
    if (i >= STATE) return;
    states += ((long)get_group_id(2) * get_num_groups(1) + get_group_id(1)) * slots * STATE + i;
    float sum = 0.0f;
    states[(long)(slots - 1) * STATE] = 0.0f;
    for (int slot = slots - 2; slot >= 0; slot--) {
        sum += states[(long)slot * STATE];
#if CAUSAL
        states[(long)slot * STATE] = sum;
#endif
    }
    states[0] = sum;
}
#endif

/* ---- steps of an output ------------------------------------------------------------------------------------------ */

/* How rows are read: as they are, with features applied, or transposed (column c of row r at c·stride + r). */
enum { PLAIN, FEATURES, TRANSPOSED };

INLINE float load_1(const __global float *x, const int kind) {
    return kind == FEATURES ? feature_1(x[0]) : x[0];
}

/* slice [SLICE][pitch] = columns first … first+SLICE-1 of `rows` rows of x, transposed; 0 behind `valid` rows and
 * behind `width`. */
INLINE void stage_transposed(const __global float *x, int x_stride, const int rows, int valid, const int width,
                             const int kind, int first, __local float *slice, const int pitch) {
    UNROLL_NONE
    for (int i = get_local_id(0); i < rows * SLICE; i += WORK_ITEMS) {
        int row = i / SLICE, column = i % SLICE;
        slice[column * pitch + row] =
            row < valid && first + column < width ? load_1(x + (long)row * x_stride + first + column, kind) : 0.0f;
    }
}

/* scores[r] = row 4·row_group + r of x · yᵀ, columns 4·column_group … + 3. */
INLINE void multiply_tile(const __global float *x, int x_stride, int x_valid, const __global float *y, int y_stride,
                          int y_valid, const int width, const int kind, __local float *stage, float4 *scores) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    __local float *x_slice = stage, *y_slice = stage + SLICE * (BLOCK_ROWS + PAD);
    float4 s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (int first = 0; first < width; first += SLICE) {
        barrier(CLK_LOCAL_MEM_FENCE);
        stage_transposed(x, x_stride, BLOCK_ROWS, x_valid, width, kind, first, x_slice, BLOCK_ROWS + PAD);
        stage_transposed(y, y_stride, BLOCK_COLUMNS, y_valid, width, kind, first, y_slice, BLOCK_COLUMNS + PAD);
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_SLICE
        for (int i = 0; i < SLICE; i++) {
            float4 a = vload4(0, x_slice + i * (BLOCK_ROWS + PAD) + row);
            float4 b = vload4(0, y_slice + i * (BLOCK_COLUMNS + PAD) + column);
            s0 = fma((float4)(a.x), b, s0);
            s1 = fma((float4)(a.y), b, s1);
            s2 = fma((float4)(a.z), b, s2);
            s3 = fma((float4)(a.w), b, s3);
        }
    }
    scores[0] = s0, scores[1] = s1, scores[2] = s2, scores[3] = s3;
}

/* weights [BLOCK_COLUMNS][WEIGHT_PITCH] = columns first … first+BLOCK_COLUMNS-1 of x; 0 behind `valid` rows and behind
 * `width`. With `one` there is a column more, of ones. With `terms` rows are slopes: times terms[0], and - terms[1] in
 * place of the one. */
INLINE void stage_weights(const __global float *x, int x_stride, int valid, const int width, const int kind,
                          const int one, const __global float *terms, const int has_terms, int first,
                          __local float *weights) {
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_NONE
    for (int i = get_local_id(0); i < BLOCK_ROWS * BLOCK_COLUMNS; i += WORK_ITEMS) {
        const int column = i / (SLICE * BLOCK_ROWS) * SLICE + i % SLICE, row = i / SLICE % BLOCK_ROWS;
        const int c = first + column;
        float value = 0.0f;
        if (row < valid && c < width) {
            value = load_1(x + (long)row * x_stride + c, kind);
            if (has_terms) value *= terms[2 * row];
        }
        if (one && row < valid && c == width) value = has_terms ? -terms[2 * row + 1] : 1.0f;
        weights[column * WEIGHT_PITCH + row] = value;
    }
}

/* The same from registers: p[r] = columns 4·column_group … + 3 of row 4·row_group + r. */
INLINE void hand_over(const float4 *p, __local float *weights) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    barrier(CLK_LOCAL_MEM_FENCE);
    vstore4((float4)(p[0].x, p[1].x, p[2].x, p[3].x), 0, weights + (column + 0) * WEIGHT_PITCH + row);
    vstore4((float4)(p[0].y, p[1].y, p[2].y, p[3].y), 0, weights + (column + 1) * WEIGHT_PITCH + row);
    vstore4((float4)(p[0].z, p[1].z, p[2].z, p[3].z), 0, weights + (column + 2) * WEIGHT_PITCH + row);
    vstore4((float4)(p[0].w, p[1].w, p[2].w, p[3].w), 0, weights + (column + 3) * WEIGHT_PITCH + row);
}

/* out[4g + r] += row 4·row_group + r of weightsᵀ · x, columns g·BLOCK_COLUMNS + 4·column_group … + 3. A slice is added
 * up for itself, since features have one sign and a long chain of such terms loses digits. */
INLINE void accumulate_tile(const __local float *weights, const __global float *x, int x_stride, int x_valid,
                            const int width, const int kind, __local float *stage, float4 *out) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    const int columns = GROUPS(width) * BLOCK_COLUMNS, pitch = columns + PAD;
    for (int first = 0; first < min(BLOCK_COLUMNS, x_valid); first += SLICE) {
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_NONE
        for (int i = get_local_id(0); i < SLICE * columns; i += WORK_ITEMS) {
            const int r = kind == TRANSPOSED ? i % SLICE : i / columns, c = kind == TRANSPOSED ? i / SLICE : i % columns;
            const long at = kind == TRANSPOSED ? (long)c * x_stride + first + r : (long)(first + r) * x_stride + c;
            stage[r * pitch + c] = first + r < x_valid && c < width ? load_1(x + at, kind) : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_FULL
        for (int g = 0; g < GROUPS(width); g++) {
            float4 s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
            UNROLL_ACCUMULATE
            for (int i = 0; i < SLICE; i++) {
                float4 w = vload4(0, weights + (first + i) * WEIGHT_PITCH + row);
                float4 b = vload4(0, stage + i * pitch + g * BLOCK_COLUMNS + column);
                s0 = fma((float4)(w.x), b, s0);
                s1 = fma((float4)(w.y), b, s1);
                s2 = fma((float4)(w.z), b, s2);
                s3 = fma((float4)(w.w), b, s3);
            }
            out[4 * g + 0] += s0, out[4 * g + 1] += s1, out[4 * g + 2] += s2, out[4 * g + 3] += s3;
        }
    }
}

/* Writes a work-item's four rows of an output block whose first row is *x: out · scale for the first `valid` rows, 0
 * for the others up to `all`. With features, times φ'(at). */
INLINE void store_rows(const float4 *out, __global float *x, int x_stride, int valid, int all, const int width,
                       float4 scales, const __global float *at, int at_stride, const int kind) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    const float scale[4] = {scales.x, scales.y, scales.z, scales.w};
    UNROLL_FULL
    for (int g = 0; g < GROUPS(width); g++) {
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            const int c = g * BLOCK_COLUMNS + column, here = row + r < valid;
            float4 value = here && scale[r] != 0.0f ? out[4 * g + r] * scale[r] : (float4)(0.0f);
            if (kind == FEATURES) {
                const __global float *from = at + (long)(row + r) * at_stride + c;
                value *= feature_slope_4((float4)(here && c + 0 < width ? from[0] : 0.0f,
                                                  here && c + 1 < width ? from[1] : 0.0f,
                                                  here && c + 2 < width ? from[2] : 0.0f,
                                                  here && c + 3 < width ? from[3] : 0.0f));
            }
            if (row + r < all) {
                __global float *to = x + (long)(row + r) * x_stride + c;
                if (c + 0 < width) to[0] = value.x;
                if (c + 1 < width) to[1] = value.y;
                if (c + 2 < width) to[2] = value.z;
                if (c + 3 < width) to[3] = value.w;
            }
        }
    }
}

/* ---- outputs ----------------------------------------------------------------------------------------------------- */

#if !BACKWARD
/* o [B,N,H,E] and z [B,H,N], both dense. group: query heads per key head; share: query heads per head of states.
 * Work-groups: block of queries, head, sample. */
KERNEL(WORK_ITEMS)
void linear_attention_forward(VIEW(q), VIEW(k), VIEW(v), const __global float *restrict states,
                              const __global int *restrict key_lengths, const __global int *restrict query_lengths,
                              __global float *restrict o, __global float *restrict z, int N, int M, int group,
                              int share, int slots, float scale) {
    __local float stage[STAGE_SIZE] ALIGNED, weights[WEIGHT_PITCH * BLOCK_COLUMNS] ALIGNED;
    __local float *partial = stage; /* [BLOCK_ROWS][COLUMN_GROUPS] */
    const int first = get_group_id(0) * BLOCK_ROWS, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2);
    const int keys = valid_keys(key_lengths, sample, head, heads, M);
    const int queries = valid_queries(query_lengths, sample, N), shift = position_shift(keys, queries);
    const int rows = clamp(queries - first, 0, BLOCK_ROWS), slot = key_slot(first, shift, slots);
    const int column_group = get_local_id(0) % COLUMN_GROUPS;
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = column_group * 4;
    q = AT(q, sample, head) + (long)first * q_row;
    k = AT(k, sample, head / group);
    v = AT(v, sample, head / group);
    o += (((long)sample * N + first) * heads + head) * E;
    z += ((long)sample * heads + head) * N + first;
    states += (((long)sample * (heads / share) + head / share) * slots + slot) * STATE;

    float total[4];
    float4 out[4 * GROUPS(E)], p[4];
    UNROLL_FULL
    for (int r = 0; r < 4; r++) total[r] = 0.0f;
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(E); i++) out[i] = 0.0f;

    for (int d = 0; d < D; d += BLOCK_COLUMNS) {
        stage_weights(q, q_row, rows, D, FEATURES, 0, 0, 0, d, weights);
        accumulate_tile(weights, states + d, DP, D - d, E, TRANSPOSED, stage, out);
#if SUM
        UNROLL_NONE
        for (int c = column; c < min(column + 4, D - d); c++) {
            const float4 a = vload4(0, weights + c * WEIGHT_PITCH + row);
            const float sum = states[E * DP + d + c];
            total[0] = fma(a.x, sum, total[0]);
            total[1] = fma(a.y, sum, total[1]);
            total[2] = fma(a.z, sum, total[2]);
            total[3] = fma(a.w, sum, total[3]);
        }
#endif
    }
#if CAUSAL
    const int end = rows > 0 ? keys_seen(first + rows - 1, shift, keys) : 0;
    for (int tile = slot * CHUNK; tile < end; tile += BLOCK_COLUMNS) {
        const int tile_keys = end - tile;
        multiply_tile(q, q_row, rows, k + (long)tile * k_row, k_row, tile_keys, D, FEATURES, stage, p);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            p[r] = tile + column + (int4)(0, 1, 2, 3) <= (int4)(first + row + r + shift) ? p[r] : (float4)(0.0f);
            total[r] += (p[r].x + p[r].y) + (p[r].z + p[r].w);
        }
        hand_over(p, weights);
        accumulate_tile(weights, v + (long)tile * v_row, v_row, tile_keys, E, PLAIN, stage, out);
    }
#endif

    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_FULL
    for (int r = 0; r < 4; r++) partial[(row + r) * COLUMN_GROUPS + column_group] = total[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    float factor[4];
    UNROLL_FULL
    for (int r = 0; r < 4; r++) {
        const int seen = row + r < rows ? keys_seen(first + row + r, shift, keys) : 0;
#if NORMALISER == 0
        float sum = 0.0f;
        UNROLL_NONE
        for (int i = 0; i < COLUMN_GROUPS; i++) sum += partial[(row + r) * COLUMN_GROUPS + i];
        const float divisor = row + r < rows ? scale * sum : 0.0f;
#elif NORMALISER == 1
        const float divisor = seen;
#else
        const float divisor = seen > 0 ? 1.0f : 0.0f;
#endif
        factor[r] = divisor == 0.0f ? 0.0f : scale / divisor;
        if (column_group == 0 && first + row + r < N) z[row + r] = divisor;
    }
    store_rows(out, o, heads * E, rows, min(BLOCK_ROWS, N - first), E,
               (float4)(factor[0], factor[1], factor[2], factor[3]), 0, 0, PLAIN);
}

#else
/* dq. Shapes as in the forward pass; terms [B,H,N][2]. Work-groups: block of queries, head, sample. */
KERNEL(WORK_ITEMS)
void linear_attention_backward_queries(VIEW(q), VIEW(k), VIEW(v), VIEW(d_o), const __global float *restrict terms,
                                       const __global float *restrict states, const __global int *restrict key_lengths,
                                       const __global int *restrict query_lengths, WRITTEN_VIEW(dq), int N, int M,
                                       int group, int share, int slots, float scale) {
    __local float stage[STAGE_SIZE] ALIGNED, weights[WEIGHT_PITCH * BLOCK_COLUMNS] ALIGNED;
    const int first = get_group_id(0) * BLOCK_ROWS, head = get_group_id(1), heads = get_num_groups(1);
    const int sample = get_group_id(2);
    const int keys = valid_keys(key_lengths, sample, head, heads, M);
    const int queries = valid_queries(query_lengths, sample, N), shift = position_shift(keys, queries);
    const int rows = clamp(queries - first, 0, BLOCK_ROWS), slot = key_slot(first, shift, slots);
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    q = AT(q, sample, head) + (long)first * q_row;
    k = AT(k, sample, head / group);
    v = AT(v, sample, head / group);
    d_o = AT(d_o, sample, head) + (long)first * d_o_row;
    dq = AT(dq, sample, head) + (long)first * dq_row;
    terms += 2 * (((long)sample * heads + head) * N + first);
    states += (((long)sample * (heads / share) + head / share) * slots + slot) * STATE;

    float factor[4], along[4];
    float4 out[4 * GROUPS(D)], p[4];
    UNROLL_FULL
    for (int r = 0; r < 4; r++) {
        factor[r] = row + r < rows ? terms[2 * (row + r)] : 0.0f;
        along[r] = row + r < rows ? terms[2 * (row + r) + 1] : 0.0f;
    }
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(D); i++) out[i] = 0.0f;

    for (int e = 0; e < E + SUM; e += BLOCK_COLUMNS) {
        stage_weights(d_o, d_o_row, rows, E, PLAIN, SUM, terms, 1, e, weights);
        accumulate_tile(weights, states + e * DP, DP, E + SUM - e, D, PLAIN, stage, out);
    }
#if CAUSAL
    const int end = rows > 0 ? keys_seen(first + rows - 1, shift, keys) : 0;
    for (int tile = slot * CHUNK; tile < end; tile += BLOCK_COLUMNS) {
        const int tile_keys = end - tile;
        multiply_tile(d_o, d_o_row, rows, v + (long)tile * v_row, v_row, tile_keys, E, PLAIN, stage, p);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            p[r] = p[r] * factor[r] - along[r];
            p[r] = tile + column + (int4)(0, 1, 2, 3) <= (int4)(first + row + r + shift) ? p[r] : (float4)(0.0f);
        }
        hand_over(p, weights);
        accumulate_tile(weights, k + (long)tile * k_row, k_row, tile_keys, D, FEATURES, stage, out);
    }
#endif
    store_rows(out, dq, dq_row, rows, min(BLOCK_ROWS, N - first), D, (float4)(scale), q, q_row, FEATURES);
}

/* dk: the sum over the query heads of a group, in their order. states: of the queries, a head each. Work-groups: block
 * of keys, key head, sample. A head that sees none of the rows takes no step, and no jump past barriers either. */
KERNEL(WORK_ITEMS)
void linear_attention_backward_keys(VIEW(q), VIEW(k), VIEW(v), VIEW(d_o), const __global float *restrict terms,
                                    const __global float *restrict states, const __global int *restrict key_lengths,
                                    const __global int *restrict query_lengths, WRITTEN_VIEW(dk), int N, int M,
                                    int group, int slots, float scale) {
    __local float stage[STAGE_SIZE] ALIGNED, weights[WEIGHT_PITCH * BLOCK_COLUMNS] ALIGNED;
    const int first = get_group_id(0) * BLOCK_ROWS, key_head = get_group_id(1);
    const int heads = get_num_groups(1) * group, sample = get_group_id(2);
    const int queries = valid_queries(query_lengths, sample, N);
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    k = AT(k, sample, key_head) + (long)first * k_row;
    v = AT(v, sample, key_head) + (long)first * v_row;
    dk = AT(dk, sample, key_head) + (long)first * dk_row;

    int most = 0; /* rows that any head of the group sees */
    float4 out[4 * GROUPS(D)], p[4];
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(D); i++) out[i] = 0.0f;
    for (int member = 0; member < group; member++) {
        const int head = key_head * group + member, keys = valid_keys(key_lengths, sample, head, heads, M);
        const int rows = clamp(keys - first, 0, BLOCK_ROWS), shift = position_shift(keys, queries);
        const int slot = query_slot(first + rows - 1, shift, slots);
        const __global float *state = states + (((long)sample * heads + head) * slots + slot) * STATE;
        const int state_rows = rows > 0 ? E + SUM : 0;
        most = max(most, rows);
        for (int e = 0; e < state_rows; e += BLOCK_COLUMNS) {
            stage_weights(v, v_row, rows, E, PLAIN, SUM, 0, 0, e, weights);
            accumulate_tile(weights, state + e * DP, DP, E + SUM - e, D, PLAIN, stage, out);
        }
#if CAUSAL
        const __global float *head_q = AT(q, sample, head), *head_d_o = AT(d_o, sample, head);
        const __global float *head_terms = terms + 2 * ((long)sample * heads + head) * N;
        const int end = rows > 0 ? min(queries, slot * CHUNK) : 0;
        for (int tile = max(first - shift, 0); tile < end; tile += BLOCK_COLUMNS) {
            const int tile_queries = end - tile;
            multiply_tile(v, v_row, rows, head_d_o + (long)tile * d_o_row, d_o_row, tile_queries, E, PLAIN, stage, p);
            float term[8];
            UNROLL_FULL
            for (int c = 0; c < 8; c++)
                term[c] = column + c / 2 < tile_queries ? head_terms[2 * (tile + column) + c] : 0.0f;
            const float4 factor = (float4)(term[0], term[2], term[4], term[6]);
            const float4 along = (float4)(term[1], term[3], term[5], term[7]);
            const int4 position = tile + column + (int4)(0, 1, 2, 3) + shift;
            UNROLL_FULL
            for (int r = 0; r < 4; r++)
                p[r] = (int4)(first + row + r) <= position ? p[r] * factor - along : (float4)(0.0f);
            hand_over(p, weights);
            accumulate_tile(weights, head_q + (long)tile * q_row, q_row, tile_queries, D, FEATURES, stage, out);
        }
#endif
    }
    store_rows(out, dk, dk_row, most, min(BLOCK_ROWS, M - first), D, (float4)(scale), k, k_row, FEATURES);
}

/* dv, likewise. */
KERNEL(WORK_ITEMS)
void linear_attention_backward_values(VIEW(q), VIEW(k), VIEW(v), VIEW(d_o), const __global float *restrict terms,
                                      const __global float *restrict states, const __global int *restrict key_lengths,
                                      const __global int *restrict query_lengths, WRITTEN_VIEW(dv), int N, int M,
                                      int group, int slots, float scale) {
    __local float stage[STAGE_SIZE] ALIGNED, weights[WEIGHT_PITCH * BLOCK_COLUMNS] ALIGNED;
    const int first = get_group_id(0) * BLOCK_ROWS, key_head = get_group_id(1);
    const int heads = get_num_groups(1) * group, sample = get_group_id(2);
    const int queries = valid_queries(query_lengths, sample, N);
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    k = AT(k, sample, key_head) + (long)first * k_row;
    dv = AT(dv, sample, key_head) + (long)first * dv_row;

    int most = 0;
    float4 out[4 * GROUPS(E)], p[4];
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(E); i++) out[i] = 0.0f;
    for (int member = 0; member < group; member++) {
        const int head = key_head * group + member, keys = valid_keys(key_lengths, sample, head, heads, M);
        const int rows = clamp(keys - first, 0, BLOCK_ROWS), shift = position_shift(keys, queries);
        const int slot = query_slot(first + rows - 1, shift, slots);
        const __global float *state = states + (((long)sample * heads + head) * slots + slot) * STATE;
        const int state_columns = rows > 0 ? D : 0;
        most = max(most, rows);
        for (int d = 0; d < state_columns; d += BLOCK_COLUMNS) {
            stage_weights(k, k_row, rows, D, FEATURES, 0, 0, 0, d, weights);
            accumulate_tile(weights, state + d, DP, D - d, E, TRANSPOSED, stage, out);
        }
#if CAUSAL
        const __global float *head_q = AT(q, sample, head), *head_d_o = AT(d_o, sample, head);
        const __global float *head_terms = terms + 2 * ((long)sample * heads + head) * N;
        const int end = rows > 0 ? min(queries, slot * CHUNK) : 0;
        for (int tile = max(first - shift, 0); tile < end; tile += BLOCK_COLUMNS) {
            const int tile_queries = end - tile;
            multiply_tile(k, k_row, rows, head_q + (long)tile * q_row, q_row, tile_queries, D, FEATURES, stage, p);
            float term[4];
            UNROLL_FULL
            for (int c = 0; c < 4; c++) term[c] = column + c < tile_queries ? head_terms[2 * (tile + column + c)] : 0.0f;
            const float4 factor = (float4)(term[0], term[1], term[2], term[3]);
            const int4 position = tile + column + (int4)(0, 1, 2, 3) + shift;
            UNROLL_FULL
            for (int r = 0; r < 4; r++) p[r] = (int4)(first + row + r) <= position ? p[r] * factor : (float4)(0.0f);
            hand_over(p, weights);
            accumulate_tile(weights, head_d_o + (long)tile * d_o_row, d_o_row, tile_queries, E, PLAIN, stage, out);
        }
#endif
    }
    store_rows(out, dv, dv_row, most, min(BLOCK_ROWS, M - first), E, (float4)(scale), 0, 0, PLAIN);
}
#endif
