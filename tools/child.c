#include "child.h"

#include "signals.h"

#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Drivers write what they like to stdout, so the answer goes another way: its length, then its bytes. */
static const double LOOK_SECONDS = 0.1; /* between two looks at the signals, while a child is at work */

enum { ANSWER_DESCRIPTOR = 3, MOST_WORDS = 64, MOST_BYTES = 1 << 22 };

/* Runs in the forked process. */
static void become_child(const char *const *words, const char *const *environment, int answer, pid_t parent) {
    const char *arguments[MOST_WORDS + 2] = {"expanse"};
    sigset_t none;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody else would end one that hangs */
    if (getppid() != parent) _exit(1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* the parent may have signals blocked */
    int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0 ||
        dup2(nothing, STDERR_FILENO) < 0)
        _exit(1);
    if (answer == ANSWER_DESCRIPTOR)
        fcntl(answer, F_SETFD, 0);
    else if (dup2(answer, ANSWER_DESCRIPTOR) < 0)
        _exit(1);
    for (; environment && *environment; environment += 2) setenv(environment[0], environment[1], 1);
    for (int i = 0; i < MOST_WORDS && words[i]; i++) arguments[i + 1] = words[i];
    execv("/proc/self/exe", (char *const *)arguments);
    _exit(1);
}

/* Whether all bytes came before the time was up or a signal came. */
static bool receive(int from, double end, void *to, size_t bytes) {
    size_t got = 0;
    while (got < bytes) {
        double left = end - xp_clock();
        struct pollfd watched = {.fd = from, .events = POLLIN};
        if (left <= 0 || xp_signal_asked) return false;
        int ready = poll(&watched, 1, left < LOOK_SECONDS ? (int)(left * 1e3) + 1 : (int)(LOOK_SECONDS * 1e3));
        if (ready < 0 && errno != EINTR) return false;
        if (ready <= 0) continue;
        ssize_t count = read(from, (char *)to + got, bytes - got);
        if (count <= 0) return false; /* the child ended */
        got += (size_t)count;
    }
    return true;
}

static bool receive_answer(int from, double end, xp_child *out) {
    size_t length = 0;
    if (!receive(from, end, &length, sizeof length) || length > MOST_BYTES) return false;
    out->answer = malloc(length + 1);
    if (!out->answer || !receive(from, end, out->answer, length)) return false;
    ((char *)out->answer)[length] = 0;
    out->length = length;
    return true;
}

xp_status xp_child_run(const char *const *words, const char *const *environment, double seconds, xp_child *out) {
    int ends[2];
    *out = (xp_child){.answered = false};
    if (pipe(ends) != 0) return xp_fail(XP_IO_ERROR, "cannot create a pipe for a child process: %s", strerror(errno));
    for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    fflush(stdout);
    const double end = xp_clock() + seconds;
    const pid_t parent = getpid(), child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return xp_fail(XP_IO_ERROR, "cannot start a child process: %s", strerror(errno));
    }
    if (child == 0) become_child(words, environment, ends[1], parent);
    close(ends[1]);
    out->answered = receive_answer(ends[0], end, out);
    const bool late = xp_clock() >= end, stopped = xp_signal_asked != 0;
    close(ends[0]);
    if (late || stopped || out->answered)
        kill(child, SIGKILL); /* after the answer a driver may still hang in its own clean-up */
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
    if (out->answered) return XP_OK;
    free(out->answer);
    out->answer = NULL;
    if (stopped || (!late && WIFEXITED(state) && WEXITSTATUS(state) > 128)) return xp_fail(XP_INTERRUPTED, "stopped");
    out->code = late || WIFSIGNALED(state) ? -1 : WEXITSTATUS(state);
    if (late)
        snprintf(out->reason, sizeof out->reason, "no answer within %.0f s: the driver hangs", seconds);
    else if (WIFSIGNALED(state))
        snprintf(out->reason, sizeof out->reason, "the driver crashes: %s", strsignal(WTERMSIG(state)));
    else
        snprintf(out->reason, sizeof out->reason, "the process exited with code %d", WEXITSTATUS(state));
    return XP_OK;
}

bool xp_child_answer(const void *bytes, size_t length) {
    return write(ANSWER_DESCRIPTOR, &length, sizeof length) == (ssize_t)sizeof length &&
           write(ANSWER_DESCRIPTOR, bytes, length) == (ssize_t)length;
}
