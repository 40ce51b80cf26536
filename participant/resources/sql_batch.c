/*
 * sql_batch.c: prepare, one-phase commit, commit, rollback and forget of any number of branches at
 * once; a single call is a batch of one. What is sent, and what an answer means, is the driver's.
 *
 * Two rounds: every call sends its statements, then every call takes its answer. A branch in work
 * is ended in its own session, all others in the lanes, so that the server works on many at once
 * and its syncs are shared.
 */
#include "sql.h"

#include <stdlib.h>
#include <string.h>

#include "runtime.h"

/* One call between the rounds. */
struct step {
    struct assent_call *call;
    struct sql_branch *branch;   /* NULL: not in work here */
    struct sql_session *session; /* in whose hands it is now */
    bool elsewhere;              /* for a lane */
    bool forget;                 /* for one statement with the others */
};

/* A branch in work: answered at once if there is nothing to send. */
static void begin_active(struct sql_database *db, struct step *step)
{
    struct sql_branch *branch = step->branch;
    struct assent_call *call = step->call;
    bool prepare = call->operation == ASSENT_OP_PREPARE;

    if (call->operation == ASSENT_OP_COMMIT) {
        sql_answer(call, ASSENT_RM_UNKNOWN_CODE, "the branch is not prepared");
    } else if (branch->failed && call->operation != ASSENT_OP_ROLLBACK) {
        sql_answer(call, prepare ? ASSENT_RM_FAILED : ASSENT_RM_REFUSED, "%s", branch->reason);
        if (!prepare) {
            if (branch->session != NULL)
                branch->session->broken = true; /* ends with its session */
            sql_branch_drop(db, branch);
        }
    } else if (branch->session == NULL) { /* it has done nothing, or its session is gone */
        sql_answer(call, prepare ? ASSENT_RM_READ_ONLY : ASSENT_RM_OK, "%s", "");
        sql_branch_drop(db, branch);
    } else {
        step->session = branch->session;
        db->driver->send_active(db, branch, call->operation);
    }
}

/* Sends what a branch in work needs, answers what needs nothing, and marks the rest. */
static void begin_step(struct sql_database *db, struct step *step, size_t lanes, const char *reason)
{
    struct assent_call *call = step->call;
    bool forget = call->operation == ASSENT_OP_FORGET;

    step->branch = sql_branch_find(db, &call->id);
    if (forget && step->branch != NULL) /* not finished: it keeps the marker to come */
        sql_answer(call, ASSENT_RM_OK, "%s", "");
    else if (step->branch != NULL)
        begin_active(db, step);
    else if (call->operation == ASSENT_OP_ONE_PHASE)
        sql_answer(call, ASSENT_RM_NOT_FOUND, "no such branch");
    else if (lanes == 0)
        sql_answer(call, ASSENT_RM_UNAVAILABLE, "%s", reason);
    else if (forget)
        step->forget = true;
    else
        step->elsewhere = true;
}

/* As many at once as the lanes take, then the next. */
static void run_lanes(struct sql_database *db, struct step *steps, size_t count, size_t lanes,
                      uint64_t deadline_ms)
{
    size_t most = lanes * db->driver->lane_depth, first, next = 0;

    while (next < count) {
        size_t sent = 0;

        for (first = next; next < count && sent < most; next++) {
            if (!steps[next].elsewhere)
                continue;
            steps[next].session = db->lanes[sent++ % lanes];
            db->driver->send_elsewhere(db, steps[next].session, steps[next].call);
        }
        for (size_t i = first; i < next; i++)
            if (steps[i].elsewhere)
                db->driver->end_elsewhere(db, steps[i].session, steps[i].call, deadline_ms);
    }
}

/* One statement for all; what a crash brings back harms nobody. An agent that was started anew does
 * not know all that it left behind, so at times what ended before goes as well. */
static void forget(struct sql_database *db, struct step *steps, size_t count)
{
    struct assent_branch_id *ids = calloc(count, sizeof(*ids));
    char reason[ASSENT_REASON_MAX + 1] = "out of memory";
    bool sweep = db->unswept >= SQL_SWEEP_FORGETS;
    int r = ids == NULL ? ASSENT_E_NOMEM : 0;
    size_t found = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        if (steps[i].forget)
            ids[found++] = steps[i].call->id;
    if (found > 0) {
        r = db->driver->forget(db->lanes[0], ids, found, sweep, reason);
        if (r == 0 && sweep)
            db->unswept = 0;
        db->unswept += found;
    }
    for (size_t i = 0; i < count; i++)
        if (steps[i].forget)
            sql_answer(steps[i].call, r == 0 ? ASSENT_RM_OK : ASSENT_RM_UNAVAILABLE, "%s",
                       r == 0 ? "" : reason);
    free(ids);
}

/* How many calls are not for a branch in work here. */
static size_t count_elsewhere(struct sql_database *db, struct assent_call *const *calls,
                              size_t count)
{
    size_t elsewhere = 0;

    for (size_t i = 0; i < count; i++)
        elsewhere += sql_branch_find(db, &calls[i]->id) == NULL;
    return elsewhere;
}

void sql_batch(void *resource, struct assent_call **calls, size_t count)
{
    struct sql_database *db = resource;
    struct step *steps = calloc(count + 1, sizeof(*steps));
    char reason[ASSENT_REASON_MAX + 1] = "";
    size_t lanes = 0, elsewhere;
    uint64_t deadline_ms;

    for (size_t i = 0; i < count; i++)
        sql_answer(calls[i], ASSENT_RM_UNAVAILABLE, "out of memory");
    if (steps == NULL || count == 0) {
        free(steps);
        return;
    }
    pthread_mutex_lock(&db->lanes_mutex);
    elsewhere = count_elsewhere(db, calls, count);
    if (elsewhere > 0 && sql_lanes(db, elsewhere, &lanes, reason) != 0)
        lanes = 0;
    for (size_t i = 0; i < count; i++) {
        steps[i].call = calls[i];
        begin_step(db, &steps[i], lanes, reason);
    }
    deadline_ms = assent_now_ms() + SQL_FINISH_MS;
    if (lanes > 0)
        run_lanes(db, steps, count, lanes, deadline_ms);
    for (size_t i = 0; i < count; i++) {
        if (steps[i].branch == NULL || steps[i].session == NULL)
            continue;
        db->driver->end_active(db, steps[i].branch, calls[i], deadline_ms);
        sql_branch_drop(db, steps[i].branch);
    }
    if (lanes > 0)
        forget(db, steps, count);
    pthread_mutex_unlock(&db->lanes_mutex);
    free(steps);
}
