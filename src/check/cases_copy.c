/* Cases of sums and of copies between views. */
#include "check/check.h"

#include <expanse/ops.h>

enum { BLOCK = 256, LARGEST = 5000 };

xp_status xp_case_add(xp_case *out, xp_random *variant, xp_random *shape) {
    (void)variant;
    const int64_t columns = xp_case_size(shape, BLOCK, LARGEST),
                  sizes[] = {xp_case_size(shape, 4, LARGEST / columns), columns};
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *a = xp_graph_input(out->graph, "a", XP_F32, 2, sizes);
    xp_tensor *y = xp_add(out->graph, a, xp_graph_input(out->graph, "b", XP_F32, 2, sizes));
    if (!y) return XP_INVALID_ARGUMENT;
    char text[128];
    snprintf(out->shape, sizeof out->shape, "a=%s", xp_tensor_shape_text(a, text, sizeof text));
    out->node = y->producer;
    return XP_OK;
}

/* From a part of a split tensor, or from a whole one into a part. */
xp_status xp_case_copy(xp_case *out, xp_random *variant, xp_random *shape) {
    const int64_t sizes[] = {xp_case_size(shape, 2, 5), xp_case_size(shape, 4, 20), xp_case_size(shape, 3, 4),
                             xp_case_size(shape, 64, 100)};
    const int axis = (int)xp_random_below(shape, 3);
    const int64_t parts = 1 + (int64_t)xp_random_below(shape, 4);
    const bool into = xp_random_below(shape, 2);
    int64_t whole_shape[5];
    for (int i = 0, j = 0; i < 5; i++) whole_shape[i] = i == axis ? parts : sizes[j++];
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *part[4], *whole = into ? xp_graph_tensor(out->graph, "whole", XP_F32, 5, whole_shape)
                                      : xp_graph_input(out->graph, "whole", XP_F32, 5, whole_shape);
    XP_TRY(xp_graph_split(out->graph, whole, axis, part));
    /* Now and then all of it, which has an axis more. */
    xp_tensor *which = !into && xp_random_below(shape, 4) == 0 ? whole : part[xp_random_below(shape, (uint32_t)parts)];
    char text[128];
    snprintf(out->shape, sizeof out->shape, "whole=%s axis=%d %s offset %lld",
             xp_tensor_shape_text(whole, text, sizeof text), axis, into ? "into" : "from", (long long)which->offset);
    xp_tensor *from = into ? xp_graph_input(out->graph, "from", XP_F32, 4, sizes) : which;
    xp_tensor *to = xp_copy(out->graph, from, into ? which : NULL);
    if (!to) return XP_INVALID_ARGUMENT;
    out->node = out->graph->nodes[out->graph->node_count - 1];
    return XP_OK;
}
