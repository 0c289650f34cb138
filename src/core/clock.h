/* Time that only goes forward. */
#ifndef XP_CORE_CLOCK_H
#define XP_CORE_CLOCK_H

double xp_clock(void); /* seconds since some moment before the process began */

#endif
