/* expanse eval and expanse predict: a trained model's answers on a data set. */
#include "command.h"

#include "core/files.h"
#include "live.h"
#include "table.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The flags that both commands have. */
typedef struct evaluate_flags {
    const char *data, *part, *device, *family;
    long limit, batch, windows, season;
    int format;
    bool quiet, trust_code;
} evaluate_flags;

/* eval judges the answers; predict gives them in the order of the data. */
static int answer(const char *model, const evaluate_flags *given, bool judged, xp_evaluation *out) {
    const xp_evaluate_options options = {.data = given->data,
                                         .part = given->part,
                                         .device = given->device,
                                         .family = given->family,
                                         .limit = given->limit,
                                         .windows = given->windows,
                                         .season = (int)given->season,
                                         .in_order = !judged,
                                         .judged = judged,
                                         .batch = (int)given->batch,
                                         .trust_code = given->trust_code};
    xp_live live;
    xp_trainer_callbacks callbacks = {0};
    xp_live_start(&live, stderr, given->quiet); /* stdout belongs to the answers */
    xp_live_bind(&live, &callbacks);
    xp_status status = xp_evaluate(model, &options, &callbacks, out);
    xp_live_clear(&live);
    return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
}

static int check_words(const char *command, const xp_arguments *arguments, const evaluate_flags *given) {
    if (arguments->word_count != 1) {
        return xp_command_misuse("give one run folder: expanse %s RUN --data FILE", command);
    }
    if (!given->data) return xp_command_misuse("no data: give --data FILE");
    return XP_EXIT_OK;
}

#define SHARED_FLAGS(given, limit_help)                                                                                \
    {"--data", "FILE", "the data set; -: standard input (required)", .text = &(given).data},                           \
        XP_PART_FLAG(&(given).part), XP_DEVICE_FLAG(&(given).device), XP_FAMILY_FLAG(&(given).family),                 \
        {"--batch", "N", "samples per step (as in training)", .number = &(given).batch, .highest = 65536},             \
        {"--limit", "N", limit_help, .number = &(given).limit},                                                        \
        {"--season", "N", "forecasting: steps of another season, whose last one is repeated (as in training)",         \
         .number = &(given).season, .highest = 1 << 24},                                                               \
        XP_TRUST_FLAG(&(given).trust_code), {                                                                          \
        "--quiet", NULL, "no progress line", .on = &(given).quiet                                                      \
    }

/* --- tables of a task --------------------------------------------------------------------------------------------- */

/* Prints what a task gives as a table; `head` adds the lines above the rows; NULL: none. */
static xp_status print_rows(const xp_evaluation *evaluation, const xp_task_table *rows, FILE *out,
                            xp_table_format format, void (*head)(xp_table *table, const void *user), const void *user) {
    static const xp_cell_kind kinds[] = {
        [XP_TASK_TEXT] = XP_CELL_TEXT, [XP_TASK_WHOLE] = XP_CELL_WHOLE, [XP_TASK_REAL] = XP_CELL_REAL};
    const int count = rows->column_count;
    xp_column *columns = calloc((size_t)count + 1, sizeof *columns);
    xp_cell *cells = calloc((size_t)count + 1, sizeof *cells);
    xp_task_cell *given = calloc((size_t)count + 1, sizeof *given);
    xp_status status =
        columns && cells && given ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for a table of %d columns", count);
    for (int i = 0; i < count && status == XP_OK; i++) {
        const xp_task_column *from = &rows->columns[i];
        columns[i] = (xp_column){.name = from->name,
                                 .title = from->title ? from->title : from->name,
                                 .kind = kinds[from->kind],
                                 .digits = from->digits,
                                 .significant = from->significant,
                                 .scale = from->scale};
    }
    if (status == XP_OK) {
        xp_table table;
        xp_table_open(&table, out, format, columns, count, rows->name);
        if (head) head(&table, user);
        for (int64_t row = 0; row < rows->row_count; row++) {
            rows->fill(evaluation, row, given);
            for (int i = 0; i < count; i++) {
                if (columns[i].kind == XP_CELL_TEXT) cells[i].text = given[i].text;
                if (columns[i].kind == XP_CELL_WHOLE) cells[i].whole = given[i].whole;
                if (columns[i].kind == XP_CELL_REAL) cells[i].real = given[i].real;
            }
            xp_table_row(&table, cells);
        }
        status = xp_table_close(&table, XP_OK);
    }
    free(given);
    free(cells);
    free(columns);
    return status;
}

/* --- eval --------------------------------------------------------------------------------------------------------- */

/* The lines above the rows. */
typedef struct report_head {
    const xp_evaluation *evaluation;
    const char *model, *data;
    xp_table_format format;
} report_head;

/* "accuracy     95.95 % on these data" */
static void print_metric(xp_table *table, int width, const xp_metric *metric, double value, const char *ending) {
    xp_table_fact_real(table, metric->name, value);
    char text[64];
    xp_metric_text(metric, value, text, sizeof text);
    xp_table_note(table, "%-*s %s%s", width, metric->name, text, ending);
}

static void print_head(xp_table *table, const void *user) {
    const report_head *head = user;
    const xp_evaluation *evaluation = head->evaluation;
    const xp_task *task = evaluation->task;
    int width = 12;
    for (int i = 0; i < task->metric_count; i++) {
        const int own = (int)strlen(task->metrics[i].name);
        width = own > width ? own : width;
    }
    xp_table_fact_text(table, "model", head->model);
    xp_table_fact_text(table, "weights", evaluation->weights);
    xp_table_fact_text(table, "data", head->data);
    xp_table_fact(table, "samples", json_integer(evaluation->count));
    xp_table_note(table, "%-*s %s, %lld samples", width, "data",
                  strcmp(head->data, "-") == 0 ? "standard input" : head->data, (long long)evaluation->count);
    xp_table_note(table, "%-*s of %s", width, "weights", evaluation->weights);
    print_metric(table, width, &task->metrics[task->deciding], evaluation->metrics[task->deciding], " on these data");
    for (int i = 0; i < task->metric_count; i++)
        if (i != task->deciding) print_metric(table, width, &task->metrics[i], evaluation->metrics[i], "");
    if (head->format == XP_TABLE_TEXT) xp_table_note(table, "%s", "");
}

static xp_status print_report(const xp_evaluation *evaluation, const char *model, const char *data,
                              xp_table_format format) {
    const report_head head = {evaluation, model, data, format};
    xp_task_table rows = {.name = "rows"};
    if (evaluation->task->report) XP_TRY(evaluation->task->report(evaluation, &rows));
    const xp_status status = print_rows(evaluation, &rows, stdout, format, print_head, &head);
    xp_task_table_release(&rows);
    return status;
}

int xp_command_eval(int count, char **words) {
    evaluate_flags given = {0};
    const xp_flag flags[] = {
        SHARED_FLAGS(
            given, "use only N samples: equally many of each class; of a text the first, of a table the latest (all)"),
        XP_TABLE_FORMAT_FLAG(&given.format)};
    const xp_usage usage = {.name = "eval",
                            .synopsis = "RUN --data FILE [flags]",
                            .description =
                                "Prints the accuracy on a data set and a table of the classes, or the errors of\n"
                                "predicted numbers. RUN is a run folder, of which the best weights are used, or\n"
                                "its folder best/ or last/. Data without labels, or with classes that the model\n"
                                "does not know, are rejected; use expanse predict for them.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof *flags,
                            .words = "RUN"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    code = check_words("eval", &arguments, &given);
    if (code != XP_EXIT_OK) return code;
    xp_evaluation evaluation;
    code = answer(arguments.words[0], &given, true, &evaluation);
    if (code != XP_EXIT_OK) return code;
    xp_status status = print_report(&evaluation, arguments.words[0], given.data, (xp_table_format)given.format);
    xp_evaluation_release(&evaluation);
    return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
}

/* --- predict ------------------------------------------------------------------------------------------------------ */

typedef struct answers {
    const xp_evaluation *evaluation;
    xp_table_format format;
} answers;

static xp_status write_to(FILE *out, const void *user) {
    const answers *a = user;
    xp_task_table rows;
    XP_TRY(a->evaluation->task->list(a->evaluation, &rows));
    const xp_status status = print_rows(a->evaluation, &rows, out, a->format, NULL, NULL);
    xp_task_table_release(&rows);
    return status;
}

int xp_command_predict(int count, char **words) {
    evaluate_flags given = {.format = XP_TABLE_CSV, .windows = 1};
    const char *path = NULL;
    const xp_flag flags[] = {
        SHARED_FLAGS(given, "use only the first N samples (all)"),
        {"--windows", "N", "of a table over time: forecasts of the latest N windows; 0: of all",
         .number = &given.windows},
        {"-o", "FORMAT", "text, md, csv or json (csv)", .choices = xp_table_formats, .choice = &given.format},
        {"--output", "FILE", "file for the predictions, which must not exist yet (standard output)", .text = &path}};
    const xp_usage usage = {
        .name = "predict",
        .synopsis = "RUN --data FILE [--output FILE.csv] [flags]",
        .description = "Writes one line per sample: its number, counted from 0 (of an image: its path), the\n"
                       "predicted class, the true class from the data, and the probability of each\n"
                       "class; of a regression, the predicted numbers and the true ones; of text, the\n"
                       "sample's first byte, its bits per byte and the accuracy of the likeliest byte.\n"
                       "Of a table over time, what comes after its last row, a line for each step: the\n"
                       "window's first row, the row, its time, where the table has a column of times,\n"
                       "the step, and for each column the forecast, the true value if it is known, and\n"
                       "the seasonal-naive forecast. With --windows 0 the forecasts of all windows.\n"
                       "Data without labels (in a .ts file, @classLabel false) have no column\n"
                       "of true classes. The true class may be one that the model does not\n"
                       "know. RUN is a run folder, of which the best weights are used, or its\n"
                       "folder best/ or last/.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof *flags,
        .words = "RUN",
        .example = "  generate-series | expanse predict runs/waves --data - --output predictions.csv\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    code = check_words("predict", &arguments, &given);
    if (code != XP_EXIT_OK) return code;
    if (path && xp_path_exists(path)) {
        return xp_command_misuse("%s: already exists and is not overwritten; choose another --output", path);
    }
    if (path && xp_file_can_be_made(path) != XP_OK) return xp_command_fail();
    xp_evaluation evaluation;
    code = answer(arguments.words[0], &given, false, &evaluation);
    if (code != XP_EXIT_OK) return code;
    const answers all = {&evaluation, (xp_table_format)given.format};
    xp_status status = path ? xp_table_save(path, write_to, &all) : write_to(stdout, &all);
    xp_evaluation_release(&evaluation);
    if (status != XP_OK) return xp_command_fail();
    if (path && !given.quiet) fprintf(stderr, "predictions in %s\n", path);
    return XP_EXIT_OK;
}
