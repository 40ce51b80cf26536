/*
 * coordinator_operator.c: what a person may decide, and results that come when the transaction has
 * no machine any more. Neither ever goes against a decision that stands.
 *
 * phase                       by hand
 * ACTIVE, VOTING              abort: nothing is decided, and nobody may commit without every vote
 * PRECOMMITTING, TERMINATING  either, by force: every vote is yes, but the members may have decided
 *                             without this coordinator, and then the outcome is mixed
 * ONE_PHASE                   either, by force: the only branch has decided, and is not to be
 *                             heard; the outcome is a hazard
 * all others                  nothing: a decision stands, or is being written
 */
#include "coordinator_step.h"

#include <string.h>

int assent_coord_may_resolve(const struct assent_coord *m, enum assent_decision decision,
                             bool force)
{
    switch (m->phase) {
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_VOTING:
        return decision == ASSENT_DECISION_ABORT ? 0 : ASSENT_E_STATE;
    case ASSENT_COORD_PRECOMMITTING:
    case ASSENT_COORD_TERMINATING:
    case ASSENT_COORD_ONE_PHASE:
        return force ? 0 : ASSENT_E_REFUSED;
    case ASSENT_COORD_MEMBER_LOGGING:
        return force ? ASSENT_E_STATE : ASSENT_E_REFUSED; /* in a moment */
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_COMMITTING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_ABORTING:
    case ASSENT_COORD_ENDING:
    case ASSENT_COORD_ENDED:
        return ASSENT_E_STATE;
    }
    return ASSENT_E_STATE;
}

void coord_resolve(struct step *s, enum assent_decision decision)
{
    struct assent_coord *m = s->m;

    if (assent_coord_may_resolve(m, decision, true) != 0)
        return;
    m->reason = ASSENT_REASON_OPERATOR;
    m->reason_branch = 0;
    m->keyed = true; /* what a person has decided is on record, an abort too, before it is told */
    if (m->phase == ASSENT_COORD_ONE_PHASE) {
        coord_decide(m, decision);
        m->branches[0].result = ASSENT_RESULT_HAZARD;
        coord_act(s, ASSENT_COORD_ACT_ALARM)->branch = 1;
        coord_end(s);
    } else if (decision == ASSENT_DECISION_COMMIT) {
        coord_log_commit(s);
    } else {
        coord_enter_aborting(s);
    }
}

static struct assent_coord_record_branch *branch_of(struct assent_coord_record *r, uint32_t number)
{
    uint32_t at = 0;

    while (at < r->branch_count && r->branches[at].number < number)
        at++;
    if (at < r->branch_count && r->branches[at].number == number)
        return &r->branches[at];
    memmove(&r->branches[at + 1], &r->branches[at],
            (r->branch_count - at) * sizeof(r->branches[0]));
    r->branches[at] =
        (struct assent_coord_record_branch){.number = number, .vote = ASSENT_VOTE_YES};
    r->branch_count++;
    return &r->branches[at];
}

static enum assent_outcome outcome_of(const struct assent_coord_record *r)
{
    bool hazard = false;

    for (uint32_t i = 0; i < r->branch_count; i++) {
        if (r->branches[i].result == ASSENT_RESULT_HAZARD)
            hazard = true;
        else if (r->branches[i].result > ASSENT_RESULT_ABORTED &&
                 r->branches[i].result != (r->decision == ASSENT_DECISION_COMMIT
                                               ? ASSENT_RESULT_HEUR_COMMITTED
                                               : ASSENT_RESULT_HEUR_ABORTED))
            return ASSENT_OUTCOME_MIXED;
    }
    return hazard                                  ? ASSENT_OUTCOME_HAZARD
           : r->decision == ASSENT_DECISION_COMMIT ? ASSENT_OUTCOME_COMMITTED
                                                   : ASSENT_OUTCOME_ABORTED;
}

/* A branch on its own has ended otherwise than plainly, and as decided. */
static bool agrees(enum assent_decision decision, enum assent_branch_result result)
{
    return (decision == ASSENT_DECISION_COMMIT && result == ASSENT_RESULT_HEUR_COMMITTED) ||
           (decision == ASSENT_DECISION_ABORT && result == ASSENT_RESULT_HEUR_ABORTED);
}

static struct assent_coord_record without_record(const struct assent_message *message,
                                                 bool may_have_expired)
{
    return (struct assent_coord_record){
        .kind = ASSENT_COORD_RECORD_OUTCOME,
        .decision = may_have_expired ? ASSENT_DECISION_NONE : ASSENT_DECISION_ABORT,
        .outcome = ASSENT_OUTCOME_HAZARD,
        .gtrid = message->gtrid,
        .protocol = message->protocol,
        .termination = message->termination,
        .reason = may_have_expired ? ASSENT_REASON_NONE : ASSENT_REASON_PRESUMED};
}

enum assent_coord_late assent_coord_late_result(const struct assent_coord_record *record,
                                                bool may_have_expired,
                                                const struct assent_message *message,
                                                uint32_t participant,
                                                struct assent_coord_record *ret_record)
{
    struct assent_coord_record r =
        record != NULL ? *record : without_record(message, may_have_expired);
    struct assent_coord_record_branch *b;
    enum assent_branch_result result = coord_result_against(r.decision, message->result);

    if (message->kind != ASSENT_MSG_ACK || r.kind != ASSENT_COORD_RECORD_OUTCOME ||
        message->branch == 0 || message->branch > ASSENT_BRANCHES_MAX || coord_is_plain(result))
        return ASSENT_COORD_LATE_NOTHING;
    if (agrees(r.decision, result))
        return ASSENT_COORD_LATE_FORGET;
    b = branch_of(&r, message->branch);
    if (b->result == result) /* it says so again, until a person has seen to it */
        return r.acknowledged ? ASSENT_COORD_LATE_FORGET : ASSENT_COORD_LATE_NOTHING;
    b->participant = participant;
    b->epoch = message->epoch;
    b->result = result;
    if (r.decision != ASSENT_DECISION_NONE)
        r.outcome = outcome_of(&r);
    r.acknowledged = false;
    *ret_record = r;
    return ASSENT_COORD_LATE_RECORD;
}
