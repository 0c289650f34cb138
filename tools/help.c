/* The formats of help. Knows the formats, exit codes and environment variables, but not what a flag does. */
#include "help.h"

#include "table.h"

#include "core/writer.h"
#include "train/config.h"

#include <expanse/version.h>
#include <stdio.h>
#include <string.h>

enum { HELP_COLUMN = 26 };

const char *const xp_help_shells[] = {"bash", "zsh", "fish", NULL};

typedef struct fact {
    const char *name, *text;
} fact;

static const fact exit_codes[] = {
    {"0", "success"},
    {"1", "failure; a message on standard error says what failed"},
    {"2", "wrong usage: a command, a flag or its value"},
    {"3", "not finished: the time limit of train --max-time is over"},
    {"128 + N", "ended by signal N: 130 after Ctrl-C, 141 if the reader of the output has ended, as in | head"},
};

static const fact environment[] = {
    {"EXPANSE_CACHE_DIR", "folder for compiled kernels, tuning tables and peak measurements; empty: keep nothing"},
    {"XDG_CACHE_HOME", "without EXPANSE_CACHE_DIR, the cache folder is expanse in this folder"},
    {"HOME", "without either, the cache folder is .cache/expanse in this folder"},
    {"XDG_STATE_HOME",
     "the key that marks your runs is in the subfolder expanse, else in .local/state/expanse in HOME"},
    {"EXPANSE_TUNING", "a tuning table (JSON) that takes precedence over all others"},
    {"XP_CL_DIR", "folder of kernel sources (*.cl, *.clh) to use instead of the built-in ones"},
    {"TMPDIR", "if HOME is not writable, PoCL keeps its kernels in a private folder in this one (/tmp)"},
    {"NO_COLOR", "if not empty, the terminal output has no colours"},
    {"TERM", "if dumb, the terminal output has no colours and no progress line"},
    {"OCL_ICD_VENDORS", "read by the OpenCL loader: where to look for drivers, instead of /etc/OpenCL/vendors"},
    {"POCL_CACHE_DIR", "read by PoCL, the driver for CPUs: where to keep compiled kernels"},
};

/* The help of a flag and its default, unless the text contains one: that of its option, or what its variable holds
 * before the flags are read. */
static void write_help(xp_writer *out, const xp_flag *flag) {
    const size_t length = strlen(flag->help), begin = length + 2;
    xp_write(out, "%s", flag->help);
    if (!flag->argument || flag->help[length - 1] == ')' || (flag->option && !*flag->option)) return;
    xp_write(out, " (");
    if (flag->option) {
        xp_config config;
        xp_config_default(&config);
        xp_config_value(&config, flag->option, out);
    }
    if (flag->number && (double)*flag->number >= flag->lowest) xp_write(out, "%ld", *flag->number);
    if (flag->real) xp_write_number(out, *flag->real);
    if (flag->choice && *flag->choice >= 0) xp_write(out, "%s", flag->choices[*flag->choice]);
    if (flag->text && *flag->text) xp_write(out, "%s", *flag->text);
    xp_write(out, out->length == begin ? "none)" : ")");
}

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

/* ---- text -------------------------------------------------------------------------------------------------------- */

static void text_entry(const char *left, const char *right) {
    char name[112];
    snprintf(name, sizeof name, "  %s", left);
    if (strlen(name) >= HELP_COLUMN - 1) {
        printf("%s\n", name);
        name[0] = '\0';
    }
    do {
        const size_t bytes = xp_table_line(right, XP_TABLE_COLUMNS - HELP_COLUMN);
        printf("%-*s%.*s\n", HELP_COLUMN, name, (int)bytes, right);
        name[0] = '\0';
        right += bytes;
        while (*right == ' ') right++;
    } while (*right);
}

static void text_flag(const xp_flag *flag) {
    char left[96];
    xp_writer help = {0};
    write_help(&help, flag);
    snprintf(left, sizeof left, "%s%s%s", flag->name, flag->argument ? " " : "", flag->argument ? flag->argument : "");
    text_entry(left, help.text ? help.text : flag->help);
    xp_writer_release(&help);
}

/* Breaks paragraphs into lines; an indented line stays as it is. */
static void text_paragraphs(const char *text) {
    xp_writer paragraph = {0};
    for (const char *line = text, *next; *line; line = next) {
        const int bytes = (int)strcspn(line, "\n");
        const bool flows = bytes > 0 && *line != ' ';
        next = line + bytes + (line[bytes] == '\n');
        if (flows) xp_write(&paragraph, "%s%.*s", paragraph.length ? " " : "", bytes, line);
        if (flows && *next && *next != '\n' && *next != ' ') continue;
        for (const char *rest = paragraph.text; rest && *rest;) {
            const size_t length = xp_table_line(rest, XP_TABLE_COLUMNS);
            printf("%.*s\n", (int)length, rest);
            rest += length + (rest[length] == ' ');
        }
        if (!flows) printf("%.*s\n", bytes, line);
        xp_writer_release(&paragraph);
    }
}

static void text_help(const xp_usage *usage) {
    printf("Usage: expanse%s%s %s\n\n", *usage->name ? " " : "", usage->name, usage->synopsis);
    text_paragraphs(usage->description);
    if (usage->command_count > 0) printf("\nCommands:\n");
    for (int i = 0; i < usage->command_count; i++) text_entry(usage->commands[i].name, usage->commands[i].help);
    if (usage->flag_count > 0) printf("\nFlags:\n");
    for (int i = 0; i < usage->flag_count; i++) text_flag(&usage->flags[i]);
    if (!*usage->name) {
        printf("\nExit codes:\n");
        for (int i = 0; i < COUNT(exit_codes); i++) text_entry(exit_codes[i].name, exit_codes[i].text);
        printf("\nEnvironment:\n");
        for (int i = 0; i < COUNT(environment); i++) text_entry(environment[i].name, environment[i].text);
    }
    if (usage->example) printf("\nExample:\n%s", usage->example);
}

/* ---- the manual page --------------------------------------------------------------------------------------------- */

/* The code point of the UTF-8 at *text; moves *text past it. */
static unsigned next_character(const char **text) {
    const unsigned char *at = (const unsigned char *)*text;
    unsigned code = *at++;
    if (code >= 0xc0) code &= code >= 0xf0 ? 0x07 : code >= 0xe0 ? 0x0f : 0x1f;
    while ((*at & 0xc0) == 0x80) code = code << 6 | (*at++ & 0x3f);
    *text = (const char *)at;
    return code;
}

/* Text of a line, with the characters that troff would interpret escaped. */
static void man_text(const char *text, size_t bytes) {
    static const char *const escapes[128] = {['\\'] = "\\e",  ['-'] = "\\-",   ['\''] = "\\(aq", ['`'] = "\\(ga",
                                             ['^'] = "\\(ha", ['~'] = "\\(ti", ['"'] = "\\(dq"};
    for (const char *end = text + bytes; text < end;) {
        const unsigned code = next_character(&text);
        if (code >= 128)
            printf("\\[u%04X]", code);
        else if (escapes[code])
            fputs(escapes[code], stdout);
        else
            putchar((int)code);
    }
}

/* Lines; one that is indented stays as it is. */
static void man_lines(const char *text) {
    bool verbatim = false;
    while (*text) {
        const size_t bytes = strcspn(text, "\n");
        const bool indented = *text == ' ';
        if (indented != verbatim && bytes > 0) fputs(indented ? ".nf\n" : ".fi\n", stdout);
        if (bytes > 0) verbatim = indented;
        if (bytes == 0) {
            fputs(verbatim ? ".fi\n.PP\n" : ".PP\n", stdout);
            verbatim = false;
        } else {
            if (*text == '.') fputs("\\&", stdout);
            man_text(text, bytes);
            fputs("\n", stdout);
        }
        text += bytes + (text[bytes] == '\n');
    }
    if (verbatim) fputs(".fi\n", stdout);
}

static void man_line(const char *text) {
    man_text(text, strlen(text));
    putchar('\n');
}

static void man_entry(const char *name, const char *argument, const char *text) {
    fputs(".TP\n", stdout);
    fputs(argument ? ".BI \"" : ".B \"", stdout);
    man_text(name, strlen(name));
    if (argument) {
        fputs("\" \" ", stdout);
        man_text(argument, strlen(argument));
    }
    fputs("\"\n", stdout);
    man_line(text);
}

static void man_flags(const xp_usage *usage) {
    for (int i = 0; i < usage->flag_count; i++) {
        xp_writer help = {0};
        write_help(&help, &usage->flags[i]);
        man_entry(usage->flags[i].name, usage->flags[i].argument, help.text ? help.text : usage->flags[i].help);
        xp_writer_release(&help);
    }
}

static void man_synopsis(const xp_usage *usage) {
    const char *line = usage->synopsis;
    printf(".B expanse");
    if (*usage->name) printf(" %s", usage->name);
    printf("\n");
    while (*line) {
        const size_t bytes = strcspn(line, "\n");
        man_text(line, bytes);
        fputs("\n", stdout);
        line += bytes + (line[bytes] == '\n');
        line += strspn(line, " ");
        if (*line) fputs(".br\n", stdout);
    }
}

static void man_example(const xp_usage *usage) {
    if (!usage->example) return;
    printf(".PP\nExample:\n.PP\n.nf\n");
    for (const char *line = usage->example; *line;) {
        const size_t bytes = strcspn(line, "\n");
        man_text(line, bytes);
        fputs("\n", stdout);
        line += bytes + (line[bytes] == '\n');
    }
    printf(".fi\n");
}

static void man_command(const xp_usage *usage) {
    printf(".SS expanse %s\n", usage->name);
    man_synopsis(usage);
    printf(".PP\n");
    man_lines(usage->description);
    for (int i = 0; i < usage->command_count; i++) man_entry(usage->commands[i].name, NULL, usage->commands[i].help);
    man_flags(usage);
    man_example(usage);
}

static void man_top(const xp_usage *top) {
    printf(".\\\" Generated by expanse --man.\n.TH EXPANSE 1 \"\" \"Expanse %s\" \"User Commands\"\n", XP_VERSION);
    printf(".SH NAME\nexpanse \\- train transformers on any OpenCL device\n.SH SYNOPSIS\n");
    man_synopsis(top);
    printf(".SH DESCRIPTION\n");
    man_lines(top->description);
    printf(".SH OPTIONS\n");
    man_flags(top);
    man_entry("--help", NULL, "of each command: what it does, its flags and their defaults");
    printf(".SH COMMANDS\n");
    for (int i = 0; i < top->command_count; i++) man_entry(top->commands[i].name, NULL, top->commands[i].help);
}

static void man_end(void) {
    printf(".SH EXIT STATUS\n");
    for (int i = 0; i < COUNT(exit_codes); i++) man_entry(exit_codes[i].name, NULL, exit_codes[i].text);
    printf(".SH ENVIRONMENT\n");
    for (int i = 0; i < COUNT(environment); i++) man_entry(environment[i].name, NULL, environment[i].text);
}

/* ---- completions ------------------------------------------------------------------------------------------------- */

/* 'text', safe in every shell. */
static void quoted(const char *text, const char *escaped) {
    for (; *text; text++) {
        if (strchr(escaped, *text)) putchar('\\');
        fputs(*text == '\'' ? "'\\''" : (char[]){*text, '\0'}, stdout);
    }
}

static bool takes(const xp_flag *flag, const char *argument) {
    return flag->argument && strcmp(flag->argument, argument) == 0;
}

/* Prints the words that the value can be, if they are known, between two texts. */
static bool print_words(const xp_flag *flag, const char *before, const char *after) {
    char presets[64][64];
    const int count = takes(flag, "PRESET") ? xp_config_presets(presets, 64) : 0;
    if (!flag->choices && count == 0) return false;
    fputs(before, stdout);
    for (int i = 0; flag->choices && flag->choices[i]; i++) printf("%s%s", i ? " " : "", flag->choices[i]);
    for (int i = 0; i < count; i++) printf("%s%s", i ? " " : "", presets[i]);
    fputs(after, stdout);
    return true;
}

static void bash_words(const xp_usage *usage) {
    printf("_expanse_words '");
    for (int i = 0; i < usage->command_count; i++) printf("%s ", usage->commands[i].name);
    for (int i = 0; i < usage->flag_count; i++) printf("%s ", usage->flags[i].name);
    printf("--help'\n");
}

/* What the values of the flags are completed with. */
static void bash_values(const xp_usage *usage) {
    printf("        case $previous in\n");
    for (int i = 0; i < usage->flag_count; i++) {
        const xp_flag *flag = &usage->flags[i];
        if (!flag->argument) continue;
        printf("        %s)", flag->name);
        if (takes(flag, "FILE"))
            printf(" _expanse_paths -f;");
        else if (takes(flag, "DIR"))
            printf(" _expanse_paths -d;");
        else
            print_words(flag, " _expanse_words '", "';");
        printf(" return ;;\n");
    }
    printf("        esac\n");
}

static void bash_command(const xp_usage *usage) {
    printf("    if [[ $command == '%s' ]]; then\n", usage->name);
    if (usage->command_count > 0) {
        printf("        if ((COMP_CWORD == 2)); then\n            ");
        bash_words(usage);
        printf("            return\n        fi\n        command=\"%s ${COMP_WORDS[2]}\"\n    fi\n", usage->name);
        return;
    }
    bash_values(usage);
    if (usage->words && strcmp(usage->words, "RUN") == 0)
        printf(
            "        if [[ $current != -* ]]; then\n            _expanse_paths -d\n            return\n        fi\n");
    printf("        ");
    bash_words(usage);
    printf("        return\n    fi\n");
}

static void bash_top(const xp_usage *top) {
    printf(
        "# Completion of expanse in bash. Generated by expanse --completion bash.\n"
        "_expanse_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$current\"); }\n"
        "_expanse_paths() { compopt -o filenames; mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$current\"); }\n"
        "_expanse() {\n"
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}\n"
        "    COMPREPLY=()\n"
        "    [[ $current == = ]] && current=''\n"
        "    [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
        "    if ((COMP_CWORD == 1)) || [[ $command == -* ]]; then\n");
    bash_values(top);
    printf("        ");
    bash_words(top);
    printf("        return\n    fi\n");
}

static void bash_end(void) {
    printf("}\ncomplete -F _expanse expanse\n");
}

static void zsh_commands(const xp_usage *usage) {
    printf("    if ((CURRENT == 2)) && [[ $words[2] != -* ]]; then\n        commands=(");
    for (int i = 0; i < usage->command_count; i++) {
        printf("\n            '%s:", usage->commands[i].name);
        quoted(usage->commands[i].help, "");
        printf("'");
    }
    printf(")\n        _describe command commands\n        return\n    fi\n");
}

static void zsh_flag(const xp_flag *flag) {
    printf(" \\\n            '%s%s[", flag->name, flag->argument && flag->name[1] == '-' ? "=" : "");
    quoted(flag->help, "[]:\\");
    printf("]");
    if (flag->argument) printf(":%s:", flag->argument);
    if (takes(flag, "FILE"))
        printf("_files");
    else if (takes(flag, "DIR"))
        printf("_files -/");
    else
        print_words(flag, "(", ")");
    printf("'");
}

static void zsh_flags(const xp_usage *usage) {
    printf("        _arguments");
    for (int i = 0; i < usage->flag_count; i++) zsh_flag(&usage->flags[i]);
    if (usage->words)
        printf(" \\\n            '*:%s:%s'", usage->words, strcmp(usage->words, "RUN") ? "" : "_files -/");
    printf(" \\\n            '--help[what the command does, and its flags]'\n        return\n    fi\n");
}

static void zsh_command(const xp_usage *usage) {
    printf("    if [[ $command == '%s' ]]; then\n        shift words\n        ((CURRENT--))\n", usage->name);
    if (usage->command_count > 0) {
        zsh_commands(usage);
        printf("    command=\"%s $words[2]\"\n    fi\n", usage->name);
    } else {
        zsh_flags(usage);
    }
}

static void zsh_top(const xp_usage *top) {
    printf("#compdef expanse\n# Completion of expanse in zsh. Generated by expanse --completion zsh.\n"
           "_expanse() {\n    local -a commands\n");
    zsh_commands(top);
    printf("    local command=$words[2]\n    if [[ $command == -* ]]; then\n");
    zsh_flags(top);
}

static void zsh_end(void) {
    printf("}\n_expanse \"$@\"\n");
}

/* The condition under which a word of `usage` is offered. */
static void fish_begin(const xp_usage *usage) {
    const char *second = strchr(usage->name, ' ');
    printf("complete -c expanse -n '__fish_seen_subcommand_from %.*s",
           (int)(second ? second - usage->name : (long)strlen(usage->name)), usage->name);
    if (second) printf("; and __fish_seen_subcommand_from%s", second);
}

static void fish_flag(const xp_flag *flag) {
    const bool is_long = flag->name[1] == '-';
    printf("' -%c %s -d '", is_long ? 'l' : 's', flag->name + (is_long ? 2 : 1));
    quoted(flag->help, "\\");
    printf("'");
    if (takes(flag, "FILE"))
        printf(" -r -F");
    else if (takes(flag, "DIR"))
        printf(" -x -a '(__fish_complete_directories)'");
    else if (!print_words(flag, " -x -a '", "'") && flag->argument)
        printf(" -x");
    printf("\n");
}

static void fish_command(const xp_usage *usage) {
    for (int i = 0; i < usage->command_count; i++) {
        fish_begin(usage);
        printf("; and not __fish_seen_subcommand_from");
        for (int j = 0; j < usage->command_count; j++) printf(" %s", usage->commands[j].name);
        printf("' -a %s -d '", usage->commands[i].name);
        quoted(usage->commands[i].help, "\\");
        printf("'\n");
    }
    for (int i = 0; i < usage->flag_count; i++) {
        fish_begin(usage);
        fish_flag(&usage->flags[i]);
    }
    if (usage->words && strcmp(usage->words, "RUN") == 0) {
        fish_begin(usage);
        printf("' -a '(__fish_complete_directories)'\n");
    }
}

static void fish_top(const xp_usage *top) {
    printf("# Completion of expanse in fish. Generated by expanse --completion fish.\ncomplete -c expanse -f\n");
    for (int i = 0; i < top->command_count; i++) {
        printf("complete -c expanse -n '__fish_use_subcommand' -a %s -d '", top->commands[i].name);
        quoted(top->commands[i].help, "\\");
        printf("'\n");
    }
    for (int i = 0; i < top->flag_count; i++) {
        printf("complete -c expanse -n '__fish_use_subcommand");
        fish_flag(&top->flags[i]);
    }
}

static void nothing(void) {
}

/* ---- all forms --------------------------------------------------------------------------------------------------- */

static const struct form {
    void (*top)(const xp_usage *usage), (*command)(const xp_usage *usage), (*end)(void);
} forms[] = {
    [XP_HELP_MAN] = {man_top, man_command, man_end},
    [XP_HELP_BASH] = {bash_top, bash_command, bash_end},
    [XP_HELP_ZSH] = {zsh_top, zsh_command, zsh_end},
    [XP_HELP_FISH] = {fish_top, fish_command, nothing},
};
static const struct form *form; /* of the page that is printed; NULL: help for one command */

static void ask_commands(const xp_usage *usage) {
    for (int i = 0; i < usage->command_count; i++) usage->commands[i].run(1, (char *[]){"--help", NULL});
}

void xp_help_print(const xp_usage *usage) {
    if (!form) {
        text_help(usage);
        return;
    }
    form->command(usage);
    ask_commands(usage);
}

void xp_help_print_page(xp_help_page page, const xp_usage *top) {
    form = &forms[page];
    form->top(top);
    ask_commands(top);
    form->end();
    form = NULL;
}
