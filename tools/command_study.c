/* expanse study: trains the runs of a study one after another, each in a process of its own, and compares them. Owns
 * the order of the work, the estimate of its time and what is shown meanwhile. */
#include "command.h"

#include "child.h"
#include "live.h"
#include "signals.h"
#include "table.h"

#include "core/clock.h"
#include "core/files.h"
#include "core/json.h"
#include "study/study.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The work under way. */
typedef struct work {
    const xp_study *study;
    xp_study_result *results; /* [run_count] */
    char **failures;          /* [run_count]; why a run failed; NULL: it did not */
    double *estimates;        /* of a run, in seconds, by data set and setting; NaN: not known */
    double overhead;          /* seconds of a process beside its training */
    int timed;                /* processes that this is the mean of */
    double preparation;       /* seconds that were spent on kernels in the trials, for the first attention */
    xp_live live;
    /* The run that is shown: */
    int shown;
    double began; /* clock */
    const char *doing;
} work;

enum { TRIAL_SECONDS = 15 };

/* ---- names and times --------------------------------------------------------------------------------------------- */

static int group_of(const xp_study *study, const xp_study_run *run) {
    return run->set * study->setting_count + run->setting;
}

/* "GunPoint softmax+bn seed 2"; with the setting if there are several. */
static void name_run(const xp_study *study, const xp_study_run *run, char *text, size_t size) {
    const bool several = study->setting_count > 1;
    snprintf(text, size, "%s%s%s %s seed %llu", study->sets[run->set].name, several ? " " : "",
             several ? study->settings[run->setting].name : "", xp_study_attention(study, run->attention),
             (unsigned long long)study->seeds[run->seed]);
}

static bool is_open(const work *at, int run) {
    return !at->results[run].finished && !at->failures[run];
}

static int count_open(const work *at) {
    int count = 0;
    for (int i = 0; i < at->study->run_count; i++) count += is_open(at, i);
    return count;
}

/* What the finished runs of a data set and setting took. */
static void learn_time(work *at, int group) {
    double seconds = 0;
    int count = 0;
    for (int i = 0; i < at->study->run_count; i++) {
        if (group_of(at->study, &at->study->runs[i]) != group || !at->results[i].finished) continue;
        seconds += at->results[i].seconds;
        count++;
    }
    if (count > 0) at->estimates[group] = seconds / count;
}

/* Seconds until all runs are done; NaN: not known. */
static double seconds_left(const work *at) {
    double left = 0;
    for (int i = 0; i < at->study->run_count; i++)
        if (is_open(at, i)) left += at->estimates[group_of(at->study, &at->study->runs[i])] + at->overhead;
    if (at->shown >= 0) left -= fmin(xp_clock() - at->began, left);
    return left;
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

/* The process that begins: to a pipe as a line, since it may take a minute. */
static void begin_showing(work *at, int index, const char *doing) {
    char name[256];
    name_run(at->study, &at->study->runs[index], name, sizeof name);
    at->shown = index;
    at->doing = doing;
    at->began = xp_clock();
    if (at->live.terminal || at->live.quiet) return;
    fprintf(at->live.out, "%-12s %s\n", doing, name);
    fflush(at->live.out);
}

static void show(void *user) {
    work *at = user;
    const xp_study *study = at->study;
    char text[512], name[256], left[32];
    if (!at->live.terminal) return;
    name_run(study, &study->runs[at->shown], name, sizeof name);
    xp_live_time(seconds_left(at), left);
    snprintf(text, sizeof text, "%d/%d  %s %s  %s%s", study->run_count - count_open(at), study->run_count, at->doing,
             name, left, *left ? " left" : "");
    xp_live_text(&at->live, text);
}

/* The last line of a file of messages. */
static char *read_reason(const char *path, int code) {
    char *text = NULL, reason[512];
    size_t length = 0;
    if (code < 0) {
        snprintf(reason, sizeof reason, "the process crashed or was killed");
    } else if (xp_file_read(path, &text, &length) == XP_OK && length > 0) {
        while (length > 0 && text[length - 1] == '\n') text[--length] = '\0';
        const char *last = strrchr(text, '\n');
        last = last ? last + 1 : text;
        if (strncmp(last, "expanse: ", 9) == 0) last += 9;
        snprintf(reason, sizeof reason, "%s", last);
    } else {
        snprintf(reason, sizeof reason, "the process ended with code %d and without a message", code);
    }
    free(text);
    return strdup(reason);
}

/* Adds flags to the words of a run; `words` [room]. */
static void list_words(char *const *of_run, const char *limit, const char **words, int room) {
    int count = 0;
    for (; of_run[count] && count < room - 5; count++) words[count] = of_run[count];
    words[count++] = "--quiet";
    if (limit) words[count++] = "--max-time";
    if (limit) words[count++] = limit;
    words[count] = NULL;
}

/* Trains a run, with a limit (NULL: none) to be continued later. A failure of the run is noted, not returned. */
static xp_status train(work *at, int index, const char *limit) {
    enum { ROOM = 300 };
    const xp_study_run *run = &at->study->runs[index];
    const char *words[ROOM];
    char **of_run = NULL, errors[1100];
    int code = 0;
    snprintf(errors, sizeof errors, "%s.errors", run->folder);
    XP_TRY(xp_folder_make(run->folder));
    XP_TRY(xp_study_words(at->study, run, &of_run));
    list_words(of_run, limit, words, ROOM);
    begin_showing(at, index, limit ? "trying" : "training");
    const xp_status status = xp_child_work(words, errors, show, at, &code);
    xp_study_words_free(of_run);
    at->shown = -1;
    xp_live_clear(&at->live);
    XP_TRY(status);
    if (code != XP_EXIT_OK && code != XP_EXIT_UNFINISHED) {
        at->failures[index] = read_reason(errors, code);
        return at->failures[index] ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for a message");
    }
    (void)unlink(errors);
    XP_TRY(xp_study_result_read(at->study, run, &at->results[index]));
    if (code == XP_EXIT_OK && !at->results[index].finished) { /* as a run of no epochs */
        at->failures[index] = strdup("the run ended without a result");
        if (!at->failures[index]) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a message");
    }
    return XP_OK;
}

/* Measures how much the heads of a finished run differ. A failure, as of a model that is not analysed, is no failure of
 * the study: the columns stay empty. */
static xp_status analyse(work *at, int index) {
    const xp_study_run *run = &at->study->runs[index];
    const xp_study_part *set = &at->study->sets[run->set];
    char errors[1100], out[1100];
    int code = 0;
    XP_TRY(xp_run_folder_path(run->folder, XP_STUDY_ANALYSIS, out, sizeof out));
    if (xp_path_exists(out)) return XP_OK;
    snprintf(errors, sizeof errors, "%s.errors", run->folder);
    const char *const words[] = {"analyze", run->folder,    "--data", set->test ? set->test : set->train,
                                 "--limit", "64",           "--out",  out,
                                 "--quiet", "--trust-code", NULL};
    begin_showing(at, index, "analysing");
    const xp_status status = xp_child_work(words, errors, show, at, &code);
    at->shown = -1;
    xp_live_clear(&at->live);
    (void)unlink(errors);
    XP_TRY(status);
    return xp_study_result_read(at->study, run, &at->results[index]);
}

static void say_end(const work *at, int index, double seconds) {
    const xp_study_result *result = &at->results[index];
    char name[256], best[64], final[64], spent[32];
    name_run(at->study, &at->study->runs[index], name, sizeof name);
    if (at->failures[index]) fprintf(stderr, "expanse: %s failed: %s\n", name, at->failures[index]);
    if (!result->finished || at->live.quiet) return;
    xp_study_value_text(result->task, result->best, NAN, best, sizeof best);
    xp_study_value_text(result->task, result->final, NAN, final, sizeof final);
    xp_live_time(seconds, spent);
    fprintf(at->live.out, "%d/%d  %s  %s best %s, final %s  %s\n", at->study->run_count - count_open(at),
            at->study->run_count, name, result->task->metrics[result->task->deciding].name, best, final, spent);
    fflush(at->live.out);
}

/* ---- the estimate ------------------------------------------------------------------------------------------------ */

/* Seconds that a run under way will have taken at its end; NaN: its first epoch is not done. */
static double project(const xp_study *study, const xp_study_run *run) {
    char path[1200], *text = NULL;
    size_t length = 0;
    json_error_t error;
    json_t *state = NULL;
    xp_config config;
    double seconds = NAN;
    if (xp_run_folder_path(run->folder, "last/state.json", path, sizeof path) != XP_OK || !xp_path_exists(path) ||
        xp_study_configure(study, run, &config) != XP_OK || xp_file_read(path, &text, &length) != XP_OK)
        return NAN;
    if (xp_json_read(path, text, length, &state, &error) == XP_OK && state) {
        const double epochs = (double)json_integer_value(json_object_get(state, "epoch"));
        if (epochs > 0)
            seconds = json_number_value(json_object_get(state, "seconds")) * config.training.epochs / epochs;
    }
    json_decref(state);
    free(text);
    return seconds;
}

/* The first run of a group that is not done, trained until its time can be projected. */
static xp_status try_group(work *at, int group, int first) {
    const double began = xp_clock();
    for (int limit = TRIAL_SECONDS; isnan(at->estimates[group]) && !at->failures[first]; limit *= 2) {
        char text[16];
        snprintf(text, sizeof text, "%ds", limit);
        XP_TRY(train(at, first, text));
        at->estimates[group] =
            at->results[first].finished ? at->results[first].seconds : project(at->study, &at->study->runs[first]);
    }
    const double spent = xp_clock() - began;
    if (at->results[first].finished) at->preparation += fmax(0, spent - at->results[first].seconds);
    say_end(at, first, spent);
    return XP_OK;
}

/* Learns from finished runs, and tries what has none. */
static xp_status estimate(work *at) {
    const xp_study *study = at->study;
    for (int group = 0; group < study->set_count * study->setting_count; group++) {
        int first = -1;
        learn_time(at, group);
        for (int i = study->run_count - 1; i >= 0; i--)
            if (group_of(study, &study->runs[i]) == group && is_open(at, i)) first = i;
        if (first >= 0 && isnan(at->estimates[group])) XP_TRY(try_group(at, group, first));
    }
    return XP_OK;
}

static void say_estimate(const work *at) {
    const xp_study *study = at->study;
    const int open = count_open(at);
    int done = 0;
    char left[32], failed[32] = "";
    for (int i = 0; i < study->run_count; i++) done += at->results[i].finished;
    if (done + open < study->run_count) snprintf(failed, sizeof failed, ", %d failed", study->run_count - done - open);
    xp_live_time(seconds_left(at) + at->preparation * (study->attention_count - 1), left);
    if (at->live.quiet) return;
    fprintf(at->live.out,
            "study        %s: %d data set%s, %d setting%s, %d attention%s, %d seed%s: %d runs, %d done%s\n",
            study->name, study->set_count, study->set_count == 1 ? "" : "s", study->setting_count,
            study->setting_count == 1 ? "" : "s", study->attention_count, study->attention_count == 1 ? "" : "s",
            study->seed_count, study->seed_count == 1 ? "" : "s", study->run_count, done, failed);
    if (open > 0)
        fprintf(at->live.out, "estimate     %s for the other %d, if they take as long as the first of each data set\n",
                *left ? left : "not known", open);
    fflush(at->live.out);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static void add_row(xp_table *table, const xp_study *study, const xp_study_group *group) {
    const xp_metric *metric = &group->task->metrics[group->task->deciding];
    const bool all = group->set < 0;
    char best[64], final[64], difference[96], runs[32];
    xp_study_value_text(group->task, group->best, group->best_spread, best, sizeof best);
    xp_study_value_text(group->task, group->final, group->final_spread, final, sizeof final);
    xp_study_difference_text(group, difference, sizeof difference);
    const int wanted = study->seed_count * (all ? study->set_count : 1);
    snprintf(runs, sizeof runs, "%d/%d", group->runs, wanted);
    const char *setting = study->settings[group->setting].name;
    xp_table_row(table, (xp_cell[]){{.text = all ? "all" : study->sets[group->set].name},
                                    {.text = setting},
                                    {.text = study->setting_count > 1 ? setting : NULL},
                                    {.text = xp_study_attention(study, group->attention)},
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

/* In text there is no room for all. */
static xp_status print_table(const work *at, xp_table_format format) {
    const xp_study *study = at->study;
    xp_study_group *groups = NULL;
    int count = 0;
    XP_TRY(xp_study_compare(study, at->results, &groups, &count));
    if (count == 0 && (format == XP_TABLE_TEXT || format == XP_TABLE_MARKDOWN)) {
        free(groups);
        printf("no run is finished: there is nothing to compare\n");
        return XP_OK;
    }
    const bool all = format == XP_TABLE_MARKDOWN;
    const char *metric = all ? NULL : common_metric(groups, count);
    char best[96];
    snprintf(best, sizeof best, "%s%sbest epoch", metric ? metric : "", metric ? ", " : "");
    const xp_column columns[] = {{"data", "data", XP_CELL_TEXT, .whole = true},
                                 {"setting", NULL, XP_CELL_TEXT},
                                 {NULL, "setting", XP_CELL_TEXT, .whole = true},
                                 {"attention", "attention", XP_CELL_TEXT},
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
    json_t *failures = json_array();
    for (int i = 0; i < study->run_count; i++) {
        char name[256];
        if (!at->failures[i]) continue;
        name_run(study, &study->runs[i], name, sizeof name);
        xp_table_note(&table, "Failed: %s: %s", name, at->failures[i]);
        failures = xp_json_append(failures, xp_table_text(name));
    }
    xp_table_fact(&table, "failed", failures);
    return xp_table_close(&table, XP_OK);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static xp_status work_on(work *at, bool dry_run) {
    const xp_study *study = at->study;
    XP_TRY(estimate(at));
    say_estimate(at);
    for (int i = 0; i < study->run_count && !dry_run; i++) {
        if (!is_open(at, i)) continue;
        const double began = xp_clock();
        XP_TRY(train(at, i, NULL));
        const double spent = xp_clock() - began;
        if (at->results[i].finished) {
            const double beside = fmax(0, spent - at->results[i].seconds);
            at->overhead += (beside - at->overhead) / ++at->timed;
        }
        learn_time(at, group_of(study, &study->runs[i]));
        say_end(at, i, spent);
    }
    for (int i = 0; i < study->run_count && !dry_run; i++)
        if (study->runs[i].seed == 0 && at->results[i].finished) XP_TRY(analyse(at, i));
    return XP_OK;
}

static xp_status write_report(const work *at, const char *out) {
    char path[1100];
    XP_TRY(xp_run_folder_path(out, "report.html", path, sizeof path));
    XP_TRY(xp_study_report(at->study, at->results, at->failures, path));
    if (!at->live.quiet) fprintf(at->live.out, "report       %s\n\n", path);
    fflush(at->live.out);
    return XP_OK;
}

static xp_status begin(work *at) {
    const xp_study *study = at->study;
    const int groups = study->set_count * study->setting_count;
    at->results = calloc((size_t)study->run_count, sizeof *at->results);
    at->failures = calloc((size_t)study->run_count, sizeof *at->failures);
    at->estimates = calloc((size_t)groups, sizeof *at->estimates);
    if (!at->results || !at->failures || !at->estimates)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for %d runs", study->run_count);
    for (int i = 0; i < groups; i++) at->estimates[i] = NAN;
    for (int i = 0; i < study->run_count; i++) XP_TRY(xp_study_result_read(study, &study->runs[i], &at->results[i]));
    return XP_OK;
}

static void end(work *at) {
    for (int i = 0; at->failures && i < at->study->run_count; i++) free(at->failures[i]);
    free(at->failures);
    free(at->results);
    free(at->estimates);
}

static bool any_failed(const work *at) {
    for (int i = 0; i < at->study->run_count; i++)
        if (at->failures[i]) return true;
    return false;
}

/* Returns the exit code. */
static int show_results(const work *at, const char *out, xp_table_format format) {
    int code = XP_EXIT_OK;
    if (write_report(at, out) != XP_OK) code = xp_command_fail();
    if (print_table(at, format) != XP_OK) code = xp_command_fail();
    return code;
}

/* Works on the study, and shows what came of it, also when it was stopped. */
static int run_study(const xp_study *study, const char *out, bool report, bool dry_run, xp_table_format format,
                     bool quiet) {
    work at = {.study = study, .shown = -1, .overhead = 1};
    xp_live_start(&at.live, format == XP_TABLE_TEXT ? stdout : stderr, quiet);
    xp_status status = begin(&at);
    if (status == XP_OK && !report) {
        xp_signals_hold();
        status = work_on(&at, dry_run);
    }
    if (status == XP_INTERRUPTED) xp_fail(status, "stopped; the same command continues the study");
    int code = status == XP_OK ? XP_EXIT_OK : xp_command_end(status);
    if (!dry_run && (status == XP_OK || status == XP_INTERRUPTED)) {
        const int shown = show_results(&at, out, format);
        if (code == XP_EXIT_OK) code = shown;
    }
    if (code == XP_EXIT_OK && any_failed(&at)) code = XP_EXIT_FAILURE;
    end(&at);
    return code;
}

int xp_command_study(int count, char **words) {
    const char *out = NULL, *data = NULL;
    bool dry_run = false, report = false, quiet = false;
    int format = XP_TABLE_TEXT;
    const xp_flag flags[] = {
        {"--out", "DIR", "folder of the run folders, new or of the same study (required)", .text = &out},
        {"--data", "DIR", "folder that the paths of data in FILE are relative to (the current one)", .text = &data},
        {"--report", NULL, "compare the runs that are done; train nothing", .on = &report},
        {"--dry-run", NULL, "print the estimate and stop; what is trained for it is not lost", .on = &dry_run},
        XP_TABLE_FORMAT_FLAG(&format),
        {"--quiet", NULL, "print only errors and the table", .on = &quiet},
    };
    const xp_usage usage = {
        .name = "study",
        .synopsis = "FILE --out DIR [flags]",
        .description =
            "Compares attentions: trains each of them on each data set, with each setting and seed, and prints a\n"
            "table with means and standard deviations over the seeds, the differences to the first attention with\n"
            "intervals, and the distances between heads as expanse analyze measures them. DIR/report.html has the\n"
            "same with curves, results, attention maps and configurations, on one page that needs no network.\n"
            "FILE is YAML:\n\n"
            "  attentions: [softmax, softmax+bn, 'softmax+sh(1,1,2,4)']\n"
            "  seeds: 3                       # 1, 2 and 3; or a list of seeds\n"
            "  data:\n"
            "    - name: GunPoint\n"
            "      train: GunPoint/GunPoint_TRAIN.ts\n"
            "      test: GunPoint/GunPoint_TEST.ts\n"
            "      options: {epochs: 30}      # any option of --set; these override those of the setting\n"
            "  settings:\n"
            "    - name: narrow\n"
            "      preset: uea-flowformer\n"
            "      options: {width: 32, heads: 4, feed_forward: 64}\n\n"
            "The runs are the run folders DIR/DATA/SETTING/ATTENTION-seedN of expanse train, one after another: by\n"
            "data set, then setting, seed and attention. The same command again continues after a stop: what is\n"
            "done is skipped, a run that was cut goes on from its last checkpoint, and failed runs are tried again.\n"
            "A run that fails does not end the study, but the exit code is 1. Before it begins, the first run of\n"
            "each data set and setting is trained for some seconds, to estimate the time of all.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof *flags,
        .words = "FILE",
        .example = "  expanse study docs/results/uea.yaml --data site-packages --out runs/uea\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (arguments.word_count != 1) return xp_command_misuse("give one file: expanse study FILE --out DIR");
    if (!out) return xp_command_misuse("no folder for the runs: give --out DIR");
    if (report && dry_run) return xp_command_misuse("--report and --dry-run exclude each other");
    xp_study study;
    if (xp_study_read(&study, arguments.words[0], data, out) != XP_OK) {
        xp_command_fail();
        return xp_last_status() == XP_BAD_DATA ? XP_EXIT_USAGE : XP_EXIT_FAILURE;
    }
    if (!report && xp_study_check_data(&study) != XP_OK) {
        xp_command_fail();
        xp_study_release(&study);
        return XP_EXIT_USAGE;
    }
    code = run_study(&study, out, report, dry_run, (xp_table_format)format, quiet);
    xp_study_release(&study);
    return code;
}
