/* Reading, printing and checking the attention specification. Every word is in one of the lists below. */
#include "model/specification.h"

#include "core/text.h"
#include "model/expression.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LARGEST_WHOLE = 32767, LARGEST_SPAN = 1000000000, WIDEST_CONVOLUTION = 127 };
enum { WORD_BYTES = 32, QUOTE_BYTES = 160, BEFORE_PLACE = 100 };

enum { WORD_SOFTMAX, WORD_LINEAR };
static const char *const kernels[] = {"softmax", "linear"};
enum { KERNELS = sizeof kernels / sizeof kernels[0] };

enum {
    PART_UNNORMALISED,
    PART_BN,
    PART_SH,
    PART_CONV1D,
    PART_CONV2D,
    PART_CAUSAL,
    PART_WINDOW,
    PART_STRIDED,
    PART_BLOCK,
    PART_MASK,
    PART_ALIBI,
    PART_SOFTCAP,
    PART_SCALE,
    PART_BIAS,
    PART_SCORE,
    PARTS
};
static const char *const parts[PARTS] = {"unnormalised", "bn",      "sh",      "conv1d", "conv2d",
                                         "causal",       "window",  "strided", "block",  "mask",
                                         "alibi",        "softcap", "scale",   "bias",   "score"};
static const char PARTS_EXPECTED[] = "a part: unnormalised, bn, sh, conv1d, conv2d, causal, window, strided, block, "
                                     "mask, alibi, softcap, scale, bias or score";

/* By xp_features. */
static const char *const feature_names[] = {"", "elu", "relu", "identity", "square"};
enum { FEATURES = sizeof feature_names / sizeof feature_names[0] };

enum { KNOB_BETA, KNOB_SCALE, KNOB_EPS };
static const char *const knobs[] = {"beta", "scale", "eps"};
enum { KNOBS = sizeof knobs / sizeof knobs[0] };

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

static const float DEFAULT_BETA = 1, DEFAULT_EPSILON = 1e-5f;

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct cursor {
    const char *text;
    size_t at;
} cursor;

static bool is_continuation(char byte) {
    return ((unsigned char)byte & 0xc0) == 0x80;
}

/* Quotes the text around `at`, without bytes that would upset a terminal, and points to its column. */
static xp_status refuse(const cursor *reader, size_t at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static xp_status refuse(const cursor *reader, size_t at, const char *format, ...) {
    char reason[512], quote[QUOTE_BYTES];
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

static char look(cursor *reader) {
    while (reader->text[reader->at] == ' ' || reader->text[reader->at] == '\t') reader->at++;
    return reader->text[reader->at];
}

static bool take(cursor *reader, char wanted) {
    if (look(reader) != wanted) return false;
    reader->at++;
    return true;
}

static xp_status open_bracket(cursor *reader, const char *example) {
    return take(reader, '(') ? XP_OK : refuse(reader, reader->at, "expected \"(\": %s", example);
}

static xp_status close_bracket(cursor *reader) {
    return take(reader, ')') ? XP_OK : refuse(reader, reader->at, "expected \")\"");
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

/* The letters and digits from here on; an empty word where there are none. Overlong words are cut: none is known. */
static void take_word(cursor *reader, char word[WORD_BYTES]) {
    look(reader);
    size_t length = 0;
    for (; is_word(reader->text[reader->at]); reader->at++)
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

/* One word of a list; *out is its place there. */
static xp_status read_choice(cursor *reader, const char *const *list, int count, const char *expected, int *out) {
    char word[WORD_BYTES];
    look(reader);
    const size_t start = reader->at;
    take_word(reader, word);
    *out = find(word, list, count);
    return *out < 0 ? refuse_word(reader, start, word, list, count, expected) : XP_OK;
}

static xp_status read_number(cursor *reader, const char *what, float *out) {
    look(reader);
    double value = 0;
    size_t length;
    XP_TRY(xp_text_number(reader->text + reader->at, &value, &length));
    if (length == 0) return refuse(reader, reader->at, "expected a number for %s", what);
    if (!isfinite((float)value)) return refuse(reader, reader->at, "the number for %s is too large", what);
    reader->at += length;
    *out = (float)value;
    return XP_OK;
}

/* A positive number in brackets. */
static xp_status read_positive(cursor *reader, const char *what, const char *example, float *out) {
    XP_TRY(open_bracket(reader, example));
    look(reader);
    const size_t start = reader->at;
    XP_TRY(read_number(reader, what, out));
    if (!(*out > 0)) return refuse(reader, start, "%s must be greater than 0", what);
    return close_bracket(reader);
}

static xp_status read_whole(cursor *reader, const char *what, int lowest, int highest, int *out) {
    look(reader);
    const size_t start = reader->at;
    long value = 0;
    while (isdigit((unsigned char)reader->text[reader->at])) {
        if (value <= highest) value = value * 10 + (reader->text[reader->at] - '0');
        reader->at++;
    }
    const char next = reader->text[reader->at];
    if (reader->at == start || value < lowest || value > highest || next == '.' || is_word(next))
        return refuse(reader, start, "expected %s, a whole number from %d to %d", what, lowest, highest);
    *out = (int)value;
    return XP_OK;
}

static bool is_bare(char c) {
    return isalnum((unsigned char)c) || (c && strchr("._-/", c));
}

/* Text in double quotes, which nothing escapes. */
static xp_status read_quoted(cursor *reader, const char *what, char out[XP_SPECIFICATION_BYTES]) {
    if (look(reader) != '"') return refuse(reader, reader->at, "expected %s in double quotes", what);
    const size_t start = ++reader->at;
    while (reader->text[reader->at] && reader->text[reader->at] != '"') {
        if (iscntrl((unsigned char)reader->text[reader->at]))
            return refuse(reader, reader->at, "%s cannot hold a control character or a new line", what);
        reader->at++;
    }
    const size_t length = reader->at - start;
    if (!reader->text[reader->at]) return refuse(reader, start - 1, "the quotes of %s are not closed", what);
    if (length == 0) return refuse(reader, start - 1, "%s is empty", what);
    if (length >= XP_SPECIFICATION_BYTES)
        return refuse(reader, start - 1, "%s has %zu characters, more than %d", what, length,
                      XP_SPECIFICATION_BYTES - 1);
    memset(out, 0, XP_SPECIFICATION_BYTES);
    memcpy(out, reader->text + start, length);
    reader->at++;
    return XP_OK;
}

static xp_status read_file(cursor *reader, char out[XP_SPECIFICATION_BYTES]) {
    if (look(reader) == '"') return read_quoted(reader, "the file's name", out);
    const size_t start = reader->at;
    while (is_bare(reader->text[reader->at])) reader->at++;
    const size_t length = reader->at - start;
    if (length == 0)
        return refuse(reader, start,
                      "expected a .npy file, in double quotes if its name has other characters than "
                      "letters, digits and . _ - /");
    if (length >= XP_SPECIFICATION_BYTES)
        return refuse(reader, start, "the file's name has %zu characters, more than %d", length,
                      XP_SPECIFICATION_BYTES - 1);
    memset(out, 0, XP_SPECIFICATION_BYTES);
    memcpy(out, reader->text + start, length);
    return XP_OK;
}

/* ---- one part each ----------------------------------------------------------------------------------------------- */

static xp_status read_knob(cursor *reader, xp_specification *out, bool seen[KNOBS]) {
    int knob, choice;
    look(reader);
    const size_t start = reader->at;
    XP_TRY(read_choice(reader, knobs, KNOBS, "beta, scale or eps", &knob));
    if (seen[knob]) return refuse(reader, start, "%s is given twice", knobs[knob]);
    seen[knob] = true;
    if (!take(reader, '=')) return refuse(reader, reader->at, "expected \"=\" after %s", knobs[knob]);
    const char next = look(reader);
    const size_t value = reader->at;
    if (knob == KNOB_EPS) {
        XP_TRY(read_number(reader, "eps", &out->bn_epsilon));
        return out->bn_epsilon > 0 ? XP_OK : refuse(reader, value, "eps must be greater than 0");
    }
    if (knob == KNOB_BETA) {
        static const char *const learned[] = {"learned"};
        if (!isalpha((unsigned char)next)) return read_number(reader, "beta", &out->bn_beta);
        XP_TRY(read_choice(reader, learned, 1, "a number or learned", &choice));
        out->bn_beta_learned = true;
        return XP_OK;
    }
    static const char *const choices[] = {"off", "on"};
    XP_TRY(read_choice(reader, choices, 2, "on or off", &choice));
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

static xp_status read_sh(cursor *reader, xp_specification *out) {
    if (!take(reader, '('))
        return refuse(reader, reader->at, "expected \"(\" and the scales of the heads: sh(1,1,2,4)");
    do {
        look(reader);
        if (out->scale_count == XP_SPECIFICATION_SCALES)
            return refuse(reader, reader->at, "there are more than %d scales", XP_SPECIFICATION_SCALES);
        XP_TRY(read_whole(reader, "a scale", 1, LARGEST_WHOLE, &out->scales[out->scale_count]));
        out->scale_count++;
    } while (take(reader, ','));
    return take(reader, ')') ? XP_OK : refuse(reader, reader->at, "expected \",\" or \")\"");
}

static xp_status read_convolution(cursor *reader, const char *example, int *out) {
    XP_TRY(open_bracket(reader, example));
    look(reader);
    const size_t start = reader->at;
    XP_TRY(read_whole(reader, "an odd width", 1, WIDEST_CONVOLUTION, out));
    if (*out % 2 == 0)
        return refuse(reader, start, "expected an odd width, such as %d: an even one has no middle", *out + 1);
    return close_bracket(reader);
}

static xp_status read_causal(cursor *reader, xp_specification *out) {
    static const char *const ends[] = {"first", "last"};
    int end = 0;
    out->causal = true;
    if (!take(reader, '(')) return XP_OK;
    XP_TRY(read_choice(reader, ends, 2, "first or last: the ends that are aligned", &end));
    out->causal_last = end == 1;
    return close_bracket(reader);
}

static xp_status read_window(cursor *reader, xp_specification *out) {
    out->window = true;
    XP_TRY(open_bracket(reader, "window(64,64) sees 64 rows to the left and 64 to the right"));
    XP_TRY(read_whole(reader, "the rows to the left", 0, LARGEST_SPAN, &out->left));
    if (!take(reader, ','))
        return refuse(reader, reader->at, "expected \",\" and the rows to the right: window(64,64)");
    XP_TRY(read_whole(reader, "the rows to the right", 0, LARGEST_SPAN, &out->right));
    return close_bracket(reader);
}

static xp_status read_strided(cursor *reader, xp_specification *out) {
    XP_TRY(open_bracket(reader, "strided(8) sees every eighth key"));
    XP_TRY(read_whole(reader, "a stride", 1, LARGEST_SPAN, &out->stride));
    return close_bracket(reader);
}

/* block(16) or block(FILE,16): digits alone that a bracket follows are a size. */
static xp_status read_block(cursor *reader, xp_specification *out) {
    static const char example[] = "block(16), or a file and the rows of its blocks: block(blocks.npy,16)";
    XP_TRY(open_bracket(reader, example));
    cursor ahead = *reader;
    look(&ahead);
    while (isdigit((unsigned char)ahead.text[ahead.at])) ahead.at++;
    if (ahead.at == reader->at || look(&ahead) != ')') {
        XP_TRY(read_file(reader, out->block_file));
        if (!take(reader, ','))
            return refuse(reader, reader->at, "expected \",\" and the rows of a block: block(blocks.npy,16)");
    }
    XP_TRY(read_whole(reader, "the rows of a block", 1, LARGEST_SPAN, &out->block));
    return close_bracket(reader);
}

static xp_status read_mask(cursor *reader, xp_specification *out) {
    XP_TRY(open_bracket(reader, "mask(mask.npy)"));
    XP_TRY(read_file(reader, out->mask_file));
    return close_bracket(reader);
}

/* ---- the user's score -------------------------------------------------------------------------------------------- */

/* Where its texts stand in the specification: they are checked when all names are known. */
typedef struct score_places {
    size_t score, derivative;
} score_places;

static xp_status read_expression(cursor *reader, const char *what, char out[XP_SPECIFICATION_BYTES], size_t *place) {
    look(reader);
    *place = reader->at + 1;
    return read_quoted(reader, what, out);
}

static xp_status check_expression(const cursor *reader, size_t place, const char *text, const xp_specification *s,
                                  bool *additive) {
    xp_expression_name names[XP_SPECIFICATION_NAMES];
    for (int i = 0; i < s->name_count; i++) names[i] = (xp_expression_name){s->names[i].name, s->names[i].file[0] != 0};
    xp_expression expression;
    if (!xp_expression_read(text, names, s->name_count, &expression))
        return refuse(reader, place + expression.place, "%s", expression.reason);
    *additive = expression.additive;
    return XP_OK;
}

static xp_status read_named_value(cursor *reader, const char *name, xp_specification *out) {
    const int place = out->name_count;
    look(reader);
    double value;
    size_t length;
    XP_TRY(xp_text_number(reader->text + reader->at, &value, &length));
    cursor behind = {reader->text, reader->at + length};
    const char next = look(&behind);
    if (length > 0 && (next == ',' || next == ')' || next == 0))
        XP_TRY(read_number(reader, name, &out->names[place].value));
    else
        XP_TRY(read_file(reader, out->names[place].file));
    memcpy(out->names[place].name, name, strlen(name) + 1);
    out->name_count++;
    return XP_OK;
}

static xp_status read_score_option(cursor *reader, xp_specification *out, score_places *places) {
    char word[WORD_BYTES];
    look(reader);
    const size_t start = reader->at;
    take_word(reader, word);
    if (!*word || isdigit((unsigned char)*word))
        return refuse(reader, start, "expected derivative=\"…\", or a name of the expression and its value: c=0.5");
    if (reader->at - start >= WORD_BYTES)
        return refuse(reader, start, "the name has more than %d letters", WORD_BYTES - 1);
    if (strcmp(word, "derivative") == 0) {
        if (out->derivative[0]) return refuse(reader, start, "derivative is given twice");
        if (!take(reader, '=')) return refuse(reader, reader->at, "expected \"=\" after derivative");
        return read_expression(reader, "the derivative", out->derivative, &places->derivative);
    }
    if (find(word, reserved, RESERVED) >= 0 || xp_expression_has(word) || strncmp(word, "XP_", 3) == 0 ||
        word[0] == '_')
        return refuse(reader, start, "\"%s\" means something else already: choose another name", word);
    for (int i = 0; i < out->name_count; i++)
        if (strcmp(word, out->names[i].name) == 0) return refuse(reader, start, "%s is given twice", word);
    if (out->name_count == XP_SPECIFICATION_NAMES)
        return refuse(reader, start, "there are more than %d names", XP_SPECIFICATION_NAMES);
    if (!take(reader, '=')) return refuse(reader, reader->at, "expected \"=\" after %s", word);
    return read_named_value(reader, word, out);
}

static xp_status read_score(cursor *reader, xp_specification *out) {
    XP_TRY(open_bracket(reader, "score(\"score - 0.1f * abs(query_index - key_index)\")"));
    score_places places = {0, 0};
    bool additive = false;
    XP_TRY(read_expression(reader, "the score", out->score, &places.score));
    while (take(reader, ',')) XP_TRY(read_score_option(reader, out, &places));
    if (!take(reader, ')')) return refuse(reader, reader->at, "expected \",\" or \")\"");
    XP_TRY(check_expression(reader, places.score, out->score, out, &additive));
    if (out->derivative[0]) return check_expression(reader, places.derivative, out->derivative, out, &additive);
    if (!additive)
        return refuse(reader, places.score - 1,
                      "this is not the score plus or minus something, so its derivative by the score is needed: "
                      "score(\"…\", derivative=\"…\")");
    return XP_OK;
}

/* ---- the whole line ---------------------------------------------------------------------------------------------- */

static xp_status read_kernel(cursor *reader, xp_specification *out) {
    char word[WORD_BYTES];
    look(reader);
    const size_t start = reader->at;
    take_word(reader, word);
    const int kernel = find(word, kernels, KERNELS);
    if (find(word, parts, PARTS) >= 0) return refuse(reader, start, "expected the kernel first: softmax+%s", word);
    if (kernel < 0) return refuse_word(reader, start, word, kernels, KERNELS, "a kernel: softmax or linear");
    if (kernel == WORD_SOFTMAX) return XP_OK;
    out->features = XP_FEATURES_ELU;
    if (!take(reader, '(')) return XP_OK;
    XP_TRY(read_choice(reader, feature_names + 1, FEATURES - 1, "elu, relu, identity or square", &out->features));
    out->features++;
    return close_bracket(reader);
}

static xp_status read_part(cursor *reader, bool seen[PARTS], xp_specification *out) {
    char word[WORD_BYTES];
    look(reader);
    const size_t start = reader->at;
    take_word(reader, word);
    const int part = find(word, parts, PARTS);
    if (find(word, kernels, KERNELS) >= 0) return refuse(reader, start, "the kernel stands at the beginning, once");
    if (part < 0) return refuse_word(reader, start, word, parts, PARTS, PARTS_EXPECTED);
    if (seen[part]) return refuse(reader, start, "%s is given twice", word);
    seen[part] = true;
    switch (part) {
    case PART_UNNORMALISED:
        out->unnormalised = true;
        return XP_OK;
    case PART_BN:
        return read_bn(reader, out);
    case PART_SH:
        return read_sh(reader, out);
    case PART_CONV1D:
        return read_convolution(reader, "conv1d(3)", &out->conv1d);
    case PART_CONV2D:
        return read_convolution(reader, "conv2d(3)", &out->conv2d);
    case PART_CAUSAL:
        return read_causal(reader, out);
    case PART_WINDOW:
        return read_window(reader, out);
    case PART_STRIDED:
        return read_strided(reader, out);
    case PART_BLOCK:
        return read_block(reader, out);
    case PART_MASK:
        return read_mask(reader, out);
    case PART_ALIBI:
        out->alibi = true;
        return XP_OK;
    case PART_SOFTCAP:
        return read_positive(reader, "softcap", "softcap(50)", &out->soft_cap);
    case PART_SCALE:
        return read_positive(reader, "scale", "scale(0.125)", &out->scale);
    case PART_BIAS:
        out->bias = true;
        return XP_OK;
    default:
        return read_score(reader, out);
    }
}

xp_status xp_specification_parse(const char *text, xp_specification *out) {
    if (!text) return xp_fail(XP_INVALID_ARGUMENT, "there is no attention specification: \"softmax\" is the plain one");
    cursor reader = {text, 0};
    bool seen[PARTS] = {false};
    xp_specification made = {.bn_beta = DEFAULT_BETA, .bn_scale = true, .bn_epsilon = DEFAULT_EPSILON};
    XP_TRY(read_kernel(&reader, &made));
    while (take(&reader, '+')) XP_TRY(read_part(&reader, seen, &made));
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

/* The shortest text that reads back as the same number. */
static void append_number(sink *writer, float value) {
    char text[32], shortest[32] = "";
    for (int digits = 1; digits <= 9; digits++) {
        format_in_c(text, sizeof text, "%.*g", digits, (double)value);
        double back = 0;
        size_t length;
        const bool same = xp_text_number(text, &back, &length) == XP_OK && (float)back == value;
        if (same && (!shortest[0] || strlen(text) < strlen(shortest))) memcpy(shortest, text, sizeof shortest);
    }
    append(writer, shortest);
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

static void append_whole(sink *writer, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    append(writer, text);
}

static void append_quoted(sink *writer, const char *text) {
    append(writer, "\"");
    append(writer, text);
    append(writer, "\"");
}

/* Bare where it reads back as a file. */
static void append_file(sink *writer, const char *file) {
    double value;
    size_t length = 0;
    const char *c = file;
    while (is_bare(*c)) c++;
    const bool number = xp_text_number(file, &value, &length) != XP_OK || file[length] == 0;
    if (*c || number)
        append_quoted(writer, file);
    else
        append(writer, file);
}

/* "+name(value)", without it where the value is 0. */
static void append_whole_part(sink *writer, const char *name, int value) {
    if (value == 0) return;
    append(writer, name);
    append_whole(writer, value);
    append(writer, ")");
}

static void append_number_part(sink *writer, const char *name, float value) {
    if (value == 0) return;
    append(writer, name);
    append_number(writer, value);
    append(writer, ")");
}

static void append_training_set(sink *writer, const xp_specification *s) {
    if (s->causal) append(writer, s->causal_last ? "+causal(last)" : "+causal");
    if (s->window) {
        append(writer, "+window(");
        append_whole(writer, s->left);
        append(writer, ",");
        append_whole(writer, s->right);
        append(writer, ")");
    }
    append_whole_part(writer, "+strided(", s->stride);
    if (s->block) {
        append(writer, "+block(");
        if (s->block_file[0]) {
            append_file(writer, s->block_file);
            append(writer, ",");
        }
        append_whole(writer, s->block);
        append(writer, ")");
    }
    if (s->mask_file[0]) {
        append(writer, "+mask(");
        append_file(writer, s->mask_file);
        append(writer, ")");
    }
}

static void append_score(sink *writer, const xp_specification *s) {
    append(writer, "+score(");
    append_quoted(writer, s->score);
    if (s->derivative[0]) {
        append(writer, ",derivative=");
        append_quoted(writer, s->derivative);
    }
    for (int i = 0; i < s->name_count; i++) {
        append(writer, ",");
        append(writer, s->names[i].name);
        append(writer, "=");
        if (s->names[i].file[0])
            append_file(writer, s->names[i].file);
        else
            append_number(writer, s->names[i].value);
    }
    append(writer, ")");
}

size_t xp_specification_print(const xp_specification *specification, char *text, size_t size) {
    const xp_specification *s = specification;
    sink writer = {text, size, 0};
    append(&writer, kernels[s->features ? WORD_LINEAR : WORD_SOFTMAX]);
    if (s->features && s->features != XP_FEATURES_ELU) {
        append(&writer, "(");
        append(&writer, feature_names[s->features]);
        append(&writer, ")");
    }
    if (s->unnormalised) append(&writer, "+unnormalised");
    if (s->bn) append_bn(&writer, s);
    for (int i = 0; i < s->scale_count; i++) {
        append(&writer, i ? "," : "+sh(");
        append_whole(&writer, s->scales[i]);
    }
    if (s->scale_count) append(&writer, ")");
    append_whole_part(&writer, "+conv1d(", s->conv1d);
    append_whole_part(&writer, "+conv2d(", s->conv2d);
    append_training_set(&writer, s);
    if (s->alibi) append(&writer, "+alibi");
    append_number_part(&writer, "+softcap(", s->soft_cap);
    append_number_part(&writer, "+scale(", s->scale);
    if (s->bias) append(&writer, "+bias");
    if (s->score[0]) append_score(&writer, s);
    if (size) text[writer.length < size ? writer.length : size - 1] = 0;
    return writer.length;
}

/* ---- checking ---------------------------------------------------------------------------------------------------- */

bool xp_specification_is_one_sided(const xp_specification *specification) {
    return specification->causal || (specification->window && specification->right == 0);
}

static xp_status deny(const xp_specification *specification, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static xp_status deny(const xp_specification *specification, const char *format, ...) {
    char text[QUOTE_BYTES], reason[512];
    const size_t length = xp_specification_print(specification, text, sizeof text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return xp_fail(XP_INVALID_ARGUMENT, "attention \"%s%s\": %s", text, length >= sizeof text ? "…" : "", reason);
}

static xp_status check_kernel(const xp_specification *s) {
    static const char softmax_only[] =
        "%s belongs to softmax: linear attention has no exponent that it could change; leave it out, or take softmax";
    if (s->features && s->alibi) return deny(s, softmax_only, "alibi");
    if (s->features && s->soft_cap > 0) return deny(s, softmax_only, "softcap");
    if (s->features && s->bias) return deny(s, softmax_only, "bias");
    if (s->features && s->score[0]) return deny(s, softmax_only, "score");
    if (!s->features && s->unnormalised)
        return deny(s, "unnormalised belongs to linear: the exponentials of softmax have no bound without their sum; "
                       "leave it out, or take linear");
    return XP_OK;
}

static xp_status check_convolution(const xp_specification *s, const xp_specification_use *use) {
    if (s->conv1d && s->conv2d) return deny(s, "conv1d and conv2d do not go together: choose the one");
    if (s->conv1d && use->grid) return deny(s, "conv1d needs a sequence, and a patch grid is none: take conv2d");
    if (s->conv2d && !use->grid) return deny(s, "conv2d needs the patch grid of an image: take conv1d");
    if (s->conv2d && xp_specification_is_one_sided(s))
        return deny(s, "conv2d looks at patches after a query, which %s must not see: leave one of them out",
                    s->causal ? "causal" : "window(…,0)");
    return XP_OK;
}

static xp_status check_scaled_heads(const xp_specification *s, const xp_specification_use *use) {
    if (s->scale_count == 0) return XP_OK;
    if (use->heads % s->scale_count != 0)
        return deny(s, "sh has %d scales for %d heads: their number must divide the heads (a shorter list repeats)",
                    s->scale_count, use->heads);
    for (int i = 0; i < s->scale_count; i++)
        if (s->scales[i] > use->longest)
            return deny(s, "sh scale %d is longer than the longest series or grid side, %d: use scales up to %d",
                        s->scales[i], use->longest, use->longest);
    if (use->key_heads && use->key_heads != use->heads)
        return deny(s,
                    "sh gives every head a training set of its own, and %d key heads serve %d heads: set key_heads "
                    "to 0",
                    use->key_heads, use->heads);
    const char *pattern = s->causal   ? "causal"
                          : s->window ? "window"
                          : s->stride ? "strided"
                          : s->alibi  ? "alibi"
                                      : NULL;
    if (use->grid && pattern)
        return deny(s, "%s does not go with sh on an image: a pooled patch is no interval of the sequence", pattern);
    if (s->causal_last)
        return deny(s, "causal(last) does not go with sh: the pooled keys have another end than the queries; take "
                       "causal(first)");
    return XP_OK;
}

xp_status xp_specification_check(const xp_specification *specification, const xp_specification_use *use) {
    XP_TRY(check_kernel(specification));
    XP_TRY(check_convolution(specification, use));
    if (specification->block && specification->mask_file[0])
        return deny(specification, "block and mask do not go together: put both into one mask");
    return check_scaled_heads(specification, use);
}
