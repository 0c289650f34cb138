/* The run folder's files. Owns their names and formats. */
#include "train/run_folder.h"

#include "core/array.h"
#include "core/exchange.h"
#include "core/files.h"
#include "core/json.h"
#include "core/text.h"
#include "core/writer.h"
#include "train/checkpoint.h"
#include "train/curves.h"
#include "train/events.h"
#include "train/precision.h"
#include "train/trust.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* The columns of metrics.csv after the epoch: the metrics of each set, and these. */
static const char last_columns[] = "learning_rate,seconds,samples_per_second";
enum { LAST_COLUMNS = 3, MOST_COLUMNS = XP_SETS * XP_TASK_METRICS + LAST_COLUMNS };

xp_status xp_run_folder_path(const char *folder, const char *name, char *text, size_t size) {
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    int need = snprintf(text, size, "%.*s/%s", (int)length, folder, name);
    if (need >= 0 && (size_t)need < size) return XP_OK;
    return xp_fail(XP_IO_ERROR, "%s: the path is too long; choose a shorter folder", folder);
}

xp_status xp_run_folder_file(const char *folder, const char *name, char *text, size_t size) {
    XP_TRY(xp_run_folder_path(folder, name, text, size));
    if (xp_file_exists(text) || !xp_path_exists(text)) return XP_OK;
    return xp_fail(XP_IO_ERROR, "%s: is not a file", text);
}

/* --- what a killed process leaves --------------------------------------------------------------------------------- */

void xp_run_folder_epoch_name(int epoch, char name[32]) {
    snprintf(name, 32, "epoch-%04d", epoch);
}

/* The epoch in the name of a kept checkpoint; -1: not such a name. */
static int epoch_of(const char *name) {
    char same[32];
    const long epoch = strncmp(name, "epoch-", 6) == 0 ? strtol(name + 6, NULL, 10) : -1;
    if (epoch < 1 || epoch > INT_MAX) return -1;
    xp_run_folder_epoch_name((int)epoch, same);
    return strcmp(name, same) == 0 ? (int)epoch : -1;
}

static bool is_partial(const char *name) {
    static const char ending[] = ".partial";
    const size_t length = strlen(name);
    return length >= sizeof ending && strcmp(name + length - sizeof ending + 1, ending) == 0;
}

/* Whether an exchange of a checkpoint left it. */
static bool is_checkpoint_leftover(const char *name) {
    char owner[64];
    const size_t length = xp_exchange_leftover(name);
    if (length == 0 || length >= sizeof owner) return false;
    snprintf(owner, sizeof owner, "%.*s", (int)length, name);
    return strcmp(owner, "best") == 0 || strcmp(owner, "last") == 0 || epoch_of(owner) >= 0;
}

/* The lock ensures that no other process is active here. What cannot be removed does no harm. */
static void clear_leftover(const xp_run_folder *folder, const char *name) {
    char path[1200];
    if (is_checkpoint_leftover(name))
        xp_exchange_recover(folder->path, name);
    else if (is_partial(name) && xp_run_folder_path(folder->path, name, path, sizeof path) == XP_OK)
        (void)unlink(path);
}

static void clear_leftovers(const xp_run_folder *folder) {
    DIR *listing = opendir(folder->path);
    if (!listing) return;
    for (struct dirent *entry; (entry = readdir(listing));) clear_leftover(folder, entry->d_name);
    closedir(listing);
}

xp_status xp_run_folder_keep(const xp_run_folder *folder, int first, int last) {
    xp_status status = XP_OK;
    DIR *listing = opendir(folder->path);
    if (!listing) return xp_fail(XP_IO_ERROR, "%s: the folder cannot be opened: %s", folder->path, strerror(errno));
    for (struct dirent *entry; status == XP_OK && (entry = readdir(listing));) {
        const int epoch = epoch_of(entry->d_name);
        char path[1200];
        if (epoch < 0 || (epoch >= first && epoch <= last)) continue;
        status = xp_run_folder_path(folder->path, entry->d_name, path, sizeof path);
        if (status == XP_OK) status = xp_exchange_remove(path);
    }
    closedir(listing);
    return status;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* Two runs in one folder would destroy each other's files. The lock goes with the process, whatever ends it. */
static xp_status lock_folder(xp_run_folder *folder) {
    folder->lock = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->lock < 0 && errno == ENOENT) {
        return xp_fail(XP_IO_ERROR, "%s: there is no such folder; give the --out of a training run", folder->path);
    }
    if (folder->lock < 0) {
        return xp_fail(XP_IO_ERROR, "%s: the folder cannot be opened: %s", folder->path, strerror(errno));
    }
    if (flock(folder->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(folder->lock);
        folder->lock = -1;
        return xp_fail(XP_INVALID_ARGUMENT, "%s: another run is writing here; wait for it or choose another --out",
                       folder->path);
    }
    return XP_OK;
}

static xp_status start(xp_run_folder *out, const char *path) {
    *out = (xp_run_folder){.lock = -1};
    size_t length = strlen(path);
    if (length >= sizeof out->path) return xp_fail(XP_IO_ERROR, "%s: the path is too long", path);
    memcpy(out->path, path, length + 1);
    return XP_OK;
}

static xp_status write_rows(const xp_run_folder *folder);

xp_status xp_run_folder_configure(const xp_run_folder *folder, const xp_config *config) {
    char file[1100], *text = NULL;
    XP_TRY(xp_run_folder_path(folder->path, "config.yaml", file, sizeof file));
    XP_TRY(xp_config_text(config, &text));
    xp_status status = xp_file_write_atomic(file, text, strlen(text));
    free(text);
    if (status == XP_OK) xp_trust_mark(folder->path, config->model.attention);
    return status;
}

xp_status xp_run_folder_can_be_made(const char *path, double bytes) {
    xp_run_folder named;
    XP_TRY(start(&named, path));
    XP_TRY(xp_folder_can_be_made(path, bytes));
    return xp_run_folder_check_free(path);
}

xp_status xp_run_folder_check_free(const char *path) {
    DIR *listing = opendir(path);
    bool taken = false;
    if (!listing && !xp_path_exists(path)) return XP_OK;
    if (!listing) return xp_folder_make(path); /* whose message says what it is instead */
    for (struct dirent *entry; !taken && (entry = readdir(listing));)
        taken = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                !(strncmp(entry->d_name, "config.yaml.", 12) == 0 && is_partial(entry->d_name));
    closedir(listing);
    if (!taken) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT,
                   "%s: the folder is not empty and is not overwritten; continue with --resume %s or choose another "
                   "--out",
                   path, path);
}

xp_status xp_run_folder_create(xp_run_folder *out, const char *path, const xp_task *task, const xp_config *config) {
    xp_run_folder folder;
    XP_TRY(start(&folder, path));
    XP_TRY(xp_run_folder_can_be_made(path, 0));
    XP_TRY(xp_folder_make(path));
    XP_TRY(lock_folder(&folder));
    clear_leftovers(&folder);
    folder.task = task;
    xp_status status = xp_run_folder_configure(&folder, config);
    if (status == XP_OK) status = write_rows(&folder);
    if (status != XP_OK) {
        xp_run_folder_close(&folder);
        return status;
    }
    *out = folder;
    return XP_OK;
}

static void write_header(const xp_task *task, xp_writer *out) {
    static const char *const prefixes[XP_SETS] = {"train", "validation", "test"};
    xp_write(out, "epoch,");
    for (int set = 0; set < XP_SETS; set++)
        for (int i = 0; i < task->metric_count; i++) xp_write(out, "%s_%s,", prefixes[set], task->metrics[i].name);
    xp_write(out, "%s\n", last_columns);
}

/* The cells of a row after the epoch, in the order of the columns; returns how many. */
static int list_cells(const xp_task *task, xp_epoch_row *row, double *cells[MOST_COLUMNS]) {
    int count = 0;
    for (int set = 0; set < XP_SETS; set++)
        for (int i = 0; i < task->metric_count; i++) cells[count++] = &row->metrics[set][i];
    cells[count++] = &row->learning_rate;
    cells[count++] = &row->seconds;
    cells[count++] = &row->samples_per_second;
    return count;
}

static xp_status add_row(xp_run_folder *folder, const xp_epoch_row *row) {
    if (!xp_array_reserve(&folder->rows, &folder->room, (size_t)folder->count, 1, sizeof *folder->rows))
        return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for more than %d rows", folder->path, folder->count);
    folder->rows[folder->count++] = *row;
    return XP_OK;
}

/* Reads the next cell, which a comma ends, or a newline when it is the last one. */
static xp_status read_cell(const char *path, int line, int column, bool last, const char **at, double *out) {
    size_t length = 0;
    *out = NAN;
    XP_TRY(xp_text_number(*at, out, &length));
    *at += length;
    if (**at != (last ? '\n' : ','))
        return xp_fail(XP_BAD_DATA, "%s:%d: column %d is not a number", path, line, column);
    ++*at;
    return XP_OK;
}

/* The rows of the first `most` epochs. */
static xp_status read_rows(xp_run_folder *folder, const char *path, const char *text, int most) {
    xp_writer header = {0};
    write_header(folder->task, &header);
    XP_TRY(xp_writer_status(&header, path));
    const size_t header_bytes = header.length;
    const bool ours = strncmp(text, header.text, header_bytes) == 0;
    xp_writer_release(&header);
    if (!ours) {
        return xp_fail(XP_BAD_DATA, "%s:1: unexpected columns; the file was changed or is not that of a run", path);
    }
    folder->count = 0;
    const char *at = text + header_bytes;
    while (folder->count < most && *at) {
        const int line = folder->count + 2;
        xp_epoch_row row = {.epoch = folder->count + 1};
        double *cells[MOST_COLUMNS], epoch;
        const int columns = list_cells(folder->task, &row, cells);
        for (int set = 0; set < XP_SETS; set++) xp_task_measure(folder->task, NULL, 0, 1, row.metrics[set]);
        XP_TRY(read_cell(path, line, 1, false, &at, &epoch));
        for (int i = 0; i < columns; i++) XP_TRY(read_cell(path, line, i + 2, i + 1 == columns, &at, cells[i]));
        if (epoch != row.epoch) return xp_fail(XP_BAD_DATA, "%s:%d: expected epoch %d", path, line, row.epoch);
        XP_TRY(add_row(folder, &row));
    }
    return XP_OK;
}

xp_status xp_run_folder_open(xp_run_folder *out, const char *path) {
    xp_run_folder folder;
    XP_TRY(start(&folder, path));
    XP_TRY(lock_folder(&folder));
    clear_leftovers(&folder);
    *out = folder;
    return XP_OK;
}

/* TensorBoard looks for "tfevents" in the name. */
static xp_status write_events(const xp_run_folder *folder, const xp_config *config) {
    char file[1100];
    if (!config->training.tensorboard) return XP_OK;
    XP_TRY(xp_run_folder_path(folder->path, "events.out.tfevents.expanse", file, sizeof file));
    return xp_events_update(file, folder->task, folder->rows, folder->count);
}

xp_status xp_run_folder_resume(xp_run_folder *folder, const xp_task *task, const xp_config *config, int epochs_done) {
    char file[1100];
    char *text = NULL;
    size_t length = 0;
    folder->task = task;
    XP_TRY(xp_run_folder_file(folder->path, "metrics.csv", file, sizeof file));
    xp_status status = XP_OK;
    if (epochs_done > 0) { /* else it may have ended before there was one */
        XP_TRY(xp_file_read(file, &text, &length));
        status = read_rows(folder, file, text, epochs_done);
    }
    if (status == XP_OK && folder->count < epochs_done)
        status =
            xp_fail(XP_BAD_DATA, "%s: has %d epochs, but the checkpoint is at %d", file, folder->count, epochs_done);
    if (status == XP_OK) status = write_rows(folder);
    if (status == XP_OK) status = write_events(folder, config);
    free(text);
    return status;
}

xp_status xp_run_folder_rows(const char *path, const xp_task *task, xp_epoch_row **rows, int *count) {
    xp_run_folder folder;
    char file[1100], *text = NULL;
    size_t length = 0;
    XP_TRY(start(&folder, path));
    folder.task = task;
    XP_TRY(xp_run_folder_file(path, "metrics.csv", file, sizeof file));
    XP_TRY(xp_file_read(file, &text, &length));
    const xp_status status = read_rows(&folder, file, text, INT_MAX);
    free(text);
    if (status != XP_OK) {
        xp_run_folder_close(&folder);
        return status;
    }
    *rows = folder.rows;
    *count = folder.count;
    return XP_OK;
}

void xp_run_folder_close(xp_run_folder *folder) {
    if (folder->lock >= 0) close(folder->lock);
    free(folder->rows);
    folder->rows = NULL;
    folder->count = folder->room = 0;
    folder->lock = -1;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* The file is small and rewritten each time, so a full disk or a power failure keeps the earlier rows. */
static xp_status write_rows(const xp_run_folder *folder) {
    char file[1100];
    XP_TRY(xp_run_folder_path(folder->path, "metrics.csv", file, sizeof file));
    xp_writer out = {0};
    write_header(folder->task, &out);
    for (int i = 0; i < folder->count; i++) {
        double *cells[MOST_COLUMNS];
        const int columns = list_cells(folder->task, &folder->rows[i], cells);
        xp_write(&out, "%d", folder->rows[i].epoch);
        for (int column = 0; column < columns; column++) {
            xp_write(&out, ",");
            if (isfinite(*cells[column])) xp_write_number(&out, *cells[column]);
        }
        xp_write(&out, "\n");
    }
    xp_status status = xp_writer_save(&out, file);
    xp_writer_release(&out);
    return status;
}

/* "GunPoint_TRAIN.ts · uea-mvts · softmax" */
static void make_title(const xp_config *config, char *text, size_t size) {
    const char *data = config->data.train;
    size_t end = strlen(data), start;
    while (end > 1 && data[end - 1] == '/') end--;
    for (start = end; start > 0 && data[start - 1] != '/';) start--;
    snprintf(text, size, "%.*s%s%s%s%s", (int)(end - start), data + start, end > start ? " · " : "", config->preset,
             config->preset[0] ? " · " : "", config->model.attention);
}

/* "best epoch 7, chosen on the validation set: test accuracy 95.95 %" */
static void note_best(const xp_task *task, const xp_epoch_row *best, char *text, size_t size) {
    const xp_metric *metric = &task->metrics[task->deciding];
    const xp_set set = xp_epoch_result(task, best);
    char value[64];
    xp_metric_text(metric, xp_epoch_decision(task, best, set), value, sizeof value);
    snprintf(text, size, "best epoch %d, chosen on the %s set: %s %s %s", best->epoch,
             xp_set_name(xp_epoch_judge(task, best)), xp_set_name(set), metric->name, value);
}

xp_status xp_run_folder_append(xp_run_folder *folder, const xp_config *config, const xp_epoch_row *row,
                               int epoch_best) {
    XP_TRY(add_row(folder, row));
    XP_TRY(write_rows(folder));
    XP_TRY(write_events(folder, config));
    return xp_run_folder_draw_curves(folder, config, epoch_best);
}

xp_status xp_run_folder_draw_curves(const xp_run_folder *folder, const xp_config *config, int epoch_best) {
    char file[1100], title[1200], note[128];
    XP_TRY(xp_run_folder_path(folder->path, "curves.svg", file, sizeof file));
    make_title(config, title, sizeof title);
    note_best(folder->task, &folder->rows[epoch_best - 1], note, sizeof note);
    return xp_curves_write(file, title, note, folder->task, folder->rows, folder->count, epoch_best);
}

/* --- summary ------------------------------------------------------------------------------------------------------ */

/* Where there is no number or no text, the member is left out. */
static json_t *set_number(json_t *all, const char *name, double value) {
    return isfinite(value) ? xp_json_set(all, name, json_real(value)) : all;
}

static json_t *set_text(json_t *all, const char *name, const char *text) {
    return text ? xp_json_set(all, name, json_string(text)) : all;
}

static json_t *set_whole(json_t *all, const char *name, int64_t value) {
    return xp_json_set(all, name, json_integer(value));
}

static json_t *set_seed(json_t *all, uint64_t seed) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
    const bool fits = seed <= INT64_MAX; /* JSON's readers lose digits of larger ones */
    return fits ? set_whole(all, "seed", (int64_t)seed) : set_text(all, "seed", text);
}

/* "training_accuracy_best" and "training_accuracy_final", of each metric, the deciding one first. */
static json_t *set_metrics(json_t *all, const char *prefix, const xp_task *task, const xp_epoch_row *best, xp_set set,
                           const xp_epoch_row *last, xp_set last_set) {
    char name[96];
    for (int i = 0; i < task->metric_count; i++) {
        const int metric = xp_task_metric_at(task, i);
        snprintf(name, sizeof name, "%s%s_best", prefix, task->metrics[metric].name);
        all = set_number(all, name, best->metrics[set][metric]);
        snprintf(name, sizeof name, "%s%s_final", prefix, task->metrics[metric].name);
        if (last) all = set_number(all, name, last->metrics[last_set][metric]);
    }
    return all;
}

/* NULL: memory ran out, or a name is not UTF-8. */
static json_t *describe_summary(const xp_config *config, const xp_run_summary *summary) {
    const xp_epoch_row *best = &summary->best, *last = &summary->last;
    const xp_task *task = summary->task;
    const bool any = best->epoch > 0;
    const xp_set set = any ? xp_epoch_result(task, last) : XP_SET_TRAINING;
    char name[96];
    const bool measured = any && set != XP_SET_TRAINING;
    json_t *all = set_text(json_object(), "preset", config->preset);
    all = set_text(all, "task", task->name);
    all = set_text(all, "attention", config->model.attention);
    all = set_text(all, "precision", xp_precision_name(config->training.precision));
    all = set_seed(all, config->training.seed);
    snprintf(name, sizeof name, "%s_set", task->metrics[task->deciding].name);
    all = set_text(all, name, measured ? xp_set_name(set) : NULL);
    if (measured) all = set_metrics(all, "", task, best, xp_epoch_result(task, best), last, set);
    if (any) all = set_metrics(all, "training_", task, best, XP_SET_TRAINING, last, XP_SET_TRAINING);
    if (any) all = set_metrics(all, "validation_", task, best, XP_SET_VALIDATION, NULL, XP_SET_VALIDATION);
    all = set_whole(all, "epoch_best", best->epoch);
    all = set_text(all, "epoch_best_chosen_on", any ? xp_set_name(xp_epoch_judge(task, best)) : NULL);
    all = set_whole(all, "epochs", summary->epochs);
    all = set_whole(all, "parameters", summary->parameters);
    all = set_whole(all, "samples", summary->samples);
    all = set_whole(all, "validation_samples", summary->validation_samples);
    all = set_whole(all, "test_samples", summary->test_samples);
    all = set_number(all, "seconds", summary->seconds);
    all = set_number(all, "samples_per_second", summary->samples_per_second);
    if (summary->step_flops > 0) {
        all = set_number(all, "step_flops", summary->step_flops);
        all = set_number(all, "memory_bytes", summary->memory_bytes);
        all = set_number(all, "peak_bytes", summary->peak_bytes);
    }
    if (summary->scaled) all = set_whole(all, "steps_skipped", summary->skipped);
    if (summary->scaled) all = set_number(all, "loss_scale", summary->loss_scale);
    all = set_text(all, "device", summary->device);
    all = set_text(all, "driver", summary->driver);
    all = set_text(all, "family", summary->family);
    all = xp_json_set(all, "stopped_early", json_boolean(summary->stopped_early));
    return xp_json_set(all, "finished", json_boolean(summary->finished));
}

xp_status xp_run_folder_draw(const xp_run_folder *folder, const xp_config *config, int epoch,
                             const xp_evaluation *evaluation) {
    char file[1100], title[1200], note[128];
    const xp_task *task = folder->task;
    XP_TRY(xp_run_folder_path(folder->path, task->picture, file, sizeof file));
    make_title(config, title, sizeof title);
    snprintf(note, sizeof note, "%s set in the best epoch, %d",
             xp_set_name(xp_epoch_result(task, &folder->rows[epoch - 1])), epoch);
    return task->draw(file, title, note, evaluation);
}

xp_status xp_run_folder_summarise(const xp_run_folder *folder, const xp_config *config, const xp_run_summary *summary) {
    char file[1100];
    XP_TRY(xp_run_folder_path(folder->path, "summary.json", file, sizeof file));
    json_t *all = describe_summary(config, summary);
    if (!all) return xp_fail(XP_OUT_OF_MEMORY, "%s: no memory, or a name in it is not UTF-8", file);
    xp_writer out = {0};
    xp_json_write(&out, all, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    json_decref(all);
    xp_write(&out, "\n");
    xp_status status = xp_writer_save(&out, file);
    xp_writer_release(&out);
    return status;
}

xp_status xp_run_folder_samples(const xp_run_folder *folder, int64_t *training, int64_t *validation, int64_t *test) {
    static const char *const keys[] = {"samples", "validation_samples", "test_samples"};
    int64_t *const counts[] = {training, validation, test};
    char file[1100], *text = NULL;
    size_t length = 0;
    json_error_t error;
    XP_TRY(xp_run_folder_file(folder->path, "summary.json", file, sizeof file));
    XP_TRY(xp_file_read(file, &text, &length));
    json_t *all = NULL;
    const xp_status status = xp_json_read(file, text, length, &all, &error);
    free(text);
    XP_TRY(status);
    if (!all) return xp_fail(XP_BAD_DATA, "%s:%d:%d: not JSON: %s", file, error.line, error.column, error.text);
    for (int i = 0; i < 3; i++) *counts[i] = json_integer_value(json_object_get(all, keys[i]));
    json_decref(all);
    return XP_OK;
}

xp_status xp_run_folder_forget_summary(const xp_run_folder *folder) {
    char file[1100];
    XP_TRY(xp_run_folder_path(folder->path, "summary.json", file, sizeof file));
    if (unlink(file) == 0 || errno == ENOENT) return XP_OK;
    return xp_fail(XP_IO_ERROR, "%s: cannot be removed: %s", file, strerror(errno));
}

bool xp_run_folder_has(const xp_run_folder *folder, const char *name) {
    char path[1200];
    return xp_run_folder_path(folder->path, name, path, sizeof path) == XP_OK && xp_file_exists(path);
}

xp_status xp_run_folder_config(const char *path, xp_config *out) {
    char folder[1200], file[1300];
    xp_status status = xp_run_folder_checkpoint(path, false, folder, sizeof folder);
    if (status != XP_OK && status != XP_BAD_DATA) return status;
    XP_TRY(xp_run_folder_file(status == XP_OK ? folder : path, "config.yaml", file, sizeof file));
    xp_config_default(out);
    return xp_config_file(out, file);
}

xp_status xp_run_folder_checkpoint(const char *path, bool prefer_best, char *text, size_t size) {
    /* A previous one is there only after a power cut between two renames. */
    static const char *const names[] = {"best", "best.previous", "last", "last.previous"};
    char state[1200];
    XP_TRY(xp_run_folder_path(path, "state.json", state, sizeof state));
    if (xp_file_exists(state)) {
        int need = snprintf(text, size, "%s", path);
        return need >= 0 && (size_t)need < size ? XP_OK : xp_fail(XP_IO_ERROR, "%s: the path is too long", path);
    }
    for (int i = 0; i < 4; i++) {
        XP_TRY(xp_run_folder_path(path, names[prefer_best ? i : i ^ 2], text, size));
        XP_TRY(xp_run_folder_path(text, "state.json", state, sizeof state));
        if (xp_file_exists(state)) return XP_OK;
    }
    if (!xp_path_exists(path)) {
        return xp_fail(XP_IO_ERROR, "%s: there is no such folder; give the --out of a training run", path);
    }
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return xp_fail(XP_IO_ERROR, "%s: the run folder cannot be opened: %s", path, strerror(errno));
    close(descriptor);
    return xp_fail(XP_BAD_DATA,
                   "%s: contains no checkpoint (best/ or last/ with a state.json); give the --out of a training run",
                   path);
}
