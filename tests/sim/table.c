/*
 * table.c: policy by fault, cell by cell, beside what theory expects. Three participants, one
 * transaction, a perfect network and one fault at a drawn moment, which does not heal.
 *   V   atomicity is violated in some schedule
 *   ok  safe, and every live participant decides
 *   B   safe, but somebody blocks even in the larger part
 *   b   safe, only the smaller part waits
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static const char *const cells[SIM_CELL_COUNT] = {
    [SIM_CELL_COORDINATOR_DIES] = "coordinator dies for ever",
    [SIM_CELL_COORDINATOR_RETURNS] = "dies, returns",
    [SIM_CELL_COORDINATOR_AND_ONE_DIE] = "coordinator + 1 participant die",
    [SIM_CELL_PARTITION] = "partition for ever",
    [SIM_CELL_PARTITION_AND_DEATH] = "partition + coordinator dies",
    [SIM_CELL_FALSE_TIMEOUT] = "false timeout",
};

static const struct policy {
    const char *name;
    enum assent_protocol protocol;
    enum assent_termination termination;
    const char *expected[SIM_CELL_COUNT];
} policies[] = {
    {"2pc, no peers asked",
     ASSENT_2PC,
     ASSENT_TERMINATION_NONE,
     {"", "B", "ok", "B", "B", "B", "ok"}},
    {"2pc cooperative",
     ASSENT_2PC,
     ASSENT_TERMINATION_COOPERATIVE,
     {"", "B", "ok", "B", "B", "B", "ok"}},
    {"3pc timeout", ASSENT_3PC, ASSENT_TERMINATION_TIMEOUT, {"", "V", "V", "V", "V", "V", "V"}},
    {"3pc cooperative",
     ASSENT_3PC,
     ASSENT_TERMINATION_COOPERATIVE,
     {"", "ok", "ok", "ok", "V", "V", "V"}},
    {"3pc quorum", ASSENT_3PC, ASSENT_TERMINATION_QUORUM, {"", "ok", "ok", "ok", "b", "b", "ok"}},
};

static const char *sign(const struct sim_totals *t)
{
    if (t->splits > 0)
        return "V";
    if (t->blocked_majority > 0)
        return "B";
    return t->blocked_minority > 0 ? "b" : "ok";
}

static void print_row(FILE *json, bool first, const struct policy *policy, enum sim_cell cell,
                      const struct sim_totals *t)
{
    double blocked = (double)(t->blocked_majority + t->blocked_minority);
    const char *found = sign(t);
    bool agrees = strcmp(found, policy->expected[cell]) == 0 && t->unexpected == 0;

    printf("%-20s  %-32s  %9" PRIu64 "  %9" PRIu64 "  %6.2f %%  %7.0f ms  %-2s  %-2s%s\n",
           policy->name, cells[cell], t->schedules, t->splits, 100 * blocked / (double)t->schedules,
           (double)t->blocked_ms_sum / (double)t->schedules, found, policy->expected[cell],
           agrees ? "" : "  DIFFERS");
    if (json == NULL)
        return;
    fprintf(json,
            "%s{\"policy\":\"%s\",\"fault\":\"%s\",\"schedules\":%" PRIu64
            ",\"violations\":%" PRIu64 ",\"blocked_majority\":%" PRIu64
            ",\"blocked_minority\":%" PRIu64 ",\"doubt_ms_mean\":%.1f,\"doubt_ms_max\":%" PRIu64
            ",\"found\":\"%s\",\"expected\":\"%s\"}",
            first ? "[\n" : ",\n", policy->name, cells[cell], t->schedules, t->splits,
            t->blocked_majority, t->blocked_minority,
            (double)t->blocked_ms_sum / (double)t->schedules, t->blocked_ms_max, found,
            policy->expected[cell]);
}

int sim_table(struct sim_world *w, uint64_t seed, uint64_t schedules, const char *json_path)
{
    FILE *json = json_path != NULL ? fopen(json_path, "we") : NULL;
    struct sim_options options = *w->options;
    unsigned differ = 0;

    if (json_path != NULL && json == NULL) {
        fprintf(stderr, "assent-sim: --json: cannot write %s\n", json_path);
        return 2;
    }
    printf("%-20s  %-32s  %9s  %9s  %8s  %10s\n", "policy", "fault", "schedules", "violated",
           "blocked", "in doubt");
    w->options = &options;
    for (size_t p = 0; p < sizeof(policies) / sizeof(policies[0]); p++)
        for (int cell = 1; cell < SIM_CELL_COUNT; cell++) {
            struct sim_totals totals = {0};

            options.cell = (enum sim_cell)cell;
            options.protocol = policies[p].protocol;
            options.termination = policies[p].termination;
            for (uint64_t i = 0; i < schedules && totals.unexpected == 0; i++)
                if (!sim_run(w, seed + i, &totals))
                    printf("seed %" PRIu64 ": %s\n", seed + i, totals.violation);
            print_row(json, p == 0 && cell == 1, &policies[p], (enum sim_cell)cell, &totals);
            differ +=
                totals.unexpected > 0 || strcmp(sign(&totals), policies[p].expected[cell]) != 0;
        }
    if (json != NULL) {
        fputs("\n]\n", json);
        fclose(json);
    }
    printf("%u cells differ\n", differ);
    return differ > 0 ? 1 : 0;
}
