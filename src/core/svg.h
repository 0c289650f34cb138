/* Shared by the SVG pictures: colours, text, the frame of a file, round steps of an axis. Owns their style; does not
 * know their content. */
#ifndef XP_CORE_SVG_H
#define XP_CORE_SVG_H

#include "core/writer.h"

/* A picture is drawn in these colours of a light page. Where the reader prefers a dark one, its style sheet replaces
 * each by its counterpart, and shades (xp_svg_shade) too; other colours stay. */
#define XP_SVG_PAPER  "#ffffff" /* also of text on a dark shade */
#define XP_SVG_INK    "#1f2937"
#define XP_SVG_SOFT   "#6b7280"
#define XP_SVG_GRID   "#e5e7eb"
#define XP_SVG_BLUE   "#2563eb"
#define XP_SVG_ORANGE "#ea580c"
#define XP_SVG_GREEN  "#059669"
#define XP_SVG_TEAL   "#0e7490"

typedef struct xp_svg_colour {
    const char *light, *dark;
} xp_svg_colour;
extern const xp_svg_colour xp_svg_palette[]; /* ends in NULL */

/* Lines and their markers: told apart by colour, also without red and green, and by shape. */
enum { XP_SVG_SERIES = 5, XP_SVG_SHADES = 32 };
extern const char *const xp_svg_series[XP_SVG_SERIES];
/* A marker of the shape of series `index`. */
void xp_svg_marker(xp_writer *out, int index, double x, double y, const char *colour);

/* Begins the file: background, style sheet, the title as text, made smaller and then cut if it is long, and for screen
 * readers. */
void xp_svg_begin(xp_writer *out, double width, double height, const char *title);
/* Closes it, saves it atomically and releases the writer, also on failure. */
xp_status xp_svg_finish(xp_writer *out, const char *path);
/* Text between tags, of HTML too: special characters are escaped, control characters become blanks; of lines, their
 * ends stay. */
void xp_svg_escape(xp_writer *out, const char *text);
void xp_svg_escape_lines(xp_writer *out, const char *text);
/* anchor: "start", "middle", "end"; weight: "400", "600". Characters that are special in XML are escaped. */
void xp_svg_text(xp_writer *out, double x, double y, const char *anchor, double size, const char *colour,
                 const char *weight, const char *text);
/* The same, turned by `angle` degrees about its place; of normal weight. */
void xp_svg_turned_text(xp_writer *out, double x, double y, double angle, const char *anchor, double size,
                        const char *colour, const char *text);
/* The border of a rectangle. */
void xp_svg_frame(xp_writer *out, double x, double y, double width, double height);
/* Cuts a text to `limit` characters, and to `size` bytes, with a mark where something is left out. */
void xp_svg_shorten(const char *text, int limit, char *out, size_t size);
/* The step of about `ticks` round numbers over a range: 1, 2 or 5 times a power of ten. */
double xp_svg_round_step(double range, int ticks);
/* A tick's label, with as many digits as tell it from the next, `step` away. */
void xp_svg_tick_text(double value, double step, bool percent, char text[32]);
/* One of XP_SVG_SHADES + 1 colours from that of the paper, for a share of 0, to the blue of the curves, for 1. */
void xp_svg_shade(double share, char text[8]);

#endif
