/* Parses flags and reports errors in them. Does not know what they do. */
#include "command.h"

#include "help.h"
#include "signals.h"

#include "core/text.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const xp_families[] = {"auto", "wide", "tiled", "matrix", NULL};
const char *const xp_precisions[] = {"fp32", "fp32-matrix", "tf32", "bf16", "fp16", NULL};
const char *const xp_parts[] = {"train", "test", NULL};

enum { FLAGS_LIMIT = 64 };

int xp_command_fail(void) {
    const char *line = xp_last_error();
    do {
        size_t length = strcspn(line, "\n");
        fprintf(stderr, "expanse: %.*s\n", (int)length, line);
        line += length;
        if (*line) line++;
    } while (*line);
    return XP_EXIT_FAILURE;
}

int xp_command_end(xp_status status) {
    if (status == XP_OK) return XP_EXIT_OK;
    xp_command_fail();
    if (status == XP_INTERRUPTED) return xp_signals_exit_code();
    return status == XP_INVALID_ARGUMENT ? XP_EXIT_USAGE : XP_EXIT_FAILURE;
}

int xp_command_misuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("expanse: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    return XP_EXIT_USAGE;
}

static const xp_flag *find_flag(const xp_usage *usage, const char *name, size_t length) {
    for (int i = 0; i < usage->flag_count; i++) {
        const char *each = usage->flags[i].name;
        if (strlen(each) == length && memcmp(each, name, length) == 0) return &usage->flags[i];
    }
    return NULL;
}

static int reject_flag(const xp_usage *usage, const char *name, size_t length) {
    const char *names[FLAGS_LIMIT];
    char word[128];
    int count = 0;
    for (; count < usage->flag_count && count < FLAGS_LIMIT; count++) names[count] = usage->flags[count].name;
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    const char *nearest = xp_text_nearest(word, names, count);
    if (nearest) return xp_command_misuse("unknown flag '%s'; did you mean '%s'?", word, nearest);
    return xp_command_misuse("unknown flag '%s'; expanse %s%s--help lists the flags", word, usage->name,
                             *usage->name ? " " : "");
}

const xp_subcommand *xp_command_find(const xp_usage *usage, const char *name) {
    const char *names[FLAGS_LIMIT], *space = *usage->name ? " " : "";
    int count = 0;
    for (; count < usage->command_count && count < FLAGS_LIMIT; count++) {
        names[count] = usage->commands[count].name;
        if (name && strcmp(name, names[count]) == 0) return &usage->commands[count];
    }
    const char *nearest = name ? xp_text_nearest(name, names, count) : NULL;
    if (!name)
        xp_command_misuse("no command given; expanse %s%s--help lists the commands", usage->name, space);
    else if (nearest)
        xp_command_misuse("unknown command '%s%s%s'; did you mean '%s'?", usage->name, space, name, nearest);
    else
        xp_command_misuse("unknown command '%s%s%s'; expanse %s%s--help lists the commands", usage->name, space, name,
                          usage->name, space);
    return NULL;
}

static int store_choice(const xp_flag *flag, const char *value) {
    char list[256] = "";
    int count = 0;
    for (; flag->choices[count]; count++) {
        if (strcmp(value, flag->choices[count]) == 0) {
            if (flag->choice) *flag->choice = count;
            return XP_EXIT_OK;
        }
        xp_text_add(list, sizeof list, "%s%s",
                    count == 0                 ? ""
                    : flag->choices[count + 1] ? ", "
                                               : " or ",
                    flag->choices[count]);
    }
    return xp_command_misuse("%s: '%s' is not %s", flag->name, value, list);
}

static int store_number(const xp_flag *flag, const char *value) {
    const double lowest = flag->lowest, highest = lowest != 0 || flag->highest != 0 ? flag->highest : INT_MAX;
    double number = 0;
    size_t length = 0;
    if (xp_text_number(value, &number, &length) != XP_OK) return xp_command_fail();
    if (flag->number ? value[strspn(value, "0123456789")] || !*value : length == 0 || value[length])
        return xp_command_misuse("%s: '%s' is not a %snumber", flag->name, value, flag->number ? "whole " : "");
    if (!(number >= lowest && number <= highest))
        return xp_command_misuse("%s: %s is not between %.15g and %.15g", flag->name, value, lowest, highest);
    if (flag->number) *flag->number = (long)number;
    if (flag->real) *flag->real = number;
    return XP_EXIT_OK;
}

static int store(const xp_flag *flag, const char *value, xp_arguments *out) {
    if (flag->choices) {
        const int code = store_choice(flag, value);
        if (code != XP_EXIT_OK) return code;
    }
    if (flag->text) *flag->text = value;
    if (flag->option) {
        if (out->setting_count == XP_ARGUMENT_SETTINGS) return xp_command_misuse("%s: too many settings", flag->name);
        out->settings[out->setting_count].option = flag->option;
        out->settings[out->setting_count++].value = value;
    }
    return flag->number || flag->real ? store_number(flag, value) : XP_EXIT_OK;
}

int xp_arguments_read(const xp_usage *usage, int count, char **words, xp_arguments *out) {
    *out = (xp_arguments){0};
    for (int i = 0; i < count; i++) {
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) {
            xp_help_print(usage);
            out->help = true;
            return XP_EXIT_OK;
        }
    }
    bool flags_end = false;
    for (int i = 0; i < count; i++) {
        const char *word = words[i];
        if (!flags_end && strcmp(word, "--") == 0) {
            flags_end = true;
            continue;
        }
        if (flags_end || word[0] != '-' || word[1] == '\0') {
            if (!usage->words || out->word_count == XP_ARGUMENT_WORDS) {
                return xp_command_misuse("'%s' is not expected here; expanse %s --help shows the usage", word,
                                         usage->name);
            }
            out->words[out->word_count++] = word;
            continue;
        }
        size_t length = strcspn(word, "=");
        const xp_flag *flag = find_flag(usage, word, length);
        if (!flag) return reject_flag(usage, word, length);
        if (flag->on) {
            if (word[length] == '=') return xp_command_misuse("%s takes no value", flag->name);
            *flag->on = true;
            continue;
        }
        const char *value = word[length] == '=' ? word + length + 1 : i + 1 < count ? words[++i] : NULL;
        if (!value) return xp_command_misuse("%s needs a value: %s %s", flag->name, flag->name, flag->argument);
        int code = store(flag, value, out);
        if (code != XP_EXIT_OK) return code;
    }
    return XP_EXIT_OK;
}
