/* application.c: requests of applications. */
#include "application.h"

#include <stdio.h>
#include <string.h>

#include "driver.h"
#include "gtrid.h"
#include "rng.h"
#include "outcomes.h"
#include "routes.h"
#include "server.h"

/* --- begin --- */

/* What cannot be begun at all. True: go on. */
static bool check_begin(struct session *session, uint64_t request,
                        const struct assent_wire_begin *begin)
{
    if (begin->protocol == ASSENT_3PC || begin->termination == ASSENT_TERMINATION_NONE ||
        begin->termination == ASSENT_TERMINATION_COOPERATIVE)
        return true;
    session_refuse(session, request, ASSENT_E_INVALID,
                   "termination %s belongs to 3pc; participants of a 2pc only ask each other "
                   "(cooperative)",
                   assent_termination_name((int)begin->termination));
    return false;
}

/* What is asked for without a name is the protocol's safe policy. */
static enum assent_termination termination_of(const struct assent_wire_begin *begin)
{
    if (begin->termination != ASSENT_TERMINATION_NONE)
        return begin->termination;
    return begin->protocol == ASSENT_3PC ? ASSENT_TERMINATION_QUORUM
                                         : ASSENT_TERMINATION_COOPERATIVE;
}

/* Whether there is room for one more. Decided early, so that those that run can be finished. */
static bool check_room(struct session *session, uint64_t request, const char *key)
{
    struct shard *shard = session->shard;
    size_t count = server_transactions_count(shard->server);

    if (shard->server->state == SERVER_DRAINING)
        session_refuse(session, request, ASSENT_E_LIMIT,
                       "the coordinator is shutting down and begins nothing new");
    else if (count >= shard->server->options.transactions_max)
        session_refuse(session, request, ASSENT_E_LIMIT,
                       "%zu transactions have not ended (transactions_max)", count);
    else if (key[0] != '\0' && server_keys_count(shard->server) >= shard->server->options.keys_max)
        session_refuse(session, request, ASSENT_E_LIMIT, "keys_max idempotency keys are kept");
    else if (!assent_store_has_room(shard->server->store))
        session_refuse(session, request, ASSENT_E_FULL, "%s", assent_error_text(ASSENT_E_FULL));
    else
        return true;
    return false;
}

static struct transaction *begin(struct session *session, uint64_t request,
                                 const struct assent_wire_begin *begin, uint32_t branch_max)
{
    struct shard *shard = session->shard;
    uint64_t timeout_ms = begin->timeout_ms, wall_ms = assent_wall_ms();
    struct assent_gtrid gtrid;
    struct transaction *t;

    if (timeout_ms == 0)
        timeout_ms = shard->server->options.timeout_default_ms;
    if (timeout_ms > shard->server->options.timeout_max_ms)
        timeout_ms = shard->server->options.timeout_max_ms;
    gtrid = assent_gtrid_make(wall_ms, (uint16_t)shard->server->options.id,
                              shard->server->coord.incarnation, shard_take_sequence(shard));
    t = transactions_add(&shard->transactions, &gtrid, branch_max);
    if (t == NULL || !keys_add(&shard->keys, begin->key, &gtrid)) {
        if (t != NULL)
            transactions_remove(t);
        shard_note_ended(shard);
        session_refuse(session, request, ASSENT_E_NOMEM, "out of memory");
        return NULL;
    }
    shard->metrics.begun++;
    t->begun_ms = assent_now_ms();
    t->begun_wall_ms = wall_ms;
    transactions_set_text(&t->key, begin->key);
    transactions_set_text(&t->traceparent, begin->traceparent);
    assent_coord_init(&t->machine, &gtrid,
                      &(struct assent_coord_begin){.protocol = begin->protocol,
                                                   .termination = termination_of(begin),
                                                   .keyed = t->key[0] != '\0',
                                                   .deadline_ms = t->begun_ms + timeout_ms,
                                                   .seed = assent_rng_next(&shard->rng)});
    transactions_arm(t, t->begun_ms);
    return t;
}

/* A key keeps its place, and its transaction's may be another: it was begun with another number of
 * shards. */
static void pass_known(struct session *session, const struct assent_wire *wire,
                       const struct assent_gtrid *gtrid, bool wait)
{
    struct application_known known = {
        .gtrid = *gtrid, .request = wire->request, .kind = wire->kind, .wait = wait};
    struct shard *shard = server_shard_of(session->shard->server, gtrid);

    if (shard == session->shard)
        application_known(session, &known);
    else
        routes_pass(session, shard, LETTER_KNOWN, &known, sizeof(known));
}

static void send_begun(struct session *session, uint64_t request, const struct assent_gtrid *gtrid)
{
    struct assent_wire wire = {.kind = ASSENT_WIRE_BEGIN_REPLY, .request = request};
    const struct transaction *t = transactions_find(&session->shard->transactions, gtrid);
    uint64_t now_ms = assent_now_ms();

    wire.u.begin_reply.gtrid = *gtrid;
    if (t != NULL && t->machine.deadline_ms != ASSENT_NO_TIMER && t->machine.deadline_ms > now_ms)
        wire.u.begin_reply.timeout_ms = (uint32_t)(t->machine.deadline_ms - now_ms);
    session_send(session, &wire);
}

void application_begin(struct session *session, const struct assent_wire *wire)
{
    const struct assent_wire_begin *request = &wire->u.begin;
    const struct assent_gtrid *known = keys_find(&session->shard->keys, request->key);
    struct transaction *t;

    if (known != NULL) {
        pass_known(session, wire, known, false);
        return;
    }
    if (!check_begin(session, wire->request, request) ||
        !check_room(session, wire->request, request->key))
        return;
    t = begin(session, wire->request, request, ASSENT_BRANCHES_MAX);
    if (t == NULL)
        return;
    if (!request->detached)
        session_own(session, t);
    send_begun(session, wire->request, &t->machine.gtrid);
}

/* --- branches and work --- */

/* A transaction that still takes branches and work, or NULL: the request has been refused. */
static struct transaction *find_active(struct session *session, uint64_t request,
                                       const struct assent_gtrid *gtrid)
{
    struct transaction *t = transactions_find(&session->shard->transactions, gtrid);
    struct answer answer;

    if (t != NULL && t->machine.phase == ASSENT_COORD_ACTIVE)
        return t;
    outcomes_answer(session->shard, gtrid, &answer);
    if (answer.outcome == ASSENT_OUTCOME_NEVER_SEEN)
        session_refuse(session, request, ASSENT_E_NOT_FOUND,
                       "this coordinator began no such "
                       "transaction");
    else
        session_refuse(
            session, request, ASSENT_E_STATE, "the transaction takes no more work: %s%s%s",
            answer.outcome == ASSENT_OUTCOME_UNKNOWN ? answer.phase
                                                     : assent_outcome_name((int)answer.outcome),
            answer.reason[0] == '\0' ? "" : ", ", answer.reason);
    return NULL;
}

static struct participant *find_participant(struct session *session, uint64_t request,
                                            const char *target)
{
    char error[ASSENT_REASON_MAX + 1];
    struct participant *p = NULL;
    int r = participants_find(session->shard->server, target, &p, error, sizeof(error));

    if (r != 0)
        session_refuse(session, request, r, "%s", error);
    return r == 0 ? p : NULL;
}

static bool enlist(struct session *session, uint64_t request, struct transaction *t,
                   const struct participant *p, enum work_path path, uint32_t *ret_branch)
{
    int r = driver_enlist(session->shard, t, p, path, ret_branch);

    if (r == ASSENT_E_LIMIT)
        session_refuse(session, request, r, "a transaction has at most %d branches",
                       ASSENT_BRANCHES_MAX);
    else if (r == ASSENT_E_INVALID)
        session_refuse(session, request, r,
                       "%s: a branch is worked on through its agent or by the application itself, "
                       "not both",
                       p->full);
    else if (r != 0)
        session_refuse(session, request, r, "the transaction takes no more branches");
    return r == 0;
}

void application_enlist(struct session *session, const struct assent_wire *wire)
{
    struct assent_wire reply = {.kind = ASSENT_WIRE_ENLIST_REPLY, .request = wire->request};
    struct transaction *t = find_active(session, wire->request, &wire->u.enlist.gtrid);
    struct participant *p;
    uint32_t branch;

    if (t == NULL)
        return;
    p = find_participant(session, wire->request, wire->u.enlist.participant);
    if (p == NULL || !enlist(session, wire->request, t, p, WORK_BY_APPLICATION, &branch))
        return;
    /* The application names the branch to the RM, so it gets the number that an RM is given. */
    if (t->machine.protocol == ASSENT_3PC)
        branch |= ASSENT_BRANCH_OF_3PC;
    reply.u.enlist_reply.branch = branch;
    memcpy(reply.u.enlist_reply.log_id, assent_store_log_id(session->shard->server->store),
           ASSENT_LOG_ID_BYTES);
    session_send(session, &reply);
}

void application_work(struct session *session, const struct assent_wire *wire)
{
    struct shard *shard = session->shard;
    struct transaction *t = find_active(session, wire->request, &wire->u.work.gtrid);
    struct participant *p;
    uint32_t branch;

    if (t == NULL)
        return;
    p = find_participant(session, wire->request, wire->u.work.participant);
    if (p == NULL || !enlist(session, wire->request, t, p, WORK_BY_MESSAGE, &branch))
        return;
    if (t->machine.branches[branch - 1].epoch != p->epoch) {
        /* What the branch did before is gone with the process that did it. */
        session_refuse(session, wire->request, ASSENT_E_REFUSED, "%s: %s", p->full,
                       assent_reason_text(ASSENT_REASON_STALE));
        driver_work_failed(shard, t, branch, assent_reason_text(ASSENT_REASON_STALE));
        return;
    }
    relays_work(shard, session, wire->request, t, branch, p, &wire->u.work.work);
}

/* --- commit, rollback, status --- */

static void answer_now(struct session *session, uint64_t request, const struct assent_gtrid *gtrid)
{
    struct answer answer;

    outcomes_answer(session->shard, gtrid, &answer);
    session_answer(session, request, &answer);
}

/* Answers now if all that is waited for is known, else when it is. */
static bool answer_or_wait(struct session *session, uint64_t request, struct transaction *t,
                           bool until_end)
{
    bool known = t->machine.outcome != ASSENT_OUTCOME_UNKNOWN &&
                 (!until_end || t->machine.phase >= ASSENT_COORD_ENDING);

    if (!known)
        return session_may_ask(session, request) && session_wait(session, t, request, until_end);
    answer_now(session, request, &t->machine.gtrid);
    return true;
}

void application_end(struct session *session, const struct assent_wire *wire)
{
    struct shard *shard = session->shard;
    struct transaction *t = transactions_find(&shard->transactions, &wire->u.end.gtrid);

    if (t == NULL) {
        /* Finished, or never begun: answered, and nothing is touched. */
        answer_now(session, wire->request, &wire->u.end.gtrid);
        return;
    }
    if (wire->u.end.commit && t->machine.phase == ASSENT_COORD_ACTIVE && t->works_pending > 0) {
        session_refuse(session, wire->request, ASSENT_E_STATE,
                       "%u requests of work are not answered yet", t->works_pending);
        return;
    }
    if (!answer_or_wait(session, wire->request, t, wire->u.end.wait))
        return;
    if (!wire->u.end.commit)
        driver_rollback(shard, t, ASSENT_REASON_REQUESTED);
    else if (t->machine.phase == ASSENT_COORD_ACTIVE)
        driver_commit(shard, t);
}

void application_status(struct session *session, const struct assent_wire *wire)
{
    const struct assent_gtrid *gtrid = &wire->u.status.gtrid;

    if (!wire->u.status.has_gtrid) {
        gtrid = keys_find(&session->shard->keys, wire->u.status.key);
        if (gtrid == NULL) {
            /* Of an expired key nothing is left that could tell it from one never used. */
            session_answer(session, wire->request,
                           &(struct answer){.outcome = ASSENT_OUTCOME_NEVER_SEEN, .phase = ""});
            return;
        }
    }
    pass_known(session, wire, gtrid, wire->u.status.wait);
}

void application_known(struct session *session, const struct application_known *known)
{
    struct transaction *t = transactions_find(&session->shard->transactions, &known->gtrid);

    if (known->kind == ASSENT_WIRE_BEGIN)
        send_begun(session, known->request, &known->gtrid);
    else if (t != NULL && (known->kind == ASSENT_WIRE_RUN || known->wait))
        (void)answer_or_wait(session, known->request, t, known->wait);
    else
        answer_now(session, known->request, &known->gtrid);
}

/* --- one-shot --- */

struct run {
    struct participant *participants[ASSENT_BRANCHES_MAX];
    size_t work_bytes;
};

/* Everything that can be refused is refused before anything has begun. */
static bool check_run(struct session *session, const struct assent_wire *wire, struct run *run)
{
    const struct shard *shard = session->shard;

    if (wire->u.run.branch_count == 0) {
        session_refuse(session, wire->request, ASSENT_E_INVALID, "a run needs a branch");
        return false;
    }
    for (size_t i = 0; i < wire->u.run.branch_count; i++) {
        run->participants[i] =
            find_participant(session, wire->request, wire->u.run.branches[i].participant);
        if (run->participants[i] == NULL)
            return false;
        for (size_t k = 0; k < i; k++)
            if (run->participants[k] == run->participants[i]) {
                session_refuse(session, wire->request, ASSENT_E_INVALID,
                               "participant %s is named twice: put all its work into one branch",
                               run->participants[i]->full);
                return false;
            }
        run->work_bytes += wire->u.run.branches[i].work.size;
    }
    if (run->work_bytes > shard->server->options.work_bytes_max) {
        session_refuse(session, wire->request, ASSENT_E_TOO_BIG,
                       "%zu bytes of work, at most %llu are taken (work_max)", run->work_bytes,
                       (unsigned long long)shard->server->options.work_bytes_max);
        return false;
    }
    if (server_work_bytes(shard->server) + run->work_bytes >
        shard->server->options.work_bytes_total_max) {
        session_refuse(session, wire->request, ASSENT_E_LIMIT,
                       "work_total_max bytes of work are held already");
        return false;
    }
    return check_begin(session, wire->request, &wire->u.run.begin) &&
           check_room(session, wire->request, wire->u.run.begin.key) &&
           session_may_ask(session, wire->request);
}

void application_run(struct session *session, const struct assent_wire *wire)
{
    struct shard *shard = session->shard;
    const struct assent_gtrid *known = keys_find(&shard->keys, wire->u.run.begin.key);
    struct run run = {0};
    struct transaction *t;

    /* Its outcome is the answer, and nothing runs. */
    if (known != NULL) {
        pass_known(session, wire, known, wire->u.run.wait);
        return;
    }
    if (!check_run(session, wire, &run))
        return;
    t = begin(session, wire->request, &wire->u.run.begin, (uint32_t)wire->u.run.branch_count);
    if (t == NULL)
        return;
    for (size_t i = 0; i < wire->u.run.branch_count; i++) {
        const struct assent_bytes *work = &wire->u.run.branches[i].work;
        uint32_t branch;

        if (!enlist(session, wire->request, t, run.participants[i], WORK_WITH_PREPARE, &branch))
            goto out;
        if (!transactions_hold_work(t, branch, work->data, work->size)) {
            session_refuse(session, wire->request, ASSENT_E_NOMEM, "out of memory");
            goto out;
        }
    }
    if (session_wait(session, t, wire->request, wire->u.run.wait)) {
        driver_commit(shard, t);
        return;
    }
out:
    driver_rollback(shard, t, ASSENT_REASON_REQUESTED);
}
