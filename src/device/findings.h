/* Findings: what only probes can tell of a device. They are made when it is opened and kept in a record of the cache
 * folder, for this device, driver, platform, version of the library and text of the probes. For src/device alone. */
#ifndef XP_DEVICE_FINDINGS_H
#define XP_DEVICE_FINDINGS_H

#include "device/device.h"

/* Fills register_option, matrix, wgmma_bytes, limits.static_local_bytes and, where `lanes_wanted`, limits.lanes and
 * limits.bf16_instruction. Probes run in a context of their own, which goes with whatever they break. `anew`: whatever
 * the record says; what is found then replaces it. */
xp_status xp_findings_make(xp_device *device, const char *platform, bool lanes_wanted, bool anew);

#endif
