/* The loop of a run: epochs of steps, evaluation, checkpoints, summary. */
#include "train/run.h"

#include "core/clock.h"
#include "core/files.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>

/* Passes the status of a session's step on; if an answer was not a number, the message gets its remedy. */
static xp_status advise(const xp_run *run, xp_status status) {
    char last[1200], state[1200];
    if (!run->session.broken) return status;
    XP_TRY(xp_run_folder_path(run->options->out, "last", last, sizeof last));
    XP_TRY(xp_run_folder_path(last, "state.json", state, sizeof state));
    const bool kept = xp_file_exists(state);
    return xp_fail(status, "%s, after step %lld: correct extreme values, or lower the learning rate (now %g)%s%s%s",
                   xp_last_error(), (long long)run->checkpoint.state.step, run->row.learning_rate, kept ? "; " : "",
                   kept ? last : "", kept ? " keeps the last good checkpoint" : "");
}

/* The state is that of the last step whose results are known. */
static void count_step(xp_run *run, const xp_tally *tally) {
    xp_training_state *state = &run->checkpoint.state;
    if (tally->samples == 0) return;
    for (int i = 0; i < XP_TASK_SUMS; i++) state->sums[i] += tally->sums[i];
    state->samples += tally->samples;
    state->counted += tally->counted;
    state->samples_total += tally->samples;
    if (run->session.skipped) xp_loss_scale_count(&state->loss_scale, tally->skipped > 0);
    state->step++;
    state->position++;
    run->steps_made++;
}

/* Enqueues a step, and counts the one before. */
static xp_status train_step(xp_run *run) {
    const double begin = xp_clock();
    const double rate = xp_schedule_rate(&run->checkpoint.config, run->steps_enqueued, run->steps_per_epoch);
    xp_training_state *state = &run->checkpoint.state;
    xp_session_step_numbers numbers = {.step = run->steps_enqueued + 1, .rate = rate, .scale = 1};
    xp_tally before;
    run->row.learning_rate = rate;
    if (run->session.skipped) {
        XP_TRY(xp_loss_scale_choose(&state->loss_scale, numbers.step, state->step));
        numbers.scale = state->loss_scale.scale;
    }
    numbers.update = numbers.step - state->loss_scale.skipped;
    XP_TRY(advise(run, xp_session_train(&run->session, &numbers, &before)));
    run->steps_enqueued++;
    count_step(run, &before);
    run->checkpoint.state.training_seconds += xp_clock() - begin;
    return XP_OK;
}

/* Waits for the step that is under way, if any: then parameters and state belong together. */
static xp_status finish_step(xp_run *run) {
    const double begin = xp_clock();
    xp_tally last;
    XP_TRY(advise(run, xp_session_finish(&run->session, &last)));
    count_step(run, &last);
    run->checkpoint.state.training_seconds += xp_clock() - begin;
    return XP_OK;
}

static void report_training(const xp_run *run, double *told) {
    const xp_training_state *state = &run->checkpoint.state;
    double now = xp_clock();
    bool last = state->position == run->steps_per_epoch;
    if (!run->callbacks || !run->callbacks->progress || (now - *told < 0.1 && !last)) return;
    if (state->samples == 0) return; /* the first step is under way */
    *told = now;
    int epochs = run->checkpoint.config.training.epochs;
    int64_t left = run->steps_per_epoch * epochs - state->step;
    xp_progress progress = {.task = run->checkpoint.task,
                            .phase = "training",
                            .epoch = state->epoch + 1,
                            .epochs = epochs,
                            .step = state->position,
                            .steps = run->steps_per_epoch,
                            .learning_rate = run->row.learning_rate,
                            .samples_per_second = (double)state->samples_total / (state->training_seconds + 1e-9),
                            .seconds_left = (double)left * (now - run->started) / (double)state->step};
    xp_task_measure(run->checkpoint.task, state->sums, state->counted, xp_dataset_target_unit(run->train),
                    progress.metrics);
    run->callbacks->progress(run->callbacks->user, &progress);
}

xp_status xp_run_save(xp_run *run, const char *name) {
    char path[1200];
    XP_TRY(xp_run_folder_path(run->options->out, name, path, sizeof path));
    run->checkpoint.state.seconds = xp_clock() - run->started;
    bool left;
    XP_TRY(xp_checkpoint_write(path, &run->checkpoint, run->session.store, &left));
    if (left) xp_run_say(run, xp_last_error()); /* the checkpoint is whole all the same */
    return XP_OK;
}

static xp_status save_last(xp_run *run) {
    XP_TRY(xp_run_save(run, "last"));
    run->saved = xp_clock();
    return XP_OK;
}

/* Saves within an epoch, if configured. */
static xp_status save_sometimes(xp_run *run) {
    const xp_cadence *every = &run->checkpoint.config.training.checkpoint_every;
    const bool due = (every->steps > 0 && run->steps_enqueued % every->steps == 0) ||
                     (every->seconds > 0 && xp_clock() - run->saved >= (double)every->seconds);
    if (!due) return XP_OK;
    XP_TRY(finish_step(run));
    return save_last(run);
}

/* The checkpoint of the epoch that was just finished, in the place of one that is old enough. */
static xp_status save_epoch(xp_run *run) {
    const int keep = run->checkpoint.config.training.keep, epoch = run->checkpoint.state.epoch;
    char name[32];
    if (keep == 0) return XP_OK;
    xp_run_folder_epoch_name(epoch, name);
    XP_TRY(xp_run_save(run, name));
    if (xp_run_folder_keep(&run->folder, epoch - keep + 1, epoch) != XP_OK) xp_run_say(run, xp_last_error());
    return XP_OK;
}

/* Saves the progress of the run and ends it. */
static xp_status interrupt(xp_run *run) {
    XP_TRY(save_last(run));
    return xp_fail(XP_INTERRUPTED, "stopped after step %lld; continue with: expanse train --resume %s",
                   (long long)run->checkpoint.state.step, run->options->out);
}

static xp_status evaluate_set(xp_run *run, const xp_dataset *set, const char *phase, xp_evaluation *out) {
    xp_progress progress = {.epoch = run->row.epoch,
                            .epochs = run->checkpoint.config.training.epochs,
                            .learning_rate = run->row.learning_rate,
                            .seconds_left = NAN};
    return advise(run, xp_session_evaluate(&run->session, set, phase, &progress, run->callbacks, out));
}

bool xp_run_has_stopped_early(const xp_run *run) {
    const xp_training_state *state = &run->checkpoint.state;
    const xp_config *config = &run->checkpoint.config;
    return config->training.patience > 0 && state->epoch < config->training.epochs &&
           state->epoch - state->epoch_best >= config->training.patience;
}

bool xp_run_is_done(const xp_run *run) {
    return run->checkpoint.state.epoch >= run->checkpoint.config.training.epochs || xp_run_has_stopped_early(run);
}

void xp_run_summarise(const xp_run *run, xp_run_summary *out) {
    const xp_training_state *state = &run->checkpoint.state;
    *out = (xp_run_summary){.task = run->checkpoint.task,
                            .epochs = state->epoch,
                            .parameters = run->session.store ? run->session.store->trainable_count : 0,
                            .samples = run->counts[0],
                            .validation_samples = run->counts[1],
                            .test_samples = run->counts[2],
                            .seconds = xp_clock() - run->started,
                            .samples_per_second = (double)state->samples_total / (state->training_seconds + 1e-9),
                            .scaled = state->loss_scale.scale > 0, /* fp16, now or before */
                            .skipped = xp_loss_scale_skipped(&state->loss_scale),
                            .loss_scale = state->loss_scale.scale,
                            .stopped_early = xp_run_has_stopped_early(run),
                            .finished = xp_run_is_done(run)};
    if (state->epoch_best > 0 && state->epoch_best <= run->folder.count) { /* the last row may have failed */
        out->best = run->folder.rows[state->epoch_best - 1];
        out->last = run->folder.rows[run->folder.count - 1];
    }
    if (run->session.store) {
        struct rusage usage;
        xp_plan_summary step;
        xp_session_summarise(&run->session, &step);
        out->step_flops = step.flops;
        out->memory_bytes = (double)xp_session_bytes(&run->session);
        if (getrusage(RUSAGE_SELF, &usage) == 0) out->peak_bytes = 1024.0 * (double)usage.ru_maxrss;
    }
    memcpy(out->device, run->checkpoint.device, sizeof out->device);
    memcpy(out->driver, run->checkpoint.driver, sizeof out->driver);
    memcpy(out->family, run->checkpoint.family, sizeof out->family);
}

static xp_status write_summary(const xp_run *run) {
    xp_run_summary summary;
    xp_run_summarise(run, &summary);
    return xp_run_folder_summarise(&run->folder, &run->checkpoint.config, &summary);
}

const char *xp_run_missing_file(const xp_run *run) {
    const xp_config *config = &run->checkpoint.config;
    const bool any = run->checkpoint.state.epoch > 0,
               judged = xp_config_has_test(config) || config->data.validation > 0;
    if (!xp_run_folder_has(&run->folder, "summary.json")) return "summary.json";
    if (any && !xp_run_folder_has(&run->folder, "curves.svg")) return "curves.svg";
    const char *picture = run->checkpoint.task->picture;
    if (any && judged && picture && !xp_run_folder_has(&run->folder, picture)) return picture;
    return NULL;
}

/* The picture of the best epoch, whose weights are read for it. */
static xp_status draw_best(xp_run *run, const xp_dataset *set) {
    char best[1200];
    xp_evaluation evaluation = {0};
    XP_TRY(xp_run_folder_path(run->options->out, "best", best, sizeof best));
    XP_TRY(xp_checkpoint_load(best, run->session.store, false));
    run->row.epoch = run->checkpoint.state.epoch_best;
    XP_TRY(evaluate_set(run, set, set == run->test ? "test" : "validation", &evaluation));
    const xp_status status =
        xp_run_folder_draw(&run->folder, &run->checkpoint.config, run->checkpoint.state.epoch_best, &evaluation);
    xp_evaluation_release(&evaluation);
    return status;
}

/* A run whose every epoch is done may have ended before its last files were written, or lost them. */
static xp_status complete(xp_run *run) {
    const xp_dataset *set = run->test ? run->test : run->validation;
    const char *picture = run->checkpoint.task->picture;
    if (!xp_run_folder_has(&run->folder, "curves.svg"))
        XP_TRY(xp_run_folder_draw_curves(&run->folder, &run->checkpoint.config, run->checkpoint.state.epoch_best));
    if (set && picture && !xp_run_folder_has(&run->folder, picture)) XP_TRY(draw_best(run, set));
    return xp_run_folder_has(&run->folder, "summary.json") ? XP_OK : write_summary(run);
}

/* A run of no epochs has its initial weights to save, and no epoch that would be the best. */
static xp_status save_initial(xp_run *run) {
    if (xp_run_folder_has(&run->folder, "summary.json")) return XP_OK;
    XP_TRY(xp_run_save(run, "last"));
    XP_TRY(xp_run_save(run, "best"));
    return write_summary(run);
}

static void tell_early_end(const xp_run *run) {
    const int patience = run->checkpoint.config.training.patience;
    char text[160];
    snprintf(text, sizeof text, "stopped early: no better %s on the validation set for %d epoch%s",
             run->checkpoint.task->metrics[run->checkpoint.task->deciding].name, patience, patience == 1 ? "" : "s");
    xp_run_say(run, text);
}

/* Evaluates, keeps the best, closes the epoch. */
static xp_status finish_epoch(xp_run *run) {
    xp_training_state *state = &run->checkpoint.state;
    xp_evaluation validation = {0}, test = {0};
    xp_epoch_row *row = &run->row;
    const xp_task *task = run->checkpoint.task;
    xp_status status = XP_OK;
    row->epoch = state->epoch + 1;
    xp_task_measure(task, state->sums, state->counted, xp_dataset_target_unit(run->train),
                    row->metrics[XP_SET_TRAINING]);
    xp_task_measure(task, state->sums, 0, 1, row->metrics[XP_SET_VALIDATION]);
    xp_task_measure(task, state->sums, 0, 1, row->metrics[XP_SET_TEST]);
    if (run->validation) {
        XP_TRY_OR(status, evaluate_set(run, run->validation, "validation", &validation), out);
        memcpy(row->metrics[XP_SET_VALIDATION], validation.metrics, sizeof validation.metrics);
    }
    if (run->test) {
        XP_TRY_OR(status, evaluate_set(run, run->test, "test", &test), out);
        memcpy(row->metrics[XP_SET_TEST], test.metrics, sizeof test.metrics);
    }
    const double judged = xp_epoch_decision(task, row, xp_epoch_judge(task, row));
    const double shown = run->test ? xp_epoch_decision(task, row, XP_SET_TEST) : judged;
    const bool best = state->epoch_best == 0 || xp_epoch_is_better(task, row, &run->folder.rows[state->epoch_best - 1]);
    const xp_evaluation *judging = run->test ? &test : run->validation ? &validation : NULL;
    row->samples_per_second = (double)state->samples_total / (state->training_seconds + 1e-9);
    row->seconds = xp_clock() - run->started;
    if (best) {
        state->best = judged;
        state->at_best = shown;
        state->epoch_best = row->epoch;
    }
    state->epoch++;
    state->position = 0;
    memset(state->sums, 0, sizeof state->sums);
    state->samples = state->counted = 0;
    XP_TRY_OR(status, xp_run_folder_append(&run->folder, &run->checkpoint.config, row, state->epoch_best), out);
    if (best && judging && task->picture)
        XP_TRY_OR(status, xp_run_folder_draw(&run->folder, &run->checkpoint.config, row->epoch, judging), out);
    if (best) XP_TRY_OR(status, xp_run_save(run, "best"), out);
    XP_TRY_OR(status, save_epoch(run), out);
    XP_TRY_OR(status, save_last(run), out);
    if (run->callbacks && run->callbacks->epoch)
        run->callbacks->epoch(run->callbacks->user, task, row, run->checkpoint.config.training.epochs, best);
    if (!xp_run_is_done(run)) goto out;
    if (xp_run_has_stopped_early(run)) tell_early_end(run);
    status = write_summary(run);
out:
    xp_evaluation_release(&validation);
    xp_evaluation_release(&test);
    return status;
}

/* Reports the steps skipped since there were `before` of them. */
static void tell_skipped(const xp_run *run, int64_t before) {
    const int64_t skipped = xp_loss_scale_skipped(&run->checkpoint.state.loss_scale) - before;
    char text[160];
    if (skipped == 0) return;
    snprintf(text, sizeof text, "%lld step%s skipped, since gradients overflowed in fp16", (long long)skipped,
             skipped == 1 ? " was" : "s were");
    xp_run_say(run, text);
}

/* What augmentation makes of the first samples, once. */
static xp_status draw_samples(const xp_run *run) {
    const xp_sample_kind *kind = run->train->kind;
    char path[1200];
    if (run->checkpoint.state.epoch > 0 || !kind->draw || xp_run_folder_has(&run->folder, kind->picture)) return XP_OK;
    XP_TRY(xp_run_folder_path(run->options->out, kind->picture, path, sizeof path));
    return kind->draw(run->train, run->order, path);
}

/* The rest of an epoch, or of it what comes before a stop is asked for. */
static xp_status train_epoch(xp_run *run, double *told) {
    const xp_training_state *state = &run->checkpoint.state;
    const xp_config *config = &run->checkpoint.config;
    const int64_t steps = run->steps_per_epoch - state->position, end = run->steps_enqueued + steps;
    const int64_t skipped = xp_loss_scale_skipped(&state->loss_scale);
    xp_dataset_shuffle(run->train->count, config->training.seed, state->epoch, run->order);
    xp_augment_order(&config->augment, run->train->count, run->order);
    xp_dataset_begin_epoch(run->train, config->training.seed, state->epoch);
    XP_TRY(draw_samples(run));
    xp_session_begin(&run->session, run->train, run->order, run->train->count,
                     state->position * config->training.batch);
    while (run->steps_enqueued < end && !xp_run_stop_asked(run)) {
        XP_TRY(train_step(run));
        report_training(run, told);
        XP_TRY(save_sometimes(run));
    }
    XP_TRY(finish_step(run));
    report_training(run, told);
    tell_skipped(run, skipped);
    xp_session_end(&run->session);
    return XP_OK;
}

xp_status xp_run_loop(xp_run *run) {
    xp_training_state *state = &run->checkpoint.state;
    double told = 0;
    if (run->callbacks && run->callbacks->begin) run->callbacks->begin(run->callbacks->user);
    run->saved = xp_clock();
    if (xp_run_is_done(run)) {
        xp_status status = state->epoch == 0 ? save_initial(run) : complete(run);
        return status == XP_INTERRUPTED ? interrupt(run) : status;
    }
    run->steps_enqueued = state->step;
    if (run->session.skipped && state->loss_scale.scale == 0) state->loss_scale = xp_loss_scale_begin();
    while (!xp_run_is_done(run)) {
        XP_TRY(train_epoch(run, &told));
        if (state->position < run->steps_per_epoch) return interrupt(run);
        xp_status status = finish_epoch(run);
        if (status == XP_INTERRUPTED) return interrupt(run); /* during evaluation: the epoch is not closed yet */
        XP_TRY(status);
    }
    return XP_OK;
}
