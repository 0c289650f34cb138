/* The data of a run: opened, brought to one shape, prepared, and compared with those of the run that is resumed. */
#include "train/run.h"

#include "core/writer.h"

#include <stdlib.h>
#include <string.h>

/* What never changes in the training set teaches nothing; in a small other set it may be chance. */
static xp_status fill_missing(const xp_run *run, xp_dataset *set) {
    xp_writer note = {0};
    xp_status status = xp_dataset_note_idle(set, set == run->train, &note);
    if (status == XP_OK) status = xp_dataset_interpolate(set);
    if (status == XP_OK && note.text) xp_run_say(run, note.text);
    xp_writer_release(&note);
    return status;
}

/* Checks a set again once its parts are split off: what is known may all be in another one. */
static xp_status check_part(const xp_run *run, const xp_dataset *set, const char *part, xp_data_use use) {
    char name[sizeof set->name + 32];
    if (!set) return XP_OK;
    snprintf(name, sizeof name, "%s, %s part", set->name, part);
    return run->checkpoint.task->check(set, name, use);
}

static xp_status check_parts(const xp_run *run) {
    XP_TRY(check_part(run, run->train, "training", XP_DATA_TRAINS));
    XP_TRY(check_part(run, run->validation, "validation", XP_DATA_TESTS));
    return check_part(run, run->test, "test", XP_DATA_TESTS);
}

/* Opens a file of the data; the path of a resumed run may be outdated. `given`: the flag has set it. */
static xp_status open_data(const xp_run *run, const char *path, const char *flag, bool given, xp_dataset **out) {
    const xp_config *config = &run->checkpoint.config;
    const xp_windows windows = xp_config_windows(config);
    const xp_status status = xp_task_open_data(run->checkpoint.task, path, flag + strlen("--"), out);
    if (status == XP_OK) {
        XP_TRY(xp_dataset_frame(*out, config->data.image_size, config->data.image_crop));
        return xp_dataset_cut(*out, &windows);
    }
    if (status != XP_IO_ERROR || !run->options->resume || given) return status;
    return xp_fail(status, "%s; the run recorded this path; if the data have moved, give %s FILE", xp_last_error(),
                   flag);
}

/* Either of them, or both. */
static xp_status reject_data(const xp_run *run, bool train, bool test) {
    const xp_config *config = &run->checkpoint.config;
    if (!*config->data.test) { /* it is a part of the training data */
        train = true;
        test = false;
    }
    static const char remedy[] =
        "its samples, their lengths, classes or targets differ; give %s the right file, or start "
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

/* Whether the set's samples look like those of the checkpoint; fingerprints are compared once both are prepared in the
 * same way. */
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
        same = strcmp(task->output_name(set, i), checkpoint->output_names[i]) == 0 ||
               xp_dataset_is_number(set, i, checkpoint->output_names[i]);
    return same;
}

/* Pads series to the length of the model: that of the checkpoint, or the requested one. */
static xp_status reserve_length(const xp_run *run, xp_dataset *set) {
    const int wanted = run->checkpoint.config.data.max_length;
    const int length = run->resumed ? run->checkpoint.shape.length : wanted;
    const bool training = set == run->train;
    if (run->resumed && !(is_alike(&run->checkpoint, set) && (!training || has_outputs(&run->checkpoint, set))))
        return reject_data(run, training, !training);
    const bool series = set->kind->has.length && set->step == 0; /* and not text */
    if (wanted > 0 && set->horizon > 0)
        return xp_fail(
            XP_INVALID_ARGUMENT,
            "data.max_length (--max-length) is for series of their own lengths; windows of %s have the steps of "
            "data.context (--context)",
            set->name);
    if (!series && wanted > 0)
        return xp_fail(XP_INVALID_ARGUMENT, "%s holds %s: data.max_length (--max-length) is for series", set->name,
                       set->kind->name);
    if (!series || length == 0) return XP_OK;
    if (set->length <= length) {
        xp_dataset_pad(set, length);
        return XP_OK;
    }
    return xp_fail(
        XP_INVALID_ARGUMENT,
        "%s has series of %d steps, more than data.max_length (--max-length): raise it from %d to %d or more",
        set->name, set->length, length, set->length);
}

/* Only training has weights: what is measured counts every sample once. */
static xp_status weigh_classes(xp_run *run) {
    const char *text = run->checkpoint.config.training.class_weights;
    const xp_task *task = run->checkpoint.task;
    if (!*text || strcmp(text, "none") == 0) return XP_OK;
    if (!task->weigh)
        return xp_fail(XP_INVALID_ARGUMENT,
                       "training.class_weights (--class-weights): the task '%s' has no classes; use none", task->name);
    const int classes = task->outputs(run->train);
    run->class_weights = malloc((size_t)classes * sizeof *run->class_weights);
    if (!run->class_weights) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the weights of %d classes", classes);
    if (task->weigh(run->train, text, run->class_weights) != XP_OK)
        return xp_fail_in(XP_INVALID_ARGUMENT, "training.class_weights (--class-weights): ");
    run->train->class_weights = run->class_weights;
    return XP_OK;
}

static xp_status fit_standardisation(const xp_config *config, const xp_dataset *training, xp_standardisation *out) {
    const char *mean = config->data.mean, *deviation = config->data.deviation;
    return *mean || *deviation ? xp_standardisation_parse(out, training, mean, deviation)
                               : xp_standardisation_fit(out, training);
}

/* What names something is not standardised. */
static xp_status check_statistics(const xp_config *config, const xp_dataset *training) {
    if (training->kind->symbols == 0 || !(*config->data.mean || *config->data.deviation)) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT,
                   "%s holds %s: data.mean and data.deviation are for series and images; leave them empty",
                   training->name, training->kind->name);
}

static xp_status set_augmentation(const xp_config *config, xp_dataset *training) {
    if (!xp_augmentation_changes(&config->augment)) return XP_OK;
    if (!training->kind->has.height)
        return xp_fail(XP_INVALID_ARGUMENT, "%s holds %s: the options of section 'augment' are for images",
                       training->name, training->kind->name);
    training->augmentation = &config->augment;
    return XP_OK;
}

xp_status xp_run_load_data(xp_run *run) {
    const xp_config *config = &run->checkpoint.config;
    uint64_t seed = config->training.seed;
    if (!*config->data.train)
        return xp_fail(XP_INVALID_ARGUMENT, "no training data: give --train FILE or data.train in the configuration");
    if (!run->resumed && *config->data.task) XP_TRY(xp_task_named(config->data.task, &run->checkpoint.task));
    XP_TRY(open_data(run, config->data.train, "--train", run->options->train, &run->train));
    if (!run->checkpoint.task) XP_TRY(xp_task_for(run->train, &run->checkpoint.task));
    if (!run->checkpoint.task->takes(run->train))
        return xp_fail(XP_INVALID_ARGUMENT, "%s holds %s, which the task '%s' (data.task) is not for", run->train->name,
                       run->train->kind->name, run->checkpoint.task->name);
    const xp_sample_kind *kind = run->train->kind;
    if (strcmp(kind->name, xp_model_samples(&config->model)) != 0)
        return xp_fail(XP_INVALID_ARGUMENT, "%s %s", run->train->name, kind->refusal);
    XP_TRY(reserve_length(run, run->train));
    const xp_task *task = run->checkpoint.task;
    if (*config->data.test) {
        XP_TRY(open_data(run, config->data.test, "--test", run->options->test, &run->test));
        XP_TRY(reserve_length(run, run->test));
        XP_TRY(xp_dataset_align(run->train, run->test));
    }
    XP_TRY(task->check(run->train, config->data.train, XP_DATA_TRAINS));
    if (run->test) XP_TRY(task->check(run->test, config->data.test, XP_DATA_TESTS));
    if (config->data.test_part > 0) XP_TRY(xp_dataset_split(run->train, config->data.test_part, seed, &run->test));
    if (config->data.train_limit) XP_TRY(xp_dataset_limit(run->train, config->data.train_limit, seed));
    if (run->test && config->data.test_limit) XP_TRY(xp_dataset_limit(run->test, config->data.test_limit, seed));
    if (config->data.validation > 0)
        XP_TRY(xp_dataset_split(run->train, config->data.validation, seed, &run->validation));
    if (run->train->horizon > 0) XP_TRY(xp_dataset_thin(run->train, config->data.stride));
    XP_TRY(check_parts(run));
    XP_TRY(weigh_classes(run));

    xp_dataset *sets[] = {run->train, run->validation, run->test};
    for (int i = 0; i < 3; i++) {
        if (!sets[i]) continue;
        run->counts[i] = sets[i]->count;
        XP_TRY(fill_missing(run, sets[i]));
    }
    if (task->has_targets) {
        if (!run->resumed) XP_TRY(xp_standardisation_fit_targets(&run->checkpoint.target_standardisation, run->train));
        for (int i = 0; i < 3; i++)
            if (sets[i]) xp_standardisation_apply_targets(&run->checkpoint.target_standardisation, sets[i]);
    }
    XP_TRY(check_statistics(config, run->train));
    if (config->data.standardise && run->train->kind->symbols == 0) {
        if (!run->resumed) XP_TRY(fit_standardisation(config, run->train, &run->checkpoint.standardisation));
        for (int i = 0; i < 3; i++)
            if (sets[i]) xp_standardisation_apply(&run->checkpoint.standardisation, sets[i]);
    }
    return set_augmentation(config, run->train);
}

xp_status xp_run_describe_data(xp_run *run) {
    xp_checkpoint *checkpoint = &run->checkpoint;
    const xp_dataset *train = run->train;
    char fingerprint[sizeof checkpoint->fingerprint];
    XP_TRY(xp_checkpoint_fingerprint(train, run->validation, run->test, fingerprint));
    if (run->resumed) {
        if (strcmp(fingerprint, checkpoint->fingerprint) == 0) return XP_OK;
        const size_t length = strcspn(fingerprint, "+");
        return reject_data(run, strncmp(fingerprint, checkpoint->fingerprint, length) != 0,
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
