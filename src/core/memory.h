/* How much memory the machine has. Because of overcommitment, allocating too much may end the process instead of
 * failing; sizes that come from a file are therefore compared with this first. */
#ifndef XP_CORE_MEMORY_H
#define XP_CORE_MEMORY_H

#include <stdint.h>

uint64_t xp_memory_total(void); /* bytes; UINT64_MAX if the system does not report it */

#endif
