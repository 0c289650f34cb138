/* The table of reference functions, by operation name. */
#include "reference/reference.h"

#include "ops/list.h"

#include <string.h>

#define DECLARE(name, factor)                                                                                          \
    void xp_reference_##name(const xp_reference_call *call);                                                           \
    void xp_reference_##name##_single(const xp_reference_call *call);
XP_OPERATION_LIST(DECLARE)

#define ROW(name, factor) {#name, xp_reference_##name, xp_reference_##name##_single},
static const xp_reference_entry entries[] = {XP_OPERATION_LIST(ROW)};

const xp_reference_entry *xp_reference_find(const char *operation) {
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
        if (strcmp(entries[i].operation, operation) == 0) return &entries[i];
    return NULL;
}
