/* What the launches of attention share in all families: a node's tensors by name, its sizes, the macros and arguments
 * of cl/attention_score.clh. Knows no family's blocks; must not know what makes the inputs. */
#ifndef XP_OPS_ATTENTION_LAUNCH_H
#define XP_OPS_ATTENTION_LAUNCH_H

#include "graph/stored.h"
#include "ops/building.h"
#include "ops/views.h"

/* Inputs of "attention" (and of "attention_map", with lse after them), and of "attention_backward". */
enum {
    XP_ATTENTION_Q,
    XP_ATTENTION_K,
    XP_ATTENTION_V,
    XP_ATTENTION_OPTIONS, /* key lengths, random state, query lengths, bias, mask, user tensors */
    XP_ATTENTION_OPTION_COUNT = 5 + XP_SCORE_NAMES,
    XP_ATTENTION_INPUTS = XP_ATTENTION_OPTIONS + XP_ATTENTION_OPTION_COUNT,
    XP_ATTENTION_MAP_LSE = XP_ATTENTION_INPUTS,
    XP_ATTENTION_MAP_INPUTS,
    XP_ATTENTION_BACK_O = 3,
    XP_ATTENTION_BACK_LSE,
    XP_ATTENTION_BACK_D_O,
    XP_ATTENTION_BACK_D_LSE,
    XP_ATTENTION_BACK_OPTIONS,
    XP_ATTENTION_BACK_INPUTS = XP_ATTENTION_BACK_OPTIONS + XP_ATTENTION_OPTION_COUNT
};

/* The inputs of all three whose type is that of the node's storage. */
enum { XP_ATTENTION_STORED = 1 << XP_ATTENTION_Q | 1 << XP_ATTENTION_K | 1 << XP_ATTENTION_V };

typedef struct xp_attention_tensors {
    const xp_attention_attributes *attributes;
    xp_tensor *q, *k, *v, *key_lengths, *random_state, *query_lengths, *bias, *mask, *user[XP_SCORE_NAMES];
    xp_tensor *o, *lse;                                   /* outputs of the forward pass */
    xp_tensor *d_o, *d_lse, *dq, *dk, *dv, *d_bias, *map; /* NULL where the node has none */
} xp_attention_tensors;
xp_attention_tensors xp_attention_tensors_of(const xp_node *node);

typedef struct xp_attention_sizes {
    int64_t samples;                   /* B, or the packed samples S */
    int64_t queries, keys;             /* N and M, rows of the tensors */
    int64_t heads, key_heads;          /* H, G */
    int64_t width, value_width, wider; /* D, E, the larger */
    int64_t stride;                    /* residue classes of queries that are problems of their own */
    int64_t class_queries, class_keys; /* the most rows that one problem has */
    bool uneven_heads;                 /* some may see fewer keys than others */
    double pairs;                      /* of query and key that see each other, at most, for the profile */
} xp_attention_sizes;
xp_attention_sizes xp_attention_sizes_of(const xp_attention_tensors *t);

/* The macros that all families and all passes take. */
void xp_attention_set_variant(xp_variant *variant, const xp_attention_tensors *t, const xp_attention_sizes *s);
/* SIGHT_PARAMETERS, in their order. */
void xp_attention_pass_sight(xp_launch_request *request, const xp_attention_tensors *t, const xp_attention_sizes *s);
/* How q, k, v and d_o lie, which the backward passes take last. */
void xp_attention_pass_layouts(xp_launch_request *request, const xp_attention_tensors *t);
/* A gradient that is not requested has no argument: that variant of the kernel never uses the pointer. */
void xp_attention_pass_output(xp_launch_request *request, xp_tensor *tensor);
/* A grid of groups × heads × samples of `local` work-items each. CPU devices, whose work-groups are one work-item, deal
 * out long runs of neighbours: there uneven heads come first (HEADS_FIRST), so that every run has its share of all. */
void xp_attention_set_grid(xp_launch_request *request, const xp_attention_sizes *s, int64_t groups, size_t local,
                           int64_t heads, int64_t samples);

/* Whether all rows of q, k, v, o and their gradients start at a multiple of so many elements, and hold one. */
bool xp_attention_is_aligned(const xp_attention_tensors *t, int64_t elements);

/* A family's choice for a pass: work-groups of `local` work-items own `rows` queries each, which its kernel file gets
 * as the tuning's parameters. */
typedef struct xp_attention_blocks {
    xp_tuning tuning;
    int64_t rows;
    size_t local;
    bool aligned; /* the kernel may read several columns at once (ALIGNED) */
    bool of_cpu;  /* kernels of CPUs, which multiply bf16 in pairs */
    bool matrix;  /* matrix units multiply (MATRIX) … */
    int products; /* … so many times for each product (PRODUCTS) */
    bool many_registers;
    const char *edit_for; /* of the variant */
} xp_attention_blocks;
/* Names the tuning's shape and puts the table's values in place of its defaults. */
xp_status xp_attention_tune(xp_plan *plan, const xp_node *node, xp_tuning *tuning);
void xp_attention_set_tuning(xp_variant *variant, const xp_tuning *tuning);
xp_status xp_attention_launch_forward(xp_plan *plan, const xp_node *node, const xp_attention_blocks *blocks);
xp_status xp_attention_launch_map(xp_plan *plan, const xp_node *node, const xp_attention_blocks *blocks);

/* ops/attention_wide.c, ops/attention_tiled.c, ops/attention_matrix.c */
xp_status xp_attention_emit_wide(xp_plan *plan, const xp_node *node, xp_family family);
xp_status xp_attention_emit_backward_wide(xp_plan *plan, const xp_node *node, xp_family family);
xp_status xp_attention_emit_map_wide(xp_plan *plan, const xp_node *node, xp_family family);
xp_status xp_attention_emit_tiled(xp_plan *plan, const xp_node *node, xp_family family);
xp_status xp_attention_emit_backward_tiled(xp_plan *plan, const xp_node *node, xp_family family);
/* The pass for the bias's gradient alone, after one that made delta [B,H,N]. */
xp_status xp_attention_emit_bias_tiled(xp_plan *plan, const xp_node *node, xp_tensor *delta);
xp_status xp_attention_emit_map_tiled(xp_plan *plan, const xp_node *node, xp_family family);
bool xp_attention_supports_matrix(const xp_device *device, const xp_node *node);
xp_status xp_attention_emit_matrix(xp_plan *plan, const xp_node *node, xp_family family);
xp_status xp_attention_emit_backward_matrix(xp_plan *plan, const xp_node *node, xp_family family);

#endif
