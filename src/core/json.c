/* JSON between texts and jansson's values. */
#include "core/json.h"

#include "core/text.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- making ------------------------------------------------------------------------------------------------------ */

static json_t *whole_or_none(json_t *value, int code) {
    if (code == 0) return value;
    json_decref(value);
    return NULL;
}

json_t *xp_json_append(json_t *list, json_t *value) {
    return whole_or_none(list, json_array_append_new(list, value));
}

json_t *xp_json_set(json_t *object, const char *name, json_t *value) {
    return whole_or_none(object, json_object_set_new(object, name, value));
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Not by jansson's own reader (2.14): when the buffer that it gathers a string in cannot grow, it leaves characters out
 * and may abort at an escape. */
enum { DEEPEST = 1000, NUMBER_BYTES = 128 };

typedef struct reader {
    const char *at, *end;
    int depth;
    const char *fault, *fault_at; /* of the text; NULL: there is none */
} reader;

static json_t *reject(reader *in, const char *fault) {
    if (!in->fault) in->fault_at = in->at;
    if (!in->fault) in->fault = fault;
    return NULL;
}

static char peek(const reader *in) {
    return in->at < in->end ? *in->at : '\0';
}

static char skip_blanks(reader *in) {
    while (in->at < in->end && memchr(" \t\n\r", *in->at, 4)) in->at++;
    return peek(in);
}

static bool take(reader *in, char wanted) {
    const bool there = skip_blanks(in) == wanted;
    if (there) in->at++;
    return there;
}

/* Four hexadecimal digits; -1: there are none. */
static long read_unit(reader *in) {
    long unit = 0;
    for (int i = 0; i < 4; i++, in->at++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = in->at < in->end ? memchr(digits, *in->at, sizeof digits - 1) : NULL;
        if (!digit) return -1;
        unit = unit * 16 + (digit - digits) % 16;
    }
    return unit;
}

/* The meaning of a character after a backslash; NULL: none. */
static char *read_escape(reader *in, char *to) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter = in->at < in->end ? memchr(letters, *in->at, sizeof letters - 1) : NULL;
    const bool numbered = peek(in) == 'u';
    in->at++;
    if (letter) *to = meanings[letter - letters];
    if (letter || !numbered) return letter ? to + 1 : NULL;
    long code = read_unit(in);
    if (code >= 0xd800 && code < 0xdc00) { /* the first of two */
        const bool second = in->end - in->at > 2 && in->at[0] == '\\' && in->at[1] == 'u';
        in->at += second ? 2 : 0;
        const long low = second ? read_unit(in) : -1;
        code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : -1;
    }
    return code > 0 && (code < 0xdc00 || code > 0xdfff) ? xp_text_append(to, (unsigned)code) : NULL;
}

/* The caller frees the text. NULL: a fault, or memory ran out. */
static char *read_string(reader *in) {
    if (!take(in, '"')) {
        reject(in, "expected a text in quotes");
        return NULL;
    }
    const char *close = in->at;
    while (close < in->end && *close != '"') close += *close == '\\' ? 2 : 1;
    if (close >= in->end) {
        reject(in, "the text has no closing quote");
        return NULL;
    }
    char *text = malloc((size_t)(close - in->at) + 1), *to = text;
    while (to && in->at < close) {
        if ((unsigned char)*in->at < ' ') break;
        if (*in->at != '\\') {
            *to++ = *in->at++;
            continue;
        }
        in->at++;
        to = read_escape(in, to);
    }
    if (!text) return NULL;
    if (to) *to = '\0';
    if (!to || in->at < close || xp_text_utf8(text, strlen(text)) != strlen(text)) {
        reject(in, "the text has a character that is not allowed");
        free(text);
        return NULL;
    }
    in->at = close + 1;
    return text;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static json_t *read_number(reader *in) {
    char text[NUMBER_BYTES];
    size_t bytes = 0, length = 0;
    bool whole = true;
    for (; in->at + bytes < in->end && bytes + 1 < sizeof text && strchr("+-.eE0123456789", in->at[bytes]); bytes++) {
        if (in->at[bytes] == '\0') break;
        text[bytes] = in->at[bytes];
        whole = whole && !strchr(".eE", text[bytes]);
    }
    text[bytes] = '\0';
    const char *digits = text + (text[0] == '-'), *point = strchr(text, '.');
    const bool formed =
        is_digit(digits[0]) && !(digits[0] == '0' && is_digit(digits[1])) && (!point || is_digit(point[1]));
    double real = 0;
    if (xp_text_number(text, &real, &length) != XP_OK) return NULL;
    errno = 0;
    const long long number = whole ? strtoll(text, NULL, 10) : 0;
    if (!formed || length != bytes || !isfinite(real) || errno == ERANGE)
        return reject(in, "expected a value, and no number that is too large");
    in->at += bytes;
    return whole ? json_integer(number) : json_real(real);
}

static json_t *read_value(reader *in);

static json_t *read_list(reader *in) {
    json_t *list = json_array();
    if (take(in, ']')) return list;
    while (list) {
        list = xp_json_append(list, read_value(in));
        if (!list || take(in, ']')) return list;
        if (take(in, ',')) continue;
        json_decref(list);
        return reject(in, "expected ',' or ']'");
    }
    return NULL;
}

static json_t *read_object(reader *in) {
    json_t *object = json_object();
    if (take(in, '}')) return object;
    while (object) {
        skip_blanks(in);
        char *name = read_string(in);
        json_t *value = NULL;
        if (name && json_object_get(object, name))
            reject(in, "the name before this is a duplicate");
        else if (name && !take(in, ':'))
            reject(in, "expected ':'");
        else if (name)
            value = read_value(in);
        object = xp_json_set(object, name ? name : "", value);
        free(name);
        if (!object || take(in, '}')) return object;
        if (take(in, ',')) continue;
        json_decref(object);
        return reject(in, "expected ',' or '}'");
    }
    return NULL;
}

static json_t *read_word(reader *in) {
    static const char *const words[] = {"null", "false", "true"};
    for (size_t i = 0; i < 3; i++) {
        const size_t length = strlen(words[i]);
        if ((size_t)(in->end - in->at) < length || memcmp(in->at, words[i], length) != 0) continue;
        in->at += length;
        return i == 0 ? json_null() : json_boolean(i == 2);
    }
    return read_number(in);
}

static json_t *read_text(reader *in) {
    char *text = read_string(in);
    json_t *value = text ? json_string(text) : NULL;
    free(text);
    return value;
}

static json_t *read_value(reader *in) {
    if (in->depth == DEEPEST) return reject(in, "the brackets are nested too deeply");
    in->depth++;
    json_t *value = take(in, '{')            ? read_object(in)
                    : take(in, '[')          ? read_list(in)
                    : skip_blanks(in) == '"' ? read_text(in)
                                             : read_word(in);
    in->depth--;
    return value;
}

static void locate(const reader *in, const char *text, json_error_t *error) {
    *error = (json_error_t){.line = 1, .column = 1, .position = (int)(in->fault_at - text)};
    for (const char *at = text; at < in->fault_at; at++) {
        error->column = *at == '\n' ? 1 : error->column + 1;
        error->line += *at == '\n';
    }
    snprintf(error->text, sizeof error->text, "%s", in->fault);
}

xp_status xp_json_read(const char *name, const char *text, size_t length, json_t **out, json_error_t *error) {
    reader in = {.at = text, .end = text + length};
    *out = read_value(&in);
    skip_blanks(&in);
    if (*out && in.at < in.end) {
        json_decref(*out);
        *out = reject(&in, "unexpected text after the end");
    }
    if (in.fault) locate(&in, text, error);
    return *out || in.fault ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "%s: no memory to read it", name);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static int append(const char *text, size_t length, void *out) {
    xp_writer *writer = out;
    xp_write(writer, "%.*s", (int)length, text);
    return writer->failed ? -1 : 0;
}

/* Not by json_dumps, which leaves out the name of a member when its buffer cannot grow: a writer remembers. */
void xp_json_write(xp_writer *out, const json_t *value, size_t flags) {
    if (!value || json_dump_callback(value, append, out, flags) != 0) out->failed = true;
}
