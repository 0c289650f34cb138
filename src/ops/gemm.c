/* Matrix products and linear layers: shapes, gradients, and who may compute them. Knows no kernels and no models. */
#include "ops/gemm_launch.h"

extern const xp_operation xp_operation_gemm;

/* ---- building ---------------------------------------------------------------------------------------------------- */

static xp_tensor *add_gemm(xp_graph *graph, xp_tensor *a, xp_tensor *b, xp_tensor *bias,
                           const xp_gemm_attributes *attributes, xp_tensor **sums_or_null) {
    const int64_t shape[] = {attributes->m, attributes->n};
    const bool keep_z = attributes->activation != XP_ACTIVATION_NONE && graph->training;
    xp_tensor *y = xp_graph_tensor(graph, "y", a->type, 2, shape);
    xp_tensor *z = keep_z ? xp_graph_tensor(graph, "z", a->type, 2, shape) : NULL;
    xp_tensor *sums = sums_or_null ? xp_graph_tensor(graph, "sums", XP_F32, 1, shape) : NULL;
    if (!y || (keep_z && !z) || (sums_or_null && !sums)) return NULL;
    xp_tensor *inputs[] = {a, b, bias, NULL, NULL}, *outputs[] = {y, z, sums};
    if (!xp_graph_node(graph, &xp_operation_gemm, 5, inputs, 3, outputs, attributes, sizeof *attributes)) return NULL;
    if (sums) *sums_or_null = sums;
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

/* sums_or_null: only of a transposed a. */
static xp_tensor *product(xp_graph *graph, xp_tensor *a, int transpose_a, xp_tensor *b, int transpose_b,
                          xp_tensor **sums_or_null) {
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
    return a && b ? add_gemm(graph, a, b, NULL, &attributes, sums_or_null) : NULL;
}

xp_tensor *xp_gemm(xp_graph *graph, xp_tensor *a, int transpose_a, xp_tensor *b, int transpose_b) {
    return product(graph, a, transpose_a, b, transpose_b, NULL);
}

xp_tensor *xp_gemm_with_sums(xp_graph *graph, xp_tensor *a, xp_tensor *b, int transpose_b, xp_tensor **sums) {
    return product(graph, a, 1, b, transpose_b, sums);
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
    xp_tensor *y = add_gemm(graph, flat, weight, bias, &attributes, NULL);
    if (!y || x->rank == 2) return y;
    int64_t shape[XP_MAX_RANK];
    for (int i = 0; i < x->rank; i++) shape[i] = i + 1 < x->rank ? x->shape[i] : n;
    return xp_graph_reshape(graph, y, x->rank, shape);
}

static bool take_in(xp_node *node, xp_combine combine, xp_tensor *partner, const xp_node *reader) {
    xp_gemm_attributes *attributes = (xp_gemm_attributes *)(void *)node->attributes;
    if (combine == XP_COMBINE_CAST) return attributes->combine == XP_COMBINE_NONE; /* a partner has the type of y */
    if (combine == XP_COMBINE_DROPOUT) {
        if (attributes->combine != XP_COMBINE_NONE || attributes->dropout.probability > 0) return false;
        attributes->dropout = *XP_ATTRIBUTES(xp_dropout_attributes, reader);
        node->inputs[4] = partner;
        return true;
    }
    if (attributes->activation != XP_ACTIVATION_NONE || attributes->combine != XP_COMBINE_NONE) return false;
    attributes->combine = combine;
    node->inputs[3] = partner;
    return true;
}

/* With c = op(a)·op(b): each factor's gradient is a product of dc and the other factor, in the order in which the
 * factor is stored. */
static xp_status gradient(xp_graph *graph, const xp_node *node, xp_tensor *const *d_outputs, xp_tensor **d_inputs) {
    const xp_gemm_attributes *attributes = XP_ATTRIBUTES(xp_gemm_attributes, node);
    const xp_gemm_tensors t = xp_gemm_tensors_of(node);
    const int ta = attributes->transpose_a, tb = attributes->transpose_b;
    xp_tensor *d_c = d_outputs[0];
    if (!d_c) return XP_OK;
    if (t.partner) return xp_fail(XP_UNSUPPORTED, "%s: the backward pass itself has no gradient", node->label);
    if (attributes->dropout.probability > 0) {
        d_c = xp_dropout_again(graph, d_c, t.random_state, &attributes->dropout);
        if (!d_c) return XP_OUT_OF_MEMORY;
    }
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
    const bool sums = t.bias && t.bias->needs_gradient, with_sums = sums && tb && t.b->needs_gradient;
    if (t.b->needs_gradient) {
        d_inputs[1] = with_sums ? xp_gemm_with_sums(graph, d_c, t.a, ta, &d_inputs[2])
                      : tb      ? xp_gemm(graph, d_c, 1, t.a, ta)
                                : xp_gemm(graph, t.a, !ta, d_c, 0);
        if (!d_inputs[1]) return XP_OUT_OF_MEMORY;
    }
    if (sums && !with_sums) {
        d_inputs[2] = xp_column_sum(graph, d_c);
        if (!d_inputs[2]) return XP_OUT_OF_MEMORY;
    }
    return XP_OK;
}

const xp_operation xp_operation_gemm = {
    .name = "gemm",
    .gradient = gradient,
    .emitters = XP_EMITTERS({XP_FAMILY_WIDE, xp_supports_storage, xp_gemm_emit_wide},
                            {XP_FAMILY_TILED, xp_gemm_library_serves, xp_gemm_emit_library},
                            {XP_FAMILY_TILED, xp_supports_storage, xp_gemm_emit_tiled},
                            {XP_FAMILY_MATRIX, xp_gemm_wgmma_serves, xp_gemm_emit_wgmma},
                            {XP_FAMILY_MATRIX, xp_gemm_supports_matrix, xp_gemm_emit_matrix}),
    .stored_inputs = 1 << 0 | 1 << 1 | 1 << 3, /* not the bias */
    .stored_outputs = 3,                       /* not the sums */
    .result_inputs = 1 << 3,
    .result_outputs = 1,
    .rounded_inputs = 3,
    .multiplies_singles = true,
    .take_in = take_in};
