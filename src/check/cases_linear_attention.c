/* Cases of linear attention and of the feature maps: widths, features, normalisers, order and kinds of lengths as
 * variants; lengths and heads as shapes. */
#include "check/check.h"
#include "graph/operation.h"
#include "ops/ops.h"

#include <math.h>
#include <string.h>

/* ---- feature_map ------------------------------------------------------------------------------------------------- */

/* Dense, or one of two parts that lie side by side. */
static xp_status draw_features(xp_case *out, xp_random *variant, xp_random *shape, xp_tensor **x, xp_tensor **y) {
    enum { LARGEST = 5000 };
    const xp_feature feature = (xp_feature)xp_random_below(variant, 4);
    const bool part = xp_random_below(shape, 2);
    int64_t sizes[4], left = LARGEST;
    for (int i = 3; i >= 0; i--) {
        sizes[i] = xp_case_size(shape, i == 3 ? 64 : 4, left);
        left = left / sizes[i] > 0 ? left / sizes[i] : 1;
    }
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    if (part) {
        xp_tensor *parts[2],
            *whole = xp_graph_input(out->graph, "x", XP_F32, 5, (int64_t[]){sizes[0], sizes[1], 2, sizes[2], sizes[3]});
        if (!whole) return XP_OUT_OF_MEMORY;
        XP_TRY(xp_graph_split(out->graph, whole, 2, parts));
        *x = parts[1];
    } else if (!(*x = xp_graph_input(out->graph, "x", XP_F32, 4, sizes))) {
        return XP_OUT_OF_MEMORY;
    }
    (*x)->needs_gradient = true;
    char text[128];
    out->zeros_expected = xp_tensor_elements(*x) <= 8; /* relu of a few negative numbers */
    snprintf(out->shape, sizeof out->shape, "x=%s feature=%d %s", xp_tensor_shape_text(*x, text, sizeof text),
             (int)feature, part ? "part" : "whole");
    *y = xp_feature_map(out->graph, *x, feature);
    return *y ? XP_OK : XP_INVALID_ARGUMENT;
}

xp_status xp_case_feature_map(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *x, *y;
    XP_TRY(draw_features(out, variant, shape, &x, &y));
    out->node = y->producer;
    return XP_OK;
}

xp_status xp_case_feature_map_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *x, *y, *dx[1];
    XP_TRY(draw_features(out, variant, shape, &x, &y));
    xp_tensor *dy = xp_graph_input(out->graph, "dy", XP_F32, 4, y->shape);
    if (!dy) return XP_OUT_OF_MEMORY;
    XP_TRY(y->producer->operation->gradient(out->graph, y->producer, &dy, dx));
    out->node = dx[0]->producer;
    return XP_OK;
}

/* ---- linear_attention -------------------------------------------------------------------------------------------- */

/* Each entry costs compilations, so a few have to bring every option and edge: widths on both sides of the tiles'
 * sizes, value widths of their own, every feature map and normaliser, all kinds of lengths, grouped heads, packed
 * views, and gradients that nobody wants. */
typedef struct variant_entry {
    int D, E, group;
    xp_feature feature;
    xp_normaliser normaliser;
    bool causal, align_last;
    int key_lengths_rank;
    bool query_lengths, packed;
    unsigned wanted; /* bit 0 dq, bit 1 dk, bit 2 dv */
} variant_entry;
static const variant_entry variants[] = {
    {64, 64, 1, XP_FEATURE_ELU, XP_NORMALISER_SUM, false, false, 0, false, false, 7},
    {8, 8, 1, XP_FEATURE_ELU, XP_NORMALISER_SUM, true, true, 1, true, true, 7},
    {17, 24, 3, XP_FEATURE_RELU, XP_NORMALISER_SUM, true, true, 2, true, false, 7},
    {16, 16, 1, XP_FEATURE_IDENTITY, XP_NORMALISER_COUNT, true, false, 1, false, true, 7},
    {1, 3, 1, XP_FEATURE_SQUARE, XP_NORMALISER_SUM, true, false, 0, true, false, 7},
    {256, 200, 1, XP_FEATURE_ELU, XP_NORMALISER_SUM, true, false, 2, false, false, 7},
    {96, 130, 2, XP_FEATURE_IDENTITY, XP_NORMALISER_NONE, false, false, 1, true, false, 7},
    {33, 40, 2, XP_FEATURE_IDENTITY, XP_NORMALISER_SUM, false, false, 2, false, false, 7},
    {20, 20, 1, XP_FEATURE_ELU, XP_NORMALISER_SUM, true, false, 0, false, false, 1},
    {12, 20, 1, XP_FEATURE_RELU, XP_NORMALISER_NONE, true, false, 2, false, false, 2},
    {20, 48, 2, XP_FEATURE_SQUARE, XP_NORMALISER_COUNT, false, false, 0, false, false, 4}};
enum { FORWARD_VARIANTS = 8, VARIANTS = sizeof variants / sizeof variants[0] };

/* Pairs of query and key times columns: what a case may cost. */
enum { LARGEST_WORK = 2000000, LONGEST = 300, BLOCK = 64 };

typedef struct drawn {
    xp_tensor *leaves[3]; /* what gradients are taken of: q, k, v, or the packed tensor alone */
    int leaf_count;
    xp_tensor *o, *query_lengths;
} drawn;

static xp_status draw(xp_case *out, xp_random *variant, xp_random *shape, bool backward, drawn *made) {
    const variant_entry *c = &variants[xp_random_below(variant, backward ? VARIANTS : FORWARD_VARIANTS)];
    const int64_t D = c->D, E = c->E;
    int64_t B = 1 + xp_random_below(shape, 3), G = 1 + xp_random_below(shape, 3), H = G * c->group;
    int64_t N = xp_case_size(shape, BLOCK, LONGEST), M = c->packed ? N : xp_case_size(shape, BLOCK, LONGEST);
    while (B * H * N * M * (D + E) > LARGEST_WORK && B * G > 1) {
        B > 1 ? B-- : G--;
        H = G * c->group;
    }
    while (B * H * N * M * (D + E) > LARGEST_WORK && (N > 2 || M > 2)) {
        const bool cut_queries = c->packed || N > M;
        if (cut_queries) N -= N / 3 + 1;
        if (!cut_queries || c->packed) M = c->packed ? N : M - M / 3 - 1;
    }

    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *qkv[3], *key_lengths = NULL;
    if (c->packed) {
        xp_tensor *all = xp_graph_input(out->graph, "qkv", XP_F32, 5, (int64_t[]){B, N, 3, H, D});
        if (!all) return XP_OUT_OF_MEMORY;
        all->needs_gradient = backward;
        XP_TRY(xp_graph_split(out->graph, all, 2, qkv));
        made->leaves[0] = all;
        made->leaf_count = 1;
    } else {
        static const char *const names[] = {"q", "k", "v"};
        for (int i = 0; i < 3; i++) {
            qkv[i] = xp_graph_input(out->graph, names[i], XP_F32, 4,
                                    (int64_t[]){B, i == 0 ? N : M, i == 0 ? H : G, i == 2 ? E : D});
            if (!qkv[i]) return XP_OUT_OF_MEMORY;
            qkv[i]->needs_gradient = backward && (c->wanted >> i & 1);
            if (qkv[i]->needs_gradient) made->leaves[made->leaf_count++] = qkv[i];
        }
    }
    if (c->key_lengths_rank > 0) {
        key_lengths = xp_graph_input(out->graph, "key_lengths", XP_I32, c->key_lengths_rank, (int64_t[]){B, H});
        if (!key_lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, key_lengths, XP_FILL_LENGTH, M);
        /* With lengths of its own, each query head of a group reads another number of the same keys. */
        if (c->key_lengths_rank == 1 || H == G)
            for (int i = 1; i < 3; i++) xp_case_poison(out, qkv[i], key_lengths);
    }
    if (c->query_lengths) {
        made->query_lengths = xp_graph_input(out->graph, "query_lengths", XP_I32, 1, (int64_t[]){B});
        if (!made->query_lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, made->query_lengths, XP_FILL_LENGTH, N);
        xp_case_poison(out, qkv[0], made->query_lengths);
    }
    const xp_linear_attention_attributes attributes = {
        .features = (int)c->feature,
        .normaliser = (int)c->normaliser,
        .causal = c->causal,
        .align_last = c->align_last,
        .scale = c->normaliser == XP_NORMALISER_SUM ? 1.0f : 1.0f / sqrtf((float)D)};
    made->o = xp_linear_attention(out->graph, qkv[0], qkv[1], qkv[2], key_lengths, made->query_lengths, &attributes);
    if (!made->o) return XP_INVALID_ARGUMENT;
    /* Queries before all keys, keys after all queries; the weight of a single key does not depend on its score. */
    out->zeros_expected = c->causal || c->query_lengths || (backward && M <= 2);
    snprintf(out->shape, sizeof out->shape,
             "B=%d H=%d G=%d N=%d M=%d D=%d E=%d feature=%d z=%d causal=%d%d lengths=%d%d packed=%d wanted=%u", (int)B,
             (int)H, (int)G, (int)N, (int)M, (int)D, (int)E, (int)c->feature, (int)c->normaliser, c->causal,
             c->align_last, c->key_lengths_rank, c->query_lengths, c->packed, backward ? c->wanted : 0u);
    return XP_OK;
}

xp_status xp_case_linear_attention(xp_case *out, xp_random *variant, xp_random *shape) {
    drawn made = {0};
    XP_TRY(draw(out, variant, shape, false, &made));
    out->node = made.o->producer;
    return XP_OK;
}

xp_status xp_case_linear_attention_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    drawn made = {0};
    XP_TRY(draw(out, variant, shape, true, &made));
    xp_tensor *d_o = xp_graph_input(out->graph, "d_o", XP_F32, 4, made.o->shape), *gradients[3];
    if (!d_o) return XP_OUT_OF_MEMORY;
    xp_case_poison(out, d_o, made.query_lengths);
    XP_TRY(xp_graph_differentiate(out->graph, 1, &made.o, &d_o, made.leaf_count, made.leaves, gradients));
    for (int i = 0; i < out->graph->node_count; i++)
        if (strcmp(out->graph->nodes[i]->operation->name, "linear_attention_backward") == 0)
            out->node = out->graph->nodes[i];
    return XP_OK;
}
