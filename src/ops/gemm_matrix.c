/* Matrix products on matrix units: tiles of cl/gemm_matrix.cl and its launch. */
#include "core/text.h"
#include "device/matrix.h"
#include "ops/gemm_launch.h"

#include <math.h>

enum { MOST_NARROW = 64 * 32 };
enum { GROUP_COLUMNS, SUB_ROWS, SUB_COLUMNS, DEPTH, STAGES, SHARES, PARTS, INSTRUCTION, PARAMETERS };

typedef struct block {
    int64_t group_columns, sub_rows, sub_columns, depth, stages, shares, parts;
    int64_t bytes; /* of a number */
} block;

static block block_of(const xp_tuning *tuning, const xp_node *node) {
    const xp_tuning_parameter *p = tuning->parameters;
    return (block){
        p[GROUP_COLUMNS].value, p[SUB_ROWS].value, p[SUB_COLUMNS].value, p[DEPTH].value,
        p[STAGES].value,        p[SHARES].value,   p[PARTS].value,       xp_node_storage(node) == XP_F32 ? 4 : 2};
}

static const xp_matrix_layout *layout_of(const xp_device *device) {
    return xp_matrix_layout_of(device->layout);
}

/* Sub-groups of a work-group, one above the other: small ones own small tiles. */
static int64_t group_rows(const xp_device *device) {
    return layout_of(device)->lanes < 32 ? 4 : 2;
}

static int64_t rows_of(const xp_device *device, const block *b) {
    return group_rows(device) * b->sub_rows;
}

static int64_t columns_of(const block *b) {
    return b->group_columns * b->sub_columns;
}

static int64_t groups_of(const xp_device *device, const block *b, const xp_gemm_attributes *p) {
    return xp_launch_blocks(p->m, rows_of(device, b)) * xp_launch_blocks(p->n, columns_of(b));
}

static int64_t items_of(const xp_device *device, const block *b) {
    return layout_of(device)->lanes * group_rows(device) * b->group_columns * b->shares;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Bytes of local memory: the rings, or the sums that take their place; and what the emulation shares. */
static int64_t local_bytes(const xp_device *device, const xp_gemm_attributes *p, const block *b) {
    const xp_matrix_layout *layout = layout_of(device);
    const int64_t rows = rows_of(device, b), columns = columns_of(b),
                  sub_groups = group_rows(device) * b->group_columns,
                  tile_a = xp_matrix_tile_bytes(device->layout, p->transpose_a ? b->depth : rows,
                                                (p->transpose_a ? rows : b->depth) * b->bytes),
                  tile_b = xp_matrix_tile_bytes(device->layout, p->transpose_b ? columns : b->depth,
                                                (p->transpose_b ? b->depth : columns) * b->bytes),
                  rings = b->shares * b->stages * (tile_a + tile_b),
                  sums = sub_groups * layout->rows * (b->sub_columns + 8) * 4,
                  given = b->shares > 1 ? rows * columns * 4 : 0,
                  shared = b->shares * sub_groups * layout->lanes * 4 *
                           (b->sub_rows / layout->rows * layout->left_words +
                            b->sub_columns / layout->columns * layout->right_words);
    return larger(rings, larger(sums, given)) + (device->matrix == XP_MATRIX_EMULATED ? shared : 0);
}

/* Work-items that a compute unit has registers for: one of NVIDIA's has 65,536, of which a work-item of a tile beyond
 * 32×32 takes up to 255, and of a smaller one half of these. */
static int64_t room_of(const block *b) {
    return b->sub_rows * b->sub_columns > 32 * 32 ? 256 : 512;
}

static bool block_fits(const xp_device *device, const xp_gemm_attributes *p, const block *b) {
    return local_bytes(device, p, b) <= (int64_t)device->limits.static_local_bytes &&
           items_of(device, b) <= (int64_t)device->limits.work_group_size &&
           (!layout_of(device)->asynchronous || items_of(device, b) <= room_of(b));
}

static bool fits(const xp_tuning *tuning, const xp_device *device, const void *node) {
    const block b = block_of(tuning, node);
    return block_fits(device, XP_ATTRIBUTES(xp_gemm_attributes, (const xp_node *)node), &b);
}

/* Whether a sub-group's tile is at most 64×32: what fp32, sums of the left factor and some units' fragments need beside
 * the sums of the product leaves registers for no more. */
static bool is_narrow(const xp_device *device, const xp_node *node) {
    return xp_node_storage(node) == XP_F32 || xp_gemm_tensors_of(node).sums || layout_of(device)->most <= MOST_NARROW;
}

/* Factors that are rounded on their way. */
static bool is_rounded(const xp_device *device, const xp_node *node) {
    return xp_node_storage(node) == XP_F32 && device->arithmetic == XP_ARITHMETIC_TF32;
}

/* They pass through registers, and so do all where no copies run beside arithmetic: then the ring has two stages. */
static bool is_held(const xp_device *device, const xp_node *node) {
    return is_rounded(device, node) || !layout_of(device)->asynchronous;
}

/* A tile, and the multiply-adds of a compute unit in a clock: with several work-groups on it, and with one, which has
 * nothing to hide its waits behind. Of numbers of 16 bits, and of fp32 in three products. */
typedef struct tile_rate {
    int64_t group_columns, sub_rows, sub_columns;
    struct {
        double full, alone;
    } halves, singles;
} tile_rate;

/* As tools/compile-lab estimates them for an H200. */
static const tile_rate tile_rates[] = {
    {2, 64, 64, {552, 455}, {0, 0}},     {4, 64, 32, {437, 437}, {145, 145}}, {2, 64, 32, {375, 291}, {142, 117}},
    {2, 32, 64, {375, 291}, {142, 117}}, {2, 32, 32, {278, 196}, {114, 85}},  {2, 16, 32, {183, 117}, {79, 53}},
    {2, 16, 16, {132, 73}, {59, 35}},
};

/* Clocks of the compute unit with the most work-groups. Those that it has room for at one time, and shares, hide each
 * other's waits; shares give their sums away by way of local memory. A second launch costs the host as much as the work
 * of some thousand clocks, and the device little less. */
static double clocks(const xp_device *device, const xp_gemm_attributes *p, const block *b, const tile_rate *rate) {
    enum { GIVE = 400, START = 1500 };
    const int64_t units = device->limits.compute_units;
    const bool in_three = b->bytes == 4 && device->arithmetic == XP_ARITHMETIC_FP32_MATRIX;
    const double full = in_three ? rate->singles.full : rate->halves.full;
    const double alone = in_three ? rate->singles.alone : rate->halves.alone;
    const double groups = (double)xp_launch_blocks(groups_of(device, b, p) * b->parts, units);
    const double tile = (double)(rows_of(device, b) * columns_of(b) * xp_launch_blocks(p->k, b->parts));
    const double together = fmax(1, fmin(groups, (double)(room_of(b) / items_of(device, b))));
    const double rounds = ceil(groups / together), waits = (1 / alone - 1 / full) / (together * (double)b->shares);
    return tile * (groups / full + rounds * waits) * (b->bytes == 4 && !in_three ? 2 : 1) + rounds * START +
           (double)(b->shares - 1) * GIVE * groups + xp_gemm_parts_clocks(device, p, b->parts);
}

/* The tile, the shares and the parts that are estimated to be fastest, and their clocks. */
static block choose_block(const xp_device *device, const xp_node *node, const xp_tuning_parameter *shares,
                          const xp_tuning_parameter *parts, double *least) {
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const bool single = xp_node_storage(node) == XP_F32;
    const int64_t depth = single ? 16 : 32, stages = is_held(device, node) ? 2 : 3, bytes = single ? 4 : 2;
    block best = {0};
    for (size_t i = 0; i < sizeof tile_rates / sizeof *tile_rates; i++)
        for (int share = 0; share < XP_TUNING_VALUES && shares->values[share]; share++)
            for (int part = 0; part < XP_TUNING_VALUES && parts->values[part]; part++) {
                const tile_rate *rate = &tile_rates[i];
                const int64_t sums = rate->sub_rows * rate->sub_columns;
                const block b = {
                    rate->group_columns, rate->sub_rows, rate->sub_columns, depth, stages, shares->values[share],
                    parts->values[part], bytes};
                if ((is_narrow(device, node) && sums > MOST_NARROW) || sums > layout_of(device)->most) continue;
                if (items_of(device, &b) > (int64_t)device->limits.work_group_size) continue;
                if (b.shares > 1 && !block_fits(device, p, &b)) continue;
                const double time = clocks(device, p, &b, rate);
                if (best.bytes == 0 || time < *least) {
                    best = b;
                    *least = time;
                }
            }
    return best;
}

/* Emulated units have no speed to choose by: products that are not deep take turns. */
static long instruction_of(const xp_device *device, const xp_node *node, double clocks) {
    enum { DEEP = 512 };
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const double wgmma = xp_gemm_wgmma_clocks(device, node);
    const bool turn = p->k <= DEEP && (p->m + p->n + p->k) / 8 % 2;
    return wgmma < INFINITY && (device->matrix == XP_MATRIX_EMULATED ? turn : wgmma < clocks) ? XP_INSTRUCTION_WGMMA
                                                                                              : XP_INSTRUCTION_MMA;
}

int xp_gemm_matrix_request(const xp_device *device, const xp_node *node, xp_tuning *out) {
    xp_tuning_parameter parts, shares = {"SHARES", 1, {1, 2, 4}};
    double clocks = 0;
    xp_gemm_permit_parts(&parts, XP_ATTRIBUTES(xp_gemm_attributes, node)->k);
    const block usual = choose_block(device, node, &shares, &parts, &clocks);
    const bool single = xp_node_storage(node) == XP_F32;
    const int most = layout_of(device)->most;
    const block tall = {.group_columns = 4, .shares = 1};
    const long four = items_of(device, &tall) <= (int64_t)device->limits.work_group_size ? 4 : 0;
    *out = (xp_tuning){
        .kernel = "gemm_matrix",
        .file = "gemm_matrix",
        .count = PARAMETERS,
        .parameters = {{"GROUP_COLUMNS", usual.group_columns, {2, four}},
                       {"SUB_ROWS", usual.sub_rows, {16, most >= 32 * 32 ? 32 : 0, most >= 64 * 32 ? 64 : 0}},
                       {"SUB_COLUMNS", usual.sub_columns, {16, 32, is_narrow(device, node) ? 0 : 64}},
                       {"DEPTH", usual.depth, {single ? 16 : 32, single ? 32 : 64}},
                       {"STAGES", usual.stages, {2, 3, 4}}}};
    out->parameters[SHARES] = shares;
    out->parameters[SHARES].value = usual.shares;
    out->parameters[PARTS] = parts;
    out->parameters[PARTS].value = usual.parts;
    if (is_held(device, node)) out->parameters[STAGES] = (xp_tuning_parameter){"STAGES", 2, {2}};
    out->parameters[INSTRUCTION] = (xp_tuning_parameter){"INSTRUCTION", XP_INSTRUCTION_MMA, {XP_INSTRUCTION_MMA}};
    if (xp_gemm_wgmma_clocks(device, node) < INFINITY) {
        out->other = "gemm_wgmma";
        out->parameters[INSTRUCTION] = (xp_tuning_parameter){.name = "INSTRUCTION",
                                                             .value = instruction_of(device, node, clocks),
                                                             .values = {XP_INSTRUCTION_MMA, XP_INSTRUCTION_WGMMA},
                                                             .exclusive = XP_INSTRUCTION_WGMMA};
    }
    xp_gemm_name_shape(out, node);
    if (single) xp_text_add(out->shape, sizeof out->shape, " %s", xp_arithmetic_name(device->arithmetic));
    return INSTRUCTION;
}

static xp_status tune(xp_plan *plan, const xp_node *node, block *out, int *handle) {
    static const int order[] = {STAGES, DEPTH, SHARES, SUB_COLUMNS, SUB_ROWS, GROUP_COLUMNS};
    const xp_device *device = xp_plan_device(plan);
    xp_tuning tuning;
    xp_gemm_matrix_request(device, node, &tuning);
    XP_TRY(xp_plan_tune(plan, node, &tuning));
    xp_tuning_fit(&tuning, order, sizeof order / sizeof order[0], device, node, fits);
    *out = block_of(&tuning, node);
    *handle = tuning.handle;
    return XP_OK;
}

bool xp_gemm_supports_matrix(const xp_device *device, const xp_node *node) {
    const block least = {.group_columns = 2, .shares = 1};
    return device->matrix != XP_MATRIX_NONE && xp_supports_storage(device, node) &&
           (xp_node_storage(node) != XP_F32 ||
            (device->arithmetic != XP_ARITHMETIC_FP32 && xp_matrix_multiplies_singles(device))) &&
           (int64_t)device->limits.work_group_size >= items_of(device, &least);
}

xp_status xp_gemm_emit_matrix(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_device *device = xp_plan_device(plan);
    block b;
    int handle;
    XP_TRY(tune(plan, node, &b, &handle));
    const size_t items = (size_t)items_of(device, &b);
    xp_launch_request product = {
        .file = "gemm_matrix",
        .kernel = "gemm_matrix",
        .variant.tuning = handle,
        .global = {(size_t)groups_of(device, &b, XP_ATTRIBUTES(xp_gemm_attributes, node)) * items},
        .local = {items}};
    xp_variant *variant = &product.variant;
    xp_matrix_set(variant, device->matrix, device->layout);
    if (b.bytes == 4 && device->arithmetic == XP_ARITHMETIC_FP32_MATRIX) xp_variant_set(variant, "PRODUCTS", 3);
    if (group_rows(device) != 2) xp_variant_set(variant, "GROUP_ROWS", group_rows(device));
    xp_variant_set(variant, "GROUP_COLUMNS", b.group_columns);
    xp_variant_set(variant, "SUB_ROWS", b.sub_rows);
    xp_variant_set(variant, "SUB_COLUMNS", b.sub_columns);
    xp_variant_set(variant, "DEPTH", b.depth);
    xp_variant_set(variant, "STAGES", b.stages);
    if (b.shares > 1) xp_variant_set(variant, "SHARES", b.shares);
    return xp_gemm_emit_parts(plan, node, &product, b.parts, b.depth * b.shares, 16 / b.bytes,
                              !is_rounded(device, node));
}
