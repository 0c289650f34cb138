#include "ops/gemm_launch.h"

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

int xp_gemm_results(const xp_gemm_tensors *t) {
    return 1 + (t->z != NULL) + (t->partner != NULL);
}

double xp_gemm_bytes(const xp_gemm_attributes *p, int results, double bytes) {
    const double m = (double)p->m, n = (double)p->n, k = (double)p->k;
    return bytes * (m * k + k * n + results * m * n);
}

void xp_gemm_set_epilogue(xp_variant *variant, const xp_gemm_tensors *t) {
    xp_variant_set(variant, "BIAS", t->bias != NULL);
    xp_variant_set(variant, "ACTIVATION", t->attributes->activation);
    xp_variant_set(variant, "KEEP_Z", t->z != NULL);
    if (t->random_state) xp_variant_set(variant, "DROPOUT", 1);
    if (t->attributes->combine != XP_COMBINE_NONE) xp_variant_set(variant, "COMBINE", t->attributes->combine);
}

void xp_gemm_name_shape(xp_tuning *tuning, const xp_node *node) {
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const xp_type storage = xp_node_storage(node);
    snprintf(tuning->shape, sizeof tuning->shape, "%c%c %lldx%lldx%lld%s%s", p->transpose_a ? 't' : 'n',
             p->transpose_b ? 't' : 'n', (long long)p->m, (long long)p->n, (long long)p->k,
             storage == XP_F32 ? "" : " ", storage == XP_F32 ? "" : xp_type_name(storage));
}

void xp_gemm_pass_epilogue(xp_launch_request *request, const xp_gemm_tensors *t) {
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
