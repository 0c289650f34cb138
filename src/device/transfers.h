/* Transfers beside the kernels: sets of input and results in pinned memory, copied to and from the device without anybody
 * waiting, the input on a queue of its own. While the kernels of one set run, another set is on its way. Owns that queue, the
 * sets' memory on both sides and their events; knows nothing of what the bytes mean.
 *
 * The order for each set: fill the input, xp_transfers_send, enqueue kernels on the device's queue, xp_transfers_fetch, and
 * xp_transfers_wait before its input is filled or its results are read. */
#ifndef XP_DEVICE_TRANSFERS_H
#define XP_DEVICE_TRANSFERS_H

#include "device/device.h"

enum { XP_TRANSFER_SETS = 2 };
typedef struct xp_transfers xp_transfers;

/* So many bytes of input and of results in each set; zero at first. XP_OUT_OF_MEMORY, XP_DEVICE_ERROR. */
xp_status xp_transfers_open(xp_transfers **out, xp_device *device, size_t input_bytes, size_t result_bytes);
/* Ends all commands first. */
void xp_transfers_close(xp_transfers **transfers);

char *xp_transfers_input(const xp_transfers *transfers, int set);   /* pinned */
cl_mem xp_transfers_buffer(const xp_transfers *transfers, int set); /* what the input is copied to */
const char *xp_transfers_results(const xp_transfers *transfers, int set);

/* Copies the set's input to the device. What is enqueued on the device's queue afterwards comes after that. */
xp_status xp_transfers_send(xp_transfers *transfers, int set);
/* Copies bytes of a buffer to the results at `at`, after what is in the device's queue. */
xp_status xp_transfers_fetch(xp_transfers *transfers, int set, cl_mem buffer, size_t offset, size_t bytes, size_t at);
/* What was copied, and in how many seconds by the device's clock, of devices opened with profiling. */
typedef struct xp_transfer_times {
    int64_t count;
    double bytes, seconds;
} xp_transfer_times;
/* Until all that was sent from and fetched into the set is there; nothing was: returns at once. Adds to `times` (or NULL). */
xp_status xp_transfers_wait(xp_transfers *transfers, int set, xp_transfer_times *times);

#endif
