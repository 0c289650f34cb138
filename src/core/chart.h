/* A panel with two axes in an SVG picture: its range, grid, ticks and frame, and the positions of values. Owns the
 * style of axes; does not know what is drawn between them. */
#ifndef XP_CORE_CHART_H
#define XP_CORE_CHART_H

#include "core/svg.h"

typedef struct xp_chart {
    double left, top, width, height; /* of the area between the axes, in the picture */
    double x_low, x_high, y_low, y_high;
    bool percent; /* values of y are labelled so */
} xp_chart;

/* Sets the range of y to round numbers that enclose low … high (low > high: there are no values); in percent, to 100 at
 * most. */
void xp_chart_round_range(xp_chart *chart, double low, double high);

/* The position of a value in the picture. If the range of x is a single value, it is in the middle; a y outside its
 * range is at the border. */
double xp_chart_x(const xp_chart *chart, double x);
double xp_chart_y(const xp_chart *chart, double y);

/* The title above the left corner, `above` the area. */
void xp_chart_title(xp_writer *out, const xp_chart *chart, double above, double size, const char *title);
/* Grid lines with labels at round values of y, and the two axes. */
void xp_chart_axes(xp_writer *out, const xp_chart *chart);
/* One tick of the axis of x, and ticks at round values of it. */
void xp_chart_tick_x(xp_writer *out, const xp_chart *chart, double x, const char *text);
void xp_chart_ticks_x(xp_writer *out, const xp_chart *chart);

#endif
