/* How signals and the time limit end the command. Owns the thread that waits for them; knows nothing of what is saved. */
#ifndef XP_TOOLS_SIGNALS_H
#define XP_TOOLS_SIGNALS_H

#include <signal.h>

/* The signal that came while signals were held (SIGALRM: the time was up); 0: none. */
extern volatile sig_atomic_t xp_signal_asked;

/* Before any other thread is started: from now on, whatever the process is at, a signal ends it at once with 128 + its
 * number. Those that were ignored when the process began stay so. */
void xp_signals_catch(void);
/* What is said before such an end, from another thread; NULL: nothing. */
void xp_signals_explain(void (*say)(void));
/* From now on a signal is only noted, for whoever has something to save or to remove; a second one ends at once. */
void xp_signals_hold(void);
void xp_signals_release(void);
/* After so many seconds ends the process as a signal does, with XP_EXIT_UNFINISHED. */
void xp_signals_limit_time(unsigned seconds);
/* The exit code of a command that XP_INTERRUPTED ends. */
int xp_signals_exit_code(void);

#endif
