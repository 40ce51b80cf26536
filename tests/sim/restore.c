/*
 * restore.c: a coordinator's log that is put back from an older copy, and what people do then and
 * otherwise: they accept it, decide by hand, and see to what is mixed.
 */
#include <stdlib.h>

#include "sim.h"

static bool read_record(const struct sim_tx *t, struct assent_coord_record *ret_record)
{
    if (t->record.size == 0)
        return false;
    if (assent_coord_record_decode(t->record.bytes, t->record.size, ret_record) != 0)
        abort();
    return true;
}

/* ---- the log ---- */

static void copy(struct sim_world *w)
{
    for (uint32_t tx = 0; tx < w->tx_count; tx++)
        w->txs[tx].copy = w->txs[tx].record;
}

/* In the middle of what it does next. */
static void plan_death(struct sim_world *w)
{
    if (!sim_chance(w, SIM_RESTORE, 1000))
        return;
    w->restores = true;
    w->nodes[0].kill_in = 1 + sim_below(w, 30);
    w->nodes[0].kill_for_ms = 10 + sim_below(w, 3000);
}

void sim_restore(struct sim_world *w)
{
    if (!w->restores || w->restored || w->nodes[0].gone)
        return;
    w->nodes[0].kill_in = 0;
    for (uint32_t tx = 0; tx < w->tx_count; tx++) {
        struct sim_tx *t = &w->txs[tx];

        if (t->logged_commit && (t->copy.size == 0 || t->copy.bytes[0] != ASSENT_DECISION_COMMIT))
            sim_probe(w, SIM_PROBE_LOST_COMMIT);
        t->record = t->copy;
        t->restored = t->begun;
    }
    w->restored = true;
    w->lost_below = w->incarnation + 1;
    sim_trace(w, "the coordinator's log is restored");
}

/* ---- people ---- */

static void accept(struct sim_world *w)
{
    if (!w->restored || !w->nodes[0].up)
        return;
    sim_trace(w, "the restored log is accepted");
    w->accepted = true;
    w->lost_below = 0;
    sim_participants_accepted(w);
}

/* Whoever is impatient: mostly it is refused, since it is decided or would take force. */
static void resolve(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];
    enum assent_decision decision =
        sim_below(w, 4) == 0 ? ASSENT_DECISION_COMMIT : ASSENT_DECISION_ABORT;

    if (!w->nodes[0].up || !t->known || t->ended ||
        assent_coord_may_resolve(&t->machine, decision, false) != 0)
        return;
    sim_probe(w, SIM_PROBE_RESOLVED);
    sim_coordinator_step(
        w, tx, (struct assent_coord_event){.kind = ASSENT_COORD_EV_RESOLVE, .decision = decision});
}

static bool was_committed(const struct sim_world *w, uint32_t tx)
{
    bool committed = w->txs[tx].told_committed || w->txs[tx].logged_commit;

    for (uint32_t node = 1; node <= w->part_count; node++)
        committed |= w->parts[node].branches[tx].committed;
    return committed;
}

/* The log is of a time when a transaction was in doubt whose members have forgotten it since, so
 * nobody answers. Somebody finds out from the data what became of it. */
static void force(struct sim_world *w)
{
    for (uint32_t tx = 0; tx < w->tx_count; tx++) {
        struct sim_tx *t = &w->txs[tx];
        enum assent_decision decision =
            was_committed(w, tx) ? ASSENT_DECISION_COMMIT : ASSENT_DECISION_ABORT;

        if (!t->restored || !t->known || t->ended || !w->nodes[0].up ||
            assent_coord_may_resolve(&t->machine, decision, true) != 0)
            continue;
        sim_probe(w, SIM_PROBE_FORCED);
        sim_coordinator_step(
            w, tx,
            (struct assent_coord_event){.kind = ASSENT_COORD_EV_RESOLVE, .decision = decision});
    }
}

static void send_forget(struct sim_world *w, uint32_t tx, uint32_t to, uint32_t branch,
                        uint32_t epoch)
{
    const struct sim_tx *t = &w->txs[tx];
    struct assent_message message = {.kind = ASSENT_MSG_FORGET,
                                     .gtrid = t->gtrid,
                                     .branch = branch,
                                     .incarnation = w->incarnation,
                                     .epoch = epoch,
                                     .protocol = t->protocol,
                                     .termination = t->termination};

    sim_send(w, 0, to, tx, &message);
}

static void release(struct sim_world *w)
{
    static struct assent_coord_record record;

    for (uint32_t tx = 0; tx < w->tx_count && w->nodes[0].up; tx++) {
        const struct sim_tx *t = &w->txs[tx];

        if (!read_record(t, &record) || record.kind != ASSENT_COORD_RECORD_OUTCOME)
            continue;
        for (uint32_t i = 0; i < record.branch_count; i++) {
            const struct assent_coord_record_branch *b = &record.branches[i];

            if (b->result > ASSENT_RESULT_ABORTED)
                send_forget(w, tx, t->participants[b->number - 1], b->number, b->epoch);
        }
    }
}

void sim_late_result(struct sim_world *w, const struct sim_event *event,
                     const struct assent_message *message)
{
    static struct assent_coord_record found, record;
    struct sim_tx *t = &w->txs[event->tx];
    bool is_found = read_record(t, &found);
    size_t size = 0;

    if (w->lost_below != 0 && t->restored)
        return; /* nothing is presumed in a restored log, so nothing contradicts it */
    switch (
        assent_coord_late_result(is_found ? &found : NULL, false, message, event->from, &record)) {
    case ASSENT_COORD_LATE_NOTHING:
        return;
    case ASSENT_COORD_LATE_FORGET:
        send_forget(w, event->tx, event->from, message->branch, message->epoch);
        return;
    case ASSENT_COORD_LATE_RECORD:
        break;
    }
    if (message->result == ASSENT_RESULT_COMMITTED)
        sim_probe(w, SIM_PROBE_LOSS_SHOWN);
    sim_trace(w, "coordinator tx%u alarm", event->tx);
    w->alarms++;
    if (assent_coord_record_encode(&record, t->record.bytes, sizeof(t->record.bytes), &size) != 0)
        abort();
    t->record.size = (uint32_t)size;
    t->known = false;
}

void sim_people_event(struct sim_world *w, const struct sim_event *event)
{
    if (event->kind == SIM_EV_COPY)
        copy(w);
    else if (event->kind == SIM_EV_RESTORE)
        plan_death(w);
    else if (event->kind == SIM_EV_ACCEPT)
        accept(w);
    else if (event->kind == SIM_EV_RESOLVE)
        resolve(w, event->tx);
    else if (event->kind == SIM_EV_FORCE)
        force(w);
    else
        release(w);
}
