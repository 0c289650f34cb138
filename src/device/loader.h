/* Loads libraries at run time, so that a machine without them gets a clear message instead of an error of the dynamic
 * linker: the OpenCL loader here, CLBlast in ops/gemm_clblast.c. */
#ifndef XP_DEVICE_LOADER_H
#define XP_DEVICE_LOADER_H

#include "core/status.h"

/* The address of a symbol in a shared library, which stays loaded; NULL if either does not exist. */
void *xp_loader_symbol(const char *library, const char *symbol);

/* Loads the OpenCL loader. Call it before any other OpenCL function; it is cheap after the first time. XP_NO_DEVICE:
 * the message says what to install. */
xp_status xp_loader_open(void);

/* Fails with XP_NO_DEVICE for a loader that found no platform; the message says that no driver is registered, or which
 * library cannot be loaded and why. */
xp_status xp_loader_no_platform(void);

#endif
