/* Reading, printing and checking the attention specification. Every word is in one of the lists below. */
#include "model/specification.h"

#include "core/text.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LARGEST_SCALE = 32767, WORD_BYTES = 32, QUOTE_BYTES = 200 };

enum { WORD_SOFTMAX, WORD_BN, WORD_SH, WORDS_BUILT };
/* The words behind the first three belong to the framework and are refused by name. */
static const char *const words[] = {"softmax", "bn",    "sh",   "linear", "causal", "window",
                                    "strided", "block", "mask", "conv1d", "conv2d", "score"};
enum { WORDS = sizeof words / sizeof words[0] };

enum { KNOB_BETA, KNOB_SCALE, KNOB_EPS };
static const char *const knobs[] = {"beta", "scale", "eps"};
enum { KNOBS = sizeof knobs / sizeof knobs[0] };

static const float DEFAULT_BETA = 1, DEFAULT_EPSILON = 1e-5f;

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct cursor {
    const char *text;
    size_t at;
} cursor;

/* Quotes the whole text, without bytes that would upset a terminal, and points to the column of `at`. */
static xp_status refuse(const cursor *reader, size_t at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static xp_status refuse(const cursor *reader, size_t at, const char *format, ...) {
    char quote[QUOTE_BYTES], reason[512];
    snprintf(quote, sizeof quote, "%s", reader->text);
    for (char *c = quote; *c; c++)
        if (iscntrl((unsigned char)*c)) *c = '?';
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return xp_fail(XP_INVALID_ARGUMENT, "attention \"%s%s\", column %zu: %s", quote,
                   strlen(reader->text) >= sizeof quote ? "…" : "", at + 1, reason);
}

static char look(cursor *reader) {
    while (reader->text[reader->at] == ' ' || reader->text[reader->at] == '\t') reader->at++;
    return reader->text[reader->at];
}

static bool take(cursor *reader, char wanted) {
    if (look(reader) != wanted) return false;
    reader->at++;
    return true;
}

/* The letters and digits from here on; an empty word where there are none. Overlong words are cut: none is known. */
static void take_word(cursor *reader, char word[WORD_BYTES]) {
    look(reader);
    size_t length = 0;
    for (; isalnum((unsigned char)reader->text[reader->at]) || reader->text[reader->at] == '_'; reader->at++)
        if (length < WORD_BYTES - 1) word[length++] = reader->text[reader->at];
    word[length] = 0;
}

static int find(const char *word, const char *const *list, int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(word, list[i]) == 0) return i;
    return -1;
}

static xp_status refuse_word(const cursor *reader, size_t at, const char *word, const char *const *list, int count,
                             const char *expected) {
    const char *nearest = *word ? xp_text_nearest(word, list, count) : NULL;
    if (!*word) return refuse(reader, at, "expected %s", expected);
    if (nearest) return refuse(reader, at, "\"%s\" is not known; did you mean \"%s\"?", word, nearest);
    return refuse(reader, at, "\"%s\" is not known; expected %s", word, expected);
}

static xp_status read_number(cursor *reader, const char *knob, float *out) {
    look(reader);
    double value = 0;
    size_t length;
    XP_TRY(xp_text_number(reader->text + reader->at, &value, &length));
    if (length == 0) return refuse(reader, reader->at, "expected a number for %s", knob);
    if (!isfinite((float)value)) return refuse(reader, reader->at, "the number for %s is too large", knob);
    reader->at += length;
    *out = (float)value;
    return XP_OK;
}

static xp_status read_knob(cursor *reader, xp_specification *out, bool seen[KNOBS]) {
    char word[WORD_BYTES];
    look(reader);
    const size_t start = reader->at;
    take_word(reader, word);
    const int knob = find(word, knobs, KNOBS);
    if (knob < 0) return refuse_word(reader, start, word, knobs, KNOBS, "beta, scale or eps");
    if (seen[knob]) return refuse(reader, start, "%s is given twice", word);
    seen[knob] = true;
    if (!take(reader, '=')) return refuse(reader, reader->at, "expected \"=\" after %s", word);
    look(reader);
    const size_t value = reader->at;
    if (knob == KNOB_EPS) {
        XP_TRY(read_number(reader, "eps", &out->bn_epsilon));
        return out->bn_epsilon > 0 ? XP_OK : refuse(reader, value, "eps must be greater than 0");
    }
    if (knob == KNOB_BETA && !isalpha((unsigned char)look(reader))) return read_number(reader, "beta", &out->bn_beta);
    take_word(reader, word);
    if (knob == KNOB_BETA) {
        static const char *const choices[] = {"learned"};
        if (find(word, choices, 1) < 0) return refuse_word(reader, value, word, choices, 1, "a number or learned");
        out->bn_beta_learned = true;
        return XP_OK;
    }
    static const char *const choices[] = {"off", "on"};
    const int choice = find(word, choices, 2);
    if (choice < 0) return refuse_word(reader, value, word, choices, 2, "on or off");
    out->bn_scale = choice == 1;
    return XP_OK;
}

static xp_status read_bn(cursor *reader, xp_specification *out) {
    out->bn = true;
    if (!take(reader, '(')) return XP_OK;
    bool seen[KNOBS] = {false};
    do XP_TRY(read_knob(reader, out, seen));
    while (take(reader, ','));
    return take(reader, ')') ? XP_OK : refuse(reader, reader->at, "expected \",\" or \")\"");
}

static xp_status read_scale(cursor *reader, xp_specification *out) {
    look(reader);
    const size_t start = reader->at;
    long scale = 0;
    while (isdigit((unsigned char)reader->text[reader->at])) {
        if (scale <= LARGEST_SCALE) scale = scale * 10 + (reader->text[reader->at] - '0');
        reader->at++;
    }
    const char next = reader->text[reader->at];
    if (reader->at == start || scale < 1 || scale > LARGEST_SCALE || next == '.' || isalpha((unsigned char)next))
        return refuse(reader, start, "expected a scale, a whole number from 1 to %d", LARGEST_SCALE);
    if (out->scale_count == XP_SPECIFICATION_SCALES)
        return refuse(reader, start, "there are more than %d scales", XP_SPECIFICATION_SCALES);
    out->scales[out->scale_count++] = (int)scale;
    return XP_OK;
}

static xp_status read_sh(cursor *reader, xp_specification *out) {
    if (!take(reader, '('))
        return refuse(reader, reader->at, "expected \"(\" and the scales of the heads: sh(1,1,2,4)");
    do XP_TRY(read_scale(reader, out));
    while (take(reader, ','));
    return take(reader, ')') ? XP_OK : refuse(reader, reader->at, "expected \",\" or \")\"");
}

/* The kernel when it is the first word, a part of the layer later. */
static xp_status read_part(cursor *reader, bool first, xp_specification *out) {
    char word[WORD_BYTES];
    look(reader);
    const size_t start = reader->at;
    take_word(reader, word);
    const int known = find(word, words, WORDS);
    if (known >= WORDS_BUILT) return refuse(reader, start, "\"%s\" is not available in this version", word);
    if (first) {
        if (known == WORD_SOFTMAX) return XP_OK;
        if (known >= 0) return refuse(reader, start, "expected the kernel first: softmax+%s", word);
        return refuse_word(reader, start, word, words, WORDS, "a kernel: softmax");
    }
    switch (known) {
    case WORD_SOFTMAX:
        return refuse(reader, start, "the kernel stands at the beginning, once");
    case WORD_BN:
        return out->bn ? refuse(reader, start, "bn is given twice") : read_bn(reader, out);
    case WORD_SH:
        return out->scale_count ? refuse(reader, start, "sh is given twice") : read_sh(reader, out);
    default:
        return refuse_word(reader, start, word, words, WORDS, "a part: bn or sh");
    }
}

xp_status xp_specification_parse(const char *text, xp_specification *out) {
    if (!text) return xp_fail(XP_INVALID_ARGUMENT, "there is no attention specification: \"softmax\" is the plain one");
    cursor reader = {text, 0};
    xp_specification made = {
        .bn_beta = DEFAULT_BETA, .bn_scale = true, .bn_epsilon = DEFAULT_EPSILON};
    XP_TRY(read_part(&reader, true, &made));
    while (take(&reader, '+')) XP_TRY(read_part(&reader, false, &made));
    if (look(&reader) != 0) return refuse(&reader, reader.at, "expected \"+\" and a part, or the end");
    *out = made;
    return XP_OK;
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

/* Text that may be longer than its room: the length counts on. */
typedef struct sink {
    char *text;
    size_t size, length;
} sink;

static int format_in_c(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int format_in_c(char *text, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int length = xp_text_format(text, size, format, arguments);
    va_end(arguments);
    return length;
}

static void append(sink *writer, const char *text) {
    for (; *text; text++, writer->length++)
        if (writer->length + 1 < writer->size) writer->text[writer->length] = *text;
}

/* The fewest digits that read back as the same number. */
static void append_number(sink *writer, float value) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        format_in_c(text, sizeof text, "%.*g", digits, (double)value);
        double back = 0;
        size_t length;
        if (xp_text_number(text, &back, &length) == XP_OK && (float)back == value) break;
    }
    append(writer, text);
}

/* "(" before the first knob, "," before the others. */
static void append_knob(sink *writer, int *count, const char *name) {
    append(writer, (*count)++ ? "," : "(");
    append(writer, name);
    append(writer, "=");
}

static void append_bn(sink *writer, const xp_specification *specification) {
    int count = 0;
    append(writer, "+bn");
    if (specification->bn_beta_learned) {
        append_knob(writer, &count, "beta");
        append(writer, "learned");
    } else if (specification->bn_beta != DEFAULT_BETA) {
        append_knob(writer, &count, "beta");
        append_number(writer, specification->bn_beta);
    }
    if (!specification->bn_scale) {
        append_knob(writer, &count, "scale");
        append(writer, "off");
    }
    if (specification->bn_epsilon != DEFAULT_EPSILON) {
        append_knob(writer, &count, "eps");
        append_number(writer, specification->bn_epsilon);
    }
    if (count) append(writer, ")");
}

size_t xp_specification_print(const xp_specification *specification, char *text, size_t size) {
    sink writer = {text, size, 0};
    append(&writer, "softmax");
    if (specification->bn) append_bn(&writer, specification);
    for (int i = 0; i < specification->scale_count; i++) {
        char number[16];
        snprintf(number, sizeof number, "%s%d", i ? "," : "+sh(", specification->scales[i]);
        append(&writer, number);
    }
    if (specification->scale_count) append(&writer, ")");
    if (size) text[writer.length < size ? writer.length : size - 1] = 0;
    return writer.length;
}

/* ---- checking ---------------------------------------------------------------------------------------------------- */

xp_status xp_specification_check(const xp_specification *specification, int heads, int longest) {
    if (specification->scale_count == 0) return XP_OK;
    if (heads % specification->scale_count != 0)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "attention: sh has %d scales for %d heads: their number must divide the heads (a shorter list "
                       "repeats)",
                       specification->scale_count, heads);
    for (int i = 0; i < specification->scale_count; i++)
        if (specification->scales[i] > longest)
            return xp_fail(
                XP_INVALID_ARGUMENT,
                "attention: sh scale %d is longer than the longest series or grid side, %d: use scales up to "
                "%d",
                specification->scales[i], longest, longest);
    return XP_OK;
}
