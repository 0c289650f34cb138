/* Which set decides. */
#include "train/metrics.h"

#include <math.h>

const char *xp_set_name(xp_set set) {
    static const char *const names[XP_SETS] = {"training", "validation", "test"};
    return names[set];
}

xp_set xp_judging_set(bool validation, bool test) {
    return validation ? XP_SET_VALIDATION : test ? XP_SET_TEST : XP_SET_TRAINING;
}

double xp_epoch_decision(const xp_task *task, const xp_epoch_row *row, xp_set set) {
    return row->metrics[set][task->deciding];
}

static bool has(const xp_task *task, const xp_epoch_row *row, xp_set set) {
    return isfinite(xp_epoch_decision(task, row, set));
}

xp_set xp_epoch_judge(const xp_task *task, const xp_epoch_row *row) {
    return xp_judging_set(has(task, row, XP_SET_VALIDATION), has(task, row, XP_SET_TEST));
}

xp_set xp_epoch_result(const xp_task *task, const xp_epoch_row *row) {
    return has(task, row, XP_SET_TEST) ? XP_SET_TEST : xp_judging_set(has(task, row, XP_SET_VALIDATION), false);
}

bool xp_epoch_is_better(const xp_task *task, const xp_epoch_row *row, const xp_epoch_row *than) {
    const xp_set judge = xp_epoch_judge(task, row);
    const double value = xp_epoch_decision(task, row, judge), other = xp_epoch_decision(task, than, judge);
    if (value != other) return xp_task_is_better(task, value, other);
    return row->metrics[judge][0] < than->metrics[judge][0];
}
