/* Random numbers that are made where they are used: large inputs cost a launch in place of a host loop and a transfer.
 */
#ifndef XP_DEVICE_FILL_H
#define XP_DEVICE_FILL_H

#include "device/device.h"

/* Puts `count` normal numbers into the fp32 buffer from element `offset` on: those that xp_random_normal draws after
 * xp_random_start(seed, purpose), up to rounding. Enqueues on the device's queue and returns. */
xp_status xp_device_fill_normal(xp_device *device, cl_mem buffer, size_t offset, size_t count, uint64_t seed,
                                uint32_t purpose);

#endif
