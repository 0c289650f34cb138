/* The row of regression, and the arithmetic of its errors. */
#include "task/regression.h"

#include "ops/ops.h"
#include "task/numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MSE, MAE, R2, METRICS };

/* ---- data -------------------------------------------------------------------------------------------------------- */

static bool takes(const xp_dataset *training) {
    return training->targets > 0 && training->horizon == 0;
}

static xp_status check(const xp_dataset *dataset, const char *path, xp_data_use use) {
    static const char *const consequences[] = {
        [XP_DATA_TRAINS] = "a regression cannot be trained on it",
        [XP_DATA_TESTS] = "it cannot be used as test data, but expanse predict accepts it",
        [XP_DATA_JUDGES] = "there is no error to compute, but expanse predict works"};
    if (xp_dataset_check_targets(dataset, path) == XP_OK) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s: %s", xp_last_error(), consequences[use]);
}

static void describe(const xp_dataset *dataset, xp_writer *out) {
    xp_write(out, ", %d target%s", dataset->targets, dataset->targets == 1 ? "" : "s");
}

/* ---- the loss ---------------------------------------------------------------------------------------------------- */

xp_status xp_regression_build(xp_learner *learner, const xp_task_options *options, bool training) {
    const xp_model *model = &learner->model;
    xp_graph *graph = model->graph;
    xp_squared_errors errors;
    learner->labels = xp_graph_input(graph, "targets", XP_F32, 2, model->output->shape);
    if (!learner->labels) return XP_OUT_OF_MEMORY;
    xp_graph_scope(graph, "loss");
    learner->loss = xp_squared_error(graph, model->output, learner->labels, model->weights, &errors);
    if (!learner->loss) return XP_INVALID_ARGUMENT;
    learner->tally = xp_tally_samples(graph, errors.losses, errors.absolute, errors.known, model->weights);
    if (!learner->tally) return XP_INVALID_ARGUMENT;
    learner->answers = model->output;
    learner->answers->keep = learner->tally->keep = true;
    return XP_OK;
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

/* The targets of the training set have a variance of 1. */
static double determination(const double *sums, int64_t counted, double unit) {
    return 1 - sums[XP_NUMBERS_SQUARES] / (double)counted;
}

/* ---- evaluations ------------------------------------------------------------------------------------------------- */

const xp_targets *xp_evaluation_targets(const xp_evaluation *evaluation) {
    return evaluation->own;
}

static void release(xp_evaluation *evaluation) {
    xp_targets *own = evaluation->own;
    for (int i = 0; own->names && i < own->count; i++) free(own->names[i]);
    free(own->names);
    free(own->values);
    free(own->errors);
    xp_standardisation_release(&own->scale);
    free(own);
}

static xp_status open(xp_evaluation *evaluation, const xp_dataset *dataset) {
    const size_t count = (size_t)dataset->targets;
    xp_targets *own = calloc(1, sizeof *own);
    if (!own) return XP_OUT_OF_MEMORY;
    evaluation->own = own;
    own->count = dataset->targets;
    own->names = calloc(count, sizeof *own->names);
    own->errors = calloc(count, sizeof *own->errors);
    own->values = malloc((size_t)dataset->count * count * sizeof *own->values + 1);
    if (!own->names || !own->errors || !own->values) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_standardisation_copy(&own->scale, dataset->target_standardisation));
    for (size_t i = 0; i < count; i++) {
        own->names[i] = strdup(dataset->target_names[i]);
        if (!own->names[i]) return XP_OUT_OF_MEMORY;
    }
    for (int64_t i = 0; i < dataset->count; i++) {
        float *values = own->values + i * own->count;
        XP_TRY(xp_dataset_read_targets(dataset, i, values));
        for (int t = 0; t < own->count; t++) own->known = own->known || !isnan(values[t]);
    }
    return XP_OK;
}

static void measure_target(const xp_evaluation *evaluation, int target, xp_target_errors *out) {
    const xp_targets *own = evaluation->own;
    const float *values = own->values + target, *answers = evaluation->answers + target;
    double mean = 0, squares = 0, absolute = 0, spread = 0;
    int64_t known = 0;
    for (int64_t i = 0; i < evaluation->count; i++) {
        const double value = values[i * own->count], error = answers[i * own->count] - value;
        if (isnan(value)) continue;
        known++;
        mean += value;
        squares += error * error;
        absolute += fabs(error);
    }
    mean /= (double)known;
    for (int64_t i = 0; i < evaluation->count; i++) {
        const double difference = values[i * own->count] - mean;
        if (!isnan(difference)) spread += difference * difference;
    }
    *out = (xp_target_errors){known, squares / (double)known, absolute / (double)known,
                              spread > 0     ? 1 - squares / spread
                              : squares == 0 ? 1
                                             : 0};
    if (known == 0) out->r2 = NAN;
}

/* Means over the targets; those of several are of standardised ones, whose units are the same. */
static void finish(xp_evaluation *evaluation) {
    xp_targets *own = evaluation->own;
    double *const metrics = evaluation->metrics;
    xp_standardisation_undo(&own->scale, evaluation->count * own->count, evaluation->answers);
    metrics[MSE] = metrics[MAE] = metrics[R2] = 0;
    for (int t = 0; t < own->count; t++) {
        xp_target_errors *errors = &own->errors[t];
        measure_target(evaluation, t, errors);
        const double unit = xp_numbers_unit(&own->scale, own->count, t);
        metrics[MSE] += errors->squared / (unit * unit) / own->count;
        metrics[MAE] += errors->absolute / unit / own->count;
        metrics[R2] += errors->r2 / own->count;
    }
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void fill_target(const xp_evaluation *evaluation, int64_t row, xp_task_cell *cells) {
    const xp_targets *own = evaluation->own;
    const xp_target_errors *errors = &own->errors[row];
    cells[0].text = own->names[row];
    cells[1].whole = errors->known;
    cells[2].real = errors->squared;
    cells[3].real = sqrt(errors->squared);
    cells[4].real = errors->absolute;
    cells[5].real = errors->r2;
}

/* A row for each target. */
static xp_status report(const xp_evaluation *evaluation, xp_task_table *out) {
    static const xp_task_column columns[] = {
        {"target", NULL, XP_TASK_TEXT},
        {"samples", NULL, XP_TASK_WHOLE},
        {"mse", "MSE", XP_TASK_REAL, .digits = XP_NUMBERS_DIGITS, .significant = true},
        {"rmse", "RMSE", XP_TASK_REAL, .digits = XP_NUMBERS_DIGITS, .significant = true},
        {"mae", "MAE", XP_TASK_REAL, .digits = XP_NUMBERS_DIGITS, .significant = true},
        {"r2", "R²", XP_TASK_REAL, .digits = 4}};
    XP_TRY(xp_task_table_of(out, columns, sizeof columns / sizeof *columns));
    out->name = "targets";
    out->row_count = xp_evaluation_targets(evaluation)->count;
    out->fill = fill_target;
    return XP_OK;
}

/* Number; for each target what is predicted, and the true value where one is known. */
static void fill_answer(const xp_evaluation *evaluation, int64_t row, xp_task_cell *cells) {
    const xp_targets *own = evaluation->own;
    int next = 0;
    cells[next++].whole = row;
    for (int t = 0; t < own->count; t++) {
        cells[next++].real = evaluation->answers[row * own->count + t];
        if (own->known) cells[next++].real = own->values[row * own->count + t];
    }
}

static xp_status list(const xp_evaluation *evaluation, xp_task_table *out) {
    const xp_targets *own = evaluation->own;
    XP_TRY(xp_task_table_create(out, 1 + own->count * (own->known ? 2 : 1)));
    out->row_count = evaluation->count;
    out->fill = fill_answer;
    xp_status status = xp_task_table_column(out, &(xp_task_column){"sample", NULL, XP_TASK_WHOLE});
    for (int t = 0; t < own->count && status == XP_OK; t++) {
        status = xp_numbers_add_column(out, "predicted", own->count, own->names, t);
        if (status == XP_OK && own->known) status = xp_numbers_add_column(out, "true", own->count, own->names, t);
    }
    if (status != XP_OK) xp_task_table_release(out);
    return status;
}

/* ---- the row ----------------------------------------------------------------------------------------------------- */

const xp_task xp_regression = {
    .name = "regression",
    .takes = takes,
    .check = check,
    .describe = describe,
    .outputs = xp_numbers_outputs,
    .output_name = xp_numbers_output_name,
    .outputs_key = "targets",
    .names_key = "target_names",
    .has_targets = true,
    .restore = xp_numbers_restore,
    .build = xp_regression_build,
    .sums = {[XP_NUMBERS_SQUARES] = {"squared_error_sum"}, [XP_NUMBERS_ABSOLUTE] = {"absolute_error_sum"}},
    .sum_count = XP_NUMBERS_SUMS,
    .metrics = {[MSE] = {"mse", "", .scale = 1, .digits = 5, .significant = true, .highest = 1e300,
                         .value = xp_numbers_mean_square},
                [MAE] = {"mae", "", .scale = 1, .digits = 5, .significant = true, .highest = 1e300,
                         .value = xp_numbers_mean_absolute},
                [R2] = {"r2", "", .scale = 1, .digits = 4, .lowest = -1e300, .highest = 1, .value = determination}},
    .metric_count = METRICS,
    .deciding = MSE,
    .higher_is_better = false,
    .open = open,
    .finish = finish,
    .release = release,
    .picture = "scatter.svg",
    .draw = xp_scatter_write,
    .report = report,
    .list = list,
};
