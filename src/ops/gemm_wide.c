/* Matrix products for CPUs: blocks of cl/gemm_wide.cl and its launches. */
#include "ops/gemm_launch.h"
#include "ops/reduction.h"

typedef struct wide_blocks {
    int64_t rows, columns, depth, lanes;
    int tuning; /* its handle */
} wide_blocks;

/* By default the widest block of columns that still gives each core enough work-items; small products take the
 * narrowest, so that two and more cores share them. Wider vectors use up b faster: twice the rows then take from a
 * panel. A transposed a is packed by each work-item for itself, the more rarely the wider its block; b is wide then, so
 * that it comes from the last cache, and twice the rows read it half as often. */
static xp_status choose_wide_blocks(xp_plan *plan, const xp_node *node, const xp_gemm_attributes *p, wide_blocks *out) {
    const xp_device_limits *limits = &xp_plan_device(plan)->limits;
    const long lanes = limits->lanes, rows = p->transpose_a ? 96 : 6 * lanes;
    const int64_t wanted = (int64_t)limits->compute_units * (p->transpose_a ? 4 : 16);
    int64_t columns = p->transpose_a ? 512 : 256;
    while (columns > 64 && xp_launch_blocks(p->m, rows) * xp_launch_blocks(p->n, columns) < wanted) columns /= 2;
    xp_tuning tuning = {.kernel = "gemm_wide",
                        .file = "gemm_wide",
                        .count = 4,
                        .parameters = {{"BLOCK_ROWS", rows, {24, 48, 96, 192}},
                                       {"BLOCK_COLUMNS", columns, {32, 64, 128, 256, 512}},
                                       {"BLOCK_DEPTH", 512, {256, 512, 1024}},
                                       {"LANES", lanes, {8, 16}}}};
    xp_gemm_name_shape(&tuning, node);
    XP_TRY(xp_plan_tune(plan, node, &tuning));
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

/* Steps of the depth in one factor. */
static int64_t steps_of(const xp_node *node) {
    return xp_node_storage(node) == XP_BF16 ? 2 : 1;
}

static xp_status pack_b(xp_plan *plan, const xp_node *node, const xp_gemm_attributes *p, const wide_blocks *block,
                        const xp_variant *variant, xp_tensor **panels_out) {
    const int64_t columns = 2 * block->lanes, panels = xp_launch_blocks(p->n, columns);
    *panels_out = xp_plan_scratch(plan, node, panels * columns * xp_launch_blocks(p->k, steps_of(node)));
    if (!*panels_out) return XP_OUT_OF_MEMORY;
    xp_launch_request request = {.file = "gemm_wide",
                                 .kernel = "gemm_pack_b",
                                 .variant = *variant,
                                 .dimensions = 2,
                                 .global = {(size_t)panels, (size_t)xp_launch_blocks(p->k, block->depth)},
                                 .local = {1, 1},
                                 .bytes = 2 * xp_storage_bytes(node) * (double)p->n * (double)p->k};
    xp_launch_read(&request, node->inputs[1]);
    xp_launch_write(&request, *panels_out);
    xp_launch_int(&request, p->n);
    xp_launch_int(&request, p->k);
    return xp_plan_launch(plan, node, &request);
}

/* What comes after the sum of a product with dropout; `sums` [parts,m,n] may be y itself. */
static xp_status emit_drop(xp_plan *plan, const xp_node *node, xp_tensor *sums, int64_t parts, int tuning) {
    enum { DROPPED = 1024 /* by a work-item */ };
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const xp_dropout_attributes *dropout = &t.attributes->dropout;
    const int64_t count = t.attributes->m * t.attributes->n;
    xp_launch_request request = {.file = "gemm_finish",
                                 .kernel = "gemm_drop_wide",
                                 .variant = {.tuning = tuning},
                                 .dimensions = 1,
                                 .global = {(size_t)xp_launch_blocks(count, DROPPED)},
                                 .local = {1},
                                 .flops = (double)(parts * count),
                                 .bytes = 4.0 * (double)((parts + 1 + (t.partner != NULL)) * count)};
    if (t.partner) xp_variant_set(&request.variant, "COMBINE", t.attributes->combine);
    xp_storage_set(&request.variant, node);
    xp_result_set(&request.variant, node);
    xp_launch_write(&request, sums);
    xp_launch_read(&request, t.partner);
    xp_launch_read(&request, t.random_state);
    xp_launch_write(&request, t.y);
    xp_launch_int(&request, parts);
    xp_launch_int(&request, count);
    xp_launch_uint(&request, dropout->threshold);
    xp_launch_uint(&request, dropout->stream);
    xp_launch_float(&request, xp_building_keep_scale(dropout));
    return xp_plan_launch(plan, node, &request);
}

static xp_status emit_product(xp_plan *plan, const xp_node *node) {
    enum { NARROW = 256, SUMMED = 1024 /* by a work-item of gemm_sum_parts */ };
    xp_gemm_tensors t = xp_gemm_tensors_of(node);
    xp_gemm_attributes attributes = *t.attributes;
    const xp_gemm_attributes *p = t.attributes = &attributes;
    const bool drops = t.random_state != NULL; /* then a launch of its own does that and the rest */
    if (drops) {
        attributes.combine = XP_COMBINE_NONE;
        t.partner = t.random_state = NULL;
    }
    wide_blocks block;
    XP_TRY(choose_wide_blocks(plan, node, p, &block));
    xp_variant variant = {.tuning = block.tuning}; /* the kernels around the product share its program */
    xp_variant_set(&variant, "BLOCK_ROWS", block.rows);
    xp_variant_set(&variant, "BLOCK_DEPTH", block.depth);
    xp_variant_set(&variant, "LANES", block.lanes);
    xp_variant_set(&variant, "TRANSPOSE_A", p->transpose_a);
    xp_variant_set(&variant, "TRANSPOSE_B", p->transpose_b);
    xp_gemm_set_epilogue(&variant, node, &t);
    xp_storage_set(&variant, node);
    xp_factors_set(&variant, node, xp_plan_device(plan));

    const int64_t steps = steps_of(node),
                  part_factors = xp_launch_blocks(xp_launch_blocks(p->k, depth_parts(p)), steps);
    const int64_t part_depth = part_factors * steps, parts = xp_launch_blocks(p->k, part_depth);
    /* Sums are fp32. Where no launch follows that reads them, the product stores y as it is kept. */
    const bool follows = parts > 1 || (drops && t.y->type != XP_F32);
    xp_tensor *y = follows ? xp_plan_scratch(plan, node, parts * p->m * p->n) : t.y;
    if (!y) return XP_OUT_OF_MEMORY;
    if (y->type != XP_F32) xp_variant_set(&variant, "SUMS_COLUMNS", block.columns);

    /* short rows of whole tiles are as good as packed ones */
    const int64_t panel = 2 * block.lanes;
    const bool in_place = xp_node_storage(node) == XP_F32 && !p->transpose_b && p->n <= NARROW && p->n % panel == 0;
    xp_tensor *b = t.b;
    if (!in_place) XP_TRY(pack_b(plan, node, p, &block, &variant, &b));

    xp_launch_request product = {.file = "gemm_wide",
                                 .kernel = "gemm_wide",
                                 .variant = variant,
                                 .dimensions = 3,
                                 .global = {(size_t)xp_launch_blocks(p->m, block.rows),
                                            (size_t)xp_launch_blocks(p->n, block.columns), (size_t)parts},
                                 .local = {1, 1, 1},
                                 .flops = xp_gemm_flops(p),
                                 .bytes = xp_gemm_bytes(&t)};
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
    xp_launch_int(&product, in_place ? 1 : xp_launch_blocks(p->k, steps));
    xp_launch_int(&product, block.columns);
    xp_launch_int(&product, part_depth);
    XP_TRY(xp_plan_launch(plan, node, &product));
    if (drops) return emit_drop(plan, node, y, parts, block.tuning);
    if (!follows) return XP_OK;

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

xp_status xp_gemm_emit_wide(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    XP_TRY(emit_product(plan, node));
    return t.sums ? xp_column_sum_launch(plan, node, t.a, t.sums, family) : XP_OK;
}
