/*
 * sim_participant.c: drives the participants' machines, each with its own durable store and a
 * resource manager that behaves like a database: "no such branch" after it has finished one, a
 * marker as the only proof, active work lost in a crash.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static struct assent_part_actions actions;

static void apply_effect(struct sim_world *w, struct sim_event *event);

static bool effect_happens(struct sim_world *w, struct sim_event *event)
{
    if (sim_below(w, 2) == 0)
        return false;
    if (event->kind == SIM_EV_PARTICIPANT_DURABLE)
        w->parts[event->participant].branches[event->tx].record = *event->write;
    else if (event->kind == SIM_EV_RM_EFFECT)
        apply_effect(w, event); /* the call had left the process */
    return true;
}

static void crash(struct sim_world *w, uint32_t p)
{
    struct sim_participant *part = &w->parts[p];

    sim_trace(w, "p%u crashes", p);
    sim_crash(w, (int)p, effect_happens);
    part->up = false;
    for (uint32_t i = 0; i < w->tx_count; i++) {
        part->branches[i].known = false;
        if (part->branches[i].rm == SIM_RM_ACTIVE)
            part->branches[i].rm = SIM_RM_NONE;
    }
    sim_schedule(w, 10 + sim_below(w, 5000),
                 (struct sim_event){.kind = SIM_EV_RESTART_PARTICIPANT, .participant = p});
}

static void violation(struct sim_world *w, uint32_t tx, const char *what)
{
    if (w->violation == NULL) {
        w->violation = what;
        w->violation_tx = tx;
    }
}

/* Rule 1, durable before visible: looked at from outside the core. */
static void check_send(struct sim_world *w, uint32_t tx, struct sim_branch *b,
                       const struct assent_message *message)
{
    if (message->kind != ASSENT_MSG_VOTE)
        return;
    /* After a rollback, which only a decided abort brings, a restart that has lost the lazy record
     * of it may say yes again: nobody counts that any more. */
    if (message->vote == ASSENT_VOTE_YES && !b->was_prepared)
        violation(w, tx, "a yes vote was sent for a branch that is not prepared");
    if (message->vote == ASSENT_VOTE_YES && w->txs[tx].protocol == ASSENT_3PC &&
        b->record.size == 0)
        violation(w, tx, "a 3pc yes vote was sent before its record was durable");
    b->voted_yes |= message->vote == ASSENT_VOTE_YES || message->vote == ASSENT_VOTE_READ_ONLY;
}

static void log_record(struct sim_world *w, uint32_t p, uint32_t tx,
                       const struct assent_part_action *action)
{
    struct assent_part_record record;
    uint8_t bytes[ASSENT_RECORD_BYTES_MAX];
    size_t size = 0;

    assent_part_to_record(&w->parts[p].branches[tx].machine, action->record, &record);
    if (assent_part_record_encode(&record, bytes, sizeof(bytes), &size) != 0)
        abort();
    sim_write(w, (int)p, tx, (int)action->record, action->forced, bytes, size);
}

static void call_rm(struct sim_world *w, uint32_t p, uint32_t tx,
                    const struct assent_part_action *action)
{
    struct sim_branch *b = &w->parts[p].branches[tx];
    uint64_t at = w->now_ms + 1 + sim_below(w, 5);

    if (at <= b->rm_at_ms)
        at = b->rm_at_ms + 1;
    b->rm_at_ms = at;
    sim_schedule(w, at - w->now_ms,
                 (struct sim_event){.kind = SIM_EV_RM_EFFECT,
                                    .participant = p,
                                    .tx = tx,
                                    .operation = action->operation,
                                    .with_begin = action->with_begin,
                                    .with_work = action->with_work});
}

static void carry_out(struct sim_world *w, uint32_t p, uint32_t tx)
{
    struct sim_branch *b = &w->parts[p].branches[tx];

    for (size_t i = 0; i < actions.count; i++) {
        const struct assent_part_action *a = &actions.items[i];

        if (sim_chance(w, SIM_CRASH_PARTICIPANT, 2)) {
            crash(w, p);
            return;
        }
        switch (a->kind) {
        case ASSENT_PART_ACT_SEND:
        case ASSENT_PART_ACT_WORK_DONE:
            check_send(w, tx, b, &a->message);
            sim_send(w, SIM_EV_TO_COORDINATOR, p, tx, &a->message);
            break;
        case ASSENT_PART_ACT_LOG:
            log_record(w, p, tx, a);
            break;
        case ASSENT_PART_ACT_CALL:
            call_rm(w, p, tx, a);
            break;
        case ASSENT_PART_ACT_ALARM:
            sim_trace(w, "p%u tx%u alarm", p, tx);
            w->alarms++;
            break;
        case ASSENT_PART_ACT_ENDED:
            break;
        }
    }
    if (b->known && b->machine.timer_ms != ASSENT_NO_TIMER)
        sim_schedule(
            w, b->machine.timer_ms > w->now_ms ? b->machine.timer_ms - w->now_ms : 0,
            (struct sim_event){.kind = SIM_EV_PARTICIPANT_TIMER, .participant = p, .tx = tx});
}

static struct assent_part_config config_of(const struct sim_participant *part)
{
    return (struct assent_part_config){.epoch = part->epoch,
                                       .capabilities = part->capabilities,
                                       .retry_min_ms = 50,
                                       .retry_max_ms = 1000,
                                       .inquire_ms = 300};
}

static void step(struct sim_world *w, uint32_t p, uint32_t tx, struct assent_part_event event)
{
    struct sim_participant *part = &w->parts[p];
    struct sim_branch *b = &part->branches[tx];
    struct assent_part_config config = config_of(part);

    if (!part->up || !b->known)
        return;
    event.now_ms = w->now_ms;
    assent_part_step(&b->machine, &config, &event, &actions);
    carry_out(w, p, tx);
}

static void on_message(struct sim_world *w, const struct sim_event *event)
{
    struct sim_participant *part = &w->parts[event->participant];
    struct sim_branch *b = &part->branches[event->tx];
    bool closed = event->tx < part->ended_below;
    bool was_known = b->known;

    if (!part->up)
        return;
    if (!was_known) {
        if (closed)
            assent_part_init_closed(&b->machine, &event->message.gtrid, event->message.branch);
        else
            assent_part_init(&b->machine, &event->message.gtrid, event->message.branch,
                             sim_below(w, UINT64_MAX));
        b->known = true;
    }
    step(w, event->participant, event->tx,
         (struct assent_part_event){.kind = ASSENT_PART_EV_MESSAGE, .message = event->message});
    if ((!was_known && closed) || b->machine.phase == ASSENT_PART_NONE)
        b->known = false;
}

static enum assent_rm_result effect_prepare(struct sim_world *w, struct sim_branch *b)
{
    if (b->rm == SIM_RM_NONE)
        return ASSENT_RM_NOT_FOUND;
    if (b->rm == SIM_RM_PREPARED)
        return ASSENT_RM_OK;
    if (b->refuses) {
        if (sim_below(w, 2) == 0)
            return ASSENT_RM_FAILED;
        b->rm = SIM_RM_NONE;
        return ASSENT_RM_REFUSED;
    }
    b->rm = b->writes ? SIM_RM_PREPARED : SIM_RM_NONE;
    b->was_prepared |= b->writes;
    return b->writes ? ASSENT_RM_OK : ASSENT_RM_READ_ONLY;
}

static enum assent_rm_result effect_commit(struct sim_world *w, uint32_t tx, struct sim_branch *b,
                                           bool one_phase)
{
    if (b->rm == SIM_RM_NONE)
        return ASSENT_RM_NOT_FOUND;
    if (one_phase && b->refuses) {
        b->rm = SIM_RM_NONE;
        return ASSENT_RM_REFUSED;
    }
    if (one_phase != (b->rm == SIM_RM_ACTIVE)) {
        violation(w, tx, "commit of a branch that was not prepared, or one-phase of one that was");
        return ASSENT_RM_UNKNOWN_CODE;
    }
    b->rm = SIM_RM_NONE;
    b->marker = true;
    b->committed = true;
    return ASSENT_RM_OK;
}

static enum assent_rm_result effect_rollback(struct sim_branch *b)
{
    if (b->rm == SIM_RM_NONE)
        return ASSENT_RM_NOT_FOUND;
    b->aborted_after_yes |= b->rm == SIM_RM_PREPARED && b->voted_yes;
    b->rm = SIM_RM_NONE;
    return ASSENT_RM_OK;
}

static void apply_effect(struct sim_world *w, struct sim_event *event)
{
    struct sim_branch *b = &w->parts[event->participant].branches[event->tx];

    if (event->with_begin && b->rm == SIM_RM_NONE)
        b->rm = SIM_RM_ACTIVE;
    switch (event->operation) {
    case ASSENT_OP_WORK:
        event->result = b->rm == SIM_RM_ACTIVE ? ASSENT_RM_OK : ASSENT_RM_FAILED;
        break;
    case ASSENT_OP_PREPARE:
        event->result = effect_prepare(w, b);
        break;
    case ASSENT_OP_COMMIT:
        event->result = effect_commit(w, event->tx, b, false);
        break;
    case ASSENT_OP_ONE_PHASE:
        event->result = effect_commit(w, event->tx, b, true);
        break;
    case ASSENT_OP_ROLLBACK:
        event->result = effect_rollback(b);
        break;
    case ASSENT_OP_EVIDENCE:
        if (b->marker)
            event->result = ASSENT_RM_WAS_COMMITTED;
        else
            event->result = b->rm == SIM_RM_PREPARED ? ASSENT_RM_OK : ASSENT_RM_WAS_ABORTED;
        break;
    case ASSENT_OP_FORGET:
    case ASSENT_OP_COUNT:
        abort();
    }
    sim_trace(w, "rm p%u tx%u op=%d %s", event->participant, event->tx, event->operation,
              assent_rm_result_name(event->result));
}

static void on_effect(struct sim_world *w, struct sim_event *event)
{
    static const enum assent_rm_result troubles[] = {ASSENT_RM_UNAVAILABLE, ASSENT_RM_RETRY,
                                                     ASSENT_RM_UNKNOWN_CODE};
    struct sim_event answer = *event;

    if (!sim_chance(w, SIM_RM_TROUBLE, 15)) {
        apply_effect(w, &answer);
    } else if (sim_below(w, 2) == 0) {
        apply_effect(w, &answer); /* done, but the answer is lost */
        answer.result = ASSENT_RM_UNAVAILABLE;
    } else {
        answer.result = troubles[sim_below(w, 3)];
    }
    answer.kind = SIM_EV_RM_ANSWER;
    /* Answers keep the order of the calls. */
    sim_schedule(w, 0, answer);
}

static void on_durable(struct sim_world *w, struct sim_event *event)
{
    w->parts[event->participant].branches[event->tx].record = *event->write;
    sim_trace(w, "durable p%u tx%u %s", event->participant, event->tx,
              assent_part_record_name(event->record_kind));
    step(w, event->participant, event->tx,
         (struct assent_part_event){.kind = ASSENT_PART_EV_DURABLE,
                                    .record = (enum assent_part_record_kind)event->record_kind});
}

void sim_participant_start(struct sim_world *w, uint32_t p)
{
    struct sim_participant *part = &w->parts[p];
    struct assent_part_record record;

    part->up = true;
    part->epoch++;
    sim_trace(w, "p%u starts, epoch %u", p, part->epoch);
    for (uint32_t tx = 0; tx < w->tx_count && part->up; tx++) {
        struct sim_branch *b = &part->branches[tx];
        struct assent_part_config config = config_of(part);
        uint32_t number = 0;

        if (b->record.size > 0) {
            if (assent_part_record_decode(b->record.bytes, b->record.size, &record) != 0)
                abort();
            assent_part_recover(&b->machine, &config, &record, w->now_ms, sim_below(w, UINT64_MAX),
                                &actions);
        } else if (b->rm == SIM_RM_PREPARED) {
            while (w->txs[tx].participants[number] != p)
                number++;
            assent_part_recover_listed(&b->machine, &config, &w->txs[tx].gtrid, number + 1,
                                       w->now_ms, sim_below(w, UINT64_MAX), &actions);
        } else {
            continue;
        }
        b->known = true;
        carry_out(w, p, tx);
    }
    sim_schedule(w, sim_below(w, 100),
                 (struct sim_event){.kind = SIM_EV_CONNECT, .participant = p});
}

/* The coordinator has ended these: drop what is final, first our record, later the RM's proof, so
 * that no crash in between leaves a branch that asks and finds no proof. */
static void on_ping(struct sim_world *w, uint32_t p, uint32_t ended_below)
{
    struct sim_participant *part = &w->parts[p];

    if (!part->up)
        return;
    for (uint32_t tx = 0; tx < ended_below; tx++) {
        struct sim_branch *b = &part->branches[tx];

        if (b->known && !assent_part_final(&b->machine))
            continue;
        if (b->known && b->machine.phase == ASSENT_PART_HEURISTIC)
            continue; /* kept for a person */
        b->known = false;
        if (b->record.size > 0)
            b->record.size = 0;
        else if (tx < part->ended_below)
            b->marker = false;
    }
    if (ended_below > part->ended_below)
        part->ended_below = ended_below;
}

void sim_participant_event(struct sim_world *w, struct sim_event *event)
{
    switch (event->kind) {
    case SIM_EV_TO_PARTICIPANT:
        on_message(w, event);
        break;
    case SIM_EV_PARTICIPANT_TIMER:
        step(w, event->participant, event->tx,
             (struct assent_part_event){.kind = ASSENT_PART_EV_TIMER});
        break;
    case SIM_EV_PARTICIPANT_DURABLE:
        on_durable(w, event);
        break;
    case SIM_EV_RM_EFFECT:
        on_effect(w, event);
        break;
    case SIM_EV_RM_ANSWER:
        step(w, event->participant, event->tx,
             (struct assent_part_event){.kind = ASSENT_PART_EV_RM,
                                        .operation = event->operation,
                                        .result = event->result});
        break;
    case SIM_EV_RESTART_PARTICIPANT:
        if (!w->parts[event->participant].up)
            sim_participant_start(w, event->participant);
        break;
    case SIM_EV_CONNECT:
        for (uint32_t tx = 0; tx < w->tx_count; tx++)
            step(w, event->participant, tx,
                 (struct assent_part_event){.kind = ASSENT_PART_EV_PEER_UP});
        break;
    case SIM_EV_PING:
        on_ping(w, event->participant, event->tx);
        break;
    case SIM_EV_BEGIN:
    case SIM_EV_COMMIT:
    case SIM_EV_TO_COORDINATOR:
    case SIM_EV_COORDINATOR_TIMER:
    case SIM_EV_COORDINATOR_DURABLE:
    case SIM_EV_RESTART_COORDINATOR:
        break;
    }
}
