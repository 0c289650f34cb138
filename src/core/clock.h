/* A monotonic clock. */
#ifndef XP_CORE_CLOCK_H
#define XP_CORE_CLOCK_H

double xp_clock(void); /* seconds since an arbitrary time before the process began */

#endif
