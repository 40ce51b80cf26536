/*
 * shrink.c: makes a failing schedule small: only the transaction that failed, then without each of
 * its faults that it can fail without. What is left is printed as a timeline.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define FAULTS_MAX 4096

static bool fails(struct sim_world *w, uint64_t seed, struct sim_totals *totals)
{
    memset(totals, 0, sizeof(*totals));
    return !sim_run(w, seed, totals);
}

void sim_shrink(struct sim_world *w, uint64_t seed)
{
    static uint8_t suppressed[FAULTS_MAX / 8];
    struct sim_options options = *w->options;
    struct sim_totals totals;
    uint32_t kept = 0;

    options.trace = NULL;
    w->options = &options;
    if (!fails(w, seed, &totals)) {
        printf("seed %" PRIu64 " does not fail\n", seed);
        return;
    }
    options.only_tx = totals.violation_tx + 1;
    if (!fails(w, seed, &totals))
        options.only_tx = 0;
    options.suppressed = suppressed;
    options.suppressed_count = FAULTS_MAX;
    /* From the last: without a late fault, the earlier ones stay what they were. */
    (void)fails(w, seed, &totals);
    for (uint32_t i = totals.fault_count < FAULTS_MAX ? totals.fault_count : FAULTS_MAX; i-- > 0;) {
        suppressed[i / 8] |= (uint8_t)(1u << i % 8);
        if (!fails(w, seed, &totals)) {
            suppressed[i / 8] &= (uint8_t) ~(1u << i % 8);
            kept++;
        }
    }
    options.trace = stdout;
    (void)fails(w, seed, &totals);
    printf("seed %" PRIu64 ": transaction %u: %s; %u faults are needed\n", seed,
           totals.violation_tx, totals.violation, kept);
}
