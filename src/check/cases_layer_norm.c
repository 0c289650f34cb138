/* Cases of the fused residual addition, dropout and LayerNorm, and of its gradient. */
#include "check/check.h"
#include "ops/ops.h"

enum { ROWS = 1100, COLUMNS = 600, ELEMENTS = 40000, RANDOM_LIMIT = 1 << 30 };

typedef struct layer {
    xp_tensor *x, *branch, *gamma, *beta, *out, *sum;
} layer;

/* The forward node; the caller chooses what gets gradients. Widths of both sorts (multiples of 4 or not) are separate
 * variants. */
static xp_status build(xp_case *out, xp_random *variant, xp_random *shape, bool training, bool needs_gradient,
                       layer *made) {
    const bool branch = xp_random_below(variant, 4) != 0, quads = xp_random_below(variant, 2);
    const float dropout = branch && xp_random_below(variant, 2) ? 0.3f : 0.0f;
    int64_t columns = xp_case_size(shape, xp_random_below(shape, 2) ? 64 : 256, COLUMNS);
    if (quads) columns = (columns + 3) / 4 * 4;
    if (!quads && columns % 4 == 0) columns++;
    int64_t rows = xp_case_size(shape, 8, ROWS);
    if (rows * columns > ELEMENTS) rows = ELEMENTS / columns;
    const int64_t most = rows < 5 ? rows : 5, samples = 1 + (int64_t)xp_random_below(shape, (uint32_t)most);
    rows -= rows % samples;
    XP_TRY(xp_graph_create(&out->graph, NULL, training));
    out->graph->next_stream = xp_random_below(shape, 100);
    snprintf(out->shape, sizeof out->shape, "R=%lld C=%lld%s%s", (long long)rows, (long long)columns,
             branch ? " branch" : "", dropout > 0 ? " dropout" : "");
    const int64_t sizes[] = {samples, rows / samples, columns};
    *made = (layer){.x = xp_graph_input(out->graph, "x", XP_F32, 3, sizes),
                    .branch = branch ? xp_graph_input(out->graph, "branch", XP_F32, 3, sizes) : NULL,
                    .gamma = xp_graph_input(out->graph, "gamma", XP_F32, 1, &columns),
                    .beta = xp_graph_input(out->graph, "beta", XP_F32, 1, &columns)};
    if (!made->x || (branch && !made->branch) || !made->gamma || !made->beta) return XP_OUT_OF_MEMORY;
    made->x->needs_gradient = made->gamma->needs_gradient = made->beta->needs_gradient = needs_gradient;
    if (branch) made->branch->needs_gradient = needs_gradient;
    made->out = xp_layer_norm(out->graph, made->x, made->branch, made->gamma, made->beta, 1e-5f, dropout, &made->sum);
    if (!made->out) return XP_INVALID_ARGUMENT;
    if (out->graph->random_state) xp_case_fill(out, out->graph->random_state, XP_FILL_INDEX, RANDOM_LIMIT);
    return XP_OK;
}

xp_status xp_case_layer_norm(xp_case *out, xp_random *variant, xp_random *shape) {
    const bool training = xp_random_below(variant, 3) != 0;
    layer made;
    XP_TRY(build(out, variant, shape, training, false, &made));
    out->node = made.out->producer;
    return XP_OK;
}

/* Gradients arrive at the normalised rows, as far as samples go, at the sum, or at both; the parameters' may be
 * unwanted. */
xp_status xp_case_layer_norm_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    const uint32_t arriving = xp_random_below(variant, 4);
    const bool parameters = xp_random_below(variant, 4) != 0, inputs = xp_random_below(variant, 5) != 0;
    const bool ends = xp_random_below(variant, 3) == 0;
    layer made;
    XP_TRY(build(out, variant, shape, true, true, &made));
    const bool dropped = out->graph->random_state;
    const bool at_sum = made.branch && arriving != 1, at_out = !(dropped && arriving == 2);
    made.gamma->needs_gradient = made.beta->needs_gradient = parameters;
    if (parameters && at_out && !inputs) {
        made.x->needs_gradient = false;
        if (made.branch) made.branch->needs_gradient = false;
    }
    xp_tensor *outputs[2], *seeds[2];
    int count = 0;
    if (at_out) outputs[count++] = made.out;
    if (at_sum) outputs[count++] = made.sum;
    for (int i = 0; i < count; i++) {
        seeds[i] = xp_graph_input(out->graph, i ? "d_second" : "d_first", XP_F32, 3, made.x->shape);
        if (!seeds[i]) return XP_OUT_OF_MEMORY;
    }
    XP_TRY(xp_graph_differentiate(out->graph, count, outputs, seeds, 0, NULL, NULL));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    out->zeros_expected = !at_sum && (ends || made.x->shape[2] == 1); /* a row of one number is its own mean */
    if (!ends || !at_out) return XP_OK;
    xp_tensor *lengths = xp_graph_input(out->graph, "lengths", XP_I32, 1, made.x->shape);
    if (!lengths) return XP_OUT_OF_MEMORY;
    xp_case_fill(out, lengths, XP_FILL_LENGTH, made.x->shape[1]);
    xp_case_poison(out, seeds[0], lengths);
    out->node->operation->take_lengths(out->node, 0, lengths);
    return XP_OK;
}
