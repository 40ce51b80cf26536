/* plan.c: what a seed draws: how many participants, which transactions, which faults. */
#include <string.h>

#include "rng.h"
#include "sim.h"

/* Faults that seeds draw as they always did; what came later is drawn apart, and rarely, so that
 * most seeds still are the schedules that they were. */
#define FIRST_FAULTS 13
#define FIRST_ALL    ((1u << FIRST_FAULTS) - 1)

const uint64_t sim_heal_ms = 20000; /* no fault after it */

static void draw_branch(struct sim_world *w, struct sim_branch *b)
{
    bool cell = w->options->cell != SIM_CELL_NONE;

    b->armed_ms = SIM_NEVER;
    b->writes = cell || sim_below(w, 100) < 80;
    b->refuses = !cell && sim_below(w, 100) < 8;
}

static void draw_own(struct sim_world *w, struct sim_branch *b)
{
    b->own = b->writes = true;
    b->own_late = b->refuses = sim_below(w, 3) == 0;
}

static void draw_protocol(struct sim_world *w, struct sim_tx *t)
{
    static const enum assent_termination of_3pc[] = {
        ASSENT_TERMINATION_TIMEOUT, ASSENT_TERMINATION_COOPERATIVE, ASSENT_TERMINATION_QUORUM,
        ASSENT_TERMINATION_QUORUM};

    if (w->options->cell != SIM_CELL_NONE || w->options->protocol == ASSENT_3PC) {
        t->protocol = w->options->protocol;
        t->termination = w->options->termination;
        return;
    }
    t->protocol = sim_below(w, 3) == 0 ? ASSENT_2PC : ASSENT_3PC;
    if (t->protocol == ASSENT_3PC)
        t->termination = of_3pc[sim_below(w, 4)];
    else
        t->termination =
            sim_below(w, 3) == 0 ? ASSENT_TERMINATION_NONE : ASSENT_TERMINATION_COOPERATIVE;
}

static void draw_tx(struct sim_world *w, uint32_t index, uint64_t at_ms)
{
    struct sim_tx *t = &w->txs[index];
    uint32_t first = (uint32_t)sim_below(w, w->part_count);
    bool cell = w->options->cell != SIM_CELL_NONE;

    draw_protocol(w, t);
    t->one_shot = cell || sim_below(w, 2) == 0;
    t->will_roll_back = !cell && sim_below(w, 100) < 5;
    t->keyed = sim_below(w, 2) == 0;
    t->armed_ms = SIM_NEVER;
    t->branch_count = cell ? w->part_count : 1 + (uint32_t)sim_below(w, w->part_count);
    for (uint32_t i = 0; i < t->branch_count; i++) {
        struct sim_branch *b;

        t->participants[i] = 1 + (first + i) % w->part_count;
        b = &w->parts[t->participants[i]].branches[index];
        draw_branch(w, b);
        if (!t->one_shot && sim_below(w, 5) == 0)
            draw_own(w, b);
    }
    if (w->options->only_tx == 0 || w->options->only_tx == index + 1)
        (void)sim_schedule(w, at_ms, SIM_EV_BEGIN, 0, index);
    if (!cell && sim_below(w, 20) == 0) {
        (void)sim_schedule(w, at_ms + sim_below(w, 3000), SIM_EV_RESOLVE, 0, index);
        t->may_be_resolved = true;
    }
}

/* Swarm testing: each seed has its own set of faults. A tenth has none, a tenth one kind, a
 * twentieth all, the rest any set; a coordinator that never comes back is rare. */
static unsigned draw_faults(struct sim_world *w)
{
    uint64_t arm = sim_below(w, 20);
    unsigned faults = (unsigned)sim_below(w, FIRST_ALL + 1);

    if (arm < 2)
        return 0;
    if (arm < 4)
        return 1u << sim_below(w, FIRST_FAULTS);
    if (arm == 4)
        return FIRST_ALL;
    if (sim_below(w, 4) != 0)
        faults &= ~(unsigned)SIM_GONE;
    return faults;
}

/* ---- what came later ---- */

/* Everybody is up when it is accepted. What takes a person's knowledge waits for the end. */
static void plan_restore(struct sim_world *w)
{
    uint64_t copy_ms = sim_below(w, 5000);

    (void)sim_schedule(w, copy_ms, SIM_EV_COPY, 0, 0);
    (void)sim_schedule(w, copy_ms + sim_below(w, 1000), SIM_EV_RESTORE, 0, 0);
    (void)sim_schedule(w, sim_heal_ms + 7000, SIM_EV_ACCEPT, 0, 0);
    for (uint64_t i = 0; i < 5; i++) /* "in a moment", it may be told */
        (void)sim_schedule(w, sim_heal_ms + 60000 + 700 * i, SIM_EV_FORCE, 0, 0);
}

static void plan_later(struct sim_world *w, uint64_t seed)
{
    uint64_t rng = ~seed;
    bool restores = assent_rng_below(&rng, 16) == 0, releases, by_hand;

    w->rms_tell = assent_rng_below(&rng, 16) == 0;
    releases = assent_rng_below(&rng, 16) == 0;
    by_hand = assent_rng_below(&rng, 16) == 0;
    if (restores && (w->options->faults & SIM_RESTORE) != 0) {
        w->faults |= SIM_RESTORE;
        plan_restore(w);
    }
    if (releases)
        (void)sim_schedule(w, sim_heal_ms + 9000, SIM_EV_RELEASE, 0, 0);
    for (uint32_t tx = 0; by_hand && tx < w->tx_count; tx++) {
        uint64_t branch = sim_below(w, w->txs[tx].branch_count);

        (void)sim_schedule(w, sim_below(w, 6000), SIM_EV_BY_HAND, w->txs[tx].participants[branch],
                           tx);
    }
}

static void draw_nodes(struct sim_world *w)
{
    for (uint32_t node = 0; node <= w->part_count; node++) {
        struct sim_participant *part = &w->parts[node];

        w->nodes[node].rate = 1000;
        if ((w->faults & SIM_CLOCKS) != 0)
            w->nodes[node].rate = (uint32_t)(sim_below(w, 2) == 0 ? 100 + sim_below(w, 900)
                                                                  : 1000 + sim_below(w, 9000));
        part->capabilities = ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE;
        if (sim_below(w, 2) == 0)
            part->capabilities |= ASSENT_CAP_PREPARED_LIST;
    }
}

/* ---- the cells of the table ---- */

static void part_in_two(struct sim_world *w, uint32_t side)
{
    uint32_t all = (1u << (w->part_count + 1)) - 1, voters = all & ~1u;
    uint32_t larger;

    if (w->part_count % 2 == 0)
        voters |= 1;
    larger =
        2 * __builtin_popcount(side & voters) > __builtin_popcount(voters) ? side : all & ~side;
    w->majority = larger;
    for (uint32_t node = 0; node <= w->part_count; node++)
        w->cell_cut[node] = (side >> node & 1) != 0 ? all & ~side : side;
}

static void kill_node(struct sim_world *w, uint32_t node, uint64_t for_ms)
{
    w->nodes[node].kill_in = 1 + sim_below(w, node == 0 ? 30 : 12);
    w->nodes[node].kill_for_ms = for_ms;
}

static void plan_cell(struct sim_world *w)
{
    uint32_t all = (1u << (w->part_count + 1)) - 1;
    uint32_t victim = 1 + (uint32_t)sim_below(w, w->part_count);

    w->majority = all;
    switch (w->options->cell) {
    case SIM_CELL_COORDINATOR_DIES:
        kill_node(w, 0, SIM_NEVER);
        break;
    case SIM_CELL_COORDINATOR_RETURNS:
        kill_node(w, 0, 100 + sim_below(w, 8000));
        break;
    case SIM_CELL_COORDINATOR_AND_ONE_DIE:
        kill_node(w, 0, SIM_NEVER);
        kill_node(w, victim, SIM_NEVER);
        break;
    case SIM_CELL_PARTITION_AND_DEATH:
        kill_node(w, 0, SIM_NEVER);
        part_in_two(w, 1 + (uint32_t)sim_below(w, all - 1));
        w->cut_at_message = 1 + sim_below(w, 30);
        break;
    case SIM_CELL_PARTITION:
        part_in_two(w, 1 + (uint32_t)sim_below(w, all - 1));
        w->cut_at_message = 1 + sim_below(w, 30);
        break;
    case SIM_CELL_FALSE_TIMEOUT:
        w->faults = SIM_DELAY;
        w->pause_node = (uint32_t)sim_below(w, w->part_count + 1u);
        w->cut_at_message = 1 + sim_below(w, 30);
        break;
    case SIM_CELL_NONE:
    case SIM_CELL_COUNT:
        break;
    }
}

void sim_plan(struct sim_world *w, uint64_t seed)
{
    bool cell = w->options->cell != SIM_CELL_NONE;
    uint64_t at = 0;

    w->rng = seed;
    w->healed = true; /* no fault while starting */
    w->faults = draw_faults(w) & w->options->faults;
    w->coord_config = (struct assent_coord_config){.prepare_timeout_ms = 1000,
                                                   .precommit_timeout_ms = 500,
                                                   .retry_min_ms = 50,
                                                   .retry_max_ms = 1000,
                                                   .abort_delivery_ms = 3000};
    w->part_count = 1 + (uint32_t)sim_below(w, sim_below(w, 4) == 0 ? SIM_PARTS_MAX : 4);
    w->tx_count = 1 + (uint32_t)sim_below(w, SIM_TXS_MAX);
    if (cell) {
        w->part_count = 3;
        w->tx_count = 1;
        w->faults = 0;
    }
    draw_nodes(w);
    for (uint32_t i = 0; i < w->tx_count; i++, at += sim_below(w, 2000))
        draw_tx(w, i, at);
    sim_trace(w, "seed %llu faults %x participants %u transactions %u", (unsigned long long)seed,
              w->faults, w->part_count, w->tx_count);
    sim_coordinator_start(w);
    for (uint32_t node = 1; node <= w->part_count; node++)
        sim_participant_start(w, node);
    for (uint64_t ping = 500; ping < sim_heal_ms + 10000; ping += 500 + sim_below(w, 3000))
        (void)sim_schedule(w, ping, SIM_EV_PING, 0, 0);
    for (uint32_t node = 1; !cell && !w->options->cost && node <= w->part_count; node++)
        for (uint64_t at_ms = sim_below(w, 7000); at_ms < sim_heal_ms + 10000; at_ms += 7000)
            (void)sim_schedule(w, at_ms, SIM_EV_SCAN, node, 0);
    if (!cell && !w->options->cost)
        plan_later(w, seed);
    w->healed = false;
    sim_network_plan(w, sim_heal_ms);
    if (cell)
        plan_cell(w);
}
