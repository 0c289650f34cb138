/* Parses an expression by its grammar: what no rule accepts is rejected. */
#include "model/expression.h"

#include "core/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Brackets in brackets, signs before signs: less than what compilers take, and what our own recursion does. */
enum { DEEPEST = 64, NAME_BYTES = 32 };

typedef enum kind { WHOLE, REAL, TABLE } kind;

/* What is known of a part of the expression. */
typedef struct value {
    kind kind;
    bool uses_score, additive;
    bool divides; /* a literal whole number other than 0 */
} value;

typedef struct reader {
    const char *text;
    size_t at;
    int depth;
    const xp_expression_name *names;
    int name_count;
    xp_expression *out;
} reader;

/* ---- what may be named ------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    kind kind;
} known[] = {{"score", REAL},      {"batch", WHOLE},   {"head", WHOLE},      {"query_index", WHOLE},
             {"key_index", WHOLE}, {"INFINITY", REAL}, {"FLT_MAX", REAL},    {"FLT_MIN", REAL},
             {"M_PI_F", REAL},     {"M_E_F", REAL},    {"FLT_EPSILON", REAL}};
enum { KNOWN = sizeof known / sizeof known[0] };

/* Functions of numbers alone, from OpenCL C 1.2. */
typedef enum takes { ANY, WHOLES } takes;
typedef enum gives { GIVES_REAL, GIVES_WHOLE, GIVES_SAME } gives;
static const struct {
    const char *name;
    int arguments;
    takes takes;
    gives gives;
} functions[] = {
    {"abs", 1, WHOLES, GIVES_WHOLE}, {"abs_diff", 2, WHOLES, GIVES_WHOLE}, {"min", 2, ANY, GIVES_SAME},
    {"max", 2, ANY, GIVES_SAME},     {"clamp", 3, ANY, GIVES_SAME},        {"isnan", 1, ANY, GIVES_WHOLE},
    {"isinf", 1, ANY, GIVES_WHOLE},  {"isfinite", 1, ANY, GIVES_WHOLE},    {"fabs", 1, ANY, GIVES_REAL},
    {"fmin", 2, ANY, GIVES_REAL},    {"fmax", 2, ANY, GIVES_REAL},         {"fmod", 2, ANY, GIVES_REAL},
    {"fdim", 2, ANY, GIVES_REAL},    {"fma", 3, ANY, GIVES_REAL},          {"mad", 3, ANY, GIVES_REAL},
    {"mix", 3, ANY, GIVES_REAL},     {"step", 2, ANY, GIVES_REAL},         {"smoothstep", 3, ANY, GIVES_REAL},
    {"sign", 1, ANY, GIVES_REAL},    {"copysign", 2, ANY, GIVES_REAL},     {"floor", 1, ANY, GIVES_REAL},
    {"ceil", 1, ANY, GIVES_REAL},    {"round", 1, ANY, GIVES_REAL},        {"rint", 1, ANY, GIVES_REAL},
    {"trunc", 1, ANY, GIVES_REAL},   {"exp", 1, ANY, GIVES_REAL},          {"exp2", 1, ANY, GIVES_REAL},
    {"exp10", 1, ANY, GIVES_REAL},   {"expm1", 1, ANY, GIVES_REAL},        {"log", 1, ANY, GIVES_REAL},
    {"log2", 1, ANY, GIVES_REAL},    {"log10", 1, ANY, GIVES_REAL},        {"log1p", 1, ANY, GIVES_REAL},
    {"pow", 2, ANY, GIVES_REAL},     {"powr", 2, ANY, GIVES_REAL},         {"pown", 2, ANY, GIVES_REAL},
    {"sqrt", 1, ANY, GIVES_REAL},    {"rsqrt", 1, ANY, GIVES_REAL},        {"cbrt", 1, ANY, GIVES_REAL},
    {"hypot", 2, ANY, GIVES_REAL},   {"sin", 1, ANY, GIVES_REAL},          {"cos", 1, ANY, GIVES_REAL},
    {"tan", 1, ANY, GIVES_REAL},     {"asin", 1, ANY, GIVES_REAL},         {"acos", 1, ANY, GIVES_REAL},
    {"atan", 1, ANY, GIVES_REAL},    {"atan2", 2, ANY, GIVES_REAL},        {"sinpi", 1, ANY, GIVES_REAL},
    {"cospi", 1, ANY, GIVES_REAL},   {"sinh", 1, ANY, GIVES_REAL},         {"cosh", 1, ANY, GIVES_REAL},
    {"tanh", 1, ANY, GIVES_REAL},    {"asinh", 1, ANY, GIVES_REAL},        {"acosh", 1, ANY, GIVES_REAL},
    {"atanh", 1, ANY, GIVES_REAL},   {"erf", 1, ANY, GIVES_REAL},          {"erfc", 1, ANY, GIVES_REAL},
    {"lgamma", 1, ANY, GIVES_REAL},  {"tgamma", 1, ANY, GIVES_REAL},
};
enum { FUNCTIONS = sizeof functions / sizeof functions[0] };

static int find_function(const char *name) {
    for (int i = 0; i < FUNCTIONS; i++)
        if (strcmp(functions[i].name, name) == 0) return i;
    return -1;
}

bool xp_expression_has(const char *name) {
    for (int i = 0; i < KNOWN; i++)
        if (strcmp(known[i].name, name) == 0) return true;
    return find_function(name) >= 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool reject(reader *in, size_t place, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool reject(reader *in, size_t place, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(in->out->reason, sizeof in->out->reason, format, arguments);
    va_end(arguments);
    in->out->place = place;
    return false;
}

static char look(reader *in) {
    while (in->text[in->at] == ' ' || in->text[in->at] == '\t') in->at++;
    return in->text[in->at];
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Reports the text at this position, where something else was expected. */
static bool reject_token(reader *in, const char *expected) {
    const char c = look(in), *here = in->text + in->at;
    if (c == 0) return reject(in, in->at, "the expression ends too early: expected %s", expected);
    int length = 1;
    if (is_word(c))
        while (length < NAME_BYTES && is_word(here[length])) length++;
    else
        while ((here[length] & 0xc0) == 0x80) length++;
    return reject(in, in->at, "\"%.*s\" is not allowed here: expected %s", length, here, expected);
}

/* The same after a complete part. */
static bool reject_end(reader *in, const char *expected) {
    const char c = look(in);
    if (c == ')' || c == ']') return reject(in, in->at, "this \"%c\" has no opening bracket", c);
    return reject_token(in, expected);
}

static const char AN_OPERAND[] = "a number, a name, a function or a bracket";

static bool read_choice(reader *in, value *out);

/* Reads a part in brackets; the opening one is at `open`. */
static bool read_bracket(reader *in, size_t open, char close, value *out) {
    if (++in->depth > DEEPEST) return reject(in, open, "brackets are nested more than %d deep", DEEPEST);
    if (!read_choice(in, out)) return false;
    if (look(in) == 0) return reject(in, open, "this \"%c\" is not closed: a \"%c\" is missing", in->text[open], close);
    if (look(in) != close) return reject_end(in, "an operator or the end of the bracket");
    in->at++;
    in->depth--;
    return true;
}

static bool read_number(reader *in, value *out) {
    const size_t start = in->at, digits = strspn(in->text + start, "0123456789");
    size_t length;
    double number = 0;
    *out = (value){.kind = REAL};
    if (xp_text_number(in->text + start, &number, &length) != XP_OK || length == 0) return reject_token(in, AN_OPERAND);
    in->at += length;
    const bool whole = length == digits;
    if (!whole && (in->text[in->at] == 'f' || in->text[in->at] == 'F')) in->at++;
    if (is_word(in->text[in->at]) || in->text[in->at] == '.')
        return reject(in, start, "expected a number such as 3, 0.5f or 1e-3f");
    if (!whole) return true;
    if (number > 2147483647) return reject(in, start, "a whole number is at most 2147483647");
    if (length > 1 && in->text[start] == '0')
        return reject(in, start, "a whole number must not begin with 0, which would make it octal");
    *out = (value){.kind = WHOLE, .divides = number != 0};
    return true;
}

static bool read_call(reader *in, const char *name, size_t start, value *out) {
    const int function = find_function(name);
    const size_t open = in->at;
    bool real = false, uses_score = false;
    if (function < 0)
        return reject(in, start,
                      "\"%s\" is not a known function: expected one such as abs, fabs, exp, log, tanh or max", name);
    const int arguments = functions[function].arguments;
    if (++in->depth > DEEPEST) return reject(in, open, "brackets are nested more than %d deep", DEEPEST);
    for (int i = 0; i < arguments; i++) {
        value argument;
        in->at++; /* the bracket, or a comma */
        if (!read_choice(in, &argument)) return false;
        if (functions[function].takes == WHOLES && argument.kind != WHOLE)
            return reject(in, start, "%s takes whole numbers; fabs and fdim take others", name);
        real = real || argument.kind == REAL;
        uses_score = uses_score || argument.uses_score;
        const char wanted = i + 1 < arguments ? ',' : ')', next = look(in);
        if (next == 0) return reject(in, open, "this \"(\" is not closed: a \")\" is missing");
        if (next != wanted && (next == ',' || next == ')'))
            return reject(in, in->at, "%s takes %d argument%s", name, arguments, arguments == 1 ? "" : "s");
        if (next != wanted) return reject_token(in, "an operator, \",\" or \")\"");
    }
    in->at++;
    in->depth--;
    const gives given = functions[function].gives;
    *out =
        (value){.kind = given == GIVES_REAL || (given == GIVES_SAME && real) ? REAL : WHOLE, .uses_score = uses_score};
    return true;
}

static bool read_index(reader *in, const char *name, size_t start, value *out) {
    const size_t open = in->at;
    value index;
    if (look(in) != '[') return reject(in, start, "\"%s\" is a table: expected its index, as in %s[head]", name, name);
    in->at++;
    if (!read_bracket(in, open, ']', &index)) return false;
    if (index.kind != WHOLE) return reject(in, open, "the index of \"%s\" is not a whole number", name);
    *out = (value){.kind = REAL, .uses_score = index.uses_score};
    return true;
}

static bool reject_name(reader *in, const char *name, size_t start) {
    const char *all[KNOWN + FUNCTIONS + 8];
    int count = 0;
    for (int i = 0; i < KNOWN; i++) all[count++] = known[i].name;
    for (int i = 0; i < in->name_count && i < 8; i++) all[count++] = in->names[i].text;
    const char *nearest = xp_text_nearest(name, all, count);
    if (nearest) return reject(in, start, "\"%s\" is not known; did you mean \"%s\"?", name, nearest);
    return reject(in, start,
                  "\"%s\" is not known: a score has score, batch, head, query_index, key_index, and names that are "
                  "given a value after it, as in %s=0.5",
                  name, name);
}

static bool read_name(reader *in, value *out) {
    char name[NAME_BYTES];
    const size_t start = in->at;
    size_t length = 0;
    for (; is_word(in->text[in->at]); in->at++)
        if (length < sizeof name - 1) name[length++] = in->text[in->at];
    name[length] = 0;
    if (in->at - start >= sizeof name) return reject(in, start, "\"%s…\" is not known", name);
    if (look(in) == '(') return read_call(in, name, start, out);
    for (int i = 0; i < in->name_count; i++) {
        if (strcmp(in->names[i].text, name) != 0) continue;
        *out = (value){.kind = REAL};
        return !in->names[i].table || read_index(in, name, start, out);
    }
    for (int i = 0; i < KNOWN; i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        *out = (value){.kind = known[i].kind, .uses_score = i == 0, .additive = i == 0};
        return true;
    }
    return reject_name(in, name, start);
}

static bool read_operand(reader *in, value *out) {
    const char c = look(in);
    const size_t start = in->at;
    if (c == '-' || c == '+' || c == '!') {
        if (c != '!' && in->text[start + 1] == c) return reject(in, start, "\"%c%c\" is not allowed here", c, c);
        if (++in->depth > DEEPEST) return reject(in, start, "there are more than %d signs in a row", DEEPEST);
        in->at++;
        if (!read_operand(in, out)) return false;
        in->depth--;
        out->additive = out->additive && c == '+';
        out->divides = false;
        if (c == '!') out->kind = WHOLE;
        return true;
    }
    if (c == '(') {
        in->at++;
        return read_bracket(in, start, ')', out);
    }
    if (isdigit((unsigned char)c) || c == '.') return read_number(in, out);
    if (is_word(c)) return read_name(in, out);
    return reject_token(in, AN_OPERAND);
}

/* By precedence, the loosest first; of two that begin alike, the longer one. */
static const struct {
    const char *text;
    int level;
} operators[] = {{"||", 1}, {"&&", 2}, {"==", 3}, {"!=", 3}, {"<=", 4}, {">=", 4}, {"<", 4},
                 {">", 4},  {"+", 5},  {"-", 5},  {"*", 6},  {"/", 6},  {"%", 6}};
enum { OPERATORS = sizeof operators / sizeof operators[0], COMPARISONS_END = 4, SUM = 5 };

/* The operator at this position; -1: none. */
static int find_operator(reader *in) {
    look(in);
    const char *here = in->text + in->at;
    for (int i = 0; i < OPERATORS; i++)
        if (strncmp(here, operators[i].text, strlen(operators[i].text)) == 0) return i;
    return -1;
}

static bool combine(reader *in, int operator, size_t place, const value *right, value *left) {
    const char sign = operators[operator].text[0];
    const int level = operators[operator].level;
    const bool whole = left->kind == WHOLE && right->kind == WHOLE;
    if (sign == '%' && !whole) return reject(in, place, "\"%%\" is for whole numbers; fmod is for others");
    if ((sign == '/' || sign == '%') && whole && !right->divides)
        return reject(
            in, place,
            "whole numbers are divided by a whole number other than 0, as in key_index / 16; multiply by 1.0f "
            "to divide otherwise");
    const bool additive = level == SUM && ((left->additive && !right->uses_score) ||
                                           (sign == '+' && right->additive && !left->uses_score));
    *left = (value){.kind = whole || level <= COMPARISONS_END ? WHOLE : REAL,
                    .uses_score = left->uses_score || right->uses_score,
                    .additive = additive};
    return true;
}

/* Operands joined by operators of this level and tighter ones. */
static bool read_operators(reader *in, int level, value *out) {
    if (!read_operand(in, out)) return false;
    for (;;) {
        const int operator= find_operator(in);
        const size_t place = in->at;
        if (operator<0 || operators[operator].level<level) return true;
        const char *text = operators[operator].text;
        in->at += strlen(text);
        if (*text == '/' && (in->text[in->at] == '/' || in->text[in->at] == '*'))
            return reject(in, place, "a comment is not allowed here");
        if ((*text == '+' || *text == '-') && in->text[in->at] == *text)
            return reject(in, place, "\"%s%s\" is not allowed here", text, text);
        value right;
        if (!read_operators(in, operators[operator].level + 1, &right) || !combine(in, operator, place, &right, out))
            return false;
    }
}

static bool read_choice(reader *in, value *out) {
    value yes, no;
    if (!read_operators(in, 1, out)) return false;
    if (look(in) != '?') return true;
    if (++in->depth > DEEPEST)
        return reject(in, in->at, "conditional expressions are nested more than %d deep", DEEPEST);
    in->at++;
    if (!read_choice(in, &yes)) return false;
    if (look(in) != ':') return reject_token(in, "\":\" and the other expression");
    in->at++;
    if (!read_choice(in, &no)) return false;
    in->depth--;
    *out = (value){.kind = yes.kind == WHOLE && no.kind == WHOLE ? WHOLE : REAL,
                   .uses_score = out->uses_score || yes.uses_score || no.uses_score};
    return true;
}

bool xp_expression_read(const char *text, const xp_expression_name *names, int count, xp_expression *out) {
    reader in = {.text = text, .names = names, .name_count = count, .out = out};
    value all;
    *out = (xp_expression){.additive = false};
    if (!read_choice(&in, &all)) return false;
    if (look(&in) != 0) return reject_end(&in, "an operator or the end");
    out->additive = all.additive;
    return true;
}
