/* Generates random numbers on the device: large inputs take one launch instead of a loop on the host and a transfer. */
#ifndef XP_DEVICE_FILL_H
#define XP_DEVICE_FILL_H

#include "device/device.h"

/* Writes `count` normal numbers to the buffer, from element `offset` on: those that xp_random_normal draws after
 * xp_random_start(seed, purpose), up to rounding. `storage`: the type of the elements, as in cl/storage.clh. Enqueues
 * on the device's queue and returns. */
xp_status xp_device_fill_normal(xp_device *device, cl_mem buffer, int storage, size_t offset, size_t count,
                                uint64_t seed, uint32_t purpose);

#endif
