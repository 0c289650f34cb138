/* Matrix products and linear layers: shapes, gradients, and which kernels compute them. Knows no models. */
#include "graph/stored.h"
#include "ops/building.h"
#include "ops/gemm_clblast.h"

#include <stdio.h>

extern const xp_operation xp_operation_gemm;

enum { FINISH_GROUP = 64 };

typedef struct gemm_tensors {
    xp_tensor *a, *b, *bias, *partner, *y, *z;
} gemm_tensors;

static gemm_tensors tensors_of(const xp_node *node) {
    return (gemm_tensors){node->inputs[0], node->inputs[1],  node->inputs[2],
                          node->inputs[3], node->outputs[0], node->outputs[1]};
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static xp_tensor *add_gemm(xp_graph *graph, xp_tensor *a, xp_tensor *b, xp_tensor *bias,
                           const xp_gemm_attributes *attributes) {
    const int64_t shape[] = {attributes->m, attributes->n};
    const bool keep_z = attributes->activation != XP_ACTIVATION_NONE && graph->training;
    xp_tensor *y = xp_graph_tensor(graph, "y", a->type, 2, shape);
    xp_tensor *z = keep_z ? xp_graph_tensor(graph, "z", a->type, 2, shape) : NULL;
    if (!y || (keep_z && !z)) return NULL;
    xp_tensor *inputs[] = {a, b, bias, NULL}, *outputs[] = {y, z};
    if (!xp_graph_node(graph, &xp_operation_gemm, 4, inputs, 2, outputs, attributes, sizeof *attributes)) return NULL;
    return y;
}

static bool is_matrix(const xp_tensor *tensor, const char *role) {
    if (tensor->rank == 2 && xp_type_is_real(tensor->type)) return true;
    char text[96];
    xp_fail(XP_INVALID_ARGUMENT, "matrix product: %s %s %s is not a matrix of reals", role, tensor->name,
            xp_tensor_shape_text(tensor, text, sizeof text));
    return false;
}

static bool same_type(const xp_tensor *a, const xp_tensor *b) {
    if (a->type == b->type) return true;
    xp_fail(XP_INVALID_ARGUMENT, "matrix product: %s is in %s and %s in %s: cast one of them", a->name,
            xp_type_name(a->type), b->name, xp_type_name(b->type));
    return false;
}

xp_tensor *xp_gemm(xp_graph *graph, xp_tensor *a, int transpose_a, xp_tensor *b, int transpose_b) {
    if (!a || !b || !is_matrix(a, "the left factor") || !is_matrix(b, "the right factor")) return NULL;
    const xp_gemm_attributes attributes = {.m = a->shape[transpose_a ? 1 : 0],
                                           .n = b->shape[transpose_b ? 0 : 1],
                                           .k = a->shape[transpose_a ? 0 : 1],
                                           .transpose_a = transpose_a != 0,
                                           .transpose_b = transpose_b != 0,
                                           .activation = XP_ACTIVATION_NONE};
    if (b->shape[transpose_b ? 1 : 0] != attributes.k) {
        char left[96], right[96];
        xp_fail(XP_INVALID_ARGUMENT, "matrix product: %s %s%s and %s %s%s are incompatible", a->name,
                xp_tensor_shape_text(a, left, sizeof left), transpose_a ? " transposed" : "", b->name,
                xp_tensor_shape_text(b, right, sizeof right), transpose_b ? " transposed" : "");
        return NULL;
    }
    if (!same_type(a, b)) return NULL;
    a = xp_graph_dense(graph, a);
    b = xp_graph_dense(graph, b);
    return a && b ? add_gemm(graph, a, b, NULL, &attributes) : NULL;
}

xp_tensor *xp_linear(xp_graph *graph, xp_tensor *x, xp_tensor *weight, xp_tensor *bias, xp_activation activation) {
    if (!x || !weight || !is_matrix(weight, "weight")) return NULL;
    const int64_t n = weight->shape[0], k = weight->shape[1];
    if (!same_type(x, weight)) return NULL;
    if (x->shape[x->rank - 1] != k) {
        char text[96];
        xp_fail(XP_INVALID_ARGUMENT,
                "linear layer: input %s %s does not have the rows of %lld numbers that weight %s needs", x->name,
                xp_tensor_shape_text(x, text, sizeof text), (long long)k, weight->name);
        return NULL;
    }
    if (bias && (bias->rank != 1 || bias->shape[0] != n || bias->type != XP_F32)) {
        char text[96];
        xp_fail(XP_INVALID_ARGUMENT, "linear layer: bias %s %s does not have the %lld floats that weight %s needs",
                bias->name, xp_tensor_shape_text(bias, text, sizeof text), (long long)n, weight->name);
        return NULL;
    }
    x = xp_graph_dense(graph, x);
    weight = xp_graph_dense(graph, weight);
    if (!x || !weight || (bias && !(bias = xp_graph_dense(graph, bias)))) return NULL;
    const int64_t rows[] = {xp_tensor_elements(x) / k, k};
    xp_tensor *flat = x->rank == 2 ? x : xp_graph_reshape(graph, x, 2, rows);
    if (!flat) return NULL;
    const xp_gemm_attributes attributes = {
        .m = rows[0], .n = n, .k = k, .transpose_b = 1, .activation = (int)activation};
    xp_tensor *y = add_gemm(graph, flat, weight, bias, &attributes);
    if (!y || x->rank == 2) return y;
    int64_t shape[XP_MAX_RANK];
    for (int i = 0; i < x->rank; i++) shape[i] = i + 1 < x->rank ? x->shape[i] : n;
    return xp_graph_reshape(graph, y, x->rank, shape);
}

static bool take_in(xp_node *node, xp_combine combine, xp_tensor *partner) {
    xp_gemm_attributes *attributes = (xp_gemm_attributes *)(void *)node->attributes;
    if (attributes->activation != XP_ACTIVATION_NONE || attributes->combine != XP_COMBINE_NONE) return false;
    attributes->combine = combine;
    node->inputs[3] = partner;
    return true;
}

/* With c = op(a)·op(b): each factor's gradient is a product of dc and the other factor, in the order in which the
 * factor is stored. */
static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    const xp_gemm_attributes *attributes = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const gemm_tensors t = tensors_of(node);
    const int ta = attributes->transpose_a, tb = attributes->transpose_b;
    xp_tensor *d_c = d_outputs[0];
    if (!d_c) return XP_OK;
    if (t.partner) return xp_fail(XP_UNSUPPORTED, "%s: the backward pass itself has no gradient", node->label);
    if (attributes->activation != XP_ACTIVATION_NONE) {
        if (!t.z)
            return xp_fail(XP_INVALID_ARGUMENT,
                           "%s: a linear layer of a graph that is not for training has no gradient", node->label);
        d_c = xp_activation_backward(graph, d_c, t.z, (xp_activation)attributes->activation);
        if (!d_c) return XP_OUT_OF_MEMORY;
    }
    if (t.a->needs_gradient) {
        d_inputs[0] = ta ? xp_gemm(graph, t.b, tb, d_c, 1) : xp_gemm(graph, d_c, 0, t.b, !tb);
        if (!d_inputs[0]) return XP_OUT_OF_MEMORY;
    }
    if (t.b->needs_gradient) {
        d_inputs[1] = tb ? xp_gemm(graph, d_c, 1, t.a, ta) : xp_gemm(graph, t.a, !ta, d_c, 0);
        if (!d_inputs[1]) return XP_OUT_OF_MEMORY;
    }
    if (t.bias && t.bias->needs_gradient) {
        d_inputs[2] = xp_column_sum(graph, d_c);
        if (!d_inputs[2]) return XP_OUT_OF_MEMORY;
    }
    return XP_OK;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

/* y, and where there are z and the partner. */
static int results(const gemm_tensors *t) {
    return 1 + (t->z != NULL) + (t->partner != NULL);
}

/* Of elements of so many bytes. */
static double bytes_moved(const xp_gemm_attributes *p, int results, double bytes) {
    const double m = (double)p->m, n = (double)p->n, k = (double)p->k;
    return bytes * (m * k + k * n + results * m * n);
}

static double flops(const xp_gemm_attributes *p) {
    return 2.0 * (double)p->m * (double)p->n * (double)p->k;
}

static void set_epilogue(xp_variant *variant, const xp_gemm_attributes *p, const gemm_tensors *t) {
    xp_variant_set(variant, "BIAS", t->bias != NULL);
    xp_variant_set(variant, "ACTIVATION", p->activation);
    xp_variant_set(variant, "KEEP_Z", t->z != NULL);
    if (p->combine != XP_COMBINE_NONE) xp_variant_set(variant, "COMBINE", p->combine);
}

typedef struct wide_blocks {
    int64_t rows, columns, depth, lanes;
    int tuning; /* its handle */
} wide_blocks;

static xp_status tune(xp_plan *plan, const xp_node *node, const xp_gemm_attributes *p, xp_tuning *tuning) {
    const xp_type storage = xp_node_storage(node);
    snprintf(tuning->shape, sizeof tuning->shape, "%c%c %lldx%lldx%lld%s%s", p->transpose_a ? 't' : 'n',
             p->transpose_b ? 't' : 'n', (long long)p->m, (long long)p->n, (long long)p->k,
             storage == XP_F32 ? "" : " ", storage == XP_F32 ? "" : xp_type_name(storage));
    return xp_plan_tune(plan, node, tuning);
}

/* By default the widest block of columns that still gives each core enough work-items; small products take the
 * narrowest, so that two and more cores share them. Wider vectors use up b faster: twice the rows then take from a
 * panel. A transposed a is packed by each work-item for itself, the more rarely the wider its block. */
static xp_status choose_wide_blocks(xp_plan *plan, const xp_node *node, const xp_gemm_attributes *p, wide_blocks *out) {
    const xp_device_limits *limits = &xp_plan_device(plan)->limits;
    const long lanes = limits->lanes, rows = 6 * lanes;
    const int64_t wanted = (int64_t)limits->compute_units * (p->transpose_a ? 8 : 16);
    int64_t columns = p->transpose_a ? 512 : 256;
    while (columns > 64 && xp_launch_blocks(p->m, rows) * xp_launch_blocks(p->n, columns) < wanted) columns /= 2;
    xp_tuning tuning = {.kernel = "gemm_wide",
                        .file = "gemm_wide",
                        .count = 4,
                        .parameters = {{"BLOCK_ROWS", rows, {24, 48, 96, 192}},
                                       {"BLOCK_COLUMNS", columns, {32, 64, 128, 256, 512}},
                                       {"BLOCK_DEPTH", 512, {256, 512, 1024}},
                                       {"LANES", lanes, {8, 16}}}};
    XP_TRY(tune(plan, node, p, &tuning));
    *out = (wide_blocks){tuning.parameters[0].value, tuning.parameters[1].value, tuning.parameters[2].value,
                         tuning.parameters[3].value, tuning.handle};
    return XP_OK;
}

/* Into how many parts the depth is cut, so that small results (gradients of narrow weights) keep many cores busy too:
 * by the shape alone, since it decides the order of the sum. An activation must see the whole sum. */
static int64_t depth_parts(const xp_gemm_attributes *p) {
    enum { ROWS = 96, COLUMNS = 64, WANTED = 32, LEAST_DEPTH = 512 };
    if (p->activation != XP_ACTIVATION_NONE || (p->combine != XP_COMBINE_NONE && p->combine != XP_COMBINE_ADD))
        return 1;
    const int64_t most = p->k / LEAST_DEPTH, blocks = xp_launch_blocks(p->m, ROWS) * xp_launch_blocks(p->n, COLUMNS);
    const int64_t parts = WANTED / blocks < most ? WANTED / blocks : most;
    return parts > 1 ? parts : 1;
}

static xp_status pack_b(xp_plan *plan, const xp_node *node, const xp_gemm_attributes *p, const wide_blocks *block,
                        const xp_variant *variant, xp_tensor **panels_out) {
    const int64_t columns = 2 * block->lanes, panels = xp_launch_blocks(p->n, columns);
    *panels_out = xp_plan_scratch(plan, node, panels * columns * p->k);
    if (!*panels_out) return XP_OUT_OF_MEMORY;
    xp_launch_request request = {.file = "gemm_wide",
                                 .kernel = "gemm_pack_b",
                                 .variant = *variant,
                                 .dimensions = 2,
                                 .global = {(size_t)panels, (size_t)xp_launch_blocks(p->k, block->depth)},
                                 .local = {1, 1},
                                 .bytes = 8.0 * (double)p->n * (double)p->k};
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, *panels_out);
    xp_launch_int(&request, p->n);
    xp_launch_int(&request, p->k);
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_wide(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    enum { NARROW = 256, SUMMED = 1024 /* by a work-item of gemm_sum_parts */ };
    const gemm_tensors t = tensors_of(node);
    wide_blocks block;
    XP_TRY(choose_wide_blocks(plan, node, p, &block));
    xp_variant variant = {.tuning = block.tuning}; /* the kernels around the product share its program */
    xp_variant_set(&variant, "BLOCK_ROWS", block.rows);
    xp_variant_set(&variant, "BLOCK_DEPTH", block.depth);
    xp_variant_set(&variant, "LANES", block.lanes);
    xp_variant_set(&variant, "TRANSPOSE_A", p->transpose_a);
    xp_variant_set(&variant, "TRANSPOSE_B", p->transpose_b);
    set_epilogue(&variant, p, &t);
    xp_storage_set(&variant, node);

    /* short rows of whole tiles are as good as packed ones */
    const int64_t panel = 2 * block.lanes;
    const bool single = xp_node_storage(node) == XP_F32; /* sums are: a y that is not has scratch in its place */
    const bool in_place = single && !p->transpose_b && p->n <= NARROW && p->n % panel == 0;
    xp_tensor *b = t.b;
    if (!in_place) XP_TRY(pack_b(plan, node, p, &block, &variant, &b));
    const int64_t part_depth = xp_launch_blocks(p->k, depth_parts(p)), parts = xp_launch_blocks(p->k, part_depth);
    xp_tensor *y = parts > 1 || !single ? xp_plan_scratch(plan, node, parts * p->m * p->n) : t.y;
    if (!y) return XP_OUT_OF_MEMORY;

    xp_launch_request product = {.file = "gemm_wide",
                                 .kernel = "gemm_wide",
                                 .variant = variant,
                                 .dimensions = 3,
                                 .global = {(size_t)xp_launch_blocks(p->m, block.rows),
                                            (size_t)xp_launch_blocks(p->n, block.columns), (size_t)parts},
                                 .local = {1, 1, 1},
                                 .flops = flops(p),
                                 .bytes = bytes_moved(p, results(&t), xp_storage_bytes(node))};
    xp_launch_read(&product, t.a);
    xp_launch_read(&product, b);
    xp_launch_read(&product, t.bias);
    xp_launch_read(&product, t.partner);
    xp_launch_write(&product, y);
    xp_launch_write(&product, t.z);
    xp_launch_int(&product, p->m);
    xp_launch_int(&product, p->n);
    xp_launch_int(&product, p->k);
    xp_launch_int(&product, in_place ? p->n : panel);
    xp_launch_int(&product, in_place ? 1 : p->k);
    xp_launch_int(&product, block.columns);
    xp_launch_int(&product, part_depth);
    XP_TRY(xp_plan_launch(plan, node, &product));
    if (y == t.y) return XP_OK;

    xp_launch_request sum = {.file = "gemm_wide",
                             .kernel = "gemm_sum_parts",
                             .variant = variant,
                             .dimensions = 1,
                             .global = {(size_t)xp_launch_blocks(p->m * p->n, SUMMED)},
                             .local = {1},
                             .flops = (double)(parts * p->m * p->n),
                             .bytes = 4.0 * (double)((parts + 1) * p->m * p->n)};
    xp_launch_read(&sum, y);
    xp_launch_write(&sum, t.y);
    xp_launch_int(&sum, parts);
    xp_launch_int(&sum, p->m * p->n);
    return xp_plan_launch(plan, node, &sum);
}

/* Rows of the stored matrix hold a multiple of four floats, so each starts at one: storage itself is aligned. */
static bool is_aligned(const xp_tensor *matrix) {
    return matrix->shape[1] % 4 == 0;
}

/* The arguments that both tiled kernels have. */
static void pass_epilogue(xp_launch_request *request, const xp_gemm_attributes *p, const gemm_tensors *t) {
    xp_launch_read(request, t->bias);
    xp_launch_read(request, t->partner);
    xp_launch_write(request, t->y);
    xp_launch_write(request, t->z);
    xp_launch_int(request, p->m);
    xp_launch_int(request, p->n);
}

/* From which size on CLBlast's kernels repay its launches, a separate epilogue, and, for a small side, its padding to
 * whole tiles. */
static bool library_is_better(const xp_device *device, const xp_gemm_attributes *p) {
    static const struct {
        cl_device_type type;
        int64_t side;
        double flops;
    } rule = {CL_DEVICE_TYPE_GPU, 128, 1e8};
    return (device->limits.type & rule.type) && p->m >= rule.side && p->n >= rule.side && p->k >= rule.side &&
           flops(p) >= rule.flops;
}

static xp_status emit_library(xp_plan *plan, const xp_node *node, const xp_gemm_attributes *p, const xp_tuning *clblast,
                              int chosen_by) {
    const gemm_tensors t = tensors_of(node);
    XP_TRY(xp_clblast_emit(plan, node, p, clblast, chosen_by, flops(p), bytes_moved(p, 1, xp_storage_bytes(node))));
    if (!t.bias && !t.partner && p->activation == XP_ACTIVATION_NONE) return XP_OK;

    xp_launch_request finish = {.file = "gemm_tiled",
                                .kernel = "gemm_finish",
                                .dimensions = 1,
                                .global = {(size_t)(xp_launch_blocks(p->n, FINISH_GROUP) * p->m) * FINISH_GROUP},
                                .local = {FINISH_GROUP},
                                .bytes = 4.0 * (1 + results(&t)) * (double)p->m * (double)p->n};
    finish.variant.tuning = chosen_by;
    set_epilogue(&finish.variant, p, &t);
    pass_epilogue(&finish, p, &t);
    return xp_plan_launch(plan, node, &finish);
}

static xp_status emit_tiled(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const gemm_tensors t = tensors_of(node);
    const bool choice = xp_clblast_is_there() && xp_node_storage(node) == XP_F32;
    xp_tuning clblast, tile = {.kernel = "gemm_tiled",
                               .file = "gemm_tiled",
                               .count = 5,
                               .parameters = {{"SIDE", 16, {8, 16}},
                                              {"OWN_ROWS", 4, {4, 8}},
                                              {"OWN_COLUMNS", 4, {4, 8}},
                                              {"DEPTH", 16, {16, 32}},
                                              {"LIBRARY", XP_LIBRARY_OURS, {XP_LIBRARY_OURS}}}};
    if (choice) {
        const bool better = library_is_better(xp_plan_device(plan), p);
        tile.parameters[4] = (xp_tuning_parameter){.name = "LIBRARY",
                                                   .value = better ? XP_LIBRARY_CLBLAST : XP_LIBRARY_OURS,
                                                   .values = {XP_LIBRARY_OURS, XP_LIBRARY_CLBLAST},
                                                   .exclusive = XP_LIBRARY_CLBLAST};
        XP_TRY(xp_clblast_tune(plan, node, &clblast));
    }
    XP_TRY(tune(plan, node, p, &tile));
    if (tile.parameters[4].value == XP_LIBRARY_CLBLAST) return emit_library(plan, node, p, &clblast, tile.handle);
    const int64_t side = tile.parameters[0].value, rows = side * tile.parameters[1].value,
                  columns = side * tile.parameters[2].value;
    xp_launch_request product = {
        .file = "gemm_tiled",
        .kernel = "gemm_tiled",
        .dimensions = 2,
        .global = {(size_t)(xp_launch_blocks(p->n, columns) * side), (size_t)(xp_launch_blocks(p->m, rows) * side)},
        .local = {(size_t)side, (size_t)side},
        .flops = flops(p),
        .bytes = bytes_moved(p, results(&t), xp_storage_bytes(node))};
    for (int i = 0; i < 4; i++) xp_variant_set(&product.variant, tile.parameters[i].name, tile.parameters[i].value);
    xp_variant_set(&product.variant, "TRANSPOSE_A", p->transpose_a);
    xp_variant_set(&product.variant, "TRANSPOSE_B", p->transpose_b);
    xp_variant_set(&product.variant, "ALIGNED_A", is_aligned(t.a));
    xp_variant_set(&product.variant, "ALIGNED_B", is_aligned(t.b));
    product.variant.tuning = tile.handle;
    set_epilogue(&product.variant, p, &t);
    xp_storage_set(&product.variant, node);
    xp_launch_read(&product, t.a);
    xp_launch_read(&product, t.b);
    pass_epilogue(&product, p, &t);
    xp_launch_int(&product, p->k);
    return xp_plan_launch(plan, node, &product);
}

const xp_operation xp_operation_gemm = {.name = "gemm",
                                        .gradient = gradient,
                                        .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, emit_wide},
                                                                {XP_FAMILY_TILED, xp_supports_storage, emit_tiled}),
                                        .stored_inputs = 1 << 0 | 1 << 1 | 1 << 3, /* not the bias */
                                        .stored_outputs = 3,
                                        .take_in = take_in};
