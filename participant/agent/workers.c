/*
 * workers.c: the pool for work and one finishing thread per resource, see workers.h.
 *
 * One mutex guards every queue; nothing is called under it. A job walks: lane (loop only) -> the
 * loop itself, if the resource can be tried (loop only) -> pool, if it begins or works -> finishing
 * thread, if it does more -> done queue -> done() on the loop.
 */
#include "workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "crash_point.h"
#include "runtime.h"

/* Most calls that one batch hands to a resource. */
#define BATCH_MAX 1024

struct agent_finisher {
    STAILQ_ENTRY(agent_finisher) link;
    struct agent_workers *workers;
    const struct assent_resource_ops *ops;
    void *const *resource;   /* written by a task alone, before work is let in */
    struct agent_jobs queue; /* under the mutex */
    pthread_cond_t wake;
    pthread_t thread;
    bool started;
    bool tries; /* loop only: the resource is open, and can be tried without waiting */
    struct agent_job *jobs[BATCH_MAX]; /* the group under way */
    struct assent_call *calls[BATCH_MAX];
};

struct agent_workers {
    void (*done)(struct agent_job *, void *);
    void *context;
    size_t pending;          /* loop only, as the next */
    struct agent_jobs tried; /* done on the loop */
    int fd;

    pthread_mutex_t mutex;
    pthread_cond_t wake_pool, ended;
    struct agent_jobs pool, finished;
    unsigned pool_waiting; /* threads asleep on wake_pool */
    unsigned running;      /* threads that have not ended */
    bool stopping;

    STAILQ_HEAD(, agent_finisher) finishers;
    unsigned threads, threads_started;
    pthread_t *thread;
};

/* Where to die around each operation; -1: nowhere. */
static const struct {
    int before, after;
} crash[ASSENT_OP_COUNT] = {
    [ASSENT_OP_WORK] = {ASSENT_CRASH_agent_before_rm_work, ASSENT_CRASH_agent_after_rm_work},
    [ASSENT_OP_PREPARE] = {ASSENT_CRASH_agent_before_rm_prepare,
                           ASSENT_CRASH_agent_after_rm_prepare},
    [ASSENT_OP_COMMIT] = {ASSENT_CRASH_agent_before_rm_commit, ASSENT_CRASH_agent_after_rm_commit},
    [ASSENT_OP_ROLLBACK] = {ASSENT_CRASH_agent_before_rm_rollback,
                            ASSENT_CRASH_agent_after_rm_rollback},
    [ASSENT_OP_ONE_PHASE] = {ASSENT_CRASH_agent_before_rm_one_phase,
                             ASSENT_CRASH_agent_after_rm_one_phase},
    [ASSENT_OP_EVIDENCE] = {-1, -1},
    [ASSENT_OP_FORGET] = {-1, -1},
};

static void before(const struct assent_call *call)
{
    if (crash[call->operation].before >= 0)
        assent_crash_point((enum assent_crash_point)crash[call->operation].before);
}

static void after(const struct assent_call *call)
{
    if (crash[call->operation].after >= 0)
        assent_crash_point((enum assent_crash_point)crash[call->operation].after);
}

/* Readies the call for an operation. A resource that forgets to answer has not succeeded. */
static void ready(struct assent_call *call, enum assent_operation operation)
{
    call->operation = operation;
    call->would_wait = false;
    call->result = ASSENT_RM_UNKNOWN_CODE;
    call->reason[0] = '\0';
}

static void not_open(struct assent_call *call)
{
    call->result = ASSENT_RM_UNAVAILABLE;
    snprintf(call->reason, sizeof(call->reason), "the resource is not open yet");
}

static bool needs_pool(const struct agent_job *job)
{
    if (job->task)
        return false;
    return job->command || job->operation == ASSENT_OP_WORK || job->with_begin || job->with_work;
}

static void wake_loop(struct agent_workers *workers)
{
    uint64_t one = 1;

    /* A full counter is readable as well, so a failed write loses nothing. */
    if (write(workers->fd, &one, sizeof(one)) < 0)
        ASSENT_ASSERT(errno == EAGAIN || errno == EINTR);
}

/* Under the mutex. True: the loop must be woken, after unlocking. */
static bool push_finished(struct agent_workers *workers, struct agent_job *job)
{
    bool wake = STAILQ_EMPTY(&workers->finished);

    STAILQ_INSERT_TAIL(&workers->finished, job, link);
    return wake;
}

/* Under the mutex. */
static void push(struct agent_workers *workers, struct agent_job *job, bool to_pool)
{
    if (to_pool) {
        STAILQ_INSERT_TAIL(&workers->pool, job, link);
        if (workers->pool_waiting)
            pthread_cond_signal(&workers->wake_pool);
    } else {
        if (STAILQ_EMPTY(&job->finisher->queue))
            pthread_cond_signal(&job->finisher->wake);
        STAILQ_INSERT_TAIL(&job->finisher->queue, job, link);
    }
}

static void run_query(struct agent_job *job)
{
    const struct assent_resource_ops *ops = job->finisher->ops;
    char *json = NULL;

    job->query_error = ASSENT_E_NOT_FOUND;
    if (ops->query)
        job->query_error = ops->query(*job->finisher->resource, job->command, &json,
                                      job->call.reason, sizeof(job->call.reason));
    if (job->query_error == 0 && json) {
        job->call.reply = json;
        job->call.reply_size = strlen(json);
    }
}

/* Begin and work, as asked and as far as nothing would wait. True: `operation` is still to be done.
 */
static bool run_work(struct agent_job *job)
{
    const struct assent_resource_ops *ops = job->finisher->ops;
    struct assent_call *call = &job->call;
    bool work = job->with_work || job->operation == ASSENT_OP_WORK;

    ready(call, ASSENT_OP_WORK);
    before(call);
    if (job->with_begin) {
        ops->begin(*job->finisher->resource, call);
        job->with_begin = call->would_wait;
        work &= call->result == ASSENT_RM_OK;
    }
    if (work && !call->would_wait) {
        ready(call, ASSENT_OP_WORK);
        ops->work(*job->finisher->resource, call);
        job->with_work &= call->would_wait;
    }
    after(call);
    return call->result == ASSENT_RM_OK && job->operation != ASSENT_OP_WORK;
}

static void *serve_pool(void *argument)
{
    struct agent_workers *workers = argument;
    bool wake;

    pthread_mutex_lock(&workers->mutex);
    for (;;) {
        struct agent_job *job;
        bool more = false;

        workers->pool_waiting++;
        while (!workers->stopping && STAILQ_EMPTY(&workers->pool))
            pthread_cond_wait(&workers->wake_pool, &workers->mutex);
        workers->pool_waiting--;
        if (workers->stopping)
            break;
        job = STAILQ_FIRST(&workers->pool);
        STAILQ_REMOVE_HEAD(&workers->pool, link);
        pthread_mutex_unlock(&workers->mutex);

        if (job->command)
            run_query(job);
        else
            more = run_work(job);

        pthread_mutex_lock(&workers->mutex);
        wake = !more && push_finished(workers, job);
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

static void run_one(struct agent_finisher *finisher, struct assent_call *call)
{
    const struct assent_resource_ops *ops = finisher->ops;
    void *resource = *finisher->resource;

    switch (call->operation) {
    case ASSENT_OP_PREPARE:
        ops->prepare(resource, call);
        break;
    case ASSENT_OP_COMMIT:
    case ASSENT_OP_ONE_PHASE:
        ops->commit(resource, call);
        break;
    case ASSENT_OP_ROLLBACK:
        ops->rollback(resource, call);
        break;
    case ASSENT_OP_EVIDENCE:
        if (ops->capabilities & ASSENT_CAP_EVIDENCE)
            ops->evidence(resource, call);
        else
            call->result = ASSENT_RM_NOT_FOUND; /* declares that it has none */
        break;
    case ASSENT_OP_FORGET:
        ops->forget(resource, call);
        break;
    case ASSENT_OP_WORK:
    case ASSENT_OP_COUNT:
        ASSENT_ASSERT(!"an operation of the pool on a finishing thread");
    }
}

/* The group in finisher->jobs: what the resource can take together goes to it in one call. */
static void run_group(struct agent_finisher *finisher, size_t count)
{
    bool batch = finisher->ops->capabilities & ASSENT_CAP_BATCH;
    size_t together = 0;

    for (size_t i = 0; i < count; i++) {
        struct agent_job *job = finisher->jobs[i];

        if (job->task) {
            job->task(job);
            continue;
        }
        ready(&job->call, job->operation);
        if (!*finisher->resource) {
            not_open(&job->call);
            continue;
        }
        before(&job->call);
        if (batch && job->operation != ASSENT_OP_EVIDENCE) {
            finisher->calls[together++] = &job->call;
        } else {
            run_one(finisher, &job->call);
            after(&job->call);
        }
    }
    if (together) {
        finisher->ops->batch(*finisher->resource, finisher->calls, together);
        for (size_t i = 0; i < together; i++)
            after(finisher->calls[i]);
    }
}

static void *serve_finisher(void *argument)
{
    struct agent_finisher *finisher = argument;
    struct agent_workers *workers = finisher->workers;
    size_t most = finisher->ops->capabilities & ASSENT_CAP_BATCH ? BATCH_MAX : 1;

    pthread_mutex_lock(&workers->mutex);
    for (;;) {
        size_t count = 0;
        bool wake = false;

        while (!workers->stopping && STAILQ_EMPTY(&finisher->queue))
            pthread_cond_wait(&finisher->wake, &workers->mutex);
        if (workers->stopping)
            break;
        while (count < most && !STAILQ_EMPTY(&finisher->queue)) {
            finisher->jobs[count++] = STAILQ_FIRST(&finisher->queue);
            STAILQ_REMOVE_HEAD(&finisher->queue, link);
        }
        pthread_mutex_unlock(&workers->mutex);
        run_group(finisher, count);
        pthread_mutex_lock(&workers->mutex);
        for (size_t i = 0; i < count; i++)
            wake |= push_finished(workers, finisher->jobs[i]);
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

int agent_workers_new(unsigned threads, void (*done)(struct agent_job *, void *), void *context,
                      struct agent_workers **ret_workers)
{
    struct agent_workers *workers = calloc(1, sizeof(*workers));
    pthread_condattr_t monotonic;

    if (!workers)
        return ASSENT_E_NOMEM;
    workers->done = done;
    workers->context = context;
    workers->threads = threads;
    workers->thread = calloc(threads, sizeof(*workers->thread));
    workers->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    STAILQ_INIT(&workers->pool);
    STAILQ_INIT(&workers->finished);
    STAILQ_INIT(&workers->tried);
    STAILQ_INIT(&workers->finishers);
    pthread_mutex_init(&workers->mutex, NULL);
    pthread_cond_init(&workers->wake_pool, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&workers->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!workers->thread || workers->fd < 0) {
        int error = workers->thread ? ASSENT_E_IO : ASSENT_E_NOMEM;

        agent_workers_free(workers);
        return error;
    }
    *ret_workers = workers;
    return 0;
}

int agent_workers_add(struct agent_workers *workers, const struct assent_resource_ops *ops,
                      void *const *resource, struct agent_finisher **ret_finisher)
{
    struct agent_finisher *finisher = calloc(1, sizeof(*finisher));

    if (!finisher)
        return ASSENT_E_NOMEM;
    finisher->workers = workers;
    finisher->ops = ops;
    finisher->resource = resource;
    STAILQ_INIT(&finisher->queue);
    pthread_cond_init(&finisher->wake, NULL);
    STAILQ_INSERT_TAIL(&workers->finishers, finisher, link);
    *ret_finisher = finisher;
    return 0;
}

void agent_workers_opened(struct agent_finisher *finisher)
{
    finisher->tries = finisher->ops->capabilities & ASSENT_CAP_TRY;
}

/* Signals belong to the program's own threads. */
static int start_thread(struct agent_workers *workers, pthread_t *thread, void *(*serve)(void *),
                        void *argument)
{
    sigset_t all, before_it;
    int error;

    pthread_mutex_lock(&workers->mutex);
    workers->running++;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_it);
    error = pthread_create(thread, NULL, serve, argument);
    pthread_sigmask(SIG_SETMASK, &before_it, NULL);
    if (error)
        workers->running--;
    pthread_mutex_unlock(&workers->mutex);
    return error ? ASSENT_E_LIMIT : 0;
}

int agent_workers_start(struct agent_workers *workers)
{
    struct agent_finisher *finisher;
    int error;

    while (workers->threads_started < workers->threads) {
        error =
            start_thread(workers, &workers->thread[workers->threads_started], serve_pool, workers);
        if (error)
            return error;
        workers->threads_started++;
    }
    STAILQ_FOREACH (finisher, &workers->finishers, link) {
        error = start_thread(workers, &finisher->thread, serve_finisher, finisher);
        if (error)
            return error;
        finisher->started = true;
    }
    return 0;
}

/* On the loop: the job as far as nothing waits. False: the rest is for the threads. */
static bool try_now(struct agent_job *job)
{
    struct assent_call *call = &job->call;
    bool more = true;

    if (!job->finisher->tries || job->task || job->command || job->operation == ASSENT_OP_EVIDENCE)
        return false;
    call->no_wait = true;
    call->would_wait = false;
    if (needs_pool(job))
        more = run_work(job);
    if (more && !call->would_wait) {
        ready(call, job->operation);
        before(call);
        run_one(job->finisher, call);
        after(call);
    }
    call->no_wait = false;
    return !call->would_wait;
}

static void dispatch(struct agent_workers *workers, struct agent_job *job)
{
    if (job->lane)
        job->lane->busy = true;
    if (try_now(job)) {
        STAILQ_INSERT_TAIL(&workers->tried, job, link);
        return;
    }
    pthread_mutex_lock(&workers->mutex);
    push(workers, job, needs_pool(job));
    pthread_mutex_unlock(&workers->mutex);
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
    return !STAILQ_EMPTY(&workers->tried);
}

int agent_workers_fd(const struct agent_workers *workers)
{
    return workers->fd;
}

void agent_workers_process(struct agent_workers *workers, bool readable)
{
    struct agent_jobs finished = STAILQ_HEAD_INITIALIZER(finished);
    uint64_t count;

    STAILQ_CONCAT(&finished, &workers->tried);
    if (readable) {
        /* Reset before taking the queue: a job that ends in between wakes us again. */
        if (read(workers->fd, &count, sizeof(count)) < 0)
            ASSENT_ASSERT(errno == EAGAIN || errno == EINTR);
        pthread_mutex_lock(&workers->mutex);
        STAILQ_CONCAT(&finished, &workers->finished);
        pthread_mutex_unlock(&workers->mutex);
    }
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
}

bool agent_workers_stop(struct agent_workers *workers, uint32_t timeout_ms)
{
    struct agent_finisher *finisher;
    struct timespec until;
    bool all;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&workers->mutex);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->wake_pool);
    STAILQ_FOREACH (finisher, &workers->finishers, link)
        pthread_cond_signal(&finisher->wake);
    while (workers->running &&
           pthread_cond_timedwait(&workers->ended, &workers->mutex, &until) != ETIMEDOUT)
        ;
    all = workers->running == 0;
    pthread_mutex_unlock(&workers->mutex);
    return all;
}

static void drop_jobs(struct agent_jobs *jobs)
{
    while (!STAILQ_EMPTY(jobs)) {
        struct agent_job *job = STAILQ_FIRST(jobs);

        STAILQ_REMOVE_HEAD(jobs, link);
        if (job->lane)
            drop_jobs(&job->lane->waiting);
        agent_job_free(job);
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
        if (finisher->started)
            pthread_join(finisher->thread, NULL);
        drop_jobs(&finisher->queue);
        pthread_cond_destroy(&finisher->wake);
        free(finisher);
    }
    drop_jobs(&workers->pool);
    drop_jobs(&workers->finished);
    drop_jobs(&workers->tried);
    pthread_cond_destroy(&workers->wake_pool);
    pthread_cond_destroy(&workers->ended);
    pthread_mutex_destroy(&workers->mutex);
    if (workers->fd >= 0)
        close(workers->fd);
    free(workers->thread);
    free(workers);
}
