/* From a score's text to OpenCL C. */
#include "ops/score.h"

#include "core/writer.h"
#include "device/device.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

/* ---- indices ----------------------------------------------------------------------------------------------------- */

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

/* The tensor that the name at `text` is, with a bracket after it; -1: none. *length is that of name and bracket. */
static int indexed_tensor(const char *text, const xp_score *score, size_t *length) {
    size_t name = 0;
    while (is_word(text[name])) name++;
    *length = name + strspn(text + name, " \t") + 1;
    for (int i = 0; i < score->tensor_count && text[*length - 1] == '['; i++)
        if (strlen(score->tensors[i]) == name && memcmp(score->tensors[i], text, name) == 0) return i;
    *length = name;
    return -1;
}

/* The text with every index of a tensor kept within it: "t[head]" becomes "t[min((uint)(head), 7u)]". */
static void write_text(xp_writer *out, const char *text, const xp_score *score, xp_tensor *const *tensors) {
    enum { DEEPEST = 64 };
    int open[DEEPEST], depth = 0; /* the tensors whose indices are open */
    while (*text) {
        size_t length;
        const int tensor = is_word(*text) ? indexed_tensor(text, score, &length) : -1;
        if (tensor >= 0 && depth < DEEPEST) {
            xp_write(out, "%.*smin((uint)(", (int)length, text);
            open[depth++] = tensor;
        } else if (*text == ']' && depth > 0) {
            const int64_t last = xp_tensor_elements(tensors[open[--depth]]) - 1;
            xp_write(out, "), %" PRId64 "u)]", last < INT_MAX ? last : INT_MAX);
            length = 1;
        } else {
            if (!is_word(*text)) length = 1;
            xp_write(out, "%.*s", (int)length, text);
        }
        text += length;
    }
}

/* ---- functions --------------------------------------------------------------------------------------------------- */

/* `float user_xxx(…) { return <text>; }`, with the names that the text may use as parameters and constants. */
static void write_function(xp_writer *out, const char *name, const char *file, const char *text, const xp_score *score,
                           xp_tensor *const *tensors) {
    xp_write(out, "inline float %s(float score, int batch, int head, int query_index, int key_index", name);
    for (int i = 0; i < XP_SCORE_NAMES; i++)
        if (i < score->tensor_count)
            xp_write(out, ", const __global float *%s", score->tensors[i]);
        else
            xp_write(out, ", const __global float *unused_%d", i);
    xp_write(out, ") {\n");
    for (int i = 0; i < score->scalar_count; i++) {
        unsigned bits;
        memcpy(&bits, &score->scalars[i].value, sizeof bits);
        xp_write(out, "    const float %s = as_float(0x%08xu);\n", score->scalars[i].name, bits);
    }
    xp_write(out, "#line 1 \"%s\"\n" XP_PRELUDE_TEXT, file);
    write_text(out, text, score, tensors);
    xp_write(out, "\n#line 2 \"%s\"\n);\n}\n", file);
}

const char *xp_score_prelude(xp_graph *graph, const xp_score *score, xp_tensor *const *tensors) {
    xp_writer out = {0};
    write_function(&out, "user_score", XP_SCORE_FILE, score->text, score, tensors);
    write_function(&out, "user_derivative", XP_DERIVATIVE_FILE, score->derivative ? score->derivative : "1.0f", score,
                   tensors);
    const bool made = xp_writer_status(&out, "score") == XP_OK;
    char *text = made ? xp_graph_memory(graph, out.length + 1) : NULL;
    if (text) memcpy(text, out.text, out.length + 1);
    xp_writer_release(&out);
    return text;
}
