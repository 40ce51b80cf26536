/*
 * coordinator_acts.c: what the coordinator's machine can do: change phase, send, log, tell, decide,
 * end. The table of legal changes is here, and nothing else changes a phase.
 *
 * Invariants, checked at every change of phase: a decision is never reversed; COMMIT is decided
 * only with every vote yes or read-only (or by the one branch of a one-phase commit); nobody is
 * told committed before the decision's record is durable, or (`quorum`) the pre-commit of a quorum.
 */
#include "coordinator_step.h"

#include "check.h"
#include "rng.h"

#define BIT(phase) (1u << ASSENT_COORD_##phase)

static const uint16_t legal[ASSENT_COORD_PHASE_COUNT] = {
    [ASSENT_COORD_ACTIVE] = BIT(VOTING) | BIT(ONE_PHASE_LOGGING) | BIT(ABORTING) | BIT(ENDING),
    [ASSENT_COORD_VOTING] =
        BIT(COMMIT_LOGGING) | BIT(PRECOMMIT_LOGGING) | BIT(ABORTING) | BIT(ENDING),
    [ASSENT_COORD_PRECOMMIT_LOGGING] = BIT(PRECOMMITTING) | BIT(COMMITTING) | BIT(ABORTING),
    [ASSENT_COORD_PRECOMMITTING] =
        BIT(COMMIT_LOGGING) | BIT(COMMITTING) | BIT(MEMBER_LOGGING) | BIT(ABORTING),
    [ASSENT_COORD_TERMINATING] =
        BIT(MEMBER_LOGGING) | BIT(COMMIT_LOGGING) | BIT(COMMITTING) | BIT(ABORTING),
    [ASSENT_COORD_MEMBER_LOGGING] = BIT(TERMINATING),
    [ASSENT_COORD_COMMIT_LOGGING] = BIT(COMMITTING) | BIT(ABORTING),
    [ASSENT_COORD_COMMITTING] = BIT(ENDING),
    [ASSENT_COORD_ONE_PHASE_LOGGING] = BIT(ONE_PHASE),
    [ASSENT_COORD_ONE_PHASE] = BIT(ENDING),
    [ASSENT_COORD_ABORTING] = BIT(ENDING),
    [ASSENT_COORD_ENDING] = BIT(ENDED),
    [ASSENT_COORD_ENDED] = 0,
};

bool coord_every_vote_is_in(const struct assent_coord *m)
{
    for (uint32_t i = 0; i < m->branch_count; i++)
        if (m->branches[i].vote != ASSENT_VOTE_YES && m->branches[i].vote != ASSENT_VOTE_READ_ONLY)
            return false;
    return true;
}

void coord_set_phase(struct step *s, enum assent_coord_phase phase)
{
    struct assent_coord *m = s->m;

    CORE_CHECK(legal[m->phase] & 1u << phase);
    if (phase == ASSENT_COORD_COMMIT_LOGGING || phase == ASSENT_COORD_PRECOMMIT_LOGGING)
        CORE_CHECK(coord_every_vote_is_in(m));
    if (phase == ASSENT_COORD_COMMITTING)
        CORE_CHECK(m->decision == ASSENT_DECISION_COMMIT);
    if (phase == ASSENT_COORD_ABORTING)
        CORE_CHECK(m->decision == ASSENT_DECISION_ABORT);
    m->phase = phase;
    m->attempt = 0;
    m->phase_end_ms = ASSENT_NO_TIMER;
    m->retry_ms = ASSENT_NO_TIMER;
}

void coord_decide(struct assent_coord *m, enum assent_decision decision)
{
    CORE_CHECK(m->decision == ASSENT_DECISION_NONE || m->decision == decision);
    m->decision = decision;
}

struct assent_coord_action *coord_act(struct step *s, enum assent_coord_action_kind kind)
{
    struct assent_coord_action *action;

    CORE_CHECK(s->actions->count < ASSENT_COORD_ACTIONS_MAX);
    action = &s->actions->items[s->actions->count++];
    *action = (struct assent_coord_action){.kind = kind};
    return action;
}

void coord_log_record(struct step *s, enum assent_coord_record_kind record, bool forced)
{
    struct assent_coord_action *action = coord_act(s, ASSENT_COORD_ACT_LOG);

    action->record = record;
    action->forced = forced;
}

static uint32_t remaining_ms(uint64_t until_ms, uint64_t now_ms)
{
    uint64_t left = until_ms > now_ms ? until_ms - now_ms : 0;

    return left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
}

void coord_fill_message(const struct assent_coord *m, const struct assent_coord_config *config,
                        uint32_t branch, enum assent_message_kind kind, uint64_t now_ms,
                        struct assent_message *message)
{
    const struct assent_coord_branch *b = &m->branches[branch - 1];

    *message = (struct assent_message){
        .kind = kind,
        .gtrid = m->gtrid,
        .branch = branch,
        .incarnation = config->incarnation,
        .epoch = b->epoch,
        .protocol = m->protocol,
        .termination = m->termination,
        .branch_count = m->branch_count,
        .has_work = b->has_work,
    };
    /* Longer than we ourselves wait for the votes, or a slow voter alone would split it. */
    if (m->protocol == ASSENT_3PC && kind == ASSENT_MSG_PREPARE)
        message->timeout_ms = config->prepare_timeout_ms + config->precommit_timeout_ms;
    else
        message->timeout_ms = remaining_ms(m->deadline_ms, now_ms);
}

struct assent_message *coord_send(struct step *s, uint32_t branch, enum assent_message_kind kind)
{
    struct assent_coord_action *action = coord_act(s, ASSENT_COORD_ACT_SEND);

    action->participant = s->m->branches[branch - 1].participant;
    coord_fill_message(s->m, s->config, branch, kind, s->now_ms, &action->message);
    if (kind == ASSENT_MSG_PRECOMMIT)
        action->message.ballot = ASSENT_BALLOT_FIRST;
    return &action->message;
}

bool coord_voted_yes(const struct assent_coord_branch *b)
{
    return b->vote == ASSENT_VOTE_YES;
}

/* Whether the phase still waits for this branch. */
bool coord_awaited(const struct assent_coord *m, const struct assent_coord_branch *b)
{
    switch (m->phase) {
    case ASSENT_COORD_VOTING:
        return b->vote == ASSENT_VOTE_NONE;
    case ASSENT_COORD_PRECOMMITTING:
        return coord_voted_yes(b) && !b->precommitted;
    case ASSENT_COORD_COMMITTING:
        return coord_voted_yes(b) && b->result == ASSENT_RESULT_NONE;
    case ASSENT_COORD_ABORTING:
        return b->vote != ASSENT_VOTE_READ_ONLY && b->result == ASSENT_RESULT_NONE;
    case ASSENT_COORD_ONE_PHASE:
        return b->result == ASSENT_RESULT_NONE;
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_TERMINATING:
    case ASSENT_COORD_MEMBER_LOGGING:
    case ASSENT_COORD_ENDING:
    case ASSENT_COORD_ENDED:
        return false;
    }
    return false;
}

static enum assent_message_kind phase_message(enum assent_coord_phase phase)
{
    switch (phase) {
    case ASSENT_COORD_VOTING:
        return ASSENT_MSG_PREPARE;
    case ASSENT_COORD_PRECOMMITTING:
        return ASSENT_MSG_PRECOMMIT;
    case ASSENT_COORD_COMMITTING:
        return ASSENT_MSG_COMMIT;
    case ASSENT_COORD_ABORTING:
        return ASSENT_MSG_ABORT;
    case ASSENT_COORD_ONE_PHASE:
        return ASSENT_MSG_COMMIT_ONE_PHASE;
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_TERMINATING:
    case ASSENT_COORD_MEMBER_LOGGING:
    case ASSENT_COORD_ENDING:
    case ASSENT_COORD_ENDED:
        return ASSENT_MSG_NONE;
    }
    return ASSENT_MSG_NONE;
}

/* Tells every awaited branch (of one participant, or of all: 0) what this phase asks of it. */
void coord_send_phase(struct step *s, uint32_t participant)
{
    for (uint32_t i = 0; i < s->m->branch_count; i++) {
        const struct assent_coord_branch *b = &s->m->branches[i];

        if (coord_awaited(s->m, b) && (participant == 0 || b->participant == participant))
            coord_send(s, i + 1, phase_message(s->m->phase));
    }
}

bool coord_nobody_awaited(const struct assent_coord *m)
{
    for (uint32_t i = 0; i < m->branch_count; i++)
        if (coord_awaited(m, &m->branches[i]))
            return false;
    return true;
}

/* Contradicting branches make the outcome mixed or a hazard; the decision stays what it is. */
enum assent_outcome coord_outcome_of(const struct assent_coord *m)
{
    bool commit = m->decision == ASSENT_DECISION_COMMIT, hazard = false;

    for (uint32_t i = 0; i < m->branch_count; i++) {
        enum assent_branch_result result = m->branches[i].result;

        if (result == ASSENT_RESULT_MIXED ||
            result == (commit ? ASSENT_RESULT_HEUR_ABORTED : ASSENT_RESULT_HEUR_COMMITTED))
            return ASSENT_OUTCOME_MIXED;
        hazard |= result == ASSENT_RESULT_HAZARD;
    }
    if (hazard)
        return ASSENT_OUTCOME_HAZARD;
    return commit ? ASSENT_OUTCOME_COMMITTED : ASSENT_OUTCOME_ABORTED;
}

/* From here on the outcome may be seen by anyone. */
void coord_tell(struct step *s, enum assent_outcome outcome)
{
    s->m->outcome = outcome;
    s->m->told = true;
    coord_act(s, ASSENT_COORD_ACT_REPLY);
}

void coord_log_outcome(struct step *s)
{
    s->m->outdated = false;
    if (s->m->told)
        s->m->outcome = coord_outcome_of(s->m);
    coord_log_record(s, ASSENT_COORD_RECORD_OUTCOME, false);
}

void coord_end(struct step *s)
{
    coord_set_phase(s, ASSENT_COORD_ENDING);
    coord_log_outcome(s);
}

void coord_end_if_all_obeyed(struct step *s)
{
    if (coord_nobody_awaited(s->m))
        coord_end(s);
}

void coord_schedule_retry(struct step *s)
{
    s->m->retry_ms =
        s->now_ms + assent_backoff_ms(&s->m->rng, s->m->attempt++, s->config->retry_min_ms,
                                      s->config->retry_max_ms);
}

/* Presumption tells those that an abort does not reach, so it need not be repeated for ever. But
 * once PreCommit was sent somebody may have committed against it, which must come to light. */
uint64_t coord_abort_given_up_ms(const struct step *s)
{
    return s->m->member.last_attempt > 0 ? ASSENT_NO_TIMER
                                         : s->now_ms + s->config->abort_delivery_ms;
}

void coord_enter_aborting(struct step *s)
{
    coord_decide(s->m, ASSENT_DECISION_ABORT);
    /* Presumed abort: nothing need be durable before anyone is told. But what has a key is told by
     * record only: after a crash, presumption would not know the key, and run it anew. */
    if (!s->m->keyed)
        coord_tell(s, ASSENT_OUTCOME_ABORTED);
    coord_set_phase(s, ASSENT_COORD_ABORTING);
    s->m->phase_end_ms = coord_abort_given_up_ms(s);
    coord_send_phase(s, 0);
    coord_schedule_retry(s);
    if (coord_nobody_awaited(s->m))
        coord_end(s);
    else if (s->m->keyed)
        coord_log_record(s, ASSENT_COORD_RECORD_ABORT, false);
}

void coord_abort_because(struct step *s, enum assent_reason reason, uint32_t branch)
{
    s->m->reason = reason;
    s->m->reason_branch = branch;
    coord_enter_aborting(s);
}

void coord_enter_committing(struct step *s)
{
    coord_set_phase(s, ASSENT_COORD_COMMITTING);
    coord_send_phase(s, 0);
    coord_schedule_retry(s);
    coord_end_if_all_obeyed(s);
}

void coord_log_commit(struct step *s)
{
    coord_set_phase(s, ASSENT_COORD_COMMIT_LOGGING);
    coord_log_record(s, ASSENT_COORD_RECORD_COMMIT, true);
}

/* Nothing was written anywhere, so no write is forced (edge case 14); but what is told committed
 * must not be presumed aborted after a crash, so the reply waits until the record has ridden along
 * with some batch (5). */
void coord_commit_read_only(struct step *s)
{
    coord_decide(s->m, ASSENT_DECISION_COMMIT);
    coord_end(s);
}

void coord_all_votes_in(struct step *s)
{
    bool wrote = false;

    for (uint32_t i = 0; i < s->m->branch_count; i++)
        wrote |= coord_voted_yes(&s->m->branches[i]);
    if (!wrote) {
        coord_commit_read_only(s);
    } else if (s->m->protocol == ASSENT_3PC) {
        assent_member_init(&s->m->member, 0, s->m->branch_count);
        s->m->member.state = ASSENT_MEMBER_PRECOMMITTED;
        s->m->member.last_attempt = ASSENT_BALLOT_FIRST;
        coord_set_phase(s, ASSENT_COORD_PRECOMMIT_LOGGING);
        coord_log_record(s, ASSENT_COORD_RECORD_PRECOMMIT, true);
    } else {
        coord_log_commit(s);
    }
}
