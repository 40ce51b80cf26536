/*
 * recovery.h: reads the log at start, in steps from the loop so that /livez and /readyz answer
 * meanwhile: outcomes give their keys to the index, everything else gets its machine back. A
 * damaged record is reported, kept and counted; nothing is presumed about it.
 */
#ifndef ASSENT_COORDINATOR_RECOVERY_H
#define ASSENT_COORDINATOR_RECOVERY_H

#include <event2/event_struct.h>

#include "assent/types.h"

struct server;

struct recovery {
    struct event timer;
    uint8_t cursor[ASSENT_GTRID_BYTES];
    bool started;
    int error;
    uint64_t outcomes, resumed, damaged, began_ms;
};

/* Ends with server_recovered(), or with server_stop(). */
void recovery_start(struct server *server);
void recovery_stop(struct server *server);

#endif
