/* What the tasks that predict numbers have in common: their outputs, metrics, unit, and columns of answers. Knows
 * neither task. */
#ifndef XP_TASK_NUMBERS_H
#define XP_TASK_NUMBERS_H

#include "task/task.h"

enum { XP_NUMBERS_SQUARES = XP_TALLY_LOSS, XP_NUMBERS_ABSOLUTE = XP_TALLY_SCORE, XP_NUMBERS_SUMS };
enum { XP_NUMBERS_DIGITS = 6 };

/* Members of a task's row. */
int xp_numbers_outputs(const xp_dataset *training);
const char *xp_numbers_output_name(const xp_dataset *training, int output);
void xp_numbers_restore(xp_dataset *header, int count, char **names);
double xp_numbers_mean_square(const double *sums, int64_t counted, double unit);
double xp_numbers_mean_absolute(const double *sums, int64_t counted, double unit);

/* The unit of the errors of number i: several numbers are compared in units of their deviations, one in its own. */
double xp_numbers_unit(const xp_standardisation *scale, int count, int i);
/* The next column of answers: "predicted", and after it the name of number i where there are several. */
xp_status xp_numbers_add_column(xp_task_table *out, const char *word, int count, char *const *names, int i);

#endif
