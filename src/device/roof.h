/* The roof: what a device can do at most, measured. Other figures are told as shares of it. */
#ifndef XP_DEVICE_ROOF_H
#define XP_DEVICE_ROOF_H

#include "device/device.h"

typedef struct xp_roof {
    double flops;          /* per second: fused multiply-adds of fp32, two each */
    double bytes;          /* per second, read and written: a triad over arrays that no cache holds */
    double launch_seconds; /* of one kernel in a chain of empty ones */
} xp_roof;

/* Numbers of a vector, 8 or 16, that a CPU computes with at its best. A driver's word of 16 is put to the test once, for
 * a third of a second, and recorded: some compile for a processor without such registers. */
xp_status xp_roof_lanes(xp_device *device, unsigned *lanes);

/* Measures for about two seconds; each figure is the best of several rounds. */
xp_status xp_roof_measure(xp_device *device, xp_roof *out);

/* The best of *measured and of all that was recorded for this device and driver before, which it becomes part of.
 * Without a cache folder nothing is recorded. */
xp_status xp_roof_record(const xp_device *device, xp_roof *measured);

/* The record, or a measurement, recorded, where there is none: the roof of the device on its best day rather than now.
 */
xp_status xp_roof_of(xp_device *device, xp_roof *out);

/* The share of the roof that work took: of arithmetic or of memory, whichever binds. 0: no work. */
double xp_roof_share(const xp_roof *roof, double flops, double bytes, double seconds);

#endif
