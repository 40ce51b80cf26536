/*
 * handover.h: a participant that is connected again is given what its transactions have for it, in
 * steps from the loop, no faster than it reads and the log writes: a million may be waiting.
 */
#ifndef ASSENT_COORDINATOR_HANDOVER_H
#define ASSENT_COORDINATOR_HANDOVER_H

#include <event2/event_struct.h>

#include "transactions.h"

struct session;

struct handover {
    struct event timer;
    struct transactions_walk walk;
    uint64_t last; /* order: those begun later know that it is connected */
    bool running;
};

/* For a home session or a face; while all are held. */
void handover_start(struct session *session);
/* Also one that was never started, or is over. */
void handover_stop(struct session *session);

#endif
