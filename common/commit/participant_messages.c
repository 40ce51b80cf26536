/*
 * participant_messages.c: what the participant does with each message of its coordinator.
 */
#include "participant_step.h"

#include "gtrid.h"

/* Asked of a life before this one, about a branch without a record: its work is lost, and nothing
 * new may start under it (11, 45). It is refused for good without a tombstone, since every repeat
 * is as stale; and it decides nothing, since that life may have committed the branch in one phase.
 */
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
        part_send(s, ASSENT_MSG_WORK_REPLY)->vote = ASSENT_VOTE_NO;
        return;
    }
    /* Not part_call(): several works may be under way, and what is called later runs after them. */
    action = part_act(s, ASSENT_PART_ACT_CALL);
    action->operation = ASSENT_OP_WORK;
    if (m->phase == ASSENT_PART_NONE) {
        part_set_phase(s, ASSENT_PART_WORKING);
        action->with_begin = true;
    }
    m->alone_ms = s->now_ms + message->timeout_ms;
}

static void start_prepare(struct step *s, const struct assent_message *message, bool begin)
{
    struct assent_part_action *action;

    s->m->branch_count = message->branch_count;
    s->m->timeout_ms = message->timeout_ms;
    assent_member_init(&s->m->member, s->m->branch, message->branch_count);
    part_set_phase(s, ASSENT_PART_PREPARING);
    action = part_call(s, ASSENT_OP_PREPARE);
    action->with_begin = begin;
    action->with_work = message->has_work;
}

/* A branch known from the RM's list alone. If it has not voted, the RM is asked as ever, or it is
 * refused: its work is of an earlier life. A 2pc's may have voted, and takes what a vote must say
 * from the repeated prepare. */
static void repeat_yes(struct step *s, const struct assent_message *message)
{
    struct assent_part *m = s->m;

    if (part_learn_unasked(s, message)) {
        if (message->epoch == s->config->epoch) {
            start_prepare(s, message, false);
        } else {
            m->reason = ASSENT_REASON_STALE;
            part_send_vote(s, ASSENT_VOTE_NO);
            part_start_rollback(s);
        }
        return;
    }
    if (m->epoch == 0) {
        if (message->protocol != ASSENT_2PC)
            return;
        m->epoch = message->epoch;
        m->branch_count = message->branch_count;
    }
    part_send_vote(s, ASSENT_VOTE_YES);
}

static void on_prepare(struct step *s, const struct assent_message *message)
{
    switch (s->m->phase) {
    case ASSENT_PART_NONE:
        if (is_stale(s, message)) {
            part_send_vote(s, ASSENT_VOTE_NO);
        } else {
            /* Without work it is one that the application has prepared itself, past us, or one
             * whose work never got here: the RM knows. */
            start_prepare(s, message, message->has_work);
        }
        return;
    case ASSENT_PART_WORKING:
        start_prepare(s, message, false);
        return;
    case ASSENT_PART_PREPARED:
        repeat_yes(s, message);
        return;
    case ASSENT_PART_PRECOMMITTED:
        part_send_vote(s, ASSENT_VOTE_YES);
        return;
    case ASSENT_PART_READ_ONLY:
        part_send_vote(s, ASSENT_VOTE_READ_ONLY);
        return;
    case ASSENT_PART_ABORTING:
    case ASSENT_PART_ABORTED:
        part_send_vote(s, ASSENT_VOTE_NO);
        return;
    case ASSENT_PART_PREPARING:
    case ASSENT_PART_PREPARE_LOGGING:
    case ASSENT_PART_PRECOMMIT_LOGGING:
    case ASSENT_PART_PREABORTED:
    case ASSENT_PART_MEMBER_LOGGING:
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

    if (m->protocol != ASSENT_3PC || !m->recorded ||
        (m->phase != ASSENT_PART_PREPARED && m->phase != ASSENT_PART_PRECOMMITTED))
        return;
    if (m->termination == ASSENT_TERMINATION_QUORUM) {
        if (!assent_member_precommit(&m->member))
            return; /* it has promised a candidate not to */
    } else {
        m->member.state = ASSENT_MEMBER_PRECOMMITTED;
    }
    if (m->phase == ASSENT_PART_PRECOMMITTED) {
        part_send_precommit_ack(s);
        return;
    }
    part_set_phase(s, ASSENT_PART_PRECOMMIT_LOGGING);
    part_log_record(s, ASSENT_PART_RECORD_PRECOMMITTED, true);
}

/* A decision for a branch that was final before: the same again, or the opposite. */
static void on_decision_when_final(struct step *s)
{
    struct assent_part *m = s->m;

    if (m->phase == ASSENT_PART_HEURISTIC)
        part_send_ack(s, m->result);
    else if (m->phase == ASSENT_PART_READ_ONLY)
        part_send_ack(s, m->told == ASSENT_DECISION_COMMIT ? ASSENT_RESULT_COMMITTED
                                                           : ASSENT_RESULT_ABORTED);
    else if (part_contradicted(m))
        part_end_heuristic(s, m->phase == ASSENT_PART_COMMITTED ? ASSENT_RESULT_HEUR_COMMITTED
                                                                : ASSENT_RESULT_HEUR_ABORTED);
    else
        part_send_ack(s, m->result);
}

/* A decision for a branch that is not final: carried out now, or when what is under way is done. */
static void obey(struct step *s, enum assent_decision decision)
{
    struct assent_part *m = s->m;

    m->told = decision;
    if (m->phase == ASSENT_PART_WORKING)
        part_start_rollback(s);
    else if (m->phase == ASSENT_PART_PREPARED || m->phase == ASSENT_PART_PRECOMMITTED ||
             m->phase == ASSENT_PART_PREABORTED)
        part_carry_out(s, decision);
}

/* Nobody may commit what has not voted, nor abort what was told to commit alone. */
static bool cannot_be(struct step *s, enum assent_decision decision)
{
    switch (s->m->phase) {
    case ASSENT_PART_ONE_PHASE:
        break;
    case ASSENT_PART_WORKING:
    case ASSENT_PART_PREPARING:
    case ASSENT_PART_PREPARE_LOGGING:
        if (decision == ASSENT_DECISION_ABORT)
            return false;
        break;
    case ASSENT_PART_NONE:
    case ASSENT_PART_PREPARED:
    case ASSENT_PART_PRECOMMIT_LOGGING:
    case ASSENT_PART_PRECOMMITTED:
    case ASSENT_PART_PREABORTED:
    case ASSENT_PART_MEMBER_LOGGING:
    case ASSENT_PART_DECISION_LOGGING:
    case ASSENT_PART_COMMITTING:
    case ASSENT_PART_ABORTING:
    case ASSENT_PART_PROVING:
    case ASSENT_PART_RESULT_LOGGING:
    case ASSENT_PART_COMMITTED:
    case ASSENT_PART_ABORTED:
    case ASSENT_PART_READ_ONLY:
    case ASSENT_PART_HEURISTIC:
        return false;
    }
    part_act(s, ASSENT_PART_ACT_ALARM);
    return true;
}

/* Only who still waits for it has use for it; the coordinator keeps the books. */
static void on_peers_decision(struct step *s, enum assent_decision decision)
{
    if (s->m->phase == ASSENT_PART_NONE || assent_part_final(s->m) || cannot_be(s, decision))
        return;
    obey(s, decision);
}

/* It was obeyed before everybody forgot it, and this is a late frame. A later life that still tells
 * it has a log of before that, put back from a copy, and waits for an answer. */
static void on_decision_when_closed(struct step *s, enum assent_decision decision)
{
    if (s->m->incarnation > assent_gtrid_incarnation(&s->m->gtrid))
        part_send_ack(s, decision == ASSENT_DECISION_COMMIT ? ASSENT_RESULT_COMMITTED
                                                            : ASSENT_RESULT_ABORTED);
}

static void on_decision(struct step *s, enum assent_decision decision)
{
    struct assent_part *m = s->m;

    if (m->closed) {
        on_decision_when_closed(s, decision);
        return;
    }
    if (cannot_be(s, decision))
        return;
    m->ack_owed = true;
    if (m->phase == ASSENT_PART_NONE) {
        m->told = decision;
        if (decision == ASSENT_DECISION_COMMIT) {
            part_start_commit(s);
        } else {
            /* Nothing is remembered here, but the RM may hold evidence of a commit (27, 37). */
            m->reason = ASSENT_REASON_CLOSED;
            part_decide(m, ASSENT_DECISION_ABORT);
            part_prove(s);
        }
    } else if (assent_part_final(m)) {
        m->told = decision;
        on_decision_when_final(s);
    } else {
        obey(s, decision);
    }
}

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
            m->reason = ASSENT_REASON_STALE;
            part_prove(s);
            return;
        }
        part_set_phase(s, ASSENT_PART_ONE_PHASE);
        action = part_call(s, ASSENT_OP_ONE_PHASE);
        action->with_begin = action->with_work = true;
        return;
    case ASSENT_PART_WORKING:
        part_set_phase(s, ASSENT_PART_ONE_PHASE);
        part_call(s, ASSENT_OP_ONE_PHASE)->with_work = message->has_work;
        return;
    case ASSENT_PART_COMMITTED:
    case ASSENT_PART_ABORTED:
    case ASSENT_PART_HEURISTIC:
        part_send_ack(s, m->result);
        return;
    case ASSENT_PART_READ_ONLY:
        part_send_ack(s, ASSENT_RESULT_COMMITTED);
        return;
    case ASSENT_PART_PREPARING:
    case ASSENT_PART_PREPARE_LOGGING:
    case ASSENT_PART_PREPARED:
    case ASSENT_PART_PRECOMMIT_LOGGING:
    case ASSENT_PART_PRECOMMITTED:
    case ASSENT_PART_PREABORTED:
    case ASSENT_PART_MEMBER_LOGGING:
    case ASSENT_PART_DECISION_LOGGING:
    case ASSENT_PART_ONE_PHASE:
    case ASSENT_PART_COMMITTING:
    case ASSENT_PART_ABORTING:
    case ASSENT_PART_PROVING:
    case ASSENT_PART_RESULT_LOGGING:
        return;
    }
}

static void on_coordinator(struct step *s, const struct assent_message *message)
{
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
    case ASSENT_MSG_FORGET:
        s->m->released |= s->m->phase == ASSENT_PART_HEURISTIC;
        return;
    case ASSENT_MSG_INQUIRE:
    case ASSENT_MSG_ELECT:
    case ASSENT_MSG_ELECT_ANSWER:
    case ASSENT_MSG_PROPOSE:
    case ASSENT_MSG_PROPOSE_ACK:
        part_on_termination(s, message);
        return;
    case ASSENT_MSG_NONE:
    case ASSENT_MSG_WORK_REPLY:
    case ASSENT_MSG_VOTE:
    case ASSENT_MSG_PRECOMMIT_ACK:
    case ASSENT_MSG_ACK:
        return;
    }
}

/* Another participant may ask, answer and tell a decision, and nothing else. What it tells needs no
 * fence by incarnation: a decision is never taken back. */
static void on_peer(struct step *s, const struct assent_message *message)
{
    switch (message->kind) {
    case ASSENT_MSG_COMMIT:
        on_peers_decision(s, ASSENT_DECISION_COMMIT);
        return;
    case ASSENT_MSG_ABORT:
        on_peers_decision(s, ASSENT_DECISION_ABORT);
        return;
    case ASSENT_MSG_INQUIRE:
    case ASSENT_MSG_ELECT:
    case ASSENT_MSG_ELECT_ANSWER:
    case ASSENT_MSG_PROPOSE:
    case ASSENT_MSG_PROPOSE_ACK:
        part_on_termination(s, message);
        return;
    case ASSENT_MSG_NONE:
    case ASSENT_MSG_WORK:
    case ASSENT_MSG_PREPARE:
    case ASSENT_MSG_PRECOMMIT:
    case ASSENT_MSG_COMMIT_ONE_PHASE:
    case ASSENT_MSG_WORK_REPLY:
    case ASSENT_MSG_VOTE:
    case ASSENT_MSG_PRECOMMIT_ACK:
    case ASSENT_MSG_ACK:
    case ASSENT_MSG_FORGET:
        return;
    }
}

void part_on_message(struct step *s, const struct assent_message *message)
{
    struct assent_part *m = s->m;

    if (message->from > ASSENT_BRANCHES_MAX || message->from == m->branch)
        return;
    if (message->from == 0) {
        /* A coordinator's earlier life has nothing to say any more (edge case 28). */
        if (message->incarnation < m->incarnation)
            return;
        m->incarnation = message->incarnation;
    }
    if (s->held && message->kind == ASSENT_MSG_ABORT)
        return; /* its commit may be lost, and the abort presumed, here or where a peer heard it */
    if (m->phase == ASSENT_PART_NONE) {
        m->epoch = message->epoch;
        m->protocol = message->protocol;
        m->termination = message->termination;
    }
    if (message->from == 0)
        on_coordinator(s, message);
    else
        on_peer(s, message);
}
