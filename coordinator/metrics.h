/* metrics.h: counters since the start, shown by /metrics. */
#ifndef ASSENT_COORDINATOR_METRICS_H
#define ASSENT_COORDINATOR_METRICS_H

#include "assent/types.h"

#define X(name, number, text) +1
enum {
    METRICS_PROTOCOLS = 0 ASSENT_PROTOCOLS(X),
    METRICS_OUTCOMES = 0 ASSENT_OUTCOMES(X),
    METRICS_ERRORS = 1 ASSENT_ERRORS(X),
};
#undef X

struct metrics {
    uint64_t decided[METRICS_PROTOCOLS][METRICS_OUTCOMES];
    uint64_t refused[METRICS_ERRORS]; /* by -error */
    uint64_t begun, connections, alarms, damaged_records, pruned;
};

void metrics_count_refusal(struct metrics *metrics, int error);

struct server;
struct evbuffer;
/* Writes the Prometheus text format. */
void metrics_write(struct server *server, struct evbuffer *out);

#endif
