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
#include <time.h>
#include <unistd.h>

/* Drivers write what they like to stdout, so the answer goes another way: a head, then its bytes. */
typedef struct reply_head {
    size_t length;
    xp_status status; /* XP_OK: the bytes are the answer; else why there is none */
} reply_head;

static const double LOOK_SECONDS = 0.1; /* between two looks at the signals, while a child is at work */

enum { ANSWER_DESCRIPTOR = 3, MOST_WORDS = 300, MOST_BYTES = 1 << 22 };

/* Runs in the forked process. `answer` -1: it gives none; `errors` NULL: they are thrown away. */
static void become_child(const char *const *words, const char *const *environment, int answer, const char *errors,
                         pid_t parent) {
    const char *arguments[MOST_WORDS + 2] = {"expanse"};
    sigset_t none;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* otherwise a hanging process would never end */
    if (getppid() != parent) _exit(1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* the parent may have signals blocked */
    const int nothing = open("/dev/null", O_RDWR);
    const int messages = errors ? open(errors, O_WRONLY | O_CREAT | O_TRUNC, 0666) : nothing;
    if (nothing < 0 || messages < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0 ||
        dup2(messages, STDERR_FILENO) < 0)
        _exit(1);
    if (answer == ANSWER_DESCRIPTOR)
        fcntl(answer, F_SETFD, 0);
    else if (answer >= 0 && dup2(answer, ANSWER_DESCRIPTOR) < 0)
        _exit(1);
    for (; environment && *environment; environment += 2) setenv(environment[0], environment[1], 1);
    for (int i = 0; i < MOST_WORDS && words[i]; i++) arguments[i + 1] = words[i];
    execv("/proc/self/exe", (char *const *)arguments);
    _exit(1);
}

/* In the child, *parent is the other process. Where SIGCHLD is ignored, as it may be from the start, a child leaves no
 * exit status. */
static pid_t fork_child(pid_t *parent) {
    signal(SIGCHLD, SIG_DFL);
    fflush(stdout);
    *parent = getpid();
    return fork();
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

/* Whether the child said something: its answer, or why it has none. */
static bool receive_reply(int from, double end, xp_child *out) {
    reply_head head;
    if (!receive(from, end, &head, sizeof head) || head.length > MOST_BYTES) return false;
    char *bytes = malloc(head.length + 1);
    if (!bytes || !receive(from, end, bytes, head.length)) {
        free(bytes);
        return false;
    }
    bytes[head.length] = '\0';
    out->status = head.status;
    out->answered = head.status == XP_OK;
    if (out->answered) {
        out->answer = bytes;
        out->length = head.length;
        return true;
    }
    snprintf(out->reason, sizeof out->reason, "%.*s", (int)strcspn(bytes, "\n"), bytes);
    free(bytes);
    return true;
}

static xp_status fail_to_wait(void) {
    return xp_fail(XP_IO_ERROR, "cannot learn how a child process ended: %s", strerror(errno));
}

xp_status xp_child_run(const char *const *words, const char *const *environment, double seconds, xp_child *out) {
    int ends[2];
    *out = (xp_child){.answered = false};
    if (pipe(ends) != 0) return xp_fail(XP_IO_ERROR, "cannot create a pipe for a child process: %s", strerror(errno));
    for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    const double end = xp_clock() + seconds;
    pid_t parent;
    const pid_t child = fork_child(&parent);
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return xp_fail(XP_IO_ERROR, "cannot start a child process: %s", strerror(errno));
    }
    if (child == 0) become_child(words, environment, ends[1], NULL, parent);
    close(ends[1]);
    const bool replied = receive_reply(ends[0], end, out);
    const bool late = xp_clock() >= end, stopped = xp_signal_asked != 0;
    close(ends[0]);
    if (late || stopped || replied)
        kill(child, SIGKILL); /* after the reply a driver may still hang in its own clean-up */
    int state = 0;
    pid_t ended;
    while ((ended = waitpid(child, &state, 0)) < 0 && errno == EINTR) continue;
    if (out->answered) return XP_OK;
    if (ended < 0) return fail_to_wait();
    if (out->status == XP_INTERRUPTED || stopped || (!late && WIFEXITED(state) && WEXITSTATUS(state) > 128))
        return xp_fail(XP_INTERRUPTED, "stopped");
    out->code = replied ? 1 : late || WIFSIGNALED(state) ? -1 : WEXITSTATUS(state);
    if (replied) return XP_OK;
    if (late)
        snprintf(out->reason, sizeof out->reason, "no answer within %.0f s: the driver hangs", seconds);
    else if (WIFSIGNALED(state))
        snprintf(out->reason, sizeof out->reason, "the driver crashes: %s", strsignal(WTERMSIG(state)));
    else
        snprintf(out->reason, sizeof out->reason, "the process exited with code %d", WEXITSTATUS(state));
    return XP_OK;
}

xp_status xp_child_work(const char *const *words, const char *errors, void (*look)(void *user), void *user, int *code) {
    const struct timespec pause = {.tv_nsec = (long)(LOOK_SECONDS * 1e9)};
    bool told = false;
    int state = 0;
    pid_t parent;
    const pid_t child = fork_child(&parent);
    if (child < 0) return xp_fail(XP_IO_ERROR, "cannot start a child process: %s", strerror(errno));
    if (child == 0) become_child(words, NULL, -1, errors, parent);
    for (pid_t ended = 0; ended != child;) {
        ended = waitpid(child, &state, WNOHANG);
        if (ended == child) break;
        if (ended < 0 && errno != EINTR) return fail_to_wait();
        if (xp_signal_asked && !told) kill(child, SIGTERM);
        told = told || xp_signal_asked;
        nanosleep(&pause, NULL);
        look(user);
    }
    *code = WIFEXITED(state) ? WEXITSTATUS(state) : -1;
    return xp_signal_asked || *code > 128 ? xp_fail(XP_INTERRUPTED, "stopped") : XP_OK;
}

static bool reply(xp_status status, const void *bytes, size_t length) {
    const reply_head head = {length, status};
    return write(ANSWER_DESCRIPTOR, &head, sizeof head) == (ssize_t)sizeof head &&
           write(ANSWER_DESCRIPTOR, bytes, length) == (ssize_t)length;
}

bool xp_child_answer(const void *bytes, size_t length) {
    return reply(XP_OK, bytes, length);
}

void xp_child_explain(void) {
    (void)reply(xp_last_status(), xp_last_error(), strlen(xp_last_error()));
}
