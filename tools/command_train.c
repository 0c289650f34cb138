/* expanse train: from flags to a run. Owns the name of a run's folder. */
#define _GNU_SOURCE
#include "command.h"

#include "core/files.h"
#include "core/text.h"
#include "device/cache.h"
#include "live.h"
#include "signals.h"
#include "table.h"
#include "train/trainer.h"
#include "tune.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The current run, for the message when a signal ends it before there is anything to save. */
static const char *run_folder;
static const xp_live *shown;

/* Prints how to continue. The folder belongs to this run as soon as it has a configuration. */
static void explain_end(void) {
    char config[1200];
    const bool begun =
        xp_run_folder_path(run_folder, "config.yaml", config, sizeof config) == XP_OK && xp_path_exists(config);
    if (shown->line_open) dprintf(fileno(shown->out), "\r\033[J");
    dprintf(STDERR_FILENO, "expanse: stopped before the first step%s%s\n",
            begun ? "; continue with: expanse train --resume " : "", begun ? run_folder : "");
}

static void begin_steps(void *user) {
    (void)user;
    xp_signals_hold();
}

/* "runs/vit-tiny-28-softmax-bn-sh-1-2-seed1"; if a new run is wanted and the folder is taken, with the suffix "-2",
 * "-3" … */
static void choose_folder(const xp_config *config, bool another, char *text, size_t size) {
    char slug[96];
    xp_text_slug(config->model.attention, slug, sizeof slug);
    for (int k = 1; k < 100000; k++) {
        char end[16] = "";
        if (k > 1) snprintf(end, sizeof end, "-%d", k);
        snprintf(text, size, "runs/%s-%s-seed%llu%s", config->preset[0] ? config->preset : "model", slug,
                 (unsigned long long)config->training.seed, end);
        if (!another || xp_run_folder_check_free(text) == XP_OK) return;
    }
}

/* A set in the best and in the last epoch. */
static void set_row(xp_table *table, const xp_run_summary *result, xp_set set, int64_t samples) {
    if (samples == 0) return;
    const int count = result->task->metric_count;
    xp_cell cells[2 + 2 * XP_TASK_METRICS] = {{.text = xp_set_name(set)}, {.whole = samples}};
    for (int i = 0; i < count; i++) {
        const int metric = xp_task_metric_at(result->task, i);
        cells[2 + i].real = result->best.metrics[set][metric];
        cells[2 + count + i].real = result->last.metrics[set][metric];
    }
    xp_table_row(table, cells);
}

static void result_facts(xp_table *table, const xp_run_summary *result, const char *folder) {
    xp_table_fact_text(table, "folder", folder);
    xp_table_fact(table, "finished", json_boolean(result->finished));
    xp_table_fact(table, "stopped_early", json_boolean(result->stopped_early));
    xp_table_fact(table, "epochs", json_integer(result->epochs));
    xp_table_fact(table, "epoch_best", json_integer(result->best.epoch));
    if (result->best.epoch)
        xp_table_fact_text(table, "epoch_best_chosen_on", xp_set_name(xp_epoch_judge(result->task, &result->best)));
    xp_table_fact_real(table, "seconds", result->seconds);
    xp_table_fact_real(table, "samples_per_second", result->samples_per_second);
    xp_table_fact_text(table, "device", result->device);
}

/* Those that there are. */
static void note_pictures(xp_table *table, const xp_run_summary *result, const char *folder) {
    const char *const names[] = {"curves.svg", result->task->picture, xp_images_kind.picture};
    char path[PATH_MAX], text[128] = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i] && xp_run_folder_path(folder, names[i], path, sizeof path) == XP_OK && xp_path_exists(path))
            xp_text_add(text, sizeof text, "%s%s", *text ? ", " : "", names[i]);
    xp_table_note(table, "plots        %s/%s", folder, text);
}

static void result_rows(xp_table *table, const xp_run_summary *result, const char *folder) {
    set_row(table, result, XP_SET_TRAINING, result->samples);
    set_row(table, result, XP_SET_VALIDATION, result->validation_samples);
    set_row(table, result, XP_SET_TEST, result->test_samples);
    xp_table_note(table, "%s", "");
    const xp_set judge = xp_epoch_judge(result->task, &result->best);
    xp_table_note(
        table, "best epoch   %d of %d, chosen on the %s set%s", result->best.epoch, result->last.epoch,
        xp_set_name(judge),
        judge == XP_SET_TEST ? ": its test result is optimistic; --validation 0.1 chooses without the test set" : "");
    xp_table_note(table, "time         %.1f s, %.0f samples/s on %s", result->seconds, result->samples_per_second,
                  result->device);
    note_pictures(table, result, folder);
    xp_table_note(table, "weights      %s/best/model.safetensors", folder);
}

static xp_status print_result(const xp_run_summary *result, const char *folder, xp_table_format format, FILE *out) {
    const xp_task *task = result->task;
    char titles[2 * XP_TASK_METRICS][96], names[2 * XP_TASK_METRICS][96];
    xp_column columns[2 + 2 * XP_TASK_METRICS] = {{"set", "set", XP_CELL_TEXT}, {"samples", "samples", XP_CELL_WHOLE}};
    for (int i = 0; i < 2 * task->metric_count; i++) {
        const bool last = i >= task->metric_count;
        const xp_metric *metric = &task->metrics[xp_task_metric_at(task, i % task->metric_count)];
        snprintf(titles[i], sizeof titles[i], "%s %s%s", last ? "last" : "best", metric->name, metric->unit);
        snprintf(names[i], sizeof names[i], "%s_%s", metric->name, last ? "final" : "best");
        columns[2 + i] = (xp_column){.name = names[i],
                                     .title = titles[i],
                                     .kind = XP_CELL_REAL,
                                     .digits = metric->digits,
                                     .significant = metric->significant,
                                     .scale = metric->scale};
    }
    if (format == XP_TABLE_TEXT && result->best.epoch == 0) {
        fprintf(out,
                "\nweights      %s/best/model.safetensors (initial weights); train them with --resume %s --epochs N\n",
                folder, folder);
        return XP_OK;
    }
    xp_table table;
    xp_table_open(&table, out, format, columns, 2 + 2 * task->metric_count, "sets");
    result_facts(&table, result, folder);
    if (format == XP_TABLE_TEXT) xp_table_note(&table, "%s", "");
    if (result->best.epoch) result_rows(&table, result, folder);
    return xp_table_close(&table, XP_OK);
}

static bool tune_first(void *user, const xp_config *config, const xp_model_shape *shape, const xp_device *device,
                       double flops) {
    (void)user;
    xp_signals_hold(); /* the search removes what it has made */
    const bool changed = xp_tune_first(config, shape, device, flops);
    xp_signals_release();
    return changed;
}

/* Returns the original stdout; from now on, everything else that is printed to stdout, also by drivers, goes to stderr.
 * NULL: that is not possible. */
static FILE *keep_for_results(void) {
    fflush(stdout);
    const int kept = dup(STDOUT_FILENO);
    if (kept < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return NULL;
    return fdopen(kept, "w");
}

/* Checks that the folder is free for a new run or, if `automatic`, that it holds the run of this configuration. */
static int enter_folder(const xp_config *config, bool automatic, xp_train_options *options) {
    xp_config found, wanted = *config;
    if (xp_run_folder_check_free(options->out) == XP_OK) return XP_EXIT_OK;
    if (!automatic) {
        xp_command_fail();
        return XP_EXIT_USAGE;
    }
    if (xp_run_folder_config(options->out, &found) != XP_OK) return xp_command_fail();
    xp_config_make_absolute(&wanted);
    if (xp_config_compare(&found, &wanted) != XP_OK)
        return xp_command_misuse("%s holds a different run than the flags describe: its %s; choose another --out",
                                 options->out, xp_last_error());
    options->resume = true;
    options->trust_code = true; /* the flags specify the same attention */
    options->checkpoint_every = &config->training.checkpoint_every;
    options->keep = config->training.keep;
    return XP_EXIT_OK;
}

static int train(const xp_config *config, xp_train_options *options, xp_table_format format, bool quiet, bool tuned,
                 int64_t seconds) {
    FILE *results = format == XP_TABLE_TEXT ? stdout : keep_for_results();
    if (!results) {
        xp_fail(XP_IO_ERROR, "the output cannot be opened for the results: %s", strerror(errno));
        return xp_command_fail();
    }
    xp_live live;
    xp_trainer_callbacks callbacks = {.begin = begin_steps, .stop = &xp_signal_asked};
    xp_run_summary result;
    xp_live_start(&live, stdout, quiet);
    xp_live_bind(&live, &callbacks);
    live.logs = true;
    if (tuned && !quiet) callbacks.tune = tune_first;
    live.folder = options->dry_run ? NULL : options->out;
    if (!quiet && xp_cache_check() != XP_OK) fprintf(stderr, "expanse: nothing can be cached: %s\n", xp_last_error());
    if (seconds > 0) xp_signals_limit_time((unsigned)seconds);
    run_folder = options->out;
    shown = &live;
    xp_signals_explain(explain_end);
    xp_status status = xp_train(config, options, &callbacks, &result);
    xp_live_clear(&live);
    const bool wanted = !options->dry_run && (!quiet || format != XP_TABLE_TEXT);
    if (status == XP_OK && wanted) status = print_result(&result, options->out, format, results);
    xp_signals_explain(NULL);
    if (status == XP_OK) return XP_EXIT_OK;
    xp_command_fail();
    return status == XP_INTERRUPTED ? xp_signals_exit_code() : XP_EXIT_FAILURE;
}

/* Applies a setting that is allowed with --resume; sets *fixed for any other. */
static int take_beside_resume(const char *option, const char *value, xp_config *config, xp_train_options *options,
                              bool *fixed) {
    const struct {
        const char *option, **value;
    } texts[] = {{"data.train", &options->train},
                 {"data.test", &options->test},
                 {"device.select", &options->device},
                 {"device.family", &options->family},
                 {"training.precision", &options->precision}};
    const bool epochs = strcmp(option, "training.epochs") == 0;
    const bool saves = strcmp(option, "training.checkpoint_every") == 0, keeps = strcmp(option, "training.keep") == 0;
    bool known = epochs || saves || keeps;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(option, texts[i].option) != 0) continue;
        *texts[i].value = value;
        known = true;
    }
    *fixed = *fixed || !known;
    if (!known) return XP_EXIT_OK;
    char text[2048];
    snprintf(text, sizeof text, "%s=%.2000s", option, value);
    if (xp_config_set(config, text) != XP_OK) {
        xp_command_fail();
        return XP_EXIT_USAGE;
    }
    if (epochs) options->epochs = config->training.epochs;
    if (saves) options->checkpoint_every = &config->training.checkpoint_every;
    if (keeps) options->keep = config->training.keep;
    return XP_EXIT_OK;
}

int xp_command_train(int count, char **words) {
    const char *preset = NULL, *file = NULL, *out = NULL, *resume = NULL, *most = NULL;
    int64_t seconds = 0;
    bool dry_run = false, profile = false, print_config = false, quiet = false, debug = false, recompute = false,
         tensorboard = false, untuned = false, launches = false, trust_code = false;
    int format = XP_TABLE_TEXT;
    const xp_flag flags[] = {
        {"--preset", "PRESET", "start from this preset; expanse info lists the presets", .text = &preset},
        {"--config", "FILE", "then read this YAML file; --print-config prints one", .text = &file},
        {"--train", "FILE",
         "training data: series (.ts, .arff, UCR tables), a table over time (CSV), texts with a class (.tsv), a folder "
         "of "
         "images (a folder of JPEG or PNG files for each class; IDX; CIFAR), text (.txt) or a folder of it; also as "
         ".gz "
         "(required)",
         .option = "data.train"},
        {"--task", "NAME",
         "what is learned: classification, regression, forecasting, text (what the training data are for)",
         .option = "data.task"},
        {"--test", "FILE",
         "test data; without --validation, they choose the best epoch, whose test result is then optimistic",
         .option = "data.test"},
        {"--validation", "X", "fraction of the training data to split off, which chooses the best epoch",
         .option = "data.validation"},
        {"--attention", "SPEC", "softmax, softmax+bn, softmax+sh(1,1,2,2), softmax+bn(beta=0.6)+sh(1,2) ...",
         .option = "model.attention"},
        {"--from", "RUN|FILE",
         "start from the weights of a run or a .safetensors file; the head is replaced where the classes differ",
         .option = "training.from"},
        {"--class-weights", "LIST",
         "weights of the classes in the loss: none, balanced (rare ones count as much as others), or 1,2.5 ...",
         .option = "training.class_weights"},
        {"--patience", "N", "stop after N epochs without a better result on the validation set; 0: off",
         .option = "training.patience"},
        {"--epochs", "N", "passes over the training data; 0: write the initial weights", .option = "training.epochs"},
        {"--batch", "N", "samples per step", .option = "training.batch"},
        {"--accumulate", "N", "compute the batch of a step in N parts, one after another, for less memory",
         .option = "training.accumulate"},
        {"--horizon", "N", "forecasting: steps to predict, from a CSV table over time", .option = "data.horizon"},
        {"--season", "N", "forecasting: steps of a season; the forecast to beat repeats the last one",
         .option = "data.season"},
        {"--predict", "NAMES", "forecasting: columns to predict, separated by commas; the model sees all columns (all)",
         .option = "data.predict"},
        {"--test-part", "X", "fraction of the training data to split off as test data; of a table, its last rows",
         .option = "data.test_part"},
        {"--max-length", "N", "longest series that the model accepts, in steps; 0: the longest in the data",
         .option = "data.max_length"},
        {"--context", "N", "steps that the model sees before those that it predicts (forecasting), or bytes (text)",
         .option = "data.context"},
        {"--image-size", "N", "side of the square that images are resized to, in pixels; 0: they are not resized",
         .option = "data.image_size"},
        {"--precision", "NAME", "fp32, bf16, fp16; on matrix units also fp32-matrix, tf32",
         .option = "training.precision"},
        {"--seed", "N", "seed of all random numbers", .option = "training.seed"},
        {"--limit", "N",
         "use only N samples of the training data: equally many of each class; of a text the first, of a table the "
         "latest (all)",
         .option = "data.train_limit"},
        {"--test-limit", "N", "use only N samples of the test data, chosen as by --limit (all)",
         .option = "data.test_limit"},
        {"--device", "ID", XP_DEVICE_HELP, .option = "device.select"},
        {"--family", "NAME", XP_FAMILY_HELP, .option = "device.family"},
        {"--recompute", NULL, "recompute activations in the backward pass: less memory, more time, the same bits",
         .on = &recompute},
        {"--set", "KEY=VALUE", "set any key of --print-config; may be repeated", .option = ""},
        {"--out", "DIR", "run folder (a new one in runs/)", .text = &out},
        {"--resume", "DIR",
         "continue the run in this folder with its configuration; --epochs extends it, --train and --test give new "
         "paths of its data, --device, --family and --precision change how it is computed; auto: continue the run that "
         "the flags describe, or start it",
         .text = &resume},
        {"--trust-code", NULL, "with --resume: accept the score(...) of a run that is not marked as yours",
         .on = &trust_code},
        {"--checkpoint-every", "EVERY", "also save within an epoch: every N steps (500) or after some time (10m) (off)",
         .option = "training.checkpoint_every"},
        {"--keep", "N", "keep the checkpoints of the last N epochs, in epoch-0001/ ...", .option = "training.keep"},
        {"--tensorboard", NULL, "also write the metrics of each epoch into an event file that TensorBoard reads",
         .on = &tensorboard},
        {"--max-time", "TIME", "after this time (90s, 30m, 2h), finish the step, save, and exit with code 3",
         .text = &most},
        {"--dry-run", NULL, "print device, data, parameters, memory and arithmetic; do not train", .on = &dry_run},
        {"--launches", NULL, "with --dry-run: also print every launch of a training step", .on = &launches},
        {"--profile", NULL, "time every kernel and print a table at the end", .on = &profile},
        {"--no-tune", NULL, "do not search for faster kernels before the first longer run on a device", .on = &untuned},
        {"--debug", NULL, "wait for every launch, so that an error names its kernel and layer", .on = &debug},
        {"--print-config", NULL, "print the complete configuration as YAML; do not train", .on = &print_config},
        XP_TABLE_FORMAT_FLAG(&format),
        {"--quiet", NULL, "print only errors, and the results if -o is given", .on = &quiet},
    };
    const xp_usage usage = {
        .name = "train",
        .synopsis = "--preset NAME --train FILE [--test FILE] [flags]\n"
                    "       expanse train --resume DIR [--epochs N] [flags]\n"
                    "       expanse train --preset NAME --train FILE [flags] --resume auto --max-time TIME",
        .description =
            "Trains a transformer and writes a run folder: config.yaml, metrics.csv, summary.json, curves.svg,\n"
            "a picture of the results, and the weights in best/ and last/. The data choose the task: classes,\n"
            "numbers to predict (a .ts file with @targetLabel true), the next rows of a CSV table (--horizon), or\n"
            "text. A file overrides the preset, and flags\n"
            "override the file. The best epoch, whose weights are in best/, has the highest accuracy, the lowest\n"
            "squared error, or the fewest bits per byte of text, on the validation set; without one, on the test set;\n"
            "without either, in training. With -o md, csv or json, only the results go to stdout, everything else to\n"
            "stderr.\n\n"
            "After a signal (Ctrl-C, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU, or SIGPIPE when a reader of the output\n"
            "exits), the command finishes the step, saves, and exits with 128 + the number of the signal, 130 after\n"
            "Ctrl-C. A second signal ends it at once, and so does the first one before the first step, when there\n"
            "is nothing to save. Signals that were ignored at the start, as under nohup, stay ignored. If the\n"
            "output cannot be written for another reason, such as a full disk, the run continues, but the exit code\n"
            "is 1. --resume continues a run, with the same bits. --resume auto is for schedulers that repeat one\n"
            "command: its exit code is 3 after --max-time and 0 at the end.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof *flags,
        .example = "  expanse train --preset uea-flowformer --train JapaneseVowels_TRAIN.ts \\\n"
                   "      --test JapaneseVowels_TEST.ts --attention 'softmax+bn+sh(1,1,1,1,2,2,4,4)'\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;

    xp_config config;
    xp_train_options options = {.dry_run = dry_run,
                                .profile = profile,
                                .debug = debug,
                                .launches = launches,
                                .epochs = -1,
                                .keep = -1,
                                .report = stdout};
    if (most && !xp_text_duration(most, &seconds))
        return xp_command_misuse("--max-time: '%s' is not a time such as 90s, 30m or 2h", most);
    if (launches && !dry_run) return xp_command_misuse("--launches needs --dry-run");
    if (dry_run && format != XP_TABLE_TEXT) return xp_command_misuse("-o formats the results, and --dry-run has none");
    const bool automatic = resume && strcmp(resume, "auto") == 0;
    if (resume && !automatic) {
        bool fixed = preset || file || out || dry_run || print_config || untuned;
        xp_config_default(&config);
        for (int i = 0; i < arguments.setting_count; i++) {
            code = take_beside_resume(arguments.settings[i].option, arguments.settings[i].value, &config, &options,
                                      &fixed);
            if (code != XP_EXIT_OK) return code;
        }
        if (fixed) {
            return xp_command_misuse(
                "--resume continues a run with its own configuration; the only other flags allowed are --epochs (to "
                "extend it), --train and --test (if its data have moved), --device, --family, --precision, "
                "--checkpoint-every, --keep, --max-time, --recompute, --tensorboard, --trust-code, --profile, --debug, "
                "-o and "
                "--quiet");
        }
        options.out = resume;
        options.resume = true;
        options.recompute = recompute;
        options.tensorboard = tensorboard;
        options.trust_code = trust_code;
        return train(NULL, &options, (xp_table_format)format, quiet, false, seconds);
    }
    if (trust_code)
        return xp_command_misuse("--trust-code needs --resume: a score on the command line is accepted anyway");
    xp_config_default(&config);
    const xp_status configured = xp_command_configure(&config, preset, file, &arguments);
    if (configured != XP_OK) {
        xp_command_fail();
        return configured == XP_OUT_OF_MEMORY ? XP_EXIT_FAILURE : XP_EXIT_USAGE;
    }
    if (recompute) config.training.recompute = 1;
    if (tensorboard) config.training.tensorboard = 1;
    if (print_config) {
        const xp_status printed = xp_config_print(&config, stdout);
        return xp_output_check(stdout) == XP_OK && printed == XP_OK ? XP_EXIT_OK : xp_command_fail();
    }
    if (!config.data.train[0]) return xp_command_misuse("no training data: give --train FILE");
    char chosen[1024];
    choose_folder(&config, !automatic, chosen, sizeof chosen);
    options.out = out ? out : chosen;
    code = dry_run ? XP_EXIT_OK : enter_folder(&config, automatic, &options);
    return code == XP_EXIT_OK ? train(&config, &options, (xp_table_format)format, quiet, !untuned, seconds) : code;
}
