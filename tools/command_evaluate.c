/* expanse eval and expanse predict: a trained model's answers on a data set. */
#include "command.h"

#include "core/files.h"
#include "core/writer.h"
#include "live.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The flags that both commands have. */
typedef struct evaluate_flags {
    const char *data, *part, *device, *family;
    long limit, batch;
    bool quiet;
} evaluate_flags;

static int answer(const char *model, const evaluate_flags *given, bool in_order, xp_evaluation *out) {
    const xp_evaluate_options options = {.data = given->data,
                                         .part = given->part,
                                         .device = given->device,
                                         .family = given->family,
                                         .limit = given->limit,
                                         .in_order = in_order,
                                         .batch = (int)given->batch};
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
        return xp_command_misuse("name one run folder: expanse %s RUN --data FILE", command);
    }
    if (!given->data) return xp_command_misuse("data are missing: give --data FILE");
    if (given->part && strcmp(given->part, "train") != 0 && strcmp(given->part, "test") != 0) {
        return xp_command_misuse("--part: '%s' is neither train nor test", given->part);
    }
    if (given->batch > 65536) return xp_command_misuse("--batch: %ld is more than 65536", given->batch);
    return XP_EXIT_OK;
}

#define SHARED_FLAGS(given, limit_help)                                                                                \
    {"--data", "FILE", "the data set", .text = &(given).data},                                                         \
        {"--part", "PART", "train or test, of a folder of IDX files (test)", .text = &(given).part},                   \
        {"--device", "D", "id of 'expanse devices', part of a name, gpu or cpu", .text = &(given).device},             \
        {"--family", "F", "shape of the kernels: auto, wide (CPU), tiled (GPU)", .text = &(given).family},             \
        {"--batch", "N", "samples a step (as in training)", .number = &(given).batch},                                 \
        {"--limit", "N", limit_help, .number = &(given).limit}, {                                                      \
        "--quiet", NULL, "no live line", .on = &(given).quiet                                                          \
    }

/* --- eval --------------------------------------------------------------------------------------------------------- */

static void print_table(const xp_evaluation *evaluation) {
    int width = 5;
    for (int i = 0; i < evaluation->classes; i++) {
        int length = (int)strlen(evaluation->class_names[i]);
        if (length > width) width = length < 32 ? length : 32;
    }
    printf("accuracy %.2f %%, loss %.4f, %lld samples\n\n", 100 * evaluation->accuracy, evaluation->loss,
           (long long)evaluation->count);
    printf("%-*s  samples  precision  recall      F1\n", width, "class");
    for (int i = 0; i < evaluation->classes; i++) {
        xp_class_metrics metrics;
        xp_evaluation_class(evaluation, i, &metrics);
        printf("%-*.*s %8lld %8.2f %% %6.2f %% %6.2f %%\n", width, width, evaluation->class_names[i],
               (long long)metrics.support, 100 * metrics.precision, 100 * metrics.recall, 100 * metrics.score);
    }
}

int xp_command_eval(int count, char **words) {
    evaluate_flags given = {0};
    const xp_flag flags[] = {SHARED_FLAGS(given, "take only N samples, equally many of each class")};
    const xp_usage usage = {.name = "eval",
                            .synopsis = "RUN --data FILE [flags]",
                            .description = "Prints accuracy and a table of the classes. RUN is a run folder (its best "
                                           "weights are taken) or\none of its folders best/ and last/.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof *flags,
                            .words = "RUN"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    code = check_words("eval", &arguments, &given);
    if (code != XP_EXIT_OK) return code;
    xp_evaluation evaluation;
    code = answer(arguments.words[0], &given, false, &evaluation);
    if (code != XP_EXIT_OK) return code;
    if (evaluation.labels) {
        print_table(&evaluation);
    } else {
        xp_fail(XP_BAD_DATA, "%s: has no class labels to compare with; expanse predict gives the answers", given.data);
        code = xp_command_fail();
    }
    xp_evaluation_release(&evaluation);
    return code;
}

/* --- predict ------------------------------------------------------------------------------------------------------ */

/* RFC 4180: a field with a comma, quote or line end stands in quotes, quotes inside are doubled. */
static void write_field(xp_writer *out, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        xp_write(out, "%s", text);
        return;
    }
    xp_write(out, "\"");
    for (const char *at = text; *at; at++) xp_write(out, *at == '"' ? "\"\"" : "%c", *at);
    xp_write(out, "\"");
}

static void write_answers(xp_writer *out, const xp_evaluation *evaluation) {
    xp_write(out, "sample,predicted%s", evaluation->labels ? ",true" : "");
    for (int c = 0; c < evaluation->classes; c++) {
        xp_writer name = {0};
        xp_write(&name, "probability %s", evaluation->class_names[c]);
        xp_write(out, ",");
        write_field(out, name.text ? name.text : "");
        out->failed = out->failed || name.failed;
        xp_writer_release(&name);
    }
    xp_write(out, "\r\n");
    for (int64_t i = 0; i < evaluation->count; i++) {
        xp_write(out, "%lld,", (long long)i);
        write_field(out, evaluation->class_names[evaluation->predictions[i]]);
        if (evaluation->labels) {
            xp_write(out, ",");
            write_field(out, evaluation->class_names[evaluation->labels[i]]);
        }
        for (int c = 0; c < evaluation->classes; c++) {
            xp_write(out, ",%.9g", (double)evaluation->probabilities[i * evaluation->classes + c]);
        }
        xp_write(out, "\r\n");
    }
}

static int save_answers(const xp_evaluation *evaluation, const char *path) {
    xp_writer out = {0};
    write_answers(&out, evaluation);
    xp_status status = xp_writer_status(&out, "answers");
    if (status == XP_OK && path) status = xp_writer_save(&out, path);
    if (status == XP_OK && !path && fwrite(out.text, 1, out.length, stdout) != out.length) {
        status = xp_fail(XP_IO_ERROR, "the answers could not be written to the output");
    }
    xp_writer_release(&out);
    return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
}

int xp_command_predict(int count, char **words) {
    evaluate_flags given = {0};
    const char *path = NULL;
    const xp_flag flags[] = {
        SHARED_FLAGS(given, "answer the first N samples only"),
        {"--out", "FILE", "CSV file, which must not exist yet; without it: the output", .text = &path}};
    const xp_usage usage = {
        .name = "predict",
        .synopsis = "RUN --data FILE [--out FILE.csv] [flags]",
        .description =
            "Writes one line for each sample: its number, the predicted class, the true class when the data\n"
            "have labels, and the probability of every class. RUN is a run folder (its best weights are\n"
            "taken) or one of its folders best/ and last/.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof *flags,
        .words = "RUN"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    code = check_words("predict", &arguments, &given);
    if (code != XP_EXIT_OK) return code;
    if (path && xp_path_exists(path)) {
        return xp_command_misuse("%s: exists already, and nothing is overwritten; choose another --out", path);
    }
    xp_evaluation evaluation;
    code = answer(arguments.words[0], &given, true, &evaluation);
    if (code != XP_EXIT_OK) return code;
    code = save_answers(&evaluation, path);
    xp_evaluation_release(&evaluation);
    if (code == XP_EXIT_OK && path && !given.quiet) fprintf(stderr, "answers in %s\n", path);
    return code;
}
