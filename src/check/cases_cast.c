/* Cases of casts between element types. */
#include "check/check.h"

#include <expanse/ops.h>

enum { BLOCK = 256, LARGEST = 5000 };

xp_status xp_case_cast(xp_case *out, xp_random *variant, xp_random *shape) {
    static const xp_type types[] = {XP_F32, XP_BF16, XP_F16};
    const uint32_t pick = xp_random_below(variant, 3);
    const xp_type from = types[pick], to = types[(pick + 1 + xp_random_below(variant, 2)) % 3];
    const int64_t count = xp_case_size(shape, BLOCK, LARGEST);
    XP_TRY(xp_graph_create(&out->graph, NULL, true));
    xp_tensor *x = xp_graph_input(out->graph, "x", from, 1, &count);
    xp_tensor *y = xp_cast(out->graph, x, to);
    if (!y) return XP_INVALID_ARGUMENT;
    snprintf(out->shape, sizeof out->shape, "%s to %s x=[%lld]", xp_type_name(from), xp_type_name(to),
             (long long)count);
    out->node = y->producer;
    return XP_OK;
}
