/* queue.c: see queue.h. */
#include "queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* One each gathering, being written and being delivered, and one over. */
#define SPARE_MAX 4

void assent_mutex_init(pthread_mutex_t *mutex)
{
    int error = pthread_mutex_init(mutex, NULL);

    ASSENT_ASSERT(error == 0);
}

/* Under the mutex. */
static void add_queued(struct assent_queue *queue, size_t by)
{
    size_t queued = atomic_load_explicit(&queue->queued, memory_order_relaxed);

    atomic_store_explicit(&queue->queued, queued + by, memory_order_relaxed);
}

/* Under the mutex. */
static void give_back(struct assent_queue *queue, struct assent_batch *batch)
{
    if (queue->spare_count == SPARE_MAX) {
        assent_batch_free(batch);
        return;
    }
    assent_batch_reset(batch);
    STAILQ_INSERT_TAIL(&queue->spare, batch, next);
    queue->spare_count++;
}

bool assent_queue_init(struct assent_queue *queue)
{
    STAILQ_INIT(&queue->done);
    STAILQ_INIT(&queue->spare);
    assent_mutex_init(&queue->mutex);
    queue->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return queue->fd >= 0;
}

static void free_list(struct assent_batch_list *list)
{
    struct assent_batch *batch;

    while ((batch = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, next);
        assent_batch_free(batch);
    }
}

void assent_queue_fini(struct assent_queue *queue)
{
    free_list(&queue->done);
    free_list(&queue->spare);
    pthread_mutex_destroy(&queue->mutex);
    if (queue->fd >= 0)
        close(queue->fd);
}

/* Under the mutex. */
static struct assent_batch *take_spare(struct assent_queue *queue)
{
    struct assent_batch *batch = STAILQ_FIRST(&queue->spare);

    if (batch == NULL)
        return assent_batch_new();
    STAILQ_REMOVE_HEAD(&queue->spare, next);
    queue->spare_count--;
    return batch;
}

/* Under the mutex. As assent_queue_put(). */
static int add(struct assent_queue *queue, const struct assent_put *put)
{
    struct assent_batch *batch = queue->gathering;
    int error;

    if (batch == NULL)
        batch = take_spare(queue);
    if (batch == NULL)
        return ASSENT_E_NOMEM;
    error = assent_batch_add(batch, put);
    if (error < 0) {
        if (batch != queue->gathering)
            give_back(queue, batch);
        return error;
    }
    if (batch != queue->gathering) {
        batch->since_ms = assent_now_ms();
        queue->gathering = batch;
    }
    queue->outstanding++;
    add_queued(queue, 1);
    return batch->count == 1 || (batch->forced == 1 && !(put->flags & ASSENT_PUT_LAZY));
}

int assent_queue_put(struct assent_queue *queue, const struct assent_put *put,
                     size_t outstanding_max)
{
    int result = ASSENT_E_LIMIT;

    assent_mutex_lock(&queue->mutex);
    if (queue->outstanding < outstanding_max)
        result = add(queue, put);
    assent_mutex_unlock(&queue->mutex);
    return result;
}

void assent_queue_publish(struct assent_queue *queue, struct assent_batch *batch)
{
    const uint64_t one = 1;
    bool wanted = batch->wanted > 0;

    assent_mutex_lock(&queue->mutex);
    add_queued(queue, -batch->count);
    if (wanted) {
        STAILQ_INSERT_TAIL(&queue->done, batch, next);
    } else {
        queue->outstanding -= batch->count;
        give_back(queue, batch);
    }
    assent_mutex_unlock(&queue->mutex);
    /* EAGAIN would mean a counter near 2^64: readable all the same. */
    if (wanted && write(queue->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        assent_panic(ASSENT_EXIT_RUNTIME, "log-write-failed", "operation=eventfd error=%s",
                     assent_log_quote(strerror(errno)));
}

static void deliver(const struct assent_batch *batch,
                    void (*done)(const struct assent_completion *completion, void *context),
                    void *context)
{
    const struct assent_request *request;
    size_t offset = 0;

    while ((request = assent_batch_next(batch, &offset)) != NULL) {
        struct assent_completion completion = {
            .token = request->token,
            .token2 = request->token2,
            .standing = (enum assent_decision)request->standing,
        };

        if (request->token != 0)
            done(&completion, context);
    }
}

void assent_queue_process(struct assent_queue *queue,
                          void (*done)(const struct assent_completion *completion, void *context),
                          void *context)
{
    struct assent_batch_list list = STAILQ_HEAD_INITIALIZER(list);
    struct assent_batch *batch;
    uint64_t count;
    /* Before the list is taken: a batch that comes in between raises it again. Whether it was
     * readable at all does not matter. */
    ssize_t ignored = read(queue->fd, &count, sizeof(count));

    (void)ignored;
    assent_mutex_lock(&queue->mutex);
    STAILQ_CONCAT(&list, &queue->done);
    /* Before the callbacks, which may put again. */
    STAILQ_FOREACH (batch, &list, next)
        queue->outstanding -= batch->count;
    assent_mutex_unlock(&queue->mutex);
    STAILQ_FOREACH (batch, &list, next)
        deliver(batch, done, context);
    assent_mutex_lock(&queue->mutex);
    while ((batch = STAILQ_FIRST(&list)) != NULL) {
        STAILQ_REMOVE_HEAD(&list, next);
        give_back(queue, batch);
    }
    assent_mutex_unlock(&queue->mutex);
}
