/* The experiment. */
#include "svr/laboratory.h"

#include <math.h>
#include <stdlib.h>

void xp_svr_result_release(xp_svr_result *result) {
    xp_svr_problem_release(&result->problem);
    free(result->coefficients);
    free(result->expected);
    free(result->values);
    free(result->attended);
    *result = (xp_svr_result){0};
}

static xp_status check(const xp_svr_options *options) {
    if (!(options->cost > 0) || !isfinite(options->cost))
        return xp_fail(XP_INVALID_ARGUMENT, "C is %g; it must be greater than 0", options->cost);
    if (!(options->epsilon >= 0) || !isfinite(options->epsilon))
        return xp_fail(XP_INVALID_ARGUMENT, "epsilon is %g; it must not be negative", options->epsilon);
    return XP_OK;
}

static void make_values(xp_svr_result *r) {
    const int outputs = r->problem.outputs;
    for (int64_t e = 0; e < r->problem.size * outputs; e++)
        r->values[e] = (float)(r->coefficients[e] / r->problem.weights[e / outputs] *
                               exp(r->problem.log_unit - r->problem.log_h[e / outputs]));
}

static void compare(xp_svr_result *r) {
    const xp_svr_points *points = r->problem.points;
    const int outputs = r->problem.outputs;
    double difference = 0, largest = 0;
    for (int64_t e = 0; e < r->problem.queries * outputs; e++) {
        difference = fmax(difference, fabs((double)r->attended[e] - r->expected[e]));
        largest = fmax(largest, fabs(r->expected[e]));
    }
    r->difference = largest > 0 ? difference / largest : difference;
    r->r2 = 1;
    for (int d = 0; d < outputs; d++) {
        double error = 0, total = 0; /* the targets' mean is 0 */
        for (int64_t i = d; i < points->count * outputs; i += outputs) {
            error += pow(points->targets[i] - (double)r->attended[i], 2);
            total += pow(points->targets[i], 2);
        }
        r->r2 = fmin(r->r2, 1 - error / total);
    }
}

static xp_status run(xp_device *device, const xp_svr_options *options, xp_svr_result *r) {
    xp_svr_problem *p = &r->problem;
    const size_t fitted = (size_t)(p->size * p->outputs), asked = (size_t)(p->queries * p->outputs);
    r->coefficients = calloc(fitted, sizeof *r->coefficients);
    r->values = calloc(fitted, sizeof *r->values);
    r->expected = calloc(asked, sizeof *r->expected);
    r->attended = calloc(asked, sizeof *r->attended);
    if (!r->coefficients || !r->values || !r->expected || !r->attended)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for a fit of %lld keys", (long long)p->size);
    const xp_svr_matrix matrix = {p->size, p->outputs, p->kernel, p->targets, p->weights};
    if (options->bias)
        XP_TRY(xp_svr_solve_with_bias(&matrix, options, r->coefficients, r->bias));
    else
        XP_TRY(xp_svr_solve(&matrix, options, r->coefficients));
    XP_TRY(xp_svr_judge(&matrix, options, r->coefficients, r->bias, &r->judgement));
    XP_TRY(xp_svr_problem_predict(p, r->coefficients, r->bias, r->expected));
    make_values(r);
    XP_TRY(xp_svr_evaluate(device, p, r->values, r->attended));
    for (size_t e = 0; e < asked; e++) r->attended[e] += (float)r->bias[e % (size_t)p->outputs];
    compare(r);
    return XP_OK;
}

xp_status xp_svr_run(xp_device *device, const xp_svr_attention *attention, const xp_svr_points *points,
                     const xp_svr_options *options, xp_svr_result *out) {
    *out = (xp_svr_result){0};
    XP_TRY(check(options));
    xp_status status = xp_svr_problem_make(attention, points, &out->problem);
    if (status == XP_OK && attention->window)
        status = xp_svr_problem_lowest(&out->problem, &out->lowest);
    else if (status == XP_OK)
        status = run(device, options, out);
    if (status != XP_OK) xp_fail_in(status, "%s: ", attention->name);
    if (status != XP_OK) xp_svr_result_release(out);
    return status;
}
