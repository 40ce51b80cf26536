/*
 * checker.c: atomic commitment as Bernstein, Hadzilacos and Goodman number it, looked at from
 * outside the core: what the RMs did, what was told to the application, what asking would answer.
 * AC1 no two decide differently; AC2 no decision is reversed; AC3 commit only if all voted yes;
 * AC4 no fault and all yes: commit; AC5 once healed, everyone reaches the decision.
 * A 3pc under the timeout rule may split when anything fails; that is counted, and must be seen.
 */
#include <stdlib.h>

#include "sim.h"

static bool may_split(const struct sim_world *w, const struct sim_tx *tx)
{
    return tx->protocol == ASSENT_3PC && w->faults != 0;
}

static void violated(struct sim_world *w, uint32_t tx, const char *what)
{
    if (w->violation == NULL) {
        w->violation = what;
        w->violation_tx = tx;
    }
}

static void check_agreement(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];
    bool committed = t->told_committed || t->logged_commit;
    bool aborted = t->told_aborted || t->logged_abort;

    for (uint32_t p = 0; p < w->part_count; p++) {
        committed |= w->parts[p].branches[tx].committed;
        aborted |= w->parts[p].branches[tx].aborted_after_yes;
    }
    if (!committed || !aborted || t->split)
        return;
    if (!may_split(w, t)) {
        violated(w, tx, "AC1: one decided commit, another abort");
        return;
    }
    t->split = true;
    w->splits++;
}

static void check_validity(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];
    bool committed = t->told_committed;

    for (uint32_t p = 0; p < w->part_count; p++)
        committed |= w->parts[p].branches[tx].committed;
    for (uint32_t i = 0; committed && i < t->branch_count; i++) {
        const struct sim_branch *b = &w->parts[t->participants[i]].branches[tx];

        if (!b->voted_yes && !(t->branch_count == 1 && b->committed))
            violated(w, tx, "AC3: committed without every vote");
    }
}

/* A key that was told an outcome must find it again after any crash, or its request runs twice. */
static void check_key(struct sim_world *w, uint32_t tx)
{
    const struct sim_tx *t = &w->txs[tx];

    if (t->keyed && (t->told_committed || t->told_aborted) && t->record.size == 0)
        violated(w, tx, "told the outcome of a key that is not on record");
}

void sim_check(struct sim_world *w, uint32_t tx)
{
    check_key(w, tx);
    check_agreement(w, tx);
    check_validity(w, tx);
}

enum assent_outcome sim_asked(const struct sim_world *w, const struct sim_tx *tx)
{
    struct assent_coord_record record;

    (void)w;
    if (tx->known)
        return tx->machine.outcome;
    if (tx->record.size == 0)
        return ASSENT_OUTCOME_ABORTED;
    if (assent_coord_record_decode(tx->record.bytes, tx->record.size, &record) != 0)
        abort();
    return record.outcome;
}

static void check_branch_end(struct sim_world *w, uint32_t tx, const struct sim_branch *b,
                             enum assent_outcome outcome)
{
    if (b->known && !assent_part_final(&b->machine))
        violated(w, tx, "AC5: a branch has not reached the decision");
    if (b->rm != SIM_RM_NONE)
        violated(w, tx, "AC5: a branch is left in the resource manager");
    if (outcome == ASSENT_OUTCOME_COMMITTED && b->writes && !b->committed)
        violated(w, tx, "AC1: committed, but a branch that wrote has not");
    if (outcome == ASSENT_OUTCOME_ABORTED && b->committed)
        violated(w, tx, "AC1: aborted, but a branch has committed");
}

static void check_tx_end(struct sim_world *w, uint32_t tx)
{
    struct sim_tx *t = &w->txs[tx];
    enum assent_outcome outcome = sim_asked(w, t);
    bool refused = t->will_roll_back;

    if (t->known && !t->ended)
        violated(w, tx, "AC5: the coordinator has not ended it");
    if (outcome == ASSENT_OUTCOME_UNKNOWN)
        violated(w, tx, "AC5: asking does not tell the outcome");
    if (t->split && outcome != ASSENT_OUTCOME_MIXED)
        violated(w, tx, "a split is not shown as mixed");
    for (uint32_t i = 0; i < t->branch_count; i++) {
        check_branch_end(w, tx, &w->parts[t->participants[i]].branches[tx], outcome);
        refused |= w->parts[t->participants[i]].branches[tx].refuses;
    }
    if (t->split)
        return;
    if ((t->told_committed && outcome != ASSENT_OUTCOME_COMMITTED) ||
        (t->told_aborted && outcome != ASSENT_OUTCOME_ABORTED) ||
        (t->told_committed && t->told_aborted))
        violated(w, tx, "AC2: the outcome differs from what was told before");
    if (w->faults == 0 && !refused && !t->told_committed)
        violated(w, tx, "AC4: no fault, all yes, and not committed");
}

void sim_check_end(struct sim_world *w)
{
    for (uint32_t tx = 0; tx < w->tx_count; tx++)
        if (w->txs[tx].begun)
            check_tx_end(w, tx);
    if (w->alarms > 0 && w->splits == 0)
        violated(w, 0, "an alarm was raised although nothing was split");
}
