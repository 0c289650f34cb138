/* Runs this command again as a child process, which a faulty driver may crash or hang, and returns its answer or the
 * reason why there is none. Does not know what the child computes. */
#ifndef XP_TOOLS_CHILD_H
#define XP_TOOLS_CHILD_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct xp_child {
    bool answered;
    void *answer; /* bytes, followed by a NUL; freed by the caller */
    size_t length;
    int code;         /* without an answer: the exit code; -1: it was killed or crashed */
    xp_status status; /* what the child said was the failure; XP_OK: it said nothing */
    char reason[512]; /* why there is no answer, in one line: the child's own, or "no answer within 20 s: …" */
} xp_child;

/* Runs `expanse words[0] words[1] …` (the last is NULL) with name=value pairs added to the environment (the last is
 * NULL), its output thrown away, for at most `seconds`. XP_IO_ERROR only when no process could be made; XP_INTERRUPTED
 * where a signal ended it or came to this process, which means nothing about the driver. */
xp_status xp_child_run(const char *const *words, const char *const *environment, double seconds, xp_child *out);

/* Runs `expanse words[0] …` to its end, its output thrown away and its messages written to the file `errors`. `look`
 * is called a few times a second. A signal to this process goes to the child, too, whose end is waited for: it may have
 * something to save. *code is its exit code, -1 when it crashed. XP_IO_ERROR as above, XP_INTERRUPTED after a
 * signal. */
xp_status xp_child_work(const char *const *words, const char *errors, void (*look)(void *user), void *user, int *code);

/* In the child: sends the answer. */
bool xp_child_answer(const void *bytes, size_t length);
/* In the child: tells the library's last failure in place of an answer. */
void xp_child_explain(void);

#endif
