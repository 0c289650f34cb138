/* SVG pictures. Owns sizes, colours and axes; knows nothing of training. */
#include "train/curves.h"

#include "core/svg.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* --- axes --------------------------------------------------------------------------------------------------------- */

typedef struct series {
    const char *name, *colour;
    size_t member; /* of xp_epoch_row */
} series;

typedef struct chart {
    const char *title;
    bool percent;
    series lines[3];
    int line_count;
    double left, top, width, height;
    double low, high; /* of the values shown */
} chart;

static double value_of(const chart *panel, const xp_epoch_row *row, int line) {
    double value;
    memcpy(&value, (const char *)row + panel->lines[line].member, sizeof value);
    return panel->percent ? 100 * value : value;
}

static double place_x(const chart *panel, int count, double epoch) {
    return panel->left + (count > 1 ? (epoch - 1) / (count - 1) : 0.5) * panel->width;
}

static double place_y(const chart *panel, double value) {
    return panel->top + panel->height * (1 - (value - panel->low) / (panel->high - panel->low));
}

/* Widens the range of the values to round numbers. */
static void choose_range(chart *panel, const xp_epoch_row *rows, int count) {
    double low = INFINITY, high = -INFINITY;
    for (int line = 0; line < panel->line_count; line++) {
        for (int i = 0; i < count; i++) {
            double value = value_of(panel, &rows[i], line);
            if (!isfinite(value)) continue;
            low = fmin(low, value);
            high = fmax(high, value);
        }
    }
    if (low > high) low = 0, high = 1;
    if (high - low < 1e-12 * fmax(1, fabs(high))) {
        double margin = high != 0 ? 0.1 * fabs(high) : 1;
        low -= margin;
        high += margin;
    }
    double step = xp_svg_round_step(high - low, 5);
    panel->low = floor(low / step) * step;
    panel->high = ceil(high / step) * step;
    if (panel->percent) panel->high = fmin(panel->high, 100);
}

static void draw_grid(xp_writer *out, const chart *panel, int count) {
    char text[32];
    double step = xp_svg_round_step(panel->high - panel->low, 5);
    for (int i = 0; panel->low + i * step <= panel->high + 1e-9 * step; i++) {
        double value = panel->low + i * step, y = place_y(panel, value);
        if (fabs(value) < 1e-9 * step) value = 0;
        xp_write(out, "<path d=\"M%.1f %.1fh%.1f\" stroke=\"%s\"/>\n", panel->left, y, panel->width, XP_SVG_GRID);
        xp_svg_tick_text(value, panel->percent, text);
        xp_svg_text(out, panel->left - 8, y + 4, "end", 11, XP_SVG_SOFT, "400", text);
    }
    double epochs = count > 1 ? fmax(1, xp_svg_round_step(count - 1, 6)) : 1;
    for (double epoch = epochs > 1 ? 0 : 1; epoch <= count; epoch += epochs) {
        double at = epoch < 1 ? 1 : epoch, x = place_x(panel, count, at);
        if (epoch < 1 && epochs < 3) continue; /* "1" would touch "2" */
        xp_write(out, "<path d=\"M%.1f %.1fv5\" stroke=\"%s\"/>\n", x, panel->top + panel->height, XP_SVG_SOFT);
        snprintf(text, sizeof text, "%.0f", at);
        xp_svg_text(out, x, panel->top + panel->height + 18, "middle", 11, XP_SVG_SOFT, "400", text);
    }
    xp_write(out, "<path d=\"M%.1f %.1fv%.1fh%.1f\" fill=\"none\" stroke=\"%s\"/>\n", panel->left, panel->top,
             panel->height, panel->width, XP_SVG_SOFT);
    xp_svg_text(out, panel->left + panel->width / 2, panel->top + panel->height + 36, "middle", 12, XP_SVG_SOFT, "400",
                "epoch");
    xp_svg_text(out, panel->left, panel->top - 14, "start", 13, XP_SVG_INK, "600", panel->title);
}

static void draw_line(xp_writer *out, const chart *panel, int line, const xp_epoch_row *rows, int count) {
    const series *shown = &panel->lines[line];
    bool drawing = false;
    xp_write(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-linejoin=\"round\" d=\"", shown->colour);
    for (int i = 0; i < count; i++) {
        double value = value_of(panel, &rows[i], line);
        if (isfinite(value)) {
            xp_write(out, "%s%.2f %.2f", drawing ? "L" : "M", place_x(panel, count, rows[i].epoch),
                     place_y(panel, value));
        }
        drawing = isfinite(value);
    }
    xp_write(out, "\"/>\n");
    if (count > 40) return; /* dots would hide the line */
    for (int i = 0; i < count; i++) {
        double value = value_of(panel, &rows[i], line);
        if (!isfinite(value)) continue;
        xp_write(out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"3\" fill=\"%s\"/>\n", place_x(panel, count, rows[i].epoch),
                 place_y(panel, value), shown->colour);
    }
}

static void draw_panel(xp_writer *out, chart *panel, const xp_epoch_row *rows, int count) {
    choose_range(panel, rows, count);
    draw_grid(out, panel, count);
    double x = panel->left + panel->width; /* where the legend's next entry ends */
    for (int line = panel->line_count - 1; line >= 0; line--) {
        const series *shown = &panel->lines[line];
        bool any = false;
        for (int i = 0; i < count; i++) any = any || isfinite(value_of(panel, &rows[i], line));
        if (!any) continue;
        draw_line(out, panel, line, rows, count);
        if (panel->line_count == 1) continue;
        double text_width = 6.6 * (double)strlen(shown->name);
        xp_svg_text(out, x, panel->top - 14, "end", 11, XP_SVG_SOFT, "400", shown->name);
        xp_write(out, "<path d=\"M%.1f %.1fh14\" stroke=\"%s\" stroke-width=\"3\"/>\n", x - text_width - 18,
                 panel->top - 18, shown->colour);
        x -= text_width + 36;
    }
}

xp_status xp_curves_write(const char *path, const char *title, const char *note, const xp_epoch_row *rows, int count) {
    enum { PANELS = 3, WIDTH = 330, HEIGHT = 240, LEFT = 76, GAP = 90, TOP = 96 };
    chart panels[PANELS] = {{.title = "loss",
                             .lines = {{"training", XP_SVG_BLUE, offsetof(xp_epoch_row, train_loss)},
                                       {"validation", XP_SVG_GREEN, offsetof(xp_epoch_row, validation_loss)},
                                       {"test", XP_SVG_ORANGE, offsetof(xp_epoch_row, test_loss)}},
                             .line_count = 3},
                            {.title = "accuracy",
                             .percent = true,
                             .lines = {{"training", XP_SVG_BLUE, offsetof(xp_epoch_row, train_accuracy)},
                                       {"validation", XP_SVG_GREEN, offsetof(xp_epoch_row, validation_accuracy)},
                                       {"test", XP_SVG_ORANGE, offsetof(xp_epoch_row, test_accuracy)}},
                             .line_count = 3},
                            {.title = "learning rate",
                             .lines = {{"", XP_SVG_BLUE, offsetof(xp_epoch_row, learning_rate)}},
                             .line_count = 1}};
    xp_writer out = {0};
    xp_svg_begin(&out, LEFT + PANELS * WIDTH + (PANELS - 1) * GAP + 30, TOP + HEIGHT + 60, title);
    xp_svg_text(&out, 24, 50, "start", 12, XP_SVG_SOFT, "400", note);
    for (int i = 0; i < PANELS; i++) {
        panels[i].left = LEFT + i * (WIDTH + GAP);
        panels[i].top = TOP;
        panels[i].width = WIDTH;
        panels[i].height = HEIGHT;
        draw_panel(&out, &panels[i], rows, count);
    }
    return xp_svg_finish(&out, path);
}

/* --- confusion matrix --------------------------------------------------------------------------------------------- */

/* From white to the blue of the curves. */
static void shade(double share, char text[8]) {
    const double white[3] = {255, 255, 255}, full[3] = {0x1d, 0x4e, 0xd8};
    double strength = pow(share, 0.6); /* makes the rare errors visible beside a strong diagonal */
    int mixed[3];
    for (int i = 0; i < 3; i++) mixed[i] = (int)(white[i] + (full[i] - white[i]) * strength + 0.5);
    snprintf(text, 8, "#%02x%02x%02x", (unsigned)mixed[0] & 0xff, (unsigned)mixed[1] & 0xff, (unsigned)mixed[2] & 0xff);
}

/* A name cut to `limit` characters, with a mark; whole UTF-8 characters only. */
static void shorten(const char *name, size_t limit, char text[64]) {
    size_t bytes = 0, characters = 0;
    while (name[bytes] && characters < limit && bytes < 56) {
        bytes++;
        while (((unsigned char)name[bytes] & 0xc0) == 0x80) bytes++;
        characters++;
    }
    snprintf(text, 64, "%.*s%s", (int)bytes, name, name[bytes] ? "…" : "");
}

xp_status xp_confusion_write(const char *path, const char *title, const char *set, const xp_evaluation *evaluation) {
    int classes = evaluation->classes;
    double cell = classes <= 12 ? 46 : fmax(6, 560.0 / classes), left = 150, top = 150, side = cell * classes;
    bool labelled = cell >= 11;
    xp_writer out = {0};
    char text[64], colour[8], note[192];
    xp_svg_begin(&out, fmax(left + side + 40, 480), top + side + 40, title);
    snprintf(note, sizeof note, "%s: %lld samples, accuracy %.2f %%", set, (long long)evaluation->count,
             100 * evaluation->accuracy);
    xp_svg_text(&out, 24, 50, "start", 12, XP_SVG_SOFT, "400", note);
    xp_svg_text(&out, left + side / 2, top + side + 24, "middle", 12, XP_SVG_SOFT, "400", "predicted");
    xp_write(&out, "<g transform=\"translate(28 %.1f) rotate(-90)\">", top + side / 2);
    xp_svg_text(&out, 0, 0, "middle", 12, XP_SVG_SOFT, "400", "true");
    xp_write(&out, "</g>\n");
    for (int row = 0; row < classes; row++) {
        double y = top + row * cell, total = 0;
        for (int column = 0; column < classes; column++) total += (double)evaluation->confusion[row * classes + column];
        if (labelled) {
            shorten(evaluation->class_names[row], 14, text);
            xp_svg_text(&out, left - 8, y + cell / 2 + 4, "end", 11, XP_SVG_INK, "400", text);
            xp_write(&out, "<g transform=\"translate(%.1f %.1f) rotate(-45)\">", left + row * cell + cell / 2 + 4,
                     top - 8);
            xp_svg_text(&out, 0, 0, "start", 11, XP_SVG_INK, "400", text);
            xp_write(&out, "</g>\n");
        }
        for (int column = 0; column < classes; column++) {
            int64_t count = evaluation->confusion[row * classes + column];
            double x = left + column * cell, share = total > 0 ? (double)count / total : 0;
            if (count == 0 && !labelled) continue; /* a hundred classes make ten thousand empty cells */
            shade(share, colour);
            xp_write(&out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" stroke=\"%s\"/>\n",
                     x, y, cell, cell, colour, cell >= 20 ? XP_SVG_GRID : "none");
            if (count == 0 || cell < 30) continue;
            snprintf(text, sizeof text, "%lld", (long long)count);
            xp_svg_text(&out, x + cell / 2, y + cell / 2 + 4, "middle", strlen(text) > 5 ? 9 : 11,
                        share > 0.4 ? "#ffffff" : XP_SVG_INK, "400", text);
        }
    }
    xp_write(&out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"%s\"/>\n", left,
             top, side, side, XP_SVG_SOFT);
    return xp_svg_finish(&out, path);
}

/* --- attention maps ----------------------------------------------------------------------------------------------- */

enum { LEVELS = 32 };

/* The largest finite cell; 0 when there is none. */
static double largest(const float *cells, int count) {
    double most = 0;
    for (int i = 0; i < count; i++) {
        if (isfinite(cells[i])) most = fmax(most, cells[i]);
    }
    return most;
}

static int level_of(float cell, double most) {
    if (!(cell > 0) || most <= 0) return 0;
    return cell >= most ? LEVELS : (int)(LEVELS * cell / most + 0.5);
}

/* One path for each shade, in which neighbours of a line are one rectangle: a page of maps has many thousand cells. */
static void draw_map(xp_writer *out, const float *cells, int rows, int columns, double most) {
    char colour[8];
    for (int level = 1; level <= LEVELS; level++) {
        bool open = false;
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns;) {
                int end = column;
                while (end < columns && level_of(cells[row * columns + end], most) == level) end++;
                if (end == column) {
                    column++;
                    continue;
                }
                shade((double)level / LEVELS, colour);
                if (!open) xp_write(out, "<path fill=\"%s\" d=\"", colour);
                xp_write(out, "M%d %dh%dv1h-%dz", column, row, end - column, end - column);
                open = true;
                column = end;
            }
        }
        if (open) xp_write(out, "\"/>\n");
    }
}

xp_status xp_maps_write(const char *path, const char *title, const char *note, const xp_map_row *layers, int count,
                        const char *const *names) {
    const double left = 48, top = 96, side = 140, gap = 18, below = 62;
    int most_heads = 1;
    for (int i = 0; i < count; i++) most_heads = layers[i].heads > most_heads ? layers[i].heads : most_heads;
    xp_writer out = {0};
    char text[160];
    xp_svg_begin(&out, fmax(left + most_heads * (side + gap) + 12, 640), top + count * (side + below), title);
    xp_svg_text(&out, 24, 50, "start", 12, XP_SVG_SOFT, "400", note);
    for (int i = 0; i < count; i++) {
        const xp_map_row *layer = &layers[i];
        int cells = layer->rows * layer->columns;
        double y = top + i * (side + below), most = largest(layer->cells, layer->heads * cells);
        snprintf(text, sizeof text, "%s; darkest cell %.3g", layer->title, most);
        xp_svg_text(&out, left, y - 24, "start", 12, XP_SVG_INK, "600", text);
        for (int h = 0; h < layer->heads; h++) {
            double x = left + h * (side + gap);
            xp_svg_text(&out, x, y - 7, "start", 11, XP_SVG_SOFT, "400", names[h]);
            xp_write(&out,
                     "<g class=\"map\" shape-rendering=\"crispEdges\" transform=\"translate(%.1f %.1f) scale(%.5f "
                     "%.5f)\">\n",
                     x, y, side / layer->columns, side / layer->rows);
            draw_map(&out, layer->cells + (ptrdiff_t)h * cells, layer->rows, layer->columns, most);
            xp_write(&out,
                     "</g>\n<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"%s\"/>\n",
                     x, y, side, side, XP_SVG_SOFT);
        }
        xp_svg_text(&out, left + side / 2, y + side + 15, "middle", 10, XP_SVG_SOFT, "400", "keys");
        xp_write(&out, "<g transform=\"translate(%.1f %.1f) rotate(-90)\">", left - 8, y + side / 2);
        xp_svg_text(&out, 0, 0, "middle", 10, XP_SVG_SOFT, "400", "queries");
        xp_write(&out, "</g>\n");
    }
    return xp_svg_finish(&out, path);
}
