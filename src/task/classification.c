/* The row of classification, and the arithmetic of accuracy, precision and recall. */
#include "task/classification.h"

#include "core/files.h"
#include "core/text.h"
#include "ops/ops.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOSS, ACCURACY, METRICS };
enum { LOSS_SUM = XP_TALLY_LOSS, CORRECT = XP_TALLY_SCORE, SUMS };

/* ---- data -------------------------------------------------------------------------------------------------------- */

/* The check rejects data with samples without a class. */
static bool takes(const xp_dataset *training) {
    return !training->kind->continues;
}

/* A folder of images may have been given with one more around it. */
static xp_status reject_one_class(const xp_dataset *dataset, const char *path) {
    const char *name = dataset->class_names[0];
    char inner[4400], hint[4600] = "";
    snprintf(inner, sizeof inner, "%s/%s", path, name);
    if (xp_path_exists(inner)) snprintf(hint, sizeof hint, "; if that folder holds the classes, give %s", inner);
    return xp_fail(XP_BAD_DATA, "%s: its only class is '%s', but a classifier needs two or more%s", path, name, hint);
}

static xp_status check(const xp_dataset *dataset, const char *path, xp_data_use use) {
    static const char *const consequences[] = {
        [XP_DATA_TRAINS] = "a classifier cannot be trained on it",
        [XP_DATA_TESTS] = "it cannot be used as test data, but expanse predict accepts it",
        [XP_DATA_JUDGES] = "there is no accuracy to compute, but expanse predict works"};
    if (xp_dataset_check_labels(dataset, path) != XP_OK)
        return xp_fail(XP_BAD_DATA, "%s: %s", xp_last_error(), consequences[use]);
    if (use == XP_DATA_TRAINS && dataset->classes == 1) return reject_one_class(dataset, path);
    return XP_OK;
}

/* The mean over the samples is 1. A class without a sample has no influence. */
static void balance(const xp_dataset *training, double *weights) {
    int present = 0;
    memset(weights, 0, (size_t)training->classes * sizeof *weights);
    for (int64_t i = 0; i < training->count; i++) present += weights[training->labels[i]]++ == 0;
    for (int c = 0; c < training->classes; c++)
        weights[c] = weights[c] > 0 ? (double)training->count / (present * weights[c]) : 1;
}

static xp_status weigh(const xp_dataset *training, const char *text, double *weights) {
    const char *at = text;
    if (strcmp(text, "balanced") == 0) {
        balance(training, weights);
        return XP_OK;
    }
    for (int c = 0; c < training->classes; c++) {
        const bool last = c + 1 == training->classes;
        size_t length = 0;
        if (xp_text_number(at, &weights[c], &length) != XP_OK || length == 0 || at[length] != (last ? '\0' : ','))
            return xp_fail(XP_INVALID_ARGUMENT,
                           "'%s' is not none, balanced, or a number for each of the %d classes, separated by commas",
                           text, training->classes);
        if (!(weights[c] > 0 && weights[c] <= 1e6))
            return xp_fail(XP_INVALID_ARGUMENT, "the weight %g of the class '%s' is not above 0 and at most 1000000",
                           weights[c], training->class_names[c]);
        at += length + 1;
    }
    return XP_OK;
}

static void describe(const xp_dataset *dataset, xp_writer *out) {
    xp_write(out, ", %d classes", dataset->classes);
}

static int outputs(const xp_dataset *training) {
    return training->classes;
}

static const char *output_name(const xp_dataset *training, int output) {
    return training->class_names[output];
}

static void restore(xp_dataset *header, int count, char **names) {
    header->classes = count;
    header->class_names = names;
}

/* ---- the loss ---------------------------------------------------------------------------------------------------- */

static xp_status build(xp_learner *learner, const xp_task_options *options, bool training) {
    const xp_model *model = &learner->model;
    xp_graph *graph = model->graph;
    const bool shares = training && options->shares;
    learner->labels = shares ? xp_graph_input(graph, "shares", XP_F32, 2, model->output->shape)
                             : xp_graph_input(graph, "labels", XP_I32, 1, model->output->shape);
    if (!learner->labels) return XP_OUT_OF_MEMORY;
    xp_graph_scope(graph, "loss");
    xp_tensor *losses = NULL, *correct = NULL, *counted = NULL;
    const float smoothing = training ? (float)options->label_smoothing : 0;
    learner->loss =
        xp_cross_entropy(graph, model->output, learner->labels, model->weights, smoothing, &learner->answers, &losses);
    if (!learner->loss) return XP_INVALID_ARGUMENT;
    XP_TRY(xp_cross_entropy_correct(graph, losses, &correct, &counted));
    learner->tally = xp_tally_samples(graph, losses, correct, counted, model->weights);
    if (!learner->tally) return XP_INVALID_ARGUMENT;
    learner->answers->keep = learner->tally->keep = true;
    return XP_OK;
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

static double mean_loss(const double *sums, int64_t counted, double unit) {
    return sums[LOSS_SUM] / (double)counted;
}

static double accuracy(const double *sums, int64_t counted, double unit) {
    return sums[CORRECT] / (double)counted;
}

/* ---- evaluations ------------------------------------------------------------------------------------------------- */

const xp_classes *xp_evaluation_classes(const xp_evaluation *evaluation) {
    return evaluation->own;
}

static void release(xp_evaluation *evaluation) {
    xp_classes *own = evaluation->own;
    for (int i = 0; own->names && i < own->classes + own->unseen; i++) free(own->names[i]);
    free(own->names);
    for (int64_t i = 0; own->samples && i < evaluation->count; i++) free(own->samples[i]);
    free(own->samples);
    free(own->labels);
    free(own->predictions);
    free(own->confusion);
    free(own);
}

/* Copies the names of the samples' files, if they have any. */
static xp_status copy_samples(xp_classes *own, const xp_dataset *dataset) {
    char name[PATH_MAX];
    if (dataset->count == 0 || !xp_dataset_name(dataset, 0, name, sizeof name)) return XP_OK;
    own->samples = calloc((size_t)dataset->count, sizeof *own->samples);
    for (int64_t i = 0; own->samples && i < dataset->count; i++) {
        xp_dataset_name(dataset, i, name, sizeof name);
        own->samples[i] = strdup(name);
        if (!own->samples[i]) return XP_OUT_OF_MEMORY;
    }
    return own->samples ? XP_OK : XP_OUT_OF_MEMORY;
}

static xp_status open(xp_evaluation *evaluation, const xp_dataset *dataset) {
    const size_t samples = (size_t)dataset->count, classes = (size_t)dataset->classes;
    const size_t names = classes + (size_t)dataset->unseen;
    xp_classes *own = calloc(1, sizeof *own);
    if (!own) return XP_OUT_OF_MEMORY;
    evaluation->own = own;
    *own = (xp_classes){.classes = dataset->classes, .unseen = dataset->unseen};
    own->names = calloc(names + 1, sizeof *own->names);
    own->predictions = calloc(samples + 1, sizeof *own->predictions);
    own->confusion = calloc(classes * classes + 1, sizeof *own->confusion);
    if (dataset->labels) own->labels = calloc(samples + 1, sizeof *own->labels);
    bool whole = own->names && own->predictions && own->confusion && (own->labels || !dataset->labels);
    for (size_t i = 0; whole && i < names; i++) {
        own->names[i] = strdup(dataset->class_names[i]);
        whole = own->names[i] != NULL;
    }
    if (!whole) return XP_OUT_OF_MEMORY;
    if (dataset->labels) memcpy(own->labels, dataset->labels, samples * sizeof *own->labels);
    return copy_samples(own, dataset);
}

/* A NaN is never the largest. */
static void finish(xp_evaluation *evaluation) {
    xp_classes *own = evaluation->own;
    const int classes = own->classes;
    memset(own->confusion, 0, (size_t)classes * (size_t)classes * sizeof *own->confusion);
    int64_t right = 0, judged = 0;
    double loss = 0;
    for (int64_t i = 0; i < evaluation->count; i++) {
        const float *row = evaluation->answers + i * classes;
        int best = 0;
        for (int c = 1; c < classes; c++) {
            if (row[c] > row[best] || isnan(row[best])) best = c;
        }
        own->predictions[i] = best;
        if (!own->labels) continue;
        const int label = own->labels[i];
        if (label < 0 || label >= classes) continue;
        judged++;
        own->confusion[(int64_t)label * classes + best]++;
        right += label == best;
        /* A probability that rounded to 0 must not make the mean infinite; a NaN must show (fmax would hide it). */
        loss -= log(row[label] < 1e-38f ? 1e-38f : row[label]);
    }
    evaluation->metrics[LOSS] = judged > 0 ? loss / (double)judged : NAN;
    evaluation->metrics[ACCURACY] = judged > 0 ? (double)right / (double)judged : NAN;
}

void xp_evaluation_class(const xp_evaluation *evaluation, int class_index, xp_class_metrics *out) {
    const xp_classes *own = evaluation->own;
    const int classes = own->classes;
    int64_t support = 0, predicted = 0;
    for (int c = 0; c < classes; c++) {
        support += own->confusion[class_index * classes + c];
        predicted += own->confusion[c * classes + class_index];
    }
    const double right = (double)own->confusion[class_index * classes + class_index];
    *out = (xp_class_metrics){.support = support};
    if (predicted > 0) out->precision = right / (double)predicted;
    if (support > 0) out->recall = right / (double)support;
    if (support + predicted > 0) out->score = 2 * right / (double)(support + predicted);
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void fill_class(const xp_evaluation *evaluation, int64_t row, xp_task_cell *cells) {
    xp_class_metrics metrics;
    xp_evaluation_class(evaluation, (int)row, &metrics);
    cells[0].text = xp_evaluation_classes(evaluation)->names[row];
    cells[1].whole = metrics.support;
    cells[2].real = metrics.precision;
    cells[3].real = metrics.recall;
    cells[4].real = metrics.score;
}

/* A row for each class. */
static xp_status report(const xp_evaluation *evaluation, xp_task_table *out) {
    static const xp_task_column columns[] = {{"class", NULL, XP_TASK_TEXT},
                                             {"samples", NULL, XP_TASK_WHOLE},
                                             {"precision", "precision %", XP_TASK_REAL, .digits = 2, .scale = 100},
                                             {"recall", "recall %", XP_TASK_REAL, .digits = 2, .scale = 100},
                                             {"f1", "F1 %", XP_TASK_REAL, .digits = 2, .scale = 100}};
    XP_TRY(xp_task_table_of(out, columns, sizeof columns / sizeof *columns));
    out->name = "classes";
    out->row_count = xp_evaluation_classes(evaluation)->classes;
    out->fill = fill_class;
    return XP_OK;
}

/* Number or file, predicted class, true class where there are labels, probability of each class. */
static void fill_answer(const xp_evaluation *evaluation, int64_t row, xp_task_cell *cells) {
    const xp_classes *own = evaluation->own;
    if (own->samples)
        cells[0].text = own->samples[row];
    else
        cells[0].whole = row;
    cells[1].text = own->names[own->predictions[row]];
    int next = 2;
    if (own->labels) cells[next++].text = own->labels[row] < 0 ? "" : own->names[own->labels[row]];
    for (int c = 0; c < own->classes; c++) cells[next++].real = evaluation->answers[row * own->classes + c];
}

static xp_status add_probability(const char *name, xp_task_table *out) {
    xp_writer title = {0};
    xp_write(&title, "probability %s", name);
    xp_status status = xp_writer_status(&title, "answers");
    if (status == XP_OK)
        status = xp_task_table_column(out, &(xp_task_column){title.text, NULL, XP_TASK_REAL, .digits = 6});
    xp_writer_release(&title);
    return status;
}

static xp_status list(const xp_evaluation *evaluation, xp_task_table *out) {
    static const xp_task_column sample = {"sample", NULL, XP_TASK_WHOLE}, file = {"sample", NULL, XP_TASK_TEXT},
                                predicted = {"predicted", NULL, XP_TASK_TEXT}, label = {"true", NULL, XP_TASK_TEXT};
    const xp_classes *own = evaluation->own;
    XP_TRY(xp_task_table_create(out, 2 + (own->labels != NULL) + own->classes));
    out->row_count = evaluation->count;
    out->fill = fill_answer;
    xp_status status;
    XP_TRY_OR(status, xp_task_table_column(out, own->samples ? &file : &sample), failed);
    XP_TRY_OR(status, xp_task_table_column(out, &predicted), failed);
    if (own->labels) XP_TRY_OR(status, xp_task_table_column(out, &label), failed);
    for (int c = 0; c < own->classes; c++) XP_TRY_OR(status, add_probability(own->names[c], out), failed);
    return XP_OK;
failed:
    xp_task_table_release(out);
    return status;
}

/* ---- the row ----------------------------------------------------------------------------------------------------- */

const xp_task xp_classification = {
    .name = "classification",
    .takes = takes,
    .check = check,
    .weigh = weigh,
    .describe = describe,
    .outputs = outputs,
    .output_name = output_name,
    .outputs_key = "classes",
    .names_key = "class_names",
    .restore = restore,
    .build = build,
    .sums = {[LOSS_SUM] = {"loss_sum"}, [CORRECT] = {"correct", .counts = true}},
    .sum_count = SUMS,
    .metrics = {[LOSS] = {"loss", "", .scale = 1, .digits = 4, .highest = 1e300, .value = mean_loss},
                [ACCURACY] = {"accuracy", " %", .scale = 100, .digits = 2, .highest = 1, .value = accuracy}},
    .metric_count = METRICS,
    .deciding = ACCURACY,
    .higher_is_better = true,
    .open = open,
    .finish = finish,
    .release = release,
    .picture = "confusion.svg",
    .draw = xp_confusion_write,
    .report = report,
    .list = list,
};
