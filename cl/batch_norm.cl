/* Batch normalisation over the rows of x [R,C] that belong to samples of positive weight; sample b owns rows b·N …
 * b·N+N-1. Columns are independent, so work-items lie along columns (coalesced) and rows are cut into chunks whose
 * results meet in a second launch, chunk after chunk: no atomics, one fixed order of summation.
 *
 * WIDTH columns go through one work-item at a time. CPU devices: WIDTH 8, work-groups of one work-item that walks all
 * columns of its chunk. GPUs: WIDTH 1 and LOCAL 64 columns side by side. A last block that would leave the row is moved
 * back and computes some columns again; only one work-item walks a row then, so each output keeps one writer.
 *
 * STORAGE is the type of x, out, d_out and dx. */
#include "storage.clh"

#ifndef WIDTH
#define WIDTH 1
#endif
#ifndef LOCAL
#define LOCAL 64
#endif
#ifndef TRAINING
#define TRAINING 1
#endif
#if WIDTH == 8
#if LOCAL != 1
#error "WIDTH 8 moves its last block back: it needs LOCAL 1"
#endif
typedef float8 lanes;
#define LOAD_COLUMNS(pointer)         vload8(0, pointer)
#define STORE_COLUMNS(value, pointer) vstore8(value, 0, pointer)
#define LOAD_STORED(pointer)          LOAD_8(pointer)
#define STORE_STORED(value, pointer)  STORE_8(value, pointer)
#elif WIDTH == 1
typedef float lanes;
#define LOAD_COLUMNS(pointer)         (*(pointer))
#define STORE_COLUMNS(value, pointer) (*(pointer) = (value))
#define LOAD_STORED(pointer)          LOAD(pointer, 0)
#define STORE_STORED(value, pointer)  STORE(value, pointer, 0)
#else
#error "WIDTH is 1 or 8"
#endif

/* Where the block of columns that starts at `column` really starts. */
inline int block_start(int column, int columns) {
    return min(column, columns - WIDTH);
}

/* Rows of the chunk with positive weight. */
inline int active_rows(const __global float *weight, int first, int last, int length) {
    int count = 0;
    for (int row = first; row < last;) {
        int sample = row / length, end = min(last, (sample + 1) * length);
        if (weight[sample] > 0.0f) count += end - row;
        row = end;
    }
    return count;
}

/* Mean and sum of squared deviations of each column in one chunk of rows. Two passes over rows that the first pass has
 * just brought into the cache: a sum of squares would cancel.
 * x [rows,columns], weight [rows/length]; counts [chunks], partial [chunks,2,columns]. */
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void
batch_norm_gather(const __global stored *x, const __global float *weight, __global float *counts,
                  __global float *partial, int rows, int columns, int length, int chunk_rows) {
    int chunk = get_global_id(1), first = chunk * chunk_rows, last = min(rows, first + chunk_rows);
    int count = active_rows(weight, first, last, length);
    if (get_global_id(0) == 0) counts[chunk] = (float)count;
    float share = count > 0 ? 1.0f / (float)count : 0.0f;
    __global float *out = partial + (long)chunk * 2 * columns;
    for (int column = get_global_id(0) * WIDTH; column < columns; column += get_global_size(0) * WIDTH) {
        int start = block_start(column, columns);
        lanes sum = 0.0f, squares = 0.0f;
        for (int row = first; row < last;) {
            int sample = row / length, end = min(last, (sample + 1) * length);
            if (weight[sample] > 0.0f)
                for (int i = row; i < end; i++) sum += LOAD_STORED(x + (long)i * columns + start);
            row = end;
        }
        lanes mean = sum * share;
        for (int row = first; row < last;) {
            int sample = row / length, end = min(last, (sample + 1) * length);
            if (weight[sample] > 0.0f)
                for (int i = row; i < end; i++) {
                    lanes deviation = LOAD_STORED(x + (long)i * columns + start) - mean;
                    squares += deviation * deviation;
                }
            row = end;
        }
        STORE_COLUMNS(mean, out + start);
        STORE_COLUMNS(squares, out + columns + start);
    }
}

/* Joins the chunks in order (Chan, Golub, LeVeque 1983), updates the running statistics with the unbiased variance.
 * counts [chunks], partial [chunks,2,columns]; running_mean, running_variance, mean, rstd [columns]. */
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void
batch_norm_join(const __global float *counts, const __global float *partial, __global float *running_mean,
                __global float *running_variance, __global float *mean, __global float *rstd, int chunks, int columns,
                float epsilon, float momentum) {
    for (int column = get_global_id(0) * WIDTH; column < columns; column += get_global_size(0) * WIDTH) {
        for (int c = column; c < min(column + WIDTH, columns); c++) {
            float total = 0.0f, center = 0.0f, squares = 0.0f;
            for (int chunk = 0; chunk < chunks; chunk++) {
                float count = counts[chunk];
                if (count == 0.0f) continue;
                const __global float *part = partial + (long)chunk * 2 * columns;
                float joined = total + count, delta = part[c] - center;
                center += delta * (count / joined);
                squares += part[columns + c] + delta * delta * (total * (count / joined));
                total = joined;
            }
            mean[c] = center;
            rstd[c] = 1.0f / sqrt(squares / max(total, 1.0f) + epsilon);
            if (total > 0.0f) {
                running_mean[c] = (1.0f - momentum) * running_mean[c] + momentum * center;
                running_variance[c] =
                    (1.0f - momentum) * running_variance[c] + momentum * (squares / max(total - 1.0f, 1.0f));
            }
        }
    }
}

/* out = (x - mean)·rstd·gamma + beta. In evaluation `scale` is the running variance, in training rstd.
 * x, out [rows,columns]; the others [columns]. */
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void
batch_norm_apply(const __global stored *x, const __global float *gamma, const __global float *beta,
                 const __global float *mean, const __global float *scale, __global stored *out, int rows, int columns,
                 int chunk_rows, float epsilon) {
    int first = get_global_id(1) * chunk_rows, last = min(rows, first + chunk_rows);
    for (int column = get_global_id(0) * WIDTH; column < columns; column += get_global_size(0) * WIDTH) {
        int start = block_start(column, columns);
#if TRAINING
        lanes rstd = LOAD_COLUMNS(scale + start);
#else
        lanes rstd = 1.0f / sqrt(LOAD_COLUMNS(scale + start) + epsilon);
#endif
        lanes center = LOAD_COLUMNS(mean + start), factor = rstd * LOAD_COLUMNS(gamma + start);
        lanes shift = LOAD_COLUMNS(beta + start);
        for (int row = first; row < last; row++) {
            long at = (long)row * columns + start;
            STORE_STORED((LOAD_STORED(x + at) - center) * factor + shift, out + at);
        }
    }
}

/* Sums of d_out·xhat and of d_out over one chunk. d_out, x [rows,columns]; counts [chunks], partial [chunks,2,columns]. */
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void
batch_norm_backward_gather(const __global stored *d_out, const __global stored *x, const __global float *mean,
                           const __global float *rstd, const __global float *weight, __global float *counts,
                           __global float *partial, int rows, int columns, int length, int chunk_rows) {
    int chunk = get_global_id(1), first = chunk * chunk_rows, last = min(rows, first + chunk_rows);
    if (get_global_id(0) == 0) counts[chunk] = (float)active_rows(weight, first, last, length);
    __global float *out = partial + (long)chunk * 2 * columns;
    for (int column = get_global_id(0) * WIDTH; column < columns; column += get_global_size(0) * WIDTH) {
        int start = block_start(column, columns);
        lanes center = LOAD_COLUMNS(mean + start), scale = LOAD_COLUMNS(rstd + start), products = 0.0f, sum = 0.0f;
        for (int row = first; row < last;) {
            int sample = row / length, end = min(last, (sample + 1) * length);
            if (weight[sample] > 0.0f)
                for (int i = row; i < end; i++) {
                    long at = (long)i * columns + start;
                    lanes d = LOAD_STORED(d_out + at);
                    products += d * ((LOAD_STORED(x + at) - center) * scale);
                    sum += d;
                }
            row = end;
        }
        STORE_COLUMNS(products, out + start);
        STORE_COLUMNS(sum, out + columns + start);
    }
}

/* Adds the chunks in order. means [2,columns]: both sums divided by the number of active rows. */
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void
batch_norm_backward_join(const __global float *counts, const __global float *partial, __global float *d_gamma,
                         __global float *d_beta, __global float *means, int chunks, int columns) {
    float total = 0.0f;
    for (int chunk = 0; chunk < chunks; chunk++) total += counts[chunk];
    float share = total > 0.0f ? 1.0f / total : 0.0f;
    for (int column = get_global_id(0) * WIDTH; column < columns; column += get_global_size(0) * WIDTH) {
        for (int c = column; c < min(column + WIDTH, columns); c++) {
            float products = 0.0f, sum = 0.0f;
            for (int chunk = 0; chunk < chunks; chunk++) {
                const __global float *part = partial + (long)chunk * 2 * columns;
                products += part[c];
                sum += part[columns + c];
            }
            d_gamma[c] = products;
            d_beta[c] = sum;
            means[c] = products * share;
            means[columns + c] = sum * share;
        }
    }
}

/* dx = gamma·rstd·(d_out - mean(d_out) - xhat·mean(d_out·xhat)) in active rows, 0 in the others. */
__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void
batch_norm_backward_apply(const __global stored *d_out, const __global stored *x, const __global float *gamma,
                          const __global float *mean, const __global float *rstd, const __global float *weight,
                          const __global float *means, __global stored *dx, int rows, int columns, int length,
                          int chunk_rows) {
    int first = get_global_id(1) * chunk_rows, last = min(rows, first + chunk_rows);
    for (int column = get_global_id(0) * WIDTH; column < columns; column += get_global_size(0) * WIDTH) {
        int start = block_start(column, columns);
        lanes center = LOAD_COLUMNS(mean + start), scale = LOAD_COLUMNS(rstd + start);
        lanes factor = scale * LOAD_COLUMNS(gamma + start);
        lanes product = LOAD_COLUMNS(means + start), sum = LOAD_COLUMNS(means + columns + start);
        for (int row = first; row < last;) {
            int sample = row / length, end = min(last, (sample + 1) * length);
            bool active = weight[sample] > 0.0f;
            for (; row < end; row++) {
                long at = (long)row * columns + start;
                lanes value = 0.0f;
                if (active)
                    value = factor * (LOAD_STORED(d_out + at) - sum - (LOAD_STORED(x + at) - center) * scale * product);
                STORE_STORED(value, dx + at);
            }
        }
    }
}
