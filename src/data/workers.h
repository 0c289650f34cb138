/* Threads that share pieces of work. Owns the threads; knows nothing of the work. */
#ifndef XP_DATA_WORKERS_H
#define XP_DATA_WORKERS_H

#include "core/status.h"

#include <stdbool.h>

typedef struct xp_workers xp_workers;

/* How many threads suit this process: one for each processor that it may use (of the machine, where that is not known),
 * up to 16. */
int xp_workers_usual(void);

/* `threads` counts the one that calls xp_workers_run. There are fewer where the system starts no more.
 * XP_OUT_OF_MEMORY. */
xp_status xp_workers_open(xp_workers **out, int threads);
void xp_workers_close(xp_workers **workers);

/* Does work(user, i) once for each i below `count`, in any order; without workers, in the calling thread alone. Fails
 * as the first of them, in order, that fails; after a failure no other begins. XP_INTERRUPTED: halted. */
xp_status xp_workers_run(xp_workers *workers, int count, xp_status (*work)(void *user, int number), void *user);

/* From now on, or no longer, no piece begins, so that a run in another thread ends soon. */
void xp_workers_halt(xp_workers *workers, bool halted);

#endif
