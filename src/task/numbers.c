/* What the tasks that predict numbers have in common. */
#include "task/numbers.h"

int xp_numbers_outputs(const xp_dataset *training) {
    return training->targets;
}

const char *xp_numbers_output_name(const xp_dataset *training, int output) {
    return training->target_names[output];
}

void xp_numbers_restore(xp_dataset *header, int count, char **names) {
    header->targets = count;
    header->target_names = names;
}

double xp_numbers_mean_square(const double *sums, int64_t counted, double unit) {
    return sums[XP_NUMBERS_SQUARES] / (double)counted * unit * unit;
}

double xp_numbers_mean_absolute(const double *sums, int64_t counted, double unit) {
    return sums[XP_NUMBERS_ABSOLUTE] / (double)counted * unit;
}

double xp_numbers_unit(const xp_standardisation *scale, int count, int i) {
    return count > 1 && scale->deviation[i] > 0 ? scale->deviation[i] : 1;
}

xp_status xp_numbers_add_column(xp_task_table *out, const char *word, int count, char *const *names, int i) {
    xp_writer title = {0};
    xp_write(&title, "%s", word);
    if (count > 1) xp_write(&title, " %s", names[i]);
    xp_status status = xp_writer_status(&title, "answers");
    if (status == XP_OK)
        status = xp_task_table_column(
            out, &(xp_task_column){title.text, NULL, XP_TASK_REAL, .digits = XP_NUMBERS_DIGITS, .significant = true});
    xp_writer_release(&title);
    return status;
}
