/* Panels of fits. */
#include "svr/picture.h"

#include "core/chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    COLUMNS = 3,
    WIDTH = 330,
    HEIGHT = 260,
    LEFT = 60,
    TOP = 108,
    GAP_X = 56,
    GAP_Y = 100,
    MARGIN = 24,
    LEGEND_ROW = 26
};

static const double TUBE_SHADE = 0.1;

typedef struct panel {
    const xp_svr_result *result;
    xp_chart chart;
} panel;

/* The fit's height at grid place i. */
static double fit_at(const panel *p, int64_t i) {
    const xp_svr_problem *problem = &p->result->problem;
    return (double)p->result->attended[(problem->points->count + i) * problem->outputs];
}

/* Where the fit may jump: a grid place that no longer sees the keys of the one before it. */
static bool breaks(const panel *p, int64_t i) {
    const xp_svr_problem *problem = &p->result->problem;
    if (!problem->attention->blocks || i == 0) return i == 0;
    for (int64_t j = 0; j < problem->size; j++)
        if (xp_svr_problem_sees(problem, problem->points->count + i, j))
            return !xp_svr_problem_sees(problem, problem->points->count + i - 1, j);
    return false;
}

/* One piece of the fit, grid places first … last - 1, `above` the curve; appends to an open path. */
static void trace(xp_writer *out, const panel *p, int64_t first, int64_t last, double above, bool backwards) {
    const double *x = p->result->problem.points->grid_positions;
    for (int64_t n = 0; n < last - first; n++) {
        const int64_t i = backwards ? last - 1 - n : first + n;
        xp_write(out, "%s%.1f %.1f", n == 0 && !backwards ? "M" : "L", xp_chart_x(&p->chart, x[i]),
                 xp_chart_y(&p->chart, fit_at(p, i) + above));
    }
}

static void draw_pieces(xp_writer *out, const panel *p, double epsilon, bool tube) {
    const int64_t count = p->result->problem.points->grid_count;
    char shade[8];
    for (int64_t first = 0, last; first < count; first = last) {
        for (last = first + 1; last < count && !breaks(p, last); last++) {
        }
        xp_write(out, "<path d=\"");
        trace(out, p, first, last, tube ? epsilon : 0, false);
        if (tube) trace(out, p, first, last, -epsilon, true);
        xp_svg_shade(TUBE_SHADE, shade);
        xp_write(out, tube ? "Z\" fill=\"%s\"/>\n" : "\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n",
                 tube ? shade : XP_SVG_BLUE);
        if (tube && first > 0)
            xp_write(out, "<path d=\"M%.1f %.1fv%d\" stroke=\"%s\" stroke-dasharray=\"3 4\"/>\n",
                     xp_chart_x(&p->chart, p->result->problem.points->grid_positions[first]), p->chart.top, HEIGHT,
                     XP_SVG_SOFT);
    }
}

/* How the points of a kind look; all of them stand in one group, so that the file stays small. */
typedef enum point_kind { POINT_INSIDE, POINT_SUPPORT, POINT_RAW } point_kind;

static void begin_points(xp_writer *out, point_kind kind) {
    static const char *const fills[] = {XP_SVG_PAPER, XP_SVG_ORANGE, "#b6bcc6"};
    static const char *const strokes[] = {XP_SVG_SOFT, XP_SVG_PAPER, "none"};
    xp_write(out, "<g fill=\"%s\" stroke=\"%s\" stroke-width=\"%.1f\">\n", fills[kind], strokes[kind],
             kind == POINT_INSIDE ? 1.0 : 0.6);
}

static void draw_point(xp_writer *out, point_kind kind, double x, double y) {
    static const double radii[] = {1.9, 2.4, 1.2};
    xp_write(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>\n", x, y, radii[kind]);
}

static void end_points(xp_writer *out) {
    xp_write(out, "</g>\n");
}

static void draw_points(xp_writer *out, const panel *p) {
    const xp_svr_problem *problem = &p->result->problem;
    const xp_svr_points *points = problem->points;
    const int outputs = problem->outputs;
    if (problem->attention->pool) {
        begin_points(out, POINT_RAW);
        for (int64_t i = 0; i < points->count; i++)
            draw_point(out, POINT_RAW, xp_chart_x(&p->chart, points->positions[i]),
                       xp_chart_y(&p->chart, points->targets[i * outputs]));
        end_points(out);
    }
    for (int kind = POINT_INSIDE; kind <= POINT_SUPPORT; kind++) { /* support vectors lie on top */
        begin_points(out, (point_kind)kind);
        for (int64_t j = 0; j < problem->size; j++)
            if ((p->result->coefficients[j * outputs] != 0) == (kind == POINT_SUPPORT))
                draw_point(out, (point_kind)kind, xp_chart_x(&p->chart, problem->positions[j]),
                           xp_chart_y(&p->chart, problem->targets[j * outputs]));
        end_points(out);
    }
}

static void draw_panel(xp_writer *out, const panel *p, double epsilon) {
    const xp_svr_result *r = p->result;
    char text[128];
    draw_pieces(out, p, epsilon, true);
    xp_chart_axes(out, &p->chart);
    xp_chart_ticks_x(out, &p->chart);
    draw_points(out, p);
    draw_pieces(out, p, epsilon, false);
    xp_chart_title(out, &p->chart, 30, strlen(r->problem.specification) > 30 ? 11 : 14, r->problem.specification);
    snprintf(text, sizeof text, "R² %.3f · support vectors %lld of %lld · attention − SVR %.0e", r->r2,
             (long long)r->judgement.support, (long long)r->problem.size, r->difference);
    xp_svg_text(out, p->chart.left, p->chart.top - 12, "start", 11, XP_SVG_SOFT, "400", text);
}

typedef enum mark { MARK_FIT, MARK_TUBE, MARK_SUPPORT, MARK_INSIDE, MARK_RAW, MARK_BLOCK, MARKS } mark;

static void draw_legend(xp_writer *out, int columns, double top, const xp_svr_options *options,
                        const bool used[MARKS]) {
    char tube[96], shade[8];
    snprintf(tube, sizeof tube, "the tube: errors below ε = %.3g cost nothing", options->epsilon);
    const char *const texts[MARKS] = {
        "attention on the device, = the SVR's prediction", tube,
        "support vector: a key with a value v ≠ 0",        "inside the tube: v = 0",
        "the points before they are averaged (sh)",        "the next block: a training set of its own"};
    int shown = 0;
    for (int i = 0; i < MARKS; i++) {
        if (!used[i]) continue;
        const double x = LEFT + shown % columns * (WIDTH + GAP_X), y = top + shown / columns * LEGEND_ROW;
        shown++;
        if (i == MARK_FIT)
            xp_write(out, "<path d=\"M%.1f %.1fh30\" stroke=\"%s\" stroke-width=\"2\"/>\n", x, y, XP_SVG_BLUE);
        if (i == MARK_TUBE) {
            xp_svg_shade(TUBE_SHADE, shade);
            xp_write(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"30\" height=\"14\" fill=\"%s\"/>\n", x, y - 7, shade);
        }
        if (i == MARK_SUPPORT || i == MARK_INSIDE || i == MARK_RAW) {
            const point_kind kind = i == MARK_SUPPORT ? POINT_SUPPORT : i == MARK_INSIDE ? POINT_INSIDE : POINT_RAW;
            begin_points(out, kind);
            draw_point(out, kind, x + 15, y);
            end_points(out);
        }
        if (i == MARK_BLOCK)
            xp_write(out, "<path d=\"M%.1f %.1fv16\" stroke=\"%s\" stroke-dasharray=\"3 4\"/>\n", x + 15, y - 8,
                     XP_SVG_SOFT);
        xp_svg_text(out, x + 40, y + 4, "start", 12, XP_SVG_INK, "400", texts[i]);
    }
}

static void choose_range(xp_chart *chart, const xp_svr_points *points, double epsilon) {
    chart->x_low = points->grid_positions[0];
    chart->x_high = points->grid_positions[points->grid_count - 1];
    const double margin = 0.02 * (chart->x_high - chart->x_low);
    chart->x_low -= margin;
    chart->x_high += margin;
    chart->y_low = INFINITY;
    chart->y_high = -INFINITY;
    for (int64_t i = 0; i < points->count; i++) {
        chart->y_low = fmin(chart->y_low, points->targets[i * points->outputs] - epsilon / 2);
        chart->y_high = fmax(chart->y_high, points->targets[i * points->outputs] + epsilon / 2);
    }
}

xp_status xp_svr_picture_write(const char *path, const xp_svr_result *results, int count,
                               const xp_svr_options *options) {
    const int columns = count < COLUMNS ? count : COLUMNS, rows = (count + columns - 1) / columns;
    bool used[MARKS] = {[MARK_FIT] = true, [MARK_TUBE] = true, [MARK_SUPPORT] = true, [MARK_INSIDE] = true};
    int shown = 0;
    for (int i = 0; i < count; i++) {
        used[MARK_RAW] = used[MARK_RAW] || results[i].problem.attention->pool;
        used[MARK_BLOCK] = used[MARK_BLOCK] || results[i].problem.attention->blocks;
    }
    for (int i = 0; i < MARKS; i++) shown += used[i];
    const int legend_rows = (shown + columns - 1) / columns;
    const double legend_top = TOP + rows * (HEIGHT + GAP_Y) - 36;
    char text[160];
    xp_writer out = {0};
    xp_svg_begin(&out, LEFT + columns * WIDTH + (columns - 1) * GAP_X + (columns == 1 ? 160 : MARGIN),
                 legend_top + legend_rows * LEGEND_ROW + 4, "Attention layers are support vector regressions");
    snprintf(text, sizeof text, "values from a quadratic program, not from training: C = %.3g, %s", options->cost,
             options->bias ? "b fitted" : "b = 0");
    xp_svg_text(&out, 24, 52, "start", 12, XP_SVG_SOFT, "400", text);
    for (int i = 0; i < count; i++) {
        panel p = {.result = &results[i],
                   .chart = {.left = LEFT + i % columns * (WIDTH + GAP_X),
                             .top = TOP + i / columns * (HEIGHT + GAP_Y),
                             .width = WIDTH,
                             .height = HEIGHT}};
        choose_range(&p.chart, results[i].problem.points, options->epsilon);
        draw_panel(&out, &p, options->epsilon);
    }
    draw_legend(&out, columns, legend_top, options, used);
    return xp_svg_finish(&out, path);
}
