/* Matrix products on matrix units: tiles of cl/gemm_matrix.cl and its launch. */
#include "core/text.h"
#include "ops/gemm_launch.h"
#include "ops/reduction.h"

enum { LANES = 32, GROUP_ROWS = 2, LEFT = 16 /* rows of a fragment */, RIGHT = 8 /* its columns */, MOST_SINGLE = 32 };
enum { GROUP_COLUMNS, SUB_ROWS, SUB_COLUMNS, DEPTH, STAGES, PARAMETERS };

typedef struct block {
    int64_t group_columns, sub_rows, sub_columns, depth, stages;
    int64_t bytes; /* of a number */
} block;

static int64_t rows_of(const block *b) {
    return GROUP_ROWS * b->sub_rows;
}

static int64_t columns_of(const block *b) {
    return b->group_columns * b->sub_columns;
}

static int64_t groups_of(const block *b, const xp_gemm_attributes *p) {
    return xp_launch_blocks(p->m, rows_of(b)) * xp_launch_blocks(p->n, columns_of(b));
}

/* Bytes of local memory: the ring or the rows of sums that take its place, and what the emulation shares. */
static int64_t local_bytes(const xp_device *device, const block *b) {
    const int64_t sub_groups = GROUP_ROWS * b->group_columns,
                  ring = b->stages * (rows_of(b) + columns_of(b)) * b->depth * b->bytes,
                  sums = sub_groups * LEFT * (b->sub_columns + 8) * 4,
                  shared = sub_groups * (b->sub_rows / LEFT * 4 + b->sub_columns / RIGHT * 2) * LANES * 4;
    return (ring > sums ? ring : sums) + (device->matrix == XP_MATRIX_EMULATED ? shared : 0);
}

/* Factors that are rounded on their way pass through registers, not through a ring. */
static bool is_held(const xp_device *device, const xp_node *node) {
    return xp_node_storage(node) == XP_F32 && device->arithmetic == XP_ARITHMETIC_TF32;
}

/* The tile that fills the compute units best: the time of the one that has most to do, by the share of the units' rate
 * that a tile's size allows. A work-group alone on a unit has nothing to hide its waits behind. What fp32 needs beside
 * the sums leaves registers for no more than 64×32 of them. */
static block choose_block(const xp_device *device, const xp_node *node) {
    static const struct {
        int64_t group_columns, sub_rows, sub_columns;
        double rate;
    } sizes[] = {{2, 64, 64, 1.0},  {4, 64, 32, 0.85}, {2, 64, 32, 0.8}, {2, 32, 64, 0.8},
                 {2, 32, 32, 0.55}, {2, 16, 32, 0.35}, {2, 16, 16, 0.2}};
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const bool single = xp_node_storage(node) == XP_F32;
    block best = {0};
    double least = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (single && sizes[i].sub_columns > MOST_SINGLE) continue;
        const block b = {sizes[i].group_columns,        sizes[i].sub_rows, sizes[i].sub_columns, single ? 16 : 32,
                         is_held(device, node) ? 2 : 3, single ? 4 : 2};
        const int64_t rounds = xp_launch_blocks(groups_of(&b, p), device->limits.compute_units);
        const double time = ((double)rounds + 0.5) * (double)(rows_of(&b) * columns_of(&b)) / sizes[i].rate;
        if (best.bytes == 0 || time < least) {
            best = b;
            least = time;
        }
    }
    return best;
}

/* What the table asks for may need more local memory than there is. */
static void fit(const xp_device *device, block *b) {
    while (local_bytes(device, b) > (int64_t)device->limits.local_bytes) {
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

static xp_status tune(xp_plan *plan, const xp_node *node, block *out, int *handle) {
    const xp_device *device = xp_plan_device(plan);
    const block usual = choose_block(device, node);
    const bool single = xp_node_storage(node) == XP_F32;
    xp_tuning tuning = {.kernel = "gemm_matrix",
                        .file = "gemm_matrix",
                        .count = PARAMETERS,
                        .parameters = {{"GROUP_COLUMNS", usual.group_columns, {2, 4}},
                                       {"SUB_ROWS", usual.sub_rows, {16, 32, 64}},
                                       {"SUB_COLUMNS", usual.sub_columns, {16, 32, single ? 0 : 64}},
                                       {"DEPTH", usual.depth, {single ? 16 : 32, single ? 32 : 64}},
                                       {"STAGES", usual.stages, {2, 3, 4}}}};
    if (is_held(device, node)) tuning.parameters[STAGES] = (xp_tuning_parameter){"STAGES", 2, {2}};
    xp_gemm_name_shape(&tuning, node);
    if (single) xp_text_add(tuning.shape, sizeof tuning.shape, " %s", xp_arithmetic_name(device->arithmetic));
    XP_TRY(xp_plan_tune(plan, node, &tuning));
    *out = usual;
    out->group_columns = tuning.parameters[GROUP_COLUMNS].value;
    out->sub_rows = tuning.parameters[SUB_ROWS].value;
    out->sub_columns = tuning.parameters[SUB_COLUMNS].value;
    out->depth = tuning.parameters[DEPTH].value;
    out->stages = tuning.parameters[STAGES].value;
    *handle = tuning.handle;
    fit(device, out);
    return XP_OK;
}

bool xp_gemm_supports_matrix(const xp_device *device, const xp_node *node) {
    enum { MOST_ITEMS = LANES * GROUP_ROWS * 4 };
    return device->matrix != XP_MATRIX_NONE && xp_supports_storage(device, node) &&
           (xp_node_storage(node) != XP_F32 || device->arithmetic != XP_ARITHMETIC_FP32) &&
           device->limits.work_group_size >= MOST_ITEMS;
}

/* Rows of the stored matrix consist of whole chunks of 16 bytes: storage itself is aligned. */
static bool is_aligned(const xp_tensor *matrix) {
    return matrix->shape[1] % (16 / (int64_t)xp_type_bytes(matrix->type)) == 0;
}

xp_status xp_gemm_emit_matrix(xp_plan *plan, const xp_node *node, xp_family family) {
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const xp_gemm_attributes *p = t.attributes;
    block b;
    int handle;
    XP_TRY(tune(plan, node, &b, &handle));
    const xp_device *device = xp_plan_device(plan);
    const bool three = b.bytes == 4 && device->arithmetic == XP_ARITHMETIC_FP32_MATRIX;
    const size_t items = (size_t)(LANES * GROUP_ROWS * b.group_columns);
    xp_launch_request product = {.file = "gemm_matrix",
                                 .kernel = "gemm_matrix",
                                 .variant.tuning = handle,
                                 .dimensions = 1,
                                 .global = {(size_t)groups_of(&b, p) * items},
                                 .local = {items},
                                 .flops = xp_gemm_flops(p),
                                 .bytes = xp_gemm_bytes(p, xp_gemm_results(&t), xp_storage_bytes(node))};
    xp_variant_set(&product.variant, "MATRIX", device->matrix);
    if (three) xp_variant_set(&product.variant, "PRODUCTS", 3);
    xp_variant_set(&product.variant, "GROUP_COLUMNS", b.group_columns);
    xp_variant_set(&product.variant, "SUB_ROWS", b.sub_rows);
    xp_variant_set(&product.variant, "SUB_COLUMNS", b.sub_columns);
    xp_variant_set(&product.variant, "DEPTH", b.depth);
    xp_variant_set(&product.variant, "STAGES", b.stages);
    xp_variant_set(&product.variant, "TRANSPOSE_A", p->transpose_a);
    xp_variant_set(&product.variant, "TRANSPOSE_B", p->transpose_b);
    xp_variant_set(&product.variant, "ALIGNED_A", is_aligned(t.a));
    xp_variant_set(&product.variant, "ALIGNED_B", is_aligned(t.b));
    xp_gemm_set_epilogue(&product.variant, &t);
    xp_storage_set(&product.variant, node);
    xp_launch_read(&product, t.a);
    xp_launch_read(&product, t.b);
    xp_gemm_pass_epilogue(&product, &t);
    xp_launch_int(&product, p->k);
    XP_TRY(xp_plan_launch(plan, node, &product));
    return t.sums ? xp_column_sum_launch(plan, node, t.a, t.sums, XP_FAMILY_TILED) : XP_OK;
}
