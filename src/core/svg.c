/* SVG by hand. */
#include "core/svg.h"

#include <math.h>
#include <stdio.h>

/* Text between tags; the few characters that XML claims are escaped, control characters become blanks. */
static void write_escaped(xp_writer *out, const char *text) {
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
            xp_write(out, "%c", (unsigned char)*at < ' ' ? ' ' : *at);
        }
    }
}

void xp_svg_text(xp_writer *out, double x, double y, const char *anchor, double size, const char *colour,
                 const char *weight, const char *text) {
    xp_write(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" font-size=\"%.1f\" fill=\"%s\" font-weight=\"%s\">",
             x, y, anchor, size, colour, weight);
    write_escaped(out, text);
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

void xp_svg_begin(xp_writer *out, double width, double height, const char *title) {
    xp_write(out,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
             "font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n<title>",
             width, height, width, height);
    write_escaped(out, title);
    xp_write(out, "</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
    xp_svg_text(out, 24, 30, "start", 16, XP_SVG_INK, "600", title);
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

void xp_svg_tick_text(double value, bool percent, char text[32]) {
    if (percent)
        snprintf(text, 32, "%.4g %%", value);
    else if (value != 0 && (fabs(value) < 1e-3 || fabs(value) >= 1e5))
        snprintf(text, 32, "%.2g", value);
    else
        snprintf(text, 32, "%.4g", value);
}

void xp_svg_shade(double share, char text[8]) {
    const double white[3] = {255, 255, 255}, full[3] = {0x1d, 0x4e, 0xd8};
    double strength = pow(share, 0.6); /* makes the rare errors visible beside a strong diagonal */
    int mixed[3];
    for (int i = 0; i < 3; i++) mixed[i] = (int)(white[i] + (full[i] - white[i]) * strength + 0.5);
    snprintf(text, 8, "#%02x%02x%02x", (unsigned)mixed[0] & 0xff, (unsigned)mixed[1] & 0xff, (unsigned)mixed[2] & 0xff);
}
