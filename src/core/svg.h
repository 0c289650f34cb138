/* Shared by the SVG pictures: colours, text, the frame of a file, round steps of an axis. Owns their style; does not
 * know their content. */
#ifndef XP_CORE_SVG_H
#define XP_CORE_SVG_H

#include "core/writer.h"

#define XP_SVG_INK    "#1f2937"
#define XP_SVG_SOFT   "#6b7280"
#define XP_SVG_GRID   "#e5e7eb"
#define XP_SVG_BLUE   "#2563eb"
#define XP_SVG_ORANGE "#ea580c"
#define XP_SVG_GREEN  "#059669"

/* Begins the file: white background, the title as text and for screen readers. */
void xp_svg_begin(xp_writer *out, double width, double height, const char *title);
/* Closes it, saves it atomically and releases the writer, also on failure. */
xp_status xp_svg_finish(xp_writer *out, const char *path);
/* anchor: "start", "middle", "end"; weight: "400", "600". Characters that are special in XML are escaped. */
void xp_svg_text(xp_writer *out, double x, double y, const char *anchor, double size, const char *colour,
                 const char *weight, const char *text);
/* The same, turned by `angle` degrees about its place; of normal weight. */
void xp_svg_turned_text(xp_writer *out, double x, double y, double angle, const char *anchor, double size,
                        const char *colour, const char *text);
/* The border of a rectangle. */
void xp_svg_frame(xp_writer *out, double x, double y, double width, double height);
/* The step of about `ticks` round numbers over a range: 1, 2 or 5 times a power of ten. */
double xp_svg_round_step(double range, int ticks);
void xp_svg_tick_text(double value, bool percent, char text[32]);
/* A colour from white, for a share of 0, to the blue of the curves, for 1. */
void xp_svg_shade(double share, char text[8]);

#endif
