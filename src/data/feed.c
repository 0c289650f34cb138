/* A thread that prepares batches. */
#include "data/feed.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct xp_feed {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;  /* for the thread: something to prepare, or the end */
    pthread_cond_t ready; /* for the caller: a batch is prepared, or the thread is at rest */
    int size;
    xp_batch slots[XP_FEED_SLOTS];
    xp_workers *workers;       /* NULL: none were needed so far */
    const xp_dataset *dataset; /* NULL: nothing to prepare */
    const int32_t *order;
    int64_t order_count, first;
    int64_t prepared, taken, returned; /* batches since the beginning; the next goes to slot prepared % XP_FEED_SLOTS */
    bool busy, closing;
    xp_status status; /* of the batch that could not be prepared, which is the next */
    char message[1024];
};

/* Whether there is a batch to prepare and a slot for it. */
static bool has_work(const xp_feed *feed) {
    return feed->dataset && feed->status == XP_OK && feed->first < feed->order_count &&
           feed->prepared < feed->returned + XP_FEED_SLOTS;
}

/* With the lock held, by the thread. */
static xp_status open_workers_if_slow(xp_feed *feed) {
    if (feed->workers || !xp_dataset_is_slow(feed->dataset)) return XP_OK;
    return xp_workers_open(&feed->workers, xp_workers_usual());
}

static void *prepare(void *user) {
    xp_feed *feed = user;
    pthread_mutex_lock(&feed->lock);
    while (!feed->closing) {
        if (!has_work(feed)) {
            pthread_cond_wait(&feed->work, &feed->lock);
            continue;
        }
        xp_batch *slot = &feed->slots[feed->prepared % XP_FEED_SLOTS];
        const xp_dataset *dataset = feed->dataset; /* the feed may forget it meanwhile */
        xp_status status = open_workers_if_slow(feed);
        slot->workers = xp_dataset_is_slow(dataset) ? feed->workers : NULL;
        feed->busy = true;
        pthread_mutex_unlock(&feed->lock);
        if (status == XP_OK)
            status = xp_dataset_batch(dataset, feed->order, feed->order_count, feed->first, feed->size, slot);
        pthread_mutex_lock(&feed->lock);
        feed->busy = false;
        feed->status = status;
        if (status == XP_OK) {
            feed->prepared++;
            feed->first += feed->size;
        } else {
            snprintf(feed->message, sizeof feed->message, "%s", xp_last_error());
        }
        pthread_cond_signal(&feed->ready);
    }
    pthread_mutex_unlock(&feed->lock);
    return NULL;
}

/* Signals are for the caller's threads. */
static int start(xp_feed *feed) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const int code = pthread_create(&feed->thread, NULL, prepare, feed);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

xp_status xp_feed_open(xp_feed **out, int size, const xp_batch slots[XP_FEED_SLOTS]) {
    xp_feed *feed = calloc(1, sizeof *feed);
    if (!feed) return xp_fail(XP_OUT_OF_MEMORY, "no memory to prepare batches");
    feed->size = size;
    for (int i = 0; i < XP_FEED_SLOTS; i++) feed->slots[i] = slots[i];
    pthread_mutex_init(&feed->lock, NULL);
    pthread_cond_init(&feed->work, NULL);
    pthread_cond_init(&feed->ready, NULL);
    if (start(feed) == 0) {
        *out = feed;
        return XP_OK;
    }
    free(feed);
    return xp_fail(XP_OUT_OF_MEMORY, "no memory for a thread that prepares batches");
}

void xp_feed_close(xp_feed **feed) {
    if (!*feed) return;
    pthread_mutex_lock(&(*feed)->lock);
    (*feed)->closing = true;
    xp_workers_halt((*feed)->workers, true);
    pthread_cond_signal(&(*feed)->work);
    pthread_mutex_unlock(&(*feed)->lock);
    pthread_join((*feed)->thread, NULL);
    xp_workers_close(&(*feed)->workers);
    pthread_cond_destroy(&(*feed)->ready);
    pthread_cond_destroy(&(*feed)->work);
    pthread_mutex_destroy(&(*feed)->lock);
    free(*feed);
    *feed = NULL;
}

/* With the lock held: until the thread touches no slot. What is half read is dropped. */
static void come_to_rest(xp_feed *feed) {
    feed->dataset = NULL;
    xp_workers_halt(feed->workers, true);
    while (feed->busy) pthread_cond_wait(&feed->ready, &feed->lock);
    xp_workers_halt(feed->workers, false);
    feed->prepared = feed->taken = feed->returned = 0;
    feed->status = XP_OK;
}

void xp_feed_begin(xp_feed *feed, const xp_dataset *dataset, const int32_t *order, int64_t order_count, int64_t first) {
    pthread_mutex_lock(&feed->lock);
    come_to_rest(feed);
    feed->dataset = dataset;
    feed->order = order;
    feed->order_count = order_count;
    feed->first = first;
    pthread_cond_signal(&feed->work);
    pthread_mutex_unlock(&feed->lock);
}

void xp_feed_end(xp_feed *feed) {
    pthread_mutex_lock(&feed->lock);
    come_to_rest(feed);
    pthread_mutex_unlock(&feed->lock);
}

xp_status xp_feed_take(xp_feed *feed, int *slot, int *filled) {
    xp_status status = XP_OK;
    pthread_mutex_lock(&feed->lock);
    while (feed->taken == feed->prepared && (feed->busy || has_work(feed)))
        pthread_cond_wait(&feed->ready, &feed->lock);
    if (feed->taken < feed->prepared) {
        *slot = (int)(feed->taken++ % XP_FEED_SLOTS);
        *filled = feed->slots[*slot].filled;
    } else if (feed->status != XP_OK) {
        status = xp_fail(feed->status, "%s", feed->message);
    } else {
        status = xp_fail(XP_INVALID_ARGUMENT, "there is no further batch to take");
    }
    pthread_mutex_unlock(&feed->lock);
    return status;
}

void xp_feed_return(xp_feed *feed) {
    pthread_mutex_lock(&feed->lock);
    feed->returned++;
    pthread_cond_signal(&feed->work);
    pthread_mutex_unlock(&feed->lock);
}
