/* The sub-commands of `expanse` and what they share: reading flags and writing to the terminal. Only tools/ prints. */
#ifndef XP_TOOLS_COMMAND_H
#define XP_TOOLS_COMMAND_H

#include "core/status.h"

#include <stdbool.h>

struct xp_config;

enum { XP_EXIT_OK = 0, XP_EXIT_FAILURE = 1, XP_EXIT_USAGE = 2, XP_EXIT_UNFINISHED = 3 }; /* help.c describes them */

/* Each gets the words after its name and returns the exit code. */
int xp_command_train(int count, char **words);
int xp_command_eval(int count, char **words);
int xp_command_predict(int count, char **words);
int xp_command_generate(int count, char **words);
int xp_command_make(int count, char **words);
int xp_command_analyze(int count, char **words);
int xp_command_devices(int count, char **words);
int xp_command_info(int count, char **words);
int xp_command_check(int count, char **words);
int xp_command_doctor(int count, char **words);
int xp_command_bench(int count, char **words);
int xp_command_tune(int count, char **words);
int xp_command_svr(int count, char **words);
int xp_command_study(int count, char **words);

/* One flag of a command: "--name VALUE", "--name=VALUE" or, without a value, "--name". One of text, number, real, on,
 * option and choice receives the value. */
typedef struct xp_flag {
    const char *name;     /* "--epochs" */
    const char *argument; /* "N"; NULL: a switch. FILE, DIR and PRESET are completed accordingly. */
    const char *help;     /* one sentence; the default is added in brackets, unless it ends with one */
    const char **text;    /* the value, unchanged */
    long *number;         /* a whole number */
    double *real;
    double lowest, highest;     /* of number and real; both 0: from 0 to INT_MAX */
    bool *on;                   /* a switch was given */
    const char *option;         /* a configuration key for xp_config_set; "" when the value is "key=value" itself */
    const char *const *choices; /* the words that the value can be, ends in NULL; NULL: any */
    int *choice;                /* the place of the value among them */
} xp_flag;

extern const char *const xp_families[];   /* "auto", "wide", "tiled", "matrix", NULL */
extern const char *const xp_precisions[]; /* in the order of xp_precision, ends in NULL */
extern const char *const xp_parts[];      /* "train", "test", NULL */

#define XP_SEED_HIGHEST 1e15 /* whole numbers below it are exact in double precision */

/* Flags that many commands have; the argument is a const char **. */
#define XP_DEVICE_HELP "id, part of a name, gpu or cpu (the first GPU, or else the first CPU)"
#define XP_FAMILY_HELP                                                                                                 \
    "wide: kernels for CPUs; tiled: for GPUs; matrix: for matrix units (auto: those that suit the device)"
#define XP_DEVICE_FLAG(text_)                                                                                          \
    { "--device", "ID", XP_DEVICE_HELP, .text = (text_) }
#define XP_FAMILY_FLAG(text_)                                                                                          \
    { "--family", "NAME", XP_FAMILY_HELP, .choices = xp_families, .text = (text_) }

#define XP_TRUST_FLAG(on_)                                                                                             \
    { "--trust-code", NULL, "accept the score(...) of a run that is not marked as yours", .on = (on_) }

#define XP_PART_FLAG(text_)                                                                                            \
    {                                                                                                                  \
        "--part", "PART",                                                                                              \
            "train or test: one part of a folder of IDX files (test), or of data that the run split itself (both)",    \
            .choices = xp_parts, .text = (text_)                                                                       \
    }

typedef struct xp_subcommand {
    const char *name, *help;
    int (*run)(int count, char **words); /* gets the words after its name and returns the exit code */
} xp_subcommand;

typedef struct xp_usage {
    const char *name;        /* "train"; "": the whole command */
    const char *synopsis;    /* "--preset NAME --train FILE [flags]" */
    const char *description; /* paragraphs; ends in a newline */
    const xp_flag *flags;
    int flag_count;
    const char *words;             /* the positional argument, "RUN"; NULL: none */
    const char *example;           /* lines, indented by two spaces; ends in a newline */
    const xp_subcommand *commands; /* one of them comes first */
    int command_count;
} xp_usage;

enum { XP_ARGUMENT_WORDS = 16, XP_ARGUMENT_SETTINGS = 128 };
typedef struct xp_arguments {
    const char *words[XP_ARGUMENT_WORDS];
    int word_count;
    struct {
        const char *option, *value; /* of the flags with a configuration key, in order */
    } settings[XP_ARGUMENT_SETTINGS];
    int setting_count;
    bool help; /* --help was given, and the help is printed */
} xp_arguments;

/* Parses the words. Returns XP_EXIT_OK, or XP_EXIT_USAGE after a message on stderr; for an unknown flag, the message
 * suggests the nearest one. */
int xp_arguments_read(const xp_usage *usage, int count, char **words, xp_arguments *out);

/* Applies a preset, a file (NULL: none) and the settings of the flags to *config, in this order, and checks it. One
 * message lists all errors. */
xp_status xp_command_configure(struct xp_config *config, const char *preset, const char *file,
                               const xp_arguments *arguments);

/* The sub-command of this name, or NULL after a message on stderr. */
const xp_subcommand *xp_command_find(const xp_usage *usage, const char *name);

/* Prints the last error of the library on stderr, with "expanse: " before each line. Returns XP_EXIT_FAILURE. */
int xp_command_fail(void);
/* The exit code of a command that has no input but its flags: XP_EXIT_OK for XP_OK. Otherwise prints the last error;
 * XP_INVALID_ARGUMENT means wrong usage, and XP_INTERRUPTED exits with the code of the signal. */
int xp_command_end(xp_status status);
/* Says "expanse: …" and returns XP_EXIT_USAGE. */
int xp_command_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
