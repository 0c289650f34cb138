/* Parses the part score(…): the user's expressions, their names, and the meaning of the names. */
#include "core/text.h"
#include "model/expression.h"
#include "model/specification_parts.h"

#include <ctype.h>
#include <string.h>

/* What a name in a score cannot be: what the expression has already, and what the language keeps for itself. */
static const char *const reserved[] = {
    "derivative", "auto",       "bool",     "break",    "case",   "char",      "complex", "const",
    "constant",   "continue",   "default",  "do",       "double", "else",      "enum",    "event_t",
    "extern",     "float",      "for",      "global",   "goto",   "half",      "if",      "image2d_t",
    "inline",     "int",        "kernel",   "local",    "long",   "pipe",      "private", "quad",
    "read_only",  "read_write", "register", "restrict", "return", "sampler_t", "short",   "signed",
    "size_t",     "sizeof",     "static",   "struct",   "switch", "typedef",   "uchar",   "uint",
    "ulong",      "union",      "unsigned", "ushort",   "void",   "volatile",  "while",   "write_only"};
enum { RESERVED = sizeof reserved / sizeof reserved[0] };

/* Positions of its texts in the specification: they are checked when all names are known. */
typedef struct score_places {
    size_t score, derivative;
} score_places;

static xp_status read_expression(xp_cursor *reader, const char *what, char out[XP_SPECIFICATION_BYTES], size_t *place) {
    xp_cursor_look(reader);
    *place = reader->at + 1;
    return xp_cursor_quoted(reader, what, out);
}

static xp_status check_expression(const xp_cursor *reader, size_t place, const char *text, const xp_specification *s,
                                  bool *additive) {
    xp_expression_name names[XP_SPECIFICATION_NAMES];
    for (int i = 0; i < s->name_count; i++) names[i] = (xp_expression_name){s->names[i].name, s->names[i].file[0] != 0};
    xp_expression expression;
    if (!xp_expression_read(text, names, s->name_count, &expression))
        return xp_cursor_reject(reader, place + expression.place, "%s", expression.reason);
    *additive = expression.additive;
    return XP_OK;
}

static xp_status read_named_value(xp_cursor *reader, const char *name, xp_specification *out) {
    const int place = out->name_count;
    xp_cursor_look(reader);
    double value;
    size_t length;
    XP_TRY(xp_text_number(reader->text + reader->at, &value, &length));
    xp_cursor behind = {reader->text, reader->at + length};
    const char next = xp_cursor_look(&behind);
    if (length > 0 && (next == ',' || next == ')' || next == 0))
        XP_TRY(xp_cursor_number(reader, name, &out->names[place].value));
    else
        XP_TRY(xp_cursor_file(reader, out->names[place].file));
    memcpy(out->names[place].name, name, strlen(name) + 1);
    out->name_count++;
    return XP_OK;
}

static xp_status read_score_option(xp_cursor *reader, xp_specification *out, score_places *places) {
    char word[XP_WORD_BYTES];
    xp_cursor_look(reader);
    const size_t start = reader->at;
    xp_cursor_word(reader, word);
    if (!*word || isdigit((unsigned char)*word))
        return xp_cursor_reject(reader, start,
                                "expected derivative=\"…\", or a name of the expression and its value: c=0.5");
    if (reader->at - start >= XP_WORD_BYTES)
        return xp_cursor_reject(reader, start, "the name has more than %d letters", XP_WORD_BYTES - 1);
    if (strcmp(word, "derivative") == 0) {
        if (out->derivative[0]) return xp_cursor_reject(reader, start, "derivative is given twice");
        if (!xp_cursor_take(reader, '='))
            return xp_cursor_reject(reader, reader->at, "expected \"=\" after derivative");
        return read_expression(reader, "the derivative", out->derivative, &places->derivative);
    }
    if (xp_word_find(word, reserved, RESERVED) >= 0 || xp_expression_has(word) || strncmp(word, "XP_", 3) == 0 ||
        word[0] == '_')
        return xp_cursor_reject(reader, start, "\"%s\" is already a name: choose another one", word);
    for (int i = 0; i < out->name_count; i++)
        if (strcmp(word, out->names[i].name) == 0) return xp_cursor_reject(reader, start, "%s is given twice", word);
    if (out->name_count == XP_SPECIFICATION_NAMES)
        return xp_cursor_reject(reader, start, "there are more than %d names", XP_SPECIFICATION_NAMES);
    if (!xp_cursor_take(reader, '=')) return xp_cursor_reject(reader, reader->at, "expected \"=\" after %s", word);
    return read_named_value(reader, word, out);
}

xp_status xp_specification_read_score(xp_cursor *reader, xp_specification *out) {
    XP_TRY(xp_cursor_open(reader, "score(\"score - 0.1f * abs(query_index - key_index)\")"));
    score_places places = {0, 0};
    bool additive = false;
    XP_TRY(read_expression(reader, "the score", out->score, &places.score));
    while (xp_cursor_take(reader, ',')) XP_TRY(read_score_option(reader, out, &places));
    if (!xp_cursor_take(reader, ')')) return xp_cursor_reject(reader, reader->at, "expected \",\" or \")\"");
    XP_TRY(check_expression(reader, places.score, out->score, out, &additive));
    if (out->derivative[0]) return check_expression(reader, places.derivative, out->derivative, out, &additive);
    if (!additive)
        return xp_cursor_reject(reader, places.score - 1,
                                "this does more than add to the score, so its derivative with respect to the score is "
                                "needed: score(\"…\", derivative=\"…\")");
    return XP_OK;
}
