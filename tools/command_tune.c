/* `expanse tune`: flags, the report of a search, import and export of tables. */
#include "child.h"
#include "command.h"
#include "signals.h"
#include "synthetic.h"
#include "table.h"
#include "tune.h"

#include "core/files.h"
#include "device/cache.h"
#include "device/tuning.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static xp_status copy_table(const char *from, const char *to, const char *what) {
    json_t *entries;
    XP_TRY(xp_tuning_read(from, false, &entries));
    const size_t count = json_array_size(entries);
    const xp_status status = xp_tuning_merge(to, entries);
    json_decref(entries);
    if (status == XP_OK) printf("%s: %zu entries from %s to %s\n", what, count, from, to);
    return status;
}

/* `expanse tune --trial DEFAULTS CANDIDATES ORDER STEPS …` */
static int run_trial(const xp_synthetic_setup *setup, const xp_device_options *options, char **words) {
    const xp_tune_order order = {.defaults = words[1],
                                 .candidates = strcmp(words[2], "-") == 0 ? NULL : words[2],
                                 .in_turn = strcmp(words[3], XP_TRIAL_IN_TURN) == 0,
                                 .steps = atoi(words[4])};
    xp_writer answer = {0};
    const xp_status status = xp_tune_trial(&setup->config, &setup->shape, options, &order, &answer);
    if (status != XP_OK) xp_child_explain();
    const bool sent = status == XP_OK && xp_child_answer(answer.text, answer.length);
    xp_writer_release(&answer);
    return sent ? XP_EXIT_OK : XP_EXIT_FAILURE;
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

/* The user of the search's callbacks. */
typedef struct report {
    xp_tune_children children;
    const char *output; /* the tuning table */
    bool quiet, text;   /* text: sentences go with the table of results */
    const char *clear;  /* on a terminal, what takes the line of progress away */
    xp_table table;
} report;

static void print_note(void *user, const char *text) {
    fprintf(stderr, "%s\n", text);
}

static void print_rejected(void *user, const char *kernel, const char *values, const char *reason) {
    const report *r = user;
    if (r->text) printf("%srejected: %s %s: %s\n", r->clear, kernel, values, reason);
}

static void print_progress(void *user, const xp_tune_progress *progress) {
    const report *r = user;
    if (!r->text || r->quiet) return;
    printf("%sround %d, %d rejected, %.0f s left: the step may fall to %.1f %%%s", r->clear, progress->rounds,
           progress->rejected, progress->seconds_left, 100 * progress->expected_ratio, *r->clear ? "" : "\n");
    fflush(stdout);
}

enum { COLUMNS = 10 };
static const xp_column columns[COLUMNS] = {
    {"kernel", "kernel", XP_CELL_TEXT},
    {"shape", "shape", XP_CELL_TEXT},
    {"share", "% of step", XP_CELL_REAL, .digits = 1, .scale = 100},
    {"searched", "searched", XP_CELL_TRUTH},
    {"default", "default", XP_CELL_TEXT},
    {"found", "faster", XP_CELL_TEXT},
    {"gain", "times as fast", XP_CELL_REAL, .digits = 2},
    {"gain_low", "from", XP_CELL_REAL, .digits = 2}, /* 95 % interval of the median */
    {"gain_high", "to", XP_CELL_REAL, .digits = 2},
    {"kept", "kept", XP_CELL_TRUTH},
};

static void add_row(void *user, const xp_tune_finding *finding) {
    report *r = user;
    const xp_interval *gain = &finding->gain;
    const bool found = finding->chosen != NULL;
    const xp_cell cells[COLUMNS] = {{.text = finding->kernel},
                                    {.text = finding->shape},
                                    {.real = finding->share},
                                    {.truth = finding->searched},
                                    {.text = finding->fallback},
                                    {.text = finding->chosen},
                                    {.real = found ? gain->median : NAN},
                                    {.real = found && isfinite(gain->low) ? gain->low : NAN},
                                    {.real = found && isfinite(gain->high) ? gain->high : NAN},
                                    {.truth = finding->kept}};
    xp_table_row(&r->table, cells);
}

static void print_conclusion(void *user, const xp_tune_conclusion *conclusion) {
    const report *r = user;
    if (!r->text) return;
    if (conclusion->written)
        printf("%s%d entries written to %s: a step with all candidates took %.1f %% of its time without them\n",
               r->clear, conclusion->written, r->output, 100 * conclusion->ratio);
    else
        printf("%snothing was written: %s\n", r->clear,
               conclusion->candidates ? "no gain is significant: every interval includes 1"
                                      : "nothing faster was found");
}

static int run_search(report *r, xp_table_format format, const xp_tune_options *options) {
    const xp_tune_callbacks callbacks = {.user = r,
                                         .trial = xp_tune_child_trial,
                                         .check = xp_tune_child_check,
                                         .note = print_note,
                                         .rejected = print_rejected,
                                         .progress = print_progress,
                                         .finding = add_row,
                                         .conclude = print_conclusion,
                                         .stop = &xp_signal_asked};
    int kept;
    xp_signals_hold(); /* the search removes what it has made */
    xp_table_open(&r->table, stdout, format, columns, COLUMNS, NULL);
    return xp_command_end(xp_table_close(&r->table, xp_tune_search(options, &callbacks, &kept)));
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

int xp_command_tune(int count, char **words) {
    xp_synthetic_flags model = XP_SYNTHETIC_NO_FLAGS;
    xp_synthetic_setup setup;
    const char *device = NULL, *family = NULL, *import_from = NULL, *output = NULL, *filter = NULL;
    long minutes = 10, timeout = 30, rounds = XP_TUNE_ROUNDS;
    int format = XP_TABLE_TEXT;
    bool export = false, quick = false, restart = false, quiet = false;
    const xp_flag flags[] = {
        XP_SYNTHETIC_FLAGS(model),
        XP_DEVICE_FLAG(&device),
        XP_FAMILY_FLAG(&family),
        {"--minutes", "N", "time limit of the search", .number = &minutes, .lowest = 1, .highest = 10080},
        {"--quick", NULL, "search for 15 seconds", .on = &quick},
        {"--rounds", "N", "largest number of rounds of candidates; 0: none", .number = &rounds},
        {"--filter", "REGEX", "only kernels whose name matches", .text = &filter},
        {"--timeout", "SECONDS",
         "time limit of a trial, without its steps; a trial that takes longer counts as hanging", .number = &timeout,
         .lowest = 1, .highest = 3600},
        XP_TABLE_FORMAT_FLAG(&format),
        {"--restart", NULL, "discard the results of earlier searches", .on = &restart},
        {"--quiet", NULL, "print only the result", .on = &quiet},
        {"--output", "FILE", "tuning table to write to (tuning.json in the cache folder)", .text = &output},
        {"--export", NULL, "copy the table in the cache folder to --output, and exit", .on = &export},
        {"--import", "FILE", "add a shared table to that of --output, and exit", .text = &import_from},
    };
    const xp_usage usage = {.name = "tune",
                            .synopsis = "[flags]",
                            .description = "Searches for the fastest parameters of each expensive kernel for the "
                                           "shapes of one model. It times whole training\n"
                                           "steps with candidates and with the defaults,\n"
                                           "in child processes, because a candidate may\n"
                                           "crash or hang. Winners are compared with the\n"
                                           "reference on ragged shapes and confirmed in\n"
                                           "nine pairs of steps, one with the defaults and\n"
                                           "one with the candidates. A gain is accepted\n"
                                           "only if the 95 % interval of its median lies\n"
                                           "above 1; it is then written to the tuning\n"
                                           "table, which every later run on this device\n"
                                           "reads. A stopped search can be continued.\n" XP_SYNTHETIC_DESCRIPTION,
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof flags[0],
                            .example = "  expanse tune --preset vit-tiny-28\n"};
    const bool trial = count >= 5 && strcmp(words[0], XP_TRIAL_WORD) == 0;
    xp_arguments arguments;
    const int skipped = trial ? 5 : 0;
    const int code = xp_arguments_read(&usage, count - skipped, words + skipped, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (xp_synthetic_configure(&model, &arguments, &setup) != XP_OK) {
        xp_command_fail();
        return XP_EXIT_USAGE;
    }
    if (trial)
        return run_trial(&setup,
                         &(xp_device_options){
                             .size = sizeof(xp_device_options), .select = device, .family = family, .profiling = true},
                         words);

    char own[PATH_MAX], trials[PATH_MAX];
    const bool cached = xp_cache_path("tuning.json", true, own, sizeof own) == XP_OK &&
                        xp_cache_path("tuning-trials.json", true, trials, sizeof trials) == XP_OK;
    if (!cached && (!output || export))
        return xp_command_misuse("tune: there is no cache folder for the table; give --output FILE (%s)",
                                 xp_last_error());
    if (export && (!output || import_from))
        return xp_command_misuse("tune: --export needs --output FILE, and no --import");
    if (export && !xp_path_exists(own)) {
        xp_fail(
            XP_IO_ERROR,
            "there is nothing to export: no table is at %s; expanse tune searches, and writes one if a kernel becomes "
            "faster",
            own);
        return xp_command_fail();
    }
    if (export || import_from) {
        const xp_status status =
            export ? copy_table(own, output, "exported") : copy_table(import_from, output ? output : own, "imported");
        return status == XP_OK ? XP_EXIT_OK : xp_command_fail();
    }
    if (restart && cached) remove(trials);
    if (*setup.assumed && !quiet && format == XP_TABLE_TEXT) printf("%s\n", setup.assumed);
    const char *passed[64] = {NULL};
    for (int i = 0; i < count && i < 63; i++) passed[i] = words[i];
    report r = {.children = {passed, device, family},
                .output = output ? output : own,
                .quiet = quiet,
                .text = format == XP_TABLE_TEXT,
                .clear = isatty(STDOUT_FILENO) ? "\r\033[K" : ""};
    const xp_tune_options options = {.output = r.output,
                                     .trials = cached ? trials : NULL,
                                     .filter = filter,
                                     .rounds = rounds,
                                     .limit = (double)timeout,
                                     .seconds = quick ? 15 : 60.0 * (double)minutes};
    return run_search(&r, (xp_table_format)format, &options);
}
