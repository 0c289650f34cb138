/* The descriptions of the commands: --help, the manual page and shell completions, all generated from the tables of
 * flags. */
#ifndef XP_TOOLS_HELP_H
#define XP_TOOLS_HELP_H

#include "command.h"

/* Prints the help of a command; as part of a page, in the format of the page. */
void xp_help_print(const xp_usage *usage);

typedef enum xp_help_page { XP_HELP_MAN, XP_HELP_BASH, XP_HELP_ZSH, XP_HELP_FISH } xp_help_page;

extern const char *const xp_help_shells[]; /* "bash", "zsh", "fish", NULL */

/* Prints a page about the whole command; `top` lists the sub-commands. */
void xp_help_print_page(xp_help_page page, const xp_usage *top);

#endif
