/*
 * xa_branch.c: a branch in work, on its thread: see xa_host.h. The state of a branch follows what
 * the switch has answered; what an answer means for the transaction is said by the resource.
 *
 * A switch that registers by itself (TMREGISTER) is not told of a start: it asks ax_reg when the
 * plug-in does something in it. A branch of which it never asked is unknown to it.
 */
#include "xa_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(struct host_branch *branch, const char *reason)
{
    branch->failed = true;
    snprintf(branch->reason, sizeof(branch->reason), "%s", reason);
}

static bool registers(const struct host_thread *thread)
{
    return (thread->host->xa->flags & TMREGISTER) != 0;
}

/* Started and associated with its thread, or false and why not. */
static bool attach(struct host_thread *thread, struct host_branch *branch,
                   struct host_answer *answer)
{
    const struct xa_switch_t *xa = thread->host->xa;
    int code;

    if (branch->state == HOST_STARTED)
        return true;
    if (!host_thread_open(thread, answer)) {
        fail(branch, answer->reason);
        return false;
    }
    if (registers(thread))
        return true;
    code = xa->xa_start_entry(&branch->xid, thread->rmid,
                              branch->state == HOST_SUSPENDED ? TMRESUME : TMNOFLAGS);
    host_thread_note(thread, code);
    if (code == XA_OK) {
        branch->state = HOST_STARTED;
        return true;
    }
    host_answer(answer, XA_BY_START, code, "xa_start");
    fail(branch, "xa_start has failed");
    return false;
}

/* Ends the association. An error ends it as well, and leaves a branch that can only roll back. */
static int end(struct host_thread *thread, struct host_branch *branch, long flags)
{
    int code = thread->host->xa->xa_end_entry(&branch->xid, thread->rmid, flags);

    host_thread_note(thread, code);
    branch->state = HOST_ENDED;
    return code;
}

void host_branch_suspend(struct host_thread *thread, struct host_branch *branch)
{
    int code;

    if (branch->state != HOST_STARTED)
        return;
    code = end(thread, branch, TMSUSPEND);
    if (code == XA_OK || code == XA_NOMIGRATE)
        branch->state = HOST_SUSPENDED;
    else
        fail(branch, "xa_end has failed");
}

void host_branch_work(struct host_thread *thread, struct host_job *job, struct host_answer *answer)
{
    const struct assent_xa_work *work = thread->host->work;
    struct host_branch *branch = job->branch;
    struct assent_xa_work_call call = {.size = sizeof(call),
                                       .work = job->body,
                                       .work_size = job->request.size,
                                       .timeout_ms = job->request.timeout_ms};
    int r;

    if (branch->failed) {
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_FAILED, "%s", branch->reason);
        return;
    }
    if (!attach(thread, branch, answer))
        return;
    thread->working = branch;
    r = work->work(thread->state, &call);
    thread->working = NULL;
    call.reason[sizeof(call.reason) - 1] = '\0';
    if (r == 0 && call.reply_size > ASSENT_XA_REPLY_MAX) {
        r = -1;
        snprintf(call.reason, sizeof(call.reason), "the reply is over %u bytes",
                 ASSENT_XA_REPLY_MAX);
    }
    branch->wrote = branch->wrote || !call.read_only;
    if (r != 0) {
        free(call.reply);
        fail(branch, call.reason[0] != '\0' ? call.reason : "the work has failed");
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_FAILED, "%s", branch->reason);
        return;
    }
    host_answer(answer, XA_BY_HELPER, ASSENT_RM_OK, "%s", "");
    answer->body = call.reply;
    answer->body_size = call.reply != NULL ? call.reply_size : 0;
}

static bool mark(struct host_thread *thread, struct host_branch *branch, struct host_answer *answer)
{
    const struct assent_xa_work *work = thread->host->work;
    char reason[ASSENT_XA_REASON_BYTES] = "";
    struct assent_xa_branch name;
    int r;

    if (work->mark == NULL)
        return true;
    _Static_assert(sizeof(name) == sizeof(branch->xid), "one is laid out as the other");
    memcpy(&name, &branch->xid, sizeof(name));
    if (!attach(thread, branch, answer))
        return false;
    thread->working = branch;
    r = work->mark(thread->state, &name, reason);
    thread->working = NULL;
    if (r == 0)
        return true;
    reason[sizeof(reason) - 1] = '\0';
    fail(branch, reason[0] != '\0' ? reason : "the mark has failed");
    host_answer(answer, XA_BY_HELPER, ASSENT_RM_FAILED, "%s", branch->reason);
    return false;
}

/* From work to what the switch votes on. */
static bool end_work(struct host_thread *thread, struct host_branch *branch,
                     struct host_answer *answer)
{
    int code;

    if (branch->wrote && !mark(thread, branch, answer))
        return false;
    /* A switch that registers by itself does so no more; to end what is suspended is its right. */
    if (!registers(thread) && !attach(thread, branch, answer))
        return false;
    code = end(thread, branch, TMSUCCESS);
    if (code == XA_OK || code == XA_NOMIGRATE)
        return true;
    host_answer(answer, XA_BY_END, code, "xa_end");
    fail(branch, "xa_end has failed");
    return false;
}

/* The branch may still be there, and is rolled back where it was. */
static bool may_remain(int code)
{
    return code < 0 && code != XAER_NOTA && code != XAER_RMFAIL;
}

void host_branch_prepare(struct host_thread *thread, struct host_branch *branch, bool one_phase,
                         struct host_answer *answer)
{
    const struct xa_switch_t *xa = thread->host->xa;
    bool at_once = one_phase || !branch->wrote;
    int code;

    if (branch->failed) {
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_FAILED, "%s", branch->reason);
        return;
    }
    if (branch->state == HOST_NEW) {
        host_answer(answer, XA_BY_HELPER, one_phase ? ASSENT_RM_OK : ASSENT_RM_READ_ONLY, "%s", "");
        answer->drop = true;
        return;
    }
    if (!end_work(thread, branch, answer))
        return;
    if (at_once)
        code = xa->xa_commit_entry(&branch->xid, thread->rmid, TMONEPHASE);
    else
        code = xa->xa_prepare_entry(&branch->xid, thread->rmid, TMNOFLAGS);
    host_thread_note(thread, code);
    host_heuristic_note(thread->host, branch->name, code);
    if (at_once && !one_phase && code == XA_OK)
        code = XA_RDONLY;
    host_answer(answer, one_phase ? XA_BY_ONE_PHASE : XA_BY_PREPARE, code,
                at_once ? "xa_commit in one phase" : "xa_prepare");
    if (one_phase && code == XA_OK)
        (void)host_thread_sync(thread, answer);
    answer->drop = one_phase || !may_remain(code);
    if (!answer->drop)
        fail(branch, "xa_prepare has failed");
}

void host_branch_rollback(struct host_thread *thread, struct host_branch *branch,
                          struct host_answer *answer)
{
    int code;

    answer->drop = true;
    if (branch->state == HOST_NEW) {
        host_answer(answer, XA_BY_HELPER, ASSENT_RM_OK, "%s", "");
        return;
    }
    if (branch->state == HOST_SUSPENDED && !registers(thread))
        (void)attach(thread, branch, answer);
    if (branch->state != HOST_ENDED)
        (void)end(thread, branch, TMFAIL);
    code = thread->host->xa->xa_rollback_entry(&branch->xid, thread->rmid, TMNOFLAGS);
    host_thread_note(thread, code);
    host_heuristic_note(thread->host, branch->name, code);
    host_answer(answer, XA_BY_ROLLBACK, code, "xa_rollback");
}
