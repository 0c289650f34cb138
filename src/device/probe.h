/* Probes: small kernels that test what a device can really do, whatever its driver reports. Owns the tests, the meaning
 * of their results, and the verdict. Does not know how the process is protected from a crash (the command runs each
 * probe in a child process). */
#ifndef XP_DEVICE_PROBE_H
#define XP_DEVICE_PROBE_H

#include "core/status.h"
#include <expanse/device.h>

#include <stdbool.h>
#include <stddef.h>

typedef enum xp_probe_need {
    XP_PROBE_NEEDED, /* needed for training */
    XP_PROBE_USEFUL, /* Expanse works without it, but slower or with fewer features */
    XP_PROBE_UNUSED, /* for information: no kernel uses it yet */
    XP_PROBE_HIDDEN  /* fails on purpose, for tests; not run otherwise */
} xp_probe_need;

typedef struct xp_probe_result {
    bool works;
    double value; /* the figure as a number, in the unit of the probe */
    char figure[112], meaning[256];
    char reason[1024]; /* why it does not work; figure has the beginning of this text */
} xp_probe_result;

typedef struct xp_probe {
    const char *name, *title;
    xp_probe_need need;
    const char *without; /* the consequence if it does not work */
    xp_status (*run)(xp_device *device, xp_probe_result *out);
} xp_probe;

/* In the order in which they are to run; the first opens the device and does nothing else. */
extern const xp_probe xp_probes[];
extern const int xp_probe_count;
const xp_probe *xp_probe_find(const char *name); /* NULL: no such probe */

/* Opens the device that `select` names (as xp_device_options does) and runs one probe on it. A failure is a
 * result, too: *out then holds the reason. A faulty driver may crash or hang the process here. */
void xp_probe_run(const xp_probe *probe, const char *select, xp_probe_result *out);

/* The result of a probe that did not finish: `reason` becomes its figure. */
void xp_probe_failed(const xp_probe *probe, const char *reason, xp_probe_result *out);

/* One paragraph on results[xp_probe_count] (those of hidden probes are not looked at): whether the device is fit for
 * training, with which kernels, what does not work, and what starting costs. Returns whether it is fit. */
bool xp_probe_verdict(const xp_probe_result *results, char *text, size_t size);

#endif
