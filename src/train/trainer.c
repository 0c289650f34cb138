/* A run from its beginning to its end: a new one, or one that is resumed. */
#include "train/trainer.h"

#include "core/clock.h"
#include "core/files.h"
#include "train/precision.h"
#include "train/run.h"
#include "train/trust.h"

#include <stdlib.h>
#include <string.h>

/* On resume, says it when the steps are no longer computed as they were. */
static bool tell_precision(const xp_run *run) {
    const int before = run->recorded.training.precision, now = run->checkpoint.config.training.precision;
    char text[160];
    if (!run->resumed || before == now) return false;
    snprintf(text, sizeof text, "this run was trained in %s up to step %lld, and continues in %s",
             xp_precision_name(before), (long long)run->checkpoint.state.step, xp_precision_name(now));
    xp_run_say(run, text);
    return true;
}

/* Names the device and its kernels in the checkpoint; on resume, says when the bits will differ. */
static xp_status describe_device(xp_run *run) {
    xp_checkpoint *checkpoint = &run->checkpoint;
    const xp_device *device = run->session.device;
    const char *family = xp_family_name(device->families[0]);
    json_t *tunings = xp_session_tunings(&run->session);
    if (!tunings) return xp_fail(XP_OUT_OF_MEMORY, "no memory to note the kernels' parameters");
    const bool converted = tell_precision(run);
    if (run->resumed && (strcmp(checkpoint->device, device->name) != 0 ||
                         strcmp(checkpoint->driver, device->driver) != 0 || strcmp(checkpoint->family, family) != 0))
        xp_run_say(run, "this run began on another device, driver or kernel family: it continues with the kernel "
                        "parameters of this one, and its bits will differ from those of an uninterrupted run");
    else if (run->resumed && !converted && !json_equal(checkpoint->tunings, tunings))
        xp_run_say(
            run, "this run began with kernels of another version, or without a note of their parameters: it continues "
                 "with those of the tuning table, and its bits may differ from those of an uninterrupted run");
    json_decref(checkpoint->tunings);
    checkpoint->tunings = tunings;
    snprintf(checkpoint->device, sizeof checkpoint->device, "%s", device->name);
    snprintf(checkpoint->driver, sizeof checkpoint->driver, "%s", device->driver);
    snprintf(checkpoint->family, sizeof checkpoint->family, "%s", family);
    return XP_OK;
}

/* ---- beginning and going on -------------------------------------------------------------------------------------- */

static xp_status check_trust(const xp_run *run, const char *folder) {
    return run->options->trust_code ? XP_OK : xp_trust_check(folder, run->checkpoint.config.model.attention);
}

/* Reads the progress of the run in a folder: its last checkpoint, or the configuration alone when it ended before the
 * first one. */
static xp_status find_state(xp_run *run) {
    const char *out = run->options->out;
    char *last = run->last;
    const size_t size = sizeof run->last;
    XP_TRY(xp_run_folder_open(&run->folder, out)); /* first: a run that still goes may be writing all of it */
    run->has_folder = true;
    XP_TRY(xp_run_folder_path(out, "state.json", last, size));
    if (xp_file_exists(last))
        return xp_fail(XP_INVALID_ARGUMENT, "%s: is a checkpoint; give --resume the run folder that contains it", out);
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
    xp_run_say(run, "the run has no checkpoint yet: it starts from the beginning, as it was configured");
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
static xp_status lengthen(xp_run *run, int epochs) {
    xp_config *config = &run->checkpoint.config;
    const int before = config->training.epochs;
    const char *schedule = schedule_of_length(config);
    if (epochs < before)
        return xp_fail(XP_INVALID_ARGUMENT, "%s: the run has %d epochs; --epochs can only extend it", run->options->out,
                       before);
    if (epochs == before) return XP_OK;
    if (xp_run_has_stopped_early(run))
        return xp_fail(XP_INVALID_ARGUMENT,
                       "%s: the run stopped early, after epoch %d; more epochs cannot extend it; start a new run "
                       "with a larger training.patience",
                       run->options->out, run->checkpoint.state.epoch);
    if (run->checkpoint.state.step > 0 && schedule)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "%s: the learning rate of its %s schedule depends on the number of epochs from the first step "
                       "on, so a run of %d epochs would have been different; start a new run",
                       run->options->out, schedule, epochs);
    run->epochs_before = before;
    config->training.epochs = epochs;
    return XP_OK;
}

/* Takes what a resume was given in place of what the run recorded. */
static xp_status take_changes(xp_run *run) {
    const xp_train_options *options = run->options;
    xp_config *config = &run->checkpoint.config;
    const char *const changes[][2] = {{"data.train", options->train},
                                      {"data.test", options->test},
                                      {"device.select", options->device},
                                      {"device.family", options->family},
                                      {"training.precision", options->precision}};
    run->recorded = *config;
    if (options->test && !*config->data.test)
        return xp_fail(
            XP_INVALID_ARGUMENT,
            "%s: the run has no test set, and --test only gives the new path of one; expanse eval accepts any data",
            options->out);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char assignment[2048];
        if (!changes[i][1]) continue;
        snprintf(assignment, sizeof assignment, "%s=%.2000s", changes[i][0], changes[i][1]);
        XP_TRY(xp_config_set(config, assignment));
    }
    if (options->epochs >= 0) XP_TRY(lengthen(run, options->epochs));
    if (options->recompute) config->training.recompute = 1;
    if (options->tensorboard) config->training.tensorboard = 1;
    if (options->checkpoint_every) config->training.checkpoint_every = *options->checkpoint_every;
    if (options->keep >= 0) config->training.keep = options->keep;
    return XP_OK;
}

/* Makes what a resume changed, such as the number of epochs, that of the folder. An end in between leaves the short run
 * without its summary, which it writes when it is resumed, or the long one. */
static xp_status record_changes(xp_run *run) {
    const xp_config *config = &run->checkpoint.config;
    char text[128];
    if (!run->options->resume) return XP_OK;
    const bool changed = memcmp(config, &run->recorded, sizeof *config) != 0;
    if (!changed) return xp_run_folder_configure(&run->folder, config); /* an earlier end may have kept it back */
    if (run->resumed && run->epochs_before < 0) XP_TRY(xp_checkpoint_configure(run->last, config));
    if (run->epochs_before >= 0) {
        XP_TRY(xp_run_folder_forget_summary(&run->folder));
        if (run->resumed) XP_TRY(xp_run_save(run, "last"));
        snprintf(text, sizeof text, "the run is extended from %d to %d epochs", run->epochs_before,
                 config->training.epochs);
        xp_run_say(run, text);
    }
    return xp_run_folder_configure(&run->folder, config);
}

/* Whether the tuning tables have changed. */
static bool tune(xp_run *run) {
    const xp_trainer_callbacks *callbacks = run->callbacks;
    if (!callbacks || !callbacks->tune) return false;
    const xp_config *config = &run->checkpoint.config;
    xp_plan_summary step;
    xp_session_summarise(&run->session, &step);
    const double steps = (double)run->steps_per_epoch * config->training.epochs;
    return callbacks->tune(callbacks->user, config, &run->checkpoint.shape, run->session.device, step.flops * steps);
}

/* Whether a resumed run is complete, including its summary. Its data are not needed. */
static xp_status find_finished(xp_run *run) {
    char text[128];
    if (!run->resumed || !xp_run_is_done(run)) return XP_OK;
    const char *missing = xp_run_missing_file(run);
    run->finished = !missing;
    if (missing) {
        snprintf(text, sizeof text, "all epochs are done, but %s is missing and is written now", missing);
        xp_run_say(run, text);
        return XP_OK;
    }
    XP_TRY(xp_run_folder_samples(&run->folder, &run->counts[0], &run->counts[1], &run->counts[2]));
    return xp_run_folder_resume(&run->folder, run->checkpoint.task, &run->checkpoint.config,
                                run->checkpoint.state.epoch);
}

/* Says that, and how there could be more to do. */
static void tell_finished(const xp_run *run) {
    const xp_config *config = &run->checkpoint.config;
    const int epochs = config->training.epochs;
    char text[1400], how[160];
    if (xp_run_has_stopped_early(run))
        snprintf(how, sizeof how, "the run stopped early, since %d epoch%s brought nothing better",
                 config->training.patience, config->training.patience == 1 ? "" : "s");
    else if (run->checkpoint.state.step > 0 && schedule_of_length(config))
        snprintf(how, sizeof how, "its %s schedule depends on the number of epochs, so the run cannot be extended",
                 schedule_of_length(config));
    else
        snprintf(how, sizeof how, "--epochs N, with more than %d, extends it", epochs);
    snprintf(text, sizeof text, "finished     epoch %d of %d is done; %s", run->checkpoint.state.epoch, epochs, how);
    xp_run_say(run, text);
}

/* Checkpoints are of a known size: last/, best/, those that are kept and, while one is replaced, the new one. */
static xp_status check_room(const xp_run *run) {
    const xp_store *store = run->session.store;
    const double checkpoint =
        (double)(store->elements + 2 * store->trained_elements) * (double)xp_type_bytes(XP_STORE_TYPE);
    const int epochs = run->checkpoint.config.training.epochs, more = run->resumed ? 1 : epochs > 1 ? 3 : 2;
    const int keep = run->checkpoint.config.training.keep, kept = keep < epochs ? keep : epochs;
    return xp_folder_can_be_made(run->options->out, (more + (run->resumed ? 0.0 : kept)) * checkpoint);
}

/* Compares the weights to start from with the model, before anything is made. */
static xp_status open_transfer(xp_run *run, xp_writer *note) {
    const char *from = run->checkpoint.config.training.from;
    if (run->resumed || !*from) return XP_OK;
    return xp_transfer_open(&run->transfer, from, &run->checkpoint, run->session.store, note);
}

static xp_status check_stop(const xp_run *run) {
    return xp_run_stop_asked(run) ? xp_fail(XP_INTERRUPTED, "stopped before the first step") : XP_OK;
}

/* `note`: of the weights that the run starts from. */
static xp_status prepare(xp_run *run, const xp_config *config, xp_writer *note) {
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
    XP_TRY(xp_run_load_data(run));
    xp_config_make_absolute(&run->checkpoint.config);
    XP_TRY(xp_run_describe_data(run));
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
    XP_TRY(open_transfer(run, note));
    if (options->dry_run) return XP_OK;
    /* The folder is made before the compilation, which takes long, so that errors are reported at once. */
    XP_TRY(check_room(run));
    if (options->resume)
        XP_TRY(xp_run_folder_resume(&run->folder, run->checkpoint.task, chosen, run->checkpoint.state.epoch));
    else
        XP_TRY(xp_run_folder_create(&run->folder, options->out, run->checkpoint.task, chosen));
    run->has_folder = true;
    XP_TRY(xp_run_announce(run));
    if (note->text) xp_run_say(run, note->text);
    XP_TRY(xp_session_realise(&run->session, run->callbacks));
    XP_TRY(xp_store_initialise(run->session.store, chosen->training.seed));
    XP_TRY(xp_transfer_write(&run->transfer, run->session.store));
    xp_transfer_close(&run->transfer);
    if (run->resumed) XP_TRY(xp_checkpoint_load(run->last, run->session.store, true));
    if (run->checkpoint.state.step > 0)
        run->row.learning_rate = xp_schedule_rate(chosen, run->checkpoint.state.step - 1, run->steps_per_epoch);
    return XP_OK;
}

static void release(xp_run *run) {
    if (run->has_folder) xp_run_folder_close(&run->folder);
    xp_transfer_close(&run->transfer);
    xp_session_close(&run->session);
    xp_dataset_close(&run->train);
    xp_dataset_close(&run->validation);
    xp_dataset_close(&run->test);
    xp_checkpoint_release(&run->checkpoint);
    free(run->class_weights);
    free(run->order);
}

static xp_status print_profile(const xp_run *run) {
    if (run->steps_made > 0) return xp_session_print_profile(&run->session, run->options->report);
    fprintf(run->options->report, "nothing to profile: there was no training step left\n");
    return XP_OK;
}

xp_status xp_train(const xp_config *config, const xp_train_options *options, const xp_trainer_callbacks *callbacks,
                   xp_run_summary *result) {
    xp_run run = {.options = options, .callbacks = callbacks, .epochs_before = -1};
    *result = (xp_run_summary){.epochs = 0};
    xp_writer note = {0};
    xp_status status = prepare(&run, config, &note);
    if (status == XP_OK && options->dry_run && note.text) xp_run_say(&run, note.text);
    xp_writer_release(&note);
    if (status == XP_INTERRUPTED && run.has_folder)
        xp_fail(status, "%s; continue with: expanse train --resume %s", xp_last_error(), options->out);
    if (status == XP_OK && options->dry_run) {
        status = xp_run_print_plan(&run);
    } else if (status == XP_OK) {
        run.started = xp_clock() - run.checkpoint.state.seconds;
        if (run.finished) tell_finished(&run);
        status = record_changes(&run);
        if (!run.finished && status == XP_OK) status = xp_run_loop(&run);
        xp_run_summarise(&run, result);
        if (options->profile && (status == XP_OK || status == XP_INTERRUPTED)) {
            xp_status printed = print_profile(&run);
            if (status == XP_OK) status = printed;
        }
    }
    release(&run);
    return status;
}
