/* The oracle: every operation in plain C, compiled twice, with real = double (the truth of tests and `expanse check`)
 * and with real = float (how far a plain single-precision computation deviates from it). Written for clarity and never
 * for speed; shares no code with the kernels. A function's file is reference/<family of operations>.c. */
#ifndef XP_REFERENCE_REFERENCE_H
#define XP_REFERENCE_REFERENCE_H

#include "graph/graph.h"

#ifdef XP_REFERENCE_SINGLE
typedef float xp_real;
#define XP_REFERENCE_NAME(name) xp_reference_##name##_single
#else
typedef double xp_real;
#define XP_REFERENCE_NAME(name) xp_reference_##name
#endif

/* A node's arguments on the host. All arrays are dense and row-major in the tensor's shape (views are gathered first,
 * and scattered afterwards). I32 tensors come as int32_t. Optional tensors that are absent are NULL. */
typedef struct xp_reference_call {
    const xp_node *node;               /* shapes and attributes */
    const void *inputs[XP_MAX_INPUTS]; /* xp_real or int32_t */
    void *outputs[XP_MAX_OUTPUTS];     /* xp_real or int32_t; in-place operations find the old content here */
    xp_type factors; /* of products of what is computed on the way, which matrix units, and CPUs of bf16, take in 16
                        bits: attention's weights and their gradients. XP_F32: as they are */
    double *magnitudes[XP_MAX_OUTPUTS]; /* per output element: the sum of the absolute values of the terms that were
                                           added to make it, to scale the permitted rounding; NULL in single precision.
                                           A function sets it only where terms cancel: elsewhere the caller takes
                                           |output| */
} xp_reference_call;

typedef void (*xp_reference_function)(const xp_reference_call *call);

/* The functions of an operation by its name; NULL if there is none (a test ensures that there is). */
typedef struct xp_reference_entry {
    const char *operation;
    xp_reference_function exact, single;
} xp_reference_entry;
const xp_reference_entry *xp_reference_find(const char *operation);

#endif
