/* expanse train: from flags to a run. Owns the order in which preset, file and flags are laid over each other, the name
 * of a run's folder, and the signals. */
#define _GNU_SOURCE
#include "command.h"

#include "core/files.h"
#include "core/writer.h"
#include "live.h"
#include "train/trainer.h"
#include "tune.h"

#include <ctype.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

/* The first signal asks the trainer to save and leave; the second finds the default action and ends the process. */
static void ask_to_stop(int signal_number) {
    (void)signal_number;
    stop = 1;
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = ask_to_stop, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Gathers all faults of preset, file and flags, so that they can be mended at once. */
static void note_fault(xp_writer *faults) {
    xp_write(faults, "%s\n", xp_last_error());
}

static xp_status assemble(xp_config *config, const char *preset, const char *file, const xp_arguments *arguments) {
    xp_writer faults = {0};
    xp_config_default(config);
    if (preset && xp_config_preset(config, preset) != XP_OK) note_fault(&faults);
    if (file && xp_config_file(config, file) != XP_OK) note_fault(&faults);
    for (int i = 0; i < arguments->setting_count; i++) {
        const char *option = arguments->settings[i].option;
        xp_writer text = {0};
        xp_write(&text, "%s%s%s", option, *option ? "=" : "", arguments->settings[i].value);
        if (text.failed || xp_config_set(config, text.text) != XP_OK) note_fault(&faults);
        xp_writer_release(&text);
    }
    if (xp_config_check(config) != XP_OK) note_fault(&faults);
    xp_status status = XP_OK;
    if (faults.length > 0) status = xp_fail(XP_INVALID_ARGUMENT, "%.*s", (int)faults.length - 1, faults.text);
    xp_writer_release(&faults);
    return status;
}

/* "runs/vit-tiny-28-softmax-bn-sh-1-2-seed1", or with "-2", "-3" … behind it when that is taken. */
static void choose_folder(const xp_config *config, char *text, size_t size) {
    char slug[96];
    size_t length = 0;
    for (const char *at = config->model.attention; *at && length + 1 < sizeof slug; at++) {
        if (isalnum((unsigned char)*at) || *at == '.')
            slug[length++] = *at;
        else if (length > 0 && slug[length - 1] != '-')
            slug[length++] = '-';
    }
    while (length > 0 && slug[length - 1] == '-') length--;
    slug[length] = '\0';
    for (int k = 1; k < 100000; k++) {
        char end[16] = "";
        if (k > 1) snprintf(end, sizeof end, "-%d", k);
        snprintf(text, size, "runs/%s-%s-seed%llu%s", config->preset[0] ? config->preset : "model", slug,
                 (unsigned long long)config->training.seed, end);
        if (xp_folder_is_empty(text)) return;
    }
}

static void print_result(const xp_run_summary *result, const char *out) {
    if (result->epochs == 0) {
        printf("\nweights    %s/best/model.safetensors, the initial ones; train them with --resume %s --epochs N\n",
               out, out);
        return;
    }
    printf("\naccuracy   best %.2f %% (epoch %d), final %.2f %%\n", 100 * result->accuracy_best, result->epoch_best,
           100 * result->accuracy_final);
    printf("time       %.1f s, %.0f samples/s on %s\n", result->seconds, result->samples_per_second, result->device);
    printf("pictures   %s/curves.svg%s\n", out, result->test_samples > 0 ? ", confusion.svg" : "");
    printf("weights    %s/best/model.safetensors\n", out);
}

static bool tune_first(void *user, const xp_config *config, const xp_model_shape *shape, const xp_device *device,
                       double flops) {
    (void)user;
    return xp_tune_first(config, shape, device, flops, &stop);
}

static int train(const xp_config *config, xp_train_options *options, bool quiet, bool tuned) {
    xp_live live;
    xp_trainer_callbacks callbacks = {.stop = &stop};
    xp_run_summary result;
    xp_live_start(&live, stdout, quiet);
    xp_live_bind(&live, &callbacks);
    if (tuned && !quiet) callbacks.tune = tune_first;
    live.folder = options->dry_run ? NULL : options->out;
    catch_signals();
    xp_status status = xp_train(config, options, &callbacks, &result);
    xp_live_clear(&live);
    if (status != XP_OK) return xp_command_fail();
    if (!quiet && !options->dry_run) print_result(&result, options->out);
    return XP_EXIT_OK;
}

int xp_command_train(int count, char **words) {
    const char *preset = NULL, *file = NULL, *out = NULL, *resume = NULL;
    bool dry_run = false, profile = false, print_config = false, quiet = false, debug = false, recompute = false,
         untuned = false;
    const xp_flag flags[] = {
        {"--preset", "NAME", "start from a preset: uea-flowformer, uea-mvts, vit-tiny-28, deit-tiny", .text = &preset},
        {"--config", "FILE", "lay a YAML file over it (--print-config writes one)", .text = &file},
        {"--train", "FILE", "training data: .ts, or IDX images (.gz is fine), or a folder of IDX files",
         .option = "data.train"},
        {"--test", "FILE", "test data, evaluated after every epoch", .option = "data.test"},
        {"--validation", "X", "split off this fraction of the training data to choose the best epoch by",
         .option = "data.validation"},
        {"--attention", "SPEC", "softmax, softmax+bn, softmax+sh(1,1,2,2), softmax+bn(beta=0.6)+sh(1,2) ...",
         .option = "model.attention"},
        {"--epochs", "N", "passes over the training data; 0: write the initial weights", .option = "training.epochs"},
        {"--batch", "N", "samples a step", .option = "training.batch"},
        {"--accumulate", "N", "less memory: compute a step's batch in N parts, one after another",
         .option = "training.accumulate"},
        {"--seed", "N", "of everything that is drawn at random", .option = "training.seed"},
        {"--limit", "N", "take only N training samples", .option = "data.train_limit"},
        {"--test-limit", "N", "take only N test samples", .option = "data.test_limit"},
        {"--device", "D", "id of 'expanse devices', part of a name, gpu or cpu", .option = "device.select"},
        {"--family", "F", "shape of the kernels: auto, wide (CPU), tiled (GPU)", .option = "device.family"},
        {"--recompute", NULL, "less memory, more time, the same bits: make activations anew in the backward pass",
         .on = &recompute},
        {"--set", "KEY=VALUE", "any key of --print-config; may be repeated", .option = ""},
        {"--out", "DIR", "run folder; without it one below runs/ is chosen", .text = &out},
        {"--resume", "DIR", "go on with the run of this folder, as it was configured; --epochs can make it longer",
         .text = &resume},
        {"--dry-run", NULL, "print parameters, memory, launches and kernels; train nothing", .on = &dry_run},
        {"--profile", NULL, "time every kernel and print a table at the end", .on = &profile},
        {"--no-tune", NULL, "no short search for faster kernels before the first longer run on a device",
         .on = &untuned},
        {"--debug", NULL, "finish after every launch, so that a failure names its kernel and layer", .on = &debug},
        {"--print-config", NULL, "print the whole configuration as YAML; train nothing", .on = &print_config},
        {"--quiet", NULL, "print nothing but errors", .on = &quiet},
    };
    const xp_usage usage = {
        .name = "train",
        .synopsis = "--preset NAME --train FILE [--test FILE] [flags]\n       expanse train --resume DIR [--epochs N]",
        .description =
            "Trains a transformer and writes a run folder: config.yaml, metrics.csv, summary.json, curves.svg,\n"
            "confusion.svg, and the weights in best/ and last/. Preset, then file, then flags: the later one counts.\n"
            "Ctrl-C finishes the step, saves and leaves; a second one quits at once.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof *flags,
        .example = "  expanse train --preset uea-flowformer --train JapaneseVowels_TRAIN.ts \\\n"
                   "      --test JapaneseVowels_TEST.ts --attention 'softmax+bn+sh(1,1,1,1,2,2,4,4)'\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;

    xp_config config;
    xp_train_options options = {.dry_run = dry_run, .profile = profile, .debug = debug, .epochs = -1, .report = stdout};
    if (resume) {
        bool fixed = preset || file || out || dry_run || print_config;
        xp_config_default(&config);
        for (int i = 0; i < arguments.setting_count; i++) {
            char text[64];
            const char *option = arguments.settings[i].option;
            if (strcmp(option, "training.epochs") != 0) {
                fixed = true;
                continue;
            }
            snprintf(text, sizeof text, "%s=%.32s", option, arguments.settings[i].value);
            if (xp_config_set(&config, text) != XP_OK) {
                xp_command_fail();
                return XP_EXIT_USAGE;
            }
            options.epochs = config.training.epochs;
        }
        if (fixed) {
            return xp_command_misuse(
                "--resume goes on with the run as it was configured; only --epochs, which can make "
                "it longer, --recompute, --profile, --debug and --quiet may stand beside it");
        }
        options.out = resume;
        options.resume = true;
        options.recompute = recompute;
        return train(NULL, &options, quiet, false);
    }
    if (assemble(&config, preset, file, &arguments) != XP_OK) {
        xp_command_fail();
        return XP_EXIT_USAGE;
    }
    if (recompute) config.training.recompute = 1;
    if (print_config) return xp_config_print(&config, stdout) == XP_OK ? XP_EXIT_OK : xp_command_fail();
    if (!config.data.train[0]) return xp_command_misuse("training data are missing: give --train FILE");
    char chosen[1024];
    choose_folder(&config, chosen, sizeof chosen);
    options.out = out ? out : chosen;
    return train(&config, &options, quiet, !untuned);
}
