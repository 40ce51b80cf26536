/*
 * participant_acts.c: what the participant's machine can do: change phase, send, log, call its RM,
 * finish. The table of legal changes is here, and nothing else changes a phase.
 *
 * Invariants, checked at every change of phase: yes is sent only when the branch is durably
 * prepared; after yes nothing is decided here but by the coordinator or by the termination policy,
 * and under 3pc durably before the RM hears of it; a final branch never becomes anything but
 * HEURISTIC.
 */
#include "participant_step.h"

#include "check.h"
#include "rng.h"

#define BIT(phase) (1u << ASSENT_PART_##phase)

static const uint32_t legal[ASSENT_PART_PHASE_COUNT] = {
    [ASSENT_PART_NONE] = BIT(WORKING) | BIT(PREPARING) | BIT(ONE_PHASE) | BIT(COMMITTING) |
                         BIT(PROVING) | BIT(ABORTED) | BIT(DECISION_LOGGING),
    [ASSENT_PART_WORKING] =
        BIT(PREPARING) | BIT(ONE_PHASE) | BIT(ABORTING) | BIT(ABORTED) | BIT(DECISION_LOGGING),
    [ASSENT_PART_PREPARING] =
        BIT(PREPARE_LOGGING) | BIT(PREPARED) | BIT(READ_ONLY) | BIT(ABORTING) | BIT(ABORTED),
    [ASSENT_PART_PREPARE_LOGGING] = BIT(PREPARED) | BIT(ABORTING),
    [ASSENT_PART_PREPARED] = BIT(PREPARING) | BIT(PRECOMMIT_LOGGING) | BIT(MEMBER_LOGGING) |
                             BIT(DECISION_LOGGING) | BIT(COMMITTING) | BIT(ABORTING),
    [ASSENT_PART_PRECOMMIT_LOGGING] = BIT(PRECOMMITTED),
    [ASSENT_PART_PRECOMMITTED] = BIT(MEMBER_LOGGING) | BIT(DECISION_LOGGING),
    [ASSENT_PART_PREABORTED] = BIT(MEMBER_LOGGING) | BIT(DECISION_LOGGING),
    [ASSENT_PART_MEMBER_LOGGING] = BIT(PREPARED) | BIT(PRECOMMITTED) | BIT(PREABORTED),
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

void part_set_phase(struct step *s, enum assent_part_phase phase)
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

void part_decide(struct assent_part *m, enum assent_decision decision)
{
    CORE_CHECK(m->decision == ASSENT_DECISION_NONE || m->decision == decision);
    m->decision = decision;
}

struct assent_part_action *part_act(struct step *s, enum assent_part_action_kind kind)
{
    struct assent_part_action *action;

    CORE_CHECK(s->actions->count < ASSENT_PART_ACTIONS_MAX);
    action = &s->actions->items[s->actions->count++];
    *action = (struct assent_part_action){.kind = kind};
    return action;
}

void part_fill_message(const struct assent_part *m, enum assent_message_kind kind,
                       struct assent_message *message)
{
    *message = (struct assent_message){
        .kind = kind,
        .gtrid = m->gtrid,
        .branch = m->branch,
        .from = m->branch,
        .incarnation = m->incarnation,
        .epoch = m->epoch,
        .protocol = m->protocol,
        .termination = m->termination,
        .branch_count = m->branch_count,
        .result = m->result,
        .reason = m->reason,
    };
}

struct assent_message *part_send(struct step *s, enum assent_message_kind kind)
{
    return part_send_to(s, ASSENT_TO_COORDINATOR, kind);
}

struct assent_message *part_send_to(struct step *s, uint32_t to, enum assent_message_kind kind)
{
    struct assent_part_action *action = part_act(s, ASSENT_PART_ACT_SEND);

    part_fill_message(s->m, kind, &action->message);
    action->to = to;
    return &action->message;
}

void part_send_vote(struct step *s, enum assent_vote vote)
{
    part_send(s, ASSENT_MSG_VOTE)->vote = vote;
}

void part_send_ack(struct step *s, enum assent_branch_result result)
{
    part_send(s, ASSENT_MSG_ACK)->result = result;
    s->m->ack_owed = false;
}

void part_log_record(struct step *s, enum assent_part_record_kind record, bool forced)
{
    struct assent_part_action *action = part_act(s, ASSENT_PART_ACT_LOG);

    action->record = record;
    action->forced = forced;
    s->m->recorded = true;
}

struct assent_part_action *part_call(struct step *s, enum assent_operation operation)
{
    struct assent_part_action *action = part_act(s, ASSENT_PART_ACT_CALL);

    action->operation = operation;
    s->m->calling = operation;
    s->m->rm_busy = true;
    s->m->retry_ms = ASSENT_NO_TIMER;
    return action;
}

void part_schedule_retry(struct step *s)
{
    s->m->retry_ms =
        s->now_ms + assent_backoff_ms(&s->m->rng, s->m->attempt++, s->config->retry_min_ms,
                                      s->config->retry_max_ms);
}

/* ---- the end of a branch ---- */

void part_end_heuristic(struct step *s, enum assent_branch_result result)
{
    s->m->result = result;
    part_act(s, ASSENT_PART_ACT_ALARM);
    part_set_phase(s, ASSENT_PART_RESULT_LOGGING);
    part_log_record(s, ASSENT_PART_RECORD_RESULT, true);
}

/* The coordinator says the opposite of what was done here: only a person can mend that (27, 29). */
bool part_contradicted(const struct assent_part *m)
{
    return m->told != ASSENT_DECISION_NONE && m->told != m->decision;
}

void part_finish(struct step *s, enum assent_part_phase phase)
{
    struct assent_part *m = s->m;

    part_set_phase(s, phase);
    m->result = phase == ASSENT_PART_COMMITTED ? ASSENT_RESULT_COMMITTED : ASSENT_RESULT_ABORTED;
    if (part_contradicted(m)) {
        part_end_heuristic(s, phase == ASSENT_PART_COMMITTED ? ASSENT_RESULT_HEUR_COMMITTED
                                                             : ASSENT_RESULT_HEUR_ABORTED);
        return;
    }
    /* Its loss is harmless: the branch would ask again and find the RM's evidence. */
    if (m->recorded)
        part_log_record(s, ASSENT_PART_RECORD_DONE, false);
    if (m->ack_owed)
        part_send_ack(s, m->result);
    part_act(s, ASSENT_PART_ACT_ENDED);
}

void part_start_rollback(struct step *s)
{
    part_decide(s->m, ASSENT_DECISION_ABORT);
    part_set_phase(s, ASSENT_PART_ABORTING);
    if (s->m->witness)
        part_finish(s, ASSENT_PART_ABORTED);
    else
        part_call(s, ASSENT_OP_ROLLBACK);
}

void part_start_commit(struct step *s)
{
    part_decide(s->m, ASSENT_DECISION_COMMIT);
    part_set_phase(s, ASSENT_PART_COMMITTING);
    if (s->m->witness)
        part_finish(s, ASSENT_PART_COMMITTED);
    else
        part_call(s, ASSENT_OP_COMMIT);
}

void part_refuse_branch(struct step *s, enum assent_reason reason)
{
    s->m->reason = reason;
    part_decide(s->m, ASSENT_DECISION_ABORT);
    part_finish(s, ASSENT_PART_ABORTED);
}

/* A prepared branch learns or takes the decision. Under 3pc it is durable here before the RM is
 * told, so that no restart takes another one; under 2pc the coordinator's log is the only one. */
void part_carry_out(struct step *s, enum assent_decision decision)
{
    part_decide(s->m, decision);
    if (s->m->protocol == ASSENT_3PC) {
        part_set_phase(s, ASSENT_PART_DECISION_LOGGING);
        part_log_record(s, ASSENT_PART_RECORD_DECIDED, true);
    } else if (decision == ASSENT_DECISION_COMMIT) {
        part_start_commit(s);
    } else {
        part_start_rollback(s);
    }
}

/* ---- in doubt ---- */

void part_send_precommit_ack(struct step *s)
{
    part_send(s, ASSENT_MSG_PRECOMMIT_ACK)->ballot = ASSENT_BALLOT_FIRST;
}

void part_wait_for_decision(struct step *s)
{
    struct assent_part *m = s->m;

    m->retry_ms = s->now_ms + s->config->inquire_ms;
    if (m->protocol == ASSENT_3PC && m->termination != ASSENT_TERMINATION_NONE)
        m->alone_ms = s->now_ms + m->timeout_ms;
}

/* Whether it is a branch that a scan has found and that has not voted: enlisted in this life of
 * ours, which knew nothing of it until then, or of a 3pc, whose yes would be on record. Then the
 * message tells what it belongs to. */
bool part_learn_unasked(struct step *s, const struct assent_message *message)
{
    struct assent_part *m = s->m;

    if (m->phase != ASSENT_PART_PREPARED || m->epoch != 0 || m->recorded ||
        (message->epoch != s->config->epoch && m->protocol != ASSENT_3PC))
        return false;
    m->epoch = message->epoch;
    m->termination = message->termination;
    return true;
}

void part_enter_prepared(struct step *s)
{
    if (s->m->told == ASSENT_DECISION_ABORT) {
        part_start_rollback(s);
        return;
    }
    part_set_phase(s, ASSENT_PART_PREPARED);
    part_send_vote(s, ASSENT_VOTE_YES);
    part_wait_for_decision(s);
}

void part_enter_precommitted(struct step *s)
{
    part_set_phase(s, ASSENT_PART_PRECOMMITTED);
    if (s->m->told != ASSENT_DECISION_NONE) {
        part_carry_out(s, s->m->told);
        return;
    }
    part_send_precommit_ack(s);
    part_wait_for_decision(s);
}
