/*
 * coordinator_messages.c: what the coordinator does with each message of a participant.
 */
#include "coordinator_step.h"

/* A participant in doubt asks, or votes late or again: tell it what stands (edge case 12), even
 * when it has obeyed before: a crash may have made it forget that. */
static void answer(struct step *s, uint32_t branch)
{
    struct assent_coord *m = s->m;

    switch (m->phase) {
    case ASSENT_COORD_PRECOMMITTING:
        if (coord_awaited(m, &m->branches[branch - 1]))
            coord_send(s, branch, ASSENT_MSG_PRECOMMIT);
        return;
    case ASSENT_COORD_COMMITTING:
    case ASSENT_COORD_ABORTING:
    case ASSENT_COORD_ENDING:
        if (m->decision != ASSENT_DECISION_NONE)
            coord_send(s, branch,
                       m->decision == ASSENT_DECISION_COMMIT ? ASSENT_MSG_COMMIT
                                                             : ASSENT_MSG_ABORT);
        return;
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_VOTING:
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_ONE_PHASE:
    case ASSENT_COORD_TERMINATING:
    case ASSENT_COORD_MEMBER_LOGGING:
    case ASSENT_COORD_ENDED:
        return;
    }
}

static void on_no(struct step *s, uint32_t branch)
{
    struct assent_coord *m = s->m;
    struct assent_coord_branch *b = &m->branches[branch - 1];

    if (b->vote != ASSENT_VOTE_NONE ||
        !(coord_may_still_abort(m) || m->phase == ASSENT_COORD_ABORTING))
        return;
    b->vote = ASSENT_VOTE_NO;
    b->result = ASSENT_RESULT_ABORTED;
    if (coord_may_still_abort(m))
        coord_abort_because(s, ASSENT_REASON_VOTED_NO, branch);
    else
        coord_end_if_all_obeyed(s);
}

static void on_vote(struct step *s, const struct assent_message *message)
{
    struct assent_coord *m = s->m;
    struct assent_coord_branch *b = &m->branches[message->branch - 1];

    if (message->vote == ASSENT_VOTE_NO) {
        on_no(s, message->branch);
        return;
    }
    if (m->phase != ASSENT_COORD_VOTING) {
        if (message->vote == ASSENT_VOTE_YES)
            answer(s, message->branch);
        return;
    }
    /* A vote for another list of branches, or from another life of ours, is no vote (18). */
    if (message->incarnation != s->config->incarnation || message->epoch != b->epoch ||
        message->branch_count != m->branch_count || message->vote == ASSENT_VOTE_NONE)
        return;
    if (s->m->termination == ASSENT_TERMINATION_QUORUM && message->vote == ASSENT_VOTE_READ_ONLY)
        return; /* a member may not leave */
    if (b->vote == ASSENT_VOTE_NONE)
        b->vote = message->vote;
    if (coord_every_vote_is_in(m))
        coord_all_votes_in(s);
}

static void on_precommit_ack(struct step *s, const struct assent_message *message)
{
    struct assent_coord_branch *b = &s->m->branches[message->branch - 1];

    if (s->m->phase != ASSENT_COORD_PRECOMMITTING || !coord_voted_yes(b))
        return;
    if (s->m->termination == ASSENT_TERMINATION_QUORUM) {
        if (message->ballot != ASSENT_BALLOT_FIRST)
            return;
        b->precommitted = true;
        if (coord_has_quorum_of_precommits(s->m))
            coord_decided_by_quorum(s, ASSENT_DECISION_COMMIT);
        return;
    }
    b->precommitted = true;
    if (coord_nobody_awaited(s->m))
        coord_log_commit(s);
}

/* The result as seen against the decision: a branch that did the opposite is heuristic. */
enum assent_branch_result coord_result_against(enum assent_decision decision,
                                               enum assent_branch_result result)
{
    if (decision == ASSENT_DECISION_COMMIT && result == ASSENT_RESULT_ABORTED)
        return ASSENT_RESULT_HEUR_ABORTED;
    if (decision == ASSENT_DECISION_ABORT && result == ASSENT_RESULT_COMMITTED)
        return ASSENT_RESULT_HEUR_COMMITTED;
    return result;
}

/* The one branch decided: what it says is the outcome. It is durable there, and our one-phase
 * record makes a restart ask again until the outcome's own record is written. */
static void on_one_phase_ack(struct step *s, const struct assent_message *message)
{
    struct assent_coord *m = s->m;
    bool committed = message->result == ASSENT_RESULT_COMMITTED ||
                     message->result == ASSENT_RESULT_HEUR_COMMITTED;
    bool aborted =
        message->result == ASSENT_RESULT_ABORTED || message->result == ASSENT_RESULT_HEUR_ABORTED;

    m->branches[0].result = message->result;
    if (committed || aborted)
        coord_decide(m, committed ? ASSENT_DECISION_COMMIT : ASSENT_DECISION_ABORT);
    if (aborted) {
        m->reason =
            message->reason == ASSENT_REASON_NONE ? ASSENT_REASON_VOTED_NO : message->reason;
        m->reason_branch = message->branch;
    }
    if (!committed && !aborted)
        coord_act(s, ASSENT_COORD_ACT_ALARM)->branch = message->branch;
    coord_tell(s, coord_outcome_of(m));
    coord_end(s);
}

bool coord_is_plain(enum assent_branch_result result)
{
    return result == ASSENT_RESULT_NONE || result == ASSENT_RESULT_COMMITTED ||
           result == ASSENT_RESULT_ABORTED;
}

/* Whether it is plain. */
static bool take_result(struct step *s, const struct assent_message *message)
{
    struct assent_coord_branch *b = &s->m->branches[message->branch - 1];

    b->result = coord_result_against(s->m->decision, message->result);
    if (coord_is_plain(b->result))
        return true;
    coord_act(s, ASSENT_COORD_ACT_ALARM)->branch = message->branch;
    return false;
}

/* From one that an abort had not reached: its branch was ended otherwise, and it says so once. */
static void on_ack_while_ending(struct step *s, const struct assent_message *message)
{
    if (s->m->branches[message->branch - 1].result == ASSENT_RESULT_NONE &&
        !take_result(s, message))
        s->m->outdated = true;
}

static void on_ack(struct step *s, const struct assent_message *message)
{
    struct assent_coord *m = s->m;
    struct assent_coord_branch *b = &m->branches[message->branch - 1];

    if (m->phase == ASSENT_COORD_ENDING) {
        on_ack_while_ending(s, message);
        return;
    }
    if (!coord_awaited(m, b) || message->result == ASSENT_RESULT_NONE)
        return;
    switch (m->phase) {
    case ASSENT_COORD_ONE_PHASE:
        on_one_phase_ack(s, message);
        return;
    case ASSENT_COORD_COMMITTING:
    case ASSENT_COORD_ABORTING:
        (void)take_result(s, message);
        coord_end_if_all_obeyed(s);
        return;
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_VOTING:
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_PRECOMMITTING: /* told the truth when it is told to commit */
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_TERMINATING:
    case ASSENT_COORD_MEMBER_LOGGING:
    case ASSENT_COORD_ENDING:
    case ASSENT_COORD_ENDED:
        return;
    }
}

/* From a member of the termination: what stands is told, what is in doubt is settled together. */
static void on_member(struct step *s, const struct assent_message *message)
{
    enum assent_coord_phase phase = s->m->phase;
    bool tells = message->kind == ASSENT_MSG_COMMIT || message->kind == ASSENT_MSG_ABORT;

    if (s->m->protocol != ASSENT_3PC)
        return;
    if (phase == ASSENT_COORD_PRECOMMIT_LOGGING || phase == ASSENT_COORD_PRECOMMITTING ||
        phase == ASSENT_COORD_TERMINATING || phase == ASSENT_COORD_MEMBER_LOGGING)
        coord_on_termination(s, message);
    else if (message->kind == ASSENT_MSG_ABORT && coord_may_still_abort(s->m))
        coord_abort_because(s, ASSENT_REASON_TERMINATED, message->branch);
    else if (!tells)
        answer(s, message->branch);
}

void coord_on_message(struct step *s, const struct assent_message *message)
{
    if (message->branch == 0 || message->branch > s->m->branch_count)
        return;
    switch (message->kind) {
    case ASSENT_MSG_VOTE:
        on_vote(s, message);
        return;
    case ASSENT_MSG_PRECOMMIT_ACK:
        on_precommit_ack(s, message);
        return;
    case ASSENT_MSG_ACK:
        on_ack(s, message);
        return;
    case ASSENT_MSG_INQUIRE:
        answer(s, message->branch);
        return;
    case ASSENT_MSG_COMMIT:
    case ASSENT_MSG_ABORT:
    case ASSENT_MSG_ELECT:
    case ASSENT_MSG_ELECT_ANSWER:
    case ASSENT_MSG_PROPOSE:
    case ASSENT_MSG_PROPOSE_ACK:
        on_member(s, message);
        return;
    case ASSENT_MSG_NONE:
    case ASSENT_MSG_WORK:
    case ASSENT_MSG_PREPARE:
    case ASSENT_MSG_PRECOMMIT:
    case ASSENT_MSG_COMMIT_ONE_PHASE:
    case ASSENT_MSG_FORGET:
    case ASSENT_MSG_WORK_REPLY: /* the driver's: it answers the application */
        return;
    }
}
