/* The table of case generators; each lives in the cases_*.c file of its family of operations. */
#include "check/check.h"
#include "ops/list.h"
#include "ops/ops.h"

#include <string.h>

#define DECLARE(name, factor) xp_status xp_case_##name(xp_case *out, xp_random *variant, xp_random *shape);
XP_OPERATION_LIST(DECLARE)

#define ROW(name, factor) {#name, xp_case_##name, factor},
const xp_case_entry xp_case_entries[] = {XP_OPERATION_LIST(ROW)};
const int xp_case_entry_count = sizeof xp_case_entries / sizeof xp_case_entries[0];

int64_t xp_case_size(xp_random *random, int64_t block, int64_t limit) {
    const int64_t edges[] = {1, 2, block - 1, block, block + 1, 97, 257};
    uint32_t pick = xp_random_below(random, 12);
    int64_t size = pick < 7 ? edges[pick] : 1 + (int64_t)xp_random_below(random, (uint32_t)limit);
    if (size < 1) return 1;
    return size > limit ? limit : size;
}

xp_status xp_case_drop(xp_case *out, xp_node *node, xp_random *shape) {
    const float probability = 0.05f + 0.8f * (float)xp_random_unit(shape);
    const xp_dropout_attributes dropout = {.probability = probability,
                                           .threshold = (uint32_t)((double)probability * 0x1p32),
                                           .stream = xp_random_below(shape, 100)};
    xp_node reader = {0}; /* as fusion would find it */
    memcpy(reader.attributes, &dropout, sizeof dropout);
    xp_tensor *random_state = xp_graph_random_state(out->graph);
    if (!random_state) return XP_OUT_OF_MEMORY;
    node->operation->take_in(node, XP_COMBINE_DROPOUT, random_state, &reader);
    return XP_OK;
}
