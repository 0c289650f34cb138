/* The option table of a configuration: the names, kinds, ranges, defaults and comments of its options, and their values
 * as text. It serves the files that make up train/config.h; who reads a configuration includes that. */
#ifndef XP_TRAIN_OPTIONS_H
#define XP_TRAIN_OPTIONS_H

#include "train/config.h"

typedef enum xp_option_kind {
    XP_OPTION_TEXT,
    XP_OPTION_WHOLE,
    XP_OPTION_COUNT,
    XP_OPTION_SEED,
    XP_OPTION_REAL,
    XP_OPTION_SWITCH,
    XP_OPTION_CHOICE,
    XP_OPTION_CADENCE
} xp_option_kind;

/* Of several names for one value the first is written and offered; the others are read in files that older versions
 * wrote. */
typedef struct xp_option_choice {
    const char *name;
    int value;
} xp_option_choice;

typedef struct xp_option {
    const char *section, *key;
    xp_option_kind kind;
    size_t offset, bytes;            /* in xp_config; bytes: of a text */
    double lowest, highest;          /* of numbers */
    const xp_option_choice *choices; /* end in a NULL name */
    const char *help;                /* the comment beside it in a printed configuration */
} xp_option;

extern const xp_option xp_options[]; /* in the order in which they are printed; ends in a NULL section */

/* The option of a section; section NULL: any, "": none. If there is no such option, adds a line to the faults that
 * begins with `place` and suggests a similar name. */
const xp_option *xp_option_find(const char *section, const char *key, const char *place, xp_writer *faults);
/* Whether there is such a section; if not, adds a line to the faults that begins with `place`. */
bool xp_option_section(const char *section, const char *place, xp_writer *faults);
/* Sets one option from text; a fault is one line that begins with `place`. */
void xp_option_set(xp_config *config, const xp_option *entry, const char *text, const char *place, xp_writer *faults);
/* Appends the value as in a configuration file. */
void xp_option_write(xp_writer *out, const xp_config *config, const xp_option *entry);
void xp_option_write_quoted(xp_writer *out, const char *text);

/* Overlays a YAML text; *config stays as it is when anything is wrong. */
xp_status xp_config_overlay(xp_config *config, const char *name, const char *text, size_t length, bool may_name_preset);

#endif
