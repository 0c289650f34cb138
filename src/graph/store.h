/* Parameters and what training keeps beside them: values, gradients, moments, running statistics, as a few flat device
 * buffers. Owns the buffers; knows no models and no optimisers.
 *
 * Order inside a flat buffer: parameters with weight decay, then those without, then state that is not trained, each
 * aligned so that sub-buffers are legal; the gaps hold zeros. */
#ifndef XP_GRAPH_STORE_H
#define XP_GRAPH_STORE_H

#include "device/device.h"
#include "graph/graph.h"

#include <expanse/graph.h>

/* Values, gradients, moments and sums are fp32 always. */
#define XP_STORE_TYPE XP_F32
/* One more buffer, behind the public ones: the trained values in 16 bits, for kernels that use weights so. */
enum { XP_STORE_COPIES = XP_STORE_BUFFERS, XP_STORE_ALL_BUFFERS };

typedef struct xp_parameter {
    char name[XP_NAME_BYTES]; /* as a PyTorch state dict would call it: "encoder.0.attention.qkv.weight" */
    xp_parameter_kind kind;
    xp_initial initial;
    float value;
    int rank;
    int64_t shape[XP_MAX_RANK];
    int64_t elements;
    int64_t offset; /* elements, in every flat buffer; valid after xp_store_lay_out */
} xp_parameter;

struct xp_store {
    xp_parameter *parameters;
    int count;
    size_t room;
    int64_t decayed_elements; /* [0, decayed) has weight decay */
    int64_t trained_elements; /* [0, trained) has gradients and moments */
    int64_t elements;         /* all */
    int64_t trainable_count;  /* numbers without gaps, for people */
    bool laid_out;
    bool accumulates;                /* has XP_STORE_SUMS, which the update reads in place of the gradients */
    bool used[XP_STORE_ALL_BUFFERS]; /* by a graph or a file, so that they are allocated; values always are */
    xp_type copies;                  /* their type, bf16 or fp16; XP_F32: there are none */
    xp_device *device;
    cl_mem buffers[XP_STORE_ALL_BUFFERS];
};

/* Fixes offsets; nothing can be declared afterwards. Twice is fine. */
xp_status xp_store_lay_out(xp_store *store, size_t alignment_bytes);
/* Has the store keep copies of that type, which xp_store_write and the optimiser's step bring up to date. False: its
 * layout is fixed without them, or they have another type. */
bool xp_store_keep_copies(xp_store *store, xp_type type);
/* Has the store allocate a buffer. XP_INVALID_ARGUMENT: it was allocated without. */
xp_status xp_store_use(xp_store *store, int buffer);
/* Draws and writes one parameter of an allocated store, as xp_store_initialise does. */
xp_status xp_store_initialise_one(xp_store *store, int index, uint64_t seed);
size_t xp_store_bytes(const xp_store *store); /* of all flat buffers, after lay_out */

#endif
