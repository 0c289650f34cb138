/* Preloaded into a program, prints where it was when it crashes. Owns the handlers of the signals that mean a crash,
 * and passes each on to whatever the program has set for it with signal() (cmocka goes on to the next test), else to
 * the default, so that the exit status stays what it was. Makes stdout line-buffered: a crash loses no line that was
 * printed. Knows nothing of Expanse. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES = 64, STACK_BYTES = 64 * 1024 };

static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
enum { CRASHES = sizeof crashes / sizeof crashes[0] };
static sighandler_t passed_on[NSIG]; /* the program's own; NULL is SIG_DFL */

static int is_crash(int number) {
    for (int i = 0; i < CRASHES; i++)
        if (crashes[i] == number) return 1;
    return 0;
}

static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) _exit(128 + SIGABRT);
}

/* Async-signal-safe but for backtrace()'s first call, which the constructor has made. */
static void print_backtrace(int number) {
    void *frames[FRAMES];
    say("=== crash: ");
    say(sigdescr_np(number) ? sigdescr_np(number) : "signal");
    say("; from the innermost call outwards:\n");
    const int count = backtrace(frames, FRAMES);
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
    say("=== end of the crash\n");
    const sighandler_t own = passed_on[number];
    if (own == SIG_IGN) return;
    if (own != SIG_DFL) {
        own(number);
        return;
    }
    const struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(number, &action, NULL);
    raise(number);
}

static void take(int number) {
    struct sigaction action = {.sa_handler = print_backtrace, .sa_flags = SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

/* Instead of the C library's: remembers, for a crash, what the program wants to happen, and stays in its place. */
sighandler_t signal(int number, sighandler_t handler) {
    if (!is_crash(number)) {
        sighandler_t (*original)(int, sighandler_t) = NULL;
        *(void **)&original = dlsym(RTLD_NEXT, "signal");
        return original ? original(number, handler) : SIG_ERR;
    }
    const sighandler_t before = passed_on[number];
    passed_on[number] = handler;
    return before;
}

__attribute__((constructor)) static void begin(void) {
    static char stack[STACK_BYTES]; /* of its own: an overflow of the stack is a crash, too */
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    void *frame;
    sigaltstack(&alternative, NULL);
    backtrace(&frame, 1); /* loads the unwinder, which allocates */
    for (int i = 0; i < CRASHES; i++) take(crashes[i]);
    setvbuf(stdout, NULL, _IOLBF, 0);
}
