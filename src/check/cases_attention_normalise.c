/* Cases of Attention-BN's normalisation. */
#include "check/check.h"
#include "graph/operation.h"
#include "ops/ops.h"

extern const xp_operation xp_operation_attention_normalise_backward;

enum { LONGEST = 300, WIDEST = 80, WORK = 150000 };

typedef struct drawing {
    xp_tensor *q, *k, *q_out, *k_out, *beta, *left_over;
} drawing;

/* Each costs compilations, so a few have to bring every form. Prefixes of pooled keys come instead of align_last. */
static const xp_attention_normalise_attributes forms[] = {
    {0},
    {.prefix = 1, .align_last = 1},
    {.both = 1},
    {.prefix = 1, .both = 1, .align_last = 1},
    {.prefix = 1, .constant = 1, .align_last = 1},
};
static const struct {
    int count;
    int16_t scales[4];
} lists[] = {{1, {3}}, {2, {1, 4}}, {4, {5, 1, 2, 300}}};

static xp_attention_normalise_attributes draw_attributes(xp_random *variant) {
    xp_attention_normalise_attributes attributes = forms[xp_random_below(variant, sizeof forms / sizeof forms[0])];
    const uint32_t pattern = xp_random_below(variant, 3), list = xp_random_below(variant, 3);
    attributes.beta = (float)xp_random_unit(variant) * 2;
    attributes.scale = xp_random_below(variant, 4) > 0;
    attributes.epsilon = 1e-5f;
    attributes.packed = pattern == 0;
    if (pattern == 1 && attributes.prefix) {
        attributes.align_last = 0;
        attributes.key_scale_count = lists[list].count;
        for (int i = 0; i < lists[list].count; i++) attributes.key_scales[i] = lists[list].scales[i];
    }
    return attributes;
}

/* Where packed samples begin: some are empty, and rows may be left over after the last. */
static xp_tensor *draw_starts(xp_case *out, xp_random *shape, const char *name, int64_t samples, int64_t rows) {
    int32_t starts[8] = {0};
    for (int64_t s = 1; s <= samples; s++) {
        const uint32_t left = (uint32_t)(rows - starts[s - 1]), pick = xp_random_below(shape, 4);
        const uint32_t taken = pick == 0 ? 0 : s == samples && pick < 3 ? left : xp_random_below(shape, left + 1);
        starts[s] = starts[s - 1] + (int32_t)taken;
    }
    return xp_graph_constant(out->graph, name, XP_I32, 1, (int64_t[]){samples + 1}, starts);
}

/* Parts of one tensor (as a model's are) or separate ones; key lengths for none, a sequence, a head. */
static xp_status draw(xp_case *out, xp_random *variant, xp_random *shape, bool backward, drawing *made) {
    const xp_attention_normalise_attributes attributes = draw_attributes(variant);
    const int lengths_rank = (int)xp_random_below(variant, 3);
    const bool learned = xp_random_below(variant, 2), few_queries = xp_random_below(variant, 3) == 0;
    const uint32_t wanted = xp_random_below(variant, 2) ? 7 : 1 + xp_random_below(variant, 6); /* q, k, beta */
    const bool views = xp_random_below(shape, 2), packed = attributes.packed;
    int64_t batch = packed ? 1 : 1 + xp_random_below(shape, 3);
    const int64_t multiple = attributes.key_scale_count ? attributes.key_scale_count : 1;
    const int64_t most = multiple == 1 ? 4 : 1, samples = packed ? 1 + xp_random_below(shape, 7) : batch;
    int64_t key_heads = multiple * (1 + xp_random_below(shape, (uint32_t)most));
    int64_t group = views ? 1 : 1 + xp_random_below(shape, 3);
    const int64_t width = xp_case_size(shape, 16, WIDEST), work = attributes.prefix ? WORK / 4 : WORK;
    int64_t keys = xp_case_size(shape, 8, LONGEST), queries = views ? keys : xp_case_size(shape, 8, LONGEST);
    while (batch * key_heads * width * (keys + group * queries) > work && batch * group * key_heads > multiple) {
        if (batch > 1)
            batch--;
        else if (group > 1)
            group--;
        else
            key_heads -= multiple;
        if (key_heads < multiple) key_heads = multiple;
    }
    const int64_t heads = group * key_heads, lengths_shape[] = {batch, key_heads};
    /* Samples without keys have no gradient, nor has a single key, which is the mean itself. */
    out->zeros_expected = packed || keys == 1;
    snprintf(out->shape, sizeof out->shape,
             "B=%lld N=%lld M=%lld H=%lld G=%lld D=%lld counts=%d scale=%d prefix=%d both=%d constant=%d packed=%d "
             "last=%d scales=%d asked=%d wanted=%u %s",
             (long long)batch, (long long)queries, (long long)keys, (long long)heads, (long long)key_heads,
             (long long)width, lengths_rank, attributes.scale, attributes.prefix, attributes.both, attributes.constant,
             packed, attributes.align_last, attributes.key_scale_count, few_queries, backward ? (unsigned)wanted : 0,
             views ? "views" : "dense");

    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    if (views) {
        xp_tensor *part[3];
        xp_tensor *whole = xp_graph_input(out->graph, "qkv", XP_F32, 5, (int64_t[]){batch, keys, 3, heads, width});
        if (!whole) return XP_OUT_OF_MEMORY;
        whole->needs_gradient = backward;
        XP_TRY(xp_graph_split(out->graph, whole, 2, part));
        made->q = part[0];
        made->k = part[1];
        made->left_over = part[2];
    } else {
        made->q = xp_graph_input(out->graph, "q", XP_F32, 4, (int64_t[]){batch, queries, heads, width});
        made->k = xp_graph_input(out->graph, "k", XP_F32, 4, (int64_t[]){batch, keys, key_heads, width});
        if (!made->q || !made->k) return XP_OUT_OF_MEMORY;
        made->q->needs_gradient = backward && (wanted & 1);
        made->k->needs_gradient = backward && (wanted & 2 || !learned);
    }
    xp_tensor *key_lengths = NULL, *query_lengths = NULL;
    if (packed) {
        key_lengths = draw_starts(out, shape, "key_starts", samples, keys);
        query_lengths = draw_starts(out, shape, "query_starts", samples, queries);
        if (!key_lengths || !query_lengths) return XP_OUT_OF_MEMORY;
    } else if (lengths_rank) {
        key_lengths = xp_graph_input(out->graph, "key_lengths", XP_I32, lengths_rank, lengths_shape);
        if (!key_lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, key_lengths, XP_FILL_LENGTH, keys);
        xp_case_poison(out, made->k, key_lengths);
    }
    if (!packed && few_queries) {
        query_lengths = xp_graph_input(out->graph, "query_lengths", XP_I32, 1, &batch);
        if (!query_lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, query_lengths, XP_FILL_LENGTH, queries);
        xp_case_poison(out, made->q, query_lengths);
    }
    if (learned) {
        made->beta = xp_graph_input(out->graph, "beta", XP_F32, 1, &key_heads);
        if (!made->beta) return XP_OUT_OF_MEMORY;
        made->beta->needs_gradient = backward && (wanted & 4);
    }
    return xp_attention_normalise(out->graph, made->q, made->k, key_lengths, query_lengths, made->beta, &attributes,
                                  &made->q_out, &made->k_out);
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
