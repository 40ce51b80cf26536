/*
 * participant.c: the participant's machine as seen from outside: steps, durable records, timers,
 * recovery. See participant.h for its phases.
 */
#include "participant_step.h"

#include <string.h>

#include "gtrid.h"

static void on_durable(struct step *s, enum assent_part_record_kind record)
{
    struct assent_part *m = s->m;

    switch (record) {
    case ASSENT_PART_RECORD_PREPARED:
    case ASSENT_PART_RECORD_PRECOMMITTED:
    case ASSENT_PART_RECORD_PREABORTED:
        if (m->phase == ASSENT_PART_MEMBER_LOGGING)
            part_member_durable(s);
        else if (m->phase == ASSENT_PART_PREPARE_LOGGING)
            part_enter_prepared(s);
        else if (m->phase == ASSENT_PART_PRECOMMIT_LOGGING)
            part_enter_precommitted(s);
        return;
    case ASSENT_PART_RECORD_DECIDED:
        part_tell_decision(s);
        if (m->decision == ASSENT_DECISION_COMMIT)
            part_start_commit(s);
        else
            part_start_rollback(s);
        return;
    case ASSENT_PART_RECORD_RESULT:
        part_set_phase(s, ASSENT_PART_HEURISTIC);
        part_send_ack(s, m->result); /* unasked as well: the decision may have been a peer's */
        part_act(s, ASSENT_PART_ACT_ENDED);
        return;
    case ASSENT_PART_RECORD_DONE:
        return;
    }
}

static void abort_work_alone(struct step *s, enum assent_reason reason)
{
    s->m->reason = reason;
    part_send_vote(s, ASSENT_VOTE_NO);
    part_start_rollback(s);
}

static void inquire(struct step *s)
{
    part_send(s, ASSENT_MSG_INQUIRE);
    part_schedule_retry(s);
}

/* In doubt for long: a 2pc asks its peers as well, and, so that a restart can ask them again, makes
 * a record where it needed none before. A 3pc asks them in elections, unless it is held. */
static void inquire_around(struct step *s)
{
    struct assent_part *m = s->m;

    if (m->termination != ASSENT_TERMINATION_NONE && (m->protocol == ASSENT_2PC || s->held)) {
        if (!m->recorded && m->branch_count > 1)
            part_log_record(s, ASSENT_PART_RECORD_PREPARED, false);
        part_send_to(s, ASSENT_TO_ALL, ASSENT_MSG_INQUIRE);
        part_schedule_retry(s);
    } else {
        inquire(s);
    }
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
    case ASSENT_PART_PREABORTED:
        if (alone && !s->held) {
            part_terminate(s);
            return;
        }
        inquire_around(s);
        if (alone)
            m->alone_ms = m->retry_ms; /* looks again then */
        return;
    case ASSENT_PART_ONE_PHASE:
    case ASSENT_PART_COMMITTING:
    case ASSENT_PART_ABORTING:
    case ASSENT_PART_PROVING:
        if (!m->rm_busy)
            part_call(s, m->calling);
        return;
    case ASSENT_PART_NONE:
    case ASSENT_PART_PREPARING:
    case ASSENT_PART_PREPARE_LOGGING:
    case ASSENT_PART_PRECOMMIT_LOGGING:
    case ASSENT_PART_MEMBER_LOGGING:
    case ASSENT_PART_DECISION_LOGGING:
    case ASSENT_PART_RESULT_LOGGING:
    case ASSENT_PART_COMMITTED:
    case ASSENT_PART_ABORTED:
    case ASSENT_PART_READ_ONLY:
    case ASSENT_PART_HEURISTIC:
        return;
    }
}

/* A call that had no answer is to be repeated. */
static bool waits_to_call(const struct assent_part *m)
{
    return !m->rm_busy && m->retry_ms != ASSENT_NO_TIMER &&
           (m->phase == ASSENT_PART_ONE_PHASE || m->phase == ASSENT_PART_COMMITTING ||
            m->phase == ASSENT_PART_ABORTING || m->phase == ASSENT_PART_PROVING);
}

static void on_peer_up(struct step *s)
{
    const struct assent_part *m = s->m;

    if (assent_part_in_doubt(m) && m->phase != ASSENT_PART_MEMBER_LOGGING)
        inquire(s);
    else if (m->phase == ASSENT_PART_HEURISTIC && !m->released)
        part_send_ack(s, m->result); /* until a person has seen to it */
}

/* From now on what the log has lost is aborted. What was committed here contradicts that, and must
 * not do so unseen. */
static void on_accepted(struct step *s)
{
    struct assent_part *m = s->m;

    if (m->phase == ASSENT_PART_COMMITTED)
        part_send_ack(s, m->result);
    else if (m->decision == ASSENT_DECISION_COMMIT && !assent_part_final(m))
        m->ack_owed = true;
    else
        on_peer_up(s);
}

static void set_timer(struct assent_part *m)
{
    m->timer_ms = m->alone_ms < m->retry_ms ? m->alone_ms : m->retry_ms;
}

void assent_part_step(struct assent_part *machine, const struct assent_part_config *config,
                      const struct assent_part_event *event, struct assent_part_actions *actions)
{
    struct step s = {.m = machine,
                     .config = config,
                     .now_ms = event->now_ms,
                     .actions = actions,
                     .held = assent_gtrid_incarnation(&machine->gtrid) < event->lost_below};

    actions->count = 0;
    switch (event->kind) {
    case ASSENT_PART_EV_MESSAGE:
        part_on_message(&s, &event->message);
        break;
    case ASSENT_PART_EV_RM:
        part_on_rm(&s, event);
        break;
    case ASSENT_PART_EV_DURABLE:
        on_durable(&s, event->record);
        break;
    case ASSENT_PART_EV_TIMER:
        on_timer(&s);
        break;
    case ASSENT_PART_EV_PEER_UP:
        on_peer_up(&s);
        break;
    case ASSENT_PART_EV_RM_UP:
        if (waits_to_call(machine))
            part_call(&s, machine->calling);
        break;
    case ASSENT_PART_EV_STOP:
        if (machine->phase == ASSENT_PART_WORKING)
            abort_work_alone(&s, ASSENT_REASON_SHUTDOWN);
        break;
    case ASSENT_PART_EV_ACCEPTED:
        on_accepted(&s);
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

static void recover_in_doubt(struct step *s, enum assent_part_phase phase,
                             enum assent_member_state state)
{
    s->m->phase = phase;
    s->m->member.state = state;
    part_wait_for_decision(s);
    inquire(s); /* before any timeout rule (edge case 33) */
}

static void recover_phase(struct step *s, const struct assent_part_record *record)
{
    struct assent_part *m = s->m;

    switch (record->kind) {
    case ASSENT_PART_RECORD_PREPARED:
        recover_in_doubt(s, ASSENT_PART_PREPARED, ASSENT_MEMBER_YES);
        return;
    case ASSENT_PART_RECORD_PRECOMMITTED:
        recover_in_doubt(s, ASSENT_PART_PRECOMMITTED, ASSENT_MEMBER_PRECOMMITTED);
        return;
    case ASSENT_PART_RECORD_PREABORTED:
        recover_in_doubt(s, ASSENT_PART_PREABORTED, ASSENT_MEMBER_PREABORTED);
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
    struct step s = {.m = machine, .config = config, .now_ms = now_ms, .actions = actions};

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
    machine->witness = record->witness;
    assent_member_init(&machine->member, record->branch, record->branch_count);
    machine->member.last_elected = record->last_elected;
    machine->member.last_attempt = record->last_attempt;
    machine->member.recovered = true;
    recover_phase(&s, record);
    set_timer(machine);
}

void assent_part_recover_listed(struct assent_part *machine,
                                const struct assent_part_config *config,
                                const struct assent_gtrid *gtrid, uint32_t branch,
                                enum assent_protocol protocol, enum assent_listed listed,
                                uint64_t now_ms, uint64_t seed, struct assent_part_actions *actions)
{
    struct step s = {.m = machine, .config = config, .now_ms = now_ms, .actions = actions};

    actions->count = 0;
    assent_part_init(machine, gtrid, branch, seed);
    machine->protocol = protocol;
    machine->phase = ASSENT_PART_PREPARED;
    if (protocol == ASSENT_3PC && listed == ASSENT_LISTED_AT_START) {
        machine->reason = ASSENT_REASON_STALE;
        part_start_rollback(&s);
    } else {
        if (listed == ASSENT_LISTED_LOG_LOST)
            part_log_record(&s, ASSENT_PART_RECORD_PREPARED, true);
        part_wait_for_decision(&s);
        inquire(&s);
    }
    set_timer(machine);
}

void assent_part_address(struct assent_message *message, uint32_t to)
{
    message->branch = to == ASSENT_TO_COORDINATOR ? message->from : to;
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
        .witness = machine->witness,
        .last_elected = machine->member.last_elected,
        .last_attempt = machine->member.last_attempt,
    };
}

bool assent_part_final(const struct assent_part *machine)
{
    return machine->phase == ASSENT_PART_COMMITTED || machine->phase == ASSENT_PART_ABORTED ||
           machine->phase == ASSENT_PART_READ_ONLY || machine->phase == ASSENT_PART_HEURISTIC;
}

bool assent_part_in_doubt(const struct assent_part *machine)
{
    return machine->phase == ASSENT_PART_PREPARED || machine->phase == ASSENT_PART_PRECOMMITTED ||
           machine->phase == ASSENT_PART_PREABORTED || machine->phase == ASSENT_PART_MEMBER_LOGGING;
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
