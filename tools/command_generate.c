/* expanse generate: text from a trained language model, as it is written. */
#include "command.h"

#include "live.h"
#include "train/generate.h"

#include <stdio.h>
#include <string.h>

typedef struct output {
    xp_live live; /* while kernels are prepared */
    bool begun;
    const char *prompt;
} output;

/* The progress line makes room for the text. */
static void begin(output *out) {
    if (out->begun) return;
    out->begun = true;
    xp_live_clear(&out->live);
    fputs(out->prompt, stdout);
}

static xp_status take(void *user, unsigned char byte) {
    begin(user);
    return putchar(byte) == EOF || fflush(stdout) != 0 ? xp_fail(XP_IO_ERROR, "the text could not be written") : XP_OK;
}

int xp_command_generate(int count, char **words) {
    xp_generate_options options = {.prompt = "\n", .sampling = {.temperature = 1, .top_p = 1}, .take = take};
    long bytes = 500, top_k = 0, seed = 1;
    bool quiet = false;
    const xp_flag flags[] = {
        {"--prompt", "TEXT", "text to go on from (a line end)", .text = &options.prompt},
        {"--bytes", "N", "bytes to write", .number = &bytes, .lowest = 1, .highest = 1e12},
        {"--temperature", "X",
         "divides the logits: below 1 likelier, above 1 bolder text; 0: always the likeliest byte",
         .real = &options.sampling.temperature, .highest = 1000},
        {"--top-k", "N", "choose from the N likeliest bytes; 0: from all", .number = &top_k, .highest = 256},
        {"--top-p", "X", "choose from the likeliest bytes that have this probability together; 1: from all",
         .real = &options.sampling.top_p, .lowest = 1e-9, .highest = 1},
        {"--seed", "N", "seed of the random numbers", .number = &seed, .highest = XP_SEED_HIGHEST},
        XP_DEVICE_FLAG(&options.device),
        XP_FAMILY_FLAG(&options.family),
        XP_TRUST_FLAG(&options.trust_code),
        {"--quiet", NULL, "no progress line", .on = &quiet},
    };
    const xp_usage usage = {
        .name = "generate",
        .synopsis = "RUN --prompt TEXT [flags]",
        .description =
            "Writes the prompt and text that a language model continues it with, byte by byte as it is drawn.\n"
            "The same seed gives the same text. The model remembers keys and values, so a byte costs time in\n"
            "proportion to the bytes before it. It sees as many bytes as its context has (train --context);\n"
            "when this is full, it goes on from the second half. RUN is a run folder, of which the best\n"
            "weights are used, or its folder best/ or last/.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof *flags,
        .words = "RUN",
        .example = "  expanse generate runs/shakespeare --prompt 'KING HENRY.' --temperature 0.8 --top-k 40\n"};
    xp_arguments arguments;
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (arguments.word_count != 1) return xp_command_misuse("give one run folder: expanse generate RUN --prompt TEXT");
    if (!*options.prompt) return xp_command_misuse("--prompt: give at least one character");

    output out = {.prompt = options.prompt};
    xp_trainer_callbacks callbacks = {0};
    xp_live_start(&out.live, stderr, quiet);
    xp_live_bind(&out.live, &callbacks);
    options.prompt_length = strlen(options.prompt);
    options.bytes = bytes;
    options.sampling.top_k = (int)top_k;
    options.seed = (uint64_t)seed;
    options.user = &out;
    const xp_status status = xp_generate(arguments.words[0], &options, &callbacks);
    if (out.begun) putchar('\n');
    xp_live_clear(&out.live);
    return xp_command_end(status);
}
