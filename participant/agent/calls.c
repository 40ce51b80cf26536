/* calls.c: see calls.h. */
#include "calls.h"

#include <stdio.h>
#include <string.h>

#include "crash_point.h"
#include "runtime.h"

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
    call->would_wait = call->later = false;
    call->result = ASSENT_RM_UNKNOWN_CODE;
    call->reason[0] = '\0';
}

void agent_call_nobody(struct agent_job *job)
{
    ready(&job->call, job->operation);
    job->call.result = ASSENT_RM_UNAVAILABLE;
    snprintf(job->call.reason, sizeof(job->call.reason), "the resource is not open yet");
}

void agent_call_query(const struct assent_resource_ops *ops, void *resource, struct agent_job *job)
{
    char *json = NULL;

    job->query_error = ASSENT_E_NOT_FOUND;
    if (ops->query)
        job->query_error =
            ops->query(resource, job->command, &json, job->call.reason, sizeof(job->call.reason));
    if (job->query_error == 0 && json) {
        job->call.reply = json;
        job->call.reply_size = strlen(json);
    }
}

/* True: `operation` is still to be done. */
static bool end_work(struct agent_job *job)
{
    after(&job->call);
    return job->call.result == ASSENT_RM_OK && job->operation != ASSENT_OP_WORK;
}

bool agent_call_work(const struct assent_resource_ops *ops, void *resource, struct agent_job *job)
{
    struct assent_call *call = &job->call;
    bool work = job->with_work || job->operation == ASSENT_OP_WORK;

    ready(call, ASSENT_OP_WORK);
    call->next = job->operation;
    before(call);
    if (job->with_begin) {
        ops->begin(resource, call);
        job->with_begin = call->would_wait;
        work &= call->result == ASSENT_RM_OK;
    }
    if (work && !call->would_wait) {
        ready(call, ASSENT_OP_WORK);
        ops->work(resource, call);
        job->with_work &= call->would_wait;
    }
    return !call->later && end_work(job);
}

static void call_one(const struct assent_resource_ops *ops, void *resource,
                     struct assent_call *call)
{
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

void agent_call_rest(const struct assent_resource_ops *ops, void *resource, struct agent_job *job)
{
    ready(&job->call, job->operation);
    before(&job->call);
    call_one(ops, resource, &job->call);
    if (!job->call.later)
        after(&job->call);
}

struct assent_call *agent_call_ready(struct agent_job *job)
{
    ready(&job->call, job->operation);
    before(&job->call);
    return &job->call;
}

void agent_call_batch(const struct assent_resource_ops *ops, void *resource,
                      struct assent_call **calls, size_t count)
{
    ops->batch(resource, calls, count);
    for (size_t i = 0; i < count; i++)
        after(calls[i]);
}

static enum agent_tried try_rest(const struct assent_resource_ops *ops, void *resource,
                                 struct agent_job *job, bool more)
{
    struct assent_call *call = &job->call;

    if (more && !call->would_wait)
        agent_call_rest(ops, resource, job);
    call->no_wait = false;
    if (call->later)
        return AGENT_TRIED_LATER;
    return call->would_wait ? AGENT_TRIED_WAITS : AGENT_TRIED_DONE;
}

enum agent_tried agent_call_try(const struct assent_resource_ops *ops, void *resource,
                                struct agent_job *job)
{
    bool more = true;

    job->call.no_wait = true;
    job->call.would_wait = job->call.later = false;
    if (agent_job_works(job))
        more = agent_call_work(ops, resource, job);
    return try_rest(ops, resource, job, more);
}

enum agent_tried agent_call_go_on(const struct assent_resource_ops *ops, void *resource,
                                  struct agent_job *job)
{
    bool more = false;

    job->call.no_wait = true;
    job->call.later = false;
    if (job->call.operation == ASSENT_OP_WORK)
        more = end_work(job);
    else
        after(&job->call);
    return try_rest(ops, resource, job, more);
}
