/* driver.c: events into the core, its actions out to the log, participants and those who wait. */
#include "driver.h"

#include <string.h>

#include "assent/participant.h"

#include "crash_point.h"
#include "gtrid.h"
#include "outcomes.h"
#include "server.h"

/* Crash points around each message and each record. */
struct points {
    bool named;
    enum assent_crash_point before, after;
};

static const struct points send_points[ASSENT_MSG_FORGET + 1] = {
    [ASSENT_MSG_PREPARE] = {true, ASSENT_CRASH_coord_before_send_prepare,
                            ASSENT_CRASH_coord_after_send_prepare},
    [ASSENT_MSG_PRECOMMIT] = {true, ASSENT_CRASH_coord_before_send_precommit,
                              ASSENT_CRASH_coord_after_send_precommit},
    [ASSENT_MSG_COMMIT] = {true, ASSENT_CRASH_coord_before_send_commit,
                           ASSENT_CRASH_coord_after_send_commit},
    [ASSENT_MSG_ABORT] = {true, ASSENT_CRASH_coord_before_send_abort,
                          ASSENT_CRASH_coord_after_send_abort},
    [ASSENT_MSG_COMMIT_ONE_PHASE] = {true, ASSENT_CRASH_coord_before_send_one_phase,
                                     ASSENT_CRASH_coord_after_send_one_phase},
    [ASSENT_MSG_ELECT] = {true, ASSENT_CRASH_coord_before_send_elect,
                          ASSENT_CRASH_coord_after_send_elect},
    [ASSENT_MSG_PROPOSE] = {true, ASSENT_CRASH_coord_before_send_propose,
                            ASSENT_CRASH_coord_after_send_propose},
};

static const struct points log_points[] = {
    [ASSENT_COORD_RECORD_ONE_PHASE] = {true, ASSENT_CRASH_coord_before_log_one_phase,
                                       ASSENT_CRASH_coord_after_log_one_phase},
    [ASSENT_COORD_RECORD_PRECOMMIT] = {true, ASSENT_CRASH_coord_before_log_precommit,
                                       ASSENT_CRASH_coord_after_log_precommit},
    [ASSENT_COORD_RECORD_COMMIT] = {true, ASSENT_CRASH_coord_before_log_commit,
                                    ASSENT_CRASH_coord_after_log_commit},
    [ASSENT_COORD_RECORD_ABORT] = {true, ASSENT_CRASH_coord_before_log_abort,
                                   ASSENT_CRASH_coord_after_log_abort},
    [ASSENT_COORD_RECORD_OUTCOME] = {true, ASSENT_CRASH_coord_before_log_outcome,
                                     ASSENT_CRASH_coord_after_log_outcome},
    [ASSENT_COORD_RECORD_PREABORT] = {true, ASSENT_CRASH_coord_before_log_preabort,
                                      ASSENT_CRASH_coord_after_log_preabort},
};

static uint32_t elapsed_ms(const struct transaction *t, uint64_t now_ms)
{
    uint64_t ms = now_ms - t->begun_ms;

    /* 0 in a record means never. */
    return ms == 0 ? 1 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* --- out: messages --- */

/* Whom a participant can ask when we are gone; membership is fixed with the first-phase message. */
static void name_peers(const struct shard *shard, const struct transaction *t,
                       struct assent_wire *wire)
{
    const struct assent_coord *m = &t->machine;

    if (wire->u.branch.message.kind != ASSENT_MSG_PREPARE || m->branch_count < 2 ||
        m->termination == ASSENT_TERMINATION_NONE)
        return;
    for (uint32_t i = 0; i < m->branch_count; i++) {
        const struct participant *p = participants_get(shard->server, m->branches[i].participant);

        wire->u.branch.peers[i] =
            (struct assent_wire_peer){p->full, p->address, m->branches[i].epoch};
    }
    wire->u.branch.peer_count = m->branch_count;
}

void driver_send(struct shard *shard, struct session *session, const struct transaction *t,
                 const struct assent_message *message, uint64_t request,
                 const struct assent_bytes *work)
{
    const struct participant *p = NULL;
    struct points points = send_points[message->kind];
    struct assent_wire wire;

    if (session_output_bytes(session) > shard->server->options.output_bytes_max / 2)
        return;
    if (t != NULL)
        p = participants_get(shard->server, t->machine.branches[message->branch - 1].participant);
    assent_wire_clear(&wire, ASSENT_WIRE_BRANCH);
    wire.request = request;
    wire.u.branch.message = *message;
    memcpy(wire.u.branch.log_id, assent_store_log_id(shard->server->store), ASSENT_LOG_ID_BYTES);
    wire.u.branch.resource = p == NULL ? "" : p->resource;
    wire.u.branch.traceparent = t == NULL ? "" : t->traceparent;
    if (work != NULL)
        wire.u.branch.work = *work;
    if (t != NULL)
        name_peers(shard, t, &wire);
    if (points.named)
        assent_crash_point(points.before);
    session_send(session, &wire);
    if (points.named)
        sent_points_after(shard, points.after);
}

static void send_action(struct shard *shard, const struct transaction *t,
                        const struct assent_coord_action *action)
{
    const struct participant *p = participants_get(shard->server, action->participant);
    const struct branch_context *b = &t->branches[action->message.branch - 1];
    struct assent_bytes work = {b->work, b->work_size};

    /* Not connected is as good as lost: the machine sends again when it is back, or in time. */
    if (p != NULL && participant_is_up(p))
        driver_send(shard, participants_session(p, shard), t, &action->message, 0,
                    action->message.has_work ? &work : NULL);
}

/* --- out: the log --- */

void driver_describe(const struct transaction *t, enum assent_coord_record_kind kind,
                     struct assent_coord_record *ret_record)
{
    struct assent_coord_record *r = ret_record;

    assent_coord_to_record(&t->machine, kind, r);
    r->begun_wall_ms = t->begun_wall_ms;
    r->decided_ms = t->decided_ms;
    r->ended_ms = t->ended_ms;
    text_copy(r->key, sizeof(r->key), t->key);
    text_copy(r->reason_text, sizeof(r->reason_text), t->reason_text);
    for (uint32_t i = 0; i < r->branch_count; i++) {
        const struct branch_context *b = &t->branches[r->branches[i].number - 1];

        r->branches[i].voted_ms = b->voted_ms;
        r->branches[i].done_ms = b->done_ms;
    }
}

static void write_record(struct shard *shard, const struct transaction *t,
                         const struct assent_coord_action *action, uint64_t now_ms)
{
    uint8_t value[ASSENT_RECORD_BYTES_MAX];
    struct assent_coord_record record;
    struct assent_put put = {.table = ASSENT_TABLE_TRANSACTION, .value = value};
    int r;

    driver_describe(t, action->record, &record);
    if (action->record == ASSENT_COORD_RECORD_COMMIT || action->record == ASSENT_COORD_RECORD_ABORT)
        put.flags |= ASSENT_PUT_DECIDE;
    /* The decision may be told only when this is on disk, but it is made now. */
    if (record.decision != ASSENT_DECISION_NONE && record.decided_ms == 0)
        record.decided_ms = elapsed_ms(t, now_ms);
    if (action->record == ASSENT_COORD_RECORD_OUTCOME)
        record.ended_age_ms = assent_store_age_ms(shard->server->store);
    if (!action->forced)
        put.flags |= ASSENT_PUT_LAZY;
    put.consumer = shard->index;
    put.key = t->machine.gtrid.bytes;
    put.key_size = sizeof(t->machine.gtrid.bytes);
    put.token = t->order;
    put.token2 = (uint64_t)action->record;
    assent_crash_point(log_points[action->record].before);
    r = assent_coord_record_encode(&record, value, sizeof(value), &put.value_size);
    if (r == 0)
        r = assent_store_put(shard->server->store, &put);
    /* What cannot be written cannot be promised, and the machine waits for it: the restart reads
     * what is there. The queue is longer than all transactions together. */
    if (r != 0)
        assent_panic(ASSENT_EXIT_RUNTIME, "log_put_failed", "what=%s error=%s",
                     assent_log_quote(assent_coord_record_name((int)action->record)),
                     assent_error_name(r));
}

/* --- out: those who wait --- */

void driver_answer_of(const struct transaction *t, struct answer *ret_answer)
{
    ret_answer->gtrid = t->machine.gtrid;
    ret_answer->outcome = t->machine.outcome;
    ret_answer->ended = t->machine.phase >= ASSENT_COORD_ENDING;
    ret_answer->phase = assent_coord_phase_name((int)t->machine.phase);
    text_copy(ret_answer->reason, sizeof(ret_answer->reason), t->reason_text);
}

static void answer_waiters(struct shard *shard, const struct transaction *t, bool ended)
{
    struct waiter *waiter, *next;
    struct answer answer;

    if (TAILQ_EMPTY(&t->waiters) || t->machine.outcome == ASSENT_OUTCOME_UNKNOWN)
        return;
    driver_answer_of(t, &answer);
    for (waiter = TAILQ_FIRST(&t->waiters); waiter != NULL; waiter = next) {
        next = TAILQ_NEXT(waiter, of_transaction);
        if (waiter->until_end && !ended)
            continue;
        ASSENT_CRASH_POINT(coord_before_reply);
        session_answer(waiter->session, waiter->request, &answer);
        sent_points_after(shard, ASSENT_CRASH_coord_after_reply);
        session_wait_over(waiter);
    }
}

static void alarm(struct shard *shard, const struct transaction *t, uint32_t branch)
{
    const struct assent_coord_branch *b = &t->machine.branches[branch - 1];
    char text[ASSENT_GTRID_TEXT + 1];

    shard->metrics.alarms++;
    assent_gtrid_format(&t->machine.gtrid, text);
    assent_log(ASSENT_LOG_WARN, "branch_contradicts",
               "gtrid=%s branch=%u participant=%s decision=%s result=%s", text, branch,
               participants_name(shard->server, b->participant),
               assent_decision_name((int)t->machine.decision),
               assent_log_quote(assent_branch_result_name((int)b->result)));
}

/* What has ended is kept by participants until they hear of it: under load more often than with
 * each heartbeat, yet with few messages for each transaction. */
static void tell_ended(struct shard *shard)
{
    struct server *server = shard->server;
    uint64_t below = server_ended_below(server), told = atomic_load(&server->told_below);

    /* Several shards may see that it is time: one tells. */
    if (below > told && below - told >= 1024 + 16 * server->participants.count &&
        atomic_compare_exchange_strong(&server->told_below, &told, below))
        session_ping_participants(shard);
}

static void end(struct shard *shard, struct transaction *t)
{
    char text[ASSENT_GTRID_TEXT + 1];

    if (assent_log_wants(ASSENT_LOG_DEBUG)) {
        assent_gtrid_format(&t->machine.gtrid, text);
        assent_log(ASSENT_LOG_DEBUG, "ended", "gtrid=%s outcome=%s ms=%u", text,
                   assent_outcome_name((int)t->machine.outcome), t->ended_ms);
    }
    recent_add(&shard->recent, &t->machine.gtrid, t->begun_ms + t->ended_ms);
    shard->unacknowledged +=
        t->machine.outcome == ASSENT_OUTCOME_MIXED || t->machine.outcome == ASSENT_OUTCOME_HAZARD;
    transactions_remove(t);
    shard_note_ended(shard);
    tell_ended(shard);
}

static bool needs_work(enum assent_coord_phase phase)
{
    return phase == ASSENT_COORD_ACTIVE || phase == ASSENT_COORD_VOTING ||
           phase == ASSENT_COORD_ONE_PHASE_LOGGING || phase == ASSENT_COORD_ONE_PHASE;
}

void driver_carry_out(struct shard *shard, struct transaction *t, uint64_t now_ms)
{
    const struct assent_coord_actions *actions = &shard->actions;
    bool ended = false;

    for (size_t i = 0; i < actions->count; i++) {
        const struct assent_coord_action *action = &actions->items[i];

        switch (action->kind) {
        case ASSENT_COORD_ACT_SEND:
            send_action(shard, t, action);
            break;
        case ASSENT_COORD_ACT_LOG:
            write_record(shard, t, action, now_ms);
            break;
        case ASSENT_COORD_ACT_REPLY:
            answer_waiters(shard, t, false);
            break;
        case ASSENT_COORD_ACT_ENLISTED:
            shard->enlisted = action->branch;
            shard->enlist_error = 0;
            break;
        case ASSENT_COORD_ACT_REFUSED:
            shard->enlist_error = action->error;
            break;
        case ASSENT_COORD_ACT_ALARM:
            alarm(shard, t, action->branch);
            break;
        case ASSENT_COORD_ACT_ENDED:
            ended = true;
            break;
        }
    }
    if (!needs_work(t->machine.phase))
        transactions_release_work(t);
    if (t->machine.phase != ASSENT_COORD_ACTIVE) {
        session_disown(t);
        relays_transaction_over(shard, t);
    }
    /* That every branch has obeyed may be told before it is on record: a restart asks again. */
    if (t->machine.phase >= ASSENT_COORD_ENDING)
        answer_waiters(shard, t, true);
    if (ended)
        end(shard, t);
    else
        transactions_arm(t, now_ms);
}

/* --- in: events --- */

static void make_reason(struct shard *shard, struct transaction *t,
                        const struct assent_coord_event *event, const char *text)
{
    const struct assent_coord *m = &t->machine;
    struct missing_vote missing[ASSENT_BRANCHES_MAX];
    char reason[ASSENT_REASON_MAX + 1];
    size_t missing_count = 0;
    const char *name = NULL;

    for (uint32_t i = 0; i < m->branch_count; i++) {
        const struct participant *p = participants_get(shard->server, m->branches[i].participant);

        if (m->branches[i].vote == ASSENT_VOTE_NONE && p != NULL)
            missing[missing_count++] = (struct missing_vote){p->full, participant_is_up(p)};
    }
    /* An active transaction has asked nobody to vote. */
    if (m->reason_branch == 0)
        missing_count = 0;
    else
        name = participants_name(shard->server, m->branches[m->reason_branch - 1].participant);
    /* A no without words: the enum says why, unless it only says no again. */
    if (event->kind == ASSENT_COORD_EV_MESSAGE && (text == NULL || text[0] == '\0') &&
        event->message.reason != ASSENT_REASON_NONE && event->message.reason != m->reason)
        text = assent_reason_text((int)event->message.reason);
    if (event->kind == ASSENT_COORD_EV_MESSAGE && event->message.branch != m->reason_branch)
        text = NULL;
    reason_format(m->reason, name, text, missing, missing_count, reason);
    transactions_set_text(&t->reason_text, reason);
}

static void on_decided(struct shard *shard, struct transaction *t, uint64_t now_ms)
{
    const struct assent_coord *m = &t->machine;
    bool bad = m->outcome == ASSENT_OUTCOME_MIXED || m->outcome == ASSENT_OUTCOME_HAZARD;
    enum assent_log_level level = bad ? ASSENT_LOG_WARN : ASSENT_LOG_DEBUG;
    char text[ASSENT_GTRID_TEXT + 1];

    shard->metrics.decided[m->protocol][m->outcome]++;
    if (t->decided_ms == 0)
        t->decided_ms = elapsed_ms(t, now_ms);
    if (!assent_log_wants(level))
        return;
    assent_gtrid_format(&m->gtrid, text);
    assent_log(level, "decided", "gtrid=%s outcome=%s reason=%s ms=%u", text,
               assent_outcome_name((int)m->outcome), assent_log_quote(t->reason_text),
               t->decided_ms);
}

/* What a branch says that did not obey is the reason that people need. */
static void note_evidence(struct shard *shard, struct transaction *t,
                          const struct assent_coord_event *event, const char *text)
{
    const struct assent_message *message = &event->message;
    const struct assent_coord_branch *b;
    char evidence[ASSENT_REASON_MAX + 1];

    if (event->kind != ASSENT_COORD_EV_MESSAGE || message->kind != ASSENT_MSG_ACK ||
        message->branch == 0 || message->branch > t->machine.branch_count)
        return;
    b = &t->machine.branches[message->branch - 1];
    if (b->result <= ASSENT_RESULT_ABORTED)
        return;
    evidence_format(participants_name(shard->server, b->participant), b->result, text, evidence);
    transactions_set_text(&t->reason_text, evidence);
}

void driver_step(struct shard *shard, struct transaction *t, struct assent_coord_event *event,
                 const char *text)
{
    struct assent_coord *m = &t->machine;
    enum assent_outcome before = m->outcome;

    if (event->now_ms == 0)
        event->now_ms = assent_now_ms();
    assent_coord_step(m, &shard->server->coord, event, &shard->actions);
    if (event->kind == ASSENT_COORD_EV_MESSAGE && event->message.branch <= m->branch_count) {
        const struct assent_coord_branch *b = &m->branches[event->message.branch - 1];
        struct branch_context *times = &t->branches[event->message.branch - 1];

        if (b->vote != ASSENT_VOTE_NONE && times->voted_ms == 0)
            times->voted_ms = elapsed_ms(t, event->now_ms);
        if (b->result != ASSENT_RESULT_NONE && times->done_ms == 0)
            times->done_ms = elapsed_ms(t, event->now_ms);
    }
    note_evidence(shard, t, event, text);
    if (m->decision == ASSENT_DECISION_ABORT && t->reason_text[0] == '\0')
        make_reason(shard, t, event, text);
    if (m->phase >= ASSENT_COORD_ENDING && t->ended_ms == 0)
        t->ended_ms = elapsed_ms(t, event->now_ms);
    if (m->outcome != before)
        on_decided(shard, t, event->now_ms);
    driver_carry_out(shard, t, event->now_ms);
}

int driver_enlist(struct shard *shard, struct transaction *t, const struct participant *participant,
                  enum work_path path, uint32_t *ret_branch)
{
    bool own = path == WORK_BY_APPLICATION;
    struct assent_coord_event event = {
        .kind = ASSENT_COORD_EV_ENLIST,
        .participant = participant->number,
        .epoch = participant->epoch,
        .has_work = path == WORK_WITH_PREPARE,
        /* A one-shot names its branches as it begins. */
        .now_ms = path == WORK_WITH_PREPARE ? t->begun_ms : 0,
        /* What the application has prepared itself is past one phase. */
        .one_phase = !own && (participant->capabilities & ASSENT_CAP_ONE_PHASE) != 0,
    };

    for (uint32_t i = 0; i < t->machine.branch_count; i++)
        if (t->machine.branches[i].participant == participant->number) {
            *ret_branch = i + 1;
            if (t->branches[i].own != own)
                return ASSENT_E_INVALID;
            return t->machine.phase == ASSENT_COORD_ACTIVE ? 0 : ASSENT_E_STATE;
        }
    /* Who begins step by step has room for them all, and a one-shot names them at once. */
    ASSENT_ASSERT(t->machine.branch_count < t->branch_max || t->branch_max == ASSENT_BRANCHES_MAX);
    shard->enlist_error = ASSENT_E_STATE;
    driver_step(shard, t, &event, NULL);
    if (shard->enlist_error == 0) {
        *ret_branch = shard->enlisted;
        t->branches[shard->enlisted - 1].own = own;
    }
    return shard->enlist_error;
}

void driver_commit(struct shard *shard, struct transaction *t)
{
    struct assent_coord_event event = {.kind = ASSENT_COORD_EV_COMMIT, .now_ms = assent_now_ms()};

    t->asked_ms = elapsed_ms(t, event.now_ms);
    driver_step(shard, t, &event, NULL);
}

void driver_rollback(struct shard *shard, struct transaction *t, enum assent_reason reason)
{
    driver_step(shard, t,
                &(struct assent_coord_event){.kind = ASSENT_COORD_EV_ROLLBACK, .reason = reason},
                NULL);
}

void driver_work_failed(struct shard *shard, struct transaction *t, uint32_t branch,
                        const char *text)
{
    driver_step(shard, t,
                &(struct assent_coord_event){.kind = ASSENT_COORD_EV_WORK_FAILED, .branch = branch},
                text);
}

void driver_application_gone(struct shard *shard, struct transaction *t)
{
    driver_rollback(shard, t, ASSENT_REASON_APPLICATION_GONE);
}

void driver_due(struct transaction *t, void *context)
{
    driver_step(context, t, &(struct assent_coord_event){.kind = ASSENT_COORD_EV_TIMER}, NULL);
}

void driver_durable(const struct assent_completion *completion, void *context)
{
    struct shard *shard = context;
    struct assent_coord_event event = {.kind = ASSENT_COORD_EV_DURABLE};
    struct transaction *t;

    if (completion->token2 >= TOKEN_PARTICIPANT) {
        server_hold(shard->server);
        if (completion->token2 == TOKEN_PARTICIPANT)
            participants_durable(shard->server, (uint32_t)completion->token);
        else if (completion->token2 == TOKEN_REWRITE)
            operate_rewritten(shard, (struct rewrite *)(uintptr_t)completion->token);
        else
            operate_durable(shard->server, completion->token);
        server_release(shard->server);
        return;
    }
    t = transactions_find_order(&shard->transactions, completion->token);
    ASSENT_ASSERT(t != NULL);
    event.record = (enum assent_coord_record_kind)completion->token2;
    event.standing = completion->standing;
    assent_crash_point(log_points[event.record].after);
    driver_step(shard, t, &event, NULL);
}

static bool has_branch_at(const struct shard *shard, const struct transaction *t,
                          const struct session *session, uint32_t branch)
{
    const struct participant *p;

    if (branch == 0 || branch > t->machine.branch_count)
        return false;
    p = participants_get(shard->server, t->machine.branches[branch - 1].participant);
    return p != NULL && p->session == session->home;
}

void driver_peer_up(struct shard *shard, struct transaction *t, const struct session *session)
{
    uint64_t order = t->order;

    /* A step may be its last, and more than one branch may be at this participant. */
    for (uint32_t i = 0;
         transactions_find_order(&shard->transactions, order) == t && i < t->machine.branch_count;
         i++) {
        const struct participant *p =
            participants_get(shard->server, t->machine.branches[i].participant);
        struct assent_coord_event event = {.kind = ASSENT_COORD_EV_PEER_UP};

        if (p == NULL || p->session != session->home)
            continue;
        event.participant = p->number;
        event.epoch = p->epoch;
        driver_step(shard, t, &event, NULL);
    }
}

/* What one member of a termination says to the others is only taken from itself. */
static bool speaks_for_branch(const struct assent_message *message)
{
    switch (message->kind) {
    case ASSENT_MSG_COMMIT:
    case ASSENT_MSG_ABORT:
    case ASSENT_MSG_ELECT:
    case ASSENT_MSG_ELECT_ANSWER:
    case ASSENT_MSG_PROPOSE:
    case ASSENT_MSG_PROPOSE_ACK:
        return message->from == message->branch;
    case ASSENT_MSG_NONE:
    case ASSENT_MSG_WORK:
    case ASSENT_MSG_PREPARE:
    case ASSENT_MSG_PRECOMMIT:
    case ASSENT_MSG_COMMIT_ONE_PHASE:
    case ASSENT_MSG_WORK_REPLY:
    case ASSENT_MSG_VOTE:
    case ASSENT_MSG_PRECOMMIT_ACK:
    case ASSENT_MSG_ACK:
    case ASSENT_MSG_INQUIRE:
    case ASSENT_MSG_FORGET:
        return true;
    }
    return false;
}

static void ignore(const struct session *session, const struct assent_message *message,
                   const char *event)
{
    char text[ASSENT_GTRID_TEXT + 1];

    assent_gtrid_format(&message->gtrid, text);
    assent_log(ASSENT_LOG_WARN, event, "gtrid=%s branch=%u from=%u name=%s kind=%s", text,
               message->branch, message->from, assent_log_quote(session->name),
               assent_message_name((int)message->kind));
}

void driver_message(struct shard *shard, struct session *session, const struct assent_wire *wire)
{
    const struct assent_message *message = &wire->u.branch.message;
    struct assent_coord_event event = {.kind = ASSENT_COORD_EV_MESSAGE, .message = *message};
    struct transaction *t;

    if (memcmp(wire->u.branch.log_id, assent_store_log_id(shard->server->store),
               ASSENT_LOG_ID_BYTES) != 0 ||
        !outcomes_is_ours(shard, &message->gtrid)) {
        ignore(session, message, "foreign_gtrid_ignored");
        return;
    }
    if (message->kind == ASSENT_MSG_WORK_REPLY) {
        relays_answer(shard, session, wire);
        return;
    }
    t = transactions_find(&shard->transactions, &message->gtrid);
    if (!speaks_for_branch(message))
        ignore(session, message, "member_of_another_ignored");
    else if (t == NULL)
        outcomes_message(shard, session, wire);
    else if (has_branch_at(shard, t, session, message->branch))
        driver_step(shard, t, &event, wire->u.branch.reason_text);
    else
        ignore(session, message, "branch_of_another_ignored");
}
