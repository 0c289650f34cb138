/* The attention specification: the four answers of the primal-dual framework as one struct and one line of text. Owns
 * parsing, printing and checking; knows nothing of graphs.
 *
 *     specification = kernel { "+" part }
 *     kernel        = "softmax"
 *     part          = "bn" [ "(" "beta=" NUMBER|"learned" "," "scale=" "on"|"off" "," "eps=" NUMBER ")" ]   (any
 * subset) | "sh" "(" scale { "," scale } ")"
 *
 * Blanks are free. Printing gives the shortest text that parses back to the same struct. */
#ifndef XP_MODEL_SPECIFICATION_H
#define XP_MODEL_SPECIFICATION_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { XP_SPECIFICATION_SCALES = 64 };

typedef enum xp_attention_kernel { XP_KERNEL_SOFTMAX } xp_attention_kernel;

typedef struct xp_specification {
    xp_attention_kernel kernel;
    bool bn;
    float bn_beta;        /* 1 by default; the starting value when learned */
    bool bn_beta_learned; /* one per head */
    bool bn_scale;
    float bn_epsilon;
    int scale_count; /* 0: no scaled heads */
    int scales[XP_SPECIFICATION_SCALES];
} xp_specification;

/* XP_INVALID_ARGUMENT: the message quotes the text, marks the place with its column, and says what is expected; a
 * misspelt word names the nearest known one. Parts of the framework that are not built yet are refused by name. */
xp_status xp_specification_parse(const char *text, xp_specification *out);
/* Writes at most size bytes with the NUL; returns the length needed. */
size_t xp_specification_print(const xp_specification *specification, char *text, size_t size);
/* Against a model: heads; longest series length (1-D) or the patch grid's longer side (2-D). */
xp_status xp_specification_check(const xp_specification *specification, int heads, int longest);

#endif
