/* The regression problems of attentions. */
#include "svr/problem.h"

#include "core/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const xp_svr_attention xp_svr_attentions[XP_SVR_ATTENTIONS] = {
    {"softmax", "softmax"},
    {"linear", "linear(elu)", .linear = true},
    {"bn", "softmax+bn", .bn = true},
    {"sh", "softmax+sh(4)", .pool = 4},
    {"block", "softmax+block", .blocks = 4},
    {"late", "softmax+score(\"score + rate * key_index\", rate=0.01)", .rate = 0.01f},
    {"window", "softmax+window(8,8)", .window = 8},
};
const float xp_svr_bn_epsilon = 1e-5f;

void xp_svr_problem_release(xp_svr_problem *problem) {
    free(problem->keys);
    free(problem->query_keys);
    free(problem->targets);
    free(problem->positions);
    free(problem->weights);
    free(problem->log_h);
    free(problem->kernel);
    *problem = (xp_svr_problem){0};
}

/* ---- the training set -------------------------------------------------------------------------------------------- */

/* Averages of `window` rows each; the last one averages what is there. */
static void pool_rows(const double *from, int64_t count, int64_t width, int64_t window, double *to) {
    for (int64_t first = 0; first < count; first += window) {
        const int64_t rows = first + window < count ? window : count - first;
        for (int64_t c = 0; c < width; c++) {
            double sum = 0;
            for (int64_t i = first; i < first + rows; i++) sum += from[i * width + c];
            to[first / window * width + c] = sum / (double)rows;
        }
    }
}

static void normalise(xp_svr_problem *p) {
    for (int c = 0; c < p->width; c++) {
        double mean = 0, square = 0;
        for (int64_t j = 0; j < p->size; j++) mean += p->keys[j * p->width + c];
        mean /= (double)p->size;
        for (int64_t j = 0; j < p->size; j++) square += pow(p->keys[j * p->width + c] - mean, 2);
        const double deviation = sqrt(square / (double)p->size + (double)xp_svr_bn_epsilon);
        for (int64_t j = 0; j < p->size; j++)
            p->keys[j * p->width + c] = (p->keys[j * p->width + c] - mean) / deviation;
        for (int64_t i = 0; i < p->queries; i++)
            p->query_keys[i * p->width + c] = (p->query_keys[i * p->width + c] - mean) / deviation;
    }
}

static int64_t block_size(const xp_svr_problem *p) {
    return (p->points->count + p->attention->blocks - 1) / p->attention->blocks;
}

/* The point of a query: itself, or for a position of the grid the last point before it. */
static int64_t place(const xp_svr_problem *p, int64_t query) {
    if (query < p->points->count) return query;
    const double position = p->points->grid_positions[query - p->points->count];
    int64_t low = 0, high = p->points->count; /* positions rise */
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (p->points->positions[middle] <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static bool sees(const xp_svr_problem *p, int64_t at, int64_t key) {
    if (p->attention->blocks && at / block_size(p) != key / block_size(p)) return false;
    return !p->attention->window || llabs(at - key) <= p->attention->window;
}

bool xp_svr_problem_sees(const xp_svr_problem *problem, int64_t query, int64_t key) {
    return sees(problem, place(problem, query), key);
}

/* ---- the kernel -------------------------------------------------------------------------------------------------- */

static double elu_feature(double x) {
    return x > 0 ? x + 1 : exp(x);
}

static double log_kappa(const xp_svr_problem *p, const double *x, const double *y) {
    double sum = 0;
    for (int c = 0; c < p->width; c++)
        sum += p->attention->linear ? elu_feature(x[c]) * elu_feature(y[c]) : x[c] * y[c];
    return p->attention->linear ? log(sum) : sum / sqrt(p->width);
}

/* log h of a row of log κ. */
static double log_sum(const xp_svr_problem *p, const double *logs) {
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < p->size; j++) most = fmax(most, logs[j]);
    for (int64_t j = 0; j < p->size; j++) sum += p->weights[j] * exp(logs[j] - most);
    return most + log(sum);
}

/* log κ of one query with every key, -INFINITY for those it does not see; returns log h. */
static double row_of(const xp_svr_problem *p, const double *x, int64_t at, double *logs) {
    for (int64_t j = 0; j < p->size; j++)
        logs[j] = sees(p, at, j) ? log_kappa(p, x, p->keys + j * p->width) : -INFINITY;
    return log_sum(p, logs);
}

static xp_status make_kernel(xp_svr_problem *p) {
    const int64_t size = p->size;
    for (int64_t i = 0; i < size; i++) p->log_h[i] = row_of(p, p->keys + i * p->width, i, p->kernel + i * size);
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < size; i++) most = fmax(most, p->kernel[i * size + i] - 2 * p->log_h[i]);
    for (int64_t i = 0; i < size; i++) sum += exp(p->kernel[i * size + i] - 2 * p->log_h[i] - most);
    p->log_unit = log((double)size) - most - log(sum);
    if (!isfinite(p->log_unit))
        return xp_fail(XP_INVALID_ARGUMENT,
                       "%s: the kernel cannot distinguish keys of this size; scale the "
                       "columns of positions",
                       p->attention->name);
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j < size; j++)
            p->kernel[i * size + j] = exp(p->kernel[i * size + j] - p->log_h[i] - p->log_h[j] + p->log_unit);
    return XP_OK;
}

/* With mean 1: a common factor cancels between κ and h, and C keeps its meaning. */
static void make_weights(xp_svr_problem *p) {
    double sum = 0;
    for (int64_t j = 0; j < p->size; j++)
        sum += p->weights[j] = exp((double)p->attention->rate * (double)(j - p->size));
    for (int64_t j = 0; j < p->size; j++) p->weights[j] *= (double)p->size / sum;
}

static double *rows(int64_t count, int64_t width) {
    return calloc((size_t)(count * width), sizeof(double));
}

xp_status xp_svr_problem_make(const xp_svr_attention *attention, const xp_svr_points *points, xp_svr_problem *out) {
    const int64_t window = attention->pool ? attention->pool : 1, size = (points->count + window - 1) / window;
    *out = (xp_svr_problem){.attention = attention,
                            .points = points,
                            .size = size,
                            .queries = points->count + points->grid_count,
                            .width = points->width,
                            .outputs = points->outputs};
    out->keys = rows(size, points->width);
    out->query_keys = rows(out->queries, points->width);
    out->targets = rows(size, points->outputs);
    out->positions = rows(size, 1);
    out->weights = rows(size, 1);
    out->log_h = rows(size, 1);
    out->kernel = rows(size, size);
    double *first_column = rows(points->count, 1);
    if (!out->keys || !out->query_keys || !out->targets || !out->positions || !out->weights || !out->log_h ||
        !out->kernel || !first_column) {
        free(first_column);
        xp_svr_problem_release(out);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for a kernel matrix of %lld keys", (long long)size);
    }
    for (int64_t i = 0; i < points->count; i++) first_column[i] = points->positions[i * points->columns];
    pool_rows(points->keys, points->count, points->width, window, out->keys);
    pool_rows(points->targets, points->count, points->outputs, window, out->targets);
    pool_rows(first_column, points->count, 1, window, out->positions);
    free(first_column);
    const size_t point_bytes = (size_t)(points->count * points->width) * sizeof(double);
    memcpy(out->query_keys, points->keys, point_bytes);
    if (points->grid_count)
        memcpy(out->query_keys + points->count * points->width, points->grid_keys,
               (size_t)(points->grid_count * points->width) * sizeof(double));
    if (attention->bn) normalise(out);
    make_weights(out);
    if (attention->blocks)
        snprintf(out->specification, sizeof out->specification, "%s(%lld)", attention->specification,
                 (long long)block_size(out));
    else
        snprintf(out->specification, sizeof out->specification, "%s", attention->specification);
    xp_status status = make_kernel(out);
    if (status != XP_OK) xp_svr_problem_release(out);
    return status;
}

xp_status xp_svr_problem_predict(const xp_svr_problem *problem, const double *coefficients, const double *bias,
                                 double *out) {
    double *logs = rows(problem->size, 1);
    if (!logs) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a prediction");
    for (int64_t i = 0; i < problem->queries; i++) {
        const double log_h = row_of(problem, problem->query_keys + i * problem->width, place(problem, i), logs);
        double *f = out + i * problem->outputs;
        memcpy(f, bias, (size_t)problem->outputs * sizeof *f);
        for (int64_t j = 0; j < problem->size; j++) {
            const double kernel = exp(logs[j] - log_h - problem->log_h[j] + problem->log_unit);
            for (int d = 0; d < problem->outputs; d++) f[d] += coefficients[j * problem->outputs + d] * kernel;
        }
    }
    free(logs);
    return XP_OK;
}

/* ---- its smallest eigenvalue ------------------------------------------------------------------------------------- */

static void multiply(const xp_svr_problem *p, const double *v, double *out) {
    for (int64_t i = 0; i < p->size; i++) {
        double sum = 0;
        for (int64_t j = 0; j < p->size; j++) sum += p->kernel[i * p->size + j] * v[j];
        out[i] = sum;
    }
}

static double dot(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* Whether the tridiagonal matrix has an eigenvalue below x (Sturm's sequence: the sign of a pivot of T - x). */
static bool any_below(const double *diagonal, const double *beside, int64_t size, double x) {
    double pivot = 1;
    for (int64_t i = 0; i < size; i++) {
        pivot = diagonal[i] - x - (i > 0 ? beside[i - 1] * beside[i - 1] / pivot : 0);
        if (pivot < 0) return true;
        if (pivot == 0) pivot = 1e-300;
    }
    return false;
}

static double lowest_of_tridiagonal(const double *diagonal, const double *beside, int64_t size) {
    double low = 0, high = INFINITY;
    for (int64_t i = 0; i < size; i++) {
        const double radius = (i > 0 ? fabs(beside[i - 1]) : 0) + (i + 1 < size ? fabs(beside[i]) : 0);
        low = fmin(low, diagonal[i] - radius);
        high = fmin(high, diagonal[i]);
    }
    for (int step = 0; step < 100; step++) {
        const double middle = low + (high - low) / 2;
        if (any_below(diagonal, beside, size, middle))
            high = middle;
        else
            low = middle;
    }
    return high;
}

/* Lanczos: the smallest value that v·Kv takes over the unit vectors of a Krylov space, whose basis is kept orthogonal
 * by force. */
xp_status xp_svr_problem_lowest(const xp_svr_problem *problem, double *out) {
    const int64_t size = problem->size, most = size < 200 ? size : 200;
    double *basis = rows(most + 1, size), *diagonal = rows(most, 1), *beside = rows(most, 1);
    xp_status status = basis && diagonal && beside ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for an eigenvalue");
    if (status == XP_OK) {
        xp_random random;
        xp_random_start(&random, 1, 0);
        for (int64_t i = 0; i < size; i++) basis[i] = xp_random_normal(&random);
        const double first_length = sqrt(dot(basis, basis, size));
        for (int64_t i = 0; i < size; i++) basis[i] /= first_length;
        int64_t taken = 0;
        while (taken < most) {
            double *next = basis + (taken + 1) * size;
            multiply(problem, basis + taken * size, next);
            diagonal[taken] = dot(next, basis + taken * size, size);
            for (int pass = 0; pass < 2; pass++)
                for (int64_t b = 0; b <= taken; b++) {
                    const double part = dot(next, basis + b * size, size);
                    for (int64_t i = 0; i < size; i++) next[i] -= part * basis[b * size + i];
                }
            const double length = beside[taken++] = sqrt(dot(next, next, size));
            if (length < 1e-12 * (double)size) break; /* the space is used up */
            for (int64_t i = 0; i < size; i++) next[i] /= length;
        }
        *out = lowest_of_tridiagonal(diagonal, beside, taken);
    }
    free(basis);
    free(diagonal);
    free(beside);
    return status;
}
