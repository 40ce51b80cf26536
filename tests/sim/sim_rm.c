/*
 * sim_rm.c: the resource managers. They behave as databases do: "no such branch" after they have
 * finished one, a marker as the only proof, active work lost in a crash, a branch that one session
 * still owns and another cannot find, answers lost after the deed.
 */
#include <stdlib.h>

#include "sim.h"

void sim_rm_call(struct sim_world *w, uint32_t node, uint32_t tx,
                 const struct assent_part_action *action)
{
    struct sim_branch *b = &w->parts[node].branches[tx];
    /* While costs are counted, in the order of the branches: who refuses votes last. */
    uint64_t at = w->now_ms + 1 + (w->options->cost ? 10 * node : sim_below(w, 5));
    struct sim_event *event;

    if (at <= b->rm_at_ms) /* calls of one branch take effect in order */
        at = b->rm_at_ms + 1;
    b->rm_at_ms = at;
    event = sim_schedule(w, at - w->now_ms, SIM_EV_RM_EFFECT, node, tx);
    event->operation = action->operation;
    event->with_begin = action->with_begin;
    event->with_work = action->with_work;
}

static enum assent_rm_result prepare(struct sim_world *w, uint32_t node, struct sim_branch *b)
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
    w->rm_synced[node] += b->writes;
    b->was_prepared |= b->writes;
    return b->writes ? ASSENT_RM_OK : ASSENT_RM_READ_ONLY;
}

static enum assent_rm_result commit(struct sim_world *w, uint32_t node, uint32_t tx,
                                    struct sim_branch *b, bool one_phase)
{
    if (b->rm == SIM_RM_NONE)
        return ASSENT_RM_NOT_FOUND;
    w->rm_synced[node]++;
    if (one_phase && b->refuses) {
        b->rm = SIM_RM_NONE;
        return ASSENT_RM_REFUSED;
    }
    if (one_phase != (b->rm == SIM_RM_ACTIVE)) {
        sim_violation(w, tx,
                      "commit of a branch that was not prepared, or one-phase of one that was");
        return ASSENT_RM_UNKNOWN_CODE;
    }
    b->rm = SIM_RM_NONE;
    b->marker = true;
    b->committed = true;
    return ASSENT_RM_OK;
}

static enum assent_rm_result roll_back(struct sim_world *w, uint32_t node, struct sim_branch *b)
{
    if (b->rm == SIM_RM_NONE)
        return ASSENT_RM_NOT_FOUND;
    w->rm_synced[node] += b->rm == SIM_RM_PREPARED;
    b->decided_abort |= b->rm == SIM_RM_PREPARED && b->voted_yes;
    b->rm = SIM_RM_NONE;
    return ASSENT_RM_OK;
}

static enum assent_rm_result evidence(struct sim_world *w, struct sim_branch *b)
{
    if (!b->marker && b->rm == SIM_RM_PREPARED)
        return ASSENT_RM_OK;
    b->barred |= !b->marker;
    if (b->barred)
        return ASSENT_RM_WAS_ABORTED;
    sim_probe(w, SIM_PROBE_EVIDENCE);
    return ASSENT_RM_WAS_COMMITTED;
}

void sim_rm_own(struct sim_world *w, uint32_t node, uint32_t tx)
{
    struct sim_branch *b = &w->parts[node].branches[tx];

    if (b->barred) {
        sim_probe(w, SIM_PROBE_BARRED);
        return;
    }
    sim_trace(w, "rm %u tx%u: prepared by its application", node, tx);
    b->rm = SIM_RM_PREPARED;
    b->was_prepared = true;
    w->rm_synced[node]++;
}

/* Before its agent is told a decision, and where that remembers it. */
void sim_rm_by_hand(struct sim_world *w, uint32_t node, uint32_t tx)
{
    struct sim_branch *b = &w->parts[node].branches[tx];

    if (b->rm != SIM_RM_PREPARED || !b->voted_yes ||
        !(b->record.size > 0 || (w->nodes[node].up && b->known)))
        return;
    sim_probe(w, SIM_PROBE_BY_HAND);
    b->by_hand = true;
    b->rm = SIM_RM_NONE;
    b->marker = b->committed = sim_below(w, 2) == 0;
    sim_trace(w, "rm %u tx%u: %s by hand", node, tx, b->committed ? "committed" : "rolled back");
}

void sim_rm_effect(struct sim_world *w, struct sim_event *event)
{
    struct sim_branch *b = &w->parts[event->node].branches[event->tx];

    if (event->with_begin && b->rm == SIM_RM_NONE)
        b->rm = SIM_RM_ACTIVE;
    switch (event->operation) {
    case ASSENT_OP_WORK:
        event->result = b->rm == SIM_RM_ACTIVE ? ASSENT_RM_OK : ASSENT_RM_FAILED;
        break;
    case ASSENT_OP_PREPARE:
        event->result = prepare(w, event->node, b);
        break;
    case ASSENT_OP_COMMIT:
        event->result = commit(w, event->node, event->tx, b, false);
        break;
    case ASSENT_OP_ONE_PHASE:
        event->result = commit(w, event->node, event->tx, b, true);
        break;
    case ASSENT_OP_ROLLBACK:
        event->result = roll_back(w, event->node, b);
        break;
    case ASSENT_OP_EVIDENCE:
        event->result = evidence(w, b);
        break;
    case ASSENT_OP_FORGET:
    case ASSENT_OP_COUNT:
        abort();
    }
    sim_trace(w, "rm %u tx%u operation %d: %s", event->node, event->tx, (int)event->operation,
              assent_rm_result_name((int)event->result));
}

void sim_rm_event(struct sim_world *w, struct sim_event *event)
{
    static const enum assent_rm_result troubles[] = {ASSENT_RM_UNAVAILABLE, ASSENT_RM_RETRY,
                                                     ASSENT_RM_UNKNOWN_CODE};
    struct sim_event *answer;
    const struct sim_branch *b = &w->parts[event->node].branches[event->tx];
    bool owned = event->operation == ASSENT_OP_COMMIT || event->operation == ASSENT_OP_ROLLBACK;

    if (!sim_chance(w, SIM_RM_TROUBLE, 150)) {
        sim_rm_effect(w, event);
    } else if (sim_below(w, 2) == 0) {
        sim_rm_effect(w, event); /* done, but the answer is lost */
        event->result = ASSENT_RM_UNAVAILABLE;
    } else if (owned && b->rm == SIM_RM_PREPARED && sim_below(w, 2) == 0) {
        event->result = ASSENT_RM_NOT_FOUND; /* a session that was lost still owns it */
    } else {
        event->result = troubles[sim_below(w, 3)];
    }
    if (w->rms_tell && event->result == ASSENT_RM_UNAVAILABLE)
        (void)sim_schedule(w, sim_below(w, 500), SIM_EV_RM_UP, event->node, 0);
    /* Answers keep the order of the calls. */
    answer = sim_schedule(w, 0, SIM_EV_RM_ANSWER, event->node, event->tx);
    answer->operation = event->operation;
    answer->result = event->result;
}
