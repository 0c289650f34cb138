/* What the emitters of matrix products share: a node's tensors by name, the epilogue's options, arithmetic and bytes.
 * Knows no family's blocks; must not know what makes the factors. */
#ifndef XP_OPS_GEMM_LAUNCH_H
#define XP_OPS_GEMM_LAUNCH_H

#include "graph/stored.h"
#include "ops/building.h"

typedef struct xp_gemm_tensors {
    const xp_gemm_attributes *attributes;
    xp_tensor *a, *b, *bias, *partner, *random_state; /* the last three may be NULL */
    xp_tensor *y, *z, *sums;                          /* the last two may be NULL */
} xp_gemm_tensors;
xp_gemm_tensors xp_gemm_tensors_of(const xp_node *node);

double xp_gemm_flops(const xp_gemm_attributes *p);
/* y, and where there are z and the partner. */
double xp_gemm_result_bytes(const xp_gemm_tensors *t);
/* Both factors and these. */
double xp_gemm_bytes(const xp_gemm_tensors *t);

/* BIAS, ACTIVATION, KEEP_Z, DROPOUT, COMBINE and RESULT. */
void xp_gemm_set_epilogue(xp_variant *variant, const xp_node *node, const xp_gemm_tensors *t);
/* Parts of the depth that leave each of them enough of it, as the values of the parameter PARTS, whose default is 1. */
void xp_gemm_permit_parts(xp_tuning_parameter *parts, int64_t k);
/* What more than one part costs: clocks of a compute unit for the second launch and its bytes. */
double xp_gemm_parts_clocks(const xp_device *device, const xp_gemm_attributes *p, int64_t parts);
/* The launch of a product and, of several parts, of their sum. The request names kernel, tile, the tuning's handle, and
 * work-items of one part; from here come the layout of the factors in chunks of `numbers`, the epilogue, and all
 * arguments. A part is a multiple of `slice` deep. Sums of the left factor are the kernel's own, or a launch more. */
xp_status xp_gemm_emit_parts(xp_plan *plan, const xp_node *node, xp_launch_request *product, int64_t parts,
                             int64_t slice, int64_t numbers, bool own_sums);
/* The sum of the parts of a product, of which y may be the only one, and of its sums; and the epilogue. part_sums may
 * be NULL. */
xp_status xp_gemm_emit_finish(xp_plan *plan, const xp_node *node, xp_tensor *parts, xp_tensor *part_sums, int64_t count,
                              int tuning);

/* What the best values of a product's parameters depend on. */
void xp_gemm_name_shape(xp_tuning *tuning, const xp_node *node);

/* The request of products on matrix units, before the lookup; returns the place of INSTRUCTION in it. */
int xp_gemm_matrix_request(const xp_device *device, const xp_node *node, xp_tuning *out);
/* Estimated clocks of the product by asynchronous units; infinite: they cannot compute it. */
double xp_gemm_wgmma_clocks(const xp_device *device, const xp_node *node);

/* ops/gemm_wide.c, ops/gemm_tiled.c, ops/gemm_matrix.c, ops/gemm_wgmma.c. A library serves where the tuning table
 * chooses it, and so do asynchronous units, which an estimate chooses, too. */
xp_status xp_gemm_emit_wide(xp_plan *plan, const xp_node *node, xp_family family);
bool xp_gemm_library_serves(const xp_device *device, const xp_node *node);
xp_status xp_gemm_emit_library(xp_plan *plan, const xp_node *node, xp_family family);
xp_status xp_gemm_emit_tiled(xp_plan *plan, const xp_node *node, xp_family family);
bool xp_gemm_supports_matrix(const xp_device *device, const xp_node *node);
bool xp_gemm_wgmma_serves(const xp_device *device, const xp_node *node);
xp_status xp_gemm_emit_wgmma(xp_plan *plan, const xp_node *node, xp_family family);
xp_status xp_gemm_emit_matrix(xp_plan *plan, const xp_node *node, xp_family family);

#endif
