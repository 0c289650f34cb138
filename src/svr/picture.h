/* Draws several fits as SVG. Owns the drawing; knows the results, not how they were computed. */
#ifndef XP_SVR_PICTURE_H
#define XP_SVR_PICTURE_H

#include "svr/laboratory.h"

/* Data, tube, fit and support vectors of each fitted result, one panel per result, and a legend. Draws the first
 * output; the points must have a grid (one mapped column). Writes atomically. */
xp_status xp_svr_picture_write(const char *path, const xp_svr_result *results, int count,
                               const xp_svr_options *options);

#endif
