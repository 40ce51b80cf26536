/*
 * coordinator_termination.c: the coordinator of a 3pc as a member of its termination, see member.h:
 * when acknowledgements of PreCommit fail to come, when a participant stands as a candidate, and
 * after a restart that found a record without a decision. Then it is one among the others, and goes
 * on with the second phase only once a decision is known.
 */
#include "coordinator_step.h"

#include "rng.h"

static void write_member(struct step *s)
{
    coord_set_phase(s, ASSENT_COORD_MEMBER_LOGGING);
    coord_log_record(s,
                     s->m->member.state == ASSENT_MEMBER_PREABORTED ? ASSENT_COORD_RECORD_PREABORT
                                                                    : ASSENT_COORD_RECORD_PRECOMMIT,
                     true);
}

static void send_all(struct step *s, enum assent_message_kind kind)
{
    for (uint32_t branch = 1; branch <= s->m->branch_count; branch++) {
        struct assent_message *message = coord_send(s, branch, kind);

        message->ballot = s->m->member.last_elected;
        message->state = s->m->member.state;
    }
}

static void answer_candidate(struct step *s, uint32_t branch, uint32_t ballot)
{
    struct assent_message *message = coord_send(s, branch, ASSENT_MSG_ELECT_ANSWER);

    message->ballot = ballot;
    message->state = s->m->member.state;
    message->attempt = s->m->member.last_attempt;
    message->recovered = s->m->member.recovered;
}

/* Rivals wait for different times, ever longer, so that one of them gets through. */
static void wait_again(struct step *s)
{
    s->m->retry_ms =
        s->now_ms + assent_backoff_ms(&s->m->rng, s->m->elections, s->config->retry_min_ms,
                                      s->config->retry_max_ms);
    if (s->m->elections < UINT8_MAX)
        s->m->elections++;
}

/* A quorum holds the decision, so our own record of it need not be on disk before it is told. */
void coord_decided_by_quorum(struct step *s, enum assent_decision decision)
{
    if (decision == ASSENT_DECISION_ABORT) {
        coord_abort_because(s, ASSENT_REASON_TERMINATED, 0);
        return;
    }
    coord_decide(s->m, ASSENT_DECISION_COMMIT);
    coord_log_record(s, ASSENT_COORD_RECORD_COMMIT, false);
    coord_tell(s, ASSENT_OUTCOME_COMMITTED);
    coord_enter_committing(s);
}

static void count_answers(struct step *s)
{
    struct assent_member *member = &s->m->member;

    if (assent_member_choose(member))
        write_member(s);
    else if (assent_member_decides(member))
        coord_decided_by_quorum(s, member->state == ASSENT_MEMBER_PRECOMMITTED
                                       ? ASSENT_DECISION_COMMIT
                                       : ASSENT_DECISION_ABORT);
}

void coord_member_durable(struct step *s)
{
    struct assent_member *member = &s->m->member;
    enum assent_member_next next = member->next;

    member->next = ASSENT_MEMBER_NOTHING;
    coord_set_phase(s, ASSENT_COORD_TERMINATING);
    wait_again(s);
    if (s->m->learned != ASSENT_DECISION_NONE) {
        coord_decided_by_quorum(s, s->m->learned);
        return;
    }
    switch (next) {
    case ASSENT_MEMBER_ASK:
        send_all(s, ASSENT_MSG_ELECT);
        break;
    case ASSENT_MEMBER_ANSWER:
        answer_candidate(s, member->next_to, member->last_elected);
        break;
    case ASSENT_MEMBER_PROPOSE:
        send_all(s, ASSENT_MSG_PROPOSE);
        break;
    case ASSENT_MEMBER_ACCEPT:
        coord_send(s, member->next_to, ASSENT_MSG_PROPOSE_ACK)->ballot = member->last_attempt;
        break;
    case ASSENT_MEMBER_NOTHING:
        break;
    }
    count_answers(s);
}

/* The time for acknowledgements, or for the last election, is over. */
void coord_terminate(struct step *s)
{
    switch (s->m->termination) {
    case ASSENT_TERMINATION_QUORUM:
        if (assent_member_stand(&s->m->member))
            write_member(s);
        else
            s->m->retry_ms = ASSENT_NO_TIMER; /* others still may be elected */
        return;
    case ASSENT_TERMINATION_COOPERATIVE:
        if (s->m->phase == ASSENT_COORD_TERMINATING) {
            /* After a restart: the others may have finished, so it only asks. */
            send_all(s, ASSENT_MSG_INQUIRE);
            wait_again(s);
            return;
        }
        coord_log_commit(s);
        return;
    case ASSENT_TERMINATION_TIMEOUT:
    case ASSENT_TERMINATION_NONE:
        /* The timeout rule: every vote is yes, so commit without the missing acknowledgements. */
        coord_log_commit(s);
        return;
    }
}

void coord_resume_as_member(struct step *s)
{
    s->m->phase = ASSENT_COORD_TERMINATING;
    wait_again(s);
}

static void on_elect(struct step *s, const struct assent_message *message)
{
    if (s->m->termination == ASSENT_TERMINATION_COOPERATIVE)
        answer_candidate(s, message->branch, message->ballot);
    else if (assent_member_promise(&s->m->member, message->branch, message->ballot))
        write_member(s);
}

static void learn(struct step *s, enum assent_decision decision)
{
    if (s->m->phase == ASSENT_COORD_PRECOMMITTING || s->m->phase == ASSENT_COORD_TERMINATING)
        coord_decided_by_quorum(s, decision);
    else
        s->m->learned = decision; /* looked at when the write under way is done */
}

/* The transaction is in doubt: nobody knows its decision here. */
void coord_on_termination(struct step *s, const struct assent_message *message)
{
    struct assent_member *member = &s->m->member;
    bool writing =
        s->m->phase == ASSENT_COORD_PRECOMMIT_LOGGING || s->m->phase == ASSENT_COORD_MEMBER_LOGGING;

    if (message->kind == ASSENT_MSG_COMMIT || message->kind == ASSENT_MSG_ABORT) {
        learn(s,
              message->kind == ASSENT_MSG_COMMIT ? ASSENT_DECISION_COMMIT : ASSENT_DECISION_ABORT);
        return;
    }
    if (writing) /* who asks will ask again */
        return;
    if (message->kind == ASSENT_MSG_ELECT) {
        on_elect(s, message);
    } else if (s->m->termination != ASSENT_TERMINATION_QUORUM) {
        return;
    } else if (message->kind == ASSENT_MSG_PROPOSE) {
        if (assent_member_accept(member, message->branch, message->ballot, message->state))
            write_member(s);
    } else {
        if (message->kind == ASSENT_MSG_ELECT_ANSWER)
            assent_member_answered(member, message->branch, message->ballot, message->state,
                                   message->attempt);
        else
            assent_member_accepted(member, message->branch, message->ballot);
        count_answers(s);
    }
}

bool coord_has_quorum_of_precommits(const struct assent_coord *m)
{
    struct assent_member_set set = {0};

    assent_member_set_add(&set, 0); /* our own record */
    for (uint32_t i = 0; i < m->branch_count; i++)
        if (m->branches[i].precommitted)
            assent_member_set_add(&set, i + 1);
    return assent_member_is_quorum(&m->member, &set);
}
