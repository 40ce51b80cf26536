/*
 * costs.c: what a transaction costs without faults, counted in a run of the shipped core: messages,
 * message delays from the commit until every participant knows, forced writes. docs/guarantees.md
 * holds the same lines, and a test compares them.
 */
#include <stdlib.h>

#include "sim.h"

static const struct {
    const char *name;
    enum assent_protocol protocol;
    enum assent_termination termination;
    uint32_t branches;
    bool refuses, read_only;
} rows[] = {
    {"2pc, commit", ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE, 3, false, false},
    {"2pc, one votes no", ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE, 3, true, false},
    {"2pc, one only reads", ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE, 3, false, true},
    {"2pc, one branch", ASSENT_2PC, ASSENT_TERMINATION_COOPERATIVE, 1, false, false},
    {"3pc timeout, commit", ASSENT_3PC, ASSENT_TERMINATION_TIMEOUT, 3, false, false},
    {"3pc cooperative, commit", ASSENT_3PC, ASSENT_TERMINATION_COOPERATIVE, 3, false, false},
    {"3pc quorum, commit", ASSENT_3PC, ASSENT_TERMINATION_QUORUM, 3, false, false},
    {"3pc quorum, one votes no", ASSENT_3PC, ASSENT_TERMINATION_QUORUM, 3, true, false},
    {"3pc quorum, one only reads", ASSENT_3PC, ASSENT_TERMINATION_QUORUM, 3, false, true},
};

/* The last branch is the one that refuses or reads. */
static void set_up(struct sim_world *w, size_t row)
{
    const struct sim_options *o = w->options;

    w->part_count = rows[row].branches;
    w->tx_count = 1;
    w->incarnation = 0;
    w->coord_config = (struct assent_coord_config){.prepare_timeout_ms = 1000000,
                                                   .precommit_timeout_ms = 1000000,
                                                   .retry_min_ms = 1000000,
                                                   .retry_max_ms = 1000000,
                                                   .abort_delivery_ms = 1000000};
    for (uint32_t node = 0; node <= w->part_count; node++) {
        struct sim_branch *b = &w->parts[node].branches[0];

        w->nodes[node].rate = 1000;
        w->parts[node].capabilities =
            ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE | ASSENT_CAP_PREPARED_LIST;
        b->armed_ms = SIM_NEVER;
        b->writes = !(rows[row].read_only && node == w->part_count);
        b->refuses = rows[row].refuses && node == w->part_count;
    }
    w->txs[0] = (struct sim_tx){.protocol = o->protocol,
                                .termination = o->termination,
                                .branch_count = w->part_count,
                                .one_shot = true,
                                .armed_ms = SIM_NEVER};
    for (uint32_t i = 0; i < w->part_count; i++)
        w->txs[0].participants[i] = i + 1;
    sim_coordinator_start(w);
    for (uint32_t node = 1; node <= w->part_count; node++)
        sim_participant_start(w, node);
}

/* A message takes a second and nothing else takes time that counts, so seconds are delays. */
static uint64_t run(struct sim_world *w)
{
    uint64_t last_ms = 0, begun_ms = SIM_COST_DELAY_MS;
    struct sim_event *event;

    (void)sim_schedule(w, begun_ms, SIM_EV_BEGIN, 0, 0);
    while ((event = sim_next(w)) != NULL && w->now_ms < 100 * SIM_COST_DELAY_MS) {
        if (event->kind == SIM_EV_CONNECT)
            continue;
        if (event->kind == SIM_EV_MESSAGE && event->node > 0)
            last_ms = w->now_ms;
        if (event->node == 0)
            sim_coordinator_event(w, event);
        else
            sim_participant_event(w, event);
    }
    return (last_ms - begun_ms) / SIM_COST_DELAY_MS;
}

static uint32_t most(const uint32_t *counts, uint32_t from, uint32_t to)
{
    uint32_t found = 0;

    for (uint32_t i = from; i <= to; i++)
        found = counts[i] > found ? counts[i] : found;
    return found;
}

void sim_costs(struct sim_world *w)
{
    struct sim_options options = *w->options;

    options.cost = true;
    w->options = &options;
    puts("| transaction | branches | messages | delays | forced: coordinator | forced: agent | "
         "synced: RM |");
    puts("|---|---|---|---|---|---|---|");
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        uint64_t delays;

        options.protocol = rows[row].protocol;
        options.termination = rows[row].termination;
        sim_world_reset(w);
        set_up(w, row);
        delays = run(w);
        printf("| %s | %u | %llu | %llu | %u | %u | %u |\n", rows[row].name, rows[row].branches,
               (unsigned long long)w->sent, (unsigned long long)delays, w->forced[0],
               most(w->forced, 1, w->part_count), most(w->rm_synced, 1, w->part_count));
    }
}
