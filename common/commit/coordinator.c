/*
 * coordinator.c: the coordinator's machine as seen from outside: the application's requests,
 * durable records, timers, recovery. See coordinator.h for its phases. 2PC with presumed abort
 * (Mohan, Lindsay, Obermarck 1986); 3PC after Skeen 1981, its termination in
 * coordinator_termination.c.
 */
#include "coordinator_step.h"

#include <string.h>

#include "rng.h"

static void on_commit(struct step *s)
{
    struct assent_coord *m = s->m;

    if (m->phase != ASSENT_COORD_ACTIVE)
        return;
    if (s->now_ms >= m->deadline_ms) {
        coord_abort_because(s, ASSENT_REASON_DEADLINE, 0);
    } else if (m->branch_count == 0) {
        coord_commit_read_only(s);
    } else if (m->branch_count == 1 && m->protocol == ASSENT_2PC && m->branches[0].one_phase) {
        /* The record comes first: it is how a restart knows whom to ask for the outcome. */
        coord_set_phase(s, ASSENT_COORD_ONE_PHASE_LOGGING);
        coord_log_record(s, ASSENT_COORD_RECORD_ONE_PHASE, true);
    } else {
        coord_set_phase(s, ASSENT_COORD_VOTING);
        m->phase_end_ms = s->now_ms + s->config->prepare_timeout_ms;
        coord_send_phase(s, 0);
    }
}

static void on_enlist(struct step *s, const struct assent_coord_event *event)
{
    struct assent_coord *m = s->m;

    if (m->phase != ASSENT_COORD_ACTIVE) {
        coord_act(s, ASSENT_COORD_ACT_REFUSED)->error = ASSENT_E_STATE;
    } else if (m->branch_count == ASSENT_BRANCHES_MAX) {
        coord_act(s, ASSENT_COORD_ACT_REFUSED)->error = ASSENT_E_LIMIT;
    } else {
        m->branches[m->branch_count++] = (struct assent_coord_branch){
            .participant = event->participant,
            .epoch = event->epoch,
            .has_work = event->has_work,
            .one_phase = event->one_phase,
        };
        coord_act(s, ASSENT_COORD_ACT_ENLISTED)->branch = m->branch_count;
    }
}

bool coord_may_still_abort(const struct assent_coord *m)
{
    return m->phase == ASSENT_COORD_ACTIVE || m->phase == ASSENT_COORD_VOTING;
}

static void on_durable(struct step *s, const struct assent_coord_event *event)
{
    struct assent_coord *m = s->m;

    switch (event->record) {
    case ASSENT_COORD_RECORD_ONE_PHASE:
        coord_set_phase(s, ASSENT_COORD_ONE_PHASE);
        coord_send_phase(s, 0);
        coord_schedule_retry(s);
        return;
    case ASSENT_COORD_RECORD_PRECOMMIT:
    case ASSENT_COORD_RECORD_PREABORT:
        if (m->phase == ASSENT_COORD_MEMBER_LOGGING) {
            coord_member_durable(s);
            return;
        }
        if (m->learned != ASSENT_DECISION_NONE) {
            coord_decided_by_quorum(s, m->learned);
            return;
        }
        coord_set_phase(s, ASSENT_COORD_PRECOMMITTING);
        m->phase_end_ms = s->now_ms + s->config->precommit_timeout_ms;
        coord_send_phase(s, 0);
        return;
    case ASSENT_COORD_RECORD_COMMIT:
        if (m->phase != ASSENT_COORD_COMMIT_LOGGING)
            return; /* a quorum held it before */
        /* The register says what stands, which need not be what was asked of it. */
        if (event->standing == ASSENT_DECISION_ABORT) {
            coord_enter_aborting(s);
            return;
        }
        coord_decide(m, ASSENT_DECISION_COMMIT);
        coord_tell(s, ASSENT_OUTCOME_COMMITTED);
        coord_enter_committing(s);
        return;
    case ASSENT_COORD_RECORD_ABORT:
        coord_tell(s, coord_outcome_of(m));
        return;
    case ASSENT_COORD_RECORD_OUTCOME:
        if (m->outdated) {
            coord_log_outcome(s);
            return;
        }
        if (!m->told)
            coord_tell(s, coord_outcome_of(m));
        coord_set_phase(s, ASSENT_COORD_ENDED);
        coord_act(s, ASSENT_COORD_ACT_ENDED);
        return;
    }
}

static uint32_t first_missing_vote(const struct assent_coord *m)
{
    for (uint32_t i = 0; i < m->branch_count; i++)
        if (m->branches[i].vote == ASSENT_VOTE_NONE)
            return i + 1;
    return 0;
}

static void on_timer(struct step *s)
{
    struct assent_coord *m = s->m;

    if (s->now_ms < m->timer_ms)
        return;
    switch (m->phase) {
    case ASSENT_COORD_ACTIVE:
        coord_abort_because(s, ASSENT_REASON_DEADLINE, 0);
        return;
    case ASSENT_COORD_VOTING:
        coord_abort_because(
            s, s->now_ms >= m->deadline_ms ? ASSENT_REASON_DEADLINE : ASSENT_REASON_VOTE_MISSING,
            first_missing_vote(m));
        return;
    case ASSENT_COORD_PRECOMMITTING:
    case ASSENT_COORD_TERMINATING:
        coord_terminate(s);
        return;
    case ASSENT_COORD_ABORTING:
        if (s->now_ms >= m->phase_end_ms) {
            /* Presumed abort tells whoever asks later. */
            coord_end(s);
            return;
        }
        coord_send_phase(s, 0);
        coord_schedule_retry(s);
        return;
    case ASSENT_COORD_COMMITTING:
    case ASSENT_COORD_ONE_PHASE:
        coord_send_phase(s, 0);
        coord_schedule_retry(s);
        return;
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_MEMBER_LOGGING:
    case ASSENT_COORD_ENDING:
    case ASSENT_COORD_ENDED:
        return;
    }
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_timer(const struct assent_coord *m)
{
    uint64_t next = min_u64(m->phase_end_ms, m->retry_ms);

    return coord_may_still_abort(m) ? min_u64(next, m->deadline_ms) : next;
}

void assent_coord_init(struct assent_coord *machine, const struct assent_gtrid *gtrid,
                       const struct assent_coord_begin *begin)
{
    memset(machine, 0, offsetof(struct assent_coord, branches));
    machine->gtrid = *gtrid;
    machine->protocol = begin->protocol;
    machine->termination = begin->termination;
    machine->keyed = begin->keyed;
    machine->deadline_ms = begin->deadline_ms;
    machine->phase_end_ms = ASSENT_NO_TIMER;
    machine->retry_ms = ASSENT_NO_TIMER;
    machine->timer_ms = begin->deadline_ms;
    machine->rng = begin->seed;
}

void assent_coord_step(struct assent_coord *machine, const struct assent_coord_config *config,
                       const struct assent_coord_event *event, struct assent_coord_actions *actions)
{
    struct step s = {machine, config, event->now_ms, actions};

    actions->count = 0;
    switch (event->kind) {
    case ASSENT_COORD_EV_ENLIST:
        on_enlist(&s, event);
        break;
    case ASSENT_COORD_EV_COMMIT:
        on_commit(&s);
        break;
    case ASSENT_COORD_EV_ROLLBACK:
        if (coord_may_still_abort(machine))
            coord_abort_because(&s, event->reason, 0);
        break;
    case ASSENT_COORD_EV_WORK_FAILED:
        if (coord_may_still_abort(machine))
            coord_abort_because(&s, ASSENT_REASON_WORK_FAILED, event->branch);
        break;
    case ASSENT_COORD_EV_MESSAGE:
        coord_on_message(&s, &event->message);
        break;
    case ASSENT_COORD_EV_DURABLE:
        on_durable(&s, event);
        break;
    case ASSENT_COORD_EV_TIMER:
        on_timer(&s);
        break;
    case ASSENT_COORD_EV_PEER_UP:
        coord_send_phase(&s, event->participant);
        break;
    case ASSENT_COORD_EV_RESOLVE:
        coord_resolve(&s, event->decision);
        break;
    }
    machine->timer_ms = next_timer(machine);
}

static void load_record(struct assent_coord *m, const struct assent_coord_record *record)
{
    m->decision = record->decision;
    m->outcome = record->outcome;
    m->told = record->outcome != ASSENT_OUTCOME_UNKNOWN;
    m->reason = record->reason;
    m->reason_branch = record->reason_branch;
    assent_member_init(&m->member, 0, record->branch_count);
    m->member.state = record->kind == ASSENT_COORD_RECORD_PREABORT ? ASSENT_MEMBER_PREABORTED
                                                                   : ASSENT_MEMBER_PRECOMMITTED;
    m->member.last_elected = record->last_elected;
    m->member.last_attempt = record->last_attempt;
    m->member.recovered = true;
    for (uint32_t i = 0; i < record->branch_count; i++) {
        const struct assent_coord_record_branch *from = &record->branches[i];
        struct assent_coord_branch *to = &m->branches[from->number - 1];

        /* A branch that the record leaves out voted read-only and has nothing to obey. */
        while (m->branch_count < from->number)
            m->branches[m->branch_count++] =
                (struct assent_coord_branch){.vote = ASSENT_VOTE_READ_ONLY};
        to->participant = from->participant;
        to->epoch = from->epoch;
        to->vote = from->vote;
        to->result = from->result;
    }
}

void assent_coord_recover(struct assent_coord *machine, const struct assent_coord_config *config,
                          const struct assent_coord_record *record, uint64_t now_ms, uint64_t seed,
                          struct assent_coord_actions *actions)
{
    struct step s = {machine, config, now_ms, actions};

    actions->count = 0;
    assent_coord_init(machine, &record->gtrid,
                      &(struct assent_coord_begin){.protocol = record->protocol,
                                                   .termination = record->termination,
                                                   .deadline_ms = ASSENT_NO_TIMER,
                                                   .seed = seed});
    load_record(machine, record);
    /* Nobody is connected yet, and each is sent to when it is: the timer is for what is lost after
     * that. At the longest back-off from the start, so that a million do not wake together. */
    machine->attempt = ASSENT_BACKOFF_LONGEST;
    switch (record->kind) {
    case ASSENT_COORD_RECORD_ONE_PHASE:
        machine->phase = ASSENT_COORD_ONE_PHASE;
        coord_send_phase(&s, 0);
        coord_schedule_retry(&s);
        break;
    case ASSENT_COORD_RECORD_PRECOMMIT:
    case ASSENT_COORD_RECORD_PREABORT:
        if (record->termination == ASSENT_TERMINATION_TIMEOUT) {
            machine->phase = ASSENT_COORD_PRECOMMITTING;
            machine->phase_end_ms = now_ms + config->precommit_timeout_ms;
            coord_send_phase(&s, 0);
        } else {
            coord_resume_as_member(&s);
        }
        break;
    case ASSENT_COORD_RECORD_COMMIT:
        machine->phase = ASSENT_COORD_COMMITTING;
        machine->outcome = ASSENT_OUTCOME_COMMITTED;
        machine->told = true;
        coord_send_phase(&s, 0);
        coord_schedule_retry(&s);
        break;
    case ASSENT_COORD_RECORD_ABORT:
        machine->phase = ASSENT_COORD_ABORTING;
        machine->outcome = ASSENT_OUTCOME_ABORTED;
        machine->told = true;
        machine->phase_end_ms = coord_abort_given_up_ms(&s);
        coord_send_phase(&s, 0);
        coord_schedule_retry(&s);
        break;
    case ASSENT_COORD_RECORD_OUTCOME:
        machine->phase = ASSENT_COORD_ENDED;
        break;
    }
    machine->timer_ms = next_timer(machine);
}

bool assent_coord_awaits(const struct assent_coord *machine, uint32_t branch)
{
    return coord_awaited(machine, &machine->branches[branch - 1]);
}

void assent_coord_work_message(const struct assent_coord *machine,
                               const struct assent_coord_config *config, uint32_t branch,
                               uint64_t now_ms, struct assent_message *ret_message)
{
    coord_fill_message(machine, config, branch, ASSENT_MSG_WORK, now_ms, ret_message);
    ret_message->has_work = true;
}

void assent_coord_to_record(const struct assent_coord *machine, enum assent_coord_record_kind kind,
                            struct assent_coord_record *ret_record)
{
    struct assent_coord_record *r = ret_record;

    memset(r, 0, sizeof(*r));
    r->kind = kind;
    r->decision = machine->decision;
    r->outcome =
        kind == ASSENT_COORD_RECORD_OUTCOME ? coord_outcome_of(machine) : ASSENT_OUTCOME_UNKNOWN;
    if (kind == ASSENT_COORD_RECORD_COMMIT)
        r->decision = ASSENT_DECISION_COMMIT;
    r->gtrid = machine->gtrid;
    r->protocol = machine->protocol;
    r->termination = machine->termination;
    r->reason = machine->reason;
    r->reason_branch = machine->reason_branch;
    r->last_elected = machine->member.last_elected;
    r->last_attempt = machine->member.last_attempt;
    for (uint32_t i = 0; i < machine->branch_count; i++) {
        const struct assent_coord_branch *b = &machine->branches[i];

        /* Read-only voters are no part of a decision (edge case 14). */
        if (kind != ASSENT_COORD_RECORD_OUTCOME && b->vote == ASSENT_VOTE_READ_ONLY)
            continue;
        r->branches[r->branch_count++] = (struct assent_coord_record_branch){
            .number = i + 1,
            .participant = b->participant,
            .epoch = b->epoch,
            .vote = b->vote,
            .result = b->result,
        };
    }
}

void assent_coord_answer_unknown(const struct assent_coord_config *config,
                                 const struct assent_coord_record *record,
                                 const struct assent_message *message,
                                 struct assent_coord_actions *actions)
{
    bool asks = message->kind == ASSENT_MSG_INQUIRE || message->kind == ASSENT_MSG_PRECOMMIT_ACK ||
                message->kind == ASSENT_MSG_ELECT || message->kind == ASSENT_MSG_PROPOSE ||
                (message->kind == ASSENT_MSG_VOTE && message->vote == ASSENT_VOTE_YES);
    bool commit = record != NULL && record->decision == ASSENT_DECISION_COMMIT;

    actions->count = 0;
    if (!asks || (record != NULL && record->decision == ASSENT_DECISION_NONE))
        return;
    actions->items[actions->count++] = (struct assent_coord_action){
        .kind = ASSENT_COORD_ACT_SEND,
        .message =
            {
                .kind = commit ? ASSENT_MSG_COMMIT : ASSENT_MSG_ABORT,
                .gtrid = message->gtrid,
                .branch = message->branch,
                .incarnation = config->incarnation,
                .epoch = message->epoch,
                .protocol = message->protocol,
                .termination = message->termination,
            },
    };
}

#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return text;

const char *assent_coord_phase_name(int phase)
{
    switch (phase) {
        ASSENT_COORD_PHASES(X)
    default:
        return "?";
    }
}
#undef X
