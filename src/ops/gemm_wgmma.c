/* Matrix products by NVIDIA's asynchronous matrix units: what they can do, the tile of cl/gemm_wgmma.cl and its
 * launch. */
#include "device/matrix.h"
#include "ops/gemm_launch.h"

#include <math.h>

enum { TILE_ROWS = 128, LINE = 128 /* bytes of a factor's row in a slice */, ITEMS = 256, LEAST_COLUMNS = 128 };
enum { START = 1500 /* clocks of a work-group before and after its slices */ };

typedef struct tile {
    int64_t columns, stages, parts;
} tile;

static bool is_in_three(const xp_device *device, const xp_node *node) {
    return xp_node_storage(node) == XP_F32 && device->arithmetic == XP_ARITHMETIC_FP32_MATRIX;
}

static int64_t stage_bytes(int64_t columns) {
    return LINE * (TILE_ROWS + columns);
}

/* Three stages let two tiles of 128 columns share a unit; a tile of 256 has a unit of its own, with all stages that
 * fit. Three products have two stages, of both parts of each number. */
static int64_t stages_of(const xp_device *device, const xp_node *node, int64_t columns) {
    const bool in_three = is_in_three(device, node);
    const int64_t most = (int64_t)device->wgmma_bytes / stage_bytes(columns) / (in_three ? 2 : 1);
    const int64_t useful = in_three ? 2 : columns == LEAST_COLUMNS ? 3 : 4, least = most < useful ? most : useful;
    const int64_t m = XP_ATTRIBUTES(xp_gemm_attributes, node)->m;
    return device->matrix == XP_MATRIX_EMULATED && least > 2 ? 2 + m % (least - 1) : least;
}

static bool can(const xp_device *device, const xp_node *node) {
    return !device->edits_refused && device->layout == XP_MATRIX_NVIDIA &&
           stages_of(device, node, LEAST_COLUMNS) >= 2 && xp_gemm_supports_matrix(device, node);
}

/* The tile and the parts that are estimated to be fastest; emulated parts take turns. The rates, in multiply-adds a
 * clock and unit, are those of the cache, from which a tile of 128×256 takes 48 KiB for two million of 16 bits, one of
 * 128×128 32 KiB for one; of three products, as tools/compile-lab estimates them for an H200. */
static tile choose_tile(const xp_device *device, const xp_node *node, double *clocks) {
    static const struct {
        int64_t columns;
        double halves, in_three;
    } sizes[] = {{256, 750, 0}, {128, 580, 180}};
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const int64_t units = device->limits.compute_units, numbers = LINE / xp_storage_bytes(node);
    const bool in_three = is_in_three(device, node);
    xp_tuning_parameter parts;
    xp_gemm_permit_parts(&parts, p->k);
    int count = 0;
    while (count < XP_TUNING_VALUES && parts.values[count]) count++;
    const int turn = device->matrix == XP_MATRIX_EMULATED ? (int)(p->n % count) : 0;
    tile best = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int part = turn; part < (device->matrix == XP_MATRIX_EMULATED ? turn + 1 : count); part++) {
            const double halves = sizes[i].halves / (xp_node_storage(node) == XP_F32 ? 2 : 1);
            const double rate = in_three ? sizes[i].in_three : halves;
            const tile t = {sizes[i].columns, stages_of(device, node, sizes[i].columns), parts.values[part]};
            if (t.stages < 2 || rate == 0) continue;
            const int64_t groups = xp_launch_blocks(p->m, TILE_ROWS) * xp_launch_blocks(p->n, t.columns) * t.parts;
            const double depth = (double)(xp_launch_blocks(xp_launch_blocks(p->k, t.parts), numbers) * numbers);
            const double time =
                (double)xp_launch_blocks(groups, units) * ((double)(TILE_ROWS * t.columns) * depth / rate + START) +
                xp_gemm_parts_clocks(device, p, t.parts);
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
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    double clocks;
    xp_tuning tuning;
    xp_gemm_matrix_request(device, node, &tuning);
    XP_TRY(xp_plan_tune(plan, node, &tuning));
    const tile own = choose_tile(device, node, &clocks);
    const int64_t numbers = 16 / (int64_t)xp_storage_bytes(node);
    const bool in_three = is_in_three(device, node);
    xp_launch_request product = {
        .file = "gemm_wgmma",
        .kernel = "gemm_wgmma",
        .variant.tuning = tuning.handle,
        .global = {(size_t)(xp_launch_blocks(p->m, TILE_ROWS) * xp_launch_blocks(p->n, own.columns)) * ITEMS},
        .local = {ITEMS}};
    xp_variant *variant = &product.variant;
    if (device->matrix == XP_MATRIX_NVIDIA) variant->edit_for = XP_WGMMA_TARGET;
    xp_variant_set(variant, "MATRIX", device->matrix);
    if (in_three) xp_variant_set(variant, "PRODUCTS", 3);
    xp_variant_set(variant, "COLUMNS", own.columns);
    xp_variant_set(variant, "STAGES", own.stages);
    return xp_gemm_emit_parts(plan, node, &product, own.parts, 8 * numbers, numbers,
                              xp_node_storage(node) != XP_F32 || in_three /* what is rounded on its way has no sums */);
}
