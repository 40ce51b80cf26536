/* sim_coordinator.c: drives the coordinator's machines in the simulated world, as assentd does. */
#include <stdlib.h>
#include <string.h>

#include "gtrid.h"
#include "sim.h"

static struct assent_coord_actions actions;

void sim_coordinator_land(struct sim_world *w, const struct sim_event *event)
{
    struct sim_tx *t = &w->txs[event->tx];
    enum assent_decision stands =
        t->record.size > 0 ? (enum assent_decision)t->record.bytes[0] : ASSENT_DECISION_NONE;
    enum assent_decision made = (enum assent_decision)event->bytes[0];

    /* The register: decided once (the store holds it to that). */
    if (stands != ASSENT_DECISION_NONE && made != stands)
        sim_violation(w, event->tx, "AC2: the coordinator's record changed its decision");
    t->record.size = event->size;
    memcpy(t->record.bytes, event->bytes, event->size);
    t->logged_commit |= made == ASSENT_DECISION_COMMIT;
    t->logged_abort |= made == ASSENT_DECISION_ABORT;
}

static bool log_record(struct sim_world *w, uint32_t tx, const struct assent_coord_action *action)
{
    static struct assent_coord_record record;
    uint8_t bytes[SIM_RECORD_MAX];
    size_t size = 0;

    assent_coord_to_record(&w->txs[tx].machine, action->record, &record);
    if (assent_coord_record_encode(&record, bytes, sizeof(bytes), &size) != 0)
        abort();
    if (action->record == ASSENT_COORD_RECORD_ABORT)
        sim_probe(w, SIM_PROBE_KEYED_ABORT);
    return sim_write(w, 0, tx, (int)action->record, action->forced, bytes, size);
}

static void reply(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];

    sim_trace(w, "reply tx%u %s", tx, assent_outcome_name((int)t->machine.outcome));
    t->told_committed |= t->machine.outcome == ASSENT_OUTCOME_COMMITTED;
    t->told_aborted |= t->machine.outcome == ASSENT_OUTCOME_ABORTED;
}

static void carry_out(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];

    for (size_t i = 0; i < actions.count; i++) {
        const struct assent_coord_action *a = &actions.items[i];

        if (sim_dies(w, 0))
            return;
        switch (a->kind) {
        case ASSENT_COORD_ACT_SEND:
            sim_send(w, 0, t->participants[a->message.branch - 1], tx, &a->message);
            break;
        case ASSENT_COORD_ACT_LOG:
            if (!log_record(w, tx, a))
                return;
            break;
        case ASSENT_COORD_ACT_REPLY:
            reply(w, tx);
            break;
        case ASSENT_COORD_ACT_ALARM:
            sim_trace(w, "coordinator tx%u alarm", tx);
            w->alarms++;
            break;
        case ASSENT_COORD_ACT_ENDED:
            t->ended = true;
            break;
        case ASSENT_COORD_ACT_ENLISTED:
        case ASSENT_COORD_ACT_REFUSED:
            break;
        }
    }
    if (t->known && !t->ended)
        sim_arm(w, 0, tx, t->machine.timer_ms, &t->armed_ms);
}

static void probe(struct sim_world *w, const struct assent_coord *before,
                  const struct assent_coord *after, const struct assent_coord_event *event)
{
    bool elected =
        before->phase == ASSENT_COORD_TERMINATING && before->member.role == ASSENT_MEMBER_PROPOSING;

    if (after->decision == before->decision)
        return;
    if (elected && event->message.kind == ASSENT_MSG_PROPOSE_ACK)
        sim_probe(w, after->decision == ASSENT_DECISION_COMMIT ? SIM_PROBE_COMMITTED_BY_COORDINATOR
                                                               : SIM_PROBE_ABORTED_BY_COORDINATOR);
    else if (event->message.kind == ASSENT_MSG_COMMIT || event->message.kind == ASSENT_MSG_ABORT)
        sim_probe(w, SIM_PROBE_COORDINATOR_LEARNED);
    else if (before->phase == ASSENT_COORD_PRECOMMITTING &&
             after->termination == ASSENT_TERMINATION_QUORUM)
        for (uint32_t i = 0; i < after->branch_count; i++)
            if (!after->branches[i].precommitted) {
                sim_probe(w, SIM_PROBE_COMMITTED_BY_QUORUM);
                return;
            }
}

void sim_coordinator_step(struct sim_world *w, uint32_t tx, struct assent_coord_event event)
{
    struct sim_tx *t = &w->txs[tx];
    struct assent_coord before;

    if (!w->nodes[0].up || !t->known || t->ended)
        return;
    event.now_ms = sim_clock(w, 0);
    before = t->machine;
    assent_coord_step(&t->machine, &w->coord_config, &event, &actions);
    probe(w, &before, &t->machine, &event);
    carry_out(w, tx);
}

static struct sim_branch *branch_of(struct sim_world *w, uint32_t tx, uint32_t index)
{
    return &w->parts[w->txs[tx].participants[index]].branches[tx];
}

/* The applications on connections of their own. */
static void begin_own(struct sim_world *w, uint32_t tx)
{
    for (uint32_t i = 0; i < w->txs[tx].branch_count; i++) {
        const struct sim_branch *b = branch_of(w, tx, i);

        if (b->own && (!b->own_late || sim_below(w, 3) != 0))
            (void)sim_schedule(w, sim_below(w, b->own_late ? 4000 : 100), SIM_EV_OWN,
                               w->txs[tx].participants[i], tx);
    }
}

static void begin(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];

    if (!w->nodes[0].up)
        return;
    t->begun = t->known = true;
    t->armed_ms = SIM_NEVER;
    t->gtrid = assent_gtrid_make(1, 1, w->incarnation, tx + 1);
    assent_coord_init(&t->machine, &t->gtrid,
                      &(struct assent_coord_begin){.protocol = t->protocol,
                                                   .termination = t->termination,
                                                   .keyed = t->keyed,
                                                   .deadline_ms = sim_clock(w, 0) + 3000,
                                                   .seed = sim_below(w, UINT64_MAX)});
    for (uint32_t i = 0; i < t->branch_count; i++) {
        t->epochs[i] = w->parts[t->participants[i]].epoch;
        sim_coordinator_step(w, tx,
                             (struct assent_coord_event){.kind = ASSENT_COORD_EV_ENLIST,
                                                         .participant = t->participants[i],
                                                         .epoch = t->epochs[i],
                                                         .has_work = t->one_shot,
                                                         .one_phase = !branch_of(w, tx, i)->own});
    }
    for (uint32_t i = 0; !t->one_shot && t->known && i < t->branch_count; i++) {
        struct assent_message message;

        if (branch_of(w, tx, i)->own)
            continue;

        assent_coord_work_message(&t->machine, &w->coord_config, i + 1, sim_clock(w, 0), &message);
        sim_send(w, 0, t->participants[i], tx, &message);
    }
    begin_own(w, tx);
    (void)sim_schedule(w, t->one_shot ? 0 : 100 + sim_below(w, 400), SIM_EV_COMMIT, 0, tx);
}

static void answer_unknown(struct sim_world *w, const struct sim_event *event,
                           const struct assent_message *message)
{
    static struct assent_coord_record record;
    struct sim_tx *t = &w->txs[event->tx];

    if (t->record.size > 0 &&
        assent_coord_record_decode(t->record.bytes, t->record.size, &record) != 0)
        abort();
    if (t->record.size == 0 && message->kind == ASSENT_MSG_ELECT)
        sim_probe(w, SIM_PROBE_PRESUMED_TO_CANDIDATE);
    assent_coord_answer_unknown(&w->coord_config, t->record.size > 0 ? &record : NULL, message,
                                &actions);
    for (size_t i = 0; i < actions.count; i++)
        sim_send(w, 0, event->from, event->tx, &actions.items[i].message);
}

static void on_message(struct sim_world *w, const struct sim_event *event)
{
    struct sim_tx *t = &w->txs[event->tx];
    struct assent_message message;

    if (!w->nodes[0].up)
        return;
    sim_receive(event, &message);
    if ((!t->known || t->ended) && message.kind == ASSENT_MSG_ACK)
        sim_late_result(w, event, &message);
    else if (!t->known || t->ended)
        answer_unknown(w, event, &message);
    else if (message.kind != ASSENT_MSG_WORK_REPLY)
        sim_coordinator_step(
            w, event->tx,
            (struct assent_coord_event){.kind = ASSENT_COORD_EV_MESSAGE, .message = message});
    else if (message.vote == ASSENT_VOTE_NO)
        sim_coordinator_step(w, event->tx,
                             (struct assent_coord_event){.kind = ASSENT_COORD_EV_WORK_FAILED,
                                                         .branch = message.branch});
}

static void on_durable(struct sim_world *w, const struct sim_event *event)
{
    sim_coordinator_land(w, event);
    sim_trace(w, "coordinator tx%u has on disk: %s", event->tx,
              assent_coord_record_name(event->record_kind));
    sim_coordinator_step(
        w, event->tx,
        (struct assent_coord_event){.kind = ASSENT_COORD_EV_DURABLE,
                                    .record = (enum assent_coord_record_kind)event->record_kind,
                                    .standing = (enum assent_decision)event->bytes[0]});
}

void sim_coordinator_start(struct sim_world *w)
{
    static struct assent_coord_record record;

    w->nodes[0].up = true;
    w->incarnation++;
    w->coord_config.incarnation = w->incarnation;
    if (w->restored && !w->accepted)
        w->lost_below = w->incarnation;
    sim_trace(w, "coordinator starts, incarnation %u", w->incarnation);
    for (uint32_t i = 0; i < w->tx_count && w->nodes[0].up; i++) {
        struct sim_tx *t = &w->txs[i];

        if (t->record.size == 0)
            continue;
        if (assent_coord_record_decode(t->record.bytes, t->record.size, &record) != 0)
            abort();
        if (record.kind == ASSENT_COORD_RECORD_PREABORT)
            sim_probe(w, SIM_PROBE_COORDINATOR_RECOVERED_PREABORTED);
        assent_coord_recover(&t->machine, &w->coord_config, &record, sim_clock(w, 0),
                             sim_below(w, UINT64_MAX), &actions);
        t->known = true;
        t->ended = t->machine.phase == ASSENT_COORD_ENDED;
        t->armed_ms = SIM_NEVER;
        carry_out(w, i);
    }
    for (uint32_t node = 1; node <= w->part_count; node++)
        (void)sim_schedule(w, sim_below(w, 100), SIM_EV_CONNECT, node, 0);
}

static void ping(struct sim_world *w)
{
    uint32_t below = 0;

    if (!w->nodes[0].up)
        return;
    while (below < w->tx_count && w->txs[below].begun &&
           (!w->txs[below].known || w->txs[below].ended))
        below++;
    for (uint32_t node = 1; node <= w->part_count; node++)
        if ((w->cut[0] >> node & 1) == 0 && w->nodes[0].paused_until <= w->now_ms)
            sim_participants_ping(w, node, below);
}

void sim_coordinator_event(struct sim_world *w, struct sim_event *event)
{
    switch (event->kind) {
    case SIM_EV_BEGIN:
        begin(w, event->tx);
        break;
    case SIM_EV_COMMIT:
        sim_coordinator_step(w, event->tx,
                             w->txs[event->tx].will_roll_back
                                 ? (struct assent_coord_event){.kind = ASSENT_COORD_EV_ROLLBACK,
                                                               .reason = ASSENT_REASON_REQUESTED}
                                 : (struct assent_coord_event){.kind = ASSENT_COORD_EV_COMMIT});
        break;
    case SIM_EV_MESSAGE:
        on_message(w, event);
        break;
    case SIM_EV_TIMER:
        w->txs[event->tx].armed_ms = SIM_NEVER;
        sim_coordinator_step(w, event->tx,
                             (struct assent_coord_event){.kind = ASSENT_COORD_EV_TIMER});
        break;
    case SIM_EV_DURABLE:
        on_durable(w, event);
        break;
    case SIM_EV_RESTART:
        if (!w->nodes[0].up)
            sim_coordinator_start(w);
        break;
    case SIM_EV_CONNECT:
        for (uint32_t i = 0; i < w->tx_count; i++)
            sim_coordinator_step(w, i,
                                 (struct assent_coord_event){.kind = ASSENT_COORD_EV_PEER_UP,
                                                             .participant = event->node,
                                                             .epoch = w->parts[event->node].epoch});
        break;
    case SIM_EV_RESOLVE:
    case SIM_EV_COPY:
    case SIM_EV_RESTORE:
    case SIM_EV_ACCEPT:
    case SIM_EV_FORCE:
    case SIM_EV_RELEASE:
        sim_people_event(w, event);
        break;
    case SIM_EV_PING:
        ping(w);
        break;
    case SIM_EV_RM_EFFECT:
    case SIM_EV_RM_ANSWER:
    case SIM_EV_OWN:
    case SIM_EV_SCAN:
    case SIM_EV_CUT:
    case SIM_EV_JOIN:
    case SIM_EV_RM_UP:
    case SIM_EV_BY_HAND:
        break;
    }
}
