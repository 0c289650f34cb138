/* Attention for GPUs, forward and backward, without ever storing the N×M matrix.
 *
 * A work-group of 128 owns BLOCK_ROWS rows of its outputs and walks the other sequence in tiles of BLOCK_COLUMNS;
 * BLOCK_ROWS · BLOCK_COLUMNS is always 2048, so a work-item holds 4 × 4 scores, and 4 × 4 or 4 × 8 outputs for wide and
 * narrow heads alike. Two steps make up every pass: multiply_tile (scores = x · yᵀ, both staged in slices of SLICE
 * columns) and accumulate_tile (outputs += weights · x, x staged in slices of SLICE rows), with the weights handed
 * over in local memory. Any head width fits, since only slices of it are ever staged.
 *
 * The backward pass is two kernels, one that owns rows of q and writes dq, and one that owns rows of k and v and writes
 * dk and dv: each output has one writer and a fixed order of summation. p is recomputed from lse, and held at 1 where
 * huge scores leave lse too coarse.
 *
 * Loads of k and v stop at the length. What a tile shows (tile_kind) and all trip counts depend on the work-group alone,
 * so barriers are met by all; nothing returns before one. */
#include "attention_score.clh"
#include "random.clh"
#include "storage.clh"

#ifndef D /* width of queries and keys */
#define D 64
#endif
#ifndef E /* width of values */
#define E 64
#endif
#ifndef BLOCK_ROWS
#define BLOCK_ROWS 32
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
#ifndef WRITE_DK
#define WRITE_DK 1
#endif
#ifndef WRITE_DV
#define WRITE_DV 1
#endif
#if D < 1 || D > 256 || E < 1 || E > 256
#error "head widths are 1 to 256"
#endif
#if BLOCK_ROWS != 8 && BLOCK_ROWS != 16 && BLOCK_ROWS != 32 && BLOCK_ROWS != 64
#error "a block has 8, 16, 32 or 64 rows"
#endif

#define WORK_ITEMS    128
#define BLOCK_COLUMNS (2048 / BLOCK_ROWS)
#define COLUMN_GROUPS (BLOCK_COLUMNS / 4)
#define SLICE         16
#define PAD           4 /* keeps the transposing stores of a slice apart in the banks, and vectors aligned */
#define GROUPS(width) (((width) + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS) /* of four output columns per work-item */
#define MULTIPLY_SIZE (SLICE * (BLOCK_ROWS + PAD + BLOCK_COLUMNS + PAD))
#define WIDER_GROUPS  (GROUPS(D) > GROUPS(E) ? GROUPS(D) : GROUPS(E))
#define WIDER_SIZE    (SLICE * WIDER_GROUPS * BLOCK_COLUMNS)
#define STAGE_SIZE    (MULTIPLY_SIZE > WIDER_SIZE ? MULTIPLY_SIZE : WIDER_SIZE)
#if (D > 2 * BLOCK_COLUMNS) || (E > 2 * BLOCK_COLUMNS)
#error "BLOCK_ROWS is too large for the head width"
#endif
#define INLINE    static inline __attribute__((always_inline))
#define KERNEL(n) __kernel __attribute__((reqd_work_group_size(n, 1, 1)))

/* Register arrays need their loops gone; longer stretches only cost compilation, and registers on Intel. */
#define UNROLL_FULL  _Pragma("unroll")
#define UNROLL_SLICE _Pragma("unroll 4")
#define UNROLL_NONE  _Pragma("unroll 1")

/* slice [SLICE][pitch] = columns first … first+SLICE-1 of `rows` rows of x, transposed; 0 behind `valid` rows and
 * behind `width`. */
INLINE void stage_transposed(const __global stored *x, int x_stride, const int rows, int valid, const int width,
                             int first, __local float *slice, const int pitch) {
    UNROLL_NONE
    for (int i = get_local_id(0); i < rows * SLICE; i += WORK_ITEMS) {
        int row = i / SLICE, column = i % SLICE;
        slice[column * pitch + row] =
            row < valid && first + column < width ? LOAD(x, (long)row * x_stride + first + column) : 0.0f;
    }
}

/* scores[r] = row 4·row_group + r of x · yᵀ, columns 4·column_group … + 3. */
INLINE void multiply_tile(const __global stored *x, int x_stride, int x_valid, const __global stored *y, int y_stride,
                          int y_valid, const int width, __local float *stage, float4 *scores) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    __local float *x_slice = stage, *y_slice = stage + SLICE * (BLOCK_ROWS + PAD);
    float4 s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (int first = 0; first < width; first += SLICE) {
        barrier(CLK_LOCAL_MEM_FENCE);
        stage_transposed(x, x_stride, BLOCK_ROWS, x_valid, width, first, x_slice, BLOCK_ROWS + PAD);
        stage_transposed(y, y_stride, BLOCK_COLUMNS, y_valid, width, first, y_slice, BLOCK_COLUMNS + PAD);
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

/* Hands a tile over: weights [BLOCK_COLUMNS][BLOCK_ROWS]. */
INLINE void store_weights(const float4 *p, __local float *weights) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    vstore4((float4)(p[0].x, p[1].x, p[2].x, p[3].x), 0, weights + (column + 0) * BLOCK_ROWS + row);
    vstore4((float4)(p[0].y, p[1].y, p[2].y, p[3].y), 0, weights + (column + 1) * BLOCK_ROWS + row);
    vstore4((float4)(p[0].z, p[1].z, p[2].z, p[3].z), 0, weights + (column + 2) * BLOCK_ROWS + row);
    vstore4((float4)(p[0].w, p[1].w, p[2].w, p[3].w), 0, weights + (column + 3) * BLOCK_ROWS + row);
}

/* out[4g + r] += row 4·row_group + r of weightsᵀ · x, columns g·BLOCK_COLUMNS + 4·column_group … + 3. */
INLINE void accumulate_tile(const __local float *weights, const __global stored *x, int x_stride, int x_valid,
                            const int width, __local float *stage, float4 *out) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    const int pitch = GROUPS(width) * BLOCK_COLUMNS;
    for (int first = 0; first < min(BLOCK_COLUMNS, x_valid); first += SLICE) {
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_NONE
        for (int i = get_local_id(0); i < SLICE * pitch; i += WORK_ITEMS) {
            int r = first + i / pitch, c = i % pitch;
            stage[i] = r < x_valid && c < width ? LOAD(x, (long)r * x_stride + c) : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_SLICE
        for (int i = 0; i < SLICE; i++) {
            float4 w = vload4(0, weights + (first + i) * BLOCK_ROWS + row);
            UNROLL_FULL
            for (int g = 0; g < GROUPS(width); g++) {
                float4 b = vload4(0, stage + i * pitch + g * BLOCK_COLUMNS + column);
                out[4 * g + 0] = fma((float4)(w.x), b, out[4 * g + 0]);
                out[4 * g + 1] = fma((float4)(w.y), b, out[4 * g + 1]);
                out[4 * g + 2] = fma((float4)(w.z), b, out[4 * g + 2]);
                out[4 * g + 3] = fma((float4)(w.w), b, out[4 * g + 3]);
            }
        }
    }
}

/* Writes a work-item's four rows of an output block whose first row is *x. */
INLINE void store_rows(const float4 *out, __global stored *x, int x_stride, int valid, const int width) {
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    UNROLL_FULL
    for (int g = 0; g < GROUPS(width); g++) {
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            __global stored *to = x + (long)(row + r) * x_stride;
            int c = g * BLOCK_COLUMNS + column;
            if (row + r < valid) {
                if (c + 0 < width) STORE(out[4 * g + r].x, to, c + 0);
                if (c + 1 < width) STORE(out[4 * g + r].y, to, c + 1);
                if (c + 2 < width) STORE(out[4 * g + r].z, to, c + 2);
                if (c + 3 < width) STORE(out[4 * g + r].w, to, c + 3);
            }
        }
    }
}

INLINE float4 keep_factor(uint4 words, uint threshold, float keep_scale) {
    return words >= (uint4)(threshold) ? (float4)(keep_scale) : (float4)(0.0f);
}

/* What scores become of: softmax is to base 2, unless more than scale · q·k makes a score. */
#define SCORE_SCALE (LINEAR || SCORED ? scale : scale * LOG2_E)

/* Scores of keys j … j+3 for query i (along_keys), or of key j for queries i … i+3, from x = SCORE_SCALE · q·k. Softmax:
 * to base 2. HIDDEN where nothing is seen, also behind `queries` and `keys`, the ends of the tile. *slope is the score's
 * by scale · q·k, or by the bias; 1 for linear weights; 0 where hidden. */
INLINE float4 score_four(const sight *s, const bool along_keys, const bool by_bias, int kind, int i, int queries, int j,
                         int keys, float4 x, float4 *slope) {
    const int4 steps = (int4)(0, 1, 2, 3);
    int4 seen = along_keys ? (int4)(i) < (int4)(queries) & j + steps < (int4)(keys)
                           : i + steps < (int4)(queries) & (int4)(j) < (int4)(keys);
    *slope = 1.0f;
#if SCORED
    /* Tables and users' functions are asked about pairs that exist alone. */
    float scores[4] = {x.x, x.y, x.z, x.w}, slopes[4];
    UNROLL_FULL
    for (int c = 0; c < 4; c++) {
        float of_product, of_bias;
        scores[c] = LOG2_E * score_pair(s, scores[c], min(along_keys ? i : i + c, queries - 1),
                                        min(along_keys ? j + c : j, keys - 1), &of_product, &of_bias);
        slopes[c] = by_bias ? of_bias : of_product;
    }
    x = (float4)(scores[0], scores[1], scores[2], scores[3]);
    *slope = (float4)(slopes[0], slopes[1], slopes[2], slopes[3]);
#endif
#if WINDOWED
    int from, to;
    if (along_keys)
        from = first_seen(s, i + s->shift), to = end_seen(s, i + s->shift);
    else
        seen_by(s, j, j + 1, &from, &to);
    seen &= (along_keys ? j : i) + steps >= (int4)(from) & (along_keys ? j : i) + steps < (int4)(to);
#endif
#if MODULO > 1 || MASK
    if (kind == TILE_PARTIAL) {
        int looks[4];
        UNROLL_FULL
        for (int c = 0; c < 4; c++)
            looks[c] = -sees(s, min(along_keys ? i : i + c, queries - 1), min(along_keys ? j + c : j, keys - 1));
        seen &= (int4)(looks[0], looks[1], looks[2], looks[3]);
    }
#endif
    *slope = seen ? *slope : (float4)(0.0f);
    return seen ? x : (float4)(HIDDEN);
}

INLINE float sum_of(float4 x) {
    return (x.x + x.y) + (x.z + x.w);
}

/* Weights before dropout from scores; `shift` is what load_shifts made of lse. */
INLINE float4 weight_of(float4 score, float4 shift) {
#if LINEAR
    return score * shift;
#else
    return exp2(min(score - shift, (float4)(0.0f)));
#endif
}

/* What a weight's gradient is multiplied with to become that of the score's origin, of which the score has `slope`. */
INLINE float4 slope_of(float4 score, float4 shift, float4 slope) {
#if LINEAR
    return shift * slope;
#elif SLOPED
    return weight_of(score, shift) * slope;
#else
    return weight_of(score, shift); /* 0 where hidden */
#endif
}

/* four = x of compact queries at … at+3, `other` from `queries` on. */
INLINE void load_four(const __global float *x, int at, int queries, float other, float *four) {
    UNROLL_FULL
    for (int c = 0; c < 4; c++) four[c] = at + c < queries ? x[(at + c) * STRIDE] : other;
}

/* Softmax: lse to base 2, INFINITY for rows that see nothing; linear: 1/z, 0 for z = 0. */
INLINE void load_shifts(const __global float *lse, int at, int queries, float *four) {
    load_four(lse, at, queries, LINEAR ? 0.0f : -INFINITY, four);
    UNROLL_FULL
    for (int c = 0; c < 4; c++) {
        if (LINEAR)
            four[c] = four[c] != 0.0f ? 1.0f / four[c] : 0.0f;
        else
            four[c] = four[c] == -INFINITY ? INFINITY : four[c] * LOG2_E;
    }
}

/* The tiles of keys that some query of a block sees through its window lie between these. */
INLINE int first_tile(const sight *s, int first) {
    return WINDOWED ? first_seen(s, first + s->shift) / BLOCK_COLUMNS * BLOCK_COLUMNS : 0;
}
INLINE int end_tile(const sight *s, int first, int queries) {
    const int end = WINDOWED ? end_seen(s, first + queries - 1 + s->shift) : s->keys;
    return queries > 0 ? end : 0;
}

/* The first tile from `at` on of which something is seen, `end` at least if there is none: of keys for queries first …
 * first + count - 1 (along_keys), or of queries for such keys. Tiles are skipped here, since PoCL breaks kernels that
 * step over a barrier, be it with the whole work-group. */
INLINE int next_tile(const sight *s, const bool along_keys, int first, int count, int at, int end, int *kind) {
    *kind = TILE_FULL;
#if MASKED
    for (; at < end; at += BLOCK_COLUMNS) {
        const int stop = min(at + BLOCK_COLUMNS, end);
        *kind = along_keys ? tile_kind(s, first, first + count, at, stop) : tile_kind(s, at, stop, first, first + count);
        if (*kind != TILE_EMPTY) break;
    }
#endif
    return at;
}

#if BACKWARD == 0
/* q [B,N,H,D], k [B,M,G,D], v [B,M,G,E], o [B,N,H,E] by offset and strides of sample, row and head; lse [B,H,N].
 * Work-groups: block of queries of each residue, head, sample. */
KERNEL(WORK_ITEMS)
void attention_forward(const __global stored *restrict q, const __global stored *restrict k,
                       const __global stored *restrict v, SIGHT_PARAMETERS, __global stored *restrict o,
                       __global float *restrict lse, int q_offset, int q_sample, int q_row, int q_head, int k_offset,
                       int k_sample, int k_row, int k_head, int v_offset, int v_sample, int v_row, int v_head,
                       int o_offset, int o_sample, int o_row, int o_head) {
    __local float stage[STAGE_SIZE] __attribute__((aligned(16)));
    __local float weights[BLOCK_ROWS * BLOCK_COLUMNS] __attribute__((aligned(16)));
    __local float partial[BLOCK_ROWS * COLUMN_GROUPS];
    const int head = get_group_id(1), tensor = KEY_LENGTHS == 3 ? 0 : get_group_id(2);
    const sight s = look(get_group_id(2), head, get_group_id(0) % STRIDE, SIGHT_ARGUMENTS);
    const int first = get_group_id(0) / STRIDE * BLOCK_ROWS, rows = min(BLOCK_ROWS, s.query_rows - first);
    const int queries = clamp(s.queries - first, 0, max(rows, 0));
    const int column_group = get_local_id(0) % COLUMN_GROUPS;
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = column_group * 4;
    q += q_offset + (long)tensor * q_sample + (long)head * q_head + (long)(s.start_q + query_index(&s, first)) * q_row;
    k += k_offset + (long)tensor * k_sample + (long)(head / GROUP) * k_head + (long)(s.start_k + s.residue_k) * k_row;
    v += v_offset + (long)tensor * v_sample + (long)(head / GROUP) * v_head + (long)(s.start_k + s.residue_k) * v_row;
    o += o_offset + (long)tensor * o_sample + (long)head * o_head + (long)(s.start_q + query_index(&s, first)) * o_row;
    lse += s.lse + (long)first * STRIDE;
    q_row *= STRIDE, k_row *= STRIDE, v_row *= STRIDE, o_row *= STRIDE;

    float maximum[4], total[4];
    float4 out[4 * GROUPS(E)], p[4];
    UNROLL_FULL
    for (int r = 0; r < 4; r++) maximum[r] = LOWEST, total[r] = 0.0f;
    UNROLL_FULL
    for (int i = 0; i < 4 * GROUPS(E); i++) out[i] = 0.0f;

    const int end = end_tile(&s, first, queries);
    int kind;
    for (int first_key = next_tile(&s, true, first, queries, first_tile(&s, first), end, &kind); first_key < end;
         first_key = next_tile(&s, true, first, queries, first_key + BLOCK_COLUMNS, end, &kind)) {
        const int keys = min(BLOCK_COLUMNS, end - first_key);
        multiply_tile(q, q_row, queries, k + (long)first_key * k_row, k_row, keys, D, stage, p);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            float4 slope;
            p[r] = score_four(&s, true, false, kind, first + row + r, first + queries, first_key + column,
                              first_key + keys, p[r] * SCORE_SCALE, &slope);
#if LINEAR
            if (NORMALISER < 2) total[r] += sum_of(NORMALISER == 0 ? p[r] : slope);
#else
            partial[(row + r) * COLUMN_GROUPS + column_group] = max(max(p[r].x, p[r].y), max(p[r].z, p[r].w));
#endif
        }
#if !LINEAR
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            float larger = maximum[r];
            UNROLL_NONE
            for (int i = 0; i < COLUMN_GROUPS; i++) larger = max(larger, partial[(row + r) * COLUMN_GROUPS + i]);
            float rescale = exp2(maximum[r] - larger);
            maximum[r] = larger;
            p[r] = exp2(p[r] - larger);
            total[r] = fma(total[r], rescale, sum_of(p[r]));
            UNROLL_FULL
            for (int g = 0; g < GROUPS(E); g++) out[4 * g + r] *= rescale;
        }
#endif
#if DROPOUT
        UNROLL_FULL
        for (int r = 0; r < 4; r++)
            p[r] *= keep_factor(random_words(random_state, stream, (uint)(first_key + column) / 4,
                                             s.numbering + (uint)((first + row + r) * STRIDE)),
                                threshold, keep_scale);
#endif
        store_weights(p, weights);
        accumulate_tile(weights, v + (long)first_key * v_row, v_row, keys, E, stage, out);
    }

    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_FULL
    for (int r = 0; r < 4; r++) partial[(row + r) * COLUMN_GROUPS + column_group] = total[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_FULL
    for (int r = 0; r < 4; r++) {
        float z = 0.0f;
        UNROLL_NONE
        for (int i = 0; i < COLUMN_GROUPS; i++) z += partial[(row + r) * COLUMN_GROUPS + i];
        if (LINEAR && NORMALISER == 2) z = 1.0f;
        const bool some = z != 0.0f;
        const float reciprocal = some ? 1.0f / z : 0.0f;
        UNROLL_FULL
        for (int g = 0; g < GROUPS(E); g++) out[4 * g + r] = some ? out[4 * g + r] * reciprocal : 0.0f;
        if (column_group == 0 && row + r < rows)
            lse[(row + r) * STRIDE] = LINEAR ? z : some ? maximum[r] * LOG_2 + log(z) : -INFINITY;
    }
    store_rows(out, o, o_row, rows, E);
}

#elif BACKWARD == 2
/* map [B,H,N,M] dense: the weights before dropout; q and k as above. Compact key j stands for STRIDE columns of the map,
 * all but one of them 0. Work-groups: block of queries of each residue, head, sample. */
KERNEL(WORK_ITEMS)
void attention_map(const __global stored *restrict q, const __global stored *restrict k, SIGHT_PARAMETERS,
                   const __global float *restrict lse, __global float *restrict map, int q_offset, int q_sample,
                   int q_row, int q_head, int k_offset, int k_sample, int k_row, int k_head) {
    __local float stage[MULTIPLY_SIZE] __attribute__((aligned(16)));
    const int head = get_group_id(1);
    const sight s = look(get_group_id(2), head, get_group_id(0) % STRIDE, SIGHT_ARGUMENTS);
    const int first = get_group_id(0) / STRIDE * BLOCK_ROWS, rows = min(BLOCK_ROWS, s.query_rows - first);
    const int queries = clamp(s.queries - first, 0, max(rows, 0));
    const int row = get_local_id(0) / COLUMN_GROUPS * 4, column = get_local_id(0) % COLUMN_GROUPS * 4;
    q += q_offset + (long)s.batch * q_sample + (long)head * q_head + (long)query_index(&s, first) * q_row;
    k += k_offset + (long)s.batch * k_sample + (long)(head / GROUP) * k_head + (long)s.residue_k * k_row;
    lse += s.lse + (long)first * STRIDE;
    map += (((long)s.batch * H + head) * N + query_index(&s, first)) * M;
    q_row *= STRIDE, k_row *= STRIDE;

    float shift[4];
    load_shifts(lse, row, queries, shift);
    for (int first_key = 0; first_key * STRIDE < M; first_key += BLOCK_COLUMNS) {
        const int keys = clamp(s.keys - first_key, 0, BLOCK_COLUMNS);
        int kind = keys > 0 && queries > 0 ? TILE_FULL : TILE_EMPTY;
        if (MASKED && kind == TILE_FULL)
            kind = tile_kind(&s, first, first + queries, first_key, first_key + keys);
        float4 p[4];
        multiply_tile(q, q_row, queries, k + (long)first_key * k_row, k_row, keys, D, stage, p);
        UNROLL_FULL
        for (int r = 0; r < 4; r++) {
            float4 slope;
            if (kind == TILE_EMPTY)
                p[r] = 0.0f;
            else
                p[r] = weight_of(score_four(&s, true, false, kind, first + row + r, first + queries,
                                            first_key + column, first_key + keys, p[r] * SCORE_SCALE, &slope),
                                 (float4)(shift[r]));
            const float four[4] = {p[r].x, p[r].y, p[r].z, p[r].w};
            UNROLL_FULL
            for (int c = 0; c < 4; c++)
                for (int t = 0; t < STRIDE; t++) {
                    const int to = (first_key + column + c) * STRIDE + t;
                    if (row + r < rows && to < M) map[(long)(row + r) * STRIDE * M + to] = t == s.residue_k ? four[c] : 0.0f;
                }
        }
    }
}

#else
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
#endif
