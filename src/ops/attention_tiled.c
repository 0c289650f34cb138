/* Launches of attention for GPUs (cl/attention_tiled_*.cl). Owns the choice of blocks. */
#include "ops/attention_launch.h"

/* As in cl/attention_tiled.clh and cl/attention_tiled_backward.cl. */
enum { WORK_ITEMS = 128, DELTA_WORK_ITEMS = 64, TILE_AREA = 2048 };

/* A work-item holds four rows; wider heads take fewer rows per block and more columns, so that its registers hold. */
static int64_t block_rows(const xp_attention_sizes *s, int64_t narrow_rows) {
    return s->wider <= 64 ? narrow_rows : s->wider <= 128 ? narrow_rows / 2 : 8;
}

static xp_tuning question(const xp_attention_sizes *s, const char *kernel, const char *file, int64_t narrow_rows) {
    const int64_t most = block_rows(s, 64);
    xp_tuning tuning = {
        .kernel = kernel, .file = file, .count = 1, .parameters = {{"BLOCK_ROWS", (long)block_rows(s, narrow_rows)}}};
    for (int64_t rows = 8, i = 0; rows <= most; rows *= 2) tuning.parameters[0].values[i++] = (long)rows;
    return tuning;
}

static xp_attention_blocks blocks_of(const xp_tuning *tuning) {
    return (xp_attention_blocks){*tuning, tuning->parameters[0].value, WORK_ITEMS};
}

xp_status xp_attention_emit_tiled(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    xp_tuning tuning = question(&s, "attention_tiled forward", "attention_tiled_forward", 64);
    XP_TRY(xp_attention_tune(plan, node, &tuning));
    const xp_attention_blocks blocks = blocks_of(&tuning);
    return xp_attention_launch_forward(plan, node, &blocks);
}

xp_status xp_attention_emit_map_tiled(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    const xp_tuning tuning = question(&s, "attention_tiled map", "attention_tiled_map", 32);
    const xp_attention_blocks blocks = blocks_of(&tuning);
    return xp_attention_launch_map(plan, node, &blocks);
}

static xp_status emit_delta(xp_plan *plan, const xp_node *node, const xp_variant *variant,
                            const xp_attention_tensors *t, const xp_attention_sizes *s, xp_tensor *delta) {
    const int64_t rows = xp_tensor_elements(t->lse);
    xp_launch_request request = {.file = "attention_tiled_backward",
                                 .kernel = "attention_backward_delta",
                                 .variant = *variant,
                                 .dimensions = 1,
                                 .global = {(size_t)xp_launch_blocks(rows, DELTA_WORK_ITEMS) * DELTA_WORK_ITEMS},
                                 .local = {DELTA_WORK_ITEMS},
                                 .flops = 2.0 * (double)(rows * s->value_width),
                                 .bytes = 8.0 * (double)(rows * s->value_width)};
    xp_launch_read(&request, t->o);
    xp_launch_read(&request, t->d_o);
    xp_launch_read(&request, t->d_lse);
    xp_launch_write(&request, delta);
    xp_launch_int(&request, rows);
    xp_launch_int(&request, s->queries);
    xp_launch_int(&request, s->heads);
    xp_view_pass_layout(&request, t->d_o);
    return xp_plan_launch(plan, node, &request);
}

/* One of the backward passes: what they share, before and after their outputs. */
static void pass_inputs(xp_launch_request *request, const xp_variant *variant, const xp_attention_tensors *t,
                        const xp_attention_sizes *s, xp_tensor *delta) {
    request->file = "attention_tiled_backward";
    request->variant = *variant;
    xp_tensor *const read[] = {t->q, t->k, t->v, t->lse, delta, t->d_o};
    for (size_t i = 0; i < sizeof read / sizeof read[0]; i++) xp_launch_read(request, read[i]);
    xp_attention_pass_sight(request, t, s);
}

static void pass_layouts(xp_launch_request *request, const xp_attention_tensors *t) {
    xp_view_pass_layout(request, t->q);
    xp_view_pass_layout(request, t->k);
    xp_view_pass_layout(request, t->v);
    xp_view_pass_layout(request, t->d_o);
}

static xp_status emit_queries(xp_plan *plan, const xp_node *node, const xp_variant *variant,
                              const xp_attention_tensors *t, const xp_attention_sizes *s, xp_tensor *delta,
                              int64_t block, double bytes) {
    xp_launch_request request = {.kernel = "attention_backward_queries",
                                 .flops = 2 * s->pairs * (double)(2 * s->width + s->value_width),
                                 .bytes = bytes};
    pass_inputs(&request, variant, t, s, delta);
    xp_attention_set_grid(&request, s, s->stride * xp_launch_blocks(s->class_queries, block), WORK_ITEMS, s->heads,
                          s->samples);
    xp_launch_write(&request, t->dq);
    pass_layouts(&request, t);
    xp_view_pass_layout(&request, t->dq);
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_keys(xp_plan *plan, const xp_node *node, const xp_variant *variant, const xp_attention_tensors *t,
                           const xp_attention_sizes *s, xp_tensor *delta, int64_t block, double bytes) {
    const int64_t keys = t->dk != NULL, values = t->dv != NULL;
    xp_launch_request request = {.kernel = "attention_backward_keys",
                                 .flops =
                                     2 * s->pairs * (double)((1 + keys) * s->width + (keys + values) * s->value_width),
                                 .bytes = bytes};
    pass_inputs(&request, variant, t, s, delta);
    xp_attention_set_grid(&request, s, s->stride * xp_launch_blocks(s->class_keys, block), WORK_ITEMS, s->key_heads,
                          s->samples);
    xp_attention_pass_output(&request, t->dk);
    xp_attention_pass_output(&request, t->dv);
    pass_layouts(&request, t);
    xp_view_pass_layout(&request, t->dk);
    xp_view_pass_layout(&request, t->dv);
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_bias(xp_plan *plan, const xp_node *node, const xp_variant *variant, const xp_attention_tensors *t,
                           const xp_attention_sizes *s, xp_tensor *delta, int64_t block, double bytes) {
    const int64_t key_blocks = xp_launch_blocks(s->class_keys, TILE_AREA / block);
    xp_launch_request request = {.kernel = "attention_backward_bias",
                                 .flops = 2 * s->pairs * (double)(s->width + s->value_width),
                                 .bytes = bytes};
    pass_inputs(&request, variant, t, s, delta);
    xp_attention_set_grid(&request, s, s->stride * s->stride * xp_launch_blocks(s->class_queries, block) * key_blocks,
                          WORK_ITEMS, t->d_bias->shape[1], t->d_bias->shape[0]);
    xp_launch_write(&request, t->d_bias);
    xp_launch_int(&request, s->samples);
    xp_launch_int(&request, key_blocks);
    pass_layouts(&request, t);
    return xp_plan_launch(plan, node, &request);
}

xp_status xp_attention_emit_backward_tiled(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    xp_tuning tuning = question(&s, "attention_tiled backward", "attention_tiled_backward", 32);
    XP_TRY(xp_attention_tune(plan, node, &tuning));
    const int64_t block = tuning.parameters[0].value;
    const double rows = (double)(s.samples * s.heads) * (double)(s.queries + s.keys);
    const double bytes = 6 * rows * (double)(s.width + s.value_width);
    xp_variant variant = {0};
    xp_attention_set_variant(&variant, &t, &s);
    xp_attention_set_tuning(&variant, &tuning);
    xp_variant_set(&variant, "WRITE_DK", t.dk != NULL);
    xp_variant_set(&variant, "WRITE_DV", t.dv != NULL);
    if (t.d_lse) xp_variant_set(&variant, "D_LSE", 1);
    xp_tensor *delta = xp_plan_scratch(plan, node, xp_tensor_elements(t.lse));
    if (!delta) return XP_OUT_OF_MEMORY;
    XP_TRY(emit_delta(plan, node, &variant, &t, &s, delta));
    if (t.dq) XP_TRY(emit_queries(plan, node, &variant, &t, &s, delta, block, bytes));
    if (t.dk || t.dv) XP_TRY(emit_keys(plan, node, &variant, &t, &s, delta, block, bytes));
    if (t.d_bias) XP_TRY(emit_bias(plan, node, &variant, &t, &s, delta, block, bytes));
    return XP_OK;
}
