/* The regression problem of an attention and points: training set, kernel matrix, targets. Owns the matrix; knows no
 * solvers and no devices. docs/FRAMEWORK.md has the mathematics. */
#ifndef XP_SVR_PROBLEM_H
#define XP_SVR_PROBLEM_H

#include "svr/points.h"

/* One attention by its four choices. */
typedef struct xp_svr_attention {
    const char *name;          /* "bn" */
    const char *specification; /* as for a model, but without the size of blocks */
    bool linear;               /* κ(x,y) = φ(x)·φ(y) with φ = elu + 1, in place of exp(x·y/√D) */
    bool bn;                   /* keys and queries normalised with the statistics of the keys */
    int pool;                  /* SH: keys and targets averaged over this many neighbours; 0: none */
    int blocks;                /* number of training sets of equal size; 0: one */
    float rate;                /* key j counts exp(rate · j) times, up to a factor; 0: once each */
    int window;                /* a query sees keys up to this distance; 0: all */
} xp_svr_attention;

/* Those that come from an SVR, and the window, which does not. */
enum { XP_SVR_ATTENTIONS = 7 };
extern const xp_svr_attention xp_svr_attentions[XP_SVR_ATTENTIONS];
extern const float xp_svr_bn_epsilon;

/* K(x,y) = unit · κ(x,y) / (h(x) h(y)) with h(x) = Σ_j m_j κ(x,k_j) over the training set of x; m_j are its weights.
 *
 * h is a sum over hundreds of keys, so κ/(h h) is some 10^-5 or, with large scores, far smaller, and a cost C in its
 * terms would have to be as large. unit = 1 / mean K(k_j,k_j) makes the mean diagonal 1: the same problem with C
 * in units of `unit`. Everything but K is kept as logarithms, so large scores do not overflow. */
typedef struct xp_svr_problem {
    const xp_svr_attention *attention;
    const xp_svr_points *points;
    int64_t size;    /* M, keys in the training set: fewer than points when pooled */
    int64_t queries; /* the points, followed by the positions of the grid */
    int width, outputs;
    double *keys;       /* [M,width], pooled and normalised */
    double *query_keys; /* [queries,width], normalised */
    double *targets;    /* [M,outputs], pooled */
    double *positions;  /* [M] of the first column, pooled */
    double *weights;    /* m [M] */
    double *log_h;      /* [M] */
    double *kernel;     /* [M,M] */
    double log_unit;
    char specification[64];
} xp_svr_problem;

xp_status xp_svr_problem_make(const xp_svr_attention *attention, const xp_svr_points *points, xp_svr_problem *out);
void xp_svr_problem_release(xp_svr_problem *problem);

/* Whether query i (a point or a position of the grid) sees key j. */
bool xp_svr_problem_sees(const xp_svr_problem *problem, int64_t query, int64_t key);

/* The prediction of the SVR in double precision, f(x) = Σ_j a_j K(x,k_j) + b, a_j = m_j c_j: coefficients [M,outputs],
 * bias [outputs]
 * -> [queries,outputs]. */
xp_status xp_svr_problem_predict(const xp_svr_problem *problem, const double *coefficients, const double *bias,
                                 double *out);

/* The smallest v·Kv/v·v that is found; if it is negative, K is not an inner product of features. */
xp_status xp_svr_problem_lowest(const xp_svr_problem *problem, double *out);

#endif
