/* Places blocks of memory in one arena, by the times between which their content is needed. Pure: knows no tensor, no
 * plan and no device. */
#ifndef XP_GRAPH_PLACEMENT_H
#define XP_GRAPH_PLACEMENT_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct xp_block {
    bool used;       /* others get no place */
    int first, last; /* steps between which the content matters, both included */
    size_t bytes;
    size_t offset; /* out */
} xp_block;

/* Gives every used block an offset such that no two blocks share a byte while both matter and none crosses a multiple
 * of slab_bytes. Bytes are multiples of the alignment, at least 1 and at most slab_bytes. *arena_bytes becomes the end
 * of the last block. Equal blocks get equal places every time. */
xp_status xp_placement_find(xp_block *blocks, int count, size_t slab_bytes, size_t *arena_bytes);

#endif
