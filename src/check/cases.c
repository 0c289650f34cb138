/* The table of case generators; each lives in the cases_*.c file of its family of operations. */
#include "check/check.h"
#include "ops/list.h"

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
