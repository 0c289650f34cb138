/* Probes: small kernels that show what a device can really do, whatever its driver says of itself. Owns what is asked,
 * what an answer means, and the verdict; must not know how probes are kept from taking the process with them (the
 * command runs each in a child). */
#ifndef XP_DEVICE_PROBE_H
#define XP_DEVICE_PROBE_H

#include "core/status.h"
#include <expanse/device.h>

#include <stdbool.h>
#include <stddef.h>

typedef enum xp_probe_need {
    XP_PROBE_NEEDED, /* no training without it */
    XP_PROBE_USEFUL, /* Expanse goes without, at a price */
    XP_PROBE_UNUSED, /* told for kernel engineers: no kernel of today wants it */
    XP_PROBE_HIDDEN  /* fails on purpose, for tests; part of no round */
} xp_probe_need;

typedef struct xp_probe_result {
    bool works;
    double value; /* the figure as a number; what it counts is the probe's own matter */
    char figure[112], meaning[256];
    char reason[1024]; /* why it does not work, in whole; figure has its beginning */
} xp_probe_result;

typedef struct xp_probe {
    const char *name, *title;
    xp_probe_need need;
    const char *without; /* what it means when it does not work */
    xp_status (*run)(xp_device *device, xp_probe_result *out);
} xp_probe;

/* In the order in which they are to run; the first opens the device and does nothing else. */
extern const xp_probe xp_probes[];
extern const int xp_probe_count;
const xp_probe *xp_probe_find(const char *name); /* NULL: there is none */

/* Opens the device that `select` names (as xp_device_options does) and runs one probe on it. Anything that fails is an
 * answer: *out then holds the reason. A bad driver may crash or hang the process here. */
void xp_probe_run(const xp_probe *probe, const char *select, xp_probe_result *out);

/* The answer of a probe that gave none: `reason` becomes its figure. */
void xp_probe_failed(const xp_probe *probe, const char *reason, xp_probe_result *out);

/* One paragraph on results[xp_probe_count] (those of hidden probes are not looked at): fit for training or not, with
 * which kernels, what is gone without, what it costs. Returns whether it is fit. */
bool xp_probe_verdict(const xp_probe_result *results, char *text, size_t size);

#endif
