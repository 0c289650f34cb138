/* A solved problem as an attention layer on a device. Owns graph and plan of one evaluation; knows nothing of how the
 * values were found. */
#ifndef XP_SVR_EVALUATE_H
#define XP_SVR_EVALUATE_H

#include "device/device.h"
#include "svr/problem.h"

/* Queries, keys and values [M,outputs] through the same operations that a model's layer is made of -> o
 * [queries,outputs]. Pooling and normalising happen on the device, from the points' own keys. */
xp_status xp_svr_evaluate(xp_device *device, const xp_svr_problem *problem, const float *values, float *o);

#endif
