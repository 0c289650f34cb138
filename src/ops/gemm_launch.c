#include "ops/gemm_launch.h"
#include "ops/reduction.h"

#include <stdio.h>

xp_gemm_tensors xp_gemm_tensors_of(const xp_node *node) {
    return (xp_gemm_tensors){.attributes = XP_ATTRIBUTES(xp_gemm_attributes, node),
                             .a = node->inputs[0],
                             .b = node->inputs[1],
                             .bias = node->inputs[2],
                             .partner = node->inputs[3],
                             .random_state = node->inputs[4],
                             .y = node->outputs[0],
                             .z = node->outputs[1],
                             .sums = node->outputs[2]};
}

double xp_gemm_flops(const xp_gemm_attributes *p) {
    return 2.0 * (double)p->m * (double)p->n * (double)p->k;
}

double xp_gemm_result_bytes(const xp_gemm_tensors *t) {
    size_t bytes = xp_tensor_bytes(t->y);
    if (t->z) bytes += xp_tensor_bytes(t->z);
    if (t->partner) bytes += xp_tensor_bytes(t->partner);
    return (double)bytes;
}

double xp_gemm_bytes(const xp_gemm_tensors *t) {
    return (double)(xp_tensor_bytes(t->a) + xp_tensor_bytes(t->b)) + xp_gemm_result_bytes(t);
}

void xp_gemm_set_epilogue(xp_variant *variant, const xp_node *node, const xp_gemm_tensors *t) {
    xp_variant_set(variant, "BIAS", t->bias != NULL);
    xp_variant_set(variant, "ACTIVATION", t->attributes->activation);
    xp_variant_set(variant, "KEEP_Z", t->z != NULL);
    if (t->random_state) xp_variant_set(variant, "DROPOUT", 1);
    if (t->attributes->combine != XP_COMBINE_NONE) xp_variant_set(variant, "COMBINE", t->attributes->combine);
    xp_result_set(variant, node);
}

/* Rows of the stored matrix consist of whole chunks: storage itself is aligned. */
static bool is_aligned(const xp_tensor *matrix, int64_t numbers) {
    return matrix->shape[1] % numbers == 0;
}

/* TRANSPOSE_A and _B, ALIGNED_A and _B in chunks of so many numbers, and ALIGNED_Y in fours. */
static void set_layout(xp_variant *variant, const xp_gemm_tensors *t, int64_t numbers) {
    xp_variant_set(variant, "TRANSPOSE_A", t->attributes->transpose_a);
    xp_variant_set(variant, "TRANSPOSE_B", t->attributes->transpose_b);
    xp_variant_set(variant, "ALIGNED_A", is_aligned(t->a, numbers));
    xp_variant_set(variant, "ALIGNED_B", is_aligned(t->b, numbers));
    xp_variant_set(variant, "ALIGNED_Y", is_aligned(t->y, 4));
}

void xp_gemm_name_shape(xp_tuning *tuning, const xp_node *node) {
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const xp_type storage = xp_node_storage(node);
    snprintf(tuning->shape, sizeof tuning->shape, "%c%c %lldx%lldx%lld%s%s", p->transpose_a ? 't' : 'n',
             p->transpose_b ? 't' : 'n', (long long)p->m, (long long)p->n, (long long)p->k,
             storage == XP_F32 ? "" : " ", storage == XP_F32 ? "" : xp_type_name(storage));
}

/* EPILOGUE_PARAMETERS of cl/gemm_epilogue.clh. */
static void pass_epilogue(xp_launch_request *request, const xp_gemm_tensors *t) {
    xp_launch_read(request, t->bias);
    xp_launch_read(request, t->partner);
    xp_launch_read(request, t->random_state);
    xp_launch_write(request, t->y);
    xp_launch_write(request, t->z);
    xp_launch_int(request, t->attributes->m);
    xp_launch_int(request, t->attributes->n);
    xp_launch_uint(request, t->attributes->dropout.threshold);
    xp_launch_uint(request, t->attributes->dropout.stream);
    xp_launch_float(request, xp_building_keep_scale(&t->attributes->dropout));
}

void xp_gemm_permit_parts(xp_tuning_parameter *parts, int64_t k) {
    enum { LEAST_DEPTH = 64, MOST_PARTS = 32 };
    *parts = (xp_tuning_parameter){"PARTS", 1, {1}};
    for (long value = 2, i = 1; value <= MOST_PARTS && k / value >= LEAST_DEPTH; value *= 2) parts->values[i++] = value;
}

xp_status xp_gemm_emit_finish(xp_plan *plan, const xp_node *node, xp_tensor *parts, xp_tensor *part_sums, int64_t count,
                              int tuning) {
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const int64_t m = t.attributes->m, n = t.attributes->n;
    enum { FINISH_GROUP = 64 };
    xp_launch_request finish = {
        .file = "gemm_finish",
        .kernel = "gemm_finish",
        .dimensions = 1,
        .global = {(size_t)xp_launch_blocks(m * xp_launch_blocks(n, 4), FINISH_GROUP) * FINISH_GROUP},
        .local = {FINISH_GROUP},
        .flops = (double)(count * m * n),
        .bytes = 4.0 * (double)(count * m * n) + xp_gemm_result_bytes(&t)};
    finish.variant.tuning = tuning;
    xp_gemm_set_epilogue(&finish.variant, node, &t);
    xp_variant_set(&finish.variant, "ALIGNED_Y", n % 4 == 0);
    if (part_sums) xp_variant_set(&finish.variant, "SUMS", 1);
    xp_storage_set(&finish.variant, node);
    pass_epilogue(&finish, &t);
    xp_launch_read(&finish, parts);
    xp_launch_read(&finish, part_sums);
    xp_launch_write(&finish, part_sums ? t.sums : NULL);
    xp_launch_int(&finish, count);
    return xp_plan_launch(plan, node, &finish);
}

double xp_gemm_parts_clocks(const xp_device *device, const xp_gemm_attributes *p, int64_t parts) {
    /* A second launch costs the host as much as the work of some thousand clocks, and the device little less. */
    enum { LAUNCH = 12500, BYTES = 18 /* of device memory, a clock and unit */ };
    return parts == 1 ? 0 : LAUNCH + (double)(8 * parts * p->m * p->n) / (double)(BYTES * device->limits.compute_units);
}

xp_status xp_gemm_emit_parts(xp_plan *plan, const xp_node *node, xp_launch_request *product, int64_t parts,
                             int64_t slice, int64_t numbers, bool own_sums) {
    const xp_gemm_tensors t = xp_gemm_tensors_of(node), unfinished = {.attributes = t.attributes};
    const xp_gemm_attributes *p = t.attributes;
    const int64_t depth = xp_launch_blocks(xp_launch_blocks(p->k, parts), slice) * slice;
    const int64_t count = xp_launch_blocks(p->k, depth);
    const bool partial = count > 1, sums = t.sums && own_sums;
    xp_tensor *partial_y = partial ? xp_plan_scratch(plan, node, count * p->m * p->n) : NULL;
    xp_tensor *partial_sums = partial && sums ? xp_plan_scratch(plan, node, count * p->m) : NULL;
    if (partial && (!partial_y || (sums && !partial_sums))) return XP_OUT_OF_MEMORY;
    product->dimensions = 2;
    product->global[1] = (size_t)count;
    product->local[1] = 1;
    product->flops = xp_gemm_flops(p);
    product->bytes = xp_gemm_bytes(&t);
    set_layout(&product->variant, &t, numbers);
    if (partial) xp_variant_set(&product->variant, "PARTIAL", 1);
    if (sums) xp_variant_set(&product->variant, "SUMS", 1);
    if (!partial) xp_gemm_set_epilogue(&product->variant, node, &t);
    xp_storage_set(&product->variant, node);
    xp_launch_read(product, t.a);
    xp_launch_read(product, t.b);
    pass_epilogue(product, partial ? &unfinished : &t);
    xp_launch_int(product, p->k);
    xp_launch_int(product, depth);
    xp_launch_write(product, partial_y);
    xp_launch_write(product, partial ? partial_sums : sums ? t.sums : NULL);
    XP_TRY(xp_plan_launch(plan, node, product));
    if (partial) XP_TRY(xp_gemm_emit_finish(plan, node, partial_y, partial_sums, count, product->variant.tuning));
    return t.sums && !own_sums ? xp_column_sum_launch(plan, node, t.a, t.sums, XP_FAMILY_TILED) : XP_OK;
}
