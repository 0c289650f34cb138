/* Residual addition, dropout of the branch and LayerNorm in one pass over rows of `columns` numbers, and its gradient.
 *
 * Statistics are two-pass: the mean first, then the squared deviations from it, since rows whose mean is large against
 * their deviation lose all digits otherwise. Sums over rows (d_gamma, d_beta) are taken inside blocks of rows and then
 * over the blocks, by one writer per column; one block needs no second launch.
 *
 *   *_wide   one work-item walks a block of rows, eight columns at a time: rows stay in the first-level cache between
 *            their passes. No barriers: those cost a CPU more than the arithmetic.
 *   *_tiled  ROW_ITEMS of a work-group of 64 share a row and reduce in local memory.
 *
 * BRANCH      1: sum = x + dropout(branch) is written; 0: the row is x itself
 * DROPOUT     1: the branch is dropped out (element numbers row·columns + column)
 * STATISTICS  1: mean and rstd are kept for the backward pass
 * QUADS       1: columns is a multiple of 4, so that four neighbours share one Philox block
 * ROW_ITEMS   work-items of *_tiled that share a row, a power of two, at most 64
 * D_OUT, D_SUM            1: this gradient arrives
 * LENGTHS     1: none arrives at D_OUT in the rows of a sample from its length on, and what is there may be NaN
 * STORAGE     of x, branch, sum, out and their gradients; parameters and statistics are fp32 (cl/storage.clh)
 * D_ROWS, D_PARAMETERS    1: dx (and d_branch when BRANCH and DROPOUT) / d_gamma and d_beta are wanted */
#include "column_sum.clh"
#include "common.clh"
#include "random.clh"
#include "storage.clh"
#include "strips.clh"

#ifndef BRANCH
#define BRANCH 1
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef STATISTICS
#define STATISTICS 1
#endif
#ifndef QUADS
#define QUADS 1
#endif
#ifndef ROW_ITEMS
#define ROW_ITEMS 64
#endif
#ifndef D_OUT
#define D_OUT 1
#endif
#ifndef D_SUM
#define D_SUM 0
#endif
#ifndef LENGTHS
#define LENGTHS 0
#endif
#ifndef D_ROWS
#define D_ROWS 1
#endif
#ifndef D_PARAMETERS
#define D_PARAMETERS 1
#endif
#if DROPOUT && !BRANCH
#error "DROPOUT needs BRANCH: only the branch is dropped out"
#endif
#if !D_OUT && !D_SUM
#error "a gradient must arrive by D_OUT or D_SUM"
#endif
#if LENGTHS && !D_OUT
#error "LENGTHS needs D_OUT"
#endif
#if D_PARAMETERS && !D_OUT
#error "D_PARAMETERS needs D_OUT"
#endif

#define WIDE  __attribute__((reqd_work_group_size(1, 1, 1)))
#define TILED __attribute__((reqd_work_group_size(64, 1, 1)))
#define ROW_STEP (ROW_ITEMS * (QUADS ? 4 : 1)) /* columns of a row at a time */

/* The dropout of this launch. */
typedef struct dropping {
    const __global uint *random_state; /* [4] */
    uint threshold, stream;
    float keep_scale;
} dropping;

/* value · keep / (1-p) for one element and for four from `element`, a multiple of 4, on. */
inline float drop_1(float value, size_t element, const dropping *drop) {
    uint4 words = random_words(drop->random_state, drop->stream, (uint)(element / 4), 0);
    uint2 pair = element & 2 ? words.hi : words.lo;
    uint word = element & 1 ? pair.y : pair.x;
    return word >= drop->threshold ? value * drop->keep_scale : 0.0f;
}

inline float4 drop_4(float4 value, size_t element, const dropping *drop) {
    uint4 words = random_words(drop->random_state, drop->stream, (uint)(element / 4), 0);
    return select((float4)(0.0f), value * drop->keep_scale, words >= (uint4)(drop->threshold));
}

/* ---- rows in fp32 ----
 * The wide kernels pass several times over a row: what is stored in 16 bits is converted once, into rows of `work`
 * [groups][ROWS_*][columns], and the results once on their way back. */
#if STORAGE
#define WORK , __global float *work
#else
#define WORK
#endif
#define ROWS_FORWARD  4
#define ROWS_BACKWARD 5

inline void load_row(const __global stored *from, __global float *to, int columns) {
    int c = 0;
    for (; c + 8 <= columns; c += 8) STORE_8_AS_0(LOAD_8(from + c), to + c);
    for (; c < columns; c++) to[c] = LOAD(from, c);
}

inline void store_row(const __global float *from, __global stored *to, int columns) {
    int c = 0;
    for (; c + 8 <= columns; c += 8) STORE_8(vload8(0, from + c), to + c);
    for (; c < columns; c++) STORE(from[c], to, c);
}

/* ---- forward ---- */

/* x, branch, sum, out [rows, columns]; gamma, beta [columns]; random_state [4]; mean, rstd [rows] */
__kernel WIDE void forward_wide(const __global stored *restrict x, const __global stored *restrict branch,
                                const __global float *restrict gamma, const __global float *restrict beta,
                                const __global uint *restrict random_state, __global stored *restrict out,
                                __global stored *sum, __global float *restrict mean, __global float *restrict rstd,
                                int rows, int columns, int block_rows, float epsilon, uint threshold, uint stream,
                                float keep_scale WORK) {
    int first_row = get_group_id(0) * block_rows, last_row = min(rows, first_row + block_rows);
    int whole = columns & ~7;
#if STORAGE
    work += (size_t)get_group_id(0) * ROWS_FORWARD * columns;
    __global float *x_row = work, *branch_row = x_row + columns, *values_row = branch_row + columns;
    __global float *out_row = values_row + columns;
#endif
    for (int row = first_row; row < last_row; row++) {
        size_t start = (size_t)row * columns;
        float8 total_8 = 0.0f;
        float total = 0.0f;
#if STORAGE
        load_row(x + start, x_row, columns);
        if (BRANCH) load_row(branch + start, branch_row, columns);
#else
        const __global float *x_row = x + start, *branch_row = branch + start;
        __global float *values_row = sum + start, *out_row = out + start;
#endif
#if BRANCH
        __global float *values = values_row;
#if DROPOUT
        drop_block(branch_row, values, start, columns, random_state, threshold, stream, keep_scale);
        const __global float *added = values;
#else
        const __global float *added = branch_row;
#endif
        for (int c = 0; c < whole; c += 8) {
            float8 value = vload8(0, x_row + c) + vload8(0, added + c);
            STORE_8_AS_0(value, values + c);
            total_8 += value;
        }
        for (int c = whole; c < columns; c++) {
            float value = x_row[c] + added[c];
            values[c] = value;
            total += value;
        }
#else
        const __global float *values = x_row;
        for (int c = 0; c < whole; c += 8) total_8 += vload8(0, values + c);
        for (int c = whole; c < columns; c++) total += values[c];
#endif
        float middle = (lanes_sum(total_8) + total) / columns;
        float8 squares_8 = 0.0f;
        float squares = 0.0f;
        for (int c = 0; c < whole; c += 8) {
            float8 deviation = vload8(0, values + c) - middle;
            squares_8 = fma(deviation, deviation, squares_8);
        }
        for (int c = whole; c < columns; c++) {
            float deviation = values[c] - middle;
            squares = fma(deviation, deviation, squares);
        }
        float scale = 1.0f / sqrt((lanes_sum(squares_8) + squares) / columns + epsilon);
        for (int c = 0; c < whole; c += 8) {
            float8 normal = (vload8(0, values + c) - middle) * scale;
            STORE_8_AS_0(fma(normal, vload8(0, gamma + c), vload8(0, beta + c)), out_row + c);
        }
        for (int c = whole; c < columns; c++) out_row[c] = fma((values[c] - middle) * scale, gamma[c], beta[c]);
#if STORAGE
        store_row(out_row, out + start, columns);
        if (BRANCH) store_row(values, sum + start, columns);
#endif
#if STATISTICS
        mean[row] = middle;
        rstd[row] = scale;
#endif
    }
}

/* With QUADS all rows start at a multiple of four numbers. */
#define PARAMETERS_4(x) LOAD_4_ALIGNED_AS_0(x)

/* What is normalised: read back where fp32 was written (a work-item reads only what it wrote itself), else made again,
 * since the tensor holds it rounded. */
#if STORAGE && BRANCH && DROPOUT
#define VALUE_1(c) (LOAD(x, start + c) + drop_1(LOAD(branch, start + c), start + c, &drop))
#define VALUE_4(c) (LOAD_4_ALIGNED(x + start + c) + drop_4(LOAD_4_ALIGNED(branch + start + c), start + c, &drop))
#elif STORAGE && BRANCH
#define VALUE_1(c) (LOAD(x, start + c) + LOAD(branch, start + c))
#define VALUE_4(c) (LOAD_4_ALIGNED(x + start + c) + LOAD_4_ALIGNED(branch + start + c))
#else
#define VALUE_1(c) LOAD(values, c)
#define VALUE_4(c) LOAD_4_ALIGNED(values + c)
#endif

/* The same, for 64 / ROW_ITEMS rows. */
__kernel TILED void forward_tiled(const __global stored *restrict x, const __global stored *restrict branch,
                                  const __global float *restrict gamma, const __global float *restrict beta,
                                  const __global uint *restrict random_state, __global stored *restrict out,
                                  __global stored *sum, __global float *restrict mean, __global float *restrict rstd,
                                  int rows, int columns, int block_rows, float epsilon, uint threshold, uint stream,
                                  float keep_scale) {
    __local float shared[64];
    const int item = get_local_id(0) % ROW_ITEMS;
    const size_t row = get_global_id(0) / ROW_ITEMS, start = row * columns;
    const int width = row < rows ? columns : 0;
#if DROPOUT
    dropping drop = {random_state, threshold, stream, keep_scale};
#endif
    float total = 0.0f;
#if BRANCH
    __global stored *values = sum + start;
#else
    const __global stored *values = x + start;
#endif
#if QUADS
    for (int c = 4 * item; c < width; c += ROW_STEP) {
        float4 value = LOAD_4_ALIGNED(x + start + c);
#if BRANCH
        float4 added = LOAD_4_ALIGNED(branch + start + c);
#if DROPOUT
        added = drop_4(added, start + c, &drop);
#endif
        value += added;
        STORE_4_ALIGNED(value, values + c);
#endif
        float2 pair = value.lo + value.hi;
        total += pair.x + pair.y;
    }
#else
    for (int c = item; c < width; c += ROW_STEP) {
        float value = LOAD(x, start + c);
#if BRANCH
        float added = LOAD(branch, start + c);
#if DROPOUT
        added = drop_1(added, start + c, &drop);
#endif
        value += added;
        STORE(value, values, c);
#endif
        total += value;
    }
#endif
    float middle = neighbours_sum(total, shared, ROW_ITEMS) / columns;
    float squares = 0.0f;
#if QUADS
    for (int c = 4 * item; c < width; c += ROW_STEP) {
        float4 deviation = VALUE_4(c) - middle;
        squares += dot(deviation, deviation);
    }
#else
    for (int c = item; c < width; c += ROW_STEP) {
        float deviation = VALUE_1(c) - middle;
        squares = fma(deviation, deviation, squares);
    }
#endif
    float scale = 1.0f / sqrt(neighbours_sum(squares, shared, ROW_ITEMS) / columns + epsilon);
#if QUADS
    for (int c = 4 * item; c < width; c += ROW_STEP) {
        float4 normal = (VALUE_4(c) - middle) * scale;
        STORE_4_ALIGNED(fma(normal, PARAMETERS_4(gamma + c), PARAMETERS_4(beta + c)), out + start + c);
    }
#else
    for (int c = item; c < width; c += ROW_STEP)
        STORE(fma((VALUE_1(c) - middle) * scale, gamma[c], beta[c]), out, start + c);
#endif
#if STATISTICS
    if (item == 0 && row < rows) {
        mean[row] = middle;
        rstd[row] = scale;
    }
#endif
}

/* ---- backward ----
 * With g = d_out·gamma and n = (sum - mean)·rstd:  dx = rstd·(g - mean(g) - n·mean(g·n)) + d_sum. */

#if LENGTHS
#define ARRIVES(row) ((int)((row) % sample_rows) < lengths[(row) / sample_rows])
#else
#define ARRIVES(row) D_OUT
#endif

/* d_out, d_sum, sum, dx, d_branch [rows, columns]; mean, rstd [rows]; gamma [columns]; random_state [4]; lengths
 * [rows / sample_rows] or NULL; d_gammas, d_betas [blocks, columns]. Each work-item owns one block of rows and its
 * sums. */
__kernel WIDE void backward_wide(const __global stored *restrict d_out, const __global stored *restrict d_sum,
                                 const __global stored *restrict sum, const __global float *restrict mean,
                                 const __global float *restrict rstd, const __global float *restrict gamma,
                                 const __global uint *restrict random_state, const __global int *restrict lengths,
                                 __global stored *restrict dx, __global stored *restrict d_branch,
                                 __global float *restrict d_gammas, __global float *restrict d_betas, int rows,
                                 int columns, int block_rows, int sample_rows, uint threshold, uint stream,
                                 float keep_scale WORK) {
    int first_row = get_group_id(0) * block_rows, last_row = min(rows, first_row + block_rows);
    int whole = columns & ~7;
#if STORAGE
    work += (size_t)get_group_id(0) * ROWS_BACKWARD * columns;
    __global float *d_out_row = work, *d_sum_row = d_out_row + columns, *sum_row = d_sum_row + columns;
    __global float *dx_row = sum_row + columns, *d_branch_row = dx_row + columns;
#endif
#if D_PARAMETERS
    __global float *d_gamma = d_gammas + (size_t)get_group_id(0) * columns;
    __global float *d_beta = d_betas + (size_t)get_group_id(0) * columns;
    for (int c = 0; c < columns; c++) d_gamma[c] = d_beta[c] = 0.0f;
#endif
    for (int row = first_row; row < last_row; row++) {
        size_t start = (size_t)row * columns;
        const bool arrives = ARRIVES(row);
        const int arriving_whole = arrives ? whole : 0, arriving_columns = arrives ? columns : 0;
        float middle = mean[row], scale = rstd[row];
#if STORAGE
        if (arrives) load_row(d_out + start, d_out_row, columns);
        if (arrives) load_row(sum + start, sum_row, columns);
        if (D_SUM) load_row(d_sum + start, d_sum_row, columns);
#else
        const __global float *d_out_row = d_out + start, *d_sum_row = d_sum + start, *sum_row = sum + start;
        __global float *dx_row = dx + start, *d_branch_row = d_branch + start;
#endif
#if D_OUT
        float8 total_8 = 0.0f, along_8 = 0.0f;
        float total = 0.0f, along = 0.0f;
        for (int c = 0; c < arriving_whole; c += 8) {
            float8 arriving = vload8(0, d_out_row + c);
            float8 normal = (vload8(0, sum_row + c) - middle) * scale;
            float8 inner = arriving * vload8(0, gamma + c);
            total_8 += inner;
            along_8 = fma(inner, normal, along_8);
#if D_PARAMETERS
            STORE_8_AS_0(fma(arriving, normal, vload8(0, d_gamma + c)), d_gamma + c);
            STORE_8_AS_0(arriving + vload8(0, d_beta + c), d_beta + c);
#endif
        }
        for (int c = whole; c < arriving_columns; c++) {
            float normal = (sum_row[c] - middle) * scale, inner = d_out_row[c] * gamma[c];
            total += inner;
            along = fma(inner, normal, along);
#if D_PARAMETERS
            d_gamma[c] = fma(d_out_row[c], normal, d_gamma[c]);
            d_beta[c] += d_out_row[c];
#endif
        }
        float mean_inner = (lanes_sum(total_8) + total) / columns;
        float mean_along = (lanes_sum(along_8) + along) / columns;
#endif
#if D_ROWS
        for (int c = 0; c < whole; c += 8) {
            float8 result = 0.0f;
#if D_OUT
            if (arrives) {
                float8 normal = (vload8(0, sum_row + c) - middle) * scale;
                float8 inner = vload8(0, d_out_row + c) * vload8(0, gamma + c);
                result = (inner - mean_inner - normal * mean_along) * scale;
            }
#endif
#if D_SUM
            result += vload8(0, d_sum_row + c);
#endif
            STORE_8_AS_0(result, dx_row + c);
        }
        for (int c = whole; c < columns; c++) {
            float result = 0.0f;
#if D_OUT
            if (arrives) {
                float normal = (sum_row[c] - middle) * scale;
                result = (d_out_row[c] * gamma[c] - mean_inner - normal * mean_along) * scale;
            }
#endif
#if D_SUM
            result += d_sum_row[c];
#endif
            dx_row[c] = result;
        }
#if STORAGE
        store_row(dx_row, dx + start, columns);
#endif
#if DROPOUT
        drop_block(dx_row, d_branch_row, start, columns, random_state, threshold, stream, keep_scale);
#if STORAGE
        store_row(d_branch_row, d_branch + start, columns);
#endif
#endif
#endif
    }
}

#if D_PARAMETERS
/* d_gammas, d_betas [blocks, columns]: a work-group owns a strip of one block of rows. */
inline void sum_block(const __global stored *d_out, const __global stored *sum, const __global float *mean,
                      const __global float *rstd, const __global int *lengths, __global float *d_gammas,
                      __global float *d_betas, int rows, int columns, int block_rows, int sample_rows,
                      __local float4 *shared) {
    const int block = get_group_id(0) / STRIPS(columns), column = STRIP_COLUMN(get_group_id(0) % STRIPS(columns));
    const int last_row = column < columns ? min(rows, (block + 1) * block_rows) : 0;
    float4 d_gamma = 0.0f, d_beta = 0.0f;
    for (int row = block * block_rows + STRIP_PART; row < last_row; row += STRIP_PARTS) {
        if (!ARRIVES(row)) continue;
        const size_t element = (size_t)row * columns + column;
        const float4 arriving = STRIP_FOUR(STORAGE, d_out + element, columns - column, QUADS);
        const float4 value = STRIP_FOUR(STORAGE, sum + element, columns - column, QUADS);
        d_gamma = fma(arriving, (value - mean[row]) * rstd[row], d_gamma);
        d_beta += arriving;
    }
    write_strip(d_gamma, shared, d_gammas + (size_t)block * columns + column, columns - column);
    write_strip(d_beta, shared, d_betas + (size_t)block * columns + column, columns - column);
}
#endif

/* Arguments as in backward_wide. The first work-groups sum d_gammas and d_betas, which needs nothing of the others: one
 * launch serves both. Each of the others makes dx and d_branch of 64 / ROW_ITEMS rows. No work-group has some work-items
 * that return here and some that go on to the barriers. */
__kernel TILED void backward_tiled(const __global stored *restrict d_out, const __global stored *restrict d_sum,
                                   const __global stored *restrict sum, const __global float *restrict mean,
                                   const __global float *restrict rstd, const __global float *restrict gamma,
                                   const __global uint *restrict random_state, const __global int *restrict lengths,
                                   __global stored *restrict dx, __global stored *restrict d_branch,
                                   __global float *restrict d_gammas, __global float *restrict d_betas, int rows,
                                   int columns, int block_rows, int sample_rows, uint threshold, uint stream,
                                   float keep_scale, int parameter_groups) {
    const int item = get_local_id(0) % ROW_ITEMS;
#if D_PARAMETERS
    __local float4 of_parts[64];
    if (get_group_id(0) < parameter_groups) {
        sum_block(d_out, sum, mean, rstd, lengths, d_gammas, d_betas, rows, columns, block_rows, sample_rows, of_parts);
        return;
    }
#endif
    const size_t row = (get_global_id(0) - (size_t)parameter_groups * 64) / ROW_ITEMS, start = row * columns;
    const int width = row < rows ? columns : 0;
#if DROPOUT
    dropping drop = {random_state, threshold, stream, keep_scale};
#endif
#if D_OUT
    __local float shared[64];
    const int arriving_columns = width > 0 && ARRIVES(row) ? columns : 0;
    const float middle = width > 0 ? mean[row] : 0.0f, scale = width > 0 ? rstd[row] : 0.0f;
    float total = 0.0f, along = 0.0f;
#if QUADS
    for (int c = 4 * item; c < arriving_columns; c += ROW_STEP) {
        float4 inner = LOAD_4_ALIGNED(d_out + start + c) * PARAMETERS_4(gamma + c);
        float2 pair = inner.lo + inner.hi;
        total += pair.x + pair.y;
        along += dot(inner, (LOAD_4_ALIGNED(sum + start + c) - middle) * scale);
    }
#else
    for (int c = item; c < arriving_columns; c += ROW_STEP) {
        float inner = LOAD(d_out, start + c) * gamma[c];
        total += inner;
        along = fma(inner, (LOAD(sum, start + c) - middle) * scale, along);
    }
#endif
    float mean_inner = neighbours_sum(total, shared, ROW_ITEMS) / columns;
    float mean_along = neighbours_sum(along, shared, ROW_ITEMS) / columns;
#endif
#if QUADS
    for (int c = 4 * item; c < width; c += ROW_STEP) {
        float4 result = 0.0f;
#if D_OUT
        if (c < arriving_columns) {
            float4 normal = (LOAD_4_ALIGNED(sum + start + c) - middle) * scale;
            float4 inner = LOAD_4_ALIGNED(d_out + start + c) * PARAMETERS_4(gamma + c);
            result = (inner - mean_inner - normal * mean_along) * scale;
        }
#endif
#if D_SUM
        result += LOAD_4_ALIGNED(d_sum + start + c);
#endif
        STORE_4_ALIGNED(result, dx + start + c);
#if DROPOUT
        STORE_4_ALIGNED(drop_4(result, start + c, &drop), d_branch + start + c);
#endif
    }
#else
    for (int c = item; c < width; c += ROW_STEP) {
        float result = 0.0f;
#if D_OUT
        if (c < arriving_columns) {
            float normal = (LOAD(sum, start + c) - middle) * scale;
            result = (LOAD(d_out, start + c) * gamma[c] - mean_inner - normal * mean_along) * scale;
        }
#endif
#if D_SUM
        result += LOAD(d_sum, start + c);
#endif
        STORE(result, dx, start + c);
#if DROPOUT
        STORE(drop_1(result, start + c, &drop), d_branch, start + c);
#endif
    }
#endif
}

/* d_gammas, d_betas [blocks, columns] -> d_gamma, d_beta [columns]. A work-item owns 64 columns, and adds the blocks in
 * order. */
__kernel WIDE void sum_parameters_wide(const __global float *restrict d_gammas, const __global float *restrict d_betas,
                                       __global float *restrict d_gamma, __global float *restrict d_beta, int blocks,
                                       int columns) {
    const int column = get_group_id(0) * 64, count = min(64, columns - column);
    sum_columns(d_gammas + column, blocks, columns, count, d_gamma + column);
    sum_columns(d_betas + column, blocks, columns, count, d_beta + column);
}

/* The same; a work-group owns a strip of columns. */
__kernel TILED void sum_parameters_tiled(const __global float *restrict d_gammas,
                                         const __global float *restrict d_betas, __global float *restrict d_gamma,
                                         __global float *restrict d_beta, int blocks, int columns) {
    __local float4 shared[64];
    const int column = STRIP_COLUMN(get_group_id(0));
    float4 gamma_sum = 0.0f, beta_sum = 0.0f;
    for (int block = STRIP_PART; block < blocks && column < columns; block += STRIP_PARTS) {
        const size_t element = (size_t)block * columns + column;
        gamma_sum += STRIP_FOUR(0, d_gammas + element, columns - column, QUADS);
        beta_sum += STRIP_FOUR(0, d_betas + element, columns - column, QUADS);
    }
    write_strip(gamma_sum, shared, d_gamma + column, columns - column);
    write_strip(beta_sum, shared, d_beta + column, columns - column);
}
