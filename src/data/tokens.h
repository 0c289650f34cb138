/* Sequences of tokens: the kind of samples, and images as such sequences. */
#ifndef XP_DATA_TOKENS_H
#define XP_DATA_TOKENS_H

#include "data/dataset.h"

enum {
    XP_TOKENS_SYMBOLS = 256,
    XP_TOKENS_SEQUENCES = 2
}; /* the most: tokens are bytes, and a sample is one or a pair */

/* Makes a data set of images, before anything is done with it, one of sequences: the brightness of their pixels, row
 * after row, from 0 to 255. XP_OUT_OF_MEMORY. */
xp_status xp_tokens_of_images(xp_dataset *dataset);

#endif
