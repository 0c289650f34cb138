/* Cases of attention: widths, counts, dropout and packed views as variants; lengths and heads as shapes. */
#include "check/check.h"
#include "ops/operation.h"
#include "ops/ops.h"

#include <math.h>
#include <string.h>

typedef struct drawn {
    xp_tensor *leaves[3]; /* what gradients are taken of: q, k, v, or the packed tensor alone */
    int leaf_count;
    xp_tensor *o;
} drawn;

/* Each entry costs compilations, so a few have to bring every option and edge: widths on both sides of the tiles'
 * sizes, value widths of their own, all kinds of counts, dropout, packed views, and gradients that nobody wants. */
typedef struct variant_entry {
    int D, E, counts_rank;
    bool dropout, packed;
    unsigned wanted; /* bit 0 dq, bit 1 dk, bit 2 dv */
} variant_entry;
static const variant_entry variants[] = {
    {64, 64, 0, false, false, 7}, {8, 8, 1, false, true, 7},     {24, 17, 2, false, false, 7},
    {16, 16, 1, true, true, 7},   {1, 3, 0, false, false, 7},    {256, 200, 2, false, false, 7},
    {33, 33, 0, true, false, 7},  {96, 130, 1, false, false, 7}, {32, 32, 0, false, true, 7},
    {20, 20, 0, false, false, 1}, {12, 20, 2, true, false, 2},   {20, 48, 0, false, false, 4}};
enum { FORWARD_VARIANTS = 7, VARIANTS = sizeof variants / sizeof variants[0] };

/* Pairs of query and key times columns: what a case may cost. */
enum { LARGEST_WORK = 1000000, LONGEST = 300, BLOCK = 64 };

static xp_status draw(xp_case *out, xp_random *variant, xp_random *shape, bool backward, drawn *made) {
    const variant_entry *chosen = &variants[xp_random_below(variant, backward ? VARIANTS : FORWARD_VARIANTS)];
    const int64_t D = chosen->D, E = chosen->E;
    const int counts_rank = chosen->counts_rank;
    const float dropout = chosen->dropout ? 0.25f : 0.0f;
    const bool packed = chosen->packed, many_heads = xp_random_below(shape, 4) == 0;
    const unsigned wanted = chosen->wanted;

    int64_t B = 1 + xp_random_below(shape, 4), H = 1 + xp_random_below(shape, 4);
    if (many_heads) B = 4, H = 16; /* large blocks, as training has them */
    int64_t N = xp_case_size(shape, BLOCK, LONGEST), M = packed ? N : xp_case_size(shape, BLOCK, LONGEST);
    while (B * H * N * M * (D + E) > LARGEST_WORK && B * H > 1 && !many_heads) B > 1 ? B-- : H--;
    while (B * H * N * M * (D + E) > LARGEST_WORK && (N > 2 || M > 2)) {
        bool cut_queries = packed || N > M;
        if (cut_queries) N -= N / 3 + 1;
        if (!cut_queries || packed) M = packed ? N : M - M / 3 - 1;
    }

    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *qkv[3];
    if (packed) {
        xp_tensor *all = xp_graph_input(out->graph, "qkv", XP_F32, 5, (int64_t[]){B, N, 3, H, D});
        if (!all) return XP_OUT_OF_MEMORY;
        all->needs_gradient = backward;
        XP_TRY(xp_graph_split(out->graph, all, 2, qkv));
        made->leaves[0] = all;
        made->leaf_count = 1;
    } else {
        static const char *const names[] = {"q", "k", "v"};
        for (int i = 0; i < 3; i++) {
            qkv[i] = xp_graph_input(out->graph, names[i], XP_F32, 4, (int64_t[]){B, i == 0 ? N : M, H, i == 2 ? E : D});
            if (!qkv[i]) return XP_OUT_OF_MEMORY;
            qkv[i]->needs_gradient = backward && (wanted >> i & 1);
            if (qkv[i]->needs_gradient) made->leaves[made->leaf_count++] = qkv[i];
        }
    }
    xp_tensor *counts = NULL;
    if (counts_rank > 0) {
        counts = xp_graph_input(out->graph, "counts", XP_I32, counts_rank, (int64_t[]){B, H});
        if (!counts) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, counts, XP_FILL_LENGTH, M);
        xp_case_poison(out, qkv[1], counts);
        xp_case_poison(out, qkv[2], counts);
    }
    made->o = xp_attention(
        out->graph, &(xp_attention_inputs){.q = qkv[0], .k = qkv[1], .v = qkv[2], .key_lengths = counts},
        &(xp_attention_attributes){.scale = 1.0f / sqrtf((float)D), .left = -1, .right = -1}, dropout, NULL);
    if (!made->o) return XP_INVALID_ARGUMENT;
    out->zeros_expected = backward && M <= 2; /* the weight of a single key does not depend on its score */
    snprintf(out->shape, sizeof out->shape, "B=%d H=%d N=%d M=%d D=%d E=%d counts=%d dropout=%g packed=%d wanted=%u",
             (int)B, (int)H, (int)N, (int)M, (int)D, (int)E, counts_rank, (double)dropout, packed,
             backward ? wanted : 0u);
    return XP_OK;
}

xp_status xp_case_attention(xp_case *out, xp_random *variant, xp_random *shape) {
    drawn made = {0};
    XP_TRY(draw(out, variant, shape, false, &made));
    out->node = made.o->producer;
    return XP_OK;
}

xp_status xp_case_attention_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    drawn made = {0};
    XP_TRY(draw(out, variant, shape, true, &made));
    xp_tensor *d_o = xp_graph_input(out->graph, "d_o", XP_F32, 4, made.o->shape), *gradients[3];
    if (!d_o) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_graph_differentiate(out->graph, 1, &made.o, &d_o, made.leaf_count, made.leaves, gradients));
    for (int i = 0; i < out->graph->node_count; i++)
        if (strcmp(out->graph->nodes[i]->operation->name, "attention_backward") == 0) out->node = out->graph->nodes[i];
    return XP_OK;
}
