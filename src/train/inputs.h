/* The inputs of a session's plans, in two sets: everything that changes from run to run is contiguous, so that one
 * transfer uploads it, and exists twice, so that one set is uploaded while a plan uses the other. Owns the layout, the
 * sets and their parts on the device; does not know the training loop. */
#ifndef XP_TRAIN_INPUTS_H
#define XP_TRAIN_INPUTS_H

#include "data/dataset.h"
#include "device/transfers.h"
#include "graph/plan.h"

typedef enum xp_field {
    XP_FIELD_VALUES,
    XP_FIELD_LENGTHS,
    XP_FIELD_LABELS,
    XP_FIELD_TARGETS, /* or shares of classes */
    XP_FIELD_LEVELS,
    XP_FIELD_WEIGHTS,
    XP_FIELD_SHARE,  /* of the loss in that of its step */
    XP_FIELD_RANDOM, /* the random state */
    XP_FIELD_PART,   /* the optimiser's state for a part of a step … */
    XP_FIELD_STEP,   /* … and for a whole one */
    XP_FIELDS
} xp_field;

/* Which tensor of a graph gets which field; NULL: none does. */
typedef struct xp_field_tensors {
    xp_tensor *tensors[XP_FIELDS];
} xp_field_tensors;

typedef struct xp_inputs {
    size_t places[XP_FIELDS], bytes; /* in a set */
    xp_transfers *transfers;
    cl_mem parts[XP_TRANSFER_SETS][XP_FIELDS];
} xp_inputs;

/* Before the graph is planned: makes room in the layout for its tensors, which from now on have no storage but that. */
void xp_inputs_place(xp_inputs *inputs, const xp_device *device, const xp_field_tensors *fields);
/* Makes the sets, zero at first, with room for so many bytes of results. */
xp_status xp_inputs_open(xp_inputs *inputs, xp_device *device, size_t result_bytes);
void xp_inputs_close(xp_inputs *inputs); /* an all-zero one is fine */

/* Has the plan read its inputs from this set. */
xp_status xp_inputs_bind(const xp_inputs *inputs, int set, xp_plan *plan, const xp_field_tensors *fields);
/* The host's side of a field. */
void *xp_inputs_field(const xp_inputs *inputs, int set, xp_field field);
/* The host's side of a set, for batches with all that any graph reads. */
xp_batch xp_inputs_batch(const xp_inputs *inputs, int set);

#endif
