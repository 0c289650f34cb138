/* What all tasks share. */
#include "task/task.h"

#include "core/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table --------------------------------------------------------------------------------------------------- */

xp_status xp_task_open_data(const xp_task *task, const char *path, const char *part, xp_dataset **out) {
    return task && task->open_data ? task->open_data(out, path, part) : xp_dataset_open(out, path, part);
}

xp_status xp_task_for(const xp_dataset *training, const xp_task **out) {
    for (int i = 0; i < xp_task_count; i++) {
        if (!xp_tasks[i]->takes(training)) continue;
        *out = xp_tasks[i];
        return XP_OK;
    }
    return xp_fail(XP_UNSUPPORTED, "%s: no task can be learned from such data", training->name);
}

const xp_task *xp_task_find(const char *name) {
    for (int i = 0; i < xp_task_count; i++)
        if (strcmp(xp_tasks[i]->name, name) == 0) return xp_tasks[i];
    return NULL;
}

xp_status xp_task_named(const char *name, const xp_task **out) {
    *out = xp_task_find(name);
    if (*out) return XP_OK;
    char names[256] = "";
    for (int i = 0; i < xp_task_count; i++) xp_text_add(names, sizeof names, "%s%s", i ? ", " : "", xp_tasks[i]->name);
    return xp_fail(XP_INVALID_ARGUMENT, "data.task: '%s' is no task; there are %s", name, names);
}

bool xp_task_is_better(const xp_task *task, double value, double than) {
    return task->higher_is_better ? value > than : value < than;
}

int xp_task_metric_at(const xp_task *task, int place) {
    return place == 0 ? task->deciding : place <= task->deciding ? place - 1 : place;
}

void xp_metric_text(const xp_metric *metric, double value, char *text, size_t size) {
    *text = '\0';
    if (metric->significant)
        xp_text_add_number(text, size, metric->scale * value, metric->digits, false);
    else
        xp_text_add(text, size, "%.*f", metric->digits, metric->scale * value);
    xp_text_add(text, size, "%s", metric->unit);
}

void xp_task_measure(const xp_task *task, const double *sums, int64_t counted, double unit, double *out) {
    for (int i = 0; i < XP_TASK_METRICS; i++)
        out[i] = counted > 0 && i < task->metric_count ? task->metrics[i].value(sums, counted, unit) : NAN;
}

/* ---- evaluations ------------------------------------------------------------------------------------------------- */

xp_status xp_evaluation_create(xp_evaluation *out, const xp_task *task, const xp_dataset *dataset) {
    xp_evaluation made = {.task = task,
                          .count = dataset->count,
                          .outputs = task->answer_numbers ? task->answer_numbers : task->outputs(dataset)};
    for (int i = 0; i < XP_TASK_METRICS; i++) made.metrics[i] = NAN;
    made.answers = calloc((size_t)made.count * (size_t)made.outputs + 1, sizeof *made.answers);
    const xp_status status = made.answers ? task->open(&made, dataset) : XP_OUT_OF_MEMORY;
    if (status != XP_OK) {
        xp_evaluation_release(&made);
        if (status != XP_OUT_OF_MEMORY) return status;
        return xp_fail(status, "no memory for the answers to %lld samples", (long long)dataset->count);
    }
    *out = made;
    return XP_OK;
}

void xp_evaluation_finish(xp_evaluation *evaluation) {
    evaluation->task->finish(evaluation);
}

void xp_evaluation_release(xp_evaluation *evaluation) {
    if (evaluation->own) evaluation->task->release(evaluation);
    free(evaluation->answers);
    *evaluation = (xp_evaluation){0};
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

xp_status xp_task_table_create(xp_task_table *out, int columns) {
    *out = (xp_task_table){.column_count = columns, .columns = calloc((size_t)columns, sizeof *out->columns)};
    return out->columns ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for a table of %d columns", columns);
}

xp_status xp_task_table_column(xp_task_table *table, const xp_task_column *column) {
    int next = 0;
    while (next < table->column_count && table->columns[next].name) next++;
    table->columns[next] = *column;
    table->columns[next].name = strdup(column->name);
    return table->columns[next].name
               ? XP_OK
               : xp_fail(XP_OUT_OF_MEMORY, "no memory for a table of %d columns", table->column_count);
}

xp_status xp_task_table_of(xp_task_table *out, const xp_task_column *columns, int count) {
    XP_TRY(xp_task_table_create(out, count));
    xp_status status = XP_OK;
    for (int i = 0; i < count && status == XP_OK; i++) status = xp_task_table_column(out, &columns[i]);
    if (status != XP_OK) xp_task_table_release(out);
    return status;
}

void xp_task_table_release(xp_task_table *table) {
    for (int i = 0; table->columns && i < table->column_count; i++) free(table->columns[i].name);
    free(table->columns);
    *table = (xp_task_table){0};
}

/* ---- a model that learns ----------------------------------------------------------------------------------------- */

static xp_status add_loss(xp_learner *learner, const xp_task *task, const xp_task_options *options, bool training) {
    xp_graph *graph = learner->model.graph;
    xp_graph_scope(graph, "input");
    if (training) {
        learner->loss_gradient = xp_graph_input(graph, "loss_gradient", XP_F32, 1, (int64_t[]){1});
        if (!learner->loss_gradient) return XP_OUT_OF_MEMORY;
    }
    XP_TRY(task->build(learner, options, training));
    if (!training) return XP_OK;
    return xp_graph_differentiate(graph, 1, &learner->loss, &learner->loss_gradient, 0, NULL, NULL);
}

xp_status xp_learner_build(xp_learner *out, const xp_task *task, const xp_model_config *config,
                           const xp_model_shape *shape, const xp_task_options *options, xp_store *store,
                           bool training) {
    *out = (xp_learner){.labels = NULL};
    XP_TRY(xp_model_build(&out->model, config, shape, store, training));
    const xp_status status = add_loss(out, task, options, training);
    if (status != XP_OK) xp_learner_release(out);
    return status;
}

void xp_learner_release(xp_learner *learner) {
    xp_model_release(&learner->model);
    *learner = (xp_learner){.labels = NULL};
}
