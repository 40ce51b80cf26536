/*
 * queue.h: one consumer's two queues: requests that gather for the writer, and completions that
 * wait for the consumer. Deliberately not here: when they are written (writer.h).
 *
 * The mutex is only ever waited for by the consumer and the writer, once for a batch.
 */
#ifndef ASSENT_STORE_QUEUE_H
#define ASSENT_STORE_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>

#include "batch.h"
#include "runtime.h"

struct assent_queue {
    int fd;               /* eventfd: readable when done has something */
    atomic_size_t queued; /* changed under the mutex, read at any time */

    pthread_mutex_t mutex;          /* for all below */
    struct assent_batch *gathering; /* NULL: nothing queued */
    struct assent_batch_list done;
    struct assent_batch_list spare;
    size_t spare_count;
    size_t outstanding; /* requests queued, or done and not yet delivered */
};

static inline void assent_mutex_lock(pthread_mutex_t *mutex)
{
    int error = pthread_mutex_lock(mutex);

    ASSENT_ASSERT(error == 0);
}

static inline void assent_mutex_unlock(pthread_mutex_t *mutex)
{
    int error = pthread_mutex_unlock(mutex);

    ASSENT_ASSERT(error == 0);
}

void assent_mutex_init(pthread_mutex_t *mutex);

/* False without a descriptor; the queue needs fini all the same. */
ASSENT_CHECKED bool assent_queue_init(struct assent_queue *queue);
void assent_queue_fini(struct assent_queue *queue);

/* By the consumer. 0; 1: this is the first request of its batch, or its first forced one (more
 * change nothing that the writer could be waiting for); ASSENT_E_LIMIT (more than outstanding_max),
 * ASSENT_E_NOMEM. */
ASSENT_CHECKED int assent_queue_put(struct assent_queue *queue, const struct assent_put *put,
                                    size_t outstanding_max);
/* As assent_store_process(). */
void assent_queue_process(struct assent_queue *queue,
                          void (*done)(const struct assent_completion *completion, void *context),
                          void *context);

/* By the writer: the batch is on disk. */
void assent_queue_publish(struct assent_queue *queue, struct assent_batch *batch);

#endif
