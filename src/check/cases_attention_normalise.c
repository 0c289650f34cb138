/* Cases of Attention-BN's normalisation. */
#include "check/check.h"
#include "ops/operation.h"
#include "ops/ops.h"

extern const xp_operation xp_operation_attention_normalise_backward;

enum { LONGEST = 300, WIDEST = 80, WORK = 150000 };

/* Parts of one tensor (as a model's are) or separate ones; all counts, counts a sequence, counts a head. */
typedef struct drawing {
    xp_tensor *q, *k, *q_out, *k_out, *beta, *whole, *left_over;
} drawing;

static xp_status draw(xp_case *out, xp_random *variant, xp_random *shape, bool backward, drawing *made) {
    const int counts_rank = (int)xp_random_below(variant, 3);
    const bool learned = xp_random_below(variant, 2);
    const xp_attention_normalise_attributes attributes = {
        .beta = (float)xp_random_unit(variant) * 2, .scale = xp_random_below(variant, 3) > 0, .epsilon = 1e-5f};
    const bool views = xp_random_below(shape, 2);
    int64_t batch = 1 + xp_random_below(shape, 3), heads = 1 + xp_random_below(shape, 4);
    const int64_t width = xp_case_size(shape, 16, WIDEST);
    int64_t keys = xp_case_size(shape, 8, LONGEST), queries = views ? keys : xp_case_size(shape, 8, LONGEST);
    while (batch * heads * width * (keys + queries) > WORK && batch * heads > 1) *(batch > 1 ? &batch : &heads) -= 1;
    const int64_t counts_shape[] = {batch, heads};
    snprintf(out->shape, sizeof out->shape, "B=%lld N=%lld M=%lld H=%lld D=%lld counts=%d scale=%d %s",
             (long long)batch, (long long)queries, (long long)keys, (long long)heads, (long long)width, counts_rank,
             attributes.scale, views ? "views" : "dense");

    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    if (views) {
        xp_tensor *part[3];
        made->whole = xp_graph_input(out->graph, "qkv", XP_F32, 5, (int64_t[]){batch, keys, 3, heads, width});
        if (!made->whole) return XP_OUT_OF_MEMORY;
        made->whole->needs_gradient = backward;
        XP_TRY(xp_graph_split(out->graph, made->whole, 2, part));
        made->q = part[0];
        made->k = part[1];
        made->left_over = part[2];
    } else {
        made->q = xp_graph_input(out->graph, "q", XP_F32, 4, (int64_t[]){batch, queries, heads, width});
        made->k = xp_graph_input(out->graph, "k", XP_F32, 4, (int64_t[]){batch, keys, heads, width});
        if (!made->q || !made->k) return XP_OUT_OF_MEMORY;
        made->q->needs_gradient = made->k->needs_gradient = backward;
    }
    xp_tensor *counts = NULL;
    if (counts_rank) {
        counts = xp_graph_input(out->graph, "counts", XP_I32, counts_rank, counts_shape);
        if (!counts) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, counts, XP_FILL_LENGTH, keys);
        xp_case_poison(out, made->k, counts);
    }
    if (learned) {
        made->beta = xp_graph_input(out->graph, "beta", XP_F32, 1, &heads);
        if (!made->beta) return XP_OUT_OF_MEMORY;
        made->beta->needs_gradient = backward;
    }
    return xp_attention_normalise(out->graph, made->q, made->k, counts, made->beta, &attributes, &made->q_out,
                                  &made->k_out);
}

xp_status xp_case_attention_normalise(xp_case *out, xp_random *variant, xp_random *shape) {
    drawing made = {0};
    XP_TRY(draw(out, variant, shape, false, &made));
    out->node = made.q_out->producer;
    return XP_OK;
}

xp_status xp_case_attention_normalise_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    drawing made = {0};
    XP_TRY(draw(out, variant, shape, true, &made));
    /* the third part of a split needs a gradient as well */
    xp_tensor *outputs[] = {made.q_out, made.k_out, made.left_over}, *seeds[3];
    const int count = made.left_over ? 3 : 2;
    for (int i = 0; i < count; i++) {
        seeds[i] = xp_graph_input(out->graph, "seed", XP_F32, 4, outputs[i]->shape);
        if (!seeds[i]) return XP_OUT_OF_MEMORY;
    }
    XP_TRY(xp_graph_differentiate(out->graph, count, outputs, seeds, 0, NULL, NULL));
    for (int i = 0; i < out->graph->node_count; i++)
        if (out->graph->nodes[i]->operation == &xp_operation_attention_normalise_backward)
            out->node = out->graph->nodes[i];
    return XP_OK;
}
