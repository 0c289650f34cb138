/* The peak of a device: its highest measured rates of arithmetic, memory and launches. Other figures are reported as
 * shares of it. */
#ifndef XP_DEVICE_PEAK_H
#define XP_DEVICE_PEAK_H

#include "device/device.h"

typedef struct xp_peak {
    double flops;          /* per second: fused multiply-adds of fp32, two each */
    double bytes;          /* per second, read and written: a triad over arrays that no cache holds */
    double launch_seconds; /* of one kernel in a chain of empty ones */
} xp_peak;

/* Measures for a third of a second with which vector width, 8 or 16 numbers, a CPU computes fastest: some drivers
 * report 16 and compile for a processor without such registers. */
xp_status xp_peak_lanes(xp_device *device, unsigned *lanes);

/* Measures for about two seconds; each figure is the best of several rounds. */
xp_status xp_peak_measure(xp_device *device, xp_peak *out);

/* Combines *measured with the record of this device and driver: both hold the better figures afterwards. Without a
 * cache folder nothing is recorded. */
xp_status xp_peak_record(const xp_device *device, xp_peak *measured);

/* Reads the record; if there is none, measures and records. The figures are the best ever measured, not the current
 * ones. */
xp_status xp_peak_of(xp_device *device, xp_peak *out);

/* The share of the peak that some work reached, of arithmetic or of memory, whichever is the larger. 0: no work. */
double xp_peak_share(const xp_peak *peak, double flops, double bytes, double seconds);

#endif
