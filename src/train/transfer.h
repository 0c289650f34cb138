/* The weights of another model as the start of a new run: which of its tensors are taken, which are drawn anew. Owns
 * that decision; writes no files. */
#ifndef XP_TRAIN_TRANSFER_H
#define XP_TRAIN_TRANSFER_H

#include "graph/store.h"
#include "train/checkpoint.h"
#include "train/safetensors.h"

typedef struct xp_transfer {
    char path[1200]; /* of the file */
    xp_safetensors set;
    const xp_safetensors_entry **taken; /* [parameters of the store]; NULL: stays as it was drawn */
} xp_transfer;

/* Reads the weights from a run (its best/), a checkpoint or a file, and compares them with the store's parameters,
 * which are declared but need no memory yet. The head is taken whole, or not at all where one of its shapes, or the
 * names of the outputs, differ. The sentence in `note` says what is taken and what is not. XP_IO_ERROR, XP_BAD_DATA:
 * another tensor does not fit, or none does; the message names it. */
xp_status xp_transfer_open(xp_transfer *out, const char *from, const xp_checkpoint *checkpoint, const xp_store *store,
                           xp_writer *note);
/* Fills the realised store. */
xp_status xp_transfer_write(const xp_transfer *transfer, xp_store *store);
void xp_transfer_close(xp_transfer *transfer); /* an all-zero one is fine */

#endif
