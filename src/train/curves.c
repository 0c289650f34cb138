/* SVG pictures. Owns sizes, colours and axes; knows no training. */
#include "train/curves.h"

#include "core/chart.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* --- axes --------------------------------------------------------------------------------------------------------- */

typedef struct series {
    const char *name;
    size_t member; /* of xp_epoch_row */
} series;

typedef struct panel {
    const char *title;
    series lines[XP_SETS];
    int line_count;
    bool cut; /* values of early epochs are outside the range */
    xp_chart chart;
} panel;

static double value_of(const panel *shown, const xp_epoch_row *row, int line) {
    double value;
    memcpy(&value, (const char *)row + shown->lines[line].member, sizeof value);
    return shown->chart.percent ? 100 * value : value;
}

static void find_range(const panel *shown, const xp_epoch_row *rows, int first, int count, double *low, double *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (int line = 0; line < shown->line_count; line++) {
        for (int i = first; i < count; i++) {
            const double value = value_of(shown, &rows[i], line);
            if (!isfinite(value)) continue;
            *low = fmin(*low, value);
            *high = fmax(*high, value);
        }
    }
}

/* Epochs from the first row to the last, and all values; but where those of the first fifth would leave the others less
 * than a third of the height, the others alone. */
static void choose_range(panel *shown, const xp_epoch_row *rows, int count) {
    double low, high, late_low, late_high;
    find_range(shown, rows, 0, count, &low, &high);
    find_range(shown, rows, count / 5, count, &late_low, &late_high);
    shown->cut = count >= 10 && late_low < late_high && 3 * (late_high - late_low) < high - low;
    shown->chart.x_low = 1;
    shown->chart.x_high = count;
    xp_chart_round_range(&shown->chart, shown->cut ? late_low : low, shown->cut ? late_high : high);
}

static void draw_epochs(xp_writer *out, const xp_chart *chart, int count) {
    char text[32];
    const double epochs = count > 1 ? fmax(1, xp_svg_round_step(count - 1, 6)) : 1;
    for (double epoch = epochs > 1 ? 0 : 1; epoch <= count; epoch += epochs) {
        const double at = epoch < 1 ? 1 : epoch;
        if (epoch < 1 && epochs < 3) continue; /* "1" would touch "2" */
        snprintf(text, sizeof text, "%.0f", at);
        xp_chart_tick_x(out, chart, at, text);
    }
    xp_svg_text(out, chart->left + chart->width / 2, chart->top + chart->height + 36, "middle", 12, XP_SVG_SOFT, "400",
                "epoch");
}

/* NaN outside the range. */
static double visible_value(const panel *shown, const xp_epoch_row *row, int line) {
    const double value = value_of(shown, row, line);
    return value >= shown->chart.y_low && value <= shown->chart.y_high ? value : NAN;
}

static void draw_line(xp_writer *out, const panel *shown, int line, const xp_epoch_row *rows, int count) {
    enum { MARKERS = 30 };
    const char *colour = xp_svg_series[line];
    const int every = (count + MARKERS - 1) / MARKERS;
    bool drawing = false;
    xp_write(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-linejoin=\"round\" d=\"", colour);
    for (int i = 0; i < count; i++) {
        const double value = visible_value(shown, &rows[i], line);
        if (isfinite(value)) {
            xp_write(out, "%s%.2f %.2f", drawing ? "L" : "M", xp_chart_x(&shown->chart, rows[i].epoch),
                     xp_chart_y(&shown->chart, value));
        }
        drawing = isfinite(value);
    }
    xp_write(out, "\"/>\n");
    for (int i = (line + 1) * every / 4 % every; i < count; i += every) {
        const double value = visible_value(shown, &rows[i], line);
        if (isfinite(value))
            xp_svg_marker(out, line, xp_chart_x(&shown->chart, rows[i].epoch), xp_chart_y(&shown->chart, value),
                          colour);
    }
}

static void draw_best(xp_writer *out, const xp_chart *chart, int epoch) {
    const double x = xp_chart_x(chart, epoch);
    const bool left = x > chart->left + chart->width / 2;
    xp_write(out, "<path d=\"M%.1f %.1fv%.1f\" stroke=\"%s\" stroke-dasharray=\"3 3\"/>\n", x, chart->top,
             chart->height, XP_SVG_SOFT);
    xp_svg_text(out, x + (left ? -4 : 4), chart->top + 11, left ? "end" : "start", 10, XP_SVG_SOFT, "400", "best");
}

static void draw_panel(xp_writer *out, panel *shown, const xp_epoch_row *rows, int count, int epoch_best) {
    const xp_chart *chart = &shown->chart;
    char title[96];
    choose_range(shown, rows, count);
    xp_chart_axes(out, chart);
    draw_epochs(out, chart, count);
    draw_best(out, chart, epoch_best);
    snprintf(title, sizeof title, "%s%s", shown->title, shown->cut ? " (first epochs outside)" : "");
    xp_chart_title(out, chart, 32, 13, title);
    double x = chart->left; /* of the next entry of the legend */
    for (int line = 0; line < shown->line_count; line++) {
        const series *curve = &shown->lines[line];
        bool any = false;
        for (int i = 0; i < count; i++) any = any || isfinite(value_of(shown, &rows[i], line));
        if (!any) continue;
        draw_line(out, shown, line, rows, count);
        if (shown->line_count == 1) continue;
        xp_write(out, "<path d=\"M%.1f %.1fh18\" stroke=\"%s\" stroke-width=\"2\"/>\n", x, chart->top - 16,
                 xp_svg_series[line]);
        xp_svg_marker(out, line, x + 9, chart->top - 16, xp_svg_series[line]);
        xp_svg_text(out, x + 24, chart->top - 12, "start", 11, XP_SVG_SOFT, "400", curve->name);
        x += 42 + 6.8 * (double)strlen(curve->name);
    }
}

/* The panels of the task's metrics, and that of the learning rate; returns how many. */
static int choose_panels(const xp_task *task, panel panels[XP_TASK_METRICS + 1]) {
    int count = 0;
    for (; count < task->metric_count; count++) {
        const xp_metric *metric = &task->metrics[count];
        panel *made = &panels[count];
        *made = (panel){.title = metric->name, .line_count = XP_SETS, .chart.percent = strcmp(metric->unit, " %") == 0};
        for (int set = 0; set < XP_SETS; set++)
            made->lines[set] = (series){xp_set_name(set), offsetof(xp_epoch_row, metrics) +
                                                              (size_t)(set * XP_TASK_METRICS + count) * sizeof(double)};
    }
    panels[count++] =
        (panel){.title = "learning rate", .lines = {{"", offsetof(xp_epoch_row, learning_rate)}}, .line_count = 1};
    return count;
}

xp_status xp_curves_write(const char *path, const char *title, const char *note, const xp_task *task,
                          const xp_epoch_row *rows, int count, int epoch_best) {
    enum { WIDTH = 330, HEIGHT = 240, LEFT = 76, GAP = 90, TOP = 108 };
    panel panels[XP_TASK_METRICS + 1];
    const int shown = choose_panels(task, panels);
    xp_writer out = {0};
    xp_svg_begin(&out, LEFT + shown * WIDTH + (shown - 1) * GAP + 30, TOP + HEIGHT + 60, title);
    xp_svg_text(&out, 24, 50, "start", 12, XP_SVG_SOFT, "400", note);
    for (int i = 0; i < shown; i++) {
        panels[i].chart.left = LEFT + i * (WIDTH + GAP);
        panels[i].chart.top = TOP;
        panels[i].chart.width = WIDTH;
        panels[i].chart.height = HEIGHT;
        draw_panel(&out, &panels[i], rows, count, epoch_best);
    }
    return xp_svg_finish(&out, path);
}

/* --- attention maps ----------------------------------------------------------------------------------------------- */

/* The largest finite cell; 0 if there is none. */
static double largest(const float *cells, int count) {
    double most = 0;
    for (int i = 0; i < count; i++) {
        if (isfinite(cells[i])) most = fmax(most, cells[i]);
    }
    return most;
}

static int level_of(float cell, double most) {
    if (!(cell > 0) || most <= 0) return 0;
    return cell >= most ? XP_SVG_SHADES : (int)(XP_SVG_SHADES * cell / most + 0.5);
}

/* One path for each shade, in which neighbours of a line are one rectangle: a page of maps has many thousand cells. */
static void draw_map(xp_writer *out, const float *cells, int rows, int columns, double most) {
    char colour[8];
    for (int level = 1; level <= XP_SVG_SHADES; level++) {
        bool open = false;
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns;) {
                int end = column;
                while (end < columns && level_of(cells[row * columns + end], most) == level) end++;
                if (end == column) {
                    column++;
                    continue;
                }
                xp_svg_shade((double)level / XP_SVG_SHADES, colour);
                if (!open) xp_write(out, "<path fill=\"%s\" d=\"", colour);
                xp_write(out, "M%d %dh%dv1h-%dz", column, row, end - column, end - column);
                open = true;
                column = end;
            }
        }
        if (open) xp_write(out, "\"/>\n");
    }
}

/* The shades from 0 to the largest cell, beside the maps of a layer. */
static void draw_colour_bar(xp_writer *out, double x, double y, double height, double most) {
    enum { WIDTH = 12 };
    const double step = height / (XP_SVG_SHADES + 1);
    char text[32], colour[8];
    xp_write(out, "<g shape-rendering=\"crispEdges\">\n");
    for (int level = 0; level <= XP_SVG_SHADES; level++) {
        xp_svg_shade((double)level / XP_SVG_SHADES, colour);
        xp_write(out, "<path fill=\"%s\" d=\"M%.1f %.2fh%dv%.2fh-%dz\"/>\n", colour, x, y + height - (level + 1) * step,
                 WIDTH, step, WIDTH);
    }
    xp_write(out, "</g>\n");
    xp_svg_frame(out, x, y, WIDTH, height);
    snprintf(text, sizeof text, "%.3g", most);
    xp_svg_text(out, x + WIDTH + 6, y + 9, "start", 10, XP_SVG_SOFT, "400", text);
    xp_svg_text(out, x + WIDTH + 6, y + height, "start", 10, XP_SVG_SOFT, "400", "0");
}

xp_status xp_maps_write(const char *path, const char *title, const char *note, const xp_map_sample *sample,
                        const xp_map_row *layers, int count, const char *const *names) {
    const double left = 48, side = XP_MAP_SIDE, gap = 18, below = 62, top = 96 + (sample->sketch ? side + 48 : 0);
    int most_heads = 1;
    for (int i = 0; i < count; i++) most_heads = layers[i].heads > most_heads ? layers[i].heads : most_heads;
    xp_writer out = {0};
    xp_svg_begin(&out, fmax(left + most_heads * (side + gap) + 72, 640), top + count * (side + below), title);
    xp_svg_text(&out, 24, 50, "start", 12, XP_SVG_SOFT, "400", note);
    if (sample->sketch) {
        xp_svg_text(&out, left, 84, "start", 12, XP_SVG_INK, "600", sample->title);
        xp_write(&out, "<g transform=\"translate(%.1f 92)\">\n%s</g>\n", left, sample->sketch);
        xp_svg_frame(&out, left, 92, side, side);
    }
    for (int i = 0; i < count; i++) {
        const xp_map_row *layer = &layers[i];
        int cells = layer->rows * layer->columns;
        double y = top + i * (side + below), most = largest(layer->cells, layer->heads * cells);
        xp_svg_text(&out, left, y - 24, "start", 12, XP_SVG_INK, "600", layer->title);
        draw_colour_bar(&out, left + layer->heads * (side + gap), y, side, most);
        for (int h = 0; h < layer->heads; h++) {
            double x = left + h * (side + gap);
            xp_svg_text(&out, x, y - 7, "start", 11, XP_SVG_SOFT, "400", names[h]);
            xp_write(&out,
                     "<g class=\"map\" shape-rendering=\"crispEdges\" transform=\"translate(%.1f %.1f) scale(%.5f "
                     "%.5f)\">\n",
                     x, y, side / layer->columns, side / layer->rows);
            draw_map(&out, layer->cells + (ptrdiff_t)h * cells, layer->rows, layer->columns, most);
            xp_write(&out, "</g>\n");
            xp_svg_frame(&out, x, y, side, side);
        }
        xp_svg_text(&out, left + side / 2, y + side + 15, "middle", 10, XP_SVG_SOFT, "400", "keys");
        xp_svg_turned_text(&out, left - 8, y + side / 2, -90, "middle", 10, XP_SVG_SOFT, "queries");
    }
    return xp_svg_finish(&out, path);
}
