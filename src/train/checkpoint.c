/* Checkpoint folders: the content of state.json and config.yaml, and the folder as a whole. */
#include "train/checkpoint.h"

#include "core/exchange.h"
#include "core/files.h"
#include "core/json.h"
#include "core/text.h"
#include "core/writer.h"
#include "device/tuning.h"
#include "task/classification.h"
#include "train/checkpoint_tensors.h"
#include "train/precision.h"
#include "train/run_folder.h"
#include "train/trust.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 1200, FORMAT = 1 };
static const char state_file[] = "state.json";

/* --- what prediction needs to know of the training data ---------------------------------------------------------- */

static json_t *reals(const double *values, int count) {
    json_t *array = json_array();
    for (int i = 0; i < count; i++) array = xp_json_append(array, json_real(values[i]));
    return array;
}

/* NULL when a name is not UTF-8, or memory ran out. */
static json_t *output_names(const xp_checkpoint *checkpoint) {
    json_t *names = json_array();
    for (int i = 0; i < checkpoint->shape.outputs; i++)
        names = xp_json_append(names, json_string(checkpoint->output_names[i]));
    return names;
}

/* Takes over `value`. */
static xp_status add_json(xp_safetensors *set, const char *key, json_t *value) {
    if (!value) return xp_fail(XP_BAD_DATA, "metadata '%s': a string in it is not UTF-8, or memory ran out", key);
    xp_writer text = {0};
    xp_json_write(&text, value, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(value);
    xp_status status = xp_writer_status(&text, key);
    if (status == XP_OK) status = xp_safetensors_metadata(set, key, text.text);
    xp_writer_release(&text);
    return status;
}

/* The file of weights suffices to compute an answer. The format allows texts only, so lists and objects are JSON. */
static xp_status describe(xp_safetensors *set, const xp_checkpoint *checkpoint) {
    const xp_standardisation *fit = &checkpoint->standardisation;
    const xp_model_shape *shape = &checkpoint->shape;
    char *model = NULL;
    XP_TRY(xp_tensors_begin(set));
    XP_TRY(xp_safetensors_metadata(set, "attention", checkpoint->config.model.attention));
    XP_TRY(xp_config_model_json(&checkpoint->config, &model));
    xp_status status = xp_safetensors_metadata(set, "model", model);
    free(model);
    XP_TRY(status);
    XP_TRY(xp_safetensors_metadata(set, "precision", xp_precision_name(checkpoint->config.training.precision)));
    XP_TRY(xp_safetensors_metadata(set, "task", checkpoint->task->name));
    XP_TRY(xp_safetensors_metadata(set, "data", checkpoint->kind->name));
    XP_TRY(add_json(set, "shape",
                    json_pack("{s:i, s:i, s:i, s:i, s:i}", "length", shape->length, "features", shape->features,
                              "channels", shape->channels, "height", shape->height, "breadth", shape->breadth)));
    if (checkpoint->config.data.image_size > 0)
        XP_TRY(add_json(set, "image_crop", json_real(checkpoint->config.data.image_crop)));
    if (checkpoint->config.data.normalise_windows) XP_TRY(xp_safetensors_metadata(set, "normalise_windows", "true"));
    XP_TRY(add_json(set, checkpoint->task->names_key, output_names(checkpoint)));
    if (checkpoint->task->has_targets) {
        const xp_standardisation *targets = &checkpoint->target_standardisation;
        XP_TRY(add_json(set, "target_mean", reals(targets->mean, targets->features)));
        XP_TRY(add_json(set, "target_deviation", reals(targets->deviation, targets->features)));
    }
    XP_TRY(add_json(set, "mean", reals(fit->mean, fit->features)));
    return add_json(set, "deviation", reals(fit->deviation, fit->features));
}

/* --- state.json: one table for both directions -------------------------------------------------------------------- */

typedef enum field_kind {
    FIELD_INT,
    FIELD_WHOLE,
    FIELD_COUNT /* a whole number in a double */,
    FIELD_REAL,
    FIELD_TEXT
} field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    size_t offset, bytes;
    double highest, lowest; /* of a number */
} field;

#define MOST 1e13 /* steps and samples: more than a run can do, and few enough to be multiplied */

#define FIELD(kind, name, member, highest)                                                                             \
    { name, kind, offsetof(xp_checkpoint, member), sizeof(((xp_checkpoint *)0)->member), highest, 0 }
static const field fields[] = {
    FIELD(FIELD_WHOLE, "step", state.step, MOST),
    FIELD(FIELD_INT, "epoch", state.epoch, 1e6),
    FIELD(FIELD_WHOLE, "position", state.position, MOST),
    FIELD(FIELD_WHOLE, "samples", state.samples, MOST),
    FIELD(FIELD_WHOLE, "counted", state.counted, MOST),
    FIELD(FIELD_INT, "epoch_best", state.epoch_best, 1e6),
    FIELD(FIELD_REAL, "seconds", state.seconds, 1e15),
    FIELD(FIELD_WHOLE, "samples_total", state.samples_total, MOST),
    FIELD(FIELD_REAL, "training_seconds", state.training_seconds, 1e15),
    FIELD(FIELD_INT, "batch", shape.batch, 65536),
    FIELD(FIELD_INT, "length", shape.length, INT32_MAX),
    FIELD(FIELD_INT, "features", shape.features, INT32_MAX),
    FIELD(FIELD_INT, "channels", shape.channels, INT32_MAX),
    FIELD(FIELD_INT, "height", shape.height, INT32_MAX),
    FIELD(FIELD_INT, "breadth", shape.breadth, INT32_MAX),
    FIELD(FIELD_TEXT, "fingerprint", fingerprint, 0),
    FIELD(FIELD_TEXT, "device", device, 0),
    FIELD(FIELD_TEXT, "driver", driver, 0),
    FIELD(FIELD_TEXT, "family", family, 0),
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* The fields whose names and ranges are the task's. */
typedef struct task_fields {
    field list[XP_TASK_SUMS + 3];
    int count;
    char best[64], at_best[64];
} task_fields;

static void list_task_fields(const xp_task *task, task_fields *out) {
    const xp_metric *deciding = &task->metrics[task->deciding];
    const double lowest = deciding->lowest, highest = deciding->highest;
    snprintf(out->best, sizeof out->best, "%s_best", deciding->name);
    snprintf(out->at_best, sizeof out->at_best, "%s_at_best", deciding->name);
    out->count = 0;
    for (int i = 0; i < task->sum_count; i++) {
        const xp_sum *sum = &task->sums[i];
        const size_t offset = offsetof(xp_checkpoint, state.sums) + (size_t)i * sizeof(double);
        out->list[out->count++] = sum->counts
                                      ? (field){sum->name, FIELD_COUNT, offset, sizeof(double), MOST, 0}
                                      : (field){sum->name, FIELD_REAL, offset, sizeof(double), 1e300, sum->lowest};
    }
    const size_t best = offsetof(xp_checkpoint, state.best), at_best = offsetof(xp_checkpoint, state.at_best);
    out->list[out->count++] = (field){out->best, FIELD_REAL, best, sizeof(double), highest, lowest};
    out->list[out->count++] = (field){out->at_best, FIELD_REAL, at_best, sizeof(double), highest, lowest};
    out->list[out->count++] = (field)FIELD(FIELD_INT, task->outputs_key, shape.outputs, INT32_MAX);
}

static json_t *field_value(const xp_checkpoint *checkpoint, const field *entry) {
    const void *at = (const char *)checkpoint + entry->offset;
    double real;
    switch (entry->kind) {
    case FIELD_INT:
        return json_integer(*(const int *)at);
    case FIELD_WHOLE:
        return json_integer(*(const int64_t *)at);
    case FIELD_COUNT:
        memcpy(&real, at, sizeof real);
        return json_integer((json_int_t)real);
    case FIELD_REAL:
        memcpy(&real, at, sizeof real);
        return isfinite(real) ? json_real(real) : json_null(); /* JSON knows no NaN */
    case FIELD_TEXT:
        return json_string(at);
    }
    return NULL;
}

static json_t *describe_scale(const xp_loss_scale *scale) {
    return json_pack("{s:f, s:I, s:I, s:i}", "scale", scale->scale, "good", (json_int_t)scale->good, "skipped",
                     (json_int_t)scale->skipped, "held", scale->held);
}

static xp_status write_state(const char *folder, const xp_checkpoint *checkpoint) {
    char path[PATH_BYTES];
    XP_TRY(xp_run_folder_path(folder, state_file, path, sizeof path));
    const xp_standardisation *fit = &checkpoint->standardisation;
    task_fields own;
    list_task_fields(checkpoint->task, &own);
    json_t *all = xp_json_set(json_object(), "format", json_integer(FORMAT));
    all = xp_json_set(all, "seed", json_sprintf("%" PRIu64, checkpoint->config.training.seed));
    all = xp_json_set(all, "attention", json_string(checkpoint->config.model.attention));
    all = xp_json_set(all, "task", json_string(checkpoint->task->name));
    all = xp_json_set(all, "data", json_string(checkpoint->kind->name));
    for (int i = 0; i < FIELDS; i++) all = xp_json_set(all, fields[i].name, field_value(checkpoint, &fields[i]));
    for (int i = 0; i < own.count; i++) all = xp_json_set(all, own.list[i].name, field_value(checkpoint, &own.list[i]));
    all = xp_json_set(all, checkpoint->task->names_key, output_names(checkpoint));
    all = xp_json_set(all, "mean", reals(fit->mean, fit->features));
    all = xp_json_set(all, "deviation", reals(fit->deviation, fit->features));
    if (checkpoint->task->has_targets) {
        const xp_standardisation *targets = &checkpoint->target_standardisation;
        all = xp_json_set(all, "target_mean", reals(targets->mean, targets->features));
        all = xp_json_set(all, "target_deviation", reals(targets->deviation, targets->features));
    }
    if (checkpoint->state.loss_scale.scale > 0)
        all = xp_json_set(all, "loss_scale", describe_scale(&checkpoint->state.loss_scale));
    if (checkpoint->tunings) all = xp_json_set(all, "tunings", json_incref(checkpoint->tunings));
    if (!all) return xp_fail(XP_BAD_DATA, "%s: a class or device name is not UTF-8, or memory ran out", path);
    xp_writer text = {0};
    xp_json_write(&text, all, JSON_INDENT(2));
    json_decref(all);
    xp_status status = xp_writer_save(&text, path);
    xp_writer_release(&text);
    return status;
}

static xp_status read_field(const char *path, json_t *all, const field *entry, xp_checkpoint *out) {
    json_t *value = json_object_get(all, entry->name);
    void *at = (char *)out + entry->offset;
    double real;
    json_int_t whole = json_is_integer(value) ? json_integer_value(value) : -1;
    const bool fits = whole >= 0 && (double)whole <= entry->highest;
    switch (entry->kind) {
    case FIELD_INT:
        if (!fits) break;
        *(int *)at = (int)whole;
        return XP_OK;
    case FIELD_WHOLE:
        if (!fits) break;
        *(int64_t *)at = whole;
        return XP_OK;
    case FIELD_COUNT:
        if (!fits) break;
        real = (double)whole;
        memcpy(at, &real, sizeof real);
        return XP_OK;
    case FIELD_REAL:
        real = json_is_number(value) ? json_number_value(value) : NAN;
        if (!(real >= entry->lowest && real <= entry->highest)) break;
        memcpy(at, &real, sizeof real);
        return XP_OK;
    case FIELD_TEXT:
        if (!json_is_string(value) || strlen(json_string_value(value)) >= entry->bytes) break;
        strcpy(at, json_string_value(value));
        return XP_OK;
    }
    if (entry->kind == FIELD_TEXT)
        return xp_fail(XP_BAD_DATA, "%s: '%s' is missing or not a valid string; use another checkpoint", path,
                       entry->name);
    return xp_fail(XP_BAD_DATA, "%s: '%s' is missing or not a %snumber from %.15g to %.15g; use another checkpoint",
                   path, entry->name, entry->kind == FIELD_REAL ? "" : "whole ", entry->lowest, entry->highest);
}

static xp_status read_reals(const char *path, json_t *array, int count, double **out) {
    *out = calloc((size_t)count + 1, sizeof **out);
    if (!*out) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for the standardisation", path);
    for (int i = 0; i < count; i++) {
        json_t *value = json_array_get(array, (size_t)i);
        if (!json_is_number(value)) {
            return xp_fail(XP_BAD_DATA, "%s: entry %d of 'mean' or 'deviation' is not a number", path, i + 1);
        }
        (*out)[i] = json_number_value(value);
    }
    return XP_OK;
}

static int data_features(const xp_checkpoint *checkpoint) {
    const xp_dataset data = xp_checkpoint_data(checkpoint);
    return data.kind->features(&data);
}

/* Before samples without a known label could train, all were counted. */
static void complete_counts(json_t *all) {
    json_t *samples = json_object_get(all, "samples");
    if (samples && !json_object_get(all, "counted")) json_object_set(all, "counted", samples);
}

/* Before there was more than one task, none was recorded. */
static xp_status read_task(const char *path, json_t *name, xp_checkpoint *out) {
    if (name && !json_is_string(name)) return xp_fail(XP_BAD_DATA, "%s: 'task' is not a text", path);
    out->task = xp_task_find(name ? json_string_value(name) : xp_classification.name);
    if (out->task) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s: 'task' is '%s', which this version does not know; use another checkpoint", path,
                   json_string_value(name));
}

static xp_status read_statistics(const char *path, json_t *all, const char *mean_key, const char *deviation_key,
                                 int wanted, bool may_be_empty, xp_standardisation *out) {
    json_t *mean = json_object_get(all, mean_key), *deviation = json_object_get(all, deviation_key);
    const size_t features = json_array_size(mean);
    if (!json_is_array(mean) || !json_is_array(deviation) || json_array_size(deviation) != features ||
        !((features == 0 && may_be_empty) || features == (size_t)wanted)) {
        return xp_fail(XP_BAD_DATA, "%s: '%s' and '%s' do not fit the %d features", path, mean_key, deviation_key,
                       wanted);
    }
    out->features = (int)features;
    XP_TRY(read_reals(path, mean, (int)features, &out->mean));
    return read_reals(path, deviation, (int)features, &out->deviation);
}

static xp_status read_lists(const char *path, json_t *all, xp_checkpoint *out) {
    const xp_task *task = out->task;
    const int outputs = out->shape.outputs;
    json_t *names = json_object_get(all, task->names_key), *kind = json_object_get(all, "data");
    if (!json_is_array(names) || json_array_size(names) != (size_t)outputs || outputs < 1) {
        return xp_fail(XP_BAD_DATA, "%s: '%s' does not list the %d %s", path, task->names_key, outputs,
                       task->outputs_key);
    }
    out->output_names = calloc((size_t)outputs, sizeof *out->output_names);
    if (!out->output_names) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for '%s'", path, task->names_key);
    for (int i = 0; i < outputs; i++) {
        const char *name = json_string_value(json_array_get(names, (size_t)i));
        if (!name) return xp_fail(XP_BAD_DATA, "%s: entry %d of '%s' is not a text", path, i + 1, task->names_key);
        out->output_names[i] = strdup(name);
        if (!out->output_names[i]) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for '%s'", path, task->names_key);
    }
    out->kind = json_is_string(kind) ? xp_sample_kind_find(json_string_value(kind)) : NULL;
    if (!out->kind) return xp_fail(XP_BAD_DATA, "%s: 'data' is no known kind of samples", path);
    XP_TRY(read_statistics(path, all, "mean", "deviation", data_features(out), true, &out->standardisation));
    if (!task->has_targets) return XP_OK;
    const xp_dataset data = xp_checkpoint_data(out);
    return read_statistics(path, all, "target_mean", "target_deviation", xp_dataset_target_features(&data), false,
                           &out->target_standardisation);
}

static xp_status read_tunings(const char *path, json_t *tunings, xp_checkpoint *out) {
    if (tunings && !xp_tuning_are_entries(tunings))
        return xp_fail(XP_BAD_DATA, "%s: 'tunings' are not entries of a tuning table; use another checkpoint", path);
    out->tunings = json_incref(tunings);
    return XP_OK;
}

/* A run that was never in fp16 has none. */
static xp_status read_scale(const char *path, json_t *value, xp_loss_scale *out) {
    json_int_t good = -1, skipped = -1;
    int held = -1, exponent;
    double scale = 0;
    if (!value) return XP_OK;
    const bool read = json_unpack(value, "{s:F, s:I, s:I, s:i}", "scale", &scale, "good", &good, "skipped", &skipped,
                                  "held", &held) == 0;
    if (!read || !(scale >= 0.5 && scale <= 1e9) || frexp(scale, &exponent) != 0.5 || good < 0 || (double)good > MOST ||
        skipped < 0 || (double)skipped > MOST || held < XP_OUTCOME_NONE || held > XP_OUTCOME_SKIPPED)
        return xp_fail(XP_BAD_DATA, "%s: 'loss_scale' is invalid; use another checkpoint", path);
    *out = (xp_loss_scale){.scale = scale, .good = good, .skipped = skipped, .held = held};
    return XP_OK;
}

/* --- whether the fields of a state belong together ---------------------------------------------------------------- */

/* Rejects the field unless its value is the expected one. */
static xp_status expect(const char *path, const char *name, int64_t value, int64_t expected, const char *by) {
    if (value == expected) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s: '%s' is %lld, but %s make it %lld; use another checkpoint", path, name,
                   (long long)value, by, (long long)expected);
}

static xp_status expect_at_most(const char *path, const char *name, int64_t value, int64_t most, const char *what) {
    if (value <= most) return XP_OK;
    return xp_fail(XP_BAD_DATA, "%s: '%s' is %lld, above the %lld of %s; use another checkpoint", path, name,
                   (long long)value, (long long)most, what);
}

/* `samples`: of the training set; 0: not known, and taken from the epochs that are done. */
static xp_status check_progress(const char *path, const xp_checkpoint *checkpoint, int64_t samples) {
    const xp_training_state *state = &checkpoint->state;
    const int64_t batch = checkpoint->config.training.batch, epochs = state->epoch;
    XP_TRY(expect_at_most(path, "samples", state->samples, state->samples_total, "'samples_total'"));
    XP_TRY(expect_at_most(path, "counted", state->counted, state->samples, "'samples'"));
    XP_TRY(expect_at_most(path, "position", state->position, state->step, "'step'"));
    const int64_t done = state->samples_total - state->samples;
    if (samples == 0) samples = epochs > 0 ? done / epochs : state->samples;
    const int64_t steps = (samples + batch - 1) / batch, taken = state->position * batch;
    XP_TRY(expect_at_most(path, "position", state->position, steps, "the steps of an epoch"));
    XP_TRY(expect(path, "samples", state->samples, taken < samples ? taken : samples, "'position' and the data"));
    XP_TRY(expect(path, "samples_total", state->samples_total, epochs * samples + state->samples,
                  "'epoch', 'samples' and the data"));
    return expect(path, "step", state->step, epochs * steps + state->position, "'epoch', 'position' and the data");
}

static xp_status check_shape(const char *path, const xp_checkpoint *checkpoint) {
    const xp_model_shape *shape = &checkpoint->shape;
    const xp_sample_kind *kind = checkpoint->kind;
    const xp_sample_kind *taken = xp_sample_kind_find(xp_model_samples(&checkpoint->config.model));
    if (kind != taken)
        return xp_fail(XP_BAD_DATA,
                       "%s: 'data' are %s, but model.kind of config.yaml is for %s; use another checkpoint", path,
                       kind->name, taken->name);
    const struct {
        const char *name;
        int value;
        bool used;
    } sizes[] = {{"length", shape->length, kind->has.length},
                 {"features", shape->features, kind->has.features},
                 {"channels", shape->channels, kind->has.channels},
                 {"height", shape->height, kind->has.height},
                 {"breadth", shape->breadth, kind->has.breadth}};
    for (int i = 0; i < 5; i++) {
        if ((sizes[i].value > 0) == sizes[i].used) continue;
        return xp_fail(XP_BAD_DATA, "%s: '%s' is %d, which data of the kind '%s' cannot have; use another checkpoint",
                       path, sizes[i].name, sizes[i].value, kind->name);
    }
    const int wanted = checkpoint->config.data.standardise && kind->symbols == 0 ? data_features(checkpoint) : 0;
    return expect(path, "mean", checkpoint->standardisation.features, wanted, "data.standardise and the features");
}

static bool is_fingerprint(const char *text) {
    static const char digits[] = "0123456789abcdef";
    enum { DIGITS = 16 };
    if (strspn(text, digits) != DIGITS) return false;
    text += DIGITS;
    return !*text || (*text == '+' && strlen(text + 1) == DIGITS && strspn(text + 1, digits) == DIGITS);
}

/* The one place that says which states there are. */
static xp_status check_state(const char *path, const xp_checkpoint *checkpoint) {
    const xp_training_state *state = &checkpoint->state;
    const xp_config *config = &checkpoint->config;
    XP_TRY(check_shape(path, checkpoint));
    XP_TRY(expect(path, "batch", checkpoint->shape.batch, config->training.batch / config->training.accumulate,
                  "training.batch and accumulate of config.yaml"));
    XP_TRY(expect_at_most(path, "epoch", state->epoch, config->training.epochs, "training.epochs of config.yaml"));
    XP_TRY(expect_at_most(path, "epoch_best", state->epoch_best, state->epoch, "'epoch'"));
    if (state->epoch > 0 && state->epoch_best == 0)
        return xp_fail(XP_BAD_DATA, "%s: 'epoch_best' is 0, though %d epochs are done; use another checkpoint", path,
                       state->epoch);
    for (int i = 0; i < checkpoint->task->sum_count; i++) {
        const xp_sum *sum = &checkpoint->task->sums[i];
        if (sum->counts) XP_TRY(expect_at_most(path, sum->name, (int64_t)state->sums[i], state->samples, "'samples'"));
    }
    if (!is_fingerprint(checkpoint->fingerprint))
        return xp_fail(XP_BAD_DATA, "%s: 'fingerprint' is invalid; use another checkpoint", path);
    XP_TRY(
        expect_at_most(path, "loss_scale.skipped", xp_loss_scale_skipped(&state->loss_scale), state->step, "'step'"));
    return check_progress(path, checkpoint, 0);
}

xp_status xp_checkpoint_check_samples(const char *folder, const xp_checkpoint *checkpoint, int64_t samples) {
    char path[PATH_BYTES];
    XP_TRY(xp_run_folder_path(folder, state_file, path, sizeof path));
    return check_progress(path, checkpoint, samples);
}

static xp_status read_state(const char *path, const char *text, size_t length, xp_checkpoint *out) {
    json_error_t error;
    json_t *all = NULL;
    XP_TRY(xp_json_read(path, text, length, &all, &error));
    if (!all) return xp_fail(XP_BAD_DATA, "%s:%d:%d: not JSON: %s", path, error.line, error.column, error.text);
    xp_status status = XP_OK;
    json_t *format = json_object_get(all, "format");
    if (!json_is_integer(format) || json_integer_value(format) != FORMAT) {
        status = xp_fail(XP_BAD_DATA, "%s: 'format' is not %d; another version of expanse wrote it", path, FORMAT);
    }
    task_fields own = {.count = 0};
    complete_counts(all);
    if (status == XP_OK) status = read_task(path, json_object_get(all, "task"), out);
    if (status == XP_OK) list_task_fields(out->task, &own);
    for (int i = 0; i < FIELDS && status == XP_OK; i++) status = read_field(path, all, &fields[i], out);
    for (int i = 0; i < own.count && status == XP_OK; i++) status = read_field(path, all, &own.list[i], out);
    if (status == XP_OK) status = read_lists(path, all, out);
    if (status == XP_OK) status = read_scale(path, json_object_get(all, "loss_scale"), &out->state.loss_scale);
    if (status == XP_OK) status = read_tunings(path, json_object_get(all, "tunings"), out);
    json_decref(all);
    return status == XP_OK ? check_state(path, out) : status;
}

/* --- whole checkpoints -------------------------------------------------------------------------------------------- */

xp_status xp_checkpoint_configure(const char *folder, const xp_config *config) {
    char path[PATH_BYTES], *text = NULL;
    XP_TRY(xp_run_folder_path(folder, "config.yaml", path, sizeof path));
    XP_TRY(xp_config_text(config, &text));
    xp_status status = xp_file_write_atomic(path, text, strlen(text));
    free(text);
    if (status == XP_OK) xp_trust_mark(folder, config->model.attention);
    return status;
}

static xp_status write_tensors(const char *folder, xp_tensors_group group, const xp_checkpoint *checkpoint,
                               xp_store *store) {
    xp_safetensors set = {0};
    xp_status status = describe(&set, checkpoint);
    if (status == XP_OK) status = xp_tensors_write(&set, folder, group, store, checkpoint->state.step);
    xp_safetensors_release(&set);
    return status;
}

xp_status xp_checkpoint_write(const char *folder, const xp_checkpoint *checkpoint, xp_store *store, bool *left) {
    char made[XP_EXCHANGE_BYTES];
    xp_status status;
    *left = false;
    XP_TRY(xp_exchange_begin(folder, made));
    XP_TRY_OR(status, write_tensors(made, XP_TENSORS_VALUES, checkpoint, store), failed);
    XP_TRY_OR(status, write_tensors(made, XP_TENSORS_MOMENTS, checkpoint, store), failed);
    XP_TRY_OR(status, xp_checkpoint_configure(made, &checkpoint->config), failed);
    XP_TRY_OR(status, write_state(made, checkpoint), failed);
    XP_TRY_OR(status, xp_exchange_finish(made, folder, left), failed);
    return XP_OK;
failed:
    return xp_exchange_abandon(made, status);
}

xp_status xp_checkpoint_read(const char *folder, xp_checkpoint *out) {
    char path[PATH_BYTES], *text = NULL;
    size_t length = 0;
    xp_checkpoint made = {0};
    XP_TRY(xp_run_folder_file(folder, "config.yaml", path, sizeof path));
    xp_config_default(&made.config);
    XP_TRY(xp_config_file(&made.config, path));
    XP_TRY(xp_run_folder_file(folder, state_file, path, sizeof path));
    XP_TRY(xp_file_read(path, &text, &length));
    xp_status status = read_state(path, text, length, &made);
    free(text);
    if (status != XP_OK) {
        xp_checkpoint_release(&made);
        return status;
    }
    *out = made;
    return XP_OK;
}

void xp_checkpoint_release(xp_checkpoint *checkpoint) {
    for (int i = 0; checkpoint->output_names && i < checkpoint->shape.outputs; i++) free(checkpoint->output_names[i]);
    free(checkpoint->output_names);
    xp_standardisation_release(&checkpoint->standardisation);
    xp_standardisation_release(&checkpoint->target_standardisation);
    json_decref(checkpoint->tunings);
    *checkpoint = (xp_checkpoint){0};
}

xp_dataset xp_checkpoint_data(const xp_checkpoint *checkpoint) {
    const xp_model_shape *shape = &checkpoint->shape;
    xp_dataset data = {.kind = checkpoint->kind,
                       .name = "the training data",
                       .features = shape->features,
                       .length = shape->length,
                       .channels = shape->channels,
                       .height = shape->height,
                       .breadth = shape->breadth};
    data.horizon = checkpoint->config.data.horizon;
    checkpoint->task->restore(&data, shape->outputs, checkpoint->output_names);
    return data;
}

xp_status xp_checkpoint_fingerprint(const xp_dataset *train, const xp_dataset *validation, const xp_dataset *test,
                                    char text[48]) {
    uint64_t digest = 0;
    XP_TRY(xp_dataset_digest(train, 0, &digest));
    if (validation) XP_TRY(xp_dataset_digest(validation, digest, &digest));
    snprintf(text, 48, "%016llx", (unsigned long long)digest);
    if (!test) return XP_OK;
    XP_TRY(xp_dataset_digest(test, 0, &digest));
    xp_text_add(text, 48, "+%016llx", (unsigned long long)digest);
    return XP_OK;
}
