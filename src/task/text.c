/* The row of the text task: the mean loss of the bytes of each sample. */
#include "task/text.h"

#include "ops/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOSS, BITS, ACCURACY, METRICS };
enum { LOSS_SUM = XP_TALLY_LOSS, RIGHT = XP_TALLY_SCORE, SUMS };
enum { ANSWER_LOSS, ANSWER_RIGHT, ANSWERS }; /* means over the bytes of a sample */

/* ---- data -------------------------------------------------------------------------------------------------------- */

static bool takes(const xp_dataset *training) {
    return training->kind == &xp_text_kind;
}

static xp_status open_data(xp_dataset **out, const char *path, const char *part) {
    (void)part;
    return xp_dataset_open_text(out, path);
}

static xp_status check(const xp_dataset *dataset, const char *path, xp_data_use use) {
    (void)dataset;
    (void)path;
    (void)use;
    return XP_OK;
}

static void describe(const xp_dataset *dataset, xp_writer *out) {
    xp_write(out, ", %.4g MB of text", (double)(dataset->count * dataset->length) * 1e-6);
}

static int outputs(const xp_dataset *training) {
    return training->kind->symbols;
}

static const char *output_name(const xp_dataset *training, int output) {
    static _Thread_local char name[12];
    (void)training;
    snprintf(name, sizeof name, "%d", output);
    return name;
}

/* A model's bytes are those of every text. */
static void restore(xp_dataset *header, int count, char **names) {
    (void)header;
    (void)count;
    (void)names;
}

/* ---- the loss ---------------------------------------------------------------------------------------------------- */

/* The mean of values [B·N] over the bytes of each sample, [B,1]. */
static xp_tensor *mean_of_samples(xp_graph *graph, xp_tensor *values, int64_t batch, int64_t length) {
    return xp_sequence_pool(graph, xp_graph_reshape(graph, values, 3, (int64_t[]){batch, length, 1}), NULL,
                            XP_POOL_MEAN);
}

/* One weight for each byte: the labels of the samples that do not count are none. */
static xp_tensor *ones(xp_graph *graph, int64_t rows) {
    float *values = malloc((size_t)rows * sizeof *values);
    if (!values) {
        xp_fail(XP_OUT_OF_MEMORY, "no memory for %lld weights", (long long)rows);
        return NULL;
    }
    for (int64_t r = 0; r < rows; r++) values[r] = 1;
    xp_tensor *tensor = xp_graph_constant(graph, "ones", XP_F32, 1, &rows, values);
    free(values);
    return tensor;
}

static xp_status build(xp_learner *learner, const xp_task_options *options, bool training) {
    const xp_model *model = &learner->model;
    xp_graph *graph = model->graph;
    const int64_t batch = model->input->shape[0], length = model->input->shape[1] - 1, rows = batch * length;
    xp_graph_scope(graph, "loss");
    xp_tensor *labels = xp_tokens(graph, model->input, model->weights, 1, length);
    xp_tensor *weights = ones(graph, rows), *losses = NULL, *right = NULL, *counted = NULL;
    const float smoothing = training ? (float)options->label_smoothing : 0;
    learner->loss = xp_cross_entropy(graph, model->output, xp_graph_reshape(graph, labels, 1, &rows), weights,
                                     smoothing, NULL, &losses);
    if (!learner->loss) return XP_INVALID_ARGUMENT;
    XP_TRY(xp_cross_entropy_correct(graph, losses, &right, &counted));
    xp_tensor *loss = mean_of_samples(graph, losses, batch, length);
    right = mean_of_samples(graph, right, batch, length);
    counted = mean_of_samples(graph, counted, batch, length);
    learner->tally =
        xp_tally_samples(graph, xp_graph_reshape(graph, loss, 1, &batch), xp_graph_reshape(graph, right, 1, &batch),
                         xp_graph_reshape(graph, counted, 1, &batch), model->weights);
    learner->answers = xp_graph_tensor(graph, "answers", XP_F32, 2, (int64_t[]){batch, ANSWERS});
    if (!learner->tally || !learner->answers) return XP_INVALID_ARGUMENT;
    const int64_t stride[] = {ANSWERS, 1};
    if (!xp_graph_write_into(graph, loss, learner->answers, ANSWER_LOSS, stride) ||
        !xp_graph_write_into(graph, right, learner->answers, ANSWER_RIGHT, stride))
        return XP_OUT_OF_MEMORY;
    learner->answers->keep = learner->tally->keep = true;
    return XP_OK;
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

static double mean_loss(const double *sums, int64_t counted, double unit) {
    return sums[LOSS_SUM] / (double)counted;
}

static double bits(const double *sums, int64_t counted, double unit) {
    return mean_loss(sums, counted, unit) / log(2);
}

static double accuracy(const double *sums, int64_t counted, double unit) {
    return sums[RIGHT] / (double)counted;
}

/* ---- evaluations ------------------------------------------------------------------------------------------------- */

typedef struct text_answers {
    int64_t first, step; /* of the samples in the text */
} text_answers;

static xp_status open(xp_evaluation *evaluation, const xp_dataset *dataset) {
    text_answers *own = malloc(sizeof *own);
    if (!own) return XP_OUT_OF_MEMORY;
    *own = (text_answers){dataset->first, dataset->step};
    evaluation->own = own;
    return XP_OK;
}

static void finish(xp_evaluation *evaluation) {
    double sums[SUMS] = {0};
    for (int64_t i = 0; i < evaluation->count; i++) {
        sums[LOSS_SUM] += (double)evaluation->answers[i * ANSWERS + ANSWER_LOSS];
        sums[RIGHT] += (double)evaluation->answers[i * ANSWERS + ANSWER_RIGHT];
    }
    xp_task_measure(evaluation->task, sums, evaluation->count, 1, evaluation->metrics);
}

static void release(xp_evaluation *evaluation) {
    free(evaluation->own);
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void fill_answer(const xp_evaluation *evaluation, int64_t row, xp_task_cell *cells) {
    const text_answers *own = evaluation->own;
    const float *answer = evaluation->answers + row * ANSWERS;
    cells[0].whole = row;
    cells[1].whole = own->first + row * own->step;
    cells[2].real = (double)answer[ANSWER_LOSS] / log(2);
    cells[3].real = (double)answer[ANSWER_RIGHT];
}

static xp_status list(const xp_evaluation *evaluation, xp_task_table *out) {
    static const xp_task_column columns[] = {{"sample", NULL, XP_TASK_WHOLE},
                                             {"first_byte", "first byte", XP_TASK_WHOLE},
                                             {"bits_per_byte", "bits per byte", XP_TASK_REAL, .digits = 6},
                                             {"accuracy", NULL, XP_TASK_REAL, .digits = 6}};
    XP_TRY(xp_task_table_of(out, columns, sizeof columns / sizeof *columns));
    out->row_count = evaluation->count;
    out->fill = fill_answer;
    return XP_OK;
}

/* ---- the row ----------------------------------------------------------------------------------------------------- */

const xp_task xp_text = {
    .name = "text",
    .takes = takes,
    .open_data = open_data,
    .check = check,
    .describe = describe,
    .outputs = outputs,
    .output_name = output_name,
    .outputs_key = "symbols",
    .names_key = "symbol_names",
    .restore = restore,
    .build = build,
    .answer_numbers = ANSWERS,
    .sums = {[LOSS_SUM] = {"loss_sum"}, [RIGHT] = {"right_sum"}},
    .sum_count = SUMS,
    .metrics = {[LOSS] = {"loss", "", .scale = 1, .digits = 4, .highest = 1e300, .value = mean_loss},
                [BITS] = {"bits_per_byte", "", .scale = 1, .digits = 4, .highest = 1e300, .value = bits},
                [ACCURACY] = {"accuracy", " %", .scale = 100, .digits = 2, .highest = 1, .value = accuracy}},
    .metric_count = METRICS,
    .deciding = BITS,
    .higher_is_better = false,
    .open = open,
    .finish = finish,
    .release = release,
    .list = list,
};
