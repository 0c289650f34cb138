/* The tables of a study: the comparison, and the candidates among which attentions were chosen. Owns what is shown of
 * them in each format; trains nothing. */
#include "study_table.h"

#include "core/json.h"
#include "core/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void xp_study_name(const xp_study *study, const xp_study_run *run, char *text, size_t size) {
    const bool several = study->setting_count > 1;
    snprintf(text, size, "%s%s%s ", study->sets[run->set].name, several ? " " : "",
             several ? study->settings[run->setting].name : "");
    xp_study_label(study, run, text + strlen(text), size - strlen(text));
    xp_text_add(text, size, " seed %llu%s", (unsigned long long)study->seeds[run->seed],
                run->candidate == XP_STUDY_CHOSEN ? "" : ", candidate");
}

/* ---- the comparison ---------------------------------------------------------------------------------------------- */

static void add_row(xp_table *table, const xp_study *study, const xp_study_group *group) {
    const xp_metric *metric = &group->task->metrics[group->task->deciding];
    const bool all = group->set < 0;
    const xp_study_run any = {group->set, group->setting, group->attention, 0, XP_STUDY_CHOSEN, NULL};
    char best[64], final[64], difference[96], runs[32], label[256];
    xp_study_label(study, &any, label, sizeof label);
    xp_study_value_text(group->task, group->best, group->best_spread, best, sizeof best);
    xp_study_value_text(group->task, group->final, group->final_spread, final, sizeof final);
    xp_study_difference_text(group, difference, sizeof difference);
    const int wanted = study->seed_count * (all ? study->set_count : 1);
    snprintf(runs, sizeof runs, "%d/%d", group->runs, wanted);
    const char *setting = study->settings[group->setting].name;
    xp_table_row(table, (xp_cell[]){{.text = all ? "all" : study->sets[group->set].name},
                                    {.text = setting},
                                    {.text = study->setting_count > 1 ? setting : NULL},
                                    {.text = label},
                                    {.text = xp_study_attention(study, group->attention)},
                                    {.text = all ? NULL : xp_study_specification(study, &any)},
                                    {.whole = group->runs},
                                    {.text = group->runs < wanted ? runs : NULL},
                                    {.text = metric->name},
                                    {.text = best},
                                    {.real = group->best},
                                    {.real = group->best_spread},
                                    {.text = final},
                                    {.real = group->final},
                                    {.real = group->final_spread},
                                    {.text = difference},
                                    {.real = group->difference},
                                    {.real = group->low},
                                    {.real = group->high},
                                    {.whole = all ? XP_CELL_EMPTY : (int64_t)group->parameters},
                                    {.real = all ? NAN : group->step_flops},
                                    {.real = all ? NAN : group->seconds},
                                    {.real = all ? NAN : group->peak_bytes},
                                    {.real = group->map_distance},
                                    {.real = group->output_distance}});
}

/* The metric of all groups; NULL: they have several. */
static const char *common_metric(const xp_study_group *groups, int count) {
    for (int i = 1; i < count; i++)
        if (groups[i].task != groups[0].task) return NULL;
    return count > 0 ? groups[0].task->metrics[groups[0].task->deciding].name : NULL;
}

/* ---- candidates -------------------------------------------------------------------------------------------------- */

static bool is_chosen(const xp_study *study, const xp_study_run *run) {
    return study->chosen[xp_study_choice(study, run)] == run->candidate;
}

/* For JSON. */
static json_t *list_candidates(const xp_study *study, const xp_study_result *results) {
    json_t *all = json_array();
    for (int i = study->run_count; i < study->total_count; i++) {
        const xp_study_run *run = &study->runs[i];
        if (!results[i].finished) continue;
        const xp_task *task = results[i].task;
        json_t *each = xp_json_set(json_object(), "data", json_string(study->sets[run->set].name));
        each = xp_json_set(each, "setting", json_string(study->settings[run->setting].name));
        each = xp_json_set(each, "attention", xp_table_text(xp_study_attention(study, run->attention)));
        each = xp_json_set(each, "specification", xp_table_text(xp_study_specification(study, run)));
        each = xp_json_set(each, "metric", json_string(task->metrics[task->deciding].name));
        const double value = results[i].validation[task->deciding];
        if (isfinite(value)) each = xp_json_set(each, "validation", json_real(value));
        all = xp_json_append(all, xp_json_set(each, "chosen", json_boolean(is_chosen(study, run))));
    }
    return all;
}

/* A table for people. */
static xp_status print_candidates(const xp_study *study, const xp_study_result *results, xp_table_format format) {
    const xp_column columns[] = {{NULL, "data", XP_CELL_TEXT, .whole = true},
                                 {NULL, "setting", XP_CELL_TEXT, .whole = true},
                                 {NULL, "candidate", XP_CELL_TEXT},
                                 {NULL, "metric", XP_CELL_TEXT},
                                 {NULL, "validation part", XP_CELL_TEXT, .whole = true},
                                 {NULL, "", XP_CELL_TEXT}};
    xp_table table;
    printf("\n");
    xp_table_open(&table, stdout, format, columns, sizeof columns / sizeof *columns, NULL);
    for (int i = study->run_count; i < study->total_count; i++) {
        const xp_study_run *run = &study->runs[i];
        if (!results[i].finished) continue;
        const xp_task *task = results[i].task;
        char label[256], value[64];
        xp_study_label(study, run, label, sizeof label);
        xp_study_value_text(task, results[i].validation[task->deciding], NAN, value, sizeof value);
        xp_table_row(&table, (xp_cell[]){{.text = study->sets[run->set].name},
                                         {.text = study->setting_count > 1 ? study->settings[run->setting].name : NULL},
                                         {.text = label},
                                         {.text = task->metrics[task->deciding].name},
                                         {.text = value},
                                         {.text = is_chosen(study, run) ? "chosen" : NULL}});
    }
    if (format == XP_TABLE_TEXT) xp_table_note(&table, "%s", "");
    xp_table_note(&table,
                  "Candidates are trained with the seed %llu, without the test set and without a part of the training "
                  "data. The best on this part, in its best epoch, is chosen; of equal ones, the one with the smallest "
                  "loss.",
                  (unsigned long long)study->seeds[0]);
    return xp_table_close(&table, XP_OK);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* In text there is no room for all. */
xp_status xp_study_print(const xp_study *study, const xp_study_result *results, char *const *failures,
                         xp_table_format format) {
    xp_study_group *groups = NULL;
    int count = 0;
    XP_TRY(xp_study_compare(study, results, &groups, &count));
    const bool tried = study->total_count > study->run_count;
    const bool people = format == XP_TABLE_TEXT || format == XP_TABLE_MARKDOWN;
    if (count == 0 && people) {
        free(groups);
        printf("no run is finished: there is nothing to compare\n");
        return tried ? print_candidates(study, results, format) : XP_OK;
    }
    const bool all = format == XP_TABLE_MARKDOWN;
    const char *metric = all ? NULL : common_metric(groups, count);
    char best[96];
    snprintf(best, sizeof best, "%s%sbest epoch", metric ? metric : "", metric ? ", " : "");
    const xp_column columns[] = {{"data", "data", XP_CELL_TEXT, .whole = true},
                                 {"setting", NULL, XP_CELL_TEXT},
                                 {NULL, "setting", XP_CELL_TEXT, .whole = true},
                                 {NULL, "attention", XP_CELL_TEXT},
                                 {"attention", NULL, XP_CELL_TEXT},
                                 {"specification", NULL, XP_CELL_TEXT},
                                 {"runs", NULL, XP_CELL_WHOLE},
                                 {NULL, "runs", XP_CELL_TEXT, .whole = true},
                                 {"metric", metric ? NULL : "metric", XP_CELL_TEXT},
                                 {NULL, best, XP_CELL_TEXT, .whole = true},
                                 {"best", NULL, XP_CELL_REAL},
                                 {"best_deviation", NULL, XP_CELL_REAL},
                                 {NULL, "last epoch", XP_CELL_TEXT, .whole = true},
                                 {"final", NULL, XP_CELL_REAL},
                                 {"final_deviation", NULL, XP_CELL_REAL},
                                 {NULL, "difference (95 %)", XP_CELL_TEXT, .whole = true},
                                 {"difference", NULL, XP_CELL_REAL},
                                 {"difference_low", NULL, XP_CELL_REAL},
                                 {"difference_high", NULL, XP_CELL_REAL},
                                 {"parameters", all ? "parameters" : NULL, XP_CELL_WHOLE},
                                 {"step_flops", all ? "MFLOP a step" : NULL, XP_CELL_REAL, .digits = 1, .scale = 1e-6},
                                 {"seconds", all ? "seconds" : NULL, XP_CELL_REAL, .digits = 1},
                                 {"peak_bytes", all ? "peak MiB" : NULL, XP_CELL_REAL, .scale = XP_MIB},
                                 {"map_distance", all ? "map distance" : NULL, XP_CELL_REAL, .digits = 4},
                                 {"output_distance", all ? "output distance" : NULL, XP_CELL_REAL, .digits = 4}};
    xp_table table;
    xp_table_open(&table, stdout, format, columns, sizeof columns / sizeof *columns, "groups");
    xp_table_fact_text(&table, "study", study->name);
    xp_table_fact(&table, "runs", json_integer(study->run_count));
    for (int i = 0; i < count; i++) add_row(&table, study, &groups[i]);
    free(groups);
    if (format == XP_TABLE_TEXT) xp_table_note(&table, "%s", "");
    xp_table_note(&table,
                  "Means over the seeds ± standard deviation. The difference is that of the last epoch to %s with the "
                  "same data set and seed; in brackets, an interval of 95 %% by the bootstrap over these pairs.%s",
                  xp_study_attention(study, 0),
                  all ? "" : " The report and -o md, csv and json also have distances between heads and costs.");
    json_t *failed = json_array();
    for (int i = 0; i < study->total_count; i++) {
        char name[256];
        if (!failures[i]) continue;
        xp_study_name(study, &study->runs[i], name, sizeof name);
        xp_table_note(&table, "Failed: %s: %s", name, failures[i]);
        failed = xp_json_append(failed, xp_table_text(name));
    }
    xp_table_fact(&table, "failed", failed);
    if (tried) xp_table_fact(&table, "candidates", list_candidates(study, results));
    const xp_status status = xp_table_close(&table, XP_OK);
    return status == XP_OK && people && tried ? print_candidates(study, results, format) : status;
}
