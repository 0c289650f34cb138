/* Attention-BN: batch normalisation of keys and queries with the statistics of the keys, per sequence and head.
 *
 *   statistics: mu, s2 from the first counts keys             sums:  what dmu and d(s2) need, over all queries and keys
 *   apply:      q' = (q - beta·mu)/s2, k' = k - beta·mu       apply_backward: dq, dk
 *                                                             beta_backward:  d_beta [H], over batch and columns
 *
 * Everything here moves memory and computes little, so the shapes follow the memory. Sums run down the rows: in WIDE
 * one work-item owns 16 columns (one cache line a row) of one sequence and head, in two vectors; in TILED a work-group
 * owns 32 columns and splits the rows eight ways, so that a row's reads are one segment. The split is by row modulo 8
 * and the eight parts are added in order: no atomics, and the same bits every time. The rest is one row per work-item
 * (WIDE) or one element per work-item (TILED).
 *
 * Views: a tensor with an offset and strides shows [B,N,H,D] with unit column stride; others are dense.
 *
 * Macros: XP_TILED 0 or 1; XP_SCALE 1 divides by the variance; XP_LEARNED 1 reads beta [H] instead of the constant;
 * XP_COUNTS 0 all keys, 1 counts [B], 2 counts [B,H]; XP_D_QUERY, XP_D_KEY, XP_D_BETA 1 where that gradient is wanted.
 */
#ifndef XP_TILED
#define XP_TILED 0
#endif
#ifndef XP_SCALE
#define XP_SCALE 1
#endif
#ifndef XP_LEARNED
#define XP_LEARNED 0
#endif
#ifndef XP_COUNTS
#define XP_COUNTS 0
#endif
#ifndef XP_D_QUERY
#define XP_D_QUERY 1
#endif
#ifndef XP_D_KEY
#define XP_D_KEY 1
#endif
#ifndef XP_D_BETA
#define XP_D_BETA 0
#endif
#if XP_COUNTS < 0 || XP_COUNTS > 2
#error "XP_COUNTS is 0, 1 or 2"
#endif
#if XP_D_BETA && !XP_LEARNED
#error "XP_D_BETA needs XP_LEARNED"
#endif

/* Where element [b, row, h, 0] of a view lies. */
inline long view_row(int offset, int batch_stride, int row_stride, int head_stride, int b, int row, int h) {
    return offset + (long)b * batch_stride + (long)row * row_stride + (long)h * head_stride;
}

/* The keys of sequence b that head h sees. */
inline int count_keys(__global const int *restrict counts /* [B] or [B,H] */, int b, int h, int heads, int keys) {
#if XP_COUNTS == 0
    return keys;
#elif XP_COUNTS == 1
    return clamp(counts[b], 0, keys);
#else
    return clamp(counts[b * heads + h], 0, keys);
#endif
}

inline float beta_of(__global const float *restrict beta /* [H] */, float constant_beta, int h) {
#if XP_LEARNED
    return beta[h];
#else
    return constant_beta;
#endif
}

#if XP_TILED

#define COLUMNS 32
#define PARTS   8

/* Adds the eight parts of each column in order; every work-item of a column gets the sum. */
inline float add_parts(__local float *parts /* [PARTS,COLUMNS] */, int part, int column, float value) {
    barrier(CLK_LOCAL_MEM_FENCE);
    parts[part * COLUMNS + column] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    float sum = 0;
    for (int i = 0; i < PARTS; i++) sum += parts[i * COLUMNS + column];
    return sum;
}

__kernel __attribute__((reqd_work_group_size(COLUMNS, PARTS, 1))) void
attention_normalise_statistics(__global const float *restrict k /* view [B,M,H,D] */, int k_offset, int k_batch,
                               int k_row, int k_head, __global const int *restrict counts,
                               __global float *restrict mu /* [B,H,D] */, __global float *restrict s2 /* [B,H,D] */,
                               int keys, int heads, int width, float epsilon) {
    __local float parts[PARTS * COLUMNS];
    const int lane = (int)get_local_id(0), part = (int)get_local_id(1), d = (int)get_global_id(0);
    const int h = (int)get_group_id(1), b = (int)get_group_id(2);
    const int count = count_keys(counts, b, h, heads, keys);
    const bool inside = d < width;
    const long first = view_row(k_offset, k_batch, k_row, k_head, b, 0, h) + d;
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
        const long at = ((long)b * heads + h) * width + d;
        mu[at] = mean + shift;
        s2[at] = XP_SCALE && count > 0 ? max(square - shift * shift, 0.0f) + epsilon : 1;
    }
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void attention_normalise_apply(
    __global const float *restrict q /* view [B,N,H,D] */, int q_offset, int q_batch, int q_row, int q_head,
    __global const float *restrict k /* view [B,M,H,D] */, int k_offset, int k_batch, int k_row, int k_head,
    __global const int *restrict counts, __global const float *restrict beta, __global const float *restrict mu,
    __global const float *restrict s2, __global float *restrict q_out /* [B,N,H,D] */,
    __global float *restrict k_out /* [B,M,H,D] */, int queries, int keys, int heads, int width, float constant_beta) {
    const int column = (int)get_global_id(0), row = (int)get_global_id(1), b = (int)get_global_id(2);
    if (column >= heads * width) return;
    const int h = column / width, d = column - h * width;
    const long statistic = ((long)b * heads + h) * width + d;
    const float centre = beta_of(beta, constant_beta, h) * mu[statistic];
    if (row < queries)
        q_out[((long)b * queries + row) * heads * width + column] =
            (q[view_row(q_offset, q_batch, q_row, q_head, b, row, h) + d] - centre) / s2[statistic];
    if (row < keys) {
        const bool seen = row < count_keys(counts, b, h, heads, keys);
        k_out[((long)b * keys + row) * heads * width + column] =
            seen ? k[view_row(k_offset, k_batch, k_row, k_head, b, row, h) + d] - centre : 0;
    }
}

__kernel __attribute__((reqd_work_group_size(COLUMNS, PARTS, 1))) void attention_normalise_sums(
    __global const float *restrict d_q_out /* [B,N,H,D] */, __global const float *restrict d_k_out /* [B,M,H,D] */,
    __global const float *restrict q /* view [B,N,H,D] */, int q_offset, int q_batch, int q_row, int q_head,
    __global const int *restrict counts, __global const float *restrict beta, __global const float *restrict mu,
    __global const float *restrict s2, __global float *restrict d_mean /* [B,H,D]: dmu/count */,
    __global float *restrict d_variance /* [B,H,D]: 2·d(s2)/count */,
    __global float *restrict d_centre /* [B,H,D]: the terms of d_beta */, int queries, int keys, int heads, int width,
    float constant_beta) {
    __local float parts[PARTS * COLUMNS];
    const int lane = (int)get_local_id(0), part = (int)get_local_id(1), d = (int)get_global_id(0);
    const int h = (int)get_group_id(1), b = (int)get_group_id(2);
    const int count = count_keys(counts, b, h, heads, keys);
    const bool inside = d < width;
    const long row_length = (long)heads * width, statistic = ((long)b * heads + h) * width + d;
    const float mean = inside ? mu[statistic] : 0, variance = inside ? s2[statistic] : 1;
    const float centre = beta_of(beta, constant_beta, h) * mean;
    float query_sum = 0, product_sum = 0, key_sum = 0;
    if (inside) {
        const long q_first = view_row(q_offset, q_batch, q_row, q_head, b, 0, h) + d;
        const long g_first = (long)b * queries * row_length + (long)h * width + d;
        for (int i = part; i < queries; i += PARTS) {
            const float g = d_q_out[g_first + i * row_length];
            query_sum += g;
            product_sum = fma(g, q[q_first + (long)i * q_row] - centre, product_sum);
        }
        const long r_first = (long)b * keys * row_length + (long)h * width + d;
        for (int j = part; j < count; j += PARTS) key_sum += d_k_out[r_first + j * row_length];
    }
    const float g = add_parts(parts, part, lane, query_sum);
    const float product = add_parts(parts, part, lane, product_sum);
    const float r = add_parts(parts, part, lane, key_sum);
    if (inside && part == 0) {
        const float both = g / variance + r;
        d_mean[statistic] = -beta_of(beta, constant_beta, h) * both / max(count, 1);
        d_variance[statistic] = XP_SCALE ? -2 * product / (variance * variance) / max(count, 1) : 0;
#if XP_D_BETA
        d_centre[statistic] = -mean * both;
#endif
    }
}

__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void attention_normalise_apply_backward(
    __global const float *restrict d_q_out /* [B,N,H,D] */, __global const float *restrict d_k_out /* [B,M,H,D] */,
    __global const float *restrict k /* view [B,M,H,D] */, int k_offset, int k_batch, int k_row, int k_head,
    __global const int *restrict counts, __global const float *restrict mu, __global const float *restrict s2,
    __global const float *restrict d_mean, __global const float *restrict d_variance,
    __global float *restrict dq /* view [B,N,H,D] */, int dq_offset, int dq_batch, int dq_row, int dq_head,
    __global float *restrict dk /* view [B,M,H,D] */, int dk_offset, int dk_batch, int dk_row, int dk_head, int queries,
    int keys, int heads, int width) {
    const int column = (int)get_global_id(0), row = (int)get_global_id(1), b = (int)get_global_id(2);
    if (column >= heads * width) return;
    const int h = column / width, d = column - h * width;
    const long statistic = ((long)b * heads + h) * width + d;
#if XP_D_QUERY
    if (row < queries)
        dq[view_row(dq_offset, dq_batch, dq_row, dq_head, b, row, h) + d] =
            d_q_out[((long)b * queries + row) * heads * width + column] / s2[statistic];
#endif
#if XP_D_KEY
    if (row < keys) {
        float value = 0;
        if (row < count_keys(counts, b, h, heads, keys)) {
            const float deviation = k[view_row(k_offset, k_batch, k_row, k_head, b, row, h) + d] - mu[statistic];
            value = d_k_out[((long)b * keys + row) * heads * width + column] +
                    fma(d_variance[statistic], deviation, d_mean[statistic]);
        }
        dk[view_row(dk_offset, dk_batch, dk_row, dk_head, b, row, h) + d] = value;
    }
#endif
}

#else

#define COLUMNS 16

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
attention_normalise_statistics(__global const float *restrict k /* view [B,M,H,D] */, int k_offset, int k_batch,
                               int k_row, int k_head, __global const int *restrict counts,
                               __global float *restrict mu /* [B,H,D] */, __global float *restrict s2 /* [B,H,D] */,
                               int keys, int heads, int width, float epsilon) {
    const int d = (int)get_global_id(0) * COLUMNS, h = (int)get_global_id(1), b = (int)get_global_id(2);
    const int count = count_keys(counts, b, h, heads, keys);
    const long at = ((long)b * heads + h) * width + d;
    const float divisor = max(count, 1);
    __global const float *first = k + view_row(k_offset, k_batch, k_row, k_head, b, 0, h) + d;
    __global float *mu_at = mu + at, *s2_at = s2 + at;
    /* The sum of the deviations is zero but for the rounding of the mean, and repairs it: with a mean that is large
     * against the deviation the first pass alone loses digits. */
    if (d + COLUMNS <= width) {
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

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attention_normalise_apply(
    __global const float *restrict q /* view [B,N,H,D] */, int q_offset, int q_batch, int q_row, int q_head,
    __global const float *restrict k /* view [B,M,H,D] */, int k_offset, int k_batch, int k_row, int k_head,
    __global const int *restrict counts, __global const float *restrict beta, __global const float *restrict mu,
    __global const float *restrict s2, __global float *restrict q_out /* [B,N,H,D] */,
    __global float *restrict k_out /* [B,M,H,D] */, int queries, int keys, int heads, int width, float constant_beta) {
    const int row = (int)get_global_id(0), b = (int)get_global_id(1);
    for (int h = 0; h < heads; h++) {
        const float strength = beta_of(beta, constant_beta, h);
        __global const float *mean = mu + ((long)b * heads + h) * width;
        __global const float *variance = s2 + ((long)b * heads + h) * width;
        if (row < queries) {
            __global const float *from = q + view_row(q_offset, q_batch, q_row, q_head, b, row, h);
            __global float *to = q_out + (((long)b * queries + row) * heads + h) * width;
            int d = 0;
            for (; d + 8 <= width; d += 8)
                vstore8((vload8(0, from + d) - strength * vload8(0, mean + d)) / vload8(0, variance + d), 0, to + d);
            for (; d < width; d++) to[d] = (from[d] - strength * mean[d]) / variance[d];
        }
        if (row < keys) {
            __global float *to = k_out + (((long)b * keys + row) * heads + h) * width;
            int d = 0;
            if (row < count_keys(counts, b, h, heads, keys)) {
                __global const float *from = k + view_row(k_offset, k_batch, k_row, k_head, b, row, h);
                for (; d + 8 <= width; d += 8) vstore8(vload8(0, from + d) - strength * vload8(0, mean + d), 0, to + d);
                for (; d < width; d++) to[d] = from[d] - strength * mean[d];
            }
            for (; d < width; d++) to[d] = 0;
        }
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attention_normalise_sums(
    __global const float *restrict d_q_out /* [B,N,H,D] */, __global const float *restrict d_k_out /* [B,M,H,D] */,
    __global const float *restrict q /* view [B,N,H,D] */, int q_offset, int q_batch, int q_row, int q_head,
    __global const int *restrict counts, __global const float *restrict beta, __global const float *restrict mu,
    __global const float *restrict s2, __global float *restrict d_mean /* [B,H,D]: dmu/count */,
    __global float *restrict d_variance /* [B,H,D]: 2·d(s2)/count */,
    __global float *restrict d_centre /* [B,H,D]: the terms of d_beta */, int queries, int keys, int heads, int width,
    float constant_beta) {
    const int first = (int)get_global_id(0) * COLUMNS, h = (int)get_global_id(1), b = (int)get_global_id(2);
    const int count = count_keys(counts, b, h, heads, keys);
    const long row_length = (long)heads * width, statistic = ((long)b * heads + h) * width;
    const float divisor = max(count, 1), strength = beta_of(beta, constant_beta, h);
    __global const float *q_first = q + view_row(q_offset, q_batch, q_row, q_head, b, 0, h);
    __global const float *g_first = d_q_out + (long)b * queries * row_length + (long)h * width;
    __global const float *r_first = d_k_out + (long)b * keys * row_length + (long)h * width;
    int d = first;
    for (; d + 8 <= min(width, first + COLUMNS); d += 8) {
        const float8 mean = vload8(0, mu + statistic + d), variance = vload8(0, s2 + statistic + d);
        const float8 centre = strength * mean;
        float8 query_sum = 0, product_sum = 0, key_sum = 0;
        for (int i = 0; i < queries; i++) {
            const float8 g = vload8(0, g_first + i * row_length + d);
            query_sum += g;
            product_sum = fma(g, vload8(0, q_first + (long)i * q_row + d) - centre, product_sum);
        }
        for (int j = 0; j < count; j++) key_sum += vload8(0, r_first + j * row_length + d);
        const float8 both = query_sum / variance + key_sum;
        vstore8(-strength * both / divisor, 0, d_mean + statistic + d);
        vstore8(XP_SCALE ? -2 * product_sum / (variance * variance) / divisor : (float8)(0), 0,
                d_variance + statistic + d);
#if XP_D_BETA
        vstore8(-mean * both, 0, d_centre + statistic + d);
#endif
    }
    for (; d < min(width, first + COLUMNS); d++) {
        const float mean = mu[statistic + d], variance = s2[statistic + d], centre = strength * mean;
        float query_sum = 0, product_sum = 0, key_sum = 0;
        for (int i = 0; i < queries; i++) {
            const float g = g_first[i * row_length + d];
            query_sum += g;
            product_sum = fma(g, q_first[(long)i * q_row + d] - centre, product_sum);
        }
        for (int j = 0; j < count; j++) key_sum += r_first[j * row_length + d];
        const float both = query_sum / variance + key_sum;
        d_mean[statistic + d] = -strength * both / divisor;
        d_variance[statistic + d] = XP_SCALE ? -2 * product_sum / (variance * variance) / divisor : 0;
#if XP_D_BETA
        d_centre[statistic + d] = -mean * both;
#endif
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attention_normalise_apply_backward(
    __global const float *restrict d_q_out /* [B,N,H,D] */, __global const float *restrict d_k_out /* [B,M,H,D] */,
    __global const float *restrict k /* view [B,M,H,D] */, int k_offset, int k_batch, int k_row, int k_head,
    __global const int *restrict counts, __global const float *restrict mu, __global const float *restrict s2,
    __global const float *restrict d_mean, __global const float *restrict d_variance,
    __global float *restrict dq /* view [B,N,H,D] */, int dq_offset, int dq_batch, int dq_row, int dq_head,
    __global float *restrict dk /* view [B,M,H,D] */, int dk_offset, int dk_batch, int dk_row, int dk_head, int queries,
    int keys, int heads, int width) {
    const int row = (int)get_global_id(0), b = (int)get_global_id(1);
    for (int h = 0; h < heads; h++) {
        const long statistic = ((long)b * heads + h) * width;
#if XP_D_QUERY
        if (row < queries) {
            __global const float *from = d_q_out + (((long)b * queries + row) * heads + h) * width;
            __global float *to = dq + view_row(dq_offset, dq_batch, dq_row, dq_head, b, row, h);
            int d = 0;
            for (; d + 8 <= width; d += 8) vstore8(vload8(0, from + d) / vload8(0, s2 + statistic + d), 0, to + d);
            for (; d < width; d++) to[d] = from[d] / s2[statistic + d];
        }
#endif
#if XP_D_KEY
        if (row < keys) {
            __global float *to = dk + view_row(dk_offset, dk_batch, dk_row, dk_head, b, row, h);
            int d = 0;
            if (row < count_keys(counts, b, h, heads, keys)) {
                __global const float *from = d_k_out + (((long)b * keys + row) * heads + h) * width;
                __global const float *key = k + view_row(k_offset, k_batch, k_row, k_head, b, row, h);
                for (; d + 8 <= width; d += 8) {
                    const float8 deviation = vload8(0, key + d) - vload8(0, mu + statistic + d);
                    vstore8(vload8(0, from + d) + fma(vload8(0, d_variance + statistic + d), deviation,
                                                      vload8(0, d_mean + statistic + d)),
                            0, to + d);
                }
                for (; d < width; d++)
                    to[d] = from[d] + fma(d_variance[statistic + d], key[d] - mu[statistic + d], d_mean[statistic + d]);
            }
            for (; d < width; d++) to[d] = 0;
        }
#endif
    }
}

#endif

/* d_beta of one head: 64 work-items take every 64th of the B·D terms and their sums are added pairwise, in one order.
 */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
attention_normalise_beta_backward(__global const float *restrict d_centre /* [B,H,D] */,
                                  __global float *restrict d_beta /* [H] */, int batch, int heads, int width) {
    __local float sums[64];
    const int lane = (int)get_local_id(0), h = (int)get_group_id(0);
    float sum = 0;
    for (long i = lane; i < (long)batch * width; i += 64) sum += d_centre[(i / width * heads + h) * width + i % width];
    sums[lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_lanes = 32; half_lanes > 0; half_lanes >>= 1) {
        if (lane < half_lanes) sums[lane] += sums[lane + half_lanes];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lane == 0) d_beta[h] = sums[0];
}
