/* Softmax attention and its gradient: shapes, gradient rule, and which kernels make them. Owns the choice of blocks;
 * must not know what makes queries, keys and counts (normalisation and pooling are operations of their own). */
#include "ops/building.h"
#include "ops/operation.h"

extern const xp_operation xp_operation_attention, xp_operation_attention_backward;

/* As in cl/attention_wide.cl and cl/attention_tiled.cl. */
enum { PANEL = 16, TILED_WORK_ITEMS = 128, DELTA_WORK_ITEMS = 64, WIDEST_HEAD = 256 };

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool is_sequence(const xp_tensor *tensor, const char *role) {
    if (tensor->rank == 4 && tensor->type == XP_F32 && tensor->stride[3] == 1) return true;
    char text[96];
    xp_fail(XP_INVALID_ARGUMENT,
            "attention: %s %s %s has to be [samples,length,heads,width] of floats with unit stride", role, tensor->name,
            xp_tensor_shape_text(tensor, text, sizeof text));
    return false;
}

static bool mismatch(const char *role, const xp_tensor *tensor, const char *other_role, const xp_tensor *other) {
    char text[96], other_text[96];
    xp_fail(XP_INVALID_ARGUMENT, "attention: %s %s %s and %s %s %s do not fit together", role, tensor->name,
            xp_tensor_shape_text(tensor, text, sizeof text), other_role, other->name,
            xp_tensor_shape_text(other, other_text, sizeof other_text));
    return false;
}

static bool fits(const xp_tensor *q, const xp_tensor *k, const xp_tensor *v, const xp_tensor *counts) {
    if (!is_sequence(q, "queries") || !is_sequence(k, "keys") || !is_sequence(v, "values")) return false;
    if (k->shape[0] != q->shape[0] || k->shape[2] != q->shape[2] || k->shape[3] != q->shape[3])
        return mismatch("keys", k, "queries", q);
    if (v->shape[0] != k->shape[0] || v->shape[1] != k->shape[1] || v->shape[2] != k->shape[2])
        return mismatch("values", v, "keys", k);
    if (q->shape[3] > WIDEST_HEAD || v->shape[3] > WIDEST_HEAD) {
        xp_fail(XP_UNSUPPORTED, "attention: heads of %lld and %lld columns are too wide: take more heads (%d at most)",
                (long long)q->shape[3], (long long)v->shape[3], WIDEST_HEAD);
        return false;
    }
    if (counts && (counts->type != XP_I32 || !xp_tensor_is_dense(counts) || counts->rank < 1 || counts->rank > 2 ||
                   counts->shape[0] != q->shape[0] || (counts->rank == 2 && counts->shape[1] != q->shape[2])))
        return mismatch("counts", counts, "queries", q);
    return true;
}

xp_attention_attributes xp_attention_plain(float scale) {
    return (xp_attention_attributes){.scale = scale, .left = -1, .right = -1};
}

xp_tensor *xp_attention(xp_graph *graph, const xp_attention_inputs *given, const xp_attention_attributes *wanted,
                        float dropout, xp_tensor **lse_or_null) {
    xp_tensor *q = given->q, *k = given->k, *v = given->v, *counts = given->key_lengths;
    if (!q || !k || !v || !fits(q, k, v, counts)) return NULL;
    xp_attention_attributes attributes = *wanted;
    if (xp_building_dropout(graph, q->name, dropout, &attributes.dropout) != XP_OK) return NULL;
    xp_tensor *random_state = NULL;
    if (attributes.dropout.threshold && !(random_state = xp_graph_random_state(graph))) return NULL;
    xp_tensor *o =
        xp_graph_tensor(graph, "o", XP_F32, 4, (int64_t[]){q->shape[0], q->shape[1], q->shape[2], v->shape[3]});
    xp_tensor *lse = xp_graph_tensor(graph, "lse", XP_F32, 3, (int64_t[]){q->shape[0], q->shape[2], q->shape[1]});
    if (!o || !lse) return NULL;
    xp_tensor *inputs[] = {q, k, v, counts, random_state}, *outputs[] = {o, lse};
    if (!xp_graph_node(graph, &xp_operation_attention, 5, inputs, 2, outputs, &attributes, sizeof attributes))
        return NULL;
    if (lse_or_null) *lse_or_null = lse;
    return o;
}

static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    xp_tensor *d_o = d_outputs[0], *outputs[3] = {0};
    if (!d_o) return XP_OK;
    if (!is_sequence(d_o, "the gradient")) return XP_INVALID_ARGUMENT;
    static const char *const names[] = {"dq", "dk", "dv"};
    for (int i = 0; i < 3; i++) {
        const xp_tensor *input = node->inputs[i];
        if (!input->needs_gradient) continue;
        outputs[i] = d_inputs[i] = xp_graph_tensor(graph, names[i], XP_F32, 4, input->shape);
        if (!outputs[i]) return XP_OUT_OF_MEMORY;
    }
    xp_tensor *inputs[] = {node->inputs[0], node->inputs[1], node->inputs[2], node->outputs[0], node->outputs[1], d_o,
                           node->inputs[3], node->inputs[4]};
    bool added = xp_graph_node(graph, &xp_operation_attention_backward, 8, inputs, 3, outputs, node->attributes,
                               sizeof(xp_attention_attributes)) != NULL;
    return added ? XP_OK : XP_OUT_OF_MEMORY;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

typedef struct sizes {
    int64_t samples, queries, keys, heads, width, value_width, wider;
} sizes;

static sizes sizes_of(const xp_node *node) {
    const xp_tensor *q = node->inputs[0], *v = node->inputs[2];
    const int64_t width = q->shape[3], value_width = v->shape[3];
    return (sizes){q->shape[0],
                   q->shape[1],
                   v->shape[1],
                   q->shape[2],
                   width,
                   value_width,
                   width > value_width ? width : value_width};
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void set_variant(xp_variant *variant, const sizes *s, const xp_tensor *counts,
                        const xp_attention_attributes *attributes, bool backward) {
    xp_variant_set(variant, "BACKWARD", backward);
    xp_variant_set(variant, "D", s->width);
    xp_variant_set(variant, "E", s->value_width);
    xp_variant_set(variant, "COUNTS", counts ? counts->rank : 0);
    xp_variant_set(variant, "DROPOUT", attributes->dropout.threshold != 0);
}

static void set_grid(xp_launch_request *request, int64_t groups, size_t local, const sizes *s) {
    request->dimensions = 3;
    request->global[0] = (size_t)groups * local;
    request->global[1] = (size_t)s->heads;
    request->global[2] = (size_t)s->samples;
    request->local[0] = local;
    request->local[1] = request->local[2] = 1;
}

/* Offset in its storage and strides of sample, row and head; zeros for a tensor that is absent. */
static void pass_layout(xp_launch_request *request, const xp_tensor *tensor) {
    xp_launch_int(request, tensor ? tensor->offset : 0);
    for (int i = 0; i < 3; i++) xp_launch_int(request, tensor ? tensor->stride[i] : 0);
}

static void pass_dropout(xp_launch_request *request, const xp_dropout_attributes *dropout) {
    xp_launch_uint(request, dropout->stream);
    xp_launch_uint(request, dropout->threshold);
    xp_launch_float(request, xp_building_keep_scale(dropout));
}

/* A gradient that nobody wants has no argument of its own: its variant of the kernel never touches the pointer. */
static void pass_output(xp_launch_request *request, xp_tensor *tensor) {
    if (tensor)
        xp_launch_write(request, tensor);
    else
        xp_launch_read(request, NULL);
}

/* Large blocks read keys and values less often, though not so large that wide heads leave the cache; where there would
 * be few, the smallest give 64 cores something to do. No sum of the forward pass depends on it. */
static int64_t large_panels(const sizes *s) {
    return s->wider <= 128 ? 4 : 2;
}

static int64_t wide_panels(const sizes *s) {
    enum { WANTED_GROUPS = 64 };
    const int64_t panels = large_panels(s);
    return s->samples * s->heads * xp_building_blocks(s->queries, PANEL * panels) < WANTED_GROUPS ? 1 : panels;
}

/* A work-item holds four rows; wider heads take fewer rows per block and more columns, so that its registers hold. */
static int64_t tiled_rows(const sizes *s, int64_t narrow_rows) {
    return s->wider <= 64 ? narrow_rows : s->wider <= 128 ? narrow_rows / 2 : 8;
}

static xp_status emit_forward(xp_plan *plan, const xp_node *node) {
    const xp_attention_attributes *attributes = XP_ATTRIBUTES(xp_attention_attributes, node);
    const sizes s = sizes_of(node);
    xp_tensor *q = node->inputs[0], *k = node->inputs[1], *v = node->inputs[2], *o = node->outputs[0];
    const double pairs = (double)(s.samples * s.heads) * (double)s.queries * (double)s.keys;
    const double rows = (double)(s.samples * s.heads) * (double)(s.queries + s.keys);
    xp_launch_request request = {.kernel = "attention_forward",
                                 .flops = 2 * pairs * (double)(s.width + s.value_width),
                                 .bytes = 4 * rows * (double)(s.width + s.value_width)};
    set_variant(&request.variant, &s, node->inputs[3], attributes, false);
    if (xp_plan_family(plan) == XP_FAMILY_WIDE) {
        const int64_t panels = wide_panels(&s);
        request.file = "attention_wide";
        xp_variant_set(&request.variant, "PANELS", panels);
        set_grid(&request, xp_building_blocks(s.queries, PANEL * panels), 1, &s);
    } else {
        const int64_t block = tiled_rows(&s, 64);
        request.file = "attention_tiled";
        xp_variant_set(&request.variant, "BLOCK_ROWS", block);
        set_grid(&request, xp_building_blocks(s.queries, block), TILED_WORK_ITEMS, &s);
    }
    for (int i = 0; i < 5; i++) xp_launch_read(&request, node->inputs[i]);
    xp_launch_write(&request, o);
    xp_launch_write(&request, node->outputs[1]);
    xp_launch_int(&request, s.queries);
    xp_launch_int(&request, s.keys);
    xp_launch_float(&request, attributes->scale);
    pass_layout(&request, q);
    pass_layout(&request, k);
    pass_layout(&request, v);
    pass_layout(&request, o);
    pass_dropout(&request, &attributes->dropout);
    return xp_plan_launch(plan, node, &request);
}

/* The tensors of a backward node by name. */
typedef struct backward_tensors {
    xp_tensor *q, *k, *v, *o, *lse, *d_o, *counts, *random_state, *dq, *dk, *dv;
} backward_tensors;

static backward_tensors tensors_of(const xp_node *node) {
    xp_tensor *const *in = node->inputs, *const *out = node->outputs;
    return (backward_tensors){in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7], out[0], out[1], out[2]};
}

/* out = the sum of its parts in scratch. */
static xp_status emit_sum(xp_plan *plan, const xp_node *node, const xp_variant *variant, xp_tensor *scratch,
                          xp_tensor *out, int64_t parts) {
    if (!out) return XP_OK;
    xp_launch_request request = {.file = "attention_wide",
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
    pass_layout(&request, out);
    return xp_plan_launch(plan, node, &request);
}

/* One work-item per head and sample where there are many of them. Otherwise the queries are dealt to up to eight parts
 * with a copy of dk and dv each: less arithmetic than a second recomputation of p, and memory that stays a small
 * multiple of k and v. The number depends on the shape alone, so every device sums alike. */
static xp_status emit_backward_wide(xp_plan *plan, const xp_node *node) {
    enum { WANTED_GROUPS = 64, MOST_PARTS = 8 };
    const xp_attention_attributes *attributes = XP_ATTRIBUTES(xp_attention_attributes, node);
    const sizes s = sizes_of(node);
    const backward_tensors t = tensors_of(node);
    const int64_t panels = large_panels(&s), blocks = xp_building_blocks(s.queries, PANEL * panels);
    int64_t wanted = smaller(xp_building_blocks(WANTED_GROUPS, s.samples * s.heads), smaller(MOST_PARTS, blocks));
    const int64_t part_blocks = xp_building_blocks(blocks, wanted), parts = xp_building_blocks(blocks, part_blocks);
    xp_tensor *dk = t.dk, *dv = t.dv;
    if (parts > 1 && dk && !(dk = xp_plan_scratch(plan, node, parts * xp_tensor_elements(t.dk))))
        return XP_OUT_OF_MEMORY;
    if (parts > 1 && dv && !(dv = xp_plan_scratch(plan, node, parts * xp_tensor_elements(t.dv))))
        return XP_OUT_OF_MEMORY;

    const double pairs = (double)(s.samples * s.heads) * (double)s.queries * (double)s.keys;
    const double rows = (double)(s.samples * s.heads) * (double)(s.queries + s.keys);
    xp_launch_request request = {.file = "attention_wide",
                                 .kernel = "attention_backward",
                                 .flops = 2 * pairs * (double)(3 * s.width + 2 * s.value_width),
                                 .bytes = 8 * rows * (double)(s.width + s.value_width)};
    set_variant(&request.variant, &s, t.counts, attributes, true);
    xp_variant_set(&request.variant, "PANELS", panels);
    xp_variant_set(&request.variant, "WRITE_DQ", t.dq != NULL);
    xp_variant_set(&request.variant, "WRITE_DK", t.dk != NULL);
    xp_variant_set(&request.variant, "WRITE_DV", t.dv != NULL);
    set_grid(&request, parts, 1, &s);
    for (int i = 0; i < 8; i++) xp_launch_read(&request, node->inputs[i]);
    pass_output(&request, t.dq);
    pass_output(&request, dk);
    pass_output(&request, dv);
    xp_launch_int(&request, s.queries);
    xp_launch_int(&request, s.keys);
    xp_launch_float(&request, attributes->scale);
    xp_launch_int(&request, part_blocks);
    pass_layout(&request, t.q);
    pass_layout(&request, t.k);
    pass_layout(&request, t.v);
    pass_layout(&request, t.d_o);
    pass_layout(&request, t.dq);
    const xp_tensor *written[] = {t.dk, t.dv};
    for (int i = 0; i < 2; i++) {
        if (parts == 1 || !written[i]) {
            pass_layout(&request, written[i]);
        } else {
            const int64_t width = written[i]->shape[3];
            xp_launch_int(&request, 0);
            xp_launch_int(&request, s.keys * s.heads * width);
            xp_launch_int(&request, s.heads * width);
            xp_launch_int(&request, width);
        }
    }
    pass_dropout(&request, &attributes->dropout);
    XP_TRY(xp_plan_launch(plan, node, &request));
    if (parts == 1) return XP_OK;
    XP_TRY(emit_sum(plan, node, &request.variant, dk, t.dk, parts));
    return emit_sum(plan, node, &request.variant, dv, t.dv, parts);
}

static xp_status emit_delta(xp_plan *plan, const xp_node *node, const xp_variant *variant, xp_tensor *delta) {
    const sizes s = sizes_of(node);
    const backward_tensors t = tensors_of(node);
    const int64_t rows = s.samples * s.heads * s.queries;
    xp_launch_request request = {.file = "attention_tiled",
                                 .kernel = "attention_backward_delta",
                                 .variant = *variant,
                                 .dimensions = 1,
                                 .global = {(size_t)xp_building_blocks(rows, DELTA_WORK_ITEMS) * DELTA_WORK_ITEMS},
                                 .local = {DELTA_WORK_ITEMS},
                                 .flops = 2.0 * (double)(rows * s.value_width),
                                 .bytes = 8.0 * (double)(rows * s.value_width)};
    xp_launch_read(&request, t.o);
    xp_launch_read(&request, t.d_o);
    xp_launch_write(&request, delta);
    xp_launch_int(&request, rows);
    xp_launch_int(&request, s.queries);
    xp_launch_int(&request, s.heads);
    pass_layout(&request, t.d_o);
    return xp_plan_launch(plan, node, &request);
}

/* One of the two passes: what they share, up to their outputs. */
static void start_pass(xp_launch_request *request, const xp_node *node, const xp_variant *variant, xp_tensor *delta) {
    const backward_tensors t = tensors_of(node);
    request->file = "attention_tiled";
    request->variant = *variant;
    xp_tensor *const read[] = {t.q, t.k, t.v, t.lse, delta, t.d_o, t.counts, t.random_state};
    for (size_t i = 0; i < sizeof read / sizeof read[0]; i++) xp_launch_read(request, read[i]);
}

static void pass_sizes(xp_launch_request *request, const xp_node *node) {
    const sizes s = sizes_of(node);
    const backward_tensors t = tensors_of(node);
    xp_launch_int(request, s.queries);
    xp_launch_int(request, s.keys);
    xp_launch_float(request, XP_ATTRIBUTES(xp_attention_attributes, node)->scale);
    pass_layout(request, t.q);
    pass_layout(request, t.k);
    pass_layout(request, t.v);
    pass_layout(request, t.d_o);
}

static xp_status emit_backward_tiled(xp_plan *plan, const xp_node *node) {
    const xp_attention_attributes *attributes = XP_ATTRIBUTES(xp_attention_attributes, node);
    const sizes s = sizes_of(node);
    const backward_tensors t = tensors_of(node);
    const int64_t block = tiled_rows(&s, 32);
    const double pairs = (double)(s.samples * s.heads) * (double)s.queries * (double)s.keys;
    const double bytes =
        6.0 * (double)(s.samples * s.heads) * (double)((s.queries + s.keys) * (s.width + s.value_width));
    xp_variant variant = {0};
    set_variant(&variant, &s, t.counts, attributes, true);
    xp_variant_set(&variant, "BLOCK_ROWS", block);
    xp_variant_set(&variant, "WRITE_DK", t.dk != NULL);
    xp_variant_set(&variant, "WRITE_DV", t.dv != NULL);
    xp_tensor *delta = xp_plan_scratch(plan, node, s.samples * s.heads * s.queries);
    if (!delta) return XP_OUT_OF_MEMORY;
    XP_TRY(emit_delta(plan, node, &variant, delta));

    if (t.dq) {
        xp_launch_request request = {.kernel = "attention_backward_queries",
                                     .flops = 2 * pairs * (double)(2 * s.width + s.value_width),
                                     .bytes = bytes};
        start_pass(&request, node, &variant, delta);
        set_grid(&request, xp_building_blocks(s.queries, block), TILED_WORK_ITEMS, &s);
        xp_launch_write(&request, t.dq);
        pass_sizes(&request, node);
        pass_layout(&request, t.dq);
        pass_dropout(&request, &attributes->dropout);
        XP_TRY(xp_plan_launch(plan, node, &request));
    }
    if (t.dk || t.dv) {
        xp_launch_request request = {
            .kernel = "attention_backward_keys",
            .flops = 2 * pairs * (double)((t.dk ? 2 : 1) * s.width + ((t.dk != NULL) + (t.dv != NULL)) * s.value_width),
            .bytes = bytes};
        start_pass(&request, node, &variant, delta);
        set_grid(&request, xp_building_blocks(s.keys, block), TILED_WORK_ITEMS, &s);
        pass_output(&request, t.dk);
        pass_output(&request, t.dv);
        pass_sizes(&request, node);
        pass_layout(&request, t.dk);
        pass_layout(&request, t.dv);
        pass_dropout(&request, &attributes->dropout);
        XP_TRY(xp_plan_launch(plan, node, &request));
    }
    return XP_OK;
}

static xp_status emit_backward(xp_plan *plan, const xp_node *node) {
    return xp_plan_family(plan) == XP_FAMILY_WIDE ? emit_backward_wide(plan, node) : emit_backward_tiled(plan, node);
}

const xp_operation xp_operation_attention = {"attention", gradient, emit_forward, 0};
const xp_operation xp_operation_attention_backward = {"attention_backward", NULL, emit_backward, 7};
