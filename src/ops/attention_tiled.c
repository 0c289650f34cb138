/* Launches of attention for GPUs (cl/attention_tiled_*.cl). Owns the choice of blocks. */
#include "ops/attention_launch.h"

/* As in cl/attention_tiled.clh and cl/attention_tiled_backward.cl. */
enum { DELTA_WORK_ITEMS = 64, OWN_COLUMNS = 8, PAD = 4 };
enum { BLOCK_ROWS, OWN_ROWS, SLICE, PARAMETERS };

/* A tile has as many columns as the widest head, so that the rows of an output fit the registers of those who made the
 * scores. */
static int64_t block_columns(const xp_attention_sizes *s) {
    return s->wider <= 64 ? 64 : s->wider <= 128 ? 128 : 256;
}

/* Of a pass: the sizes of its problem, and the tiles of scores that it keeps in local memory. */
typedef struct pass {
    const xp_attention_sizes *sizes;
    int tiles;
} pass;

static size_t local_bytes(const pass *p, const xp_tuning *tuning) {
    const int64_t rows = tuning->parameters[BLOCK_ROWS].value, own_rows = tuning->parameters[OWN_ROWS].value;
    const int64_t columns = block_columns(p->sizes);
    const int64_t staged = tuning->parameters[SLICE].value * (rows + PAD + columns + PAD);
    const int64_t sums = rows * (columns / (OWN_COLUMNS * own_rows) + 1), shifts = 2 * columns;
    return sizeof(float) * (size_t)(staged + p->tiles * columns * (rows + PAD) + (sums > shifts ? sums : shifts));
}

static size_t work_items(const pass *p, const xp_tuning *tuning) {
    return (size_t)(tuning->parameters[BLOCK_ROWS].value * block_columns(p->sizes) /
                    (OWN_COLUMNS * tuning->parameters[OWN_ROWS].value));
}

static bool fits(const xp_tuning *tuning, const xp_device *device, const void *sizes) {
    const pass *p = sizes;
    return local_bytes(p, tuning) <= device->limits.static_local_bytes &&
           work_items(p, tuning) <= device->limits.work_group_size;
}

static void fit(const xp_device *device, const pass *p, xp_tuning *tuning) {
    static const int order[] = {BLOCK_ROWS, SLICE};
    xp_tuning_fit(tuning, order, sizeof order / sizeof order[0], device, p, fits);
}

/* Those that fit beside the slice; the lowest value in any case. */
static void permit_rows(const xp_device *device, const pass *p, xp_tuning *tuning) {
    xp_tuning_parameter *rows = &tuning->parameters[BLOCK_ROWS];
    int count = 1;
    for (xp_tuning trial = *tuning; count < XP_TUNING_VALUES && rows->values[count]; count++) {
        trial.parameters[BLOCK_ROWS].value = rows->values[count];
        if (!fits(&trial, device, p)) rows->values[count] = 0;
    }
}

/* The most rows up to 64 that local memory and work-groups allow beside a slice of 8 columns, or of 16 where that fits,
 * too: wider ones would only keep other work-groups out of a compute unit, narrower ones cost registers. A work-item of
 * 8×8 scores needs some 250 registers, which Intel's compiler gives on request (many_registers). */
static xp_tuning question(const xp_device *device, const pass *p, const char *kernel, const char *file) {
    xp_tuning tuning = {.kernel = kernel,
                        .file = file,
                        .count = PARAMETERS,
                        .parameters = {{"BLOCK_ROWS", 64, {8, 16, 32, 64, 128}},
                                       {"OWN_ROWS", 8, {4, 8}},
                                       {"SLICE", 8, {4, 8, 16, 32, 64}}}};
    permit_rows(device, p, &tuning);
    fit(device, p, &tuning);
    xp_tuning wider = tuning;
    wider.parameters[SLICE].value = 16;
    return fits(&wider, device, p) ? wider : tuning;
}

static xp_attention_blocks blocks_of(const xp_device *device, const pass *p, const xp_tuning *tuning,
                                     const xp_attention_tensors *t) {
    xp_attention_blocks blocks = {.tuning = *tuning, .aligned = xp_attention_is_aligned(t, 4), .many_registers = true};
    fit(device, p, &blocks.tuning);
    blocks.rows = blocks.tuning.parameters[BLOCK_ROWS].value;
    blocks.local = work_items(p, &blocks.tuning);
    return blocks;
}

xp_status xp_attention_emit_tiled(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    const xp_device *device = xp_plan_device(plan);
    const pass p = {&s, 1};
    xp_tuning tuning = question(device, &p, "attention_tiled forward", "attention_tiled_forward");
    XP_TRY(xp_attention_tune(plan, node, &tuning));
    const xp_attention_blocks blocks = blocks_of(device, &p, &tuning, &t);
    return xp_attention_launch_forward(plan, node, &blocks);
}

xp_status xp_attention_emit_map_tiled(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    const xp_device *device = xp_plan_device(plan);
    const pass p = {&s, 1};
    const xp_tuning tuning = question(device, &p, "attention_tiled map", "attention_tiled_map");
    const xp_attention_blocks blocks = blocks_of(device, &p, &tuning, &t);
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
                        const xp_attention_sizes *s, xp_tensor *delta, bool makes_delta) {
    request->file = "attention_tiled_backward";
    request->variant = *variant;
    xp_launch_read(request, t->q);
    xp_launch_read(request, t->k);
    xp_launch_read(request, t->v);
    xp_launch_read(request, t->lse);
    if (makes_delta)
        xp_launch_write(request, delta);
    else
        xp_launch_read(request, delta);
    xp_launch_read(request, t->d_o);
    xp_attention_pass_sight(request, t, s);
}

static xp_status emit_queries(xp_plan *plan, const xp_node *node, const xp_variant *variant,
                              const xp_attention_tensors *t, const xp_attention_sizes *s, xp_tensor *delta,
                              const xp_attention_blocks *blocks, double bytes) {
    xp_launch_request request = {.kernel = "attention_backward_queries",
                                 .flops = 2 * s->pairs * (double)(2 * s->width + s->value_width),
                                 .bytes = bytes};
    pass_inputs(&request, variant, t, s, delta, true);
    xp_attention_set_grid(&request, s, s->stride * xp_launch_blocks(s->class_queries, blocks->rows), blocks->local,
                          s->heads, s->samples);
    xp_launch_read(&request, t->o);
    xp_launch_read(&request, t->d_lse);
    xp_launch_write(&request, t->dq);
    xp_attention_pass_layouts(&request, t);
    xp_view_pass_layout(&request, t->dq);
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_keys(xp_plan *plan, const xp_node *node, const xp_variant *variant, const xp_attention_tensors *t,
                           const xp_attention_sizes *s, xp_tensor *delta, const xp_attention_blocks *blocks,
                           double bytes) {
    const int64_t keys = t->dk != NULL, values = t->dv != NULL;
    xp_launch_request request = {.kernel = "attention_backward_keys",
                                 .flops =
                                     2 * s->pairs * (double)((1 + keys) * s->width + (keys + values) * s->value_width),
                                 .bytes = bytes};
    pass_inputs(&request, variant, t, s, delta, false);
    xp_attention_set_grid(&request, s, s->stride * xp_launch_blocks(s->class_keys, blocks->rows), blocks->local,
                          s->key_heads, s->samples);
    xp_attention_pass_output(&request, t->dk);
    xp_attention_pass_output(&request, t->dv);
    xp_attention_pass_layouts(&request, t);
    xp_view_pass_layout(&request, t->dk);
    xp_view_pass_layout(&request, t->dv);
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_bias(xp_plan *plan, const xp_node *node, const xp_variant *variant, const xp_attention_tensors *t,
                           const xp_attention_sizes *s, xp_tensor *delta, const xp_attention_blocks *blocks,
                           double bytes) {
    const int64_t key_blocks = xp_launch_blocks(s->class_keys, block_columns(s));
    xp_launch_request request = {.kernel = "attention_backward_bias",
                                 .flops = 2 * s->pairs * (double)(s->width + s->value_width),
                                 .bytes = bytes};
    pass_inputs(&request, variant, t, s, delta, false);
    xp_attention_set_grid(&request, s,
                          s->stride * s->stride * xp_launch_blocks(s->class_queries, blocks->rows) * key_blocks,
                          blocks->local, t->d_bias->shape[1], t->d_bias->shape[0]);
    xp_launch_write(&request, t->d_bias);
    xp_launch_int(&request, s->samples);
    xp_launch_int(&request, key_blocks);
    xp_attention_pass_layouts(&request, t);
    return xp_plan_launch(plan, node, &request);
}

/* What a program of the backward passes writes beside dq, and its blocks. */
static xp_status choose_backward(xp_plan *plan, const xp_node *node, const xp_attention_tensors *t,
                                 const xp_attention_sizes *s, xp_variant *variant, xp_attention_blocks *blocks) {
    const xp_device *device = xp_plan_device(plan);
    const pass p = {s, 2};
    xp_tuning tuning = question(device, &p, "attention_tiled backward", "attention_tiled_backward");
    XP_TRY(xp_attention_tune(plan, node, &tuning));
    *blocks = blocks_of(device, &p, &tuning, t);
    xp_attention_set_variant(variant, t, s);
    xp_attention_set_tuning(variant, &blocks->tuning);
    variant->many_registers = blocks->many_registers;
    if (blocks->aligned) xp_variant_set(variant, "ALIGNED", 1);
    xp_variant_set(variant, "WRITE_DK", t->dk != NULL);
    xp_variant_set(variant, "WRITE_DV", t->dv != NULL);
    if (t->d_lse) xp_variant_set(variant, "D_LSE", 1);
    return XP_OK;
}

static double backward_bytes(const xp_attention_sizes *s) {
    const double rows = (double)(s->samples * s->heads) * (double)(s->queries + s->keys);
    return 6 * rows * (double)(s->width + s->value_width);
}

xp_status xp_attention_emit_bias_tiled(xp_plan *plan, const xp_node *node, xp_tensor *delta) {
    xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    xp_variant variant = {0};
    xp_attention_blocks blocks;
    t.dk = t.dv = NULL;
    XP_TRY(choose_backward(plan, node, &t, &s, &variant, &blocks));
    return emit_bias(plan, node, &variant, &t, &s, delta, &blocks, backward_bytes(&s));
}

xp_status xp_attention_emit_backward_tiled(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    const double bytes = backward_bytes(&s);
    xp_variant variant = {0};
    xp_attention_blocks blocks;
    XP_TRY(choose_backward(plan, node, &t, &s, &variant, &blocks));
    xp_tensor *delta = xp_plan_scratch(plan, node, xp_tensor_elements(t.lse));
    if (!delta) return XP_OUT_OF_MEMORY;
    if (t.dq)
        XP_TRY(emit_queries(plan, node, &variant, &t, &s, delta, &blocks, bytes));
    else
        XP_TRY(emit_delta(plan, node, &variant, &t, &s, delta));
    if (t.dk || t.dv) XP_TRY(emit_keys(plan, node, &variant, &t, &s, delta, &blocks, bytes));
    if (t.d_bias) XP_TRY(emit_bias(plan, node, &variant, &t, &s, delta, &blocks, bytes));
    return XP_OK;
}
