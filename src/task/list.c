/* The table of tasks: the first one that accepts the data is used. */
#include "task/classification.h"
#include "task/forecasting.h"
#include "task/regression.h"
#include "task/text.h"

const xp_task *const xp_tasks[] = {&xp_text, &xp_forecasting, &xp_regression, &xp_classification};
const int xp_task_count = sizeof xp_tasks / sizeof *xp_tasks;
