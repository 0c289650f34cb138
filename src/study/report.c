/* The report of a study as one HTML page that needs nothing else: tables, curves and the pictures of its runs. Owns the
 * page; what the numbers mean is in results.c. */
#include "core/chart.h"
#include "core/files.h"
#include "core/text.h"
#include "study/study.h"
#include "train/run_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct page {
    const xp_study *study;
    const xp_study_result *results;
    const xp_study_group *groups;
    int group_count;
    xp_writer out;
} page;

static const char style[] =
    ":root{color-scheme:light dark;--paper:#fff;--ink:#1f2937;--soft:#6b7280;--grid:#e5e7eb;--accent:#2563eb}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#111827;--ink:#e5e7eb;--soft:#9ca3af;--grid:#374151;"
    "--accent:#60a5fa}}\n"
    "body{max-width:1280px;margin:0 auto;padding:16px;background:var(--paper);color:var(--ink);"
    "font:16px/1.5 system-ui,'DejaVu Sans',sans-serif}\n"
    "h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid var(--grid)}p.note,figcaption{color:var(--soft)}\n"
    "a{color:var(--accent)}code,pre{font-family:'DejaVu Sans Mono',monospace;font-size:.86em}\n"
    ".wide{overflow-x:auto}.wide+.wide{margin-top:1.5em}pre{white-space:pre-wrap}\n"
    "table{border-collapse:collapse;font-size:.8em}\n"
    "th,td{padding:4px 6px;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}\n"
    "th{color:var(--soft);font-weight:600;vertical-align:bottom}"
    "td:first-child,th:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}\n"
    "td:first-child{white-space:normal;min-width:9em;overflow-wrap:anywhere}\n"
    "figure{margin:1em 0;overflow-x:auto}figure.chart svg{max-width:100%;height:auto}\n"
    "summary{cursor:pointer;padding:6px 0}\n";

/* ---- curves ------------------------------------------------------------------------------------------------------ */

typedef struct curve {
    double *values; /* [epochs]; NaN: a run has no number there */
    int epochs;
} curve;

/* Adds the values of a run's epochs, up to the last one that all of these runs have. */
static xp_status add_curve(const xp_study_run *run, const xp_task *task, curve *sum) {
    xp_epoch_row *rows = NULL;
    int epochs = 0;
    XP_TRY(xp_run_folder_rows(run->folder, task, &rows, &epochs));
    const bool first = !sum->values;
    if (first) sum->values = calloc((size_t)epochs + 1, sizeof *sum->values);
    if (first || epochs < sum->epochs) sum->epochs = epochs;
    for (int i = 0; sum->values && i < sum->epochs; i++)
        sum->values[i] += xp_epoch_decision(task, &rows[i], xp_epoch_result(task, &rows[epochs - 1]));
    free(rows);
    return sum->values ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "%s: no memory for its curve", run->folder);
}

/* The mean over the seeds of an attention's runs. */
static xp_status mean_curve(const page *in, int set, int setting, int attention, curve *mean) {
    const xp_study *study = in->study;
    int count = 0;
    for (int i = 0; i < study->run_count; i++) {
        const xp_study_run *run = &study->runs[i];
        if (run->set != set || run->setting != setting || run->attention != attention || !in->results[i].finished)
            continue;
        XP_TRY(add_curve(run, in->results[i].task, mean));
        count++;
    }
    for (int i = 0; i < mean->epochs; i++) mean->values[i] /= count;
    return XP_OK;
}

static void draw_curve(xp_writer *out, const xp_chart *chart, int index, const curve *of, double scale) {
    const char *colour = xp_svg_series[index % XP_SVG_SERIES];
    const int every = of->epochs / 8 + 1;
    bool drawing = false;
    xp_write(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\"%s d=\"", colour,
             index >= XP_SVG_SERIES ? " stroke-dasharray=\"6 4\"" : "");
    for (int i = 0; i < of->epochs; i++) {
        const double value = of->values[i] * scale;
        const bool inside = value >= chart->y_low && value <= chart->y_high;
        if (inside)
            xp_write(out, "%s%.1f %.1f", drawing ? "L" : "M", xp_chart_x(chart, i + 1), xp_chart_y(chart, value));
        drawing = inside;
    }
    xp_write(out, "\"/>\n");
    for (int i = index * every / 10; i < of->epochs; i += every) {
        const double value = of->values[i] * scale;
        if (value >= chart->y_low && value <= chart->y_high)
            xp_svg_marker(out, index, xp_chart_x(chart, i + 1), xp_chart_y(chart, value), colour);
    }
}

static void draw_legend(xp_writer *out, double y, int index, const char *name) {
    const char *colour = xp_svg_series[index % XP_SVG_SERIES];
    xp_write(out, "<path d=\"M20 %.1fh36\" stroke=\"%s\" stroke-width=\"1.6\"%s/>\n", y, colour,
             index >= XP_SVG_SERIES ? " stroke-dasharray=\"6 4\"" : "");
    xp_svg_marker(out, index, 38, y, colour);
    xp_svg_text(out, 66, y + 4, "start", 12, XP_SVG_INK, "400", name);
}

/* The range of the later halves of all curves, and what was better before: only worse values of early epochs are
 * outside. */
static void choose_range(xp_chart *chart, const curve *curves, int count, const xp_task *task, double scale) {
    double low = INFINITY, high = -INFINITY;
    for (int k = 0; k < count; k++)
        for (int i = 0; i < curves[k].epochs; i++) {
            const double value = curves[k].values[i] * scale;
            const bool late = i >= curves[k].epochs / 2;
            if (!isfinite(value)) continue;
            if (late || !task->higher_is_better) low = fmin(low, value);
            if (late || task->higher_is_better) high = fmax(high, value);
        }
    xp_chart_round_range(chart, low, high);
}

static xp_status write_curves(page *in, int set, int setting, const xp_task *task) {
    enum { WIDTH = 460, HEIGHT = 240, LEFT = 64, TOP = 56, ROW = 20, CHARACTERS = 50 /* of a name in the legend */ };
    const xp_study *study = in->study;
    const xp_metric *metric = &task->metrics[task->deciding];
    const bool percent = strcmp(metric->unit, " %") == 0;
    const double scale = percent ? 100 : 1;
    curve *curves = calloc((size_t)study->attention_count, sizeof *curves);
    xp_status status = curves ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for curves");
    int epochs = 1, shown = 0;
    char title[160], name[160];
    for (int a = 0; status == XP_OK && a < study->attention_count; a++) {
        status = mean_curve(in, set, setting, a, &curves[a]);
        epochs = curves[a].epochs > epochs ? curves[a].epochs : epochs;
        shown += curves[a].epochs > 0;
    }
    if (status != XP_OK) goto out;
    xp_chart chart = {.left = LEFT,
                      .top = TOP,
                      .width = WIDTH - LEFT - 20,
                      .height = HEIGHT,
                      .x_low = 1,
                      .x_high = epochs,
                      .percent = percent};
    choose_range(&chart, curves, study->attention_count, task, scale);
    snprintf(title, sizeof title, "%s, mean over the seeds", metric->name);
    xp_write(&in->out, "<figure class=\"chart\">\n");
    xp_svg_begin(&in->out, WIDTH, TOP + HEIGHT + 56 + shown * ROW, title);
    xp_chart_axes(&in->out, &chart);
    xp_chart_ticks_x(&in->out, &chart);
    xp_svg_text(&in->out, LEFT + chart.width / 2, TOP + HEIGHT + 34, "middle", 12, XP_SVG_SOFT, "400", "epoch");
    for (int a = 0, row = 0; a < study->attention_count; a++) {
        if (curves[a].epochs == 0) continue;
        draw_curve(&in->out, &chart, a, &curves[a], scale);
        xp_study_label(study, &(xp_study_run){set, setting, a, 0, XP_STUDY_CHOSEN, NULL}, title, sizeof title);
        xp_svg_shorten(title, CHARACTERS, name, sizeof name);
        draw_legend(&in->out, TOP + HEIGHT + 54 + row++ * ROW, a, name);
    }
    xp_write(&in->out, "</svg>\n</figure>\n");
out:
    for (int a = 0; curves && a < study->attention_count; a++) free(curves[a].values);
    free(curves);
    return status;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void write_cell(xp_writer *out, double value, const char *format) {
    if (isfinite(value)) {
        char text[48];
        xp_write(out, "<td>");
        text[0] = '\0';
        xp_text_add(text, sizeof text, format, value);
        xp_write(out, "%s</td>", text);
    } else {
        xp_write(out, "<td></td>");
    }
}

/* The label of a run as code, which a narrow column breaks after a '+'. */
static void write_label(page *in, const xp_study_run *run) {
    char label[256], part[256];
    xp_study_label(in->study, run, label, sizeof label);
    xp_write(&in->out, "<code>");
    for (const char *rest = label; *rest;) {
        const size_t length = strcspn(rest, "+") + (strchr(rest, '+') != NULL);
        snprintf(part, sizeof part, "%.*s", (int)length, rest);
        xp_svg_escape(&in->out, part);
        rest += length;
        if (*rest) xp_write(&in->out, "<wbr>");
    }
    xp_write(&in->out, "</code>");
}

static void write_row(page *in, const xp_study_group *group) {
    char best[64], final[64], difference[96];
    xp_study_value_text(group->task, group->best, group->best_spread, best, sizeof best);
    xp_study_value_text(group->task, group->final, group->final_spread, final, sizeof final);
    xp_study_difference_text(group, difference, sizeof difference);
    xp_write(&in->out, "<tr><td>");
    write_label(in, &(xp_study_run){group->set, group->setting, group->attention, 0, XP_STUDY_CHOSEN, NULL});
    xp_write(&in->out, "</td><td>%d</td><td>%s</td><td>%s</td><td>%s</td>", group->runs, best, final, difference);
    write_cell(&in->out, group->map_distance, "%.4f");
    write_cell(&in->out, group->output_distance, "%.4f");
    if (group->set >= 0) {
        write_cell(&in->out, group->parameters, "%.0f");
        write_cell(&in->out, 1e-6 * group->step_flops, "%.1f");
        write_cell(&in->out, group->seconds, "%.1f");
        write_cell(&in->out, group->memory_bytes / (1 << 20), "%.2f");
        write_cell(&in->out, group->peak_bytes / (1 << 20), "%.0f");
    }
    xp_write(&in->out, "</tr>\n");
}

/* The groups of a data set (-1: of all) with a setting; returns the task, NULL if there are none. */
static const xp_task *write_table(page *in, int set, int setting) {
    const xp_task *task = NULL;
    for (int i = 0; i < in->group_count; i++) {
        const xp_study_group *group = &in->groups[i];
        if (group->set != set || group->setting != setting) continue;
        if (!task) {
            xp_write(&in->out,
                     "<div class=\"wide\"><table>\n<tr><th>attention</th><th>runs</th><th>%s,<br>best epoch</th>"
                     "<th>last epoch</th><th>difference<br>(95 %%)</th><th>distance<br>of maps</th>"
                     "<th>distance<br>of outputs</th>%s</tr>\n",
                     group->task->metrics[group->task->deciding].name,
                     set < 0 ? ""
                             : "<th>parameters</th><th>MFLOP<br>a step</th><th>seconds</th><th>memory,<br>MiB</th>"
                               "<th>process,<br>MiB</th>");
        }
        task = group->task;
        write_row(in, group);
    }
    if (task) xp_write(&in->out, "</table></div>\n");
    return task;
}

/* The finished candidates of a data set; false: there are none. */
static bool write_candidates(page *in, int set, int setting) {
    const xp_study *study = in->study;
    bool any = false;
    for (int i = study->run_count; i < study->total_count; i++) {
        const xp_study_run *run = &study->runs[i];
        const xp_study_result *result = &in->results[i];
        if (run->set != set || run->setting != setting || !result->finished) continue;
        const xp_task *task = result->task;
        char value[64];
        if (!any)
            xp_write(
                &in->out,
                "<div class=\"wide\"><table>\n<tr><th>candidate</th><th>%s,<br>validation part</th><th></th></tr>\n",
                task->metrics[task->deciding].name);
        any = true;
        xp_study_value_text(task, result->validation[task->deciding], NAN, value, sizeof value);
        xp_write(&in->out, "<tr><td>");
        write_label(in, run);
        xp_write(&in->out, "</td><td>%s</td><td>%s</td></tr>\n", value,
                 study->chosen[xp_study_choice(study, run)] == run->candidate ? "chosen" : "");
    }
    if (any) xp_write(&in->out, "</table></div>\n");
    return any;
}

/* ---- pictures of runs -------------------------------------------------------------------------------------------- */

/* A picture of a run, folded, if there is one. */
static void write_picture(page *in, const xp_study_run *run, const char *name, const char *what) {
    char path[1200], *text = NULL;
    size_t length = 0;
    if (xp_run_folder_path(run->folder, name, path, sizeof path) != XP_OK || !xp_path_exists(path) ||
        xp_file_read(path, &text, &length) != XP_OK)
        return;
    xp_write(&in->out, "<details><summary>%s: ", what);
    write_label(in, run);
    xp_write(&in->out, ", seed %llu</summary>\n<figure>\n", (unsigned long long)in->study->seeds[run->seed]);
    xp_write_bytes(&in->out, text, length);
    xp_write(&in->out, "</figure></details>\n");
    free(text);
}

/* Of the first seed of each attention. */
static void write_pictures(page *in, int set, int setting, const xp_task *task) {
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < in->study->run_count; i++) {
            const xp_study_run *run = &in->study->runs[i];
            if (run->set != set || run->setting != setting || run->seed != 0 || !in->results[i].finished) continue;
            if (kind == 0 && task->picture) write_picture(in, run, task->picture, "results");
            if (kind == 1) write_picture(in, run, XP_STUDY_ANALYSIS "/attention.svg", "attention maps of one sample");
        }
}

/* ---- the page ---------------------------------------------------------------------------------------------------- */

static void write_head(page *in, char *const *failures) {
    const xp_study *study = in->study;
    const char *slash = strrchr(study->name, '/'), *device = "";
    int finished = 0;
    for (int i = 0; i < study->run_count; i++) {
        finished += in->results[i].finished;
        if (in->results[i].finished) device = in->results[i].device;
    }
    xp_write(&in->out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                       "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    xp_svg_escape(&in->out, slash ? slash + 1 : study->name);
    xp_write(&in->out, "</title>\n<style>%s</style></head>\n<body>\n<h1>Study ", style);
    xp_svg_escape(&in->out, slash ? slash + 1 : study->name);
    xp_write(&in->out, "</h1>\n<p>%d of %d runs are finished.%s", finished, study->run_count,
             *device ? " Device: " : "");
    xp_svg_escape(&in->out, device);
    xp_write(&in->out, "%s</p>\n", *device ? "." : "");
    for (int i = 0; i < study->total_count; i++) {
        if (!failures[i]) continue;
        xp_write(&in->out, "<p>Failed: <code>");
        xp_svg_escape(&in->out, study->runs[i].folder);
        xp_write(&in->out, "</code>: ");
        xp_svg_escape(&in->out, failures[i]);
        xp_write(&in->out, "</p>\n");
    }
    if (finished == 0) return; /* there is nothing to explain */
    xp_write(&in->out, "<p class=\"note\">Means over the seeds ± standard deviation. The difference is that of the "
                       "last epoch to <code>");
    xp_svg_escape(&in->out, xp_study_attention(study, 0));
    xp_write(
        &in->out,
        "</code> with the same data set and seed; in brackets, an interval of 95 %% by the bootstrap over these pairs. "
        "Distances are means over pairs of heads, layers and samples, of the first seed: the larger, the less "
        "redundant the heads. Seconds are those of a whole training. Memory is what a training step holds "
        "on the device; process is the largest size in memory that the training process had.</p>\n");
    if (study->total_count > study->run_count)
        xp_write(
            &in->out,
            "<p class=\"note\">An attention with a name has candidates. Each of them was trained with the seed %llu "
            "while a part of the training data was held out. The one that was best on this part, by the value in "
            "its best epoch, is what the runs of the table are trained with; of equal ones, the one with the smallest "
            "loss.</p>\n",
            (unsigned long long)study->seeds[0]);
}

static xp_status write_configuration(page *in, int setting) {
    const xp_study *study = in->study;
    for (int set = 0; set < study->set_count; set++) {
        const xp_study_run run = {.set = set, .setting = setting, .candidate = XP_STUDY_CHOSEN};
        xp_config config;
        char *text = NULL;
        XP_TRY(xp_study_configure(study, &run, &config));
        XP_TRY(xp_config_text(&config, &text));
        xp_write(&in->out, "<details><summary>%s, %s</summary>\n<pre>", study->sets[set].name,
                 study->settings[setting].name);
        xp_svg_escape_lines(&in->out, text);
        xp_write(&in->out, "</pre></details>\n");
        free(text);
    }
    return XP_OK;
}

static xp_status write_page(page *in, char *const *failures) {
    const xp_study *study = in->study;
    write_head(in, failures);
    for (int set = -1; set < study->set_count; set++)
        for (int setting = 0; setting < study->setting_count; setting++) {
            const size_t before = in->out.length;
            xp_write(&in->out, "<h2>%s%s%s</h2>\n",
                     set < 0 ? "All data sets on which every attention has a run" : study->sets[set].name,
                     study->setting_count > 1 ? ", " : "",
                     study->setting_count > 1 ? study->settings[setting].name : "");
            const xp_task *task = write_table(in, set, setting);
            const bool tried = set >= 0 && write_candidates(in, set, setting);
            if (!task && !tried && !in->out.failed) in->out.length = before; /* nothing is finished here */
            if (!task || set < 0) continue;
            XP_TRY(write_curves(in, set, setting, task));
            write_pictures(in, set, setting, task);
        }
    xp_write(&in->out, "<h2>Configurations</h2>\n<p>Seeds of all:");
    for (int i = 0; i < study->seed_count; i++) xp_write(&in->out, " %llu", (unsigned long long)study->seeds[i]);
    xp_write(&in->out, ".</p>\n<p>The configurations of <code>");
    xp_svg_escape(&in->out, xp_study_attention(study, 0));
    xp_write(&in->out, "</code>; other runs differ in <code>attention</code> and <code>seed</code>.</p>\n");
    for (int setting = 0; setting < study->setting_count; setting++) XP_TRY(write_configuration(in, setting));
    xp_write(&in->out, "</body></html>\n");
    return XP_OK;
}

xp_status xp_study_report(const xp_study *study, const xp_study_result *results, char *const *failures,
                          const char *path) {
    page in = {.study = study, .results = results};
    xp_study_group *groups = NULL;
    XP_TRY(xp_study_compare(study, results, &groups, &in.group_count));
    in.groups = groups;
    xp_status status = write_page(&in, failures);
    if (status == XP_OK) status = xp_writer_save(&in.out, path);
    xp_writer_release(&in.out);
    free(groups);
    return status;
}
