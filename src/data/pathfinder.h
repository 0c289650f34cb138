/* Pathfinder, the task of connected dots that the Long Range Arena has: images and their classes, drawn from a seed. */
#ifndef XP_DATA_PATHFINDER_H
#define XP_DATA_PATHFINDER_H

#include "core/status.h"

#include <stdint.h>

/* Writes IDX files of images of 32 by 32 pixels and of their labels, train-…, validation-… and t10k-…, the test
 * data, into the folder, which is made: 1 where a contour of dashes leads from one dot to the other, else 0. The
 * same seed and numbers give the same bytes. XP_INVALID_ARGUMENT: one of the files is there already; XP_IO_ERROR,
 * XP_OUT_OF_MEMORY. */
xp_status xp_pathfinder_make(const char *folder, uint64_t seed, const int64_t samples[3]);

#endif
