/* Fits side by side as SVG. Owns the drawing; knows results, not how they came about. */
#ifndef XP_SVR_PICTURE_H
#define XP_SVR_PICTURE_H

#include "svr/laboratory.h"

/* Data, tube, fit and support vectors of each fitted result, a panel each, and a legend. The first output is drawn; the
 * points must have places between them (one lifted column). Writes atomically. */
xp_status xp_svr_picture_write(const char *path, const xp_svr_result *results, int count,
                               const xp_svr_options *options);

#endif
