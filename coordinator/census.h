/* census.h: counts what is there now, for /metrics and for health. */
#ifndef ASSENT_COORDINATOR_CENSUS_H
#define ASSENT_COORDINATOR_CENSUS_H

#include "coordinator.h"

struct server;

struct census {
    uint64_t live, in_doubt, oldest_in_doubt_ms, undecided;
    uint64_t by_phase[ASSENT_COORD_PHASE_COUNT];
    uint64_t participants_up;
};

/* In doubt: asked to vote, and not known to have obeyed. */
void census_take(const struct server *server, struct census *ret_census);

#endif
