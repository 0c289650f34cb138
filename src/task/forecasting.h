/* Forecasting: the next steps of a series after each window. Loss: the squared error of standardised values; metrics:
 * mean squared and mean absolute error, and how much better they are than a seasonal-naive forecast; picture: forecasts
 * with the truth. */
#ifndef XP_TASK_FORECASTING_H
#define XP_TASK_FORECASTING_H

#include "data/times.h"
#include "task/task.h"

extern const xp_task xp_forecasting;

/* Means over all windows and columns, where values are known: of one column in its own unit, of several in those of
 * standardised ones. NaN: none is known. */
typedef struct xp_step_errors {
    double squared, absolute, naive_squared, naive_absolute;
} xp_step_errors;

/* The evaluation of a forecasting, whose answers have the units of the data: [samples][horizon][columns]. */
typedef struct xp_forecasts {
    int horizon, columns;
    char **names;             /* [columns], owned */
    float *values, *naive;    /* as the answers: true values and the forecast to beat, NaN: not known */
    int context;              /* rows of a window before the first one that is predicted */
    int64_t *rows;            /* [samples], that one, counted from 0 */
    xp_times times;           /* of the rows of the data, owned; count 0: not known */
    xp_standardisation scale; /* of the columns, owned */
    xp_step_errors *errors;   /* [horizon] */
    char time[64];            /* room for one that is written */
} xp_forecasts;

/* Of an evaluation of this task. */
const xp_forecasts *xp_evaluation_forecasts(const xp_evaluation *evaluation);

/* Some forecasts with the truth, and the errors of each step, as SVG (forecast.c). */
xp_status xp_forecast_write(const char *path, const char *title, const char *set, const xp_evaluation *evaluation);

#endif
