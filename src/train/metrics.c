/* Evaluations: predictions, confusion, accuracy, loss. Owns their arithmetic; knows nothing of devices or files. */
#include "train/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *xp_judging_set(bool validation, bool test) {
    return validation ? "validation" : test ? "test" : "training";
}

const char *xp_epoch_judge(const xp_epoch_row *row, double *accuracy) {
    const bool validation = isfinite(row->validation_accuracy), test = isfinite(row->test_accuracy);
    *accuracy = validation ? row->validation_accuracy : test ? row->test_accuracy : row->train_accuracy;
    return xp_judging_set(validation, test);
}

const char *xp_epoch_result(const xp_epoch_row *row, double *accuracy, double *loss) {
    const bool validation = isfinite(row->validation_accuracy), test = isfinite(row->test_accuracy);
    *accuracy = test ? row->test_accuracy : row->validation_accuracy;
    *loss = test ? row->test_loss : row->validation_loss;
    return test ? "test" : validation ? "validation" : NULL;
}

xp_status xp_evaluation_create(xp_evaluation *out, const xp_dataset *dataset) {
    size_t count = (size_t)dataset->count, classes = (size_t)dataset->classes;
    xp_evaluation made = {.count = dataset->count, .classes = dataset->classes, .unseen = dataset->unseen};
    const size_t names = classes + (size_t)dataset->unseen;
    made.class_names = calloc(names + 1, sizeof *made.class_names);
    made.predictions = calloc(count + 1, sizeof *made.predictions);
    made.probabilities = calloc(count * classes + 1, sizeof *made.probabilities);
    made.confusion = calloc(classes * classes + 1, sizeof *made.confusion);
    if (dataset->labels) made.labels = calloc(count + 1, sizeof *made.labels);
    bool whole = made.class_names && made.predictions && made.probabilities && made.confusion &&
                 (made.labels || !dataset->labels);
    for (size_t i = 0; whole && i < names; i++) {
        made.class_names[i] = strdup(dataset->class_names[i]);
        whole = made.class_names[i] != NULL;
    }
    if (!whole) {
        xp_evaluation_release(&made);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for the answers to %lld samples of %d classes",
                       (long long)dataset->count, dataset->classes);
    }
    if (dataset->labels) memcpy(made.labels, dataset->labels, count * sizeof *made.labels);
    *out = made;
    return XP_OK;
}

void xp_evaluation_finish(xp_evaluation *evaluation) {
    int classes = evaluation->classes;
    memset(evaluation->confusion, 0, (size_t)classes * (size_t)classes * sizeof *evaluation->confusion);
    int64_t right = 0, judged = 0;
    double loss = 0;
    for (int64_t i = 0; i < evaluation->count; i++) {
        const float *row = evaluation->probabilities + i * classes;
        int best = 0;
        for (int c = 1; c < classes; c++) {
            if (row[c] > row[best] || isnan(row[best])) best = c;
        }
        evaluation->predictions[i] = best;
        if (!evaluation->labels) continue;
        int label = evaluation->labels[i];
        if (label < 0 || label >= classes) continue;
        judged++;
        evaluation->confusion[(int64_t)label * classes + best]++;
        right += label == best;
        /* A probability that rounded to 0 must not make the mean infinite; a NaN must show (fmax would hide it). */
        loss -= log(row[label] < 1e-38f ? 1e-38f : row[label]);
    }
    evaluation->accuracy = judged > 0 ? (double)right / (double)judged : NAN;
    evaluation->loss = judged > 0 ? loss / (double)judged : NAN;
}

void xp_evaluation_class(const xp_evaluation *evaluation, int class_index, xp_class_metrics *out) {
    int classes = evaluation->classes;
    int64_t support = 0, predicted = 0;
    for (int c = 0; c < classes; c++) {
        support += evaluation->confusion[class_index * classes + c];
        predicted += evaluation->confusion[c * classes + class_index];
    }
    double right = (double)evaluation->confusion[class_index * classes + class_index];
    *out = (xp_class_metrics){.support = support};
    if (predicted > 0) out->precision = right / (double)predicted;
    if (support > 0) out->recall = right / (double)support;
    if (support + predicted > 0) out->score = 2 * right / (double)(support + predicted);
}

void xp_evaluation_release(xp_evaluation *evaluation) {
    const int names = evaluation->classes + evaluation->unseen;
    for (int i = 0; evaluation->class_names && i < names; i++) free(evaluation->class_names[i]);
    free(evaluation->class_names);
    free(evaluation->labels);
    free(evaluation->predictions);
    free(evaluation->probabilities);
    free(evaluation->confusion);
    *evaluation = (xp_evaluation){0};
}
