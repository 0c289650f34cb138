/* Reading the attention specification: one function for each part. Every word is in one of the lists below. */
#include "model/specification.h"

#include "core/text.h"
#include "model/specification_parts.h"

#include <ctype.h>
#include <string.h>

enum { LARGEST_WHOLE = 32767, LARGEST_SPAN = 1000000000, WIDEST_CONVOLUTION = 127 };

const char *const xp_kernel_names[] = {"softmax", "linear"};
enum { KERNELS = sizeof xp_kernel_names / sizeof xp_kernel_names[0] };

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

const char *const xp_feature_names[] = {"", "elu", "relu", "identity", "square"};
enum { FEATURES = sizeof xp_feature_names / sizeof xp_feature_names[0] };

enum { KNOB_BETA, KNOB_SCALE, KNOB_EPS };
static const char *const knobs[] = {"beta", "scale", "eps"};
enum { KNOBS = sizeof knobs / sizeof knobs[0] };

/* ---- one part each ----------------------------------------------------------------------------------------------- */

static xp_status read_knob(xp_cursor *reader, xp_specification *out, bool seen[KNOBS]) {
    int knob, choice;
    xp_cursor_look(reader);
    const size_t start = reader->at;
    XP_TRY(xp_cursor_choice(reader, knobs, KNOBS, "beta, scale or eps", &knob));
    if (seen[knob]) return xp_cursor_reject(reader, start, "%s is given twice", knobs[knob]);
    seen[knob] = true;
    if (!xp_cursor_take(reader, '='))
        return xp_cursor_reject(reader, reader->at, "expected \"=\" after %s", knobs[knob]);
    const char next = xp_cursor_look(reader);
    const size_t value = reader->at;
    if (knob == KNOB_EPS) {
        XP_TRY(xp_cursor_number(reader, "eps", &out->bn_epsilon));
        return out->bn_epsilon > 0 ? XP_OK : xp_cursor_reject(reader, value, "eps must be greater than 0");
    }
    if (knob == KNOB_BETA) {
        static const char *const learned[] = {"learned"};
        if (!isalpha((unsigned char)next)) return xp_cursor_number(reader, "beta", &out->bn_beta);
        XP_TRY(xp_cursor_choice(reader, learned, 1, "a number or learned", &choice));
        out->bn_beta_learned = true;
        return XP_OK;
    }
    static const char *const choices[] = {"off", "on"};
    XP_TRY(xp_cursor_choice(reader, choices, 2, "on or off", &choice));
    out->bn_scale = choice == 1;
    return XP_OK;
}

static xp_status read_bn(xp_cursor *reader, xp_specification *out) {
    out->bn = true;
    if (!xp_cursor_take(reader, '(')) return XP_OK;
    bool seen[KNOBS] = {false};
    do XP_TRY(read_knob(reader, out, seen));
    while (xp_cursor_take(reader, ','));
    return xp_cursor_take(reader, ')') ? XP_OK : xp_cursor_reject(reader, reader->at, "expected \",\" or \")\"");
}

static xp_status read_sh(xp_cursor *reader, xp_specification *out) {
    if (!xp_cursor_take(reader, '('))
        return xp_cursor_reject(reader, reader->at, "expected \"(\" and the scales of the heads: sh(1,1,2,4)");
    do {
        xp_cursor_look(reader);
        if (out->scale_count == XP_SPECIFICATION_SCALES)
            return xp_cursor_reject(reader, reader->at, "there are more than %d scales", XP_SPECIFICATION_SCALES);
        XP_TRY(xp_cursor_whole(reader, "a scale", 1, LARGEST_WHOLE, &out->scales[out->scale_count]));
        out->scale_count++;
    } while (xp_cursor_take(reader, ','));
    return xp_cursor_take(reader, ')') ? XP_OK : xp_cursor_reject(reader, reader->at, "expected \",\" or \")\"");
}

static xp_status read_convolution(xp_cursor *reader, const char *example, int *out) {
    XP_TRY(xp_cursor_open(reader, example));
    xp_cursor_look(reader);
    const size_t start = reader->at;
    XP_TRY(xp_cursor_whole(reader, "an odd width", 1, WIDEST_CONVOLUTION, out));
    if (*out % 2 == 0)
        return xp_cursor_reject(reader, start, "expected an odd width, such as %d: an even width has no centre",
                                *out + 1);
    return xp_cursor_close(reader);
}

static xp_status read_causal(xp_cursor *reader, xp_specification *out) {
    static const char *const ends[] = {"first", "last"};
    int end = 0;
    out->causal = true;
    if (!xp_cursor_take(reader, '(')) return XP_OK;
    XP_TRY(xp_cursor_choice(reader, ends, 2, "first or last: the ends that are aligned", &end));
    out->causal_last = end == 1;
    return xp_cursor_close(reader);
}

static xp_status read_window(xp_cursor *reader, xp_specification *out) {
    out->window = true;
    XP_TRY(xp_cursor_open(reader, "window(64,64) sees 64 rows to the left and 64 to the right"));
    XP_TRY(xp_cursor_whole(reader, "the rows to the left", 0, LARGEST_SPAN, &out->left));
    if (!xp_cursor_take(reader, ','))
        return xp_cursor_reject(reader, reader->at, "expected \",\" and the rows to the right: window(64,64)");
    XP_TRY(xp_cursor_whole(reader, "the rows to the right", 0, LARGEST_SPAN, &out->right));
    return xp_cursor_close(reader);
}

static xp_status read_strided(xp_cursor *reader, xp_specification *out) {
    XP_TRY(xp_cursor_open(reader, "strided(8) sees every eighth key"));
    XP_TRY(xp_cursor_whole(reader, "a stride", 1, LARGEST_SPAN, &out->stride));
    return xp_cursor_close(reader);
}

/* block(16) or block(FILE,16): digits alone that a bracket follows are a size. */
static xp_status read_block(xp_cursor *reader, xp_specification *out) {
    static const char example[] = "block(16), or a file and the rows of its blocks: block(blocks.npy,16)";
    XP_TRY(xp_cursor_open(reader, example));
    xp_cursor ahead = *reader;
    xp_cursor_look(&ahead);
    while (isdigit((unsigned char)ahead.text[ahead.at])) ahead.at++;
    if (ahead.at == reader->at || xp_cursor_look(&ahead) != ')') {
        XP_TRY(xp_cursor_file(reader, out->block_file));
        if (!xp_cursor_take(reader, ','))
            return xp_cursor_reject(reader, reader->at, "expected \",\" and the rows of a block: block(blocks.npy,16)");
    }
    XP_TRY(xp_cursor_whole(reader, "the rows of a block", 1, LARGEST_SPAN, &out->block));
    return xp_cursor_close(reader);
}

static xp_status read_mask(xp_cursor *reader, xp_specification *out) {
    XP_TRY(xp_cursor_open(reader, "mask(mask.npy)"));
    XP_TRY(xp_cursor_file(reader, out->mask_file));
    return xp_cursor_close(reader);
}

/* ---- the whole line ---------------------------------------------------------------------------------------------- */

static xp_status read_kernel(xp_cursor *reader, xp_specification *out) {
    char word[XP_WORD_BYTES];
    xp_cursor_look(reader);
    const size_t start = reader->at;
    xp_cursor_word(reader, word);
    const int kernel = xp_word_find(word, xp_kernel_names, KERNELS);
    if (xp_word_find(word, parts, PARTS) >= 0)
        return xp_cursor_reject(reader, start, "expected the kernel first: softmax+%s", word);
    if (kernel < 0)
        return xp_cursor_reject_word(reader, start, word, xp_kernel_names, KERNELS, "a kernel: softmax or linear");
    if (kernel == XP_KERNEL_SOFTMAX) return XP_OK;
    out->features = XP_FEATURES_ELU;
    if (!xp_cursor_take(reader, '(')) return XP_OK;
    XP_TRY(
        xp_cursor_choice(reader, xp_feature_names + 1, FEATURES - 1, "elu, relu, identity or square", &out->features));
    out->features++;
    return xp_cursor_close(reader);
}

static xp_status read_part(xp_cursor *reader, bool seen[PARTS], xp_specification *out) {
    char word[XP_WORD_BYTES];
    xp_cursor_look(reader);
    const size_t start = reader->at;
    xp_cursor_word(reader, word);
    const int part = xp_word_find(word, parts, PARTS);
    if (xp_word_find(word, xp_kernel_names, KERNELS) >= 0)
        return xp_cursor_reject(reader, start, "the kernel comes first, and only once");
    if (part < 0) return xp_cursor_reject_word(reader, start, word, parts, PARTS, PARTS_EXPECTED);
    if (seen[part]) return xp_cursor_reject(reader, start, "%s is given twice", word);
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
        return xp_cursor_positive(reader, "softcap", "softcap(50)", &out->soft_cap);
    case PART_SCALE:
        return xp_cursor_positive(reader, "scale", "scale(0.125)", &out->scale);
    case PART_BIAS:
        out->bias = true;
        return XP_OK;
    default:
        return xp_specification_read_score(reader, out);
    }
}

xp_status xp_specification_parse(const char *text, xp_specification *out) {
    if (!text)
        return xp_fail(XP_INVALID_ARGUMENT, "the attention specification is empty: \"softmax\" is plain attention");
    xp_cursor reader = {text, 0};
    bool seen[PARTS] = {false};
    xp_specification made = {.bn_beta = XP_BN_BETA, .bn_scale = true, .bn_epsilon = XP_BN_EPSILON};
    XP_TRY(read_kernel(&reader, &made));
    while (xp_cursor_take(&reader, '+')) XP_TRY(read_part(&reader, seen, &made));
    if (xp_cursor_look(&reader) != 0)
        return xp_cursor_reject(&reader, reader.at, "expected \"+\" and a part, or the end");
    *out = made;
    return XP_OK;
}
