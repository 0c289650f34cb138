/* Cases of rows that are added in place; some would come after the last one. */
#include "check/check.h"
#include "ops/ops.h"

xp_status xp_case_append(xp_case *out, xp_random *variant, xp_random *shape) {
    (void)variant;
    const int64_t batch = xp_case_size(shape, 4, 6), heads = xp_case_size(shape, 2, 5),
                  width = xp_case_size(shape, 16, 40);
    const int64_t length = xp_case_size(shape, 8, 20), count = 1 + xp_random_below(shape, (uint32_t)length);
    XP_TRY(xp_graph_create(&out->graph, NULL, false));
    snprintf(out->shape, sizeof out->shape, "B=%lld N=%lld M=%lld H=%lld D=%lld", (long long)batch, (long long)count,
             (long long)length, (long long)heads, (long long)width);
    xp_tensor *whole = xp_graph_input(out->graph, "whole", XP_F32, 4, (int64_t[]){batch, length, heads, width});
    xp_tensor *both = xp_graph_input(out->graph, "rows", XP_F32, 4, (int64_t[]){batch, count, 2 * heads, width});
    xp_tensor *starts = xp_graph_input(out->graph, "starts", XP_I32, 1, &batch), *part[2];
    if (!starts) return XP_OUT_OF_MEMORY;
    XP_TRY(xp_graph_slice(out->graph, both, 2, 2, (int64_t[]){heads, heads}, part));
    xp_case_fill(out, starts, XP_FILL_INDEX, length);
    if (!xp_append(out->graph, whole, part[1], starts)) return XP_INVALID_ARGUMENT;
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}
