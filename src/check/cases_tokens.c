/* Cases of tokens, of the rows of a table that they stand for, and of its gradient. */
#include "check/check.h"
#include "ops/ops.h"

enum { LENGTH = 60, COLUMNS = 130, ENTRIES = 300, ELEMENTS = 40000 };

xp_status xp_case_tokens(xp_case *out, xp_random *variant, xp_random *shape) {
    const bool weighted = xp_random_below(variant, 2);
    const int64_t length = xp_case_size(shape, 16, LENGTH), batch = xp_case_size(shape, 4, 40);
    const int64_t first = xp_random_below(shape, (uint32_t)length), rows = length - first;
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *values = xp_graph_input(out->graph, "values", XP_F32, 2, (int64_t[]){batch, length});
    xp_tensor *weights = weighted ? xp_graph_input(out->graph, "weights", XP_F32, 1, &batch) : NULL;
    if (weights) xp_case_fill(out, weights, XP_FILL_WEIGHT, 0);
    out->zeros_expected = true; /* small values */
    snprintf(out->shape, sizeof out->shape, "B=%lld L=%lld first=%lld%s", (long long)batch, (long long)length,
             (long long)first, weighted ? " weights" : "");
    const xp_tensor *y = xp_tokens(out->graph, values, weights, first, rows);
    if (!y) return XP_INVALID_ARGUMENT;
    out->node = y->producer;
    return XP_OK;
}

/* Some tokens have no entry. */
static xp_tensor *build(xp_case *out, xp_random *variant, xp_random *shape, bool needs_gradient) {
    const bool quads = xp_random_below(variant, 2);
    int64_t columns = xp_case_size(shape, 64, COLUMNS);
    if (quads) columns = (columns + 3) / 4 * 4;
    if (!quads && columns % 4 == 0) columns++;
    int64_t entries = xp_case_size(shape, 16, ENTRIES), length = xp_case_size(shape, 16, LENGTH);
    if (entries * columns > ELEMENTS) entries = ELEMENTS / columns;
    int64_t batch = xp_case_size(shape, 4, ELEMENTS / (columns * length) + 1);
    if (batch > 40) batch = 40;
    if (xp_graph_create(&out->graph, NULL, true) != XP_OK) return NULL;
    snprintf(out->shape, sizeof out->shape, "B=%lld N=%lld C=%lld V=%lld", (long long)batch, (long long)length,
             (long long)columns, (long long)entries);
    out->zeros_expected = needs_gradient || batch * length < 8; /* few tokens for many entries */
    xp_tensor *table = xp_graph_input(out->graph, "table", XP_F32, 2, (int64_t[]){entries, columns});
    xp_tensor *tokens = xp_graph_input(out->graph, "tokens", XP_I32, 2, (int64_t[]){batch, length});
    if (!table || !tokens) return NULL;
    table->needs_gradient = needs_gradient;
    xp_case_fill(out, tokens, XP_FILL_INDEX, entries + entries / 8);
    return xp_lookup(out->graph, table, tokens);
}

xp_status xp_case_lookup(xp_case *out, xp_random *variant, xp_random *shape) {
    const xp_tensor *y = build(out, variant, shape, false);
    if (!y) return XP_INVALID_ARGUMENT;
    out->node = y->producer;
    return XP_OK;
}

xp_status xp_case_lookup_backward(xp_case *out, xp_random *variant, xp_random *shape) {
    xp_tensor *y = build(out, variant, shape, true);
    if (!y) return XP_INVALID_ARGUMENT;
    xp_tensor *dy = xp_graph_input(out->graph, "dy", XP_F32, 3, y->shape);
    if (!dy) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_graph_differentiate(out->graph, 1, &y, &dy, 0, NULL, NULL));
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}
