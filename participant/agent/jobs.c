/* jobs.c: a job's memory, and the lanes that keep a branch's jobs in order, see workers.h. */
#include <stdlib.h>
#include <string.h>

#include "workers.h"

struct agent_job *agent_job_new(struct agent_finisher *finisher, const void *work, size_t work_size)
{
    struct assent_pool *pool = agent_finisher_jobs(finisher);
    struct agent_job *job = assent_pool_take(pool);
    void *copy;

    if (!job)
        return NULL;
    copy = work_size <= sizeof(job->near_work) ? job->near_work : malloc(work_size);
    if (!copy) {
        assent_pool_give(pool, job);
        return NULL;
    }
    if (work_size)
        memcpy(copy, work, work_size);
    job->pool = pool;
    job->finisher = finisher;
    job->call.work = work_size ? copy : NULL;
    job->call.work_size = work_size;
    return job;
}

void agent_job_free(struct agent_job *job)
{
    if (!job)
        return;
    if (job->call.work != job->near_work)
        free((void *)(uintptr_t)job->call.work); /* ours: agent_job_new copied it */
    free(job->call.reply);
    free(job->command);
    if (job->drop)
        job->drop(job->context);
    assent_pool_give(job->pool, job);
}

void agent_jobs_drop(struct agent_jobs *jobs)
{
    while (!STAILQ_EMPTY(jobs)) {
        struct agent_job *job = STAILQ_FIRST(jobs);

        STAILQ_REMOVE_HEAD(jobs, link);
        if (job->lane)
            agent_jobs_drop(&job->lane->waiting);
        agent_job_free(job);
    }
}

bool agent_job_works(const struct agent_job *job)
{
    return job->operation == ASSENT_OP_WORK || job->with_begin || job->with_work;
}

void agent_lane_init(struct agent_lane *lane)
{
    STAILQ_INIT(&lane->waiting);
    lane->busy = false;
}

bool agent_lane_idle(const struct agent_lane *lane)
{
    return !lane->busy && STAILQ_EMPTY(&lane->waiting);
}
