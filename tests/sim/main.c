/*
 * assent-sim: runs seeded schedules of the protocol core under faults and checks AC1 to AC5.
 * Exit 0: no violation that theory does not allow, and the timeout rule was caught splitting.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

#define LIMIT_MS      600000
#define CELL_LIMIT_MS 120000
#define EVENTS_MAX    20000000 /* blocked for all its time, a schedule has a million */
#define FAILURES_MAX  10

static void add_up(const struct sim_world *w, struct sim_totals *totals)
{
    totals->schedules++;
    totals->events += w->events;
    totals->splits += w->splits;
    totals->unexpected += w->violation != NULL;
    totals->hash = totals->hash * 31 + w->hash;
    totals->blocked_majority += w->blocked_majority;
    totals->blocked_minority += w->blocked_minority;
    totals->blocked_ms_sum += w->blocked_ms;
    if (w->blocked_ms > totals->blocked_ms_max)
        totals->blocked_ms_max = w->blocked_ms;
    for (uint32_t tx = 0; tx < w->tx_count; tx++) {
        totals->commits += w->txs[tx].told_committed;
        totals->aborts += w->txs[tx].told_aborted;
    }
    for (int i = 0; i < SIM_PROBE_COUNT; i++)
        totals->probes[i] += w->probes[i];
    totals->violation = w->violation;
    totals->violation_tx = w->violation_tx;
    totals->fault_count = w->fault_count;
}

static void heal(struct sim_world *w)
{
    w->healed = true;
    w->nodes[0].kill_in = 0;
    sim_trace(w, "from here on nothing fails");
    sim_join(w);
    /* Not where nothing broke: nobody may count on being asked again. */
    for (uint32_t node = 1; node <= w->part_count; node++)
        if ((w->lost >> node & 1) != 0)
            (void)sim_schedule(w, sim_below(w, 100), SIM_EV_CONNECT, node, 0);
}

/* Most events are about one transaction. */
static void check(struct sim_world *w, const struct sim_event *event)
{
    bool all = event->kind == SIM_EV_RESTART || event->kind == SIM_EV_CONNECT ||
               event->kind == SIM_EV_ACCEPT || !w->nodes[0].up;

    for (uint32_t tx = 0; tx < w->tx_count; tx++)
        if (all || tx == event->tx)
            sim_check(w, tx);
}

bool sim_run(struct sim_world *w, uint64_t seed, struct sim_totals *totals)
{
    bool cell = w->options->cell != SIM_CELL_NONE;
    uint64_t limit = cell ? CELL_LIMIT_MS : LIMIT_MS;
    struct sim_event *event;

    sim_world_reset(w);
    sim_plan(w, seed);
    while (w->violation == NULL && w->now_ms < limit && (event = sim_next(w)) != NULL) {
        if (!cell && !w->healed && w->now_ms >= sim_heal_ms)
            heal(w);
        if (event->kind == SIM_EV_CUT || event->kind == SIM_EV_JOIN)
            sim_network_event(w, event);
        else if (event->kind == SIM_EV_CONNECT) {
            w->lost &= ~(1u << event->node);
            sim_coordinator_event(w, event);
            sim_participant_event(w, event);
        } else if (event->node == 0) {
            sim_coordinator_event(w, event);
        } else {
            sim_participant_event(w, event);
        }
        check(w, event);
        if (w->events > EVENTS_MAX)
            sim_violation(w, event->tx, "AC5: it never comes to rest");
    }
    if (w->violation == NULL)
        sim_check_end(w);
    add_up(w, totals);
    return w->violation == NULL;
}

/* A path that was never taken shows that the runs do not test what they should. */
static int report_probes(const struct sim_totals *totals, bool all)
{
    static const char *const texts[] = {
#define X(name, text) text,
        SIM_PROBES(X)
#undef X
    };
    int missing = 0;

    for (int i = 0; i < SIM_PROBE_COUNT; i++) {
        missing += totals->probes[i] == 0;
        if (all || totals->probes[i] == 0)
            printf("%12" PRIu64 "  %s\n", totals->probes[i], texts[i]);
    }
    return missing;
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

struct arguments {
    uint64_t schedules, seed;
    bool probes, shrink, table, costs;
    const char *json, *seeds;
};

static const char usage[] =
    "usage: assent-sim [--schedules N] [--seed FIRST] [--seeds FILE] [--trace] [--shrink]\n"
    "                  [--probes] [--table [--json FILE]] [--costs]\n"
    "Runs seeds FIRST to FIRST+N-1. A failing seed replays with --schedules 1 --trace, and\n"
    "--shrink prints it with as few faults as still fail. --seeds runs the seeds in a file.\n"
    "--probes prints how often each rare path was taken; with a million schedules or more,\n"
    "one never taken fails. --table runs each policy under each fault. --costs counts what a\n"
    "transaction costs without faults.\n";

static int parse(int argc, char **argv, struct arguments *a, struct sim_options *options)
{
    static const struct option longs[] = {
        {"schedules", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"seeds", required_argument, NULL, 'f'},
        {"trace", no_argument, NULL, 't'},
        {"shrink", no_argument, NULL, 'k'},
        {"probes", no_argument, NULL, 'p'},
        {"table", no_argument, NULL, 'T'},
        {"json", required_argument, NULL, 'j'},
        {"costs", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case 'n':
            a->schedules = number(optarg, "schedules");
            break;
        case 's':
            a->seed = number(optarg, "seed");
            break;
        case 'f':
            a->seeds = optarg;
            break;
        case 't':
            options->trace = stdout;
            break;
        case 'k':
            a->shrink = true;
            break;
        case 'p':
            a->probes = true;
            break;
        case 'T':
            a->table = true;
            break;
        case 'c':
            a->costs = true;
            break;
        case 'j':
            a->json = optarg;
            break;
        default:
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    return -1;
}

static bool run_one(struct sim_world *w, uint64_t seed, struct sim_totals *totals)
{
    if (sim_run(w, seed, totals))
        return true;
    printf("seed %" PRIu64 ": transaction %u: %s\n", seed, totals->violation_tx, totals->violation);
    return totals->unexpected < FAILURES_MAX;
}

/* Seeds that once found something, one a line, '#' for what. */
static void run_kept(struct sim_world *w, const char *path, struct sim_totals *totals)
{
    FILE *file = fopen(path, "re");
    char line[200];

    if (file == NULL) {
        fprintf(stderr, "assent-sim: --seeds: cannot open %s\n", path);
        exit(2);
    }
    while (fgets(line, sizeof(line), file) != NULL)
        if (line[0] >= '0' && line[0] <= '9')
            (void)run_one(w, strtoull(line, NULL, 10), totals);
    fclose(file);
}

static int conclude(const struct arguments *a, const struct sim_totals *totals, double seconds)
{
    printf("schedules=%" PRIu64 " events=%" PRIu64 " committed=%" PRIu64 " aborted=%" PRIu64
           " splits=%" PRIu64 " blocked=%" PRIu64 " unexpected=%" PRIu64 " hash=%016" PRIx64 "\n",
           totals->schedules, totals->events, totals->commits, totals->aborts, totals->splits,
           totals->blocked_majority + totals->blocked_minority, totals->unexpected, totals->hash);
    fprintf(stderr, "seconds=%.1f schedules_per_second=%.0f\n", seconds,
            (double)totals->schedules / (seconds > 0 ? seconds : 1));
    if (totals->unexpected > 0)
        return 1;
    if (totals->schedules >= 10000 && totals->splits == 0) {
        puts("the timeout rule was never caught splitting: the checker is blind");
        return 1;
    }
    if (a->probes && report_probes(totals, true) > 0 && totals->schedules >= 1000000) {
        puts("a path above was never taken");
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct arguments a = {.schedules = 1000, .seed = 1};
    struct sim_options options = {.faults = SIM_ALL};
    struct sim_totals totals = {0};
    struct timespec begin, end;
    struct sim_world *w;
    int r = parse(argc, argv, &a, &options);

    if (r >= 0)
        return r;
    w = sim_world_new();
    w->options = &options;
    if (a.table || a.shrink || a.costs) {
        if (a.costs)
            sim_costs(w);
        else if (a.table)
            r = sim_table(w, a.seed, a.schedules, a.json);
        else
            sim_shrink(w, a.seed);
        sim_world_free(w);
        return a.table ? r : 0;
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (a.seeds != NULL)
        run_kept(w, a.seeds, &totals);
    for (uint64_t i = 0; i < a.schedules && run_one(w, a.seed + i, &totals); i++)
        ;
    clock_gettime(CLOCK_MONOTONIC, &end);
    sim_world_free(w);
    return conclude(&a, &totals,
                    (double)(end.tv_sec - begin.tv_sec) +
                        (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
}
