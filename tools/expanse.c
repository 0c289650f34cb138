/* The command: finds the sub-command and hands over. Owns the list of sub-commands. */
#include "command.h"
#include "help.h"
#include "signals.h"
#include "table.h"

#include <expanse/version.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const xp_subcommand subcommands[] = {
    {"train", "train a model, or continue a run", xp_command_train},
    {"eval", "print the accuracy of a model on a data set", xp_command_eval},
    {"predict", "write the class and the probabilities of each sample as CSV", xp_command_predict},
    {"generate", "write text that a language model continues a prompt with", xp_command_generate},
    {"make", "make a data set from a seed: ListOps, Pathfinder", xp_command_make},
    {"analyze", "measure how much the attention heads of a model differ", xp_command_analyze},
    {"study", "train and compare attentions on several data sets, settings and seeds", xp_command_study},
    {"devices", "list the OpenCL devices", xp_command_devices},
    {"tune", "find the fastest kernels for this device", xp_command_tune},
    {"doctor", "test what works on a device, and what that means for training", xp_command_doctor},
    {"check", "compare every kernel with the reference on a device", xp_command_check},
    {"svr", "fit attention layers as support vector regressions", xp_command_svr},
    {"bench", "time kernels and training steps", xp_command_bench},
    {"info", "version, libraries, presets", xp_command_info},
};
/* A full disk at stdout must not end with success. */
static int finish(int code) {
    return code == XP_EXIT_OK && xp_output_check(stdout) != XP_OK ? xp_command_fail() : code;
}

static int run(int count, char **words) {
    bool version = false, man = false;
    int shell = -1;
    const xp_flag flags[] = {
        {"--version", NULL, "print the version", .on = &version},
        {"--man", NULL, "print the manual page, for man -l -", .on = &man},
        {"--completion", "SHELL", "print the completion script for bash, zsh or fish", .choices = xp_help_shells,
         .choice = &shell},
    };
    const xp_usage usage = {.name = "",
                            .synopsis = "COMMAND [flags]",
                            .description = "Expanse trains transformers on any OpenCL device.\n"
                                           "expanse COMMAND --help describes a command.\n",
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof *flags,
                            .commands = subcommands,
                            .command_count = sizeof subcommands / sizeof *subcommands};
    xp_arguments arguments;
    if (count > 0 && strcmp(words[0], "help") == 0) words[0] = "--help";
    if (count > 0 && words[0][0] != '-') {
        const xp_subcommand *command = xp_command_find(&usage, words[0]);
        return command ? command->run(count - 1, words + 1) : XP_EXIT_USAGE;
    }
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (version)
        printf("%s\n", XP_VERSION);
    else if (man)
        xp_help_print_page(XP_HELP_MAN, &usage);
    else if (shell >= 0)
        xp_help_print_page((xp_help_page)(XP_HELP_BASH + shell), &usage);
    else
        return xp_command_find(&usage, NULL) ? XP_EXIT_OK : XP_EXIT_USAGE;
    return XP_EXIT_OK;
}

/* Where a standard stream is closed, the next file that is opened would take its place, and get what is printed. What
 * takes it here cannot be written, nor read. */
static void occupy_standard_streams(void) {
    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
        if (fcntl(i, F_GETFD) < 0) (void)open("/dev/null", i == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int count, char **words) {
    occupy_standard_streams();
    xp_signals_catch();
    return finish(run(count - 1, words + 1));
}
