/* Launches of attention for CPU devices (cl/attention_wide_*.cl). Owns the choice of blocks and parts. */
#include "ops/attention_launch.h"

/* The smallest number of work-items that gives 64 cores something to do. */
enum { WANTED_GROUPS = 64, MOST_PARTS = 8 };

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Large blocks read keys and values less often, which come from the last cache or from memory, though not so large that
 * wide heads leave the second cache; where there would be few, the smallest serve. No sum of the forward pass depends
 * on it. */
static int64_t large_blocks(const xp_attention_sizes *s) {
    return s->wider <= 64 ? 128 : s->wider <= 128 ? 64 : 32;
}

static int64_t forward_blocks(const xp_attention_sizes *s) {
    const int64_t rows = large_blocks(s);
    const int64_t groups = s->samples * s->heads * s->stride * xp_launch_blocks(s->class_queries, rows);
    return groups < WANTED_GROUPS ? 1 : rows;
}

/* Panels of two vectors of queries. */
static xp_tuning question(const xp_plan *plan, const char *kernel, const char *file, int64_t rows) {
    const long lanes = xp_plan_device(plan)->limits.lanes;
    return (xp_tuning){.kernel = kernel,
                       .file = file,
                       .count = 2,
                       .parameters = {{"PANELS", (long)xp_launch_blocks(rows, 2 * lanes), {1, 2, 3, 4, 6, 8, 12}},
                                      {"LANES", lanes, {8, 16}}}};
}

static int64_t rows_of(const xp_tuning *tuning) {
    return tuning->parameters[0].value * 2 * tuning->parameters[1].value;
}

static xp_attention_blocks blocks_of(const xp_tuning *tuning) {
    return (xp_attention_blocks){.tuning = *tuning, .rows = rows_of(tuning), .local = 1, .of_cpu = true};
}

xp_status xp_attention_emit_wide(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    xp_tuning tuning = question(plan, "attention_wide forward", "attention_wide_forward", forward_blocks(&s));
    XP_TRY(xp_attention_tune(plan, node, &tuning));
    const xp_attention_blocks blocks = blocks_of(&tuning);
    return xp_attention_launch_forward(plan, node, &blocks);
}

xp_status xp_attention_emit_map_wide(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_tuning tuning = question(plan, "attention_wide map", "attention_wide_map", 1);
    const xp_attention_blocks blocks = blocks_of(&tuning);
    return xp_attention_launch_map(plan, node, &blocks);
}

/* out = the sum of its parts in scratch. */
static xp_status emit_sum(xp_plan *plan, const xp_node *node, const xp_variant *variant, xp_tensor *scratch,
                          xp_tensor *out, int64_t parts) {
    if (!out) return XP_OK;
    xp_launch_request request = {.file = "attention_wide_backward",
                                 .kernel = "attention_backward_sum",
                                 .variant = *variant,
                                 .dimensions = 2,
                                 .global = {(size_t)out->shape[1], (size_t)out->shape[0]},
                                 .local = {1, 1},
                                 .flops = (double)(parts * xp_tensor_elements(out)),
                                 .bytes = 4.0 * (double)((parts + 1) * xp_tensor_elements(out))};
    xp_launch_read(&request, scratch);
    xp_launch_write(&request, out);
    xp_launch_int(&request, parts);
    xp_launch_int(&request, out->shape[3]);
    xp_launch_int(&request, out->shape[2]);
    xp_view_pass_layout(&request, out);
    return xp_plan_launch(plan, node, &request);
}

/* What both backward kernels read, in their order. */
static void pass_backward_inputs(xp_launch_request *request, const xp_attention_tensors *t,
                                 const xp_attention_sizes *s) {
    xp_tensor *const read[] = {t->q, t->k, t->v, t->o, t->lse, t->d_o, t->d_lse};
    for (size_t i = 0; i < sizeof read / sizeof read[0]; i++) xp_launch_read(request, read[i]);
    xp_attention_pass_sight(request, t, s);
}

static xp_status emit_bias(xp_plan *plan, const xp_node *node, const xp_variant *variant, const xp_attention_tensors *t,
                           const xp_attention_sizes *s, int64_t rows) {
    xp_launch_request request = {.file = "attention_wide_backward",
                                 .kernel = "attention_backward_bias",
                                 .variant = *variant,
                                 .flops = 2 * s->pairs * (double)(s->width + s->value_width),
                                 .bytes = 4 * s->pairs};
    xp_attention_set_grid(&request, s, s->stride * xp_launch_blocks(s->class_queries, rows), 1, t->d_bias->shape[1],
                          t->d_bias->shape[0]);
    pass_backward_inputs(&request, t, s);
    xp_launch_write(&request, t->d_bias);
    xp_launch_int(&request, s->samples);
    xp_view_pass_layout(&request, t->q);
    xp_view_pass_layout(&request, t->k);
    xp_view_pass_layout(&request, t->v);
    xp_view_pass_layout(&request, t->d_o);
    return xp_plan_launch(plan, node, &request);
}

/* One work-item per key head and sample where there are many of them. Otherwise the queries are dealt to up to eight
 * parts with a copy of dk and dv each: less arithmetic than a second recomputation of p, and memory that stays a small
 * multiple of k and v. The number depends on the shape alone, so every device sums alike. */
xp_status xp_attention_emit_backward_wide(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    xp_tuning tuning = question(plan, "attention_wide backward", "attention_wide_backward", large_blocks(&s));
    XP_TRY(xp_attention_tune(plan, node, &tuning));
    const int64_t blocks = xp_launch_blocks(s.class_queries, rows_of(&tuning));
    const int64_t groups = s.samples * s.key_heads * s.stride;
    const int64_t wanted = smaller(xp_launch_blocks(WANTED_GROUPS, groups), smaller(MOST_PARTS, blocks));
    const int64_t part_blocks = xp_launch_blocks(blocks, wanted), parts = xp_launch_blocks(blocks, part_blocks);
    /* Sums are fp32: where dk and dv are not, they are added up in scratch, too. */
    const bool summed = parts > 1 || xp_node_storage(node) != XP_F32;
    xp_tensor *dk = t.dk, *dv = t.dv;
    if (summed && dk && !(dk = xp_plan_scratch(plan, node, parts * xp_tensor_elements(t.dk)))) return XP_OUT_OF_MEMORY;
    if (summed && dv && !(dv = xp_plan_scratch(plan, node, parts * xp_tensor_elements(t.dv)))) return XP_OUT_OF_MEMORY;

    const double rows = (double)(s.samples * s.heads) * (double)(s.queries + s.keys);
    xp_launch_request request = {.file = "attention_wide_backward",
                                 .kernel = "attention_backward",
                                 .flops = 2 * s.pairs * (double)(3 * s.width + 2 * s.value_width),
                                 .bytes = 2 * xp_storage_bytes(node) * rows * (double)(s.width + s.value_width)};
    xp_attention_set_variant(&request.variant, &t, &s);
    xp_attention_set_tuning(&request.variant, &tuning);
    xp_factors_set(&request.variant, node, xp_plan_device(plan));
    xp_variant_set(&request.variant, "WRITE_DQ", t.dq != NULL);
    xp_variant_set(&request.variant, "WRITE_DK", t.dk != NULL);
    xp_variant_set(&request.variant, "WRITE_DV", t.dv != NULL);
    if (t.d_lse) xp_variant_set(&request.variant, "D_LSE", 1);
    if (t.d_bias) XP_TRY(emit_bias(plan, node, &request.variant, &t, &s, rows_of(&tuning)));
    if (!t.dq && !t.dk && !t.dv) return XP_OK;
    xp_attention_set_grid(&request, &s, s.stride * parts, 1, s.key_heads, s.samples);
    pass_backward_inputs(&request, &t, &s);
    xp_attention_pass_output(&request, t.dq);
    xp_attention_pass_output(&request, dk);
    xp_attention_pass_output(&request, dv);
    xp_launch_int(&request, part_blocks);
    xp_view_pass_layout(&request, t.q);
    xp_view_pass_layout(&request, t.k);
    xp_view_pass_layout(&request, t.v);
    xp_view_pass_layout(&request, t.d_o);
    xp_view_pass_layout(&request, t.dq);
    const xp_tensor *written[] = {t.dk, t.dv};
    for (int i = 0; i < 2; i++) {
        if (!summed || !written[i]) {
            xp_view_pass_layout(&request, written[i]);
        } else {
            const int64_t width = written[i]->shape[3];
            xp_launch_int(&request, 0);
            xp_launch_int(&request, s.keys * s.key_heads * width);
            xp_launch_int(&request, s.key_heads * width);
            xp_launch_int(&request, width);
        }
    }
    XP_TRY(xp_plan_launch(plan, node, &request));
    if (!summed) return XP_OK;
    XP_TRY(emit_sum(plan, node, &request.variant, dk, t.dk, parts));
    return emit_sum(plan, node, &request.variant, dv, t.dv, parts);
}
