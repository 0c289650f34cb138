/* How much memory the machine has. Systems promise more than they have, so that asking for too much ends the process
 * instead of the allocation; what a file asks for is therefore compared with this first. */
#ifndef XP_CORE_MEMORY_H
#define XP_CORE_MEMORY_H

#include <stdint.h>

uint64_t xp_memory_total(void); /* bytes; UINT64_MAX where the system does not tell */

#endif
