/* The training loop: epochs of steps, evaluation, checkpoints, resume. */
#include "train/trainer.h"

#include "core/clock.h"
#include "core/files.h"
#include "core/text.h"
#include "core/writer.h"
#include "model/attention.h"
#include "train/checkpoint.h"
#include "train/session.h"
#include "train/trust.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A run under way. */
typedef struct training_run {
    const xp_train_options *options;
    const xp_trainer_callbacks *callbacks;
    xp_checkpoint checkpoint; /* configuration, shape and state: what last/ is written from */
    xp_dataset *train, *validation, *test;
    xp_session session;
    xp_run_folder folder;
    bool has_folder;
    bool finished;      /* resumed with nothing left to do */
    bool resumed;       /* goes on from a checkpoint, not from the beginning */
    char last[1200];    /* that checkpoint */
    xp_config recorded; /* of a resumed run: what its folder says */
    int64_t counts[3];  /* samples of the sets for training, validation and test */
    int epochs_before;  /* of the configuration, when the run is made longer; else -1 */
    int32_t *order;
    int64_t steps_per_epoch;
    int64_t steps_enqueued; /* since the beginning */
    int64_t steps_made;     /* in this process */
    double saved;           /* clock, of the last checkpoint */
    double started;         /* clock when this process began, minus what earlier ones spent */
    xp_epoch_row row;
} training_run;

static void say(const training_run *run, const char *text) {
    if (run->callbacks && run->callbacks->message) run->callbacks->message(run->callbacks->user, text);
}

static bool stop_asked(const training_run *run) {
    return run->callbacks && run->callbacks->stop && *run->callbacks->stop;
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

/* What never changes in the training set teaches nothing; in a small other set it may be chance. */
static xp_status fill_missing(const training_run *run, xp_dataset *set) {
    xp_writer note = {0};
    xp_status status = xp_dataset_note_idle(set, set == run->train, &note);
    if (status == XP_OK) status = xp_dataset_interpolate(set);
    if (status == XP_OK && note.text) say(run, note.text);
    xp_writer_release(&note);
    return status;
}

/* Opens a file of the data; the path of a resumed run may be an old one. `given`: it was told anew by the flag. */
static xp_status open_data(const training_run *run, const char *path, const char *flag, bool given, xp_dataset **out) {
    const xp_status status = xp_dataset_open(out, path, flag + strlen("--"));
    if (status != XP_IO_ERROR || !run->options->resume || given) return status;
    return xp_fail(status, "%s; the run recorded this path: where the data were moved, give %s FILE", xp_last_error(),
                   flag);
}

/* Either of them, or both. */
static xp_status refuse_data(const training_run *run, bool train, bool test) {
    const xp_config *config = &run->checkpoint.config;
    static const char remedy[] = "its samples, their lengths or their classes differ; give %s the right file, or start "
                                 "a new run";
    char text[160];
    snprintf(text, sizeof text, remedy, train && test ? "--train and --test" : train ? "--train" : "--test");
    if (train && test)
        return xp_fail(XP_BAD_DATA,
                       "%s is not the data that this run was trained with, nor %s that it was tested with: %s",
                       config->data.train, config->data.test, text);
    return xp_fail(XP_BAD_DATA, "%s is not the data that this run was %s with: %s",
                   train ? config->data.train : config->data.test, train ? "trained" : "tested", text);
}

/* Whether the set's samples look like those of the checkpoint; fingerprints tell the rest once they are prepared alike. */
static bool is_alike(const xp_checkpoint *checkpoint, const xp_dataset *set) {
    const xp_model_shape *shape = &checkpoint->shape;
    return set->kind == checkpoint->kind && set->features == shape->features && set->length <= shape->length &&
           set->channels == shape->channels && set->height == shape->height && set->breadth == shape->breadth;
}

static bool has_outputs(const xp_checkpoint *checkpoint, const xp_dataset *set) {
    const xp_task *task = checkpoint->task;
    const int outputs = checkpoint->shape.outputs;
    bool same = task->outputs(set) == outputs;
    for (int i = 0; i < outputs && same; i++)
        same = strcmp(task->output_name(set, i), checkpoint->output_names[i]) == 0;
    return same;
}

/* Brings series to the steps that the model is to have: those of the checkpoint, or those that are asked for. */
static xp_status reserve_length(const training_run *run, xp_dataset *set) {
    const int wanted = run->checkpoint.config.data.max_length;
    const int length = run->resumed ? run->checkpoint.shape.length : wanted;
    const bool training = set == run->train;
    if (run->resumed && !(is_alike(&run->checkpoint, set) && (!training || has_outputs(&run->checkpoint, set))))
        return refuse_data(run, training, !training);
    if (!set->kind->has.length && wanted > 0)
        return xp_fail(XP_INVALID_ARGUMENT, "%s holds %s: data.max_length (--max-length) is for series", set->name,
                       set->kind->name);
    if (!set->kind->has.length || length == 0) return XP_OK;
    if (set->length <= length) {
        xp_dataset_pad(set, length);
        return XP_OK;
    }
    return xp_fail(
        XP_INVALID_ARGUMENT,
        "%s has series of %d steps, more than data.max_length (--max-length): raise it from %d to %d or more",
        set->name, set->length, length, set->length);
}

static xp_status load_data(training_run *run) {
    const xp_config *config = &run->checkpoint.config;
    uint64_t seed = config->training.seed;
    if (!*config->data.train)
        return xp_fail(XP_INVALID_ARGUMENT, "no training data: give --train FILE or data.train in the configuration");
    XP_TRY(open_data(run, config->data.train, "--train", run->options->train, &run->train));
    if (!run->resumed) XP_TRY(xp_task_for(run->train, &run->checkpoint.task));
    XP_TRY(reserve_length(run, run->train));
    const xp_task *task = run->checkpoint.task;
    if (*config->data.test) {
        XP_TRY(open_data(run, config->data.test, "--test", run->options->test, &run->test));
        XP_TRY(reserve_length(run, run->test));
        XP_TRY(xp_dataset_align(run->train, run->test));
    }
    XP_TRY(task->check(run->train, config->data.train, XP_DATA_TRAINS));
    if (run->test) XP_TRY(task->check(run->test, config->data.test, XP_DATA_TESTS));
    if (config->data.train_limit) XP_TRY(xp_dataset_limit(run->train, config->data.train_limit, seed));
    if (run->test && config->data.test_limit) XP_TRY(xp_dataset_limit(run->test, config->data.test_limit, seed));
    if (config->data.validation > 0)
        XP_TRY(xp_dataset_split(run->train, config->data.validation, seed, &run->validation));

    xp_dataset *sets[] = {run->train, run->validation, run->test};
    for (int i = 0; i < 3; i++) {
        if (!sets[i]) continue;
        run->counts[i] = sets[i]->count;
        XP_TRY(fill_missing(run, sets[i]));
    }
    if (config->data.standardise) {
        if (!run->resumed) XP_TRY(xp_standardisation_fit(&run->checkpoint.standardisation, run->train));
        for (int i = 0; i < 3; i++)
            if (sets[i]) xp_standardisation_apply(&run->checkpoint.standardisation, sets[i]);
    }
    return XP_OK;
}

/* What a checkpoint must remember of the data; on resume, compares instead. */
static xp_status describe_data(training_run *run) {
    xp_checkpoint *checkpoint = &run->checkpoint;
    const xp_dataset *train = run->train;
    char fingerprint[sizeof checkpoint->fingerprint];
    XP_TRY(xp_checkpoint_fingerprint(train, run->validation, run->test, fingerprint));
    if (run->resumed) {
        if (strcmp(fingerprint, checkpoint->fingerprint) == 0) return XP_OK;
        const size_t length = strcspn(fingerprint, "+");
        return refuse_data(run, strncmp(fingerprint, checkpoint->fingerprint, length) != 0,
                           strcmp(fingerprint + length, checkpoint->fingerprint + length) != 0);
    }
    memcpy(checkpoint->fingerprint, fingerprint, sizeof fingerprint);
    checkpoint->kind = train->kind;
    checkpoint->shape =
        (xp_model_shape){.batch = checkpoint->config.training.batch / checkpoint->config.training.accumulate,
                         .outputs = checkpoint->task->outputs(train),
                         .length = train->length,
                         .features = train->features,
                         .channels = train->channels,
                         .height = train->height,
                         .breadth = train->breadth};
    const int outputs = checkpoint->shape.outputs;
    checkpoint->output_names = calloc((size_t)outputs, sizeof *checkpoint->output_names);
    if (!checkpoint->output_names) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the names of %d outputs", outputs);
    for (int i = 0; i < outputs; i++) {
        checkpoint->output_names[i] = strdup(checkpoint->task->output_name(train, i));
        if (!checkpoint->output_names[i])
            return xp_fail(XP_OUT_OF_MEMORY, "no memory for the names of %d outputs", outputs);
    }
    return XP_OK;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* Passes the status of a session's step on; where an answer was not a number, the message gets its remedy. */
static xp_status advise(const training_run *run, xp_status status) {
    char last[1200], state[1200];
    if (status != XP_BAD_DATA) return status;
    XP_TRY(xp_run_folder_path(run->options->out, "last", last, sizeof last));
    XP_TRY(xp_run_folder_path(last, "state.json", state, sizeof state));
    const bool kept = xp_file_exists(state);
    return xp_fail(status, "%s, after step %lld: correct extreme values, or lower the learning rate (now %g)%s%s%s",
                   xp_last_error(), (long long)run->checkpoint.state.step, run->row.learning_rate, kept ? "; " : "",
                   kept ? last : "", kept ? " keeps the last good checkpoint" : "");
}

/* The state is that of the last step whose results are known. */
static void count_step(training_run *run, const xp_tally *tally) {
    xp_training_state *state = &run->checkpoint.state;
    if (tally->samples == 0) return;
    for (int i = 0; i < XP_TASK_SUMS; i++) state->sums[i] += tally->sums[i];
    state->samples += tally->samples;
    state->samples_total += tally->samples;
    state->step++;
    state->position++;
    run->steps_made++;
}

/* Enqueues a step, and counts the one before. */
static xp_status train_step(training_run *run) {
    const double begin = xp_clock();
    const double rate = xp_schedule_rate(&run->checkpoint.config, run->steps_enqueued, run->steps_per_epoch);
    xp_tally before;
    run->row.learning_rate = rate;
    XP_TRY(advise(run, xp_session_train(&run->session, run->steps_enqueued + 1, rate, &before)));
    run->steps_enqueued++;
    count_step(run, &before);
    run->checkpoint.state.training_seconds += xp_clock() - begin;
    return XP_OK;
}

/* Waits for the step that is under way, if any: then parameters and state belong together. */
static xp_status finish_step(training_run *run) {
    const double begin = xp_clock();
    xp_tally last;
    XP_TRY(advise(run, xp_session_finish(&run->session, &last)));
    count_step(run, &last);
    run->checkpoint.state.training_seconds += xp_clock() - begin;
    return XP_OK;
}

static void report_training(const training_run *run, double *told) {
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
    xp_task_measure(run->checkpoint.task, state->sums, state->samples, progress.metrics);
    run->callbacks->progress(run->callbacks->user, &progress);
}

static xp_status save(training_run *run, const char *name) {
    char path[1200];
    XP_TRY(xp_run_folder_path(run->options->out, name, path, sizeof path));
    run->checkpoint.state.seconds = xp_clock() - run->started;
    bool left;
    XP_TRY(xp_checkpoint_write(path, &run->checkpoint, run->session.store, &left));
    if (left) say(run, xp_last_error()); /* the checkpoint is whole all the same */
    return XP_OK;
}

static xp_status save_last(training_run *run) {
    XP_TRY(save(run, "last"));
    run->saved = xp_clock();
    return XP_OK;
}

/* Saves within an epoch, where the configuration wants it. */
static xp_status save_sometimes(training_run *run) {
    const xp_cadence *every = &run->checkpoint.config.training.checkpoint_every;
    const bool due = (every->steps > 0 && run->steps_enqueued % every->steps == 0) ||
                     (every->seconds > 0 && xp_clock() - run->saved >= (double)every->seconds);
    if (!due) return XP_OK;
    XP_TRY(finish_step(run));
    return save_last(run);
}

/* The checkpoint of the epoch that was just finished, in the place of one that is old enough. */
static xp_status save_epoch(training_run *run) {
    const int keep = run->checkpoint.config.training.keep, epoch = run->checkpoint.state.epoch;
    char name[32];
    if (keep == 0) return XP_OK;
    xp_run_folder_epoch_name(epoch, name);
    XP_TRY(save(run, name));
    if (xp_run_folder_keep(&run->folder, epoch - keep + 1, epoch) != XP_OK) say(run, xp_last_error());
    return XP_OK;
}

/* Saves where the run stands and ends it. */
static xp_status interrupt(training_run *run) {
    XP_TRY(save_last(run));
    return xp_fail(XP_INTERRUPTED, "stopped after step %lld; continue with: expanse train --resume %s",
                   (long long)run->checkpoint.state.step, run->options->out);
}

static xp_status evaluate_set(training_run *run, const xp_dataset *set, const char *phase, xp_evaluation *out) {
    xp_progress progress = {.epoch = run->row.epoch,
                            .epochs = run->checkpoint.config.training.epochs,
                            .learning_rate = run->row.learning_rate,
                            .seconds_left = NAN};
    return advise(run, xp_session_evaluate(&run->session, set, phase, &progress, run->callbacks, out));
}

/* From the rows of metrics.csv and the state, so that a resumed run tells the same as one that was never cut. */
static void summarise(const training_run *run, xp_run_summary *out) {
    const xp_training_state *state = &run->checkpoint.state;
    *out = (xp_run_summary){.task = run->checkpoint.task,
                            .epochs = state->epoch,
                            .parameters = run->session.store ? run->session.store->trainable_count : 0,
                            .samples = run->counts[0],
                            .validation_samples = run->counts[1],
                            .test_samples = run->counts[2],
                            .seconds = xp_clock() - run->started,
                            .samples_per_second = (double)state->samples_total / (state->training_seconds + 1e-9),
                            .finished = state->epoch == run->checkpoint.config.training.epochs};
    if (state->epoch_best > 0 && state->epoch_best <= run->folder.count) { /* the last row may have failed */
        out->best = run->folder.rows[state->epoch_best - 1];
        out->last = run->folder.rows[run->folder.count - 1];
    }
    memcpy(out->device, run->checkpoint.device, sizeof out->device);
    memcpy(out->driver, run->checkpoint.driver, sizeof out->driver);
    memcpy(out->family, run->checkpoint.family, sizeof out->family);
}

static xp_status write_summary(const training_run *run) {
    xp_run_summary summary;
    summarise(run, &summary);
    return xp_run_folder_summarise(&run->folder, &run->checkpoint.config, &summary);
}

/* NULL, or a file that a run whose every epoch is done has, but this one has not. */
static const char *missing_file(const training_run *run) {
    const xp_config *config = &run->checkpoint.config;
    const bool any = run->checkpoint.state.epoch > 0, judged = *config->data.test || config->data.validation > 0;
    if (!xp_run_folder_has(&run->folder, "summary.json")) return "summary.json";
    if (any && !xp_run_folder_has(&run->folder, "curves.svg")) return "curves.svg";
    const char *picture = run->checkpoint.task->picture;
    if (any && judged && picture && !xp_run_folder_has(&run->folder, picture)) return picture;
    return NULL;
}

/* A run whose every epoch is done may have ended before its last files were written, or lost them. The picture of a run
 * that was made longer is that of the shorter one, until the summary says otherwise. */
static xp_status complete(training_run *run) {
    const bool summarised = xp_run_folder_has(&run->folder, "summary.json");
    const xp_dataset *set = run->test ? run->test : run->validation;
    const char *picture = run->checkpoint.task->picture;
    xp_evaluation evaluation = {0};
    run->row.epoch = run->checkpoint.state.epoch;
    if (!xp_run_folder_has(&run->folder, "curves.svg"))
        XP_TRY(xp_run_folder_draw_curves(&run->folder, &run->checkpoint.config, run->checkpoint.state.epoch_best));
    if (set && picture && !(summarised && xp_run_folder_has(&run->folder, picture))) {
        XP_TRY(evaluate_set(run, set, run->test ? "test" : "validation", &evaluation));
        const xp_status drawn = xp_run_folder_draw(&run->folder, &run->checkpoint.config, &evaluation);
        xp_evaluation_release(&evaluation);
        XP_TRY(drawn);
    }
    return summarised ? XP_OK : write_summary(run);
}

/* A run of no epochs has its initial weights to save, and no epoch that would be the best. */
static xp_status save_initial(training_run *run) {
    if (xp_run_folder_has(&run->folder, "summary.json")) return XP_OK;
    XP_TRY(save(run, "last"));
    XP_TRY(save(run, "best"));
    return write_summary(run);
}

/* Evaluates, keeps the best, closes the epoch. */
static xp_status finish_epoch(training_run *run) {
    xp_training_state *state = &run->checkpoint.state;
    xp_evaluation validation = {0}, test = {0};
    xp_epoch_row *row = &run->row;
    const xp_task *task = run->checkpoint.task;
    xp_status status = XP_OK;
    row->epoch = state->epoch + 1;
    xp_task_measure(task, state->sums, state->samples, row->metrics[XP_SET_TRAINING]);
    xp_task_measure(task, state->sums, 0, row->metrics[XP_SET_VALIDATION]);
    xp_task_measure(task, state->sums, 0, row->metrics[XP_SET_TEST]);
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
    const bool best = state->epoch_best == 0 || xp_task_is_better(task, judged, state->best);
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
    state->samples = 0;
    XP_TRY_OR(status, xp_run_folder_append(&run->folder, &run->checkpoint.config, row, state->epoch_best), out);
    if (best) XP_TRY_OR(status, save(run, "best"), out);
    XP_TRY_OR(status, save_epoch(run), out);
    XP_TRY_OR(status, save_last(run), out);
    if (run->callbacks && run->callbacks->epoch)
        run->callbacks->epoch(run->callbacks->user, task, row, run->checkpoint.config.training.epochs, best);
    if (state->epoch < run->checkpoint.config.training.epochs) goto out;
    if (judging && task->picture)
        XP_TRY_OR(status, xp_run_folder_draw(&run->folder, &run->checkpoint.config, judging), out);
    status = write_summary(run);
out:
    xp_evaluation_release(&validation);
    xp_evaluation_release(&test);
    return status;
}

/* The rest of an epoch, or of it what comes before a stop is asked for. */
static xp_status train_epoch(training_run *run, double *told) {
    const xp_training_state *state = &run->checkpoint.state;
    const xp_config *config = &run->checkpoint.config;
    const int64_t steps = run->steps_per_epoch - state->position, end = run->steps_enqueued + steps;
    xp_dataset_shuffle(run->train->count, config->training.seed, state->epoch, run->order);
    xp_session_begin(&run->session, run->train, run->order, run->train->count,
                     state->position * config->training.batch);
    while (run->steps_enqueued < end && !stop_asked(run)) {
        XP_TRY(train_step(run));
        report_training(run, told);
        XP_TRY(save_sometimes(run));
    }
    XP_TRY(finish_step(run));
    report_training(run, told);
    xp_session_end(&run->session);
    return XP_OK;
}

static xp_status loop(training_run *run) {
    xp_training_state *state = &run->checkpoint.state;
    const xp_config *config = &run->checkpoint.config;
    double told = 0;
    if (run->callbacks && run->callbacks->begin) run->callbacks->begin(run->callbacks->user);
    run->saved = xp_clock();
    if (state->epoch >= config->training.epochs) {
        xp_status status = state->epoch == 0 ? save_initial(run) : complete(run);
        return status == XP_INTERRUPTED ? interrupt(run) : status;
    }
    run->steps_enqueued = state->step;
    while (state->epoch < config->training.epochs) {
        XP_TRY(train_epoch(run, &told));
        if (state->position < run->steps_per_epoch) return interrupt(run);
        xp_status status = finish_epoch(run);
        if (status == XP_INTERRUPTED) return interrupt(run); /* during evaluation: the epoch is not closed yet */
        XP_TRY(status);
    }
    return XP_OK;
}

/* ---- the whole run ----------------------------------------------------------------------------------------------- */

/* Names the device and its kernels in the checkpoint; on resume, says when the bits will differ. */
static xp_status describe_device(training_run *run) {
    xp_checkpoint *checkpoint = &run->checkpoint;
    const xp_device *device = run->session.device;
    const char *family = xp_family_name(device->families[0]);
    json_t *tunings = xp_session_tunings(&run->session);
    if (!tunings) return xp_fail(XP_OUT_OF_MEMORY, "no memory to note the kernels' parameters");
    if (run->resumed && (strcmp(checkpoint->device, device->name) != 0 ||
                         strcmp(checkpoint->driver, device->driver) != 0 || strcmp(checkpoint->family, family) != 0))
        say(run, "this run began on another device, driver or kernel family: it goes on with the kernel parameters of "
                 "this one, and its bits will differ from a run that was never cut");
    else if (run->resumed && !json_equal(checkpoint->tunings, tunings))
        say(run, "this run began with kernels of another version, or without a note of their parameters: it goes on "
                 "with those of the tuning table, and its bits may differ from a run that was never cut");
    json_decref(checkpoint->tunings);
    checkpoint->tunings = tunings;
    snprintf(checkpoint->device, sizeof checkpoint->device, "%s", device->name);
    snprintf(checkpoint->driver, sizeof checkpoint->driver, "%s", device->driver);
    snprintf(checkpoint->family, sizeof checkpoint->family, "%s", family);
    return XP_OK;
}

/* ---- what is going to run ---------------------------------------------------------------------------------------- */

/* "test         90 samples of length 8 to 21, 2 features, 3 classes" */
static void describe_set(xp_writer *out, const xp_task *task, const char *name, const xp_dataset *set) {
    if (!set) return;
    xp_write(out, "%-13s%lld samples of ", name, (long long)set->count);
    set->kind->describe(set, out);
    task->describe(set, out);
    xp_write(out, "\n");
}

/* Device, data, parameters, batch and memory: what one wants to know before a run begins. */
static void describe_run(const training_run *run, xp_writer *out) {
    const xp_session *session = &run->session;
    const xp_config *config = &run->checkpoint.config;
    const int parts = config->training.accumulate, epochs = config->training.epochs;
    const size_t store = xp_store_bytes(session->store), inputs = xp_session_input_bytes(session);
    xp_plan_summary training, evaluation;
    char total[32], stored[32], arena[32], uploaded[32];
    xp_session_summarise(session, &training);
    xp_plan_summarise(session->evaluation_plan, &evaluation);
    const bool lends = evaluation.arena_bytes <= training.arena_bytes;
    xp_text_bytes((double)inputs, uploaded);
    xp_text_bytes((double)(store + inputs + training.arena_bytes + (lends ? 0 : evaluation.arena_bytes)), total);
    xp_text_bytes((double)store, stored);
    xp_text_bytes((double)(training.arena_bytes + (lends ? 0 : evaluation.arena_bytes)), arena);
    xp_write(out, "device       %s (%s), kernels %s\n", session->device->name, session->device->selector,
             run->checkpoint.family);
    const xp_task *task = run->checkpoint.task;
    describe_set(out, task, "training", run->train);
    describe_set(out, task, "validation", run->validation);
    describe_set(out, task, "test", run->test);
    xp_write(out, "parameters   %lld\n", (long long)session->store->trainable_count);
    xp_write(out, "batch        %d sample%s a step", config->training.batch, config->training.batch == 1 ? "" : "s");
    if (parts > 1) xp_write(out, ", in %d parts of %d", parts, session->shape.batch);
    xp_write(out, "; %lld step%s an epoch, %d epoch%s\n", (long long)run->steps_per_epoch,
             run->steps_per_epoch == 1 ? "" : "s", epochs, epochs == 1 ? "" : "s");
    xp_write(out, "memory       %s: parameters, gradients%s and moments %s, activations %s, inputs %s\n", total,
             parts > 1 ? ", their sums" : "", stored, arena, uploaded);
}

static xp_status announce(const training_run *run) {
    xp_writer text = {0};
    describe_run(run, &text);
    xp_status status = xp_writer_status(&text, "the description of the run");
    if (status == XP_OK) {
        text.text[text.length - 1] = '\0'; /* a message ends without a newline */
        say(run, text.text);
    }
    xp_writer_release(&text);
    return status;
}

/* What the other choice would take. */
static xp_status describe_recomputation(const training_run *run, const xp_plan_summary *training, xp_writer *out) {
    xp_config config = run->checkpoint.config;
    const xp_device_options device = {
        .size = sizeof(xp_device_options), .select = config.device.select, .family = config.device.family};
    const bool on = config.training.recompute;
    char arena[32];
    config.training.recompute = !on;
    xp_session session;
    xp_plan_summary other;
    XP_TRY(xp_session_open(&session, run->checkpoint.task, &config, &run->checkpoint.shape, &device,
                           run->checkpoint.tunings, true));
    xp_session_summarise(&session, &other);
    xp_session_close(&session);
    const xp_plan_summary *again = on ? training : &other;
    xp_text_bytes((double)other.arena_bytes, arena);
    xp_write(out, "recompute    %s; %s it: arena %s, %d launches and %.2f GFLOP a training step %s\n",
             on ? "on" : "off", on ? "without" : "with", arena, again->recomputed_launches,
             again->recomputed_flops * 1e-9, on ? "less" : "more");
    return XP_OK;
}

static xp_status describe_plan(const training_run *run, xp_writer *out) {
    const xp_session *session = &run->session;
    const int parts = session->config->training.accumulate;
    xp_plan_summary training, evaluation;
    xp_specification specification;
    char kernel[200] = "", arena[32], unshared[32], evaluating[32], moved[32], fused[32];
    xp_session_summarise(session, &training);
    xp_plan_summarise(session->evaluation_plan, &evaluation);
    xp_text_bytes((double)training.arena_bytes, arena);
    xp_text_bytes((double)training.unshared_bytes, unshared);
    xp_text_bytes((double)evaluation.arena_bytes, evaluating);
    xp_text_bytes(training.bytes, moved);
    xp_text_bytes(training.fused_bytes, fused);
    describe_run(run, out);
    xp_write(out, "arena        %s: activations %s without sharing\n", arena, unshared);
    xp_write(out, "evaluation   %s, %s\n", evaluating,
             evaluation.arena_bytes <= training.arena_bytes ? "inside the arena" : "beside the arena");
    XP_TRY(describe_recomputation(run, &training, out));
    xp_write(out, "accumulate   %d part%s of %d samples a step\n", parts, parts == 1 ? "" : "s", session->shape.batch);
    if (xp_specification_parse(session->config->model.attention, &specification) == XP_OK)
        xp_attention_describe(&specification, (float)session->config->model.attention_dropout, kernel, sizeof kernel);
    xp_write(out, "attention    %s\n", kernel);
    xp_write(out, "launches     %d a training step (%d kernels), %d an evaluation step\n", training.launches,
             training.kernels, evaluation.launches);
    xp_write(out, "fusion       %d launches and %s of traffic saved a training step\n", training.fused, fused);
    xp_write(out, "arithmetic   %.2f GFLOP a training step, at least %s moved\n", training.flops * 1e-9, moved);
    return xp_writer_status(out, "the description of the run");
}

static xp_status print_plan(const training_run *run) {
    const xp_session *session = &run->session;
    xp_writer text = {0};
    xp_status status = describe_plan(run, &text);
    if (status == XP_OK) fputs(text.text, run->options->report);
    xp_writer_release(&text);
    if (status != XP_OK || !run->options->launches) return status;
    fputs("\n", run->options->report);
    xp_plan_print_launches(session->training_plan, run->options->report);
    if (session->update_plan) xp_plan_print_launches(session->update_plan, run->options->report);
    return XP_OK;
}

/* ---- beginning and going on -------------------------------------------------------------------------------------- */

static xp_status check_trust(const training_run *run, const char *folder) {
    return run->options->trust_code ? XP_OK : xp_trust_check(folder, run->checkpoint.config.model.attention);
}

/* Reads where the run of a folder stands: its last checkpoint, or the configuration alone when it ended before the
 * first one. */
static xp_status find_state(training_run *run) {
    const char *out = run->options->out;
    char *last = run->last;
    const size_t size = sizeof run->last;
    XP_TRY(xp_run_folder_open(&run->folder, out)); /* first: a run that still goes may be writing all of it */
    run->has_folder = true;
    XP_TRY(xp_run_folder_path(out, "state.json", last, size));
    if (xp_file_exists(last))
        return xp_fail(XP_INVALID_ARGUMENT, "%s: is a checkpoint; give --resume the run folder that it lies in", out);
    xp_status status = xp_run_folder_checkpoint(out, false, last, size);
    if (status == XP_OK) {
        run->resumed = true;
        XP_TRY(xp_checkpoint_read(last, &run->checkpoint));
        XP_TRY(xp_checkpoint_check(last, &run->checkpoint, true));
        return check_trust(run, last);
    }
    char config[1200];
    XP_TRY(xp_run_folder_path(out, "config.yaml", config, sizeof config));
    if (status != XP_BAD_DATA || !xp_file_exists(config)) return status;
    say(run, "the run has no checkpoint yet: it starts from the beginning, as it was configured");
    xp_config_default(&run->checkpoint.config);
    XP_TRY(xp_config_file(&run->checkpoint.config, config));
    return check_trust(run, out);
}

/* NULL, or the name of a schedule that depends on the number of epochs. */
static const char *schedule_of_length(const xp_config *config) {
    return config->training.schedule == XP_SCHEDULE_COSINE      ? "cosine"
           : config->training.schedule == XP_SCHEDULE_ONE_CYCLE ? "one-cycle"
                                                                : NULL;
}

/* Takes the larger number of epochs, if the run would have been the same up to here with it. */
static xp_status lengthen(training_run *run, int epochs) {
    xp_config *config = &run->checkpoint.config;
    const int before = config->training.epochs;
    const char *schedule = schedule_of_length(config);
    if (epochs < before)
        return xp_fail(XP_INVALID_ARGUMENT, "%s: the run has %d epochs; --epochs can only give it more",
                       run->options->out, before);
    if (epochs == before) return XP_OK;
    if (run->checkpoint.state.step > 0 && schedule)
        return xp_fail(
            XP_INVALID_ARGUMENT,
            "%s: the learning rate of its %s schedule depends on the number of epochs from the first step on: "
            "a run of %d epochs would have gone otherwise; start a new one",
            run->options->out, schedule, epochs);
    run->epochs_before = before;
    config->training.epochs = epochs;
    return XP_OK;
}

/* Takes what a resume was given in place of what the run recorded. */
static xp_status take_changes(training_run *run) {
    const xp_train_options *options = run->options;
    xp_config *config = &run->checkpoint.config;
    const char *const changes[][2] = {{"data.train", options->train},
                                      {"data.test", options->test},
                                      {"device.select", options->device},
                                      {"device.family", options->family}};
    run->recorded = *config;
    if (options->test && !*config->data.test)
        return xp_fail(
            XP_INVALID_ARGUMENT,
            "%s: the run has no test set, and --test only says where one is now; expanse eval takes any data",
            options->out);
    for (int i = 0; i < 4; i++) {
        char assignment[2048];
        if (!changes[i][1]) continue;
        snprintf(assignment, sizeof assignment, "%s=%.2000s", changes[i][0], changes[i][1]);
        XP_TRY(xp_config_set(config, assignment));
    }
    if (options->epochs >= 0) XP_TRY(lengthen(run, options->epochs));
    if (options->recompute) config->training.recompute = 1;
    if (options->checkpoint_every) config->training.checkpoint_every = *options->checkpoint_every;
    if (options->keep >= 0) config->training.keep = options->keep;
    return XP_OK;
}

/* Makes what a resume changed, such as the number of epochs, that of the folder. An end in between leaves the short run
 * without its summary, which it writes when it is resumed, or the long one. */
static xp_status record_changes(training_run *run) {
    const xp_config *config = &run->checkpoint.config;
    char text[128];
    if (!run->options->resume) return XP_OK;
    const bool changed = memcmp(config, &run->recorded, sizeof *config) != 0;
    if (!changed) return xp_run_folder_configure(&run->folder, config); /* an earlier end may have kept it back */
    if (run->resumed && run->epochs_before < 0) XP_TRY(xp_checkpoint_configure(run->last, config));
    if (run->epochs_before >= 0) {
        XP_TRY(xp_run_folder_forget_summary(&run->folder));
        if (run->resumed) XP_TRY(save(run, "last"));
        snprintf(text, sizeof text, "the run is made longer, from %d to %d epochs", run->epochs_before,
                 config->training.epochs);
        say(run, text);
    }
    return xp_run_folder_configure(&run->folder, config);
}

/* Whether the tuning tables have changed. */
static bool tune(training_run *run) {
    const xp_trainer_callbacks *callbacks = run->callbacks;
    if (!callbacks || !callbacks->tune) return false;
    const xp_config *config = &run->checkpoint.config;
    xp_plan_summary step;
    xp_session_summarise(&run->session, &step);
    const double steps = (double)run->steps_per_epoch * config->training.epochs;
    return callbacks->tune(callbacks->user, config, &run->checkpoint.shape, run->session.device, step.flops * steps);
}

/* Whether a resumed run has nothing left to do, not even its summary to write. It needs no data to be told of. */
static xp_status find_finished(training_run *run) {
    char text[128];
    if (!run->resumed || run->checkpoint.state.epoch < run->checkpoint.config.training.epochs) return XP_OK;
    const char *missing = missing_file(run);
    run->finished = !missing;
    if (missing) {
        snprintf(text, sizeof text, "all epochs are done, but %s is missing: it is made now", missing);
        say(run, text);
        return XP_OK;
    }
    XP_TRY(xp_run_folder_samples(&run->folder, &run->counts[0], &run->counts[1], &run->counts[2]));
    return xp_run_folder_resume(&run->folder, run->checkpoint.task, run->checkpoint.state.epoch);
}

/* Says that, and how there could be more to do. */
static void tell_finished(const training_run *run) {
    const xp_config *config = &run->checkpoint.config;
    const int epochs = config->training.epochs;
    char text[1400], how[160];
    if (run->checkpoint.state.step > 0 && schedule_of_length(config))
        snprintf(how, sizeof how, "its %s schedule was made for this length: a longer run is a new one",
                 schedule_of_length(config));
    else
        snprintf(how, sizeof how, "--epochs N, with more than %d, makes it longer", epochs);
    snprintf(text, sizeof text, "finished     epoch %d of %d is done; %s", epochs, epochs, how);
    say(run, text);
}

/* Checkpoints are of a known size: last/, best/, those that are kept and, while one is replaced, the new one. */
static xp_status check_room(const training_run *run) {
    const xp_store *store = run->session.store;
    const double checkpoint = (double)(store->elements + 2 * store->trained_elements) * sizeof(float);
    const int epochs = run->checkpoint.config.training.epochs, more = run->resumed ? 1 : epochs > 1 ? 3 : 2;
    const int keep = run->checkpoint.config.training.keep, kept = keep < epochs ? keep : epochs;
    return xp_folder_can_be_made(run->options->out, (more + (run->resumed ? 0.0 : kept)) * checkpoint);
}

static xp_status check_stop(const training_run *run) {
    return stop_asked(run) ? xp_fail(XP_INTERRUPTED, "stopped before the first step") : XP_OK;
}

static xp_status prepare(training_run *run, const xp_config *config) {
    const xp_train_options *options = run->options;
    if (options->resume) {
        XP_TRY(find_state(run));
        XP_TRY(take_changes(run));
        XP_TRY(find_finished(run));
        if (run->finished && !options->train && !options->test) return XP_OK;
    } else {
        run->checkpoint.config = *config;
        if (!options->dry_run) XP_TRY(xp_run_folder_can_be_made(options->out, 0));
    }
    XP_TRY(xp_config_check(&run->checkpoint.config));
    const xp_config *chosen = &run->checkpoint.config;
    XP_TRY(load_data(run));
    xp_config_make_absolute(&run->checkpoint.config);
    XP_TRY(describe_data(run));
    if (run->resumed) XP_TRY(xp_checkpoint_check_samples(run->last, &run->checkpoint, run->train->count));
    XP_TRY(check_stop(run));
    if (run->finished) return XP_OK;
    run->steps_per_epoch = (run->train->count + chosen->training.batch - 1) / chosen->training.batch;
    run->order = malloc((size_t)run->train->count * sizeof *run->order);
    if (!run->order)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for the order of %lld samples", (long long)run->train->count);

    xp_device_options device = {.size = sizeof(xp_device_options),
                                .select = chosen->device.select,
                                .family = chosen->device.family,
                                .profiling = options->profile,
                                .debug = options->debug};
    XP_TRY(xp_session_open(&run->session, run->checkpoint.task, chosen, &run->checkpoint.shape, &device,
                           run->checkpoint.tunings, true));
    if (!options->resume && !options->dry_run && tune(run)) {
        xp_session_close(&run->session);
        XP_TRY(
            xp_session_open(&run->session, run->checkpoint.task, chosen, &run->checkpoint.shape, &device, NULL, true));
    }
    XP_TRY(check_stop(run));
    XP_TRY(describe_device(run));
    if (options->dry_run) return XP_OK;
    /* The folder comes before the compilation, which takes long: what is in its way is told at once. */
    XP_TRY(check_room(run));
    if (options->resume)
        XP_TRY(xp_run_folder_resume(&run->folder, run->checkpoint.task, run->checkpoint.state.epoch));
    else
        XP_TRY(xp_run_folder_create(&run->folder, options->out, run->checkpoint.task, chosen));
    run->has_folder = true;
    XP_TRY(announce(run));
    XP_TRY(xp_session_realise(&run->session, run->callbacks));
    XP_TRY(xp_store_initialise(run->session.store, chosen->training.seed));
    if (run->resumed) XP_TRY(xp_checkpoint_load(run->last, run->session.store, true));
    if (run->checkpoint.state.step > 0)
        run->row.learning_rate = xp_schedule_rate(chosen, run->checkpoint.state.step - 1, run->steps_per_epoch);
    return XP_OK;
}

static void release(training_run *run) {
    if (run->has_folder) xp_run_folder_close(&run->folder);
    xp_session_close(&run->session);
    xp_dataset_close(&run->train);
    xp_dataset_close(&run->validation);
    xp_dataset_close(&run->test);
    xp_checkpoint_release(&run->checkpoint);
    free(run->order);
}

static xp_status print_profile(const training_run *run) {
    if (run->steps_made > 0) return xp_session_print_profile(&run->session, run->options->report);
    fprintf(run->options->report, "nothing to profile: no step of training was left to make\n");
    return XP_OK;
}

xp_status xp_train(const xp_config *config, const xp_train_options *options, const xp_trainer_callbacks *callbacks,
                   xp_run_summary *result) {
    training_run run = {.options = options, .callbacks = callbacks, .epochs_before = -1};
    *result = (xp_run_summary){.epochs = 0};
    xp_status status = prepare(&run, config);
    if (status == XP_INTERRUPTED && run.has_folder)
        xp_fail(status, "%s; continue with: expanse train --resume %s", xp_last_error(), options->out);
    if (status == XP_OK && options->dry_run) {
        status = print_plan(&run);
    } else if (status == XP_OK) {
        run.started = xp_clock() - run.checkpoint.state.seconds;
        if (run.finished) tell_finished(&run);
        status = record_changes(&run);
        if (!run.finished && status == XP_OK) status = loop(&run);
        summarise(&run, result);
        if (options->profile && (status == XP_OK || status == XP_INTERRUPTED)) {
            xp_status printed = print_profile(&run);
            if (status == XP_OK) status = printed;
        }
    }
    release(&run);
    return status;
}
