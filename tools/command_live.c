/* The live line, and the table of epochs. Owns the terminal's last line while a run goes. */
#include "live.h"

#include "core/clock.h"
#include "core/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BOLD  "\033[1m"
#define GREEN "\033[32m"
#define PLAIN "\033[0m"

void xp_live_start(xp_live *live, FILE *out, bool quiet) {
    const char *kind = getenv("TERM"), *plain = getenv("NO_COLOR");
    const bool terminal = isatty(fileno(out)) == 1 && kind && *kind && strcmp(kind, "dumb") != 0;
    *live = (xp_live){.out = out, .terminal = terminal, .colour = terminal && !(plain && *plain), .quiet = quiet};
}

void xp_live_clear(xp_live *live) {
    if (live->line_open) fputs("\r\033[J", live->out);
    live->line_open = false;
    fflush(live->out);
}

void xp_live_time(double seconds, char text[32]) {
    long whole = isfinite(seconds) && seconds < 1e7 ? lround(seconds) : 0;
    if (!isfinite(seconds))
        text[0] = '\0';
    else if (whole >= 3600)
        snprintf(text, 32, "%ldh%02ldm", whole / 3600, whole / 60 % 60);
    else if (whole >= 60)
        snprintf(text, 32, "%ldm%02lds", whole / 60, whole % 60);
    else
        snprintf(text, 32, "%lds", whole);
}

/* "accuracy 95.95 %" */
static void add_metric(char *text, size_t size, const xp_metric *metric, double value) {
    char number[64];
    xp_metric_text(metric, value, number, sizeof number);
    xp_text_add(text, size, "%s %s", metric->name, number);
}

/* ---- the line ---------------------------------------------------------------------------------------------------- */

/* Where the terminal is too narrow for all fields, those of the least importance are left out. */
typedef struct field {
    int importance;
    const char *colour; /* NULL: the terminal's own */
    char text[64];
} field;

enum { GAP = 2 };

static int columns_of(FILE *out) {
    struct winsize size;
    return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

static int line_length(const field *fields, int count) {
    int length = 0;
    for (int i = 0; i < count; i++)
        if (fields[i].text[0]) length += (length ? GAP : 0) + (int)strlen(fields[i].text);
    return length;
}

/* The cursor goes back to the line's first column, and everything after the new text is cleared to the end of the
 * screen: a terminal that was made narrower may have wrapped the old text to lines below the cursor. The last column
 * stays free, because some terminals wrap after it. */
static void print_line(xp_live *live, field *fields, int count) {
    const int room = columns_of(live->out) - 1;
    while (line_length(fields, count) > room) {
        int least = -1, left = 0;
        for (int i = 0; i < count; i++) {
            if (!fields[i].text[0]) continue;
            left++;
            if (least < 0 || fields[i].importance < fields[least].importance) least = i;
        }
        fields[least].text[left > 1 ? 0 : room] = '\0';
    }
    fputs("\r", live->out);
    bool first = true;
    for (int i = 0; i < count; i++) {
        if (!fields[i].text[0]) continue;
        const bool coloured = live->colour && fields[i].colour;
        fprintf(live->out, "%*s%s%s%s", first ? 0 : GAP, "", coloured ? fields[i].colour : "", fields[i].text,
                coloured ? PLAIN : "");
        first = false;
    }
    fputs("\033[J\r", live->out);
    fflush(live->out);
    live->line_open = true;
}

static bool is_training(const xp_progress *progress) {
    return strcmp(progress->phase, "training") == 0;
}

static void show_line(xp_live *live, const xp_progress *progress) {
    enum { EPOCH, PHASE, BAR, STEP, METRICS, RATE = METRICS + XP_TASK_METRICS, SPEED, LEFT, FIELDS, BAR_CELLS = 16 };
    field fields[FIELDS] = {[EPOCH] = {6}, [PHASE] = {7, BOLD}, [BAR] = {2, GREEN}, [STEP] = {5},
                            [RATE] = {1},  [SPEED] = {8},       [LEFT] = {9, BOLD}};
    const xp_task *task = progress->task;
#define SHOW(name, ...) snprintf(fields[name].text, sizeof fields[name].text, __VA_ARGS__)
    const double share = progress->steps > 0 ? (double)progress->step / (double)progress->steps : 0;
    char left[32];
    for (int i = 0; i < BAR_CELLS; i++) fields[BAR].text[i] = (i + 0.5) / BAR_CELLS < share ? '#' : '.';
    if (progress->epochs > 0) SHOW(EPOCH, "epoch %d/%d", progress->epoch, progress->epochs);
    SHOW(PHASE, "%s", progress->phase);
    SHOW(STEP, "%lld/%lld", (long long)progress->step, (long long)progress->steps);
    for (int i = 0; i < task->metric_count; i++) {
        fields[METRICS + i].importance = i == task->deciding ? 4 : 3;
        if (isfinite(progress->metrics[i]))
            add_metric(fields[METRICS + i].text, sizeof fields->text, &task->metrics[i], progress->metrics[i]);
    }
    if (is_training(progress)) SHOW(RATE, "lr %.2e", progress->learning_rate);
    if (progress->samples_per_second > 0) SHOW(SPEED, "%.0f/s", progress->samples_per_second);
    xp_live_time(progress->seconds_left, left);
    if (left[0]) SHOW(LEFT, "%s left", left);
#undef SHOW
    print_line(live, fields, FIELDS);
}

void xp_live_text(xp_live *live, const char *text) {
    if (!live->terminal || live->quiet) return;
    char line[512];
    snprintf(line, sizeof line, "%.*s", columns_of(live->out) - 1, text);
    fprintf(live->out, "\r%s\033[J\r", line);
    fflush(live->out);
    live->line_open = true;
}

/* ---- callbacks of the trainer ------------------------------------------------------------------------------------ */

static bool is_preparation(const xp_progress *progress) {
    return strcmp(progress->phase, "preparing kernels") == 0;
}

/* Into a pipe: that it begins, and how far it is after 10, 20, 40, 80 … seconds. */
static void log_preparation(xp_live *live, const xp_progress *progress, double spent) {
    char left[32];
    if (progress->step == progress->steps || spent < live->next_log) return;
    live->next_log = spent < 10 ? 10 : 2 * live->next_log;
    xp_live_time(progress->seconds_left, left);
    fprintf(live->out, "preparing kernels %lld/%lld%s%s%s\n", (long long)progress->step, (long long)progress->steps,
            left[0] ? ", " : "", left, left[0] ? " left" : "");
    fflush(live->out);
}

static void show_preparation(xp_live *live, const xp_progress *progress) {
    const double now = xp_clock();
    char spent[32];
    if (live->prepared_since == 0) live->prepared_since = now;
    if (!live->terminal) log_preparation(live, progress, now - live->prepared_since);
    if (progress->step < progress->steps) return;
    xp_live_time(now - live->prepared_since, spent);
    xp_live_clear(live);
    fprintf(live->out, "kernels      %lld, prepared in %s\n", (long long)progress->steps, spent);
    fflush(live->out);
}

static void show_progress(void *user, const xp_progress *progress) {
    xp_live *live = user;
    if (live->quiet) return;
    if (live->terminal) show_line(live, progress);
    if (live->logs && is_preparation(progress)) show_preparation(live, progress);
}

/* ---- the lines of epochs ----------------------------------------------------------------------------------------- */

/* A table that grows by a row for each epoch and fits in WIDTH columns. Columns of metrics are in the order of the
 * task, for each set the same; where there is no room for all, the deciding one comes first. */
enum { WIDTH = 100, EPOCH = 14, SPEED = 11, SPENT = 8, BEST = 2 + 10 };

static bool has_set(const xp_task *task, const xp_epoch_row *row, int set) {
    return set == XP_SET_TRAINING || isfinite(xp_epoch_decision(task, row, (xp_set)set));
}

static int column_width(const xp_metric *metric) {
    const int number =
        metric->digits + (metric->significant ? 3 : 2) + (metric->unit[0] ? 2 + (int)strlen(metric->unit) : 0);
    const int name = (int)strlen(metric->name);
    return GAP + (name > number ? name : number);
}

/* Returns the columns that they take for each set. */
static int choose_metrics(const xp_task *task, const bool has[XP_SETS], bool chosen[XP_TASK_METRICS]) {
    int sets = 0, taken = 0;
    for (int set = 0; set < XP_SETS; set++) sets += has[set];
    for (int place = 0; place < task->metric_count; place++) {
        const int metric = xp_task_metric_at(task, place), width = column_width(&task->metrics[metric]);
        chosen[metric] = place == 0 || sets * (taken + width) <= WIDTH - EPOCH - SPEED - SPENT - BEST;
        taken += chosen[metric] ? width : 0;
    }
    return taken;
}

/* With fewer digits where the column has no room for all. */
static void write_number(const xp_metric *metric, double value, char number[64]) {
    xp_metric shorter = *metric;
    number[0] = '\0';
    if (!isfinite(value)) return;
    for (; shorter.digits >= metric->significant; shorter.digits--) {
        xp_metric_text(&shorter, value, number, 64);
        if ((int)strlen(number) < column_width(metric)) return;
    }
    snprintf(number, 64, "%.0e", metric->scale * value);
}

/* Keeps which sets there are: a value that overflows later moves no column. */
static void print_header(xp_live *live, const xp_task *task, const xp_epoch_row *row, int epoch_width) {
    bool chosen[XP_TASK_METRICS];
    for (int set = 0; set < XP_SETS; set++) live->has_set[set] = has_set(task, row, set);
    const int taken = choose_metrics(task, live->has_set, chosen);
    char sets[256] = "", names[256] = "";
    for (int set = 0; set < XP_SETS; set++) {
        if (!live->has_set[set]) continue;
        xp_text_add(sets, sizeof sets, "%*s", taken, xp_set_name((xp_set)set));
        for (int i = 0; i < task->metric_count; i++)
            if (chosen[i])
                xp_text_add(names, sizeof names, "%*s", column_width(&task->metrics[i]), task->metrics[i].name);
    }
    fprintf(live->out, "%*s%s%*s\n", epoch_width, "", sets, SPEED + SPENT + GAP + 7, "best on");
    fprintf(live->out, "%*s%s%*s%*s%*s%s\n", epoch_width, "", names, SPEED, "samples/s", SPENT, "time", GAP, "",
            xp_set_name(xp_epoch_judge(task, row)));
}

static void show_epoch(void *user, const xp_task *task, const xp_epoch_row *row, int epochs, bool best) {
    xp_live *live = user;
    if (live->quiet) return;
    bool chosen[XP_TASK_METRICS];
    char text[512] = "", spent[32];
    xp_text_add(text, sizeof text, "epoch %3d/%d", row->epoch, epochs);
    xp_live_clear(live);
    if (!live->has_header) print_header(live, task, row, (int)strlen(text));
    live->has_header = true;
    choose_metrics(task, live->has_set, chosen);
    for (int set = 0; set < XP_SETS; set++) {
        for (int i = 0; i < task->metric_count && live->has_set[set]; i++) {
            char number[64];
            write_number(&task->metrics[i], row->metrics[set][i], number);
            if (chosen[i]) xp_text_add(text, sizeof text, "%*s", column_width(&task->metrics[i]), number);
        }
    }
    xp_live_time(row->seconds, spent);
    fprintf(live->out, "%s%*.0f%*s", text, SPEED, row->samples_per_second, SPENT, spent);
    if (best) fprintf(live->out, "%*s%sbest%s", GAP, "", live->colour ? GREEN : "", live->colour ? PLAIN : "");
    fputs("\n", live->out);
    fflush(live->out);
}

static void show_message(void *user, const char *text) {
    xp_live *live = user;
    if (live->quiet) return;
    xp_live_clear(live);
    if (live->folder) fprintf(live->out, "run folder   %s\n", live->folder);
    live->folder = NULL;
    fprintf(live->out, "%s\n", text);
    fflush(live->out);
}

void xp_live_bind(xp_live *live, xp_trainer_callbacks *callbacks) {
    callbacks->user = live;
    callbacks->progress = show_progress;
    callbacks->epoch = show_epoch;
    callbacks->message = show_message;
}
