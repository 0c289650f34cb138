/* Launches of attention for GPUs (cl/attention_tiled.cl). Owns the choice of blocks. */
#include "ops/attention_launch.h"

/* As in cl/attention_tiled.cl. */
enum { WORK_ITEMS = 128, DELTA_WORK_ITEMS = 64 };

/* A work-item holds four rows; wider heads take fewer rows per block and more columns, so that its registers hold. */
static int64_t block_rows(const xp_attention_sizes *s, int64_t narrow_rows) {
    return s->wider <= 64 ? narrow_rows : s->wider <= 128 ? narrow_rows / 2 : 8;
}

xp_status xp_attention_emit_tiled(xp_plan *plan, const xp_node *node) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    const double rows = (double)(s.samples * s.heads) * (double)(s.queries + s.keys);
    const int64_t block = block_rows(&s, 64);
    xp_launch_request request = {.file = "attention_tiled",
                                 .kernel = "attention_forward",
                                 .flops = 2 * s.pairs * (double)(s.width + s.value_width),
                                 .bytes = 4 * rows * (double)(s.width + s.value_width)};
    xp_attention_set_variant(&request.variant, &t, &s, 0);
    xp_variant_set(&request.variant, "BLOCK_ROWS", block);
    xp_attention_set_grid(&request, s.stride * xp_building_blocks(s.class_queries, block), WORK_ITEMS, s.heads,
                          s.samples);
    xp_launch_read(&request, t.q);
    xp_launch_read(&request, t.k);
    xp_launch_read(&request, t.v);
    xp_attention_pass_sight(&request, &t, &s);
    xp_launch_write(&request, t.o);
    xp_launch_write(&request, t.lse);
    xp_attention_pass_layout(&request, t.q);
    xp_attention_pass_layout(&request, t.k);
    xp_attention_pass_layout(&request, t.v);
    xp_attention_pass_layout(&request, t.o);
    return xp_plan_launch(plan, node, &request);
}

xp_status xp_attention_emit_map_tiled(xp_plan *plan, const xp_node *node) {
    return xp_fail(XP_UNSUPPORTED, "not yet");
}

xp_status xp_attention_emit_backward_tiled(xp_plan *plan, const xp_node *node) {
    return xp_fail(XP_UNSUPPORTED, "not yet");
}
