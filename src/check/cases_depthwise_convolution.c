/* Cases of the depthwise convolution of queries and keys. */
#include "check/check.h"
#include "graph/operation.h"
#include "ops/ops.h"

extern const xp_operation xp_operation_depthwise_convolution_backward;

enum { LONGEST = 300, WIDEST = 80, WORK = 60000 };

/* x is a part of one tensor, as a model's queries are, or a tensor of its own. */
static xp_status draw(xp_case *out, xp_random *variant, xp_random *shape, bool backward, xp_tensor **left_over,
                      xp_tensor **y) {
    static const int widths[] = {1, 2, 3, 3, 5, 8}, grid_widths[] = {1, 3, 3, 4};
    const bool grid = xp_random_below(variant, 3) == 0, bounded = !grid && xp_random_below(variant, 2);
    const uint32_t wanted = xp_random_below(variant, 2) ? 3 : 1 + xp_random_below(variant, 2); /* x, weight */
    xp_depthwise_convolution_attributes attributes = {.width = grid ? grid_widths[xp_random_below(variant, 4)]
                                                                    : widths[xp_random_below(variant, 6)]};
    attributes.causal = !grid && xp_random_below(variant, 2);
    attributes.class_token = grid && xp_random_below(variant, 2);

    const bool views = xp_random_below(shape, 2);
    const int64_t heads = 1 + (int64_t)xp_random_below(shape, 3);
    int64_t batch = 1 + xp_random_below(shape, 3), sequence = xp_case_size(shape, 64, LONGEST);
    int64_t width = xp_case_size(shape, 32, WIDEST);
    if (grid) {
        attributes.grid_height = 1 + (int)xp_random_below(shape, 17);
        attributes.grid_width = 1 + (int)xp_random_below(shape, 17);
        sequence = (int64_t)attributes.grid_height * attributes.grid_width + attributes.class_token;
    }
    while (batch * heads * width * sequence > WORK && width > 1) width = (width + 1) / 2;
    snprintf(out->shape, sizeof out->shape, "B=%lld N=%lld H=%lld D=%lld k=%d causal=%d grid=%dx%d wanted=%u %s",
             (long long)batch, (long long)sequence, (long long)heads, (long long)width, attributes.width,
             attributes.causal, attributes.grid_height, attributes.grid_width, backward ? (unsigned)wanted : 0,
             views ? "views" : "dense");

    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *x, *lengths = NULL;
    if (views) {
        xp_tensor *part[2];
        xp_tensor *whole = xp_graph_input(out->graph, "qk", XP_F32, 5, (int64_t[]){batch, sequence, 2, heads, width});
        if (!whole) return XP_OUT_OF_MEMORY;
        whole->needs_gradient = backward;
        XP_TRY(xp_graph_split(out->graph, whole, 2, part));
        *left_over = part[0];
        x = part[1];
    } else {
        x = xp_graph_input(out->graph, "x", XP_F32, 4, (int64_t[]){batch, sequence, heads, width});
        if (!x) return XP_OUT_OF_MEMORY;
        x->needs_gradient = backward && (wanted & 1);
    }
    xp_tensor *weight = xp_graph_input(out->graph, "weight", XP_F32, grid ? 3 : 2,
                                       (int64_t[]){heads * width, attributes.width, attributes.width});
    if (!weight) return XP_OUT_OF_MEMORY;
    weight->needs_gradient = backward && (wanted & 2);
    if (bounded) {
        lengths = xp_graph_input(out->graph, "lengths", XP_I32, 1, &batch);
        if (!lengths) return XP_OUT_OF_MEMORY;
        xp_case_fill(out, lengths, XP_FILL_LENGTH, sequence);
        xp_case_poison(out, x, lengths);
    }
    *y = xp_depthwise_convolution(out->graph, x, weight, lengths, &attributes);
    return *y ? XP_OK : XP_INVALID_ARGUMENT;
}

xp_status xp_case_depthwise_convolution(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *y, *left_over;
    XP_TRY(draw(out, variant, shape, false, &left_over, &y));
    out->node = y->producer;
    return XP_OK;
}

xp_status xp_case_depthwise_convolution_backward(xp_case *out, xp_random *variant, xp_random *shape) {
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
        if (out->graph->nodes[i]->operation == &xp_operation_depthwise_convolution_backward)
            out->node = out->graph->nodes[i];
    /* gradients after the lengths are not read either */
    for (int i = 0; i < out->fill_count; i++)
        if (out->fills[i].fill == XP_FILL_LENGTH) xp_case_poison(out, seeds[0], out->fills[i].tensor);
    return XP_OK;
}
