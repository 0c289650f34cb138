/* Forecasts with the truth, and the errors of each step, as SVG. */
#include "core/chart.h"
#include "task/forecasting.h"

#include <math.h>
#include <stdio.h>

enum { WINDOWS = 3, WIDTH = 420, HEIGHT = 210, LEFT = 84, TOP = 130, GAP = 84, BELOW = 92 };
enum { TRUTH, FORECAST, NAIVE, LINES };

static const struct {
    const char *name, *colour, *dashes;
} styles[LINES] = {[TRUTH] = {"true", XP_SVG_INK, "none"},
                   [FORECAST] = {"forecast", XP_SVG_BLUE, "none"},
                   [NAIVE] = {"seasonal-naive", XP_SVG_ORANGE, "5 4"}};

typedef struct lines {
    int count; /* steps */
    /* One of the values of a step; NaN: none. */
    double (*value)(const xp_evaluation *evaluation, int64_t sample, int step, int line);
} lines;

static double of_window(const xp_evaluation *evaluation, int64_t sample, int step, int line) {
    const xp_forecasts *own = xp_evaluation_forecasts(evaluation);
    const float *const all[] = {own->values, evaluation->answers, own->naive};
    return all[line][(sample * own->horizon + step) * own->columns];
}

static double of_errors(const xp_evaluation *evaluation, int64_t sample, int step, int line) {
    const xp_step_errors *errors = &xp_evaluation_forecasts(evaluation)->errors[step];
    return line == FORECAST ? errors->squared : line == NAIVE ? errors->naive_squared : NAN;
}

static void draw_panel(xp_writer *out, const xp_evaluation *evaluation, const lines *shown, int64_t sample, int place,
                       const char *title) {
    xp_chart chart = {.left = LEFT + place % 2 * (WIDTH + GAP),
                      .top = TOP + place / 2 * (HEIGHT + BELOW),
                      .width = WIDTH,
                      .height = HEIGHT,
                      .x_low = 1,
                      .x_high = shown->count};
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < shown->count * LINES; i++) {
        const double value = shown->value(evaluation, sample, i / LINES, i % LINES);
        if (!isfinite(value)) continue;
        low = fmin(low, value);
        high = fmax(high, value);
    }
    xp_chart_round_range(&chart, low, high);
    xp_chart_axes(out, &chart);
    xp_chart_ticks_x(out, &chart);
    xp_chart_title(out, &chart, 12, 12, title);
    xp_svg_text(out, chart.left + WIDTH / 2.0, chart.top + HEIGHT + 36, "middle", 12, XP_SVG_SOFT, "400", "step");
    for (int line = LINES - 1; line >= 0; line--) {
        bool drawing = false;
        xp_write(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"M0 0",
                 styles[line].colour, styles[line].dashes);
        for (int step = 0; step < shown->count; step++) {
            const double value = shown->value(evaluation, sample, step, line);
            if (isfinite(value))
                xp_write(out, "%s%.1f %.1f", drawing ? "L" : "M", xp_chart_x(&chart, step + 1),
                         xp_chart_y(&chart, value));
            drawing = isfinite(value);
        }
        xp_write(out, "\"/>\n");
    }
}

static void draw_legend(xp_writer *out) {
    double x = LEFT;
    for (int line = 0; line < LINES; line++) {
        xp_write(out, "<path d=\"M%.1f 80h28\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\"/>\n", x,
                 styles[line].colour, styles[line].dashes);
        xp_svg_text(out, x + 36, 84, "start", 12, XP_SVG_INK, "400", styles[line].name);
        x += 130;
    }
}

xp_status xp_forecast_write(const char *path, const char *title, const char *set, const xp_evaluation *evaluation) {
    const xp_forecasts *own = xp_evaluation_forecasts(evaluation);
    const lines windows = {own->horizon, of_window}, errors = {own->horizon, of_errors};
    xp_writer out = {0};
    char text[192];
    xp_svg_begin(&out, LEFT + 2 * WIDTH + GAP + 30, TOP + 2 * HEIGHT + BELOW + 60, title);
    snprintf(text, sizeof text, "%s: %lld windows, of which three are shown%s", set, (long long)evaluation->count,
             own->columns > 1 ? "; the first column" : "");
    xp_svg_text(&out, 24, 50, "start", 12, XP_SVG_SOFT, "400", text);
    draw_legend(&out);
    for (int i = 0; i < WINDOWS; i++) {
        const int64_t sample = (2 * i + 1) * evaluation->count / (2 * WINDOWS);
        char time[64];
        if (xp_times_write(&own->times, own->rows[sample], time, sizeof time))
            snprintf(text, sizeof text, "%.60s from %s", own->names[0], time);
        else
            snprintf(text, sizeof text, "%.60s from row %lld", own->names[0], (long long)own->rows[sample]);
        draw_panel(&out, evaluation, &windows, sample, i, text);
    }
    draw_panel(&out, evaluation, &errors, 0, WINDOWS,
               own->columns > 1 ? "mean squared error of each step, standardised" : "mean squared error of each step");
    return xp_svg_finish(&out, path);
}
