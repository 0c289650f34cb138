/* Matrix products for GPUs: tiles of cl/gemm_tiled.cl and its launches, and which products CLBlast computes instead. */
#include "ops/gemm_clblast.h"
#include "ops/gemm_launch.h"
#include "ops/reduction.h"

enum { FINISH_GROUP = 64 };
enum { SIDE, OWN_ROWS, OWN_COLUMNS, DEPTH, LIBRARY, PARAMETERS }; /* of tile_of */

/* ---- who computes a product -------------------------------------------------------------------------------------- */

/* From which size on CLBlast's kernels repay its launches, a separate epilogue, and, for a small side, its padding to
 * whole tiles. */
static bool library_is_better(const xp_device *device, const xp_gemm_attributes *p) {
    static const struct {
        cl_device_type type;
        int64_t side;
        double flops;
    } rule = {CL_DEVICE_TYPE_GPU, 128, 1e8};
    return (device->limits.type & rule.type) && p->m >= rule.side && p->n >= rule.side && p->k >= rule.side &&
           xp_gemm_flops(p) >= rule.flops;
}

static bool library_can(const xp_node *node) {
    return xp_clblast_is_there() && xp_node_storage(node) == XP_F32;
}

/* The request that chooses the tile, and the library where it can compute the product. */
static xp_tuning tile_of(const xp_device *device, const xp_node *node) {
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    xp_tuning tile = {.kernel = "gemm_tiled",
                      .file = "gemm_tiled",
                      .count = PARAMETERS,
                      .parameters = {{"SIDE", 16, {8, 16}},
                                     {"OWN_ROWS", 4, {4, 8}},
                                     {"OWN_COLUMNS", 4, {4, 8}},
                                     {"DEPTH", 16, {16, 32}},
                                     {"LIBRARY", XP_LIBRARY_OURS, {XP_LIBRARY_OURS}}}};
    if (library_can(node))
        tile.parameters[LIBRARY] =
            (xp_tuning_parameter){.name = "LIBRARY",
                                  .value = library_is_better(device, p) ? XP_LIBRARY_CLBLAST : XP_LIBRARY_OURS,
                                  .values = {XP_LIBRARY_OURS, XP_LIBRARY_CLBLAST},
                                  .exclusive = XP_LIBRARY_CLBLAST};
    xp_gemm_name_shape(&tile, node);
    return tile;
}

bool xp_gemm_library_serves(const xp_device *device, const xp_node *node) {
    xp_tuning tile = tile_of(device, node);
    return xp_tuning_look_up(device, &tile) == XP_OK && tile.parameters[LIBRARY].value == XP_LIBRARY_CLBLAST;
}

/* Both emitters make the same requests, so that the tuner can compare them. */
static xp_status choose(xp_plan *plan, const xp_node *node, xp_tuning *tile, xp_tuning *library) {
    *tile = tile_of(xp_plan_device(plan), node);
    if (library_can(node)) XP_TRY(xp_clblast_tune(plan, node, library));
    return xp_plan_tune(plan, node, tile);
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

/* The library's product, and a kernel for the epilogue. */
xp_status xp_gemm_emit_library(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const xp_gemm_attributes *p = t.attributes;
    xp_tuning tile, library;
    XP_TRY(choose(plan, node, &tile, &library));
    XP_TRY(xp_clblast_emit(plan, node, &library, tile.handle));
    if (t.sums) XP_TRY(xp_column_sum_launch(plan, node, t.a, t.sums, family));
    if (!t.bias && !t.partner && !t.random_state && p->activation == XP_ACTIVATION_NONE) return XP_OK;

    xp_launch_request finish = {.file = "gemm_finish",
                                .kernel = "gemm_finish",
                                .dimensions = 1,
                                .global = {(size_t)(xp_launch_blocks(p->n, FINISH_GROUP) * p->m) * FINISH_GROUP},
                                .local = {FINISH_GROUP},
                                .bytes = 4.0 * (1 + xp_gemm_results(&t)) * (double)p->m * (double)p->n};
    finish.variant.tuning = tile.handle;
    xp_gemm_set_epilogue(&finish.variant, &t);
    xp_gemm_pass_epilogue(&finish, &t);
    return xp_plan_launch(plan, node, &finish);
}

/* Rows of the stored matrix hold a multiple of four floats, so each starts at one: storage itself is aligned. */
static bool is_aligned(const xp_tensor *matrix) {
    return matrix->shape[1] % 4 == 0;
}

xp_status xp_gemm_emit_tiled(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const xp_gemm_attributes *p = t.attributes;
    xp_tuning tile, library;
    XP_TRY(choose(plan, node, &tile, &library));
    const int64_t side = tile.parameters[SIDE].value, rows = side * tile.parameters[OWN_ROWS].value,
                  columns = side * tile.parameters[OWN_COLUMNS].value;
    xp_launch_request product = {
        .file = "gemm_tiled",
        .kernel = "gemm_tiled",
        .dimensions = 2,
        .global = {(size_t)(xp_launch_blocks(p->n, columns) * side), (size_t)(xp_launch_blocks(p->m, rows) * side)},
        .local = {(size_t)side, (size_t)side},
        .flops = xp_gemm_flops(p),
        .bytes = xp_gemm_bytes(p, xp_gemm_results(&t), xp_storage_bytes(node))};
    for (int i = 0; i < LIBRARY; i++)
        xp_variant_set(&product.variant, tile.parameters[i].name, tile.parameters[i].value);
    xp_variant_set(&product.variant, "TRANSPOSE_A", p->transpose_a);
    xp_variant_set(&product.variant, "TRANSPOSE_B", p->transpose_b);
    xp_variant_set(&product.variant, "ALIGNED_A", is_aligned(t.a));
    xp_variant_set(&product.variant, "ALIGNED_B", is_aligned(t.b));
    if (t.sums) xp_variant_set(&product.variant, "SUMS", 1);
    product.variant.tuning = tile.handle;
    xp_gemm_set_epilogue(&product.variant, &t);
    xp_storage_set(&product.variant, node);
    xp_launch_read(&product, t.a);
    xp_launch_read(&product, t.b);
    xp_gemm_pass_epilogue(&product, &t);
    xp_launch_int(&product, p->k);
    xp_launch_write(&product, t.sums);
    return xp_plan_launch(plan, node, &product);
}
