/* Prepares batches in a separate thread, one while another is in use, with the help of more threads where samples take
 * long to read. Owns the threads; the memory belongs to the caller. Does not know what the batches are for. */
#ifndef XP_DATA_FEED_H
#define XP_DATA_FEED_H

#include "data/dataset.h"

enum { XP_FEED_SLOTS = 2 };
typedef struct xp_feed xp_feed;

/* Starts the thread. Batches of `size` samples are written into the slots, which outlive the feed, in turn.
 * XP_OUT_OF_MEMORY. */
xp_status xp_feed_open(xp_feed **out, int size, const xp_batch slots[XP_FEED_SLOTS]);
void xp_feed_close(xp_feed **feed);

/* From now on prepares the batches of order[first …], slot 0 first; what was prepared before is dropped. Data set and
 * order are borrowed until xp_feed_end, or the next beginning. */
void xp_feed_begin(xp_feed *feed, const xp_dataset *dataset, const int32_t *order, int64_t order_count, int64_t first);
/* Waits until the thread is at rest, with nothing prepared. */
void xp_feed_end(xp_feed *feed);

/* Waits for the next batch: its slot, and how many samples are real. The slot's memory is the caller's until
 * xp_feed_return. Fails as xp_dataset_batch did in the thread; XP_INVALID_ARGUMENT: the order has no more. */
xp_status xp_feed_take(xp_feed *feed, int *slot, int *filled);
/* Gives the slot that was taken first back to be filled again. */
void xp_feed_return(xp_feed *feed);

#endif
