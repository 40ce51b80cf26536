/*
 * xa_thread.c: one thread of the helper, with its rmid: see xa_host.h. It opens the switch before
 * its first use, and anew after the switch has failed; and it answers when the switch asks on it
 * for the branch at work (ax_reg).
 */
#include "xa_host.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct host_thread *self;

void host_answer(struct host_answer *answer, enum xa_source source, int code, const char *format,
                 ...)
{
    va_list arguments;

    answer->source = source;
    answer->code = code;
    va_start(arguments, format);
    vsnprintf(answer->reason, sizeof(answer->reason), format, arguments);
    va_end(arguments);
}

/* --- open and close --------------------------------------------------------------------------- */

/* The switch may write to its string. */
static int with_info(struct host_thread *thread, int (*call)(char *, int, long))
{
    char info[MAXINFOSIZE];

    memcpy(info, thread->host->setup.info, sizeof(info));
    return call(info, thread->rmid, TMNOFLAGS);
}

bool host_thread_open(struct host_thread *thread, struct host_answer *answer)
{
    const struct assent_xa_work *work = thread->host->work;
    char reason[ASSENT_XA_REASON_BYTES] = "";
    int code;

    if (thread->open && thread->reopen)
        host_thread_close(thread);
    if (thread->open)
        return true;
    code = with_info(thread, thread->host->xa->xa_open_entry);
    if (code != XA_OK) {
        host_answer(answer, XA_BY_OPEN, code, "xa_open");
        return false;
    }
    thread->state = NULL;
    if (work->open != NULL &&
        work->open(thread->host->setup.info, thread->rmid, &thread->state, reason) != 0) {
        (void)with_info(thread, thread->host->xa->xa_close_entry);
        reason[sizeof(reason) - 1] = '\0';
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE, "the plug-in cannot open: %.200s",
                    reason);
        return false;
    }
    thread->open = true;
    return true;
}

void host_thread_close(struct host_thread *thread)
{
    if (!thread->open)
        return;
    if (thread->host->work->close != NULL)
        thread->host->work->close(thread->state);
    (void)with_info(thread, thread->host->xa->xa_close_entry);
    thread->open = thread->reopen = false;
}

bool host_thread_sync(struct host_thread *thread, struct host_answer *answer)
{
    const struct assent_xa_work *work = thread->host->work;
    char reason[ASSENT_XA_REASON_BYTES] = "";

    if (work->sync == NULL || work->sync(thread->state, reason) == 0)
        return true;
    reason[sizeof(reason) - 1] = '\0';
    host_answer(answer, XA_BY_HELPER, ASSENT_RM_UNAVAILABLE, "not on disk: %.200s", reason);
    return false;
}

void host_thread_note(struct host_thread *thread, int code)
{
    if (code == XAER_RMFAIL)
        thread->reopen = true;
}

/* --- dynamic registration --------------------------------------------------------------------- */

int ax_reg(int rmid, XID *xid, long flags)
{
    struct host_branch *branch;

    if (self == NULL || rmid != self->rmid || xid == NULL || flags != TMNOFLAGS)
        return TMER_INVAL;
    if ((self->host->xa->flags & TMREGISTER) == 0)
        return TMER_TMERR;
    branch = self->working;
    if (branch == NULL) {
        memset(xid, 0, sizeof(*xid));
        xid->formatID = -1;
        self->outside = true;
        return TM_OK;
    }
    if (branch->state == HOST_STARTED || branch->state == HOST_ENDED)
        return TMER_PROTO;
    *xid = branch->xid;
    if (branch->state == HOST_SUSPENDED) {
        branch->state = HOST_STARTED;
        return TM_RESUME;
    }
    branch->state = HOST_STARTED;
    return TM_OK;
}

int ax_unreg(int rmid, long flags)
{
    if (self == NULL || rmid != self->rmid || flags != TMNOFLAGS)
        return TMER_INVAL;
    if ((self->host->xa->flags & TMREGISTER) == 0)
        return TMER_TMERR;
    if (!self->outside)
        return TMER_PROTO;
    self->outside = false;
    return TM_OK;
}

/* --- the queue -------------------------------------------------------------------------------- */

static void run_job(struct host_thread *thread, struct host_job *job, struct host_answer *answer)
{
    switch (job->request.operation) {
    case ASSENT_OP_WORK:
        host_branch_work(thread, job, answer);
        return;
    case ASSENT_OP_PREPARE:
    case ASSENT_OP_ONE_PHASE:
        if (job->branch != NULL) {
            host_branch_prepare(thread, job->branch, job->request.operation == ASSENT_OP_ONE_PHASE,
                                answer);
            return;
        }
        break;
    case ASSENT_OP_ROLLBACK:
        if (job->branch != NULL) {
            host_branch_rollback(thread, job->branch, answer);
            return;
        }
        break;
    }
    if (thread->branch != NULL)
        host_branch_suspend(thread, thread->branch);
    if (!host_thread_open(thread, answer))
        return;
    if (job->request.operation == XA_OP_SETUP)
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_OK, "%.*s%s%s", RMNAMESZ,
                    thread->host->xa->name,
                    thread->host->xa->flags & TMREGISTER ? ", registers by itself" : "",
                    thread->host->xa->flags & TMNOMIGRATE ? ", does not migrate" : "");
    else
        host_finish(thread, job, answer);
}

/* Under the mutex: what has waited longest for any thread; what has waited too long is answered by
 * the main thread. */
static void take_waiting(struct host_thread *thread)
{
    struct host_job *job = STAILQ_FIRST(&thread->host->waiting);

    if (job == NULL)
        return;
    STAILQ_REMOVE_HEAD(&thread->host->waiting, link);
    thread->branch = job->branch;
    job->branch->thread = thread;
    STAILQ_INSERT_TAIL(&thread->queue, job, link);
}

static void end_job(struct host_thread *thread, struct host_job *job, struct host_answer *answer)
{
    struct host *host = thread->host;

    if (answer->drop && job->branch != NULL) {
        pthread_mutex_lock(&host->mutex);
        host_branch_drop(host, job->branch);
        thread->branch = NULL;
        take_waiting(thread);
        pthread_mutex_unlock(&host->mutex);
    }
    /* The answer leaves last, so that the next request for this branch finds the table as it is. */
    host_reply(host, job->request.number, answer);
    free(job);
}

void *host_thread_run(void *context)
{
    struct host_thread *thread = context;
    struct host *host = thread->host;

    self = thread;
    pthread_mutex_lock(&host->mutex);
    for (;;) {
        struct host_answer answer = {.code = ASSENT_RM_UNKNOWN_CODE};
        struct host_job *job;

        while (!host->stopping && STAILQ_EMPTY(&thread->queue))
            pthread_cond_wait(&thread->wake, &host->mutex);
        if (host->stopping)
            break;
        job = STAILQ_FIRST(&thread->queue);
        STAILQ_REMOVE_HEAD(&thread->queue, link);
        pthread_mutex_unlock(&host->mutex);
        run_job(thread, job, &answer);
        end_job(thread, job, &answer);
        pthread_mutex_lock(&host->mutex);
    }
    pthread_mutex_unlock(&host->mutex);
    if (thread->branch != NULL) {
        struct host_answer answer = {0};

        host_branch_rollback(thread, thread->branch, &answer);
    }
    host_thread_close(thread);
    return NULL;
}
