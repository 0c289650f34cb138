/* Parameters and what training keeps beside them: values, gradients, moments, running statistics, as a few flat device
 * buffers. Owns the buffers; knows nothing of models or optimisers.
 *
 * Order inside a flat buffer: parameters with weight decay, then those without, then state that is not trained, each
 * aligned so that sub-buffers are legal; the gaps hold zeros. */
#ifndef XP_GRAPH_STORE_H
#define XP_GRAPH_STORE_H

#include "device/device.h"
#include "graph/graph.h"

typedef enum xp_parameter_kind { XP_PARAMETER_DECAYED, XP_PARAMETER_UNDECAYED, XP_PARAMETER_STATE } xp_parameter_kind;

/* How values start. UNIFORM: in (-value, value). NORMAL: standard deviation `value`, cut at two deviations. */
typedef enum xp_initial { XP_INITIAL_CONSTANT, XP_INITIAL_UNIFORM, XP_INITIAL_NORMAL, XP_INITIAL_SINUSOID } xp_initial;

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

enum { XP_STORE_VALUES, XP_STORE_GRADIENTS, XP_STORE_MOMENT_1, XP_STORE_MOMENT_2, XP_STORE_BUFFERS };

typedef struct xp_store {
    xp_parameter *parameters;
    int count, room;
    int64_t decayed_elements; /* [0, decayed) has weight decay */
    int64_t trained_elements; /* [0, trained) has gradients and moments */
    int64_t elements;         /* all */
    int64_t trainable_count;  /* numbers without gaps, for people */
    bool laid_out;
    xp_device *device;
    cl_mem buffers[XP_STORE_BUFFERS];
} xp_store;

xp_status xp_store_create(xp_store **out);
void xp_store_close(xp_store **store);
/* Declares one; declaring the same name again with the same shape is fine (training and evaluation graphs share it). */
xp_status xp_store_add(xp_store *store, const char *name, xp_parameter_kind kind, xp_initial initial, float value,
                       int rank, const int64_t *shape);
int xp_store_find(const xp_store *store, const char *name); /* -1: not there */
/* Fixes offsets; nothing can be declared afterwards. Twice is fine. */
xp_status xp_store_lay_out(xp_store *store, size_t alignment_bytes);
/* Allocates the buffers, all zero. Plans can be realised from then on. */
xp_status xp_store_allocate(xp_store *store, xp_device *device);
/* Fills the values from `seed`, gradients and moments with zero. */
xp_status xp_store_initialise(xp_store *store, uint64_t seed);
/* Whole parameters in and out, dense; `buffer` is XP_STORE_VALUES … */
xp_status xp_store_read(xp_store *store, int buffer, int index, float *data);
xp_status xp_store_write(xp_store *store, int buffer, int index, const float *data);
size_t xp_store_bytes(const xp_store *store); /* of all flat buffers, after lay_out */

#endif
