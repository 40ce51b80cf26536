/* sim_coordinator.c: drives the coordinator's machines in the simulated world, as assentd does. */
#include <stdlib.h>
#include <string.h>

#include "gtrid.h"
#include "sim.h"

static struct assent_coord_actions actions;

static void land(struct sim_world *w, const struct sim_event *event)
{
    struct sim_tx *t = &w->txs[event->tx];

    t->record = *event->write;
    t->logged_commit |= t->record.bytes[0] == ASSENT_DECISION_COMMIT;
    t->logged_abort |= t->record.bytes[0] == ASSENT_DECISION_ABORT;
}

static bool write_happens(struct sim_world *w, struct sim_event *event)
{
    /* Unsynced writes are lost, or landed without anybody having been told. */
    if (event->kind != SIM_EV_COORDINATOR_DURABLE || sim_below(w, 2) == 0)
        return false;
    land(w, event);
    return true;
}

static void crash(struct sim_world *w)
{
    sim_trace(w, "coordinator crashes");
    sim_crash(w, -1, write_happens);
    w->coordinator_up = false;
    for (uint32_t i = 0; i < w->tx_count; i++)
        w->txs[i].known = false;
    sim_schedule(w, 10 + sim_below(w, 5000),
                 (struct sim_event){.kind = SIM_EV_RESTART_COORDINATOR});
}

static void log_record(struct sim_world *w, uint32_t tx, const struct assent_coord_action *action)
{
    struct assent_coord_record record;
    uint8_t bytes[ASSENT_RECORD_BYTES_MAX];
    size_t size = 0;

    assent_coord_to_record(&w->txs[tx].machine, action->record, &record);
    if (assent_coord_record_encode(&record, bytes, sizeof(bytes), &size) != 0)
        abort();
    sim_write(w, -1, tx, (int)action->record, action->forced, bytes, size);
}

static void reply(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];

    sim_trace(w, "reply tx%u %s", tx, assent_outcome_name(t->machine.outcome));
    t->told_committed |= t->machine.outcome == ASSENT_OUTCOME_COMMITTED;
    t->told_aborted |= t->machine.outcome == ASSENT_OUTCOME_ABORTED;
}

static void carry_out(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];

    for (size_t i = 0; i < actions.count; i++) {
        const struct assent_coord_action *a = &actions.items[i];

        if (sim_chance(w, SIM_CRASH_COORDINATOR, 2)) {
            crash(w);
            return;
        }
        switch (a->kind) {
        case ASSENT_COORD_ACT_SEND:
            sim_send(w, SIM_EV_TO_PARTICIPANT, t->participants[a->message.branch - 1], tx,
                     &a->message);
            break;
        case ASSENT_COORD_ACT_LOG:
            log_record(w, tx, a);
            break;
        case ASSENT_COORD_ACT_REPLY:
            reply(w, tx);
            break;
        case ASSENT_COORD_ACT_ALARM:
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
    if (t->known && t->machine.timer_ms != ASSENT_NO_TIMER)
        sim_schedule(w, t->machine.timer_ms > w->now_ms ? t->machine.timer_ms - w->now_ms : 0,
                     (struct sim_event){.kind = SIM_EV_COORDINATOR_TIMER, .tx = tx});
}

static void step(struct sim_world *w, uint32_t tx, struct assent_coord_event event)
{
    struct sim_tx *t = &w->txs[tx];

    if (!w->coordinator_up || !t->known || t->ended)
        return;
    event.now_ms = w->now_ms;
    assent_coord_step(&t->machine, &w->coord_config, &event, &actions);
    carry_out(w, tx);
}

static void begin(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];

    if (!w->coordinator_up)
        return;
    t->begun = t->known = true;
    t->gtrid = assent_gtrid_make(1, 1, w->incarnation, tx + 1);
    assent_coord_init(&t->machine, &t->gtrid,
                      &(struct assent_coord_begin){.protocol = t->protocol,
                                                   .termination = t->protocol == ASSENT_3PC
                                                                      ? ASSENT_TERMINATION_TIMEOUT
                                                                      : ASSENT_TERMINATION_NONE,
                                                   .keyed = t->keyed,
                                                   .deadline_ms = w->now_ms + 3000,
                                                   .seed = sim_below(w, UINT64_MAX)});
    for (uint32_t i = 0; i < t->branch_count; i++)
        step(w, tx,
             (struct assent_coord_event){.kind = ASSENT_COORD_EV_ENLIST,
                                         .participant = t->participants[i] + 1,
                                         .epoch = w->parts[t->participants[i]].epoch,
                                         .has_work = t->one_shot,
                                         .one_phase = true});
    for (uint32_t i = 0; !t->one_shot && t->known && i < t->branch_count; i++) {
        struct assent_message message;

        assent_coord_work_message(&t->machine, &w->coord_config, i + 1, w->now_ms, &message);
        sim_send(w, SIM_EV_TO_PARTICIPANT, t->participants[i], tx, &message);
    }
    sim_schedule(w, t->one_shot ? 0 : 100 + sim_below(w, 400),
                 (struct sim_event){.kind = SIM_EV_COMMIT, .tx = tx});
}

static void on_message(struct sim_world *w, const struct sim_event *event)
{
    struct sim_tx *t = &w->txs[event->tx];
    struct assent_coord_record record;

    if (!w->coordinator_up)
        return;
    if (t->known && !t->ended) {
        if (event->message.kind != ASSENT_MSG_WORK_REPLY)
            step(w, event->tx,
                 (struct assent_coord_event){.kind = ASSENT_COORD_EV_MESSAGE,
                                             .message = event->message});
        else if (event->message.vote == ASSENT_VOTE_NO)
            step(w, event->tx,
                 (struct assent_coord_event){.kind = ASSENT_COORD_EV_WORK_FAILED,
                                             .branch = event->message.branch});
        return;
    }
    if (t->record.size > 0 &&
        assent_coord_record_decode(t->record.bytes, t->record.size, &record) != 0)
        abort();
    assent_coord_answer_unknown(&w->coord_config, t->record.size > 0 ? &record : NULL,
                                &event->message, &actions);
    for (size_t i = 0; i < actions.count; i++)
        sim_send(w, SIM_EV_TO_PARTICIPANT, event->participant, event->tx,
                 &actions.items[i].message);
}

static void on_durable(struct sim_world *w, struct sim_event *event)
{
    land(w, event);
    sim_trace(w, "durable tx%u %s", event->tx, assent_coord_record_name(event->record_kind));
    step(w, event->tx,
         (struct assent_coord_event){.kind = ASSENT_COORD_EV_DURABLE,
                                     .record = (enum assent_coord_record_kind)event->record_kind,
                                     .standing = (enum assent_decision)event->write->bytes[0]});
}

void sim_coordinator_start(struct sim_world *w)
{
    struct assent_coord_record record;

    w->coordinator_up = true;
    w->incarnation++;
    w->coord_config.incarnation = w->incarnation;
    sim_trace(w, "coordinator starts, incarnation %u", w->incarnation);
    for (uint32_t i = 0; i < w->tx_count && w->coordinator_up; i++) {
        struct sim_tx *t = &w->txs[i];

        if (t->record.size == 0)
            continue;
        if (assent_coord_record_decode(t->record.bytes, t->record.size, &record) != 0)
            abort();
        assent_coord_recover(&t->machine, &w->coord_config, &record, w->now_ms,
                             sim_below(w, UINT64_MAX), &actions);
        t->known = true;
        t->ended = t->machine.phase == ASSENT_COORD_ENDED;
        carry_out(w, i);
    }
    for (uint32_t i = 0; i < w->part_count; i++)
        sim_schedule(w, sim_below(w, 100),
                     (struct sim_event){.kind = SIM_EV_CONNECT, .participant = i});
}

void sim_coordinator_event(struct sim_world *w, struct sim_event *event)
{
    switch (event->kind) {
    case SIM_EV_BEGIN:
        begin(w, event->tx);
        break;
    case SIM_EV_COMMIT:
        step(w, event->tx,
             w->txs[event->tx].will_roll_back
                 ? (struct assent_coord_event){.kind = ASSENT_COORD_EV_ROLLBACK,
                                               .reason = ASSENT_REASON_REQUESTED}
                 : (struct assent_coord_event){.kind = ASSENT_COORD_EV_COMMIT});
        break;
    case SIM_EV_TO_COORDINATOR:
        on_message(w, event);
        break;
    case SIM_EV_COORDINATOR_TIMER:
        step(w, event->tx, (struct assent_coord_event){.kind = ASSENT_COORD_EV_TIMER});
        break;
    case SIM_EV_COORDINATOR_DURABLE:
        on_durable(w, event);
        break;
    case SIM_EV_RESTART_COORDINATOR:
        if (!w->coordinator_up)
            sim_coordinator_start(w);
        break;
    case SIM_EV_CONNECT:
        for (uint32_t i = 0; i < w->tx_count; i++)
            step(w, i,
                 (struct assent_coord_event){.kind = ASSENT_COORD_EV_PEER_UP,
                                             .participant = event->participant + 1,
                                             .epoch = w->parts[event->participant].epoch});
        break;
    case SIM_EV_PING:
    case SIM_EV_TO_PARTICIPANT:
    case SIM_EV_PARTICIPANT_TIMER:
    case SIM_EV_PARTICIPANT_DURABLE:
    case SIM_EV_RM_EFFECT:
    case SIM_EV_RM_ANSWER:
    case SIM_EV_RESTART_PARTICIPANT:
        break;
    }
}
