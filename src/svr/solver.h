/* Solvers of the dual of the ε-SVR, and an independent check of their results. Knows kernel matrices and targets, not
 * where they come from.
 *
 * One problem for each output d, with a_j = m_j (α_j - α~_j), m_j the weight of key j in the training set:
 *     maximise   y·a - ε Σ|a_j| - 1/2 a·Ka     over |a_j| <= m_j C,   and Σ a_j = 0 if b is free */
#ifndef XP_SVR_SOLVER_H
#define XP_SVR_SOLVER_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct xp_svr_options {
    double cost, epsilon; /* C, ε */
    bool bias;            /* fit b (LIBSVM); else b = 0 (our own solver) */
} xp_svr_options;

typedef struct xp_svr_matrix {
    int64_t size;
    int outputs;
    const double *kernel;  /* [size,size] */
    const double *targets; /* [size,outputs] */
    const double *weights; /* m [size] */
} xp_svr_matrix;

/* b = 0: coordinate ascent, each step on the coordinate with the largest gain, to a relative duality gap of 10^-6.
 * Writes coefficients [size,outputs]. */
xp_status xp_svr_solve(const xp_svr_matrix *matrix, const xp_svr_options *options, double *coefficients);
/* b free: LIBSVM. Writes coefficients and bias [outputs]. XP_UNSUPPORTED if the library was built without LIBSVM, or
 * for weights, which LIBSVM does not support. */
xp_status xp_svr_solve_with_bias(const xp_svr_matrix *matrix, const xp_svr_options *options, double *coefficients,
                                 double *bias);

/* The quality of coefficients, computed from the problem alone; the worst of the outputs. */
typedef struct xp_svr_judgement {
    double gap;      /* (primal - dual) / primal */
    double residual; /* of the KKT conditions, in units of the targets */
    double balance;  /* |Σ a_j| / Σ |a_j|: 0 if b is free */
    int64_t support; /* keys with a coefficient that is not 0 in any output */
} xp_svr_judgement;
xp_status xp_svr_judge(const xp_svr_matrix *matrix, const xp_svr_options *options, const double *coefficients,
                       const double *bias, xp_svr_judgement *out);

#endif
