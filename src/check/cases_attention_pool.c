/* Cases of Attention-SH's pooling. */
#include "check/check.h"
#include "graph/operation.h"
#include "ops/ops.h"

enum { LONGEST = 300, WIDEST = 80, WORK = 100000, LISTS = 6 };

extern const xp_operation xp_operation_attention_pool_backward;

/* The scales are compiled in, so that few lists make few variants. */
static const struct {
    int count;
    int16_t scales[5];
} lists[LISTS] = {{1, {1}}, {1, {3}}, {2, {1, 2}}, {4, {4, 1, 7, 2}}, {5, {1, 2, 300, 5, 64}}, {3, {8, 8, 8}}};

static xp_status draw(xp_case *out, xp_random *variant, xp_random *shape, bool backward, xp_tensor **left_over,
                      xp_tensor **y) {
    const bool grid = xp_random_below(variant, 2), counted = xp_random_below(variant, 2);
    const uint32_t list = xp_random_below(variant, LISTS);
    const bool bounded = !grid && xp_random_below(variant, 3) > 0;
    xp_attention_pool_attributes attributes = {.scale_count = lists[list].count};
    for (int i = 0; i < attributes.scale_count; i++) attributes.scales[i] = lists[list].scales[i];
    attributes.class_token = grid && xp_random_below(variant, 2);
    attributes.whole = !grid && xp_random_below(variant, 2);

    const bool views = xp_random_below(shape, 2);
    const int64_t heads = attributes.scale_count * (1 + (int64_t)xp_random_below(shape, 2));
    int64_t batch = 1 + xp_random_below(shape, 3), sequence = xp_case_size(shape, 8, LONGEST);
    int64_t width = xp_case_size(shape, 8, WIDEST);
    while (batch * heads * width * sequence > WORK && width > 1) width = (width + 1) / 2;
    if (grid) {
        attributes.grid_height = 1 + (int)xp_random_below(shape, 17);
        attributes.grid_width = 1 + (int)xp_random_below(shape, 17);
        sequence = (int64_t)attributes.grid_height * attributes.grid_width + attributes.class_token;
    }
    snprintf(out->shape, sizeof out->shape, "B=%lld N=%lld H=%lld D=%lld grid=%dx%d list=%u %s", (long long)batch,
             (long long)sequence, (long long)heads, (long long)width, attributes.grid_height, attributes.grid_width,
             (unsigned)list, views ? "views" : "dense");

    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *x, *lengths = NULL;
    if (views) {
        xp_tensor *part[2];
        xp_tensor *whole = xp_graph_input(out->graph, "kv", XP_F32, 5, (int64_t[]){batch, sequence, 2, heads, width});
        if (!whole) return XP_OUT_OF_MEMORY;
        whole->needs_gradient = backward;
        XP_TRY(xp_graph_split(out->graph, whole, 2, part));
        *left_over = part[0];
        x = part[1];
    } else {
        x = xp_graph_input(out->graph, "x", XP_F32, 4, (int64_t[]){batch, sequence, heads, width});
        if (!x) return XP_OUT_OF_MEMORY;
        x->needs_gradient = backward;
    }
    if (bounded) {
        lengths = xp_graph_input(out->graph, "lengths", XP_I32, 1, &batch);
        if (!lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, lengths, XP_FILL_LENGTH, sequence);
        xp_case_poison(out, x, lengths);
    }
    out->zeros_expected = attributes.whole; /* windows that are longer than the sequence */
    xp_tensor *counts;
    *y = xp_attention_pool(out->graph, x, lengths, &attributes, counted ? &counts : NULL);
    return *y ? XP_OK : XP_INVALID_ARGUMENT;
}

xp_status xp_case_attention_pool(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *y, *left_over;
    XP_TRY(draw(out, variant, shape, false, &left_over, &y));
    out->node = y->producer;
    return XP_OK;
}

xp_status xp_case_attention_pool_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *y, *left_over = NULL;
    XP_TRY(draw(out, variant, shape, true, &left_over, &y));
    /* the other part of a split needs a gradient as well */
    xp_tensor *outputs[] = {y, left_over}, *seeds[2];
    const int count = left_over ? 2 : 1;
    for (int i = 0; i < count; i++) {
        seeds[i] = xp_graph_input(out->graph, "seed", XP_F32, 4, outputs[i]->shape);
        if (!seeds[i]) return XP_OUT_OF_MEMORY;
    }
    XP_TRY(xp_graph_differentiate(out->graph, count, outputs, seeds, 0, NULL, NULL));
    for (int i = 0; i < out->graph->node_count; i++)
        if (out->graph->nodes[i]->operation == &xp_operation_attention_pool_backward) out->node = out->graph->nodes[i];
    return XP_OK;
}
