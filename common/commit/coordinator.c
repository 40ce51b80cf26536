/*
 * coordinator.c: the coordinator's machine, see coordinator.h for its phases. 2PC with presumed
 * abort (Mohan, Lindsay, Obermarck 1986); 3PC after Skeen 1981 with the `timeout` rule.
 *
 * Invariants, checked at every change of phase: a decision is never reversed; COMMIT is decided
 * only with every vote yes or read-only (or by the one branch of a one-phase commit); nobody is told
 * committed before the decision's record is durable.
 */
#include "coordinator.h"

#include <string.h>

#include "check.h"
#include "rng.h"

#define BIT(phase) (1u << ASSENT_COORD_##phase)

static const uint16_t legal[ASSENT_COORD_PHASE_COUNT] = {
    [ASSENT_COORD_ACTIVE] = BIT(VOTING) | BIT(ONE_PHASE_LOGGING) | BIT(ABORTING) | BIT(ENDING),
    [ASSENT_COORD_VOTING] =
        BIT(COMMIT_LOGGING) | BIT(PRECOMMIT_LOGGING) | BIT(ABORTING) | BIT(ENDING),
    [ASSENT_COORD_PRECOMMIT_LOGGING] = BIT(PRECOMMITTING),
    [ASSENT_COORD_PRECOMMITTING] = BIT(COMMIT_LOGGING),
    [ASSENT_COORD_COMMIT_LOGGING] = BIT(COMMITTING) | BIT(ABORTING),
    [ASSENT_COORD_COMMITTING] = BIT(ENDING),
    [ASSENT_COORD_ONE_PHASE_LOGGING] = BIT(ONE_PHASE),
    [ASSENT_COORD_ONE_PHASE] = BIT(ENDING),
    [ASSENT_COORD_ABORTING] = BIT(ENDING),
    [ASSENT_COORD_ENDING] = BIT(ENDED),
    [ASSENT_COORD_ENDED] = 0,
};

/* One step's context, so that helpers take one argument. */
struct step {
    struct assent_coord *m;
    const struct assent_coord_config *config;
    uint64_t now_ms;
    struct assent_coord_actions *actions;
};

static bool every_vote_is_in(const struct assent_coord *m)
{
    for (uint32_t i = 0; i < m->branch_count; i++)
        if (m->branches[i].vote != ASSENT_VOTE_YES && m->branches[i].vote != ASSENT_VOTE_READ_ONLY)
            return false;
    return true;
}

static void set_phase(struct step *s, enum assent_coord_phase phase)
{
    struct assent_coord *m = s->m;

    CORE_CHECK(legal[m->phase] & 1u << phase);
    if (phase == ASSENT_COORD_COMMIT_LOGGING || phase == ASSENT_COORD_PRECOMMIT_LOGGING)
        CORE_CHECK(every_vote_is_in(m));
    if (phase == ASSENT_COORD_COMMITTING)
        CORE_CHECK(m->decision == ASSENT_DECISION_COMMIT);
    if (phase == ASSENT_COORD_ABORTING)
        CORE_CHECK(m->decision == ASSENT_DECISION_ABORT);
    m->phase = phase;
    m->attempt = 0;
    m->phase_end_ms = ASSENT_NO_TIMER;
    m->retry_ms = ASSENT_NO_TIMER;
}

static void decide(struct assent_coord *m, enum assent_decision decision)
{
    CORE_CHECK(m->decision == ASSENT_DECISION_NONE || m->decision == decision);
    m->decision = decision;
}

static struct assent_coord_action *act(struct step *s, enum assent_coord_action_kind kind)
{
    struct assent_coord_action *action;

    CORE_CHECK(s->actions->count < ASSENT_COORD_ACTIONS_MAX);
    action = &s->actions->items[s->actions->count++];
    *action = (struct assent_coord_action){.kind = kind};
    return action;
}

static void log_record(struct step *s, enum assent_coord_record_kind record, bool forced)
{
    struct assent_coord_action *action = act(s, ASSENT_COORD_ACT_LOG);

    action->record = record;
    action->forced = forced;
}

static uint32_t remaining_ms(uint64_t until_ms, uint64_t now_ms)
{
    uint64_t left = until_ms > now_ms ? until_ms - now_ms : 0;

    return left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
}

static void fill_message(const struct assent_coord *m, const struct assent_coord_config *config,
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

static void send(struct step *s, uint32_t branch, enum assent_message_kind kind)
{
    struct assent_coord_action *action = act(s, ASSENT_COORD_ACT_SEND);

    action->participant = s->m->branches[branch - 1].participant;
    fill_message(s->m, s->config, branch, kind, s->now_ms, &action->message);
}

static bool voted_yes(const struct assent_coord_branch *b)
{
    return b->vote == ASSENT_VOTE_YES;
}

/* Whether the phase still waits for this branch. */
static bool awaited(const struct assent_coord *m, const struct assent_coord_branch *b)
{
    switch (m->phase) {
    case ASSENT_COORD_VOTING:
        return b->vote == ASSENT_VOTE_NONE;
    case ASSENT_COORD_PRECOMMITTING:
        return voted_yes(b) && !b->precommitted;
    case ASSENT_COORD_COMMITTING:
        return voted_yes(b) && b->result == ASSENT_RESULT_NONE;
    case ASSENT_COORD_ABORTING:
        return b->vote != ASSENT_VOTE_READ_ONLY && b->result == ASSENT_RESULT_NONE;
    case ASSENT_COORD_ONE_PHASE:
        return b->result == ASSENT_RESULT_NONE;
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
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
    case ASSENT_COORD_ENDING:
    case ASSENT_COORD_ENDED:
        return ASSENT_MSG_NONE;
    }
    return ASSENT_MSG_NONE;
}

/* Tells every awaited branch (of one participant, or of all: 0) what this phase asks of it. */
static void send_phase(struct step *s, uint32_t participant)
{
    for (uint32_t i = 0; i < s->m->branch_count; i++) {
        const struct assent_coord_branch *b = &s->m->branches[i];

        if (awaited(s->m, b) && (participant == 0 || b->participant == participant))
            send(s, i + 1, phase_message(s->m->phase));
    }
}

static bool nobody_awaited(const struct assent_coord *m)
{
    for (uint32_t i = 0; i < m->branch_count; i++)
        if (awaited(m, &m->branches[i]))
            return false;
    return true;
}

/* Contradicting branches make the outcome mixed or a hazard; the decision stays what it is. */
static enum assent_outcome outcome_of(const struct assent_coord *m)
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
static void tell(struct step *s, enum assent_outcome outcome)
{
    s->m->outcome = outcome;
    s->m->told = true;
    act(s, ASSENT_COORD_ACT_REPLY);
}

static void end(struct step *s)
{
    if (s->m->told)
        s->m->outcome = outcome_of(s->m);
    set_phase(s, ASSENT_COORD_ENDING);
    log_record(s, ASSENT_COORD_RECORD_OUTCOME, false);
}

static void end_if_all_obeyed(struct step *s)
{
    if (nobody_awaited(s->m))
        end(s);
}

static void schedule_retry(struct step *s)
{
    s->m->retry_ms =
        s->now_ms + assent_backoff_ms(&s->m->rng, s->m->attempt++, s->config->retry_min_ms,
                                      s->config->retry_max_ms);
}

static void enter_aborting(struct step *s)
{
    decide(s->m, ASSENT_DECISION_ABORT);
    /* Presumed abort: nothing need be durable before anyone is told. */
    tell(s, ASSENT_OUTCOME_ABORTED);
    set_phase(s, ASSENT_COORD_ABORTING);
    s->m->phase_end_ms = s->now_ms + s->config->abort_delivery_ms;
    send_phase(s, 0);
    schedule_retry(s);
    end_if_all_obeyed(s);
}

static void abort_because(struct step *s, enum assent_reason reason, uint32_t branch)
{
    s->m->reason = reason;
    s->m->reason_branch = branch;
    enter_aborting(s);
}

static void enter_committing(struct step *s)
{
    set_phase(s, ASSENT_COORD_COMMITTING);
    send_phase(s, 0);
    schedule_retry(s);
    end_if_all_obeyed(s);
}

static void log_commit(struct step *s)
{
    set_phase(s, ASSENT_COORD_COMMIT_LOGGING);
    log_record(s, ASSENT_COORD_RECORD_COMMIT, true);
}

/* Nothing was written anywhere, so no write is forced (edge case 14); but what is told committed
 * must not be presumed aborted after a crash, so the reply waits until the record has ridden along
 * with some batch (5). */
static void commit_read_only(struct step *s)
{
    decide(s->m, ASSENT_DECISION_COMMIT);
    end(s);
}

static void all_votes_in(struct step *s)
{
    bool wrote = false;

    for (uint32_t i = 0; i < s->m->branch_count; i++)
        wrote |= voted_yes(&s->m->branches[i]);
    if (!wrote) {
        commit_read_only(s);
    } else if (s->m->protocol == ASSENT_3PC) {
        set_phase(s, ASSENT_COORD_PRECOMMIT_LOGGING);
        log_record(s, ASSENT_COORD_RECORD_PRECOMMIT, true);
    } else {
        log_commit(s);
    }
}

static void on_commit(struct step *s)
{
    struct assent_coord *m = s->m;

    if (m->phase != ASSENT_COORD_ACTIVE)
        return;
    if (s->now_ms >= m->deadline_ms) {
        abort_because(s, ASSENT_REASON_DEADLINE, 0);
    } else if (m->branch_count == 0) {
        commit_read_only(s);
    } else if (m->branch_count == 1 && m->protocol == ASSENT_2PC && m->branches[0].one_phase) {
        /* The record comes first: it is how a restart knows whom to ask for the outcome. */
        set_phase(s, ASSENT_COORD_ONE_PHASE_LOGGING);
        log_record(s, ASSENT_COORD_RECORD_ONE_PHASE, true);
    } else {
        set_phase(s, ASSENT_COORD_VOTING);
        m->phase_end_ms = s->now_ms + s->config->prepare_timeout_ms;
        send_phase(s, 0);
    }
}

static void on_enlist(struct step *s, const struct assent_coord_event *event)
{
    struct assent_coord *m = s->m;

    if (m->phase != ASSENT_COORD_ACTIVE) {
        act(s, ASSENT_COORD_ACT_REFUSED)->error = ASSENT_E_STATE;
    } else if (m->branch_count == ASSENT_BRANCHES_MAX) {
        act(s, ASSENT_COORD_ACT_REFUSED)->error = ASSENT_E_LIMIT;
    } else {
        m->branches[m->branch_count++] = (struct assent_coord_branch){
            .participant = event->participant,
            .epoch = event->epoch,
            .has_work = event->has_work,
            .one_phase = event->one_phase,
        };
        act(s, ASSENT_COORD_ACT_ENLISTED)->branch = m->branch_count;
    }
}

static bool may_still_abort(const struct assent_coord *m)
{
    return m->phase == ASSENT_COORD_ACTIVE || m->phase == ASSENT_COORD_VOTING;
}

/* A participant in doubt asks, or votes late or again: tell it what stands (edge case 12), even
 * when it has obeyed before: a crash may have made it forget that. */
static void answer(struct step *s, uint32_t branch)
{
    struct assent_coord *m = s->m;

    switch (m->phase) {
    case ASSENT_COORD_PRECOMMITTING:
        if (awaited(m, &m->branches[branch - 1]))
            send(s, branch, ASSENT_MSG_PRECOMMIT);
        return;
    case ASSENT_COORD_COMMITTING:
    case ASSENT_COORD_ABORTING:
    case ASSENT_COORD_ENDING:
        if (m->decision != ASSENT_DECISION_NONE)
            send(s, branch,
                 m->decision == ASSENT_DECISION_COMMIT ? ASSENT_MSG_COMMIT : ASSENT_MSG_ABORT);
        return;
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_VOTING:
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_ONE_PHASE:
    case ASSENT_COORD_ENDED:
        return;
    }
}

static void on_no(struct step *s, uint32_t branch)
{
    struct assent_coord *m = s->m;
    struct assent_coord_branch *b = &m->branches[branch - 1];

    if (b->vote != ASSENT_VOTE_NONE || !(may_still_abort(m) || m->phase == ASSENT_COORD_ABORTING))
        return;
    b->vote = ASSENT_VOTE_NO;
    b->result = ASSENT_RESULT_ABORTED;
    if (may_still_abort(m))
        abort_because(s, ASSENT_REASON_VOTED_NO, branch);
    else
        end_if_all_obeyed(s);
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
    if (b->vote == ASSENT_VOTE_NONE)
        b->vote = message->vote;
    if (every_vote_is_in(m))
        all_votes_in(s);
}

static void on_precommit_ack(struct step *s, const struct assent_message *message)
{
    struct assent_coord_branch *b = &s->m->branches[message->branch - 1];

    if (s->m->phase != ASSENT_COORD_PRECOMMITTING || !voted_yes(b))
        return;
    b->precommitted = true;
    if (nobody_awaited(s->m))
        log_commit(s);
}

/* The result as seen against the decision: a branch that did the opposite is heuristic. */
static enum assent_branch_result against(enum assent_decision decision,
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
        decide(m, committed ? ASSENT_DECISION_COMMIT : ASSENT_DECISION_ABORT);
    if (aborted) {
        m->reason =
            message->reason == ASSENT_REASON_NONE ? ASSENT_REASON_VOTED_NO : message->reason;
        m->reason_branch = message->branch;
    }
    if (!committed && !aborted)
        act(s, ASSENT_COORD_ACT_ALARM)->branch = message->branch;
    tell(s, outcome_of(m));
    end(s);
}

static void on_ack(struct step *s, const struct assent_message *message)
{
    struct assent_coord *m = s->m;
    struct assent_coord_branch *b = &m->branches[message->branch - 1];

    if (!awaited(m, b) || message->result == ASSENT_RESULT_NONE)
        return;
    switch (m->phase) {
    case ASSENT_COORD_ONE_PHASE:
        on_one_phase_ack(s, message);
        return;
    case ASSENT_COORD_COMMITTING:
    case ASSENT_COORD_ABORTING:
        b->result = against(m->decision, message->result);
        if (b->result != ASSENT_RESULT_COMMITTED && b->result != ASSENT_RESULT_ABORTED)
            act(s, ASSENT_COORD_ACT_ALARM)->branch = message->branch;
        end_if_all_obeyed(s);
        return;
    case ASSENT_COORD_ACTIVE:
    case ASSENT_COORD_VOTING:
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_PRECOMMITTING: /* told the truth when it is told to commit */
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
    case ASSENT_COORD_ENDING:
    case ASSENT_COORD_ENDED:
        return;
    }
}

static void on_message(struct step *s, const struct assent_message *message)
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
    case ASSENT_MSG_NONE:
    case ASSENT_MSG_WORK:
    case ASSENT_MSG_PREPARE:
    case ASSENT_MSG_PRECOMMIT:
    case ASSENT_MSG_COMMIT:
    case ASSENT_MSG_ABORT:
    case ASSENT_MSG_COMMIT_ONE_PHASE:
    case ASSENT_MSG_WORK_REPLY: /* the driver's: it answers the application */
        return;
    }
}

static void on_durable(struct step *s, const struct assent_coord_event *event)
{
    struct assent_coord *m = s->m;

    switch (event->record) {
    case ASSENT_COORD_RECORD_ONE_PHASE:
        set_phase(s, ASSENT_COORD_ONE_PHASE);
        send_phase(s, 0);
        schedule_retry(s);
        return;
    case ASSENT_COORD_RECORD_PRECOMMIT:
        set_phase(s, ASSENT_COORD_PRECOMMITTING);
        m->phase_end_ms = s->now_ms + s->config->precommit_timeout_ms;
        send_phase(s, 0);
        return;
    case ASSENT_COORD_RECORD_COMMIT:
        /* The register says what stands, which need not be what was asked of it. */
        if (event->standing == ASSENT_DECISION_ABORT) {
            enter_aborting(s);
            return;
        }
        decide(m, ASSENT_DECISION_COMMIT);
        tell(s, ASSENT_OUTCOME_COMMITTED);
        enter_committing(s);
        return;
    case ASSENT_COORD_RECORD_OUTCOME:
        if (!m->told)
            tell(s, outcome_of(m));
        set_phase(s, ASSENT_COORD_ENDED);
        act(s, ASSENT_COORD_ACT_ENDED);
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
        abort_because(s, ASSENT_REASON_DEADLINE, 0);
        return;
    case ASSENT_COORD_VOTING:
        abort_because(
            s, s->now_ms >= m->deadline_ms ? ASSENT_REASON_DEADLINE : ASSENT_REASON_VOTE_MISSING,
            first_missing_vote(m));
        return;
    case ASSENT_COORD_PRECOMMITTING:
        /* The timeout rule: every vote is yes, so commit without the missing acknowledgements. */
        log_commit(s);
        return;
    case ASSENT_COORD_ABORTING:
        if (s->now_ms >= m->phase_end_ms) {
            /* Presumed abort tells whoever asks later. */
            end(s);
            return;
        }
        send_phase(s, 0);
        schedule_retry(s);
        return;
    case ASSENT_COORD_COMMITTING:
    case ASSENT_COORD_ONE_PHASE:
        send_phase(s, 0);
        schedule_retry(s);
        return;
    case ASSENT_COORD_PRECOMMIT_LOGGING:
    case ASSENT_COORD_COMMIT_LOGGING:
    case ASSENT_COORD_ONE_PHASE_LOGGING:
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

    return may_still_abort(m) ? min_u64(next, m->deadline_ms) : next;
}

void assent_coord_init(struct assent_coord *machine, const struct assent_coord_config *config,
                       const struct assent_gtrid *gtrid, enum assent_protocol protocol,
                       enum assent_termination termination, uint64_t deadline_ms, uint64_t seed)
{
    (void)config;
    memset(machine, 0, sizeof(*machine));
    machine->gtrid = *gtrid;
    machine->protocol = protocol;
    machine->termination = termination;
    machine->deadline_ms = deadline_ms;
    machine->phase_end_ms = ASSENT_NO_TIMER;
    machine->retry_ms = ASSENT_NO_TIMER;
    machine->timer_ms = deadline_ms;
    machine->rng = seed;
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
        if (may_still_abort(machine))
            abort_because(&s, event->reason, 0);
        break;
    case ASSENT_COORD_EV_WORK_FAILED:
        if (may_still_abort(machine))
            abort_because(&s, ASSENT_REASON_WORK_FAILED, event->branch);
        break;
    case ASSENT_COORD_EV_MESSAGE:
        on_message(&s, &event->message);
        break;
    case ASSENT_COORD_EV_DURABLE:
        on_durable(&s, event);
        break;
    case ASSENT_COORD_EV_TIMER:
        on_timer(&s);
        break;
    case ASSENT_COORD_EV_PEER_UP:
        send_phase(&s, event->participant);
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
    for (uint32_t i = 0; i < record->branch_count; i++) {
        const struct assent_coord_record_branch *from = &record->branches[i];
        struct assent_coord_branch *to = &m->branches[from->number - 1];

        /* A branch that the record leaves out voted read-only and has nothing to obey. */
        while (m->branch_count < from->number)
            m->branches[m->branch_count++].vote = ASSENT_VOTE_READ_ONLY;
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
    assent_coord_init(machine, config, &record->gtrid, record->protocol, record->termination,
                      ASSENT_NO_TIMER, seed);
    load_record(machine, record);
    switch (record->kind) {
    case ASSENT_COORD_RECORD_ONE_PHASE:
        machine->phase = ASSENT_COORD_ONE_PHASE;
        send_phase(&s, 0);
        schedule_retry(&s);
        break;
    case ASSENT_COORD_RECORD_PRECOMMIT:
        machine->phase = ASSENT_COORD_PRECOMMITTING;
        machine->phase_end_ms = now_ms + config->precommit_timeout_ms;
        send_phase(&s, 0);
        break;
    case ASSENT_COORD_RECORD_COMMIT:
        machine->phase = ASSENT_COORD_COMMITTING;
        machine->outcome = ASSENT_OUTCOME_COMMITTED;
        machine->told = true;
        send_phase(&s, 0);
        schedule_retry(&s);
        break;
    case ASSENT_COORD_RECORD_OUTCOME:
        machine->phase = ASSENT_COORD_ENDED;
        break;
    }
    machine->timer_ms = next_timer(machine);
}

void assent_coord_work_message(const struct assent_coord *machine,
                               const struct assent_coord_config *config, uint32_t branch,
                               uint64_t now_ms, struct assent_message *ret_message)
{
    fill_message(machine, config, branch, ASSENT_MSG_WORK, now_ms, ret_message);
    ret_message->has_work = true;
}

void assent_coord_to_record(const struct assent_coord *machine, enum assent_coord_record_kind kind,
                            struct assent_coord_record *ret_record)
{
    struct assent_coord_record *r = ret_record;

    memset(r, 0, sizeof(*r));
    r->kind = kind;
    r->decision = machine->decision;
    r->outcome = kind == ASSENT_COORD_RECORD_OUTCOME ? outcome_of(machine) : ASSENT_OUTCOME_UNKNOWN;
    if (kind == ASSENT_COORD_RECORD_COMMIT)
        r->decision = ASSENT_DECISION_COMMIT;
    r->gtrid = machine->gtrid;
    r->protocol = machine->protocol;
    r->termination = machine->termination;
    r->reason = machine->reason;
    r->reason_branch = machine->reason_branch;
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
