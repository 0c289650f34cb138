/* The words, numbers and texts of a specification, and what is said of a wrong one. */
#include "core/text.h"
#include "model/specification_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BEFORE_PLACE = 100 };

static bool is_continuation(char byte) {
    return ((unsigned char)byte & 0xc0) == 0x80;
}

xp_status xp_cursor_reject(const xp_cursor *reader, size_t at, const char *format, ...) {
    char reason[512], quote[XP_QUOTE_BYTES];
    const size_t length = strlen(reader->text);
    size_t first = length >= sizeof quote && at > BEFORE_PLACE ? at - BEFORE_PLACE : 0;
    while (first > 0 && is_continuation(reader->text[first])) first++;
    size_t count = length - first < sizeof quote - 1 ? length - first : sizeof quote - 1;
    while (count > 0 && is_continuation(reader->text[first + count])) count--;
    memcpy(quote, reader->text + first, count);
    quote[count] = 0;
    for (char *c = quote; *c; c++)
        if (iscntrl((unsigned char)*c)) *c = '?';
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return xp_fail(XP_INVALID_ARGUMENT, "attention \"%s%s%s\", column %zu: %s", first ? "…" : "", quote,
                   first + count < length ? "…" : "", at + 1, reason);
}

char xp_cursor_look(xp_cursor *reader) {
    while (reader->text[reader->at] == ' ' || reader->text[reader->at] == '\t') reader->at++;
    return reader->text[reader->at];
}

bool xp_cursor_take(xp_cursor *reader, char wanted) {
    if (xp_cursor_look(reader) != wanted) return false;
    reader->at++;
    return true;
}

xp_status xp_cursor_open(xp_cursor *reader, const char *example) {
    return xp_cursor_take(reader, '(') ? XP_OK : xp_cursor_reject(reader, reader->at, "expected \"(\": %s", example);
}

xp_status xp_cursor_close(xp_cursor *reader) {
    return xp_cursor_take(reader, ')') ? XP_OK : xp_cursor_reject(reader, reader->at, "expected \")\"");
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

void xp_cursor_word(xp_cursor *reader, char word[XP_WORD_BYTES]) {
    xp_cursor_look(reader);
    size_t length = 0;
    for (; is_word(reader->text[reader->at]); reader->at++)
        if (length < XP_WORD_BYTES - 1) word[length++] = reader->text[reader->at];
    word[length] = 0;
}

int xp_word_find(const char *word, const char *const *list, int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(word, list[i]) == 0) return i;
    return -1;
}

xp_status xp_cursor_reject_word(const xp_cursor *reader, size_t at, const char *word, const char *const *list,
                                int count, const char *expected) {
    const char *nearest = *word ? xp_text_nearest(word, list, count) : NULL;
    if (!*word) return xp_cursor_reject(reader, at, "expected %s", expected);
    if (nearest) return xp_cursor_reject(reader, at, "\"%s\" is not known; did you mean \"%s\"?", word, nearest);
    return xp_cursor_reject(reader, at, "\"%s\" is not known; expected %s", word, expected);
}

xp_status xp_cursor_choice(xp_cursor *reader, const char *const *list, int count, const char *expected, int *out) {
    char word[XP_WORD_BYTES];
    xp_cursor_look(reader);
    const size_t start = reader->at;
    xp_cursor_word(reader, word);
    *out = xp_word_find(word, list, count);
    return *out < 0 ? xp_cursor_reject_word(reader, start, word, list, count, expected) : XP_OK;
}

xp_status xp_cursor_number(xp_cursor *reader, const char *what, float *out) {
    xp_cursor_look(reader);
    double value = 0;
    size_t length;
    XP_TRY(xp_text_number(reader->text + reader->at, &value, &length));
    if (length == 0) return xp_cursor_reject(reader, reader->at, "expected a number for %s", what);
    if (!isfinite((float)value)) return xp_cursor_reject(reader, reader->at, "the number for %s is too large", what);
    reader->at += length;
    *out = (float)value;
    return XP_OK;
}

xp_status xp_cursor_positive(xp_cursor *reader, const char *what, const char *example, float *out) {
    XP_TRY(xp_cursor_open(reader, example));
    xp_cursor_look(reader);
    const size_t start = reader->at;
    XP_TRY(xp_cursor_number(reader, what, out));
    if (!(*out > 0)) return xp_cursor_reject(reader, start, "%s must be greater than 0", what);
    return xp_cursor_close(reader);
}

xp_status xp_cursor_whole(xp_cursor *reader, const char *what, int lowest, int highest, int *out) {
    xp_cursor_look(reader);
    const size_t start = reader->at;
    long value = 0;
    while (isdigit((unsigned char)reader->text[reader->at])) {
        if (value <= highest) value = value * 10 + (reader->text[reader->at] - '0');
        reader->at++;
    }
    const char next = reader->text[reader->at];
    if (reader->at == start || value < lowest || value > highest || next == '.' || is_word(next))
        return xp_cursor_reject(reader, start, "expected %s, a whole number from %d to %d", what, lowest, highest);
    *out = (int)value;
    return XP_OK;
}

bool xp_is_bare(char c) {
    return isalnum((unsigned char)c) || (c && strchr("._-/", c));
}

xp_status xp_cursor_quoted(xp_cursor *reader, const char *what, char out[XP_SPECIFICATION_BYTES]) {
    if (xp_cursor_look(reader) != '"')
        return xp_cursor_reject(reader, reader->at, "expected %s in double quotes", what);
    const size_t start = ++reader->at;
    while (reader->text[reader->at] && reader->text[reader->at] != '"') {
        if (iscntrl((unsigned char)reader->text[reader->at]))
            return xp_cursor_reject(reader, reader->at, "%s cannot hold a control character or a new line", what);
        reader->at++;
    }
    const size_t length = reader->at - start;
    if (!reader->text[reader->at]) return xp_cursor_reject(reader, start - 1, "the quotes of %s are not closed", what);
    if (length == 0) return xp_cursor_reject(reader, start - 1, "%s is empty", what);
    if (length >= XP_SPECIFICATION_BYTES)
        return xp_cursor_reject(reader, start - 1, "%s has %zu characters, more than %d", what, length,
                                XP_SPECIFICATION_BYTES - 1);
    memset(out, 0, XP_SPECIFICATION_BYTES);
    memcpy(out, reader->text + start, length);
    reader->at++;
    return XP_OK;
}

xp_status xp_cursor_file(xp_cursor *reader, char out[XP_SPECIFICATION_BYTES]) {
    if (xp_cursor_look(reader) == '"') return xp_cursor_quoted(reader, "the file's name", out);
    const size_t start = reader->at;
    while (xp_is_bare(reader->text[reader->at])) reader->at++;
    const size_t length = reader->at - start;
    if (length == 0)
        return xp_cursor_reject(reader, start,
                                "expected a .npy file, in double quotes if its name has other characters than "
                                "letters, digits and . _ - /");
    if (length >= XP_SPECIFICATION_BYTES)
        return xp_cursor_reject(reader, start, "the file's name has %zu characters, more than %d", length,
                                XP_SPECIFICATION_BYTES - 1);
    memset(out, 0, XP_SPECIFICATION_BYTES);
    memcpy(out, reader->text + start, length);
    return XP_OK;
}
