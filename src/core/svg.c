/* SVG by hand. */
#include "core/svg.h"

#include <math.h>
#include <stdio.h>

const xp_svg_colour xp_svg_palette[] = {{XP_SVG_PAPER, "#111827"}, {XP_SVG_INK, "#e5e7ec"},  {XP_SVG_SOFT, "#9ca3af"},
                                        {XP_SVG_GRID, "#374151"},  {XP_SVG_BLUE, "#60a5fa"}, {XP_SVG_ORANGE, "#fb923c"},
                                        {XP_SVG_GREEN, "#34d399"}, {XP_SVG_TEAL, "#22d3ee"}, {NULL, NULL}};
const char *const xp_svg_series[XP_SVG_SERIES] = {XP_SVG_BLUE, XP_SVG_GREEN, XP_SVG_ORANGE, XP_SVG_TEAL, XP_SVG_INK};

static void write_escaped(xp_writer *out, const char *text, bool lines) {
    for (const char *at = text; *at; at++) {
        switch (*at) {
        case '&':
            xp_write(out, "&amp;");
            break;
        case '<':
            xp_write(out, "&lt;");
            break;
        case '>':
            xp_write(out, "&gt;");
            break;
        default:
            xp_write(out, "%c", (unsigned char)*at < ' ' && !(lines && *at == '\n') ? ' ' : *at);
        }
    }
}

void xp_svg_escape(xp_writer *out, const char *text) {
    write_escaped(out, text, false);
}

void xp_svg_escape_lines(xp_writer *out, const char *text) {
    write_escaped(out, text, true);
}

void xp_svg_text(xp_writer *out, double x, double y, const char *anchor, double size, const char *colour,
                 const char *weight, const char *text) {
    xp_write(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" font-size=\"%.1f\" fill=\"%s\" font-weight=\"%s\">",
             x, y, anchor, size, colour, weight);
    xp_svg_escape(out, text);
    xp_write(out, "</text>\n");
}

void xp_svg_turned_text(xp_writer *out, double x, double y, double angle, const char *anchor, double size,
                        const char *colour, const char *text) {
    xp_write(out, "<g transform=\"translate(%.1f %.1f) rotate(%.0f)\">", x, y, angle);
    xp_svg_text(out, 0, 0, anchor, size, colour, "400", text);
    xp_write(out, "</g>\n");
}

void xp_svg_frame(xp_writer *out, double x, double y, double width, double height) {
    xp_write(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"%s\"/>\n", x, y,
             width, height, XP_SVG_SOFT);
}

static void write_rule(xp_writer *out, const char *light, const char *dark) {
    xp_write(out, "[fill=\"%s\"]{fill:%s}[stroke=\"%s\"]{stroke:%s}", light, dark, light, dark);
}

static unsigned mix(unsigned from, unsigned to, double strength) {
    return (unsigned)(from + ((double)to - from) * strength + 0.5) & 0xff;
}

/* The colour of a level on a page that is dark or light. */
static void write_shade(int level, bool dark, char text[8]) {
    static const unsigned pages[2][2][3] = {{{255, 255, 255}, {0x1d, 0x4e, 0xd8}},
                                            {{0x11, 0x18, 0x27}, {0x93, 0xc5, 0xfd}}};
    const unsigned *none = pages[dark][0], *full = pages[dark][1];
    const double strength = pow((double)level / XP_SVG_SHADES, 0.6); /* what is rare stays visible beside a diagonal */
    snprintf(text, 8, "#%02x%02x%02x", mix(none[0], full[0], strength), mix(none[1], full[1], strength),
             mix(none[2], full[2], strength));
}

static void write_style(xp_writer *out) {
    char light[8], dark[8];
    xp_write(out, "<style>@media (prefers-color-scheme:dark){");
    for (const xp_svg_colour *each = xp_svg_palette; each->light; each++) write_rule(out, each->light, each->dark);
    for (int level = 1; level <= XP_SVG_SHADES; level++) {
        write_shade(level, false, light);
        write_shade(level, true, dark);
        xp_write(out, "[fill=\"%s\"]{fill:%s}", light, dark);
    }
    xp_write(out, "}</style>\n");
}

void xp_svg_shorten(const char *text, int limit, char *out, size_t size) {
    static const char mark[] = "…";
    size_t bytes = 0;
    for (int characters = 0; text[bytes] && characters < limit; characters++) {
        size_t next = bytes + 1;
        while (((unsigned char)text[next] & 0xc0) == 0x80) next++;
        if (next + sizeof mark > size) break;
        bytes = next;
    }
    snprintf(out, size, "%.*s%s", (int)bytes, text, text[bytes] ? mark : "");
}

void xp_svg_begin(xp_writer *out, double width, double height, const char *title) {
    enum { LEFT = 24, SMALLEST = 10 };
    static const double em = 0.68; /* the width of a character in its size */
    const double room = width - 2 * LEFT;
    int characters = 0;
    char shown[256];
    for (const char *at = title; *at; at++) characters += ((unsigned char)*at & 0xc0) != 0x80;
    xp_write(out,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
             "font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n<title>",
             width, height, width, height);
    xp_svg_escape(out, title);
    xp_write(out, "</title>\n");
    write_style(out);
    xp_write(out, "<rect width=\"100%%\" height=\"100%%\" fill=\"" XP_SVG_PAPER "\"/>\n");
    const double size = fmax(SMALLEST, fmin(16, room / (em * fmax(1, characters))));
    xp_svg_shorten(title, (int)(room / (em * size) + 1e-9), shown, sizeof shown);
    xp_svg_text(out, LEFT, 30, "start", size, XP_SVG_INK, "600", shown);
}

void xp_svg_marker(xp_writer *out, int index, double x, double y, const char *colour) {
    static const char *const shapes[] = {"m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z", "m-3 -3h6v6h-6z", "m0 -4l4 7h-8z",
                                         "m0 -4.2l4.2 4.2l-4.2 4.2l-4.2 -4.2z", "m-4 -3h8l-4 7z"};
    xp_write(out, "<path d=\"M%.1f %.1f%s\" fill=\"%s\"/>\n", x, y, shapes[index % XP_SVG_SERIES], colour);
}

xp_status xp_svg_finish(xp_writer *out, const char *path) {
    xp_write(out, "</svg>\n");
    xp_status status = xp_writer_save(out, path);
    xp_writer_release(out);
    return status;
}

double xp_svg_round_step(double range, int ticks) {
    double raw = range / ticks, power = pow(10, floor(log10(raw))), part = raw / power;
    return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

void xp_svg_tick_text(double value, double step, bool percent, char text[32]) {
    const char *unit = percent ? " %" : "";
    const int place = (int)floor(log10(step) + 1e-9); /* of the step's first digit */
    if (fabs(value) < 1e-9 * step)
        snprintf(text, 32, "0%s", unit);
    else if (place < -5 || fabs(value) >= 1e8)
        snprintf(text, 32, "%.*e%s", (int)fmax(0, floor(log10(fabs(value)) + 1e-9) - place), value, unit);
    else
        snprintf(text, 32, "%.*f%s", place < 0 ? -place : 0, value, unit);
}

void xp_svg_shade(double share, char text[8]) {
    write_shade((int)(XP_SVG_SHADES * fmin(fmax(share, 0), 1) + 0.5), false, text);
}
