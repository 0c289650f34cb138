/* Device, store and plans of a run. */
#include "train/session.h"

#include "core/clock.h"
#include "core/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* With accumulation the update is a graph of its own. */
static xp_status add_optimiser(xp_session *session) {
    const xp_config *config = session->config;
    const xp_optimiser_options options = {
        .kind = (xp_optimiser_kind)config->training.optimiser,
        .beta1 = (float)config->training.beta1,
        .beta2 = (float)config->training.beta2,
        .epsilon = (float)config->training.epsilon,
        .weight_decay = (float)config->training.weight_decay,
        .momentum = (float)config->training.momentum,
        .gradient_clip = (float)config->training.gradient_clip,
    };
    xp_graph *graph = session->training.graph;
    if (config->training.accumulate > 1) {
        XP_TRY(xp_train_accumulate(graph, session->device));
        XP_TRY(xp_graph_create(&session->update, session->store, true));
        graph = session->update;
    }
    return xp_train_optimiser(graph, session->device, &options);
}

static xp_status allocate_batch(xp_session *session) {
    const xp_model_shape *shape = &session->shape;
    size_t batch = (size_t)shape->batch,
           sample = (size_t)(xp_tensor_elements(session->evaluation.input) / shape->batch);
    session->values = malloc(batch * sample * sizeof(float));
    session->weights = malloc(batch * sizeof(float));
    session->losses = malloc(batch * sizeof(float));
    session->probabilities = malloc(batch * (size_t)shape->classes * sizeof(float));
    session->lengths = malloc(batch * sizeof(int32_t));
    session->labels = malloc(batch * sizeof(int32_t));
    if (!session->values || !session->weights || !session->losses || !session->probabilities || !session->lengths ||
        !session->labels)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for a batch of %zu samples of %zu numbers", batch, sample);
    return XP_OK;
}

typedef struct watcher {
    xp_status (*call)(void *user, xp_graph *graph); /* NULL: nobody watches */
    void *user;
} watcher;

static xp_status open_session(xp_session *session, const xp_device_options *device, json_t *tunings, bool training,
                              watcher watch) {
    const xp_config *config = session->config;
    XP_TRY(xp_model_check(&config->model, &session->shape)); /* before anything is opened or built */
    XP_TRY(xp_device_open(&session->device, device));
    xp_tuning_prefer(session->device, tunings);
    XP_TRY(xp_store_create(&session->store));
    double smoothing = config->training.label_smoothing;
    if (training)
        XP_TRY(xp_model_build(&session->training, &config->model, &session->shape, smoothing, session->store, true));
    XP_TRY(xp_model_build(&session->evaluation, &config->model, &session->shape, smoothing, session->store, false));
    if (training) {
        if (config->training.recompute) XP_TRY(xp_model_recompute(&session->training, &config->model));
        XP_TRY(add_optimiser(session));
        XP_TRY(xp_plan_create(&session->training_plan, session->device, session->training.graph));
        if (session->update) XP_TRY(xp_plan_create(&session->update_plan, session->device, session->update));
    }
    if (watch.call) XP_TRY(watch.call(watch.user, session->evaluation.graph));
    XP_TRY(xp_plan_create(&session->evaluation_plan, session->device, session->evaluation.graph));
    return allocate_batch(session);
}

xp_status xp_session_open(xp_session *session, const xp_config *config, const xp_model_shape *shape,
                          const xp_device_options *device, json_t *tunings, bool training) {
    *session = (xp_session){.config = config, .shape = *shape};
    xp_status status = open_session(session, device, tunings, training, (watcher){0});
    if (status != XP_OK) xp_session_close(session);
    return status;
}

xp_status xp_session_watch(xp_session *session, const xp_config *config, const xp_model_shape *shape,
                           const xp_device_options *device, json_t *tunings,
                           xp_status (*watch)(void *user, xp_graph *graph), void *user) {
    *session = (xp_session){.config = config, .shape = *shape};
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

/* How far the kernels of all plans are. Each counts in halves: when it is built, and when it has run for the first time,
 * because some drivers compile late. */
typedef struct preparation {
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
        xp_progress progress = {.phase = "preparing kernels",
                                .step = done / 2,
                                .steps = prepared->halves / 2,
                                .loss = NAN,
                                .accuracy = NAN,
                                .seconds_left = done ? (now - prepared->begin) * left / done : NAN};
        callbacks->progress(callbacks->user, &progress);
    }
    return callbacks->stop && *callbacks->stop ? xp_fail(XP_INTERRUPTED, "stopped while preparing kernels") : XP_OK;
}

static xp_status count_half(void *user) {
    preparation *prepared = user;
    prepared->halves_done++;
    return show_preparation(prepared);
}

xp_status xp_session_realise(xp_session *session, const xp_trainer_callbacks *callbacks) {
    xp_plan *const plans[] = {session->training_plan, session->update_plan, session->evaluation_plan};
    preparation prepared = {.callbacks = callbacks, .begin = xp_clock()};
    for (int i = 0; i < 3 && callbacks; i++) {
        if (!plans[i]) continue;
        xp_plan_summary summary;
        xp_plan_summarise(plans[i], &summary);
        prepared.halves += 2 * summary.kernels;
        xp_plan_watch(plans[i], count_half, &prepared);
    }
    xp_status status = callbacks ? show_preparation(&prepared) : XP_OK;
    if (status == XP_OK) status = xp_store_allocate(session->store, session->device);
    for (int i = 0; i < 3; i++) {
        if (!plans[i]) continue;
        if (status == XP_OK) status = xp_plan_realise(plans[i], i > 0 ? session->training_plan : NULL);
        if (status == XP_OK) status = xp_plan_warm(plans[i]);
        xp_plan_watch(plans[i], NULL, NULL);
    }
    return status;
}

void xp_session_close(xp_session *session) {
    xp_plan_close(&session->evaluation_plan); /* borrows the training plan's arena, as the update does */
    xp_plan_close(&session->update_plan);
    xp_plan_close(&session->training_plan);
    xp_graph_close(&session->update);
    xp_model_release(&session->training);
    xp_model_release(&session->evaluation);
    xp_store_close(&session->store);
    xp_device_close(&session->device);
    free(session->values);
    free(session->weights);
    free(session->losses);
    free(session->probabilities);
    free(session->lengths);
    free(session->labels);
    *session = (xp_session){0};
}

/* The batch's answers must be numbers: a class chosen among others would look like an answer. */
static xp_status check_answers(const xp_session *session, const xp_dataset *dataset, const int32_t *order,
                               int64_t first) {
    const int classes = session->shape.classes;
    for (int i = 0; i < session->filled; i++) {
        const float *row = session->probabilities + (int64_t)i * classes;
        bool finite = isfinite(session->losses[i]);
        for (int c = 0; c < classes; c++) finite = finite && isfinite(row[c]);
        if (finite) continue;
        const int64_t elements = dataset->sample_elements;
        float largest = 0;
        for (int64_t e = 0; e < elements; e++) largest = fmaxf(largest, fabsf(session->values[i * elements + e]));
        return xp_fail(XP_BAD_DATA,
                       "%s: the model's answer to sample %lld (counted from 0) is not a number; the sample's "
                       "values%s go up to %.3g",
                       dataset->name, (long long)xp_dataset_number(dataset, order[first + i]),
                       session->config->data.standardise ? ", standardised as in training," : "", (double)largest);
    }
    return XP_OK;
}

/* One run of the plan of a phase. `share`: of the step's loss. */
static xp_status run_batch(xp_session *session, bool training, const xp_dataset *dataset, const int32_t *order,
                           int64_t first, float share) {
    xp_model *model = training ? &session->training : &session->evaluation;
    xp_plan *plan = training ? session->training_plan : session->evaluation_plan;
    xp_batch batch = {
        .values = session->values, .lengths = session->lengths, .labels = session->labels, .weights = session->weights};
    XP_TRY(xp_dataset_batch(dataset, order, dataset->count, first, session->shape.batch, &batch));
    session->filled = batch.filled;
    XP_TRY(xp_plan_write(plan, model->input, session->values));
    if (model->lengths) XP_TRY(xp_plan_write(plan, model->lengths, session->lengths));
    XP_TRY(xp_plan_write(plan, model->labels, session->labels));
    XP_TRY(xp_plan_write(plan, model->weights, session->weights));
    if (model->loss_gradient) XP_TRY(xp_plan_write(plan, model->loss_gradient, &share));
    XP_TRY(xp_plan_run(plan));
    XP_TRY(xp_plan_read(plan, model->losses, session->losses));
    XP_TRY(xp_plan_read(plan, model->probabilities, session->probabilities));
    return check_answers(session, dataset, order, first);
}

xp_status xp_session_step(xp_session *session, const xp_dataset *dataset, const int32_t *order, int64_t first) {
    return run_batch(session, false, dataset, order, first, 1);
}

xp_status xp_session_train(xp_session *session, const xp_dataset *dataset, const int32_t *order, int64_t first,
                           int64_t step, double rate, xp_tally *tally) {
    const uint64_t seed = session->config->training.seed;
    const int parts = session->config->training.accumulate, batch = session->shape.batch;
    const int64_t left = dataset->count - first, whole = (int64_t)parts * batch, samples = left < whole ? left : whole;
    if (parts == 1) {
        XP_TRY(xp_train_step(session->training_plan, seed, step, rate));
        XP_TRY(run_batch(session, true, dataset, order, first, 1));
        xp_session_tally(session, tally);
        return XP_OK;
    }
    for (int part = 0; (int64_t)part * batch < samples; part++) {
        const int64_t begin = (int64_t)part * batch, own = samples - begin < batch ? samples - begin : batch;
        XP_TRY(xp_train_part(session->training_plan, seed, step, part, parts));
        XP_TRY(run_batch(session, true, dataset, order, first + begin, (float)((double)own / (double)samples)));
        xp_session_tally(session, tally);
    }
    XP_TRY(xp_train_step(session->update_plan, seed, step, rate));
    return xp_plan_run(session->update_plan);
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

xp_status xp_session_print_profile(const xp_session *session, FILE *out) {
    XP_TRY(xp_plan_print_profile(session->training_plan, out));
    if (!session->update_plan) return XP_OK;
    fprintf(out, "\nThe update after %d such parts:\n", session->config->training.accumulate);
    return xp_plan_print_profile(session->update_plan, out);
}

void xp_session_tally(const xp_session *session, xp_tally *tally) {
    int classes = session->shape.classes;
    for (int i = 0; i < session->filled; i++) {
        const float *row = session->probabilities + (int64_t)i * classes;
        int best = 0;
        for (int c = 1; c < classes; c++)
            if (row[c] > row[best]) best = c;
        if (session->labels[i] < 0 || session->labels[i] >= classes) continue;
        tally->loss_sum += session->losses[i];
        tally->correct += best == session->labels[i];
        tally->labelled++;
    }
    tally->samples += session->filled;
}

xp_status xp_session_evaluate(xp_session *session, const xp_dataset *dataset, const char *phase, xp_progress *progress,
                              const xp_trainer_callbacks *callbacks, xp_evaluation *out) {
    XP_TRY(xp_evaluation_create(out, dataset));
    int32_t *order = malloc((size_t)dataset->count * sizeof *order);
    xp_status status =
        order ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory to evaluate %lld samples", (long long)dataset->count);
    for (int64_t i = 0; i < dataset->count && order; i++) order[i] = (int32_t)i;
    int64_t batch = session->shape.batch, classes = session->shape.classes;
    progress->phase = phase;
    progress->steps = (dataset->count + batch - 1) / batch;
    double begin = xp_clock(), told = begin;
    xp_tally tally = {0};
    for (int64_t step = 0; step < progress->steps && status == XP_OK; step++) {
        status = xp_session_step(session, dataset, order, step * batch);
        if (status != XP_OK) break;
        memcpy(out->probabilities + step * batch * classes, session->probabilities,
               (size_t)(session->filled * classes) * sizeof(float));
        xp_session_tally(session, &tally);
        double now = xp_clock();
        if (callbacks && callbacks->progress && (now - told > 0.1 || step + 1 == progress->steps)) {
            told = now;
            progress->step = step + 1;
            progress->loss = tally.loss_sum / (double)tally.labelled;
            progress->accuracy = (double)tally.correct / (double)tally.labelled;
            progress->samples_per_second = (double)tally.samples / (now - begin + 1e-9);
            callbacks->progress(callbacks->user, progress);
        }
        if (callbacks && callbacks->stop && *callbacks->stop)
            status = xp_fail(XP_INTERRUPTED, "stopped while evaluating");
    }
    free(order);
    if (status == XP_OK)
        xp_evaluation_finish(out);
    else
        xp_evaluation_release(out);
    return status;
}
