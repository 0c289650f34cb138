/* What runs measured, and the comparison of attentions. */
#include "study/study.h"

#include "core/files.h"
#include "core/json.h"
#include "core/statistics.h"
#include "core/text.h"
#include "train/run_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INTERVAL_SEED = 20230501 }; /* the same comparison gives the same interval */

/* ---- one run ----------------------------------------------------------------------------------------------------- */

static double number_of(const json_t *summary, const char *key) {
    const json_t *value = json_object_get(summary, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void text_of(const json_t *summary, const char *key, char *text, size_t size) {
    const char *value = json_string_value(json_object_get(summary, key));
    snprintf(text, size, "%s", value ? value : "");
}

/* The task that the summary names, if it has its deciding metric, measured on a set of its own or, without one, in
 * training. Runs of earlier versions name no task: the first with such a metric stands for theirs. */
static void find_metric(const json_t *summary, xp_study_result *out) {
    const char *named = json_string_value(json_object_get(summary, "task"));
    for (int i = 0; i < xp_task_count; i++) {
        const xp_task *task = xp_tasks[i];
        if (named && strcmp(named, task->name) != 0) continue;
        const char *metric = task->metrics[task->deciding].name;
        char key[96];
        for (int trained = 0; trained < 2; trained++) {
            const char *prefix = trained ? "training_" : "";
            snprintf(key, sizeof key, "%s%s_best", prefix, metric);
            out->best = number_of(summary, key);
            snprintf(key, sizeof key, "%s%s_final", prefix, metric);
            out->final = number_of(summary, key);
            snprintf(key, sizeof key, "%s_set", metric);
            text_of(summary, key, out->set, sizeof out->set);
            if (trained) snprintf(out->set, sizeof out->set, "training");
            if (isfinite(out->best) && isfinite(out->final)) {
                out->task = task;
                return;
            }
        }
    }
}

static void take_summary(const json_t *summary, xp_study_result *out) {
    find_metric(summary, out);
    for (int i = 0; out->task && i < out->task->metric_count; i++) {
        char key[96];
        snprintf(key, sizeof key, "validation_%s_best", out->task->metrics[i].name);
        out->validation[i] = number_of(summary, key);
    }
    text_of(summary, "epoch_best_chosen_on", out->judge, sizeof out->judge);
    text_of(summary, "device", out->device, sizeof out->device);
    out->epochs = (int)json_integer_value(json_object_get(summary, "epochs"));
    out->epoch_best = (int)json_integer_value(json_object_get(summary, "epoch_best"));
    out->parameters = json_integer_value(json_object_get(summary, "parameters"));
    out->seconds = number_of(summary, "seconds");
    out->step_flops = number_of(summary, "step_flops");
    out->memory_bytes = number_of(summary, "memory_bytes");
    out->peak_bytes = number_of(summary, "peak_bytes");
    out->finished = json_is_true(json_object_get(summary, "finished")) && out->task;
}

static xp_status check_same(const xp_study *study, const xp_study_run *run) {
    xp_config found, wanted;
    XP_TRY(xp_run_folder_config(run->folder, &found));
    XP_TRY(xp_study_configure(study, run, &wanted));
    xp_config_make_absolute(&wanted);
    if (xp_config_compare(&found, &wanted) == XP_OK) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "%s holds a different run than %s describes: its %s; choose another --out",
                   run->folder, study->name, xp_last_error());
}

/* The caller owns *out; NULL: the run has no such file. */
static xp_status read_json(const xp_study_run *run, const char *name, json_t **out) {
    char path[1200], *text = NULL;
    size_t length = 0;
    json_error_t error;
    *out = NULL;
    XP_TRY(xp_run_folder_file(run->folder, name, path, sizeof path));
    if (!xp_path_exists(path)) return XP_OK;
    XP_TRY(xp_file_read(path, &text, &length));
    const xp_status status = xp_json_read(path, text, length, out, &error);
    free(text);
    XP_TRY(status);
    return *out ? XP_OK : xp_fail(XP_BAD_DATA, "%s:%d:%d: not JSON: %s", path, error.line, error.column, error.text);
}

/* The mean over the layers; NaN: one has none. */
static double mean_of(const json_t *analysis, const char *key) {
    const json_t *layers = json_object_get(analysis, "layers");
    double sum = 0;
    for (size_t i = 0; i < json_array_size(layers); i++) sum += number_of(json_array_get(layers, i), key);
    return sum / (double)json_array_size(layers);
}

xp_status xp_study_result_read(const xp_study *study, const xp_study_run *run, xp_study_result *result) {
    json_t *summary = NULL, *analysis = NULL;
    *result = (xp_study_result){.best = NAN, .final = NAN, .seconds = NAN, .map_distance = NAN, .output_distance = NAN};
    for (int i = 0; i < XP_TASK_METRICS; i++) result->validation[i] = NAN;
    if (!xp_study_specification(study, run)) return XP_OK;
    if (xp_run_folder_check_free(run->folder) == XP_OK) return XP_OK;
    XP_TRY(check_same(study, run));
    XP_TRY(read_json(run, "summary.json", &summary));
    if (!summary) return XP_OK;
    take_summary(summary, result);
    json_decref(summary);
    XP_TRY(read_json(run, XP_STUDY_ANALYSIS "/analysis.json", &analysis));
    result->map_distance = mean_of(analysis, "map_distance");
    result->output_distance = mean_of(analysis, "output_distance");
    json_decref(analysis);
    return XP_OK;
}

/* ---- candidates -------------------------------------------------------------------------------------------------- */

static xp_epoch_row validated(const xp_study_result *result) {
    xp_epoch_row row = {0};
    for (int i = 0; i < XP_TASK_METRICS; i++) {
        row.metrics[XP_SET_TRAINING][i] = row.metrics[XP_SET_TEST][i] = NAN;
        row.metrics[XP_SET_VALIDATION][i] = result->validation[i];
    }
    return row;
}

/* A run that diverged has no validation value, and is better than none. */
static bool is_better(const xp_study_result *result, const xp_study_result *than) {
    const xp_epoch_row row = validated(result), other = validated(than);
    const double value = xp_epoch_decision(result->task, &row, XP_SET_VALIDATION);
    if (!isfinite(xp_epoch_decision(than->task, &other, XP_SET_VALIDATION))) return isfinite(value);
    return xp_epoch_is_better(result->task, &row, &other);
}

void xp_study_choose(xp_study *study, const xp_study_result *results) {
    for (int first = study->run_count, last; first < study->total_count; first = last) {
        const xp_study_run *run = &study->runs[first];
        int best = first;
        bool finished = true;
        for (last = first; last < study->total_count && (last == first || study->runs[last].candidate > 0); last++) {
            finished = finished && results[last].finished;
            if (finished && is_better(&results[last], &results[best])) best = last;
        }
        study->chosen[xp_study_choice(study, run)] = finished ? study->runs[best].candidate : -1;
    }
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

static int place_of(const xp_study *study, int set, int setting, int seed, int attention) {
    return ((set * study->setting_count + setting) * study->seed_count + seed) * study->attention_count + attention;
}

typedef struct moments {
    int count;
    double mean, squares; /* Welford's */
} moments;

static void add(moments *to, double value) {
    const double before = value - to->mean;
    to->count++;
    to->mean += before / to->count;
    to->squares += before * (value - to->mean);
}

static double spread(const moments *of) {
    return of->count > 1 ? sqrt(of->squares / (of->count - 1)) : NAN;
}

/* The differences of a data set's pairs; returns how many. */
static int list_differences(const xp_study *study, const xp_study_result *results, int set, int setting, int attention,
                            double *out) {
    int count = 0;
    for (int seed = 0; seed < study->seed_count; seed++) {
        const xp_study_result *one = &results[place_of(study, set, setting, seed, attention)],
                              *first = &results[place_of(study, set, setting, seed, 0)];
        if (one->finished && first->finished && one->task == first->task) out[count++] = one->final - first->final;
    }
    return count;
}

/* Costs are sums until divide_costs. */
static void add_costs(xp_study_group *to, const xp_study_result *from) {
    to->seconds += from->seconds;
    to->step_flops += from->step_flops;
    to->parameters += (double)from->parameters;
    to->memory_bytes += from->memory_bytes;
    to->peak_bytes = fmax(to->peak_bytes, from->peak_bytes);
}

static void divide_costs(xp_study_group *of) {
    of->seconds /= of->runs;
    of->step_flops /= of->runs;
    of->parameters /= of->runs;
    of->memory_bytes /= of->runs;
}

/* Whether every attention has a finished run on a data set: only such sets are comparable. */
static bool is_whole(const xp_study *study, const xp_study_result *results, int set, int setting) {
    for (int attention = 0; attention < study->attention_count; attention++) {
        bool any = false;
        for (int seed = 0; seed < study->seed_count; seed++)
            any = any || results[place_of(study, set, setting, seed, attention)].finished;
        if (!any) return false;
    }
    return true;
}

/* Of the sets first … last; `values` has room for the pairs of all of them, `sizes` for their numbers. */
static xp_study_group compare(const xp_study *study, const xp_study_result *results, int first, int last, int setting,
                              int attention, double *values, int *sizes) {
    xp_study_group group = {.set = first == last ? first : -1, .setting = setting, .attention = attention};
    moments best = {0}, final = {0}, differences = {0}, maps = {0}, outputs = {0};
    int sets = 0;
    for (int set = first; set <= last; set++) {
        if (first < last && !is_whole(study, results, set, setting)) continue;
        moments of_best = {0}, of_final = {0};
        for (int seed = 0; seed < study->seed_count; seed++) {
            const xp_study_result *result = &results[place_of(study, set, setting, seed, attention)];
            if (!result->finished) continue;
            group.task = result->task;
            group.runs++;
            add(&of_best, result->best);
            add(&of_final, result->final);
            add_costs(&group, result);
            if (isfinite(result->map_distance)) add(&maps, result->map_distance);
            if (isfinite(result->output_distance)) add(&outputs, result->output_distance);
        }
        if (of_best.count == 0) continue;
        add(&best, of_best.mean);
        add(&final, of_final.mean);
        group.best_spread = first == last ? spread(&of_best) : NAN;
        group.final_spread = first == last ? spread(&of_final) : NAN;
        const int pairs = list_differences(study, results, set, setting, attention, values + group.pairs);
        moments of_set = {0};
        for (int i = 0; i < pairs; i++) add(&of_set, values[group.pairs + i]);
        if (pairs > 0) add(&differences, of_set.mean);
        if (pairs > 0) sizes[sets++] = pairs;
        group.pairs += pairs;
    }
    group.map_distance = maps.count > 0 ? maps.mean : NAN;
    group.output_distance = outputs.count > 0 ? outputs.mean : NAN;
    group.best = best.mean;
    group.final = final.mean;
    group.difference = group.low = group.high = NAN;
    if (group.runs > 0) divide_costs(&group);
    if (attention == 0 || group.pairs == 0) return group;
    group.difference = differences.mean;
    if (group.pairs > 1) xp_bootstrap_mean(values, sizes, sets, INTERVAL_SEED, &group.low, &group.high);
    return group;
}

/* Whether several data sets are whole with a setting, and all of them have the same task. */
static bool is_common(const xp_study *study, const xp_study_result *results, int setting) {
    const xp_task *task = NULL;
    int sets = 0;
    for (int i = 0; i < study->run_count; i++) {
        const xp_study_run *run = &study->runs[i];
        if (!results[i].finished || run->setting != setting || !is_whole(study, results, run->set, setting)) continue;
        if (task && task != results[i].task) return false;
        task = results[i].task;
    }
    for (int set = 0; set < study->set_count; set++) sets += is_whole(study, results, set, setting);
    return sets > 1;
}

xp_status xp_study_compare(const xp_study *study, const xp_study_result *results, xp_study_group **groups, int *count) {
    const size_t sets = (size_t)study->set_count,
                 most = (sets + 1) * (size_t)study->setting_count * (size_t)study->attention_count;
    double *values = calloc(sets * (size_t)study->seed_count, sizeof *values);
    int *sizes = calloc(sets, sizeof *sizes);
    *groups = calloc(most, sizeof **groups);
    *count = 0;
    for (int set = 0; values && sizes && *groups && set <= study->set_count; set++)
        for (int setting = 0; setting < study->setting_count; setting++) {
            const bool all = set == study->set_count;
            if (all && !is_common(study, results, setting)) continue;
            for (int attention = 0; attention < study->attention_count; attention++) {
                const xp_study_group group =
                    compare(study, results, all ? 0 : set, all ? set - 1 : set, setting, attention, values, sizes);
                if (group.runs > 0) (*groups)[(*count)++] = group;
            }
        }
    const bool failed = !values || !sizes || !*groups;
    free(values);
    free(sizes);
    if (!failed) return XP_OK;
    free(*groups);
    *groups = NULL;
    return xp_fail(XP_OUT_OF_MEMORY, "no memory to compare %d runs", study->run_count);
}

/* ---- for people -------------------------------------------------------------------------------------------------- */

/* Its number alone; `sign`: with a plus where it is positive. */
static void add_number(const xp_metric *metric, double value, bool sign, char *text, size_t size) {
    if (metric->significant)
        xp_text_add_number(text, size, value * metric->scale, metric->digits, sign);
    else
        xp_text_add(text, size, sign ? "%+.*f" : "%.*f", metric->digits, value * metric->scale);
}

void xp_study_value_text(const xp_task *task, double mean, double spread, char *text, size_t size) {
    const xp_metric *metric = &task->metrics[task->deciding];
    *text = '\0';
    add_number(metric, mean, false, text, size);
    if (isfinite(spread)) {
        xp_text_add(text, size, " ± ");
        add_number(metric, spread, false, text, size);
    }
    xp_text_add(text, size, "%s", metric->unit);
}

void xp_study_difference_text(const xp_study_group *group, char *text, size_t size) {
    const xp_metric *metric = &group->task->metrics[group->task->deciding];
    *text = '\0';
    if (!isfinite(group->difference)) return;
    add_number(metric, group->difference, true, text, size);
    if (!isfinite(group->low)) return;
    xp_text_add(text, size, " (");
    add_number(metric, group->low, true, text, size);
    xp_text_add(text, size, " … ");
    add_number(metric, group->high, true, text, size);
    xp_text_add(text, size, ")");
}
