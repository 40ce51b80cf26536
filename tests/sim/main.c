/*
 * assent-sim: runs seeded schedules of the protocol core under faults and checks AC1 to AC5.
 * Exit 0: no violation that theory does not allow, and the timeout rule was caught splitting.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rng.h"
#include "sim.h"

#define HEAL_MS  20000
#define LIMIT_MS 600000

static void draw_branch(struct sim_world *w, struct sim_branch *b)
{
    b->writes = sim_below(w, 100) < 80;
    b->refuses = sim_below(w, 100) < 8;
}

static void draw_tx(struct sim_world *w, uint32_t index, uint64_t at_ms)
{
    struct sim_tx *t = &w->txs[index];
    uint32_t first = (uint32_t)sim_below(w, w->part_count);

    t->protocol = sim_below(w, 3) == 0 ? ASSENT_3PC : ASSENT_2PC;
    t->one_shot = sim_below(w, 2) == 0;
    t->will_roll_back = sim_below(w, 100) < 5;
    t->keyed = sim_below(w, 2) == 0;
    t->branch_count = 1 + (uint32_t)sim_below(w, w->part_count);
    for (uint32_t i = 0; i < t->branch_count; i++) {
        t->participants[i] = (first + i) % w->part_count;
        draw_branch(w, &w->parts[t->participants[i]].branches[index]);
    }
    sim_schedule(w, at_ms, (struct sim_event){.kind = SIM_EV_BEGIN, .tx = index});
}

/* A tenth of the seeds has no fault, a tenth one kind, a twentieth all, the rest any set. */
static unsigned draw_faults(struct sim_world *w)
{
    uint64_t arm = sim_below(w, 20);

    if (arm < 2)
        return 0;
    if (arm < 4)
        return 1u << sim_below(w, 7);
    if (arm == 4)
        return SIM_ALL;
    return (unsigned)sim_below(w, SIM_ALL + 1);
}

static void set_up(struct sim_world *w, uint64_t seed, FILE *trace)
{
    uint64_t at = 0;

    w->rng = seed;
    w->hash = 0xcbf29ce484222325u;
    w->trace = trace;
    w->healed = true; /* no fault while starting */
    w->faults = draw_faults(w);
    w->coord_config = (struct assent_coord_config){.prepare_timeout_ms = 1000,
                                                   .precommit_timeout_ms = 500,
                                                   .retry_min_ms = 50,
                                                   .retry_max_ms = 1000,
                                                   .abort_delivery_ms = 3000};
    w->part_count = 1 + (uint32_t)sim_below(w, SIM_PARTS_MAX);
    w->tx_count = 1 + (uint32_t)sim_below(w, SIM_TXS_MAX);
    for (uint32_t p = 0; p < w->part_count; p++) {
        w->parts[p].capabilities = ASSENT_CAP_EVIDENCE | ASSENT_CAP_ONE_PHASE;
        if (sim_below(w, 2) == 0)
            w->parts[p].capabilities |= ASSENT_CAP_PREPARED_LIST;
    }
    for (uint32_t i = 0; i < w->tx_count; i++, at += sim_below(w, 2000))
        draw_tx(w, i, at);
    sim_trace(w, "seed %" PRIu64 " faults %u participants %u transactions %u", seed, w->faults,
              w->part_count, w->tx_count);
    sim_coordinator_start(w);
    for (uint32_t p = 0; p < w->part_count; p++)
        sim_participant_start(w, p);
    for (uint64_t ping = 500; ping < HEAL_MS + 10000; ping += 500 + sim_below(w, 3000))
        sim_schedule(w, ping, (struct sim_event){.kind = SIM_EV_PING});
    w->healed = false;
}

/* The coordinator tells everybody below which transaction all have ended and are on record. */
static void ping(struct sim_world *w)
{
    uint32_t below = 0;

    if (!w->coordinator_up)
        return;
    while (below < w->tx_count && w->txs[below].begun &&
           (!w->txs[below].known || w->txs[below].ended))
        below++;
    for (uint32_t p = 0; p < w->part_count; p++)
        sim_participant_event(
            w, &(struct sim_event){.kind = SIM_EV_PING, .participant = p, .tx = below});
}

bool sim_run(uint64_t seed, FILE *trace, struct sim_totals *totals)
{
    struct sim_world *w = calloc(1, sizeof(*w));
    struct sim_event event;
    bool ok;

    if (w == NULL)
        abort();
    set_up(w, seed, trace);
    while (w->violation == NULL && w->now_ms < LIMIT_MS && sim_next(w, &event)) {
        w->healed = w->now_ms >= HEAL_MS;
        if (event.kind == SIM_EV_PING)
            ping(w);
        sim_coordinator_event(w, &event);
        sim_participant_event(w, &event);
        free(event.write);
        for (uint32_t tx = 0; tx < w->tx_count; tx++)
            sim_check(w, tx);
    }
    if (w->violation == NULL)
        sim_check_end(w);
    ok = w->violation == NULL;
    if (!ok)
        printf("seed %" PRIu64 ": transaction %u: %s\n", seed, w->violation_tx, w->violation);
    totals->schedules++;
    totals->events += w->events;
    totals->splits += w->splits;
    totals->unexpected += !ok;
    totals->hash = totals->hash * 31 + w->hash;
    for (uint32_t tx = 0; tx < w->tx_count; tx++) {
        totals->commits += w->txs[tx].told_committed;
        totals->aborts += w->txs[tx].told_aborted;
    }
    for (size_t i = 0; i < w->heap_count; i++)
        free(w->heap[i].write);
    free(w->heap);
    free(w);
    return ok;
}

static uint64_t number(const char *text, const char *option)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "assent-sim: --%s: \"%s\" is not a number\n", option, text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"schedules", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"trace", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct sim_totals totals = {0};
    uint64_t schedules = 1000, seed = 1;
    struct timespec begin, end;
    bool trace = false;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'n')
            schedules = number(optarg, "schedules");
        else if (option == 's')
            seed = number(optarg, "seed");
        else if (option == 't')
            trace = true;
        else {
            fputs("usage: assent-sim [--schedules N] [--seed FIRST] [--trace]\n"
                  "Runs seeds FIRST to FIRST+N-1; a failing seed replays with --schedules 1.\n",
                  option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (uint64_t i = 0; i < schedules && totals.unexpected < 10; i++)
        sim_run(seed + i, trace ? stdout : NULL, &totals);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("schedules=%" PRIu64 " events=%" PRIu64 " committed=%" PRIu64 " aborted=%" PRIu64
           " timeout_rule_splits=%" PRIu64 " unexpected=%" PRIu64 " hash=%016" PRIx64 "\n",
           totals.schedules, totals.events, totals.commits, totals.aborts, totals.splits,
           totals.unexpected, totals.hash);
    fprintf(stderr, "seconds=%.1f\n",
            (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    if (totals.unexpected > 0)
        return 1;
    if (schedules >= 10000 && totals.splits == 0) {
        puts("the timeout rule was never caught splitting: the checker is blind");
        return 1;
    }
    return 0;
}
