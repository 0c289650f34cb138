/* What training and evaluation share: an open device, a store, plans (session.c), and passes over data sets (pass.c). A
 * session belongs to one thread at a time; another thread prepares batches. */
#ifndef XP_TRAIN_SESSION_H
#define XP_TRAIN_SESSION_H

#include "data/feed.h"
#include "graph/plan.h"
#include "ops/ops.h"
#include "train/inputs.h"
#include "train/progress.h"

/* A run of a plan that was enqueued. */
typedef struct xp_session_run {
    bool under_way; /* its results have not been waited for */
    bool trains, updates;
    int set;       /* of inputs and results */
    int filled;    /* real samples */
    int64_t first; /* of them, in the order */
} xp_session_run;

typedef struct xp_session {
    const xp_config *config; /* borrowed */
    const xp_task *task;
    xp_model_shape shape;
    xp_device *device;
    xp_store *store;
    xp_learner training, evaluation; /* training.model.graph is NULL in a session that only evaluates */
    xp_graph *update;                /* with gradient accumulation; NULL: the update is in training's own graph */
    xp_tensor *skipped;              /* of the update in fp16, whose loss is scaled: whether it was; else NULL */
    xp_plan *training_plan, *update_plan, *evaluation_plan;
    xp_inputs inputs;
    xp_field_tensors training_fields, update_fields, evaluation_fields;
    xp_feed *feed;
    /* Of the pass: */
    const xp_dataset *dataset;
    const int32_t *order;
    int64_t order_count, next;   /* the next batch begins at order[next] */
    xp_session_run run;          /* the last one that was enqueued */
    xp_tally tally;              /* of the runs that were waited for and have not been handed out */
    bool broken;                 /* an answer was not a number, which the message says */
    xp_transfer_times transfers; /* of all runs of the training plan, … */
    int64_t training_runs;       /* … which are so many */
} xp_session;

/* Opens the device and plans everything; nothing is allocated on the device yet. `tunings`: a checkpoint's, preferred
 * to the tuning tables; NULL: none. On failure *session is released. */
xp_status xp_session_open(xp_session *session, const xp_task *task, const xp_config *config,
                          const xp_model_shape *shape, const xp_device_options *device, json_t *tunings, bool training);
/* As above for evaluation alone; `watch` adds to the evaluation graph what it needs to read, and marks it to be kept,
 * before the graph is planned. */
xp_status xp_session_watch(xp_session *session, const xp_task *task, const xp_config *config,
                           const xp_model_shape *shape, const xp_device_options *device, json_t *tunings,
                           xp_status (*watch)(void *user, xp_graph *graph), void *user);
/* The entries of a tuning table that hold what the plans have of it: another session that prefers them computes the
 * same bits. The caller owns them; NULL if memory runs out. */
json_t *xp_session_tunings(const xp_session *session);
/* Allocates, compiles and warms everything, and reports progress to `callbacks` (may be NULL). The parameters are
 * undefined until they are initialised or loaded. XP_INTERRUPTED: `stop` came between two kernels. */
xp_status xp_session_realise(xp_session *session, const xp_trainer_callbacks *callbacks);
/* What a user should know of the kernels (xp_plan_note); "": nothing. Plans that have something to say say the same. */
const char *xp_session_note(const xp_session *session);
void xp_session_close(xp_session *session); /* an all-zero one is fine */

/* Of a step of training: all its parts and the update. The bytes of memory are those of the training plan. */
void xp_session_summarise(const xp_session *session, xp_plan_summary *out);
xp_status xp_session_print_profile(const xp_session *session, FILE *out);

/* Of the inputs: both sets, which no plan has in its arena. */
size_t xp_session_input_bytes(const xp_session *session);
/* Of the arenas of both plans; the training plan lends its own where it is large enough. */
size_t xp_session_arena_bytes(const xp_session *session);
/* What the session takes on the device: parameters and what training keeps beside them, inputs and arenas. */
size_t xp_session_bytes(const xp_session *session);

/* ---- passes ------------------------------------------------------------------------------------------------------ */

/* The room for a run's results. */
size_t xp_session_result_bytes(const xp_session *session);

/* A pass over the samples order[first …] begins: their batches are prepared from now on. Both are borrowed until
 * xp_session_end. */
void xp_session_begin(xp_session *session, const xp_dataset *dataset, const int32_t *order, int64_t order_count,
                      int64_t first);
/* Nothing more is prepared, and what is under way is forgotten. */
void xp_session_end(xp_session *session);

/* The numbers that differ from step to step. */
typedef struct xp_session_step_numbers {
    int64_t step;       /* from 1 */
    int64_t update;     /* from 1; skipped steps do not count */
    double rate, scale; /* scale: of the loss; 1 unless in fp16 */
} xp_session_step_numbers;

/* Enqueues one step of training on the next samples, in as many parts as the configuration says, and
 * waits for the step before, which *before tells: its samples are 0 where there was none. XP_BAD_DATA, of this and of
 * what follows: an answer is not a number; the message names the sample and ends without a remedy. */
xp_status xp_session_train(xp_session *session, const xp_session_step_numbers *numbers, xp_tally *before);
/* Waits for the last step. */
xp_status xp_session_finish(xp_session *session, xp_tally *last);

/* Evaluates the next batch and waits for it; session->run tells how many samples were real. */
xp_status xp_session_step(xp_session *session, xp_tally *tally);

/* One pass over a data set in its own order: fills *out, which the caller releases. `phase` names it in progress calls.
 */
xp_status xp_session_evaluate(xp_session *session, const xp_dataset *dataset, const char *phase, xp_progress *progress,
                              const xp_trainer_callbacks *callbacks, xp_evaluation *out);

#endif
