/* Predictions against true values as SVG. */
#include "core/chart.h"
#include "task/regression.h"

#include <math.h>
#include <stdio.h>

/* More panels would be too small to read, and more points one blot. */
enum { PANELS = 6, ROW = 3, POINTS = 3000, SIDE = 300, LEFT = 84, TOP = 110, GAP = 92, BELOW = 84 };

/* One range for both axes, so that the diagonal is where both are equal. */
static bool choose_range(const xp_evaluation *evaluation, int target, xp_chart *chart) {
    const xp_targets *own = xp_evaluation_targets(evaluation);
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < evaluation->count; i++) {
        const double value = own->values[i * own->count + target],
                     answer = evaluation->answers[i * own->count + target];
        if (isnan(value)) continue;
        low = fmin(low, fmin(value, answer));
        high = fmax(high, fmax(value, answer));
    }
    xp_chart_round_range(chart, low, high);
    chart->x_low = chart->y_low;
    chart->x_high = chart->y_high;
    return low <= high;
}

static void draw_panel(xp_writer *out, const xp_evaluation *evaluation, int target, xp_chart *chart) {
    const xp_targets *own = xp_evaluation_targets(evaluation);
    const xp_target_errors *errors = &own->errors[target];
    const bool any = choose_range(evaluation, target, chart);
    const int64_t every = evaluation->count / POINTS + 1;
    char text[96];
    xp_chart_axes(out, chart);
    xp_chart_ticks_x(out, chart);
    snprintf(text, sizeof text, "%.40s%s", own->names[target], any ? "" : ": no true value is known");
    if (any)
        snprintf(text, sizeof text, "%.40s: R² %.4f, RMSE %.4g", own->names[target], errors->r2, sqrt(errors->squared));
    xp_chart_title(out, chart, 14, 12, text);
    xp_write(out, "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"%s\" stroke-dasharray=\"4 4\"/>\n", chart->left,
             chart->top + chart->height, chart->left + chart->width, chart->top, XP_SVG_SOFT);
    for (int64_t i = 0; i < evaluation->count; i += every) {
        const double value = own->values[i * own->count + target],
                     answer = evaluation->answers[i * own->count + target];
        if (isnan(value)) continue;
        xp_write(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\" fill-opacity=\"0.5\"/>\n",
                 xp_chart_x(chart, value), xp_chart_y(chart, answer), XP_SVG_BLUE);
    }
    xp_svg_text(out, chart->left + SIDE / 2.0, chart->top + SIDE + 36, "middle", 12, XP_SVG_SOFT, "400", "true");
    xp_svg_turned_text(out, chart->left - 64, chart->top + SIDE / 2.0, -90, "middle", 12, XP_SVG_SOFT, "predicted");
}

xp_status xp_scatter_write(const char *path, const char *title, const char *set, const xp_evaluation *evaluation) {
    const xp_targets *own = xp_evaluation_targets(evaluation);
    const int panels = own->count < PANELS ? own->count : PANELS;
    const int columns = panels < ROW ? panels : ROW, rows = (panels + ROW - 1) / ROW;
    xp_writer out = {0};
    char note[192];
    xp_svg_begin(&out, fmax(LEFT + columns * SIDE + (columns - 1) * GAP + 30, 480),
                 TOP + rows * SIDE + (rows - 1) * BELOW + 60, title);
    snprintf(note, sizeof note, "%s: %lld samples%s", set, (long long)evaluation->count,
             panels < own->count ? "; the first targets" : "");
    xp_svg_text(&out, 24, 50, "start", 12, XP_SVG_SOFT, "400", note);
    for (int i = 0; i < panels; i++) {
        xp_chart chart = {.left = LEFT + i % ROW * (SIDE + GAP),
                          .top = TOP + i / ROW * (SIDE + BELOW),
                          .width = SIDE,
                          .height = SIDE};
        draw_panel(&out, evaluation, i, &chart);
    }
    return xp_svg_finish(&out, path);
}
