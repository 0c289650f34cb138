/* Matrix products by NVIDIA's asynchronous matrix units: what they can do, the tile of cl/gemm_wgmma.cl and its
 * launch. */
#include "ops/gemm_launch.h"
#include "ops/reduction.h"

#include <math.h>

enum { TILE_ROWS = 128, LINE = 128 /* bytes of a factor's row in a slice */, ITEMS = 256, LEAST_COLUMNS = 128 };

typedef struct tile {
    int64_t columns, stages;
    double rate; /* multiply-adds of 16 bits a clock and unit */
} tile;

static int64_t stage_bytes(int64_t columns) {
    return LINE * (TILE_ROWS + columns);
}

/* Three stages let two tiles of 128 columns share a unit; a tile of 256 has a unit of its own, with all stages that
 * fit. */
static int64_t stages_of(const xp_device *device, const xp_gemm_attributes *p, int64_t columns) {
    int64_t most = (int64_t)device->wgmma_bytes / stage_bytes(columns);
    const int64_t useful = columns == LEAST_COLUMNS ? 3 : 4;
    if (most > useful) most = useful;
    return device->matrix == XP_MATRIX_EMULATED && most > 2 ? 2 + p->m % (most - 1) : most;
}

static bool can(const xp_device *device, const xp_node *node) {
    if (device->edits_refused || device->layout != XP_MATRIX_NVIDIA ||
        (int64_t)device->wgmma_bytes < 2 * stage_bytes(LEAST_COLUMNS) || !xp_gemm_supports_matrix(device, node))
        return false;
    return xp_node_storage(node) != XP_F32 || device->arithmetic == XP_ARITHMETIC_TF32;
}

/* The tile that is estimated to be fastest. The rates are those of the cache, from which a tile of 128×256 takes 48 KiB
 * for two million multiply-adds, one of 128×128 32 KiB for one. */
static tile choose_tile(const xp_device *device, const xp_node *node, double *clocks) {
    static const tile sizes[] = {{256, 0, 750}, {128, 0, 580}};
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const int64_t units = device->limits.compute_units, numbers = LINE / xp_storage_bytes(node);
    tile best = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tile t = sizes[i];
        t.stages = stages_of(device, p, t.columns);
        if (t.stages < 2) continue;
        const int64_t groups = xp_launch_blocks(p->m, TILE_ROWS) * xp_launch_blocks(p->n, t.columns);
        const double depth =
            (double)(xp_launch_blocks(p->k, numbers) * numbers) * (xp_node_storage(node) == XP_F32 ? 2 : 1);
        const double time =
            ((double)xp_launch_blocks(groups, units) + 0.5) * (double)(TILE_ROWS * t.columns) * depth / t.rate;
        if (best.stages == 0 || time < *clocks) {
            best = t;
            *clocks = time;
        }
    }
    return best;
}

double xp_gemm_wgmma_clocks(const xp_device *device, const xp_node *node) {
    double clocks = INFINITY;
    if (can(device, node)) choose_tile(device, node, &clocks);
    return clocks;
}

bool xp_gemm_wgmma_serves(const xp_device *device, const xp_node *node) {
    xp_tuning tuning;
    if (!can(device, node)) return false;
    const int instruction = xp_gemm_matrix_request(device, node, &tuning);
    return xp_tuning_look_up(device, &tuning) == XP_OK && tuning.parameters[instruction].value == XP_INSTRUCTION_WGMMA;
}

xp_status xp_gemm_emit_wgmma(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_device *device = xp_plan_device(plan);
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const xp_gemm_attributes *p = t.attributes;
    double clocks;
    xp_tuning tuning;
    xp_gemm_matrix_request(device, node, &tuning);
    XP_TRY(xp_plan_tune(plan, node, &tuning));
    const tile own = choose_tile(device, node, &clocks);
    const bool own_sums = t.sums && xp_node_storage(node) != XP_F32; /* what is rounded on its way has none */
    const int64_t groups = xp_launch_blocks(p->m, TILE_ROWS) * xp_launch_blocks(p->n, own.columns);
    xp_launch_request product = {.file = "gemm_wgmma",
                                 .kernel = "gemm_wgmma",
                                 .variant.tuning = tuning.handle,
                                 .dimensions = 1,
                                 .global = {(size_t)groups * ITEMS},
                                 .local = {ITEMS},
                                 .flops = xp_gemm_flops(p),
                                 .bytes = xp_gemm_bytes(&t)};
    xp_variant *variant = &product.variant;
    if (device->matrix == XP_MATRIX_NVIDIA) variant->edit_for = XP_WGMMA_TARGET;
    xp_variant_set(variant, "MATRIX", device->matrix);
    xp_variant_set(variant, "WGMMA_COLUMNS", own.columns);
    xp_variant_set(variant, "STAGES", own.stages);
    xp_gemm_set_layout(variant, &t, 16 / (int64_t)xp_storage_bytes(node));
    if (own_sums) xp_variant_set(variant, "SUMS", 1);
    xp_gemm_set_epilogue(variant, node, &t);
    xp_storage_set(variant, node);
    xp_launch_read(&product, t.a);
    xp_launch_read(&product, t.b);
    xp_gemm_pass_epilogue(&product, &t);
    xp_launch_int(&product, p->k);
    xp_launch_write(&product, own_sums ? t.sums : NULL);
    XP_TRY(xp_plan_launch(plan, node, &product));
    return t.sums && !own_sums ? xp_column_sum_launch(plan, node, t.a, t.sums, XP_FAMILY_TILED) : XP_OK;
}
