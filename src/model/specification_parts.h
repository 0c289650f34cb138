/* Shared by the files of the attention specification only: its words, and the parsing of its text. */
#ifndef XP_MODEL_SPECIFICATION_PARTS_H
#define XP_MODEL_SPECIFICATION_PARTS_H

#include "model/specification.h"

/* ---- words ------------------------------------------------------------------------------------------------------- */

enum { XP_WORD_BYTES = 32, XP_QUOTE_BYTES = 160 };
enum { XP_KERNEL_SOFTMAX, XP_KERNEL_LINEAR };
extern const char *const xp_kernel_names[];
extern const char *const xp_feature_names[]; /* by xp_features */
#define XP_BN_BETA    1.0f
#define XP_BN_EPSILON 1e-5f

/* The index of a word in a list; -1: not found. */
int xp_word_find(const char *word, const char *const *list, int count);
/* Whether a file name with this character needs no quotes. */
bool xp_is_bare(char c);

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct xp_cursor {
    const char *text;
    size_t at;
} xp_cursor;

/* Reports an error: quotes the text around `at`, without control characters, and its column. */
xp_status xp_cursor_reject(const xp_cursor *reader, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* `word` is not in the list: the message names the nearest word, or what is expected. */
xp_status xp_cursor_reject_word(const xp_cursor *reader, size_t at, const char *word, const char *const *list,
                                int count, const char *expected);
/* Moves to the next character that is not a blank, and returns it. */
char xp_cursor_look(xp_cursor *reader);
bool xp_cursor_take(xp_cursor *reader, char wanted);
xp_status xp_cursor_open(xp_cursor *reader, const char *example); /* "(" */
xp_status xp_cursor_close(xp_cursor *reader);                     /* ")" */
/* The letters and digits from here on; an empty word if there are none. Overlong words are cut; no known word is so
 * long. */
void xp_cursor_word(xp_cursor *reader, char word[XP_WORD_BYTES]);
/* One word of a list; *out is its index. */
xp_status xp_cursor_choice(xp_cursor *reader, const char *const *list, int count, const char *expected, int *out);
xp_status xp_cursor_number(xp_cursor *reader, const char *what, float *out);
/* A positive number in brackets. */
xp_status xp_cursor_positive(xp_cursor *reader, const char *what, const char *example, float *out);
xp_status xp_cursor_whole(xp_cursor *reader, const char *what, int lowest, int highest, int *out);
/* Text in double quotes, without escapes. */
xp_status xp_cursor_quoted(xp_cursor *reader, const char *what, char out[XP_SPECIFICATION_BYTES]);
/* A file's name, in quotes or bare. */
xp_status xp_cursor_file(xp_cursor *reader, char out[XP_SPECIFICATION_BYTES]);

/* What follows the word "score". */
xp_status xp_specification_read_score(xp_cursor *reader, xp_specification *out);

#endif
