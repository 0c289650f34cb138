/* The public face of training: a configuration that is filled by texts, a run, and what it measured. Owns no step of
 * it. */
#include <expanse/training.h>

#include "core/options.h"
#include "train/trainer.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct xp_training {
    xp_config config;
    xp_training_callbacks callbacks;
    const xp_task *task; /* NULL: no epoch is finished */
    xp_epoch_row last;
    int best_epoch;
    volatile sig_atomic_t stop;
};

xp_status xp_training_create(xp_training **out, const char *preset) {
    *out = NULL;
    xp_training *training = calloc(1, sizeof *training);
    if (!training) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a configuration");
    xp_config_default(&training->config);
    const xp_status status = preset ? xp_config_preset(&training->config, preset) : XP_OK;
    if (status != XP_OK) {
        free(training);
        return status;
    }
    *out = training;
    return XP_OK;
}

void xp_training_close(xp_training **training) {
    if (!training) return;
    free(*training);
    *training = NULL;
}

xp_status xp_training_set(xp_training *training, const char *assignment) {
    return xp_config_set(&training->config, assignment);
}

xp_status xp_training_read(xp_training *training, const char *path) {
    return xp_config_file(&training->config, path);
}

void xp_training_callbacks_init(xp_training_callbacks *callbacks, size_t size) {
    xp_options_fill(callbacks, size, &(xp_training_callbacks){0}, sizeof *callbacks);
}

static void take_epoch(void *user, const xp_task *task, const xp_epoch_row *row, int epochs, bool best) {
    xp_training *training = user;
    const xp_training_callbacks *callbacks = &training->callbacks;
    training->task = task;
    training->last = *row;
    if (best) training->best_epoch = row->epoch;
    if (callbacks->epoch) callbacks->epoch(callbacks->user, training, row->epoch, epochs);
}

static void pass_message(void *user, const char *text) {
    const xp_training_callbacks *callbacks = &((xp_training *)user)->callbacks;
    if (callbacks->message) callbacks->message(callbacks->user, text);
}

xp_status xp_training_run(xp_training *training, const char *folder, const xp_training_callbacks *callbacks) {
    const xp_train_options options = {.out = folder, .epochs = -1, .keep = -1};
    const xp_trainer_callbacks own = {
        .user = training, .epoch = take_epoch, .message = pass_message, .stop = &training->stop};
    xp_run_summary summary;
    xp_training_callbacks_default(&training->callbacks);
    XP_TRY(xp_options_take(&training->callbacks, sizeof training->callbacks, callbacks, "xp_training_callbacks"));
    training->task = NULL;
    training->best_epoch = 0;
    XP_TRY(xp_config_check(&training->config));
    if (!training->config.data.train[0]) return xp_fail(XP_INVALID_ARGUMENT, "no training data: set data.train");
    XP_TRY(xp_run_folder_check_free(folder));
    const xp_status status = xp_train(&training->config, &options, &own, &summary);
    training->stop = 0;
    return status;
}

void xp_training_stop(xp_training *training) {
    training->stop = 1;
}

double xp_training_metric(const xp_training *training, const char *set, const char *metric) {
    const xp_task *task = training->task;
    for (int s = 0; task && s < XP_SETS; s++)
        for (int m = 0; m < task->metric_count; m++)
            if (strcmp(xp_set_name((xp_set)s), set) == 0 && strcmp(task->metrics[m].name, metric) == 0)
                return training->last.metrics[s][m];
    return NAN;
}

int xp_training_best_epoch(const xp_training *training) {
    return training->best_epoch;
}
