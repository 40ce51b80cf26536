/*
 * http_finish.c: prepare, commit, rollback and forget, for any number of branches: one exchange
 * with the service, one durable write. A single call is a batch of one, so there is one path.
 *
 * Three steps: plan() reads the barrier and says what is to be sent or written; all requests go out
 * together, and their answers add to what is to be written; then the barrier is written, and only
 * after that anybody sees a result.
 */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

struct plan {
    struct assent_call *call;
    struct http_branch *branch; /* NULL: not in work */
    char traceparent[ASSENT_TRACEPARENT_MAX + 1];
    bool send, write;
    enum http_phase phase; /* send: Confirm or Cancel */
    struct http_request request;
    char *body;
    enum http_state state; /* write */
    bool drop;             /* the branch in work is done with */
};

static void ok(struct assent_call *call)
{
    http_result(call, ASSENT_RM_OK, "%s", "");
}

/* --- what to do ------------------------------------------------------------------------------- */

static void plan_send(struct http *http, struct plan *plan, enum http_phase phase)
{
    if (http_request_make(http, &plan->call->id, phase, 0, NULL, plan->traceparent, &plan->request,
                          &plan->body) != 0)
        http_result(plan->call, ASSENT_RM_RETRY, "out of memory");
    else
        plan->send = true;
    plan->phase = phase;
}

static void plan_write(struct plan *plan, enum http_state state)
{
    plan->write = true;
    plan->state = state;
}

static void plan_prepare(struct http *http, struct plan *plan, const struct http_record *record)
{
    struct http_branch *branch = plan->branch;

    if (branch == NULL) {
        if (record != NULL && record->state == HTTP_PREPARED)
            ok(plan->call);
        else
            http_result(plan->call, ASSENT_RM_NOT_FOUND, "no such branch");
    } else if (branch->failed) {
        http_result(plan->call, ASSENT_RM_FAILED, "%s", branch->reason);
    } else if (!branch->holds) {
        http_result(plan->call, ASSENT_RM_READ_ONLY, "%s", "");
        if (branch->tries > 0) /* lost in a crash, it leaves a Cancel that harms nobody */
            http_barrier_delete(http->barrier, &branch->id);
        plan->drop = true;
    } else {
        ok(plan->call);
        plan_write(plan, HTTP_PREPARED);
        plan->drop = true;
    }
}

static void plan_commit(struct http *http, struct plan *plan, const struct http_record *record)
{
    if (plan->branch != NULL)
        http_result(plan->call, ASSENT_RM_UNKNOWN_CODE, "the branch is not prepared");
    else if (record != NULL && record->state == HTTP_CONFIRMED)
        ok(plan->call);
    else if (record != NULL && record->state == HTTP_PREPARED)
        plan_send(http, plan, HTTP_CONFIRM);
    else
        http_result(plan->call, ASSENT_RM_NOT_FOUND, "no such branch");
}

static void plan_active_rollback(struct http *http, struct plan *plan)
{
    struct http_branch *branch = plan->branch;

    branch->failed = true; /* until the Cancel has come through, nothing more is tried */
    snprintf(branch->reason, sizeof(branch->reason), "the branch is being cancelled");
    if (branch->holds) {
        plan_send(http, plan, HTTP_CANCEL);
    } else {
        ok(plan->call);
        plan_write(plan, HTTP_CANCELLED);
        plan->drop = true;
    }
}

static void plan_rollback(struct http *http, struct plan *plan, const struct http_record *record)
{
    if (plan->branch != NULL) {
        plan_active_rollback(http, plan);
        return;
    }
    if (record == NULL) { /* nothing was ever sent, and now nothing will be (edge case 53) */
        http_result(plan->call, ASSENT_RM_NOT_FOUND, "no such branch: noted as cancelled");
        plan_write(plan, HTTP_CANCELLED);
        return;
    }
    switch (record->state) {
    case HTTP_TRYING:
    case HTTP_PREPARED:
    case HTTP_CANCELLING:
        plan_send(http, plan, HTTP_CANCEL);
        return;
    case HTTP_CONFIRMED:
        http_result(plan->call, ASSENT_RM_HEUR_COMMITTED, "the branch is confirmed");
        return;
    case HTTP_CANCELLED:
        ok(plan->call);
        return;
    }
}

/* --- forget ----------------------------------------------------------------------------------- */

struct sweep {
    const struct assent_branch_id *last; /* of its log, up to here; NULL: any cancelled one */
    struct assent_branch_id *ids;
    size_t count, max;
    long long cancelled; /* how many of them are */
};

static bool is_final(enum http_state state)
{
    return state == HTTP_CONFIRMED || state == HTTP_CANCELLED;
}

static bool note_swept(const struct assent_branch_id *id, const struct http_record *record,
                       void *context)
{
    struct sweep *sweep = context;
    bool takes = sweep->last == NULL
                     ? record->state == HTTP_CANCELLED
                     : is_final(record->state) &&
                           memcmp(id->log_id, sweep->last->log_id, sizeof(id->log_id)) == 0 &&
                           assent_gtrid_order(&id->gtrid, &sweep->last->gtrid) <= 0;

    if (takes) {
        sweep->ids[sweep->count++] = *id;
        sweep->cancelled += record->state == HTTP_CANCELLED;
    }
    return sweep->count < sweep->max;
}

/* Forgetting may fail: then more is remembered than need be, until the next time. */
static void sweep(struct http *http, const struct assent_branch_id *last, size_t max)
{
    struct sweep sweep = {.last = last, .max = max};
    struct assent_branch_id damaged;
    int r;

    sweep.ids = calloc(max, sizeof(*sweep.ids));
    if (sweep.ids == NULL)
        return;
    r = http_barrier_scan(http->barrier, NULL, note_swept, &sweep, &damaged);
    for (size_t i = 0; r == 0 && i < sweep.count; i++)
        http_barrier_delete(http->barrier, &sweep.ids[i]);
    if (r == 0)
        atomic_fetch_sub(&http->cancelled, sweep.cancelled);
    free(sweep.ids);
}

static void plan_forget(struct http *http, struct plan *plan, const struct http_record *record)
{
    ok(plan->call);
    if (plan->branch != NULL)
        return;
    if (record != NULL && is_final(record->state))
        http_barrier_delete(http->barrier, &plan->call->id);
    if (atomic_fetch_add(&http->forgets, 1) % HTTP_SWEEP_FORGETS == 0)
        sweep(http, &plan->call->id, 2 * HTTP_CANCELLED_MAX);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void plan(struct http *http, struct assent_call *call, struct plan *plan)
{
    struct http_record found = {.traceparent = ""}, *record = &found;
    int r = http_barrier_get(http->barrier, &call->id, &found);

    *plan = (struct plan){.call = call, .branch = http_branch_find(http, &call->id)};
    if (r == ASSENT_E_NOT_FOUND)
        record = NULL;
    else if (r != 0) {
        http_result(call, r == ASSENT_E_CORRUPT ? ASSENT_RM_UNKNOWN_CODE : ASSENT_RM_UNAVAILABLE,
                    "the barrier's record: %s", assent_error_text(r));
        return;
    }
    memcpy(plan->traceparent, found.traceparent, sizeof(plan->traceparent));
    switch (call->operation) {
    case ASSENT_OP_PREPARE:
        plan_prepare(http, plan, record);
        return;
    case ASSENT_OP_COMMIT:
        plan_commit(http, plan, record);
        return;
    case ASSENT_OP_ROLLBACK:
        plan_rollback(http, plan, record);
        return;
    case ASSENT_OP_FORGET:
        plan_forget(http, plan, record);
        return;
    case ASSENT_OP_ONE_PHASE: /* not declared: Try and Confirm cannot be one */
        http_result(call, plan->branch == NULL ? ASSENT_RM_NOT_FOUND : ASSENT_RM_UNKNOWN_CODE,
                    plan->branch == NULL ? "no such branch" : "there is no one-phase commit");
        return;
    case ASSENT_OP_WORK:
    case ASSENT_OP_EVIDENCE:
    case ASSENT_OP_COUNT:
        break;
    }
    ASSENT_ASSERT(!"an operation that finishes a branch");
}

static void take_answer(struct plan *plan)
{
    http_answer_finish(plan->call, &plan->request, plan->phase);
    http_request_clear(&plan->request);
    free(plan->body);
    if (plan->call->result == ASSENT_RM_OK)
        plan_write(plan, plan->phase == HTTP_CONFIRM ? HTTP_CONFIRMED : HTTP_CANCELLED);
    else if (plan->call->result == ASSENT_RM_HEUR_COMMITTED)
        plan_write(plan, HTTP_CONFIRMED);
    else if (plan->call->result == ASSENT_RM_HEUR_ABORTED)
        plan_write(plan, HTTP_CANCELLED);
    else
        return;
    plan->drop = plan->branch != NULL;
}

static void exchange_all(struct http *http, struct plan *plans, size_t count,
                         struct http_request **requests)
{
    size_t sends = 0;

    for (size_t i = 0; i < count; i++)
        if (plans[i].send)
            requests[sends++] = &plans[i].request;
    if (sends == 0)
        return;
    http_exchange(http, requests, sends);
    for (size_t i = 0; i < count; i++)
        if (plans[i].send)
            take_answer(&plans[i]);
}

static void write_all(struct http *http, struct plan *plans, size_t count,
                      struct http_write *writes)
{
    size_t all = 0;
    long long cancelled = 0;

    for (size_t i = 0; i < count; i++) {
        if (!plans[i].write)
            continue;
        writes[all].id = plans[i].call->id;
        writes[all].record.state = plans[i].state;
        memcpy(writes[all].record.traceparent, plans[i].traceparent, sizeof(plans[i].traceparent));
        cancelled += plans[i].state == HTTP_CANCELLED;
        all++;
    }
    http_barrier_put(http->barrier, writes, all);
    all = 0;
    for (size_t i = 0; i < count; i++)
        if (plans[i].write && !http_write_stands(&writes[all++]))
            http_result(plans[i].call, ASSENT_RM_UNKNOWN_CODE,
                        "the barrier holds the opposite decision");
    if (atomic_fetch_add(&http->cancelled, cancelled) + cancelled > HTTP_CANCELLED_MAX)
        sweep(http, NULL, HTTP_CANCELLED_MAX / 2);
}

static void answer_not_done(struct assent_call *call)
{
    http_result(call,
                call->operation == ASSENT_OP_PREPARE ? ASSENT_RM_FAILED : ASSENT_RM_UNAVAILABLE,
                "out of memory");
}

void http_finish(struct http *http, struct assent_call **calls, size_t count)
{
    struct plan *plans = calloc(count, sizeof(*plans));
    struct http_request **requests = calloc(count, sizeof(struct http_request *));
    struct http_write *writes = calloc(count, sizeof(*writes));

    if (count == 0)
        goto out;
    if (plans == NULL || requests == NULL || writes == NULL) {
        for (size_t i = 0; i < count; i++)
            answer_not_done(calls[i]);
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        plan(http, calls[i], &plans[i]);
    exchange_all(http, plans, count, requests);
    write_all(http, plans, count, writes);
    for (size_t i = 0; i < count; i++)
        if (plans[i].drop)
            http_branch_drop(http, plans[i].branch);
out:
    free(writes);
    free(requests);
    free(plans);
}

/* Our own record of the service's word; and since every Try is preceded by a record, no record
 * proves that there was none. The answer is then made to last. */
void http_evidence(struct http *http, struct assent_call *call)
{
    struct http_write write = {.id = call->id, .record.state = HTTP_CANCELLED};
    struct http_record record;
    int r = http_barrier_get(http->barrier, &call->id, &record);

    if (http_branch_find(http, &call->id) != NULL) {
        http_result(call, ASSENT_RM_VANISHED, "the branch is not prepared");
        return;
    }
    if (r == ASSENT_E_NOT_FOUND) {
        http_barrier_put(http->barrier, &write, 1);
        if (http_write_stands(&write))
            http_result(call, ASSENT_RM_WAS_ABORTED, "no Try was ever sent");
        else
            http_result(call, ASSENT_RM_RETRY, "the barrier's record has just come");
        return;
    }
    if (r != 0) {
        http_result(call, r == ASSENT_E_CORRUPT ? ASSENT_RM_UNKNOWN_CODE : ASSENT_RM_UNAVAILABLE,
                    "the barrier's record: %s", assent_error_text(r));
        return;
    }
    switch (record.state) {
    case HTTP_PREPARED:
        ok(call);
        return;
    case HTTP_CONFIRMED:
        http_result(call, ASSENT_RM_WAS_COMMITTED, "the service has confirmed");
        return;
    case HTTP_TRYING:
    case HTTP_CANCELLING:
        http_result(call, ASSENT_RM_WAS_ABORTED, "it was never prepared, and is being cancelled");
        return;
    case HTTP_CANCELLED:
        http_result(call, ASSENT_RM_WAS_ABORTED, "the branch is cancelled");
        return;
    }
}
