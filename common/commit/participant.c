/*
 * participant.c: the participant's machine for one branch, see participant.h for its phases.
 *
 * Invariants, checked at every change of phase: yes is sent only when the branch is durably
 * prepared; after yes nothing is decided here but by the coordinator, or by the `timeout` rule of a
 * 3pc, and then durably before the RM hears of it; a final branch never becomes anything but
 * HEURISTIC.
 */
#include "participant.h"

#include <string.h>

#include "check.h"
#include "rm_result.h"
#include "rng.h"

#define BIT(phase) (1u << ASSENT_PART_##phase)

static const uint32_t legal[ASSENT_PART_PHASE_COUNT] = {
    [ASSENT_PART_NONE] = BIT(WORKING) | BIT(PREPARING) | BIT(ONE_PHASE) | BIT(COMMITTING) |
                         BIT(PROVING) | BIT(ABORTED),
    [ASSENT_PART_WORKING] = BIT(PREPARING) | BIT(ONE_PHASE) | BIT(ABORTING) | BIT(ABORTED),
    [ASSENT_PART_PREPARING] =
        BIT(PREPARE_LOGGING) | BIT(PREPARED) | BIT(READ_ONLY) | BIT(ABORTING) | BIT(ABORTED),
    [ASSENT_PART_PREPARE_LOGGING] = BIT(PREPARED) | BIT(ABORTING),
    [ASSENT_PART_PREPARED] =
        BIT(PRECOMMIT_LOGGING) | BIT(DECISION_LOGGING) | BIT(COMMITTING) | BIT(ABORTING),
    [ASSENT_PART_PRECOMMIT_LOGGING] = BIT(PRECOMMITTED),
    [ASSENT_PART_PRECOMMITTED] = BIT(DECISION_LOGGING),
    [ASSENT_PART_DECISION_LOGGING] = BIT(COMMITTING) | BIT(ABORTING),
    [ASSENT_PART_ONE_PHASE] =
        BIT(COMMITTED) | BIT(ABORTED) | BIT(ABORTING) | BIT(PROVING) | BIT(RESULT_LOGGING),
    [ASSENT_PART_COMMITTING] = BIT(COMMITTED) | BIT(PROVING) | BIT(RESULT_LOGGING),
    [ASSENT_PART_ABORTING] = BIT(ABORTED) | BIT(PROVING) | BIT(RESULT_LOGGING),
    [ASSENT_PART_PROVING] =
        BIT(COMMITTED) | BIT(ABORTED) | BIT(COMMITTING) | BIT(ABORTING) | BIT(RESULT_LOGGING),
    [ASSENT_PART_RESULT_LOGGING] = BIT(HEURISTIC),
    [ASSENT_PART_COMMITTED] = BIT(RESULT_LOGGING),
    [ASSENT_PART_ABORTED] = BIT(RESULT_LOGGING),
    [ASSENT_PART_READ_ONLY] = 0,
    [ASSENT_PART_HEURISTIC] = 0,
};

/* One step's context, so that helpers take one argument. */
struct step {
    struct assent_part *m;
    const struct assent_part_config *config;
    uint64_t now_ms;
    struct assent_part_actions *actions;
};

static void set_phase(struct step *s, enum assent_part_phase phase)
{
    struct assent_part *m = s->m;

    CORE_CHECK(legal[m->phase] & 1u << phase);
    if (phase == ASSENT_PART_COMMITTING)
        CORE_CHECK(m->decision == ASSENT_DECISION_COMMIT);
    if (phase == ASSENT_PART_ABORTING)
        CORE_CHECK(m->decision == ASSENT_DECISION_ABORT);
    m->phase = phase;
    m->attempt = 0;
    m->alone_ms = ASSENT_NO_TIMER;
    m->retry_ms = ASSENT_NO_TIMER;
}

static void decide(struct assent_part *m, enum assent_decision decision)
{
    CORE_CHECK(m->decision == ASSENT_DECISION_NONE || m->decision == decision);
    m->decision = decision;
}

static struct assent_part_action *act(struct step *s, enum assent_part_action_kind kind)
{
    struct assent_part_action *action;

    CORE_CHECK(s->actions->count < ASSENT_PART_ACTIONS_MAX);
    action = &s->actions->items[s->actions->count++];
    *action = (struct assent_part_action){.kind = kind};
    return action;
}

static void fill_message(const struct assent_part *m, enum assent_message_kind kind,
                         struct assent_message *message)
{
    *message = (struct assent_message){
        .kind = kind,
        .gtrid = m->gtrid,
        .branch = m->branch,
        .incarnation = m->incarnation,
        .epoch = m->epoch,
        .protocol = m->protocol,
        .termination = m->termination,
        .branch_count = m->branch_count,
        .result = m->result,
        .reason = m->reason,
    };
}

static struct assent_message *send(struct step *s, enum assent_message_kind kind)
{
    struct assent_part_action *action = act(s, ASSENT_PART_ACT_SEND);

    fill_message(s->m, kind, &action->message);
    return &action->message;
}

static void send_vote(struct step *s, enum assent_vote vote)
{
    send(s, ASSENT_MSG_VOTE)->vote = vote;
}

static void send_ack(struct step *s, enum assent_branch_result result)
{
    send(s, ASSENT_MSG_ACK)->result = result;
    s->m->ack_owed = false;
}

static void log_record(struct step *s, enum assent_part_record_kind record, bool forced)
{
    struct assent_part_action *action = act(s, ASSENT_PART_ACT_LOG);

    action->record = record;
    action->forced = forced;
    s->m->recorded = true;
}

static struct assent_part_action *call(struct step *s, enum assent_operation operation)
{
    struct assent_part_action *action = act(s, ASSENT_PART_ACT_CALL);

    action->operation = operation;
    s->m->calling = operation;
    s->m->rm_busy = true;
    s->m->retry_ms = ASSENT_NO_TIMER;
    return action;
}

static void schedule_retry(struct step *s)
{
    s->m->retry_ms =
        s->now_ms + assent_backoff_ms(&s->m->rng, s->m->attempt++, s->config->retry_min_ms,
                                      s->config->retry_max_ms);
}

/* ---- the end of a branch ---- */

static void end_heuristic(struct step *s, enum assent_branch_result result)
{
    s->m->result = result;
    act(s, ASSENT_PART_ACT_ALARM);
    set_phase(s, ASSENT_PART_RESULT_LOGGING);
    log_record(s, ASSENT_PART_RECORD_RESULT, true);
}

/* The coordinator says the opposite of what was done here: only a person can mend that (27, 29). */
static bool contradicted(const struct assent_part *m)
{
    return m->told != ASSENT_DECISION_NONE && m->told != m->decision;
}

static void finish(struct step *s, enum assent_part_phase phase)
{
    struct assent_part *m = s->m;

    set_phase(s, phase);
    m->result = phase == ASSENT_PART_COMMITTED ? ASSENT_RESULT_COMMITTED : ASSENT_RESULT_ABORTED;
    if (contradicted(m)) {
        end_heuristic(s, phase == ASSENT_PART_COMMITTED ? ASSENT_RESULT_HEUR_COMMITTED
                                                        : ASSENT_RESULT_HEUR_ABORTED);
        return;
    }
    /* Its loss is harmless: the branch would ask again and find the RM's evidence. */
    if (m->recorded)
        log_record(s, ASSENT_PART_RECORD_DONE, false);
    if (m->ack_owed)
        send_ack(s, m->result);
    act(s, ASSENT_PART_ACT_ENDED);
}

static void start_rollback(struct step *s)
{
    decide(s->m, ASSENT_DECISION_ABORT);
    set_phase(s, ASSENT_PART_ABORTING);
    call(s, ASSENT_OP_ROLLBACK);
}

static void start_commit(struct step *s)
{
    decide(s->m, ASSENT_DECISION_COMMIT);
    set_phase(s, ASSENT_PART_COMMITTING);
    call(s, ASSENT_OP_COMMIT);
}

static void refuse_branch(struct step *s, enum assent_reason reason)
{
    s->m->reason = reason;
    decide(s->m, ASSENT_DECISION_ABORT);
    finish(s, ASSENT_PART_ABORTED);
}

/* A prepared branch learns or takes the decision. Under 3pc it is durable here before the RM is
 * told, so that no restart takes another one; under 2pc the coordinator's log is the only one. */
static void carry_out(struct step *s, enum assent_decision decision)
{
    decide(s->m, decision);
    if (s->m->protocol == ASSENT_3PC) {
        set_phase(s, ASSENT_PART_DECISION_LOGGING);
        log_record(s, ASSENT_PART_RECORD_DECIDED, true);
    } else if (decision == ASSENT_DECISION_COMMIT) {
        start_commit(s);
    } else {
        start_rollback(s);
    }
}

/* ---- in doubt ---- */

static void wait_for_decision(struct step *s)
{
    struct assent_part *m = s->m;

    m->retry_ms = s->now_ms + s->config->inquire_ms;
    if (m->protocol == ASSENT_3PC && m->termination == ASSENT_TERMINATION_TIMEOUT)
        m->alone_ms = s->now_ms + m->timeout_ms;
}

static void enter_prepared(struct step *s)
{
    if (s->m->told == ASSENT_DECISION_ABORT) {
        start_rollback(s);
        return;
    }
    set_phase(s, ASSENT_PART_PREPARED);
    send_vote(s, ASSENT_VOTE_YES);
    wait_for_decision(s);
}

static void enter_precommitted(struct step *s)
{
    set_phase(s, ASSENT_PART_PRECOMMITTED);
    if (s->m->told != ASSENT_DECISION_NONE) {
        carry_out(s, s->m->told);
        return;
    }
    send(s, ASSENT_MSG_PRECOMMIT_ACK);
    wait_for_decision(s);
}

/* ---- messages ---- */

/* Asked of a life before this one, about a branch without a record: its work is lost, and nothing
 * new may start under it (11, 45). It is refused for good without a tombstone, since every repeat
 * is as stale; and it decides nothing, since that life may have committed the branch in one phase. */
static bool is_stale(struct step *s, const struct assent_message *message)
{
    if (s->m->phase != ASSENT_PART_NONE || message->epoch == s->config->epoch)
        return false;
    s->m->reason = ASSENT_REASON_STALE;
    return true;
}

static void on_work(struct step *s, const struct assent_message *message)
{
    struct assent_part *m = s->m;
    struct assent_part_action *action;

    if (is_stale(s, message) || (m->phase != ASSENT_PART_NONE && m->phase != ASSENT_PART_WORKING)) {
        send(s, ASSENT_MSG_WORK_REPLY)->vote = ASSENT_VOTE_NO;
        return;
    }
    /* Not call(): several works may be under way, and whatever is called later runs after them. */
    action = act(s, ASSENT_PART_ACT_CALL);
    action->operation = ASSENT_OP_WORK;
    if (m->phase == ASSENT_PART_NONE) {
        set_phase(s, ASSENT_PART_WORKING);
        action->with_begin = true;
    }
    m->alone_ms = s->now_ms + message->timeout_ms;
}

static void start_prepare(struct step *s, const struct assent_message *message, bool begin)
{
    struct assent_part_action *action;

    s->m->branch_count = message->branch_count;
    s->m->timeout_ms = message->timeout_ms;
    set_phase(s, ASSENT_PART_PREPARING);
    action = call(s, ASSENT_OP_PREPARE);
    action->with_begin = begin;
    action->with_work = message->has_work;
}

/* A branch known from the RM's list alone takes what a vote must say from the repeated prepare;
 * under 3pc it cannot vote any more, since a vote needs a record of ours. */
static void repeat_yes(struct step *s, const struct assent_message *message)
{
    struct assent_part *m = s->m;

    if (m->epoch == 0) {
        if (message->protocol != ASSENT_2PC)
            return;
        m->epoch = message->epoch;
        m->branch_count = message->branch_count;
    }
    send_vote(s, ASSENT_VOTE_YES);
}

static void on_prepare(struct step *s, const struct assent_message *message)
{
    switch (s->m->phase) {
    case ASSENT_PART_NONE:
        if (is_stale(s, message)) {
            send_vote(s, ASSENT_VOTE_NO);
        } else if (!message->has_work) {
            refuse_branch(s, ASSENT_REASON_NO_WORK);
            send_vote(s, ASSENT_VOTE_NO);
        } else {
            start_prepare(s, message, true);
        }
        return;
    case ASSENT_PART_WORKING:
        start_prepare(s, message, false);
        return;
    case ASSENT_PART_PREPARED:
        repeat_yes(s, message);
        return;
    case ASSENT_PART_PRECOMMITTED:
        send_vote(s, ASSENT_VOTE_YES);
        return;
    case ASSENT_PART_READ_ONLY:
        send_vote(s, ASSENT_VOTE_READ_ONLY);
        return;
    case ASSENT_PART_ABORTING:
    case ASSENT_PART_ABORTED:
        send_vote(s, ASSENT_VOTE_NO);
        return;
    case ASSENT_PART_PREPARING:
    case ASSENT_PART_PREPARE_LOGGING:
    case ASSENT_PART_PRECOMMIT_LOGGING:
    case ASSENT_PART_DECISION_LOGGING:
    case ASSENT_PART_ONE_PHASE:
    case ASSENT_PART_COMMITTING:
    case ASSENT_PART_PROVING:
    case ASSENT_PART_RESULT_LOGGING:
    case ASSENT_PART_COMMITTED:
    case ASSENT_PART_HEURISTIC:
        return;
    }
}

static void on_precommit(struct step *s)
{
    struct assent_part *m = s->m;

    if (m->protocol != ASSENT_3PC)
        return;
    if (m->phase == ASSENT_PART_PREPARED) {
        set_phase(s, ASSENT_PART_PRECOMMIT_LOGGING);
        log_record(s, ASSENT_PART_RECORD_PRECOMMITTED, true);
    } else if (m->phase == ASSENT_PART_PRECOMMITTED) {
        send(s, ASSENT_MSG_PRECOMMIT_ACK);
    }
}

/* A decision for a branch that was final before: the same again, or the opposite. */
static void on_decision_when_final(struct step *s)
{
    struct assent_part *m = s->m;

    if (m->phase == ASSENT_PART_HEURISTIC)
        send_ack(s, m->result);
    else if (m->phase == ASSENT_PART_READ_ONLY)
        send_ack(s, m->told == ASSENT_DECISION_COMMIT ? ASSENT_RESULT_COMMITTED
                                                      : ASSENT_RESULT_ABORTED);
    else if (contradicted(m))
        end_heuristic(s, m->phase == ASSENT_PART_COMMITTED ? ASSENT_RESULT_HEUR_COMMITTED
                                                           : ASSENT_RESULT_HEUR_ABORTED);
    else
        send_ack(s, m->result);
}

static void on_decision(struct step *s, enum assent_decision decision)
{
    struct assent_part *m = s->m;
    bool commit = decision == ASSENT_DECISION_COMMIT;

    if (m->closed) /* a late frame: it was obeyed before everybody forgot it */
        return;
    if (m->phase == ASSENT_PART_WORKING || m->phase == ASSENT_PART_PREPARING ||
        m->phase == ASSENT_PART_PREPARE_LOGGING || m->phase == ASSENT_PART_ONE_PHASE) {
        /* Nobody may commit what has not voted, nor abort what was told to commit alone. */
        if (commit || m->phase == ASSENT_PART_ONE_PHASE) {
            act(s, ASSENT_PART_ACT_ALARM);
            return;
        }
    }
    m->told = decision;
    m->ack_owed = true;
    switch (m->phase) {
    case ASSENT_PART_NONE:
        if (commit)
            start_commit(s);
        else
            refuse_branch(s, ASSENT_REASON_CLOSED);
        return;
    case ASSENT_PART_WORKING:
        start_rollback(s);
        return;
    case ASSENT_PART_PREPARED:
    case ASSENT_PART_PRECOMMITTED:
        carry_out(s, decision);
        return;
    case ASSENT_PART_PREPARING:
    case ASSENT_PART_PREPARE_LOGGING:
    case ASSENT_PART_PRECOMMIT_LOGGING:
    case ASSENT_PART_DECISION_LOGGING:
    case ASSENT_PART_ONE_PHASE:
    case ASSENT_PART_COMMITTING:
    case ASSENT_PART_ABORTING:
    case ASSENT_PART_PROVING:
    case ASSENT_PART_RESULT_LOGGING:
        return; /* `told` is looked at when the call or write under way is done */
    case ASSENT_PART_COMMITTED:
    case ASSENT_PART_ABORTED:
    case ASSENT_PART_READ_ONLY:
    case ASSENT_PART_HEURISTIC:
        on_decision_when_final(s);
        return;
    }
}

static void prove(struct step *s);

static void on_one_phase(struct step *s, const struct assent_message *message)
{
    struct assent_part *m = s->m;
    struct assent_part_action *action;

    if (m->closed)
        return;
    m->ack_owed = true;
    switch (m->phase) {
    case ASSENT_PART_NONE:
        if (is_stale(s, message) || !message->has_work) {
            /* Perhaps committed before our restart: only the RM knows. */
            prove(s);
            return;
        }
        set_phase(s, ASSENT_PART_ONE_PHASE);
        action = call(s, ASSENT_OP_ONE_PHASE);
        action->with_begin = action->with_work = true;
        return;
    case ASSENT_PART_WORKING:
        set_phase(s, ASSENT_PART_ONE_PHASE);
        call(s, ASSENT_OP_ONE_PHASE)->with_work = message->has_work;
        return;
    case ASSENT_PART_COMMITTED:
    case ASSENT_PART_ABORTED:
    case ASSENT_PART_HEURISTIC:
        send_ack(s, m->result);
        return;
    case ASSENT_PART_READ_ONLY:
        send_ack(s, ASSENT_RESULT_COMMITTED);
        return;
    case ASSENT_PART_PREPARING:
    case ASSENT_PART_PREPARE_LOGGING:
    case ASSENT_PART_PREPARED:
    case ASSENT_PART_PRECOMMIT_LOGGING:
    case ASSENT_PART_PRECOMMITTED:
    case ASSENT_PART_DECISION_LOGGING:
    case ASSENT_PART_ONE_PHASE:
    case ASSENT_PART_COMMITTING:
    case ASSENT_PART_ABORTING:
    case ASSENT_PART_PROVING:
    case ASSENT_PART_RESULT_LOGGING:
        return;
    }
}

static void on_message(struct step *s, const struct assent_message *message)
{
    struct assent_part *m = s->m;

    /* A coordinator's earlier life has nothing to say any more (edge case 28). */
    if (message->incarnation < m->incarnation)
        return;
    m->incarnation = message->incarnation;
    if (m->phase == ASSENT_PART_NONE) {
        m->epoch = message->epoch;
        m->protocol = message->protocol;
        m->termination = message->termination;
    }
    switch (message->kind) {
    case ASSENT_MSG_WORK:
        on_work(s, message);
        return;
    case ASSENT_MSG_PREPARE:
        on_prepare(s, message);
        return;
    case ASSENT_MSG_PRECOMMIT:
        on_precommit(s);
        return;
    case ASSENT_MSG_COMMIT:
        on_decision(s, ASSENT_DECISION_COMMIT);
        return;
    case ASSENT_MSG_ABORT:
        on_decision(s, ASSENT_DECISION_ABORT);
        return;
    case ASSENT_MSG_COMMIT_ONE_PHASE:
        on_one_phase(s, message);
        return;
    case ASSENT_MSG_NONE:
    case ASSENT_MSG_WORK_REPLY:
    case ASSENT_MSG_VOTE:
    case ASSENT_MSG_PRECOMMIT_ACK:
    case ASSENT_MSG_ACK:
    case ASSENT_MSG_INQUIRE:
        return;
    }
}

/* ---- answers of the RM ---- */

static void on_work_done(struct step *s, enum assent_verdict verdict)
{
    struct assent_part *m = s->m;
    struct assent_part_action *reply = act(s, ASSENT_PART_ACT_WORK_DONE);
    bool ok = verdict == ASSENT_VERDICT_DONE && m->phase == ASSENT_PART_WORKING;

    if (!ok && m->phase == ASSENT_PART_WORKING)
        m->reason = ASSENT_REASON_WORK_FAILED;
    fill_message(m, ASSENT_MSG_WORK_REPLY, &reply->message);
    reply->message.vote = ok ? ASSENT_VOTE_YES : ASSENT_VOTE_NO;
    if (ok || m->phase != ASSENT_PART_WORKING)
        return;
    if (verdict == ASSENT_VERDICT_GONE)
        refuse_branch(s, ASSENT_REASON_WORK_FAILED);
    else
        start_rollback(s);
}

static void vote_no(struct step *s, enum assent_verdict verdict)
{
    s->m->reason = ASSENT_REASON_VOTED_NO;
    send_vote(s, ASSENT_VOTE_NO);
    if (verdict == ASSENT_VERDICT_GONE)
        refuse_branch(s, ASSENT_REASON_VOTED_NO);
    else
        start_rollback(s);
}

static void on_prepare_done(struct step *s, enum assent_verdict verdict)
{
    struct assent_part *m = s->m;

    if (verdict == ASSENT_VERDICT_PREPARED) {
        if (m->told != ASSENT_DECISION_ABORT &&
            (m->protocol == ASSENT_3PC || !(s->config->capabilities & ASSENT_CAP_PREPARED_LIST))) {
            set_phase(s, ASSENT_PART_PREPARE_LOGGING);
            log_record(s, ASSENT_PART_RECORD_PREPARED, true);
        } else {
            enter_prepared(s);
        }
    } else if (verdict == ASSENT_VERDICT_READ_ONLY) {
        set_phase(s, ASSENT_PART_READ_ONLY);
        send_vote(s, ASSENT_VOTE_READ_ONLY);
        if (m->ack_owed)
            send_ack(s, ASSENT_RESULT_ABORTED);
        act(s, ASSENT_PART_ACT_ENDED);
    } else {
        vote_no(s, verdict);
    }
}

static void prove(struct step *s)
{
    set_phase(s, ASSENT_PART_PROVING);
    if (s->config->capabilities & ASSENT_CAP_EVIDENCE)
        call(s, ASSENT_OP_EVIDENCE);
    else if (s->m->decision == ASSENT_DECISION_ABORT)
        finish(s, ASSENT_PART_ABORTED);
    else
        end_heuristic(s, ASSENT_RESULT_HAZARD);
}

/* The verdict on a commit, rollback, one-phase commit or on evidence. */
static void on_verdict(struct step *s, enum assent_verdict verdict)
{
    struct assent_part *m = s->m;

    switch (verdict) {
    case ASSENT_VERDICT_DONE:
    case ASSENT_VERDICT_READ_ONLY:
        if (m->decision == ASSENT_DECISION_NONE) /* one-phase: decided by the RM */
            decide(m, ASSENT_DECISION_COMMIT);
        finish(s,
               m->decision == ASSENT_DECISION_COMMIT ? ASSENT_PART_COMMITTED : ASSENT_PART_ABORTED);
        return;
    case ASSENT_VERDICT_GONE:
        refuse_branch(s, ASSENT_REASON_VOTED_NO);
        return;
    case ASSENT_VERDICT_ROLL_BACK:
        if (m->reason == ASSENT_REASON_NONE)
            m->reason =
                m->phase == ASSENT_PART_PROVING ? ASSENT_REASON_STALE : ASSENT_REASON_VOTED_NO;
        start_rollback(s);
        return;
    case ASSENT_VERDICT_PREPARED: /* evidence: still there, so obey again */
        if (m->decision == ASSENT_DECISION_COMMIT)
            start_commit(s);
        else
            start_rollback(s);
        return;
    case ASSENT_VERDICT_RETRY:
        schedule_retry(s);
        return;
    case ASSENT_VERDICT_PROVE:
        prove(s);
        return;
    case ASSENT_VERDICT_HEUR_COMMITTED:
        end_heuristic(s, ASSENT_RESULT_HEUR_COMMITTED);
        return;
    case ASSENT_VERDICT_HEUR_ABORTED:
        end_heuristic(s, ASSENT_RESULT_HEUR_ABORTED);
        return;
    case ASSENT_VERDICT_MIXED:
        end_heuristic(s, ASSENT_RESULT_MIXED);
        return;
    case ASSENT_VERDICT_HAZARD:
        end_heuristic(s, ASSENT_RESULT_HAZARD);
        return;
    }
}

static void on_rm(struct step *s, const struct assent_part_event *event)
{
    struct assent_part *m = s->m;
    enum assent_verdict verdict = assent_rm_verdict(event->operation, event->result, m->decision);

    if (event->operation == ASSENT_OP_WORK) {
        /* Several may be under way; they answer in order, before whatever was called after them. */
        on_work_done(s, verdict);
        return;
    }
    if (!m->rm_busy || event->operation != m->calling)
        return;
    m->rm_busy = false;
    if (event->operation == ASSENT_OP_PREPARE)
        on_prepare_done(s, verdict);
    else
        on_verdict(s, verdict);
}

/* ---- durable records, timers ---- */

static void on_durable(struct step *s, enum assent_part_record_kind record)
{
    struct assent_part *m = s->m;

    switch (record) {
    case ASSENT_PART_RECORD_PREPARED:
        enter_prepared(s);
        return;
    case ASSENT_PART_RECORD_PRECOMMITTED:
        enter_precommitted(s);
        return;
    case ASSENT_PART_RECORD_DECIDED:
        if (m->decision == ASSENT_DECISION_COMMIT)
            start_commit(s);
        else
            start_rollback(s);
        return;
    case ASSENT_PART_RECORD_RESULT:
        set_phase(s, ASSENT_PART_HEURISTIC);
        if (m->ack_owed)
            send_ack(s, m->result);
        act(s, ASSENT_PART_ACT_ENDED);
        return;
    case ASSENT_PART_RECORD_DONE:
        return;
    }
}

static void abort_work_alone(struct step *s, enum assent_reason reason)
{
    s->m->reason = reason;
    send_vote(s, ASSENT_VOTE_NO);
    start_rollback(s);
}

static void inquire(struct step *s)
{
    send(s, ASSENT_MSG_INQUIRE);
    schedule_retry(s);
}

static void on_timer(struct step *s)
{
    struct assent_part *m = s->m;
    bool alone = s->now_ms >= m->alone_ms;

    if (s->now_ms < m->timer_ms)
        return;
    switch (m->phase) {
    case ASSENT_PART_WORKING:
        abort_work_alone(s, ASSENT_REASON_DEADLINE);
        return;
    case ASSENT_PART_PREPARED:
    case ASSENT_PART_PRECOMMITTED:
        if (!alone) {
            inquire(s);
            return;
        }
        /* The timeout rule: before PreCommit abort, after it commit. Unsafe, as its docs say. */
        m->reason = ASSENT_REASON_ALONE;
        carry_out(s, m->phase == ASSENT_PART_PREPARED ? ASSENT_DECISION_ABORT
                                                      : ASSENT_DECISION_COMMIT);
        return;
    case ASSENT_PART_ONE_PHASE:
    case ASSENT_PART_COMMITTING:
    case ASSENT_PART_ABORTING:
    case ASSENT_PART_PROVING:
        if (!m->rm_busy)
            call(s, m->calling);
        return;
    case ASSENT_PART_NONE:
    case ASSENT_PART_PREPARING:
    case ASSENT_PART_PREPARE_LOGGING:
    case ASSENT_PART_PRECOMMIT_LOGGING:
    case ASSENT_PART_DECISION_LOGGING:
    case ASSENT_PART_RESULT_LOGGING:
    case ASSENT_PART_COMMITTED:
    case ASSENT_PART_ABORTED:
    case ASSENT_PART_READ_ONLY:
    case ASSENT_PART_HEURISTIC:
        return;
    }
}

static void set_timer(struct assent_part *m)
{
    m->timer_ms = m->alone_ms < m->retry_ms ? m->alone_ms : m->retry_ms;
}

void assent_part_step(struct assent_part *machine, const struct assent_part_config *config,
                      const struct assent_part_event *event, struct assent_part_actions *actions)
{
    struct step s = {machine, config, event->now_ms, actions};

    actions->count = 0;
    switch (event->kind) {
    case ASSENT_PART_EV_MESSAGE:
        on_message(&s, &event->message);
        break;
    case ASSENT_PART_EV_RM:
        on_rm(&s, event);
        break;
    case ASSENT_PART_EV_DURABLE:
        on_durable(&s, event->record);
        break;
    case ASSENT_PART_EV_TIMER:
        on_timer(&s);
        break;
    case ASSENT_PART_EV_PEER_UP:
        if (assent_part_in_doubt(machine))
            inquire(&s);
        break;
    case ASSENT_PART_EV_STOP:
        if (machine->phase == ASSENT_PART_WORKING)
            abort_work_alone(&s, ASSENT_REASON_SHUTDOWN);
        break;
    }
    set_timer(machine);
}

/* ---- life cycle ---- */

void assent_part_init(struct assent_part *machine, const struct assent_gtrid *gtrid,
                      uint32_t branch, uint64_t seed)
{
    memset(machine, 0, sizeof(*machine));
    machine->gtrid = *gtrid;
    machine->branch = branch;
    machine->rng = seed;
    machine->alone_ms = ASSENT_NO_TIMER;
    machine->retry_ms = ASSENT_NO_TIMER;
    machine->timer_ms = ASSENT_NO_TIMER;
}

void assent_part_init_closed(struct assent_part *machine, const struct assent_gtrid *gtrid,
                             uint32_t branch)
{
    assent_part_init(machine, gtrid, branch, 0);
    machine->phase = ASSENT_PART_ABORTED;
    machine->decision = ASSENT_DECISION_ABORT;
    machine->result = ASSENT_RESULT_ABORTED;
    machine->reason = ASSENT_REASON_CLOSED;
    machine->closed = true;
}

static void recover_phase(struct step *s, const struct assent_part_record *record)
{
    struct assent_part *m = s->m;

    switch (record->kind) {
    case ASSENT_PART_RECORD_PREPARED:
    case ASSENT_PART_RECORD_PRECOMMITTED:
        m->phase = record->kind == ASSENT_PART_RECORD_PREPARED ? ASSENT_PART_PREPARED
                                                               : ASSENT_PART_PRECOMMITTED;
        wait_for_decision(s);
        inquire(s); /* before any timeout rule (edge case 33) */
        return;
    case ASSENT_PART_RECORD_DECIDED:
        m->phase = ASSENT_PART_DECISION_LOGGING;
        on_durable(s, ASSENT_PART_RECORD_DECIDED);
        return;
    case ASSENT_PART_RECORD_RESULT:
        m->phase = ASSENT_PART_HEURISTIC;
        return;
    case ASSENT_PART_RECORD_DONE:
        m->phase =
            m->decision == ASSENT_DECISION_COMMIT ? ASSENT_PART_COMMITTED : ASSENT_PART_ABORTED;
        return;
    }
}

void assent_part_recover(struct assent_part *machine, const struct assent_part_config *config,
                         const struct assent_part_record *record, uint64_t now_ms, uint64_t seed,
                         struct assent_part_actions *actions)
{
    struct step s = {machine, config, now_ms, actions};

    actions->count = 0;
    assent_part_init(machine, &record->gtrid, record->branch, seed);
    machine->incarnation = record->incarnation;
    machine->epoch = record->epoch;
    machine->protocol = record->protocol;
    machine->termination = record->termination;
    machine->branch_count = record->branch_count;
    machine->timeout_ms = record->timeout_ms;
    machine->decision = record->decision;
    machine->result = record->result;
    machine->reason = record->reason;
    machine->recorded = true;
    recover_phase(&s, record);
    set_timer(machine);
}

void assent_part_recover_listed(struct assent_part *machine,
                                const struct assent_part_config *config,
                                const struct assent_gtrid *gtrid, uint32_t branch, uint64_t now_ms,
                                uint64_t seed, struct assent_part_actions *actions)
{
    struct step s = {machine, config, now_ms, actions};

    actions->count = 0;
    /* Whatever the protocol, without a record of ours no timeout rule applies: it asks. */
    assent_part_init(machine, gtrid, branch, seed);
    machine->phase = ASSENT_PART_PREPARED;
    wait_for_decision(&s);
    inquire(&s);
    set_timer(machine);
}

void assent_part_to_record(const struct assent_part *machine, enum assent_part_record_kind kind,
                           struct assent_part_record *ret_record)
{
    *ret_record = (struct assent_part_record){
        .kind = kind,
        .decision = machine->decision,
        .gtrid = machine->gtrid,
        .branch = machine->branch,
        .incarnation = machine->incarnation,
        .epoch = machine->epoch,
        .protocol = machine->protocol,
        .termination = machine->termination,
        .branch_count = machine->branch_count,
        .timeout_ms = machine->timeout_ms,
        .result = machine->result,
        .reason = machine->reason,
    };
}

bool assent_part_final(const struct assent_part *machine)
{
    return machine->phase == ASSENT_PART_COMMITTED || machine->phase == ASSENT_PART_ABORTED ||
           machine->phase == ASSENT_PART_READ_ONLY || machine->phase == ASSENT_PART_HEURISTIC;
}

bool assent_part_in_doubt(const struct assent_part *machine)
{
    return machine->phase == ASSENT_PART_PREPARED || machine->phase == ASSENT_PART_PRECOMMITTED;
}

#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return text;

const char *assent_part_phase_name(int phase)
{
    switch (phase) {
        ASSENT_PART_PHASES(X)
    default:
        return "?";
    }
}
#undef X
