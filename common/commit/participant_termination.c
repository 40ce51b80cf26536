/*
 * participant_termination.c: a participant in doubt finishes with the others: as a member of an
 * election (`quorum`), by the states of those it reaches (`cooperative`), or, under 2pc, by what a
 * peer knows. The rules are member.h's; here they become messages, records and decisions.
 */
#include "participant_step.h"

#include "rng.h"

static enum assent_part_record_kind record_of_state(enum assent_member_state state)
{
    switch (state) {
    case ASSENT_MEMBER_PRECOMMITTED:
        return ASSENT_PART_RECORD_PRECOMMITTED;
    case ASSENT_MEMBER_PREABORTED:
        return ASSENT_PART_RECORD_PREABORTED;
    case ASSENT_MEMBER_NONE:
    case ASSENT_MEMBER_YES:
        return ASSENT_PART_RECORD_PREPARED;
    }
    return ASSENT_PART_RECORD_PREPARED;
}

static enum assent_part_phase phase_of_state(enum assent_member_state state)
{
    switch (state) {
    case ASSENT_MEMBER_PRECOMMITTED:
        return ASSENT_PART_PRECOMMITTED;
    case ASSENT_MEMBER_PREABORTED:
        return ASSENT_PART_PREABORTED;
    case ASSENT_MEMBER_NONE:
    case ASSENT_MEMBER_YES:
        return ASSENT_PART_PREPARED;
    }
    return ASSENT_PART_PREPARED;
}

/* The state that a vote needs, and what an election changes, in one record. */
static void write_member(struct step *s)
{
    part_set_phase(s, ASSENT_PART_MEMBER_LOGGING);
    part_log_record(s, record_of_state(s->m->member.state), true);
}

static void tell(struct step *s, uint32_t to, enum assent_decision decision)
{
    part_send_to(s, to, decision == ASSENT_DECISION_COMMIT ? ASSENT_MSG_COMMIT : ASSENT_MSG_ABORT);
}

static void answer_candidate(struct step *s, uint32_t to, uint32_t ballot)
{
    const struct assent_member *member = &s->m->member;
    struct assent_message *message = part_send_to(s, to, ASSENT_MSG_ELECT_ANSWER);

    message->ballot = ballot;
    message->state = member->state;
    message->attempt = member->last_attempt;
    message->recovered = member->recovered;
}

static void ask_all(struct step *s)
{
    part_send_to(s, ASSENT_TO_ALL, ASSENT_MSG_ELECT)->ballot = s->m->member.last_elected;
}

static void propose(struct step *s)
{
    struct assent_message *message = part_send_to(s, ASSENT_TO_ALL, ASSENT_MSG_PROPOSE);

    message->ballot = s->m->member.last_elected;
    message->state = s->m->member.state;
}

/* Decided here, with others: told to all once it is durable here too. */
static void decide_for_all(struct step *s, enum assent_decision decision)
{
    s->m->tell_all = true;
    part_carry_out(s, decision);
}

static void decide_as_proposed(struct step *s)
{
    decide_for_all(s, s->m->member.state == ASSENT_MEMBER_PRECOMMITTED ? ASSENT_DECISION_COMMIT
                                                                       : ASSENT_DECISION_ABORT);
}

/* Rivals wait for different times, ever longer, so that one of them gets through. */
static void wait_again(struct step *s)
{
    struct assent_part *m = s->m;

    m->retry_ms = s->now_ms + s->config->inquire_ms;
    if (m->termination == ASSENT_TERMINATION_QUORUM)
        m->alone_ms = s->now_ms + assent_backoff_ms(&m->rng, m->elections, s->config->retry_min_ms,
                                                    s->config->retry_max_ms);
    else
        m->alone_ms = s->now_ms + m->timeout_ms;
    if (m->elections < UINT8_MAX)
        m->elections++;
}

void part_member_durable(struct step *s)
{
    struct assent_part *m = s->m;
    enum assent_member_next next = m->member.next;

    m->member.next = ASSENT_MEMBER_NOTHING;
    part_set_phase(s, phase_of_state(m->member.state));
    wait_again(s);
    if (m->told != ASSENT_DECISION_NONE) {
        part_carry_out(s, m->told);
        return;
    }
    switch (next) {
    case ASSENT_MEMBER_ASK:
        ask_all(s);
        break;
    case ASSENT_MEMBER_ANSWER:
        answer_candidate(s, m->member.next_to, m->member.last_elected);
        break;
    case ASSENT_MEMBER_PROPOSE:
        propose(s);
        break;
    case ASSENT_MEMBER_ACCEPT:
        part_send_to(s, m->member.next_to, ASSENT_MSG_PROPOSE_ACK)->ballot = m->member.last_attempt;
        break;
    case ASSENT_MEMBER_NOTHING:
        break;
    }
    part_count_answers(s); /* one participant alone may be a quorum */
}

void part_count_answers(struct step *s)
{
    if (s->m->termination != ASSENT_TERMINATION_QUORUM)
        return;
    if (assent_member_choose(&s->m->member))
        write_member(s);
    else if (assent_member_decides(&s->m->member))
        decide_as_proposed(s);
}

/* ---- cooperative ---- */

static void ask_around(struct step *s)
{
    assent_member_ask(&s->m->member);
    wait_again(s);
    ask_all(s);
}

static void conclude(struct step *s)
{
    struct assent_part *m = s->m;

    if (m->member.role == ASSENT_MEMBER_PROPOSING) {
        /* Who was reached is pre-committed, or has crashed since. */
        decide_for_all(s, ASSENT_DECISION_COMMIT);
        return;
    }
    switch (assent_member_verdict(&m->member)) {
    case ASSENT_MEMBER_WAIT:
        ask_around(s);
        return;
    case ASSENT_MEMBER_ABORT:
        decide_for_all(s, ASSENT_DECISION_ABORT);
        return;
    case ASSENT_MEMBER_PRECOMMIT:
        assent_member_lead(&m->member);
        write_member(s);
        return;
    }
}

static void conclude_if_all_heard(struct step *s)
{
    const struct assent_member *member = &s->m->member;

    if (member->role == ASSENT_MEMBER_IDLE || !assent_member_heard_all(member))
        return;
    /* Who must wait for another asks again when its time is up, not as fast as answers come. */
    if (member->role == ASSENT_MEMBER_PROPOSING ||
        assent_member_verdict(member) != ASSENT_MEMBER_WAIT)
        conclude(s);
}

/* ---- the coordinator is silent ---- */

void part_terminate(struct step *s)
{
    struct assent_part *m = s->m;

    switch (m->termination) {
    case ASSENT_TERMINATION_TIMEOUT:
        /* Before PreCommit abort, after it commit. Unsafe, as its docs say. */
        m->reason = ASSENT_REASON_ALONE;
        part_carry_out(s, m->phase == ASSENT_PART_PREPARED ? ASSENT_DECISION_ABORT
                                                           : ASSENT_DECISION_COMMIT);
        return;
    case ASSENT_TERMINATION_COOPERATIVE:
        if (m->member.role != ASSENT_MEMBER_IDLE) {
            conclude(s);
            return;
        }
        ask_around(s);
        return;
    case ASSENT_TERMINATION_QUORUM:
        if (assent_member_stand(&m->member))
            write_member(s);
        else
            m->alone_ms = ASSENT_NO_TIMER; /* others still may be elected */
        return;
    case ASSENT_TERMINATION_NONE:
        return;
    }
}

/* ---- asked by another member ---- */

/* Not voted, and it never will: durably first, so that no restart votes after all. */
static void refuse_for_good(struct step *s, uint32_t asked_by)
{
    struct assent_part *m = s->m;

    m->reason = ASSENT_REASON_TERMINATED;
    m->asked_by = (uint8_t)asked_by;
    m->asked = true;
    part_decide(m, ASSENT_DECISION_ABORT);
    part_set_phase(s, ASSENT_PART_DECISION_LOGGING);
    part_log_record(s, ASSENT_PART_RECORD_DECIDED, true);
}

static bool is_question(enum assent_message_kind kind)
{
    return kind == ASSENT_MSG_ELECT || kind == ASSENT_MSG_PROPOSE || kind == ASSENT_MSG_INQUIRE;
}

/* A 2pc's no that only we know, of a branch that the RM may still hold prepared: a restart would
 * find it in the RM's list, and could not tell it from one that has voted yes. */
static bool may_be_taken_back(const struct assent_part *m)
{
    return m->protocol == ASSENT_2PC && m->decision == ASSENT_DECISION_ABORT &&
           m->told == ASSENT_DECISION_NONE && !m->recorded && !assent_part_final(m);
}

/* Whether the message is answered already, since we have decided, or never will vote. */
static bool told_decision(struct step *s, const struct assent_message *message)
{
    struct assent_part *m = s->m;

    if (!is_question(message->kind) && !assent_part_in_doubt(m))
        return true;
    if (m->closed) /* an old frame: who has forgotten must not answer as if it were new */
        return true;
    switch (m->phase) {
    case ASSENT_PART_NONE:
        if (message->epoch == s->config->epoch)
            refuse_for_good(s, message->from);
        else if (message->protocol == ASSENT_3PC)
            /* A yes of an earlier life would be on record, and it can give none any more. Under
             * 2pc it may have voted read-only and left. */
            tell(s, message->from, ASSENT_DECISION_ABORT);
        return true;
    case ASSENT_PART_WORKING:
        refuse_for_good(s, message->from);
        return true;
    case ASSENT_PART_PREPARED:
        if (part_learn_unasked(s, message)) {
            refuse_for_good(s, message->from);
            return true;
        }
        /* Known from the RM's list alone, and may have voted: silent, as one that is down. */
        return m->branch_count == 0;
    case ASSENT_PART_PRECOMMITTED:
    case ASSENT_PART_PREABORTED:
        return false;
    case ASSENT_PART_PREPARING: /* on their way: who asks will ask again */
    case ASSENT_PART_PREPARE_LOGGING:
    case ASSENT_PART_PRECOMMIT_LOGGING:
    case ASSENT_PART_MEMBER_LOGGING:
    case ASSENT_PART_DECISION_LOGGING: /* not durable yet: a crash could take it back */
    case ASSENT_PART_ONE_PHASE:
    case ASSENT_PART_READ_ONLY: /* it has left, and does not know */
        return true;
    case ASSENT_PART_COMMITTING:
    case ASSENT_PART_ABORTING:
    case ASSENT_PART_PROVING:
    case ASSENT_PART_RESULT_LOGGING:
    case ASSENT_PART_COMMITTED:
    case ASSENT_PART_ABORTED:
    case ASSENT_PART_HEURISTIC:
        if (m->decision != ASSENT_DECISION_NONE && !may_be_taken_back(m))
            tell(s, message->from, m->decision);
        return true;
    }
    return true;
}

static void on_elect(struct step *s, const struct assent_message *message)
{
    struct assent_member *member = &s->m->member;

    if (s->m->termination == ASSENT_TERMINATION_COOPERATIVE)
        answer_candidate(s, message->from, message->ballot);
    else if (s->m->termination == ASSENT_TERMINATION_QUORUM &&
             assent_member_promise(member, message->from, message->ballot))
        write_member(s);
}

static void on_propose(struct step *s, const struct assent_message *message)
{
    struct assent_part *m = s->m;

    if (m->termination == ASSENT_TERMINATION_QUORUM) {
        if (assent_member_accept(&m->member, message->from, message->ballot, message->state))
            write_member(s);
    } else if (m->termination == ASSENT_TERMINATION_COOPERATIVE &&
               message->state == ASSENT_MEMBER_PRECOMMITTED) {
        m->member.state = ASSENT_MEMBER_PRECOMMITTED;
        m->member.last_attempt = message->ballot;
        m->member.role = ASSENT_MEMBER_IDLE;
        m->member.next = ASSENT_MEMBER_ACCEPT;
        m->member.next_to = (uint8_t)message->from;
        write_member(s);
    }
}

static void on_answer(struct step *s, const struct assent_message *message)
{
    struct assent_member *member = &s->m->member;

    if (s->m->termination == ASSENT_TERMINATION_COOPERATIVE) {
        assent_member_heard(member, message);
        conclude_if_all_heard(s);
        return;
    }
    if (message->kind == ASSENT_MSG_ELECT_ANSWER)
        assent_member_answered(member, message->from, message->ballot, message->state,
                               message->attempt);
    else
        assent_member_accepted(member, message->from, message->ballot);
    part_count_answers(s);
}

void part_on_termination(struct step *s, const struct assent_message *message)
{
    if (told_decision(s, message))
        return;
    if (s->held) /* the coordinator's promises may be lost as well, and peers may count on them */
        return;
    switch (message->kind) {
    case ASSENT_MSG_ELECT:
        on_elect(s, message);
        return;
    case ASSENT_MSG_PROPOSE:
        on_propose(s, message);
        return;
    case ASSENT_MSG_ELECT_ANSWER:
    case ASSENT_MSG_PROPOSE_ACK:
        on_answer(s, message);
        return;
    case ASSENT_MSG_INQUIRE: /* in doubt as well: silence says so */
    case ASSENT_MSG_NONE:
    case ASSENT_MSG_WORK:
    case ASSENT_MSG_PREPARE:
    case ASSENT_MSG_PRECOMMIT:
    case ASSENT_MSG_COMMIT:
    case ASSENT_MSG_ABORT:
    case ASSENT_MSG_COMMIT_ONE_PHASE:
    case ASSENT_MSG_WORK_REPLY:
    case ASSENT_MSG_VOTE:
    case ASSENT_MSG_PRECOMMIT_ACK:
    case ASSENT_MSG_ACK:
    case ASSENT_MSG_FORGET:
        return;
    }
}

/* The decision is durable: whoever waits for it here hears it now. */
void part_tell_decision(struct step *s)
{
    struct assent_part *m = s->m;

    if (m->tell_all)
        tell(s, ASSENT_TO_ALL, m->decision);
    if (m->asked) {
        tell(s, m->asked_by, m->decision);
        part_send_vote(s, ASSENT_VOTE_NO); /* the coordinator need not wait for it */
    }
    m->tell_all = m->asked = false;
}
