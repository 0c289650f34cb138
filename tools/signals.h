/* How signals and the time limit end the command. Owns the thread that waits for them; does not know what is saved. */
#ifndef XP_TOOLS_SIGNALS_H
#define XP_TOOLS_SIGNALS_H

#include <signal.h>

/* The signal that came while signals were held (SIGALRM: the time was up); 0: none. */
extern volatile sig_atomic_t xp_signal_asked;

/* Call it before any other thread is started: from now on, a signal ends the process at once with 128 + its number.
 * Signals that were ignored when the process began stay ignored. */
void xp_signals_catch(void);
/* Called from another thread before such an end, to print a message; NULL: none. */
void xp_signals_explain(void (*say)(void));
/* From now on a signal is only recorded, so that the command can save or remove something; a second one ends it at
 * once. */
void xp_signals_hold(void);
void xp_signals_release(void);
/* After this number of seconds, ends the process as a signal does, with XP_EXIT_UNFINISHED. */
void xp_signals_limit_time(unsigned seconds);
/* The exit code of a command that ends with XP_INTERRUPTED. */
int xp_signals_exit_code(void);

#endif
