/* From a score's text to OpenCL C. */
#include "ops/score.h"

#include "device/device.h"

#include <stdio.h>
#include <string.h>

enum { FUNCTION_BYTES = 1024 };

/* `float user_xxx(…) { return <text>; }`, with the names that the text may use as parameters and constants. */
static size_t print_function(char *out, size_t size, const char *name, const char *file, const char *text,
                             const xp_score *score) {
    size_t used = (size_t)snprintf(
        out, size, "inline float %s(float score, int batch, int head, int query_index, int key_index", name);
#define MORE (used < size ? out + used : NULL), (used < size ? size - used : 0)
    for (int i = 0; i < XP_SCORE_NAMES; i++)
        if (i < score->tensor_count)
            used += (size_t)snprintf(MORE, ", const __global float *%s", score->tensors[i]);
        else
            used += (size_t)snprintf(MORE, ", const __global float *unused_%d", i);
    used += (size_t)snprintf(MORE, ") {\n");
    for (int i = 0; i < score->scalar_count; i++) {
        unsigned bits;
        memcpy(&bits, &score->scalars[i].value, sizeof bits);
        used += (size_t)snprintf(MORE, "    const float %s = as_float(0x%08xu);\n", score->scalars[i].name, bits);
    }
    used += (size_t)snprintf(MORE, "#line 1 \"%s\"\n" XP_PRELUDE_TEXT "%s\n#line 2 \"%s\"\n);\n}\n", file, text, file);
#undef MORE
    return used;
}

const char *xp_score_prelude(xp_graph *graph, const xp_score *score) {
    const char *derivative = score->derivative ? score->derivative : "1.0f";
    const size_t size = strlen(score->text) + strlen(derivative) + (size_t)2 * FUNCTION_BYTES;
    char *text = xp_graph_memory(graph, size);
    if (!text) return NULL;
    size_t used = print_function(text, size, "user_score", XP_SCORE_FILE, score->text, score);
    if (used < size)
        used += print_function(text + used, size - used, "user_derivative", XP_DERIVATIVE_FILE, derivative, score);
    if (used >= size) {
        xp_fail(XP_INVALID_ARGUMENT, "score: the names of its scalars and tensors are too long");
        return NULL;
    }
    return text;
}
