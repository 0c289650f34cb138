/* One experiment: an attention is fitted as an SVR on the host, evaluated as attention on a device, and compared. Owns
 * the order of these steps and their results; knows no files and no output. */
#ifndef XP_SVR_LABORATORY_H
#define XP_SVR_LABORATORY_H

#include "svr/evaluate.h"
#include "svr/problem.h"
#include "svr/solver.h"

typedef struct xp_svr_result {
    xp_svr_problem problem;
    double lowest; /* v·Kv of a unit vector, for a window; negative: no SVR has this kernel. The rest is empty */
    double *coefficients; /* [M,outputs] */
    double bias[XP_SVR_MAX_COLUMNS];
    xp_svr_judgement judgement;
    double *expected;  /* f at the queries [queries,outputs], from the SVR, in double precision */
    float *values;     /* v [M,outputs] = unit · a / (m h) */
    float *attended;   /* o + b [queries,outputs], from the device */
    double difference; /* max |attended - expected| / max |expected| */
    double r2;         /* of `attended` at the points, the worst output */
} xp_svr_result;

xp_status xp_svr_run(xp_device *device, const xp_svr_attention *attention, const xp_svr_points *points,
                     const xp_svr_options *options, xp_svr_result *out);
void xp_svr_result_release(xp_svr_result *result);

#endif
