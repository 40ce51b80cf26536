/*
 * workers.c: the pool for work and the finishing threads of each resource, see workers.h.
 *
 * One mutex guards every queue; nothing is called under it. A job walks: lane (loop only) -> the
 * loop itself, if the resource can be tried, and may go on there later (loop only) -> pool, if it
 * begins or works -> finishing thread, if it does more and the resource has but one -> done queue
 * -> done() on the loop.
 */
#include "workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "calls.h"
#include "runtime.h"

/* Most calls that one batch hands to a resource. */
#define BATCH_MAX  1024
#define EVENTS_MAX 17 /* one of each resource, and the threads' */

/* Threads asleep, and how many of them have been woken and do not run yet. Under the mutex. */
struct sleepers {
    pthread_cond_t wake;
    unsigned asleep, woken;
};

struct agent_finisher {
    STAILQ_ENTRY(agent_finisher) link;
    struct agent_workers *workers;
    const struct assent_resource_ops *ops;
    agent_handle *resource;  /* written by a task alone, before work is let in */
    struct agent_jobs queue; /* under the mutex, as the next three */
    struct agent_jobs apart; /* of several threads, what one at a time takes, all of it */
    bool apart_busy;
    bool tries;   /* loop only: the resource is open, and can be tried without waiting */
    bool watched; /* loop only: its descriptor is */
    struct sleepers sleepers;
    unsigned threads, threads_started;
    pthread_t *thread;
    struct agent_job *group[BATCH_MAX]; /* under way: of the one thread, or from apart */
    struct assent_call *calls[BATCH_MAX];
};

struct agent_workers {
    void (*done)(struct agent_job *, void *);
    void *context;
    struct assent_pool *jobs;
    size_t pending;                   /* loop only, as the next three */
    struct agent_jobs tried;          /* done on the loop */
    struct agent_jobs leaving;        /* for the threads, together at the end of the turn */
    LIST_HEAD(, agent_job) under_way; /* resources go on with them by themselves */
    int fd;                           /* epoll: the next, and descriptors of resources */
    int finished_fd;                  /* an eventfd */

    pthread_mutex_t mutex;
    pthread_cond_t ended;
    struct agent_jobs pool, finished;
    struct sleepers sleepers; /* of the pool */
    unsigned running;         /* threads that have not ended */
    bool stopping;

    STAILQ_HEAD(, agent_finisher) finishers;
    unsigned threads, threads_started;
    pthread_t *thread;
};

static bool needs_pool(const struct agent_job *job)
{
    return !job->task && (job->command || agent_job_works(job));
}

static void wake_loop(struct agent_workers *workers)
{
    uint64_t one = 1;

    /* A full counter is readable as well, so a failed write loses nothing. */
    if (write(workers->finished_fd, &one, sizeof(one)) < 0)
        ASSENT_ASSERT(errno == EAGAIN || errno == EINTR);
}

/* Under the mutex. True: the loop must be woken, after unlocking. */
static bool push_finished(struct agent_workers *workers, struct agent_jobs *jobs)
{
    bool wake = STAILQ_EMPTY(&workers->finished);

    STAILQ_CONCAT(&workers->finished, jobs);
    return wake;
}

static void sleep_until_woken(struct sleepers *sleepers, pthread_mutex_t *mutex)
{
    sleepers->asleep++;
    pthread_cond_wait(&sleepers->wake, mutex);
    sleepers->asleep--;
    if (sleepers->woken > 0) /* else it woke by itself */
        sleepers->woken--;
}

static void wake_one(struct sleepers *sleepers)
{
    if (sleepers->asleep == sleepers->woken)
        return;
    sleepers->woken++;
    pthread_cond_signal(&sleepers->wake);
}

static bool side_by_side(const struct agent_finisher *finisher)
{
    return finisher->threads > 1;
}

/* Under the mutex. */
static void push(struct agent_workers *workers, struct agent_job *job, bool to_pool)
{
    struct agent_finisher *finisher = job->finisher;
    bool wake = true;

    if (to_pool) {
        STAILQ_INSERT_TAIL(&workers->pool, job, link);
        wake_one(&workers->sleepers);
        return;
    }
    if (side_by_side(finisher) && (job->task || job->operation == ASSENT_OP_FORGET)) {
        wake = !finisher->apart_busy && STAILQ_EMPTY(&finisher->apart); /* else one will look */
        STAILQ_INSERT_TAIL(&finisher->apart, job, link);
    } else {
        STAILQ_INSERT_TAIL(&finisher->queue, job, link);
    }
    if (wake)
        wake_one(&finisher->sleepers);
}

static void *serve_pool(void *argument)
{
    struct agent_workers *workers = argument;
    const struct assent_resource_ops *ops;
    void *resource;
    bool wake;

    pthread_mutex_lock(&workers->mutex);
    for (;;) {
        struct agent_jobs ended = STAILQ_HEAD_INITIALIZER(ended);
        struct agent_job *job;
        bool more = false;

        while (!workers->stopping && STAILQ_EMPTY(&workers->pool))
            sleep_until_woken(&workers->sleepers, &workers->mutex);
        if (workers->stopping)
            break;
        job = STAILQ_FIRST(&workers->pool);
        STAILQ_REMOVE_HEAD(&workers->pool, link);
        pthread_mutex_unlock(&workers->mutex);

        ops = job->finisher->ops;
        resource = *job->finisher->resource;
        if (job->command)
            agent_call_query(ops, resource, job);
        else
            more = agent_call_work(ops, resource, job);
        if (more && side_by_side(job->finisher)) {
            agent_call_rest(ops, resource, job);
            more = false;
        }

        if (!more)
            STAILQ_INSERT_TAIL(&ended, job, link);
        pthread_mutex_lock(&workers->mutex);
        wake = !more && push_finished(workers, &ended);
        if (more)
            push(workers, job, false);
        if (wake) {
            pthread_mutex_unlock(&workers->mutex);
            wake_loop(workers);
            pthread_mutex_lock(&workers->mutex);
        }
    }
    workers->running--;
    pthread_cond_signal(&workers->ended);
    pthread_mutex_unlock(&workers->mutex);
    return NULL;
}

/* A group of one, or all that the resource can take together: that goes to it in one call. */
static void run_group(struct agent_finisher *finisher, struct agent_job **group, size_t count)
{
    bool batch = finisher->ops->capabilities & ASSENT_CAP_BATCH;
    void *resource = *finisher->resource;
    size_t together = 0;

    for (size_t i = 0; i < count; i++) {
        struct agent_job *job = group[i];

        if (job->task)
            job->task(job);
        else if (!resource)
            agent_call_nobody(job);
        else if (batch && (job->operation == ASSENT_OP_FORGET ||
                           (job->operation != ASSENT_OP_EVIDENCE && !side_by_side(finisher))))
            finisher->calls[together++] = agent_call_ready(job);
        else
            agent_call_rest(finisher->ops, resource, job);
        resource = *finisher->resource; /* a task may have opened it */
    }
    if (together)
        agent_call_batch(finisher->ops, resource, finisher->calls, together);
}

static size_t take(struct agent_jobs *queue, struct agent_job **group, size_t most)
{
    size_t count = 0;

    while (count < most && !STAILQ_EMPTY(queue)) {
        group[count++] = STAILQ_FIRST(queue);
        STAILQ_REMOVE_HEAD(queue, link);
    }
    return count;
}

/* Under the mutex. Several threads take one call each. Tasks never overlap; and nobody waits for
 * what is to be forgotten, so it is as well done together. */
static size_t take_group(struct agent_finisher *finisher, struct agent_job **one,
                         struct agent_job ***ret_group)
{
    bool batch = finisher->ops->capabilities & ASSENT_CAP_BATCH;

    *ret_group = finisher->group;
    if (!side_by_side(finisher))
        return take(&finisher->queue, finisher->group, batch ? BATCH_MAX : 1);
    if (!finisher->apart_busy && !STAILQ_EMPTY(&finisher->apart)) {
        finisher->apart_busy = true;
        return take(&finisher->apart, finisher->group, BATCH_MAX);
    }
    *ret_group = one;
    return take(&finisher->queue, one, 1);
}

static void *serve_finisher(void *argument)
{
    struct agent_finisher *finisher = argument;
    struct agent_workers *workers = finisher->workers;
    struct agent_job *one, **group;

    pthread_mutex_lock(&workers->mutex);
    for (;;) {
        struct agent_jobs ended = STAILQ_HEAD_INITIALIZER(ended);
        size_t count = 0;
        bool wake;

        while (!workers->stopping && (count = take_group(finisher, &one, &group)) == 0)
            sleep_until_woken(&finisher->sleepers, &workers->mutex);
        if (workers->stopping)
            break;
        pthread_mutex_unlock(&workers->mutex);
        run_group(finisher, group, count);
        for (size_t i = 0; i < count; i++)
            STAILQ_INSERT_TAIL(&ended, group[i], link);
        pthread_mutex_lock(&workers->mutex);
        if (group == finisher->group)
            finisher->apart_busy = false;
        wake = push_finished(workers, &ended);
        if (wake) {
            pthread_mutex_unlock(&workers->mutex);
            wake_loop(workers);
            pthread_mutex_lock(&workers->mutex);
        }
    }
    workers->running--;
    pthread_cond_signal(&workers->ended);
    pthread_mutex_unlock(&workers->mutex);
    return NULL;
}

static bool watch(struct agent_workers *workers, int fd, struct agent_finisher *finisher)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = finisher};

    return epoll_ctl(workers->fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

int agent_workers_new(unsigned threads, struct assent_pool *jobs,
                      void (*done)(struct agent_job *, void *), void *context,
                      struct agent_workers **ret_workers)
{
    struct agent_workers *workers = calloc(1, sizeof(*workers));
    pthread_condattr_t monotonic;

    if (!workers)
        return ASSENT_E_NOMEM;
    workers->done = done;
    workers->context = context;
    workers->jobs = jobs;
    assent_pool_init(jobs, sizeof(struct agent_job), offsetof(struct agent_job, call.reason) + 1);
    workers->threads = threads;
    workers->thread = calloc(threads, sizeof(*workers->thread));
    workers->fd = epoll_create1(EPOLL_CLOEXEC);
    workers->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    LIST_INIT(&workers->under_way);
    STAILQ_INIT(&workers->pool);
    STAILQ_INIT(&workers->finished);
    STAILQ_INIT(&workers->tried);
    STAILQ_INIT(&workers->leaving);
    STAILQ_INIT(&workers->finishers);
    pthread_mutex_init(&workers->mutex, NULL);
    pthread_cond_init(&workers->sleepers.wake, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&workers->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!workers->thread || workers->fd < 0 || workers->finished_fd < 0 ||
        !watch(workers, workers->finished_fd, NULL)) {
        int error = workers->thread ? ASSENT_E_IO : ASSENT_E_NOMEM;

        agent_workers_free(workers);
        return error;
    }
    *ret_workers = workers;
    return 0;
}

int agent_workers_add(struct agent_workers *workers, const struct assent_resource_ops *ops,
                      agent_handle *resource, struct agent_finisher **ret_finisher)
{
    struct agent_finisher *finisher = calloc(1, sizeof(*finisher));
    unsigned threads = assent_resource_finishers(ops);

    if (!finisher || !(finisher->thread = calloc(threads, sizeof(*finisher->thread)))) {
        free(finisher);
        return ASSENT_E_NOMEM;
    }
    finisher->threads = threads;
    finisher->workers = workers;
    finisher->ops = ops;
    finisher->resource = resource;
    STAILQ_INIT(&finisher->queue);
    STAILQ_INIT(&finisher->apart);
    pthread_cond_init(&finisher->sleepers.wake, NULL);
    STAILQ_INSERT_TAIL(&workers->finishers, finisher, link);
    *ret_finisher = finisher;
    return 0;
}

struct assent_pool *agent_finisher_jobs(const struct agent_finisher *finisher)
{
    return finisher->workers->jobs;
}

void agent_workers_opened(struct agent_finisher *finisher)
{
    finisher->tries = finisher->ops->capabilities & ASSENT_CAP_TRY;
    if ((finisher->ops->capabilities & ASSENT_CAP_LATER) && !finisher->watched) {
        finisher->watched =
            watch(finisher->workers, finisher->ops->descriptor(*finisher->resource), finisher);
        finisher->tries &= finisher->watched;
    }
}

/* Signals belong to the program's own threads. */
static int start_threads(struct agent_workers *workers, pthread_t *thread, unsigned count,
                         unsigned *started, void *(*serve)(void *), void *argument)
{
    sigset_t all, before_it;
    int error = 0;

    pthread_mutex_lock(&workers->mutex);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_it);
    while (!error && *started < count) {
        error = pthread_create(&thread[*started], NULL, serve, argument);
        if (!error) {
            workers->running++;
            (*started)++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before_it, NULL);
    pthread_mutex_unlock(&workers->mutex);
    return error ? ASSENT_E_LIMIT : 0;
}

int agent_workers_start(struct agent_workers *workers)
{
    int error = start_threads(workers, workers->thread, workers->threads, &workers->threads_started,
                              serve_pool, workers);
    struct agent_finisher *finisher;

    STAILQ_FOREACH (finisher, &workers->finishers, link)
        if (!error)
            error = start_threads(workers, finisher->thread, finisher->threads,
                                  &finisher->threads_started, serve_finisher, finisher);
    return error;
}

/* On the loop: the job as far as nothing waits. */
static enum agent_tried try_now(struct agent_job *job)
{
    if (!job->finisher->tries || job->task || job->command || job->operation == ASSENT_OP_EVIDENCE)
        return AGENT_TRIED_WAITS;
    return agent_call_try(job->finisher->ops, *job->finisher->resource, job);
}

static void note_tried(struct agent_workers *workers, struct agent_job *job, enum agent_tried tried)
{
    switch (tried) {
    case AGENT_TRIED_DONE:
        STAILQ_INSERT_TAIL(&workers->tried, job, link);
        break;
    case AGENT_TRIED_LATER:
        LIST_INSERT_HEAD(&workers->under_way, job, under_way);
        break;
    case AGENT_TRIED_WAITS:
        STAILQ_INSERT_TAIL(&workers->leaving, job, link);
        break;
    }
}

static void dispatch(struct agent_workers *workers, struct agent_job *job)
{
    if (job->lane)
        job->lane->busy = true;
    note_tried(workers, job, try_now(job));
}

/* The resource has gone on with it by itself. */
static void on_answered(struct assent_call *call, void *context)
{
    struct agent_job *job = (struct agent_job *)((char *)call - offsetof(struct agent_job, call));

    LIST_REMOVE(job, under_way);
    note_tried(context, job, agent_call_go_on(job->finisher->ops, *job->finisher->resource, job));
}

void agent_workers_submit(struct agent_workers *workers, struct agent_job *job)
{
    workers->pending++;
    if (job->lane && job->lane->busy)
        STAILQ_INSERT_TAIL(&job->lane->waiting, job, link);
    else
        dispatch(workers, job);
}

size_t agent_workers_pending(const struct agent_workers *workers)
{
    return workers->pending;
}

bool agent_workers_ready(const struct agent_workers *workers)
{
    return !STAILQ_EMPTY(&workers->tried) || !STAILQ_EMPTY(&workers->leaving);
}

int agent_workers_fd(const struct agent_workers *workers)
{
    return workers->fd;
}

/* Whatever has come back: from threads, and from resources by themselves. */
static void look(struct agent_workers *workers, struct agent_jobs *finished)
{
    struct epoll_event events[EVENTS_MAX];
    int ready = epoll_wait(workers->fd, events, EVENTS_MAX, 0);
    uint64_t count;

    for (int i = 0; i < ready; i++) {
        struct agent_finisher *finisher = events[i].data.ptr;

        if (finisher) {
            finisher->ops->progress(*finisher->resource, on_answered, workers);
            continue;
        }
        /* Reset before taking the queue: a job that ends in between wakes us again. */
        if (read(workers->finished_fd, &count, sizeof(count)) < 0)
            ASSENT_ASSERT(errno == EAGAIN || errno == EINTR);
        pthread_mutex_lock(&workers->mutex);
        STAILQ_CONCAT(finished, &workers->finished);
        pthread_mutex_unlock(&workers->mutex);
    }
}

static void hand_over(struct agent_workers *workers)
{
    pthread_mutex_lock(&workers->mutex);
    while (!STAILQ_EMPTY(&workers->leaving)) {
        struct agent_job *job = STAILQ_FIRST(&workers->leaving);

        STAILQ_REMOVE_HEAD(&workers->leaving, link);
        push(workers, job, needs_pool(job));
    }
    pthread_mutex_unlock(&workers->mutex);
}

void agent_workers_process(struct agent_workers *workers, bool readable)
{
    struct agent_jobs finished = STAILQ_HEAD_INITIALIZER(finished);

    if (readable)
        look(workers, &finished);
    STAILQ_CONCAT(&finished, &workers->tried);
    while (!STAILQ_EMPTY(&finished)) {
        struct agent_job *job = STAILQ_FIRST(&finished);
        struct agent_lane *lane = job->lane;

        STAILQ_REMOVE_HEAD(&finished, link);
        workers->pending--;
        if (lane) {
            struct agent_job *next = STAILQ_FIRST(&lane->waiting);

            lane->busy = false;
            if (next) {
                STAILQ_REMOVE_HEAD(&lane->waiting, link);
                dispatch(workers, next);
            }
        }
        workers->done(job, workers->context);
    }
    if (!STAILQ_EMPTY(&workers->leaving))
        hand_over(workers);
}

bool agent_workers_stop(struct agent_workers *workers, uint32_t timeout_ms)
{
    struct agent_finisher *finisher;
    struct timespec until = assent_moment(assent_now_ms() + timeout_ms);
    bool all;

    pthread_mutex_lock(&workers->mutex);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->sleepers.wake);
    STAILQ_FOREACH (finisher, &workers->finishers, link)
        pthread_cond_broadcast(&finisher->sleepers.wake);
    while (workers->running &&
           pthread_cond_timedwait(&workers->ended, &workers->mutex, &until) != ETIMEDOUT)
        ;
    all = workers->running == 0;
    pthread_mutex_unlock(&workers->mutex);
    return all;
}

/* Their resources are closed without another word about them. */
static void drop_under_way(struct agent_workers *workers)
{
    while (!LIST_EMPTY(&workers->under_way)) {
        struct agent_jobs jobs = STAILQ_HEAD_INITIALIZER(jobs);
        struct agent_job *job = LIST_FIRST(&workers->under_way);

        LIST_REMOVE(job, under_way);
        STAILQ_INSERT_TAIL(&jobs, job, link);
        agent_jobs_drop(&jobs);
    }
}

void agent_workers_free(struct agent_workers *workers)
{
    if (!workers)
        return;
    agent_workers_stop(workers, 0);
    for (unsigned i = 0; i < workers->threads_started; i++)
        pthread_join(workers->thread[i], NULL);
    while (!STAILQ_EMPTY(&workers->finishers)) {
        struct agent_finisher *finisher = STAILQ_FIRST(&workers->finishers);

        STAILQ_REMOVE_HEAD(&workers->finishers, link);
        for (unsigned i = 0; i < finisher->threads_started; i++)
            pthread_join(finisher->thread[i], NULL);
        agent_jobs_drop(&finisher->queue);
        agent_jobs_drop(&finisher->apart);
        pthread_cond_destroy(&finisher->sleepers.wake);
        free(finisher->thread);
        free(finisher);
    }
    agent_jobs_drop(&workers->pool);
    agent_jobs_drop(&workers->finished);
    agent_jobs_drop(&workers->tried);
    agent_jobs_drop(&workers->leaving);
    drop_under_way(workers);
    pthread_cond_destroy(&workers->sleepers.wake);
    pthread_cond_destroy(&workers->ended);
    pthread_mutex_destroy(&workers->mutex);
    if (workers->finished_fd >= 0)
        close(workers->finished_fd);
    if (workers->fd >= 0)
        close(workers->fd);
    free(workers->thread);
    free(workers);
}
