/* expanse study: trains the runs of a study one after another, each in a process of its own, and compares them. Owns
 * the order of the work, the estimate of its time and what is shown meanwhile. */
#include "command.h"

#include "child.h"
#include "live.h"
#include "signals.h"
#include "study_table.h"

#include "core/clock.h"
#include "core/files.h"
#include "core/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The work under way. */
typedef struct work {
    xp_study *study;
    xp_study_result *results; /* [total_count] */
    char **failures;          /* [total_count]; why a run failed; NULL: it did not */
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

static bool is_open(const work *at, int run) {
    return !at->results[run].finished && !at->failures[run];
}

static int count_open(const work *at) {
    int count = 0;
    for (int i = 0; i < at->study->total_count; i++) count += is_open(at, i);
    return count;
}

/* What the finished runs of a data set and setting took, or as long as there is none, those of candidates, which have
 * less data. */
static void learn_time(work *at, int group) {
    double seconds = 0;
    int count = 0;
    for (int i = 0; i < at->study->total_count; i++) {
        if (i == at->study->run_count && count > 0) break;
        if (group_of(at->study, &at->study->runs[i]) != group || !at->results[i].finished) continue;
        seconds += at->results[i].seconds;
        count++;
    }
    if (count > 0) at->estimates[group] = seconds / count;
}

/* Seconds until all runs are done; NaN: not known. */
static double seconds_left(const work *at) {
    double left = 0;
    for (int i = 0; i < at->study->total_count; i++)
        if (is_open(at, i)) left += at->estimates[group_of(at->study, &at->study->runs[i])] + at->overhead;
    if (at->shown >= 0) left -= fmin(xp_clock() - at->began, left);
    return left;
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

/* The process that begins: to a pipe as a line, since it may take a minute. */
static void begin_showing(work *at, int index, const char *doing) {
    char name[256];
    xp_study_name(at->study, &at->study->runs[index], name, sizeof name);
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
    xp_study_name(study, &study->runs[at->shown], name, sizeof name);
    xp_live_time(seconds_left(at), left);
    snprintf(text, sizeof text, "%d/%d  %s %s  %s%s", study->total_count - count_open(at), study->total_count,
             at->doing, name, left, *left ? " left" : "");
    xp_live_text(&at->live, text);
}

/* The last line of a file of messages. */
static void read_reason(const char *path, int code, char *reason, size_t size) {
    char *text = NULL;
    size_t length = 0;
    if (code < 0) {
        snprintf(reason, size, "the process crashed or was killed");
    } else if (xp_file_read(path, &text, &length) == XP_OK && length > 0) {
        while (length > 0 && text[length - 1] == '\n') text[--length] = '\0';
        const char *last = strrchr(text, '\n');
        last = last ? last + 1 : text;
        if (strncmp(last, "expanse: ", 9) == 0) last += 9;
        snprintf(reason, size, "%s", last);
    } else {
        snprintf(reason, size, "the process ended with code %d and without a message", code);
    }
    free(text);
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

static xp_status note_failure(work *at, int index, const char *reason) {
    at->failures[index] = strdup(reason);
    return at->failures[index] ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for a message");
}

/* Trains a run, with a limit (NULL: none) to be continued later. A failure of the run is noted, not returned. */
static xp_status train(work *at, int index, const char *limit) {
    enum { ROOM = 300 };
    const xp_study_run *run = &at->study->runs[index];
    const char *words[ROOM];
    char **of_run = NULL, errors[1100], reason[512];
    int code = 0;
    if (!xp_study_specification(at->study, run)) return note_failure(at, index, "a candidate failed");
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
        read_reason(errors, code, reason, sizeof reason);
        return note_failure(at, index, reason);
    }
    (void)unlink(errors);
    XP_TRY(xp_study_result_read(at->study, run, &at->results[index]));
    if (code == XP_EXIT_OK && !at->results[index].finished) /* as a run of no epochs */
        return note_failure(at, index, "the run ended without a result");
    xp_study_choose(at->study, at->results);
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
    xp_study_name(at->study, &at->study->runs[index], name, sizeof name);
    if (at->failures[index]) fprintf(stderr, "expanse: %s failed: %s\n", name, at->failures[index]);
    if (!result->finished || at->live.quiet) return;
    xp_study_value_text(result->task, result->best, NAN, best, sizeof best);
    xp_study_value_text(result->task, result->final, NAN, final, sizeof final);
    xp_live_time(seconds, spent);
    fprintf(at->live.out, "%d/%d  %s  %s best %s, final %s  %s\n", at->study->total_count - count_open(at),
            at->study->total_count, name, result->task->metrics[result->task->deciding].name, best, final, spent);
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
        for (int i = study->total_count - 1; i >= 0; i--)
            if (group_of(study, &study->runs[i]) == group && is_open(at, i) &&
                xp_study_specification(study, &study->runs[i]))
                first = i;
        if (first >= 0 && isnan(at->estimates[group])) XP_TRY(try_group(at, group, first));
    }
    return XP_OK;
}

static void say_estimate(const work *at) {
    const xp_study *study = at->study;
    const int open = count_open(at), candidates = study->total_count - study->run_count;
    int done = 0;
    char left[32], tried[48] = "", failed[32] = "";
    for (int i = 0; i < study->total_count; i++) done += at->results[i].finished;
    if (candidates > 0)
        snprintf(tried, sizeof tried, " and %d run%s of candidates", candidates, candidates == 1 ? "" : "s");
    if (done + open < study->total_count)
        snprintf(failed, sizeof failed, ", %d failed", study->total_count - done - open);
    xp_live_time(seconds_left(at) + at->preparation * (study->attention_count - 1), left);
    if (at->live.quiet) return;
    fprintf(at->live.out,
            "study        %s: %d data set%s, %d setting%s, %d attention%s, %d seed%s: %d run%s%s, %d done%s\n",
            study->name, study->set_count, study->set_count == 1 ? "" : "s", study->setting_count,
            study->setting_count == 1 ? "" : "s", study->attention_count, study->attention_count == 1 ? "" : "s",
            study->seed_count, study->seed_count == 1 ? "" : "s", study->run_count, study->run_count == 1 ? "" : "s",
            tried, done, failed);
    if (open > 0)
        fprintf(at->live.out, "estimate     %s for the other %d, if they take as long as the first of each data set\n",
                *left ? left : "not known", open);
    fflush(at->live.out);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static xp_status work_on_run(work *at, int index) {
    const double began = xp_clock();
    if (!is_open(at, index)) return XP_OK;
    XP_TRY(train(at, index, NULL));
    const double spent = xp_clock() - began;
    if (at->results[index].finished) {
        const double beside = fmax(0, spent - at->results[index].seconds);
        at->overhead += (beside - at->overhead) / ++at->timed;
    }
    learn_time(at, group_of(at->study, &at->study->runs[index]));
    say_end(at, index, spent);
    return XP_OK;
}

/* The runs first … last - 1 of a data set and setting. */
static xp_status work_on_group(work *at, int group, int first, int last) {
    for (int i = first; i < last; i++)
        if (group_of(at->study, &at->study->runs[i]) == group) XP_TRY(work_on_run(at, i));
    return XP_OK;
}

static xp_status work_on(work *at, bool dry_run) {
    const xp_study *study = at->study;
    XP_TRY(estimate(at));
    say_estimate(at);
    if (dry_run) return XP_OK;
    for (int group = 0; group < study->set_count * study->setting_count; group++) {
        XP_TRY(work_on_group(at, group, study->run_count, study->total_count));
        XP_TRY(work_on_group(at, group, 0, study->run_count));
    }
    for (int i = 0; i < study->run_count; i++)
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

/* The results of the runs first … last - 1. */
static xp_status read_results(work *at, int first, int last) {
    for (int i = first; i < last; i++) XP_TRY(xp_study_result_read(at->study, &at->study->runs[i], &at->results[i]));
    return XP_OK;
}

static xp_status begin(work *at) {
    const xp_study *study = at->study;
    const int groups = study->set_count * study->setting_count;
    at->results = calloc((size_t)study->total_count, sizeof *at->results);
    at->failures = calloc((size_t)study->total_count, sizeof *at->failures);
    at->estimates = calloc((size_t)groups, sizeof *at->estimates);
    if (!at->results || !at->failures || !at->estimates)
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for %d runs", study->total_count);
    for (int i = 0; i < groups; i++) at->estimates[i] = NAN;
    XP_TRY(read_results(at, study->run_count, study->total_count));
    xp_study_choose(at->study, at->results);
    return read_results(at, 0, study->run_count);
}

static void end(work *at) {
    for (int i = 0; at->failures && i < at->study->total_count; i++) free(at->failures[i]);
    free(at->failures);
    free(at->results);
    free(at->estimates);
}

static bool any_failed(const work *at) {
    for (int i = 0; i < at->study->total_count; i++)
        if (at->failures[i]) return true;
    return false;
}

/* Returns the exit code. */
static int show_results(const work *at, const char *out, xp_table_format format) {
    int code = XP_EXIT_OK;
    if (write_report(at, out) != XP_OK) code = xp_command_fail();
    if (xp_study_print(at->study, at->results, at->failures, format) != XP_OK) code = xp_command_fail();
    return code;
}

/* Works on the study, and shows what came of it, also when it was stopped. */
static int run_study(xp_study *study, const char *out, bool report, bool dry_run, xp_table_format format, bool quiet) {
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
            "  attentions:\n"
            "    - softmax\n"
            "    - softmax+sh(1,1,2,4)\n"
            "    - bn: [softmax+bn, softmax+bn(beta=0.5)]   # a name with candidates\n"
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
            "Of candidates, each data set and setting has its own choice. They are trained with the first seed,\n"
            "without the test set and without a fifth of the training data, or 'validation: 0.3' of it, or the\n"
            "part that the options hold out anyway. The one that is best on this part, by the metric that\n"
            "chooses the best epoch, is then trained as the other attentions are. If all diverged, it is the\n"
            "first.\n\n"
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
