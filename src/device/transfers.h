/* Transfers concurrent with kernels: sets of inputs and results in pinned memory, copied to and from the device without
 * blocking, the inputs on a separate queue. While the kernels of one set run, another set is transferred. Owns that
 * queue, the memory of the sets on both sides and their events; does not know what the bytes mean.
 *
 * The order for each set: fill the input, xp_transfers_send, enqueue kernels on the device's queue, xp_transfers_fetch,
 * and xp_transfers_wait before its input is filled or its results are read. */
#ifndef XP_DEVICE_TRANSFERS_H
#define XP_DEVICE_TRANSFERS_H

#include "device/device.h"

enum { XP_TRANSFER_SETS = 2 };
typedef struct xp_transfers xp_transfers;

/* Allocates this number of bytes of input and of results in each set, initially zero. XP_OUT_OF_MEMORY,
 * XP_DEVICE_ERROR. */
xp_status xp_transfers_open(xp_transfers **out, xp_device *device, size_t input_bytes, size_t result_bytes);
/* Waits for all commands first. */
void xp_transfers_close(xp_transfers **transfers);

char *xp_transfers_input(const xp_transfers *transfers, int set);   /* pinned */
cl_mem xp_transfers_buffer(const xp_transfers *transfers, int set); /* what the input is copied to */
const char *xp_transfers_results(const xp_transfers *transfers, int set);

/* Copies the set's input to the device. Commands enqueued on the device's queue afterwards run after the copy. */
xp_status xp_transfers_send(xp_transfers *transfers, int set);
/* Copies bytes of a buffer to the results at `at`, after what is in the device's queue. */
xp_status xp_transfers_fetch(xp_transfers *transfers, int set, cl_mem buffer, size_t offset, size_t bytes, size_t at);
/* What was copied, and the seconds by the clock of the device, if it was opened with profiling. */
typedef struct xp_transfer_times {
    int64_t count;
    double bytes, seconds;
} xp_transfer_times;
/* Waits for all transfers of the set; returns at once if there are none. Adds to `times` (or NULL). */
xp_status xp_transfers_wait(xp_transfers *transfers, int set, xp_transfer_times *times);

#endif
