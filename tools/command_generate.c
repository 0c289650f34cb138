/* expanse generate: text from a trained language model, as it is written. */
#include "command.h"

#include "core/text.h"
#include "live.h"
#include "table.h"
#include "train/generate.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct output {
    xp_live live; /* while kernels are prepared */
    bool begun;
    bool terminal;   /* it gets whole characters, and nothing that controls it */
    char pending[4]; /* bytes of a character that may become whole */
    size_t count;
    const char *prompt;
} output;

/* How many bytes the character that begins so has; 0: no character does. */
static size_t expected_bytes(unsigned char first) {
    return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* Whether a terminal shows a whole character: neither it, nor U+0080 to U+009F, controls the terminal. */
static bool is_shown(const char *text, size_t count) {
    const unsigned char first = (unsigned char)text[0], second = (unsigned char)text[count - 1];
    if (count == 1) return first == '\n' || first == '\t' || (first >= ' ' && first != 0x7f);
    return xp_text_utf8(text, count) == count && !(first == 0xc2 && second < 0xa0);
}

/* Writes what of the pending bytes is decided; at the `end` all of it. */
static void write_pending(output *out, bool end) {
    while (out->count > 0) {
        const size_t whole = expected_bytes((unsigned char)out->pending[0]);
        size_t begun = 1; /* of its bytes, which may still become whole */
        while (begun < out->count && ((unsigned char)out->pending[begun] & 0xc0) == 0x80) begun++;
        if (begun == out->count && whole > out->count && !end) return;
        const bool shown = whole > 0 && whole <= begun && is_shown(out->pending, whole);
        const size_t written = shown ? whole : 1;
        if (shown)
            fwrite(out->pending, 1, written, stdout);
        else
            printf("\\x%02x", (unsigned char)out->pending[0]);
        out->count -= written;
        memmove(out->pending, out->pending + written, out->count);
    }
}

static void write_byte(output *out, unsigned char byte) {
    if (out->terminal) {
        out->pending[out->count++] = (char)byte;
        write_pending(out, false);
    } else {
        putchar(byte);
    }
}

/* The progress line makes room for the text. */
static void begin(output *out) {
    if (out->begun) return;
    out->begun = true;
    xp_live_clear(&out->live);
    for (const char *at = out->prompt; *at; at++) write_byte(out, (unsigned char)*at);
}

static xp_status take(void *user, unsigned char byte) {
    begin(user);
    write_byte(user, byte);
    return xp_output_check(stdout);
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
            "weights are used, or its folder best/ or last/. A terminal gets control characters and what is not\n"
            "UTF-8 as \\xNN; a file or a pipe gets the bytes as they are.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof *flags,
        .words = "RUN",
        .example = "  expanse generate runs/shakespeare --prompt 'KING HENRY.' --temperature 0.8 --top-k 40\n"};
    xp_arguments arguments;
    const int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (arguments.word_count != 1) return xp_command_misuse("give one run folder: expanse generate RUN --prompt TEXT");
    if (!*options.prompt) return xp_command_misuse("--prompt: give at least one character");

    output out = {.prompt = options.prompt, .terminal = isatty(STDOUT_FILENO) == 1};
    xp_trainer_callbacks callbacks = {0};
    xp_live_start(&out.live, stderr, quiet);
    xp_live_bind(&out.live, &callbacks);
    options.prompt_length = strlen(options.prompt);
    options.bytes = bytes;
    options.sampling.top_k = (int)top_k;
    options.seed = (uint64_t)seed;
    options.user = &out;
    const xp_status status = xp_generate(arguments.words[0], &options, &callbacks);
    write_pending(&out, true);
    if (out.begun) putchar('\n');
    xp_live_clear(&out.live);
    return xp_command_end(status);
}
