/* Passes over data sets: batch after batch, one uploaded while the plan runs on the one before. For each run the host
 * waits once, for the run before it. */
#include "train/session.h"

#include "core/clock.h"
#include "train/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TALLY_AT = 0, SKIPPED_AT = 32, ANSWERS_AT = 64 }; /* in a set of results */

size_t xp_session_result_bytes(const xp_session *session) {
    return ANSWERS_AT + xp_tensor_bytes(session->evaluation.answers);
}

static const float *results(const xp_session *session, int set, int at) {
    return (const float *)(xp_transfers_results(session->inputs.transfers, set) + at);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* Reports the sample whose result is not a number; the index of a maximum would look like a valid result. */
static xp_status reject_answer(const xp_session *session, int64_t sample) {
    const xp_dataset *dataset = session->dataset;
    const int64_t elements = dataset->sample_elements;
    float *values = calloc((size_t)elements, sizeof *values), largest = 0;
    const bool known = values && xp_dataset_read(dataset, sample, values) == XP_OK;
    for (int64_t e = 0; e < elements && known; e++) largest = fmaxf(largest, fabsf(values[e]));
    free(values);
    return xp_fail(XP_BAD_DATA,
                   "%s: the prediction for sample %lld (counted from 0) is not a number; the values of the sample%s "
                   "are as large as %.3g",
                   dataset->name, (long long)xp_dataset_number(dataset, sample),
                   session->config->data.standardise ? ", standardised as in training," : "", (double)largest);
}

/* Waits for the run that is under way, if any, and adds what it came to. */
static xp_status collect(xp_session *session) {
    xp_session_run *run = &session->run;
    if (!run->under_way) return XP_OK;
    run->under_way = false;
    XP_TRY(xp_transfers_wait(session->inputs.transfers, run->set, run->trains ? &session->transfers : NULL));
    session->training_runs += run->trains;
    xp_feed_return(session->feed);
    const float *sums = results(session, run->set, TALLY_AT);
    session->broken = sums[XP_TALLY_BROKEN] > 0;
    if (session->broken) return reject_answer(session, session->order[run->first + (int64_t)sums[XP_TALLY_BROKEN] - 1]);
    for (int i = 0; i < XP_TASK_SUMS; i++) session->tally.sums[i] += (double)sums[i];
    session->tally.counted += (int64_t)sums[XP_TALLY_SAMPLES];
    session->tally.samples += run->filled;
    if (run->updates && session->skipped && results(session, run->set, SKIPPED_AT)[0] > 0) session->tally.skipped++;
    return XP_OK;
}

static xp_tally hand_out(xp_session *session) {
    const xp_tally tally = session->tally;
    session->tally = (xp_tally){0};
    return tally;
}

/* A run whose results are not read may still read its inputs. */
void xp_session_end(xp_session *session) {
    xp_feed_end(session->feed);
    if (session->run.under_way) xp_transfers_wait(session->inputs.transfers, session->run.set, NULL);
    session->run.under_way = false;
    session->tally = (xp_tally){0};
}

void xp_session_begin(xp_session *session, const xp_dataset *dataset, const int32_t *order, int64_t order_count,
                      int64_t first) {
    xp_session_end(session);
    session->dataset = dataset;
    session->order = order;
    session->order_count = order_count;
    session->next = first;
    xp_feed_begin(session->feed, dataset, order, order_count, first);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static xp_status fetch(xp_session *session, xp_plan *plan, int set, const xp_tensor *tensor, int at) {
    cl_mem buffer = NULL;
    size_t offset = 0;
    XP_TRY(xp_plan_storage(plan, tensor, &buffer, &offset));
    return xp_transfers_fetch(session->inputs.transfers, set, buffer, offset, xp_tensor_bytes(tensor), (size_t)at);
}

/* The numbers beside the batch that a part of a training step reads. */
static void fill_state(const xp_session *session, int set, const xp_session_step_numbers *numbers, int part,
                       double share) {
    const int parts = session->config->training.accumulate;
    const xp_graph *updated = session->update ? session->update : session->training.model.graph;
    *(float *)xp_inputs_field(&session->inputs, set, XP_FIELD_SHARE) = (float)(share * numbers->scale);
    if (session->training.model.graph->random_state)
        xp_step_fill_random(session->config->training.seed, numbers->step, part, parts,
                            xp_inputs_field(&session->inputs, set, XP_FIELD_RANDOM));
    if (session->update) xp_step_fill_part(part, xp_inputs_field(&session->inputs, set, XP_FIELD_PART));
    xp_step_fill_optimiser(updated, numbers->update, numbers->rate, numbers->scale,
                           xp_inputs_field(&session->inputs, set, XP_FIELD_STEP));
}

/* Takes the next batch into *run. */
static xp_status take(xp_session *session, xp_session_run *run) {
    *run = (xp_session_run){.first = session->next};
    XP_TRY(xp_feed_take(session->feed, &run->set, &run->filled));
    session->next += session->shape.batch;
    return XP_OK;
}

/* Uploads a run's inputs and has the plan run on them. */
static xp_status enqueue(xp_session *session, const xp_session_run *run, xp_plan *plan,
                         const xp_field_tensors *fields) {
    XP_TRY(xp_inputs_bind(&session->inputs, run->set, plan, fields));
    XP_TRY(xp_transfers_send(session->inputs.transfers, run->set));
    return xp_plan_run(plan);
}

/* One part of a step; with the last one, the update. */
static xp_status train_part(xp_session *session, const xp_session_step_numbers *numbers, int part, double share,
                            bool last) {
    xp_session_run run;
    XP_TRY(take(session, &run));
    fill_state(session, run.set, numbers, part, share);
    XP_TRY(enqueue(session, &run, session->training_plan, &session->training_fields));
    if (last && session->update_plan) {
        XP_TRY(xp_inputs_bind(&session->inputs, run.set, session->update_plan, &session->update_fields));
        XP_TRY(xp_plan_run(session->update_plan));
    }
    XP_TRY(fetch(session, session->training_plan, run.set, session->training.tally, TALLY_AT));
    xp_plan *const updating = session->update_plan ? session->update_plan : session->training_plan;
    if (last && session->skipped) XP_TRY(fetch(session, updating, run.set, session->skipped, SKIPPED_AT));
    XP_TRY(collect(session)); /* the run before */
    session->run = run;
    session->run.updates = last;
    session->run.under_way = session->run.trains = true;
    return XP_OK;
}

/* The sum of the weights of the samples order[first …]. */
static double weigh(const xp_session *session, int64_t first, int64_t count) {
    double sum = 0;
    for (int64_t i = first; i < first + count; i++) sum += xp_dataset_weight(session->dataset, session->order[i]);
    return sum;
}

xp_status xp_session_train(xp_session *session, const xp_session_step_numbers *numbers, xp_tally *before) {
    const int parts = session->config->training.accumulate, batch = session->shape.batch;
    const int64_t left = session->order_count - session->next, whole = (int64_t)parts * batch;
    const int64_t samples = left < whole ? left : whole, step = session->next;
    const double weight = parts > 1 ? weigh(session, step, samples) : 0;
    for (int part = 0; part == 0 || (int64_t)part * batch < samples; part++) {
        const int64_t begin = (int64_t)part * batch, own = samples - begin < batch ? samples - begin : batch;
        const double share = parts > 1 ? weigh(session, step + begin, own) / weight : 1;
        XP_TRY(train_part(session, numbers, part, share, begin + batch >= samples));
        if (part == 0) *before = hand_out(session);
    }
    return XP_OK;
}

xp_status xp_session_finish(xp_session *session, xp_tally *last) {
    XP_TRY(collect(session));
    *last = hand_out(session);
    return XP_OK;
}

/* Enqueues an evaluation of the next batch. */
static xp_status evaluate_batch(xp_session *session, xp_session_run *run) {
    const xp_learner *learner = &session->evaluation;
    XP_TRY(take(session, run));
    XP_TRY(enqueue(session, run, session->evaluation_plan, &session->evaluation_fields));
    XP_TRY(fetch(session, session->evaluation_plan, run->set, learner->tally, TALLY_AT));
    XP_TRY(fetch(session, session->evaluation_plan, run->set, learner->answers, ANSWERS_AT));
    run->under_way = true;
    return XP_OK;
}

xp_status xp_session_step(xp_session *session, xp_tally *tally) {
    XP_TRY(evaluate_batch(session, &session->run));
    return xp_session_finish(session, tally);
}

/* ---- evaluation -------------------------------------------------------------------------------------------------- */

/* Waits for the run under way and keeps its answers. */
static xp_status keep_answers(xp_session *session, xp_evaluation *out) {
    const xp_session_run run = session->run;
    const int64_t outputs = out->outputs;
    if (!run.under_way) return XP_OK;
    XP_TRY(collect(session));
    memcpy(out->answers + run.first * outputs, results(session, run.set, ANSWERS_AT),
           (size_t)(run.filled * outputs) * sizeof(float));
    return XP_OK;
}

static void report(const xp_session *session, double begin, xp_progress *progress,
                   const xp_trainer_callbacks *callbacks) {
    const xp_tally *tally = &session->tally;
    progress->step = (tally->samples + session->shape.batch - 1) / session->shape.batch;
    xp_task_measure(session->task, tally->sums, tally->counted, xp_dataset_target_unit(session->dataset),
                    progress->metrics);
    progress->samples_per_second = (double)tally->samples / (xp_clock() - begin + 1e-9);
    callbacks->progress(callbacks->user, progress);
}

static xp_status evaluate_all(xp_session *session, xp_progress *progress, const xp_trainer_callbacks *callbacks,
                              xp_evaluation *out) {
    const double begin = xp_clock();
    double told = begin;
    while (session->next < session->order_count) {
        xp_session_run run;
        XP_TRY(evaluate_batch(session, &run));
        XP_TRY(keep_answers(session, out));
        session->run = run;
        if (callbacks && callbacks->progress && session->tally.samples > 0 && xp_clock() - told > 0.1) {
            told = xp_clock();
            report(session, begin, progress, callbacks);
        }
        if (callbacks && callbacks->stop && *callbacks->stop)
            return xp_fail(XP_INTERRUPTED, "stopped while evaluating");
    }
    XP_TRY(keep_answers(session, out));
    if (callbacks && callbacks->progress) report(session, begin, progress, callbacks);
    return XP_OK;
}

xp_status xp_session_evaluate(xp_session *session, const xp_dataset *dataset, const char *phase, xp_progress *progress,
                              const xp_trainer_callbacks *callbacks, xp_evaluation *out) {
    XP_TRY(xp_evaluation_create(out, session->task, dataset));
    const int64_t count = dataset->count, batch = session->shape.batch;
    int32_t *order = malloc((size_t)count * sizeof *order);
    xp_status status =
        order ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory to evaluate %lld samples", (long long)count);
    for (int64_t i = 0; i < count && order; i++) order[i] = (int32_t)i;
    progress->task = session->task;
    progress->phase = phase;
    progress->steps = (count + batch - 1) / batch;
    if (status == XP_OK) {
        xp_session_begin(session, dataset, order, count, 0);
        status = evaluate_all(session, progress, callbacks, out);
        xp_session_end(session);
    }
    free(order);
    if (status == XP_OK)
        xp_evaluation_finish(out);
    else
        xp_evaluation_release(out);
    return status;
}
