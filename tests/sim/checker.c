/*
 * checker.c: atomic commitment as Bernstein, Hadzilacos and Goodman number it, looked at from
 * outside the core: what the RMs did, what was told to the application, what asking would answer.
 * AC1 no two decide differently; AC2 no decision is reversed; AC3 commit only if all voted yes;
 * AC4 no fault and all yes: commit; AC5 once healed, everyone reaches the decision.
 *
 * What theory allows is counted, not refused: the timeout rule splits when anything fails, the
 * cooperative rule of a 3pc when a failure is not a crash, and a protocol blocks for ever when the
 * only one that knows is gone for good. What a restored log has lost may be told the opposite of
 * what was told before, once a person has accepted that; what somebody remembers is shown then.
 */
#include <stdlib.h>

#include "gtrid.h"
#include "sim.h"

static bool may_split(const struct sim_world *w, const struct sim_tx *tx)
{
    const unsigned crashes = SIM_CRASH_COORDINATOR | SIM_CRASH_PARTICIPANT | SIM_DUPLICATE;
    bool cell = w->options->cell != SIM_CELL_NONE;

    if (tx->protocol != ASSENT_3PC)
        return false;
    if (tx->termination == ASSENT_TERMINATION_TIMEOUT)
        return w->faults != 0 || cell;
    if (tx->termination != ASSENT_TERMINATION_COOPERATIVE)
        return false;
    return (w->faults & ~crashes) != 0 || w->options->cell >= SIM_CELL_PARTITION;
}

/* With the coordinator gone for good: 2pc by its nature; cooperative when everybody has crashed;
 * quorum when the others have forgotten an abort that was presumed: they must not answer. And what
 * an application has prepared, if its participant was never asked to vote. */
static bool may_block(const struct sim_world *w, uint32_t tx, uint32_t node)
{
    const struct sim_tx *t = &w->txs[tx];

    if (!w->nodes[0].gone)
        return false;
    if (assent_gtrid_incarnation(&t->gtrid) < w->lost_below)
        return true;
    if (w->parts[node].branches[tx].own && w->parts[node].branches[tx].machine.branch_count == 0)
        return true;
    for (uint32_t i = 0; i < t->branch_count; i++)
        if (w->parts[t->participants[i]].ended_below > tx)
            return true;
    return t->protocol == ASSENT_2PC || t->termination == ASSENT_TERMINATION_COOPERATIVE;
}

/* What a person did there was nobody's decision. */
static bool committed_by_decision(const struct sim_world *w, uint32_t node, uint32_t tx)
{
    const struct sim_branch *b = &w->parts[node].branches[tx];

    return b->committed && !b->by_hand;
}

static void check_agreement(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];
    bool committed = t->told_committed || t->logged_commit;
    bool aborted = t->told_aborted || t->logged_abort;

    for (uint32_t node = 1; node <= w->part_count; node++) {
        committed |=
            committed_by_decision(w, node, tx) || w->parts[node].branches[tx].decided_commit;
        aborted |= w->parts[node].branches[tx].decided_abort;
    }
    if (!committed || !aborted || t->split || (t->restored && w->accepted))
        return;
    if (!may_split(w, t)) {
        sim_violation(w, tx, "AC1: one decided commit, another abort");
        return;
    }
    sim_trace(w, "tx%u is split", tx);
    t->split = true;
    w->splits++;
}

static void check_validity(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];
    bool committed = t->told_committed;

    for (uint32_t node = 1; node <= w->part_count; node++)
        committed |= committed_by_decision(w, node, tx);
    for (uint32_t i = 0; committed && i < t->branch_count; i++) {
        const struct sim_branch *b = &w->parts[t->participants[i]].branches[tx];

        if (!b->voted_yes && !(t->branch_count == 1 && b->committed))
            sim_violation(w, tx, "AC3: committed without every vote");
    }
}

/* A key that was told an outcome must find it again after any crash, or its request runs twice. */
static void check_key(struct sim_world *w, uint32_t tx)
{
    const struct sim_tx *t = &w->txs[tx];

    if (t->keyed && !t->restored && (t->told_committed || t->told_aborted) && t->record.size == 0)
        sim_violation(w, tx, "told the outcome of a key that is not on record");
}

void sim_check(struct sim_world *w, uint32_t tx)
{
    check_key(w, tx);
    check_agreement(w, tx);
    check_validity(w, tx);
}

/* The outcome that asking the coordinator by gtrid would give. */
static enum assent_outcome asked(const struct sim_tx *tx)
{
    static struct assent_coord_record record;

    if (tx->known)
        return tx->machine.outcome;
    if (tx->record.size == 0)
        return ASSENT_OUTCOME_ABORTED;
    if (assent_coord_record_decode(tx->record.bytes, tx->record.size, &record) != 0)
        abort();
    return record.outcome;
}

static bool in_doubt(const struct sim_world *w, uint32_t node, uint32_t tx)
{
    const struct sim_branch *b = &w->parts[node].branches[tx];

    return w->nodes[node].up && b->known && !assent_part_final(&b->machine);
}

/* Live participants that still wait, in the larger part of the network and in the smaller. */
static void count_blocked(struct sim_world *w, uint32_t tx)
{
    bool majority = false, minority = false;

    for (uint32_t i = 0; i < w->txs[tx].branch_count; i++) {
        uint32_t node = w->txs[tx].participants[i];
        const struct sim_branch *b = &w->parts[node].branches[tx];
        uint64_t until = b->decided_ms != 0 ? b->decided_ms : w->now_ms;

        if (b->doubt_ms != 0 && w->nodes[node].up && until - b->doubt_ms > w->blocked_ms)
            w->blocked_ms = until - b->doubt_ms;
        if (!in_doubt(w, node, tx))
            continue;
        if ((w->majority >> node & 1) != 0)
            majority = true;
        else
            minority = true;
    }
    w->blocked_majority += majority;
    w->blocked_minority += minority;
}

static void check_branch_end(struct sim_world *w, uint32_t tx, uint32_t node,
                             enum assent_outcome outcome)
{
    const struct sim_branch *b = &w->parts[node].branches[tx];

    if (in_doubt(w, node, tx) && !may_block(w, tx, node))
        sim_violation(w, tx, "AC5: a branch has not reached the decision");
    if (b->rm != SIM_RM_NONE && !in_doubt(w, node, tx))
        sim_violation(w, tx, "AC5: a branch is left in the resource manager");
    if (w->nodes[0].gone || w->txs[tx].restored || b->by_hand_unseen)
        return;
    if (outcome == ASSENT_OUTCOME_COMMITTED && b->writes && !b->committed)
        sim_violation(w, tx, "AC1: committed, but a branch that wrote has not");
    if (outcome == ASSENT_OUTCOME_ABORTED && b->committed)
        sim_violation(w, tx, "AC1: aborted, but a branch has committed");
}

static bool any_aborted(const struct sim_world *w, uint32_t tx)
{
    bool aborted = false;

    for (uint32_t node = 1; node <= w->part_count; node++)
        aborted |= w->parts[node].branches[tx].decided_abort;
    return aborted;
}

static bool any_by_hand(const struct sim_world *w, uint32_t tx)
{
    bool by_hand = false;

    for (uint32_t node = 1; node <= w->part_count; node++)
        by_hand |= w->parts[node].branches[tx].by_hand;
    return by_hand;
}

/* One has committed, and another has not that wrote. */
static bool branches_differ(const struct sim_world *w, uint32_t tx)
{
    bool committed = false, other = false;

    for (uint32_t i = 0; i < w->txs[tx].branch_count; i++) {
        const struct sim_branch *b = &w->parts[w->txs[tx].participants[i]].branches[tx];

        committed |= b->committed;
        other |= b->writes && !b->committed;
    }
    return committed && other;
}

static void check_coordinator_end(struct sim_world *w, uint32_t tx, enum assent_outcome outcome)
{
    struct sim_tx *t = &w->txs[tx];

    if (t->known && !t->ended)
        sim_violation(w, tx, "AC5: the coordinator has not ended it");
    if (outcome == ASSENT_OUTCOME_UNKNOWN)
        sim_violation(w, tx, "AC5: asking does not tell the outcome");
    if (t->restored) {
        /* What a person did against a decision may have mended a loss. */
        if (t->witnessed && any_aborted(w, tx) && outcome != ASSENT_OUTCOME_MIXED &&
            (!any_by_hand(w, tx) || branches_differ(w, tx)))
            sim_violation(w, tx, "what a restored log has lost is contradicted, and not shown");
        return;
    }
    if (any_by_hand(w, tx))
        return; /* it may be mixed, or mended: what each branch did is compared */
    if (t->split && outcome != ASSENT_OUTCOME_MIXED)
        sim_violation(w, tx, "a split is not shown as mixed");
    if (!t->split && ((t->told_committed && outcome != ASSENT_OUTCOME_COMMITTED) ||
                      (t->told_aborted && outcome != ASSENT_OUTCOME_ABORTED)))
        sim_violation(w, tx, "AC2: the outcome differs from what was told before");
}

static void check_tx_end(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];
    enum assent_outcome outcome = asked(t);
    bool refused = t->will_roll_back || t->may_be_resolved || any_by_hand(w, tx);

    count_blocked(w, tx);
    if (w->options->cell != SIM_CELL_NONE)
        return; /* the fault has not healed */
    if (!w->nodes[0].gone)
        check_coordinator_end(w, tx, outcome);
    for (uint32_t i = 0; i < t->branch_count; i++) {
        check_branch_end(w, tx, t->participants[i], outcome);
        refused |= w->parts[t->participants[i]].branches[tx].refuses;
    }
    if (t->told_committed && t->told_aborted && !t->split && !t->restored)
        sim_violation(w, tx, "AC2: told both outcomes");
    if (w->faults == 0 && !refused && !t->told_committed)
        sim_violation(w, tx, "AC4: no fault, all yes, and not committed");
}

void sim_check_end(struct sim_world *w)
{
    for (uint32_t tx = 0; tx < w->tx_count; tx++)
        if (w->txs[tx].begun)
            check_tx_end(w, tx);
    if (w->alarms > 0 && w->splits == 0 && !w->restored && w->probes[SIM_PROBE_BY_HAND] == 0)
        sim_violation(w, 0, "an alarm was raised although nothing was split");
}
