/* The data of `expanse svr`: positions, keys and targets in host memory, generated or read. Owns the arrays; knows no
 * kernels or fits.
 *
 * A position is a measured value; a key is what attention sees. Each column of positions is scaled to [-1,1] and mapped
 * to sinusoids of increasing frequency, like the positions of a transformer: nearby positions get similar keys,
 * and all keys have the same length. */
#ifndef XP_SVR_POINTS_H
#define XP_SVR_POINTS_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { XP_SVR_MIN_POINTS = 8, XP_SVR_MAX_POINTS = 4096, XP_SVR_MAX_WIDTH = 256, XP_SVR_MAX_COLUMNS = 64 };

/* Numbers that the device reads are already rounded to single precision, so that host and device use the same ones. */
typedef struct xp_svr_points {
    int64_t count;
    int columns, width, outputs;
    double *positions;      /* [count,columns], as given; increasing if there is one column */
    double *keys;           /* [count,width] */
    double *targets;        /* [count,outputs], each with mean 0 and standard deviation 1 */
    int64_t grid_count;     /* positions between the points for the picture; 0 unless there is one mapped column */
    double *grid_positions; /* [grid_count] */
    double *grid_keys;      /* [grid_count,width] */
} xp_svr_points;

typedef struct xp_svr_points_options {
    int64_t count;  /* of generated points */
    int dimensions; /* width of the keys; an even number for each column of positions */
    int outputs;
    double noise; /* its standard deviation; that of the curve is about 1 */
    uint64_t seed;
    bool raw; /* columns are keys, without change */
} xp_svr_points_options;
xp_svr_points_options xp_svr_points_default(void);

/* Noisy points of a curve with a slope, a step and a peak. */
xp_status xp_svr_points_make(const xp_svr_points_options *options, xp_svr_points *out);
/* A CSV file: a first line of names, columns whose name begins with x, columns whose name begins with y, in any order.
 * XP_BAD_DATA with file:line:column. */
xp_status xp_svr_points_read(const char *path, const xp_svr_points_options *options, xp_svr_points *out);
void xp_svr_points_release(xp_svr_points *points);

#endif
