/* expanse eval and expanse predict: a trained model's answers on a data set. */
#include "command.h"

#include "core/files.h"
#include "core/writer.h"
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
    long limit, batch;
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
        {"--limit", "N", limit_help, .number = &(given).limit}, XP_TRUST_FLAG(&(given).trust_code), {                  \
        "--quiet", NULL, "no progress line", .on = &(given).quiet                                                      \
    }

/* --- eval --------------------------------------------------------------------------------------------------------- */

static xp_status print_table(const xp_evaluation *evaluation, const char *model, const char *data,
                             xp_table_format format) {
    static const xp_column columns[] = {{"class", "class", XP_CELL_TEXT},
                                        {"samples", "samples", XP_CELL_WHOLE},
                                        {"precision", "precision %", XP_CELL_REAL, .digits = 2, .scale = 100},
                                        {"recall", "recall %", XP_CELL_REAL, .digits = 2, .scale = 100},
                                        {"f1", "F1 %", XP_CELL_REAL, .digits = 2, .scale = 100}};
    xp_table table;
    xp_table_open(&table, stdout, format, columns, sizeof columns / sizeof *columns, "classes");
    xp_table_fact_text(&table, "model", model);
    xp_table_fact_text(&table, "weights", evaluation->weights);
    xp_table_fact_text(&table, "data", data);
    xp_table_fact(&table, "samples", json_integer(evaluation->count));
    xp_table_fact_real(&table, "accuracy", evaluation->accuracy);
    xp_table_fact_real(&table, "loss", evaluation->loss);
    xp_table_note(&table, "data         %s, %lld samples", strcmp(data, "-") == 0 ? "standard input" : data,
                  (long long)evaluation->count);
    xp_table_note(&table, "weights      of %s", evaluation->weights);
    xp_table_note(&table, "accuracy     %.2f %% on these data", 100 * evaluation->accuracy);
    xp_table_note(&table, "loss         %.4f", evaluation->loss);
    if (format == XP_TABLE_TEXT) xp_table_note(&table, "%s", "");
    for (int i = 0; i < evaluation->classes; i++) {
        xp_class_metrics metrics;
        xp_evaluation_class(evaluation, i, &metrics);
        xp_table_row(&table, (xp_cell[]){{.text = evaluation->class_names[i]},
                                         {.whole = metrics.support},
                                         {.real = metrics.precision},
                                         {.real = metrics.recall},
                                         {.real = metrics.score}});
    }
    return xp_table_close(&table, XP_OK);
}

int xp_command_eval(int count, char **words) {
    evaluate_flags given = {0};
    const xp_flag flags[] = {SHARED_FLAGS(given, "use only N samples, equally many of each class (all)"),
                             XP_TABLE_FORMAT_FLAG(&given.format)};
    const xp_usage usage = {.name = "eval",
                            .synopsis = "RUN --data FILE [flags]",
                            .description =
                                "Prints the accuracy on a data set and a table of the classes. RUN is a run folder,\n"
                                "of which the best weights are used, or its folder best/ or last/. Data without\n"
                                "labels, or with classes that the model does not know, are rejected; use expanse\n"
                                "predict for them.\n",
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
    xp_status status = print_table(&evaluation, arguments.words[0], given.data, (xp_table_format)given.format);
    xp_evaluation_release(&evaluation);
    return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
}

/* --- predict ------------------------------------------------------------------------------------------------------ */

/* The class that the data say; empty: they say none. */
static const char *true_class(const xp_evaluation *evaluation, int64_t sample) {
    const int label = evaluation->labels[sample];
    return label < 0 ? "" : evaluation->class_names[label];
}

/* Columns: number, predicted class, true class where there are labels, probability of each class. */
static xp_status write_answers(const xp_evaluation *evaluation, xp_table_format format, FILE *out) {
    enum { FIRST = 3 };
    const int classes = evaluation->classes;
    xp_column *columns = calloc((size_t)classes + FIRST, sizeof *columns);
    xp_cell *cells = calloc((size_t)classes + FIRST, sizeof *cells);
    xp_writer *names = calloc((size_t)classes, sizeof *names);
    xp_status status = columns && cells && names ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for the predictions");
    for (int c = 0; c < classes && status == XP_OK; c++) {
        xp_write(&names[c], "probability %s", evaluation->class_names[c]);
        status = xp_writer_status(&names[c], "answers");
        columns[FIRST + c] = (xp_column){names[c].text, names[c].text, XP_CELL_REAL, .digits = 6};
    }
    if (status == XP_OK) {
        const bool labels = evaluation->labels != NULL;
        xp_table table;
        columns[0] = (xp_column){"sample", "sample", XP_CELL_WHOLE};
        columns[1] = (xp_column){"predicted", "predicted", XP_CELL_TEXT};
        columns[2] = (xp_column){labels ? "true" : NULL, labels ? "true" : NULL, XP_CELL_TEXT};
        xp_table_open(&table, out, format, columns, FIRST + classes, NULL);
        for (int64_t i = 0; i < evaluation->count; i++) {
            cells[0].whole = i;
            cells[1].text = evaluation->class_names[evaluation->predictions[i]];
            cells[2].text = labels ? true_class(evaluation, i) : NULL;
            for (int c = 0; c < classes; c++) cells[FIRST + c].real = evaluation->probabilities[i * classes + c];
            xp_table_row(&table, cells);
        }
        status = xp_table_close(&table, XP_OK);
    }
    for (int c = 0; c < classes && names; c++) xp_writer_release(&names[c]);
    free(names);
    free(cells);
    free(columns);
    return status;
}

typedef struct answers {
    const xp_evaluation *evaluation;
    xp_table_format format;
} answers;

static xp_status write_to(FILE *out, const void *user) {
    const answers *a = user;
    return write_answers(a->evaluation, a->format, out);
}

int xp_command_predict(int count, char **words) {
    evaluate_flags given = {.format = XP_TABLE_CSV};
    const char *path = NULL;
    const xp_flag flags[] = {
        SHARED_FLAGS(given, "use only the first N samples (all)"),
        {"-o", "FORMAT", "text, md, csv or json (csv)", .choices = xp_table_formats, .choice = &given.format},
        {"--output", "FILE", "file for the predictions, which must not exist yet (standard output)", .text = &path}};
    const xp_usage usage = {.name = "predict",
                            .synopsis = "RUN --data FILE [--output FILE.csv] [flags]",
                            .description = "Writes one line per sample: its number, counted from 0, the predicted "
                                           "class, the true class from the data, and the probability of each class.\n"
                                           "Data without labels (in a .ts file, @classLabel false) have no column\n"
                                           "of true classes. The true class may be one that the model does not\n"
                                           "know. RUN is a run folder, of which the best weights are used, or its\n"
                                           "folder best/ or last/.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof *flags,
                            .words = "RUN",
                            .example =
                                "  generate-series | expanse predict runs/waves --data - --output predictions.csv\n"};
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
