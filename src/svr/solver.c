/* The solver for b = 0, and the judge. */
#include "svr/solver.h"

#include <math.h>
#include <stdlib.h>

static const double GAP = 1e-6;

/* One output, with f = Kc kept up to date. */
typedef struct dual {
    const xp_svr_matrix *matrix;
    const xp_svr_options *options;
    int output;
    double *c, *f;
} dual;

static double target(const dual *p, int64_t j) {
    return p->matrix->targets[j * p->matrix->outputs + p->output];
}

/* The bound of a coefficient: what an error at key j costs. */
static double cost(const dual *p, int64_t j) {
    return p->options->cost * p->matrix->weights[j];
}

/* Primal and dual value at c with prediction f (which holds b). b cancels in the dual where Σ c = 0. */
static void values(const dual *p, double bias, double *primal, double *dual_value) {
    double square = 0, slack = 0, gain = 0;
    for (int64_t j = 0; j < p->matrix->size; j++) {
        square += p->c[j] * (p->f[j] - bias);
        slack += cost(p, j) * fmax(0, fabs(target(p, j) - p->f[j]) - p->options->epsilon);
        gain += target(p, j) * p->c[j] - p->options->epsilon * fabs(p->c[j]);
    }
    *primal = square / 2 + slack;
    *dual_value = gain - square / 2;
}

static double relative_gap(const dual *p, double bias) {
    double primal, dual_value;
    values(p, bias, &primal, &dual_value);
    return primal > 0 ? (primal - dual_value) / primal : 0;
}

/* The best value of one coordinate while the others stand: the dual along it is a parabola with a kink at 0. */
static double best_coordinate(const dual *p, int64_t j, double curvature) {
    const double free_value = p->c[j] + (target(p, j) - p->f[j]) / curvature;
    const double shrunk = fmax(0, fabs(free_value) - p->options->epsilon / curvature);
    return copysign(fmin(shrunk, cost(p, j)), free_value);
}

static double gain_of(const dual *p, int64_t j, double to, double curvature) {
    const double step = to - p->c[j];
    return step * (target(p, j) - p->f[j] - curvature * step / 2) - p->options->epsilon * (fabs(to) - fabs(p->c[j]));
}

static xp_status solve_output(dual *p) {
    enum { CHECK_EVERY = 256 };
    const int64_t size = p->matrix->size, limit = 4000000;
    for (int64_t step = 0; step < limit; step++) {
        if (step % CHECK_EVERY == 0 && relative_gap(p, 0) <= GAP) return XP_OK;
        int64_t best = -1;
        double best_gain = 0, best_value = 0;
        for (int64_t j = 0; j < size; j++) {
            const double curvature = p->matrix->kernel[j * size + j];
            if (!(curvature > 0)) continue; /* a key without weight predicts nothing */
            const double value = best_coordinate(p, j, curvature), gain = gain_of(p, j, value, curvature);
            if (gain > best_gain) best = j, best_gain = gain, best_value = value;
        }
        if (best < 0) return XP_OK; /* to the last bit */
        const double change = best_value - p->c[best], *row = p->matrix->kernel + best * size;
        for (int64_t i = 0; i < size; i++) p->f[i] += change * row[i];
        p->c[best] = best_value;
    }
    return xp_fail(XP_UNSUPPORTED,
                   "the fit of output %d has a relative duality gap of %.1e after %lld steps; a smaller C or a "
                   "larger epsilon makes the problem easier",
                   p->output + 1, relative_gap(p, 0), (long long)limit);
}

static bool start(dual *p, const xp_svr_matrix *matrix, const xp_svr_options *options) {
    *p = (dual){.matrix = matrix,
                .options = options,
                .c = calloc((size_t)matrix->size, sizeof(double)),
                .f = calloc((size_t)matrix->size, sizeof(double))};
    if (p->c && p->f) return true;
    xp_fail(XP_OUT_OF_MEMORY, "no memory for a fit of %lld keys", (long long)matrix->size);
    return false;
}

static void end(dual *p) {
    free(p->c);
    free(p->f);
}

xp_status xp_svr_solve(const xp_svr_matrix *matrix, const xp_svr_options *options, double *coefficients) {
    dual p;
    xp_status status = start(&p, matrix, options) ? XP_OK : XP_OUT_OF_MEMORY;
    for (; p.output < matrix->outputs && status == XP_OK; p.output++) {
        for (int64_t j = 0; j < matrix->size; j++) p.c[j] = p.f[j] = 0;
        status = solve_output(&p);
        for (int64_t j = 0; j < matrix->size; j++) coefficients[j * matrix->outputs + p.output] = p.c[j];
    }
    end(&p);
    return status;
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

/* How far key j is from its condition: inside the tube or on its edge without a coefficient, on the edge with a free
 * one, on the edge or outside with one at the bound. */
static double residual_of(const dual *p, int64_t j) {
    const double c = p->c[j], epsilon = p->options->epsilon, left = target(p, j) - p->f[j];
    if (c == 0) return fmax(0, fabs(left) - epsilon);
    const double outward = c > 0 ? left : -left; /* towards the side on which the coefficient pulls */
    if (fabs(c) >= cost(p, j) * (1 - 1e-9)) return fmax(0, epsilon - outward);
    return fabs(outward - epsilon);
}

xp_status xp_svr_judge(const xp_svr_matrix *matrix, const xp_svr_options *options, const double *coefficients,
                       const double *bias, xp_svr_judgement *out) {
    const int64_t size = matrix->size;
    dual p;
    *out = (xp_svr_judgement){0};
    if (!start(&p, matrix, options)) {
        end(&p);
        return XP_OUT_OF_MEMORY;
    }
    for (; p.output < matrix->outputs; p.output++) {
        double sum = 0, absolute = 0;
        for (int64_t j = 0; j < size; j++) {
            p.c[j] = coefficients[j * matrix->outputs + p.output];
            sum += p.c[j];
            absolute += fabs(p.c[j]);
        }
        for (int64_t i = 0; i < size; i++) {
            p.f[i] = bias[p.output];
            for (int64_t j = 0; j < size; j++) p.f[i] += matrix->kernel[i * size + j] * p.c[j];
        }
        out->gap = fmax(out->gap, fabs(relative_gap(&p, bias[p.output])));
        out->balance = fmax(out->balance, absolute > 0 ? fabs(sum) / absolute : 0);
        for (int64_t j = 0; j < size; j++) {
            out->residual = fmax(out->residual, residual_of(&p, j));
            if (fabs(p.c[j]) > cost(&p, j) * (1 + 1e-9)) out->residual = INFINITY; /* not even permitted */
        }
    }
    for (int64_t j = 0; j < size; j++) {
        bool any = false;
        for (int d = 0; d < matrix->outputs; d++) any = any || coefficients[j * matrix->outputs + d] != 0;
        out->support += any;
    }
    end(&p);
    return XP_OK;
}
