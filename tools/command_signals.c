/* A separate thread waits for the signals; all others, and the processes that drivers start, block them: the terminal
 * also sends Ctrl-C to the linker of a driver, and the kernel that is being linked would fail to build. */
#define _GNU_SOURCE
#include "signals.h"

#include "command.h"

#include "core/clock.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

static const double SAME_ASKING = 0.2; /* seconds: timeout(1) sends its signal to the process and to its group */

volatile sig_atomic_t xp_signal_asked;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over what follows */
static volatile sig_atomic_t held;                       /* a handler reads it without the lock */
static void (*explanation)(void);
static double asked_at; /* clock, of xp_signal_asked */

static int code_of(int number) {
    return number == SIGALRM ? XP_EXIT_UNFINISHED : 128 + number;
}

int xp_signals_exit_code(void) {
    return xp_signal_asked ? code_of(xp_signal_asked) : XP_EXIT_FAILURE;
}

/* Whether the second signal means that the end must not wait. The kernel repeats SIGXCPU each second, a closed terminal
 * and its shell each send SIGHUP, and who comes after the time limit finds the run at its end anyway. */
static bool insists(int number) {
    const bool forceful = number == SIGINT || number == SIGTERM || number == SIGQUIT;
    return forceful && xp_signal_asked && xp_signal_asked != SIGALRM && xp_clock() - asked_at > SAME_ASKING;
}

static void *wait_for_signals(void *signals) {
    for (int number; sigwait(signals, &number) == 0;) {
        pthread_mutex_lock(&lock);
        if (!held && explanation) explanation();
        if (!held || insists(number)) _exit(code_of(number));
        if (!xp_signal_asked || xp_signal_asked == SIGALRM) asked_at = xp_clock();
        xp_signal_asked = number;
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

/* SIGPIPE goes to the thread that wrote, so no other can wait for it. */
static void note_closed_pipe(int number) {
    if (!held) _exit(128 + number);
    xp_signal_asked = number;
}

static bool is_ignored(int number) {
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

void xp_signals_catch(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU, SIGXFSZ, SIGALRM};
    static sigset_t signals;
    pthread_t waiting;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i] == SIGALRM || !is_ignored(numbers[i])) sigaddset(&signals, numbers[i]);
    /* Where a file grows beyond its limit, SIGXFSZ goes to the thread that wrote: blocked there, the write fails as on
     * a full disk. */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (!is_ignored(SIGPIPE)) sigaction(SIGPIPE, &(struct sigaction){.sa_handler = note_closed_pipe}, NULL);
    if (pthread_create(&waiting, NULL, wait_for_signals, &signals) == 0)
        pthread_detach(waiting);
    else
        pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

void xp_signals_explain(void (*say)(void)) {
    pthread_mutex_lock(&lock);
    explanation = say;
    pthread_mutex_unlock(&lock);
}

static void set_held(bool now) {
    pthread_mutex_lock(&lock);
    held = now;
    pthread_mutex_unlock(&lock);
}

void xp_signals_hold(void) {
    set_held(true);
}

void xp_signals_release(void) {
    set_held(false);
}

void xp_signals_limit_time(unsigned seconds) {
    alarm(seconds);
}
