/* Device, store, plans and inputs of a run. */
#include "train/session.h"

#include "core/clock.h"
#include "core/json.h"
#include "train/precision.h"
#include "train/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* With accumulation the update is a separate graph. */
static xp_status add_optimiser(xp_session *session) {
    const xp_config *config = session->config;
    const xp_optimiser_options options = {
        .size = sizeof options,
        .kind = (xp_optimiser_kind)config->training.optimiser,
        .beta1 = (float)config->training.beta1,
        .beta2 = (float)config->training.beta2,
        .epsilon = (float)config->training.epsilon,
        .weight_decay = (float)config->training.weight_decay,
        .momentum = (float)config->training.momentum,
        .gradient_clip = (float)config->training.gradient_clip,
    };
    xp_graph *graph = session->training.model.graph;
    if (config->training.accumulate > 1) {
        XP_TRY(xp_train_accumulate(graph, session->device));
        XP_TRY(xp_graph_create(&session->update, session->store, true));
        graph = session->update;
    }
    if (config->training.precision == XP_PRECISION_FP16)
        return xp_step_scaled_optimiser(graph, session->device, &options, &session->skipped);
    return xp_train_optimiser(graph, session->device, &options);
}

/* What is known of the samples: classes, or numbers. */
static xp_tensor *labels_of(const xp_learner *learner, xp_type type) {
    return learner->labels && learner->labels->type == type ? learner->labels : NULL;
}

/* Where the inputs of the graphs are. */
static void place_inputs(xp_session *session) {
    const xp_learner *learner = &session->training, *judged = &session->evaluation;
    const xp_model *training = &learner->model, *evaluation = &judged->model;
    xp_tensor *const part = session->update ? training->graph->optimiser_state : NULL;
    session->evaluation_fields = (xp_field_tensors){{[XP_FIELD_VALUES] = evaluation->input,
                                                     [XP_FIELD_LENGTHS] = evaluation->lengths,
                                                     [XP_FIELD_LABELS] = labels_of(judged, XP_I32),
                                                     [XP_FIELD_TARGETS] = labels_of(judged, XP_F32),
                                                     [XP_FIELD_LEVELS] = judged->levels,
                                                     [XP_FIELD_WEIGHTS] = evaluation->weights}};
    xp_inputs_place(&session->inputs, session->device, &session->evaluation_fields);
    if (!training->graph) return;
    session->training_fields = (xp_field_tensors){{[XP_FIELD_VALUES] = training->input,
                                                   [XP_FIELD_LENGTHS] = training->lengths,
                                                   [XP_FIELD_LABELS] = labels_of(learner, XP_I32),
                                                   [XP_FIELD_TARGETS] = labels_of(learner, XP_F32),
                                                   [XP_FIELD_LEVELS] = learner->levels,
                                                   [XP_FIELD_WEIGHTS] = training->weights,
                                                   [XP_FIELD_SHARE] = learner->loss_gradient,
                                                   [XP_FIELD_RANDOM] = training->graph->random_state,
                                                   [XP_FIELD_PART] = part,
                                                   [XP_FIELD_STEP] = part ? NULL : training->graph->optimiser_state}};
    xp_inputs_place(&session->inputs, session->device, &session->training_fields);
    if (!session->update) return;
    session->update_fields = (xp_field_tensors){{[XP_FIELD_STEP] = session->update->optimiser_state}};
    xp_inputs_place(&session->inputs, session->device, &session->update_fields);
}

typedef struct watcher {
    xp_status (*call)(void *user, xp_graph *graph); /* NULL: nobody watches */
    void *user;
} watcher;

/* A model that was trained on matrix units may be used anywhere. */
static xp_status open_device(xp_session *session, const xp_device_options *options, bool training) {
    const int precision = session->config->training.precision;
    xp_device_options own = *options;
    own.arithmetic = xp_arithmetic_name(xp_precision_arithmetic(precision));
    XP_TRY(xp_device_open(&session->device, &own));
    return training ? xp_precision_check(precision, session->device) : XP_OK;
}

static xp_status open_session(xp_session *session, const xp_device_options *device, json_t *tunings, bool training,
                              watcher watch) {
    const xp_config *config = session->config;
    xp_model_config model = config->model;
    model.storage = (int)xp_precision_storage(config->training.precision);
    XP_TRY(xp_model_check(&model, &session->shape)); /* before anything is opened or built */
    XP_TRY(open_device(session, device, training));
    xp_tuning_prefer(session->device, tunings);
    XP_TRY(xp_store_create(&session->store));
    const xp_task_options options = {.label_smoothing = config->training.label_smoothing,
                                     .shares = xp_augmentation_mixes(&config->augment),
                                     .levelled_steps = config->data.normalise_windows ? config->data.horizon : 0};
    if (training)
        XP_TRY(xp_learner_build(&session->training, session->task, &model, &session->shape, &options, session->store,
                                true));
    XP_TRY(xp_learner_build(&session->evaluation, session->task, &model, &session->shape, &options, session->store,
                            false));
    if (training) {
        if (config->training.recompute) XP_TRY(xp_model_recompute(&session->training.model, &model));
        XP_TRY(add_optimiser(session));
    }
    place_inputs(session);
    if (training) {
        XP_TRY(xp_plan_create(&session->training_plan, session->device, session->training.model.graph));
        if (session->update) XP_TRY(xp_plan_create(&session->update_plan, session->device, session->update));
    }
    XP_TRY(xp_store_lay_out(session->store, session->device->limits.alignment_bytes));
    if (watch.call) XP_TRY(watch.call(watch.user, session->evaluation.model.graph));
    return xp_plan_create(&session->evaluation_plan, session->device, session->evaluation.model.graph);
}

xp_status xp_session_open(xp_session *session, const xp_task *task, const xp_config *config,
                          const xp_model_shape *shape, const xp_device_options *device, json_t *tunings,
                          bool training) {
    *session = (xp_session){.config = config, .task = task, .shape = *shape};
    xp_status status = open_session(session, device, tunings, training, (watcher){0});
    if (status != XP_OK) xp_session_close(session);
    return status;
}

xp_status xp_session_watch(xp_session *session, const xp_task *task, const xp_config *config,
                           const xp_model_shape *shape, const xp_device_options *device, json_t *tunings,
                           xp_status (*watch)(void *user, xp_graph *graph), void *user) {
    *session = (xp_session){.config = config, .task = task, .shape = *shape};
    xp_status status = open_session(session, device, tunings, false, (watcher){watch, user});
    if (status != XP_OK) xp_session_close(session);
    return status;
}

json_t *xp_session_tunings(const xp_session *session) {
    xp_plan *const plans[] = {session->training_plan, session->evaluation_plan};
    json_t *entries = json_array();
    for (int i = 0; i < 2; i++) {
        const xp_plan_tuned *tuned;
        const int count = plans[i] ? xp_plan_tunings(plans[i], &tuned) : 0;
        for (int t = 0; t < count; t++) {
            const xp_tuning *tuning = &tuned[t].tuning;
            entries = xp_json_append(entries, xp_tuning_entry(session->device, tuning, tuning->shape));
        }
    }
    return entries;
}

/* How far the kernels of all plans are. Each counts in halves: when it is built, and when it has run for the first
 * time, because some drivers compile late. */
typedef struct preparation {
    const xp_task *task;
    const xp_trainer_callbacks *callbacks;
    int halves_done, halves;
    double begin, told;
} preparation;

static xp_status show_preparation(preparation *prepared) {
    const xp_trainer_callbacks *callbacks = prepared->callbacks;
    const double now = xp_clock();
    const int done = prepared->halves_done, left = prepared->halves - done;
    if (callbacks->progress && (now - prepared->told > 0.1 || done == 0 || left == 0)) {
        prepared->told = now;
        xp_progress progress = {.task = prepared->task,
                                .phase = "preparing kernels",
                                .step = done / 2,
                                .steps = prepared->halves / 2,
                                .seconds_left = done ? (now - prepared->begin) * left / done : NAN};
        xp_task_measure(prepared->task, NULL, 0, 1, progress.metrics);
        callbacks->progress(callbacks->user, &progress);
    }
    return callbacks->stop && *callbacks->stop ? xp_fail(XP_INTERRUPTED, "stopped while preparing kernels") : XP_OK;
}

static xp_status count_half(void *user) {
    preparation *prepared = user;
    if (prepared->halves_done < prepared->halves) prepared->halves_done++;
    return show_preparation(prepared);
}

/* The sets of inputs, what the plans read first, and the thread that fills them. */
static xp_status open_inputs(xp_session *session) {
    const xp_field_tensors *fields = &session->evaluation_fields;
    xp_inputs *inputs = &session->inputs;
    XP_TRY(xp_inputs_open(inputs, session->device, xp_session_result_bytes(session)));
    XP_TRY(xp_inputs_bind(inputs, 0, session->evaluation_plan, fields));
    if (session->training_plan) XP_TRY(xp_inputs_bind(inputs, 0, session->training_plan, &session->training_fields));
    if (session->update_plan) XP_TRY(xp_inputs_bind(inputs, 0, session->update_plan, &session->update_fields));
    const xp_batch slots[XP_FEED_SLOTS] = {xp_inputs_batch(inputs, 0), xp_inputs_batch(inputs, 1)};
    return xp_feed_open(&session->feed, session->shape.batch, slots);
}

const char *xp_session_note(const xp_session *session) {
    const xp_plan *const plans[] = {session->training_plan, session->update_plan, session->evaluation_plan};
    for (int i = 0; i < 3; i++)
        if (plans[i] && *xp_plan_note(plans[i])) return xp_plan_note(plans[i]);
    return "";
}

xp_status xp_session_realise(xp_session *session, const xp_trainer_callbacks *callbacks) {
    xp_plan *const plans[] = {session->training_plan, session->update_plan, session->evaluation_plan};
    preparation prepared = {.task = session->task, .callbacks = callbacks, .begin = xp_clock()};
    for (int i = 0; i < 3 && callbacks; i++) {
        if (!plans[i]) continue;
        xp_plan_summary summary;
        xp_plan_summarise(plans[i], &summary);
        prepared.halves += 2 * summary.kernels;
        xp_plan_watch(plans[i], count_half, &prepared);
    }
    xp_status status = callbacks ? show_preparation(&prepared) : XP_OK;
    if (status == XP_OK) status = xp_store_allocate(session->store, session->device);
    if (status == XP_OK) status = open_inputs(session);
    for (int i = 0; i < 3; i++) {
        if (!plans[i]) continue;
        if (status == XP_OK) status = xp_plan_realise(plans[i], i > 0 ? session->training_plan : NULL);
        if (status == XP_OK) status = xp_plan_warm(plans[i]);
        xp_plan_watch(plans[i], NULL, NULL);
    }
    const char *note = xp_session_note(session);
    if (*note && callbacks && callbacks->message) callbacks->message(callbacks->user, note);
    return status;
}

void xp_session_close(xp_session *session) {
    xp_feed_close(&session->feed);
    xp_inputs_close(&session->inputs);        /* ends all commands */
    xp_plan_close(&session->evaluation_plan); /* borrows the training plan's arena, as the update does */
    xp_plan_close(&session->update_plan);
    xp_plan_close(&session->training_plan);
    xp_graph_close(&session->update);
    xp_learner_release(&session->training);
    xp_learner_release(&session->evaluation);
    xp_store_close(&session->store);
    xp_device_close(&session->device);
    *session = (xp_session){0};
}

void xp_session_summarise(const xp_session *session, xp_plan_summary *out) {
    const int parts = session->config->training.accumulate;
    xp_plan_summarise(session->training_plan, out);
    out->launches *= parts;
    out->flops *= parts;
    out->bytes *= parts;
    out->recomputed_launches *= parts;
    out->recomputed_flops *= parts;
    out->fused *= parts;
    out->fused_bytes *= parts;
    if (!session->update_plan) return;
    xp_plan_summary update;
    xp_plan_summarise(session->update_plan, &update);
    out->launches += update.launches;
    out->kernels += update.kernels;
    out->flops += update.flops;
    out->bytes += update.bytes;
}

size_t xp_session_input_bytes(const xp_session *session) {
    return XP_TRANSFER_SETS * session->inputs.bytes;
}

size_t xp_session_arena_bytes(const xp_session *session) {
    xp_plan_summary training = {0}, evaluation;
    if (session->training_plan) xp_session_summarise(session, &training);
    xp_plan_summarise(session->evaluation_plan, &evaluation);
    const bool lends = evaluation.arena_bytes <= training.arena_bytes;
    return training.arena_bytes + (lends ? 0 : evaluation.arena_bytes);
}

size_t xp_session_bytes(const xp_session *session) {
    return xp_store_bytes(session->store) + xp_session_input_bytes(session) + xp_session_arena_bytes(session);
}

/* The row of the transfers, in the columns of the plan's table. */
static void print_transfers(const xp_session *session, FILE *out) {
    const xp_transfer_times times = session->transfers;
    const double runs = (double)session->training_runs, total = xp_plan_profiled_seconds(session->training_plan);
    if (times.count == 0 || total <= 0) return;
    fprintf(out, "%-36s %8.0f %10.3f %6.1f%% %10s %8.1f   overlapped\n", "transfers", (double)times.count / runs,
            times.seconds / runs * 1e3, 100 * times.seconds / total, "",
            times.seconds > 0 ? times.bytes / times.seconds * 1e-9 : 0);
}

xp_status xp_session_print_profile(const xp_session *session, FILE *out) {
    XP_TRY(xp_plan_print_profile(session->training_plan, out));
    print_transfers(session, out);
    if (!session->update_plan) return XP_OK;
    fprintf(out, "\nThe update after %d such parts:\n", session->config->training.accumulate);
    return xp_plan_print_profile(session->update_plan, out);
}
