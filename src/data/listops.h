/* ListOps, the task of nested lists that the Long Range Arena has: expressions and their values, drawn from a seed. */
#ifndef XP_DATA_LISTOPS_H
#define XP_DATA_LISTOPS_H

#include "core/status.h"

#include <stdint.h>

/* Writes train.tsv, validation.tsv and test.tsv with so many expressions, all different, into the folder, which is
 * made. The same seed and numbers give the same bytes. XP_INVALID_ARGUMENT: one of the files is there already;
 * XP_IO_ERROR, XP_OUT_OF_MEMORY. */
xp_status xp_listops_make(const char *folder, uint64_t seed, const int64_t samples[3]);

#endif
