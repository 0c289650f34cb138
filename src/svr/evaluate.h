/* A solved problem as an attention layer on a device. Owns graph and plan of one evaluation; does not know how the
 * values were computed. */
#ifndef XP_SVR_EVALUATE_H
#define XP_SVR_EVALUATE_H

#include "device/device.h"
#include "svr/problem.h"

/* Runs queries, keys and values [M,outputs] through the operations of a model's attention layer -> o [queries,outputs].
 * The device pools and normalises the keys of the points. */
xp_status xp_svr_evaluate(xp_device *device, const xp_svr_problem *problem, const float *values, float *o);

#endif
