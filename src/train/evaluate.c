/* Answers of a trained model on a data set. */
#include "train/evaluate.h"

#include "train/trust.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The part of the data that a run had split off for its test, or the rest. */
static xp_status take_part(const xp_config *config, const char *part, xp_dataset **data) {
    xp_dataset *test = NULL;
    if (config->data.test_part == 0)
        return xp_fail(XP_INVALID_ARGUMENT, "--part %s: the run had no data.test_part, so the table has no parts",
                       part);
    XP_TRY(xp_dataset_split(*data, config->data.test_part, config->training.seed, &test));
    if (strcmp(part, "test") == 0) {
        xp_dataset *rest = *data;
        *data = test;
        test = rest;
    }
    xp_dataset_close(&test);
    return XP_OK;
}

xp_status xp_evaluate_data(const xp_checkpoint *checkpoint, const xp_evaluate_options *options, xp_dataset **out) {
    xp_dataset trained = xp_checkpoint_data(checkpoint);
    const char *path = strcmp(options->data, "-") == 0 ? "/dev/stdin" : options->data;
    const xp_config *config = &checkpoint->config;
    xp_windows windows = xp_config_windows(config);
    windows.to_end = !options->judged && !options->part;
    if (options->season > 0) windows.season = options->season;
    /* What a run has split is the part of a folder that it was trained on. */
    const bool split = options->part && (config->data.test_part > 0 || config->data.horizon > 0);
    const char *part = split ? "train" : options->part ? options->part : "test";
    XP_TRY(xp_task_open_data(checkpoint->task, path, part, out));
    XP_TRY(xp_dataset_check_kind(&trained, &windows, *out));
    XP_TRY(xp_dataset_frame(*out, config->data.image_size, config->data.image_crop));
    XP_TRY(xp_dataset_cut(*out, &windows));
    if (split) XP_TRY(take_part(config, options->part, out));
    /* Longer series than those of training pass where the model takes them, and then they give the length. */
    const bool longer = (*out)->kind == trained.kind && (*out)->length > trained.length;
    if (longer && !xp_model_takes_any_length(&checkpoint->config.model))
        return xp_fail(
            XP_BAD_DATA,
            "%s has series of %d steps; the model accepts at most %d: train one with --max-length %d or more", path,
            (*out)->length, trained.length, (*out)->length);
    XP_TRY(xp_dataset_align(&trained, *out));
    if (options->judged) XP_TRY(checkpoint->task->check(*out, path, XP_DATA_JUDGES));
    if (options->windows > 0 && (*out)->horizon > 0) XP_TRY(xp_dataset_latest(*out, options->windows));
    if (options->limit && options->in_order)
        xp_dataset_first(*out, options->limit);
    else if (options->limit)
        XP_TRY(xp_dataset_limit(*out, options->limit, checkpoint->config.training.seed));
    XP_TRY(xp_dataset_interpolate(*out));
    if (checkpoint->task->has_targets) xp_standardisation_apply_targets(&checkpoint->target_standardisation, *out);
    if (checkpoint->standardisation.features > 0) xp_standardisation_apply(&checkpoint->standardisation, *out);
    return XP_OK;
}

xp_status xp_evaluate_advise(const xp_session *session, xp_status status) {
    if (!session->broken) return status;
    return xp_fail(status, "%s: correct extreme values, or use the weights of an earlier epoch", xp_last_error());
}

static xp_status evaluate(const char *folder, const xp_checkpoint *checkpoint, const xp_dataset *data,
                          const xp_evaluate_options *options, const xp_trainer_callbacks *callbacks,
                          xp_evaluation *out) {
    const xp_config *config = &checkpoint->config;
    xp_model_shape shape = checkpoint->shape;
    shape.length = data->length; /* more than in training, where the model takes that */
    if (options->batch > 0) shape.batch = options->batch;
    xp_device_options device = {.size = sizeof(xp_device_options),
                                .select = options->device ? options->device : config->device.select,
                                .family = options->family ? options->family : config->device.family};
    xp_session session;
    XP_TRY(xp_session_open(&session, checkpoint->task, config, &shape, &device, checkpoint->tunings, false));
    xp_status status = xp_session_realise(&session, callbacks);
    if (status == XP_OK) status = xp_checkpoint_load(folder, session.store, false);
    xp_progress progress = {.seconds_left = NAN};
    if (status == XP_OK)
        status =
            xp_evaluate_advise(&session, xp_session_evaluate(&session, data, "evaluation", &progress, callbacks, out));
    xp_session_close(&session);
    return status;
}

/* Which weights a checkpoint has. */
static void describe_weights(const xp_checkpoint *checkpoint, char *text, size_t size) {
    const xp_training_state *state = &checkpoint->state;
    const char *judge =
        xp_set_name(xp_judging_set(checkpoint->config.data.validation > 0, xp_config_has_test(&checkpoint->config)));
    if (state->position > 0 || state->epoch == 0)
        snprintf(text, size, "step %lld", (long long)state->step);
    else if (state->epoch == state->epoch_best)
        snprintf(text, size, "epoch %d, the best on the %s set", state->epoch, judge);
    else
        snprintf(text, size, "epoch %d; the best on the %s set was %d", state->epoch, judge, state->epoch_best);
}

xp_status xp_evaluate(const char *model, const xp_evaluate_options *options, const xp_trainer_callbacks *callbacks,
                      xp_evaluation *out) {
    char folder[1200];
    xp_checkpoint checkpoint;
    xp_dataset *data = NULL;
    XP_TRY(xp_run_folder_checkpoint(model, true, folder, sizeof folder));
    XP_TRY(xp_checkpoint_read(folder, &checkpoint));
    xp_status status = xp_checkpoint_check(folder, &checkpoint, false);
    if (status == XP_OK && !options->trust_code) status = xp_trust_check(folder, checkpoint.config.model.attention);
    if (status == XP_OK) status = xp_evaluate_data(&checkpoint, options, &data);
    if (status == XP_OK) status = evaluate(folder, &checkpoint, data, options, callbacks, out);
    if (status == XP_OK) describe_weights(&checkpoint, out->weights, sizeof out->weights);
    xp_dataset_close(&data);
    xp_checkpoint_release(&checkpoint);
    return status;
}
