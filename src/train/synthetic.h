/* A training session on one synthetic batch, for benchmarks and the tuner: the same numbers in every run. */
#ifndef XP_TRAIN_SYNTHETIC_H
#define XP_TRAIN_SYNTHETIC_H

#include "data/dataset.h"
#include "train/config.h"
#include "train/loss_scale.h"
#include "train/session.h"

typedef struct xp_synthetic {
    xp_config config;
    xp_session session;
    xp_dataset *batch;
    int32_t *order;      /* the batch's samples, over and over */
    int64_t step, ahead; /* steps done, and those that the order still has */
    int64_t counted;     /* steps whose outcome is known, in … */
    xp_loss_scale loss_scale;
} xp_synthetic;

/* `shape` is that of the whole batch. Opens the device and plans: a training session, or one for evaluation alone.
 * Nothing is allocated on the device. Close it, whatever the outcome. */
xp_status xp_synthetic_plan(xp_synthetic *out, const xp_config *config, const xp_model_shape *shape,
                            const xp_device_options *options, bool training);
/* Plans a training session and realises it, draws batch and parameters. As above. */
xp_status xp_synthetic_open(xp_synthetic *out, const xp_config *config, const xp_model_shape *shape,
                            const xp_device_options *options);
void xp_synthetic_close(xp_synthetic *synthetic);

/* Runs `count` optimiser steps; *seconds is wall time, *loss that of the last step's forward pass. */
xp_status xp_synthetic_run(xp_synthetic *synthetic, int count, double *seconds, double *loss);

#endif
