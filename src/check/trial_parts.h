/* What the files of a trial share: its node's tensors as the reference and the device see them. For them alone. */
#ifndef XP_CHECK_TRIAL_PARTS_H
#define XP_CHECK_TRIAL_PARTS_H

#include "check/trial.h"
#include "graph/plan.h"

/* One tensor of the node, as the reference and the device see it. */
typedef struct xp_operand {
    const xp_tensor *tensor; /* of the case; NULL: absent */
    bool in_place;           /* an output whose old content matters */
    double *exact, *magnitude;
    float *single;
    float *given; /* what the device gets, if that is not `single`: NULL or, rounded to tf32, `single` */
    double single_error, perturbed_error; /* largest over the tensor */
    int64_t count;
    /* On the device: a root with guards, and the tensor as a view of it. */
    xp_tensor *root, *view;
    int64_t root_count;
    uint32_t *before, *after;
} xp_operand;

typedef struct xp_trial_work {
    xp_trial *out;
    xp_draw *draw;
    const xp_node *node;
    double factor;
    xp_device *device;
    bool rounds; /* the device rounds factors to tf32 */
    xp_operand inputs[XP_MAX_INPUTS], outputs[XP_MAX_OUTPUTS];
    xp_graph *graph; /* of the device: this node alone */
    xp_plan *plan;
} xp_trial_work;

/* Evaluates the case's graph up to the node, then the node in both precisions. */
xp_status xp_trial_evaluate(xp_trial_work *t);
/* Runs the node alone on the device, between guards; returns the memory before and after. */
xp_status xp_trial_run_on_device(xp_trial_work *t);

/* Elements as words of 32 bits, of which a tensor of 16 bits has the lower half. */
uint32_t xp_trial_word(xp_type type, float value);
double xp_trial_value(xp_type type, uint32_t word);
/* What outputs and their guards hold at first: a NaN that no arithmetic makes. */
uint32_t xp_trial_unwritten(xp_type type);

#endif
