/* The options that tell kernels the storage types of their tensors (cl/storage.clh). Knows no operation. */
#ifndef XP_GRAPH_STORED_H
#define XP_GRAPH_STORED_H

#include "graph/launch.h"

/* The number by which cl/storage.clh knows a type. */
static inline int xp_storage_number(xp_type type) {
    return type == XP_F16 ? 1 : type == XP_BF16 ? 2 : 0;
}

/* STORAGE for the node's stored tensors; nothing where they are fp32, which is the kernels' default. */
static inline void xp_storage_set(xp_variant *variant, const xp_node *node) {
    const int number = xp_storage_number(xp_node_storage(node));
    if (number) xp_variant_set(variant, "STORAGE", number);
}

/* How kernels of CPUs multiply pairs of bf16 on this device (cl/factors.clh). */
static inline void xp_factors_set(xp_variant *variant, const xp_node *node, const xp_device *device) {
    if (xp_node_storage(node) == XP_BF16 && device->limits.bf16_instruction)
        xp_variant_set(variant, "BF16_INSTRUCTION", 1);
}

/* RESULT, where it is not STORAGE. */
static inline void xp_result_set(xp_variant *variant, const xp_node *node) {
    const xp_type result = xp_node_result(node);
    if (result != xp_node_storage(node)) xp_variant_set(variant, "RESULT", xp_storage_number(result));
}

/* Bytes of one element of a stored tensor, for the profile. */
static inline double xp_storage_bytes(const xp_node *node) {
    return (double)xp_type_bytes(xp_node_storage(node));
}

#endif
