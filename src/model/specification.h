/* The attention specification: the four choices of the primal-dual framework as one struct and one line of text. Owns
 * parsing, printing and checking; knows no graphs.
 *
 *     specification = kernel { "+" part }
 *     kernel  = "softmax" | "linear" [ "(" "elu" | "relu" | "identity" | "square" ")" ]               (elu by default)
 *     part    = "unnormalised"                                                                  (linear: h(x) = 1)
 *             | "bn" [ "(" "beta=" NUMBER|"learned" "," "scale=" "on"|"off" "," "eps=" NUMBER ")" ]    (any subset)
 *             | "sh" "(" scale { "," scale } ")"
 *             | "conv1d" "(" K ")" | "conv2d" "(" K ")"                          (an odd K; of queries and keys)
 *             | "causal" [ "(" "first" | "last" ")" ]      (which ends are aligned when N != M; first by default)
 *             | "window" "(" left "," right ")"
 *             | "strided" "(" k ")"
 *             | "block" "(" SIZE ")"                                                 (disjoint blocks of SIZE rows)
 *             | "block" "(" FILE "," SIZE ")" | "mask" "(" FILE ")"                                         (.npy)
 *             | "alibi" | "softcap" "(" C ")" | "scale" "(" X ")" | "bias"             (bias: learned, [1,H,N,M])
 *             | "score" "(" TEXT { "," "derivative=" TEXT | "," NAME "=" NUMBER | "," NAME "=" FILE } ")"
 *
 * A TEXT is in "…" and is an expression (model/expression.h). A FILE may be in "…", and must be if it has other
 * characters than letters, digits and . _ - / or is a number.
 *
 * Blanks are free. Printing gives the shortest text that parses back to the same struct. */
#ifndef XP_MODEL_SPECIFICATION_H
#define XP_MODEL_SPECIFICATION_H

#include "core/writer.h"

#include <stdbool.h>
#include <stddef.h>

enum { XP_SPECIFICATION_SCALES = 64, XP_SPECIFICATION_BYTES = 1024, XP_SPECIFICATION_NAMES = 4 };

typedef enum xp_features {
    XP_FEATURES_NONE,
    XP_FEATURES_ELU,
    XP_FEATURES_RELU,
    XP_FEATURES_IDENTITY,
    XP_FEATURES_SQUARE
} xp_features;

typedef struct xp_specification {
    /* kernel and normaliser */
    int features; /* xp_features; NONE: softmax */
    bool unnormalised;
    /* what the layer does to its input */
    bool bn;
    float bn_beta;        /* 1 by default; the starting value when learned */
    bool bn_beta_learned; /* one per head */
    bool bn_scale;
    float bn_epsilon;
    int conv1d, conv2d; /* widths; 0: none */
    /* the training set of each head */
    int scale_count; /* 0: no scaled heads */
    int scales[XP_SPECIFICATION_SCALES];
    bool causal, causal_last;
    bool window;
    int left, right;
    int stride;                              /* 0: every key */
    int block;                               /* rows of a block; 0: none */
    char block_file[XP_SPECIFICATION_BYTES]; /* "": disjoint blocks */
    char mask_file[XP_SPECIFICATION_BYTES];
    /* the score */
    bool alibi, bias;
    float soft_cap;                                                         /* 0: none */
    float scale;                                                            /* 0: 1/√D */
    char score[XP_SPECIFICATION_BYTES], derivative[XP_SPECIFICATION_BYTES]; /* "": none */
    int name_count;
    struct {
        char name[32], file[XP_SPECIFICATION_BYTES]; /* "": a number */
        float value;
    } names[XP_SPECIFICATION_NAMES];
} xp_specification;

/* XP_INVALID_ARGUMENT: the message quotes the text, marks the place with its column, and says what is expected; a
 * misspelt word names the nearest known one. xp_specification_check() checks whether the parts can be combined. */
xp_status xp_specification_parse(const char *text, xp_specification *out);
/* Appends the text. */
void xp_specification_write(xp_writer *out, const xp_specification *specification);

/* What a specification is used with. */
typedef struct xp_specification_use {
    int heads, key_heads; /* 0 key heads: as many as heads */
    int longest;          /* the longest series, or the longer side of the patch grid */
    bool grid;            /* rows are the patches of an image */
} xp_specification_use;
/* Rejects parts that cannot be combined, or not in this use; the message names them and the reason.
 * XP_INVALID_ARGUMENT. */
xp_status xp_specification_check(const xp_specification *specification, const xp_specification_use *use);
/* Fails with the reason after the specification's text, of which a long one is cut. */
xp_status xp_specification_reject(const xp_specification *specification, xp_status status, const char *reason);

/* No query sees a key after its own row. */
bool xp_specification_is_one_sided(const xp_specification *specification);

#endif
