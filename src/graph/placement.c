/* Blocks in an arena: large ones first, each in the lowest gap that is free while it matters. */
#include "graph/placement.h"

#include <stdlib.h>

/* Large ones first; ties by first use, so that a placement is the same every time. */
static int by_size(const void *a, const void *b) {
    const xp_block *x = *(xp_block *const *)a, *y = *(xp_block *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x < y ? -1 : 1;
}

static size_t round_up(size_t value, size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* The lowest offset at which `block` meets none of the placed ones that matter at the same time, inside one slab. */
static size_t lowest_gap(xp_block *const *placed, int placed_count, const xp_block *block, size_t slab_bytes) {
    size_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        if (offset / slab_bytes != (offset + block->bytes - 1) / slab_bytes) {
            offset = round_up(offset, slab_bytes);
            moved = true;
        }
        for (int i = 0; i < placed_count; i++) {
            const xp_block *other = placed[i];
            const bool together = other->first <= block->last && block->first <= other->last;
            if (together && offset < other->offset + other->bytes && other->offset < offset + block->bytes) {
                offset = other->offset + other->bytes;
                moved = true;
            }
        }
    }
    return offset;
}

xp_status xp_placement_find(xp_block *blocks, int count, size_t slab_bytes, size_t *arena_bytes) {
    *arena_bytes = 0;
    xp_block **order = malloc((size_t)count * sizeof *order + 1);
    if (!order) return xp_fail(XP_OUT_OF_MEMORY, "no memory to place %d tensors", count);
    int used = 0;
    for (int i = 0; i < count; i++)
        if (blocks[i].used) order[used++] = &blocks[i];
    qsort(order, (size_t)used, sizeof *order, by_size);
    for (int i = 0; i < used; i++) {
        xp_block *block = order[i];
        block->offset = lowest_gap(order, i, block, slab_bytes);
        if (block->offset + block->bytes > *arena_bytes) *arena_bytes = block->offset + block->bytes;
    }
    free(order);
    return XP_OK;
}
