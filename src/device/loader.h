/* Libraries that are looked for when the program runs, so that a machine without them gets a sentence instead of the
 * dynamic linker's refusal: the OpenCL loader here, CLBlast by ops/gemm_clblast.c. */
#ifndef XP_DEVICE_LOADER_H
#define XP_DEVICE_LOADER_H

#include "core/status.h"

/* The address of a symbol in a shared library, which stays loaded; NULL when either is not there. */
void *xp_loader_symbol(const char *library, const char *symbol);

/* Loads the OpenCL loader. To be called before any other OpenCL function; cheap after the first time. XP_NO_DEVICE with
 * what to install. */
xp_status xp_loader_open(void);

/* Fails with XP_NO_DEVICE for a loader that found no platform, and says what is wrong with the drivers: none is
 * registered, or which library cannot be loaded and why. */
xp_status xp_loader_no_platform(void);

#endif
