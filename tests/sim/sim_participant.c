/* sim_participant.c: drives the participants' machines, each with its own durable store. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static struct assent_part_actions actions;

void sim_participant_land(struct sim_world *w, const struct sim_event *event)
{
    struct sim_branch *b = &w->parts[event->node].branches[event->tx];

    b->record.size = event->size; /* 0: deleted */
    memcpy(b->record.bytes, event->bytes, event->size);
    if (event->record_kind == (int)ASSENT_PART_RECORD_DECIDED && b->voted_yes) {
        b->decided_commit |= event->bytes[0] == ASSENT_DECISION_COMMIT;
        b->decided_abort |= event->bytes[0] == ASSENT_DECISION_ABORT;
    }
}

/* Rule 1, durable before visible: looked at from outside the core. */
static void check_send(struct sim_world *w, uint32_t tx, struct sim_branch *b,
                       const struct assent_message *message)
{
    if (message->kind == ASSENT_MSG_ACK && message->result == ASSENT_RESULT_COMMITTED &&
        b->writes && !b->committed && !b->by_hand && !w->txs[tx].split)
        sim_violation(w, tx, "a commit was acknowledged before the resource manager had obeyed");
    if (message->kind != ASSENT_MSG_VOTE)
        return;
    /* After a rollback, which only a decided abort brings, a restart that has lost the lazy record
     * of it may say yes again: nobody counts that any more. */
    if (message->vote == ASSENT_VOTE_YES && !b->was_prepared && !b->machine.witness)
        sim_violation(w, tx, "a yes vote was sent for a branch that is not prepared");
    if (message->vote == ASSENT_VOTE_YES && w->txs[tx].protocol == ASSENT_3PC &&
        b->record.size == 0)
        sim_violation(w, tx, "a 3pc yes vote was sent before its record was durable");
    b->voted_yes |= message->vote == ASSENT_VOTE_YES || message->vote == ASSENT_VOTE_READ_ONLY;
    if (message->vote == ASSENT_VOTE_YES && b->doubt_ms == 0)
        b->doubt_ms = w->now_ms;
}

static void send_one(struct sim_world *w, uint32_t node, uint32_t tx,
                     const struct assent_message *message, uint32_t to)
{
    const struct sim_tx *t = &w->txs[tx];
    struct assent_message addressed = *message;

    assent_part_address(&addressed, to);
    if (to == ASSENT_TO_COORDINATOR) {
        sim_send(w, node, 0, tx, &addressed);
        return;
    }
    addressed.epoch = t->epochs[to - 1];
    sim_send(w, node, t->participants[to - 1], tx, &addressed);
}

static void send(struct sim_world *w, uint32_t node, uint32_t tx,
                 const struct assent_part_action *action)
{
    check_send(w, tx, &w->parts[node].branches[tx], &action->message);
    if (action->to != ASSENT_TO_ALL) {
        send_one(w, node, tx, &action->message, action->to);
        return;
    }
    for (uint32_t to = 0; to <= w->txs[tx].branch_count; to++)
        if (to != action->message.from)
            send_one(w, node, tx, &action->message, to);
}

static bool log_record(struct sim_world *w, uint32_t node, uint32_t tx,
                       const struct assent_part_action *action)
{
    static struct assent_part_record record;
    uint8_t bytes[SIM_RECORD_MAX];
    size_t size = 0;

    assent_part_to_record(&w->parts[node].branches[tx].machine, action->record, &record);
    if (assent_part_record_encode(&record, bytes, sizeof(bytes), &size) != 0)
        abort();
    return sim_write(w, node, tx, (int)action->record, action->forced, bytes, size);
}

static void carry_out(struct sim_world *w, uint32_t node, uint32_t tx)
{
    struct sim_branch *b = &w->parts[node].branches[tx];

    for (size_t i = 0; i < actions.count; i++) {
        const struct assent_part_action *a = &actions.items[i];

        if (sim_dies(w, node))
            return;
        switch (a->kind) {
        case ASSENT_PART_ACT_SEND:
        case ASSENT_PART_ACT_WORK_DONE:
            send(w, node, tx, a);
            break;
        case ASSENT_PART_ACT_LOG:
            if (!log_record(w, node, tx, a))
                return;
            break;
        case ASSENT_PART_ACT_CALL:
            sim_rm_call(w, node, tx, a);
            break;
        case ASSENT_PART_ACT_ALARM:
            sim_trace(w, "participant %u tx%u alarm", node, tx);
            w->alarms++;
            break;
        case ASSENT_PART_ACT_ENDED:
            break;
        }
    }
    if (b->known)
        sim_arm(w, node, tx, b->machine.timer_ms, &b->armed_ms);
}

static struct assent_part_config config_of(const struct sim_world *w,
                                           const struct sim_participant *part)
{
    uint32_t unit = w->options->cost ? 1000 : 1; /* nobody gets impatient while costs are counted */

    return (struct assent_part_config){.epoch = part->epoch,
                                       .capabilities = part->capabilities,
                                       .retry_min_ms = 50 * unit,
                                       .retry_max_ms = 1000 * unit,
                                       .inquire_ms = 300 * unit};
}

static void probe_election(struct sim_world *w, const struct assent_part *before,
                           const struct assent_part *after, const struct assent_part_event *event)
{
    const struct assent_member *m = &after->member;
    enum assent_message_kind kind = event->message.kind;

    if (m->state == before->member.state && m->last_elected == before->member.last_elected &&
        kind == ASSENT_MSG_PRECOMMIT && before->phase == ASSENT_PART_PREPARED &&
        m->last_elected > ASSENT_BALLOT_FIRST)
        sim_probe(w, SIM_PROBE_PRECOMMIT_REFUSED);
    if (before->member.role != ASSENT_MEMBER_IDLE && m->role == ASSENT_MEMBER_IDLE)
        sim_probe(w, SIM_PROBE_OUTBID);
    if (before->member.state == ASSENT_MEMBER_PREABORTED && m->state == ASSENT_MEMBER_PRECOMMITTED)
        sim_probe(w, SIM_PROBE_PROPOSAL_TURNED);
    if (before->member.state == ASSENT_MEMBER_PRECOMMITTED && m->state == ASSENT_MEMBER_PREABORTED)
        sim_probe(w, SIM_PROBE_PROPOSAL_TURNED_BACK);
    if (before->elections < 5 && after->elections == 5)
        sim_probe(w, SIM_PROBE_MANY_ELECTIONS);
    if (after->witness && m->role == ASSENT_MEMBER_PROPOSING &&
        before->member.role != ASSENT_MEMBER_PROPOSING)
        sim_probe(w, SIM_PROBE_WITNESS);
    if (m->led && !before->member.led)
        sim_probe(w, SIM_PROBE_LED);
    if (after->tell_all && !before->tell_all)
        sim_probe(w, after->decision == ASSENT_DECISION_COMMIT ? SIM_PROBE_COMMITTED_BY_PARTICIPANT
                                                               : SIM_PROBE_ABORTED_BY_PARTICIPANT);
}

/* While the coordinator's log is restored and that is not accepted. */
static void probe_held(struct sim_world *w, const struct assent_part *before,
                       const struct assent_part *after, const struct assent_part_event *event)
{
    if (event->message.kind == ASSENT_MSG_ABORT && assent_part_in_doubt(after))
        sim_probe(w, SIM_PROBE_ABORT_HELD);
    if (event->message.kind == ASSENT_MSG_COMMIT && event->message.from > 0 &&
        before->decision == ASSENT_DECISION_NONE && after->decision != ASSENT_DECISION_NONE)
        sim_probe(w, SIM_PROBE_HELD_TOLD);
    if (event->message.kind == ASSENT_MSG_COMMIT && before->closed)
        sim_probe(w, SIM_PROBE_CLOSED_COMMIT);
}

static void probe(struct sim_world *w, const struct assent_part *before,
                  const struct assent_part *after, const struct assent_part_event *event)
{
    bool decided =
        before->decision == ASSENT_DECISION_NONE && after->decision != ASSENT_DECISION_NONE;

    if (after->protocol == ASSENT_3PC && after->termination != ASSENT_TERMINATION_TIMEOUT)
        probe_election(w, before, after, event);
    if (after->asked && !before->asked)
        sim_probe(w, SIM_PROBE_REFUSED_FOR_GOOD);
    if (before->closed && event->message.kind == ASSENT_MSG_ELECT)
        sim_probe(w, SIM_PROBE_CLOSED_ASKED);
    if (before->phase == ASSENT_PART_NONE && after->phase == ASSENT_PART_NONE &&
        event->message.kind == ASSENT_MSG_ELECT)
        sim_probe(w, SIM_PROBE_STALE_ANSWERED);
    if (before->phase == ASSENT_PART_PREPARED && after->phase == ASSENT_PART_PREPARING)
        sim_probe(w, SIM_PROBE_ADOPTED_VOTES);
    if (decided && after->protocol == ASSENT_2PC && event->message.from > 0 &&
        event->kind == ASSENT_PART_EV_MESSAGE && assent_part_in_doubt(before))
        sim_probe(w, SIM_PROBE_PEER_TOLD);
    if (event->lost_below != 0 && event->kind == ASSENT_PART_EV_MESSAGE)
        probe_held(w, before, after, event);
    if (event->kind == ASSENT_PART_EV_RM_UP && actions.count > 0)
        sim_probe(w, SIM_PROBE_RM_CAME_BACK);
    if (after->released && !before->released)
        sim_probe(w, SIM_PROBE_RELEASED);
    if (event->kind == ASSENT_PART_EV_DURABLE && event->record == ASSENT_PART_RECORD_RESULT &&
        !before->ack_owed)
        sim_probe(w, SIM_PROBE_BY_HAND_PEER);
}

static void step(struct sim_world *w, uint32_t node, uint32_t tx, struct assent_part_event event)
{
    struct sim_participant *part = &w->parts[node];
    struct sim_branch *b = &part->branches[tx];
    struct assent_part_config config = config_of(w, part);
    struct assent_part before;

    if (!w->nodes[node].up || !b->known)
        return;
    event.now_ms = sim_clock(w, node);
    event.lost_below = w->lost_below;
    before = b->machine;
    assent_part_step(&b->machine, &config, &event, &actions);
    probe(w, &before, &b->machine, &event);
    if (b->doubt_ms != 0 && b->decided_ms == 0 && b->machine.decision != ASSENT_DECISION_NONE)
        b->decided_ms = w->now_ms;
    carry_out(w, node, tx);
}

static void on_message(struct sim_world *w, const struct sim_event *event)
{
    struct sim_participant *part = &w->parts[event->node];
    struct sim_branch *b = &part->branches[event->tx];
    bool closed = event->tx < part->ended_below;
    bool was_known = b->known;
    struct assent_message message;

    if (!w->nodes[event->node].up)
        return;
    sim_receive(event, &message);
    if (!was_known) {
        if (closed)
            assent_part_init_closed(&b->machine, &message.gtrid, message.branch);
        else
            assent_part_init(&b->machine, &message.gtrid, message.branch, sim_below(w, UINT64_MAX));
        b->known = true;
        b->armed_ms = SIM_NEVER;
    }
    step(w, event->node, event->tx,
         (struct assent_part_event){.kind = ASSENT_PART_EV_MESSAGE, .message = message});
    if ((!was_known && closed) || b->machine.phase == ASSENT_PART_NONE)
        b->known = false;
}

/* Final, and not kept for a person. */
static bool may_forget(const struct sim_branch *b)
{
    return assent_part_final(&b->machine) &&
           (b->machine.phase != ASSENT_PART_HEURISTIC || b->machine.released);
}

/* Only now the RM's proof may go: no crash in between leaves a branch that asks and has none. */
static void on_deleted(struct sim_world *w, const struct sim_event *event)
{
    struct sim_branch *b = &w->parts[event->node].branches[event->tx];

    b->deleting = false;
    if (b->known && !may_forget(b))
        return;
    b->known = false;
    b->marker = false;
}

static void on_durable(struct sim_world *w, const struct sim_event *event)
{
    sim_participant_land(w, event);
    if (event->record_kind == SIM_DELETE) {
        on_deleted(w, event);
        return;
    }
    sim_trace(w, "participant %u tx%u has on disk: %s", event->node, event->tx,
              assent_part_record_name(event->record_kind));
    step(w, event->node, event->tx,
         (struct assent_part_event){.kind = ASSENT_PART_EV_DURABLE,
                                    .record = (enum assent_part_record_kind)event->record_kind});
}

/* A branch that the RM lists and that we know nothing of. */
static void take_up(struct sim_world *w, uint32_t node, uint32_t tx, enum assent_listed listed)
{
    struct sim_branch *b = &w->parts[node].branches[tx];
    struct assent_part_config config = config_of(w, &w->parts[node]);
    uint32_t number = 0;

    while (w->txs[tx].participants[number] != node)
        number++;
    assent_part_recover_listed(&b->machine, &config, &w->txs[tx].gtrid, number + 1,
                               w->txs[tx].protocol, listed, sim_clock(w, node),
                               sim_below(w, UINT64_MAX), &actions);
    b->known = true;
    b->armed_ms = SIM_NEVER;
    carry_out(w, node, tx);
}

static void recover(struct sim_world *w, uint32_t node, uint32_t tx)
{
    static struct assent_part_record record;
    struct sim_branch *b = &w->parts[node].branches[tx];
    struct assent_part_config config = config_of(w, &w->parts[node]);

    if (b->record.size > 0) {
        if (assent_part_record_decode(b->record.bytes, b->record.size, &record) != 0)
            abort();
        if (record.kind == ASSENT_PART_RECORD_PRECOMMITTED)
            sim_probe(w, SIM_PROBE_RECOVERED_PRECOMMITTED);
        if (record.kind == ASSENT_PART_RECORD_PREABORTED)
            sim_probe(w, SIM_PROBE_RECOVERED_PREABORTED);
        assent_part_recover(&b->machine, &config, &record, sim_clock(w, node),
                            sim_below(w, UINT64_MAX), &actions);
    } else if (b->rm == SIM_RM_PREPARED) { /* what an RM without a list leaves is its operator's */
        take_up(w, node, tx, ASSENT_LISTED_AT_START);
        return;
    } else {
        return;
    }
    b->known = true;
    b->armed_ms = SIM_NEVER;
    carry_out(w, node, tx);
}

static void scan(struct sim_world *w, uint32_t node)
{
    for (uint32_t tx = 0; tx < w->tx_count && w->nodes[node].up; tx++) {
        struct sim_branch *b = &w->parts[node].branches[tx];

        if (b->known || b->rm != SIM_RM_PREPARED)
            continue;
        if (!w->txs[tx].known || w->txs[tx].ended)
            sim_probe(w, SIM_PROBE_ORPHAN);
        take_up(w, node, tx, ASSENT_LISTED_BY_SCAN);
    }
}

void sim_participant_start(struct sim_world *w, uint32_t node)
{
    struct sim_participant *part = &w->parts[node];

    w->nodes[node].up = true;
    part->epoch++;
    sim_trace(w, "participant %u starts, epoch %u", node, part->epoch);
    for (uint32_t tx = 0; tx < w->tx_count && w->nodes[node].up; tx++)
        recover(w, node, tx);
    (void)sim_schedule(w, sim_below(w, 100), SIM_EV_CONNECT, node, 0);
}

/* The coordinator has ended these: what is final is forgotten, first our record, then the proof. */
void sim_participants_ping(struct sim_world *w, uint32_t node, uint32_t ended_below)
{
    struct sim_participant *part = &w->parts[node];

    if (!w->nodes[node].up || w->nodes[node].paused_until > w->now_ms || w->lost_below != 0)
        return;
    if (ended_below > part->ended_below)
        part->ended_below = ended_below;
    for (uint32_t tx = 0; tx < part->ended_below && w->nodes[node].up; tx++) {
        struct sim_branch *b = &part->branches[tx];

        if (b->deleting || (b->known && !may_forget(b)))
            continue;
        if (b->known && b->machine.recorded) {
            b->deleting = true;
            (void)sim_write(w, node, tx, SIM_DELETE, false, NULL, 0);
        } else {
            b->known = false;
            b->marker = false;
        }
    }
}

static void step_all(struct sim_world *w, uint32_t node, enum assent_part_event_kind kind)
{
    for (uint32_t tx = 0; tx < w->tx_count; tx++)
        step(w, node, tx, (struct assent_part_event){.kind = kind});
}

/* A person accepts what the restored log has lost. */
void sim_participants_accepted(struct sim_world *w)
{
    for (uint32_t node = 1; node <= w->part_count; node++) {
        for (uint32_t tx = 0; tx < w->tx_count; tx++) {
            const struct sim_branch *b = &w->parts[node].branches[tx];

            /* One that did not obey says what it did, whatever it was told. */
            w->txs[tx].witnessed |= b->known && b->machine.decision == ASSENT_DECISION_COMMIT &&
                                    !b->machine.closed && b->machine.phase != ASSENT_PART_HEURISTIC;
        }
        step_all(w, node, ASSENT_PART_EV_ACCEPTED);
    }
}

void sim_participant_event(struct sim_world *w, struct sim_event *event)
{
    switch (event->kind) {
    case SIM_EV_MESSAGE:
        on_message(w, event);
        break;
    case SIM_EV_TIMER:
        w->parts[event->node].branches[event->tx].armed_ms = SIM_NEVER;
        step(w, event->node, event->tx, (struct assent_part_event){.kind = ASSENT_PART_EV_TIMER});
        break;
    case SIM_EV_DURABLE:
        on_durable(w, event);
        break;
    case SIM_EV_RM_EFFECT:
        sim_rm_event(w, event);
        break;
    case SIM_EV_RM_ANSWER:
        step(w, event->node, event->tx,
             (struct assent_part_event){.kind = ASSENT_PART_EV_RM,
                                        .operation = event->operation,
                                        .result = event->result});
        break;
    case SIM_EV_OWN:
        sim_rm_own(w, event->node, event->tx);
        break;
    case SIM_EV_BY_HAND:
        sim_rm_by_hand(w, event->node, event->tx);
        break;
    case SIM_EV_SCAN:
        scan(w, event->node);
        break;
    case SIM_EV_RESTART:
        if (!w->nodes[event->node].up)
            sim_participant_start(w, event->node);
        break;
    case SIM_EV_CONNECT:
        step_all(w, event->node, ASSENT_PART_EV_PEER_UP);
        break;
    case SIM_EV_RM_UP:
        step_all(w, event->node, ASSENT_PART_EV_RM_UP);
        break;
    case SIM_EV_BEGIN:
    case SIM_EV_COMMIT:
    case SIM_EV_PING:
    case SIM_EV_RESOLVE:
    case SIM_EV_CUT:
    case SIM_EV_JOIN:
    case SIM_EV_COPY:
    case SIM_EV_RESTORE:
    case SIM_EV_ACCEPT:
    case SIM_EV_FORCE:
    case SIM_EV_RELEASE:
        break;
    }
}
