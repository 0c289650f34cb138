/* The row of forecasting, and the arithmetic of its errors. */
#include "task/forecasting.h"

#include "ops/ops.h"
#include "task/numbers.h"
#include "task/regression.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MSE, MAE, SKILL, METRICS };

/* ---- data -------------------------------------------------------------------------------------------------------- */

static bool takes(const xp_dataset *training) {
    return training->horizon > 0;
}

/* A cell may be missing, but not all. */
static xp_status check(const xp_dataset *dataset, const char *path, xp_data_use use) {
    float *targets = malloc((size_t)dataset->targets * sizeof *targets);
    xp_status status = targets ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for a window", path);
    bool known = false;
    for (int64_t i = 0; i < dataset->count && status == XP_OK && !known; i++) {
        status = xp_dataset_read_targets(dataset, i, targets);
        for (int t = 0; t < dataset->targets; t++) known = known || !isnan(targets[t]);
    }
    free(targets);
    if (status != XP_OK || known) return status;
    return xp_fail(XP_BAD_DATA, "%s: no value that is to be predicted is known", path);
}

static void describe(const xp_dataset *dataset, xp_writer *out) {
    const int columns = xp_dataset_target_features(dataset);
    xp_write(out, ", of which %d %s predicted for %d step%s", columns, columns == 1 ? "is" : "are", dataset->horizon,
             dataset->horizon == 1 ? "" : "s");
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

/* The batches do not have the forecast to beat. */
static double unknown(const double *sums, int64_t counted, double unit) {
    return NAN;
}

/* ---- the loss ---------------------------------------------------------------------------------------------------- */

/* Of windows without their levels the model predicts what is to be added to these, in their deviations: reversible
 * instance normalisation, Kim et al., ICLR 2022. */
static xp_status build(xp_learner *learner, const xp_task_options *options, bool training) {
    xp_model *model = &learner->model;
    if (options->levelled_steps > 0) {
        const int64_t *shape = model->output->shape, sizes[] = {shape[0], 2, shape[1] / options->levelled_steps};
        learner->levels = xp_graph_input(model->graph, "levels", XP_F32, 3, sizes);
        model->output = xp_rescale(model->graph, model->output, learner->levels);
        if (!model->output) return XP_OUT_OF_MEMORY;
    }
    return xp_regression_build(learner, options, training);
}

/* ---- evaluations ------------------------------------------------------------------------------------------------- */

const xp_forecasts *xp_evaluation_forecasts(const xp_evaluation *evaluation) {
    return evaluation->own;
}

static void release(xp_evaluation *evaluation) {
    xp_forecasts *own = evaluation->own;
    for (int i = 0; own->names && i < own->columns; i++) free(own->names[i]);
    free(own->names);
    free(own->values);
    free(own->naive);
    free(own->rows);
    free(own->errors);
    xp_times_release(&own->times);
    xp_standardisation_release(&own->scale);
    free(own);
}

/* The targets of the first step are called "NAME +1". */
static xp_status name_columns(xp_forecasts *own, const xp_dataset *dataset) {
    for (int i = 0; i < own->columns; i++) {
        const char *name = dataset->target_names[i];
        own->names[i] = strndup(name, strlen(name) - strlen(" +1"));
        if (!own->names[i]) return XP_OUT_OF_MEMORY;
    }
    return XP_OK;
}

static xp_status open(xp_evaluation *evaluation, const xp_dataset *dataset) {
    const size_t count = (size_t)dataset->count, targets = (size_t)dataset->targets;
    const xp_times *times = xp_dataset_times(dataset);
    xp_forecasts *own = calloc(1, sizeof *own);
    if (!own) return XP_OUT_OF_MEMORY;
    evaluation->own = own;
    own->horizon = dataset->horizon;
    own->context = dataset->length;
    own->columns = xp_dataset_target_features(dataset);
    own->names = calloc((size_t)own->columns, sizeof *own->names);
    own->errors = calloc((size_t)own->horizon, sizeof *own->errors);
    own->rows = malloc(count * sizeof *own->rows + 1);
    own->values = malloc(count * targets * sizeof *own->values + 1);
    own->naive = malloc(count * targets * sizeof *own->naive + 1);
    if (!own->names || !own->errors || !own->rows || !own->values || !own->naive) return XP_OUT_OF_MEMORY;
    XP_TRY(name_columns(own, dataset));
    if (times) XP_TRY(xp_times_copy(&own->times, times));
    XP_TRY(xp_standardisation_copy(&own->scale, dataset->target_standardisation));
    for (int64_t i = 0; i < dataset->count; i++) {
        own->rows[i] = xp_dataset_number(dataset, i) + dataset->length;
        XP_TRY(xp_dataset_read_targets(dataset, i, own->values + i * dataset->targets));
        xp_dataset_read_naive(dataset, i, own->naive + i * dataset->targets);
    }
    return XP_OK;
}

typedef struct sums {
    double squared, absolute, naive_squared, naive_absolute,
        compared; /* compared: squares where the naive one is known */
    int64_t known, naive_known;
} sums;

static void add_step(const xp_evaluation *evaluation, int step, sums *out) {
    const xp_forecasts *own = evaluation->own;
    for (int64_t i = 0; i < evaluation->count; i++)
        for (int c = 0; c < own->columns; c++) {
            const int64_t at = (i * own->horizon + step) * own->columns + c;
            const double unit = xp_numbers_unit(&own->scale, own->columns, c);
            const double value = own->values[at];
            const double error = (evaluation->answers[at] - value) / unit, naive = (own->naive[at] - value) / unit;
            if (isnan(value)) continue;
            out->known++;
            out->squared += error * error;
            out->absolute += fabs(error);
            if (isnan(naive)) continue;
            out->naive_known++;
            out->naive_squared += naive * naive;
            out->naive_absolute += fabs(naive);
            out->compared += error * error;
        }
}

static void finish(xp_evaluation *evaluation) {
    xp_forecasts *own = evaluation->own;
    sums all = {0};
    xp_standardisation_undo(&own->scale, evaluation->count * evaluation->outputs, evaluation->answers);
    for (int step = 0; step < own->horizon; step++) {
        sums of_step = {0};
        add_step(evaluation, step, &of_step);
        add_step(evaluation, step, &all);
        own->errors[step] = (xp_step_errors){
            of_step.squared / (double)of_step.known, of_step.absolute / (double)of_step.known,
            of_step.naive_squared / (double)of_step.naive_known, of_step.naive_absolute / (double)of_step.naive_known};
    }
    evaluation->metrics[MSE] = all.squared / (double)all.known;
    evaluation->metrics[MAE] = all.absolute / (double)all.known;
    evaluation->metrics[SKILL] = all.naive_squared > 0 ? 1 - all.compared / all.naive_squared : NAN;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void fill_step(const xp_evaluation *evaluation, int64_t row, xp_task_cell *cells) {
    const xp_step_errors *errors = &xp_evaluation_forecasts(evaluation)->errors[row];
    cells[0].whole = row + 1;
    cells[1].real = errors->squared;
    cells[2].real = errors->absolute;
    cells[3].real = errors->naive_squared;
    cells[4].real = errors->naive_absolute;
}

/* A row for each step of the horizon. */
static xp_status report(const xp_evaluation *evaluation, xp_task_table *out) {
    static const xp_task_column columns[] = {
        {"step", NULL, XP_TASK_WHOLE},
        {"mse", "MSE", XP_TASK_REAL, .digits = XP_NUMBERS_DIGITS, .significant = true},
        {"mae", "MAE", XP_TASK_REAL, .digits = XP_NUMBERS_DIGITS, .significant = true},
        {"naive_mse", "seasonal-naive MSE", XP_TASK_REAL, .digits = XP_NUMBERS_DIGITS, .significant = true},
        {"naive_mae", "seasonal-naive MAE", XP_TASK_REAL, .digits = XP_NUMBERS_DIGITS, .significant = true}};
    XP_TRY(xp_task_table_of(out, columns, sizeof columns / sizeof *columns));
    out->name = "steps";
    out->row_count = xp_evaluation_forecasts(evaluation)->horizon;
    out->fill = fill_step;
    return XP_OK;
}

/* Window, row of the data, its time and step; for each column forecast, truth and the forecast to beat. */
static void fill_answer(const xp_evaluation *evaluation, int64_t row, xp_task_cell *cells) {
    xp_forecasts *own = evaluation->own;
    const int64_t sample = row / own->horizon, step = row % own->horizon;
    int next = 0;
    cells[next++].whole = own->rows[sample] - own->context;
    cells[next++].whole = own->rows[sample] + step;
    if (own->times.count > 0) {
        const bool known = xp_times_write(&own->times, own->rows[sample] + step, own->time, sizeof own->time);
        cells[next++].text = known ? own->time : NULL;
    }
    cells[next++].whole = step + 1;
    for (int c = 0; c < own->columns; c++) {
        const int64_t at = row * own->columns + c;
        cells[next++].real = evaluation->answers[at];
        cells[next++].real = own->values[at];
        cells[next++].real = own->naive[at];
    }
}

static xp_status list(const xp_evaluation *evaluation, xp_task_table *out) {
    static const char *const words[] = {"predicted", "true", "naive"};
    static const xp_task_column places[] = {{"sample", NULL, XP_TASK_WHOLE},
                                            {"row", NULL, XP_TASK_WHOLE},
                                            {"time", NULL, XP_TASK_TEXT},
                                            {"step", NULL, XP_TASK_WHOLE}};
    const xp_forecasts *own = evaluation->own;
    const bool timed = own->times.count > 0;
    XP_TRY(xp_task_table_create(out, 3 + timed + 3 * own->columns));
    out->row_count = evaluation->count * own->horizon;
    out->fill = fill_answer;
    xp_status status = XP_OK;
    for (int i = 0; i < 4 && status == XP_OK; i++)
        if (timed || places[i].kind != XP_TASK_TEXT) status = xp_task_table_column(out, &places[i]);
    for (int i = 0; i < 3 * own->columns && status == XP_OK; i++)
        status = xp_numbers_add_column(out, words[i % 3], own->columns, own->names, i / 3);
    if (status != XP_OK) xp_task_table_release(out);
    return status;
}

/* ---- the row ----------------------------------------------------------------------------------------------------- */

const xp_task xp_forecasting = {
    .name = "forecasting",
    .takes = takes,
    .check = check,
    .describe = describe,
    .outputs = xp_numbers_outputs,
    .output_name = xp_numbers_output_name,
    .outputs_key = "targets",
    .names_key = "target_names",
    .has_targets = true,
    .restore = xp_numbers_restore,
    .build = build,
    .sums = {[XP_NUMBERS_SQUARES] = {"squared_error_sum"}, [XP_NUMBERS_ABSOLUTE] = {"absolute_error_sum"}},
    .sum_count = XP_NUMBERS_SUMS,
    .metrics = {[MSE] = {"mse", "", .scale = 1, .digits = 5, .significant = true, .highest = 1e300,
                         .value = xp_numbers_mean_square},
                [MAE] = {"mae", "", .scale = 1, .digits = 5, .significant = true, .highest = 1e300,
                         .value = xp_numbers_mean_absolute},
                [SKILL] = {"skill", "", .scale = 1, .digits = 4, .lowest = -1e300, .highest = 1, .value = unknown}},
    .metric_count = METRICS,
    .deciding = MSE,
    .higher_is_better = false,
    .open = open,
    .finish = finish,
    .release = release,
    .picture = "forecast.svg",
    .draw = xp_forecast_write,
    .report = report,
    .list = list,
};
