/* Panels with axes. */
#include "core/chart.h"

#include <math.h>

void xp_chart_round_range(xp_chart *chart, double low, double high) {
    if (low > high) low = 0, high = 1;
    if (high - low < 1e-12 * fmax(1, fabs(high))) {
        const double margin = high != 0 ? 0.1 * fabs(high) : 1;
        low -= margin;
        high += margin;
    }
    const double step = xp_svg_round_step(high - low, 5);
    chart->y_low = floor(low / step) * step;
    chart->y_high = ceil(high / step) * step;
    if (chart->percent) chart->y_high = fmin(chart->y_high, 100);
}

double xp_chart_x(const xp_chart *chart, double x) {
    const double range = chart->x_high - chart->x_low;
    return chart->left + (range > 0 ? (x - chart->x_low) / range : 0.5) * chart->width;
}

double xp_chart_y(const xp_chart *chart, double y) {
    const double within = fmin(fmax(y, chart->y_low), chart->y_high);
    return chart->top + chart->height * (1 - (within - chart->y_low) / (chart->y_high - chart->y_low));
}

void xp_chart_title(xp_writer *out, const xp_chart *chart, double above, double size, const char *title) {
    xp_svg_text(out, chart->left, chart->top - above, "start", size, XP_SVG_INK, "600", title);
}

/* The first multiple of the step in the range. */
static double first_tick(double low, double step) {
    return ceil(low / step - 1e-9) * step;
}

void xp_chart_axes(xp_writer *out, const xp_chart *chart) {
    char text[32];
    const double step = xp_svg_round_step(chart->y_high - chart->y_low, 5), first = first_tick(chart->y_low, step);
    for (int i = 0; first + i * step <= chart->y_high + 1e-9 * step; i++) {
        const double value = first + i * step, y = xp_chart_y(chart, value);
        xp_write(out, "<path d=\"M%.1f %.1fh%.1f\" stroke=\"%s\"/>\n", chart->left, y, chart->width, XP_SVG_GRID);
        xp_svg_tick_text(value, step, chart->percent, text);
        xp_svg_text(out, chart->left - 8, y + 4, "end", 11, XP_SVG_SOFT, "400", text);
    }
    xp_write(out, "<path d=\"M%.1f %.1fv%.1fh%.1f\" fill=\"none\" stroke=\"%s\"/>\n", chart->left, chart->top,
             chart->height, chart->width, XP_SVG_SOFT);
}

void xp_chart_tick_x(xp_writer *out, const xp_chart *chart, double x, const char *text) {
    const double at = xp_chart_x(chart, x), below = chart->top + chart->height;
    xp_write(out, "<path d=\"M%.1f %.1fv5\" stroke=\"%s\"/>\n", at, below, XP_SVG_SOFT);
    xp_svg_text(out, at, below + 18, "middle", 11, XP_SVG_SOFT, "400", text);
}

void xp_chart_ticks_x(xp_writer *out, const xp_chart *chart) {
    char text[32];
    const double step = xp_svg_round_step(chart->x_high - chart->x_low, 5), first = first_tick(chart->x_low, step);
    for (int i = 0; first + i * step <= chart->x_high + 1e-9 * step; i++) {
        const double value = first + i * step;
        xp_svg_tick_text(value, step, false, text);
        xp_chart_tick_x(out, chart, value, text);
    }
}
