/*
 * workers.h: runs the blocking operations of resources on threads, and brings the results back to
 * the loop through a descriptor.
 *
 * Work (and the reading of committed data) runs on a bounded pool. What ends a branch runs on the
 * resource's own finishing threads, since work may wait for a lock that only the end of another
 * branch frees. One such thread takes all that is queued at once, so that a resource can commit a
 * group of branches with one sync; several, where a resource asks for them, take one call each, so
 * that the RM can group their syncs, and a prepare or one-phase commit that follows on work stays
 * on the thread of the work. What a resource can do without waiting (ASSENT_CAP_TRY) is done on the
 * loop, and what it can go on with by itself (ASSENT_CAP_LATER) comes back there through its own
 * descriptor. Deliberately not here: what a result means.
 *
 * Threads: all functions belong to the loop's thread. A job belongs to the workers from submit
 * until done() is called with it.
 */
#ifndef ASSENT_AGENT_WORKERS_H
#define ASSENT_AGENT_WORKERS_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "assent/participant.h"
#include "pool.h"

/* What a resource's open has handed out; NULL before that. */
typedef void *_Atomic agent_handle;

struct agent_workers;
struct agent_link;
struct agent_finisher; /* a resource as the workers know it */
struct agent_job;
STAILQ_HEAD(agent_jobs, agent_job);

/* The calls of one branch: never two at a time, in the order of submit. */
struct agent_lane {
    struct agent_jobs waiting;
    bool busy;
};

/* One call, or a row of calls for one branch: begin if asked, work if asked, then `operation`. The
 * first result that is not OK ends the row. */
#define AGENT_NEAR_WORK_BYTES 128 /* work that needs no memory of its own */

struct agent_job {
    STAILQ_ENTRY(agent_job) link;
    struct assent_pool *pool;        /* whence its memory is */
    LIST_ENTRY(agent_job) under_way; /* without a thread */
    struct agent_finisher *finisher;
    struct agent_lane *lane;         /* NULL: alone in the world */
    enum assent_operation operation; /* ignored for a query */
    bool with_begin, with_work;
    void *context;                       /* the caller's, as the next two are */
    uint64_t request;                    /* that it answers, if that came over ... */
    uint64_t connection;                 /* ... this connection ... */
    struct agent_link *asker;            /* ... of this one; tasks only */
    char *command;                       /* not NULL: a query; owned by the job */
    void (*task)(struct agent_job *job); /* not NULL: run by a finishing thread, and nothing else
                                          * of the above; also before the resource is open */
    void (*done)(struct agent_job *job); /* of a task, on the loop: owns the job */
    void (*drop)(void *context);         /* not NULL: frees the context with the job */
    int query_error;         /* 0: call.reply holds the JSON text; else call.reason says why */
    struct assent_call call; /* id, work and timeout_ms from the caller; results from the workers.
                              * From its reason on, its last field, no job is cleared */
    char near_work[AGENT_NEAR_WORK_BYTES];
};

/* done() is called inside agent_workers_process() and owns the job from then on. jobs: for their
 * memory; the caller's, set up here; it outlives the workers and every job. */
ASSENT_CHECKED int agent_workers_new(unsigned threads, struct assent_pool *jobs,
                                     void (*done)(struct agent_job *, void *), void *context,
                                     struct agent_workers **ret_workers);
/* Jobs may be submitted before start; they wait. Finishers live as long as the workers. *resource
 * is NULL until a task has opened it: until then whatever needs it is unavailable. */
ASSENT_CHECKED int agent_workers_add(struct agent_workers *workers,
                                     const struct assent_resource_ops *ops, agent_handle *resource,
                                     struct agent_finisher **ret_finisher);
ASSENT_CHECKED int agent_workers_start(struct agent_workers *workers);
/* A task has opened the resource, and is done: from now on calls are tried on the loop first, if
 * the resource offers that. May be said again. */
void agent_workers_opened(struct agent_finisher *finisher);

/* A cleared job with a copy of the work (size 0: none); NULL without memory. */
struct agent_job *agent_job_new(struct agent_finisher *finisher, const void *work,
                                size_t work_size);
void agent_job_free(struct agent_job *job); /* NULL is allowed */
/* Frees them and what waits in their lanes. */
void agent_jobs_drop(struct agent_jobs *jobs);
struct assent_pool *agent_finisher_jobs(const struct agent_finisher *finisher);
/* It begins or works. */
bool agent_job_works(const struct agent_job *job);
void agent_lane_init(struct agent_lane *lane);
bool agent_lane_idle(const struct agent_lane *lane);

void agent_workers_submit(struct agent_workers *workers, struct agent_job *job);
/* Jobs submitted and not yet given to done(). */
size_t agent_workers_pending(const struct agent_workers *workers);
/* Whether process is to be called at the end of this turn of the loop: something was done on the
 * loop, or goes to the threads, which are given all of a turn at once. */
bool agent_workers_ready(const struct agent_workers *workers);
/* Readable when process has something to do that was done on a thread, or by a resource by itself.
 * Owned by the workers. */
int agent_workers_fd(const struct agent_workers *workers);
/* readable: the descriptor was, or may be. */
void agent_workers_process(struct agent_workers *workers, bool readable);

/* Asks the threads to end after the call that each is in, and waits up to timeout_ms for them.
 * False: a resource has not returned. Jobs not begun are dropped. */
bool agent_workers_stop(struct agent_workers *workers, uint32_t timeout_ms);
/* Waits for the threads without bound. NULL is allowed. */
void agent_workers_free(struct agent_workers *workers);

#endif
