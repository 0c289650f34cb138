/* Linear attention, its gradient, and the feature maps as operations of their own: shapes, gradient rules, launches.
 * Owns the choice of blocks and chunks; must not know what makes queries, keys and lengths. */
#include "graph/launch.h"
#include "ops/building.h"
#include "ops/views.h"

#include <stdio.h>

extern const xp_operation xp_operation_feature_map, xp_operation_feature_map_backward;
extern const xp_operation xp_operation_linear_attention, xp_operation_linear_attention_backward;

/* As in cl/linear_attention_wide.cl and cl/linear_attention_tiled.cl. */
enum { BLOCK = 64, WIDE_BLOCK = 32, STRIP = 64, STATE_ITEMS = 64, STATE_TILE = 32, SUM_ITEMS = 64, WORK_ITEMS = 128 };
enum { WIDEST_HEAD = 256 };

static bool is_sequence(const char *operation, const xp_tensor *tensor, const char *role) {
    if (tensor->rank == 4 && tensor->type == XP_F32 && xp_view_has_unit_columns(tensor)) return true;
    char text[96];
    xp_fail(XP_INVALID_ARGUMENT, "%s: %s %s %s must be [samples,length,heads,width] of floats with unit stride",
            operation, role, tensor->name, xp_tensor_shape_text(tensor, text, sizeof text));
    return false;
}

static bool is_feature(const char *operation, int feature) {
    if (feature >= XP_FEATURE_IDENTITY && feature <= XP_FEATURE_SQUARE) return true;
    xp_fail(XP_INVALID_ARGUMENT, "%s: feature map %d is not between %d (identity) and %d (square)", operation, feature,
            XP_FEATURE_IDENTITY, XP_FEATURE_SQUARE);
    return false;
}

/* ---- feature_map ------------------------------------------------------------------------------------------------- */

xp_tensor *xp_feature_map(xp_graph *graph, xp_tensor *x, xp_feature feature) {
    if (!x || !is_sequence("feature_map", x, "the input") || !is_feature("feature_map", (int)feature)) return NULL;
    xp_tensor *y = xp_graph_tensor(graph, "features", XP_F32, 4, x->shape);
    const xp_feature_map_attributes attributes = {.feature = (int)feature};
    if (!y || !xp_graph_node(graph, &xp_operation_feature_map, 1, &x, 1, &y, &attributes, sizeof attributes))
        return NULL;
    return y;
}

static xp_status feature_map_gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs,
                                      xp_tensor **d_inputs) {
    xp_tensor *x = node->inputs[0];
    xp_tensor *inputs[] = {xp_graph_dense(graph, d_outputs[0]), x};
    xp_tensor *dx = xp_graph_tensor(graph, "d_features", XP_F32, 4, x->shape);
    if (!inputs[0] || !dx ||
        !xp_graph_node(graph, &xp_operation_feature_map_backward, 2, inputs, 1, &dx, node->attributes,
                       sizeof(xp_feature_map_attributes)))
        return XP_OUT_OF_MEMORY;
    d_inputs[0] = dx;
    return XP_OK;
}

static bool heads_are_neighbours(const xp_tensor *x) {
    return x->shape[2] == 1 || (x->stride[2] == x->shape[3] && x->stride[3] == 1);
}

/* Sizes and arguments that end both kernels; heads that follow one another in memory count as one. */
static xp_status launch_feature_map(xp_plan *plan, const xp_node *node, xp_launch_request *request, bool one_head) {
    enum { COLUMNS = 64 };
    const int64_t *shape = node->outputs[0]->shape;
    const int64_t heads = one_head ? 1 : shape[2], columns = one_head ? shape[2] * shape[3] : shape[3];
    xp_variant_set(&request->variant, "FEATURE", XP_ATTRIBUTES(xp_feature_map_attributes, node)->feature);
    request->file = "feature_map";
    request->dimensions = 3;
    request->global[0] = (size_t)xp_launch_blocks(columns, COLUMNS) * COLUMNS;
    request->global[1] = (size_t)(shape[1] * heads);
    request->global[2] = (size_t)shape[0];
    request->local[0] = COLUMNS;
    request->local[1] = request->local[2] = 1;
    xp_launch_int(request, heads);
    xp_launch_int(request, columns);
    return xp_plan_launch(plan, node, request);
}

static xp_status feature_map_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const double elements = (double)xp_tensor_elements(node->outputs[0]);
    xp_launch_request request = {.kernel = "feature_map", .flops = 10 * elements, .bytes = 8 * elements};
    xp_view_pass(&request, node->inputs[0], false);
    xp_launch_write(&request, node->outputs[0]);
    return launch_feature_map(plan, node, &request, heads_are_neighbours(node->inputs[0]));
}

static xp_status feature_map_backward_emit(xp_plan *plan, const xp_node *node, xp_family family) {
    const double elements = (double)xp_tensor_elements(node->outputs[0]);
    xp_tensor *x = node->inputs[1], *dx = node->outputs[0];
    xp_launch_request request = {.kernel = "feature_map_backward", .flops = 10 * elements, .bytes = 12 * elements};
    xp_launch_read(&request, node->inputs[0]);
    xp_view_pass(&request, x, false);
    xp_view_pass(&request, dx, true);
    return launch_feature_map(plan, node, &request, heads_are_neighbours(x) && heads_are_neighbours(dx));
}

const xp_operation xp_operation_feature_map = {.name = "feature_map",
                                               .gradient = feature_map_gradient,
                                               .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, feature_map_emit})};
const xp_operation xp_operation_feature_map_backward = {
    .name = "feature_map_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_ANY, NULL, feature_map_backward_emit}),
    .strided_outputs = 1};

/* ---- linear_attention: building ---------------------------------------------------------------------------------- */

static const char *const name = "linear_attention";

static bool mismatch(const char *role, const xp_tensor *tensor, const char *other_role, const xp_tensor *other) {
    char text[96], other_text[96];
    xp_fail(XP_INVALID_ARGUMENT, "%s: %s %s %s and %s %s %s are incompatible", name, role, tensor->name,
            xp_tensor_shape_text(tensor, text, sizeof text), other_role, other->name,
            xp_tensor_shape_text(other, other_text, sizeof other_text));
    return false;
}

/* Lengths for each sample, or with `heads` for each sample and head. */
static bool are_lengths(const xp_tensor *lengths, int64_t samples, int64_t heads) {
    return lengths->type == XP_I32 && xp_view_is_plain(lengths) && lengths->shape[0] == samples &&
           (lengths->rank == 1 || (lengths->rank == 2 && heads && lengths->shape[1] == heads));
}

static bool fits(const xp_tensor *q, const xp_tensor *k, const xp_tensor *v, const xp_tensor *key_lengths,
                 const xp_tensor *query_lengths, const xp_linear_attention_attributes *attributes) {
    if (!is_sequence(name, q, "queries") || !is_sequence(name, k, "keys") || !is_sequence(name, v, "values"))
        return false;
    if (k->shape[0] != q->shape[0] || k->shape[3] != q->shape[3]) return mismatch("keys", k, "queries", q);
    if (v->shape[0] != k->shape[0] || v->shape[1] != k->shape[1] || v->shape[2] != k->shape[2])
        return mismatch("values", v, "keys", k);
    if (q->shape[2] % k->shape[2] != 0) {
        xp_fail(XP_INVALID_ARGUMENT, "%s: %lld heads of keys do not divide %lld heads of queries", name,
                (long long)k->shape[2], (long long)q->shape[2]);
        return false;
    }
    if (q->shape[3] > WIDEST_HEAD || v->shape[3] > WIDEST_HEAD) {
        xp_fail(XP_UNSUPPORTED,
                "%s: heads of %lld and %lld columns are too wide: use more heads (at most %d columns each)", name,
                (long long)q->shape[3], (long long)v->shape[3], WIDEST_HEAD);
        return false;
    }
    if (key_lengths && !are_lengths(key_lengths, q->shape[0], q->shape[2]))
        return mismatch("key lengths", key_lengths, "queries", q);
    if (query_lengths && !are_lengths(query_lengths, q->shape[0], 0))
        return mismatch("query lengths", query_lengths, "queries", q);
    if (!is_feature(name, attributes->features)) return false;
    if (attributes->normaliser < XP_NORMALISER_SUM || attributes->normaliser > XP_NORMALISER_NONE) {
        xp_fail(XP_INVALID_ARGUMENT, "%s: normaliser %d is not %d (sum), %d (count) or %d (none)", name,
                attributes->normaliser, XP_NORMALISER_SUM, XP_NORMALISER_COUNT, XP_NORMALISER_NONE);
        return false;
    }
    return true;
}

xp_tensor *xp_linear_attention(xp_graph *graph, xp_tensor *q, xp_tensor *k, xp_tensor *v, xp_tensor *key_lengths,
                               xp_tensor *query_lengths, const xp_linear_attention_attributes *attributes) {
    if (!q || !k || !v || !fits(q, k, v, key_lengths, query_lengths, attributes)) return NULL;
    const int64_t o_shape[] = {q->shape[0], q->shape[1], q->shape[2], v->shape[3]};
    const int64_t z_shape[] = {q->shape[0], q->shape[2], q->shape[1]};
    xp_tensor *o = xp_graph_tensor(graph, "o", XP_F32, 4, o_shape),
              *z = xp_graph_tensor(graph, "z", XP_F32, 3, z_shape);
    if (!o || !z) return NULL;
    xp_tensor *inputs[] = {q, k, v, key_lengths, query_lengths}, *outputs[] = {o, z};
    if (!xp_graph_node(graph, &xp_operation_linear_attention, 5, inputs, 2, outputs, attributes, sizeof *attributes))
        return NULL;
    return o;
}

static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    xp_tensor *d_o = d_outputs[0], *outputs[3] = {0};
    if (!d_o) return XP_OK;
    if (!xp_view_has_unit_columns(d_o)) d_o = xp_copy(graph, d_o, NULL);
    if (!d_o) return XP_OUT_OF_MEMORY;
    static const char *const names[] = {"dq", "dk", "dv"};
    for (int i = 0; i < 3; i++) {
        const xp_tensor *input = node->inputs[i];
        if (!input->needs_gradient) continue;
        outputs[i] = d_inputs[i] = xp_graph_tensor(graph, names[i], XP_F32, 4, input->shape);
        if (!outputs[i]) return XP_OUT_OF_MEMORY;
    }
    xp_tensor *inputs[] = {node->inputs[0], node->inputs[1], node->inputs[2], node->outputs[0], node->outputs[1], d_o,
                           node->inputs[3], node->inputs[4]};
    bool added = xp_graph_node(graph, &xp_operation_linear_attention_backward, 8, inputs, 3, outputs, node->attributes,
                               sizeof(xp_linear_attention_attributes)) != NULL;
    return added ? XP_OK : XP_OUT_OF_MEMORY;
}

/* ---- linear_attention: launches ---------------------------------------------------------------------------------- */

/* A node of either pass: its tensors by name (NULL where it has none) and what follows from their shapes. */
typedef struct pass {
    xp_plan *plan;
    const xp_node *node;
    const xp_linear_attention_attributes *attributes;
    xp_tensor *q, *k, *v, *o, *z, *d_o, *key_lengths, *query_lengths, *dq, *dk, *dv;
    int64_t samples, queries, keys, heads, key_heads, width, value_width;
    bool wide, backward;
    int64_t lanes; /* of the wide kernels' vectors … */
    int tuning;    /* … and the handle of their choice */
    int64_t group; /* query heads per key head */
    int64_t chunk, block /* rows of outputs in a work-group */, state /* elements of one */;
    int64_t near /* rows of the other sequence that a causal row is multiplied with one by one, on average */;
    int64_t key_slots, query_slots;
    int64_t share; /* query heads per head of key states: separate lengths require separate states */
} pass;

/* Chunks at least as long as the narrower side of a state, so that all states together are at most as large as the
 * wider one of keys and values. A core of a CPU is faster with one state that stays in its cache: there chunks are
 * twice as long, and again, while as many are left as 64 cores want. Powers of two keep the variants few. */
static int64_t chunk_of(const pass *p) {
    enum { WANTED_GROUPS = 64, LONGEST = 1024 };
    const int64_t length = p->queries > p->keys ? p->queries : p->keys, states = p->samples * p->key_heads;
    int64_t chunk = BLOCK * xp_launch_blocks(p->width < p->value_width ? p->width : p->value_width, BLOCK);
    if (p->wide)
        while (chunk < length && chunk < LONGEST && states * xp_launch_blocks(length, 2 * chunk) >= WANTED_GROUPS)
            chunk *= 2;
    return chunk;
}

/* One for each chunk, and for the tiled kernels one more for what lies in front of, or behind, all of them: a single
 * chunk's own sum is all that is wanted without order. */
static int64_t slots_of(const pass *p, int64_t length) {
    const int64_t chunks = xp_launch_blocks(length, p->chunk);
    return p->wide || (chunks == 1 && !p->attributes->causal) ? chunks : chunks + 1;
}

/* Elements of a state of the wide kernels, as their file lays it out. */
static int64_t pitch_of(int64_t columns) {
    const int64_t lines = xp_launch_blocks(columns, 16) * 16;
    return lines % 128 ? lines : lines + 16;
}

static int64_t wide_state(const pass *p, bool sum) {
    const int64_t key_pitch = pitch_of(p->width);
    if (!p->backward) return xp_launch_blocks(p->width, 8) * 8 * pitch_of(p->value_width) + sum * key_pitch;
    const bool lone_sum = sum && p->value_width % 8 == 0;
    return (lone_sum ? p->value_width + 1 : xp_launch_blocks(p->value_width + sum, 8) * 8) * key_pitch;
}

/* A work-item holds four rows; wider heads take fewer rows per block and more columns, so that its registers hold. */
static int64_t tiled_rows(int64_t width, int64_t value_width, int64_t narrow_rows) {
    const int64_t wider = width > value_width ? width : value_width;
    return wider <= 64 ? narrow_rows : wider <= 128 ? narrow_rows / 2 : 8;
}

static pass pass_of(xp_plan *plan, const xp_node *node, xp_family family, bool backward) {
    xp_tensor *const *in = node->inputs, *const *out = node->outputs;
    pass p = {.plan = plan,
              .node = node,
              .attributes = XP_ATTRIBUTES(xp_linear_attention_attributes, node),
              .q = in[0],
              .k = in[1],
              .v = in[2],
              .o = backward ? in[3] : out[0],
              .z = backward ? in[4] : out[1],
              .d_o = backward ? in[5] : NULL,
              .key_lengths = in[backward ? 6 : 3],
              .query_lengths = in[backward ? 7 : 4],
              .dq = backward ? out[0] : NULL,
              .dk = backward ? out[1] : NULL,
              .dv = backward ? out[2] : NULL,
              .wide = family == XP_FAMILY_WIDE,
              .backward = backward};
    p.samples = p.q->shape[0];
    p.queries = p.q->shape[1];
    p.heads = p.q->shape[2];
    p.width = p.q->shape[3];
    p.keys = p.v->shape[1];
    p.key_heads = p.v->shape[2];
    p.value_width = p.v->shape[3];
    p.group = p.heads / p.key_heads;
    p.share = p.key_lengths && p.key_lengths->rank == 2 ? 1 : p.group;
    p.chunk = chunk_of(&p);
    p.block = p.wide ? p.chunk : tiled_rows(p.width, p.value_width, backward ? 32 : 64);
    p.near = (p.wide ? WIDE_BLOCK : p.chunk) / 2;
    p.key_slots = slots_of(&p, p.keys);
    p.query_slots = slots_of(&p, p.queries);
    const bool sum = p.attributes->normaliser == XP_NORMALISER_SUM;
    p.state = p.wide ? wide_state(&p, sum) : (p.value_width + sum) * xp_launch_blocks(p.width, 8) * 8;
    return p;
}

static xp_status choose_lanes(pass *p) {
    if (!p->wide) return XP_OK;
    xp_tuning tuning = {.kernel = p->backward ? "linear_attention_wide backward" : "linear_attention_wide forward",
                        .file = "linear_attention_wide",
                        .count = 1,
                        .parameters = {{"LANES", xp_plan_device(p->plan)->limits.lanes, {8, 16}}}};
    snprintf(tuning.shape, sizeof tuning.shape, "%lldx%lld/%lld heads %lldx%lld width %lld/%lld%s",
             (long long)p->samples, (long long)p->heads, (long long)p->key_heads, (long long)p->queries,
             (long long)p->keys, (long long)p->width, (long long)p->value_width,
             p->attributes->causal ? " causal" : "");
    XP_TRY(xp_plan_tune(p->plan, p->node, &tuning));
    p->lanes = tuning.parameters[0].value;
    p->tuning = tuning.handle;
    return XP_OK;
}

/* Where it is causal, the only chunk's wide walk begins with nothing. */
static bool needs_states(const pass *p, int64_t slots) {
    return !p->wide || !p->attributes->causal || slots > 1;
}

static bool wants_query_states(const pass *p) {
    return (p->dk || p->dv) && needs_states(p, p->query_slots);
}

static xp_launch_request start(const pass *p, const char *kernel, int64_t groups, int64_t heads, int64_t local) {
    xp_launch_request request = {.file = p->wide ? "linear_attention_wide" : "linear_attention_tiled",
                                 .kernel = kernel,
                                 .dimensions = 3,
                                 .global = {(size_t)(groups * local), (size_t)heads, (size_t)p->samples},
                                 .local = {(size_t)local, 1, 1}};
    request.variant.tuning = p->tuning;
    xp_variant_set(&request.variant, "BACKWARD", p->backward);
    xp_variant_set(&request.variant, "D", p->width);
    xp_variant_set(&request.variant, "E", p->value_width);
    xp_variant_set(&request.variant, "CHUNK", p->chunk);
    xp_variant_set(&request.variant, "FEATURE", p->attributes->features);
    xp_variant_set(&request.variant, "NORMALISER", p->attributes->normaliser);
    xp_variant_set(&request.variant, "CAUSAL", p->attributes->causal != 0);
    xp_variant_set(&request.variant, "ALIGN_LAST", p->attributes->causal && p->attributes->align_last);
    xp_variant_set(&request.variant, "KEY_LENGTHS", p->key_lengths ? p->key_lengths->rank : 0);
    xp_variant_set(&request.variant, "QUERY_LENGTHS", p->query_lengths != NULL);
    if (p->wide)
        xp_variant_set(&request.variant, "LANES", p->lanes);
    else
        xp_variant_set(&request.variant, "BLOCK_ROWS", p->block);
    if (p->wide && p->backward) {
        xp_variant_set(&request.variant, "WRITE_DQ", p->dq != NULL);
        xp_variant_set(&request.variant, "WRITE_DK", p->dk != NULL);
        xp_variant_set(&request.variant, "WRITE_DV", p->dv != NULL);
        xp_variant_set(&request.variant, "QUERY_STATES", wants_query_states(p));
    }
    return request;
}

/* Whether a kernel adds the rows that it has passed to a state. */
static bool walks(const pass *p) {
    return p->wide && p->attributes->causal;
}

/* Arithmetic and bytes of a pass over `rows` rows of all heads that multiplies each with `states` states, or adds it to
 * one, and is causal with the rows near it of the other sequence for `outputs` matrices. */
static void measure(xp_launch_request *request, const pass *p, int64_t rows, int64_t heads, double states,
                    double outputs) {
    const double all = (double)(p->samples * heads * rows), widths = (double)(p->width + p->value_width);
    const double state = 2.0 * (double)p->width * (double)p->value_width;
    const double near = p->attributes->causal ? 2.0 * (double)p->near * widths : 0;
    request->flops = all * (states * state + outputs * near);
    request->bytes = 4 * all * (outputs ? 2 : 1) * widths;
}

static int64_t state_tiles(const pass *p) {
    return xp_launch_blocks(p->value_width, STATE_TILE) * xp_launch_blocks(p->width, STATE_TILE);
}

/* Slots become sums: those of key states up to a chunk, or those of query states from it on. */
static xp_status emit_sums(const pass *p, bool behind, xp_tensor *states, int64_t heads, int64_t slots) {
    if (slots == 1) return XP_OK;
    const int64_t local = p->wide ? 1 : SUM_ITEMS;
    const char *kernel = p->wide  ? "linear_attention_sums"
                         : behind ? "linear_attention_suffix"
                                  : "linear_attention_prefix";
    xp_launch_request request = start(p, kernel, xp_launch_blocks(p->state, p->wide ? STRIP : local), heads, local);
    request.flops = (double)xp_tensor_elements(states);
    request.bytes = 8.0 * (double)xp_tensor_elements(states);
    xp_launch_write(&request, states);
    xp_launch_int(&request, slots);
    if (p->wide) xp_launch_int(&request, behind);
    return xp_plan_launch(p->plan, p->node, &request);
}

static xp_status emit_key_states(const pass *p, xp_tensor **states) {
    const int64_t heads = p->heads / p->share, tiles = p->wide ? 1 : state_tiles(p);
    *states = NULL;
    if (!needs_states(p, p->key_slots)) return XP_OK;
    if (!(*states = xp_plan_scratch(p->plan, p->node, p->samples * heads * p->key_slots * p->state)))
        return XP_OUT_OF_MEMORY;
    xp_launch_request request = start(p, "linear_attention_key_state", xp_launch_blocks(p->keys, p->chunk) * tiles,
                                      heads, p->wide ? 1 : STATE_ITEMS);
    measure(&request, p, p->keys, heads, 1, 0);
    xp_view_pass(&request, p->k, false);
    xp_view_pass(&request, p->v, false);
    xp_launch_read(&request, p->key_lengths);
    xp_launch_write(&request, *states);
    xp_launch_int(&request, p->keys);
    xp_launch_int(&request, p->group / p->share);
    if (!p->wide) {
        xp_launch_int(&request, p->key_slots);
        xp_launch_int(&request, tiles);
    }
    XP_TRY(xp_plan_launch(p->plan, p->node, &request));
    return emit_sums(p, false, *states, heads, p->key_slots);
}

static xp_tensor *query_states_of(const pass *p) {
    return xp_plan_scratch(p->plan, p->node, p->samples * p->heads * p->query_slots * p->state);
}

/* terms: of emit_terms. */
static xp_status emit_query_states(const pass *p, xp_tensor *terms, xp_tensor **states) {
    const int64_t tiles = state_tiles(p);
    if (!(*states = query_states_of(p))) return XP_OUT_OF_MEMORY;
    xp_launch_request request =
        start(p, "linear_attention_query_state", xp_launch_blocks(p->queries, p->chunk) * tiles, p->heads, STATE_ITEMS);
    measure(&request, p, p->queries, p->heads, 1, 0);
    xp_view_pass(&request, p->q, false);
    xp_view_pass(&request, p->d_o, false);
    xp_launch_read(&request, terms);
    xp_launch_read(&request, p->query_lengths);
    xp_launch_write(&request, *states);
    xp_launch_int(&request, p->queries);
    xp_launch_int(&request, p->query_slots);
    xp_launch_int(&request, tiles);
    XP_TRY(xp_plan_launch(p->plan, p->node, &request));
    return emit_sums(p, true, *states, p->heads, p->query_slots);
}

static xp_status emit_terms(const pass *p, xp_tensor **terms) {
    const int64_t rows = p->samples * p->heads * p->queries;
    if (!(*terms = xp_plan_scratch(p->plan, p->node, 2 * rows))) return XP_OUT_OF_MEMORY;
    xp_launch_request request = start(p, "linear_attention_terms", xp_launch_blocks(rows, SUM_ITEMS), 1, SUM_ITEMS);
    request.dimensions = 1;
    request.flops = 2.0 * (double)(rows * p->value_width);
    request.bytes = 8.0 * (double)(rows * p->value_width);
    xp_view_pass(&request, p->d_o, false);
    xp_launch_read(&request, p->o);
    xp_launch_read(&request, p->z);
    xp_launch_read(&request, p->query_lengths);
    xp_launch_write(&request, *terms);
    xp_launch_int(&request, p->queries);
    xp_launch_int(&request, p->heads);
    xp_launch_int(&request, rows);
    return xp_plan_launch(p->plan, p->node, &request);
}

static void pass_lengths(xp_launch_request *request, const pass *p) {
    xp_launch_read(request, p->key_lengths);
    xp_launch_read(request, p->query_lengths);
}

static xp_status emit_forward(xp_plan *plan, const xp_node *node, xp_family family) {
    pass p = pass_of(plan, node, family, false);
    XP_TRY(choose_lanes(&p));
    xp_tensor *states;
    XP_TRY(emit_key_states(&p, &states));
    xp_launch_request request =
        start(&p, "linear_attention_forward", xp_launch_blocks(p.queries, p.block), p.heads, p.wide ? 1 : WORK_ITEMS);
    measure(&request, &p, p.queries, p.heads, 1 + walks(&p), 1);
    xp_view_pass(&request, p.q, false);
    xp_view_pass(&request, p.k, false);
    xp_view_pass(&request, p.v, false);
    xp_launch_read(&request, states);
    pass_lengths(&request, &p);
    xp_launch_write(&request, p.o);
    xp_launch_write(&request, p.z);
    xp_launch_int(&request, p.queries);
    xp_launch_int(&request, p.keys);
    xp_launch_int(&request, p.group);
    xp_launch_int(&request, p.share);
    xp_launch_int(&request, p.key_slots);
    xp_launch_float(&request, p.attributes->scale);
    return xp_plan_launch(plan, node, &request);
}

/* What both kernels of the backward pass read. */
static void pass_backward(xp_launch_request *request, const pass *p, xp_tensor *terms, xp_tensor *states) {
    xp_view_pass(request, p->q, false);
    xp_view_pass(request, p->k, false);
    xp_view_pass(request, p->v, false);
    xp_view_pass(request, p->d_o, false);
    if (p->wide) {
        xp_launch_read(request, p->o);
        xp_launch_read(request, p->z);
    } else {
        xp_launch_read(request, terms);
    }
    xp_launch_read(request, states);
    pass_lengths(request, p);
}

/* The gradient of queries, and with the wide kernels the states of queries where they are wanted. */
static xp_status emit_backward_queries(const pass *p, xp_tensor *terms, xp_tensor *key_states,
                                       xp_tensor *query_states) {
    xp_launch_request request = start(p, "linear_attention_backward_queries", xp_launch_blocks(p->queries, p->block),
                                      p->heads, p->wide ? 1 : WORK_ITEMS);
    measure(&request, p, p->queries, p->heads, (p->dq ? 1 + walks(p) : 0) + (query_states != NULL), p->dq != NULL);
    pass_backward(&request, p, terms, key_states);
    xp_view_pass(&request, p->dq, true);
    if (p->wide) xp_launch_write(&request, query_states);
    xp_launch_int(&request, p->queries);
    xp_launch_int(&request, p->keys);
    xp_launch_int(&request, p->group);
    xp_launch_int(&request, p->share);
    xp_launch_int(&request, p->key_slots);
    xp_launch_float(&request, p->attributes->scale);
    return xp_plan_launch(p->plan, p->node, &request);
}

/* The gradients of keys and values: in one kernel (wide; a NULL stays unwritten), or one of them in its own (tiled). */
static xp_status emit_backward_keys(const pass *p, const char *kernel, xp_tensor *terms, xp_tensor *states,
                                    xp_tensor *dk, xp_tensor *dv) {
    xp_launch_request request =
        start(p, kernel, xp_launch_blocks(p->keys, p->block), p->key_heads, p->wide ? 1 : WORK_ITEMS);
    const int outputs = (dk != NULL) + (dv != NULL);
    measure(&request, p, p->keys, p->heads, outputs + walks(p), outputs);
    pass_backward(&request, p, terms, states);
    if (p->wide || dk) xp_view_pass(&request, dk, true);
    if (p->wide || dv) xp_view_pass(&request, dv, true);
    xp_launch_int(&request, p->queries);
    xp_launch_int(&request, p->keys);
    xp_launch_int(&request, p->group);
    xp_launch_int(&request, p->query_slots);
    xp_launch_float(&request, p->attributes->scale);
    return xp_plan_launch(p->plan, p->node, &request);
}

static xp_status emit_backward_wide(const pass *p) {
    xp_tensor *key_states = NULL, *query_states = NULL;
    if (p->dq) XP_TRY(emit_key_states(p, &key_states));
    if (wants_query_states(p) && !(query_states = query_states_of(p))) return XP_OUT_OF_MEMORY;
    if (p->dq || query_states) XP_TRY(emit_backward_queries(p, NULL, key_states, query_states));
    if (!p->dk && !p->dv) return XP_OK;
    if (query_states) XP_TRY(emit_sums(p, true, query_states, p->heads, p->query_slots));
    return emit_backward_keys(p, "linear_attention_backward_keys", NULL, query_states, p->dk, p->dv);
}

static xp_status emit_backward_tiled(const pass *p) {
    xp_tensor *terms, *states;
    XP_TRY(emit_terms(p, &terms));
    if (p->dq) {
        XP_TRY(emit_key_states(p, &states));
        XP_TRY(emit_backward_queries(p, terms, states, NULL));
    }
    if (!p->dk && !p->dv) return XP_OK;
    XP_TRY(emit_query_states(p, terms, &states));
    if (p->dk) XP_TRY(emit_backward_keys(p, "linear_attention_backward_keys", terms, states, p->dk, NULL));
    return p->dv ? emit_backward_keys(p, "linear_attention_backward_values", terms, states, NULL, p->dv) : XP_OK;
}

static xp_status emit_backward(xp_plan *plan, const xp_node *node, xp_family family) {
    pass p = pass_of(plan, node, family, true);
    XP_TRY(choose_lanes(&p));
    return p.wide ? emit_backward_wide(&p) : emit_backward_tiled(&p);
}

const xp_operation xp_operation_linear_attention = {
    .name = "linear_attention",
    .gradient = gradient,
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, emit_forward}, {XP_FAMILY_TILED, NULL, emit_forward})};
const xp_operation xp_operation_linear_attention_backward = {
    .name = "linear_attention_backward",
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, NULL, emit_backward}, {XP_FAMILY_TILED, NULL, emit_backward}),
    .strided_outputs = 7};
