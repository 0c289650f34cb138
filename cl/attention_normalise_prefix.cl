/* Attention-BN with prefix statistics: mu_t, s2_t of keys 0 … t of a sample and head, for every t, and the way back.
 *
 *   prefix_statistics: mean_t = mu_t - k_0 and s2_t, for all t
 *   constant:          the column q'[D] = -q'·(beta·mu - k_0) that plain softmax can do without
 *   prefix_backward:   dk and the terms of d_beta
 *
 * A running mean and a running sum of squared deviations (Welford's) go down the keys; on the way back
 *   dk_j gets Σ_{t>=j} (dmu_t - 2·d(s2)_t·mean_t)/(t+1)  +  (k_j - k_0) · Σ_{t>=j} 2·d(s2)_t/(t+1),
 * two suffix sums, where dmu_t and d(s2)_t are made by the queries whose last key is t. All in terms of k_j - k_0, so
 * that a mean that is large against the deviation costs no digits; a later key as the reference would let a causal row
 * see the future.
 *
 * One work-item of WIDE walks all rows of eight columns. In TILED a work-group owns 32 columns, and each of its eight
 * parts an eighth of the rows, one behind the other: each part takes its rows' share, the shares are added in order,
 * and a second walk continues from the sum. No atomics, and the same bits every time.
 *
 * Macros: those of attention_normalise.clh, XP_PREFIX 1; XP_D_KEY, XP_D_BETA 1 where that gradient is wanted. */
#include "attention_normalise.clh"
#include "common.clh"

#ifndef XP_D_KEY
#define XP_D_KEY 1
#endif
#ifndef XP_D_BETA
#define XP_D_BETA 0
#endif
#if XP_D_BETA && !XP_LEARNED
#error "XP_D_BETA needs XP_LEARNED"
#endif

/* The rows of a part: from `begin` to before `end`. */
typedef struct share {
    int begin, end;
} share;

inline share share_of(int part, int count) {
    const int size = (count + PARTS - 1) / PARTS;
    const share found = {min(part * size, count), min((part + 1) * size, count)};
    return found;
}

/* Rows behind a sample that are nobody's: where they end, counted from the sample's first. The last sample clears them.
 */
inline int end_of_rows(span seen, int sample, int samples, int keys) {
    return XP_PACKED && sample + 1 < samples ? seen.count : keys - seen.first;
}

/* Takes one more value into the statistics of `count`. */
inline void include(lanes *mean, lanes *squares, lanes value, int count) {
    const lanes deviation = value - *mean;
    *mean += deviation / (float)(count + 1);
    *squares = fma(deviation, value - *mean, *squares);
}

__kernel __attribute__((reqd_work_group_size(COLUMNS, PARTS, 1))) void attention_normalise_prefix_statistics(
    __global const float *restrict k /* view [B,M,G,D] */, int k_offset, int k_batch, int k_row, int k_head,
    __global const int *restrict key_lengths, __global float *restrict mu /* [B,M,G,D]: mu_t - k_0 */,
    __global float *restrict s2 /* [B,M,G,D] */, int samples, int keys, int key_heads, int width, float epsilon) {
    const int part = (int)get_local_id(1), d = (int)get_global_id(0) * LANES;
    const int g = (int)get_group_id(1), sample = (int)get_group_id(2), left = width - d;
    const bool inside = d < width;
    const span seen = keys_of(key_lengths, sample, g, key_heads, keys);
    const share own = share_of(part, seen.count);
    __global const float *first = k + view_row(k_offset, k_batch, k_row, k_head, batch_of(sample), seen.first, g) + d;
    const lanes reference = inside && seen.count > 0 ? load(first, left, 0) : (lanes)(0);
    lanes mean = 0, squares = 0;
#if XP_TILED
    __local float means[PARTS * COLUMNS], sums[PARTS * COLUMNS];
    const int lane = (int)get_local_id(0);
    if (inside)
        for (int j = own.begin; j < own.end; j++)
            include(&mean, &squares, load(first + (long)j * k_row, left, 0) - reference, j - own.begin);
    means[part * COLUMNS + lane] = mean;
    sums[part * COLUMNS + lane] = squares;
    barrier(CLK_LOCAL_MEM_FENCE);
    mean = squares = 0;
    for (int p = 0; p < part; p++) {
        const share other = share_of(p, seen.count);
        const float portion = (float)(other.end - other.begin) / (float)max(other.end, 1);
        const float difference = means[p * COLUMNS + lane] - mean;
        mean = fma(difference, portion, mean);
        squares += fma(difference * difference, portion * (float)other.begin, sums[p * COLUMNS + lane]);
    }
#endif
    if (!inside) return;
    const long at = (((long)batch_of(sample) * keys + seen.first) * key_heads + g) * width + d;
    const long next = (long)key_heads * width;
    for (int j = own.begin; j < own.end; j++) {
        include(&mean, &squares, load(first + (long)j * k_row, left, 0) - reference, j);
        store(mean, mu + at + j * next, left);
        store(XP_SCALE ? squares / (float)(j + 1) + epsilon : (lanes)(1), s2 + at + j * next, left);
    }
    for (int j = seen.count + part; j < end_of_rows(seen, sample, samples, keys); j += PARTS) {
        store(0, mu + at + j * next, left);
        store(1, s2 + at + j * next, left);
    }
}

/* A row of one head to a work-group. */
__kernel __attribute__((reqd_work_group_size(ROW_SIZE, 1, 1))) void
attention_normalise_constant(__global const float *restrict k /* view [B,M,G,D] */, int k_offset, int k_batch,
                             int k_row, int k_head, __global const int *restrict key_lengths,
                             __global const int *restrict query_lengths, __global const float *restrict beta,
                             __global const float *restrict mu /* [B,M,G,D] */,
                             __global float *restrict q_out /* [B,N,H,D+1] */, int samples, int queries, int keys,
                             int heads, int key_heads, int width, float constant_beta) {
    const int row = (int)get_group_id(0), h = (int)get_group_id(1), b = (int)get_group_id(2);
    const int g = h / (heads / key_heads), sample = sample_of(query_lengths, samples, b, row);
    __global float *to = q_out + (((long)b * queries + row) * heads + h) * (width + 1);
    int visible = 0, first_key = 0;
    if (sample >= 0) {
        const span seen = keys_of(key_lengths, sample, g, key_heads, keys);
        const span asked = queries_of(query_lengths, sample, queries);
        first_key = seen.first;
        if (row - asked.first < asked.count) visible = visible_keys(row - asked.first, g, seen, asked);
    }
    const long statistic = (((long)b * keys + first_key + max(visible, 1) - 1) * key_heads + g) * width;
    __global const float *reference = k + view_row(k_offset, k_batch, k_row, k_head, b, first_key, g);
    const float strength = beta_of(beta, constant_beta, g);
    lanes sum = 0;
    if (visible > 0)
        for (int d = (int)get_local_id(0) * LANES; d < width; d += ROW_SIZE * LANES) {
            const int left = width - d;
            const lanes shift = recentring(strength, load(reference + d, left, 0), load(mu + statistic + d, left, 0));
            sum = fma(load(to + d, left, 0), shift, sum);
        }
#if XP_TILED
    __local float shared[ROW_SIZE];
    const float total = group_sum(sum, shared);
#else
    const float total = lanes_sum(sum);
#endif
    if (get_local_id(0) == 0) to[width] = -total;
}

/* The sum of the values of later parts, from the last one down. Between barriers: all have to come. */
inline lanes add_later_parts(__local float *parts /* [PARTS,COLUMNS] */, int part, int column, lanes value) {
#if XP_TILED
    barrier(CLK_LOCAL_MEM_FENCE);
    parts[part * COLUMNS + column] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    float sum = 0;
    for (int i = PARTS - 1; i > part; i--) sum += parts[i * COLUMNS + column];
    return sum;
#else
    return 0;
#endif
}

__kernel __attribute__((reqd_work_group_size(COLUMNS, PARTS, 1))) void attention_normalise_prefix_backward(
    __global const float *restrict d_q_out /* [B,N,H,D], with XP_CONSTANT D+1 */,
    __global const float *restrict d_k_out /* [B,M,G,D], with XP_CONSTANT D+1 */,
    __global const float *restrict q /* view [B,N,H,D] */, int q_offset, int q_batch, int q_row, int q_head,
    __global const float *restrict k /* view [B,M,G,D] */, int k_offset, int k_batch, int k_row, int k_head,
    __global const int *restrict key_lengths, __global const int *restrict query_lengths,
    __global const float *restrict beta, __global const float *restrict mu /* [B,M,G,D] */,
    __global const float *restrict s2 /* [B,M,G,D] */, __global float *restrict dk /* view [B,M,G,D] */, int dk_offset,
    int dk_batch, int dk_row, int dk_head, __global float *restrict d_centre /* [S,G,D]: the terms of d_beta */,
    int samples, int queries, int keys, int heads, int key_heads, int width, float constant_beta) {
    SHARED(parts);
    const int lane = (int)get_local_id(0), part = (int)get_local_id(1), d = (int)get_global_id(0) * LANES;
    const int g = (int)get_group_id(1), sample = (int)get_group_id(2), b = batch_of(sample);
    const span seen = keys_of(key_lengths, sample, g, key_heads, keys);
    const span asked = queries_of(query_lengths, sample, queries);
    const share own = share_of(part, seen.count);
    const int left = width - d, group = heads / key_heads, out_width = width + XP_CONSTANT;
    const bool inside = d < width;
    const float strength = beta_of(beta, constant_beta, g);
    __global const float *first = k + view_row(k_offset, k_batch, k_row, k_head, b, seen.first, g) + d;
    __global float *to = dk + view_row(dk_offset, dk_batch, dk_row, dk_head, b, seen.first, g) + d;
    const lanes reference = inside && seen.count > 0 ? load(first, left, 0) : (lanes)(0);
    lanes level = 0, slope = 0; /* the suffix sums at this part's end */
    lanes key_sum = 0, pull = 0, recentred = 0,
          head = 0; /* Σ_{j>0} r_j; Σ of the constants' share of dk_0; of d_beta */

    /* In TILED the first walk is for the suffix sums alone. */
    for (int walk = XP_TILED ? 0 : 1; walk < 2; walk++) {
        lanes sum = level, slope_sum = slope;
        key_sum = pull = recentred = 0;
        for (int t = own.end - 1; inside && t >= own.begin; t--) {
            const long row = (long)b * keys + seen.first + t, statistic = (row * key_heads + g) * width + d;
            const lanes mean = load(mu + statistic, left, 0), variance = load(s2 + statistic, left, 1);
            const lanes key = load(first + (long)t * k_row, left, 0);
            const lanes r = load(d_k_out + (row * key_heads + g) * out_width + d, left, 0);
            const int begin = first_query(t + 1, g, seen, asked);
            const int end = t + 1 == seen.count ? asked.count : first_query(t + 2, g, seen, asked);
            lanes total = 0, product = 0; /* of what arrives at (q - beta·mu); of that times (q - beta·mu) */
            for (int h = g * group; h < (g + 1) * group; h++)
                for (int i = begin; i < end; i++) {
                    const int query = asked.first + i;
                    __global const float *arriving = d_q_out + (((long)b * queries + query) * heads + h) * out_width;
                    const lanes value = load(q + view_row(q_offset, q_batch, q_row, q_head, b, query, h) + d, left, 0);
                    const lanes centre_off = centred(value, strength, reference, mean);
                    lanes at_q = load(arriving + d, left, 0);
#if XP_CONSTANT
                    const float at_constant = arriving[width];
                    at_q -= at_constant * recentring(strength, reference, mean);
                    pull = fma(at_constant, centre_off / variance, pull);
                    total = fma(at_constant, centre_off, total);
#endif
                    total += at_q;
                    product = fma(at_q, centre_off, product);
                }
#if XP_BOTH
            product = fma(r, centred(key, strength, reference, mean), product);
            total = (total + r) / spread(variance);
            const lanes d_variance = XP_SCALE ? -product / (2 * variance * spread(variance)) : (lanes)(0);
#else
            total /= variance;
            const lanes d_variance = XP_SCALE ? -product / (variance * variance) : (lanes)(0);
#endif
            const float keys_so_far = t + 1;
            sum += fma(-2 * d_variance, mean, -strength * total) / keys_so_far;
            slope_sum += 2 * d_variance / keys_so_far;
            recentred = fma(reference + mean, total, recentred);
            lanes value = fma(key - reference, slope_sum, sum);
#if XP_BOTH
            value += r / spread(variance);
#else
            if (t > 0) {
                key_sum += r;
                value += r;
            }
#endif
            if (t == 0) head = value;
#if XP_D_KEY
            if (walk == 1 && t > 0) store(value, to + (long)t * dk_row, left);
#endif
        }
        if (walk == 0) {
            level = add_later_parts(parts, part, lane, sum);
            slope = add_later_parts(parts, part, lane, slope_sum);
        }
    }
    key_sum = add_parts(parts, part, lane, key_sum);
    pull = add_parts(parts, part, lane, pull);
    recentred = add_parts(parts, part, lane, recentred);
    if (!inside) return;
#if XP_D_KEY
    if (part == 0 && seen.count > 0) store(head - key_sum + pull, to, left);
    for (int j = seen.count + part; j < end_of_rows(seen, sample, samples, keys); j += PARTS)
        store(0, to + (long)j * dk_row, left);
#endif
#if XP_D_BETA
    if (part == 0) store(-recentred, d_centre + ((long)sample * key_heads + g) * width + d, left);
#endif
}
