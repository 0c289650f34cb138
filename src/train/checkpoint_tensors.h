/* The files of a checkpoint's tensors: its parameters and running statistics, and the moments of its optimiser. For
 * checkpoint.c alone; xp_checkpoint_check, xp_checkpoint_load and the public xp_weights_… are of the same file. */
#ifndef XP_TRAIN_CHECKPOINT_TENSORS_H
#define XP_TRAIN_CHECKPOINT_TENSORS_H

#include "graph/store.h"
#include "train/safetensors.h"

/* model.safetensors, training.safetensors */
typedef enum xp_tensors_group { XP_TENSORS_VALUES, XP_TENSORS_MOMENTS } xp_tensors_group;

/* Begins the metadata of a file. */
xp_status xp_tensors_begin(xp_safetensors *set);
/* Adds a group of the store's tensors to the set and writes it to the folder. step: of the run, which must not write
 * values that are not finite (XP_BAD_DATA). */
xp_status xp_tensors_write(xp_safetensors *set, const char *folder, xp_tensors_group group, xp_store *store,
                           int64_t step);

#endif
