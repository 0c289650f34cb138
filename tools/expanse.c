/* The command: finds the sub-command and hands over. Owns the list of sub-commands. */
#include "command.h"

#include "core/text.h"

#include <stdio.h>
#include <string.h>

typedef struct subcommand {
    const char *name, *help;
    int (*run)(int count, char **words);
} subcommand;

static const subcommand subcommands[] = {
    {"train", "train a model, or go on with a run that was cut", xp_command_train},
    {"eval", "accuracy and a table of the classes on a data set", xp_command_eval},
    {"predict", "class and probabilities of each sample as CSV", xp_command_predict},
    {"analyze", "how much the heads of a trained model differ, and their maps", xp_command_analyze},
    {"devices", "list the OpenCL devices", xp_command_devices},
    {"tune", "find the fastest kernels for this device", xp_command_tune},
    {"doctor", "probe a device: what works, and what it means", xp_command_doctor},
    {"check", "verify a device: every kernel against the reference", xp_command_check},
    {"svr", "fit attention layers as support vector regressions", xp_command_svr},
    {"bench", "time training steps", xp_command_bench},
    {"info", "version, libraries, presets", xp_command_info},
};
enum { SUBCOMMANDS = sizeof subcommands / sizeof *subcommands };

static void print_help(void) {
    printf("Expanse trains transformers on any OpenCL device.\n\nUsage: expanse COMMAND [flags]\n\nCommands:\n");
    for (int i = 0; i < SUBCOMMANDS; i++) printf("  %-10s%s\n", subcommands[i].name, subcommands[i].help);
    printf("\nexpanse COMMAND --help tells more of each.\n");
}

/* A full disk or a closed pipe behind stdout must not end as success. */
static int finish(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    if (code == XP_EXIT_OK) {
        xp_command_misuse("the output could not be written; is the disk full?");
        return XP_EXIT_FAILURE;
    }
    return code;
}

int main(int count, char **words) {
    if (count < 2) return xp_command_misuse("a command is missing; expanse --help lists them");
    const char *name = words[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help();
        return finish(XP_EXIT_OK);
    }
    if (strcmp(name, "--version") == 0) return finish(xp_command_info(1, (char *[]){"--version"}));
    const char *names[SUBCOMMANDS];
    for (int i = 0; i < SUBCOMMANDS; i++) {
        names[i] = subcommands[i].name;
        if (strcmp(name, names[i]) == 0) return finish(subcommands[i].run(count - 2, words + 2));
    }
    const char *nearest = xp_text_nearest(name, names, SUBCOMMANDS);
    if (nearest) return xp_command_misuse("unknown command '%s'; did you mean '%s'?", name, nearest);
    return xp_command_misuse("unknown command '%s'; expanse --help lists them", name);
}
