/* Threads that share pieces of work. */
#define _GNU_SOURCE
#include "data/workers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_THREADS = 16 };

struct xp_workers {
    pthread_t threads[MOST_THREADS];
    int thread_count; /* without the caller's */
    pthread_mutex_t lock;
    pthread_cond_t work; /* for the threads: pieces, or the end */
    pthread_cond_t done; /* for the caller: no piece is at work */
    xp_status (*piece)(void *user, int number);
    void *user;
    int count, next, busy; /* pieces: all; the next that begins; those at work */
    bool halted, closing;
    int failed; /* the first piece that did */
    xp_status status;
    char message[1024];
};

int xp_workers_usual(void) {
    cpu_set_t allowed;
    /* It fails where the machine has more processors than the set can hold. */
    const long count =
        sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > MOST_THREADS ? MOST_THREADS : (int)count;
}

/* With the lock held, from whichever thread: does pieces until none is left. Those before one that failed have begun
 * before it, so the first failure is the same whatever the threads. */
static void take_part(xp_workers *own) {
    while (own->next < own->count && !own->halted) {
        const int number = own->next++;
        own->busy++;
        pthread_mutex_unlock(&own->lock);
        const xp_status status = own->piece(own->user, number);
        pthread_mutex_lock(&own->lock);
        own->busy--;
        if (status == XP_OK || (own->status != XP_OK && number > own->failed)) continue;
        own->status = status;
        own->failed = number;
        own->next = own->count;
        snprintf(own->message, sizeof own->message, "%s", xp_last_error());
    }
    if (own->busy == 0) pthread_cond_signal(&own->done);
}

static void *help(void *user) {
    xp_workers *own = user;
    pthread_mutex_lock(&own->lock);
    while (!own->closing) {
        take_part(own);
        if (!own->closing) pthread_cond_wait(&own->work, &own->lock);
    }
    pthread_mutex_unlock(&own->lock);
    return NULL;
}

/* Signals are for other threads. Where the system gives no more threads, those that started do all the work. */
static void start(xp_workers *own, int threads) {
    sigset_t all, before;
    int code = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (; own->thread_count < threads - 1 && code == 0; own->thread_count += code == 0)
        code = pthread_create(&own->threads[own->thread_count], NULL, help, own);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

xp_status xp_workers_open(xp_workers **out, int threads) {
    xp_workers *own = calloc(1, sizeof *own);
    if (!own) return xp_fail(XP_OUT_OF_MEMORY, "no memory for threads that read samples");
    pthread_mutex_init(&own->lock, NULL);
    pthread_cond_init(&own->work, NULL);
    pthread_cond_init(&own->done, NULL);
    start(own, threads < MOST_THREADS ? threads : MOST_THREADS);
    *out = own;
    return XP_OK;
}

void xp_workers_close(xp_workers **workers) {
    xp_workers *own = *workers;
    if (!own) return;
    pthread_mutex_lock(&own->lock);
    own->closing = true;
    pthread_cond_broadcast(&own->work);
    pthread_mutex_unlock(&own->lock);
    for (int i = 0; i < own->thread_count; i++) pthread_join(own->threads[i], NULL);
    pthread_cond_destroy(&own->done);
    pthread_cond_destroy(&own->work);
    pthread_mutex_destroy(&own->lock);
    free(own);
    *workers = NULL;
}

static xp_status run_alone(int count, xp_status (*work)(void *user, int number), void *user) {
    for (int i = 0; i < count; i++) XP_TRY(work(user, i));
    return XP_OK;
}

xp_status xp_workers_run(xp_workers *own, int count, xp_status (*work)(void *user, int number), void *user) {
    if (!own) return run_alone(count, work, user);
    pthread_mutex_lock(&own->lock);
    own->piece = work;
    own->user = user;
    own->next = 0;
    own->count = count;
    own->status = XP_OK;
    pthread_cond_broadcast(&own->work);
    take_part(own);
    while (own->busy > 0) pthread_cond_wait(&own->done, &own->lock);
    const bool cut = own->next < own->count;
    own->next = own->count;
    xp_status status = own->status;
    pthread_mutex_unlock(&own->lock);
    if (status != XP_OK) return xp_fail(status, "%s", own->message);
    return cut ? xp_fail(XP_INTERRUPTED, "stopped while reading samples") : XP_OK;
}

void xp_workers_halt(xp_workers *own, bool halted) {
    if (!own) return;
    pthread_mutex_lock(&own->lock);
    own->halted = halted;
    pthread_mutex_unlock(&own->lock);
}
