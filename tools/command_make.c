/* expanse make: data sets that are drawn from a seed. Owns the flags; knows nothing of what is drawn. */
#include "command.h"

#include "core/text.h"
#include "data/listops.h"
#include "data/pathfinder.h"

#include <stdio.h>
#include <string.h>

/* A data set: who makes it, and of what it tells. */
typedef struct made {
    const char *name, *description, *samples, *files, *example;
    xp_status (*make)(const char *folder, uint64_t seed, const int64_t samples[3]);
} made;

/* "96000,2000,2000" */
static bool read_samples(const char *text, int64_t samples[3]) {
    const double most = 1e8;
    for (int part = 0; part < 3; part++) {
        double value = 0;
        size_t length = 0;
        if (xp_text_number(text, &value, &length) != XP_OK || length == 0 || text[length] != (part < 2 ? ',' : '\0'))
            return false;
        if (!(value >= 1 && value <= most) || value != (double)(int64_t)value) return false;
        samples[part] = (int64_t)value;
        text += length + 1;
    }
    return true;
}

static int make(const made *what, int count, char **words) {
    const char *out = NULL, *numbers = what->samples;
    char name[64];
    long seed = 1;
    int64_t samples[3];
    const xp_flag flags[] = {
        {"--out", "DIR", "folder for the files (required)", .text = &out},
        {"--seed", "N", "seed of all random numbers", .number = &seed, .lowest = 0, .highest = XP_SEED_HIGHEST},
        {"--samples", "N,N,N", "samples for training, validation and test", .text = &numbers},
    };
    snprintf(name, sizeof name, "make %s", what->name);
    const xp_usage usage = {.name = name,
                            .synopsis = "--out DIR [flags]",
                            .description = what->description,
                            .flags = flags,
                            .flag_count = sizeof flags / sizeof *flags,
                            .example = what->example};
    xp_arguments arguments;
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (!read_samples(numbers, samples))
        return xp_command_misuse("--samples: '%s' is not three whole numbers from 1 to 100000000, such as %s", numbers,
                                 what->samples);
    if (!out) return xp_command_misuse("no folder for the files: give --out DIR");
    if (what->make(out, (uint64_t)seed, samples) != XP_OK) return xp_command_fail();
    printf("%s: %s\n", out, what->files);
    return XP_EXIT_OK;
}

static int make_listops(int count, char **words) {
    static const made listops = {
        .name = "listops",
        .description =
            "Makes the ListOps data of the Long Range Arena: expressions of MIN, MAX, MED (median, truncated) and\n"
            "SM (sum modulo 10) over digits, nested up to 10 deep, of 501 to 1999 tokens, each with its value.\n"
            "Writes train.tsv, validation.tsv and test.tsv with the header Source, Target. No expression occurs\n"
            "twice, and the same seed gives the same files. The preset lra-listops trains on them.\n",
        .samples = "96000,2000,2000",
        .files = "train.tsv, validation.tsv, test.tsv",
        .example = "  expanse make listops --out listops\n"
                   "  expanse train --preset lra-listops --train listops/train.tsv --test listops/test.tsv\n",
        .make = xp_listops_make};
    return make(&listops, count, words);
}

static int make_pathfinder(int count, char **words) {
    static const made pathfinder = {
        .name = "pathfinder",
        .description =
            "Makes the Pathfinder data of the Long Range Arena: images of 32 by 32 pixels with two long contours of "
            "dashes,\n"
            "five short ones and two dots. The class is 1 where one contour leads from dot to dot, else 0. Writes IDX "
            "files\n"
            "train-..., validation-... and t10k-..., the test data; the same seed gives the same files. The preset\n"
            "lra-pathfinder trains on the folder.\n",
        .samples = "160000,20000,20000",
        .files = "train-images-idx3-ubyte and others",
        .example = "  expanse make pathfinder --out pathfinder\n"
                   "  expanse train --preset lra-pathfinder --train pathfinder --test pathfinder\n",
        .make = xp_pathfinder_make};
    return make(&pathfinder, count, words);
}

static const xp_subcommand data_sets[] = {
    {"listops", "nested lists of digits and operators, with their values", make_listops},
    {"pathfinder", "images of contours, and whether one connects two dots", make_pathfinder},
};

int xp_command_make(int count, char **words) {
    const xp_usage usage = {.name = "make",
                            .synopsis = "DATA [flags]",
                            .description =
                                "Makes a data set from a seed. expanse make DATA --help describes its flags.\n",
                            .commands = data_sets,
                            .command_count = sizeof data_sets / sizeof *data_sets};
    xp_arguments arguments;
    if (count > 0 && words[0][0] == '-') return xp_arguments_read(&usage, 1, words, &arguments);
    const xp_subcommand *data = xp_command_find(&usage, count > 0 ? words[0] : NULL);
    return data ? data->run(count - 1, words + 1) : XP_EXIT_USAGE;
}
