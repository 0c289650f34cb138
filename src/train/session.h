/* What training and evaluation share: an open device, a store, plans, and one pass over a data set. A session belongs
 * to one thread at a time. */
#ifndef XP_TRAIN_SESSION_H
#define XP_TRAIN_SESSION_H

#include "graph/plan.h"
#include "ops/ops.h"
#include "train/progress.h"

typedef struct xp_session {
    const xp_config *config; /* borrowed */
    xp_model_shape shape;
    xp_device *device;
    xp_store *store;
    xp_model training, evaluation; /* training.graph is NULL in a session that only evaluates */
    xp_graph *update;              /* with gradient accumulation; NULL: the update is in training's own graph */
    xp_plan *training_plan, *update_plan, *evaluation_plan;
    /* One batch on the host: */
    float *values, *weights, *losses, *probabilities;
    int32_t *lengths, *labels;
    int filled; /* real samples in the batch */
} xp_session;

/* Opens the device and plans everything; nothing is allocated on the device yet. `tunings`: a checkpoint's, preferred
 * to the tuning tables; NULL: none. On failure *session is released. */
xp_status xp_session_open(xp_session *session, const xp_config *config, const xp_model_shape *shape,
                          const xp_device_options *device, json_t *tunings, bool training);
/* As above for evaluation alone; `watch` adds to the evaluation graph what it wants to read, and marks it to be kept,
 * before the graph is planned. */
xp_status xp_session_watch(xp_session *session, const xp_config *config, const xp_model_shape *shape,
                           const xp_device_options *device, json_t *tunings,
                           xp_status (*watch)(void *user, xp_graph *graph), void *user);
/* The entries of a tuning table that hold what the plans have of it: another session that prefers them computes the
 * same bits. The caller owns them; NULL when memory ends. */
json_t *xp_session_tunings(const xp_session *session);
/* Allocates, compiles and warms everything, and tells `callbacks` (may be NULL) how far it is. The parameters hold
 * nothing of meaning until they are initialised or loaded. XP_INTERRUPTED: `stop` came between two kernels. */
xp_status xp_session_realise(xp_session *session, const xp_trainer_callbacks *callbacks);
void xp_session_close(xp_session *session); /* an all-zero one is fine */

/* What the runs of several batches add up to. */
typedef struct xp_tally {
    double loss_sum;
    int64_t correct, samples;
    int64_t labelled; /* of the samples: those whose class the model knows; loss and correct are of them */
} xp_tally;

/* Uploads samples order[first …] and evaluates them; reads losses and probabilities back. XP_BAD_DATA, of this and of
 * xp_session_train: an answer is not a number; the message names the sample and ends without a remedy. */
xp_status xp_session_step(xp_session *session, const xp_dataset *dataset, const int32_t *order, int64_t first);
/* One step of training (counted from 1) on the samples order[first …] of its batch, in as many parts as the
 * configuration says; shape.batch is that of one part. */
xp_status xp_session_train(xp_session *session, const xp_dataset *dataset, const int32_t *order, int64_t first,
                           int64_t step, double rate, xp_tally *tally);
/* Adds the last batch's losses and right answers. */
void xp_session_tally(const xp_session *session, xp_tally *tally);

/* Of a step of training: all its parts and the update. The bytes of memory are those of the training plan. */
void xp_session_summarise(const xp_session *session, xp_plan_summary *out);
xp_status xp_session_print_profile(const xp_session *session, FILE *out);

/* One pass over a data set in its own order: fills *out, which the caller releases. `phase` names it in progress calls.
 */
xp_status xp_session_evaluate(xp_session *session, const xp_dataset *dataset, const char *phase, xp_progress *progress,
                              const xp_trainer_callbacks *callbacks, xp_evaluation *out);

#endif
