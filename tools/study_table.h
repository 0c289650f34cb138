/* What expanse study prints at its end. */
#ifndef XP_TOOLS_STUDY_TABLE_H
#define XP_TOOLS_STUDY_TABLE_H

#include "table.h"

#include "study/study.h"

/* "GunPoint softmax+bn seed 2"; with the setting if there are several, and ", candidate" of one. */
void xp_study_name(const xp_study *study, const xp_study_run *run, char *text, size_t size);

/* Prints the comparison, for people also the candidates as a table of their own, and what failed. results and failures
 * [total_count]: why a run failed; NULL: it did not. */
xp_status xp_study_print(const xp_study *study, const xp_study_result *results, char *const *failures,
                         xp_table_format format);

#endif
