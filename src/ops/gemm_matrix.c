/* Matrix products on matrix units: tiles of cl/gemm_matrix.cl and its launch. */
#include "core/text.h"
#include "device/matrix.h"
#include "ops/gemm_launch.h"
#include "ops/reduction.h"

#include <math.h>

enum { MOST_NARROW = 64 * 32 };
enum { GROUP_COLUMNS, SUB_ROWS, SUB_COLUMNS, DEPTH, STAGES, PARTS, INSTRUCTION, PARAMETERS };

typedef struct block {
    int64_t group_columns, sub_rows, sub_columns, depth, stages, parts;
    int64_t bytes; /* of a number */
} block;

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
    return layout_of(device)->lanes * group_rows(device) * b->group_columns;
}

/* Bytes of local memory: the ring or the rows of sums that take its place, and what the emulation shares. */
static int64_t local_bytes(const xp_device *device, const xp_gemm_attributes *p, const block *b) {
    const xp_matrix_layout *layout = layout_of(device);
    const int64_t rows = rows_of(device, b), columns = columns_of(b),
                  sub_groups = group_rows(device) * b->group_columns,
                  tile_a = xp_matrix_tile_bytes(device->layout, p->transpose_a ? b->depth : rows,
                                                (p->transpose_a ? rows : b->depth) * b->bytes),
                  tile_b = xp_matrix_tile_bytes(device->layout, p->transpose_b ? columns : b->depth,
                                                (p->transpose_b ? b->depth : columns) * b->bytes),
                  ring = b->stages * (tile_a + tile_b), sums = sub_groups * layout->rows * (b->sub_columns + 8) * 4,
                  shared = sub_groups * layout->lanes * 4 *
                           (b->sub_rows / layout->rows * layout->left_words +
                            b->sub_columns / layout->columns * layout->right_words);
    return (ring > sums ? ring : sums) + (device->matrix == XP_MATRIX_EMULATED ? shared : 0);
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

/* Clocks of the compute unit with the most work-groups, as a large GPU has them. On an H200 two tiles of 128×128 on a
 * unit reached 540 multiply-adds of 16 bits a clock; smaller ones read more of local memory and of the cache for each. A
 * work-group alone on a unit has nothing to hide its waits behind, which count for less where a number takes several products. A
 * second launch costs the host as much as the work of some thousand clocks, and the device little less. */
static double clocks(const xp_device *device, const xp_gemm_attributes *p, const block *b, double rate) {
    enum { RATE = 540, LAUNCH = 12500, BYTES = 18 /* of device memory, a clock and unit */ };
    const int64_t units = device->limits.compute_units;
    const double products = b->bytes == 2 ? 1 : device->arithmetic == XP_ARITHMETIC_TF32 ? 2 : 6;
    const double rounds = (double)xp_launch_blocks(groups_of(device, b, p) * b->parts, units) + 1 / (1 + products);
    const double tile = (double)(rows_of(device, b) * columns_of(b) * xp_launch_blocks(p->k, b->parts));
    const double product = rounds * tile * products / (RATE * rate);
    return b->parts == 1 ? product : product + LAUNCH + (double)(8 * b->parts * p->m * p->n) / (double)(BYTES * units);
}

/* The tile and the parts that are estimated to be fastest, and their clocks. */
static block choose_block(const xp_device *device, const xp_node *node, const xp_tuning_parameter *parts,
                          double *least) {
    static const struct {
        int64_t group_columns, sub_rows, sub_columns;
        double rate;
    } sizes[] = {{2, 64, 64, 1.0},  {4, 64, 32, 0.85}, {2, 64, 32, 0.8}, {2, 32, 64, 0.8},
                 {2, 32, 32, 0.55}, {2, 16, 32, 0.35}, {2, 16, 16, 0.2}};
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    block best = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int part = 0; part < XP_TUNING_VALUES && parts->values[part]; part++) {
            if (is_narrow(device, node) && sizes[i].sub_rows * sizes[i].sub_columns > MOST_NARROW) continue;
            if (sizes[i].sub_rows * sizes[i].sub_columns > layout_of(device)->most) continue;
            const bool single = xp_node_storage(node) == XP_F32;
            const block b = {sizes[i].group_columns,        sizes[i].sub_rows,   sizes[i].sub_columns, single ? 16 : 32,
                             is_held(device, node) ? 2 : 3, parts->values[part], single ? 4 : 2};
            if (items_of(device, &b) > (int64_t)device->limits.work_group_size) continue;
            const double time = clocks(device, p, &b, sizes[i].rate);
            if (best.bytes == 0 || time < *least) {
                best = b;
                *least = time;
            }
        }
    return best;
}

/* What the table asks for may need more local memory than there is. */
static void fit(const xp_device *device, const xp_gemm_attributes *p, block *b) {
    while (local_bytes(device, p, b) > (int64_t)device->limits.local_bytes) {
        if (b->stages > 2)
            b->stages--;
        else if (b->depth * b->bytes > 64)
            b->depth /= 2;
        else if (b->sub_columns > 16)
            b->sub_columns /= 2;
        else if (b->sub_rows > 16)
            b->sub_rows /= 2;
        else
            return;
    }
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
    xp_tuning_parameter parts;
    double clocks = 0;
    xp_gemm_permit_parts(&parts, XP_ATTRIBUTES(xp_gemm_attributes, node)->k);
    const block usual = choose_block(device, node, &parts, &clocks);
    const bool single = xp_node_storage(node) == XP_F32;
    const int most = layout_of(device)->most;
    const block tall = {.group_columns = 4};
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
    const xp_device *device = xp_plan_device(plan);
    xp_tuning tuning;
    xp_gemm_matrix_request(device, node, &tuning);
    XP_TRY(xp_plan_tune(plan, node, &tuning));
    out->bytes = xp_node_storage(node) == XP_F32 ? 4 : 2;
    out->group_columns = tuning.parameters[GROUP_COLUMNS].value;
    out->sub_rows = tuning.parameters[SUB_ROWS].value;
    out->sub_columns = tuning.parameters[SUB_COLUMNS].value;
    out->depth = tuning.parameters[DEPTH].value;
    out->stages = tuning.parameters[STAGES].value;
    out->parts = tuning.parameters[PARTS].value;
    *handle = tuning.handle;
    fit(device, XP_ATTRIBUTES(xp_gemm_attributes, node), out);
    return XP_OK;
}

bool xp_gemm_supports_matrix(const xp_device *device, const xp_node *node) {
    const block least = {.group_columns = 2};
    return device->matrix != XP_MATRIX_NONE && xp_supports_storage(device, node) &&
           (xp_node_storage(node) != XP_F32 ||
            (device->arithmetic != XP_ARITHMETIC_FP32 && xp_matrix_multiplies_singles(device))) &&
           (int64_t)device->limits.work_group_size >= items_of(device, &least);
}

xp_status xp_gemm_emit_matrix(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_device *device = xp_plan_device(plan);
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const xp_gemm_attributes *p = t.attributes;
    block b;
    int handle;
    XP_TRY(tune(plan, node, &b, &handle));
    const bool own_sums = t.sums && !is_rounded(device, node);
    const int64_t part_depth = xp_launch_blocks(xp_launch_blocks(p->k, b.parts), b.depth) * b.depth;
    const int64_t part_count = xp_launch_blocks(p->k, part_depth);
    const bool partial = part_count > 1;
    xp_tensor *parts = partial ? xp_plan_scratch(plan, node, part_count * p->m * p->n) : NULL;
    xp_tensor *part_sums = partial && own_sums ? xp_plan_scratch(plan, node, part_count * p->m) : NULL;
    if (partial && (!parts || (own_sums && !part_sums))) return XP_OUT_OF_MEMORY;

    const size_t items = (size_t)items_of(device, &b);
    xp_launch_request product = {.file = "gemm_matrix",
                                 .kernel = "gemm_matrix",
                                 .variant.tuning = handle,
                                 .dimensions = 2,
                                 .global = {(size_t)groups_of(device, &b, p) * items, (size_t)part_count},
                                 .local = {items, 1},
                                 .flops = xp_gemm_flops(p),
                                 .bytes = xp_gemm_bytes(&t)};
    xp_variant *variant = &product.variant;
    xp_matrix_set(variant, device->matrix, device->layout);
    if (b.bytes == 4 && device->arithmetic == XP_ARITHMETIC_FP32_MATRIX) xp_variant_set(variant, "PRODUCTS", 3);
    if (group_rows(device) != 2) xp_variant_set(variant, "GROUP_ROWS", group_rows(device));
    xp_variant_set(variant, "GROUP_COLUMNS", b.group_columns);
    xp_variant_set(variant, "SUB_ROWS", b.sub_rows);
    xp_variant_set(variant, "SUB_COLUMNS", b.sub_columns);
    xp_variant_set(variant, "DEPTH", b.depth);
    xp_variant_set(variant, "STAGES", b.stages);
    xp_gemm_set_layout(variant, &t);
    if (partial) xp_variant_set(variant, "PARTIAL", 1);
    if (own_sums) xp_variant_set(variant, "SUMS", 1);
    if (!partial) xp_gemm_set_epilogue(variant, node, &t);
    xp_storage_set(variant, node);
    xp_launch_read(&product, t.a);
    xp_launch_read(&product, t.b);
    const xp_gemm_tensors unfinished = {.attributes = p};
    xp_gemm_pass_epilogue(&product, partial ? &unfinished : &t);
    xp_launch_int(&product, p->k);
    xp_launch_int(&product, part_depth);
    xp_launch_write(&product, parts);
    xp_launch_write(&product, partial ? part_sums : own_sums ? t.sums : NULL);
    XP_TRY(xp_plan_launch(plan, node, &product));
    if (partial) XP_TRY(xp_gemm_emit_finish(plan, node, parts, part_sums, part_count, handle));
    return t.sums && !own_sums ? xp_column_sum_launch(plan, node, t.a, t.sums, XP_FAMILY_TILED) : XP_OK;
}
