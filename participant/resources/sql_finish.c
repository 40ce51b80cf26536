/*
 * sql_finish.c: prepare, one-phase commit, commit, rollback and forget. What is sent, and what an
 * answer means, is the driver's. Branches are ended one by one, each in a session of its own, so
 * that the server works on many at once and its syncs are shared; forget takes many.
 */
#include "sql.h"

#include <stdlib.h>

#include "runtime.h"

/* A branch in work, in its own session; answered at once if there is nothing to send. */
static void finish_active(struct sql_database *db, struct sql_branch *branch,
                          struct assent_call *call)
{
    bool prepare = call->operation == ASSENT_OP_PREPARE;

    if (call->operation == ASSENT_OP_COMMIT) {
        sql_answer(call, ASSENT_RM_UNKNOWN_CODE, "the branch is not prepared");
        return;
    }
    if (branch->ended) {
        sql_answer(call, branch->result, "%s", branch->reason);
    } else if (branch->failed && call->operation != ASSENT_OP_ROLLBACK) {
        sql_answer(call, prepare ? ASSENT_RM_FAILED : ASSENT_RM_REFUSED, "%s", branch->reason);
        if (prepare)
            return;
        if (branch->session != NULL)
            branch->session->broken = true; /* ends with its session */
    } else if (branch->session == NULL) {   /* it has done nothing, or its session is gone */
        sql_answer(call, prepare ? ASSENT_RM_READ_ONLY : ASSENT_RM_OK, "%s", "");
    } else {
        db->driver->end_active(db, branch, call, assent_now_ms() + SQL_FINISH_MS);
    }
    sql_branch_drop(db, branch);
}

static void finish_elsewhere(struct sql_database *db, struct assent_call *call)
{
    char reason[ASSENT_REASON_MAX + 1];
    struct sql_session *session;

    if (call->operation == ASSENT_OP_ONE_PHASE) {
        sql_answer(call, ASSENT_RM_NOT_FOUND, "no such branch");
    } else if (sql_take_finisher(db, &session, reason) != 0) {
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", reason);
    } else {
        db->driver->end_elsewhere(db, session, call, assent_now_ms() + SQL_FINISH_MS);
        sql_give_back(db, session);
    }
}

void sql_finish(void *resource, struct assent_call *call)
{
    struct sql_database *db = resource;
    struct sql_branch *branch = sql_branch_find(db, &call->id);

    /* It was ended with its work, in another way: the server's list is the truth. */
    if (branch != NULL && branch->ended && branch->end != call->operation) {
        sql_branch_drop(db, branch);
        branch = NULL;
    }
    if (branch != NULL && call->no_wait && !branch->ended)
        call->would_wait = true;
    else if (branch != NULL)
        finish_active(db, branch, call);
    else if (!call->no_wait)
        finish_elsewhere(db, call);
    else if (db->driver->end_later != NULL && db->driver->end_later(db, call))
        call->later = true;
    else
        call->would_wait = true;
}

/* One statement for all; what a crash brings back harms nobody. An agent that was started anew does
 * not know all that it left behind, so at times what ended before goes as well. */
static int delete_markers(struct sql_database *db, const struct assent_branch_id *ids, size_t count,
                          char reason[ASSENT_REASON_MAX + 1])
{
    struct sql_session *session;
    bool sweep;
    int r = sql_take_finisher(db, &session, reason);

    if (r != 0)
        return r;
    pthread_mutex_lock(&db->mutex);
    sweep = db->unswept >= SQL_SWEEP_FORGETS;
    pthread_mutex_unlock(&db->mutex);
    r = db->driver->forget(session, ids, count, sweep, reason);
    sql_give_back(db, session);
    pthread_mutex_lock(&db->mutex);
    if (r == 0 && sweep)
        db->unswept = 0;
    db->unswept += count;
    pthread_mutex_unlock(&db->mutex);
    return r;
}

/* Forgets all that are to be forgotten at once, and does the others one by one. */
void sql_batch(void *resource, struct assent_call **calls, size_t count)
{
    struct sql_database *db = resource;
    struct assent_branch_id *ids = calloc(count + 1, sizeof(*ids));
    char reason[ASSENT_REASON_MAX + 1] = "out of memory";
    int r = ids == NULL ? ASSENT_E_NOMEM : 0;
    size_t found = 0;

    for (size_t i = 0; i < count; i++)
        if (calls[i]->operation != ASSENT_OP_FORGET)
            sql_finish(resource, calls[i]);
        else if (r == 0 && sql_branch_find(db, &calls[i]->id) == NULL)
            ids[found++] = calls[i]->id;
    if (found > 0)
        r = delete_markers(db, ids, found, reason);
    /* Of a branch that is not finished nothing was deleted: it keeps the marker to come. */
    for (size_t i = 0; i < count; i++)
        if (calls[i]->operation == ASSENT_OP_FORGET)
            sql_answer(calls[i], r == 0 ? ASSENT_RM_OK : ASSENT_RM_UNAVAILABLE, "%s",
                       r == 0 ? "" : reason);
    free(ids);
}

void sql_forget(void *resource, struct assent_call *call)
{
    if (call->no_wait)
        call->would_wait = true;
    else
        sql_batch(resource, &call, 1);
}
