/* Macros and arguments of attention's kernels. */
#include "ops/attention_launch.h"

#include "device/matrix.h"

#include <math.h>
#include <stdio.h>

#include "ops/scales.h"

#include <string.h>

xp_attention_tensors xp_attention_tensors_of(const xp_node *node) {
    xp_tensor *const *in = node->inputs, *const *out = node->outputs;
    const bool backward = strcmp(node->operation->name, "attention_backward") == 0;
    xp_tensor *const *options = in + (backward ? XP_ATTENTION_BACK_OPTIONS : XP_ATTENTION_OPTIONS);
    xp_attention_tensors t = {.attributes = XP_ATTRIBUTES(xp_attention_attributes, node),
                              .q = in[XP_ATTENTION_Q],
                              .k = in[XP_ATTENTION_K],
                              .v = in[XP_ATTENTION_V],
                              .key_lengths = options[0],
                              .random_state = options[1],
                              .query_lengths = options[2],
                              .bias = options[3],
                              .mask = options[4]};
    memcpy(t.user, options + 5, sizeof t.user);
    if (backward) {
        t.o = in[XP_ATTENTION_BACK_O];
        t.lse = in[XP_ATTENTION_BACK_LSE];
        t.d_o = in[XP_ATTENTION_BACK_D_O];
        t.d_lse = in[XP_ATTENTION_BACK_D_LSE];
        t.dq = out[0];
        t.dk = out[1];
        t.dv = out[2];
        t.d_bias = out[3];
    } else if (node->input_count == XP_ATTENTION_MAP_INPUTS) {
        t.lse = in[XP_ATTENTION_MAP_LSE];
        t.map = out[0];
    } else {
        t.o = out[0];
        t.lse = out[1];
    }
    return t;
}

static int64_t reach(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The part of the pairs that a mask lets through, as far as it is known before anything runs. */
static double let_through(const xp_attention_tensors *t, int64_t keys) {
    const xp_tensor *mask = t->mask;
    if (!mask || !mask->content) return 1;
    const int64_t block = t->attributes->mask_block ? t->attributes->mask_block : 1;
    const int64_t columns = (keys + block - 1) / block, words = mask->shape[mask->rank - 1];
    const int64_t rows = xp_tensor_elements(mask) / words;
    const uint32_t *word = mask->content;
    int64_t seen = 0;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t first = 0; first < columns; first += 32, word++) {
            const uint32_t valid = columns - first < 32 ? (1u << (columns - first)) - 1 : ~0u;
            seen += __builtin_popcount(*word & valid);
        }
    return (double)seen / (double)(rows * columns);
}

xp_attention_sizes xp_attention_sizes_of(const xp_attention_tensors *t) {
    const xp_attention_attributes *a = t->attributes;
    xp_attention_sizes s = {.samples = a->packed ? t->key_lengths->shape[0] - 1 : t->q->shape[0],
                            .queries = t->q->shape[1],
                            .keys = t->k->shape[1],
                            .heads = t->q->shape[2],
                            .key_heads = t->k->shape[2],
                            .width = t->q->shape[3],
                            .value_width = t->v->shape[3]};
    s.wider = s.width > s.value_width ? s.width : s.value_width;
    s.stride = a->stride > 1 && a->scale_count == 0 ? a->stride : 1;
    s.uneven_heads =
        a->scale_count > 1 || (t->key_lengths && t->key_lengths->rank == 2) || (t->mask && t->mask->shape[1] > 1);
    const int64_t queries = a->packed ? a->longest_queries : s.queries, keys = a->packed ? a->longest_keys : s.keys;
    s.class_queries = xp_launch_blocks(queries, s.stride);
    s.class_keys = xp_launch_blocks(keys, s.stride);
    const int64_t left = a->left < 0 ? keys : a->left, right = a->right < 0 ? keys : a->right;
    const double seen = (double)reach(reach(left + right + 1, keys), left + right >= keys ? keys : left + right + 1);
    const double half = (a->left < 0) != (a->right < 0) && reach(left, right) < keys / 2 ? 0.5 : 1;
    /* What a mask leaves may lie all inside the window. A mask of pooled keys knows of their number in each head, too.
     */
    const double sight = seen * half / (double)keys, masked = let_through(t, s.keys);
    const double part = masked < 1 ? fmin(sight, masked) : a->key_share > 0 ? sight * (double)a->key_share : sight;
    s.pairs = (double)(s.samples * s.heads) * (double)queries * (double)keys * part / (double)s.stride;
    return s;
}

static void set_unless(xp_variant *variant, const char *name, int64_t value, int64_t default_value) {
    if (value != default_value) xp_variant_set(variant, name, (long)value);
}

void xp_attention_set_variant(xp_variant *variant, const xp_attention_tensors *t, const xp_attention_sizes *s) {
    const xp_attention_attributes *a = t->attributes;
    const int lengths = t->key_lengths ? t->key_lengths->rank : 0;
    variant->prelude = a->prelude;
    set_unless(variant, "STORAGE", xp_storage_number(t->q->type), 0);
    xp_variant_set(variant, "D", s->width);
    xp_variant_set(variant, "E", s->value_width);
    xp_variant_set(variant, "KEY_LENGTHS", a->packed ? 3 : lengths);
    xp_variant_set(variant, "DROPOUT", a->dropout.threshold != 0);
    set_unless(variant, "QUERY_LENGTHS", a->packed ? 3 : t->query_lengths != NULL, 0);
    set_unless(variant, "GROUP", s->heads / s->key_heads, 1);
    set_unless(variant, "LINEAR", a->kernel == XP_KERNEL_LINEAR, 0);
    set_unless(variant, "NORMALISER", a->normaliser, 0);
    set_unless(variant, "LEFT", a->left < 0 ? -1 : a->left / s->stride, -1);
    set_unless(variant, "RIGHT", a->right < 0 ? -1 : a->right / s->stride, -1);
    set_unless(variant, "STRIDE", s->stride, 1);
    if (a->stride > 1 && s->stride == 1) xp_variant_set(variant, "MODULO", a->stride);
    set_unless(variant, "ALIGN_LAST", a->align_last != 0, 0);
    set_unless(variant, "MASK", t->mask != NULL, 0);
    if (t->mask && a->mask_block > 1) xp_variant_set(variant, "MASK_BLOCK", a->mask_block);
    set_unless(variant, "SOFT_CAP", a->soft_cap > 0, 0);
    set_unless(variant, "ALIBI", a->alibi != 0, 0);
    set_unless(variant, "BIAS", t->bias != NULL, 0);
    set_unless(variant, "SCORE", a->score != NULL, 0);
    set_unless(variant, "POOLED", a->scale_count > 0, 0);
    if (a->scale_count > 0) xp_scales_pass(variant, a->scale_count, a->scales);
}

void xp_attention_pass_layouts(xp_launch_request *request, const xp_attention_tensors *t) {
    xp_view_pass_layout(request, t->q);
    xp_view_pass_layout(request, t->k);
    xp_view_pass_layout(request, t->v);
    xp_view_pass_layout(request, t->d_o);
}

/* Stride of samples, heads or rows of a dense table [B|1,H|1,rows,columns]; 0 where one serves all. */
static int64_t table_stride(const xp_tensor *table, int axis) {
    if (!table) return 0;
    return axis < 2 && table->shape[axis] == 1 ? 0 : table->stride[axis];
}

void xp_attention_pass_sight(xp_launch_request *request, const xp_attention_tensors *t, const xp_attention_sizes *s) {
    const xp_attention_attributes *a = t->attributes;
    xp_launch_read(request, t->key_lengths);
    xp_launch_read(request, t->query_lengths);
    xp_launch_read(request, t->bias);
    xp_launch_read(request, t->mask);
    for (int i = 0; i < XP_SCORE_NAMES; i++) xp_launch_read(request, t->user[i]);
    xp_launch_read(request, t->random_state);
    xp_launch_int(request, s->queries);
    xp_launch_int(request, s->keys);
    xp_launch_int(request, s->heads);
    xp_launch_int(request, a->packed ? a->longest_queries : s->queries);
    xp_launch_int(request, a->packed ? a->longest_keys : s->keys);
    xp_launch_float(request, a->scale);
    xp_launch_float(request, a->soft_cap);
    for (int axis = 0; axis < 3; axis++) xp_launch_int(request, table_stride(t->bias, axis));
    for (int axis = 0; axis < 3; axis++) xp_launch_int(request, table_stride(t->mask, axis));
    xp_launch_uint(request, a->dropout.stream);
    xp_launch_uint(request, a->dropout.threshold);
    xp_launch_float(request, xp_building_keep_scale(&a->dropout));
}

void xp_attention_pass_output(xp_launch_request *request, xp_tensor *tensor) {
    if (tensor)
        xp_launch_write(request, tensor);
    else
        xp_launch_read(request, NULL);
}

void xp_attention_set_grid(xp_launch_request *request, const xp_attention_sizes *s, int64_t groups, size_t local,
                           int64_t heads, int64_t samples) {
    const bool heads_first = local == 1 && s->uneven_heads;
    if (heads_first) xp_variant_set(&request->variant, "HEADS_FIRST", 1);
    request->dimensions = 3;
    request->global[heads_first ? 1 : 0] = (size_t)groups * local;
    request->global[heads_first ? 0 : 1] = (size_t)heads;
    request->global[2] = (size_t)samples;
    request->local[0] = local;
    request->local[1] = request->local[2] = 1;
}

void xp_attention_set_tuning(xp_variant *variant, const xp_tuning *tuning) {
    for (int i = 0; i < tuning->count; i++)
        xp_variant_set(variant, tuning->parameters[i].name, tuning->parameters[i].value);
    variant->tuning = tuning->handle;
}

bool xp_attention_is_aligned(const xp_attention_tensors *t, int64_t elements) {
    const xp_tensor *const all[] = {t->q, t->k, t->v, t->o, t->d_o, t->dq, t->dk, t->dv};
    bool aligned = true;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (!all[i]) continue;
        aligned = aligned && all[i]->shape[3] % elements == 0 && all[i]->offset % elements == 0;
        for (int axis = 0; axis < 3; axis++) aligned = aligned && all[i]->stride[axis] % elements == 0;
    }
    return aligned;
}

static void shape_blocks(xp_launch_request *request, const xp_device *device, const xp_node *node,
                         const xp_attention_sizes *s, const xp_attention_blocks *blocks) {
    request->file = blocks->tuning.file;
    xp_attention_set_tuning(&request->variant, &blocks->tuning);
    if (blocks->aligned) xp_variant_set(&request->variant, "ALIGNED", 1);
    if (blocks->of_cpu) xp_factors_set(&request->variant, node, device);
    if (blocks->matrix) xp_matrix_set(&request->variant, device->matrix, device->layout);
    if (blocks->products > 1) xp_variant_set(&request->variant, "PRODUCTS", blocks->products);
    if (blocks->many_registers) request->variant.many_registers = true;
    request->variant.edit_for = blocks->edit_for;
    xp_attention_set_grid(request, s, s->stride * xp_launch_blocks(s->class_queries, blocks->rows), blocks->local,
                          s->heads, s->samples);
}

xp_status xp_attention_tune(xp_plan *plan, const xp_node *node, xp_tuning *tuning) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    const xp_type storage = xp_node_storage(node);
    snprintf(tuning->shape, sizeof tuning->shape, "%lldx%lld/%lld heads %lldx%lld width %lld/%lld%s%s%s",
             (long long)s.samples, (long long)s.heads, (long long)s.key_heads, (long long)s.queries, (long long)s.keys,
             (long long)s.width, (long long)s.value_width,
             s.pairs < (double)(s.samples * s.heads) * (double)(s.queries * s.keys) ? " sparse" : "",
             storage == XP_F32 ? "" : " ", storage == XP_F32 ? "" : xp_type_name(storage));
    return xp_plan_tune(plan, node, tuning);
}

xp_status xp_attention_launch_forward(xp_plan *plan, const xp_node *node, const xp_attention_blocks *blocks) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    const double rows = (double)(s.samples * s.heads) * (double)(s.queries + s.keys);
    xp_launch_request request = {.kernel = "attention_forward",
                                 .flops = 2 * s.pairs * (double)(s.width + s.value_width),
                                 .bytes = xp_storage_bytes(node) * rows * (double)(s.width + s.value_width)};
    xp_attention_set_variant(&request.variant, &t, &s);
    shape_blocks(&request, xp_plan_device(plan), node, &s, blocks);
    xp_launch_read(&request, t.q);
    xp_launch_read(&request, t.k);
    xp_launch_read(&request, t.v);
    xp_attention_pass_sight(&request, &t, &s);
    xp_launch_write(&request, t.o);
    xp_launch_write(&request, t.lse);
    xp_view_pass_layout(&request, t.q);
    xp_view_pass_layout(&request, t.k);
    xp_view_pass_layout(&request, t.v);
    xp_view_pass_layout(&request, t.o);
    return xp_plan_launch(plan, node, &request);
}

xp_status xp_attention_launch_map(xp_plan *plan, const xp_node *node, const xp_attention_blocks *blocks) {
    const xp_attention_tensors t = xp_attention_tensors_of(node);
    const xp_attention_sizes s = xp_attention_sizes_of(&t);
    xp_launch_request request = {.kernel = "attention_map",
                                 .flops = 2 * s.pairs * (double)s.width,
                                 .bytes = 4 * (double)xp_tensor_elements(t.map)};
    xp_attention_set_variant(&request.variant, &t, &s);
    shape_blocks(&request, xp_plan_device(plan), node, &s, blocks);
    xp_launch_read(&request, t.q);
    xp_launch_read(&request, t.k);
    xp_attention_pass_sight(&request, &t, &s);
    xp_launch_read(&request, t.lse);
    xp_launch_write(&request, t.map);
    xp_view_pass_layout(&request, t.q);
    xp_view_pass_layout(&request, t.k);
    return xp_plan_launch(plan, node, &request);
}
