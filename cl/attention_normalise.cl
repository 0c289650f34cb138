/* Attention-BN: batch normalisation of keys and queries with the statistics of the keys, per sample and head.
 *
 *   statistics: mu, s2 of all keys of a sample                 sums:  what dmu and d(s2) need, over all queries and
 * keys apply:      q' = (q - beta·mu)/s2, k' = k - beta·mu        apply_backward: dq, dk beta_backward:  d_beta [G],
 * over samples and columns
 *
 * The statistics of prefixes and the way back through them are in attention_normalise_prefix.cl; the rows' part is
 * here for both.
 *
 * Everything here moves memory and computes little, so the shapes follow the memory. Sums run down the rows: in WIDE
 * one work-item owns a few columns of one sample and head; in TILED a work-group owns 32 columns and splits the rows
 * eight ways, so that a row's reads are one segment. The split is by row modulo 8 and the eight parts are added in
 * order: no atomics, and the same bits every time. The rest is one row per work-item (WIDE) or one element per
 * work-item (TILED).
 *
 * Macros: those of attention_normalise.clh; XP_D_QUERY, XP_D_KEY, XP_D_BETA 1 where that gradient is wanted. */
#include "attention_normalise.clh"

#ifndef XP_D_QUERY
#define XP_D_QUERY 1
#endif
#ifndef XP_D_KEY
#define XP_D_KEY 1
#endif
#ifndef XP_D_BETA
#define XP_D_BETA 0
#endif
#if XP_D_BETA && !XP_LEARNED
#error "XP_D_BETA needs XP_LEARNED"
#endif

#if XP_TILED

__kernel __attribute__((reqd_work_group_size(COLUMNS, PARTS, 1))) void
attention_normalise_statistics(__global const float *restrict k /* view [B,M,G,D] */, int k_offset, int k_batch,
                               int k_row, int k_head, __global const int *restrict key_lengths,
                               __global float *restrict mu /* [S,G,D] */, __global float *restrict s2 /* [S,G,D] */,
                               int keys, int key_heads, int width, float epsilon) {
    __local float parts[PARTS * COLUMNS];
    const int lane = (int)get_local_id(0), part = (int)get_local_id(1), d = (int)get_global_id(0);
    const int g = (int)get_group_id(1), sample = (int)get_group_id(2);
    const span seen = keys_of(key_lengths, sample, g, key_heads, keys);
    const int count = seen.count;
    const bool inside = d < width;
    const long first = view_row(k_offset, k_batch, k_row, k_head, batch_of(sample), seen.first, g) + d;
    float sum = 0;
    if (inside)
        for (int j = part; j < count; j += PARTS) sum += k[first + (long)j * k_row];
    float mean = add_parts(parts, part, lane, sum) / max(count, 1);
    /* The sum of the deviations is zero but for the rounding of the mean, and repairs it: with a mean that is large
     * against the deviation the first pass alone loses digits. */
    float deviations = 0, squares = 0;
    if (inside)
        for (int j = part; j < count; j += PARTS) {
            const float deviation = k[first + (long)j * k_row] - mean;
            deviations += deviation;
            squares = fma(deviation, deviation, squares);
        }
    const float shift = add_parts(parts, part, lane, deviations) / max(count, 1);
    const float square = add_parts(parts, part, lane, squares) / max(count, 1);
    if (inside && part == 0) {
        const long at = ((long)sample * key_heads + g) * width + d;
        mu[at] = mean + shift;
        s2[at] = XP_SCALE && count > 0 ? max(square - shift * shift, 0.0f) + epsilon : 1;
    }
}

#else

#define LINE 16 /* columns: one cache line a row, in two vectors */

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
attention_normalise_statistics(__global const float *restrict k /* view [B,M,G,D] */, int k_offset, int k_batch,
                               int k_row, int k_head, __global const int *restrict key_lengths,
                               __global float *restrict mu /* [S,G,D] */, __global float *restrict s2 /* [S,G,D] */,
                               int keys, int key_heads, int width, float epsilon) {
    const int d = (int)get_global_id(0) * LINE, g = (int)get_global_id(1), sample = (int)get_global_id(2);
    const span seen = keys_of(key_lengths, sample, g, key_heads, keys);
    const int count = seen.count;
    const long at = ((long)sample * key_heads + g) * width + d;
    const float divisor = max(count, 1);
    __global const float *first = k + view_row(k_offset, k_batch, k_row, k_head, batch_of(sample), seen.first, g) + d;
    __global float *mu_at = mu + at, *s2_at = s2 + at;
    /* The sum of the deviations is zero but for the rounding of the mean, and repairs it: with a mean that is large
     * against the deviation the first pass alone loses digits. */
    if (d + LINE <= width) {
        float8 sum0 = 0, sum1 = 0, squares0 = 0, squares1 = 0;
        for (int j = 0; j < count; j++) {
            sum0 += vload8(0, first + (long)j * k_row);
            sum1 += vload8(1, first + (long)j * k_row);
        }
        const float8 mean0 = sum0 / divisor, mean1 = sum1 / divisor;
        sum0 = 0;
        sum1 = 0;
        for (int j = 0; j < count; j++) {
            const float8 deviation0 = vload8(0, first + (long)j * k_row) - mean0;
            const float8 deviation1 = vload8(1, first + (long)j * k_row) - mean1;
            sum0 += deviation0;
            sum1 += deviation1;
            squares0 = fma(deviation0, deviation0, squares0);
            squares1 = fma(deviation1, deviation1, squares1);
        }
        const float8 shift0 = sum0 / divisor, shift1 = sum1 / divisor;
        vstore8(mean0 + shift0, 0, mu_at);
        vstore8(mean1 + shift1, 1, mu_at);
        const bool scale = XP_SCALE && count > 0;
        vstore8(scale ? fmax(squares0 / divisor - shift0 * shift0, (float8)(0)) + epsilon : (float8)(1), 0, s2_at);
        vstore8(scale ? fmax(squares1 / divisor - shift1 * shift1, (float8)(0)) + epsilon : (float8)(1), 1, s2_at);
        return;
    }
    for (int c = 0; c < width - d; c++) {
        float sum = 0, squares = 0;
        for (int j = 0; j < count; j++) sum += first[(long)j * k_row + c];
        const float mean = sum / divisor;
        sum = 0;
        for (int j = 0; j < count; j++) {
            const float deviation = first[(long)j * k_row + c] - mean;
            sum += deviation;
            squares = fma(deviation, deviation, squares);
        }
        const float shift = sum / divisor;
        mu_at[c] = mean + shift;
        s2_at[c] = XP_SCALE && count > 0 ? fmax(squares / divisor - shift * shift, 0.0f) + epsilon : 1;
    }
}

#endif

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* Where a query finds its statistics. */
typedef struct place {
    long statistic; /* row [G,D] of mu and s2; -1: it sees no key */
    int first_key;
} place;

inline place place_of(int sample, int row, int g, span seen, span asked, int keys) {
#if XP_PREFIX
    const int visible = visible_keys(row - asked.first, g, seen, asked);
    const place found = {visible > 0 ? (long)batch_of(sample) * keys + seen.first + visible - 1 : -1, seen.first};
#else
    const place found = {sample, seen.first};
#endif
    return found;
}

/* A row of all heads in WIDE, an element in TILED. */
__kernel __attribute__((reqd_work_group_size(ROW_SIZE, 1, 1))) void attention_normalise_apply(
    __global const float *restrict q /* view [B,N,H,D] */, int q_offset, int q_batch, int q_row, int q_head,
    __global const float *restrict k /* view [B,M,G,D] */, int k_offset, int k_batch, int k_row, int k_head,
    __global const int *restrict key_lengths, __global const int *restrict query_lengths,
    __global const float *restrict beta, __global const float *restrict mu /* [S,G,D]; prefix: [B,M,G,D] */,
    __global const float *restrict s2, __global float *restrict q_out /* [B,N,H,D], with XP_CONSTANT D+1 */,
    __global float *restrict k_out /* [B,M,G,D], with XP_CONSTANT D+1 */, int samples, int queries, int keys, int heads,
    int key_heads, int width, float constant_beta) {
    const int group = heads / key_heads, out_width = width + XP_CONSTANT;
#if XP_TILED
    const int column = (int)get_global_id(0), row = (int)get_global_id(1), b = (int)get_global_id(2);
    if (column >= heads * width) return;
    const int h_begin = column / width, h_end = h_begin + 1, d_begin = column - h_begin * width, d_end = d_begin + 1;
#else
    const int row = (int)get_global_id(0), b = (int)get_global_id(1);
    const int h_begin = 0, h_end = heads, d_begin = 0, d_end = width;
#endif
    if (row < queries) {
        const int sample = sample_of(query_lengths, samples, b, row);
        for (int h = h_begin; h < h_end; h++) {
            __global const float *from = q + view_row(q_offset, q_batch, q_row, q_head, b, row, h);
            __global float *to = q_out + (((long)b * queries + row) * heads + h) * out_width;
            const int g = h / group;
            const float strength = beta_of(beta, constant_beta, g);
            span seen = {0, 0}, asked = {0, 0};
            if (sample >= 0) {
                seen = keys_of(key_lengths, sample, g, key_heads, keys);
                asked = queries_of(query_lengths, sample, queries);
            }
            const bool inside = row - asked.first < asked.count;
            const place at = place_of(sample, row, g, seen, asked, keys);
            const long statistic = (at.statistic * key_heads + g) * width;
            __global const float *reference = k + view_row(k_offset, k_batch, k_row, k_head, b, at.first_key, g);
            for (int d = d_begin; d < d_end; d += LANES) {
                const int left = width - d;
                lanes value = 0;
                if (inside) value = load(from + d, left, 0);
                if (inside && at.statistic >= 0) {
                    const lanes first = XP_PREFIX ? load(reference + d, left, 0) : (lanes)(0);
                    value = centred(value, strength, first, load(mu + statistic + d, left, 0)) /
                            spread(load(s2 + statistic + d, left, 1));
                }
                store(value, to + d, left);
            }
        }
    }
    if (row < keys && h_begin < key_heads) {
        const int sample = sample_of(key_lengths, samples, b, row);
        for (int g = h_begin; g < min(h_end, key_heads); g++) {
            __global const float *from = k + view_row(k_offset, k_batch, k_row, k_head, b, row, g);
            __global float *to = k_out + (((long)b * keys + row) * key_heads + g) * out_width;
            const float strength = beta_of(beta, constant_beta, g);
            span seen = {0, 0};
            if (sample >= 0) seen = keys_of(key_lengths, sample, g, key_heads, keys);
            const bool inside = row - seen.first < seen.count;
            const long statistic = ((XP_PREFIX ? (long)b * keys + row : sample) * key_heads + g) * width;
            __global const float *reference = k + view_row(k_offset, k_batch, k_row, k_head, b, seen.first, g);
            for (int d = d_begin; d < d_end; d += LANES) {
                const int left = width - d;
                lanes value = 0;
                if (inside) {
                    value = load(from + d, left, 0);
                    const lanes first = XP_PREFIX ? load(reference + d, left, 0) : (lanes)(0);
#if XP_PREFIX && !XP_BOTH
                    value -= first;
#else
                    value = centred(value, strength, first, load(mu + statistic + d, left, 0));
#if XP_BOTH
                    value /= spread(load(s2 + statistic + d, left, 1));
#endif
#endif
                }
                store(value, to + d, left);
            }
#if XP_CONSTANT
            if (d_begin == 0) to[width] = inside;
#endif
        }
    }
}

__kernel __attribute__((reqd_work_group_size(ROW_SIZE, 1, 1))) void attention_normalise_apply_backward(
    __global const float *restrict d_q_out /* [B,N,H,D], with XP_CONSTANT D+1 */,
    __global const float *restrict d_k_out /* [B,M,G,D] */, __global const float *restrict k /* view [B,M,G,D] */,
    int k_offset, int k_batch, int k_row, int k_head, __global const int *restrict key_lengths,
    __global const int *restrict query_lengths, __global const float *restrict beta,
    __global const float *restrict mu /* [S,G,D]; prefix: [B,M,G,D] */, __global const float *restrict s2,
    __global const float *restrict d_mean /* [S,G,D] */, __global const float *restrict d_variance /* [S,G,D] */,
    __global float *restrict dq /* view [B,N,H,D] */, int dq_offset, int dq_batch, int dq_row, int dq_head,
    __global float *restrict dk /* view [B,M,G,D] */, int dk_offset, int dk_batch, int dk_row, int dk_head, int samples,
    int queries, int keys, int heads, int key_heads, int width, float constant_beta) {
    const int group = heads / key_heads, out_width = width + XP_CONSTANT;
#if XP_TILED
    const int column = (int)get_global_id(0), row = (int)get_global_id(1), b = (int)get_global_id(2);
    if (column >= heads * width) return;
    const int h_begin = column / width, h_end = h_begin + 1, d_begin = column - h_begin * width, d_end = d_begin + 1;
#else
    const int row = (int)get_global_id(0), b = (int)get_global_id(1);
    const int h_begin = 0, h_end = heads, d_begin = 0, d_end = width;
#endif
#if XP_D_QUERY
    if (row < queries) {
        const int sample = sample_of(query_lengths, samples, b, row);
        for (int h = h_begin; h < h_end; h++) {
            __global const float *from = d_q_out + (((long)b * queries + row) * heads + h) * out_width;
            __global float *to = dq + view_row(dq_offset, dq_batch, dq_row, dq_head, b, row, h);
            const int g = h / group;
            span seen = {0, 0}, asked = {0, 0};
            if (sample >= 0) {
                seen = keys_of(key_lengths, sample, g, key_heads, keys);
                asked = queries_of(query_lengths, sample, queries);
            }
            const bool inside = row - asked.first < asked.count;
            const place at = place_of(sample, row, g, seen, asked, keys);
            const long statistic = (at.statistic * key_heads + g) * width;
#if XP_CONSTANT
            const float strength = beta_of(beta, constant_beta, g);
            __global const float *reference = k + view_row(k_offset, k_batch, k_row, k_head, b, at.first_key, g);
#endif
            for (int d = d_begin; d < d_end; d += LANES) {
                const int left = width - d;
                lanes value = 0;
                if (inside) value = load(from + d, left, 0);
                if (inside && at.statistic >= 0) {
#if XP_CONSTANT
                    value -= from[width] *
                             recentring(strength, load(reference + d, left, 0), load(mu + statistic + d, left, 0));
#endif
                    value /= spread(load(s2 + statistic + d, left, 1));
                }
                store(value, to + d, left);
            }
        }
    }
#endif
#if XP_D_KEY
    if (row < keys && h_begin < key_heads) {
        const int sample = sample_of(key_lengths, samples, b, row);
        for (int g = h_begin; g < min(h_end, key_heads); g++) {
            __global const float *from = d_k_out + (((long)b * keys + row) * key_heads + g) * width;
            __global const float *key = k + view_row(k_offset, k_batch, k_row, k_head, b, row, g);
            __global float *to = dk + view_row(dk_offset, dk_batch, dk_row, dk_head, b, row, g);
            span seen = {0, 0};
            if (sample >= 0) seen = keys_of(key_lengths, sample, g, key_heads, keys);
            const bool inside = row - seen.first < seen.count;
            const long statistic = ((long)sample * key_heads + g) * width;
            for (int d = d_begin; d < d_end; d += LANES) {
                const int left = width - d;
                lanes value = 0;
                if (inside) {
                    value = load(from + d, left, 0);
#if XP_BOTH
                    value /= spread(load(s2 + statistic + d, left, 1));
#endif
                    const lanes deviation = load(key + d, left, 0) - load(mu + statistic + d, left, 0);
                    value += fma(load(d_variance + statistic + d, left, 0), deviation,
                                 load(d_mean + statistic + d, left, 0));
                }
                store(value, to + d, left);
            }
        }
    }
#endif
}

/* ---- columns ----------------------------------------------------------------------------------------------------- */

__kernel __attribute__((reqd_work_group_size(COLUMNS, PARTS, 1))) void attention_normalise_sums(
    __global const float *restrict d_q_out /* [B,N,H,D] */, __global const float *restrict d_k_out /* [B,M,G,D] */,
    __global const float *restrict q /* view [B,N,H,D] */, int q_offset, int q_batch, int q_row, int q_head,
    __global const float *restrict k /* view [B,M,G,D] */, int k_offset, int k_batch, int k_row, int k_head,
    __global const int *restrict key_lengths, __global const int *restrict query_lengths,
    __global const float *restrict beta, __global const float *restrict mu, __global const float *restrict s2,
    __global float *restrict d_mean /* [S,G,D]: dmu/count */,
    __global float *restrict d_variance /* [S,G,D]: 2·d(s2)/count */,
    __global float *restrict d_centre /* [S,G,D]: the terms of d_beta */, int queries, int keys, int heads,
    int key_heads, int width, float constant_beta) {
    SHARED(parts);
    const int lane = (int)get_local_id(0), part = (int)get_local_id(1), d = (int)get_global_id(0) * LANES;
    const int g = (int)get_group_id(1), sample = (int)get_group_id(2), b = batch_of(sample);
    const span seen = keys_of(key_lengths, sample, g, key_heads, keys);
    const span asked = queries_of(query_lengths, sample, queries);
    const int left = width - d, group = heads / key_heads;
    const bool inside = d < width;
    const long statistic = ((long)sample * key_heads + g) * width + d;
    const float strength = beta_of(beta, constant_beta, g), divisor = max(seen.count, 1);
    lanes mean = 0, variance = 1, query_sum = 0, product_sum = 0, key_sum = 0;
    if (inside) {
        mean = load(mu + statistic, left, 0);
        variance = load(s2 + statistic, left, 1);
        const lanes centre = strength * mean;
        for (int h = g * group; h < (g + 1) * group; h++)
            for (int i = asked.first + part; i < asked.first + asked.count; i += PARTS) {
                const lanes arriving = load(d_q_out + (((long)b * queries + i) * heads + h) * width + d, left, 0);
                const lanes value = load(q + view_row(q_offset, q_batch, q_row, q_head, b, i, h) + d, left, 0);
                query_sum += arriving;
                product_sum = fma(arriving, value - centre, product_sum);
            }
        for (int j = seen.first + part; j < seen.first + seen.count; j += PARTS) {
            const lanes arriving = load(d_k_out + (((long)b * keys + j) * key_heads + g) * width + d, left, 0);
            key_sum += arriving;
#if XP_BOTH
            const lanes value = load(k + view_row(k_offset, k_batch, k_row, k_head, b, j, g) + d, left, 0);
            product_sum = fma(arriving, value - centre, product_sum);
#endif
        }
    }
    query_sum = add_parts(parts, part, lane, query_sum);
    product_sum = add_parts(parts, part, lane, product_sum);
    key_sum = add_parts(parts, part, lane, key_sum);
    if (!inside || part != 0) return;
#if XP_BOTH
    const lanes total = (query_sum + key_sum) / spread(variance), slope = -product_sum / (variance * spread(variance));
#else
    const lanes total = query_sum / variance + key_sum, slope = -2 * product_sum / (variance * variance);
#endif
    store(-strength * total / divisor, d_mean + statistic, left);
    store(XP_SCALE ? slope / divisor : (lanes)(0), d_variance + statistic, left);
#if XP_D_BETA
    store(-mean * total, d_centre + statistic, left);
#endif
}

/* d_beta of one head: 64 work-items take every 64th of the S·D terms and their sums are added pairwise, in one order.
 */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
attention_normalise_beta_backward(__global const float *restrict d_centre /* [S,G,D] */,
                                  __global float *restrict d_beta /* [G] */, int samples, int key_heads, int width) {
    __local float sums[64];
    const int lane = (int)get_local_id(0), g = (int)get_group_id(0);
    float sum = 0;
    for (long i = lane; i < (long)samples * width; i += 64)
        sum += d_centre[(i / width * key_heads + g) * width + i % width];
    sums[lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_lanes = 32; half_lanes > 0; half_lanes >>= 1) {
        if (lane < half_lanes) sums[lane] += sums[lane + half_lanes];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lane == 0) d_beta[g] = sums[0];
}
